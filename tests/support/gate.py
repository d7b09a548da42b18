"""A gate in a file, through which the models of `tests/models/` let their outputs pass one by one."""

from __future__ import annotations

from pathlib import Path

from support.waiting import wait_until


class Gate:
    """Closed at first. Give `str(gate)` to a model as its `gate`; it says its n-th output after n were let through."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._visitor = path.with_name(path.name + ".visitor")
        path.write_bytes(b"")

    def __str__(self) -> str:
        return str(self._path)

    def let(self, count: int) -> None:
        """So many more may pass."""
        with self._path.open("ab") as file:
            file.write(b"." * count)

    def open(self) -> None:
        """Everything may pass."""
        self._path.unlink(missing_ok=True)

    def visitor(self) -> str:
        """Waits for the first prediction to come to the gate and returns its id."""
        wait_until(self._visitor.exists, "a prediction had come to the gate")
        return self._visitor.read_text()
