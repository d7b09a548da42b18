"""The models as HTTP sees them: which there are, whether inputs fit, what `GET /models` answers."""

from __future__ import annotations

import asyncio
import difflib
from collections.abc import Iterable
from itertools import islice
from typing import Any

import jsonschema_rs
import structlog
from starlette.requests import Request

from unspool.api.auth import Auth
from unspool.api.description import array, content, data, described, obj, query, ref
from unspool.api.page import page
from unspool.api.responses import Answer, Json, Text
from unspool.config import Settings
from unspool.errors import BadJson, InvalidInput, SpoolUnavailable, Unavailable, UnknownModel
from unspool.spool import Spool
from unspool.types import ModelInfo

MAX_ERRORS = 100
"""So many wrong fields are explained in one answer."""
MAX_NAMED = 20
IN_CATEGORY = ("model_uuid", "name", "category", "description")
"""What the documentation pages show of a model."""
REFRESH_INTERVAL_S = 1.0
ANNOUNCEMENT_WAIT_S = 30.0
"""How long a submit waits for the import of the model file."""

_log = structlog.get_logger("unspool.models")


class ServedModel:
    """A model and the compiled check of its inputs."""

    def __init__(self, info: ModelInfo) -> None:
        self.info = info
        self._validator = jsonschema_rs.validator_for(info.schema)

    def check(self, inputs: dict[str, Any]) -> list[dict[str, str]]:
        """What is wrong with the inputs, field by field; nothing, if they are right.

        Raises:
            BadJson: they are nested too deeply to be checked.
        """
        try:
            if self._validator.is_valid(inputs):
                return []
            known = list(self.info.schema.get("properties", {}))
            found = (wrong for error in self._validator.iter_errors(inputs) for wrong in explain(error, known))
            return list(islice(found, MAX_ERRORS + 1))
        except ValueError as error:
            raise BadJson("The inputs are nested too deeply.") from error


class Catalog:
    """The models that were announced in the spool, kept up to date.

    Args:
        announced: done once this process's own models are announced, if it has any.
    """

    def __init__(self, spool: Spool, announced: asyncio.Future[None]) -> None:
        self._spool = spool
        self._announced = announced
        self._served: dict[str, ServedModel] = {}
        self._settled = False

    async def refresh(self) -> None:
        """Reads the announcements anew."""
        infos = await self._spool.models()
        old = self._served
        self._served = {
            info.id: old[info.id] if info.id in old and old[info.id].info == info else ServedModel(info)
            for info in infos
        }

    async def keep_fresh(self) -> None:
        """Refreshes for ever."""
        while True:
            await asyncio.sleep(REFRESH_INTERVAL_S)
            try:
                await self.refresh()
            except SpoolUnavailable as error:
                _log.warning("the models cannot be read", error=str(error))

    async def find(self, id: str) -> ServedModel:
        """The model of that id. Waits for the announcement of a server that has just started.

        Raises:
            UnknownModel: there is none; the message names the nearest ids.
            Unavailable: the models are not known yet.
        """
        served = self._served.get(id) or await self._look_again(id)
        if served is not None:
            return served
        raise UnknownModel(f"There is no model {id[:200]!r}. {_nearest(id, self._served)}")

    async def _look_again(self, id: str) -> ServedModel | None:
        await self.refresh()
        if id not in self._served and not self._announced.done():
            await asyncio.wait([self._announced], timeout=ANNOUNCEMENT_WAIT_S)
            await self.refresh()
            if not self._announced.done():
                raise Unavailable("The model file is still being imported. Try again in a moment.")
        return self._served.get(id)

    async def infos(self) -> list[ModelInfo]:
        """Every model. Waits for the announcement of a server that has just started."""
        if not self._settled:
            await asyncio.wait([self._announced], timeout=ANNOUNCEMENT_WAIT_S)
            await self.refresh()
            self._settled = self._announced.done()
        return [served.info for served in self._served.values()]

    def info(self, id: str) -> ModelInfo | None:
        """The model of that id, if it is served now."""
        served = self._served.get(id)
        return None if served is None else served.info


class Models:
    """The handlers of `GET /models` and of single READMEs."""

    def __init__(self, catalog: Catalog, auth: Auth, settings: Settings) -> None:
        self._catalog = catalog
        self._auth = auth
        self._settings = settings

    @described(
        summary="List models",
        tag="Models",
        details="A list; with `category`, the models of that category in the form that the documentation pages show.",
        parameters=(query("category", {"type": "string"}, "As `text-to-image`; empty for all."),),
        answers={
            200: data(
                {
                    "anyOf": [
                        array(ref("Model")),
                        obj({"items": array(obj({name: {"type": "string"} for name in IN_CATEGORY}))}),
                    ]
                }
            )
        },
    )
    async def list(self, request: Request) -> Answer:
        """`GET /api/v3/models`."""
        await self._auth.owner(request)
        category = request.query_params.get("category")
        if category is None:
            server = self._server(request)
            return Json([_describe(info, server) for info in await self._catalog.infos()])
        wanted = [info for info in await self._catalog.infos() if category in ("", info.category)]
        return Json({"items": [dict(zip(IN_CATEGORY, _in_category(info), strict=True)) for info in wanted]})

    @described(
        summary="The README of a model",
        tag="Models",
        details="A page: what its author says, its inputs, what it streams, and how to call it.",
        answers={200: content({"text/markdown": {"type": "string"}})},
        errors=(UnknownModel,),
    )
    async def readme(self, request: Request) -> Answer:
        """`GET /api/v3/models/{model_id}/readme`."""
        await self._auth.owner(request)
        served = await self._catalog.find(request.path_params["model_id"])
        return Text(page(served.info, self._server(request)), "text/markdown; charset=utf-8")

    def _server(self, request: Request) -> str:
        """The base of this server's URLs."""
        return (self._settings.public_url or str(request.base_url)).rstrip("/")


def _in_category(info: ModelInfo) -> tuple[str, str, str, str]:
    return info.id, info.id, info.category, info.readme


def _describe(info: ModelInfo, server: str) -> dict[str, Any]:
    schema = {key: value for key, value in info.schema.items() if key != "title"}
    schema.setdefault("properties", {})
    schema.setdefault("required", [])
    schema["x-order-properties"] = list(schema["properties"])
    run = {"method": "POST", "server": server, "api_path": f"/api/v3/{info.id}", "request_schema": schema}
    return {
        "model_id": info.id,
        "name": info.id,
        "description": info.readme,
        "type": info.category,
        "base_price": info.price,
        "streams": list(info.streams),
        "readme": page(info, server),
        "api_schema": {"api_schemas": [{"type": "model_run", **run}]},
    }


def _nearest(id: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(id, known, n=3, cutoff=0.4)
    return f"Did you mean {' or '.join(near)}?" if near else "GET /api/v3/models lists the models of this server."


def invalid_input(model_id: str, errors: list[dict[str, str]]) -> InvalidInput:
    """The error that names every wrong field, or the first of very many."""
    fields = list(dict.fromkeys(wrong["field"] for wrong in errors if wrong["field"]))
    named = ", ".join(fields[:MAX_NAMED]) + (", …" if len(fields) > MAX_NAMED else "")
    return InvalidInput(f"Correct these inputs of {model_id}: {named or errors[0]['message']}", errors[:MAX_ERRORS])


def explain(error: Any, known: list[str]) -> Iterable[dict[str, str]]:
    """One `{"field", "message"}` for each field that a schema error is about."""
    at = ".".join(str(step) for step in error.instance_path)
    kind = error.kind
    match kind.name:
        case "required":
            return [_wrong(_join(at, kind.property), "is missing; it is required")]
        case "additionalProperties":
            names = [] if at else known
            return (_wrong(_join(at, name), _unknown(name, names)) for name in kind.unexpected)
        case "anyOf" | "oneOf" if not at:
            return _explain_choice(kind.context)
        case "anyOf" | "oneOf":
            reasons = [_shorten(reason.message) for branch in kind.context for reason in branch]
            return [_wrong(at, " or ".join(reasons))]
        case "type":
            return [_wrong(at, f"must be of type {' or '.join(kind.types)}")]
        case _:
            return [_wrong(at, _shorten(error.message))]


def _explain_choice(branches: list[list[Any]]) -> list[dict[str, str]]:
    """For inputs of which one has to be given: none was, or more than one."""
    missing = [reason.kind.property for branch in branches for reason in branch if reason.kind.name == "required"]
    if len(missing) == len(branches):
        return [_wrong(name, f"is missing; give one of {', '.join(missing)}") for name in missing]
    return [_wrong("", "more than one of the inputs that exclude each other was given; give one of them")]


def _wrong(field: str, message: str) -> dict[str, str]:
    return {"field": _shorten(field), "message": message}


def _join(at: str, name: str) -> str:
    return f"{at}.{name}" if at else name


def _shorten(message: str) -> str:
    return message if len(message) <= 300 else message[:300] + "…"


def _unknown(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"known are: {', '.join(known)}" if known else "remove it"
    return f"is not an input of this model; {hint}"
