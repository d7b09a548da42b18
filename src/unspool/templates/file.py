"""A model of your own. It makes a sound file out of sine waves, so that it runs at once; put your own in its place.

    $ unspool serve FILE

It prints an API key. In another terminal, with UNSPOOL_API_KEY set to that:

    $ unspool run acme/NAME notes="C E G C5"
    $ unspool readme acme/NAME
"""

import array
import math
import sys
import wave
from pathlib import Path
from typing import Annotated

from pydantic import Field

from unspool import ModelError, Run, model

RATE = 22_050
"""Samples in a second."""
SEMITONES = {"C": -9, "D": -7, "E": -5, "F": -4, "G": -2, "A": 0, "B": 2}


def frequency(note: str) -> float:
    """The pitch of a note such as C, F# or A5, in hertz."""
    letter, sharp, octave = note[:1].upper(), "#" in note, note.lstrip("ABCDEFGabcdefg#") or "4"
    if letter not in SEMITONES or not octave.isdecimal():
        # Clients get the message of a ModelError as it is. Of any other error they learn only that there was one; its
        # traceback is in the server's log.
        raise ModelError(f"{note!r} is not a note. Write notes as C, F# or A5, with spaces between.")
    return float(440 * 2 ** ((SEMITONES[letter] + sharp) / 12 + int(octave) - 4))


# The id is the path of the model: POST /api/v3/acme/NAME. Put your own name in place of acme.
# Each process works on one prediction at a time; replicas=2 would be two processes. A model that loads weights is a
# class with a method `setup`, which is called once in each process: `unspool init --kind text` writes one.
@model("acme/NAME", category="text-to-audio")
def melody(
    # Each parameter is an input. Its type and its Field are what is checked before this is called, what the form of the
    # playground is made of, and what `unspool readme` lists. One without a default is required. `run` is no input: with
    # it the model speaks to those who watch.
    run: Run,
    notes: Annotated[
        str, Field(min_length=1, max_length=2000, description="Notes, with spaces between.", examples=["C E G C5"])
    ],
    seconds_per_note: Annotated[float, Field(gt=0, le=5, description="How long each note is.")] = 0.4,
    volume: Annotated[float, Field(ge=0, le=1)] = 0.5,
) -> Path:
    """Plays notes.

    This text is markdown and becomes the model's README.
    """
    samples = array.array("h")
    pitches = [frequency(note) for note in notes.split()]

    # run.track reports progress, steps and the time left. A tqdm bar does the same.
    for pitch in run.track(pitches, stage="render"):
        length = int(RATE * seconds_per_note)
        for i in range(length):
            # A run that was cancelled stops in run.track, and wherever else it says something. In a long loop that says
            # nothing, call run.check() now and then, or look at run.cancelled and leave the loop.
            if i % 10_000 == 0:
                run.check()
            fading = 1 - i / length
            samples.append(int(32_767 * volume * fading * math.sin(2 * math.pi * pitch * i / RATE)))

    # run.folder is this run's own, and is removed after it. A picture of it half done can be shown meanwhile:
    # run.progress(50, preview=path).
    path = run.folder / "melody.wav"
    if sys.byteorder == "big":
        samples.byteswap()
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(samples.tobytes())
    run.log(f"{len(pitches)} notes, {len(samples) / RATE:.1f} seconds")  # print() and logging do the same

    # A returned file is kept, and clients get its URL. Text, numbers, dicts and lists are outputs, too.
    return path
