"""`unspool ps`, `cancel`, `logs` and `models` in scripts."""

from __future__ import annotations

import json
import signal
from typing import Any

from support.gate import Gate
from support.server import Server
from support.terminal import DEADLINE_S, begin, unspool


def lines(text: str) -> list[Any]:
    return [json.loads(line) for line in text.splitlines()]


def test_ps_lists_what_waits_and_runs_and_cancel_ends_it(server: Server, gate: Gate) -> None:
    submitted = server.client()
    ids = [submitted.submit("say/words", gate=str(gate))["id"] for _ in range(2)]
    done = unspool(server, "ps", "--json", "--model", "say/words")
    listed = lines(done.out)
    assert [one["id"] for one in listed] == ids[::-1], "the newest first"
    assert {one["status"] for one in listed} <= {"created", "processing"}
    done = unspool(server, "cancel", *ids, "0" * 32)
    assert done.code == 8, done
    assert all(id in done.out for id in ids)
    assert f"unspool: {'0' * 32}: " in done.err
    for id in ids:
        submitted.finished(id)
    table = unspool(server, "ps", "--status", "cancelled", "--status", "failed", "-n", "2").out
    assert [row.split()[0] for row in table.splitlines()] == ["ID", *ids[::-1]]
    assert unspool(server, "cancel", ids[0]).out == f"{ids[0]} was cancelled\n"


def test_ps_watches_in_a_pipe_with_a_line_for_each_change(server: Server, gate: Gate) -> None:
    submitted = server.client()
    id = submitted.submit("say/words", gate=str(gate))["id"]
    watching = begin(server, "ps", "--watch", "--all", "--json", "--limit", "1")
    assert watching.stdout is not None
    assert json.loads(watching.stdout.readline())["id"] == id
    gate.open()
    said = iter(watching.stdout.readline, "")
    assert any(json.loads(line)["status"] == "completed" for line in said)
    watching.send_signal(signal.SIGINT)
    watching.communicate(timeout=DEADLINE_S)
    assert watching.returncode == 0


def test_logs_are_what_the_model_said_and_can_be_followed(server: Server, gate: Gate) -> None:
    id = server.client().submit("show/bar", gate=str(gate))["id"]
    with begin(server, "logs", id, "--follow", "--json") as following:
        assert following.stdout is not None
        first = json.loads(following.stdout.readline())
        assert (first["type"], first["level"], first["message"]) == ("log", "info", "a secret of the house")
        assert first["cursor"].startswith("1-")
        gate.open()
        rest = following.stdout.read()  # not `communicate`: it would not see what came together with the first line
        assert [line["message"] for line in lines(rest)] == ["half of it is blue"]
        assert following.wait(DEADLINE_S) == 0
    done = unspool(server, "logs", id)
    assert [line.split(maxsplit=2)[1:] for line in done.out.splitlines()] == [
        ["info", "a secret of the house"],
        ["warning", "half of it is blue"],
    ]


def test_models_say_what_they_stream(server: Server) -> None:
    listed = {model["id"]: model["streams"] for model in lines(unspool(server, "models", "--json").out)}
    assert listed["say/words"] == ["progress", "log", "output"]
    assert listed["go/nowhere"] == []
    rows = {row.split()[0]: row for row in unspool(server, "models").out.splitlines()}
    assert "progress log output" in rows["say/words"]
    assert "Says its prompt, word by word." in rows["say/words"]
