"""Predictions over HTTP: submit, poll, cancel, and both ways to follow (`wire.md` §2–4)."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
import time
from collections.abc import Mapping
from typing import Any, Literal, cast

import msgspec
from starlette.requests import Request

from unspool import events
from unspool.api.auth import Auth
from unspool.api.body import INPUTS, json_object
from unspool.api.description import (
    PREDICTION_HEADER,
    bare,
    content,
    data,
    described,
    empty,
    header,
    obj,
    query,
    ref,
)
from unspool.api.limits import Seats
from unspool.api.models import Catalog, ServedModel, invalid_input
from unspool.api.openapi import MODEL_INPUTS
from unspool.api.responses import Answer, Json, NoContent, Stream
from unspool.api.schemas import CURSOR, EVENT_PAGE, STREAM
from unspool.api.stream import READ_LIMIT, Viewers, resume_point
from unspool.api.webhooks import take_webhook, webhook_url
from unspool.config import Settings
from unspool.errors import (
    BadCursor,
    BadQuery,
    Base64WithWebhook,
    IdempotencyMismatch,
    NotFound,
    QueueFull,
    StreamingNotSupported,
    UnknownModel,
    UnknownPrediction,
    WebhookRefused,
)
from unspool.events import TaskCode
from unspool.model import RESERVED_FIELDS
from unspool.spool import Spool
from unspool.spool.watch import Watch
from unspool.types import START, Cursor, OnDisconnect, Prediction, Submission
from unspool.views import Views

MAX_WAIT_S = 600
MAX_POLL_WAIT_S = 60
MAX_TIMEOUT_S = 7 * 24 * 3600

_TIMEOUT = {"type": "number", "minimum": 0.001, "maximum": MAX_TIMEOUT_S}
_ON_DISCONNECT = "`cancel`: it is cancelled when its last viewer has been gone for a while."
_IDEMPOTENCY = "For 24 hours the same key with the same request answers with the same prediction."
_WAIT = "Seconds to wait if there is nothing new."
_AFTER = query("after", CURSOR, "The cursor of the last event that was received.")
_LAST_EVENT_ID = header("Last-Event-ID", CURSOR, "As `after`, and wins over it.")

_decode = msgspec.json.Decoder().decode
_Form = Literal["stream", "wait", "async"]


class Predictions:
    """The handlers. Each returns an answer or raises a `ClientError`.

    Args:
        closing: done when the server goes down: requests that wait for news are answered with what there is.
    """

    def __init__(
        self,
        spool: Spool,
        catalog: Catalog,
        auth: Auth,
        viewers: Viewers,
        views: Views,
        settings: Settings,
        closing: asyncio.Future[None],
    ) -> None:
        self._closing = closing
        self._spool = spool
        self._catalog = catalog
        self._auth = auth
        self._viewers = viewers
        self._views = views
        self._settings = settings
        self._seats = Seats(auth.limits)

    # Submit

    @described(
        summary="Run a model",
        tag="Models that run",
        body=MODEL_INPUTS,
        parameters=(
            query("on_disconnect", {"enum": ["continue", "cancel"], "default": "continue"}, _ON_DISCONNECT),
            query("start_timeout", _TIMEOUT, "Seconds that it may wait for its start."),
            query("run_timeout", _TIMEOUT, "Seconds that one attempt may take."),
            header("Idempotency-Key", {"type": "string", "pattern": "^[!-~]{1,255}$"}, _IDEMPOTENCY),
            header("Prefer", {"type": "string"}, "`wait=N`: answer when it has ended, or after N seconds (1 to 600)."),
        ),
        answers={
            200: content(
                {
                    "application/json": obj(
                        {"code": {"const": 200}, "message": {"const": "success"}, "data": ref("Prediction")}
                    ),
                    "text/event-stream": STREAM,
                },
                headers=PREDICTION_HEADER,
            )
        },
        errors=(
            BadQuery,
            StreamingNotSupported,
            WebhookRefused,
            Base64WithWebhook,
            UnknownModel,
            QueueFull,
            IdempotencyMismatch,
        ),
    )
    async def submit(self, request: Request) -> Answer:
        """`POST /api/v3/{model_id}`, with or without `/stream`."""
        owner = await self._auth.owner(request)
        model_id, streamed = _split_stream(request.path_params["model_id"])
        body = await json_object(request, self._settings, INPUTS)
        served = await self._catalog.find(model_id)
        fields = {name: body.pop(name) for name in RESERVED_FIELDS & body.keys()}
        errors = _wrong_fields(fields) + served.check(body)
        if errors:
            raise invalid_input(model_id, errors)
        form, wait_s = self._form(request, fields, streamed)
        if form == "stream" and not served.info.streams:
            raise StreamingNotSupported(
                f"{model_id} does not stream. Leave out 'stream' and poll the prediction's urls.get, or use a webhook."
            )
        if form == "stream":
            self._seats.check(owner)
        submission = await self._submission(request, served, owner, fields, body)
        submitted = await self._spool.submit(submission)
        return await self._answer(request, submitted.prediction, form, wait_s)

    def _form(self, request: Request, fields: Mapping[str, Any], streamed: bool) -> tuple[_Form, float]:
        """In which form to answer. If several are asked for: stream, then sync, then async."""
        accept = request.headers.get("accept", "")
        wants_events = "text/event-stream" in accept and "application/json" not in accept
        if streamed or fields.get("stream") or (wants_events and fields.get("stream") is None):
            return "stream", 0
        if fields.get("enable_sync_mode"):
            return "wait", self._settings.sync_wait_s
        wait_s = _preferred_wait(request.headers.get("prefer", ""))
        return ("wait", wait_s) if wait_s else ("async", 0)

    async def _answer(self, request: Request, prediction: Prediction, form: _Form, wait_s: float) -> Answer:
        headers = {"x-prediction-id": prediction.id}
        if form == "stream":
            return self._stream(prediction, START)
        if form == "wait":
            prediction = await self._wait(prediction, wait_s)
        described = await self.describe(request, prediction)
        if form == "wait" and not prediction.status.terminal:
            message = (
                f"Sync mode timed out after {wait_s:g} seconds. The prediction is still processing asynchronously."
            )
            described |= {"status": "processing", "code": int(TaskCode.TIMEOUT), "error": message, "outputs": []}
        return Json(described, headers)

    async def _submission(
        self, request: Request, served: ServedModel, owner: str, fields: Mapping[str, Any], inputs: dict[str, Any]
    ) -> Submission:
        """What is asked for, if it is right in every part."""
        request, in_query = take_webhook(request)
        webhook = await webhook_url(in_query, fields, self._settings)
        return _submission(request, served, owner, fields, inputs, webhook, self._base_url(request))

    def _base_url(self, request: Request) -> str:
        return self._settings.public_url or str(request.base_url)

    async def _wait(self, prediction: Prediction, seconds: float) -> Prediction:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        with self._spool.watch(prediction.id) as watch:
            while not prediction.status.terminal:
                prediction = await self._spool.get(prediction.id)
                left_s = deadline - loop.time()
                if left_s <= 0 or self._closing.done():
                    break
                if not prediction.status.terminal:
                    await self._wait_for_news(watch, left_s)
        return prediction

    async def _wait_for_news(self, watch: Watch, seconds: float) -> None:
        waiting: asyncio.Future[Any] = asyncio.ensure_future(watch.wait(seconds))
        try:
            await asyncio.wait([waiting, self._closing], return_when=asyncio.FIRST_COMPLETED)
        finally:
            waiting.cancel()

    # Poll and cancel

    @described(
        summary="Get a prediction",
        tag="Predictions",
        parameters=(query("logs", {"type": "boolean", "default": False}, "With its lines of log."),),
        answers={200: data(ref("Prediction"))},
        errors=(NotFound,),
    )
    async def get(self, request: Request) -> Answer:
        """`GET /api/v3/predictions/{id}` and `…/result`."""
        prediction = await self.own(request)
        described = await self.describe(request, prediction)
        if _flag(request, "logs"):
            described["logs"] = await self._logs(prediction.id)
        return Json(described)

    @described(
        summary="Cancel a prediction",
        tag="Predictions",
        details="Answers with the prediction as it stands; asking twice is asking once.",
        answers={200: data(ref("Prediction"))},
        errors=(NotFound,),
    )
    async def cancel(self, request: Request) -> Answer:
        """`POST /api/v3/predictions/{id}/cancel`."""
        prediction = await self.own(request)
        return Json(await self.describe(request, await self._spool.cancel(prediction.id)))

    async def own(self, request: Request) -> Prediction:
        """The prediction of the path, if it is of the key that asks."""
        owner = await self._auth.owner(request)
        prediction = await self._find(request.path_params["id"])
        if prediction.owner != owner:
            raise _no_prediction()
        return prediction

    async def _find(self, id: str) -> Prediction:
        try:
            return await self._spool.get(id)
        except UnknownPrediction:
            raise _no_prediction() from None

    async def _logs(self, id: str) -> list[Any]:
        found: list[Any] = []
        at, done = START, False
        while not done:
            page = await self._spool.read(id, at, READ_LIMIT)
            if not page.batches:
                break
            for batch in page.batches:
                found += [_without_type(event) for event in batch.events if event.startswith(events.LOG_PREFIX)]
            at, done = page.batches[-1].last, page.done
        return found

    async def describe(self, request: Request, prediction: Prediction) -> dict[str, Any]:
        """The prediction object (`wavespeed-v3.md` §1.2, `wire.md` §4)."""
        return await self._views.describe(prediction, self._base_url(request))

    # Follow

    @described(
        summary="Follow a prediction",
        tag="Predictions",
        details="Begins after the cursor, or at the start of the log. Ends after the `complete` or `error` event.",
        security="key or token",
        parameters=(_AFTER, _LAST_EVENT_ID),
        answers={
            200: content({"text/event-stream": STREAM}, headers=PREDICTION_HEADER),
            204: empty("The cursor is that of the last event: there is nothing more to come."),
        },
        errors=(BadCursor,),
    )
    async def stream(self, request: Request) -> Answer:
        """`GET /api/v3/predictions/{id}/stream`."""
        prediction = await self._readable(request)
        self._seats.check(prediction.owner)
        cursor = _cursor(request.headers.get("last-event-id") or request.query_params.get("after"))
        if cursor != START:
            page = await self._spool.read(prediction.id, cursor, 1)
            if page.done and not page.batches:
                return NoContent()
        return self._stream(prediction, resume_point(cursor, prediction.attempt))

    async def _readable(self, request: Request) -> Prediction:
        """Like `own`, but the token of the prediction's stream URL does as well."""
        token = request.query_params.get("token")
        if token is None:
            return await self.own(request)
        self._auth.check_stream_token(request.path_params["id"], token)
        return await self._find(request.path_params["id"])

    def _stream(self, prediction: Prediction, after: Cursor) -> Stream:
        seat = self._seats.taken(prediction.owner)
        return Stream(self._viewers, prediction.id, after, prediction.on_disconnect == "cancel", seat)

    @described(
        summary="Follow a prediction by long polling",
        tag="Predictions",
        security="key or token",
        parameters=(
            _AFTER,
            _LAST_EVENT_ID,
            query("wait", {"type": "number", "minimum": 0, "maximum": MAX_POLL_WAIT_S, "default": 0}, _WAIT),
        ),
        answers={200: bare(EVENT_PAGE)},
        errors=(BadCursor,),
    )
    async def events(self, request: Request) -> Answer:
        """`GET /api/v3/predictions/{id}/events`: the log by long poll."""
        prediction = await self._readable(request)
        cursor = _cursor(request.headers.get("last-event-id") or request.query_params.get("after"))
        wait_s = _number(request, "wait", low=0, high=MAX_POLL_WAIT_S) or 0
        await self._spool.read(prediction.id, cursor, 1)
        after = resume_point(cursor, prediction.attempt)
        loop = asyncio.get_running_loop()
        deadline = loop.time() + wait_s
        with self._spool.watch(prediction.id) as watch:
            while True:
                page = await self._spool.read(prediction.id, after, READ_LIMIT)
                left_s = deadline - loop.time()
                if page.batches or page.done or left_s <= 0 or self._closing.done():
                    break
                await self._wait_for_news(watch, left_s)
        found = [
            {"cursor": str(at), "event": msgspec.Raw(event)} for batch in page.batches for at, event in batch.cursors()
        ]
        return Json({"events": found, "done": page.done}, bare=True)


def _no_prediction() -> NotFound:
    return NotFound("There is no such prediction. Check the id; predictions of other API keys cannot be seen.")


def _split_stream(path: str) -> tuple[str, bool]:
    model_id = path.removesuffix("/stream")
    return model_id, model_id != path


def _wrong_fields(fields: Mapping[str, Any]) -> list[dict[str, str]]:
    errors = [
        {"field": name, "message": "must be true or false"}
        for name in ("stream", "enable_sync_mode", "enable_base64_output")
        if name in fields and not isinstance(fields[name], bool)
    ]
    if not isinstance(fields.get("webhook_url", ""), str):
        errors.append({"field": "webhook_url", "message": "must be a string"})
    return errors


def _submission(
    request: Request,
    served: ServedModel,
    owner: str,
    fields: Mapping[str, Any],
    inputs: dict[str, Any],
    webhook_url: str | None,
    base_url: str,
) -> Submission:
    info = served.info
    encoded = msgspec.json.encode(inputs)
    on_disconnect = request.query_params.get("on_disconnect", "continue")
    if on_disconnect not in ("continue", "cancel"):
        raise BadQuery("on_disconnect must be 'continue' or 'cancel'.")
    run_timeout_s = _number(request, "run_timeout", low=0.001, high=MAX_TIMEOUT_S)
    start_timeout_s = _number(request, "start_timeout", low=0.001, high=MAX_TIMEOUT_S)
    base64_output = bool(fields.get("enable_base64_output"))
    key = _idempotency_key(request)
    same = (info.id, on_disconnect, run_timeout_s, start_timeout_s, base64_output, webhook_url)
    fingerprint = hashlib.sha256(msgspec.json.encode(same) + _canonical(inputs)).digest() if key else b""
    return Submission(
        id=_new_id(),
        model=info.id,
        owner=owner,
        input=encoded,
        max_attempts=info.max_attempts,
        run_timeout_s=run_timeout_s,
        start_timeout_s=start_timeout_s,
        on_disconnect=cast(OnDisconnect, on_disconnect),
        base64_output=base64_output,
        webhook_url=webhook_url,
        base_url=base_url,
        price=info.price,
        idempotency_key=key,
        fingerprint=fingerprint,
    )


def _new_id() -> str:
    """32 hexadecimal digits: 12 of the time in milliseconds, 20 by chance. In order of time, so that an index of ids is
    written at its end: at places by chance, each new id would be a page of it to read and to write."""
    return f"{time.time_ns() // 1_000_000:012x}{secrets.token_hex(10)}"


def _canonical(inputs: dict[str, Any]) -> bytes:
    return msgspec.json.encode(inputs, order="sorted")


def _idempotency_key(request: Request) -> str | None:
    key = request.headers.get("idempotency-key")
    if key is not None and not (0 < len(key) <= 255 and key.isascii() and key.isprintable() and " " not in key):
        raise BadQuery("Idempotency-Key must have 1 to 255 visible ASCII characters.")
    return key


def _preferred_wait(prefer: str) -> float:
    for preference in prefer.split(","):
        name, _, value = preference.strip().partition("=")
        if name.lower() == "wait":
            if not (value.isascii() and value.isdigit() and len(value) <= 3 and 1 <= int(value) <= MAX_WAIT_S):
                raise BadQuery(f"Prefer: wait must be a whole number of seconds from 1 to {MAX_WAIT_S}.")
            return int(value)
    return 0


def _number(request: Request, name: str, *, low: float, high: float) -> float | None:
    text = request.query_params.get(name)
    if text is None:
        return None
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not low <= value <= high:
        raise BadQuery(f"{name} must be a number of seconds from {low:g} to {high:g}.")
    return value


def _flag(request: Request, name: str) -> bool:
    value = request.query_params.get(name, "false").lower()
    if value not in ("true", "false", "1", "0"):
        raise BadQuery(f"{name} must be true or false.")
    return value in ("true", "1")


def _cursor(text: str | None) -> Cursor:
    if not text:
        return START
    try:
        return Cursor.parse(text)
    except ValueError as error:
        raise BadCursor(f"{error}. Send the id of the last event that you received.") from None


def _without_type(event: bytes) -> Any:
    line = _decode(event)
    del line["type"]
    return line
