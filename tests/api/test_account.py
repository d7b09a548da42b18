"""Models, prices and usage: every figure is one that can be counted (`docs/api.md`)."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from conftest import MODELS
from support.client import Client, data_of, error_of
from support.server import Server

DAY = "%Y-%m-%d"


@pytest.fixture
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """A client of a server on which nothing has happened yet."""
    server = Server(MODELS / "shop.py", tmp_path_factory.mktemp("shop"))
    try:
        yield server.start().wait_until_ready().client()
    finally:
        server.close()


def test_what_a_day_of_work_costs_is_told_alike_everywhere(shop: Client) -> None:
    """One server for all of it: prices, then what predictions have cost, then the same after a delete."""
    prices(shop)
    for path in ("balance", "account/balance"):
        assert data_of(shop.http.get(path)) == {"balance": 0, "currency": "USD"}
    assert usage(shop)["summary"] == {"total_cost": 0, "total_requests": 0, "success_requests": 0}
    assert billings(shop)["items"] == []
    paid = [shop.finished(shop.submit("shop/paid", prompt="x")["id"]) for _ in range(3)]
    shop.finished(shop.submit("shop/paid", prompt="x", fail=True)["id"])
    shop.finished(shop.submit("shop/free")["id"])
    counted(shop)
    billed(shop, paid)
    deleted = shop.http.post("predictions/delete", json={"ids": [one["id"] for one in paid]})
    assert data_of(deleted) == {"deleted_count": 3}
    counted(shop)
    assert billings(shop)["items"] == [], "single deductions are known as long as their predictions are"


def prices(shop: Client) -> None:
    for inputs in ({}, {"prompt": "x", "enable_sync_mode": True}):
        body = {"model_id": "shop/paid", "inputs": inputs}
        assert data_of(shop.http.post("model/price", json=body)) == {
            "model_id": "shop/paid",
            "price": 0.25,
            "discounted_price": 0.25,
            "currency": "USD",
        }
        assert data_of(shop.http.post("model/pricing", json=body)) == {
            "model_id": "shop/paid",
            "unit_price": 0.25,
            "currency": "USD",
        }
    wrong = {"model_id": "shop/paid", "inputs": {"promt": "x"}}
    answer = error_of(shop.http.post("model/price", json=wrong), 400, "invalid_input")
    assert {error["field"] for error in answer["errors"]} == {"prompt", "promt"}
    error_of(shop.http.post("model/price", json={"model_id": "no/such"}), 404, "unknown_model")
    error_of(shop.http.post("model/pricing", json={"inputs": {}}), 400, "invalid_input")


def usage(shop: Client, **asked: Any) -> dict[str, Any]:
    said = data_of(shop.http.post("user/usage_stats", json=asked))
    assert said == data_of(shop.http.get("account/usage", params=asked))
    return said


def billings(shop: Client, **asked: Any) -> dict[str, Any]:
    said = data_of(shop.http.post("billings/search", json=asked))
    assert said == data_of(shop.http.get("account/billings", params=asked))
    return said


def counted(shop: Client) -> None:
    now = datetime.now(UTC)
    said = usage(shop, start_time=(now - timedelta(days=1)).isoformat(), end_time=now.isoformat())
    free, paid = said["per_model_usage"]
    assert (free["model_uuid"], free["total_count"], free["total_cost"], free["unit_price"]) == ("shop/free", 1, 0, 0)
    assert (paid["model_uuid"], paid["total_count"], paid["total_cost"]) == ("shop/paid", 4, 0.75)
    assert (paid["unit_price"], paid["model_type"]) == (0.25, "text-to-image")
    assert paid["last_used_date"].startswith(now.strftime(DAY))
    (day,) = said["daily_usage"]
    assert (day["date"], day["amount"], day["count"]) == (now.strftime(DAY), 0.75, 5)
    assert {one["model_uuid"]: one["count"] for one in day["models"]} == {"shop/free": 1, "shop/paid": 4}
    assert said["summary"] == {"total_cost": 0.75, "total_requests": 5, "success_requests": 4}
    assert usage(shop, model_uuid="shop/free")["summary"]["total_requests"] == 1
    early = {"start_time": "2001-01-01", "end_time": "2001-01-31"}
    assert usage(shop, **early)["daily_usage"] == []
    assert usage(shop, end_time="9" * 60)["daily_usage"] == []


def billed(shop: Client, paid: list[dict[str, Any]]) -> None:
    page = billings(shop, page_size=2)
    assert (page["total"], page["has_more"], len(page["items"])) == (3, True, 2)
    item, last = page["items"][0], paid[-1]
    assert item["prediction"] == {"uuid": last["id"], "model_uuid": "shop/paid", "status": "completed"}
    assert (item["billing_type"], item["price"], item["created_at"]) == ("deduct", 0.25, last["created_at"])
    oldest = billings(shop, sort="created_at ASC")["items"][0]
    assert oldest["prediction"]["uuid"] == paid[0]["id"]
    assert billings(shop, billing_type="refund")["total"] == 0
    assert billings(shop, model_uuid="shop/free")["total"] == 0
    assert billings(shop, access_key_uuid=item["access_key_id"])["total"] == 3
    assert billings(shop, access_key_uuid="0" * 16)["total"] == 0
    chosen = data_of(shop.http.post("billings/search", json={"prediction_uuids": [last["id"], "x"]}))
    assert [one["prediction"]["uuid"] for one in chosen["items"]] == [last["id"]]


@pytest.mark.parametrize(
    "asked",
    [
        {"start_time": "2001-01-01", "end_time": "2001-02-15"},
        {"start_time": "2001-01-02", "end_time": "2001-01-01"},
        {"start_time": "soon"},
        {"start_time": "2001-01-01", "end_time": "9" * 60},
        {"start_time": "0001-01-01T00:00:00+23:59"},
    ],
)
def test_times_of_a_usage_that_cannot_be_are_refused(client: Client, asked: dict[str, str]) -> None:
    error_of(client.http.post("user/usage_stats", json=asked), 400, "invalid_input")


# Models


def test_models_are_listed_in_the_shape_that_clients_read(client: Client, server: Server) -> None:
    models = {model["model_id"]: model for model in client.http.get("models").json()["data"]}
    echo = models["test/echo"]
    (run,) = echo["api_schema"]["api_schemas"]
    assert (run["type"], run["method"], run["server"]) == ("model_run", "POST", server.url)
    assert run["api_path"] == "/api/v3/test/echo"
    schema = run["request_schema"]
    assert (schema["type"], schema["required"]) == ("object", ["prompt"])
    assert schema["x-order-properties"] == list(schema["properties"]) == ["prompt", "repeat"]
    assert (echo["name"], echo["type"], echo["base_price"]) == ("test/echo", "other", 0)
    assert echo["description"] == "Returns its prompt. Streams no output."
    for model in models.values():
        assert model["api_schema"]["api_schemas"][0]["request_schema"]["required"] is not None


def test_models_of_a_category_are_listed_in_the_form_of_the_pages(client: Client) -> None:
    items = data_of(client.http.get("models?category=other"))["items"]
    assert {tuple(item) for item in items} == {("model_uuid", "name", "category", "description")}
    assert "test/echo" in {item["model_uuid"] for item in items}
    assert data_of(client.http.get("models?category="))["items"] == items
    assert data_of(client.http.get("models?category=text-to-image"))["items"] == []


def test_a_readme_is_markdown(client: Client) -> None:
    answer = client.http.get("models/test/echo/readme")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/markdown; charset=utf-8"
    assert answer.text.startswith("# test/echo\n\nReturns its prompt. Streams no output.\n\n## Inputs\n")
    assert "\nStreams: progress, log\n" in answer.text
    error_of(client.http.get("models/test/ecko/readme"), 404, "unknown_model")
