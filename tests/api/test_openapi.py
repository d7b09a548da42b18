"""The description is of what is served, whole and valid, and the server answers as it says."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import jsonschema_rs
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import CHECKS, load_all_checks

from conftest import MODELS, MakeServer
from support.client import error_of
from support.server import KEY, Server
from unspool.api.app import BASES, App, Endpoint
from unspool.api.auth import Auth
from unspool.api.description import operation_of
from unspool.api.files import Downloads
from unspool.api.media import Media
from unspool.api.models import Catalog
from unspool.api.openapi import PER_MODEL
from unspool.api.stream import Viewers
from unspool.config import Settings
from unspool.files.storage import Storage, local_url
from unspool.spool import open_spool
from unspool.types import ModelInfo
from unspool.views import Views


@pytest.fixture(scope="module")
def described(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(MODELS / "described.py", tmp_path_factory.mktemp("described"))
    try:
        yield server.start().wait_until_ready()
    finally:
        server.close()


@pytest.fixture(scope="module")
def document(described: Server) -> dict[str, Any]:
    """`/openapi.json`, asked for without a key."""
    answer = httpx.get(f"{described.url}/openapi.json")
    assert answer.status_code == 200
    return dict(answer.json())


# Whole


async def served(folder: Path) -> tuple[set[tuple[str, str]], list[str], dict[str, Any]]:
    """Every method and path of the application, the handlers without a description, and the document."""
    spool = await open_spool(f"sqlite:///{folder / 'unspool.db'}")
    try:
        info = ModelInfo(
            id="a/b",
            schema={"type": "object", "properties": {}},
            streams=("output",),
            readme="",
            slots=1,
            replicas=1,
            max_attempts=1,
            run_timeout_s=None,
        )
        await spool.announce([info])
        announced: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        announced.set_result(None)
        catalog = Catalog(spool, announced)
        await catalog.refresh()
        options = Settings(data_dir=folder)
        auth = await Auth.open(spool, options, KEY)
        storage = Storage(local_url(folder / "files"), retention_s=3600)

        async def scrape(accept: str) -> tuple[bytes, str]:
            return b"", "text/plain"

        app = App(
            spool,
            catalog,
            auth,
            Viewers(spool, options),
            Views(spool, auth.stream_token),
            options,
            dict,
            scrape=scrape,
            downloads=Downloads(storage, options),
            media=Media(storage, auth, await spool.secret(), options),
        )
        found, undescribed = set(), []
        for route in app.routes:
            assert isinstance(route.endpoint, Endpoint)
            for method, handler in route.endpoint.handlers.items():
                found.add((method, route.path))
                if operation_of(handler) is None:
                    undescribed.append(f"{method} {route.path}")
        return found, undescribed, await app.describe("http://test")
    finally:
        await spool.close()


def test_every_route_is_described_and_nothing_else_is(tmp_path: Path) -> None:
    routes, undescribed, document = asyncio.run(served(tmp_path))
    assert not undescribed, "say above the handler with @described what it does"
    expected = set()
    for method, path in routes:
        if not path.startswith(BASES[1]):
            expected.add((method, re.sub(r"{(\w+):\w+}", r"{\1}", path.replace(PER_MODEL, "a/b"))))
    expected.add(("POST", "/api/v3/a/b/stream"))
    there = {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}
    assert there == expected


def test_the_alias_has_the_same_routes(tmp_path: Path) -> None:
    routes, _, _ = asyncio.run(served(tmp_path))
    v3, v2 = ({(m, path.removeprefix(base)) for m, path in routes if path.startswith(base)} for base in BASES)
    assert v3 == v2


def test_the_document_is_valid_openapi(document: dict[str, Any]) -> None:
    assert document["openapi"] == "3.1.0"
    for schema in schemas_in(document):
        jsonschema_rs.Draft202012Validator({**schema, "components": document["components"]})
    names = [operation["operationId"] for operation in operations(document)]
    assert sorted(names) == sorted(set(names))
    for operation in operations(document):
        assert operation["summary"]
        assert operation["responses"]


def operations(document: dict[str, Any]) -> list[dict[str, Any]]:
    return [operation for methods in document["paths"].values() for operation in methods.values()]


def schemas_in(node: Any) -> Iterator[dict[str, Any]]:
    if isinstance(node, dict):
        if isinstance(node.get("schema"), dict):
            yield node["schema"]
        for value in node.values():
            yield from schemas_in(value)
    elif isinstance(node, list):
        for value in node:
            yield from schemas_in(value)


def test_every_model_has_a_path_with_its_inputs(document: dict[str, Any]) -> None:
    paths = document["paths"]
    body = paths["/api/v3/acme/picture"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert body["required"] == ["prompt"]
    assert body["x-order-properties"] == ["prompt", "size", "style", "seeds"]
    assert {"stream", "enable_sync_mode", "enable_base64_output", "webhook_url"} < set(body["properties"])
    size = next(one["$ref"] for one in body["properties"]["size"]["anyOf"] if "$ref" in one)
    assert size == "#/components/schemas/acme.picture.Size"
    assert document["components"]["schemas"]["acme.picture.Size"]["properties"]["width"]["maximum"] == 64
    for path, streams in (("talk", True), ("quiet", False)):
        ok = paths[f"/api/v3/{path}"]["post"]["responses"]["200"]
        assert ("text/event-stream" in ok["content"]) == streams
        assert (f"/api/v3/{path}/stream" in paths) == streams


def test_every_event_is_one_of_the_described(described: Server, document: dict[str, Any]) -> None:
    event = jsonschema_rs.validator_for({"$ref": "#/components/schemas/Event", "components": document["components"]})
    client = described.client()
    logs = [
        client.log(client.submit("acme/picture", prompt="x")["id"]),
        client.log(client.submit("talk", prompt="x", fail=True)["id"]),
    ]
    said = [one.data for log in logs for one in log]
    assert {one["type"] for one in said} == {"progress", "log", "output", "complete", "error"}
    for one in said:
        event.validate(one)


def test_errors_are_described_with_their_codes(document: dict[str, Any]) -> None:
    responses = document["paths"]["/api/v3/predictions/{id}"]["delete"]["responses"]
    assert {"401", "404", "409", "500", "503"} < set(responses)
    text = responses["409"]["description"]
    assert "`conflict`" in text


def test_the_description_can_be_kept_for_those_with_a_key(make_server: MakeServer) -> None:
    server = make_server("few.py", UNSPOOL_PUBLIC_DOCS="0")
    for path in ("/openapi.json", "/docs"):
        error_of(httpx.get(server.url + path), 401, "unauthenticated")
        assert httpx.get(server.url + path, headers={"Authorization": f"Bearer {KEY}"}).status_code == 200


# The page


def test_the_page_loads_everything_from_this_server(described: Server) -> None:
    page = httpx.get(f"{described.url}/docs")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self';" in policy
    assert "://" not in policy
    assert "://" not in page.text
    assert "<script>" not in page.text, "the policy allows no script inside the page"
    loaded = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert len(loaded) == 4
    for name in loaded:
        answer = httpx.get(f"{described.url}/{name}")
        assert answer.status_code == 200, name
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert len(answer.content) > 100


@pytest.mark.parametrize("name", ["LICENSE", "nothing.js", "%2e%2e%2fdocs.py", "swagger-ui.css%00"])
def test_no_other_file_is_served(described: Server, name: str) -> None:
    error_of(httpx.get(f"{described.url}/docs/{name}"), 404, "not_found")


# As it says

load_all_checks()
PROVED = CHECKS.get_by_names(
    [
        "not_a_server_error",
        "status_code_conformance",
        "content_type_conformance",
        "response_headers_conformance",
        "response_schema_conformance",
        "unsupported_method",
        "ignored_auth",  # the last: a wrong token is answered with 404, since a token is part of a URL
    ]
)
EXAMPLES = 25
"""For each operation: so many valid requests, and as many that break the description somewhere."""

_TRY = settings(
    max_examples=EXAMPLES,
    derandomize=True,
    deadline=None,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)


@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.value)
def test_the_server_answers_as_the_description_says(
    described: Server, document: dict[str, Any], mode: GenerationMode
) -> None:
    """Whatever a request is made of, its answer is one of the described, and none is a 5xx."""
    schema = schemathesis.openapi.from_dict(document)
    schema.config.update(base_url=described.url)
    client = described.client()
    wrong: list[str] = []
    statuses: Counter[int] = Counter()

    def call(case: Any) -> None:
        if "id" in case.path_parameters and len(statuses) % 2:
            id = client.submit("talk", prompt="known")["id"]
            case.path_parameters["id"] = client.finished(id)["id"]
        checks = PROVED if "token" not in str(case.operation.definition.raw["security"]) else PROVED[:-1]
        answer = case.call_and_validate(headers={"Authorization": f"Bearer {KEY}"}, checks=checks, timeout=30)
        statuses[answer.status_code] += 1

    for result in schema.get_all_operations():
        operation = result.ok()
        if operation.path.endswith("/health/stream"):
            continue  # takes as long as it is asked to; `test_doctor.py` has its bounds
        cases = operation.as_strategy(generation_mode=mode)
        try:
            _TRY(given(case=cases)(call))()
        except Unsatisfiable:
            continue  # nothing in it can be wrong
        except Exception as error:
            wrong.append(f"{operation.label}\n{error}")
    assert not wrong, "\n\n".join(wrong)
    assert statuses[200] > 50
    assert statuses[400] > 50 or mode is GenerationMode.POSITIVE
