"""Webhooks over HTTP: where a submit wants one sent, what became of it, and the secret that signs it (`wire.md` §5)."""

from __future__ import annotations

import re
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from starlette.requests import Request

from unspool.api.auth import Auth
from unspool.api.description import data, described, ref
from unspool.api.responses import Answer, Json
from unspool.config import Settings
from unspool.errors import Base64WithWebhook, Conflict, NotFound, Refused, WebhookRefused
from unspool.net import check_url
from unspool.spool import Spool
from unspool.spool.deliveries import Delivery, Secrets, Try
from unspool.types import Prediction
from unspool.views import rfc3339

MAX_URL_CHARACTERS = 4_000

_ALLOWING = (
    "For trials, the server can be started with UNSPOOL_WEBHOOK_ALLOW_HTTP=1 and UNSPOOL_WEBHOOK_ALLOW_HOSTS=host,…"
)
_UNENCODED = re.compile(rb"(?:^|&)webhook=(https?://.*)", re.IGNORECASE | re.DOTALL)
_NO_DELIVERY = Delivery(state="pending", next_try_at_ns=None, tries=[])


class Webhooks:
    """The handlers. Each returns an answer or raises a `ClientError`.

    Args:
        own: the prediction of a path, if it is of the key that asks.
    """

    def __init__(
        self, spool: Spool, auth: Auth, own: Callable[[Request], Awaitable[Prediction]], settings: Settings
    ) -> None:
        self._owed = spool.deliveries
        self._auth = auth
        self._own = own
        self._settings = settings

    @described(
        summary="What became of the webhook",
        tag="Webhooks",
        details="With each request that was sent, its answer, and when the next one goes out.",
        answers={200: data(ref("Delivery"))},
        errors=(NotFound,),
    )
    async def deliveries(self, request: Request) -> Answer:
        """`GET /api/v3/predictions/{id}/deliveries`."""
        return Json(await self._shown(await self._own(request)))

    @described(
        summary="Send the webhook again",
        tag="Webhooks",
        answers={200: data(ref("Delivery"))},
        errors=(NotFound, Conflict),
    )
    async def send_again(self, request: Request) -> Answer:
        """`POST /api/v3/predictions/{id}/deliveries`."""
        prediction = await self._own(request)
        if prediction.webhook_url is None:
            raise Conflict("This prediction has no webhook. Name one in webhook_url when you submit.")
        if not await self._owed.send_again(prediction.id, time.time_ns()):
            raise Conflict("This prediction has not ended. Its webhook is sent when it has; then it can be sent again.")
        return Json(await self._shown(prediction))

    async def _shown(self, prediction: Prediction) -> dict[str, Any]:
        found = await self._owed.get(prediction.id)
        nothing = "none" if prediction.webhook_url is None else "waiting"
        delivery = found or _NO_DELIVERY
        return {
            "id": prediction.id,
            "webhook_url": prediction.webhook_url or "",
            "status": nothing if found is None else found.state,
            "next_try_at": _time(delivery.next_try_at_ns),
            "attempts": [_attempt(number, tried) for number, tried in enumerate(delivery.tries, start=1)],
        }

    @described(
        summary="The secret that signs webhooks",
        tag="Webhooks",
        details="One for each API key.",
        answers={200: data(ref("WebhookSecret"))},
    )
    async def secret(self, request: Request) -> Answer:
        """`GET /api/v3/webhook/secret`."""
        owner = await self._auth.owner(request)
        return Json(_secret(await self._owed.secrets(owner, time.time_ns())))

    @described(
        summary="Make a new secret",
        tag="Webhooks",
        details="Until `previous_valid_until` the one before is good, too.",
        answers={200: data(ref("WebhookSecret"))},
    )
    async def rotate(self, request: Request) -> Answer:
        """`POST /api/v3/webhook/secret/rotate`."""
        owner = await self._auth.owner(request)
        now_ns = time.time_ns()
        until_ns = now_ns + int(self._settings.webhook_overlap_s * 1e9)
        return Json(_secret(await self._owed.rotate(owner, now_ns, until_ns)))


def take_webhook(request: Request) -> tuple[Request, str]:
    """The `webhook` of the query, or "", and the request without it.

    A client of the time appends the URL as it is (npm `wavespeed` 0.0.15), so that what stands behind `&` belongs to
    the URL once that has a `?`.
    """
    query: bytes = request.scope["query_string"]
    match = _UNENCODED.search(query)
    if match is None:
        return request, request.query_params.get("webhook", "")
    url, rest = match[1], b""
    if b"?" not in url.partition(b"&")[0]:
        url, _, rest = url.partition(b"&")
    before = query[: match.start()]
    left = b"&".join(part for part in (before, rest) if part)
    return Request({**request.scope, "query_string": left}, request.receive), url.decode("latin-1")


async def webhook_url(in_query: str, fields: Mapping[str, Any], settings: Settings) -> str | None:
    """Where this submit wants its webhook, if anywhere.

    Raises:
        Base64WithWebhook: a webhook cannot carry what it asks for.
        WebhookRefused: this server does not send there.
    """
    in_body: str = fields.get("webhook_url") or ""
    if in_body and in_query and in_body != in_query:
        raise WebhookRefused("webhook_url and the query's webhook name two URLs. Send one of them.")
    url = in_body or in_query
    if not url:
        return None
    if fields.get("enable_base64_output"):
        raise Base64WithWebhook("A webhook cannot carry base64 outputs. Leave out enable_base64_output.")
    if len(url) > MAX_URL_CHARACTERS:
        raise WebhookRefused(f"The webhook's URL is longer than {MAX_URL_CHARACTERS} characters. Send a shorter one.")
    try:
        await check_url(url, allow_http=settings.webhook_allow_http, allow_hosts=settings.webhook_allow_hosts)
    except Refused as error:
        raise WebhookRefused(f"The webhook is refused. {error} {_ALLOWING}") from None
    return url


def _attempt(number: int, tried: Try) -> dict[str, Any]:
    return {
        "attempt": number,
        "at": rfc3339(tried.started_at_ns),
        "status": tried.http_status,
        "duration_ms": round(tried.duration_ns / 1e6, 3),
        "error": tried.error,
        "answer": tried.answer.decode("utf-8", "replace"),
        "next_try_at": _time(tried.next_try_at_ns),
    }


def _secret(secrets: Secrets) -> dict[str, Any]:
    return {"secret": secrets.current, "previous_valid_until": _time(secrets.previous_until_ns)}


def _time(time_ns: int | None) -> str | None:
    return None if time_ns is None else rfc3339(time_ns)
