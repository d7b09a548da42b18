"""The speech engine on its real voice, through a real server."""

import base64
import importlib.util
import io
import json
import sys
import wave
from itertools import accumulate

import httpx
import pytest

from support.client import error_of
from support.server import Server
from support.services import missing
from support.stream import check_log
from unspool.engines.speech import Speech, _short
from unspool.errors import ModelFileError
from unspool.model import MARK, Cancelled, Run
from unspool.states import Status

TEXT = "Hello there, Dr. Smith. How are you?\n\n😀\nThis is the third sentence; it is the last."
SENTENCES = ["Hello there, Dr. Smith.", "How are you?", "This is the third sentence; it is the last."]
LONG = "This is a sentence. " * 500
MODELS = """
from unspool.engines.speech import Speech

short = Speech("test/short", max_characters=100, max_audio_s=10, slots=1)
long = Speech("test/long", max_characters=20_000, slots=1)
"""


@pytest.fixture(scope="module", autouse=True)
def library():
    if importlib.util.find_spec("hibari") is None:
        missing("hibari-tts", 'Install it: pip install ".[speech]"')


@pytest.fixture(scope="module")
def server(library, tmp_path_factory):
    folder = tmp_path_factory.mktemp("speech")
    (folder / "models.py").write_text(MODELS)
    server = Server(folder / "models.py", folder / "data")
    try:
        yield server.start().wait_until_ready()
    finally:
        server.close()


@pytest.fixture
def client(server):
    return server.client()


@pytest.fixture(scope="module")
def voice(library):
    model = Speech("test/voice", max_characters=20_000)
    model.setup()
    return model


def speak(client, text=TEXT, model="test/long", **inputs):
    with client.run(model, text=text, **inputs) as stream:
        events = list(stream)
    check_log(events)
    return [event.data for event in events]


def parts_of(events):
    return [event["output"] for event in events if event["type"] == "output"]


def samples_of(content):
    with wave.open(io.BytesIO(content)) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (24000, 1, 2)
        return file.readframes(file.getnframes())


def fetch(url):
    answer = httpx.get(url)
    assert answer.headers["content-type"] == "audio/wav"
    return samples_of(answer.content)


def seconds(samples):
    return len(samples) / 48000


# What it says


def test_each_sentence_is_a_part_that_can_be_played_and_all_of_them_joined_are_the_output(client):
    events = speak(client)
    parts = parts_of(events)
    said = [fetch(part["audio"]) for part in parts]
    [url] = events[-1]["outputs"]
    assert b"".join(said) == fetch(url)
    assert url not in [part["audio"] for part in parts]
    assert min(map(seconds, said)) > 0.3


def test_parts_come_in_order_and_say_where_they_belong(client):
    parts = parts_of(speak(client))
    assert [part["part"] for part in parts] == [1, 2, 3]
    assert [TEXT[slice(*part["characters"])] for part in parts] == SENTENCES
    ends = list(accumulate(part["seconds"] for part in parts))
    assert [part["start_seconds"] for part in parts] == pytest.approx([0, *ends[:-1]], abs=0.01)
    for part in parts:
        assert seconds(fetch(part["audio"])) == pytest.approx(part["seconds"], abs=0.001)


def test_every_part_is_a_piece_of_the_first_output(client):
    assert {event["index"] for event in speak(client) if event["type"] == "output"} == {0}


def test_it_is_what_the_library_says(client, voice):
    [url] = speak(client, seed=7)[-1]["outputs"]
    audio = voice._loaded["heart"](TEXT, seed=7)
    assert fetch(url) == (audio.clip(-1, 1) * 32767).astype("<i2").tobytes()


def test_a_seed_repeats_the_samples_and_without_one_they_differ(client):
    said = [fetch(speak(client, "Hello.", seed=seed)[-1]["outputs"][0]) for seed in (7, 7, -1, -1)]
    assert said[0] == said[1]
    assert len(set(said)) == 3


def test_twice_the_speed_takes_half_the_time(client):
    slow, fast = (speak(client, "Hello there.", speed=speed)[-1]["usage"]["audio_seconds"] for speed in (1, 2))
    assert slow / fast == pytest.approx(2, rel=0.1)


# What else those hear who watch


def test_progress_comes_with_each_sentence_by_the_share_of_the_text(client):
    said = [event for event in speak(client) if event.get("stage") == "speak"]
    assert [(event["step"], event["steps"]) for event in said] == [(0, 4), (1, 4), (2, 4), (3, 4), (4, 4)]
    assert [event["percentage"] for event in said] == sorted({event["percentage"] for event in said})
    assert said[1]["percentage"] == round(100 * len(SENTENCES[0]) / len(TEXT), 2)
    assert said[-1]["percentage"] == 100


def test_usage_and_timings_are_in_the_complete_event(client):
    complete = speak(client)[-1]
    assert complete["usage"]["characters"] == len(TEXT)
    assert complete["usage"]["audio_seconds"] == pytest.approx(seconds(fetch(complete["outputs"][0])), abs=0.001)
    assert 0 < complete["timings"]["first_part"] <= complete["timings"]["speak"] <= complete["timings"]["inference"]


def test_base64_is_of_the_whole_and_the_parts_stay_urls(client):
    events = speak(client, enable_base64_output=True)
    whole = samples_of(base64.b64decode(events[-1]["outputs"][0], validate=True))
    assert b"".join(fetch(part["audio"]) for part in parts_of(events)) == whole


def test_its_entry_and_its_readme_say_what_it_streams(client):
    models = {each["model_id"]: each for each in client.http.get("models").json()["data"]}
    properties = models["test/short"]["api_schema"]["api_schemas"][0]["request_schema"]["properties"]
    assert (properties["text"]["minLength"], properties["text"]["maxLength"]) == (1, 100)
    declared = getattr(Speech("test/words"), MARK)
    assert declared.streams == ("progress", "output")
    assert declared.category == "text-to-audio"
    assert '"type":"output"' in declared.readme
    event = next(line for line in declared.readme.splitlines() if line.startswith("{"))
    assert set(json.loads(event)["output"]) == set(parts_of(speak(client, "Hello."))[0])


# Long texts


def test_a_text_without_a_full_stop_is_cut_between_words_and_stays_one_part(client):
    [part] = parts_of(speak(client, "hello " * 200))
    assert part["seconds"] > 40


@pytest.mark.parametrize("text", ["a b " * 300, "a" * 1000, "a" * 399 + " b", "short", "a " + "b" * 900])
def test_no_piece_is_longer_than_the_voice_says_in_one_go_and_none_is_lost(text):
    pieces = list(_short(text))
    assert max(map(len, pieces)) <= 400
    assert "".join(pieces).replace(" ", "") == text.replace(" ", "")


# Stopping


class Told(Run):
    """A run outside of a worker, whose files are counted and not kept."""

    def __init__(self, folder, on_output):
        self.parts = 0
        self.on_output = on_output
        super().__init__("p", 1, lambda event: None, keep=self._count, make_folder=lambda: folder)

    def _count(self, file):
        self.parts += 1
        self.on_output(self)
        return "url"


def test_a_cancel_stops_before_the_next_sentence(voice, tmp_path):
    def cancel(run):
        if run.parts == 2:
            run.stop_status = Status.CANCELLED

    run = Told(tmp_path, cancel)
    with pytest.raises(Cancelled):
        voice(run, LONG)
    assert run.parts == 2


def test_a_cancelled_speech_frees_its_slot_and_ends_as_cancelled(client):
    with client.run("test/long", text=LONG) as stream:
        stream.until("output")
        client.cancel(stream.id)
        rest = list(stream)
    assert rest[-1].data["status"] == "cancelled"
    assert sum(event.type == "output" for event in rest) < 499
    assert speak(client, "Hello.")[-1]["type"] == "complete"


# What it refuses


def test_wrong_inputs_are_refused_before_anything_runs(client):
    wrong = {"text": "x" * 101, "voice": "nobody", "speed": 2.1, "seed": -2}
    body = error_of(client.http.post("test/short", json=wrong), 400, "invalid_input")
    assert {each["field"] for each in body["errors"]} == set(wrong)
    error_of(client.http.post("test/short", json={"text": ""}), 400, "invalid_input")
    error_of(client.http.post("test/short", json={}), 400, "invalid_input")


@pytest.mark.parametrize("text", [" \n ", "😀", "你好"])
def test_a_text_of_which_nothing_can_be_said_is_told(client, text):
    error = speak(client, text)[-1]
    assert "Nothing in this text can be said" in error["error"]
    assert (error["status"], error["code"]) == ("failed", 1401)
    assert [each["field"] for each in error["errors"]] == ["text"]


def test_a_text_that_takes_too_long_to_say_is_told_with_the_limit(client):
    error = speak(client, "1234567890 " * 9, model="test/short")[-1]
    assert "longer to say than 10 seconds" in error["error"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"voices": []}, "must be a list of names"),
        ({"voices": "heart"}, "must be a list of names"),
        ({"threads": 0}, "threads=0 must be 1 or more"),
        ({"max_characters": 0}, "max_characters=0 must be 1 or more"),
        ({"max_audio_s": 0}, "max_audio_s=0 must be 1 or more"),
    ],
)
def test_a_wrong_declaration_is_refused_where_it_stands(options, message):
    with pytest.raises(ModelFileError, match=message):
        Speech("test/wrong", **options)


def test_an_unknown_voice_is_told_with_those_that_there_are():
    with pytest.raises(ModelFileError, match="no voice 'nobody'; there are heart, emma"):
        Speech("test/voices", voices=["heart", "nobody"]).setup()


def test_a_voice_that_cannot_be_fetched_is_told_without_a_path(tmp_path, monkeypatch):
    monkeypatch.setenv("HIBARI_HOME", str(tmp_path))
    monkeypatch.setattr("hibari.voices.BASE_URL", "http://127.0.0.1:9/")
    with pytest.raises(ModelFileError, match="the voice 'emma' cannot be fetched") as told:
        Speech("test/voices", voices=["emma"]).setup()
    assert str(tmp_path) not in str(told.value)


def test_a_missing_library_is_told_with_the_command_that_brings_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "hibari", None)
    with pytest.raises(ModelFileError, match=r'pip install "unspool\[speech\]"'):
        Speech("test/none").setup()
