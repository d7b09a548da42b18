"""The official clients that do not run in this process: npm packages, and older Python packages.

They see none of the settings, logins and caches of whoever runs the tests: `environment` gives them another home.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

from support.server import Server
from support.services import folder, missing, program

CLIENTS = Path(__file__).parents[1] / "clients"
JS = CLIENTS / "js"
DEADLINE_S = 60
INSTALL = "Install the official clients: ./scripts/install"


def environment(home: Path, **more: str) -> dict[str, str]:
    """The variables of a program that starts from nothing."""
    foreign = ("WAVESPEED_", "XDG_", "UNSPOOL_", "PYTHON", "FORCE_COLOR")
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    return {**inherited, "HOME": str(home), "NO_COLOR": "1", "NO_PROXY": "127.0.0.1", **more}


def package(name: str) -> Path:
    """The folder of an npm package."""
    folder(JS / "node_modules", INSTALL)
    return folder(JS / "node_modules" / name, INSTALL)


def package_version(name: str) -> str:
    return str(json.loads((package(name) / "package.json").read_text(encoding="utf-8"))["version"])


def node() -> str:
    return program("node", "Install Node.js 20 or newer.")


def interpreter(client: str) -> Path:
    """The Python of `tests/clients/python/{client}`."""
    home = CLIENTS / "python" / client / ".venv"
    return home / "bin" / "python" if (home / "installed").exists() else missing(f"The client {client}", INSTALL)


def python_version(client: str, distribution: str) -> str:
    asked = f"import importlib.metadata as m; print(m.version({distribution!r}))"
    return subprocess.check_output([interpreter(client), "-c", asked], encoding="utf-8", timeout=DEADLINE_S).strip()


def call_js(server: Server, name: str, method: str, *args: Any, key: str | None = None) -> dict[str, Any]:
    """Makes one call with the package of that name: `{"returned": …}`, or `{"raised": {"name", "message", …}}`."""
    package(name)
    script = JS / ("call-0.0.15.mjs" if name == "wavespeed-0.0.15" else "call.mjs")
    return _outcome([node(), script], {**_task(server, method, args, key), "package": name})


def call_python(server: Server, client: str, method: str, *args: Any, key: str | None = None) -> dict[str, Any]:
    """The same in Python. If the last of `args` is an object, it is taken as keyword arguments."""
    return _outcome([interpreter(client), CLIENTS / "python" / "call.py"], _task(server, method, args, key))


def _task(server: Server, method: str, args: Sequence[Any], key: str | None) -> dict[str, Any]:
    return {"url": server.url, "key": key or server.key, "method": method, "args": args}


def _outcome(command: Sequence[str | Path], task: dict[str, Any]) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as home:
        done = run_program([*command, json.dumps(task)], environment(Path(home)))
    assert done.returncode == 0, done.stdout + done.stderr
    return dict(json.loads(done.stdout.splitlines()[-1]))


def run_program(
    command: Sequence[str | Path], environment: dict[str, str], cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Runs a program to its end; whatever its status is."""
    return subprocess.run(
        command,
        env=environment,
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        timeout=DEADLINE_S,
        check=False,
    )


class Told(NamedTuple):
    """What a tool of an MCP server answers."""

    failed: bool
    text: str

    @property
    def json(self) -> Any:
        assert not self.failed, self.text
        return json.loads(self.text)


class Mcp:
    """A host of an MCP server: JSON-RPC, one message in a line, over its standard input and output.

    The protocol: https://modelcontextprotocol.io/specification/2025-06-18/basic/lifecycle
    """

    VERSION = "2025-06-18"

    def __init__(self, command: Sequence[str | Path], environment: dict[str, str], cwd: Path) -> None:
        self._errors = (cwd / "stderr").open("w+", encoding="utf-8")
        self._process = subprocess.Popen(
            command,
            env=environment,
            cwd=cwd,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            encoding="utf-8",
        )
        self._asked = 0
        self.name = ""

    def __enter__(self) -> Mcp:
        about = {"name": "unspool-tests", "version": "1"}
        try:
            greeting = self.ask("initialize", protocolVersion=self.VERSION, capabilities={}, clientInfo=about)
        except BaseException:
            self.close()
            raise
        self.name = greeting["serverInfo"]["name"]
        self._send({"method": "notifications/initialized"})
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()
        self._errors.close()

    def tools(self) -> set[str]:
        return {tool["name"] for tool in self.ask("tools/list")["tools"]}

    def call(self, tool: str, **arguments: Any) -> Told:
        """Calls a tool and waits for its answer."""
        result = self.ask("tools/call", name=tool, arguments=arguments)
        return Told(result.get("isError", False), "\n".join(part["text"] for part in result["content"]))

    def ask(self, method: str, **params: Any) -> dict[str, Any]:
        """Makes a request and waits for its answer."""
        self._asked += 1
        deadline = threading.Timer(DEADLINE_S, self._process.kill)
        deadline.start()
        try:
            self._send({"id": self._asked, "method": method, "params": params})
            return self._answer(self._asked)
        finally:
            deadline.cancel()

    def _send(self, message: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
        self._process.stdin.flush()

    def _answer(self, id: int) -> dict[str, Any]:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if not line.startswith("{"):  # wavespeed-mcp 0.1.27 greets with a line of text
                continue
            message = json.loads(line)
            if message.get("id") == id and "method" not in message:
                assert "error" not in message, message["error"]
                return dict(message["result"])
        self._errors.seek(0)
        raise AssertionError(f"the MCP server has ended, or did not answer for {DEADLINE_S} s:\n{self._errors.read()}")
