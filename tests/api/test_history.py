"""Lists, deleting and retention: what is listed is there, and what was deleted is nowhere (`docs/wire.md`)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from conftest import MODELS, MakeServer
from support.client import Client, data_of, error_of
from support.gate import Gate
from support.raw import Raw
from support.server import Server
from support.waiting import wait_until


@pytest.fixture(scope="module")
def shop_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(MODELS / "shop.py", tmp_path_factory.mktemp("shop"))
    try:
        yield server.start().wait_until_ready()
    finally:
        server.close()


@pytest.fixture
def shop(shop_server: Server) -> Client:
    return shop_server.client()


def listed(client: Client, **wanted: Any) -> dict[str, Any]:
    return data_of(client.http.post("predictions", json=wanted))


def ids(page: dict[str, Any]) -> list[str]:
    return [item["id"] for item in page["items"]]


def done(client: Client, model: str = "shop/paid", **inputs: Any) -> str:
    inputs = inputs or ({"prompt": "x"} if model == "shop/paid" else {})
    return client.finished(client.submit(model, **inputs)["id"])["id"]


# Lists


def test_a_list_has_what_polling_shows_the_newest_first(shop: Client) -> None:
    made = [done(shop, prompt=f"number {number}") for number in range(3)]
    page = listed(shop, page=1, page_size=3)
    assert ids(page) == made[::-1]
    for item in page["items"]:
        assert item == shop.result(item["id"])
    assert (page["page"], page["page_size"]) == (1, 3)
    assert page["total"] >= 3


def test_inputs_are_listed_when_they_are_asked_for(shop: Client) -> None:
    done(shop, prompt="look at me")
    (item,) = listed(shop, page_size=1, include_inputs=True)["items"]
    assert item["input"] == item["inputs"] == {"prompt": "look at me"}
    assert "input" not in listed(shop, page_size=1)["items"][0]


def test_what_still_runs_is_listed_as_it_stands(shop: Client, gate: Gate) -> None:
    id = shop.submit("shop/free", gate=str(gate))["id"]
    assert gate.visitor() == id
    assert id in ids(listed(shop, status="processing"))
    assert listed(shop, page_size=1)["items"][0]["status"] == "processing"
    gate.open()
    shop.finished(id)
    assert id not in ids(listed(shop, status="processing"))
    assert id in ids(listed(shop, status="completed", model="shop/free"))


def test_pages_go_on_where_the_last_one_ended(shop: Client) -> None:
    for _ in range(3):
        done(shop)
    whole = listed(shop, model="shop/paid")
    assert whole["has_more"] is False
    pages = [listed(shop, model="shop/paid", page=n, page_size=2) for n in range(1, whole["total"] // 2 + 2)]
    assert [id for page in pages for id in ids(page)] == ids(whole)
    assert [page["has_more"] for page in pages] == [page["page"] * 2 < whole["total"] for page in pages]


def test_a_list_may_be_asked_for_by_query(shop: Client) -> None:
    id = done(shop)
    for path in (f"{shop.http.base_url}", f"{shop.http.base_url}".replace("/v3", "/v2")):
        page = data_of(shop.http.get(f"{path}predictions?page_size=1&model=shop/paid&include_inputs=true"))
        assert ids(page) == [id]
        assert page["items"][0]["inputs"] == {"prompt": "x"}
    assert ids(data_of(shop.http.post("predictions?page_size=1", json={}))) == [id]


def test_times_limit_a_list_in_every_spelling(shop: Client) -> None:
    first, second = done(shop), done(shop)
    at = shop.result(second)["created_at"]
    assert ids(listed(shop, created_after=at)) == [second]
    assert first in ids(listed(shop, created_before=at))
    assert second not in ids(listed(shop, created_before=at))
    assert listed(shop, created_before="2001-01-01")["items"] == []
    assert listed(shop, created_before="1000000000000")["items"] == []
    assert ids(listed(shop, created_after="2001-01-01T00:00:00+02:00", page_size=1)) == [second]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"page": 0}, "page"),
        ({"page": "one"}, "page"),
        ({"page": 10**30}, "page"),
        ({"page_size": 101}, "page_size"),
        ({"page_size": 1.5}, "page_size"),
        ({"status": "deleted"}, "status"),
        ({"model": 5}, "model"),
        ({"created_after": "yesterday"}, "created_after"),
        ({"created_before": "9" * 400 + "Z"}, "created_before"),
        ({"include_inputs": "yes"}, "include_inputs"),
    ],
)
def test_a_wrong_filter_is_named(shop: Client, body: dict[str, Any], field: str) -> None:
    answer = error_of(shop.http.post("predictions", json=body), 400, "invalid_input")
    assert [error["field"] for error in answer["errors"]] == [field]
    assert field in answer["message"]


def test_a_wrong_filter_in_the_query_is_named(shop: Client) -> None:
    answer = error_of(shop.http.get("predictions?page=x&page_size=1000"), 400, "bad_query")
    assert {error["field"] for error in answer["errors"]} == {"page", "page_size"}


def test_fields_that_are_unknown_or_null_do_not_matter(shop: Client) -> None:
    assert listed(shop, page_size=1, model=None, status=None, mystery=True)["page_size"] == 1


# Deleting


def everywhere(client: Client, id: str) -> list[httpx.Response]:
    return [
        client.http.get(f"predictions/{id}"),
        client.http.get(f"predictions/{id}/result"),
        client.http.get(f"predictions/{id}/stream"),
        client.http.get(f"predictions/{id}/events"),
        client.http.post(f"predictions/{id}/cancel"),
        client.http.delete(f"predictions/{id}"),
        client.http.get(str(client.http.base_url).replace("/v3", "/v2") + f"predictions/{id}/result"),
    ]


def test_what_was_deleted_answers_404_everywhere(shop: Client) -> None:
    id = done(shop)
    stream_url = shop.result(id)["urls"]["stream"]
    assert data_of(shop.http.delete(f"predictions/{id}")) == {"id": id, "status": "deleted"}
    for answer in [*everywhere(shop, id), httpx.get(stream_url)]:
        error_of(answer, 404, "not_found")
    assert id not in ids(listed(shop))


def test_a_list_of_ids_is_deleted_and_unknown_ones_do_not_matter(shop: Client) -> None:
    made = [done(shop) for _ in range(3)]
    body = {"ids": [*made, made[0], "no-such-id", ""]}
    assert data_of(shop.http.post("predictions/delete", json=body)) == {"deleted_count": 3}
    assert data_of(shop.http.post("predictions/delete", json=body)) == {"deleted_count": 0}
    for id in made:
        error_of(shop.http.get(f"predictions/{id}"), 404, "not_found")


@pytest.mark.parametrize("body", [{}, {"ids": "x"}, {"ids": [1]}, {"ids": ["x"] * 1_001}])
def test_wrong_ids_are_refused(shop: Client, body: dict[str, Any]) -> None:
    error_of(shop.http.post("predictions/delete", json=body), 400, "invalid_input")


def test_one_that_waits_or_runs_is_cancelled_and_then_deleted(shop: Client, gate: Gate) -> None:
    running = shop.submit("shop/free", gate=str(gate))["id"]
    assert gate.visitor() == running
    with shop.stream(running) as stream:
        stream.until("progress")
        assert data_of(shop.http.delete(f"predictions/{running}"))["status"] == "deleted"
        rest = list(stream)
    assert not stream.done or rest[-1].data["status"] == "cancelled", "its viewer learned of the end, or was cut"
    error_of(shop.http.get(f"predictions/{running}"), 404, "not_found")


def test_one_that_does_not_stop_in_time_is_a_conflict_and_can_be_deleted_later(make_server: MakeServer) -> None:
    server = make_server("shop.py", UNSPOOL_DELETE_WAIT_S="0", UNSPOOL_CANCEL_GRACE_S="0.3", UNSPOOL_KILL_GRACE_S="0.2")
    client = server.client()
    with client.run("shop/stubborn") as stream:
        stream.until("output")
        id = stream.id
        answer = client.http.delete(f"predictions/{id}")
        error_of(answer, 409, "conflict")
        assert answer.headers["retry-after"] == "1"
        assert data_of(client.http.post("predictions/delete", json={"ids": [id]})) == {"deleted_count": 0}
        assert [event.data["status"] for event in stream if event.type == "error"] == ["cancelled"]
    assert data_of(client.http.delete(f"predictions/{id}"))["status"] == "deleted"


def test_a_viewer_in_the_middle_of_a_long_log_is_cut_when_it_is_deleted(server: Server) -> None:
    """It reads so slowly that most of the log is still to be sent to it."""
    client = server.client()
    id = client.finished(client.submit("test/count", n=300_000)["id"])["id"]
    authorization = {"Authorization": f"Bearer {server.key}"}
    with Raw(server.url, receive_buffer=4_096) as raw:
        raw.request("GET", f"/api/v3/predictions/{id}/stream", authorization).begin()
        assert data_of(client.http.delete(f"predictions/{id}"))["status"] == "deleted"
        log = b"".join(raw.chunks())
    assert b'"type":"complete"' not in log
    assert log.endswith(b"}\n\n"), "between two events"


def test_what_was_deleted_stays_so_after_kill_9(make_server: MakeServer) -> None:
    server = make_server("few.py")
    client = server.client()
    kept, gone = (client.finished(client.submit("test/echo", prompt="x")["id"])["id"] for _ in range(2))
    client.http.delete(f"predictions/{gone}")
    client = server.restart().client()
    assert ids(listed(client)) == [kept]
    error_of(client.http.get(f"predictions/{gone}"), 404, "not_found")


# Retention


def test_finished_predictions_are_deleted_when_their_time_has_come(make_server: MakeServer, gate: Gate) -> None:
    server = make_server("shop.py", UNSPOOL_RETENTION_DAYS=str(1 / 86_400), UNSPOOL_RETENTION_INTERVAL_S="0.1")
    client = server.client()
    running = client.submit("shop/free", gate=str(gate))["id"]
    id = done(client)
    wait_until(lambda: client.http.get(f"predictions/{id}").status_code == 404, "it was deleted")
    assert ids(listed(client)) == [running], "what runs is kept, however long it takes"
    used = data_of(client.http.post("user/usage_stats", json={}))
    assert used["summary"] == {"total_cost": 0.25, "total_requests": 2, "success_requests": 1}
    gate.open()


def test_with_retention_0_everything_is_kept(make_server: MakeServer, tmp_path: Path) -> None:
    server = make_server("few.py", UNSPOOL_RETENTION_DAYS="0", UNSPOOL_RETENTION_INTERVAL_S="0.01")
    client = server.client()
    id = client.finished(client.submit("test/echo", prompt="x")["id"])["id"]
    assert client.events(id, after=client.log(id)[-2].cursor, wait=0)["done"]
    assert ids(listed(client)) == [id]
