"""A command imports what it needs and no more: who asks for help does not wait for a server's parts."""

from __future__ import annotations

import subprocess
import sys

import pytest

from support.server import Server
from support.terminal import DEADLINE_S, environment, unspool

OF_SERVERS = ("uvicorn", "starlette", "structlog", "pydantic_settings", "sqlite3", "uvloop", "obstore", "jsonschema_rs")
OURS_OF_SERVERS = ("unspool.server", "unspool.api", "unspool.spool", "unspool.model", "unspool.host", "unspool.worker")


@pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"], ["run", "say/words"], ["ps"]])
def test_a_command_does_not_load_the_parts_of_a_server(arguments: list[str], server: Server) -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "unspool", *arguments],
        env=environment(server),
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=True,
    )
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}
    assert "unspool.cli" in loaded
    assert {name for name in loaded if name in OURS_OF_SERVERS or name.partition(".")[0] in OF_SERVERS} == set()


def complete(words: str, server: Server | None) -> list[str]:
    """What bash proposes for the last of these words."""
    asked = {"_UNSPOOL_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(len(words.split(" ")) - 1)}
    done = unspool(server, env=asked)
    assert "Traceback" not in done.err, done.err
    return done.out.split()


def test_a_shell_completes_what_the_server_knows(server: Server) -> None:
    assert complete("unspool ru", None) == ["run"]
    assert complete("unspool run say/", server) == ["say/again", "say/letters", "say/words"]
    assert complete("unspool run take/inputs mo", server) == ["mood="]
    assert "--detach" in complete("unspool run --", server)


def test_completion_is_silent_where_no_server_is() -> None:
    assert complete("unspool run say/", None) == []
