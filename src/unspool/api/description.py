"""What an operation of the API is, said next to its handler: `@described(...)`.

`openapi.py` makes the description of the whole API of these and of the routes that are served; a test fails for a
route whose handler has none. The schemas of request bodies and of queries that stand here are also what checks them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Literal, TypeVar

from unspool.errors import (
    BadJson,
    BadQuery,
    ClientError,
    Forbidden,
    Internal,
    InvalidInput,
    NotFound,
    RateLimited,
    TooLarge,
    Unauthenticated,
    Unavailable,
    UnsupportedMediaType,
)

Schema = Mapping[str, Any]
H = TypeVar("H", bound=Callable[..., Any])
Security = Literal["key", "key or token", "none"]

_MARK = "__operation__"


@dataclass(frozen=True, kw_only=True)
class Operation:
    """One method of one path."""

    summary: str
    tag: str
    details: str = ""
    security: Security = "key"
    parameters: tuple[Schema, ...] = ()
    """OpenAPI parameters, but for those of the path, which are derived."""
    body: Schema | None = None
    """JSON schema of the request body."""
    body_required: bool = True
    answers: Mapping[int, Schema] = field(default_factory=dict)
    """OpenAPI responses of the successes, by status."""
    errors: tuple[type[ClientError], ...] = ()
    """What it answers beside what follows from the rest: no key, a wrong body, a fault of the server, …"""

    def all_errors(self) -> list[type[ClientError]]:
        """Every error that it may answer with."""
        found: list[type[ClientError]] = [*self.errors]
        if self.security != "none":
            found += [Unauthenticated, Forbidden, RateLimited]
        if self.security == "key or token":
            found.append(NotFound)
        if self.body is not None:
            found += [BadJson, InvalidInput, TooLarge, UnsupportedMediaType]
        if any(parameter["in"] == "query" for parameter in self.parameters):
            found.append(BadQuery)
        return list(dict.fromkeys([*found, Internal, Unavailable]))


def described(**said: Any) -> Callable[[H], H]:
    """Says what a handler does; the arguments are those of `Operation`."""
    operation = Operation(**said)

    def mark(handler: H) -> H:
        setattr(handler, _MARK, operation)
        return handler

    return mark


def operation_of(handler: Any) -> Operation | None:
    """What was said of a handler, if anything was."""
    found = getattr(handler, _MARK, None)
    return found if isinstance(found, Operation) else None


# Pieces of descriptions

PREDICTION_HEADER: Schema = {
    "X-Prediction-Id": {"description": "The prediction's id.", "required": True, "schema": {"type": "string"}}
}


def ref(name: str) -> dict[str, Any]:
    """A schema of `schemas.COMPONENTS`."""
    return {"$ref": f"#/components/schemas/{name}"}


def obj(properties: Mapping[str, Schema], *, optional: tuple[str, ...] = ()) -> dict[str, Any]:
    """The schema of an object whose properties are all there, but for the optional ones."""
    required = [name for name in properties if name not in optional]
    return {"type": "object", "properties": dict(properties), "required": required}


def array(items: Schema) -> dict[str, Any]:
    """The schema of a list."""
    return {"type": "array", "items": items}


def data(schema: Schema, text: str = "", headers: Schema | None = None) -> dict[str, Any]:
    """A success in the envelope of the API."""
    whole = obj({"code": {"const": 200}, "message": {"const": "success"}, "data": schema})
    return content({"application/json": whole}, text, headers)


def bare(schema: Schema, text: str = "") -> dict[str, Any]:
    """An answer of JSON without the envelope."""
    return content({"application/json": schema}, text)


def content(by_type: Mapping[str, Schema], text: str = "", headers: Schema | None = None) -> dict[str, Any]:
    """An answer in one of several types."""
    return {
        "description": text or "As asked.",
        "headers": {"X-Request-Id": {"schema": {"type": "string"}, "required": True}, **(headers or {})},
        "content": {kind: {"schema": schema} for kind, schema in by_type.items()},
    }


def empty(text: str) -> dict[str, Any]:
    """An answer without a body."""
    return {"description": text}


def query(name: str, schema: Schema, text: str) -> dict[str, Any]:
    """A parameter in the query."""
    return {"name": name, "in": "query", "required": False, "description": text, "schema": schema}


def header(name: str, schema: Schema, text: str) -> dict[str, Any]:
    """A header of the request."""
    return {"name": name, "in": "header", "required": False, "description": text, "schema": schema}


def error_answers(errors: list[type[ClientError]]) -> dict[str, Any]:
    """The OpenAPI responses of these errors, by status."""
    by_status: dict[int, list[type[ClientError]]] = {}
    for error in errors:
        by_status.setdefault(error.http_status, []).append(error)
    return {str(status): _error_answer(status, some) for status, some in sorted(by_status.items())}


def _error_answer(status: int, errors: list[type[ClientError]]) -> dict[str, Any]:
    headers: dict[str, Any] = {"X-Request-Id": {"schema": {"type": "string"}, "required": True}}
    if all(error.retry_after_s is not None for error in errors):
        headers["Retry-After"] = {"schema": {"type": "string"}, "required": True}
    if status == HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = {"schema": {"type": "string"}, "required": True}
    lines = [f"`{error.code}`: {(error.__doc__ or '').splitlines()[0]}" for error in errors]
    codes = {"code": {"const": status}, "error_code": {"enum": [error.code for error in errors]}}
    schema = {"allOf": [ref("Error"), {"type": "object", "properties": codes}]}
    return {"description": "\n".join(lines), "headers": headers, "content": {"application/json": {"schema": schema}}}
