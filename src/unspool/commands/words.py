"""Text outputs on the standard output, as they come."""

from __future__ import annotations

import fcntl
import json
import os
import re
import stat
import sys
from collections.abc import Sequence
from typing import Any

from unspool.commands.terminal import harmless

_URL = re.compile(r"https?://\S+")


class Words:
    """Writes the text of output 0 while it comes, and whatever else there is when all of it is there.

    Args:
        live: not to wait for the end. A pipe cannot take back the words of an attempt that was lost; a file and a
            reader at a terminal can be told.
        midway: the beginning of output 0 was seen elsewhere.
    """

    def __init__(self, *, live: bool = True, midway: bool = False) -> None:
        self._midway = midway and live
        self._terminal = sys.stdout.isatty()
        self._live = live
        self._written: list[str] = []
        self._text: bool | None = None
        self._begin = _offset_of_file()

    @property
    def within_line(self) -> bool:
        """Whether the cursor of a terminal stands behind words of a line."""
        return self._terminal and self._amid_line

    @property
    def any(self) -> bool:
        """Whether something was written."""
        return bool(self._written)

    def piece(self, output: Any, index: int, *, flush: bool) -> None:
        """A piece of an output has come."""
        if index != 0 or not self._live:
            return
        if self._text is None:
            self._text = isinstance(output, str) and not _URL.fullmatch(output)
        if self._text and isinstance(output, str):
            self._write(output)
            if flush:
                sys.stdout.flush()

    def restart(self) -> bool:
        """What has come so far is void. Returns whether it could not be taken back."""
        self._text = None
        self._midway = False
        if not self._written:
            return False
        if self._begin is not None:
            sys.stdout.flush()
            os.ftruncate(sys.stdout.fileno(), self._begin)
            os.lseek(sys.stdout.fileno(), self._begin, os.SEEK_SET)
        else:
            self._end_line()
        self._written = []
        return self._begin is None

    def finish(self, outputs: Sequence[Any], shown: Sequence[str | None]) -> None:
        """The end: writes what was not written yet.

        Args:
            shown: what stands for each output, as the path of its file; `None` for one that is written out. Of an empty
                one nothing is written.
        """
        for index, (output, line) in enumerate(zip(outputs, shown, strict=True)):
            if line == "":
                continue
            if line is None and isinstance(output, str):
                self._finish_text(output, index, last=index == len(outputs) - 1)
            else:
                self._end_line()
                self._write((line if line is not None else json.dumps(output, ensure_ascii=False)) + "\n")
        sys.stdout.flush()

    def _finish_text(self, text: str, index: int, *, last: bool) -> None:
        written = "".join(self._written)
        if index == 0 and self._midway:
            pass
        elif index == 0 and text.startswith(written):
            self._write(text[len(written) :])
        else:
            self._end_line()
            self._write(text)
        if not last or self._terminal:
            self._end_line()

    def break_line(self) -> None:
        """Something else is about to be written to a terminal, and no more words come."""
        if self.within_line:
            sys.stdout.write("\n")
            sys.stdout.flush()

    def _end_line(self) -> None:
        if self._amid_line:
            self._write("\n")

    @property
    def _amid_line(self) -> bool:
        return bool(self._written) and not self._written[-1].endswith("\n")

    def _write(self, text: str) -> None:
        sys.stdout.write(harmless(text) if self._terminal else text)
        if text:
            self._written.append(text)


def _offset_of_file() -> int | None:
    """Where in a file the standard output begins to write, if it is one."""
    number = sys.stdout.fileno()
    facts = os.fstat(number)
    if not stat.S_ISREG(facts.st_mode):
        return None
    appends = fcntl.fcntl(number, fcntl.F_GETFL) & os.O_APPEND
    return facts.st_size if appends else os.lseek(number, 0, os.SEEK_CUR)
