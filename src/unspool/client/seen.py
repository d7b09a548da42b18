"""What a follower has seen of a prediction: the output so far, how far it is, how it ended."""

from __future__ import annotations

from typing import Any

from unspool.client.events import Complete, Error, Event, Output, Progress
from unspool.client.objects import Prediction
from unspool.types import Cursor


class Seen:
    """The sum of all events up to one.

    Args:
        after: the last event that was seen before.
    """

    def __init__(self, id: str | None, model: str, after: Cursor) -> None:
        self.id = id
        self.model = model
        self.attempt, self.n = after
        self.percentage: float = 0
        self.prediction: Prediction | None = None
        """Once it has ended."""
        self._parts: dict[int, list[Any]] = {}

    @property
    def cursor(self) -> str | None:
        """Of the last event; None before the first."""
        return f"{self.attempt}-{self.n}" if self.n else None

    @property
    def text(self) -> str:
        """The text of this attempt so far. Of several outputs, the first."""
        if self.prediction is not None and isinstance(self.prediction.output, str):
            return self.prediction.output
        return "".join(part for part in self._parts.get(0, []) if isinstance(part, str))

    @property
    def outputs(self) -> list[Any]:
        """The outputs so far; None where there is nothing yet."""
        if self.prediction is not None and self.prediction.status == "completed":
            return self.prediction.outputs
        return [_whole(self._parts.get(index, [])) for index in range(max(self._parts, default=-1) + 1)]

    def take(self, event: Event) -> None:
        """The next event."""
        if event.attempt != self.attempt:
            self._begin(event.attempt)
        self.n = event.n
        kind = type(event)
        if kind is Output:
            self._output(event)  # type: ignore[arg-type]
        elif kind is Progress:
            self.percentage = event.percentage  # type: ignore[union-attr]
        elif isinstance(event, Complete | Error):
            self._end(event)

    def _begin(self, attempt: int) -> None:
        """A new attempt: what the one before has put out is void."""
        self.attempt = attempt
        self._parts.clear()
        self.percentage = 0

    def _output(self, event: Output) -> None:
        parts = self._parts.get(event.index)
        if parts is None:
            self._parts[event.index] = [event.output]
        else:
            parts.append(event.output)

    def _end(self, event: Complete | Error) -> None:
        completed = isinstance(event, Complete)
        if completed:
            self.percentage = 100
        self.prediction = Prediction(
            id=event.id or self.id or "",
            model=self.model,
            status="completed" if isinstance(event, Complete) else event.status,
            outputs=event.outputs if isinstance(event, Complete) else [],
            error="" if isinstance(event, Complete) else event.error,
            code=None if isinstance(event, Complete) else event.code,
            timings=event.timings,
            executionTime=event.timings.get("inference", 0),
            progress=self.percentage,
            attempt=event.attempt,
            usage=event.usage,
        )


def _whole(parts: list[Any]) -> Any:
    if parts and all(isinstance(part, str) for part in parts):
        return "".join(parts)
    return parts[-1] if parts else None
