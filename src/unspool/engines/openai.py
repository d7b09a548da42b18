"""Text from any server that speaks OpenAI's chat completions: vLLM, SGLang, llama-server, Ollama, a cloud.

Owns how a run becomes a request to the upstream and how the upstream's stream becomes output, progress and numbers.
What can go wrong there, and what clients read of it, is in `upstream.py`.

How a piece of text travels:
1. `OpenAI.__call__` runs in the event loop of the worker, one task per prediction, and asks for a stream.
2. `OpenAI._exchange` reads that stream event by event; `_Answer.hear` says each piece through the `Run`.
3. A cancel cancels the task. That closes the connection, which is how an upstream learns that nobody listens.

The wire: https://platform.openai.com/docs/api-reference/chat-streaming, and what the servers above add to it.
"""

from __future__ import annotations

import asyncio
import logging
import math
import os
import time
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import httpx
import msgspec
import pydantic
import tenacity
from httpx_sse import EventSource, ServerSentEvent, aconnect_sse
from pydantic import Field
from pydantic.json_schema import SkipJsonSchema

from unspool.engines.chat import ChatInputs, Message, Text, conversation
from unspool.engines.upstream import Refusal, Upstream, UpstreamError
from unspool.errors import ModelError, ModelFileError
from unspool.model import MARK, Run, make_model
from unspool.readme import Readme

SLOTS = 16
RETRIES = 3
MAX_RETRY_WAIT_S = 30.0
CONNECT_TIMEOUT_S = 10.0
FIRST_TOKEN_TIMEOUT_S = 300.0
"""Long: the upstream may have a queue, a long prompt to read, or a model to load."""
NEXT_TOKEN_TIMEOUT_S = 60.0

_PROGRESS_INTERVAL_S = 0.5
_FIRST_BACKOFF_S = 1.0
"""Doubles each time; what is waited is random and at most that, so that runs which failed together part."""
_LAST_BYTES_S = 1.0
_MAX_BODY_BYTES = 4 * 1024 * 1024
"""How much is read of an answer that is not a stream."""
_OURS = frozenset({"model", "messages", "stream", "stream_options"})
_SEVERAL = "n"

Reasoning = Literal["progress", "output"]


class OpenAI:
    """A model of another server: give it an id, the server's URL and the model's name there, and the file serves it.

    Args:
        id: the path after `/api/v3/`, as in "acme/chat".
        base_url: what stands before `/chat/completions`, as in "http://127.0.0.1:8000/v1".
        model: the model's name at the upstream.
        api_key: what the upstream wants as a bearer token.
        api_key_env: the environment variable that holds it, instead; it is read when the model is loaded.
        headers: sent with each request.
        parameters: added to the body of each request, as in `{"top_k": 40}`. What is set here is no input any more.
        max_tokens: the most that a client may ask for, and what is asked for when it does not say.
        max_tokens_field: what the upstream calls that; OpenAI's newer models want "max_completion_tokens".
        reasoning: what becomes of the thoughts of a model that tells them apart from its answer (as
            `reasoning_content` or `reasoning`): "progress" shows how many there are, as the stage "think"; "output"
            makes them `outputs[1]`.
        slots: how many predictions run at once.
        retries: how often a request is made again, if it fails before the first token.
        max_retry_wait_s: an upstream that asks for a longer wait (`Retry-After`) is not asked again.
        connect_timeout_s: how long connecting may take.
        first_token_timeout_s: how long the first token may take, from the beginning of a request.
        next_token_timeout_s: how long each further token may take. Keep-alive comments are no tokens.
        readme: markdown for those who use the model, or a path to it, from the folder of this file.
        category: what it makes of what.
        price: what a prediction that completes costs, in USD.
        replicas: how many worker processes there are.
        max_attempts: how often a prediction is tried when its process dies under it.
        run_timeout_s: how long one attempt may take, in seconds.

    Raises:
        ModelFileError: the declaration cannot be served; the message says why.
    """

    def __init__(
        self,
        id: str,
        *,
        base_url: str,
        model: str,
        api_key: str | None = None,
        api_key_env: str | None = None,
        headers: Mapping[str, str] | None = None,
        parameters: Mapping[str, Any] | None = None,
        max_tokens: int | None = None,
        max_tokens_field: Literal["max_tokens", "max_completion_tokens"] = "max_tokens",
        reasoning: Reasoning = "progress",
        slots: int = SLOTS,
        retries: int = RETRIES,
        max_retry_wait_s: float = MAX_RETRY_WAIT_S,
        connect_timeout_s: float = CONNECT_TIMEOUT_S,
        first_token_timeout_s: float = FIRST_TOKEN_TIMEOUT_S,
        next_token_timeout_s: float = NEXT_TOKEN_TIMEOUT_S,
        readme: Readme | None = None,
        category: str = "text-to-text",
        price: float = 0,
        replicas: int = 1,
        max_attempts: int = 2,
        run_timeout_s: float | None = None,
    ) -> None:
        self.id = id
        self.slots = slots
        self.retries = retries
        self.max_retry_wait_s = max_retry_wait_s
        self.connect_timeout_s = connect_timeout_s
        self.first_token_timeout_s = first_token_timeout_s
        self.next_token_timeout_s = next_token_timeout_s
        self._model = model
        self._parameters = dict(parameters or {})
        self._max_tokens = max_tokens
        self._max_tokens_field = max_tokens_field
        self._reasoning: Reasoning = reasoning
        self._api_key, self._api_key_env = api_key, api_key_env
        self._headers = dict(headers or {})
        self._url = _completions_url(id, base_url)
        self._asks_for_usage = True
        self._client: httpx.AsyncClient
        self._upstream: Upstream
        self._check()
        declared = make_model(
            id,
            self,
            slots=slots,
            replicas=replicas,
            max_attempts=max_attempts,
            run_timeout_s=run_timeout_s,
            streams=("progress", "log", "output"),
            category=category,
            price=price,
            readme=readme or _readme(id),
            inputs=_inputs(max_tokens, frozenset(self._parameters)),
        )
        setattr(self, MARK, declared)

    def _check(self) -> None:
        """Raises `ModelFileError` for what could only fail later."""
        for name in ("connect_timeout_s", "first_token_timeout_s", "next_token_timeout_s"):
            if not 0 < getattr(self, name) < math.inf:
                raise ModelFileError(f"model {self.id!r}: {name}={getattr(self, name)!r} must be more than 0")
        for name in ("retries", "max_retry_wait_s"):
            if getattr(self, name) < 0:
                raise ModelFileError(f"model {self.id!r}: {name}={getattr(self, name)!r} must be 0 or more")
        if self._max_tokens is not None and self._max_tokens < 1:
            raise ModelFileError(f"model {self.id!r}: max_tokens={self._max_tokens!r} must be 1 or more")
        if self._api_key is not None and self._api_key_env is not None:
            raise ModelFileError(f"model {self.id!r}: give either api_key or api_key_env")
        if taken := sorted(_OURS & self._parameters.keys()):
            raise ModelFileError(
                f"model {self.id!r}: parameters may not have {', '.join(taken)}; the engine sets these"
            )

    def setup(self) -> None:
        """Gets ready to ask. The upstream itself is not asked: it may start later, and go away and come back.

        Raises:
            ModelFileError: the API key is not where it should be, or cannot be sent.
        """
        # httpx logs each request with its URL, which would become a `log` event that every client sees.
        logging.getLogger("httpx").setLevel(logging.WARNING)
        key = self._find_key()
        self._upstream = Upstream(self._url, key)
        self._client = httpx.AsyncClient(
            headers=self._all_headers(key),
            # How long a token may take is measured by `_attempt`, since comments of the stream are none.
            timeout=httpx.Timeout(None, connect=self.connect_timeout_s),
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=self.slots),
        )

    def _find_key(self) -> str | None:
        if self._api_key_env is None:
            return self._api_key
        key = os.environ.get(self._api_key_env, "").strip()
        if not key:
            raise ModelFileError(f"model {self.id!r}: the environment variable {self._api_key_env} has no API key")
        return key

    def _all_headers(self, key: str | None) -> dict[str, str]:
        # A proxy that compresses a stream holds it back.
        headers = {"Accept-Encoding": "identity", "User-Agent": "unspool"}
        if key is not None:
            headers["Authorization"] = f"Bearer {key}"
        headers |= self._headers
        for name, value in headers.items():
            if not (value.isascii() and value.isprintable()):
                raise ModelFileError(f"model {self.id!r}: the header {name} has characters that cannot be sent")
        return headers

    async def __call__(
        self,
        run: Run,
        prompt: str | None = None,
        messages: Sequence[Message] | None = None,
        system_prompt: str | None = None,
        temperature: float | None = None,
        top_p: float | None = None,
        max_tokens: int | None = None,
        seed: int = -1,
        stop: Sequence[str] = (),
    ) -> str | None:
        """Streams the answer to `prompt`, or the next message after `messages`.

        What is not given is not sent, so that the upstream's own defaults hold.

        Raises:
            ModelError: the upstream refuses the inputs.
            UpstreamError: it cannot be reached, fails, or says nothing for too long.
        """
        request = {
            "model": self._model,
            "messages": conversation(prompt, messages, system_prompt),
            "temperature": temperature,
            "top_p": top_p,
            self._max_tokens_field: max_tokens,
            "seed": seed if seed >= 0 else None,
            "stop": list(stop) or None,
            "stream": True,
            **self._parameters,
        }
        answer = _Answer(run, int(self._parameters.get(_SEVERAL) or 1), max_tokens, self._reasoning)
        run.progress(0, stage="wait")
        await self._ask({name: value for name, value in request.items() if value is not None}, answer)
        return answer.end()

    async def _ask(self, request: dict[str, Any], answer: _Answer) -> None:
        """Makes attempts until one has begun to answer, and lets that one end."""

        def may_pass(error: BaseException) -> bool:
            return isinstance(error, UpstreamError) and error.temporary and not answer.begun

        backoff = tenacity.wait_random_exponential(_FIRST_BACKOFF_S, self.max_retry_wait_s)

        def wait(state: tenacity.RetryCallState) -> float:
            wanted_s = _failure(state).retry_after_s
            return backoff(state) if wanted_s is None else wanted_s

        def enough(state: tenacity.RetryCallState) -> bool:
            return state.attempt_number > self.retries or state.upcoming_sleep > self.max_retry_wait_s

        def tell(state: tenacity.RetryCallState) -> None:
            again = f"Trying again in {state.upcoming_sleep:.1f} s ({state.attempt_number} of {self.retries})."
            answer.run.log(f"{_failure(state)} {again}", "warning")

        attempts = tenacity.AsyncRetrying(
            retry=tenacity.retry_if_exception(may_pass),
            wait=wait,
            stop=enough,
            before_sleep=tell,
            sleep=asyncio.sleep,
            reraise=True,
        )
        await attempts(self._attempt, request, answer)

    async def _attempt(self, request: dict[str, Any], answer: _Answer) -> None:
        """One request, with a deadline for each token."""
        try:
            async with asyncio.timeout(self.first_token_timeout_s) as deadline:
                answer.listen(deadline, self.next_token_timeout_s)
                await self._exchange_with_usage(request, answer)
        except (TimeoutError, httpx.HTTPError, httpx.StreamError) as error:
            if not answer.whole:
                limit_s = self.next_token_timeout_s if answer.begun else self.first_token_timeout_s
                if isinstance(error, httpx.ConnectTimeout):
                    limit_s = self.connect_timeout_s
                raise self._upstream.broken(error, begun=answer.begun, limit_s=limit_s) from None

    async def _exchange_with_usage(self, request: dict[str, Any], answer: _Answer) -> None:
        """Asks for `usage`, but not an upstream that has refused to be asked for it."""
        if self._asks_for_usage:
            try:
                return await self._exchange(request | {"stream_options": {"include_usage": True}}, answer)
            except Refusal as refusal:
                if not refusal.is_about("stream_options"):
                    raise self._upstream.refused(refusal) from None
                self._asks_for_usage = False
        try:
            return await self._exchange(request, answer)
        except Refusal as refusal:
            raise self._upstream.refused(refusal) from None

    async def _exchange(self, request: dict[str, Any], answer: _Answer) -> None:
        headers = {"Content-Type": "application/json"}
        body = msgspec.json.encode(request)
        async with aconnect_sse(self._client, "POST", str(self._url), content=body, headers=headers) as source:
            response = source.response
            if response.status_code != httpx.codes.OK:
                raise Refusal(response.status_code, await _beginning(response), response.headers.get("retry-after"))
            kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
            if kind == "text/event-stream":
                await self._listen(source, answer)
            elif kind == "application/json":
                self._hear_whole(await _beginning(response), answer)
            else:
                raise self._upstream.senseless(f"its answer is {kind or 'of no type'}, not text/event-stream")
        if not answer.whole:
            raise self._upstream.broken(None, begun=answer.begun, limit_s=0)

    async def _listen(self, source: EventSource, answer: _Answer) -> None:
        source.response.encoding = "utf-8"  # as every event stream, whatever its headers say
        async for event in source.aiter_sse():
            if event.data == "[DONE]":
                # A connection can be used again only if its answer was read to the very end.
                answer.expect_nothing_more(_LAST_BYTES_S)
            elif event.data:
                self._hear_event(event, answer)

    def _hear_event(self, event: ServerSentEvent, answer: _Answer) -> None:
        if event.event == "error":
            raise Refusal(None, event.data.encode(), None)
        self._hear(event.data.encode(), answer)

    def _hear_whole(self, body: bytes, answer: _Answer) -> None:
        """A server that ignores `stream` answers all at once."""
        self._hear(body, answer)
        if not (answer.begun or answer.whole):
            raise self._upstream.senseless(f"it answered {body[:200]!r}")
        answer.whole = True

    def _hear(self, data: bytes, answer: _Answer) -> None:
        try:
            chunk = _decode(data)
        except msgspec.DecodeError as error:
            raise self._upstream.senseless(f"{error}: {data[:200]!r}") from None
        if chunk.error is not None or chunk.object == "error":
            raise Refusal(None, data, None)
        if any(not 0 <= choice.index < answer.choices for choice in chunk.choices or ()):
            raise self._upstream.senseless(f"an answer that was not asked for: {data[:200]!r}")
        answer.hear(chunk)


def _failure(state: tenacity.RetryCallState) -> UpstreamError:
    assert state.outcome is not None
    error = state.outcome.exception()
    assert isinstance(error, UpstreamError)
    return error


async def _beginning(response: httpx.Response) -> bytes:
    """The body, but for what is more than anyone has to say."""
    body = b""
    async for piece in response.aiter_bytes():
        body += piece
        if len(body) > _MAX_BODY_BYTES:
            break
    return body[:_MAX_BODY_BYTES]


# The declaration


class SampledInputs(ChatInputs):
    """How the upstream shall answer. Nothing has a default here that it may know better."""

    temperature: Annotated[float, Field(ge=0, le=2)] | SkipJsonSchema[None] = Field(
        None, description="0 always takes the likeliest token."
    )
    top_p: Annotated[float, Field(gt=0, le=1)] | SkipJsonSchema[None] = Field(
        None, description="Only the likeliest tokens that add up to this are considered."
    )
    max_tokens: Annotated[int, Field(ge=1)] | SkipJsonSchema[None] = Field(
        None, description="The answer ends after this many tokens at the latest."
    )
    seed: int = Field(-1, ge=-1, le=2**31 - 1, description="The same seed should give the same answer; -1 picks one.")
    stop: list[Text] = Field([], max_length=16, description="The answer ends before any of these texts.")


def _inputs(max_tokens: int | None, fixed: frozenset[str]) -> type[pydantic.BaseModel]:
    """The inputs that are left to clients."""
    ours = SampledInputs.model_fields
    sampling = [name for name in ours if name not in ChatInputs.model_fields and name not in fixed]
    left: dict[str, Any] = {name: (ours[name].annotation, ours[name]) for name in sampling}
    if max_tokens is not None and "max_tokens" in left:
        limit = Field(max_tokens, ge=1, le=max_tokens, description=ours["max_tokens"].description)
        left["max_tokens"] = (int, limit)
    return pydantic.create_model("Inputs", __base__=ChatInputs, **left)


def _readme(id: str) -> str:
    return f"# {id}\n\nA language model. It answers a `prompt`, or continues `messages`."


def _completions_url(id: str, base_url: str) -> httpx.URL:
    """The query stays: some clouds have their version there."""
    try:
        url = httpx.URL(base_url)
    except (httpx.InvalidURL, TypeError) as error:
        raise ModelFileError(f"model {id!r}: base_url={base_url!r} is not a URL: {error}") from error
    if url.scheme not in ("http", "https") or not url.host:
        raise ModelFileError(f"model {id!r}: base_url={base_url!r} must begin with http:// or https:// and a host")
    path = url.path.rstrip("/")
    if path.endswith("/completions"):
        raise ModelFileError(f"model {id!r}: base_url={base_url!r} must end before /chat/completions")
    return url.copy_with(path=f"{path}/chat/completions")


# What an upstream says


class _Delta(msgspec.Struct):
    content: str | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    """As vLLM, SGLang, llama-server and DeepSeek call it."""
    reasoning: Any = None
    """As Ollama, OpenRouter and newer versions of vLLM call it."""

    @property
    def text(self) -> str:
        return (self.content or "") + (self.refusal or "")

    @property
    def thought(self) -> str:
        return self.reasoning_content or (self.reasoning if isinstance(self.reasoning, str) else "")


class _Choice(msgspec.Struct):
    index: int = 0
    delta: _Delta | None = None
    message: _Delta | None = None
    """The whole, in an answer that is not a stream."""
    finish_reason: str | None = None


class _Chunk(msgspec.Struct):
    object: str | None = None
    choices: tuple[_Choice, ...] | None = None
    usage: Any = None
    error: Any = None


_decode = msgspec.json.Decoder(_Chunk).decode


class _Answer:
    """What one run has got from the upstream so far."""

    def __init__(self, run: Run, choices: int, max_tokens: int | None, reasoning: Reasoning) -> None:
        self.run = run
        self.choices = choices
        """How many answers were asked for: each is an element of `outputs`."""
        self.begun = False
        """Whether a token has come. From there on, asking again could say something else."""
        self.whole = False
        """Whether nothing more is needed but numbers."""
        self._max_tokens = max_tokens
        self._reasoning = reasoning
        self._said = False
        self._pieces = 0
        self._reasons: dict[int, str] = {}
        self._usage: dict[str, float] = {}
        self._stage = ""
        self._said_progress = 0.0
        self._asked_at = self._begun_at = self._last_at = time.perf_counter()

    def listen(self, deadline: asyncio.Timeout, next_token_timeout_s: float) -> None:
        """An attempt begins. Each token moves its deadline."""
        self._deadline, self._next_token_timeout_s = deadline, next_token_timeout_s
        self._asked_at = time.perf_counter()

    def expect_nothing_more(self, wait_s: float) -> None:
        """It is whole, and may take so long to close."""
        self.whole = True
        self._deadline.reschedule(asyncio.get_running_loop().time() + wait_s)

    def hear(self, chunk: _Chunk) -> None:
        """Says what is new."""
        for choice in chunk.choices or ():
            delta = choice.delta or choice.message
            if delta is not None:
                self._hear_thought(delta.thought, choice.index)
                self._hear_text(delta.text, choice.index)
            if choice.finish_reason is not None:
                self._reasons[choice.index] = choice.finish_reason
                self.whole = len(self._reasons) == self.choices
        if isinstance(chunk.usage, dict):
            self._usage = _numbers(chunk.usage)

    def _hear_text(self, text: str, index: int) -> None:
        if text:
            self._token("generate")
            self._said = True
            self.run.output(text, index)

    def _hear_thought(self, thought: str, index: int) -> None:
        if thought:
            self._token("think")
            if self._reasoning == "output":
                self.run.output(thought, self.choices + index)

    def _token(self, stage: str) -> None:
        self._last_at = time.perf_counter()
        if not self.begun:
            self.begun, self._begun_at = True, self._last_at
        self._deadline.reschedule(asyncio.get_running_loop().time() + self._next_token_timeout_s)
        self._pieces += 1
        if stage != self._stage or self._last_at - self._said_progress >= _PROGRESS_INTERVAL_S:
            self._stage, self._said_progress = stage, self._last_at
            most = self._max_tokens * self.choices if self._max_tokens else None
            self.run.progress(100 * self._pieces / most if most else 0, stage=stage, step=self._pieces, steps=most)

    def end(self) -> str | None:
        """Says the numbers, and why it ended if that is not as it should be; returns an output if there was none.

        Raises:
            ModelError: there is no answer, because the model wants a tool or because it was filtered away.
        """
        reasons = set(self._reasons.values())
        if not self._said and reasons & {"tool_calls", "function_call"}:
            raise ModelError("The model asks for a tool instead of answering. Tools cannot be used here.")
        if not self._said and "content_filter" in reasons:
            raise ModelError("The answer was withheld by the content filter of the server behind this model.")
        if "length" in reasons:
            self.run.log("The answer was cut off: it has reached the limit of tokens.", "warning")
        if "content_filter" in reasons:
            self.run.log("The answer was cut off by a content filter.", "warning")
        first_token_ms = (self._begun_at - self._asked_at) * 1000 if self.begun else 0
        self.run.report(
            usage=self._usage,
            timings={
                "first_token": round(first_token_ms, 3),
                "generate": round((self._last_at - self._begun_at) * 1000, 3),
            },
        )
        return None if self._said else ""


def _numbers(usage: dict[str, Any]) -> dict[str, float]:
    """What is a number in `usage`, with the two details that people ask for."""
    found: dict[str, Any] = dict(usage)
    for part, name in (("prompt_tokens_details", "cached_tokens"), ("completion_tokens_details", "reasoning_tokens")):
        details = usage.get(part)
        if isinstance(details, dict):
            found.setdefault(name, details.get(name))
    return {name: n for name, n in found.items() if isinstance(n, int | float) and not isinstance(n, bool)}
