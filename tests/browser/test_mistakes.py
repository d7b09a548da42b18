"""What goes wrong is said where the person looks, in the server's words, and nothing that was typed is lost."""

from __future__ import annotations

import re

import httpx
from playwright.sync_api import expect

from support.client import Client
from support.server import Server

from .conftest import Visit
from .playground import Playground

WRONG_KEY = "wrong-key-0123456789"


def test_a_wrong_key_is_refused_in_the_words_of_the_server_and_the_right_one_is_kept(
    visit: Visit, server: Server
) -> None:
    playground = visit(server, key=None)
    playground.expects("status of 401")
    playground.connect(WRONG_KEY)
    answer = httpx.get(f"{server.url}/api/v3/models", headers={"Authorization": f"Bearer {WRONG_KEY}"})
    expect(playground.key_dialog.get_by_role("alert")).to_have_text(answer.json()["message"])
    playground.connect(server.key)
    expect(playground.models.get_by_role("link")).not_to_have_count(0)
    playground.reload()
    expect(playground.models.get_by_role("link")).not_to_have_count(0)
    expect(playground.key_dialog).to_be_hidden()


def test_the_key_of_a_link_leaves_the_address_and_stays_in_its_tab(playground: Playground, server: Server) -> None:
    expect(playground.models.get_by_role("link")).not_to_have_count(0)
    assert server.key not in playground.page.url
    playground.page.go_back()
    assert server.key not in playground.page.url
    playground.expects("status of 401")
    other = playground.another_tab("/")
    expect(other.key_dialog).to_be_visible()


def test_a_wrong_input_is_marked_at_its_field_and_the_others_stay(playground: Playground) -> None:
    playground.expects("status of 400")
    playground.run("test/count", n=-5, interval_s=0.25)
    field = playground.field("n")
    expect(field).to_have_attribute("aria-invalid", "true")
    expect(field).to_have_accessible_description(re.compile("-5 is less than the minimum of 0"))
    expect(field).to_have_value("-5")
    expect(playground.field("interval_s")).to_have_value("0.25")
    playground.run(n=2).shows("completed").says("1 2")
    expect(field).not_to_have_attribute("aria-invalid", "true")


def test_a_missing_input_is_marked_at_its_field(playground: Playground) -> None:
    playground.expects("status of 400")
    playground.run("files/facts")
    expect(playground.form).to_contain_text("is missing; it is required")


def test_a_link_to_an_unknown_model_says_so(visit: Visit, server: Server) -> None:
    playground = visit(server, path="/#/models/acme/nothing")
    playground.expects("status of 404")
    expect(playground.alert.filter(has_text="acme/nothing")).to_be_visible()
    playground.run("test/echo", prompt="still here").shows("completed")


def test_a_link_to_an_unknown_prediction_says_so(visit: Visit, server: Server) -> None:
    playground = visit(server, path="/#/predictions/nothing")
    playground.expects("status of 404")
    expect(playground.alert.filter(has_text=re.compile(r"\S"))).to_be_visible()
    playground.run("test/echo", prompt="still here").shows("completed")


def test_a_model_that_does_not_stream_is_run_all_the_same(playground: Playground) -> None:
    playground.run("test/no-stream", prompt="slow and steady").shows("completed").says("slow and steady")


def test_a_failure_is_told_in_the_words_of_the_model(playground: Playground, client: Client) -> None:
    playground.run("test/fail", message="No such colour.").shows("failed")
    expect(playground.watched).to_contain_text("No such colour.")
    assert client.result(playground.id)["error"] == "No such colour."
    playground.reload()
    playground.shows("failed")
    expect(playground.watched).to_contain_text("No such colour.")


def test_a_prediction_that_was_deleted_says_so(playground: Playground, client: Client) -> None:
    playground.expects("status of 404")
    id = playground.run("test/echo", prompt="gone").shows("completed").id
    assert client.http.delete(f"predictions/{id}").status_code == 200
    playground.reload()
    expect(playground.alert.filter(has_text=re.compile(r"\S"))).to_be_visible()
