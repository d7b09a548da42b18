"""Metrics for Prometheus: what is counted, and the text that `/metrics` answers.

One registry per server, not the global one of the library. Labels are model ids, statuses and a few words of our own,
so the number of series is bounded by what is served.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, MutableMapping
from functools import cache
from pathlib import Path
from time import perf_counter, time_ns
from typing import Any, Final, NamedTuple

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics import disable_created_metrics

from unspool.observer import Observer, Origin, Outlet, Send
from unspool.types import START, Cursor, Prediction

SHORT_S: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
"""Buckets for what should take milliseconds."""
LONG_S: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600)
"""Buckets for what a model does."""
WATCHED_STREAMS: Final = 8
"""So many streams at a time are measured; the others are not touched."""
SAMPLE_INTERVAL_S: Final = 0.1
"""A measured stream is looked at so often, for one event."""
WATCH_S: Final = 30.0
"""Then another stream is measured in its place."""
OUTCOMES: Final = frozenset({"delivered", "retried", "failed"})
"""Of webhooks. Any other word is counted as `other`."""

Listen = Callable[[str, Cursor, Callable[[Cursor], None]], bool]
"""`Spool.listen`."""


class WorkerState(NamedTuple):
    """A worker's place at the moment of a scrape."""

    model: str
    replica: int
    pid: int | None
    ready: bool
    running: int


class Metrics(Observer):
    """Counts what happens. Set `listen` to let the lateness of events be measured.

    Args:
        version: of Unspool, for `unspool_build_info`.
    """

    def __init__(self, version: str) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = registry = CollectorRegistry()
        self.listen: Listen = _listen_to_nothing
        self._probes: dict[Send, _Probe] = {}
        ProcessCollector(namespace="unspool", registry=registry)
        Gauge(
            "unspool_build_info", "The version that runs; always 1.", ["version", "python"], registry=registry
        ).labels(version, f"{sys.version_info.major}.{sys.version_info.minor}").set(1)
        self._predictions(registry)
        self._streams(registry)
        self._workers(registry)
        self._store(registry)

    def _predictions(self, registry: CollectorRegistry) -> None:
        def counter(name: str, what: str, *labels: str) -> Callable[..., Counter]:
            return cache(Counter(f"unspool_{name}", what, labels, registry=registry).labels)

        def histogram(name: str, what: str) -> Callable[..., Histogram]:
            return cache(Histogram(f"unspool_{name}", what, ["model"], buckets=LONG_S, registry=registry).labels)

        self._submitted = counter("predictions_submitted_total", "Predictions that were accepted.", "model")
        self._ended = counter("predictions_total", "Predictions that have ended, by how.", "model", "status")
        self._lost = counter("attempts_lost_total", "Attempts that ended with their process.", "model")
        self._wait = histogram("queue_wait_seconds", "From the submit to the start of the first attempt.")
        self._output = histogram("first_output_seconds", "From the submit to the first output that an attempt streams.")
        self._duration = histogram("run_duration_seconds", "The last attempt, from its start to its terminal event.")
        self._depth = Gauge(
            "unspool_queue_depth", "Predictions that wait for an attempt.", ["model"], registry=registry
        )
        self._running = Gauge("unspool_running", "Attempts that go on.", ["model"], registry=registry)

    def _streams(self, registry: CollectorRegistry) -> None:
        self._viewers = Gauge("unspool_viewers", "Streams that are open.", registry=registry)
        self._opened = Counter("unspool_streams_total", "Streams that were opened.", registry=registry)
        self._resumed = Counter("unspool_streams_resumed_total", "Of these, from a cursor.", registry=registry)
        self._dropped = Counter(
            "unspool_viewers_dropped_total", "Viewers dropped because they took nothing.", registry=registry
        )
        self._first_event = Histogram(
            "unspool_first_event_seconds",
            "From the beginning of a stream's answer to its first event in the HTTP server; a sample of the streams.",
            buckets=SHORT_S,
            registry=registry,
        )
        self._lateness = Histogram(
            "unspool_event_lateness_seconds",
            "From the event's arrival in the host to the write that carries it to a viewer; a sample of the events.",
            buckets=SHORT_S,
            registry=registry,
        )
        self._deliveries = Counter(
            "unspool_webhook_deliveries_total", "Attempts to deliver a webhook.", ["outcome"], registry=registry
        )

    def _workers(self, registry: CollectorRegistry) -> None:
        def per_model(kind: type[Counter] | type[Gauge], name: str, what: str, *labels: str) -> Any:
            return kind(f"unspool_{name}", what, ["model", *labels], registry=registry)

        self._restarts = per_model(Counter, "worker_restarts_total", "Workers that ended and were replaced.")
        self._load_failures = per_model(
            Counter, "model_load_failures_total", "Workers that ended before they were ready."
        )
        self._load_time = per_model(Gauge, "model_load_seconds", "How long the newest worker took to load its model.")
        self._ready = per_model(Gauge, "workers_ready", "Workers that take predictions.")
        self._memory = per_model(Gauge, "worker_resident_memory_bytes", "Resident memory of a worker.", "replica")

    def _store(self, registry: CollectorRegistry) -> None:
        self._commit = Histogram(
            "unspool_spool_commit_duration_seconds",
            "From handing a transaction to the writer thread until it is on disk.",
            buckets=SHORT_S,
            registry=registry,
        )
        self._commit_failures = Counter(
            "unspool_spool_commit_failures_total", "Transactions that could not be written.", registry=registry
        )

    # Observer

    def submitted(self, prediction: Prediction, asked: Origin) -> None:
        """See `Observer.submitted`."""
        self._submitted(prediction.model).inc()

    def claimed(self, prediction: Prediction) -> None:
        """See `Observer.claimed`."""
        if prediction.attempt == 1 and prediction.started_at_ns is not None:
            self._wait(prediction.model).observe(_seconds(prediction.created_at_ns, prediction.started_at_ns))

    def first_output(self, prediction: Prediction) -> None:
        """See `Observer.first_output`."""
        self._output(prediction.model).observe(_seconds(prediction.created_at_ns, time_ns()))

    def lost(self, prediction: Prediction, cause: str) -> None:
        """See `Observer.lost`."""
        self._lost(prediction.model).inc()

    def ended(self, prediction: Prediction) -> None:
        """See `Observer.ended`."""
        self._ended(prediction.model, str(prediction.status)).inc()
        if prediction.started_at_ns is not None and prediction.finished_at_ns is not None:
            self._duration(prediction.model).observe(_seconds(prediction.started_at_ns, prediction.finished_at_ns))

    def committed(self, seconds: float) -> None:
        """See `Observer.committed`."""
        self._commit.observe(seconds)

    def commit_failed(self) -> None:
        """See `Observer.commit_failed`."""
        self._commit_failures.inc()

    def worker_ready(self, model: str, seconds: float) -> None:
        """See `Observer.worker_ready`."""
        self._load_time.labels(model).set(seconds)
        self._restarts.labels(model)
        self._load_failures.labels(model)

    def worker_ended(self, model: str, *, loaded: bool) -> None:
        """See `Observer.worker_ended`."""
        self._restarts.labels(model).inc()
        if not loaded:
            self._load_failures.labels(model).inc()

    def viewer_joined(self, *, resumed: bool) -> None:
        """See `Observer.viewer_joined`."""
        self._viewers.inc()
        self._opened.inc()
        if resumed:
            self._resumed.inc()

    def viewer_left(self, outlet: Outlet, *, dropped: bool) -> None:
        """See `Observer.viewer_left`."""
        self._probes.pop(outlet.send, None)
        self._viewers.dec()
        if dropped:
            self._dropped.inc()

    def delivered(self, outcome: str) -> None:
        """See `Observer.delivered`."""
        self._deliveries.labels(outcome if outcome in OUTCOMES else "other").inc()

    def stream(self, id: str, outlet: Outlet) -> Outlet:
        """See `Observer.stream`. Only a few streams at a time are measured: that bounds what measuring costs."""
        if len(self._probes) >= WATCHED_STREAMS:
            return outlet
        probe = _Probe(self, id, outlet)
        self._probes[probe.send] = probe
        return outlet._replace(send=probe.send, push=probe.push)

    def probe_done(self, probe: _Probe) -> None:
        """Another stream may be measured."""
        self._probes.pop(probe.send, None)

    def wrote_first_event(self, seconds: float) -> None:
        """See `unspool_first_event_seconds`."""
        self._first_event.observe(seconds)

    def wrote_late(self, seconds: float) -> None:
        """See `unspool_event_lateness_seconds`."""
        self._lateness.observe(seconds)

    # Scraping

    def render(self, accept: str, waiting: dict[str, int], workers: Iterable[WorkerState]) -> tuple[bytes, str]:
        """The answer to a scrape, in the format that its `Accept` header asks for, and its content type.

        Args:
            waiting: how many predictions wait, by model.
            workers: where each worker stands.
        """
        for gauge in (self._depth, self._running, self._ready, self._memory):
            gauge.clear()
        for model, depth in waiting.items():
            self._depth.labels(model).set(depth)
        for worker in workers:
            self._show(worker)
        encode, content_type = choose_encoder(accept)
        return encode(self.registry), content_type

    def _show(self, worker: WorkerState) -> None:
        self._depth.labels(worker.model)
        self._running.labels(worker.model).inc(worker.running)
        self._ready.labels(worker.model).inc(worker.ready)
        memory = resident_bytes(worker.pid) if worker.pid is not None else None
        if memory is not None:
            self._memory.labels(worker.model, worker.replica).set(memory)


class _Probe:
    """Around the outlet of one stream: when its first event went out, and now and then how late an event was.

    An event is late from the moment that the log has it until the HTTP server has taken the write in which it is.
    Only a stream that has seen everything before is asked, so that a replay is not taken for lateness.
    """

    def __init__(self, metrics: Metrics, id: str, outlet: Outlet) -> None:
        self._metrics = metrics
        self._id = id
        self._send, self._push, _ = outlet
        self._began = self._sampled_at = perf_counter()
        self._first = True
        self._done = False
        self._listening = False
        self._waits_for: tuple[Cursor, float] | None = None

    async def send(self, message: MutableMapping[str, Any]) -> None:
        """Sends, then looks at what was sent."""
        await self._send(message)
        if not self._done and message["type"] == "http.response.body":
            self._look(message.get("body", b""), perf_counter())

    def push(self, piece: bytes) -> bool:
        """Pushes, then looks at what was pushed."""
        pushed = self._push(piece)
        if pushed and not self._done:
            self._look(piece, perf_counter())
        return pushed

    def _look(self, body: bytes, now: float) -> None:
        if self._first and body:
            self._first = False
            self._metrics.wrote_first_event(now - self._began)
        if self._waits_for is not None:
            cursor, heard_at = self._waits_for
            if last_cursor(body) >= cursor:
                self._metrics.wrote_late(now - heard_at)
                self._waits_for, self._listening, self._sampled_at = None, False, now
        elif not self._listening and now - self._sampled_at >= SAMPLE_INTERVAL_S:
            self._listening = self._metrics.listen(self._id, last_cursor(body), self._heard)
        if now - self._began > WATCH_S:
            self._done = True
            self._metrics.probe_done(self)

    def _heard(self, cursor: Cursor) -> None:
        self._waits_for = (cursor, perf_counter())


def last_cursor(body: bytes) -> Cursor:
    """The cursor of the last event in a piece of a stream; `START` if it has none."""
    at = body.rfind(b"\nid: ") + 1
    line = body[at : body.find(b"\n", at)]
    if not line.startswith(b"id: "):
        return START
    return Cursor.parse(line[4:].decode())


def resident_bytes(pid: int) -> int | None:
    """Resident memory of a process; `None` where the system does not tell (it has no /proc) or it has gone."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return None
    for line in status.splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    return None


def _listen_to_nothing(id: str, at: Cursor, heard: Callable[[Cursor], None]) -> bool:
    return False


def _seconds(begin_ns: int, end_ns: int) -> float:
    return max(0, end_ns - begin_ns) / 1e9
