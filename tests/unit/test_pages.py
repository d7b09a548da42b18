"""How pages of documentation are read as programs: the tests of the docs must be able to fail."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.pages import blocks, commands, excerpts, holds, matches, untested

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

<!-- test: python
x = 1
-->
```python
assert x
```

<!-- from: some/file.py -->
```python
if x:
    y()
```

```
no language
```

```
pip install a-command-without-a-language
```
"""


@pytest.fixture
def page(tmp_path: Path) -> Path:
    path = tmp_path / "page.md"
    path.write_text(PAGE)
    return path


def test_only_marked_blocks_are_taken_and_in_order(page: Path) -> None:
    marked = blocks(page)
    assert [(block.kind, block.argument) for block in marked] == [("file", "a.py"), ("run", ""), ("python", "")]
    assert marked[0].content == "x = 1\n"


def test_what_stands_in_a_comment_comes_before_the_block(page: Path) -> None:
    assert blocks(page)[-1].content == "x = 1\nassert x\n"


def test_code_without_a_comment_is_found(page: Path) -> None:
    assert [(block.kind, block.content) for block in untested(page)] == [
        ("console", "$ only to be read\n"),
        ("", "pip install a-command-without-a-language\n"),
    ]


def test_an_excerpt_is_a_piece_of_its_file_at_any_depth(page: Path) -> None:
    [shown] = excerpts(page)
    assert shown.argument == "some/file.py"
    assert holds("def f():\n    if x:\n        y()\n", shown)
    assert not holds("def f():\n    if x:\n        z()\n", shown)


def test_an_excerpt_without_its_block_fails(page: Path) -> None:
    page.write_text("<!-- from: a.py -->\nsome text\n")
    with pytest.raises(AssertionError, match="without a fenced block"):
        excerpts(page)


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
