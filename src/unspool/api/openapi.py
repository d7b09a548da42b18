"""The description of the API in OpenAPI 3.1, made of the routes that are served and of what their handlers say."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from starlette.routing import Route

from unspool import __version__
from unspool.api.description import Operation, Schema, error_answers, operation_of
from unspool.api.schemas import COMPONENTS, FLAG, text
from unspool.types import ModelInfo

ALIAS = "/api/v2/"
"""Routes below it are those of `/api/v3/` again; they are described once."""
PER_MODEL = "{model_id:path}"
"""A route with this in its path is described once for each model."""
MODEL_INPUTS: Schema = {"x-model-inputs": True}
"""As an operation's body: the inputs of the path's model, and the reserved fields."""

RESERVED: dict[str, Any] = {
    "stream": {**FLAG, "default": False, "description": "Answer with the stream of events."},
    "enable_sync_mode": {**FLAG, "default": False, "description": "Answer when the prediction has ended."},
    "enable_base64_output": {**FLAG, "default": False, "description": "Outputs that are files come as base64."},
    "webhook_url": text("Where to POST the prediction when it has ended."),
}
_INTRODUCTION = (
    "Any generative model behind one HTTP API. Every path below `/api/v3` is also served below `/api/v2`. "
    "Every answer carries `X-Request-Id`."
)
_BY_KEY: dict[str, list[str]] = {"key": []}
_SECURITY: dict[str, list[dict[str, list[str]]]] = {
    "key": [_BY_KEY],
    "key or token": [_BY_KEY, {"token": []}],
    "none": [],
}
_SCHEMES = {
    "key": {"type": "http", "scheme": "bearer", "description": "Your API key."},
    "token": {
        "type": "apiKey",
        "in": "query",
        "name": "token",
        "description": "The token in a prediction's `urls.stream`. It reads this one prediction and nothing else.",
    },
}
_PARAMETER = re.compile(r"{(\w+)(?::\w+)?}")

Handlers = Callable[[Route], Mapping[str, Any]]
"""The handler of each method of a route."""


def describe(routes: Iterable[Route], handlers: Handlers, models: Iterable[ModelInfo], server: str) -> dict[str, Any]:
    """The document.

    Args:
        server: base URL of the API, as the client reaches it.
    """
    models = list(models)
    components = dict(COMPONENTS)
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        if route.path.startswith(ALIAS):
            continue
        for method, handler in handlers(route).items():
            operation = operation_of(handler)
            for path, described in _operations(route.path, method, operation, models, components):
                paths.setdefault(path, {})[method.lower()] = described
    return {
        "openapi": "3.1.0",
        "info": {"title": "Unspool", "version": __version__, "description": _INTRODUCTION},
        "servers": [{"url": server}],
        "security": _SECURITY["key"],
        "paths": paths,
        "components": {"schemas": components, "securitySchemes": _SCHEMES},
    }


def _operations(
    path: str, method: str, operation: Operation | None, models: list[ModelInfo], components: dict[str, Any]
) -> Iterable[tuple[str, dict[str, Any]]]:
    if operation is None:
        yield _plain_path(path), {"summary": "Not described", "responses": {}}
    elif PER_MODEL not in path:
        yield _plain_path(path), _describe(path, method, operation, operation.body)
    else:
        for info in models:
            yield from _of_model(path, method, operation, info, components)


def _of_model(
    path: str, method: str, operation: Operation, info: ModelInfo, components: dict[str, Any]
) -> Iterable[tuple[str, dict[str, Any]]]:
    path = path.replace(PER_MODEL, info.id)
    if operation.body is not MODEL_INPUTS:
        yield path, _describe(path, method, operation, operation.body)
        return
    inputs = _inputs(info, components)
    described = _describe(path, method, operation, inputs)
    described |= {"summary": info.id, "description": info.readme}
    if not info.streams:
        del described["responses"]["200"]["content"]["text/event-stream"]
    yield path, described
    if info.streams:
        streamed = _describe(f"{path}/stream", method, operation, inputs)
        streamed |= {"summary": f"{info.id}, as a stream", "description": info.readme}
        ok = streamed["responses"]["200"]
        ok["content"] = {"text/event-stream": ok["content"]["text/event-stream"]}
        yield f"{path}/stream", streamed


def _describe(path: str, method: str, operation: Operation, body: Schema | None) -> dict[str, Any]:
    in_path = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in _PARAMETER.findall(path)
    ]
    answers = {str(status): dict(answer) for status, answer in operation.answers.items()}
    for answer in answers.values():
        if "content" in answer:
            answer["content"] = dict(answer["content"])
    described: dict[str, Any] = {
        "summary": operation.summary,
        "operationId": re.sub(r"\W+", "_", f"{method.lower()}{_plain_path(path)}").strip("_"),
        "tags": [operation.tag],
        "security": _SECURITY[operation.security],
        "parameters": [*in_path, *operation.parameters],
        "responses": answers | error_answers(operation.all_errors()),
    }
    if operation.details:
        described["description"] = operation.details
    if body is not None:
        json = {"application/json": {"schema": body}}
        described["requestBody"] = {"required": operation.body_required, "content": json}
    return described


def _plain_path(path: str) -> str:
    return _PARAMETER.sub(r"{\1}", path)


def _inputs(info: ModelInfo, components: dict[str, Any]) -> dict[str, Any]:
    """The body of a submit; the definitions that it refers to become components with names of their own."""
    prefix = re.sub(r"[^A-Za-z0-9._-]", ".", info.id)
    schema = dict(info.schema)
    for name, definition in schema.pop("$defs", {}).items():
        components[f"{prefix}.{name}"] = _rebased(definition, prefix)
    schema = _rebased(schema, prefix)
    inputs = schema.get("properties", {})
    return {**schema, "properties": {**inputs, **RESERVED}, "x-order-properties": list(inputs)}


def _rebased(schema: Any, prefix: str) -> Any:
    """The schema with its references pointing to components."""
    if isinstance(schema, list):
        return [_rebased(item, prefix) for item in schema]
    if not isinstance(schema, dict):
        return schema
    return {key: _rebased_reference(value, prefix) or _rebased(value, prefix) for key, value in schema.items()}


def _rebased_reference(value: Any, prefix: str) -> str | None:
    if isinstance(value, str) and value.startswith("#/$defs/"):
        return f"#/components/schemas/{prefix}.{value.removeprefix('#/$defs/')}"
    return None
