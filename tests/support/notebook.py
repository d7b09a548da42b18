"""Runs cells in a real notebook kernel, as Jupyter and Colab do: `python notebook.py CELLS.json`.

The file is a list of sources. What each of them shows in the end is printed as a list of texts.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

DEADLINE_S = 120


def shown(cell: Any) -> str:
    """What stands under the cell: what it printed, and of what it displayed the text."""
    return "".join(output.get("text") or output["data"]["text/plain"] + "\n" for output in cell.outputs)


def main(file: Path) -> None:
    sources = json.loads(file.read_text(encoding="utf-8"))
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in sources])
    NotebookClient(notebook, timeout=DEADLINE_S, kernel_name="python3").execute()
    print(json.dumps([shown(cell) for cell in notebook.cells]))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
