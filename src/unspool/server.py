"""One server process: spool, host and edge in one event loop, from start to a clean stop."""

from __future__ import annotations

import asyncio
import fcntl
import gc
import os
import resource
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import structlog

from unspool import __version__, stages
from unspool.api.app import App
from unspool.api.auth import Auth
from unspool.api.files import Downloads
from unspool.api.media import Media
from unspool.api.models import Catalog
from unspool.api.stream import Viewers
from unspool.config import Settings
from unspool.errors import Unavailable, UnspoolError
from unspool.files.config import WorkerFiles
from unspool.files.storage import SWEEP_INTERVAL_S, Storage, local_url
from unspool.gpu_memory import GpuMemory
from unspool.host import Host
from unspool.http_server import HttpServer, listen
from unspool.log_lines import log_lines
from unspool.metrics import Metrics
from unspool.observer import Observer, Observers
from unspool.retention import Retention
from unspool.spool import Spool, open_spool
from unspool.spool.keys import new_text
from unspool.views import Views
from unspool.webhooks import Deliverer
from unspool.worker import tracing

MOST_EXPECTED_FILES = 65_536
"""The table of open files has room for so many from the start; that takes 0.5 MiB of the system's memory."""
LAST_SPANS_S = 2.0
"""How long a stop waits for the collector of traces."""

_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104
"""Addresses to listen on that are none to be reached at, and what is."""

_FOR_EVER_DAYS = 36_500
_log = structlog.get_logger("unspool")


async def serve(file: str, settings: Settings, on_listening: Callable[[str, str | None], None]) -> None:
    """Serves the models of a file until SIGTERM or SIGINT.

    Args:
        on_listening: called with the base URL and the API key, if one is needed, once requests are answered.

    Raises:
        ModelFileError: the file cannot be served.
        SpoolUnavailable: the data folder cannot be used.
        OSError: the address cannot be listened on.
    """
    _share_one_core()
    _allow_many_connections()
    url = f"sqlite:///{settings.data_dir.absolute() / 'unspool.db'}"
    metrics = Metrics(__version__)
    observer = Observers(metrics, log_lines(settings.log_level), *_traces())
    spool = await open_spool(url, lease_s=settings.lease_s, observer=observer)
    metrics.listen = spool.listen
    try:
        await _serve(spool, file, settings, on_listening, metrics, observer)
    finally:
        await spool.close()
        await asyncio.to_thread(tracing.shut_down, LAST_SPANS_S)


async def _serve(
    spool: Spool,
    file: str,
    settings: Settings,
    on_listening: Callable[[str, str | None], None],
    metrics: Metrics,
    observer: Observer,
) -> None:
    key = (settings.api_key or _kept_key(settings.data_dir)) if settings.auth == "on" else None
    auth = await Auth.open(spool, settings, key)
    listening = listen(settings.host, settings.port)
    port = listening.getsockname()[1]
    worker_files = _worker_files(settings, port)
    storage = Storage(worker_files.storage_url, worker_files.retention_s)
    _open(storage, settings)
    learned = {stages.VARIABLE: str(settings.data_dir.absolute() / "learned")}
    host = Host(spool, file, settings, worker_files.environment() | learned, observer)
    viewers = Viewers(spool, settings, observer)
    starting = asyncio.create_task(host.start())
    catalog = Catalog(spool, starting)
    await catalog.refresh()
    views = Views(spool, auth.stream_token)

    gpu_memory = GpuMemory(host.workers)
    metrics.registry.register(gpu_memory)

    async def scrape(accept: str) -> tuple[bytes, str]:
        await gpu_memory.refresh()
        return metrics.render(accept, await spool.waiting(), host.workers())

    retention = Retention(spool, settings, storage.delete_of_all)
    app = App(
        spool,
        catalog,
        auth,
        viewers,
        views,
        settings,
        host.models,
        retention,
        scrape,
        downloads=Downloads(storage, settings),
        media=Media(storage, auth, await spool.secret(), settings),
    )
    stop = _stop_signals()
    http = HttpServer(app, listening, head_timeout_s=settings.header_timeout_s)
    delivering = asyncio.create_task(Deliverer(spool, views, settings, on_outcome=observer.delivered).run())
    lasting = (
        viewers.drop_stalled(),
        catalog.keep_fresh(),
        auth.keep_fresh(),
        retention.keep_expiring(),
        _keep_swept(storage),
    )
    background = [asyncio.ensure_future(work) for work in lasting]
    try:
        await http.start()
        on_listening(_base_url(settings.host, port), key)
        _calm_collector()
        await _watch_abandoned(spool, viewers)
        await _until_stopped(stop, starting)
        app.draining = True
        await _drain(host, settings.drain_timeout_s, stop)
    finally:
        app.draining = True
        await host.stop()
        delivering.cancel()
        viewers.close()
        await app.close()
        await http.stop()
        await asyncio.wait([delivering])
        for task in [starting, *background]:
            task.cancel()


async def _drain(host: Host, timeout_s: float, stop: asyncio.Queue[signal.Signals]) -> None:
    """Lets the runs that go on finish, until the time is up or somebody wants the stop at once."""
    draining = asyncio.create_task(host.drain(timeout_s))
    if host.running:
        _log.info("finishing the runs that go on; stop again to end now", runs=host.running)
    await _first_of(draining, asyncio.create_task(_signal(stop)))


def _worker_files(settings: Settings, port: int) -> WorkerFiles:
    """Where this server's workers keep files, and how they tell them."""
    host = settings.host
    if settings.public_url is None and host in _EVERYWHERE:
        host = _EVERYWHERE[host]
        _log.warning("URLs of outputs name this machine only; set UNSPOOL_PUBLIC_URL for clients elsewhere", host=host)
    return WorkerFiles(
        storage_url=settings.files_url or local_url(settings.data_dir / "files"),
        base_url=(settings.public_url or _base_url(host, port)).rstrip("/"),
        scratch_dir=str(settings.data_dir.absolute() / "scratch"),
        retention_s=(settings.retention_days or _FOR_EVER_DAYS) * 24 * 3600,
        fetch_allow_http=settings.fetch_allow_http,
        fetch_allow_hosts=settings.fetch_allow_hosts,
        fetch_timeout_s=settings.fetch_timeout_s,
        max_input_bytes=settings.max_input_bytes,
        max_base64_output_bytes=settings.max_base64_output_bytes,
    )


def _open(storage: Storage, settings: Settings) -> None:
    """Raises:
    UnspoolError: files cannot be kept where the settings say; the message is for the operator.
    """
    try:
        storage.open()
    except Unavailable as error:
        where = settings.files_url or settings.data_dir / "files"
        reason = str(error.__cause__).partition("\n")[0]
        raise UnspoolError(f"Files cannot be kept in {where}: {reason}") from error


def _base_url(host: str, port: int) -> str:
    """The address that is listened on, as a URL."""
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


async def _keep_swept(storage: Storage) -> None:
    """For ever: deletes files that have expired."""
    while True:
        try:
            count = await storage.sweep()
        except Unavailable as error:
            _log.warning("expired files cannot be deleted", cause=str(error.__cause__).partition("\n")[0])
        else:
            if count:
                _log.info("expired files were deleted", count=count)
        await asyncio.sleep(SWEEP_INTERVAL_S)


def _calm_collector() -> None:
    """Leaves alone what is there once the server has started, and looks seldom through what comes.

    What is there are all modules, schemas and routes: a look through them takes 40 ms, in which no viewer is served.
    What comes with an event is out of the collector's sight (`Batch`), so it has a few objects of each run to look at.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 50, 50)


def _share_one_core() -> None:
    """Where there is one core only, lets our threads take turns instead of interrupting each other.

    Otherwise the spool's thread takes the core from the event loop at every commit.
    """
    if hasattr(os, "sched_getaffinity") and len(os.sched_getaffinity(0)) == 1:
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


def _traces() -> list[Observer]:
    if not tracing.wanted():
        return []
    if not tracing.installed():
        _log.warning('traces are asked for, but OpenTelemetry is missing: pip install "unspool[otel]"')
        return []
    from unspool.traces import Traces

    return [Traces(__version__)]


def _allow_many_connections() -> None:
    """Each connection is an open file: lets us have as many as the system allows at all."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    now = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    _log.debug("files that may be open", now=now, before=soft)
    _make_room_for_files(now)


def _make_room_for_files(most: int) -> None:
    """Lets the table of open files have its size from the start, while there is one thread.

    Linux doubles it at 256, 512, … and, in a process of several threads, waits for all processors each time: 10-15 ms
    in which nobody is served.
    """
    room = min(most, MOST_EXPECTED_FILES) if most > 0 else MOST_EXPECTED_FILES
    with suppress(OSError), Path(os.devnull).open() as some:
        os.close(fcntl.fcntl(some, fcntl.F_DUPFD_CLOEXEC, room - 1))


async def _watch_abandoned(spool: Spool, viewers: Viewers) -> None:
    """Predictions that die with their last viewer lost all of them when the server went down."""
    for prediction in await spool.unfinished():
        if prediction.on_disconnect == "cancel":
            viewers.expect_return(prediction.id)


def _stop_signals() -> asyncio.Queue[signal.Signals]:
    loop = asyncio.get_running_loop()
    received: asyncio.Queue[signal.Signals] = asyncio.Queue()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, received.put_nowait, number)
    return received


async def _until_stopped(stop: asyncio.Queue[signal.Signals], starting: asyncio.Task[None]) -> None:
    """Waits for a signal, or for the discovery that there is nothing to serve."""
    signalled = asyncio.create_task(_signal(stop))
    await asyncio.wait([signalled, starting], return_when=asyncio.FIRST_COMPLETED)
    if not signalled.done():
        await starting
        await signalled


async def _signal(stop: asyncio.Queue[signal.Signals]) -> None:
    await stop.get()


async def _first_of(*tasks: asyncio.Task[None]) -> None:
    _, others = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for other in others:
        other.cancel()


def _kept_key(data_dir: Path) -> str:
    """The API key of the data folder, made at the first start. Only its owner can read the file."""
    path = data_dir / "api-key"
    try:
        return path.read_text().strip()
    except FileNotFoundError:
        key = new_text()
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as out:
            out.write(key + "\n")
        return key
