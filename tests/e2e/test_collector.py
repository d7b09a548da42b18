"""The garbage collector stops everything while it looks: it leaves alone what stays anyway, and nothing else."""

from __future__ import annotations

from conftest import MakeServer


def test_a_worker_looks_past_its_modules_but_lets_go_of_weights_that_are_replaced(make_server: MakeServer) -> None:
    client = make_server("collected.py").client()
    [told] = client.finished(client.submit("test/collected")["id"])["outputs"]
    assert told["left_alone"] > 10_000, "the modules"
    assert told["gone"], "what setup has made is not among what is left alone"
