"""What a client can do beside following: each verb, against the server as it is."""

from __future__ import annotations

import base64
import json
import time

import httpx
import pytest

from sdk.adapter import CLIENTS
from sdk.faults import CutAfterEvents
from sdk.world import World, finished, running
from support.receiver import Receiver
from support.waiting import wait_until
from unspool.webhooks import sign


@pytest.fixture(scope="module", params=CLIENTS)
def client(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def connected(world: World) -> World:
    world.proxy.play([])
    world.connect()
    return world


def test_a_prediction_is_submitted_waited_for_and_got(connected: World):
    call = connected.adapter.call
    submitted = call("submit", model="sdk/words", inputs={"n": 3}, options={}).result()
    waited = call("wait", id=submitted["id"], timeout_s=30).result()
    assert waited["status"] == "completed"
    assert call("get", id=submitted["id"]).result() == waited | {}
    assert waited["outputs"] == connected.direct.result(submitted["id"])["outputs"]


def test_wait_is_told_as_soon_as_it_ends(connected: World):
    running()(connected)
    waiting = connected.adapter.call("wait", id=connected.id, timeout_s=None)
    wait_until(lambda: len(connected.proxy.requests) > 0, "it waits", 30)
    assert waiting.poll(0.2) is None
    connected.gate.open()
    assert waiting.result()["status"] == "completed"
    assert len(connected.proxy.requests) < 20, "without asking again and again"


def test_wait_gives_up_when_it_should(connected: World):
    running()(connected)
    error = connected.adapter.call("wait", id=connected.id, timeout_s=0.3).error()
    assert error["message"]
    assert connected.direct.result(connected.id)["status"] == "processing", "and leaves the run alone"


def test_a_prediction_can_be_deleted(connected: World):
    finished(n=1)(connected)
    connected.adapter.call("delete", id=connected.id).result()
    assert connected.adapter.call("get", id=connected.id).error()["class"] == "NotFound"


def test_predictions_are_listed_all_of_them(connected: World):
    for _ in range(3):
        finished(n=1)(connected)
    listed = connected.adapter.call("list", options={"model": "sdk/words", "status": "completed"}).result()
    assert connected.id in [one["id"] for one in listed]
    assert {one["status"] for one in listed} == {"completed"}


def test_models_and_their_pages(connected: World):
    call = connected.adapter.call
    assert set(call("models").result()) == {"sdk/words", "sdk/fails", "sdk/still", "sdk/json"}
    assert call("model", id="sdk/words").result()["id"] == "sdk/words"
    assert "Says so many words" in call("readme", id="sdk/words").result()


def test_a_file_is_uploaded_as_it_is(connected: World):
    data = "一 file of 🇯🇵\r\n".encode() + bytes(range(256))
    url = connected.adapter.call("upload", name="一.bin", base64=base64.b64encode(data).decode()).result()
    path = url[url.index("/files/") :]
    assert httpx.get(connected.server.url + path).content == data


def test_two_followers_of_one_client_do_not_disturb_each_other(connected: World):
    running(n=4, held_from=1)(connected)
    connected.proxy.play([CutAfterEvents(count=2), CutAfterEvents(count=3)])
    calls = [connected.adapter.call("follow", id=connected.id, after=None) for _ in range(2)]
    connected.gate.open()
    for call in calls:
        seen = connected.watch(call)
        assert seen.cursors() == ["0-1", "1-1", "1-2", "1-3", "1-4", "1-5", "1-6"]


def test_a_client_goes_on_where_another_left(connected: World):
    call = connected.adapter.call
    first = connected.watch(call("stream", model="sdk/words", inputs={"n": 4}, take=3))
    end = first.last["end"]
    assert (first.cursors(), end["cursor"]) == (["0-1", "1-1", "1-2"], "1-2")
    rest = connected.watch(call("follow", id=end["id"], after=end["cursor"]))
    assert rest.cursors() == ["1-3", "1-4", "1-5", "1-6"]


def test_a_reader_that_leaves_cancels_if_it_said_so(connected: World):
    """So the connection is really closed, and not kept by something that goes on reading it."""
    inputs = {"n": 4, "gate": str(connected.gate), "held_from": 1}
    call = connected.adapter.call
    connected.watch(call("stream", model="sdk/words", inputs=inputs, options={"on_disconnect": "cancel"}, take=3))
    id = connected.seen.last["end"]["id"]
    direct = connected.direct
    wait_until(lambda: direct.result(id)["status"] == "cancelled", "its last viewer's leaving was noticed", 30)


def test_a_real_webhook_is_verified(connected: World, receiver: Receiver):
    call = connected.adapter.call
    options = {"webhook_url": receiver.url()}
    submitted = call("submit", model="sdk/words", inputs={"n": 2}, options=options).result()
    mine = lambda: [one for one in receiver.received if one.headers["webhook-id"] == submitted["id"]]  # noqa: E731
    wait_until(lambda: bool(mine()), "the webhook came", 30)
    hook = mine()[0]
    secret = connected.direct.http.get("webhook/secret").json()["data"]["secret"]
    body, headers = hook.body.decode(), dict(hook.headers)
    good = {"body": body, "headers": headers, "secret": secret}
    verified = call("verify_webhook", **good).result()
    assert (verified["id"], verified["status"]) == (submitted["id"], "completed")
    for wrong in (
        {"body": body.replace("completed", "complEted")},
        {"secret": "whsec_something-else"},
        {"headers": {**headers, "webhook-timestamp": str(int(headers["webhook-timestamp"]) - 1)}},
        {"headers": {**headers, "webhook-id": "0" * 32}},
        {"headers": {**headers, "webhook-signature": "v3,00"}},
        {"headers": {name: value for name, value in headers.items() if name != "webhook-signature"}},
        {"headers": {**headers, "webhook-timestamp": "soon"}},
        {"headers": {}},
    ):
        assert call("verify_webhook", **{**good, **wrong}).error()["message"], wrong


@pytest.mark.parametrize("off_s", [-600, 600])
def test_a_webhook_of_another_time_is_refused(connected: World, off_s: int):
    body = json.dumps({"id": "a" * 32, "status": "completed", "outputs": ["世界"]}, ensure_ascii=False)
    at = int(time.time()) + off_s
    headers = {
        "webhook-id": "a" * 32,
        "webhook-timestamp": str(at),
        "webhook-signature": sign("whsec_世", "a" * 32, at, body.encode()),
    }
    hook = {"body": body, "headers": headers, "secret": "whsec_世"}
    assert connected.adapter.call("verify_webhook", **hook).error()["message"]
    assert connected.adapter.call("verify_webhook", **hook, tolerance_s=3600).result()["outputs"] == ["世界"]
