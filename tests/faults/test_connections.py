"""Connections that hold still, dawdle or lie: they cost the others nothing, and none is answered with 5xx."""

from __future__ import annotations

import resource
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from conftest import MODELS, MakeServer
from support.client import Client
from support.gate import Gate
from support.raw import Raw
from support.server import KEY, Server, kill9
from support.services import missing
from support.waiting import wait_until

CROWD = 10_000
SPARE = 500
AUTH = f"Authorization: Bearer {KEY}\r\n"


@contextmanager
def files_limit(soft: int) -> Iterator[None]:
    """What this process and those that it starts may open."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def crowd(server: Server, stack: ExitStack) -> list[socket.socket]:
    """So many connections that say nothing."""
    address = urlsplit(server.url)
    return [
        stack.enter_context(socket.create_connection((address.hostname, address.port), timeout=30))
        for _ in range(CROWD)
    ]


def test_ten_thousand_idle_connections_leave_the_server_as_it_was(make_server: MakeServer, gate: Gate):
    """It raises its own limit of open files; its workers can be started anew, whatever the number of their sockets."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if hard != resource.RLIM_INFINITY and hard < CROWD + SPARE:
        missing(f"Room for {CROWD} connections", f"The hard limit of open files is {hard}: ulimit -Hn {CROWD + SPARE}")
    with files_limit(1024):
        server = make_server("few.py", UNSPOOL_HEADER_TIMEOUT_S="600")
    room = 2 * CROWD if hard == resource.RLIM_INFINITY else hard
    with files_limit(room), ExitStack() as stack:
        idle = crowd(server, stack)
        client = server.client()
        with client.run("test/count", n=3, gate=str(gate)) as stream:
            gate.visitor()
            pid = client.finished(client.submit("test/whoami")["id"])["outputs"][0]["pid"]
            kill9(pid)
            again = client.finished(client.submit("test/whoami")["id"])["outputs"][0]["pid"]
            assert again != pid
            gate.open()
            assert [event.type for event in stream][-1] == "complete"
        wait_until(lambda: open_files(server) > CROWD, "all of them were accepted")
        for one in (idle[0], idle[-1]):
            one.sendall(b"GET /health/live HTTP/1.1\r\nHost: test\r\n\r\n")
            assert one.recv(100).startswith(b"HTTP/1.1 200")
    wait_until(lambda: open_files(server) < CROWD / 10, "their connections were let go", 30)


def test_the_table_of_open_files_has_its_size_from_the_start(make_server: MakeServer):
    """Linux stops a process of several threads for 10 ms and more whenever this table grows."""
    status = Path(f"/proc/{make_server('few.py').pid}/status")
    if not status.exists():
        missing("/proc", "Only Linux tells the size of the table, and only Linux needs this.")
    size = next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("FDSize:"))
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    assert size >= min(CROWD, hard if hard != resource.RLIM_INFINITY else CROWD)


def open_files(server: Server) -> int:
    """As the server counts them itself."""
    text = httpx.get(f"{server.url}/metrics", headers={"Authorization": f"Bearer {server.key}"}).text
    return int(
        float(next(line for line in text.splitlines() if line.startswith("unspool_process_open_fds ")).split()[1])
    )


# Slow ones


@pytest.fixture(scope="module")
def impatient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    environment = {
        "UNSPOOL_HEADER_TIMEOUT_S": "0.5",
        "UNSPOOL_BODY_TIMEOUT_S": "0.5",
        "UNSPOOL_MIN_BODY_BYTES_PER_S": "1000",
    }
    server = Server(MODELS / "few.py", tmp_path_factory.mktemp("impatient"), environment)
    try:
        yield server.start().wait_until_ready()
    finally:
        server.close()


@pytest.mark.parametrize("head", [b"", b"GET", b"POST /api/v3/test/echo HTTP/1.1\r\nHost: test\r\nX-Slow: "])
def test_a_head_that_never_ends_is_given_up(impatient: Server, head: bytes):
    with Raw(impatient.url) as raw:
        raw.send(head)
        assert raw.socket.recv(1000) == b"", "closed, without a word"


def test_a_body_that_never_ends_is_given_up_with_the_reason(impatient: Server):
    with Raw(impatient.url) as raw:
        raw.send(f"POST /api/v3/test/echo HTTP/1.1\r\nHost: test\r\n{AUTH}Content-Length: 100\r\n\r\n{{".encode())
        raw.begin()
        assert (raw.status, raw.headers["connection"]) == (408, "close")
        assert raw.json()["error_code"] == "request_timeout"
        assert raw.socket.recv(1000) == b""


def test_a_byte_now_and_then_does_not_keep_a_body_alive(impatient: Server):
    with Raw(impatient.url) as raw:
        raw.send(f"POST /api/v3/test/echo HTTP/1.1\r\nHost: test\r\n{AUTH}Transfer-Encoding: chunked\r\n\r\n".encode())
        raw.socket.settimeout(0.05)
        answer = b""
        for _ in range(400):
            raw.send(b"1\r\n \r\n")
            try:
                answer = raw.socket.recv(1000)
                break
            except TimeoutError:
                continue
        assert answer.startswith(b"HTTP/1.1 408"), "it was answered while the client still dawdled"


def test_a_large_body_may_take_its_time_as_long_as_it_comes(impatient: Server):
    """Twice as long as a small one: what counts is the rate."""
    body = b'{"prompt": "' + b"x" * 40_000 + b'"}'
    with Raw(impatient.url) as raw:
        raw.send(f"POST /api/v3/test/echo HTTP/1.1\r\nHost: test\r\n{AUTH}Content-Length: {len(body)}\r\n\r\n".encode())
        at = 0
        while at < len(body):
            raw.send(body[at : at + 2_000])
            at += 2_000
            if at < len(body):
                with pytest.raises(TimeoutError):
                    pause(raw)
        raw.socket.settimeout(30)
        assert raw.begin().status == 200


def pause(raw: Raw) -> None:
    """Waits a twentieth of a second for an answer that must not come yet."""
    raw.socket.settimeout(0.05)
    raw.socket.recv(1)


def test_slow_ones_hold_up_nobody(impatient: Server):
    with ExitStack() as stack:
        for _ in range(100):
            raw = stack.enter_context(Raw(impatient.url))
            raw.send(f"POST /api/v3/test/echo HTTP/1.1\r\nHost: test\r\n{AUTH}Content-Length: 9\r\n\r\n".encode())
        client = impatient.client()
        assert client.finished(client.submit("test/echo", prompt="x")["id"])["outputs"] == ["x"]


# Liars

SUBMIT = f"POST /api/v3/test/echo HTTP/1.1\r\nHost: test\r\n{AUTH}"
HIDDEN = f"POST /api/v3/test/echo HTTP/1.1\r\nHost: test\r\n{AUTH}Content-Length: 21\r\n\r\n" + '{"prompt":"smuggled"}'

LIES = {
    "both lengths": f"{SUBMIT}Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{HIDDEN}",
    "both lengths, turned round": f"{SUBMIT}Transfer-Encoding: chunked\r\nContent-Length: 99\r\n\r\n0\r\n\r\n{HIDDEN}",
    "two lengths": f"{SUBMIT}Content-Length: 2\r\nContent-Length: 30\r\n\r\n{{}}{HIDDEN}",
    "a list of lengths": f"{SUBMIT}Content-Length: 2, 2\r\n\r\n{{}}",
    "a negative length": f"{SUBMIT}Content-Length: -1\r\n\r\n{{}}",
    "a length with a plus": f"{SUBMIT}Content-Length: +2\r\n\r\n{{}}",
    "a length beyond all numbers": f"{SUBMIT}Content-Length: 99999999999999999999999\r\n\r\n{{}}",
    "a chunk size that is no number": f"{SUBMIT}Transfer-Encoding: chunked\r\n\r\nZZ\r\n{{}}\r\n0\r\n\r\n",
    "a negative chunk size": f"{SUBMIT}Transfer-Encoding: chunked\r\n\r\n-2\r\n{{}}\r\n0\r\n\r\n",
    "a chunk size beyond counting": f"{SUBMIT}Transfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFFF\r\n{{}}\r\n0\r\n\r\n",
    "a chunk that is longer than it says": f"{SUBMIT}Transfer-Encoding: chunked\r\n\r\n1\r\n{{}}\r\n0\r\n\r\n",
    "chunked, but not last": f"{SUBMIT}Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n{HIDDEN}",
    "an unknown encoding": f"{SUBMIT}Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n{HIDDEN}",
    "a space before the colon": f"{SUBMIT}Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n{HIDDEN}",
    "a folded header": f"{SUBMIT}Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n{HIDDEN}",
    "a bare line feed": SUBMIT.replace("\r\n", "\n") + "Content-Length: 2\n\n{}",
    "a NUL in a header": f"{SUBMIT}X: a\0b\r\nContent-Length: 2\r\n\r\n{{}}",
    "no host": "POST /api/v3/test/echo HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}",
    "two hosts": f"{SUBMIT}Host: other\r\nContent-Length: 2\r\n\r\n{{}}",
    "a version that does not exist": "GET /health/live HTTP/7.3\r\nHost: test\r\n\r\n",
    "the preface of HTTP/2": "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "no HTTP at all": "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + "\0" * 40,
    "a head without end": f"{SUBMIT}X: {'x' * 200_000}",
    "ten thousand headers": SUBMIT + "".join(f"X-{n}: 1\r\n" for n in range(10_000)) + "\r\n",
}


@pytest.mark.parametrize("lie", LIES)
def test_a_request_that_lies_about_itself_ends_without_5xx(impatient: Server, lie: str):
    """And what it hides behind itself is never run as a request of its own, unless its headers leave no doubt."""
    before = submitted(impatient)
    answer = all_of_the_answer(impatient, LIES[lie].encode("latin-1"))
    statuses = [int(part[1:4]) for part in answer.split(b"HTTP/1.1")[1:]]
    assert all(status < 500 for status in statuses), answer
    assert len(statuses) <= 1, f"one request, and {len(statuses)} answers: {answer!r}"
    assert submitted(impatient) == before, "none of these is a request that can be run"


def all_of_the_answer(server: Server, request: bytes) -> bytes:
    """What comes back until the server closes, which it must."""
    answer = b""
    with Raw(server.url) as raw:
        try:
            raw.send(request)
            while data := raw.socket.recv(1 << 16):
                answer += data
        except (ConnectionResetError, BrokenPipeError):
            pass
    return answer


def submitted(server: Server) -> int:
    text = httpx.get(f"{server.url}/metrics", headers={"Authorization": f"Bearer {server.key}"}).text
    return sum(
        int(float(line.split()[-1]))
        for line in text.splitlines()
        if line.startswith("unspool_predictions_submitted_total{")
    )


def test_after_all_that_the_server_is_well(impatient: Server):
    client: Client = impatient.client()
    assert client.finished(client.submit("test/echo", prompt="x")["id"])["outputs"] == ["x"]
