"""A run is followed to its end, whatever happens to the page, the network or the server meanwhile."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import expect

from conftest import MakeServer
from support.client import Client
from support.gate import Gate
from support.relay import Relay
from support.server import Server

from .conftest import Visit
from .playground import Playground

QUICK = {"UNSPOOL_RESTART_BACKOFF_S": "0.05", "UNSPOOL_MAX_RESTART_BACKOFF_S": "0.1"}
CUT = r"ERR_(CONNECTION_REFUSED|CONNECTION_RESET|INCOMPLETE_CHUNKED_ENCODING|INTERNET_DISCONNECTED|EMPTY_RESPONSE)"
RECONNECTING = re.compile("reconnect|offline", re.IGNORECASE)


@pytest.fixture
def relay(server: Server) -> Iterator[Relay]:
    relay = Relay(server.url)
    yield relay
    relay.close()


def started(playground: Playground, gate: Gate, n: int = 6) -> Playground:
    """A count that stands at 2."""
    playground.run("test/count", n=n, gate=gate)
    gate.let(2)
    return playground.says("1 2")


def test_words_come_one_by_one_and_are_the_outputs_in_the_end(
    playground: Playground, client: Client, gate: Gate
) -> None:
    playground.run("test/count", n=3, gate=gate).shows("processing")
    for so_far in ("1", "1 2", "1 2 3"):
        gate.let(1)
        playground.says(so_far)
    playground.shows("completed")
    assert playground.text == client.result(playground.id)["outputs"][0]


def test_progress_is_told_with_stage_step_and_time_left_beside_a_preview(playground: Playground, gate: Gate) -> None:
    playground.run("page/film", prompt="a cat", gate=gate)
    gate.let(1)
    expect(playground.progress).to_have_attribute("aria-valuenow", "25")
    expect(playground.watched).to_contain_text("denoise")
    expect(playground.watched).to_contain_text(re.compile(r"1\s*(/|of)\s*4"))
    expect(playground.watched).to_contain_text(re.compile(r"2 h (30|29) min"))
    first = playground.preview_source()
    gate.let(1)
    expect(playground.progress).to_have_attribute("aria-valuenow", "50")
    expect(playground.preview).not_to_have_attribute("src", first)
    assert playground.preview_size() == (16, 9)


def test_a_page_that_is_reloaded_goes_on_where_it_was(playground: Playground, client: Client, gate: Gate) -> None:
    started(playground, gate)
    id = playground.id
    playground.reload()
    playground.says("1 2").shows("processing")
    gate.open()
    playground.shows("completed")
    assert playground.id == id
    assert playground.text == client.result(id)["outputs"][0] == "1 2 3 4 5 6 "


def test_a_run_is_cancelled_and_its_slot_is_free_again(playground: Playground, client: Client, gate: Gate) -> None:
    playground.run("page/film", prompt="never drawn", gate=gate)
    gate.let(1)
    expect(playground.progress).to_have_attribute("aria-valuenow", "25")
    id = playground.id
    playground.cancel()
    playground.shows("cancelled")
    assert client.result(id)["status"] == "cancelled"
    playground.run("page/film", prompt="drawn", gate="").shows("completed")


def test_a_second_tab_sees_the_same(playground: Playground, server: Server, gate: Gate) -> None:
    started(playground, gate)
    other = playground.another_tab(f"/#/predictions/{playground.id}", server.key)
    other.says("1 2")
    gate.open()
    for tab in (playground, other):
        tab.shows("completed")
        assert tab.text == "1 2 3 4 5 6 "


def test_a_copied_link_shows_the_run_in_a_browser_without_the_key(
    playground: Playground, visit: Visit, server: Server, gate: Gate
) -> None:
    started(playground, gate)
    link = playground.copied("Copy link")
    assert server.key not in link
    other = visit(server, key=None, path=link.removeprefix(server.url))
    other.expects("status of 401")  # it asks for the models: a server may need no key
    other.says("1 2").shows("processing")
    expect(other.key_dialog).to_be_hidden()
    gate.open()
    other.shows("completed")
    assert other.text == playground.shows("completed").text == "1 2 3 4 5 6 "
    other.reload()
    other.shows("completed").says("1 2 3 4 5 6")


def test_a_server_that_is_killed_and_restarted_costs_one_attempt(
    visit: Visit, make_server: MakeServer, gate: Gate
) -> None:
    server = make_server("basic.py", **QUICK)
    playground = visit(server)
    playground.expects(CUT)
    started(playground, gate)
    server.kill()
    expect(playground.watched).to_contain_text(RECONNECTING)
    server.restart(same_port=True)
    expect(playground.watched).to_contain_text(re.compile("attempt 2", re.IGNORECASE))
    playground.says("1 2")
    gate.open()
    playground.shows("completed")
    expect(playground.watched).not_to_contain_text(re.compile("reconnect", re.IGNORECASE))
    assert playground.text == server.client().result(playground.id)["outputs"][0] == "1 2 3 4 5 6 "


def test_a_page_whose_network_was_gone_for_a_while_misses_nothing(
    visit: Visit, server: Server, client: Client, relay: Relay, gate: Gate
) -> None:
    playground = visit(server, url=relay.url)
    playground.expects(CUT)
    started(playground, gate)
    playground.page.context.set_offline(True)
    relay.cut()
    expect(playground.page.get_by_text(RECONNECTING).filter(visible=True).first).to_be_visible()
    gate.let(2)
    relay.mend()
    playground.page.context.set_offline(False)
    playground.says("1 2 3 4")
    gate.open()
    playground.shows("completed")
    expect(playground.page.get_by_text(RECONNECTING).filter(visible=True)).to_have_count(0)
    assert playground.text == client.result(playground.id)["outputs"][0] == "1 2 3 4 5 6 "


def test_five_thousand_events_leave_the_page_answering(playground: Playground, client: Client) -> None:
    playground.run("page/flood", events=5000)
    playground.opened("Log")
    playground.opened("Events")
    playground.choose("test/echo")
    playground.page.go_back()
    playground.shows("completed")
    assert playground.text == client.result(playground.id)["outputs"][0]
    expect(playground.opened("Log")).to_contain_text("line 2499")


def test_predictions_of_before_are_in_the_history(playground: Playground) -> None:
    ids = []
    for prompt in ("first", "second"):
        playground.run("test/echo", prompt=prompt).shows("completed")
        ids.append(playground.id)
    expect(playground.history).to_contain_text("test/echo")
    for id, prompt in zip(ids, ("first", "second"), strict=True):
        playground.history.locator(f'a[href*="{id}"]').click()
        playground.shows("completed").says(prompt)
        assert playground.id == id


def test_a_run_that_waits_says_so_and_can_be_cancelled(playground: Playground, client: Client, gate: Gate) -> None:
    running = client.submit("page/film", prompt="first", gate=str(gate))["id"]
    gate.visitor()
    playground.run("page/film", prompt="second").shows("created")
    expect(playground.watched).to_contain_text(re.compile("queue|waiting", re.IGNORECASE))
    playground.cancel()
    playground.shows("cancelled")
    gate.open()
    assert client.finished(running)["status"] == "completed"


def test_events_are_listed_with_their_cursors(playground: Playground, client: Client) -> None:
    playground.run("test/count", n=3).shows("completed")
    table = playground.opened("Events").get_by_role("table")
    for event in client.log(playground.id):
        row = table.get_by_role("row").filter(has=playground.page.get_by_role("cell", name=event.cursor, exact=True))
        expect(row).to_contain_text(event.type)
