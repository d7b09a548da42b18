"""`unspool run` and `unspool follow` in scripts and pipes: stdout, stderr, JSON, files, exit codes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from conftest import MakeServer
from sdk.faults import FaultProxy
from support.gate import Gate
from support.receiver import free_port
from support.server import Server
from support.terminal import DEADLINE_S, begin, command, environment, unspool


def lines(text: str) -> list[Any]:
    """Lines of JSON."""
    return [json.loads(line) for line in text.splitlines()]


# What goes where


def test_stdout_holds_the_text_and_nothing_else(server: Server) -> None:
    done = unspool(server, "run", "say/words", "prompt=Grüße an 世界")
    assert (done.code, done.out) == (0, "Grüße an 世界 ")
    assert "completed in" in done.err
    done = unspool(server, "run", "say/words", "--quiet")
    assert (done.out, done.err) == ("one two three ", "")


def test_an_output_that_is_no_text_is_json(server: Server) -> None:
    done = unspool(server, "run", "show/bar")
    assert done.out == '{"made": "it"}\n'
    assert [line for line in done.err.splitlines() if "%" in line] == ["denoise 25 %", "encode 90 %"]


def test_json_is_every_event_with_its_cursor_on_a_line_of_its_own(server: Server) -> None:
    done = unspool(server, "run", "say/words", "--json")
    events = lines(done.out)
    assert (done.code, done.err) == (0, "")
    assert [event["cursor"] for event in events] == ["0-1", "1-1", "1-2", "1-3", "1-4", "1-5"]
    assert "".join(event["output"] for event in events if event["type"] == "output") == "one two three "
    again = unspool(server, "follow", events[0]["id"], "--json")
    assert again.out == done.out
    assert lines(unspool(server, "follow", events[0]["id"], "--after", "1-3", "--json").out) == events[4:]


def test_inputs_reach_the_model_as_its_schema_says(server: Server, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("of a file")
    (tmp_path / "prompt.txt").write_text("of another")
    given = ["count=2", "scale=0.5", "on=true", "mood=wild", "sizes=1", "sizes=2", 'options={"a": 1}', "file=a.txt"]
    done = unspool(server, "run", "take/inputs", "text=@prompt.txt", *given, cwd=tmp_path)
    assert json.loads(done.out) == {
        "text": "of another",
        "count": 2,
        "scale": 0.5,
        "on": True,
        "mood": "wild",
        "sizes": [1, 2],
        "options": {"a": 1},
        "file": "of a file",
    }


def test_inputs_come_from_stdin_and_from_a_file(server: Server, tmp_path: Path) -> None:
    assert json.loads(unspool(server, "run", "take/inputs", "text=-", input="piped").out)["text"] == "piped"
    assert json.loads(unspool(server, "run", "take/inputs", "text=x", "file=-", input="piped").out)["file"] == "piped"
    (tmp_path / "inputs.json").write_text('{"text": "a", "count": 3}')
    done = unspool(server, "run", "take/inputs", "-i", "inputs.json", "text=b", cwd=tmp_path)
    assert (json.loads(done.out)["text"], json.loads(done.out)["count"]) == ("b", 3)


def test_a_model_that_does_not_stream_runs_as_well(server: Server) -> None:
    done = unspool(server, "run", "go/nowhere", "prompt=here")
    assert (done.code, done.out) == (0, "here")


# Files


def test_files_are_saved_in_the_current_folder_and_named_on_stdout(server: Server, tmp_path: Path) -> None:
    done = unspool(server, "run", "make/files", "names=a.png", "names=b.txt", "text=and words", cwd=tmp_path)
    assert done.code == 0, done
    first, second, words = done.out.split("\n")
    assert words == "and words"
    assert (tmp_path / first).read_text() == "a.png"
    assert (tmp_path / second).read_text() == "b.txt"
    assert first.startswith("files-")
    assert (Path(first).suffix, Path(second).suffix) == (".png", ".txt")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([first, second])


def test_output_names_a_file_or_a_folder_or_stdout(server: Server, tmp_path: Path) -> None:
    one = ["run", "make/files", "names=a.png"]
    assert unspool(server, *one, "-o", "mine.png", cwd=tmp_path).out == "mine.png\n"
    assert (tmp_path / "mine.png").read_text() == "a.png"
    assert (
        unspool(server, *one, "names=b.png", "-o", "new/mine.png", cwd=tmp_path).out == "new/mine.png\nnew/mine-2.png\n"
    )
    assert (tmp_path / "new" / "mine-2.png").read_text() == "b.png"
    assert unspool(server, *one, "-o", "folder/", cwd=tmp_path).out.startswith("folder/files-")
    assert unspool(server, *one, "-o", "-", cwd=tmp_path).out == "a.png"
    assert unspool(server, "run", "say/words", "-o", "words.txt", cwd=tmp_path).out == "one two three "
    assert (tmp_path / "words.txt").read_text() == "one two three "


def test_files_can_be_opened(server: Server, tmp_path: Path) -> None:
    opener = tmp_path / ("open" if sys.platform == "darwin" else "xdg-open")
    opener.write_text(f'#!/bin/sh\necho "$1" > {tmp_path}/opened\n')
    opener.chmod(0o755)
    path = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = unspool(server, "run", "make/files", "names=a.png", "-o", "mine.png", "--open", cwd=tmp_path, env=path)
    assert done.code == 0, done
    assert (tmp_path / "opened").read_text() == "mine.png\n"


def test_a_place_that_cannot_be_written_to_is_told(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = unspool(server, "run", "make/files", "names=a.png", "-o", "file/mine.png", cwd=tmp_path)
    assert done.code == 1
    assert "Cannot write file/mine.png" in done.err


# An attempt that was lost


def test_a_file_holds_the_words_of_the_attempt_that_worked(server: Server, tmp_path: Path) -> None:
    out = tmp_path / "out.txt"
    for mode, before in (("wb", ""), ("ab", "before\n")):
        out.write_text("before\n")
        with out.open(mode) as file:
            done = unspool(server, "run", "say/again", stdout=file)
        assert done.code == 0, done
        assert out.read_text() == before + "attempt 2 says this\n"


def test_a_pipe_waits_for_the_end_if_it_is_asked_to(server: Server, gate: Gate) -> None:
    done = unspool(server, "run", "say/again", "--final")
    assert done.out == "attempt 2 says this\n"


# Pipes


def test_who_reads_only_the_beginning_ends_the_command_in_silence(server: Server) -> None:
    line = f"{' '.join(command('run', 'say/letters', 'count=20000'))} | head -n 1; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(
        ["bash", "-c", line], env=environment(server), capture_output=True, text=True, timeout=DEADLINE_S, check=True
    )
    assert done.stdout == "x" * 1000 + "\n141\n"
    assert "rror" not in done.stderr
    done = subprocess.run(
        ["bash", "-c", f"{' '.join(command('models', '--json'))} | true; echo ${{PIPESTATUS[0]}}"],
        env=environment(server),
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=True,
    )
    assert (done.stdout, done.stderr) in [("141\n", ""), ("0\n", "")]


@pytest.mark.parametrize(("on_interrupt", "code"), [("ask", 130), ("leave", 130), ("cancel", 4)])
def test_ctrl_c_where_nobody_can_be_asked(on_interrupt: str, code: int, server: Server, gate: Gate) -> None:
    running = begin(server, "run", "say/words", f"gate={gate}", "--on-interrupt", on_interrupt)
    id = gate.visitor()
    gate.let(1)
    assert running.stdout is not None
    assert running.stdout.read(4) == "one "
    running.send_signal(signal.SIGINT)
    _, said = running.communicate(timeout=DEADLINE_S)
    assert running.returncode == code, said
    assert (f"unspool follow {id} --after" in said) == (code == 130)
    gate.open()
    assert unspool(server, "follow", id).code == (0 if code == 130 else 4)


# Exit codes


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["run", "go/wrong"], 3, "failed: The picture could not be made."),
        (["run", "say/nothing"], 8, "say/words"),
        (["run", "take/inputs"], 2, "text: is missing"),
        (["run", "take/inputs", "text=a", "cuont=1"], 2, "did you mean 'count'"),
        (["run", "take/inputs", "text=a", "count=many"], 2, "whole number"),
        (["follow", "0" * 32], 8, "no such prediction"),
        (["cancel", "0" * 32], 8, "no such prediction"),
        (["run", "say/words", "--webhook-url", "ftp://example.com"], 2, "webhook"),
        (["ps", "--watch"], 2, "--json"),
        (["models", "--api-key", "wrong"], 7, "UNSPOOL_API_KEY"),
        (["models", "--url", f"http://127.0.0.1:{free_port()}"], 6, "UNSPOOL_URL"),
    ],
)
def test_what_goes_wrong_has_an_exit_code_and_a_reason(
    arguments: list[str], code: int, said: str, server: Server
) -> None:
    done = unspool(server, *arguments)
    assert (done.code, done.out) == (code, ""), done
    assert said in done.err
    assert "Traceback" not in done.err


def test_a_timeout_has_an_exit_code(server: Server, gate: Gate) -> None:
    done = unspool(server, "run", "say/words", f"gate={gate}", "--run-timeout", "0.2")
    assert done.code == 5, done


def test_the_exit_code_of_json_is_the_same(server: Server) -> None:
    done = unspool(server, "run", "go/wrong", "--json")
    assert (done.code, done.err) == (3, "")
    assert lines(done.out)[-1]["status"] == "failed"


def test_following_what_has_ended_tells_how(server: Server) -> None:
    events = lines(unspool(server, "run", "go/wrong", "--json").out)
    done = unspool(server, "follow", events[0]["id"], "--after", events[-1]["cursor"])
    assert (done.code, done.out) == (3, "")


# Away and back


def test_a_prediction_is_submitted_once_however_often_with_one_key(server: Server) -> None:
    ids = {unspool(server, "run", "say/words", "-d", "--idempotency-key", "one-and-only").out for _ in range(2)}
    assert len(ids) == 1
    (id,) = ids
    assert unspool(server, "follow", id.strip()).out == "one two three "
    assert lines(unspool(server, "run", "say/words", "-d", "--json").out)[0].keys() == {"id", "status"}


def test_whoever_has_a_link_to_the_stream_follows_without_a_key(server: Server, tmp_path: Path) -> None:
    link = server.client().submit("make/files", names=["a.png"], text="and words")["urls"]["stream"]
    done = unspool(None, "follow", link, "--output", "made/", cwd=tmp_path)
    assert done.code == 0, done
    path, words = done.out.split("\n")
    assert (words, (tmp_path / path).read_text()) == ("and words", "a.png")


def test_following_survives_a_server_that_is_killed_and_started_again(make_server: MakeServer, gate: Gate) -> None:
    server = make_server("words.py")
    proxy = FaultProxy(lambda: server.url)  # only for an address that stays
    try:
        id = unspool(server, "run", "say/words", f"gate={gate}", "-d").out.strip()
        following = begin(server, "follow", id, "--url", proxy.url)
        gate.let(1)
        assert following.stdout is not None
        assert following.stdout.read(4) == "one "
        server.restart()
        gate.open()
        out, said = following.communicate(timeout=DEADLINE_S)
    finally:
        proxy.close()
    assert following.returncode == 0, said
    assert out == "\none two three "
    assert "Attempt 2 begins" in said
