"""The examination: what is asked, and what each answer means."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from unspool.doctor.proxies import Kind, Topic, advise, recognise
from unspool.doctor.report import Advice, Finding, Level, Report
from unspool.doctor.way import GET, POST, Heard, Way

EVENTS = 10
INTERVAL_S = 0.2
SPAN_S = (EVENTS - 1) * INTERVAL_S
HELD_S = SPAN_S / 2
"""An event that comes so much later than it could has been held back."""
LATE_S = 0.15
OFFERED = "gzip, deflate, br, zstd"
"""What browsers send as `Accept-Encoding`."""
BEYOND_KEEP_ALIVE_S = 5.0
SKEW_NOTED_S = 30.0
SKEW_FOUND_S = 300.0
"""Webhooks that are older are refused."""
EXPIRES_SOON_DAYS = 14
BODY_STEPS = (1_000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000)


@dataclass(frozen=True)
class Known:
    """What the first answers have told."""

    way: Way
    kinds: list[Kind]
    server: Mapping[str, Any]
    request: Mapping[str, Any]

    def advice(self, topic: Topic) -> tuple[Advice, ...]:
        """Which line of whose configuration."""
        return advise(topic, self.kinds, self.server["keep_alive_s"])


async def examine(
    url: str, api_key: str | None, *, idle_s: float | None = None, body_bytes: int = 2_000_000, timeout_s: float = 10
) -> Report:
    """Measures the way to a server, with every stream in parallel that can be.

    Args:
        idle_s: the longest silence to try; by default the server's keep-alive and five seconds. 0 tries none.
        body_bytes: size of the request body to try.
        timeout_s: how long a connection may take, and an answer longer than it should.
    """
    way = Way(url, api_key, timeout_s)
    try:
        found, known = await _begin(way)
        if known is not None:
            found += await _measure(known, idle_s, body_bytes)
        return Report(way.url, tuple(kind.name for kind in known.kinds) if known else (), tuple(found))
    finally:
        await way.close()


async def _begin(way: Way) -> tuple[list[Finding], Known | None]:
    """Whether it is there, ready, and lets us in."""
    live = await way.ask("GET", "/health/live")
    found = [_reachable(way, live)]
    if found[0].level != "ok":
        return found, None
    found.append(_ready(await way.ask("GET", "/health/ready")))
    hello = await way.ask("GET", GET, count=1)
    found.append(_key(hello))
    events = hello.events() if hello.status == 200 and "content-encoding" not in hello.headers else []
    if not events:
        return found, None
    _, first = events[0]
    kinds = recognise(hello.headers, first["request"]["headers"])
    known = Known(way, kinds, first["server"], first["request"])
    found += [
        Finding("version", "ok", f"Unspool {known.server['version']}", measured={"version": known.server["version"]}),
        _clock(hello, first["at"]),
        _address(known),
        _headers(known, hello),
    ]
    return found, known


async def _measure(known: Known, idle_s: float | None, body_bytes: int) -> list[Finding]:
    found = [await _security(known)]
    found += await asyncio.gather(_buffering(known, "GET"), _buffering(known, "POST"), _compression(known))
    silence_s = known.server["keep_alive_s"] + BEYOND_KEEP_ALIVE_S if idle_s is None else idle_s
    checks = [_body(known, body_bytes), _redirect(known)]
    if silence_s:
        checks += [_silence(known, silence_s), _duration(known, silence_s), _delay(known, silence_s)]
    return found + list(await asyncio.gather(*checks))


# Who is there


def _reachable(way: Way, live: Heard) -> Finding:
    if live.error and live.status is None:
        wrong_certificate = "certificate" in live.error.lower()
        level: Level = "found" if wrong_certificate else "unknown"
        return Finding("reachable", level, f"{way.url} does not answer: {live.error}.")
    if live.status in (301, 302, 303, 307, 308):
        to = live.headers.get("location", "elsewhere")
        said = f"{way.url} redirects to {to} with {live.status}, and a POST"
        said += " becomes a GET there." if live.status in (301, 302, 303) else " goes there a second time."
        return Finding("redirect", "found", said, (Advice("clients", f"use {to.removesuffix('/health/live')}"),))
    if live.status != 200 or b'"live"' not in live.body:
        return Finding("reachable", "unknown", f"{way.url} answers {live.status}, and not as Unspool does.")
    return Finding("reachable", "ok", f"{way.url} answers in {live.duration_s * 1000:.0f} ms")


def _ready(ready: Heard) -> Finding:
    if ready.status == 200:
        return Finding("ready", "ok", "every model is loaded")
    said = ready.body.decode(errors="replace") if ready.ours else f"a proxy answers {ready.status}"
    return Finding("ready", "found", f"Not every model is ready: {said[:300]}")


def _key(hello: Heard) -> Finding:
    if hello.status == 200 and not hello.error:
        return Finding("key", "ok", "the API key is good")
    if hello.status in (401, 403):
        who = "The server" if hello.ours else "Something before the server"
        advice = Advice("this command", "--api-key KEY, or UNSPOOL_API_KEY=KEY")
        return Finding("key", "found", f"{who} answers {hello.status}. {hello.message()}".strip(), (advice,))
    if hello.status == 404:
        return Finding("key", "unknown", "The server has no stream to measure with: it is older than this command.")
    said = hello.error or f"{hello.status} {hello.message()}".strip()
    return Finding("key", "unknown", f"The stream to measure with does not come: {said}.")


def _clock(hello: Heard, at: float) -> Finding:
    """The server said when it sent; here that was between the request and the end of its answer."""
    middle_s = time.time() - (time.monotonic() - (hello.asked_at + hello.ended_at) / 2)
    skew_s = at - middle_s
    measured = {"skew_s": round(skew_s, 2), "give_or_take_s": round(hello.duration_s / 2, 2)}
    if abs(skew_s) < SKEW_NOTED_S:
        return Finding("clock", "ok", f"the server's clock is {abs(skew_s):.1f} s off ours", measured=measured)
    level: Level = "found" if abs(skew_s) >= SKEW_FOUND_S else "note"
    side = "before" if skew_s > 0 else "behind"
    said = f"The server's clock is {abs(skew_s):.0f} s {side} ours; webhooks more than 300 s off are refused."
    return Finding("clock", level, said, (Advice("either machine", "timedatectl set-ntp true"),), measured)


def _address(known: Known) -> Finding:
    asked, told = known.way.url, str(known.server["base_url"]).rstrip("/")
    measured = {"asked": asked, "told": told}
    if asked == told:
        return Finding("address", "ok", f"URLs in answers begin with {told}", measured=measured)
    said = f"URLs in answers begin with {told}, and not with {asked}."
    if known.server["public_url"]:
        return Finding("address", "note", f"{said} UNSPOOL_PUBLIC_URL says so.", measured=measured)
    setting = Advice("the server's environment", f"UNSPOOL_PUBLIC_URL={asked}")
    return Finding("address", "found", said, (setting, *known.advice("address")), measured)


def _headers(known: Known, hello: Heard) -> Finding:
    wanted = {"x-accel-buffering": "no", "cache-control": "no-cache, no-transform"}
    changed = {name: hello.headers.get(name) for name, value in wanted.items() if hello.headers.get(name) != value}
    if any(kind.keeps_accel_header for kind in known.kinds):
        changed.pop("x-accel-buffering", None)
    if not changed:
        return Finding("headers", "ok", "headers of a stream arrive as they were sent")
    said = "; ".join(f"{name} {f'is {value!r}' if value else 'is gone'}" for name, value in changed.items())
    return Finding("headers", "note", f"Headers do not arrive as sent: {said}.", measured=changed)


async def _security(known: Known) -> Finding:
    address = urlsplit(known.way.url)
    host, port = address.hostname or "", address.port or 443
    if address.scheme != "https":
        if _is_near(host):
            return Finding("tls", "ok", "plain http, on a private network")
        return Finding(
            "tls", "found", "The API key goes over the internet as plain text.", (Advice("clients", "use https"),)
        )
    context = ssl.create_default_context()
    context.set_alpn_protocols(["h2", "http/1.1"])
    try:
        async with asyncio.timeout(10):
            _, writer = await asyncio.open_connection(host, port, ssl=context)
    except (OSError, TimeoutError) as error:
        return Finding("tls", "unknown", f"The certificate could not be looked at: {error}.")
    tls = writer.get_extra_info("ssl_object")
    days = (ssl.cert_time_to_seconds(tls.getpeercert()["notAfter"]) - time.time()) / 86_400
    http2 = tls.selected_alpn_protocol() == "h2"
    said = f"{tls.version()}, the certificate is good for {days:.0f} days, {'HTTP/2' if http2 else 'HTTP/1.1 only'}"
    writer.close()
    measured = {"version": tls.version(), "days": round(days, 1), "http2": http2}
    if days < EXPIRES_SOON_DAYS:
        return Finding("tls", "found", f"{said}.", (Advice("the certificate", "renew it"),), measured)
    if not http2:
        return Finding("tls", "note", f"{said}: a browser opens six streams to one host at most.", measured=measured)
    return Finding("tls", "ok", said, measured=measured)


def _is_near(host: str) -> bool:
    try:
        return all(not ipaddress.ip_address(info[4][0]).is_global for info in socket.getaddrinfo(host, None))
    except (OSError, ValueError):
        return False


# What happens to streams


async def _buffering(known: Known, method: str) -> Finding:
    """Twice if need be: a machine that stood still for a moment looks like a buffer."""
    best: Finding | None = None
    for _ in range(2):
        finding = await _buffering_once(known, method)
        if best is None or _latest(finding) < _latest(best):
            best = finding
        if best.level == "ok":
            break
    assert best is not None
    return best


def _latest(finding: Finding) -> float:
    return float(finding.measured.get("largest_delay_s", float("inf")))


async def _buffering_once(known: Known, method: str) -> Finding:
    check = "buffering" if method == "GET" else "buffering of submits"
    path = GET if method == "GET" else POST
    heard = await known.way.ask(method, path, count=EVENTS, interval_s=INTERVAL_S, lasts_s=SPAN_S)
    if heard.status != 200 or "content-encoding" in heard.headers:
        return _not_measured(check, heard)
    delays = [at - event["at"] for at, event in heard.events()]
    if not delays:
        return _not_measured(check, heard)
    late_s = max(delays) - min(delays)
    pieces = len({at for at, _ in heard.pieces})
    measured = {"largest_delay_s": round(late_s, 3), "events": len(delays), "pieces": pieces}
    if len(delays) < EVENTS:
        said = f"The stream was cut after {len(delays)} of {EVENTS} events and {heard.duration_s:.1f} s."
        return Finding(check, "found", said, known.advice("duration"), measured)
    if late_s >= HELD_S:
        said = f"Events are held back, up to {late_s:.1f} s: {EVENTS} in {SPAN_S:.1f} s came in {_counted(pieces)}."
        return Finding(check, "found", said, known.advice("buffering"), measured)
    said = f"{EVENTS} events arrived one by one, the slowest {late_s * 1000:.0f} ms late"
    return Finding(check, "ok" if late_s < LATE_S else "note", said, measured=measured)


async def _compression(known: Known) -> Finding:
    heard = await known.way.ask(
        "GET", GET, encodings=OFFERED, count=EVENTS, interval_s=INTERVAL_S, padding_bytes=300, lasts_s=SPAN_S
    )
    encoding = heard.headers.get("content-encoding", "")
    if heard.status != 200:
        return _not_measured("compression", heard)
    if not encoding:
        return Finding("compression", "ok", "nothing compresses streams")
    spread_s = heard.pieces[-1][0] - heard.pieces[0][0] if heard.pieces else 0
    held = spread_s < HELD_S
    said = f"Something compresses streams ({encoding})" + (" and holds events back." if held else ".")
    measured = {"encoding": encoding, "spread_s": round(spread_s, 3)}
    return Finding("compression", "found", said, known.advice("compression"), measured)


async def _silence(known: Known, seconds: float) -> Finding:
    """As long as the server is silent, and then some: what cuts earlier cuts streams that are well."""
    heard = await known.way.ask("GET", GET, count=2, interval_s=0, silence_s=seconds, lasts_s=seconds)
    if heard.refused:
        return _not_measured("silence", heard)
    events = heard.events()
    measured = {"tried_s": seconds}
    if len(events) == 2:
        return Finding("silence", "ok", f"a stream may be silent for {seconds:g} s", measured=measured)
    if not events:
        after_s = heard.duration_s
        said = f"A stream that was silent for {after_s:.1f} s did not come at all{_in_words(heard)}."
    else:
        after_s = heard.ended_at - events[-1][0]
        keep_alive_s = known.server["keep_alive_s"]
        said = f"A silent stream is cut after {after_s:.1f} s; the server breaks its silence every {keep_alive_s:g} s."
    return Finding("silence", "found", said, known.advice("silence"), measured | {"cut_after_s": round(after_s, 1)})


async def _duration(known: Known, seconds: float) -> Finding:
    """As long as the silent one, but never silent: what is cut here is cut by the clock."""
    count = max(2, min(int(seconds / 0.5), 2_000))
    interval_s = seconds / (count - 1)
    heard = await known.way.ask("GET", GET, count=count, interval_s=interval_s, lasts_s=seconds)
    if heard.refused:
        return _not_measured("duration", heard)
    events = len(heard.events())
    measured = {"tried_s": seconds}
    if events == count:
        return Finding("duration", "ok", f"a stream may last {seconds:g} s", measured=measured)
    after_s = heard.duration_s
    said = f"A stream that is never silent is cut after {after_s:.1f} s{_in_words(heard)}."
    return Finding("duration", "found", said, known.advice("duration"), measured | {"cut_after_s": round(after_s, 1)})


async def _delay(known: Known, seconds: float) -> Finding:
    heard = await known.way.ask("POST", POST, count=1, delay_s=seconds, lasts_s=seconds)
    if heard.refused:
        return _not_measured("waiting", heard)
    measured = {"tried_s": seconds}
    if heard.status == 200 and heard.events():
        return Finding("waiting", "ok", f"a submit may wait {seconds:g} s for its answer", measured=measured)
    after_s = heard.duration_s
    wait_s = known.server["sync_wait_s"]
    said = f"A submit that waits for its answer is given up after {after_s:.1f} s{_in_words(heard)}; "
    said += f"enable_sync_mode waits {wait_s:g} s."
    return Finding("waiting", "found", said, known.advice("delay"), measured | {"cut_after_s": round(after_s, 1)})


async def _body(known: Known, size: int) -> Finding:
    size = min(size, known.server["max_body_bytes"])
    heard = await known.way.ask("POST", POST, count=1, body_bytes=size)
    if heard.status == 200 and heard.events():
        arrived = heard.events()[0][1]["request"]["body_bytes"]
        if arrived == size:
            return Finding("body", "ok", f"a request body of {size:,} bytes gets through", measured={"bytes": size})
    if heard.refused:
        return _not_measured("body", heard)
    refused = heard.status
    passes = await _largest(known, size)
    limit = f"one of {passes:,} bytes gets through" if passes else "none gets through"
    said = f"A request body of {size:,} bytes is refused{f' with {refused}' if refused else ''}; {limit}."
    return Finding("body", "found", said, known.advice("body"), {"refused_bytes": size, "passes_bytes": passes})


async def _largest(known: Known, below: int) -> int:
    largest = 0
    for size in (step for step in BODY_STEPS if step < below):
        heard = await known.way.ask("POST", POST, count=1, body_bytes=size)
        if heard.status != 200:
            break
        largest = size
    return largest


async def _redirect(known: Known) -> Finding:
    """What becomes of a POST to the http of an https URL."""
    address = urlsplit(known.way.url)
    if address.scheme != "https" or address.port not in (None, 443):
        return Finding("redirect", "ok", "nothing redirects")
    plain = Way(address._replace(scheme="http", netloc=address.hostname or "").geturl(), None, 5)
    try:
        heard = await plain.ask("POST", POST, count=1)
    finally:
        await plain.close()
    if heard.status in (301, 302, 303):
        said = f"http answers a POST with {heard.status}, which makes a GET of it: a submit to http:// fails oddly."
        return Finding("redirect", "note", said, known.advice("redirect"), {"status": heard.status})
    return Finding("redirect", "ok", "no redirect makes a GET of a POST", measured={"status": heard.status})


def _counted(pieces: int) -> str:
    return "1 piece" if pieces == 1 else f"{pieces} pieces"


def _in_words(heard: Heard) -> str:
    if heard.status is not None and heard.status != 200:
        return f" ({heard.status})"
    return ""


def _not_measured(check: str, heard: Heard) -> Finding:
    if "content-encoding" in heard.headers:
        said = "The stream is compressed though that was not allowed."
    else:
        said = f"It could not be measured: {heard.error or f'{heard.status} {heard.message()}'.strip()}."
    return Finding(check, "unknown", said)
