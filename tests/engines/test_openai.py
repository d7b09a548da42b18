"""The engine of other servers, on one that does wrong what can be done wrong; a real one: `test_openai_real.py`."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import socket
import threading
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import jsonschema_rs
import pytest

from support.upstream import Call, Upstream, chunk, event
from unspool.engines.openai import OpenAI
from unspool.engines.upstream import UpstreamError
from unspool.errors import ModelError, ModelFileError
from unspool.model import MARK
from unspool.states import Status

from .conftest import DEADLINE_S, Spoken

USAGE = {
    "prompt_tokens": 7,
    "completion_tokens": 2,
    "total_tokens": 9,
    "prompt_tokens_details": {"cached_tokens": 4},
    "completion_tokens_details": {"reasoning_tokens": 1},
    "service_tier": "default",
}
KEY = "sk-test-0123456789"


class Asked(Spoken):
    """A run of an asynchronous engine, in an event loop of all tests."""

    def begin(self, loop: asyncio.AbstractEventLoop) -> Asked:
        validated = getattr(self._model, MARK).inputs.model_validate_json(json.dumps(self._inputs))
        arguments = {name: getattr(validated, name) for name in type(validated).model_fields}
        self._future = asyncio.run_coroutine_threadsafe(self._model(run=self.run, **arguments), loop)
        self.start()
        return self

    def _call(self) -> None:
        try:
            self._emit(self.run.completed(self._future.result(DEADLINE_S)))
        except BaseException as error:
            self.error = error

    def cancel(self) -> None:
        """As a worker does it."""
        self.run.stop_status = Status.CANCELLED
        self._future.cancel()
        self.thread.join(DEADLINE_S)
        assert not self.thread.is_alive(), "the run has not ended"

    def refused(self) -> str:
        """What a client reads of the error."""
        self.thread.join(DEADLINE_S)
        assert isinstance(self.error, ModelError | UpstreamError), repr(self.error)
        return str(self.error)

    @property
    def logs(self) -> list[str]:
        return [event["message"] for event in self.of("log")]


Ask = Callable[..., Asked]


@pytest.fixture(scope="module")
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    yield loop
    loop.call_soon_threadsafe(loop.stop)
    thread.join(DEADLINE_S)
    loop.close()


@pytest.fixture(scope="module")
def shared_upstream() -> Iterator[Upstream]:
    upstream = Upstream()
    yield upstream
    upstream.close()


@pytest.fixture
def upstream(shared_upstream: Upstream) -> Upstream:
    shared_upstream.replies(hello)
    return shared_upstream


@pytest.fixture
def make(upstream: Upstream, loop: asyncio.AbstractEventLoop) -> Iterator[Callable[..., OpenAI]]:
    made: list[OpenAI] = []

    def make(**options: Any) -> OpenAI:
        model = OpenAI("test/up", **{"base_url": upstream.url, "model": "m", **options})
        model.setup()
        made.append(model)
        return model

    yield make
    for model in made:
        asyncio.run_coroutine_threadsafe(model._client.aclose(), loop).result(DEADLINE_S)


@pytest.fixture
def start(make: Callable[..., OpenAI], loop: asyncio.AbstractEventLoop) -> Ask:
    """Starts a run, of a model with these options; `prompt` and others in `inputs`."""

    def start(inputs: dict[str, Any] | None = None, model: OpenAI | None = None, **options: Any) -> Asked:
        return Asked(model or make(**options), inputs or {"prompt": "Hi"}).begin(loop)

    return start


@pytest.fixture
def ask(start: Ask) -> Ask:
    """Runs to the end."""

    def ask(*args: Any, **options: Any) -> Asked:
        asked = start(*args, **options)
        asked.end()
        return asked

    return ask


def hello(call: Call) -> None:
    call.begin()
    call.event(chunk({"role": "assistant", "content": ""}))
    call.say("Hel", "lo")
    call.finish(usage=USAGE)


def error(status: int, body: Any, **headers: str) -> Callable[[Call], None]:
    return lambda call: call.json(status, body, **headers)


BUSY = error(429, {"error": {"message": "slow down", "type": "rate_limit_error"}}, Retry_After="0")


# What it says


def test_the_pieces_of_the_upstream_are_the_pieces_of_the_output(ask: Ask) -> None:
    asked = ask()
    assert [event["output"] for event in asked.of("output")] == ["Hel", "lo"]
    assert asked.events[-1]["outputs"] == ["Hello"]


def test_usage_and_timings_are_in_the_complete_event(ask: Ask) -> None:
    complete = ask().end()
    assert complete["usage"] == {
        "prompt_tokens": 7,
        "completion_tokens": 2,
        "total_tokens": 9,
        "cached_tokens": 4,
        "reasoning_tokens": 1,
    }
    assert complete["timings"]["first_token"] > 0
    assert complete["timings"]["inference"] >= complete["timings"]["first_token"]


def test_only_what_the_client_has_said_is_sent(ask: Ask, upstream: Upstream) -> None:
    ask()
    assert upstream.calls[0].body == {
        "model": "m",
        "messages": [{"role": "user", "content": "Hi"}],
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    assert upstream.calls[0].path == "/v1/chat/completions"
    assert upstream.calls[0].headers["Authorization"] is None


def test_everything_that_the_client_has_said_is_sent(ask: Ask, upstream: Upstream) -> None:
    messages = [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "b"},
        {"role": "user", "content": "c"},
    ]
    how = {"temperature": 0.0, "top_p": 0.5, "max_tokens": 5, "seed": 0, "stop": ["x"]}
    ask({"messages": messages, "system_prompt": "s", **how})
    sent = upstream.calls[0].body
    assert sent["messages"] == [{"role": "system", "content": "s"}, *messages]
    assert {name: sent[name] for name in how} == how


def test_parameters_of_the_author_are_sent_and_are_no_inputs(ask: Ask, make: Any, upstream: Upstream) -> None:
    model = make(parameters={"top_k": 40, "temperature": 0}, max_tokens=9, max_tokens_field="max_completion_tokens")
    ask(model=model)
    sent = upstream.calls[0].body
    assert (sent["top_k"], sent["temperature"], sent["max_completion_tokens"]) == (40, 0, 9)
    assert "max_tokens" not in sent
    schema = getattr(model, MARK).info().schema
    assert "temperature" not in schema["properties"]
    assert schema["properties"]["max_tokens"]["maximum"] == schema["properties"]["max_tokens"]["default"] == 9


def test_several_answers_are_several_outputs(ask: Ask, upstream: Upstream) -> None:
    def two(call: Call) -> None:
        call.begin()
        for text in "ab":
            call.say(text, index=0)
            call.say(text.upper(), index=1)
        call.event(chunk({}, index=0, finish_reason="stop"))
        call.event(chunk({}, index=1, finish_reason="stop"))
        call.raw(b"data: [DONE]\n\n")
        call.raw(b"")

    upstream.replies(two)
    assert ask(parameters={"n": 2}).events[-1]["outputs"] == ["ab", "AB"]


def test_progress_counts_pieces_where_the_limit_is_known(ask: Ask) -> None:
    known = ask({"prompt": "Hi", "max_tokens": 4}).of("progress")
    assert [event.get("stage") for event in known] == ["wait", "generate"]
    assert (known[1]["percentage"], known[1]["step"], known[1]["steps"]) == (25, 1, 4)
    assert [event["percentage"] for event in ask().of("progress")] == [0, 0]


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
def test_thoughts_are_progress_and_no_part_of_the_answer(ask: Ask, upstream: Upstream, field: str) -> None:
    def think(call: Call) -> None:
        call.begin()
        call.event(chunk({field: "Hm. "}))
        call.event(chunk({field: "Well."}))
        call.say("Yes.")
        call.finish()

    upstream.replies(think)
    asked = ask()
    assert asked.events[-1]["outputs"] == ["Yes."]
    assert [event["stage"] for event in asked.of("progress")] == ["wait", "think", "generate"]
    assert ask(reasoning="output").events[-1]["outputs"] == ["Yes.", "Hm. Well."]


@pytest.mark.parametrize(("reason", "said"), [("length", "limit of tokens"), ("content_filter", "content filter")])
def test_an_answer_that_was_cut_off_says_so(ask: Ask, upstream: Upstream, reason: str, said: str) -> None:
    def cut(call: Call) -> None:
        call.begin()
        call.say("Once upon a")
        call.finish(reason)

    upstream.replies(cut)
    asked = ask()
    assert asked.events[-1]["outputs"] == ["Once upon a"]
    assert len(asked.logs) == 1
    assert said in asked.logs[0]


def test_an_empty_answer_is_an_output_too(ask: Ask, upstream: Upstream) -> None:
    def nothing(call: Call) -> None:
        call.begin()
        call.finish()

    upstream.replies(nothing)
    assert ask().events[-1]["outputs"] == [""]


@pytest.mark.parametrize(("reason", "said"), [("tool_calls", "Tools cannot be used"), ("content_filter", "withheld")])
def test_no_answer_for_a_reason_is_an_error(start: Ask, upstream: Upstream, reason: str, said: str) -> None:
    def without(call: Call) -> None:
        call.begin()
        call.finish(reason)

    upstream.replies(without)
    assert said in start().refused()


# What upstreams do differently


def test_an_upstream_that_does_not_know_stream_options_is_asked_without_from_then_on(
    make: Any, ask: Ask, upstream: Upstream
) -> None:
    def old(call: Call) -> None:
        if "stream_options" in call.body:
            call.json(422, {"detail": [{"loc": ["body", "stream_options"], "msg": "Extra inputs are not permitted"}]})
        else:
            call.begin()
            call.say("fine")
            call.finish()

    upstream.replies(old)
    model = make()
    for _ in range(2):
        complete = ask(model=model).end()
        assert complete["outputs"] == ["fine"]
        assert "usage" not in complete
    assert ["stream_options" in call.body for call in upstream.calls] == [True, False, False]


def test_an_upstream_that_ignores_stream_answers_at_once(ask: Ask, upstream: Upstream) -> None:
    message = {"role": "assistant", "content": "All of it."}
    whole = {"object": "chat.completion", "choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}
    upstream.replies(lambda call: call.json(200, {**whole, "usage": USAGE}))
    complete = ask().end()
    assert complete["outputs"] == ["All of it."]
    assert complete["usage"]["total_tokens"] == 9


def test_characters_may_be_split_over_chunks_and_lines_may_end_in_any_way(ask: Ask, upstream: Upstream) -> None:
    text = "你好 🐈 ä"
    stream = b": keep-alive\r\n\r\n" + event(chunk({"content": text})).replace(b"\n", b"\r\n")
    stream += (
        b"event: message\nid: 4\n" + event(chunk({"content": "\u2028end\x85"})) + event(chunk({}, finish_reason="stop"))
    )

    def bytewise(call: Call) -> None:
        call.begin("text/event-stream; charset=iso-8859-1")
        for byte in stream + b"data: [DONE]\n\n":
            call.raw(bytes([byte]))
        call.raw(b"")

    upstream.replies(bytewise)
    assert ask().events[-1]["outputs"] == [text + "\u2028end\x85"]


def test_a_stream_that_is_finished_needs_no_done(ask: Ask, upstream: Upstream) -> None:
    def without(call: Call) -> None:
        call.begin()
        call.say("fine")
        call.event(chunk({}, finish_reason="stop"))
        call.cut()

    upstream.replies(without)
    assert ask().events[-1]["outputs"] == ["fine"]


def test_a_query_in_the_base_url_stays_and_headers_are_sent(ask: Ask, upstream: Upstream) -> None:
    ask(base_url=f"{upstream.url}/?api-version=7", headers={"api-key": "azure"})
    assert upstream.calls[0].path == "/v1/chat/completions?api-version=7"
    assert upstream.calls[0].headers["api-key"] == "azure"


# Errors


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (401, {"error": {"message": f"bad key {KEY}"}}, "does not accept this server's API key (401)"),
        (403, "Forbidden", "does not accept this server's API key (403)"),
        (404, {"error": {"message": "The model `m` does not exist."}}, "does not have it (404)"),
        (400, {"error": {"message": "top_p is out of range"}}, "refuses these inputs. top_p is out of range"),
        (400, {"object": "error", "message": "bad seed", "code": 400}, "refuses these inputs. bad seed"),
        (422, {"detail": [{"msg": "no"}]}, 'refuses these inputs. [{"msg":"no"}]'),
        (402, {"error": "no money"}, "refused the request (402). Tell the operator."),
        (
            400,
            {"error": {"message": "This model's maximum context length is 10 tokens.", "code": 400}},
            "too long for this model. Shorten the prompt. This model's maximum context length is 10 tokens.",
        ),
        (400, {"error": {"type": "exceed_context_size_error", "n_prompt_tokens": 99, "n_ctx": 10}}, "99 tokens long"),
        (400, {"error": {"code": "context_length_exceeded", "message": "x"}}, "too long for this model"),
        (307, "", "refused the request (307)"),
        (418, "<html>teapot</html>", "refused the request (418)"),
    ],
    ids=str,
)
def test_an_error_says_what_can_be_done_and_is_not_tried_again(
    start: Ask, upstream: Upstream, status: int, body: Any, said: str
) -> None:
    upstream.replies(error(status, body))
    assert said in start(api_key=KEY).refused()
    assert len(upstream.calls) == 1


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504, 529])
def test_what_may_pass_is_tried_again_so_many_times_and_then_told(start: Ask, upstream: Upstream, status: int) -> None:
    upstream.replies(error(status, {"error": {"message": "soon"}}, Retry_After="0"))
    asked = start(retries=2)
    assert f"({status})" in asked.refused()
    assert len(upstream.calls) == 3
    assert [re.findall(r"\((\d of \d)\)", line) for line in asked.logs] == [["1 of 2"], ["2 of 2"]]


def test_an_upstream_that_was_busy_answers_the_next_time(ask: Ask, upstream: Upstream) -> None:
    upstream.replies(BUSY, BUSY, hello)
    assert ask().events[-1]["outputs"] == ["Hello"]


@pytest.mark.parametrize("when", ["7200", "Thu, 01 Jan 2099 00:00:00 GMT"])
def test_a_wait_that_is_too_long_is_told_and_not_waited(start: Ask, upstream: Upstream, when: str) -> None:
    upstream.replies(error(429, {}, Retry_After=when))
    assert re.search(r"busy \(429\)\. Try again in \d{4,} s\.", start().refused())
    assert len(upstream.calls) == 1


def test_the_wait_that_the_upstream_asks_for_is_waited(ask: Ask, upstream: Upstream) -> None:
    upstream.replies(error(429, {}, Retry_After="0.3"), hello)
    assert "Trying again in 0.3 s" in ask().logs[0]


@pytest.mark.parametrize("code", [503, "503", "overloaded_error"])
def test_an_error_in_the_stream_is_tried_again_before_the_first_token(ask: Ask, upstream: Upstream, code: Any) -> None:
    def overloaded(call: Call) -> None:
        call.begin()
        call.event({"error": {"message": "overloaded", "code": code}})
        call.raw(b"")

    upstream.replies(overloaded, hello)
    asked = ask(max_retry_wait_s=0)
    assert asked.events[-1]["outputs"] == ["Hello"]
    assert len(asked.logs) == 1


def test_after_the_first_token_nothing_is_tried_again(start: Ask, upstream: Upstream) -> None:
    def late(call: Call) -> None:
        call.begin()
        call.say("Hel")
        call.event({"error": {"message": "out of memory", "code": 500}})
        call.raw(b"")

    upstream.replies(late, hello)
    asked = start()
    assert "has failed (500)" in asked.refused()
    assert asked.text == "Hel"
    assert len(upstream.calls) == 1


def test_a_stream_that_is_cut_after_a_token_is_an_error(start: Ask, upstream: Upstream) -> None:
    def cut(call: Call) -> None:
        call.begin()
        call.say("Hel")
        call.cut()

    upstream.replies(cut, hello)
    assert "broke off in the middle" in start().refused()
    assert len(upstream.calls) == 1


def test_a_stream_that_just_ends_is_an_error(start: Ask, upstream: Upstream) -> None:
    def end(call: Call) -> None:
        call.begin()
        call.say("Hel")
        call.raw(b"")

    upstream.replies(end)
    assert "broke off in the middle" in start().refused()


def test_a_stream_that_is_cut_before_a_token_is_tried_again(ask: Ask, upstream: Upstream) -> None:
    def cut(call: Call) -> None:
        call.begin()
        call.event(chunk({"role": "assistant", "content": ""}))
        call.cut()

    upstream.replies(cut, lambda call: call.cut(), hello)
    assert ask(max_retry_wait_s=0).events[-1]["outputs"] == ["Hello"]


def test_an_upstream_that_is_not_there_is_tried_again_and_told(start: Ask) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        asked = start(base_url=f"http://127.0.0.1:{port}/v1", retries=2, max_retry_wait_s=0)
        assert asked.refused() == "The server behind this model cannot be reached."
    assert len(asked.logs) == 2


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("text/event-stream", b"data: {not json\n\n"),
        ("text/event-stream", b"data: [1, 2]\n\n"),
        ("text/event-stream", event(chunk({"content": "x"}, index=10**9))),
        ("text/event-stream", event(chunk({"content": "x"}, index=-1))),
        ("text/event-stream", event(chunk({"content": {"a": 1}}))),
        ("application/json", b"{"),
        ("application/json", b"{}"),
        ("text/html", b"<html>Welcome to nginx</html>"),
    ],
    ids=str,
)
def test_garbage_is_told_and_not_tried_again(start: Ask, upstream: Upstream, content_type: str, body: bytes) -> None:
    upstream.replies(lambda call: call.whole(200, body, content_type))
    assert start().refused() == "The server behind this model gave an answer that is not a chat completion."
    assert len(upstream.calls) == 1


def test_bytes_that_are_no_utf8_become_replacement_characters(ask: Ask, upstream: Upstream) -> None:
    broken = event(chunk({"content": "a?b"})).replace(b"?", b"\xff") + event(chunk({}, finish_reason="stop"))
    upstream.replies(lambda call: call.whole(200, broken, "text/event-stream"))
    assert ask().text == "a\ufffdb"


# Deadlines


def hang_at_once(call: Call) -> None:
    call.wait_until_gone()


def hang_after_the_head(call: Call) -> None:
    call.begin()
    call.event(chunk({"role": "assistant", "content": ""}))
    call.wait_until_gone()


def hang_with_comments(call: Call) -> None:
    call.begin()
    with contextlib.suppress(OSError):
        while True:
            call.raw(b": keep-alive\n\n")
            if call.gone.wait(0.01):
                break
    call.gone.set()


@pytest.mark.parametrize("hang", [hang_at_once, hang_after_the_head, hang_with_comments])
def test_a_first_token_that_does_not_come_has_a_deadline(
    start: Ask, upstream: Upstream, hang: Callable[[Call], None]
) -> None:
    upstream.replies(hang)
    assert start(first_token_timeout_s=0.2).refused().endswith("has said nothing for 0.2 s to this prompt.")
    assert len(upstream.calls) == 1, "a hang is not tried again"
    assert upstream.calls[0].gone.wait(DEADLINE_S), "the connection is still open"


def test_a_next_token_that_does_not_come_has_a_deadline(start: Ask, upstream: Upstream) -> None:
    def hang(call: Call) -> None:
        call.begin()
        call.say("Hel")
        call.wait_until_gone()

    upstream.replies(hang)
    asked = start(next_token_timeout_s=0.2)
    assert asked.refused().endswith("has said nothing for 0.2 s in the middle of its answer.")
    assert asked.text == "Hel"
    assert upstream.calls[0].gone.wait(DEADLINE_S), "the connection is still open"


def test_tokens_that_keep_coming_have_no_deadline_together(ask: Ask, upstream: Upstream) -> None:
    def slowly(call: Call) -> None:
        call.begin()
        for _ in range(8):
            call.say("x")
            threading.Event().wait(0.15)
        call.finish()

    upstream.replies(slowly)
    assert ask(first_token_timeout_s=1, next_token_timeout_s=1).text == "x" * 8


def test_a_finished_answer_is_complete_even_if_its_end_does_not_come(ask: Ask, upstream: Upstream) -> None:
    def hang(call: Call) -> None:
        call.begin()
        call.say("fine")
        call.event(chunk({}, finish_reason="stop"))
        call.wait_until_gone()

    upstream.replies(hang)
    assert ask(next_token_timeout_s=0.2).events[-1]["outputs"] == ["fine"]


# Cancelling


def test_a_cancel_closes_the_connection_to_the_upstream(start: Ask, upstream: Upstream) -> None:
    def wait(call: Call) -> None:
        call.begin()
        call.say("Hel")
        call.wait_until_gone()

    upstream.replies(wait)
    asked = start()
    asked.wait_for(lambda event: event["type"] == "output")
    asked.cancel()
    assert upstream.calls[0].gone.wait(DEADLINE_S), "the connection is still open"


@pytest.mark.parametrize("hang", [hang_at_once, hang_after_the_head])
def test_a_cancel_before_the_first_token_closes_it_too(
    start: Ask, upstream: Upstream, hang: Callable[[Call], None]
) -> None:
    called = threading.Event()

    def wait(call: Call) -> None:
        called.set()
        hang(call)

    upstream.replies(wait)
    asked = start()
    assert called.wait(DEADLINE_S)
    asked.cancel()
    assert upstream.calls[0].gone.wait(DEADLINE_S), "the connection is still open"


def test_a_cancel_while_it_waits_to_try_again_ends_it(start: Ask, upstream: Upstream) -> None:
    upstream.replies(error(503, {}, Retry_After="25"))
    asked = start()
    asked.wait_for(lambda event: event["type"] == "log")
    asked.cancel()
    assert len(upstream.calls) == 1


def test_after_cancels_the_next_run_is_like_any_other(start: Ask, ask: Ask, make: Any, upstream: Upstream) -> None:
    model = make(slots=2)
    upstream.replies(hang_after_the_head)
    for _ in range(5):
        asked = start(model=model)
        asked.wait_for(lambda event: event.get("stage") == "wait")
        asked.cancel()
    cancelled = list(upstream.calls)
    upstream.replies(hello)
    assert ask(model=model).text == "Hello"
    assert all(call.gone.wait(DEADLINE_S) for call in cancelled)


def test_a_connection_is_used_again(ask: Ask, make: Any, upstream: Upstream) -> None:
    model = make()
    for _ in range(3):
        ask(model=model)
    assert len({call.client for call in upstream.calls}) == 1


# Secrets


def test_the_key_is_sent_and_never_told(start: Ask, upstream: Upstream, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACME_UPSTREAM", f" {KEY}\n")
    body = {"error": {"message": f"what is {KEY} doing at http://{upstream.netloc}/v1 (127.0.0.1)?"}}
    for status in (400, 401, 500):
        upstream.replies(error(status, body))
        asked = start(api_key_env="ACME_UPSTREAM", retries=0)
        told = asked.refused()
        assert upstream.calls[0].headers["Authorization"] == f"Bearer {KEY}"
        assert KEY not in "".join(traceback.format_exception(asked.error))
        assert "127.0.0.1" not in told
    assert f"http://{upstream.netloc}/v1/chat/completions: it answered 500" in "\n".join(asked.error.__notes__)


def test_a_key_that_is_missing_or_cannot_be_sent_is_told_when_the_model_is_loaded(
    make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ACME_UPSTREAM", raising=False)
    with pytest.raises(ModelFileError, match="variable ACME_UPSTREAM has no API key"):
        make(api_key_env="ACME_UPSTREAM")
    with pytest.raises(ModelFileError, match="header Authorization has characters that cannot be sent") as raised:
        make(api_key="two\nlines")
    assert "two" not in str(raised.value)


# Declaring


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"base_url": "127.0.0.1:8000/v1"}, "must begin with http"),
        ({"base_url": "http://h/v1/chat/completions"}, "must end before /chat/completions"),
        ({"api_key": "a", "api_key_env": "b"}, "either api_key or api_key_env"),
        ({"parameters": {"stream": False, "model": "x"}}, "may not have model, stream"),
        ({"max_tokens": 0}, "max_tokens=0"),
        ({"retries": -1}, "retries=-1"),
        ({"next_token_timeout_s": 0}, "next_token_timeout_s=0"),
        ({"slots": 0}, "slots=0"),
    ],
    ids=str,
)
def test_a_wrong_declaration_is_told_where_it_stands(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ModelFileError, match=re.escape(said)):
        OpenAI("test/up", **{"base_url": "http://h/v1", "model": "m", **options})


@pytest.mark.parametrize(
    ("inputs", "fits"),
    [
        ({"prompt": "a"}, True),
        ({"prompt": "a", "temperature": 2, "top_p": 1, "max_tokens": 50, "seed": -1, "stop": ["x"]}, True),
        ({}, False),
        ({"prompt": "a", "max_tokens": 51}, False),
        ({"prompt": "a", "temperature": 2.1}, False),
        ({"prompt": "a", "top_p": 0}, False),
        ({"prompt": "a", "temperature": None}, False),
        ({"prompt": "a", "top_k": 3}, False),
    ],
    ids=json.dumps,
)
def test_the_schema_says_what_fits(inputs: dict[str, Any], fits: bool) -> None:
    declared = getattr(OpenAI("test/up", base_url="http://h/v1", model="m", max_tokens=50), MARK)
    assert jsonschema_rs.is_valid(declared.info().schema, inputs) == fits
    if fits:
        declared.inputs.model_validate_json(json.dumps(inputs))
