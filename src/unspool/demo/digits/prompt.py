"""What a prompt asks for: a digit, a direction, a speed. English, in any order, with anything around it.

What it does not say is open, and is chosen by the seed (`settle`). What it says twice, or against itself, is decided
here, and each such decision is put in words, so that whoever wrote the prompt learns of it.
"""

from __future__ import annotations

import random
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")

_NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_DIGITS = {name: digit for digit, name in enumerate(_NAMES)}
_DIGITS |= {f"{name}s": digit for name, digit in _DIGITS.items()}
_DIGITS |= {"sixes": 6, "zeroes": 0, "nought": 0, "naught": 0}
_UNITS = {
    *("frame", "frames", "second", "seconds", "sec", "secs", "s", "fps", "hz", "px", "pixel", "pixels", "percent"),
    *("times", "x", "step", "steps", "cm", "m", "degree", "degrees"),
}
"""A number before one of these is not the digit to draw."""


def _words(**lists: str) -> dict[str, str]:
    return {word: meaning for meaning, words in lists.items() for word in words.split()}


_SIDES = _words(
    right="right rightward rightwards rightmost east eastward eastwards",
    left="left leftward leftwards leftmost west westward westwards",
    up="up upward upwards upper north northward northwards top rise rises rising climb climbs climbing ascend ascends "
    "ascending ascent above",
    down="down downward downwards lower south southward southwards bottom fall falls falling drop drops dropping "
    "descend descends descending descent sink sinks sinking below",
)
_COMPOUND = re.compile(r"(north|south|up|down|upper|lower|top|bottom)(?=(east|west|left|right))")
_DIAGONAL = {"diagonal", "diagonally", "oblique", "obliquely"}
_STILL = {
    *("still", "static", "stationary", "motionless", "immobile", "unmoving", "frozen", "standing", "stands", "stand"),
    *("resting", "rests", "rest", "standstill"),
}
_STILL_PHRASE = re.compile(
    r"\b(?:(?:not|never|no|without|doesn t|does not|isn t|is not)(?: any)? (?:move|moves|moving|movement|motion)"
    r"|in place|on the spot)\b"
)
_PACE = _words(
    fast="fast faster quick quickly quicker rapid rapidly swift swiftly speedy speedily speeding hurry hurries "
    "hurrying hurriedly rush rushes rushing race races racing dash dashes dashing zoom zooms zooming "
    "sprint sprints sprinting",
    slow="slow slower slowly sluggish sluggishly gentle gently gradual gradually leisurely lazy lazily unhurried "
    "unhurriedly crawl crawls crawling creep creeps creeping drift drifts drifting stroll strolls strolling",
)
_KIND_OF_SPEED = {"high": "fast", "top": "fast", "full": "fast", "low": "slow"}
_OTHER = {"fast": "slow", "slow": "fast"}
_NEGATIONS = {"not", "never", "without", "isn", "don", "doesn"}
_SOFTENERS = {"too", "so", "very", "that", "really", "all"}
_NOT_A_SIDE = {"right": {"now", "away", "here", "there"}, "top": {"speed"}}
_ENDS_OF_FROM = {"to", "towards", "toward", "until", "till", "then"}
_OPPOSITE = {"right": "left", "left": "right", "up": "down", "down": "up"}

MOVING = ("right", "down-right", "down", "down-left", "left", "up-left", "up", "up-right")
DIAGONALS = ("down-right", "down-left", "up-left", "up-right")
SPEEDS = ("slow", "fast")


@dataclass(frozen=True)
class Wish:
    """What a prompt leaves open and what it does not."""

    digits: tuple[int, ...]
    directions: tuple[str, ...]
    speeds: tuple[str, ...]
    """Empty if nothing moves."""
    notes: tuple[str, ...] = ()
    """What could not be granted, in sentences."""


@dataclass(frozen=True)
class Scene:
    """What is drawn."""

    digit: int
    direction: str
    speed: str | None
    """`None` where nothing moves."""

    def __str__(self) -> str:
        if self.speed is None:
            return f"the digit {self.digit} standing still"
        return f"the digit {self.digit} moving {self.direction}, {self.speed}"


def settle(wish: Wish, seed: int) -> Scene:
    """Chooses what is open. The same wish and seed always give the same."""
    # The first numbers of neighbouring seeds are alike in no generator, but this one is fixed for all versions of
    # Python for whole texts only.
    chooser = random.Random(f"unspool/moving-digits {seed}")  # noqa: S311 - nobody's secret
    shares = [chooser.random() for _ in range(3)]
    digit, direction = _at(wish.digits, shares[0]), _at(wish.directions, shares[1])
    return Scene(digit, direction, _at(wish.speeds, shares[2]) if wish.speeds else None)


def understand(prompt: str) -> Wish:
    """What a prompt asks for. Every text is a prompt; one that says nothing leaves everything open."""
    words = _tokens(prompt)
    notes: list[str] = []
    digits = _digits(words, notes)
    directions = _directions(words, notes)
    speeds = _speeds(words, notes, still=directions == ("still",))
    return Wish(digits, directions, speeds, tuple(notes))


def _tokens(prompt: str) -> list[str]:
    text = unicodedata.normalize("NFKC", prompt).lower()
    text = _COMPOUND.sub(r"\1 ", text)
    return re.findall(r"\d+|[^\W\d_]+", text)


def _with_next(words: Sequence[str]) -> Iterator[tuple[str, str]]:
    return zip(words, [*words, ""][1:], strict=True)


def _digits(words: Sequence[str], notes: list[str]) -> tuple[int, ...]:
    named: list[int] = []
    for word, following in _with_next(words):
        if word.isdecimal() and following not in _UNITS:
            named += map(int, word)
        elif word in _DIGITS and word != "one" and following not in _UNITS:
            named.append(_DIGITS[word])
    if not named and "one" in words:
        named = [1]  # Beside another digit it is only a word: "one 7", "the one that is a 7".
    return _first(named, "digits", notes) or tuple(range(10))


def _directions(words: Sequence[str], notes: list[str]) -> tuple[str, ...]:
    sides = _first_of_opposites(_sides(words), notes)
    across, along = sides
    if across and along:
        return (f"{along}-{across}",)
    if _DIAGONAL & set(words):
        return tuple(way for way in DIAGONALS if (across or along or "-") in way)
    if across or along:
        return (across or along,)
    if _STILL & set(words) or _STILL_PHRASE.search(" ".join(words)):
        return ("still",)
    return MOVING


def _sides(words: Sequence[str]) -> list[str]:
    """Where it goes, in the order of the words. Without "to", "from the left" is to the right."""
    to: list[str] = []
    away: list[str] = []
    into = to
    for word, following in _with_next(words):
        if word == "from":
            into = away
        elif word in _ENDS_OF_FROM:
            into = to
        elif word in _SIDES and following not in _NOT_A_SIDE.get(word, ()):
            into.append(_SIDES[word])
    return to or [_OPPOSITE[side] for side in away]


def _first_of_opposites(sides: Sequence[str], notes: list[str]) -> tuple[str, str]:
    """One of left and right, and one of up and down, or an empty text for neither."""
    found = []
    for pair in (("left", "right"), ("up", "down")):
        named = list(dict.fromkeys(side for side in sides if side in pair))
        if len(named) > 1:
            notes.append(f"The prompt says both {named[0]} and {named[1]}; a digit moves one way only: {named[0]}.")
        found.append(named[0] if named else "")
    return found[0], found[1]


def _speeds(words: Sequence[str], notes: list[str], *, still: bool) -> tuple[str, ...]:
    named = []
    for at, word in enumerate(words):
        speed = _PACE.get(word) or (words[at + 1 : at + 2] == ["speed"] and _KIND_OF_SPEED.get(word))
        if speed:
            named.append(_OTHER[speed] if _negated(words[:at]) else speed)
    if still:
        if named:
            notes.append("A digit that stands still has no speed.")
        return ()
    return _first(named, "speeds", notes) or SPEEDS


def _negated(before: Sequence[str]) -> bool:
    """Whether these words turn the next into its opposite, as in "not too fast"."""
    left = list(before)
    while left and left[-1] in _SOFTENERS | {"t"}:
        left.pop()
    return bool(left) and left[-1] in _NEGATIONS


def _first(named: Iterable[T], what: str, notes: list[str]) -> tuple[T, ...]:
    different = list(dict.fromkeys(named))
    if len(different) > 1:
        said = ", ".join(map(str, different))
        notes.append(f"The prompt names several {what} ({said}); a clip has one: {different[0]}.")
    return tuple(different[:1])


def _at(choices: Sequence[T], share: float) -> T:
    return choices[int(share * len(choices))]
