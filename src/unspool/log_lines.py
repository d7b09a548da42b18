"""The server's log: how it looks, and the line for each thing that happens to a prediction."""

from __future__ import annotations

import asyncio
import atexit
import io
import logging
import sys
from collections.abc import MutableMapping
from datetime import UTC, datetime
from typing import Any, TextIO, cast

import msgspec
import structlog

from unspool.observer import Observer, Origin
from unspool.types import Prediction

LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}

_encode = msgspec.json.Encoder(enc_hook=repr).encode
_log = structlog.get_logger("unspool.predictions")


def configure_logging(level: str) -> None:
    """One line per event on stderr: readable at a terminal, JSON elsewhere.

    Args:
        level: the least level that is written: `debug`, `info`, `warning` or `error`.
    """
    wrapper = structlog.make_filtering_bound_logger(LEVELS[level])
    processors: list[structlog.typing.Processor] = []
    if sys.stderr.isatty():
        processors = [
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.dev.ConsoleRenderer(),
        ]
    else:
        wrapper = _json_lines(wrapper)
    structlog.configure(
        processors=processors,
        wrapper_class=wrapper,
        logger_factory=structlog.WriteLoggerFactory(cast(TextIO, _Output(sys.stderr))),
        cache_logger_on_first_use=True,
    )


def _json_lines(base: type[Any]) -> type[Any]:
    """A logger of structlog that makes a line of JSON in one step.

    Passing it from step to step costs more than making it, and a short run has three lines.
    """

    class JsonLines(base):  # type: ignore[misc]
        def _proxy_to_logger(self, method_name: str, event: str | None = None, **fields: Any) -> None:
            line: MutableMapping[str, Any] = {**self._context, **fields} if self._context else fields
            if line.get("exc_info"):
                line = structlog.processors.format_exc_info(self._logger, method_name, line)
            line["event"] = event
            line["level"] = "error" if method_name == "exception" else method_name
            line["timestamp"] = datetime.now(UTC)
            self._logger.msg(_encode(line).decode())

    return JsonLines


class _Output(io.TextIOBase):
    """Writes the lines of one turn of the event loop together; without a loop, each at once."""

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._gathered: list[str] = []
        atexit.register(self._write)

    def write(self, text: str) -> int:
        self._gathered.append(text)
        return len(text)

    def flush(self) -> None:
        """Called after each line."""
        if len(self._gathered) > 1:
            return
        try:
            asyncio.get_running_loop().call_soon(self._write)
        except RuntimeError:
            self._write()

    def _write(self) -> None:
        gathered, self._gathered = self._gathered, []
        self._file.write("".join(gathered))
        self._file.flush()


class LogLines(Observer):
    """A line for each transition: at level info, but for a loss, which is a warning."""

    def __init__(self) -> None:
        self._info = _log.bind().info

    def submitted(self, prediction: Prediction, asked: Origin) -> None:
        """See `Observer.submitted`."""
        self._info("prediction submitted", **_who(prediction), request_id=asked.request_id)

    def claimed(self, prediction: Prediction) -> None:
        """See `Observer.claimed`."""
        waited_s = _seconds(prediction.created_at_ns, prediction.started_at_ns)
        self._info("prediction claimed", **_who(prediction), attempt=prediction.attempt, waited_s=waited_s)

    def ended(self, prediction: Prediction) -> None:
        """See `Observer.ended`."""
        created, started, finished = prediction.created_at_ns, prediction.started_at_ns, prediction.finished_at_ns
        self._info(
            f"prediction {prediction.status}",
            **_who(prediction),
            attempt=prediction.attempt,
            total_s=_seconds(created, finished),
            waited_s=_seconds(created, started or finished),
            run_s=_seconds(started, finished),
        )

    def lost(self, prediction: Prediction, cause: str) -> None:
        """See `Observer.lost`."""
        _log.warning("prediction lost its attempt", **_who(prediction), attempt=prediction.attempt, cause=cause)


def log_lines(level: str) -> Observer:
    """The observer that writes what is of this level or above, so that what is not written costs nothing."""
    return {"debug": LogLines, "info": LogLines, "warning": _Losses, "error": Observer}[level]()


class _Losses(Observer):
    """Nothing but losses."""

    lost = LogLines.lost


def _who(prediction: Prediction) -> dict[str, str]:
    return {"id": prediction.id, "model": prediction.model, "owner": prediction.owner}


def _seconds(begin_ns: int | None, end_ns: int | None) -> float:
    """To the tenth of a millisecond; 0 where one of them is not known."""
    return round((end_ns - begin_ns) / 1e9, 4) if begin_ns is not None and end_ns is not None else 0.0
