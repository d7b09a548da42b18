"""What models say without knowing of Unspool: `print`, `logging`, `warnings` become `log`, a `tqdm` bar `progress`.

What is said while no prediction is at hand (imports, `setup`, stray threads) goes to the server's own log.
"""

from __future__ import annotations

import importlib.util
import io
import logging
import sys
import threading
import warnings
import weakref
from collections.abc import Callable
from typing import Any, TextIO, cast
from weakref import WeakKeyDictionary

from unspool.bars import Bar
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
    """A bar inside a run says `progress` where it would have drawn itself, as often as it would have."""
    from tqdm import TMonitor
    from tqdm.std import tqdm

    display, refresh, close = tqdm.display, tqdm.refresh, tqdm.close

    def displayed(bar: Any, *args: Any, **kwargs: Any) -> Any:
        return _say_bar(bar) or display(bar, *args, **kwargs)

    def refreshed(bar: Any, *args: Any, **kwargs: Any) -> Any:
        """Without the lock of all bars, which `refresh` would keep for ever if `Cancelled` were raised under it."""
        if bar.disable or (isinstance(threading.current_thread(), TMonitor) and hasattr(bar, _TOLD)):
            return False
        return _say_bar(bar) or refresh(bar, *args, **kwargs)

    def closed(bar: Any) -> None:
        try:
            close(bar)
        finally:
            _, told = getattr(bar, _TOLD, (None, None))
            if told is not None:
                told.end()

    tqdm.display, tqdm.refresh, tqdm.close = displayed, refreshed, closed


_TOLD = "_unspool_told"
"""The attribute of a tqdm bar for the run that it belongs to, and the `Bar` as which that run knows it."""


def _say_bar(bar: Any) -> bool:
    """Whether it belongs to a run, which then was told. It may be moved by any thread."""
    owner, known = cast("tuple[Run | None, Bar | None]", getattr(bar, _TOLD, (None, None)))
    run = current_run.get() or owner or _only_run()
    if run is None:
        return False
    told = known if known is not None and owner == run else _begin_bar(run, bar)
    where = (bar.n, bar.total, (bar.desc or "").rstrip(": ") or None)
    if told is known and where == (told.done, told.total, told.stage):
        run.check()
        return True
    told.done, told.total, told.stage = where
    run.progress(**run.bars.report(told))
    return True


def _begin_bar(run: Run, bar: Any) -> Bar:
    told = run.bars.begin(bar.total, None, done=bar.n, at_home=current_run.get() is run)
    told.source = weakref.ref(bar)
    setattr(bar, _TOLD, (run, told))
    outer = told.outer.source() if told.outer is not None and told.outer.source is not None else None
    if outer is not None:
        # It skips steps to say less often; but where it stands is what the bars inside of it are added to.
        outer.miniters, outer.dynamic_miniters = 0, False
    return told
