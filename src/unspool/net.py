"""Outgoing HTTP to addresses that strangers name: only to the public internet, unless the operator says otherwise.

A URL in a request (a webhook, an input file) must not reach what only this machine or its network can reach. The name
is resolved once, every address is checked, and the connection goes to a checked address, so an answer of the DNS that
changes afterwards changes nothing. TLS still asks for, and verifies, the name.

Everything goes out directly: proxies of the environment are not used, since behind one the address that is
connected to could not be checked. `SSL_CERT_FILE` and `SSL_CERT_DIR` are honoured.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Awaitable, Callable, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Any

import httpx

from unspool.errors import Refused

__all__ = ["Refused", "check_url", "is_public", "public_client"]

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""The addresses of a host name, as text, in the order in which to try them. Raises `OSError` if there are none."""

EARLY_LOOKUP_S = 2.0
"""How long `check_url` waits for the DNS."""

_NOT_PUBLIC_4 = [
    IPv4Network(network)
    for network in (
        "0.0.0.0/8",  # this network
        "10.0.0.0/8",  # private
        "100.64.0.0/10",  # carrier-grade NAT
        "127.0.0.0/8",  # loopback
        "169.254.0.0/16",  # link-local, with the metadata services of clouds
        "172.16.0.0/12",  # private
        "192.0.0.0/24",  # protocol assignments
        "192.0.2.0/24",  # documentation
        "192.88.99.0/24",  # 6to4 relays
        "192.168.0.0/16",  # private
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, with broadcast
    )
]
_PUBLIC_6 = IPv6Network("2000::/3")
_NOT_PUBLIC_6 = [
    IPv6Network(network)
    for network in (
        "2001::/23",  # protocol assignments, with Teredo: a tunnel to an IPv4 address inside it
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4: a tunnel to an IPv4 address inside it
        "3fff::/20",  # documentation
    )
]
_NAT64 = IPv6Network("64:ff9b::/96")


def is_public(address: str) -> bool:
    """Whether an IP address is one of the public internet.

    By the special-purpose registries of IANA (https://www.iana.org/assignments/iana-ipv4-special-registry and
    `…/iana-ipv6-special-registry`), not by `ipaddress.is_global`, which differs between versions of Python. An
    IPv4 address inside an IPv6 one (`::ffff:0:0/96`, NAT64 `64:ff9b::/96`) counts as itself; tunnels (6to4, Teredo)
    lead to addresses that nobody serves from, and are never public.

    Raises:
        ValueError: the text is not an IP address.
    """
    return _is_public(ip_address(address))


def _is_public(address: IPv4Address | IPv6Address) -> bool:
    if isinstance(address, IPv4Address):
        return not any(address in network for network in _NOT_PUBLIC_4)
    if address.ipv4_mapped is not None:
        return _is_public(address.ipv4_mapped)
    if address in _NAT64:
        return _is_public(IPv4Address(int(address) & 0xFFFF_FFFF))
    return address in _PUBLIC_6 and not any(address in network for network in _NOT_PUBLIC_6)


async def look_up(host: str, port: int) -> list[str]:
    """The addresses of a name, from the system's resolver (`getaddrinfo`).

    In a thread of its own: a DNS server that does not answer holds up neither other names nor the end of the process.

    Raises:
        OSError: there are none, or the DNS does not answer.
    """
    loop = asyncio.get_running_loop()
    found: asyncio.Future[list[str]] = loop.create_future()

    def tell(addresses: list[str], error: Exception | None) -> None:
        if found.done():
            return
        if error is None:
            found.set_result(addresses)
        else:
            found.set_exception(error)

    def look() -> None:
        addresses: list[str] = []
        failed: Exception | None = None
        try:
            answers = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            addresses = list(dict.fromkeys(str(answer[4][0]) for answer in answers))
        except UnicodeError:
            failed = OSError(f"{host[:100]!r} is no host name")
        except OSError as error:
            failed = error
        if not loop.is_closed():
            loop.call_soon_threadsafe(tell, addresses, failed)

    threading.Thread(target=look, name="unspool-dns", daemon=True).start()
    return await found


class _Policy:
    """Which URLs may be asked, and at which addresses."""

    def __init__(self, allow_http: bool, allow_hosts: Sequence[str], resolve: Resolve) -> None:
        self._allow_http = allow_http
        self._allow_hosts = {_plain(host) for host in allow_hosts}
        self._resolve = resolve

    def check(self, url: httpx.URL) -> str:
        """The host name of a URL that is right in form.

        Raises:
            Refused: it is not.
        """
        if url.scheme not in ("https", "http"):
            raise Refused("The URL must begin with https://.")
        if url.scheme == "http" and not self._allow_http:
            raise Refused("The URL must begin with https://; this server does not use plain http.")
        if url.userinfo:
            raise Refused("The URL must not hold a user name or password.")
        host = _plain(url.raw_host.decode("ascii"))
        if not host:
            raise Refused("The URL must name a host.")
        return host

    async def addresses(self, url: httpx.URL) -> list[str]:
        """Where a request to this URL may go.

        Raises:
            Refused: nowhere.
            OSError: the name has no address, or the DNS does not answer.
        """
        host = self.check(url)
        port = url.port or (443 if url.scheme == "https" else 80)
        found = [_unscoped(address) for address in await self._resolve(host, port)]
        allowed = found if host in self._allow_hosts else [address for address in found if is_public(address)]
        if found and not allowed:
            raise Refused(
                f"{host} is not on the public internet. Name a host that is, or have the operator of this server"
                " allow this one."
            )
        return allowed


def _plain(host: str) -> str:
    return host.strip().strip("[]").rstrip(".").lower()


def _unscoped(address: str) -> str:
    return address.partition("%")[0]


class _PublicTransport(httpx.AsyncBaseTransport):
    """Sends each request to an address that was checked for it.

    A connection serves one request: as connections are to addresses here, one that TLS has verified for one name
    could otherwise carry a request for another name at the same address.
    """

    def __init__(self, policy: _Policy) -> None:
        self._policy = policy
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)
        self._http = httpx.AsyncHTTPTransport(limits=limits, trust_env=True)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        host = self._policy.check(request.url)
        failure: Exception = OSError("the name has no address")
        for address in await self._addresses(request):
            try:
                return await self._http.handle_async_request(_pinned(request, address, host))
            except (httpx.ConnectError, httpx.ConnectTimeout) as error:
                failure = error
        raise httpx.ConnectError(f"{host}: {failure}", request=request) from failure

    async def _addresses(self, request: httpx.Request) -> list[str]:
        limit_s = request.extensions.get("timeout", {}).get("connect")
        try:
            async with asyncio.timeout(limit_s):
                return await self._policy.addresses(request.url)
        except TimeoutError:
            raise httpx.ConnectTimeout("the DNS has not answered in time", request=request) from None
        except OSError as error:
            reason = error.strerror or error
            raise httpx.ConnectError(f"{request.url.host} was not found: {reason}", request=request) from error

    async def aclose(self) -> None:
        await self._http.aclose()


def _pinned(request: httpx.Request, address: str, host: str) -> httpx.Request:
    """The same request to this very address; its `Host` header is set already."""
    extensions: dict[str, Any] = {**request.extensions, "sni_hostname": host}
    url = request.url.copy_with(host=address)
    return httpx.Request(request.method, url, headers=request.headers, stream=request.stream, extensions=extensions)


def public_client(
    *, allow_http: bool, allow_hosts: Sequence[str], timeout_s: float, resolve: Resolve = look_up
) -> httpx.AsyncClient:
    """A client for URLs that strangers name. It follows no redirects, and checks them if asked to follow.

    Besides the errors of httpx, a request raises `Refused` when its URL must not be asked. Names that the DNS does not
    know are `httpx.ConnectError`.

    Args:
        allow_http: whether plain http is allowed.
        allow_hosts: names whose addresses are not checked.
        timeout_s: the longest silence at each step: finding the address, connecting, sending, receiving.
        resolve: where addresses of names come from.
    """
    policy = _Policy(allow_http, allow_hosts, resolve)
    transport = _PublicTransport(policy)
    return httpx.AsyncClient(transport=transport, timeout=timeout_s, follow_redirects=False, trust_env=False)


async def check_url(url: str, *, allow_http: bool, allow_hosts: Sequence[str], resolve: Resolve = look_up) -> None:
    """Whether a URL may be asked as things stand, for an early answer; `public_client` checks again.

    Passes names that the DNS does not know at the moment, or not within `EARLY_LOOKUP_S`.

    Raises:
        Refused: it must not be asked. The message says what to do.
    """
    try:
        parsed = httpx.URL(url)
    except (httpx.InvalidURL, TypeError, ValueError):
        raise Refused("This is not a URL. Send one such as https://example.com/path.") from None
    policy = _Policy(allow_http, allow_hosts, resolve)
    policy.check(parsed)
    try:
        async with asyncio.timeout(EARLY_LOOKUP_S):
            await policy.addresses(parsed)
    except OSError:
        return
