"""Several predictions in one call: what they share, and what stays each one's own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from conftest import MODELS
from support.client import Client, data_of, error_of
from support.gate import Gate
from support.server import Server
from support.stream import Event
from support.waiting import wait_until


@pytest.fixture(scope="module")
def batches(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(MODELS / "batches.py", tmp_path_factory.mktemp("batches"))
    try:
        yield server.start().wait_until_ready()
    finally:
        server.close()


@pytest.fixture
def client(batches: Server) -> Client:
    return batches.client()


def submit(client: Client, model: str, *inputs: dict[str, Any]) -> list[str]:
    return [str(client.submit(model, **one)["id"]) for one in inputs]


def ends(client: Client, ids: list[str]) -> list[dict[str, Any]]:
    return [client.finished(id) for id in ids]


def outputs(client: Client, ids: list[str]) -> list[Any]:
    return [end["outputs"] for end in ends(client, ids)]


def texts(*words: str, **more: Any) -> list[dict[str, Any]]:
    return [{"text": word, **more} for word in words]


def of_type(log: list[Event], type: str) -> list[dict[str, Any]]:
    return [event.data for event in log if event.type == type]


BOTH = pytest.mark.parametrize("model", ["batch/sync", "batch/async"])


# One call, and each its own


@BOTH
def test_a_full_batch_is_one_call_and_everyone_gets_his_own_result(client: Client, model: str) -> None:
    ids = submit(client, model, *texts("a", "b", "c"))
    assert outputs(client, ids) == [["A", 3], ["B", 3], ["C", 3]]


def test_a_run_of_a_batch_has_progress_log_and_numbers_of_its_own(client: Client, batches: Server) -> None:
    ids = submit(client, "batch/sync", *texts("a", "b", "c"))
    for id in ids:
        log = client.log(id)
        assert [one["message"] for one in of_type(log, "log")] == [f"for {id} only"]
        assert [one["stage"] for one in of_type(log, "progress") if "stage" in one] == ["begun"]
        assert log[-1].data["usage"] == {"shared_by": 3}


def test_what_a_call_prints_goes_to_the_servers_log_and_to_no_client(client: Client, batches: Server) -> None:
    begin = batches.lines
    for id in submit(client, "batch/sync", *texts("a", "b", "c")):
        assert not [one for one in of_type(client.log(id), "log") if "of the call" in one["message"]]
    batches.wait_for_log("a line of the call", begin=begin)
    batches.wait_for_log("a warning of the call", begin=begin)


def test_a_bar_of_a_call_moves_everyone(client: Client) -> None:
    for id in submit(client, "batch/bar", *texts("a", "b")):
        steps = [one for one in of_type(client.log(id), "progress") if one.get("stage") == "denoise"]
        assert [(one["percentage"], one["step"], one["steps"]) for one in steps][-1] == (100, 4, 4)


def test_a_batch_that_is_not_full_goes_when_its_time_is_up(client: Client) -> None:
    assert outputs(client, submit(client, "batch/short-wait", *texts("a", "b", "c"))) == [[3]] * 3


def test_a_lonely_prediction_need_not_wait(client: Client) -> None:
    (first,) = outputs(client, submit(client, "batch/class", *texts("a")))
    assert first[0].endswith(" of 1")


def test_predictions_gather_while_a_call_goes_on(client: Client, gate: Gate) -> None:
    first = submit(client, "batch/gathers", *texts("a", gate=str(gate)))
    assert gate.visitor() == first[0]
    others = submit(client, "batch/gathers", *texts("b", "c", "d"))
    late = submit(client, "batch/gathers", *texts("e"))
    gate.open()
    assert outputs(client, first) == [[1]]
    assert outputs(client, others + late) == [[4]] * 4, "the one that came when the call ended still came along"


def test_the_next_batch_is_there_when_a_call_ends(client: Client, gate: Gate) -> None:
    first = submit(client, "batch/sync", *texts("a", "b", "c", gate=str(gate)))
    wait_for_stage(client, first)
    second = submit(client, "batch/sync", *texts("d", "e", "f"))
    for id in second:
        with client.stream(id) as stream:
            stream.take(2)
    gate.open()
    assert outputs(client, first + second) == [[letter, 3] for letter in "ABCDEF"]


def test_slots_are_batches_at_once(client: Client, gate: Gate, tmp_path: Path) -> None:
    second_gate = Gate(tmp_path / "second-gate")
    first = submit(client, "batch/short-wait", *texts("a", gate=str(gate)))
    assert gate.visitor() == first[0]
    second = submit(client, "batch/short-wait", *texts("b", gate=str(second_gate)))
    assert second_gate.visitor() == second[0]
    gate.open()
    second_gate.open()
    assert outputs(client, first + second) == [[1], [1]]


# Inputs


def test_the_schema_is_that_of_one_prediction(client: Client) -> None:
    models = {one["model_id"]: one for one in client.http.get("models").json()["data"]}
    schema = models["batch/sync"]["api_schema"]["api_schemas"][0]["request_schema"]
    assert schema["required"] == ["text"]
    assert schema["properties"]["text"]["minLength"] == 1
    assert schema["properties"]["does"]["default"] == "echo"


def test_an_input_that_is_wrong_is_refused_before_it_meets_anyone(client: Client) -> None:
    body = error_of(client.http.post("batch/sync", json={"text": "", "size": 1}), 400, "invalid_input")
    assert {one["field"] for one in body["errors"]} == {"text", "size"}
    assert outputs(client, submit(client, "batch/sync", *texts("a", "b", "c"))) == [["A", 3], ["B", 3], ["C", 3]]


def test_each_parameter_that_is_a_list_is_an_input_with_its_own_default(client: Client, gate: Gate) -> None:
    gate.open()
    ids = submit(client, "batch/pieces", *texts("a", "b", gate=str(gate)), {"text": "c", "n": 1, "gate": str(gate)})
    assert outputs(client, ids) == [["aaa", 3], ["bbb", 3], ["c", 3]]


def test_files_are_there_before_the_call_and_a_missing_one_is_its_own_matter(client: Client) -> None:
    bad = submit(client, "batch/files", {"image": "data:text/plain;base64,?"})
    ids = submit(client, "batch/files", {"image": "data:,one"}, {"image": "data:,two", "name": "2"})
    (end,) = ends(client, bad)
    assert end["status"] == "failed"
    assert "image: is a data URL with bad base64" in end["error"]
    files = [client.http.get(end["outputs"][0]).text for end in ends(client, ids)]
    assert files == ["one of one+two", "two of one+two"]


# Errors


@BOTH
def test_an_exception_in_the_list_fails_only_its_own(client: Client, model: str) -> None:
    ids = submit(client, model, *texts("a"), *texts("b", does="return-error"), *texts("c", does="bad-output"))
    first, second, third = ends(client, ids)
    assert first["outputs"] == ["A", 3]
    assert (second["status"], second["error"]) == ("failed", "Not b.")
    assert third["status"] == "failed"
    assert "a model cannot output object" in third["error"]


@BOTH
def test_an_exception_that_is_raised_fails_all_and_quotes_nobody(client: Client, batches: Server, model: str) -> None:
    begin = batches.lines
    for end in ends(client, submit(client, model, *texts("a", "b"), *texts("secret", does="fail"))):
        assert end["status"] == "failed"
        assert end["error"].startswith("ValueError in a call for 3 predictions.")
        assert "secret" not in end["error"]
    batches.wait_for_log("cannot do secret", begin=begin)


@pytest.mark.parametrize(
    ("does", "message"),
    [
        ("short", "The model returned 1 for a batch of 3; it should be a list with one each, in order."),
        ("text", "The model returned str for a batch of 3; it should be a list with one each."),
    ],
)
def test_a_wrong_number_of_results_fails_all_and_says_why(client: Client, does: str, message: str) -> None:
    for end in ends(client, submit(client, "batch/sync", *texts("a", "b", "c", does=does))):
        assert end["status"] == "failed"
        assert end["error"].endswith(message)


def test_a_model_that_returns_nothing_gives_nobody_anything(client: Client) -> None:
    assert outputs(client, submit(client, "batch/sync", *texts("a", "b", "c", does="nothing"))) == [[], [], []]


# Streaming


@pytest.mark.parametrize("model", ["batch/pieces", "batch/async-pieces"])
def test_pieces_are_streamed_to_each_as_they_are_yielded(client: Client, gate: Gate, model: str) -> None:
    with ExitStack() as stack:
        inputs = [{"text": text, "n": n, "gate": str(gate)} for text, n in (("a", 3), ("b", 1), ("c", 2))]
        streams = [stack.enter_context(client.run(model, **one)) for one in inputs]
        for stream, text in zip(streams, "abc", strict=True):
            assert stream.until("output").data["output"] == text, "while the call waits at the gate"
        gate.open()
        ended = [stream.until("complete").data["outputs"][0] for stream in streams]
    assert ended == ["aaa", "b", "cc"]


def test_an_exception_among_the_pieces_ends_its_own_at_once(client: Client, gate: Gate) -> None:
    fails, *others = submit(client, "batch/pieces", *texts("fails", "a", "b", gate=str(gate)))
    assert gate.visitor() == fails
    gate.open()
    end = client.finished(fails)
    assert (end["status"], end["error"]) == ("failed", "No more.")
    assert outputs(client, others) == [["aaa", 3], ["bbb", 3]]


# Stopping


@BOTH
def test_one_that_is_cancelled_ends_at_once_and_the_others_go_on(client: Client, gate: Gate, model: str) -> None:
    ids = submit(client, model, *texts("a", "b", "c", gate=str(gate)))
    wait_for_stage(client, ids)
    client.cancel(ids[0])
    assert client.finished(ids[0])["status"] == "cancelled"
    assert client.result(ids[1])["status"] == "processing"
    gate.open()
    assert outputs(client, ids[1:]) == [["B", 3], ["C", 3]]
    assert client.result(ids[0])["outputs"] == []


@BOTH
def test_when_all_are_cancelled_the_call_is_stopped(client: Client, gate: Gate, batches: Server, model: str) -> None:
    workers = batches.worker_pids()
    ids = submit(client, model, *texts("a", "b", "c", gate=str(gate)))
    wait_for_stage(client, ids)
    for id in ids:
        client.cancel(id)
    assert [end["status"] for end in ends(client, ids)] == ["cancelled"] * 3
    assert outputs(client, submit(client, model, *texts("d", "e", "f"))) == [["D", 3], ["E", 3], ["F", 3]]
    assert batches.worker_pids() == workers, "nobody had to be killed"


@pytest.mark.parametrize("model", ["batch/pieces", "batch/async-pieces"])
def test_a_generator_of_a_batch_is_closed_when_all_are_cancelled(client: Client, gate: Gate, model: str) -> None:
    ids = submit(client, model, *[{"text": text, "n": 3, "gate": str(gate)} for text in "abc"])
    for id in ids:
        with client.stream(id) as stream:
            stream.until("output")
    for id in ids:
        client.cancel(id)
    assert [end["status"] for end in ends(client, ids)] == ["cancelled"] * 3
    wait_until(Path(f"{gate}.stopped").exists, "it was told")


def test_a_prediction_that_waits_for_its_batch_is_cancelled_at_once(client: Client) -> None:
    with client.run("batch/sync", text="x") as stream:
        stream.take(2)
        client.cancel(stream.id)
        assert stream.until("error").data["status"] == "cancelled"
    assert outputs(client, submit(client, "batch/sync", *texts("a", "b", "c"))) == [["A", 3], ["B", 3], ["C", 3]]


@BOTH
def test_a_run_timeout_ends_one_and_not_the_others(client: Client, gate: Gate, model: str) -> None:
    hasty = data_of(client.http.post(model, params={"run_timeout": "0.5"}, json={"text": "a", "gate": str(gate)}))["id"]
    others = submit(client, model, *texts("b", "c", gate=str(gate)))
    assert client.finished(hasty)["status"] == "timeout"
    gate.open()
    assert [len(end["outputs"]) for end in ends(client, others)] == [2, 2]


def test_a_call_that_says_nothing_is_interrupted_when_all_are_cancelled(client: Client, batches: Server) -> None:
    workers = batches.worker_pids()
    cancel_both(client, "batch/spin")
    assert batches.worker_pids() == workers


def test_a_call_that_does_not_stop_is_ended_with_its_worker(client: Client) -> None:
    cancel_both(client, "batch/swallow")
    cancel_both(client, "batch/swallow")


def cancel_both(client: Client, model: str) -> None:
    ids = submit(client, model, *texts("a", "b"))
    wait_for_stage(client, ids)
    for id in ids:
        client.cancel(id)
    assert [end["status"] for end in ends(client, ids)] == ["cancelled"] * 2


def test_all_of_a_call_are_tried_again_when_its_process_dies(client: Client) -> None:
    finished = ends(client, submit(client, "batch/dies", *texts("a", "b")))
    assert [(end["attempt"], end["outputs"]) for end in finished] == [(2, ["a"]), (2, ["b"])]


def wait_for_stage(client: Client, ids: list[str]) -> None:
    """Until the call with all of them has begun."""
    for id in ids:
        with client.stream(id) as stream:
            while stream.until("progress").data.get("stage") != "begun":
                pass
