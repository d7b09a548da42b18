"""The playground is served whole, from this server, with headers that let nothing else in."""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from conftest import MODELS, MakeServer
from support.client import error_of
from support.server import Server
from support.services import program

ROOT = Path(__file__).parents[2]
FILES = ROOT / "src" / "unspool" / "playground"
VENDOR = FILES / "vendor"
SERVED = sorted(
    str(file.relative_to(FILES)) for file in FILES.rglob("*") if file.suffix in (".html", ".css", ".js", ".mjs", ".svg")
)
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
PAGE = "http://127.0.0.1/"
DEADLINE_S = 60


@pytest.fixture(scope="module")
def http(shared_server: Server) -> Iterator[httpx.Client]:
    """Without a key."""
    with httpx.Client(base_url=shared_server.url) as http:
        yield http


def test_the_page_is_open_to_everyone_and_forbids_what_it_does_not_need(http: httpx.Client) -> None:
    answer = http.get("/")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"
    policy = dict(part.split(" ", 1) for part in answer.headers["content-security-policy"].split("; "))
    assert policy["default-src"] == policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert policy["object-src"] == policy["base-uri"] == policy["frame-ancestors"] == "'none'"
    assert policy["require-trusted-types-for"] == "'script'"
    assert "unsafe" not in answer.headers["content-security-policy"]


@pytest.mark.parametrize("name", SERVED)
def test_every_file_has_its_type_and_is_not_sent_twice(http: httpx.Client, name: str) -> None:
    url = f"/playground/{name}"
    answer = http.get(url)
    assert (answer.status_code, answer.headers["content-type"]) == (200, TYPES[Path(name).suffix])
    assert answer.content == (FILES / name).read_bytes()
    assert answer.headers["cache-control"] == "no-cache"
    etag = answer.headers["etag"]
    for known in (etag, f"W/{etag}", f'"other", {etag}', "*"):
        again = http.get(url, headers={"If-None-Match": known})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", etag)
    assert http.get(url, headers={"If-None-Match": '"other"'}).status_code == 200
    head = http.head(url)
    assert (head.status_code, head.content) == (200, b"")
    assert int(head.headers["content-length"]) == len(answer.content)


def test_the_page_names_only_files_that_are_served(http: httpx.Client) -> None:
    asked = set()
    waiting = ["/"]
    while waiting:
        path = waiting.pop()
        if path in asked:
            continue
        asked.add(path)
        answer = http.get(path)
        assert answer.status_code == 200, path
        at = httpx.URL(PAGE).join(path)
        names = re.findall(r'(?:src|href)="(playground/[^"]+)"', answer.text) if path == "/" else []
        if path.endswith("js") and "/vendor/" not in path and not path.endswith("/unspool.js"):
            names += re.findall(r'^(?:import|export) [^"]*"(\.[^"]+)";', answer.text, re.MULTILINE)
        waiting += [at.join(name).path for name in names]
    modules = {f"/playground/{name}" for name in SERVED if name != "index.html"}
    assert asked - {"/"} == modules, "a file that nothing loads, or one that is loaded and not there"


@pytest.mark.parametrize(
    "path",
    [
        "",
        "nothing.js",
        "vendor",
        "vendor/",
        "vendor/README.md",
        "../config.py",
        "%2e%2e/config.py",
        "index.html/",
        "%00",
    ],
)
def test_what_is_no_file_of_the_page_is_not_found(http: httpx.Client, path: str) -> None:
    error_of(http.get(f"/playground/{path}"), 404, "not_found")


def test_the_page_is_only_for_reading(http: httpx.Client) -> None:
    for method in ("POST", "PUT", "DELETE"):
        answer = http.request(method, "/")
        error_of(answer, 405, "method_not_allowed")
        assert answer.headers["allow"] == "GET, OPTIONS"


def test_a_setting_turns_it_off(make_server: MakeServer) -> None:
    server = make_server("text.py", ready=False, UNSPOOL_PLAYGROUND="0")
    for path in ("/", "/playground/app.js"):
        error_of(httpx.get(server.url + path), 404, "not_found")
    assert "Playground:" not in server.log


def test_urls_that_begin_with_the_public_url_are_let_in(make_server: MakeServer) -> None:
    server = make_server("text.py", ready=False, UNSPOOL_PUBLIC_URL="https://ai.example.com/models/")
    policy = httpx.get(f"{server.url}/").headers["content-security-policy"]
    assert "img-src 'self' https://ai.example.com data: blob:" in policy
    assert "script-src 'self';" in policy


def test_the_link_that_is_printed_has_the_key_only_if_the_server_has_made_it(
    make_server: MakeServer, server: Server, tmp_path: Path
) -> None:
    server.wait_for_log(rf"^Playground: {re.escape(server.url)}/$")
    open_to_all = make_server("text.py", ready=False, UNSPOOL_AUTH="off")
    open_to_all.wait_for_log(rf"^Playground: {re.escape(open_to_all.url)}/$")
    made = Server(MODELS / "text.py", tmp_path / "made")
    del made._environment["UNSPOOL_API_KEY"]
    try:
        key = made.start().wait_for_log(r"^API key: (\S+)")[1]
        made.wait_for_log(rf"^Playground: {re.escape(made.url)}/#key={re.escape(key)}$")
    finally:
        made.close()


def test_foreign_files_are_those_that_their_projects_published() -> None:
    table = (VENDOR / "README.md").read_text(encoding="utf-8")
    told = dict(re.findall(r"^\| `([^`]+)` .*`([0-9a-f]{64})` \|$", table, re.MULTILINE))
    there = {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in VENDOR.glob("*js")}
    assert there == told
    for name in there:
        assert (VENDOR / f"{name.split('.')[0]}.LICENSE.txt").exists()


def test_the_wheel_has_every_file(tmp_path: Path) -> None:
    program = "import sys, hatchling.build as build; print(build.build_wheel(sys.argv[1]))"
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], cwd=ROOT, capture_output=True, encoding="utf-8"
    )
    assert done.returncode == 0, done.stderr
    with zipfile.ZipFile(tmp_path / done.stdout.split()[-1]) as wheel:
        inside = {name.removeprefix("unspool/playground/") for name in wheel.namelist()}
    assert set(SERVED) <= inside
    assert {"vendor/README.md", "vendor/marked.LICENSE.txt", "vendor/purify.LICENSE.txt"} <= inside


def test_what_decides_without_a_page_is_right() -> None:
    """`tests/playground/`: from schemas to inputs, from events to a state, from requests to programs."""
    node = program("node", "Install Node.js 20 or newer.")
    done = subprocess.run(
        [node, "--test", *sorted((ROOT / "tests" / "playground").glob("*.test.js"))],
        capture_output=True,
        encoding="utf-8",
        timeout=DEADLINE_S,
    )
    assert done.returncode == 0, done.stdout + done.stderr
