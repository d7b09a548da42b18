"""What the dashboard and the documentation say of metrics is what a server answers."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import httpx
import pytest

from support.client import Client
from support.server import Server

ROOT = Path(__file__).parents[2]
DASHBOARD = json.loads((ROOT / "deploy" / "grafana-dashboard.json").read_text())


@pytest.fixture
def families(server: Server, client: Client) -> dict[str, str]:
    """The metrics of a server after a run, each with its kind."""
    client.finished(client.submit("test/count")["id"])
    text = httpx.get(f"{server.url}/metrics", headers={"Authorization": f"Bearer {server.key}"}).text
    return dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE))


def expressions(panels: list[dict[str, Any]]) -> list[str]:
    return [target["expr"] for panel in panels for target in panel.get("targets", [])]


def test_every_metric_of_the_dashboard_exists(families: dict[str, str]):
    queries = [variable["definition"] for variable in DASHBOARD["templating"]["list"] if "definition" in variable]
    named = set(re.findall(r"unspool_\w+", " ".join(expressions(DASHBOARD["panels"]) + queries)))
    assert len(named) > 20
    series = set(families) | {f"{name}_bucket" for name, kind in families.items() if kind == "histogram"}
    assert named - series == set()


def test_every_metric_is_in_the_documentation_and_on_the_dashboard(families: dict[str, str]):
    page = (ROOT / "docs" / "operating.md").read_text()
    ours = {name for name in families if not name.startswith("unspool_process_")}
    assert {name for name in ours if f"`{name}`" not in page} == set()
    shown = " ".join(expressions(DASHBOARD["panels"]))
    assert {name for name in ours if name not in shown} == set()


def test_counters_rates_and_units_follow_the_conventions(families: dict[str, str]):
    for name, kind in families.items():
        assert kind != "counter" or name.endswith("_total"), name
        assert kind != "histogram" or name.endswith("_seconds"), name


def test_no_two_panels_lie_over_each_other():
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken, panel["title"]
        assert at["x"] + at["w"] <= 24
        taken |= cells
