"""What somebody sees in a terminal, and what the keys do."""

from __future__ import annotations

import re

import pytest

from support.gate import Gate
from support.server import Server
from support.terminal import OpenTerminal, unspool

ESCAPE = b"\x1b"


def test_a_bar_shows_stage_step_and_time_left(server: Server, gate: Gate, open_terminal: OpenTerminal) -> None:
    terminal = open_terminal(server, "run", "show/bar", f"gate={gate}")
    screen = terminal.wait_for("denoise", "25 %", "5/20", "left")
    assert re.search(r"1:1\d left", screen), screen
    assert "━" in screen
    gate.let(1)
    terminal.wait_for("encode", "90 %")
    gate.let(1)
    assert terminal.end() == 0
    assert '{"made": "it"}' in terminal.screen
    assert "completed in" in terminal.screen
    assert "90 %" not in terminal.screen, "the bar is gone in the end"


def test_warnings_of_the_model_stand_above_the_bar_and_the_rest_on_demand(
    server: Server, gate: Gate, open_terminal: OpenTerminal
) -> None:
    terminal = open_terminal(server, "run", "show/bar", f"gate={gate}")
    screen = terminal.wait_for("half of it is blue", "25 %")
    assert screen.index("half of it") < screen.index("25 %")
    assert "secret" not in screen
    gate.open()
    assert terminal.end() == 0
    terminal = open_terminal(server, "run", "show/bar", "--logs")
    assert terminal.end() == 0
    assert "info: a secret of the house" in terminal.screen


def test_words_stand_there_as_soon_as_they_are_said(server: Server, gate: Gate, open_terminal: OpenTerminal) -> None:
    terminal = open_terminal(server, "run", "say/words", f"gate={gate}")
    terminal.wait_for("running")
    gate.let(1)
    terminal.wait_for("one")
    assert "two" not in terminal.screen
    gate.let(1)
    terminal.wait_for("one two")
    gate.open()
    assert terminal.end() == 0
    assert re.match(r"one two three\s*\ncompleted in", terminal.screen), terminal.screen


def test_the_bar_stays_below_lines_that_are_whole(server: Server, gate: Gate, open_terminal: OpenTerminal) -> None:
    terminal = open_terminal(server, "run", "say/words", f"gate={gate}", "newline=true")
    gate.let(2)
    screen = terminal.wait_for("two", "running")
    assert [line.split()[-2 if "running" in line else 0] for line in screen.splitlines()] == ["one", "two", "running"]
    gate.open()
    assert terminal.end() == 0


def test_words_that_would_command_the_terminal_do_not(server: Server, open_terminal: OpenTerminal) -> None:
    terminal = open_terminal(server, "run", "say/words", "prompt=\x1b]0;owned\x07harmless \x1b[2J")
    assert terminal.end() == 0
    assert "harmless" in terminal.screen
    assert b"\x1b]0;" not in terminal.written
    assert b"\x1b[2J" not in terminal.written


def test_an_attempt_that_was_lost_is_told(server: Server, gate: Gate, open_terminal: OpenTerminal) -> None:
    terminal = open_terminal(server, "run", "say/again", f"gate={gate}")
    terminal.wait_for("attempt 1 says this")
    gate.open()
    assert terminal.end() == 0
    assert "attempt 1 says this" in terminal.screen
    assert re.search(r"Attempt 2 begins: the output so far is void\.\s*\nattempt 2 says this", terminal.screen)


@pytest.mark.parametrize(
    ("key", "code", "said"), [("c", 4, "cancelled"), ("l", 130, "unspool follow"), ("\x03", 130, "unspool follow")]
)
def test_ctrl_c_asks_once_whether_to_leave_or_cancel(
    key: str, code: int, said: str, server: Server, gate: Gate, open_terminal: OpenTerminal
) -> None:
    terminal = open_terminal(server, "run", "say/words", f"gate={gate}")
    gate.let(1)
    terminal.wait_for("one")
    id = gate.visitor()
    terminal.press("\x03")
    terminal.wait_for(f"Prediction {id} is still running", "leave it running", "cancel it")
    terminal.press(key)
    assert terminal.end() == code, terminal.screen
    assert said in terminal.screen
    gate.open()
    done = unspool(server, "follow", id)
    assert done.code == (4 if key == "c" else 0), done
    if key != "c":
        assert done.out == "one two three "


def test_watching_goes_on_after_the_question_and_the_next_ctrl_c_leaves_at_once(
    server: Server, gate: Gate, open_terminal: OpenTerminal
) -> None:
    terminal = open_terminal(server, "run", "say/words", f"gate={gate}")
    gate.let(1)
    terminal.wait_for("one")
    terminal.press("\x03")
    terminal.wait_for("keep watching:")
    gate.let(1)  # meanwhile the stream goes on
    terminal.press("k")
    terminal.wait_for("two")
    terminal.press("\x03")
    assert terminal.end() == 130
    cursor = re.search(r"--after (\S+)", terminal.screen)
    assert cursor, terminal.screen
    gate.open()
    done = unspool(server, "follow", gate.visitor(), "--after", cursor[1])
    assert (done.code, done.out) == (0, "three "), done


def test_colours_are_for_terminals_only_and_for_those_who_want_them(
    server: Server, open_terminal: OpenTerminal
) -> None:
    colour = re.compile(rb"\x1b\[(\d+;)*3\d(;\d+)*m")
    terminal = open_terminal(server, "models")
    assert terminal.end() == 0
    assert colour.search(terminal.written)
    terminal = open_terminal(server, "models", NO_COLOR="1")
    assert terminal.end() == 0
    assert not colour.search(terminal.written)
    done = unspool(server, "models")
    assert "\x1b" not in done.out + done.err


def test_what_goes_into_a_file_is_the_text_alone_while_the_bar_moves(
    server: Server, gate: Gate, open_terminal: OpenTerminal, tmp_path
) -> None:
    out = tmp_path / "out.txt"
    terminal = open_terminal(server, shell=f"unspool run say/words gate={gate} newline=true > {out}")
    gate.let(2)
    terminal.wait_for("running")
    gate.open()
    assert terminal.end() == 0
    assert out.read_text() == "one\ntwo\nthree\n"
    assert b"two" not in terminal.written


def test_ps_watches(server: Server, gate: Gate, open_terminal: OpenTerminal) -> None:
    id = unspool(server, "run", "say/words", f"gate={gate}", "-d").out.strip()
    terminal = open_terminal(server, "ps", "--watch", "--all", "-n", "5")
    terminal.wait_for(id, "processing")
    gate.open()
    terminal.wait_for(id, "completed")
    terminal.press("\x03")
    assert terminal.end() == 0


def test_a_readme_is_laid_out_on_a_terminal_and_markdown_in_a_pipe(server: Server, open_terminal: OpenTerminal) -> None:
    terminal = open_terminal(server, "readme", "say/words")
    assert terminal.end() == 0
    assert ESCAPE in terminal.written
    assert "```" not in terminal.screen
    done = unspool(server, "readme", "say/words")
    assert done.out.startswith("# ")
    assert "```" in done.out
