"""What models say without knowing of Unspool: `print`, `logging`, `warnings` become `log`, a `tqdm` bar `progress`.

What is said while no prediction is at hand (imports, `setup`, stray threads) goes to the server's own log.
"""

from __future__ import annotations

import importlib.util
import io
import logging
import sys
import warnings
from collections.abc import Callable
from typing import Any, TextIO, cast
from weakref import WeakKeyDictionary

from unspool.model import Level, Run, current_run

_server = cast(TextIO, sys.__stderr__)
_streams: list[_Stream] = []


def _nobody() -> Run | None:
    return None


_only_run: Callable[[], Run | None] = _nobody


def install(only_run: Callable[[], Run | None]) -> None:
    """Redirects all four, for the rest of the process's life.

    Args:
        only_run: the run that output of unknown origin belongs to, if that is clear.
    """
    global _only_run
    _only_run = only_run
    out, err = _Stream("info"), _Stream("warning")
    _streams.extend([out, err])
    sys.stdout, sys.stderr = cast(TextIO, out), cast(TextIO, err)
    root = logging.getLogger()
    root.addHandler(_Handler())
    root.setLevel(logging.INFO)
    warnings.simplefilter("always", append=True)
    warnings.showwarning = _show_warning
    if importlib.util.find_spec("tqdm") is not None:
        _patch_tqdm()


def find_run() -> Run | None:
    """The run that the code at hand works for."""
    return current_run.get() or _only_run()


def to_server(text: str) -> None:
    """To the server's own log."""
    _server.write(text)
    _server.flush()


def flush(run: Run) -> None:
    """Says the last line of a run even if it has no end."""
    for stream in _streams:
        stream.flush_run(run)


def flush_all() -> None:
    """Says what is left, wherever it belongs."""
    for stream in _streams:
        stream.flush_all()


class _Stream(io.TextIOBase):
    """Stands in for stdout or stderr: each whole line becomes one `log` event of the run that wrote it."""

    def __init__(self, level: Level) -> None:
        self._level: Level = level
        self._unfinished: dict[Run | None, str] = {}

    def writable(self) -> bool:
        return True

    def isatty(self) -> bool:
        return False

    def fileno(self) -> int:
        return _server.fileno()

    def write(self, text: str) -> int:
        run = find_run()
        *lines, rest = (self._unfinished.pop(run, "") + text).replace("\r\n", "\n").replace("\r", "\n").split("\n")
        if rest:
            self._unfinished[run] = rest
        for line in lines:
            self._say(run, line)
        return len(text)

    def _say(self, run: Run | None, line: str) -> None:
        if run is None:
            to_server(line + "\n")
        elif line.strip():
            run.log(line, self._level)

    def flush_run(self, run: Run) -> None:
        line = self._unfinished.pop(run, "")
        if line:
            self._say(run, line)

    def flush_all(self) -> None:
        for run in list(self._unfinished):
            self._say(run, self._unfinished.pop(run))


class _Handler(logging.Handler):
    """The root handler: a record becomes one `log` event of the run it was made for."""

    def emit(self, record: logging.LogRecord) -> None:
        run = find_run()
        if run is None:
            to_server(f"{record.levelname} {record.name}: {record.getMessage()}\n")
        else:
            run.log(record.getMessage(), _level(record.levelno))


def _level(number: int) -> Level:
    if number >= logging.ERROR:
        return "error"
    if number >= logging.WARNING:
        return "warning"
    return "info" if number >= logging.INFO else "debug"


_NOBODY = Run("", 0, lambda event: None)
_warned: WeakKeyDictionary[Run, set[tuple[str, int, str]]] = WeakKeyDictionary()
"""Each run hears of a warning once, as a process of its own would."""


def _show_warning(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, file: Any = None, line: Any = None
) -> None:
    run = find_run()
    known = _warned.setdefault(run or _NOBODY, set())
    if (where := (filename, lineno, str(message))) in known:
        return
    known.add(where)
    if run is None:
        to_server(warnings.formatwarning(message, category, filename, lineno, line))
    else:
        run.log(f"{category.__name__}: {message}", "warning")


def _patch_tqdm() -> None:
    """A bar inside a run says `progress` where it would have drawn itself, as often as it would have.

    Only the outermost bar counts: the percentage of an inner one starts over with each step of the outer one.
    """
    import tqdm.std

    draw = tqdm.std.tqdm.display
    outermost: WeakKeyDictionary[Run, Any] = WeakKeyDictionary()

    def display(bar: Any, *args: Any, **kwargs: Any) -> Any:
        run = find_run()
        if run is None:
            return draw(bar, *args, **kwargs)
        if outermost.setdefault(run, bar) is not bar and not outermost[run].disable:
            return True
        outermost[run] = bar
        numbers = bar.format_dict
        total, done, rate = numbers["total"], numbers["n"], numbers["rate"]
        if total:
            eta = (total - done) / rate if rate else None
            stage = (bar.desc or "").rstrip(": ") or None
            run.progress(100 * done / total, stage=stage, step=int(done), steps=int(total), eta_seconds=eta)
        return True

    tqdm.std.tqdm.display = display
