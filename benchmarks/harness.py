"""Starts servers on one core, loads them from another, and takes down everything that was started.

Linux only. Nothing here knows what is measured; `run.py` does.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
NO_LIMITS = {
    "UNSPOOL_KEY_REQUESTS_PER_MINUTE": "0",
    "UNSPOOL_KEY_MAX_WAITING": "0",
    "UNSPOOL_KEY_MAX_VIEWERS": "0",
}
"""One key makes all the load."""
API_KEY = "benchmark-key"
VERSIONS = {
    "bentoml": ["bentoml==1.4.39", "uvicorn[standard]==0.54.0"],  # with uvloop and httptools: uvicorn is faster so
    "ray": ["ray[serve]==2.60.0"],
}
"""What is compared with: the packages of each competitor's own virtual environment."""

_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
_prctl = ctypes.CDLL(None).prctl
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


class BenchmarkError(Exception):
    """The benchmark cannot go on; the message says why."""


# ---- what is needed before ----


def cache_dir(given: Path | None) -> Path:
    """Where programs are built and competitors installed."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    path = given or base / "unspool-benchmarks"
    path.mkdir(parents=True, exist_ok=True)
    return path


def build(name: str, cache: Path) -> Path:
    """Compiles `name`.c unless that was done already."""
    source, program = HERE / f"{name}.c", cache / name
    if not program.exists() or program.stat().st_mtime < source.stat().st_mtime:
        if not shutil.which("gcc"):
            raise BenchmarkError("gcc is needed to build the load client")
        subprocess.run(["gcc", "-O2", "-o", program, source], check=True, timeout=60)
    return program


def environment(name: str, cache: Path, base: Path) -> Path:
    """The Python of a competitor's virtual environment, which is made of the same Python as ours on the first call."""
    folder, packages = cache / name, VERSIONS[name]
    python, done = folder / "bin" / "python", folder / ".installed"
    wanted = "\n".join([str(base.resolve()), *packages])
    if done.exists() and done.read_text() == wanted:
        return python
    shutil.rmtree(folder, ignore_errors=True)
    print(f"installing {' '.join(packages)} in {folder} …", file=sys.stderr, flush=True)
    uv = shutil.which("uv")
    if uv:
        make = [uv, "venv", "-q", "-p", str(base.resolve()), str(folder)]
        install = [uv, "pip", "install", "-q", "--python", str(python), *packages]
    else:
        make = [str(base.resolve()), "-m", "venv", str(folder)]
        install = [str(python), "-m", "pip", "install", "-q", *packages]
    for command in (make, install):
        subprocess.run(command, check=True, timeout=600)
    done.write_text(wanted)
    return python


def versions(python: Path, packages: Sequence[str]) -> dict[str, str]:
    """The installed versions of packages, as that Python sees them; empty if it is not there."""
    code = "import importlib.metadata as m, json, sys; print(json.dumps({n: m.version(n) for n in sys.argv[1:]}))"
    if not python.exists():
        return {}
    done = subprocess.run([python, "-c", code, *packages], capture_output=True, timeout=20)
    return dict(json.loads(done.stdout)) if done.returncode == 0 else {}


def free_port() -> int:
    """A TCP port that nobody listens on."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


# ---- processes ----


def adopt_orphans() -> None:
    """Makes this process the parent of every descendant whose own parent dies, so that none escapes `kill_all`."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def descendants(pid: int) -> list[int]:
    """The living processes below `pid`."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                state, parent = (entry / "stat").read_text().rpartition(")")[2].split()[:2]
                if state != "Z":
                    children.setdefault(int(parent), []).append(int(entry.name))
    found: list[int] = []
    todo = [pid]
    while todo:
        below = children.get(todo.pop(), [])
        found += below
        todo += below
    return found


def kill_all(limit_s: float = 10) -> None:
    """Kills every process below this one and waits until they are gone."""
    end = time.monotonic() + limit_s
    while time.monotonic() < end:
        below = descendants(os.getpid())
        for pid in below:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        if not below:
            return
        time.sleep(0.02)
    raise BenchmarkError("could not kill everything that was started")


def cores_of(pid: int) -> set[int]:
    """The cores that any thread of a process may run on."""
    allowed: set[int] = set()
    for thread in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(OSError):
            allowed |= os.sched_getaffinity(int(thread.name))
    return allowed


def _cpu_s(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S


def _machine_busy_s() -> float:
    user, nice, system, _idle, _wait, irq, softirq, steal = map(int, Path("/proc/stat").read_text().split()[1:9])
    return (user + nice + system + irq + softirq + steal) / _TICKS_PER_S


@dataclass
class Server:
    """A running server, how to ask it, and where its processes are."""

    name: str
    port: int
    process: subprocess.Popen[bytes]
    log: Path
    path: Callable[[str, int], str]
    """Kind of stream and count of events → path of the request."""
    headers: Sequence[str] = ()

    def wait_for(self, ready: Callable[[], bool], limit_s: float) -> None:
        """Returns when `ready()` is true.

        Raises:
            BenchmarkError: the server ended, or took longer than `limit_s`.
        """
        end = time.monotonic() + limit_s
        while not ready():
            if self.process.poll() is not None:
                raise BenchmarkError(f"{self.name} ended at its start:\n{self.tail()}")
            if time.monotonic() > end:
                raise BenchmarkError(f"{self.name} was not ready after {limit_s:.0f} s:\n{self.tail()}")
            time.sleep(0.05)

    def tail(self) -> str:
        """The end of what it printed."""
        return self.log.read_text(errors="replace")[-3000:]

    def cpu_s(self) -> tuple[float, float]:
        """CPU seconds so far, of the process that was started and of those below it."""
        return _cpu_s(self.process.pid), sum(_cpu_s(pid) for pid in descendants(self.process.pid))


@dataclass
class Bench:
    """What all measurements share: cores, folders, programs."""

    cache: Path
    python: Path
    server_core: int = 0
    client_core: int = 1
    verbose: bool = False
    work: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="unspool-bench-")))

    def __post_init__(self) -> None:
        self.sseload = build("sseload", self.cache)
        self.sseserver = build("sseserver", self.cache)
        if not {self.server_core, self.client_core} <= os.sched_getaffinity(0):
            raise BenchmarkError("two cores are needed: one for the server, one for its workers and the client")
        os.sched_setaffinity(0, {self.client_core})

    def __enter__(self) -> Bench:
        return self

    def __exit__(self, *_: object) -> None:
        kill_all()
        shutil.rmtree(self.work, ignore_errors=True)

    def spawn(
        self, name: str, command: Sequence[str | Path], *, core: int | None = None, cwd: Path = HERE, **environ: str
    ) -> tuple[subprocess.Popen[bytes], Path]:
        """Starts a process on a core (the server's by default); what it prints goes to a file."""
        log = self.work / f"{name}.log"
        core = self.server_core if core is None else core

        def before_exec() -> None:
            _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
            os.sched_setaffinity(0, {core})

        with log.open("wb") as output:
            process = subprocess.Popen(
                [str(part) for part in command],
                cwd=cwd,
                env={**os.environ, **environ},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                preexec_fn=before_exec,
                start_new_session=True,
            )
        return process, log

    def load(self, server: Server, kind: str, count: int, *options: str, timeout_s: float = 30) -> dict[str, Any]:
        """One measurement with the load client: streams of `count` output events, each of which must be complete."""
        command = ["taskset", "-c", str(self.client_core), str(self.sseload), "-p", str(server.port)]
        command += ["-u", server.path(kind, count), "-H", "Content-Type: application/json"]
        command += ["-b", json.dumps({"prompt": "x", "stream": True, "count": count}), "-T", str(timeout_s)]
        command += ["-e", '"type":"output"', "-E", str(count), "-t", '"type":"complete"', *options]
        for header in server.headers:
            command += ["-H", header]
        before, busy, began = server.cpu_s(), _machine_busy_s(), time.monotonic()
        done = subprocess.run(command, check=True, capture_output=True, timeout=timeout_s + 5)
        wall, after = time.monotonic() - began, server.cpu_s()
        result: dict[str, Any] = json.loads(done.stdout)
        own, below = (max(0.0, after[i] - before[i]) / wall for i in (0, 1))
        client = result["client_cpu_s"] / result["wall_s"]
        others = max(0.0, (_machine_busy_s() - busy) / wall - own - below - client)
        result["cpu"] = {"server": own, "below": below, "client": client, "others": others}
        time.sleep(0.5)  # what the client has left behind runs to its end, and not into the next measurement
        if self.verbose:
            print(json.dumps({"server": server.name, "kind": kind, **result}), file=sys.stderr, flush=True)
        return result


# ---- the servers ----


@contextlib.contextmanager
def _running(server: Server) -> Iterator[Server]:
    try:
        yield server
    finally:
        with contextlib.suppress(ProcessLookupError):
            server.process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.process.wait(2)
        kill_all()


def answers(port: int, path: str, headers: dict[str, str] | None = None) -> bool:
    """Whether a GET is answered with 200."""
    import http.client

    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", path, headers=headers or {})
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def _accepts(port: int) -> bool:
    with socket.socket() as s:
        return s.connect_ex(("127.0.0.1", port)) == 0


@contextlib.contextmanager
def raw(bench: Bench, *, joined: bool) -> Iterator[Server]:
    """The C server: no model, no log, no API. With `joined`, a stream leaves in one write."""
    port, name = free_port(), "raw-joined" if joined else "raw"
    process, log = bench.spawn(name, [bench.sseserver, str(port), *(["joined"] if joined else [])])
    with _running(Server(name, port, process, log, lambda kind, count: f"/{kind}/{count}")) as server:
        server.wait_for(lambda: _accepts(port), 5)
        yield server


@contextlib.contextmanager
def unspool(bench: Bench, file: str = "models.py", path: str | None = None, ready_s: float = 30) -> Iterator[Server]:
    """Unspool as `unspool serve` starts it, with an empty data folder on disk."""
    port, data = free_port(), Path(tempfile.mkdtemp(prefix="data-", dir=bench.work))
    command: list[str | Path] = [bench.python, "-m", "unspool.cli", "serve", HERE / file]
    command += ["--host", "127.0.0.1", "--port", str(port), "--data-dir", data]
    process, log = bench.spawn(
        "unspool",
        command,
        UNSPOOL_API_KEY=API_KEY,
        BENCH_WORKER_CORE=str(bench.client_core),
        PYTHONPATH=python_path(),
        **NO_LIMITS,
    )
    names = {"burst": "/api/v3/bench/burst", "first": "/api/v3/bench/burst", "paced": "/api/v3/bench/paced"}
    headers = [f"Authorization: Bearer {API_KEY}"]
    with _running(Server("unspool", port, process, log, lambda kind, _: path or names[kind], headers)) as server:
        server.wait_for(lambda: answers(port, "/health/ready"), ready_s)
        _check_cores(bench, server)
        yield server


def python_path() -> str:
    """The source tree beside this folder, if there is one, before whatever is installed."""
    parts = [str(HERE.parent / "src"), os.environ.get("PYTHONPATH", "")]
    return os.pathsep.join(part for part in parts if part)


def _check_cores(bench: Bench, server: Server) -> None:
    own, workers = cores_of(server.process.pid), descendants(server.process.pid)
    if own != {bench.server_core}:
        raise BenchmarkError(f"the server may run on cores {own}, not just on {bench.server_core}")
    if not workers:
        raise BenchmarkError("the server has no worker processes")
    for pid in workers:
        if cores_of(pid) != {bench.client_core}:
            raise BenchmarkError(f"worker {pid} may run on cores {cores_of(pid)}, not just on {bench.client_core}")


@contextlib.contextmanager
def bentoml(bench: Bench) -> Iterator[Server]:
    """BentoML: server and service are one process, on the server's core."""
    port, python = free_port(), environment("bentoml", bench.cache, bench.python)
    command = [python, "-m", "bentoml", "serve", "bentoml_service:Bench", "--host", "127.0.0.1", "--port", str(port)]
    process, log = bench.spawn(
        "bentoml",
        command,
        cwd=HERE / "competitors",
        BENTOML_DO_NOT_TRACK="true",
        BENTOML_HOME=str(bench.work / "bentoml"),
    )
    with _running(Server("bentoml", port, process, log, lambda kind, _: f"/{kind}")) as server:
        server.wait_for(lambda: answers(port, "/readyz"), 60)
        yield server


@contextlib.contextmanager
def ray_serve(bench: Bench, *, tuned: bool) -> Iterator[Server]:
    """Ray Serve: the replica has the workers' core, everything else of Ray the server's.

    Args:
        tuned: with the two settings of its guide to high throughput (HAProxy in front, straight to the replica).
    """
    port, python, name = free_port(), environment("ray", bench.cache, bench.python), "ray-tuned" if tuned else "ray"
    settings = {"RAY_SERVE_ENABLE_HA_PROXY": "1", "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1"} if tuned else {}
    process, log = bench.spawn(
        name,
        [python, "ray_service.py", str(port)],
        cwd=HERE / "competitors",
        RAY_USAGE_STATS_ENABLED="0",
        BENCH_WORKER_CORE=str(bench.client_core),
        **settings,
    )
    with _running(Server(name, port, process, log, lambda kind, _: f"/{kind}")) as server:
        server.wait_for(lambda: "Listening" in log.read_text(errors="replace"), 120)
        yield server
