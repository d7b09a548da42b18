"""What models cost and what was used (`wavespeed-v3.md` §1.8, §1.9), on a server that bills nobody.

Every figure is counted from predictions: a prediction costs the price that its model had when it was made, and only if
it completes. There is no account with money in it, so the balance is 0 and nothing is ever refused for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any

from starlette.requests import Request

from unspool.api import schemas
from unspool.api.auth import Auth
from unspool.api.body import json_object
from unspool.api.description import array, data, described, obj, query
from unspool.api.fields import Fields, time_ns
from unspool.api.history import PAGE, PAGING, page_of
from unspool.api.models import Catalog, invalid_input
from unspool.api.responses import Answer, Json
from unspool.config import Settings
from unspool.errors import BadQuery, InvalidInput, UnknownModel
from unspool.model import RESERVED_FIELDS
from unspool.spool import Spool
from unspool.spool.archive import Filter, Listing, Usage
from unspool.states import Status
from unspool.types import Prediction
from unspool.views import rfc3339

CURRENCY = "USD"
MAX_DAYS = 31
"""A request for usage covers so many days at most."""
DEFAULT_DAYS = 7
_DECIMALS = 9

_TIME = {"type": "string", "description": "RFC 3339, a date, or milliseconds since 1970."}
_PRICE = Fields(
    {
        "type": "object",
        "properties": {
            "model_id": {"type": "string"},
            "inputs": {"type": "object", "description": "Checked as by a submit, if they are given."},
        },
        "required": ["model_id"],
    }
)
_USAGE = Fields(
    {
        "type": "object",
        "properties": {
            "start_time": {**_TIME, "description": f"Default: {DEFAULT_DAYS} days before the end."},
            "end_time": {**_TIME, "description": "Default: now."},
            "model_uuid": {"type": "string", "description": "Only of this model."},
        },
    }
)
_BILLINGS = Fields(
    {
        "type": "object",
        "properties": {
            **PAGING,
            "billing_type": {"type": "string", "enum": ["deduct", "refund"]},
            "prediction_uuids": {"type": "array", "items": {"type": "string"}, "maxItems": 1_000},
            "model_uuid": {"type": "string"},
            "access_key_uuid": {"type": "string"},
            "sort": {"type": "string", "enum": ["created_at ASC", "created_at DESC"], "default": "created_at DESC"},
            "start_time": _TIME,
            "end_time": _TIME,
        },
    }
)
_BALANCE = data(obj({"balance": schemas.NUMBER, "currency": schemas.CURRENCY}))
_USED = data(
    obj(
        {
            "per_model_usage": array(
                obj(
                    {
                        "model_uuid": schemas.TEXT,
                        "model_type": schemas.TEXT,
                        "unit_price": schemas.NUMBER,
                        "total_cost": schemas.NUMBER,
                        "total_count": schemas.COUNT,
                        "last_used_date": schemas.TIME,
                    }
                )
            ),
            "daily_usage": array(
                obj(
                    {
                        "date": schemas.TEXT,
                        "amount": schemas.NUMBER,
                        "count": schemas.COUNT,
                        "models": array(
                            obj({"model_uuid": schemas.TEXT, "amount": schemas.NUMBER, "count": schemas.COUNT})
                        ),
                    }
                )
            ),
            "summary": obj(
                {
                    "total_cost": schemas.NUMBER,
                    "total_requests": schemas.COUNT,
                    "success_requests": schemas.COUNT,
                }
            ),
        }
    ),
    "Counted from predictions, by whole days (UTC).",
)
_BILLED = data(
    obj(
        {
            **PAGE,
            "items": array(
                obj(
                    {
                        "uuid": schemas.TEXT,
                        "access_key_id": schemas.TEXT,
                        "access_key_name": schemas.TEXT,
                        "billing_type": {"const": "deduct"},
                        "price": schemas.NUMBER,
                        "created_at": schemas.TIME,
                        "updated_at": schemas.TIME,
                        "order": obj(
                            {
                                "uuid": schemas.TEXT,
                                "state": schemas.TEXT,
                                "price": schemas.NUMBER,
                                "origin_price": schemas.NUMBER,
                                "status": schemas.COUNT,
                                "ak_id": schemas.TEXT,
                            }
                        ),
                        "prediction": obj({"uuid": schemas.TEXT, "model_uuid": schemas.TEXT, "status": schemas.STATUS}),
                    }
                )
            ),
        }
    ),
    "One for each kept prediction that completed and had a price.",
)


def _parameters(fields: Fields) -> tuple[dict[str, Any], ...]:
    """Those fields that can stand in a query."""
    properties: Mapping[str, Any] = fields.schema["properties"]
    return tuple(
        query(
            name, {key: value for key, value in schema.items() if key != "description"}, schema.get("description", "")
        )
        for name, schema in properties.items()
        if schema["type"] != "array"
    )


class Account:
    """The handlers."""

    def __init__(self, spool: Spool, catalog: Catalog, auth: Auth, settings: Settings) -> None:
        self._spool = spool
        self._catalog = catalog
        self._auth = auth
        self._settings = settings

    async def _owner(self, request: Request) -> str:
        return await self._auth.owner(request)

    async def _said(self, request: Request, fields: Fields) -> dict[str, Any]:
        return fields.of_body(await json_object(request, self._settings))

    # Price

    @described(
        summary="The price of a prediction",
        tag="Account",
        body=_PRICE.schema,
        answers={
            200: data(
                obj(
                    {
                        "model_id": schemas.TEXT,
                        "price": schemas.NUMBER,
                        "discounted_price": schemas.NUMBER,
                        "currency": schemas.CURRENCY,
                    }
                )
            )
        },
        errors=(UnknownModel,),
    )
    async def price(self, request: Request) -> Answer:
        """`POST /api/v3/model/price`."""
        id, price = await self._priced(request)
        return Json({"model_id": id, "price": price, "discounted_price": price, "currency": CURRENCY})

    @described(
        summary="The price of a prediction, in the older form",
        tag="Account",
        body=_PRICE.schema,
        answers={
            200: data(obj({"model_id": schemas.TEXT, "unit_price": schemas.NUMBER, "currency": schemas.CURRENCY}))
        },
        errors=(UnknownModel,),
    )
    async def pricing(self, request: Request) -> Answer:
        """`POST /api/v3/model/pricing`."""
        id, price = await self._priced(request)
        return Json({"model_id": id, "unit_price": price, "currency": CURRENCY})

    async def _priced(self, request: Request) -> tuple[str, float]:
        await self._owner(request)
        asked = await self._said(request, _PRICE)
        served = await self._catalog.find(asked["model_id"])
        inputs: dict[str, Any] = asked["inputs"] or {}
        inputs = {name: value for name, value in inputs.items() if name not in RESERVED_FIELDS}
        errors = served.check(inputs) if inputs else []
        if errors:
            raise invalid_input(served.info.id, errors)
        return served.info.id, served.info.price

    # Balance and usage

    @described(summary="The balance, which is 0: nobody is billed", tag="Account", answers={200: _BALANCE})
    async def balance(self, request: Request) -> Answer:
        """`GET /api/v3/balance` and `/account/balance`."""
        await self._owner(request)
        return Json({"balance": 0, "currency": CURRENCY})

    @described(
        summary="What was used, by model and day",
        tag="Account",
        details=f"Covers the days (UTC) that the times touch, {MAX_DAYS} at most; in them, what was made then.",
        body=_USAGE.schema,
        body_required=False,
        answers={200: _USED},
    )
    async def usage_stats(self, request: Request) -> Answer:
        """`POST /api/v3/user/usage_stats`."""
        owner = await self._owner(request)
        return await self._usage(owner, await self._said(request, _USAGE))

    @described(
        summary="What was used, by model and day",
        tag="Account",
        parameters=_parameters(_USAGE),
        answers={200: _USED},
        errors=(InvalidInput,),
    )
    async def usage(self, request: Request) -> Answer:
        """`GET /api/v3/account/usage`."""
        owner = await self._owner(request)
        return await self._usage(owner, _USAGE.of_query(request))

    async def _usage(self, owner: str, asked: Mapping[str, Any]) -> Answer:
        first, last = _days(asked)
        used = await self._spool.archive.usage(owner, first, last)
        model = asked["model_uuid"]
        used = [one for one in used if model in (None, one.model)]
        return Json(
            {
                "per_model_usage": [self._of_model(id, some) for id, some in _grouped(used, lambda one: one.model)],
                "daily_usage": [_of_day(day, some) for day, some in _grouped(used, lambda one: one.day.isoformat())],
                "summary": {
                    "total_cost": _cost(used),
                    "total_requests": sum(one.requests for one in used),
                    "success_requests": sum(one.completed for one in used),
                },
            }
        )

    def _of_model(self, id: str, used: list[Usage]) -> dict[str, Any]:
        info = self._catalog.info(id)
        completed, cost = sum(one.completed for one in used), _cost(used)
        return {
            "model_uuid": id,
            "model_type": info.category if info else "other",
            "unit_price": round(cost / completed, _DECIMALS) if completed else 0,
            "total_cost": cost,
            "total_count": sum(one.requests for one in used),
            "last_used_date": rfc3339(max(one.last_created_at_ns for one in used)),
        }

    # Billings

    @described(
        summary="What was counted, one by one",
        tag="Account",
        body=_BILLINGS.schema,
        body_required=False,
        answers={200: _BILLED},
    )
    async def billings_search(self, request: Request) -> Answer:
        """`POST /api/v3/billings/search`."""
        owner = await self._owner(request)
        return await self._billings(owner, await self._said(request, _BILLINGS))

    @described(
        summary="What was counted, one by one",
        tag="Account",
        parameters=_parameters(_BILLINGS),
        answers={200: _BILLED},
        errors=(InvalidInput, BadQuery),
    )
    async def billings(self, request: Request) -> Answer:
        """`GET /api/v3/account/billings`."""
        owner = await self._owner(request)
        return await self._billings(owner, _BILLINGS.of_query(request))

    async def _billings(self, owner: str, asked: Mapping[str, Any]) -> Answer:
        page, size = asked["page"], asked["page_size"]
        ids = asked["prediction_uuids"]
        wanted = Filter(
            owner=owner,
            model=asked["model_uuid"],
            created_from_ns=time_ns("start_time", asked["start_time"]),
            created_before_ns=time_ns("end_time", asked["end_time"]),
            ids=None if ids is None else tuple(ids),
            charged=True,
        )
        found = Listing([], 0)
        if asked["billing_type"] != "refund" and asked["access_key_uuid"] in (None, owner):
            oldest_first = asked["sort"] == "created_at ASC"
            offset = (page - 1) * size
            found = await self._spool.archive.find(wanted, offset=offset, limit=size, oldest_first=oldest_first)
        return Json(page_of(page, size, found.total, [_billing(one) for one in found.predictions]))


def _days(asked: Mapping[str, Any]) -> tuple[date, date]:
    """The days that the times touch.

    Raises:
        InvalidInput: they are too many, or end before they begin.
    """
    end_ns, start_ns = time_ns("end_time", asked["end_time"]), time_ns("start_time", asked["start_time"])
    last = datetime.now(UTC).date() if end_ns is None else _day(end_ns)
    first = last - timedelta(days=DEFAULT_DAYS) if start_ns is None else _day(start_ns)
    if not timedelta(0) <= last - first <= timedelta(days=MAX_DAYS):
        message = f"must be at most {MAX_DAYS} days before end_time, and not after it"
        raise InvalidInput("Correct these fields: start_time", [{"field": "start_time", "message": message}])
    return first, last


def _day(at_ns: int) -> date:
    return date(1970, 1, 1) + timedelta(days=at_ns // (86_400 * 10**9))


def _grouped(used: Iterable[Usage], key: Callable[[Usage], str]) -> list[tuple[str, list[Usage]]]:
    groups: dict[str, list[Usage]] = {}
    for one in used:
        groups.setdefault(key(one), []).append(one)
    return sorted(groups.items())


def _of_day(day: str, used: list[Usage]) -> dict[str, Any]:
    return {
        "date": day,
        "amount": _cost(used),
        "count": sum(one.requests for one in used),
        "models": [{"model_uuid": one.model, "amount": _cost([one]), "count": one.requests} for one in used],
    }


def _cost(used: list[Usage]) -> float:
    return round(sum(one.cost for one in used), _DECIMALS)


def _billing(prediction: Prediction) -> dict[str, Any]:
    """The deduction for a prediction. It has the prediction's id, since there is at most one."""
    assert prediction.finished_at_ns is not None
    return {
        "uuid": prediction.id,
        "access_key_id": prediction.owner,
        "access_key_name": "",
        "billing_type": "deduct",
        "price": prediction.price,
        "created_at": rfc3339(prediction.created_at_ns),
        "updated_at": rfc3339(prediction.finished_at_ns),
        "order": {
            "uuid": prediction.id,
            "state": str(Status.COMPLETED),
            "price": prediction.price,
            "origin_price": prediction.price,
            "status": 1,
            "ak_id": prediction.owner,
        },
        "prediction": {"uuid": prediction.id, "model_uuid": prediction.model, "status": prediction.status},
    }
