"""The LLM engine on real weights."""

import contextlib
import ctypes
import http.client
import itertools
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from urllib.parse import urlsplit

import jsonschema_rs
import psutil
import pytest

from unspool.engines.llama import Llama
from unspool.errors import ModelError, ModelFileError
from unspool.model import MARK, Cancelled
from unspool.states import Status

from .conftest import load, run, start

STORY = "Tell me a long story about a dragon who is afraid of the dark."
LONG_PROMPT = "word " * 900
LOAD = """
import sys
from pathlib import Path
from unspool.engines.llama import Llama
model = Llama("test/child", weights=Path(sys.argv[1]), slots=1, context_tokens=256)
model.setup()
print("ready", flush=True)
"""


def is_output(event):
    return event["type"] == "output"


# What it says


def test_the_pieces_joined_are_the_outputs(llama):
    spoken = run(llama, prompt=STORY, max_tokens=40)
    assert len(spoken.of("output")) > 10
    assert spoken.events[-1]["outputs"] == [spoken.text]


def test_the_same_seed_gives_the_same_answer_and_another_seed_another(llama):
    first, again, other = (run(llama, prompt=STORY, max_tokens=40, temperature=1, seed=seed).text for seed in (7, 7, 8))
    assert first == again != other


def test_without_a_seed_answers_differ(llama):
    assert len({run(llama, prompt=STORY, max_tokens=20, temperature=1.5).text for _ in range(2)}) == 2


def test_at_temperature_0_an_answer_repeats_without_a_seed(llama):
    assert len({run(llama, prompt=STORY, max_tokens=40, temperature=0).text for _ in range(3)}) == 1


def test_the_answer_ends_right_before_a_stop_text(llama):
    whole = run(llama, prompt=STORY, max_tokens=40, temperature=0).text
    stop = whole[60:67]
    assert run(llama, prompt=STORY, max_tokens=40, temperature=0, stop=["###", stop]).text == whole.partition(stop)[0]


def test_the_answer_ends_after_max_tokens(llama):
    complete = run(llama, prompt=STORY, max_tokens=9).end()
    assert complete["usage"]["completion_tokens"] == 9


def test_the_answer_ends_where_the_context_ends(llama):
    complete = run(llama, prompt=STORY, max_tokens=256, temperature=0).end()
    assert complete["usage"]["total_tokens"] == 256


def test_usage_and_timings_are_in_the_complete_event(llama):
    complete = run(llama, prompt="Say hello.", max_tokens=5).end()
    usage, timings = complete["usage"], complete["timings"]
    assert usage["prompt_tokens"] > 5
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    assert timings["prefill"] > 0
    assert timings["generate"] > 0


def test_a_prompt_with_a_system_prompt_is_a_conversation_of_two_messages(llama):
    short = run(llama, prompt="What is my name?", system_prompt="You are a pirate.", temperature=0, max_tokens=20)
    messages = [{"role": "system", "content": "You are a pirate."}, {"role": "user", "content": "What is my name?"}]
    assert run(llama, messages=messages, temperature=0, max_tokens=20).text == short.text
    answered = [*messages, {"role": "assistant", "content": short.text}, {"role": "user", "content": "Why?"}]
    longer = run(llama, messages=answered, max_tokens=1)
    assert longer.end()["usage"]["prompt_tokens"] > short.end()["usage"]["prompt_tokens"] + 20


@pytest.mark.parametrize("max_tokens", [30, 31, 32])
def test_an_emoji_that_spans_tokens_comes_whole_or_not_at_all(llama, max_tokens):
    spoken = run(llama, prompt="Write ten emoji.", temperature=0, repeat_penalty=1.0, max_tokens=max_tokens)
    pieces = [event["output"] for event in spoken.of("output")]
    assert any(ord(piece[-1]) > 0xFFFF for piece in pieces)
    assert "\ufffd" not in "".join(pieces)
    assert len(pieces) < max_tokens


def test_chinese_comes_in_whole_characters(llama):
    prompt = "Reply only with this text: 你好世界，今天天气很好。"
    spoken = run(llama, prompt=prompt, temperature=0, repeat_penalty=1.0, max_tokens=30)
    assert "你好世界" in spoken.text
    assert "\ufffd" not in spoken.text
    assert spoken.events[-1]["outputs"] == [spoken.text]


# Progress


def test_progress_counts_the_tokens_of_prompt_and_answer(narrow):
    spoken = run(narrow, prompt=f"{time.time()} " + "word " * 200, max_tokens=50)
    total = spoken.events[-1]["usage"]["prompt_tokens"] + 50
    prefill = [event for event in spoken.of("progress") if event["stage"] == "prefill"]
    assert len(prefill) > 4
    assert prefill[-1]["step"] == prefill[-1]["steps"] == total - 50
    for event in prefill:
        assert event["percentage"] == pytest.approx(100 * event["step"] / total, abs=0.01)


def test_progress_never_falls_and_is_said_at_most_twice_a_second_while_generating(llama):
    spoken = start(llama, prompt=STORY, max_tokens=200, temperature=0)
    spoken.end()
    percentages = [event["percentage"] for event in spoken.of("progress")]
    assert percentages == sorted(percentages)
    assert percentages[-1] <= 100
    times = [at for at, event in zip(spoken.times, spoken.events, strict=True) if event.get("stage") == "generate"]
    assert all(later - earlier > 0.49 for earlier, later in itertools.pairwise(times))


# Several at once


def test_four_answers_are_written_at_the_same_time(llama):
    order = []
    runs = [start(llama, prompt=f"{n}. {STORY}", max_tokens=60, temperature=0) for n in range(4)]
    for n, spoken in enumerate(runs):
        spoken.end()
        times = [at for at, event in zip(spoken.times, spoken.events, strict=True) if is_output(event)]
        order += [(at, n) for at in times]
    order = [n for _, n in sorted(order)]
    for n in range(4):
        between = order[order.index(n) : len(order) - order[::-1].index(n)]
        assert set(between) == {0, 1, 2, 3}


def test_runs_that_fill_their_contexts_together_do_not_end_each_other(llama):
    runs = [start(llama, prompt=f"{n} " + "word " * 200, max_tokens=5) for n in range(4)]
    assert [spoken.end()["type"] for spoken in runs] == ["complete"] * 4


# Stopping


def cancel(spoken):
    spoken.run.stop_status = Status.CANCELLED
    with pytest.raises(Cancelled):
        spoken.end()


def seconds(function):
    began = time.monotonic()
    function()
    return time.monotonic() - began


def test_a_cancelled_answer_frees_its_slot_at_once(narrow):
    spoken = start(narrow, prompt=STORY, max_tokens=900, temperature=0)
    ten = seconds(lambda: spoken.wait_for(lambda event: len(spoken.of("output")) >= 10))
    said = len(spoken.of("output"))
    cancel(spoken)
    assert len(spoken.of("output")) <= said + 2
    assert seconds(lambda: run(narrow, prompt="Hi", max_tokens=1)) < 20 * ten


def test_a_prompt_that_is_being_read_is_cancelled_at_the_next_batch(narrow):
    spoken = start(narrow, prompt=f"{time.time()} {LONG_PROMPT}")
    step = spoken.wait_for(lambda event: event["step"] >= 32)["step"]
    cancel(spoken)
    assert spoken.events[-1]["step"] <= step + 2 * 32
    assert run(narrow, prompt="Hi", max_tokens=1).end()["type"] == "complete"


def test_cancelled_that_is_raised_from_outside_ends_a_run_like_any_other(narrow):
    spoken = start(narrow, prompt=f"{time.time()} {LONG_PROMPT}")
    spoken.wait_for(lambda event: event["step"] >= 32)
    thread = ctypes.c_ulong(spoken.thread.ident)
    assert ctypes.pythonapi.PyThreadState_SetAsyncExc(thread, ctypes.py_object(Cancelled)) == 1
    with pytest.raises(Cancelled):
        spoken.end()
    assert spoken.events[-1]["step"] < 900
    assert run(narrow, prompt="Hi", max_tokens=1).end()["type"] == "complete"


def test_an_error_while_saying_a_piece_is_raised_by_the_call_and_frees_the_slot(narrow):
    spoken = start(narrow, prompt=STORY, max_tokens=900)

    def fail(event):
        raise ConnectionError("nobody listens")

    spoken.on_event = fail
    with pytest.raises(ConnectionError, match="nobody listens"):
        spoken.end()
    assert run(narrow, prompt="Hi", max_tokens=1).end()["type"] == "complete"


# What it refuses


def test_a_prompt_that_does_not_fit_is_told_with_its_length_and_the_limit(llama):
    with pytest.raises(ModelError, match=r"is 9\d\d tokens long.* 256 tokens"):
        start(llama, prompt=LONG_PROMPT).end()


@pytest.mark.parametrize(
    ("inputs", "fits"),
    [
        ({"prompt": "a"}, True),
        ({"messages": [{"role": "user", "content": "a"}]}, True),
        ({"prompt": "a", "system_prompt": "b", "seed": -1, "stop": ["c"], "max_tokens": 512}, True),
        ({}, False),
        ({"prompt": "a", "messages": [{"role": "user", "content": "a"}]}, False),
        ({"prompt": ""}, False),
        ({"prompt": None}, False),
        ({"messages": []}, False),
        ({"messages": [{"role": "user"}]}, False),
        ({"messages": [{"role": "robot", "content": "a"}]}, False),
        ({"prompt": "a", "max_tokens": 513}, False),
        ({"prompt": "a", "temperature": -1}, False),
        ({"prompt": "a", "seed": -2}, False),
        ({"prompt": "a", "stop": [""]}, False),
        ({"prompt": "a", "promt": "a"}, False),
    ],
    ids=json.dumps,
)
def test_the_schema_and_the_worker_agree_on_what_fits(inputs, fits):
    declared = getattr(Llama("test/schema", weights=Path("none.gguf"), context_tokens=512), MARK)
    assert jsonschema_rs.is_valid(declared.info().schema, inputs) == fits
    # The worker's check may allow a null more, but never less: what was accepted has to run.
    with contextlib.nullcontext() if fits else contextlib.suppress(ValueError):
        declared.inputs.model_validate_json(json.dumps(inputs))


def test_every_default_in_the_schema_is_what_a_call_without_it_uses():
    declared = getattr(Llama("test/schema", weights=Path("none.gguf")), MARK)
    defaults = {
        name: field["default"] for name, field in declared.info().schema["properties"].items() if "default" in field
    }
    names, values = Llama.__call__.__code__.co_varnames[2:11], Llama.__call__.__defaults__
    called = {name: value for name, value in zip(names, values, strict=True) if value is not None}
    assert defaults == {**called, "stop": []}


# Loading


def test_missing_weights_are_told(tmp_path):
    with pytest.raises(ModelFileError, match=r"none\.gguf cannot be read: No such file"):
        load(tmp_path / "none.gguf")


def test_a_file_that_is_not_gguf_is_told(tmp_path):
    (tmp_path / "page.gguf").write_text("<html>not found</html>")
    with pytest.raises(ModelFileError, match=r"page\.gguf is not a GGUF file"):
        load(tmp_path / "page.gguf")


def test_half_a_file_is_told(gguf, tmp_path, capfd):
    with gguf.open("rb") as whole:
        (tmp_path / "half.gguf").write_bytes(whole.read(40_000_000))
    with pytest.raises(ModelFileError, match=r"half\.gguf: it is damaged, incomplete"):
        load(tmp_path / "half.gguf")
    assert "data is not within the file bounds" in capfd.readouterr().err


def test_a_missing_runtime_is_told_with_the_command_that_brings_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "xllamacpp", None)
    with pytest.raises(ModelFileError, match=r'pip install "unspool\[llama\]"'):
        load(tmp_path / "any.gguf")


def test_a_function_for_the_weights_is_called_when_the_model_is_loaded_and_not_before(gguf):
    asked = []
    model = Llama("test/lazy", weights=lambda: asked.append(1) or gguf, slots=1, context_tokens=256)
    assert asked == []
    model.setup()
    assert asked == [1]


def test_it_computes_on_the_cores_that_it_may_use_unless_told_otherwise():
    cores = len(psutil.Process().cpu_affinity()) if hasattr(psutil.Process, "cpu_affinity") else os.cpu_count()
    assert Llama("test/threads", weights="none.gguf").threads == cores
    assert Llama("test/threads", weights="none.gguf", threads=3).threads == 3


@pytest.mark.parametrize("name", ["slots", "context_tokens", "threads", "batch_tokens"])
def test_numbers_below_1_are_refused_where_they_are_declared(name):
    with pytest.raises(ModelFileError, match=f"{name}=0 must be 1 or more"):
        Llama("test/numbers", weights="none.gguf", **{name: 0})


# Doors and exits


def test_nothing_listens_where_anyone_could_reach_it(gguf):
    def ports():
        return {c.laddr for c in psutil.Process().net_connections("tcp") if c.status == psutil.CONN_LISTEN}

    before = ports()
    model = load(gguf)
    assert ports() == before
    address = model._server.listening_address
    assert address.startswith("unix://")
    assert not Path(address.removeprefix("unix://")).parent.exists()


def test_where_a_port_has_to_be_opened_it_is_closed_to_all_who_lack_the_key(gguf, tmp_path, monkeypatch):
    long = tmp_path / ("long" * 30)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    model = load(gguf)
    address = urlsplit(model._server.listening_address)
    assert address.hostname == "127.0.0.1"
    body = json.dumps({"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 1})
    for headers in ({}, {"Authorization": "Bearer guess"}):
        for method, path in (("POST", "/v1/chat/completions"), ("POST", "/completion"), ("GET", "/v1/models")):
            client = http.client.HTTPConnection(address.hostname, address.port, timeout=10)
            client.request(method, path, body if method == "POST" else None, headers)
            assert client.getresponse().status == 401
            client.close()


def child(gguf, then):
    command = [sys.executable, "-c", LOAD + then, str(gguf)]
    source = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=source)


def test_a_process_that_has_loaded_a_model_ends_by_itself_and_says_nothing(gguf):
    process = child(gguf, "")
    assert process.communicate(timeout=60) == ("ready\n", "")
    assert process.returncode == 0


def test_a_process_that_has_loaded_a_model_still_obeys_sigterm(gguf):
    process = child(gguf, "import signal; signal.pause()")
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGTERM
