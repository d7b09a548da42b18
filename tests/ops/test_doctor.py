"""`unspool doctor` against real proxies: it finds what is wrong with them, and nothing else."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

import pytest

from conftest import MODELS
from support.proxy import Proxy
from support.receiver import Receiver
from support.server import KEY, Server
from unspool.doctor import Report, examine
from unspool.doctor.proxies import ANY, KINDS, Topic, recognise

LISTENS = "\t# change: where Unspool listens"


@pytest.fixture(scope="module")
def behind(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(MODELS / "few.py", tmp_path_factory.mktemp("behind"))
    try:
        yield server.start().wait_until_ready()
    finally:
        server.close()


def doctor(url: str, *arguments: str, key: str = KEY) -> subprocess.CompletedProcess[str]:
    """The command, as a user starts it."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("UNSPOOL_")}
    return subprocess.run(
        [sys.executable, "-m", "unspool", "doctor", url, *arguments],
        env={**inherited, "UNSPOOL_API_KEY": key},
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=120,
    )


def examined(url: str, *arguments: str, key: str = KEY) -> dict[str, Any]:
    """Its report, whose exit code is the command's."""
    done = doctor(url, "--json", *arguments, key=key)
    assert done.stdout, done.stderr
    report = dict(json.loads(done.stdout))
    assert report["exit_code"] == done.returncode
    return report


def found(report: Mapping[str, Any], level: str = "found") -> dict[str, dict[str, Any]]:
    return {one["check"]: one for one in report["findings"] if one["level"] == level}


BAD: dict[str, tuple[str, dict[str, str], set[str], str]] = {
    "nginx gathers streams": (
        "nginx",
        {"proxy_buffering off;": "proxy_ignore_headers X-Accel-Buffering;", "proxy_http_version 1.1;": ""},
        {"buffering", "buffering of submits"},
        "proxy_buffering off;",
    ),
    "nginx compresses streams": (
        "nginx",
        {"gzip off;": "gzip on; gzip_proxied any; gzip_types text/event-stream;"},
        {"compression"},
        "gzip off;",
    ),
    "nginx is impatient with silence": (
        "nginx",
        {"proxy_read_timeout 60s": "proxy_read_timeout 1s"},
        {"silence"},
        "proxy_read_timeout 60s;",
    ),
    "nginx is impatient with submits": (
        "nginx",
        {"proxy_read_timeout 620s": "proxy_read_timeout 1s"},
        {"waiting"},
        "proxy_read_timeout 620s;",
    ),
    "nginx has its limit of bodies": (
        "nginx",
        {"client_max_body_size 0;": "client_max_body_size 1k;"},
        {"body"},
        "client_max_body_size 0;",
    ),
    "nginx keeps the host to itself": (
        "nginx",
        {"proxy_set_header Host $http_host;": ""},
        {"address"},
        "proxy_set_header Host $http_host;",
    ),
    "Caddy compresses streams": ("caddy", {LISTENS: "\tencode gzip"}, {"compression"}, "encode"),
    "Caddy has a limit of bodies": (
        "caddy",
        {LISTENS: "\trequest_body {\n\t\tmax_size 1KB\n\t}"},
        {"body"},
        "request_body",
    ),
    "Caddy is impatient": (
        "caddy",
        {"\t\t\tcompression off": "\t\t\tcompression off\n\t\t\tread_timeout 1s\n\t\t\tresponse_header_timeout 1s"},
        {"silence", "waiting"},
        "read_timeout",
    ),
}


GOOD = {"nothing": "", "the nginx of deploy": "nginx", "the Caddy of deploy": "caddy"}
IDLE_S = 2.5


@pytest.fixture(scope="module")
def reports(behind: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, dict[str, Any]]]:
    """What is found behind each of them. Several are examined at once: most of it is waiting."""
    folder = tmp_path_factory.mktemp("proxies")
    cases = {**{name: (kind, {}) for name, kind in GOOD.items()}, **{name: case[:2] for name, case in BAD.items()}}
    proxies = {
        name: Proxy(kind, behind, folder / name.replace(" ", "-"), changes)
        for name, (kind, changes) in cases.items()
        if kind
    }

    async def examine_all() -> list[Report]:
        urls = [proxies[name].url if name in proxies else behind.url for name in cases]
        few = asyncio.Semaphore(6)  # the server takes 32 of their streams at once

        async def one(url: str) -> Report:
            async with few:
                return await examine(url, KEY, idle_s=IDLE_S, timeout_s=60)

        return await asyncio.gather(*map(one, urls))

    try:
        yield dict(zip(cases, [report.as_dict() for report in asyncio.run(examine_all())], strict=True))
    finally:
        for proxy in proxies.values():
            proxy.close()


@pytest.mark.parametrize("case", GOOD)
def test_nothing_is_found_where_all_is_well(reports: dict[str, dict[str, Any]], case: str):
    report = reports[case]
    assert report["exit_code"] == 0, report
    assert report["proxies"] == [name for kind, name in (("nginx", "nginx"), ("caddy", "Caddy")) if kind == GOOD[case]]
    measured = {one["check"]: one["measured"] for one in report["findings"]}
    assert measured["buffering"]["events"] == measured["buffering of submits"]["events"] == 10
    assert measured["body"]["bytes"] == 2_000_000
    assert measured["silence"]["tried_s"] == measured["duration"]["tried_s"] == measured["waiting"]["tried_s"] == IDLE_S


@pytest.mark.parametrize("case", BAD)
def test_what_is_wrong_is_found_with_the_line_to_change(reports: dict[str, dict[str, Any]], case: str):
    report = reports[case]
    _, _, expected, line = BAD[case]
    wrong = found(report)
    assert set(wrong) == expected, report
    assert report["exit_code"] == 1
    advice = [one["line"] for finding in wrong.values() for one in finding["advice"]]
    assert any(line in text for text in advice), advice


def test_everything_at_once_is_told_to_people(behind: Server, tmp_path: Path):
    changes = {
        "proxy_buffering off;": "proxy_ignore_headers X-Accel-Buffering;",
        "proxy_http_version 1.1;": "",
        "proxy_read_timeout 60s": "proxy_read_timeout 1s",
        "client_max_body_size 0;": "client_max_body_size 1k;",
    }
    proxy = Proxy("nginx", behind, tmp_path / "nginx", changes)
    try:
        done = doctor(proxy.url, "--idle-s", "2.5")
    finally:
        proxy.close()
    assert done.returncode == 1
    assert "✗ buffering: Events are held back, up to" in done.stdout
    assert "one of 1,000 bytes gets through" in done.stdout
    assert "in the server or location block of nginx: proxy_buffering off;" in done.stdout
    assert "Between here and the server: nginx." in done.stdout
    assert "\x1b[" not in done.stdout, "no colours where there is no terminal"


def test_a_redirect_is_told_before_anything_else(behind: Server, tmp_path: Path):
    location = "location = /health/live { return 301 https://$http_host$request_uri; }"
    proxy = Proxy("nginx", behind, tmp_path / "nginx", {"    location / {": f"    {location}\n    location / {{"})
    try:
        report = examined(proxy.url)
    finally:
        proxy.close()
    finding = found(report)["redirect"]
    assert "becomes a GET" in finding["said"]
    assert finding["advice"][0]["line"] == "use " + proxy.url.replace("http://", "https://")


def test_a_wrong_key_is_found(behind: Server):
    report = examined(behind.url, key="wrong-key-0123456789")
    assert set(found(report)) == {"key"}
    assert report["exit_code"] == 1


def test_nobody_there_cannot_be_told():
    report = examined("http://127.0.0.1:9", "--timeout-s", "5")
    assert set(found(report, "unknown")) == {"reachable"}
    assert report["exit_code"] == 2


def test_something_else_there_cannot_be_told():
    receiver = Receiver()
    try:
        report = examined(receiver.url(""))
    finally:
        receiver.close()
    assert report["exit_code"] == 2
    assert "not as Unspool does" in found(report, "unknown")["reachable"]["said"]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_each_proxy_has_a_line_for_everything(kind: Any):
    assert set(kind.lines) == set(ANY) == set(get_args(Topic))


@pytest.mark.parametrize(
    ("answer", "request_", "names"),
    [
        ({"server": "nginx/1.22.1"}, {}, ["nginx"]),
        ({"server": "granian", "via": "1.1 Caddy"}, {}, ["Caddy"]),
        ({"server": "Caddy"}, {}, ["Caddy"]),
        ({"server": "cloudflare", "cf-ray": "8c1-FRA"}, {}, ["Cloudflare"]),
        (
            {"server": "cloudflare", "cf-ray": "8c1-FRA"},
            {"x-amzn-trace-id": "Root=1"},
            ["Cloudflare", "AWS load balancer"],
        ),
        ({"server": "granian"}, {"x-forwarded-server": "traefik-5d"}, ["Traefik"]),
        ({"server": "Apache/2.4.57 (Debian)"}, {}, ["Apache"]),
        ({"server": "istio-envoy"}, {}, ["Envoy"]),
        ({"server": "granian"}, {"host": "x"}, []),
    ],
)
def test_proxies_are_known_by_their_headers(answer: dict[str, str], request_: dict[str, str], names: list[str]):
    assert [kind.name for kind in recognise(answer, request_)] == names
