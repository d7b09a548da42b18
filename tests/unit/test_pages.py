"""How pages of documentation are read as programs: the tests of the docs must be able to fail."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.pages import blocks, commands, matches

PAGE = """
<!-- test: file a.py -->
```python
x = 1
```

```console
$ only to be read
```

<!-- test: run -->
```console
$ curl -s \\
    http://127.0.0.1:8080
one
...
$ true
```
"""


@pytest.fixture
def page(tmp_path: Path) -> Path:
    path = tmp_path / "page.md"
    path.write_text(PAGE)
    return path


def test_only_marked_blocks_are_taken_and_in_order(page: Path) -> None:
    assert [(block.kind, block.argument) for block in blocks(page)] == [("file", "a.py"), ("run", "")]
    assert blocks(page)[0].content == "x = 1\n"


def test_a_command_goes_on_after_a_backslash_and_what_follows_is_its_output(page: Path) -> None:
    first, second = commands(blocks(page)[1])
    assert first.text == "curl -s \\\n    http://127.0.0.1:8080\n"
    assert first.expected == "one\n...\n"
    assert second == ("true\n", "")


def test_a_comment_without_its_block_fails(page: Path) -> None:
    page.write_text("<!-- test: run -->\nsome text\n")
    with pytest.raises(AssertionError, match="without a fenced block"):
        blocks(page)


@pytest.mark.parametrize(
    ("expected", "printed", "same"),
    [
        ("", "anything", True),
        ("a", "a\n", True),
        ("a", "b", False),
        ("a", "a b", False),
        ("a...c", "a b c", True),
        ("a\n...\nc", "a\nb\nb\nc\n", True),
        ("a\n...", "b\na\n", False),
        ("[.*]", "[xx]", False),
    ],
)
def test_dots_stand_for_anything_and_nothing_else_does(expected: str, printed: str, same: bool) -> None:
    assert matches(expected, printed) is same
