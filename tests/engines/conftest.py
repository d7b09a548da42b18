"""Real weights on the real runtime, and a way to watch a run from outside."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from unspool.demo.weights import WeightsError, smollm2
from unspool.engines.llama import Llama
from unspool.model import MARK, Run

DEADLINE_S = 100


class Spoken:
    """A run of an engine, in a thread of its own, with everything that it says."""

    def __init__(self, model: Any, inputs: dict[str, Any]) -> None:
        self.events: list[dict[str, Any]] = []
        self.times: list[float] = []
        self.on_event: Callable[[dict[str, Any]], None] = lambda event: None
        self.run = Run("p1", 1, self._emit)
        self.error: BaseException | None = None
        self._changed = threading.Condition()
        self._model, self._inputs = model, inputs
        self.thread = threading.Thread(target=self._call, daemon=True)

    def start(self) -> Spoken:
        self.thread.start()
        return self

    def _call(self) -> None:
        try:
            validated = getattr(self._model, MARK).inputs.model_validate_json(json.dumps(self._inputs))
            self._model(run=self.run, **{name: getattr(validated, name) for name in type(validated).model_fields})
            self._emit(self.run.completed(None))
        except BaseException as error:
            self.error = error

    def _emit(self, data: bytes) -> None:
        event = json.loads(data)
        with self._changed:
            self.times.append(time.monotonic())
            self.events.append(event)
            self._changed.notify_all()
        self.on_event(event)

    def wait_for(self, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """The first event of that kind, as soon as it has been said."""
        with self._changed:
            found = self._changed.wait_for(lambda: next(filter(wanted, self.events), None), DEADLINE_S)
        assert found, f"never said; the run said {self.events[-3:]} and raised {self.error!r}"
        return found

    def end(self) -> dict[str, Any]:
        """The last event. Raises what the run raised."""
        self.thread.join(DEADLINE_S)
        assert not self.thread.is_alive(), "the run has not ended"
        if self.error is not None:
            raise self.error
        return self.events[-1]

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [event for event in self.events if event["type"] == kind]

    @property
    def text(self) -> str:
        return "".join(event["output"] for event in self.of("output"))


def start(model: Any, **inputs: Any) -> Spoken:
    return Spoken(model, inputs).start()


def run(model: Any, **inputs: Any) -> Spoken:
    spoken = start(model, **inputs)
    spoken.end()
    return spoken


@pytest.fixture(scope="session")
def gguf() -> Path:
    try:
        return smollm2(progress=False)
    except WeightsError as error:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(f"the weights are not here and cannot be fetched: {error}")


def load(path: Path, **options: Any) -> Llama:
    """One thread, since several that wait for each other get nowhere on a machine that is busy."""
    options = {"slots": 1, "context_tokens": 256, "threads": 1, **options}
    model = Llama("test/model", weights=path, **options)
    model.setup()
    return model


@pytest.fixture(scope="session")
def llama(gguf: Path) -> Llama:
    return load(gguf, slots=4)


@pytest.fixture(scope="session")
def narrow(gguf: Path) -> Llama:
    """With one slot, so that a run can only go on when the one before has left, and a long context."""
    return load(gguf, context_tokens=1024, batch_tokens=32)
