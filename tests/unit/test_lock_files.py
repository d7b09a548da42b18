"""The lock files pin everything and name no package index."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LOCK = (ROOT / "requirements.lock").read_text()
NPM = ("tests/clients/js", "tests/e2e/js", "js", "js/test/runtimes")
NPM_LOCKS = [ROOT / folder / "package-lock.json" for folder in NPM]
CLIENTS = sorted((ROOT / "tests/clients/python").glob("*/requirements.in"))
PINNED = re.compile(r"^([a-z0-9-]+)==[^ ]+.*\\\n    --hash=sha256:", re.MULTILINE)


@pytest.mark.parametrize("lock", [ROOT / "requirements.lock", *ROOT.glob("tests/clients/python/*/requirements.lock")])
def test_a_lock_file_names_no_host(lock: Path) -> None:
    assert "://" not in lock.read_text()


@pytest.mark.parametrize("lock", NPM_LOCKS, ids=str)
def test_an_npm_lock_file_names_no_host_to_install_from(lock: Path) -> None:
    """Where to send money to its authors is part of what it says about a package."""
    packages = json.loads(lock.read_text())["packages"]
    said = [{name: value for name, value in package.items() if name != "funding"} for package in packages.values()]
    assert "://" not in json.dumps(said)


def test_every_requirement_of_the_project_is_pinned_with_a_hash() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wanted = project["project"]["dependencies"] + project["dependency-groups"]["dev"]
    wanted += project["project"]["optional-dependencies"]["demo"] + project["build-system"]["requires"]
    pinned = set(PINNED.findall(LOCK))
    assert {re.split(r"[^A-Za-z0-9-]", requirement)[0] for requirement in wanted} - pinned == set()


@pytest.mark.parametrize("client", CLIENTS, ids=lambda path: path.parent.name)
def test_every_client_is_pinned_with_a_hash(client: Path) -> None:
    wanted = {re.split(r"[^A-Za-z0-9-]", line)[0] for line in client.read_text().splitlines()}
    assert wanted - set(PINNED.findall(client.with_suffix(".lock").read_text())) == set()


@pytest.mark.parametrize("lock", NPM_LOCKS, ids=str)
def test_every_npm_package_is_pinned_with_a_hash(lock: Path) -> None:
    packages = json.loads(lock.read_text())["packages"]
    assert all(package["integrity"].startswith("sha512-") for path, package in packages.items() if path)
