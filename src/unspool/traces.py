"""A trace for each prediction: from its submit to its terminal event, with its wait and its attempts inside.

    predict acme/video            the prediction; a child of the client's span, if the submit had a `traceparent`
    ├── queue                     until an attempt begins
    └── attempt                   what the worker's own spans are children of

Where the client traces nothing, the prediction's id is the trace's id. So a prediction that outlives its server goes on
in the same trace, and nothing has to be stored for it.
"""

from __future__ import annotations

import msgspec
import structlog
from opentelemetry.context import Context
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, format_span_id, format_trace_id, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from unspool.observer import Observer, Origin
from unspool.states import Status as Outcome
from unspool.types import Prediction
from unspool.worker import tracing

_log = structlog.get_logger("unspool.traces")


class _Ids(RandomIdGenerator):
    """Random ids, but for the next trace's, if that is said."""

    next_trace_id: int | None = None

    def generate_trace_id(self) -> int:
        given, self.next_trace_id = self.next_trace_id, None
        return given or super().generate_trace_id()


class _Failure(msgspec.Struct):
    """What a trace says of a terminal event."""

    error: str = ""


class _Open:
    """The spans of a prediction that are open: its own, and the one of what it does now."""

    def __init__(self, whole: Span) -> None:
        self.whole = whole
        self.context: Context = set_span_in_context(whole)
        self.now: Span | None = None

    def step(self, at_ns: int | None) -> None:
        """Ends what it does now."""
        if self.now is not None:
            self.now.end(at_ns)
            self.now = None


class Traces(Observer):
    """Makes the spans. Sending them is the SDK's, in a thread of its own.

    Args:
        version: of Unspool.
    """

    def __init__(self, version: str) -> None:
        self._ids = _Ids()
        provider = tracing.install(lambda text: _log.warning("opentelemetry", said=text), id_generator=self._ids)
        self._tracer = provider.get_tracer("unspool", version)
        self._open: dict[str, _Open] = {}

    def submitted(self, prediction: Prediction, asked: Origin) -> None:
        """See `Observer.submitted`."""
        self._begin(prediction, _parent(asked), {"unspool.request_id": asked.request_id})

    def _begin(self, prediction: Prediction, parent: Context, more: dict[str, str | bool]) -> _Open:
        self._ids.next_trace_id = int(prediction.id, 16)
        whole = self._tracer.start_span(
            f"predict {prediction.model}",
            parent,
            SpanKind.SERVER,
            {"unspool.prediction_id": prediction.id, "unspool.model": prediction.model, **more},
            start_time=prediction.created_at_ns,
        )
        self._ids.next_trace_id = None
        opened = self._open[prediction.id] = _Open(whole)
        if prediction.attempt == 0:
            self._queue(opened, prediction.created_at_ns)
        return opened

    def _queue(self, opened: _Open, at_ns: int | None) -> None:
        opened.now = self._tracer.start_span("queue", opened.context, start_time=at_ns)

    def _of(self, prediction: Prediction) -> _Open:
        """Its open spans; begun anew if they were another process's."""
        return self._open.get(prediction.id) or self._begin(prediction, Context(), {"unspool.resumed": True})

    def claimed(self, prediction: Prediction) -> None:
        """See `Observer.claimed`."""
        opened = self._of(prediction)
        opened.step(prediction.started_at_ns)
        opened.now = self._tracer.start_span(
            "attempt",
            opened.context,
            attributes={"unspool.attempt": prediction.attempt},
            start_time=prediction.started_at_ns,
        )

    def lost(self, prediction: Prediction, cause: str) -> None:
        """See `Observer.lost`."""
        opened = self._of(prediction)
        if opened.now is not None:
            opened.now.set_status(Status(StatusCode.ERROR, cause))
        opened.step(None)
        self._queue(opened, None)

    def ended(self, prediction: Prediction) -> None:
        """See `Observer.ended`."""
        opened = self._of(prediction)
        del self._open[prediction.id]
        failed = prediction.status in (Outcome.FAILED, Outcome.TIMEOUT)
        error = msgspec.json.decode(prediction.terminal or b"{}", type=_Failure).error if failed else ""
        for span in (opened.now, opened.whole):
            if span is not None and failed:
                span.set_status(Status(StatusCode.ERROR, error))
        opened.step(prediction.finished_at_ns)
        opened.whole.set_attribute("unspool.status", str(prediction.status))
        opened.whole.set_attribute("unspool.attempts", prediction.attempt)
        opened.whole.end(prediction.finished_at_ns)

    def traceparent(self, id: str) -> str:
        """See `Observer.traceparent`."""
        opened = self._open.get(id)
        if opened is None or opened.now is None:
            return ""
        span = opened.now.get_span_context()
        return f"00-{format_trace_id(span.trace_id)}-{format_span_id(span.span_id)}-{span.trace_flags & 1:02x}"


def _parent(asked: Origin) -> Context:
    carrier = {
        name.decode("latin-1"): value.decode("latin-1")
        for name, value in asked.headers
        if name in (b"traceparent", b"tracestate")
    }
    return TraceContextTextMapPropagator().extract(carrier, Context())
