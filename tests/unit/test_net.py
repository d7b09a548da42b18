"""HTTP to where strangers point: only public addresses, and exactly the one that was checked."""

from __future__ import annotations

import asyncio
import ssl
import subprocess
import threading
from collections.abc import Callable, Coroutine, Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from support.services import program
from unspool.net import Refused, check_url, is_public, public_client

PUBLIC = ["1.1.1.1", "8.8.8.8", "172.32.0.1", "100.128.0.1", "2606:4700::1", "::ffff:1.1.1.1", "64:ff9b::101:101"]
NOT_PUBLIC = {
    "loopback": "127.0.0.1",
    "other loopback": "127.255.0.9",
    "unspecified": "0.0.0.0",
    "this network": "0.1.2.3",
    "private 10": "10.1.2.3",
    "private 172": "172.31.255.255",
    "private 192": "192.168.1.1",
    "metadata": "169.254.169.254",
    "carrier-grade NAT": "100.64.0.1",
    "end of carrier-grade NAT": "100.127.255.255",
    "protocol assignments": "192.0.0.8",
    "documentation": "203.0.113.7",
    "benchmark": "198.19.0.1",
    "multicast": "224.0.0.251",
    "reserved": "240.0.0.1",
    "broadcast": "255.255.255.255",
    "loopback 6": "::1",
    "unspecified 6": "::",
    "link-local 6": "fe80::1",
    "scoped link-local 6": "fe80::1%lo",
    "unique local 6": "fd00::1",
    "metadata 6": "fd00:ec2::254",
    "multicast 6": "ff02::1",
    "documentation 6": "2001:db8::1",
    "site-local 6": "fec0::1",
    "discard 6": "100::1",
    "mapped loopback": "::ffff:127.0.0.1",
    "mapped private": "::ffff:10.0.0.1",
    "mapped metadata": "::ffff:a9fe:a9fe",
    "mapped carrier-grade NAT": "::ffff:100.64.0.1",
    "compatible loopback": "::127.0.0.1",
    "6to4 of loopback": "2002:7f00:1::1",
    "6to4 of private": "2002:a00:1::1",
    "Teredo of loopback": "2001:0:7f00:1::1",
    "Teredo with private client": "2001:0:101:101:0:0:f5ff:fffe",
    "NAT64 of loopback": "64:ff9b::7f00:1",
    "NAT64 of private": "64:ff9b::10.0.0.1",
    "NAT64 of metadata": "64:ff9b::a9fe:a9fe",
    "local NAT64": "64:ff9b:1::101:101",
}


def names(answers: dict[str, list[str]]) -> Callable[[str, int], Coroutine[Any, Any, Sequence[str]]]:
    """A DNS that knows these names only."""

    async def resolve(host: str, port: int) -> Sequence[str]:
        if host not in answers:
            raise OSError(-2, "Name or service not known")
        return answers[host]

    return resolve


class Receiver(BaseHTTPRequestHandler):
    seen: list[tuple[str, str]]

    def do_GET(self) -> None:
        self.seen.append((self.path, self.headers["Host"]))
        self.send_response(302 if self.path == "/away" else 200)
        if self.path == "/away":
            self.send_header("Location", "http://localhost/inside")
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def receiver() -> Iterator[ThreadingHTTPServer]:
    yield from _serve(ThreadingHTTPServer(("127.0.0.1", 0), type("Seeing", (Receiver,), {"seen": []})))


@pytest.fixture
def tls_receiver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ThreadingHTTPServer]:
    """With a certificate for hook.test, which this process trusts."""
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subject = ["-subj", "/CN=hook.test", "-addext", "subjectAltName=DNS:hook.test"]
    make = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    openssl = program("openssl", "Install OpenSSL.")
    subprocess.run(
        [openssl, *make, *subject, "-keyout", key, "-out", certificate], check=True, capture_output=True, timeout=30
    )
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Seeing", (Receiver,), {"seen": []}))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    yield from _serve(server)


def _serve(server: ThreadingHTTPServer) -> Iterator[ThreadingHTTPServer]:
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join(10)


def seen(server: ThreadingHTTPServer) -> list[tuple[str, str]]:
    return server.RequestHandlerClass.seen  # type: ignore[attr-defined, no-any-return]


def get(url: str, **options: Any) -> httpx.Response:
    async def ask() -> httpx.Response:
        asked: dict[str, Any] = {"allow_http": True, "allow_hosts": [], "timeout_s": 10, **options}
        async with public_client(**asked) as client:
            return await client.get(url)

    return asyncio.run(ask())


def check(url: str, **options: Any) -> None:
    asyncio.run(check_url(url, **{"allow_http": False, "allow_hosts": [], **options}))


@pytest.mark.parametrize("address", PUBLIC)
def test_an_address_of_the_internet_is_public(address: str):
    assert is_public(address)


@pytest.mark.parametrize("address", NOT_PUBLIC.values(), ids=NOT_PUBLIC)
def test_an_address_of_another_kind_is_not_public(address: str):
    assert not is_public(address)


@pytest.mark.parametrize("address", NOT_PUBLIC.values(), ids=NOT_PUBLIC)
def test_a_name_with_such_an_address_is_refused_early(address: str):
    with pytest.raises(Refused, match=r"inside\.test is not on the public internet"):
        check("https://inside.test/", resolve=names({"inside.test": [address]}))


def test_a_name_with_such_an_address_is_not_connected_to():
    async def ask() -> None:
        answers = {f"inside-{number}.test": [address] for number, address in enumerate(NOT_PUBLIC.values())}
        client = public_client(allow_http=True, allow_hosts=["allowed.test"], timeout_s=10, resolve=names(answers))
        async with client:
            for name in answers:
                with pytest.raises(Refused, match=f"{name} is not on the public internet"):
                    await client.get(f"http://{name}/")

    asyncio.run(ask())


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST", "localhost.", "127.0.0.1", "127.1", "2130706433", "0x7f000001", "0", "[::1]"]
)
def test_no_spelling_of_this_machine_reaches_it(host: str, receiver: ThreadingHTTPServer):
    """With the resolver of the system."""
    with pytest.raises((Refused, httpx.ConnectError, httpx.InvalidURL)):
        get(f"http://{host}:{receiver.server_port}/")
    assert seen(receiver) == []


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.1", "2130706433", "[::ffff:127.0.0.1]"])
def test_this_machine_is_refused_early_too(host: str):
    with pytest.raises(Refused, match="not on the public internet"):
        check(f"https://{host}/hook")


def test_a_host_that_is_allowed_is_reached(receiver: ThreadingHTTPServer):
    answer = get(f"http://localhost:{receiver.server_port}/a?b=c", allow_hosts=["LocalHost"])
    assert (answer.status_code, answer.text) == (200, "ok")
    assert seen(receiver) == [("/a?b=c", f"localhost:{receiver.server_port}")]


def test_the_name_is_resolved_once_and_that_very_address_is_asked(receiver: ThreadingHTTPServer):
    """So a DNS that says something else a moment later changes nothing."""
    answers = [["127.0.0.1"], ["192.0.2.1"]]

    async def rebinding(host: str, port: int) -> Sequence[str]:
        return answers.pop(0)

    url = f"http://hook.test:{receiver.server_port}/"
    assert get(url, allow_hosts=["hook.test"], resolve=rebinding).status_code == 200
    assert answers == [["192.0.2.1"]]
    assert seen(receiver) == [("/", f"hook.test:{receiver.server_port}")]


def test_the_second_address_is_tried_when_nobody_listens_at_the_first(receiver: ThreadingHTTPServer):
    url = f"http://hook.test:{receiver.server_port}/"
    resolve = names({"hook.test": ["127.0.0.2", "127.0.0.1"]})
    assert get(url, allow_hosts=["hook.test"], resolve=resolve).status_code == 200


def test_addresses_that_are_not_public_are_passed_over(receiver: ThreadingHTTPServer):
    """What is left of these two is one that cannot be connected to: an error of the network, not a refusal."""
    resolve = names({"mixed.test": ["127.0.0.1", "64:ff9b::101:101"]})
    with pytest.raises(httpx.TransportError):
        get(f"http://mixed.test:{receiver.server_port}/", resolve=resolve, timeout_s=0.2)
    assert seen(receiver) == []


def test_tls_asks_for_the_name_and_verifies_it(tls_receiver: ThreadingHTTPServer):
    resolve = names({"hook.test": ["127.0.0.1"], "other.test": ["127.0.0.1"]})
    allowed = {"allow_hosts": ["hook.test", "other.test"], "resolve": resolve, "allow_http": False}
    assert get(f"https://hook.test:{tls_receiver.server_port}/", **allowed).status_code == 200
    with pytest.raises(httpx.ConnectError, match=r"certificate is not valid for 'other\.test'"):
        get(f"https://other.test:{tls_receiver.server_port}/", **allowed)
    assert seen(tls_receiver) == [("/", f"hook.test:{tls_receiver.server_port}")]


def test_a_redirect_is_an_answer(receiver: ThreadingHTTPServer):
    assert get(f"http://localhost:{receiver.server_port}/away", allow_hosts=["localhost"]).status_code == 302


def test_a_redirect_that_is_followed_is_checked_too(receiver: ThreadingHTTPServer):
    async def follow() -> None:
        resolve = names({"hook.test": ["127.0.0.1"], "localhost": ["127.0.0.1"]})
        client = public_client(allow_http=True, allow_hosts=["hook.test"], timeout_s=10, resolve=resolve)
        async with client:
            await client.get(f"http://hook.test:{receiver.server_port}/away", follow_redirects=True)

    with pytest.raises(Refused, match="localhost is not on the public internet"):
        asyncio.run(follow())


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("http://example.com/", "plain http"),
        ("ftp://example.com/", "begin with https"),
        ("file:///etc/passwd", "begin with https"),
        ("example.com/hook", "begin with https"),
        ("", "begin with https"),
        ("https:///hook", "name a host"),
        ("https://user:word@example.com/", "user name or password"),
        ("https://user@example.com/", "user name or password"),
        ("https://[::1", "not a URL"),
        ("https://example.com:port/", "not a URL"),
        ("https://exa\nmple.com/", "not a URL"),
    ],
)
def test_a_url_that_cannot_be_asked_is_refused_with_the_way_out(url: str, message: str):
    with pytest.raises(Refused, match=message):
        check(url)


def test_plain_http_passes_where_it_is_allowed():
    check("http://hook.test/", allow_http=True, resolve=names({"hook.test": ["1.1.1.1"]}))


def test_a_name_that_the_dns_does_not_know_passes_early_and_fails_later():
    check("https://nowhere.test/", resolve=names({}))
    with pytest.raises(httpx.ConnectError, match=r"nowhere\.test was not found: Name or service not known"):
        get("http://nowhere.test/", resolve=names({}))


def test_a_dns_that_does_not_answer_passes_early_and_times_out_later(monkeypatch: pytest.MonkeyPatch):
    async def silent(host: str, port: int) -> Sequence[str]:
        await asyncio.Event().wait()
        return []

    monkeypatch.setattr("unspool.net.EARLY_LOOKUP_S", 0.05)
    check("https://slow.test/", resolve=silent)
    with pytest.raises(httpx.ConnectTimeout):
        get("http://slow.test/", resolve=silent, timeout_s=0.05)


def test_the_proxy_of_the_environment_is_not_asked(receiver: ThreadingHTTPServer, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    assert get(f"http://localhost:{receiver.server_port}/", allow_hosts=["localhost"]).status_code == 200
