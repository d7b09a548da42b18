"""Text from GGUF weights, on llama.cpp (`xllamacpp`) with continuous batching.

Owns how a run becomes a request to llama.cpp and how its answer becomes output, progress and numbers. The runs of a
worker share one llama.cpp server, which decodes all of them in the same batches; each has a context of its own, so a
long one cannot take the room of another.

How a piece of text travels:
1. A thread of the worker calls `Llama.__call__`, which hands the request to llama.cpp and waits inside it.
2. llama.cpp calls back in that very thread with each piece of text, never with half a character: `_Generation.listen`.
3. That says it through the `Run`. There is no queue and no other thread in between.
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Callable, Generator, Iterable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
import pydantic
from pydantic import Field

from unspool.engines.chat import ChatInputs, Message, Text, conversation
from unspool.errors import ModelError, ModelFileError
from unspool.model import MARK, Run, make_model
from unspool.readme import Readme

TEMPERATURE = 0.7
TOP_P = 0.95
MAX_TOKENS = 256
REPEAT_PENALTY = 1.1

_PROGRESS_INTERVAL_S = 0.5
_SOCKET_PATH_BYTES = 100
"""What every system takes as the path of a socket."""

Weights = str | Path | Callable[[], Path]


class Llama:
    """A language model: give it an id and weights at the top of a model file, and the file serves it.

    Args:
        id: the path after `/api/v3/`, as in "acme/chat".
        weights: the GGUF file, or a function that returns its path; it is called when the model is loaded.
        slots: how many predictions run at once.
        context_tokens: how long prompt and answer of one prediction may be together. Memory is taken for
            `slots * context_tokens` when the model is loaded.
        threads: how many threads compute; default is one for each core that this process may use.
        batch_tokens: how many tokens of a prompt are read in one go. With fewer, a cancelled prediction stops sooner
            and others wait less; with more, a GPU reads long prompts faster.
        readme: markdown for those who use the model, or a path to it, from the folder of this file.
        replicas: how many worker processes there are.
        max_attempts: how often a prediction is tried when its process dies under it.
        run_timeout_s: how long one attempt may take, in seconds.
        device: which GPUs its workers see, as in `@model`. Only a build of xllamacpp for GPUs computes on them.
        idle_unload_s: ends a worker that had nothing to do for so many seconds; the next prediction loads it again.

    Raises:
        ModelFileError: the declaration cannot be served; the message says why.
    """

    def __init__(
        self,
        id: str,
        *,
        weights: Weights,
        slots: int = 4,
        context_tokens: int = 4096,
        threads: int | None = None,
        batch_tokens: int = 128,
        readme: Readme | None = None,
        replicas: int = 1,
        max_attempts: int = 2,
        run_timeout_s: float | None = None,
        device: str | Iterable[str] | None = None,
        idle_unload_s: float | None = None,
    ) -> None:
        for name, value in (("context_tokens", context_tokens), ("threads", threads), ("batch_tokens", batch_tokens)):
            if value is not None and value < 1:
                raise ModelFileError(f"model {id!r}: {name}={value!r} must be 1 or more")
        self.id = id
        self.slots = slots
        self.context_tokens = context_tokens
        self.threads = threads or _usable_cores()
        self.batch_tokens = batch_tokens
        self._weights = weights
        self._server: Any = None
        declared = make_model(
            id,
            self,
            slots=slots,
            replicas=replicas,
            max_attempts=max_attempts,
            run_timeout_s=run_timeout_s,
            device=device,
            idle_unload_s=idle_unload_s,
            streams=("progress", "output"),
            category="text-to-text",
            readme=readme or _readme(id),
            inputs=_inputs(context_tokens),
        )
        setattr(self, MARK, declared)

    def setup(self) -> None:
        """Loads the weights.

        Raises:
            ModelFileError: `xllamacpp` is not installed, or the weights are missing or cannot be loaded.
        """
        try:
            import xllamacpp
        except ModuleNotFoundError as error:
            raise ModelFileError(
                f'model {self.id!r} runs on xllamacpp, which is not installed; run: pip install "unspool[llama]"'
            ) from error
        path = self._weights() if callable(self._weights) else Path(self._weights).expanduser()
        _check_file(self.id, path)
        self._server = _load(xllamacpp, self, path)
        self._answer_once()

    def __call__(
        self,
        run: Run,
        prompt: str | None = None,
        messages: Sequence[Message] | None = None,
        system_prompt: str | None = None,
        temperature: float = TEMPERATURE,
        top_p: float = TOP_P,
        max_tokens: int = MAX_TOKENS,
        seed: int = -1,
        stop: Sequence[str] = (),
        repeat_penalty: float = REPEAT_PENALTY,
    ) -> None:
        """Streams the answer to `prompt`, or the next message after `messages`.

        Raises:
            Cancelled: the prediction was cancelled.
            ModelError: the prompt does not fit the model.
        """
        self._generate(
            _Generation(run, max_tokens, self.context_tokens),
            messages=conversation(prompt, messages, system_prompt),
            temperature=temperature,
            top_p=top_p,
            max_tokens=max_tokens,
            seed=seed,
            stop=list(stop),
            repeat_penalty=repeat_penalty,
        )

    def _generate(self, generation: _Generation, **request: Any) -> None:
        listener = generation.listen()
        next(listener)
        self._server.handle_chat_completions(msgspec.json.encode(_REQUEST | request), listener.send)
        if generation.failure is not None:
            raise generation.failure

    def _answer_once(self) -> None:
        """Ends the loading with one token, so that "ready" means that it answers.

        It also means that llama.cpp's loop runs by now: stopped before that, it would never end, nor let us exit.
        """
        replies: list[bytes] = []
        request = {"messages": [{"role": "user", "content": "."}], "max_tokens": 1}
        self._server.handle_chat_completions(msgspec.json.encode(_REQUEST | request), replies.append)
        error = next((chunk.error for chunk in map(_decode, replies) if chunk.error), None)
        if error is not None:
            raise ModelFileError(f"model {self.id!r} was loaded but does not answer: {error.message}")


# The inputs


class TextInputs(ChatInputs):
    """A prompt or a conversation, and how to sample the answer."""

    temperature: float = Field(TEMPERATURE, ge=0, le=2, description="0 always takes the likeliest token.")
    top_p: float = Field(TOP_P, gt=0, le=1, description="Only the likeliest tokens that add up to this are considered.")
    max_tokens: int = Field(MAX_TOKENS, ge=1, description="The answer ends after this many tokens at the latest.")
    seed: int = Field(-1, ge=-1, le=2**31 - 1, description="The same seed gives the same answer; -1 picks one.")
    stop: list[Text] = Field([], max_length=16, description="The answer ends before any of these texts.")
    repeat_penalty: float = Field(REPEAT_PENALTY, ge=0.5, le=2, description="Above 1 repeats itself less.")


def _inputs(context_tokens: int) -> type[TextInputs]:
    field = TextInputs.model_fields["max_tokens"]
    limit = Field(min(MAX_TOKENS, context_tokens), ge=1, le=context_tokens, description=field.description)
    return pydantic.create_model("Inputs", __base__=TextInputs, max_tokens=(int, limit))


def _readme(id: str) -> str:
    return f"# {id}\n\nA language model. It answers a `prompt`, or continues `messages`."


# Loading


def _usable_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _check_file(id: str, path: Path) -> None:
    """Clients may see these messages, so they name the file and not its folder; the cause has it all."""
    try:
        with path.open("rb") as file:
            magic = file.read(4)
    except OSError as error:
        raise ModelFileError(f"model {id!r}: its weights {path.name} cannot be read: {error.strerror}") from error
    if magic != b"GGUF":
        raise ModelFileError(f"model {id!r}: {path.name} is not a GGUF file") from ValueError(str(path))


def _load(xllamacpp: Any, llama: Llama, path: Path) -> Any:
    """llama.cpp's server, with the door that it always opens locked.

    It listens for HTTP whether one wants that or not. So it gets a socket in a folder of ours instead of a port, which
    is gone as soon as it listens, and a key that nobody knows.
    """
    params = xllamacpp.CommonParams()
    params.model.path = str(path)
    params.model_alias = {llama.id}
    params.n_parallel = llama.slots
    params.n_ctx = llama.context_tokens * llama.slots
    # With one context for all, runs that are long together end each other ("Context size has been exceeded").
    params.kv_unified = False
    params.n_batch = llama.batch_tokens
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = llama.threads
    # Each slot keeps the last prompt it has read; the copies of older ones, up to 8 GB of them, are not worth it.
    params.cache_ram_mib = 0
    params.api_keys = [secrets.token_hex(16)]
    params.n_threads_http = 1
    params.verbosity = 1  # errors, on stderr: the only place where it says why it cannot load
    with TemporaryDirectory(prefix="unspool-") as folder:
        socket = f"{folder}/llama.sock"
        params.hostnames = [socket if len(os.fsencode(socket)) <= _SOCKET_PATH_BYTES else "127.0.0.1"]
        try:
            return xllamacpp.Server(params)
        except RuntimeError as error:
            raise ModelFileError(
                f"model {llama.id!r}: llama.cpp cannot load {path.name}: it is damaged, incomplete, of a kind that "
                "this version does not know, or too large for the memory. The log of the worker says which."
            ) from error


# What llama.cpp says

_REQUEST = {
    "stream": True,
    "stream_options": {"include_usage": True},
    "return_progress": True,
    "timings_per_token": True,
    # The text as the model writes it: thoughts are not taken out.
    "reasoning_format": "none",
}


class _Delta(msgspec.Struct):
    content: str | None = None


class _Choice(msgspec.Struct):
    delta: _Delta


class _Prefill(msgspec.Struct):
    total: int
    processed: int


class _Timings(msgspec.Struct):
    prompt_ms: float
    predicted_n: int
    predicted_ms: float


class _Usage(msgspec.Struct):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class _Error(msgspec.Struct):
    code: int
    message: str
    type: str
    n_prompt_tokens: int = 0
    n_ctx: int = 0


class _Chunk(msgspec.Struct):
    choices: tuple[_Choice, ...] = ()
    prompt_progress: _Prefill | None = None
    timings: _Timings | None = None
    usage: _Usage | None = None
    error: _Error | None = None


_decode = msgspec.json.Decoder(_Chunk).decode


class _Generation:
    """What one run has got from llama.cpp so far."""

    def __init__(self, run: Run, max_tokens: int, context_tokens: int) -> None:
        self.failure: BaseException | None = None
        self._run = run
        self._max_tokens = max_tokens
        self._context_tokens = context_tokens
        self._prompt_tokens = 0
        self._budget = max_tokens
        self._said_progress = 0.0

    def listen(self) -> Generator[bool, bytes, None]:
        """llama.cpp's callback is the `send` of this. `True` ends the generation and frees its slot.

        Nothing may be raised through llama.cpp, so whatever is raised here (`Cancelled` first of all) is kept. It is
        a generator because the worker raises `Cancelled` from outside in a run that is slow to notice it: that comes up
        at the first step of Python code, which is inside the `try` here, and would be before it in a function.
        """
        try:
            while True:
                data = yield False
                self._run.check()
                self._understand(_decode(data))
        except GeneratorExit:
            raise
        except BaseException as error:
            self.failure = error
        while True:
            yield True

    def _understand(self, chunk: _Chunk) -> None:
        for choice in chunk.choices:
            if choice.delta.content:
                self._run.output(choice.delta.content)
        if chunk.prompt_progress is not None:
            self._prefilled(chunk.prompt_progress)
        elif chunk.usage is not None and chunk.timings is not None:
            self._finished(chunk.usage, chunk.timings)
        elif chunk.timings is not None:
            self._generated(chunk.timings.predicted_n)
        elif chunk.error is not None:
            raise _as_exception(chunk.error)

    def _prefilled(self, prefill: _Prefill) -> None:
        self._prompt_tokens = prefill.total
        self._budget = max(1, min(self._max_tokens, self._context_tokens - prefill.total))
        self._progress("prefill", prefill.processed, prefill.processed, prefill.total)

    def _generated(self, tokens: int) -> None:
        if time.monotonic() - self._said_progress >= _PROGRESS_INTERVAL_S:
            self._progress("generate", self._prompt_tokens + tokens, tokens, self._budget)

    def _progress(self, stage: str, done: int, step: int, steps: int) -> None:
        """The share of all tokens, read and written, that is done. The answer may end sooner than it may."""
        self._said_progress = time.monotonic()
        percentage = 100 * done / (self._prompt_tokens + self._budget)
        self._run.progress(percentage, stage=stage, step=step, steps=steps)

    def _finished(self, usage: _Usage, timings: _Timings) -> None:
        self._run.report(
            usage=msgspec.structs.asdict(usage),
            timings={"prefill": timings.prompt_ms, "generate": timings.predicted_ms},
        )


def _as_exception(error: _Error) -> Exception:
    if error.type == "exceed_context_size_error":
        return ModelError(
            f"The prompt is {error.n_prompt_tokens} tokens long; prompt and answer together can be "
            f"{error.n_ctx} tokens. Shorten the prompt."
        )
    if error.code == 400:
        return ModelError(f"The model refuses these inputs: {error.message}")
    return RuntimeError(f"llama.cpp: {error.type}: {error.message}")
