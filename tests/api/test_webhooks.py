"""Webhooks as their receivers see them: a real server, real receivers, and what the API tells of each try."""

from __future__ import annotations

import hashlib
import hmac
import subprocess
import time
from collections.abc import Callable, Iterator
from email.utils import formatdate
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from conftest import MODELS, MakeServer
from support.client import Client, data_of, error_of
from support.gate import Gate
from support.receiver import Received, Receiver, Told, free_port
from support.server import Server
from support.services import program
from support.waiting import wait_until

OPEN = {"UNSPOOL_WEBHOOK_ALLOW_HTTP": "1", "UNSPOOL_WEBHOOK_ALLOW_HOSTS": "127.0.0.1,localhost"}
QUICK = {**OPEN, "UNSPOOL_WEBHOOK_RETRY_DELAYS_S": "0.05,0.05,0.05", "UNSPOOL_WEBHOOK_MAX_RETRY_AFTER_S": "0.5"}


@pytest.fixture(scope="module")
def hooked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that sends to this machine and does not wait long between tries."""
    server = Server(MODELS / "hooks.py", tmp_path_factory.mktemp("hooked"), QUICK)
    try:
        yield server.start().wait_until_ready()
    finally:
        server.close()


@pytest.fixture
def client(hooked: Server) -> Client:
    return hooked.client()


@pytest.fixture
def make_receiver() -> Iterator[Callable[..., Receiver]]:
    made: list[Receiver] = []

    def make(port: int = 0) -> Receiver:
        made.append(Receiver(port))
        return made[-1]

    yield make
    for receiver in made:
        receiver.close()


@pytest.fixture
def receiver(make_receiver: Callable[..., Receiver]) -> Receiver:
    return make_receiver()


def secret(client: Client) -> str:
    return str(data_of(client.http.get("webhook/secret"))["secret"])


def deliveries(client: Client, id: str) -> dict[str, Any]:
    return data_of(client.http.get(f"predictions/{id}/deliveries"))


def settled(client: Client, id: str) -> dict[str, Any]:
    """The deliveries of a prediction once there is nothing more to come."""
    wait_until(lambda: deliveries(client, id)["status"] in ("delivered", "failed"), "the delivery was settled")
    return deliveries(client, id)


def statuses(shown: dict[str, Any]) -> list[int | None]:
    return [attempt["status"] for attempt in shown["attempts"]]


def signed_with(key: str, one: Received) -> bool:
    """Whether the signature is right, by OpenSSL's own HMAC."""
    said = f"{one.headers['webhook-id']}.{one.headers['webhook-timestamp']}.".encode() + one.body
    done = subprocess.run(
        [program("openssl", "Install OpenSSL."), "dgst", "-sha256", "-hmac", key.removeprefix("whsec_"), "-r"],
        input=said,
        capture_output=True,
        check=True,
        timeout=30,
    )
    return one.headers["webhook-signature"] == "v3," + done.stdout.decode().split()[0]


# What arrives


def test_the_prediction_arrives_as_polling_shows_it_with_its_input(client: Client, receiver: Receiver):
    id = client.submit("echo", prompt="hällo", webhook_url=receiver.url())["id"]
    (one,) = receiver.wait()
    assert one.json == client.result(id) | {"input": {"prompt": "hällo"}}
    assert one.json["outputs"] == ["hällo"]
    assert one.headers["content-type"] == "application/json"
    assert one.headers["webhook-id"] == id
    assert abs(time.time() - int(one.headers["webhook-timestamp"])) < 300
    assert signed_with(secret(client), one)


def test_its_urls_lead_back_to_the_server_that_was_asked(client: Client, receiver: Receiver):
    client.submit("echo", webhook_url=receiver.url())
    (one,) = receiver.wait()
    polled = client.http.get(one.json["urls"]["get"])
    assert data_of(polled)["outputs"] == ["x"]


def test_a_failure_is_sent_too(client: Client, receiver: Receiver):
    id = client.submit("echo", fail=True, webhook_url=receiver.url())["id"]
    (one,) = receiver.wait()
    assert (one.json["status"], one.json["error"]) == ("failed", "The picture could not be made.")
    assert one.json == client.result(id) | {"input": {"fail": True}}


def test_a_cancellation_is_sent_too(client: Client, receiver: Receiver, gate: Gate):
    id = client.submit("echo", gate=str(gate), webhook_url=receiver.url())["id"]
    gate.visitor()
    assert deliveries(client, id)["status"] == "waiting"
    client.cancel(id)
    (one,) = receiver.wait()
    assert (one.json["id"], one.json["status"]) == (id, "cancelled")


def test_a_time_out_is_sent_too(client: Client, receiver: Receiver, gate: Gate):
    body = {"gate": str(gate), "webhook_url": receiver.url()}
    id = data_of(client.http.post("echo", json=body, params={"run_timeout": "0.2"}))["id"]
    (one,) = receiver.wait()
    assert (one.json["id"], one.json["status"]) == (id, "timeout")


def test_a_stream_and_a_webhook_tell_the_same(client: Client, receiver: Receiver):
    with client.run("echo", prompt="both", webhook_url=receiver.url()) as stream:
        events = list(stream)
    (one,) = receiver.wait()
    assert one.json["outputs"] == events[-1].data["outputs"] == ["both"]


@pytest.mark.parametrize(
    ("query", "target", "path"),
    [
        ("?webhook={encoded}", "/hook?a=b&c=d", "/hook?a=b&c=d"),
        ("?webhook={plain}", "/hook?a=b&c=d", "/hook?a=b&c=d"),
        ("?on_disconnect=continue&webhook={plain}", "/hook?a=b&c=d", "/hook?a=b&c=d"),
        ("?webhook={encoded}&on_disconnect=continue", "/hook?a=b", "/hook?a=b"),
        ("?webhook={plain}&on_disconnect=continue", "/hook", "/hook"),
        ("?webhook={plain}&run_timeout=never", "/hook?a=b", "/hook?a=b&run_timeout=never"),
    ],
)
def test_the_query_names_it_encoded_or_as_it_is(client: Client, receiver: Receiver, query: str, target: str, path: str):
    """The old client appends the URL unencoded: then the parameters of the URL are not ours."""
    url = receiver.url(target)
    asked = f"{client.http.base_url}echo" + query.format(plain=url, encoded=quote(url, safe=""))
    answer = client.http.send(httpx.Request("POST", asked, headers=client.http.headers))
    assert receiver.wait(path)[0].json["id"] == data_of(answer)["id"]


@pytest.mark.parametrize("query", ["?webhook={}&on_disconnect=never", "?on_disconnect=never&webhook={}?a=b"])
def test_options_beside_an_unencoded_webhook_still_count(client: Client, receiver: Receiver, query: str):
    asked = f"{client.http.base_url}echo" + query.format(receiver.url())
    error_of(client.http.send(httpx.Request("POST", asked, headers=client.http.headers)), 400, "bad_query")


# Tries


def test_it_is_tried_again_until_it_works(client: Client, receiver: Receiver):
    receiver.tell("/hook", Told(503, body=b"not yet"), Told(408), Told(500))
    id = client.submit("echo", webhook_url=receiver.url())["id"]
    shown = settled(client, id)
    assert (shown["status"], statuses(shown)) == ("delivered", [503, 408, 500, 200])
    assert (shown["webhook_url"], shown["next_try_at"]) == (receiver.url(), None)
    first, *_, last = shown["attempts"]
    assert (first["answer"], first["error"]) == ("not yet", "It answered 503.")
    assert first["next_try_at"] > first["at"]
    assert first["duration_ms"] > 0
    assert (last["attempt"], last["error"], last["next_try_at"]) == (4, "", None)
    tries = receiver.wait(count=4)
    assert {one.headers["webhook-id"] for one in tries} == {id}
    assert all(signed_with(secret(client), one) for one in tries)
    assert len({one.body for one in tries}) == 1


def test_it_is_given_up_after_the_last_try(client: Client, receiver: Receiver):
    receiver.choose(lambda one: Told(500))
    shown = settled(client, client.submit("echo", webhook_url=receiver.url())["id"])
    assert (shown["status"], statuses(shown)) == ("failed", [500] * 4)


@pytest.mark.parametrize("status", [400, 401, 404, 410, 422])
def test_an_answer_that_will_not_change_ends_it(client: Client, receiver: Receiver, status: int):
    receiver.choose(lambda one: Told(status, body=b"go away"))
    shown = settled(client, client.submit("echo", webhook_url=receiver.url())["id"])
    assert (shown["status"], statuses(shown)) == ("failed", [status])
    assert shown["attempts"][0]["answer"] == "go away"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed_and_is_shown(client: Client, receiver: Receiver, status: int):
    receiver.tell("/hook", Told(status, {"Location": receiver.url("/elsewhere")}))
    shown = settled(client, client.submit("echo", webhook_url=receiver.url())["id"])
    assert (shown["status"], statuses(shown)) == ("failed", [status])
    assert shown["attempts"][0]["error"] == f"It redirects to {receiver.url('/elsewhere')}, and is not followed."
    assert receiver.at("/elsewhere") == []


def test_retry_after_is_honoured(client: Client, receiver: Receiver):
    """Up to the half second that this server allows."""
    receiver.tell("/hook", Told(429, {"Retry-After": "3000"}), Told(429, {"Retry-After": formatdate(time.time() + 60)}))
    shown = settled(client, client.submit("echo", webhook_url=receiver.url())["id"])
    assert statuses(shown) == [429, 429, 200]
    for attempt in shown["attempts"][:2]:
        assert _seconds(attempt["next_try_at"]) - _seconds(attempt["at"]) >= 0.5


def _seconds(time_: str) -> float:
    minute, _, seconds = time_.removesuffix("Z").rpartition(":")
    return 60 * int(minute[-2:]) + float(seconds)


def test_an_unusable_retry_after_changes_nothing(client: Client, receiver: Receiver):
    receiver.tell("/hook", Told(429, {"Retry-After": "soon"}), Told(429, {"Retry-After": "-5"}))
    assert statuses(settled(client, client.submit("echo", webhook_url=receiver.url())["id"])) == [429, 429, 200]


def test_of_a_long_answer_the_first_kibibyte_is_kept(client: Client, receiver: Receiver):
    receiver.tell("/hook", Told(200, body=b"a" * 1_000_000))
    shown = settled(client, client.submit("echo", webhook_url=receiver.url())["id"])
    assert shown["attempts"][0]["answer"] == "a" * 1024


def test_a_receiver_that_is_away_is_tried_again(client: Client, make_receiver: Callable[..., Receiver]):
    shown = settled(client, client.submit("echo", webhook_url=f"http://127.0.0.1:{free_port()}/hook")["id"])
    assert (shown["status"], statuses(shown)) == ("failed", [None] * 4)
    assert shown["attempts"][0]["error"].startswith("The request failed: ")


def test_a_slow_receiver_is_cut_and_tried_again(make_server: MakeServer, receiver: Receiver):
    client = make_server("hooks.py", **{**QUICK, "UNSPOOL_WEBHOOK_TIMEOUT_S": "0.5"}).client()
    receiver.tell("/hook", Told(hold=True))
    shown = settled(client, client.submit("echo", webhook_url=receiver.url())["id"])
    assert shown["status"] == "delivered"
    assert shown["attempts"][0]["status"] is None
    assert shown["attempts"][0]["error"] == "There was no answer within 0.5 s."
    assert shown["attempts"][0]["duration_ms"] >= 500


def test_a_target_that_answers_nothing_delays_nobody_else(make_server: MakeServer, make_receiver: Any):
    """Its tries would take a minute each, so whoever waits behind one of them comes too late for this test."""
    places = {"UNSPOOL_WEBHOOK_CONCURRENCY": "8", "UNSPOOL_WEBHOOK_CONCURRENCY_PER_HOST": "4"}
    client = make_server("hooks.py", **{**OPEN, **places, "UNSPOOL_WEBHOOK_TIMEOUT_S": "60"}).client()
    dead, alive = make_receiver(), make_receiver()
    dead.choose(lambda one: Told(hold=True))
    for _ in range(100):
        client.submit("echo", webhook_url=dead.url())
    dead.wait(count=4)
    ids = [client.submit("echo", webhook_url=alive.url())["id"] for _ in range(20)]
    assert {one.json["id"] for one in alive.wait(count=20)} == set(ids)
    assert len(dead.at("/hook")) == 4


# Sending again


def test_it_can_be_sent_again(client: Client, receiver: Receiver):
    receiver.tell("/hook", Told(410))
    id = client.submit("echo", webhook_url=receiver.url())["id"]
    assert settled(client, id)["status"] == "failed"
    shown = data_of(client.http.post(f"predictions/{id}/deliveries"))
    assert (shown["status"], statuses(shown)) == ("pending", [410])
    first, second = receiver.wait(count=2)
    shown = settled(client, id)
    assert (shown["status"], statuses(shown)) == ("delivered", [410, 200])
    assert (first.headers["webhook-id"], first.body) == (second.headers["webhook-id"], second.body)


def test_what_has_no_webhook_cannot_be_sent_again(client: Client):
    id = client.submit("echo")["id"]
    client.finished(id)
    assert deliveries(client, id) == {
        "id": id, "webhook_url": "", "status": "none", "next_try_at": None, "attempts": []
    }  # fmt: skip
    body = error_of(client.http.post(f"predictions/{id}/deliveries"), 409, "conflict")
    assert body["message"] == "This prediction has no webhook. Name one in webhook_url when you submit."


def test_what_has_not_ended_cannot_be_sent_again(client: Client, receiver: Receiver, gate: Gate):
    id = client.submit("echo", gate=str(gate), webhook_url=receiver.url())["id"]
    body = error_of(client.http.post(f"predictions/{id}/deliveries"), 409, "conflict")
    assert body["message"].startswith("This prediction has not ended.")
    assert deliveries(client, id)["attempts"] == []


def test_deliveries_of_what_is_not_there_are_not_there(client: Client):
    error_of(client.http.get("predictions/nothing/deliveries"), 404, "not_found")
    error_of(client.http.post("predictions/nothing/deliveries"), 404, "not_found")


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_deliveries_need_the_key(client: Client, receiver: Receiver, method: str):
    id = client.submit("echo", webhook_url=receiver.url())["id"]
    answer = client.http.request(method, f"predictions/{id}/deliveries", headers={"Authorization": "Bearer wrong-key"})
    error_of(answer, 401, "unauthenticated")


# Restarts


def test_it_arrives_though_the_server_was_killed_meanwhile(make_server: MakeServer, make_receiver: Any):
    port = free_port()
    server = make_server("hooks.py", **{**OPEN, "UNSPOOL_WEBHOOK_RETRY_DELAYS_S": ",".join(["0.1"] * 300)})
    client = server.client()
    id = client.submit("echo", prompt="late", webhook_url=f"http://127.0.0.1:{port}/hook")["id"]
    wait_until(lambda: len(deliveries(client, id)["attempts"]) >= 2, "it was tried twice in vain")
    server.kill()
    receiver = make_receiver(port)
    client = server.restart().client()
    (one, *_) = receiver.wait()
    assert (one.json["id"], one.json["outputs"]) == (id, ["late"])
    shown = settled(client, id)
    assert shown["status"] == "delivered"
    assert statuses(shown)[:2] == [None, None]
    assert statuses(shown)[-1] == 200


def test_one_that_was_being_sent_when_the_server_was_killed_is_sent_again(make_server: MakeServer, receiver: Receiver):
    server = make_server("hooks.py", **OPEN)
    receiver.tell("/hook", Told(hold=True))
    id = server.client().submit("echo", webhook_url=receiver.url())["id"]
    receiver.wait()
    server.kill()
    client = server.restart().client()
    first, second = receiver.wait(count=2)
    assert first.headers["webhook-id"] == second.headers["webhook-id"] == id
    assert signed_with(secret(client), second)
    assert statuses(settled(client, id)) == [200]


def test_a_clean_stop_lets_a_webhook_finish(make_server: MakeServer, receiver: Receiver):
    server = make_server("hooks.py", **OPEN)
    receiver.tell("/hook", Told(hold=True))
    id = server.client().submit("echo", webhook_url=receiver.url())["id"]
    receiver.wait()
    server.interrupt()
    receiver.release()
    assert server.wait() == 0
    assert statuses(settled(server.start().client(), id)) == [200]
    assert len(receiver.at("/hook")) == 1


# The secret


def test_the_secret_stays_the_same(make_server: MakeServer):
    server = make_server("hooks.py")
    first = data_of(server.client().http.get("webhook/secret"))
    assert first["secret"].startswith("whsec_")
    assert first["previous_valid_until"] is None
    assert data_of(server.restart().client().http.get("webhook/secret")) == first


def test_the_secret_needs_the_key(client: Client):
    for method, path in [("GET", "webhook/secret"), ("POST", "webhook/secret/rotate")]:
        answer = client.http.request(method, path, headers={"Authorization": "Bearer wrong-key"})
        error_of(answer, 401, "unauthenticated")


def verifies(key: str, one: Received) -> bool:
    """As a receiver does that knows one secret and the one published form of the header."""
    version, _, signature = one.headers["webhook-signature"].partition(",")
    said = f"{one.headers['webhook-id']}.{one.headers['webhook-timestamp']}.".encode() + one.body
    expected = hmac.new(key.removeprefix("whsec_").encode(), said, hashlib.sha256).hexdigest()
    return version == "v3" and hmac.compare_digest(signature, expected)


@pytest.mark.parametrize("which", ["old", "new"])
def test_after_a_rotation_a_receiver_with_either_secret_is_served(make_server: MakeServer, receiver: Any, which: str):
    client = make_server("hooks.py", **QUICK).client()
    old = secret(client)
    rotated = data_of(client.http.post("webhook/secret/rotate"))
    assert rotated["previous_valid_until"] is not None
    assert secret(client) == rotated["secret"] != old
    known = {"old": old, "new": rotated["secret"]}[which]
    receiver.choose(lambda one: Told(204 if verifies(known, one) else 401))
    shown = settled(client, client.submit("echo", webhook_url=receiver.url())["id"])
    assert (shown["status"], statuses(shown)) == ("delivered", {"old": [401, 204], "new": [204]}[which])


def test_without_an_overlap_the_old_secret_is_of_no_use(make_server: MakeServer, receiver: Receiver):
    client = make_server("hooks.py", **QUICK, UNSPOOL_WEBHOOK_OVERLAP_S="0").client()
    old = secret(client)
    assert data_of(client.http.post("webhook/secret/rotate"))["previous_valid_until"] is None
    receiver.choose(lambda one: Told(204 if verifies(old, one) else 401))
    assert statuses(settled(client, client.submit("echo", webhook_url=receiver.url())["id"])) == [401]


# What is refused


REFUSED = {
    "http://example.com/hook": "plain http",
    "https://127.0.0.1/hook": "127.0.0.1 is not on the public internet",
    "https://localhost/hook": "localhost is not on the public internet",
    "https://[::1]/hook": "::1 is not on the public internet",
    "https://[::ffff:10.0.0.1]/hook": "not on the public internet",
    "https://169.254.169.254/latest/meta-data": "not on the public internet",
    "https://2130706433/hook": "not on the public internet",
    "https://user:word@example.com/hook": "must not hold a user name or password",
    "ftp://example.com/hook": "must begin with https",
    "example.com/hook": "must begin with https",
    "https:///hook": "must name a host",
    "https://[::1/hook": "not a URL",
    "https://example.com/" + "a" * 4_000: "Send a shorter one",
}


@pytest.mark.parametrize("url", REFUSED, ids=lambda url: url[:40])
@pytest.mark.parametrize("how", ["body", "query"])
def test_a_webhook_to_where_this_server_does_not_send_is_refused(server: Server, url: str, how: str):
    http = server.client().http
    if how == "body":
        answer = http.post("test/echo", json={"prompt": "x", "webhook_url": url})
    else:
        answer = http.post("test/echo", json={"prompt": "x"}, params={"webhook": url})
    assert REFUSED[url] in error_of(answer, 400, "webhook_refused")["message"]


def test_two_webhooks_are_refused(client: Client, receiver: Receiver):
    params = {"webhook": receiver.url("/other")}
    answer = client.http.post("echo", json={"webhook_url": receiver.url()}, params=params)
    assert "Send one of them" in error_of(answer, 400, "webhook_refused")["message"]


def test_the_same_webhook_twice_is_one(client: Client, receiver: Receiver):
    id = data_of(client.http.post("echo", json={"webhook_url": receiver.url()}, params={"webhook": receiver.url()}))[
        "id"
    ]
    assert statuses(settled(client, id)) == [200]


def test_a_name_that_is_not_found_now_is_accepted_and_its_tries_tell(client: Client):
    id = client.submit("echo", webhook_url="http://nowhere.invalid/hook")["id"]
    shown = settled(client, id)
    assert (shown["status"], statuses(shown)) == ("failed", [None] * 4)
    assert "nowhere.invalid was not found" in shown["attempts"][0]["error"]


def test_a_name_that_stops_being_allowed_is_not_sent_to(make_server: MakeServer, receiver: Receiver):
    """What was accepted is checked again when it is sent."""
    server = make_server("hooks.py", **{**OPEN, "UNSPOOL_WEBHOOK_RETRY_DELAYS_S": "600"})
    receiver.tell("/hook", Told(500))
    id = server.client().submit("echo", webhook_url=receiver.url())["id"]
    wait_until(lambda: statuses(deliveries(server.client(), id)) == [500], "it was tried once")
    server.kill()
    server._environment["UNSPOOL_WEBHOOK_ALLOW_HOSTS"] = ""
    client = server.start().client()
    client.http.post(f"predictions/{id}/deliveries")
    shown = settled(client, id)
    assert (shown["status"], statuses(shown)) == ("failed", [500, None])
    assert "127.0.0.1 is not on the public internet" in shown["attempts"][1]["error"]
    assert len(receiver.at("/hook")) == 1


def test_a_key_with_another_webhook_is_another_request(client: Client, receiver: Receiver):
    headers = {"Idempotency-Key": f"hook-{time.time_ns()}"}
    first = data_of(client.http.post("echo", json={"webhook_url": receiver.url()}, headers=headers))
    again = data_of(client.http.post("echo", json={"webhook_url": receiver.url()}, headers=headers))
    assert again["id"] == first["id"]
    other = client.http.post("echo", json={"webhook_url": receiver.url("/other")}, headers=headers)
    error_of(other, 409, "idempotency_mismatch")
    assert statuses(settled(client, first["id"])) == [200]
