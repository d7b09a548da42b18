"""What a prompt for `unspool/moving-digits` asks for."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unspool.demo.digits.prompt import DIAGONALS, MOVING, SPEEDS, Scene, settle, understand

ANY_DIGIT = tuple(range(10))
WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
WAYS = {
    "right": "right",
    "down and to the right": "down-right",
    "downwards": "down",
    "to the lower left": "down-left",
    "left": "left",
    "up-left": "up-left",
    "up": "up",
    "north-east": "up-right",
    "in place": "still",
}


@pytest.mark.parametrize(
    ("prompt", "digit", "direction", "speed"),
    [
        ("the digit 7 moving right, fast", 7, "right", "fast"),
        ("SEVEN drifts up and to the left", 7, "up-left", "slow"),
        ("A quick eight, falling", 8, "down", "fast"),
        ("one 4 from left to right, slowly", 4, "right", "slow"),
        ("the one moving down at high speed", 1, "down", "fast"),
        ("from the top left to the bottom right corner: nine, not too fast", 9, "down-right", "slow"),
        ("a three coming from the right, not slow", 3, "left", "fast"),
        ("2 seconds of zeroes going southwest at 12 fps, slow", 0, "down-left", "slow"),
        ("right now, an 8 that climbs gently", 8, "up", "slow"),
        ("still moving right, 5, racing", 5, "right", "fast"),
        ("７ northeast, rapidly", 7, "up-right", "fast"),
        ("the 6 isn't moving", 6, "still", None),
        ("a motionless two", 2, "still", None),
    ],
)
def test_a_prompt_says_digit_direction_and_speed(prompt, digit, direction, speed):
    wish = understand(prompt)
    assert settle(wish, 0) == Scene(digit, direction, speed)
    assert wish.notes == ()


@pytest.mark.parametrize(
    ("prompt", "digits", "directions", "speeds"),
    [
        ("", ANY_DIGIT, MOVING, SPEEDS),
        ("surprise me", ANY_DIGIT, MOVING, SPEEDS),
        ("something going left", ANY_DIGIT, ("left",), SPEEDS),
        ("the digit 3", (3,), MOVING, SPEEDS),
        ("5, diagonally", (5,), DIAGONALS, SPEEDS),
        ("5, diagonally, upwards", (5,), ("up-left", "up-right"), SPEEDS),
        ("quickly!", ANY_DIGIT, MOVING, ("fast",)),
    ],
)
def test_what_a_prompt_does_not_say_is_open(prompt, digits, directions, speeds):
    wish = understand(prompt)
    assert (wish.digits, wish.directions, wish.speeds, wish.notes) == (digits, directions, speeds, ())


@pytest.mark.parametrize(
    ("prompt", "digit", "direction", "speed", "words"),
    [
        ("42 moving up, fast", 4, "up", "fast", "several digits (4, 2)"),
        ("a 3 and a five moving up, fast", 3, "up", "fast", "several digits (3, 5)"),
        ("6 left and then right, slow", 6, "left", "slow", "both left and right"),
        ("6 up and down, slow", 6, "up", "slow", "both up and down"),
        ("8 right, first slow, then fast", 8, "right", "slow", "several speeds (slow, fast)"),
        ("9 stands still, fast", 9, "still", None, "has no speed"),
    ],
)
def test_what_contradicts_itself_is_decided_and_said(prompt, digit, direction, speed, words):
    wish = understand(prompt)
    assert settle(wish, 0) == Scene(digit, direction, speed)
    assert len(wish.notes) == 1
    assert words in wish.notes[0]


def test_the_same_digit_twice_is_no_contradiction():
    assert understand("a 7, yes, the digit seven").notes == ()


@given(st.text(max_size=500), st.integers(0, 2**31 - 1))
def test_every_text_is_a_prompt_and_a_seed_settles_it(prompt, seed):
    wish = understand(prompt)
    scene = settle(wish, seed)
    assert scene == settle(understand(prompt), seed)
    assert scene.digit in wish.digits
    assert scene.direction in wish.directions
    assert (scene.speed is None) == (scene.direction == "still")


@given(st.sampled_from(ANY_DIGIT), st.booleans(), st.sampled_from(list(WAYS)), st.sampled_from(SPEEDS), st.randoms())
def test_the_order_of_what_is_said_does_not_matter(digit, figure, way, speed, shuffler):
    parts = [str(digit) if figure else WORDS[digit], way, *([] if WAYS[way] == "still" else [speed])]
    shuffler.shuffle(parts)
    wish = understand(", ".join(parts))
    assert (wish.digits, wish.directions) == ((digit,), (WAYS[way],))
    assert wish.speeds == (() if WAYS[way] == "still" else (speed,))
    assert wish.notes == ()


def test_seeds_choose_everything_that_is_open():
    wish = understand("surprise me")
    scenes = [settle(wish, seed) for seed in range(400)]
    assert {scene.digit for scene in scenes} == set(ANY_DIGIT)
    assert {scene.direction for scene in scenes} == set(MOVING)
    assert {scene.speed for scene in scenes} == set(SPEEDS)
