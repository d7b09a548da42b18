"""`docs/clients.md` does what it says."""

from __future__ import annotations

import sys
from pathlib import Path

from support.official import INSTALL, JS, node
from support.pages import blocks
from support.reader import Reader
from support.services import folder

PAGE = Path(__file__).parents[2] / "docs" / "clients.md"


def test_whoever_follows_the_page_sees_what_it_says(tmp_path: Path) -> None:
    node()
    home = tmp_path / "reader"
    home.mkdir()
    (home / "node_modules").symlink_to(folder(JS / "node_modules", INSTALL))
    reader = Reader(home, [Path(sys.executable).parent, JS / "node_modules" / ".bin"])
    try:
        reader.read(blocks(PAGE))
    finally:
        reader.close()
