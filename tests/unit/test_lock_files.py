"""The lock files pin everything and name no package index."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LOCK = (ROOT / "requirements.lock").read_text()


@pytest.mark.parametrize("lock", ["requirements.lock", "tests/clients/js/package-lock.json"])
def test_a_lock_file_names_no_host(lock: str) -> None:
    assert "://" not in (ROOT / lock).read_text()


def test_every_requirement_of_the_project_is_pinned_with_a_hash() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wanted = project["project"]["dependencies"] + project["dependency-groups"]["dev"]
    wanted += project["project"]["optional-dependencies"]["demo"] + project["build-system"]["requires"]
    pinned = set(re.findall(r"^([a-z0-9-]+)==[^ ]+.*\\\n    --hash=sha256:", LOCK, re.MULTILINE))
    assert {re.split(r"[^A-Za-z0-9-]", requirement)[0] for requirement in wanted} - pinned == set()


def test_every_npm_package_is_pinned_with_a_hash() -> None:
    packages = json.loads((ROOT / "tests/clients/js/package-lock.json").read_text())["packages"]
    assert all(package["integrity"].startswith("sha512-") for path, package in packages.items() if path)
