"""OpenTelemetry, where it is wanted: the one place that sets it up, for the host and for workers.

Wanted means: a collector is named in `OTEL_EXPORTER_OTLP_ENDPOINT` (or its variant for traces), or `UNSPOOL_OTEL` is
on. Everything else is the SDK's own: its `OTEL_…` variables name the collector, the headers, the sampler. Nothing of
it is imported where it is not wanted.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import threading
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
_provider: TracerProvider | None = None


def wanted() -> bool:
    """Whether the environment asks for traces."""
    on = os.environ.get("UNSPOOL_OTEL", "").strip().lower() in ("1", "true", "yes", "on", "t", "y")
    return on or any(os.environ.get(name) for name in _ENDPOINTS)


def installed() -> bool:
    """Whether the packages of the extra `otel` are there."""
    names = ("opentelemetry.sdk.trace", "opentelemetry.exporter.otlp.proto.http")
    try:
        return all(importlib.util.find_spec(name) is not None for name in names)
    except ModuleNotFoundError:
        return False


def install(say: Callable[[str], None], **options: Any) -> TracerProvider:
    """Sets up the process's tracer provider, which sends spans in batches from a thread of its own.

    Args:
        say: takes what the SDK has to say, which must not become output of a model.
        options: of the provider.
    """
    global _provider
    from opentelemetry import trace
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    logger = logging.getLogger("opentelemetry")
    logger.propagate = False
    logger.addHandler(_Handler(say))
    if "service.name=" not in os.environ.get("OTEL_RESOURCE_ATTRIBUTES", ""):
        os.environ.setdefault("OTEL_SERVICE_NAME", "unspool")
    _provider = TracerProvider(shutdown_on_exit=False, **options)
    _provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(_provider)
    return _provider


class _Handler(logging.Handler):
    """What the SDK logs, as text."""

    def __init__(self, say: Callable[[str], None]) -> None:
        super().__init__(logging.WARNING)
        self._say = say

    def emit(self, record: logging.LogRecord) -> None:
        self._say(record.getMessage())


def enter(traceparent: str) -> None:
    """Makes the spans that this context's code begins children of a span elsewhere."""
    if _provider is not None and traceparent:
        from opentelemetry.context import attach
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        attach(TraceContextTextMapPropagator().extract({"traceparent": traceparent}))


def enter_any(traceparents: Iterable[str]) -> None:
    """The same for code that works for several of them: a span has one parent, so it is the first that is traced."""
    enter(next(iter(traceparents), ""))


def shut_down(timeout_s: float) -> None:
    """Sends what is left, for at most so long: a collector that does not answer must not hold up an end."""
    if _provider is not None:
        sending = threading.Thread(target=_provider.shutdown, daemon=True)
        sending.start()
        sending.join(timeout_s)
