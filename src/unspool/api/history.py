"""Lists of predictions, and deleting them (`wire.md` §4)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import msgspec
from starlette.requests import Request

from unspool.api import schemas
from unspool.api.auth import Auth
from unspool.api.body import json_object
from unspool.api.description import array, data, described, obj, query, ref
from unspool.api.fields import Fields, time_ns
from unspool.api.responses import Answer, Json
from unspool.config import Settings
from unspool.errors import Conflict, InvalidInput, NotFound, UnknownPrediction
from unspool.retention import Retention
from unspool.spool import Spool
from unspool.spool.archive import Filter
from unspool.states import Status
from unspool.types import Prediction

MAX_PAGE_SIZE = 100
MAX_IDS = 1_000
"""So many predictions are deleted by one request."""
MAX_PAGE = 1_000_000_000

Describe = Callable[[Request, Prediction], Awaitable[dict[str, Any]]]
"""Makes the object of a prediction that clients see."""

PAGING: dict[str, Any] = {
    "page": {"type": "integer", "minimum": 1, "maximum": MAX_PAGE, "default": 1, "description": "1 is the first."},
    "page_size": {"type": "integer", "minimum": 1, "maximum": MAX_PAGE_SIZE, "default": MAX_PAGE_SIZE},
}
_TIME = {"type": "string", "description": "RFC 3339, a date, or milliseconds since 1970."}
LIST = Fields(
    {
        "type": "object",
        "properties": {
            **PAGING,
            "model": {"type": "string", "description": "Only of this model."},
            "status": {**schemas.STATUS, "description": "Only in this status."},
            "created_after": {**_TIME, "description": f"Created then or later. {_TIME['description']}"},
            "created_before": {**_TIME, "description": f"Created before then. {_TIME['description']}"},
            "include_inputs": {"type": "boolean", "default": False, "description": "With the inputs of each."},
        },
    }
)
_IDS = Fields(
    {
        "type": "object",
        "properties": {"ids": {"type": "array", "items": {"type": "string"}, "maxItems": MAX_IDS}},
        "required": ["ids"],
    }
)
PAGE = {"page": schemas.COUNT, "page_size": schemas.COUNT, "total": schemas.COUNT, "has_more": schemas.FLAG}
_LISTED = data(obj({**PAGE, "items": array(ref("Prediction"))}), "The newest first.")
LIST_PARAMETERS = tuple(
    query(name, {key: value for key, value in schema.items() if key != "description"}, schema.get("description", ""))
    for name, schema in LIST.schema["properties"].items()
)


class History:
    """The handlers.

    Args:
        describe: makes the object of a prediction that clients see.
        closing: done when the server goes down: requests that wait are answered with what there is.
    """

    def __init__(
        self,
        spool: Spool,
        auth: Auth,
        retention: Retention,
        settings: Settings,
        describe: Describe,
        closing: asyncio.Future[None],
    ) -> None:
        self._spool = spool
        self._auth = auth
        self._retention = retention
        self._settings = settings
        self._describe = describe
        self._closing = closing

    async def _owner(self, request: Request) -> str:
        return await self._auth.owner(request)

    # Lists

    @described(
        summary="List predictions",
        tag="Predictions",
        details="The newest first, unfinished ones included. Filters may stand in the query as well.",
        parameters=LIST_PARAMETERS,
        body=LIST.schema,
        body_required=False,
        answers={200: _LISTED},
    )
    async def search(self, request: Request) -> Answer:
        """`POST /api/v3/predictions`."""
        owner = await self._owner(request)
        body = await json_object(request, self._settings)
        return await self._list(request, owner, LIST.of_body({**LIST.in_query(request), **body}))

    @described(
        summary="List predictions",
        tag="Predictions",
        details="The newest first, unfinished ones included.",
        parameters=LIST_PARAMETERS,
        answers={200: _LISTED},
        errors=(InvalidInput,),
    )
    async def every(self, request: Request) -> Answer:
        """`GET /api/v3/predictions`."""
        owner = await self._owner(request)
        return await self._list(request, owner, LIST.of_query(request))

    async def _list(self, request: Request, owner: str, wanted: dict[str, Any]) -> Answer:
        status = wanted["status"]
        filter = Filter(
            owner=owner,
            model=wanted["model"],
            status=None if status is None else Status(status),
            created_from_ns=time_ns("created_after", wanted["created_after"]),
            created_before_ns=time_ns("created_before", wanted["created_before"]),
        )
        page, size = wanted["page"], wanted["page_size"]
        found = await self._spool.archive.find(filter, offset=(page - 1) * size, limit=size)
        items = [await self._item(request, one, wanted["include_inputs"]) for one in found.predictions]
        return Json(page_of(page, size, found.total, items))

    async def _item(self, request: Request, prediction: Prediction, include_inputs: bool) -> dict[str, Any]:
        described = await self._describe(request, prediction)
        if include_inputs:
            described["input"] = described["inputs"] = msgspec.Raw(prediction.input)
        return described

    # Deleting

    @described(
        summary="Delete a prediction",
        tag="Predictions",
        details="One that has not ended is cancelled first. Afterwards it answers 404, with everything of it.",
        answers={200: data(obj({"id": schemas.TEXT, "status": {"const": "deleted"}}))},
        errors=(NotFound, Conflict),
    )
    async def delete(self, request: Request) -> Answer:
        """`DELETE /api/v3/predictions/{id}`."""
        owner, id = await self._owner(request), request.path_params["id"]
        if not await self._own(owner, [id]):
            raise NotFound("There is no such prediction. Check the id; predictions of other API keys cannot be seen.")
        await self._end([id])
        if not await self._retention.delete([id]) and await self._own(owner, [id]):
            raise Conflict("The prediction is being cancelled and has not stopped yet. Delete it again in a moment.")
        return Json({"id": id, "status": "deleted"})

    @described(
        summary="Delete predictions",
        tag="Predictions",
        details="Ids that are not known are passed over. Those that have not ended are cancelled first; one that has "
        "not stopped in time is not deleted and not counted.",
        body=_IDS.schema,
        answers={200: data(obj({"deleted_count": schemas.COUNT}))},
    )
    async def delete_many(self, request: Request) -> Answer:
        """`POST /api/v3/predictions/delete`."""
        owner = await self._owner(request)
        asked = _IDS.of_body(await json_object(request, self._settings))
        ids = await self._own(owner, dict.fromkeys(asked["ids"]))
        await self._end(ids)
        return Json({"deleted_count": len(await self._retention.delete(ids))})

    async def _own(self, owner: str, ids: Any) -> list[str]:
        """Those that are there and the owner's."""
        found = []
        for id in ids:
            try:
                if (await self._spool.get(id)).owner == owner:
                    found.append(id)
            except UnknownPrediction:
                continue
        return found

    async def _end(self, ids: list[str]) -> None:
        """Cancels all, then waits for a bounded time until none goes on."""
        deadline = asyncio.get_running_loop().time() + self._settings.delete_wait_s
        for id in ids:
            with suppress(UnknownPrediction):  # somebody else deleted it
                await self._spool.cancel(id)
        for id in ids:
            with suppress(UnknownPrediction):
                await self._until_ended(id, deadline)

    async def _until_ended(self, id: str, deadline: float) -> None:
        loop = asyncio.get_running_loop()
        with self._spool.watch(id) as watch:
            while not (await self._spool.get(id)).status.terminal:
                left_s = deadline - loop.time()
                if left_s <= 0 or self._closing.done():
                    return
                waiting: asyncio.Future[Any] = asyncio.ensure_future(watch.wait(left_s))
                await asyncio.wait([waiting, self._closing], return_when=asyncio.FIRST_COMPLETED)
                waiting.cancel()


def page_of(page: int, page_size: int, total: int, items: Any) -> dict[str, Any]:
    """One page of a list, with everything that clients ask for to get the next one."""
    return {
        "page": page,
        "page_size": page_size,
        "total": total,
        "has_more": page * page_size < total,
        "items": items,
    }
