"""Speech from text, on `hibari-tts`: a small English voice that runs on any CPU, many times faster than it speaks.

Owns how a text becomes sentences, parts and one recording. A sentence is spoken as a whole and streamed at once as a
file of its own; the samples of all parts, joined, are exactly those of the file that `outputs` holds.
"""

from __future__ import annotations

import io
import time
import wave
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast

import pydantic
from pydantic import Field

from unspool.errors import InvalidInput, ModelFileError
from unspool.files.file import File
from unspool.model import MARK, Run, make_model
from unspool.readme import Readme

VOICES = ("heart",)
"""What comes inside the package. All others are fetched by `hibari` when the model is loaded."""
SLOWEST, FASTEST = 0.5, 2.0
"""What `hibari` states for its speed."""

_SAMPLE_BYTES = 2
_MAX_PHONEMES = 400
"""What the voice says in one go. Twice as much takes four times the memory: 2,400 took 1.1 GB."""


class Speech:
    """A voice: give it an id at the top of a model file, and the file serves it.

    Args:
        id: the path after `/api/v3/`, as in "acme/speech".
        voices: the voices that can be asked for, the default first: "heart", "fenrir", "kore" (American), "emma",
            "fable" (British). All but "heart" are fetched from the web when the model is loaded, 8 MB each, and cached.
        slots: how many predictions run at once.
        threads: how many threads compute one of them.
        max_characters: how long a text may be.
        max_audio_s: how long the speech may be, in seconds. Long figures take long to say.
        readme: markdown for those who use the model, or a file of it.
        replicas: how many worker processes there are.
        idle_unload_s: ends a worker that had nothing to do for so many seconds; the next prediction loads it again.
        max_attempts: how often a prediction is tried when its process dies under it.
        run_timeout_s: how long one attempt may take, in seconds.

    Raises:
        ModelFileError: the declaration cannot be served; the message says why.
    """

    def __init__(
        self,
        id: str,
        *,
        voices: Sequence[str] = VOICES,
        slots: int = 2,
        threads: int = 1,
        max_characters: int = 5000,
        max_audio_s: float = 1200,
        readme: Readme | None = None,
        replicas: int = 1,
        idle_unload_s: float | None = None,
        max_attempts: int = 2,
        run_timeout_s: float | None = None,
    ) -> None:
        limits = {"threads": threads, "max_characters": max_characters, "max_audio_s": max_audio_s}
        for name, value in limits.items():
            if value < 1:
                raise ModelFileError(f"model {id!r}: {name}={value!r} must be 1 or more")
        if isinstance(voices, str) or not voices:
            raise ModelFileError(f"model {id!r}: voices={voices!r} must be a list of names, as in ['heart']")
        self.id = id
        self.voices = tuple(dict.fromkeys(voices))
        self.threads = threads
        self.max_audio_s = max_audio_s
        self._loaded: dict[str, Any] = {}
        declared = make_model(
            id,
            self,
            slots=slots,
            replicas=replicas,
            idle_unload_s=idle_unload_s,
            max_attempts=max_attempts,
            run_timeout_s=run_timeout_s,
            streams=("progress", "output"),
            category="text-to-audio",
            readme=readme or _readme(id, self.voices, max_characters),
            inputs=_inputs(self.voices, max_characters),
        )
        setattr(self, MARK, declared)

    def setup(self) -> None:
        """Loads the voices.

        Raises:
            ModelFileError: `hibari` is not installed, does not know a voice, or cannot fetch it.
        """
        try:
            import hibari
            from hibari import voices
        except ModuleNotFoundError as error:
            raise ModelFileError(
                f'model {self.id!r} runs on hibari-tts, which is not installed; run: pip install "unspool[speech]"'
            ) from error
        if unknown := [voice for voice in self.voices if voice not in voices.VOICES]:
            raise ModelFileError(f"model {self.id!r}: no voice {unknown[0]!r}; there are {', '.join(voices.VOICES)}")
        pronunciations: dict[bool, Any] = {}
        for voice in self.voices:
            british = voices.VOICES[voice]["british"]
            self._loaded[voice] = tts = self._load(hibari, voice, pronunciations.get(british))
            pronunciations[british] = tts.g2p
            # A word that is in no lexicon: all that would be loaded late is loaded, and "ready" means that it speaks.
            tts("Unspooling.")

    def _load(self, hibari: Any, voice: str, pronunciation: Any) -> Any:
        try:
            return hibari.Hibari(voice=voice, threads=self.threads, g2p=pronunciation)
        except RuntimeError as error:
            raise ModelFileError(
                f"model {self.id!r}: the voice {voice!r} cannot be fetched; the log of the worker says why"
            ) from error

    def __call__(self, run: Run, text: str, voice: str = VOICES[0], speed: float = 1.0, seed: int = -1) -> File:
        """Says the text, sentence by sentence, and gives back the whole.

        Raises:
            Cancelled: the prediction was cancelled.
            InvalidInput: nothing of the text can be said, or it takes too long to say.
        """
        import numpy as np

        tts = self._loaded[voice]
        noise = np.random.default_rng(None if seed < 0 else seed)
        sentences = list(_sentences(tts, text))
        with _Recording(run.folder / "speech.wav", tts.sample_rate) as recording:
            telling = _Telling(run, text, len(sentences))
            for number, sentence in enumerate(sentences, 1):
                samples = b"".join(_say(run, tts, sentence.text, speed, noise))
                self._check_length(recording.seconds + len(samples) / recording.bytes_per_s)
                if samples:
                    telling.part(sentence, recording.add(samples))
                telling.done(number, sentence.end)
        if not recording.parts:
            raise _wrong("Nothing in this text can be said. The voices speak English; send some words.")
        telling.report(recording.seconds)
        return File(recording.path)

    def _check_length(self, seconds: float) -> None:
        if seconds > self.max_audio_s:
            raise _wrong(
                f"This text takes longer to say than {self.max_audio_s:g} seconds, which is as much as this model says "
                "at once. Send it in several requests."
            )


def _wrong(message: str) -> InvalidInput:
    return InvalidInput(message, [{"field": "text", "message": message}])


# The inputs


class SpeechInputs(pydantic.BaseModel):
    """What a voice takes: a text, and how to say it."""

    model_config = pydantic.ConfigDict(title="Inputs", extra="forbid")

    text: str = Field(description="What to say, in English.")
    voice: str = Field(VOICES[0], description="Who says it.")
    speed: float = Field(1.0, ge=SLOWEST, le=FASTEST, description="2 speaks twice as fast.")
    seed: int = Field(-1, ge=-1, le=2**31 - 1, description="The same seed gives the same samples; -1 picks one.")


def _inputs(voices: tuple[str, ...], max_characters: int) -> type[SpeechInputs]:
    text, voice = (SpeechInputs.model_fields[name].description for name in ("text", "voice"))
    return pydantic.create_model(
        "Inputs",
        __base__=SpeechInputs,
        text=(str, Field(min_length=1, max_length=max_characters, description=text)),
        voice=(cast(Any, Literal[voices]), Field(voices[0], description=voice)),
    )


def _readme(id: str, voices: tuple[str, ...], max_characters: int) -> str:
    return f"""# {id}

Says a `text` of up to {max_characters:,} characters, in English. Voices: {", ".join(voices)}.

It streams each sentence as soon as it is spoken: an `output` event with a WAV file of its own.

```json
{{"type":"output","output":{{"part":1,"audio":"https://…/….wav","start_seconds":0,"seconds":1.46,"characters":[0,12]}},"index":0}}
```

Play the parts one after another, in the order of the stream. `start_seconds` is where the part begins in the whole, and
`characters` which part of `text` it says, as `text[begin:end]`. The parts are pieces of `outputs[0]`: when the
prediction completes, that is one WAV file (24 kHz, mono, 16 bit) of everything, and the parts need not be joined.

- `progress` comes with each sentence: `step` of `steps`, by the share of the text that was said.
- `usage` counts `characters` and `audio_seconds`; `timings.first_part` is how long the first sentence took, in
  milliseconds.
- `speed` is from {SLOWEST:g} to {FASTEST:g}. A `seed` of 0 or more gives the same samples each time.
"""


# Speaking


class _Sentence(NamedTuple):
    text: str
    begin: int
    end: int


def _sentences(tts: Any, text: str) -> Iterator[_Sentence]:
    """The sentences, as the voice tells them apart, and where they stand."""
    end = 0
    for sentence in tts.split_sentences(text):
        begin = text.index(sentence, end)
        end = begin + len(sentence)
        yield _Sentence(sentence, begin, end)


def _say(run: Run, tts: Any, sentence: str, speed: float, noise: Any) -> Iterator[bytes]:
    """The samples of one sentence, 16 bit. It can be cancelled between its pieces, if it is a long one."""
    for phonemes in tts.phonemize(sentence):
        for piece in _short(phonemes):
            run.check()
            audio = tts.from_ids(tts.ids(piece), speed, noise)
            yield (audio.clip(-1, 1) * 32767).astype("<i2").tobytes()


def _short(phonemes: str) -> Iterator[str]:
    """Cuts where there is no comma to cut at, between words if there are any: the library splits at clauses only."""
    while len(phonemes) > _MAX_PHONEMES:
        space = phonemes.rfind(" ", 1, _MAX_PHONEMES + 1)
        end = space if space > 0 else _MAX_PHONEMES
        yield phonemes[:end]
        phonemes = phonemes[end:].strip()
    yield phonemes


class _Part(NamedTuple):
    audio: bytes
    """A WAV file."""
    number: int
    start_s: float
    seconds: float


class _Recording:
    """The file of all that was said, written as it is said."""

    def __init__(self, path: Path, sample_rate: int) -> None:
        self.path = path
        self.bytes_per_s = sample_rate * _SAMPLE_BYTES
        self.parts = 0
        self._sample_rate = sample_rate
        self._bytes = 0

    def __enter__(self) -> _Recording:
        self._file = _wav(str(self.path), self._sample_rate)
        return self

    def __exit__(self, *exception: object) -> None:
        self._file.close()

    @property
    def seconds(self) -> float:
        """How long it is."""
        return self._bytes / self.bytes_per_s

    def add(self, samples: bytes) -> _Part:
        """Writes one more part."""
        start_s = self.seconds
        self._file.writeframes(samples)
        self._bytes += len(samples)
        self.parts += 1
        buffer = io.BytesIO()
        with _wav(buffer, self._sample_rate) as file:
            file.writeframes(samples)
        return _Part(buffer.getvalue(), self.parts, start_s, len(samples) / self.bytes_per_s)


def _wav(target: str | io.BytesIO, sample_rate: int) -> wave.Wave_write:
    file = wave.open(target, "wb")  # noqa: SIM115
    file.setnchannels(1)
    file.setsampwidth(_SAMPLE_BYTES)
    file.setframerate(sample_rate)
    return file


class _Telling:
    """What those who watch hear of a run."""

    def __init__(self, run: Run, text: str, sentences: int) -> None:
        self._run = run
        self._characters = len(text)
        self._sentences = sentences
        self._began = time.perf_counter()
        self._first_part_s: float | None = None
        run.progress(0, stage="speak", step=0, steps=sentences)

    def part(self, sentence: _Sentence, part: _Part) -> None:
        """A sentence was said."""
        said = {
            "part": part.number,
            "audio": File(data=part.audio, content_type="audio/wav"),
            "start_seconds": round(part.start_s, 3),
            "seconds": round(part.seconds, 3),
            "characters": [sentence.begin, sentence.end],
        }
        self._run.output(said, 0, partial=True)
        if self._first_part_s is None:
            self._first_part_s = time.perf_counter() - self._began

    def done(self, sentences: int, characters: int) -> None:
        """So much of the text is behind us."""
        share = 1 if sentences == self._sentences else characters / self._characters
        eta = (time.perf_counter() - self._began) * (1 - share) / share
        self._run.progress(100 * share, stage="speak", step=sentences, steps=self._sentences, eta_seconds=eta)

    def report(self, audio_s: float) -> None:
        """The numbers of the `complete` event."""
        speaking, first_part = time.perf_counter() - self._began, self._first_part_s or 0.0
        self._run.report(
            usage={"characters": self._characters, "audio_seconds": round(audio_s, 3)},
            timings={"first_part": round(first_part * 1000, 3), "speak": round(speaking * 1000, 3)},
        )
