"""Connections that are kept, shared by several requests, or given up: what HTTP promises beneath the API."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from conftest import MODELS
from support.raw import Raw
from support.server import KEY, Server

LIVE = b"GET /health/live HTTP/1.1\r\nHost: test\r\n\r\n"
AUTH = f"Authorization: Bearer {KEY}\r\n"


LIMITS = {"UNSPOOL_HEADER_TIMEOUT_S": "0.5", "UNSPOOL_MAX_BODY_BYTES": "1000"}


@pytest.fixture(scope="module")
def impatient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(MODELS / "few.py", tmp_path_factory.mktemp("impatient"), LIMITS)
    try:
        yield server.start().wait_until_ready()
    finally:
        server.close()


def read_answer(raw: Raw) -> bytes:
    """The head and the body of an answer that says how long it is; the connection stays as it is."""
    answer = b""
    while b"\r\n\r\n" not in answer:
        answer += raw.socket.recv(1)
    length = int(answer.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
    head = len(answer)
    while len(answer) < head + length:
        answer += raw.socket.recv(head + length - len(answer))
    return answer


def test_a_connection_serves_one_request_after_the_other(impatient: Server):
    with Raw(impatient.url) as raw:
        for _ in range(3):
            raw.send(LIVE)
            assert read_answer(raw).startswith(b"HTTP/1.1 200 OK\r\n")


def test_requests_that_come_together_are_answered_in_their_order(impatient: Server):
    with Raw(impatient.url) as raw:
        raw.send(LIVE + LIVE.replace(b"live", b"none") + LIVE)
        statuses = [read_answer(raw)[9:12] for _ in range(3)]
    assert statuses == [b"200", b"404", b"200"]


def test_a_head_that_comes_in_pieces_is_put_together(impatient: Server):
    with Raw(impatient.url) as raw:
        for at in range(len(LIVE)):
            raw.send(LIVE[at : at + 1])
        assert read_answer(raw).startswith(b"HTTP/1.1 200 OK\r\n")


def test_a_connection_that_asks_nothing_more_is_closed(impatient: Server):
    with Raw(impatient.url) as raw:
        raw.send(LIVE)
        read_answer(raw)
        assert raw.socket.recv(1000) == b""


@pytest.mark.parametrize("begun", [b"\r\n", b"G", LIVE[:-2]], ids=["a blank line", "a letter", "all but the end"])
def test_a_later_head_that_never_ends_is_given_up(impatient: Server, begun: bytes):
    """The first answer does not buy a client all the time in the world."""
    with Raw(impatient.url) as raw:
        raw.send(LIVE)
        read_answer(raw)
        raw.send(begun)
        assert raw.socket.recv(1000) == b""


@pytest.mark.parametrize("size", [70_000, 300_000])
def test_a_head_that_is_too_long_is_refused_before_it_ends(impatient: Server, size: int):
    with Raw(impatient.url) as raw:
        raw.send(LIVE[:-2] + b"X-Much: " + b"x" * size)
        assert raw.socket.recv(12) == b"HTTP/1.1 400"


def test_a_method_that_does_not_exist_is_refused(impatient: Server):
    with Raw(impatient.url) as raw:
        raw.send(LIVE.replace(b"GET", b"BREW"))
        assert raw.socket.recv(12) == b"HTTP/1.1 400"


def test_who_waits_to_be_asked_for_its_body_is_asked(impatient: Server):
    head = f"POST /api/v3/test/echo HTTP/1.1\r\nHost: test\r\n{AUTH}Content-Length: 2\r\nExpect: 100-continue\r\n\r\n"
    with Raw(impatient.url) as raw:
        raw.send(head.encode())
        assert raw.socket.recv(25, 0x100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        raw.send(b"{}")
        assert read_answer(raw).startswith(b"HTTP/1.1 400")


def test_who_is_refused_anyway_is_not_asked_for_its_body(impatient: Server):
    head = "POST /api/v3/test/echo HTTP/1.1\r\nHost: test\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n"
    with Raw(impatient.url) as raw:
        raw.send(head.encode())
        assert read_answer(raw).startswith(b"HTTP/1.1 401")


def test_a_stream_for_a_client_of_http_1_0_has_no_chunks_and_ends_with_the_connection(impatient: Server):
    body = b'{"n": 3, "stream": true}'
    head = f"POST /api/v3/test/count HTTP/1.0\r\n{AUTH}Content-Length: {len(body)}\r\n\r\n"
    with Raw(impatient.url) as raw:
        raw.send(head.encode() + body)
        answer = b""
        while data := raw.socket.recv(1 << 16):
            answer += data
    answered, _, stream = answer.partition(b"\r\n\r\n")
    assert b"transfer-encoding" not in answered.lower()
    assert b"connection: close" in answered.lower()
    assert stream.startswith(b"retry: 1000\n\nid: 0-1\ndata: ")
    assert b'"type":"complete"' in stream.splitlines()[-2]


def test_a_client_of_http_1_0_is_told_the_length_of_what_has_one(impatient: Server):
    with Raw(impatient.url) as raw:
        raw.send(b"GET /health/live HTTP/1.0\r\n\r\n")
        assert read_answer(raw).endswith(b'{"status":"live"}')
        assert raw.socket.recv(1000) == b""


def test_an_answer_to_head_has_the_length_of_the_body_and_no_body(impatient: Server):
    with Raw(impatient.url) as raw:
        raw.send(LIVE.replace(b"GET", b"HEAD") + LIVE)
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += raw.socket.recv(1)
        assert b"content-length: 17" in head.lower()
        assert raw.socket.recv(12) == b"HTTP/1.1 200", "what follows is the next answer"


def post(body: bytes, framing: str = "") -> bytes:
    framing = framing or f"Content-Length: {len(body)}"
    return f"POST /api/v3/test/echo HTTP/1.1\r\nHost: test\r\n{AUTH}{framing}\r\n\r\n".encode() + body


def send_in_pieces(server: Server, raw: Raw, pieces: list[bytes]) -> None:
    """The server has read each piece before the next one comes."""
    for piece in pieces:
        raw.send(piece)
        with Raw(server.url) as other:
            other.send(LIVE)
            read_answer(other)


ASKED = b'{"prompt": "all of it", "enable_sync_mode": true}'


@pytest.mark.parametrize("at", [-len(ASKED) - 3, -len(ASKED), -len(ASKED) + 1, -1], ids=str)
def test_a_body_is_the_same_whether_it_comes_with_its_head_or_later(impatient: Server, at: int):
    whole = post(ASKED)
    with Raw(impatient.url) as raw:
        raw.send(whole)
        assert b'"all of it"' in read_answer(raw)
        send_in_pieces(impatient, raw, [whole[:at], whole[at:]])
        assert b'"all of it"' in read_answer(raw)


def test_a_body_in_chunks_is_put_together(impatient: Server):
    chunks = [b"%x\r\n%b\r\n" % (len(part), part) for part in (ASKED[:9], ASKED[9:])]
    pieces = [post(chunks[0], "Transfer-Encoding: chunked"), chunks[1], b"0\r\n\r\n"]
    with Raw(impatient.url) as raw:
        raw.send(b"".join(pieces))
        assert b'"all of it"' in read_answer(raw)
        send_in_pieces(impatient, raw, pieces)
        assert b'"all of it"' in read_answer(raw)


def test_requests_with_bodies_that_come_together_have_each_their_own(impatient: Server):
    with Raw(impatient.url) as raw:
        raw.send(post(ASKED) + post(ASKED.replace(b"all of it", b"another")) + LIVE)
        assert b'"all of it"' in read_answer(raw)
        assert b'"another"' in read_answer(raw)
        assert read_answer(raw).endswith(b'{"status":"live"}')


@pytest.mark.parametrize("framing", ["Content-Length: 1001", "Transfer-Encoding: chunked"])
def test_a_body_that_is_too_large_is_so_though_it_comes_with_its_head(impatient: Server, framing: str):
    body = b'{"prompt": "%b"}' % (b"x" * 987)
    with Raw(impatient.url) as raw:
        raw.send(post(body if "Length" in framing else b"3e9\r\n%b\r\n0\r\n\r\n" % body, framing))
        assert read_answer(raw).startswith(b"HTTP/1.1 413")


def test_a_large_body_is_whole_though_its_beginning_comes_with_its_head(server: Server):
    prompt = b"x" * 200_000
    with Raw(server.url) as raw:
        for _ in range(2):
            raw.send(post(ASKED.replace(b"all of it", prompt)))
            assert prompt in read_answer(raw)


def test_of_a_header_that_is_there_twice_the_first_one_counts(impatient: Server):
    with Raw(impatient.url) as raw:
        raw.send(post(ASKED, f"Authorization: Bearer wrong\r\nContent-Length: {len(ASKED)}"))
        assert b'"all of it"' in read_answer(raw)
