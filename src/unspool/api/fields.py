"""Request bodies and queries that are not a model's inputs: checked against a schema, every wrong field named."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import jsonschema_rs
from starlette.requests import Request

from unspool.api.models import explain
from unspool.errors import BadQuery, InvalidInput

MAX_TIME_CHARS = 64
_MAX_NS = 9 * 10**18
"""About the year 2255. Later times mean the same, and whole days after it still fit into 64 bits."""
_NUMBER = re.compile(r"-?[0-9]{1,18}(\.[0-9]{1,18})?")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Fields:
    """What a request may say, as a JSON schema with one level of properties.

    Fields that the schema does not know are passed over, and `null` means that a field was left out: clients differ in
    what they send beside what they mean.
    """

    def __init__(self, schema: Mapping[str, Any]) -> None:
        self.schema = schema
        self._validator = jsonschema_rs.validator_for(dict(schema))

    def of_body(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """The fields of a body, with defaults.

        Raises:
            InvalidInput: some are wrong; it names them all.
        """
        given = {name: value for name, value in body.items() if value is not None}
        errors = self._errors(given)
        if errors:
            raise InvalidInput(f"Correct these fields: {_names(errors)}", errors)
        return self._with_defaults(given)

    def of_query(self, request: Request) -> dict[str, Any]:
        """The fields of a query, with defaults.

        Raises:
            BadQuery: some are wrong; it names them all.
        """
        given = self.in_query(request)
        errors = self._errors(given)
        if errors:
            raise BadQuery(f"Correct these parameters: {_names(errors)}", errors)
        return self._with_defaults(given)

    def in_query(self, request: Request) -> dict[str, Any]:
        """What a query says, unchecked."""
        return {name: self._converted(name, text) for name, text in request.query_params.items()}

    def _errors(self, given: dict[str, Any]) -> list[dict[str, str]]:
        return [wrong for error in self._validator.iter_errors(given) for wrong in explain(error, [])]

    def _with_defaults(self, given: dict[str, Any]) -> dict[str, Any]:
        known: Mapping[str, Any] = self.schema["properties"]
        return {name: given.get(name, schema.get("default")) for name, schema in known.items()}

    def _converted(self, name: str, text: str) -> Any:
        """Text of a query as the type that the schema asks for, if it is one."""
        kind = self.schema["properties"].get(name, {}).get("type")
        if kind == "integer" and text.removeprefix("-").isdecimal() and text.isascii() and len(text) <= 18:
            return int(text)
        if kind == "number" and _NUMBER.fullmatch(text):
            return float(text)
        if kind == "boolean":
            return {"true": True, "1": True, "false": False, "0": False}.get(text.lower(), text)
        return text


def time_ns(name: str, value: str | None) -> int | None:
    """A time in nanoseconds since the epoch: RFC 3339, a date, or milliseconds since the epoch in digits.

    Raises:
        InvalidInput: it is none of these.
    """
    if value is None:
        return None
    try:
        if value.isascii() and value.isdigit():
            return min(int(value[:MAX_TIME_CHARS]) * 10**6, _MAX_NS)
        moment = datetime.fromisoformat(value[:MAX_TIME_CHARS])
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        since = moment - _EPOCH
        at_ns = (since.days * 86_400 + since.seconds) * 10**9 + since.microseconds * 1_000
        return max(-_MAX_NS, min(at_ns, _MAX_NS))
    except (ValueError, OverflowError):
        message = "must be a time such as 2030-01-31T12:00:00Z"
        raise InvalidInput(f"Correct these fields: {name}", [{"field": name, "message": message}]) from None


def _names(errors: list[dict[str, str]]) -> str:
    return ", ".join(dict.fromkeys(wrong["field"] or wrong["message"] for wrong in errors))
