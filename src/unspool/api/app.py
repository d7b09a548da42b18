"""The ASGI application: which path goes to which handler, and what every answer has in common.

Runs on any ASGI server. There is no middleware: what a handler answers goes straight to the server's `send`, since
each layer in between costs on every write of every stream.
"""

from __future__ import annotations

import asyncio
import functools
import secrets
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any

import structlog
from starlette.requests import ClientDisconnect, Request
from starlette.routing import Match, Route, Router
from starlette.types import Receive, Scope, Send

from unspool.api.account import Account
from unspool.api.auth import Auth
from unspool.api.body import discard_body
from unspool.api.description import bare, content, described, obj
from unspool.api.docs import Docs
from unspool.api.doctor import Doctor
from unspool.api.files import Downloads
from unspool.api.history import History
from unspool.api.media import Media
from unspool.api.models import Catalog, Models
from unspool.api.openapi import PER_MODEL, describe
from unspool.api.playground import Playground
from unspool.api.predictions import Predictions
from unspool.api.request import QuickRequest
from unspool.api.responses import Answer, Headers, Json, Text, error_answer
from unspool.api.stream import Viewers
from unspool.api.webhooks import Webhooks
from unspool.config import Settings
from unspool.errors import (
    BadJson,
    ClientError,
    Internal,
    MethodNotAllowed,
    NotFound,
    RequestTimeout,
    SpoolUnavailable,
    Unavailable,
    UnknownPrediction,
)
from unspool.model import RESERVED_SEGMENTS
from unspool.observer import Origin, origin
from unspool.retention import Retention
from unspool.spool import Spool
from unspool.views import Views

Handler = Callable[[Request], Awaitable[Answer]]
Scrape = Callable[[str], Awaitable[tuple[bytes, str]]]
"""Takes an `Accept` header; returns the metrics as text, and its content type."""

_EXPOSED = (
    b"x-prediction-id, x-request-id, content-location, retry-after, accept-ranges, content-range, content-length, "
    b"content-disposition, etag"
)
_ALLOWED_HEADERS = (
    b"authorization, content-type, accept, last-event-id, idempotency-key, prefer, range, if-range, if-none-match"
)

BASES = ("/api/v3", "/api/v2")
_LIVE = obj({"status": {"const": "live"}})
_READY = obj(
    {
        "status": {"enum": ["ready", "not ready"]},
        "models": {"type": "object", "additionalProperties": {"enum": ["loading", "ready", "unloaded", "failed"]}},
    }
)

_log = structlog.get_logger("unspool.api")


class Endpoint:
    """A path: its handler for each method, and what all answers need.

    Every answer carries `X-Request-Id`. A `ClientError` becomes its answer; anything else that is raised is our fault
    and is answered with 500, while the log has the details under the request's id.
    """

    def __init__(
        self, handlers: Mapping[str, Handler], cors_origins: list[str], exists: Callable[[Request], bool] | None = None
    ) -> None:
        self.handlers = handlers
        """By method."""
        self._exists = exists
        self._allowed = ", ".join([*handlers, "OPTIONS"])
        self._cors_origins = cors_origins

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """An ASGI application."""
        request = QuickRequest(scope, receive)
        request_id = secrets.token_hex(8)
        origin.set(Origin(request_id, scope["headers"]))
        extra: Headers = [(b"x-request-id", request_id.encode()), *self._cors(request)]
        try:
            answer = await self._handle(request, extra)
        except ClientError as error:
            answer = error_answer(error)
            if error.http_status >= 500 and error.__cause__ is not None:
                cause = str(error.__cause__).partition("\n")[0]
                _log.warning("a request failed", request_id=request_id, path=scope["path"], cause=cause)
            if isinstance(error, RequestTimeout):
                extra.append((b"connection", b"close"))
            elif request.method in ("POST", "PUT"):
                await discard_body(request)
        except UnknownPrediction:
            answer = error_answer(NotFound("There is no such prediction any more: it was deleted meanwhile."))
        except SpoolUnavailable as error:
            answer = error_answer(Unavailable(f"{error} Try again."))
            _log.warning("the spool is not available", request_id=request_id, cause=str(error))
        except ClientDisconnect:
            answer = error_answer(BadJson("The body broke off, or is not framed as its headers say."))
            extra.append((b"connection", b"close"))
        except Exception:
            _log.exception("a request failed", request_id=request_id, path=scope["path"])
            answer = error_answer(Internal("The server failed. Its log has the details under this X-Request-Id."))
        await answer.send(scope, receive, send, extra)

    async def _handle(self, request: Request, extra: Headers) -> Answer:
        if self._exists is not None and not self._exists(request):
            raise NotFound("There is nothing at this path. The API begins at /api/v3; the docs list its paths.")
        method = "GET" if request.method == "HEAD" else request.method
        handler = self.handlers.get(method)
        if handler is not None:
            return await handler(request)
        extra.append((b"allow", self._allowed.encode()))
        if method == "OPTIONS":
            return Json(None)
        raise MethodNotAllowed(f"Use {' or '.join(self.handlers)} here, not {request.method[:20]}.")

    def _cors(self, request: Request) -> Headers:
        """URLs with a token may be opened from any page; for the rest, the setting says which pages may."""
        origin = request.headers.get("origin")
        if origin is None:
            return []
        if "token" in request.query_params or "*" in self._cors_origins:
            allowed = b"*"
        elif origin in self._cors_origins:
            allowed = origin.encode("latin-1")
        else:
            return []
        headers = [
            (b"access-control-allow-origin", allowed),
            (b"access-control-expose-headers", _EXPOSED),
            (b"vary", b"origin"),
        ]
        if request.method == "OPTIONS":
            headers += [
                (b"access-control-allow-methods", self._allowed.encode()),
                (b"access-control-allow-headers", _ALLOWED_HEADERS),
                (b"access-control-max-age", b"600"),
            ]
        return headers


class App:
    """The HTTP side of a server.

    Args:
        health: tells how each model does, by id; empty while the models are not known yet.
        retention: deletes predictions; its default knows of no files.
        scrape: the metrics; without it there are none.
    """

    def __init__(
        self,
        spool: Spool,
        catalog: Catalog,
        auth: Auth,
        viewers: Viewers,
        views: Views,
        settings: Settings,
        health: Callable[[], Mapping[str, str]],
        retention: Retention | None = None,
        scrape: Scrape | None = None,
        *,
        downloads: Downloads,
        media: Media,
    ) -> None:
        self._auth = auth
        self._scrape = scrape if settings.metrics != "off" else None
        self._metrics_are_open = settings.metrics == "open"
        self._catalog = catalog
        self._health = health
        self._cors_origins = settings.cors_origins
        self.draining = False
        """Set when the server is about to go down: nothing new is accepted."""
        self._closing: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._answering = 0
        self._answered = asyncio.Event()
        predictions = Predictions(spool, catalog, auth, viewers, views, settings, self._closing)
        retention = retention or Retention(spool, settings)
        history = History(spool, auth, retention, settings, predictions.describe, self._closing)
        self.routes = [
            *(_SubmitRoute(f"{base}/{PER_MODEL}", self._submit_to(predictions)) for base in BASES),
            self._route("/health/live", GET=self._live),
            self._route("/health/ready", GET=self._ready),
            *([] if self._scrape is None else [self._route("/metrics", GET=self._metrics)]),
            *self._of_docs(Docs(auth, settings, self.describe)),
            *(self._of_playground(Playground(settings)) if settings.playground else []),
            *self._of_doctor(Doctor(auth, settings, self._closing)),
            *self._of_models(Models(catalog, auth, settings)),
            *self._of_account(Account(spool, catalog, auth, settings)),
            *self._of_files(downloads, media),
            *self._of_webhooks(Webhooks(spool, auth, predictions.own, settings)),
            *self._of_predictions(predictions, history),
        ]
        """What is served: the description of the API is made of it too."""
        nothing = Endpoint({}, self._cors_origins, exists=lambda request: False)
        self._router = Router(self.routes, redirect_slashes=False, default=nothing)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI application."""
        if scope["type"] == "http":
            self._answering += 1
            try:
                await self._router(scope, receive, send)
            finally:
                self._answering -= 1
                self._answered.set()
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close"})

    async def close(self) -> None:
        """Answers those who wait for news with what there is; returns when all have an answer, or after a second."""
        self.draining = True
        if not self._closing.done():
            self._closing.set_result(None)
        with suppress(TimeoutError):
            async with asyncio.timeout(1):
                await self._until_answered()

    async def _until_answered(self) -> None:
        while self._answering:
            self._answered.clear()
            await self._answered.wait()

    async def describe(self, server: str) -> dict[str, Any]:
        """The OpenAPI document of this application, as it is reached at the base URL `server`."""
        return describe(self.routes, _handlers, await self._catalog.infos(), server)

    def _of_docs(self, docs: Docs) -> list[Route]:
        return [
            self._route("/openapi.json", GET=docs.openapi),
            self._route("/docs", GET=docs.page),
            self._route("/docs/{file}", GET=docs.file),
        ]

    def _of_playground(self, playground: Playground) -> list[Route]:
        return [
            self._route("/", GET=playground.page),
            self._route("/playground/{path:path}", GET=playground.file),
        ]

    def _of_doctor(self, doctor: Doctor) -> list[Route]:
        found = []
        for base in BASES:
            found += [
                self._route(f"{base}/predictions/health/stream", GET=doctor.get),
                self._route(f"{base}/model/health/stream", POST=doctor.post),
            ]
        return found

    def _of_files(self, downloads: Downloads, media: Media) -> list[Route]:
        found = [Route("/files/{name}", Endpoint({"GET": downloads.get}, ["*"]))]
        for base in BASES:
            found += [
                self._route(f"{base}/media/uploads", POST=self._while_open(media.ticket)),
                self._route(f"{base}/media/uploads/{{name}}", PUT=self._while_open(media.put)),
                self._route(f"{base}/media/upload/binary", POST=self._while_open(media.form)),
                self._route(f"{base}/upload", POST=self._while_open(media.form)),
            ]
        return found

    def _of_models(self, models: Models) -> list[Route]:
        found = []
        for base in BASES:
            found += [
                self._route(f"{base}/models", GET=models.list),
                self._route(f"{base}/models/{PER_MODEL}/readme", GET=models.readme),
            ]
        return found

    def _of_account(self, account: Account) -> list[Route]:
        found = []
        for base in BASES:
            found += [
                self._route(f"{base}/model/price", POST=account.price),
                self._route(f"{base}/model/pricing", POST=account.pricing),
                self._route(f"{base}/balance", GET=account.balance),
                self._route(f"{base}/account/balance", GET=account.balance),
                self._route(f"{base}/user/usage_stats", POST=account.usage_stats),
                self._route(f"{base}/account/usage", GET=account.usage),
                self._route(f"{base}/billings/search", POST=account.billings_search),
                self._route(f"{base}/account/billings", GET=account.billings),
            ]
        return found

    def _of_webhooks(self, webhooks: Webhooks) -> list[Route]:
        found = []
        for base in BASES:
            found += [
                self._route(f"{base}/webhook/secret", GET=webhooks.secret),
                self._route(f"{base}/webhook/secret/rotate", POST=webhooks.rotate),
                self._route(f"{base}/predictions/{{id}}/deliveries", GET=webhooks.deliveries, POST=webhooks.send_again),
            ]
        return found

    def _of_predictions(self, predictions: Predictions, history: History) -> list[Route]:
        found = []
        for base in BASES:
            one = f"{base}/predictions/{{id}}"
            found += [
                self._route(f"{base}/predictions", POST=history.search, GET=history.every),
                self._route(f"{base}/predictions/delete", POST=history.delete_many),
                self._route(one, GET=predictions.get, DELETE=history.delete),
                self._route(f"{one}/result", GET=predictions.get),
                self._route(f"{one}/stream", GET=predictions.stream),
                self._route(f"{one}/events", GET=predictions.events),
                self._route(f"{one}/cancel", POST=predictions.cancel),
            ]
        return found

    def _route(self, path: str, **handlers: Handler) -> Route:
        return Route(path, Endpoint(handlers, self._cors_origins))

    def _submit_to(self, predictions: Predictions) -> Endpoint:
        submit = self._while_open(predictions.submit)
        return Endpoint({"POST": submit}, self._cors_origins)

    def _while_open(self, handler: Handler) -> Handler:
        @functools.wraps(handler)
        async def accept(request: Request) -> Answer:
            if self.draining:
                raise Unavailable("The server is shutting down. Try again in a moment.")
            return await handler(request)

        return accept

    @described(
        summary="Metrics for Prometheus",
        tag="Health",
        details="Who may read them is a setting (`UNSPOOL_METRICS`).",
        answers={200: content({"text/plain": {"type": "string"}, "application/openmetrics-text": {"type": "string"}})},
    )
    async def _metrics(self, request: Request) -> Answer:
        if not self._metrics_are_open:
            await self._auth.owner(request)
        assert self._scrape is not None
        return Text(*await self._scrape(request.headers.get("accept", "")))

    @described(summary="Whether the server runs", tag="Health", security="none", answers={200: bare(_LIVE)})
    async def _live(self, request: Request) -> Answer:
        return Json({"status": "live"}, bare=True)

    @described(
        summary="Whether every model is loaded",
        tag="Health",
        security="none",
        answers={200: bare(_READY), 503: bare(_READY, "Not every model is loaded, or the server is going down.")},
    )
    async def _ready(self, request: Request) -> Answer:
        models = self._health()
        ready = bool(models) and all(state in ("ready", "unloaded") for state in models.values()) and not self.draining
        body: dict[str, Any] = {"status": "ready" if ready else "not ready", "models": dict(models)}
        return Json(body, bare=True, status=200 if ready else 503)


def _handlers(route: Route) -> Mapping[str, Handler]:
    endpoint = route.endpoint
    assert isinstance(endpoint, Endpoint)
    return endpoint.handlers


class _SubmitRoute(Route):
    """The path of every model: whatever does not begin with a word of ours.

    It is the first of all routes, since they are tried one after the other and this one is asked for most.
    """

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """See `Route.matches`."""
        match, found = super().matches(scope)
        if match is Match.FULL and found["path_params"]["model_id"].partition("/")[0] in RESERVED_SEGMENTS:
            return Match.NONE, {}
        return match, found
