"""Sends the webhooks that the spool says are owed (`wire.md` §5).

What is owed, and when, is in the spool only; in memory is what is being sent. A receiver that is slow, or does not
answer at all, holds up nobody else: each has so many places of its own, and a free place goes to the receiver with the
fewest in use.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from email.utils import parsedate_to_datetime
from typing import NamedTuple

import httpx
import msgspec
import structlog

from unspool.config import Settings
from unspool.errors import SpoolUnavailable, UnknownPrediction
from unspool.net import Refused, Resolve, look_up, public_client
from unspool.spool import Spool
from unspool.spool.deliveries import Due, Secrets, State, Target, Try
from unspool.types import Prediction
from unspool.views import Views

ANSWER_BYTES = 1024
"""So much of an answer is kept."""
JITTER = 0.2
STOP_S = 1.0
"""How long a stop waits for what is being sent. What does not end by then is sent again after the restart."""
RETRY_SPOOL_S = 1.0
_LONG_S = 3600.0

_log = structlog.get_logger("unspool.webhooks")
_encode = msgspec.json.Encoder().encode


def sign(secret: str, id: str, timestamp: int, body: bytes) -> str:
    """The value of `webhook-signature`: `v3,` and the HMAC-SHA256, in hexadecimal, of `{id}.{timestamp}.{body}`.

    The key is what follows `whsec_`, as it is (https://wavespeed.ai/docs/verify-webhooks).
    """
    key = secret.removeprefix("whsec_").encode()
    return "v3," + hmac.new(key, f"{id}.{timestamp}.".encode() + body, hashlib.sha256).hexdigest()


class _Answer(NamedTuple):
    """What came of one request."""

    status: int | None
    error: str
    body: bytes = b""
    again: bool = False
    """Whether another try may help."""
    retry_after_s: float = 0


class Deliverer:
    """Sends what is due until it is cancelled.

    Args:
        on_outcome: called after each delivery that was tried: `delivered`, `retried` (it will be tried again) or
            `failed`.
        resolve: see `public_client`.
    """

    def __init__(
        self,
        spool: Spool,
        views: Views,
        settings: Settings,
        *,
        on_outcome: Callable[[str], None] = lambda outcome: None,
        resolve: Resolve = look_up,
    ) -> None:
        self._spool = spool
        self._owed = spool.deliveries
        self._views = views
        self._settings = settings
        self._on_outcome = on_outcome
        self._client = public_client(
            allow_http=settings.webhook_allow_http,
            allow_hosts=settings.webhook_allow_hosts,
            timeout_s=settings.webhook_timeout_s,
            resolve=resolve,
        )
        self._sending: dict[str, asyncio.Task[None]] = {}
        """By prediction."""
        self._places: Counter[str] = Counter()
        """In use, by target."""
        self._settled: set[str] = set()
        """Recorded while the spool was asked what is due: its answer may be older than that, and name them again."""
        self._news = asyncio.Event()

    async def run(self) -> None:
        """Sends what is due, and goes on until it is cancelled."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._notice())
                tasks.create_task(self._send_due())
        finally:
            await self._stop()

    async def _notice(self) -> None:
        with self._owed.watch() as watch:
            while True:
                await watch.wait(_LONG_S)
                self._news.set()

    async def _send_due(self) -> None:
        while True:
            self._news.clear()
            try:
                wait_s = await self._begin_due()
            except SpoolUnavailable:
                wait_s = RETRY_SPOOL_S
            except Exception:
                _log.exception("looking for webhooks that are due failed")
                wait_s = RETRY_SPOOL_S
            with suppress(TimeoutError):
                async with asyncio.timeout(wait_s):  # Python 3.11's `wait_for` loses a cancel that comes with the news
                    await self._news.wait()

    async def _stop(self) -> None:
        sending = list(self._sending.values())
        if sending:
            await asyncio.wait(sending, timeout=STOP_S)
        for task in sending:
            task.cancel()
        await asyncio.gather(*sending, return_exceptions=True)
        await self._client.aclose()

    # Which one is next

    async def _begin_due(self) -> float:
        """Begins to send what is due and has a place. Returns how long there is nothing more to do, in seconds."""
        now_ns = time.time_ns()
        targets = await self._owed.targets()
        for name, places in self._share([target for target in targets if target.next_try_at_ns <= now_ns]).items():
            await self._begin(name, now_ns, places)
        later = [target.next_try_at_ns for target in targets if target.next_try_at_ns > now_ns]
        return max(0.0, min((min(later) - time.time_ns()) / 1e9, _LONG_S)) if later else _LONG_S

    def _share(self, targets: Sequence[Target]) -> Counter[str]:
        """How many more each target may have: the free places, each to the one with the fewest."""
        free = self._settings.webhook_concurrency - len(self._sending)
        limit = self._settings.webhook_concurrency_per_host
        given: Counter[str] = Counter()
        waiting = sorted(targets, key=lambda target: target.next_try_at_ns)
        for level in range(limit):
            for name, _ in waiting:
                if free <= 0:
                    return given
                if self._places[name] + given[name] == level:
                    given[name] += 1
                    free -= 1
        return given

    async def _begin(self, target: str, now_ns: int, places: int) -> None:
        self._settled.clear()
        for due in await self._owed.due(target, now_ns, places + self._places[target]):
            if due.id not in self._sending and due.id not in self._settled and places > 0:
                places -= 1
                self._places[target] += 1
                self._sending[due.id] = asyncio.create_task(self._deliver(due, target))

    async def _deliver(self, due: Due, target: str) -> None:
        try:
            await self._send(due)
        except SpoolUnavailable:
            await asyncio.sleep(RETRY_SPOOL_S)
        except Exception:
            _log.exception("a webhook could not be sent", id=due.id)
            await self._put_off(due)
        finally:
            del self._sending[due.id]
            self._settled.add(due.id)
            self._places[target] -= 1
            if not self._places[target]:
                del self._places[target]
            self._news.set()

    async def _put_off(self, due: Due) -> None:
        """It failed by a mistake of ours: as if the receiver had."""
        answer = _Answer(None, "The server failed to send this.", again=True)
        tried = Try(
            started_at_ns=time.time_ns(),
            duration_ns=0,
            http_status=None,
            error=answer.error,
            answer=b"",
            next_try_at_ns=None,
        )
        tries = [tried]
        await self._record(due, tries, self._settle(due, tries, answer))

    # One delivery

    async def _send(self, due: Due) -> None:
        try:
            prediction = await self._spool.get(due.id)
        except UnknownPrediction:
            await self._owed.delete([due.id])
            return
        body = _encode(await self._views.with_input(prediction, self._base_url(prediction)))
        signing = await self._owed.secrets(prediction.owner, time.time_ns())
        tries, answer = await self._try(prediction, body, signing)
        state = self._settle(due, tries, answer)
        await self._record(due, tries, state)
        outcome = "retried" if state == "pending" else state
        self._on_outcome(outcome)
        if outcome == "failed":
            _log.info("a webhook was given up", id=due.id, status=answer.status, cause=answer.error)

    def _base_url(self, prediction: Prediction) -> str:
        return self._settings.public_url or prediction.base_url

    async def _try(self, prediction: Prediction, body: bytes, signing: Secrets) -> tuple[list[Try], _Answer]:
        """One request; while two secrets are good, a second one for a receiver that knows only the older of them."""
        tries: list[Try] = []
        answer = await self._request(prediction, body, signing.current, tries)
        if signing.previous is not None and _may_be_about_the_signature(answer):
            answer = await self._request(prediction, body, signing.previous, tries)
        return tries, answer

    async def _request(self, prediction: Prediction, body: bytes, secret: str, tries: list[Try]) -> _Answer:
        started_at_ns, began = time.time_ns(), time.perf_counter_ns()
        timestamp = started_at_ns // 10**9
        headers = {
            "content-type": "application/json",
            "accept-encoding": "identity",
            "user-agent": "Unspool-Webhook",
            "webhook-id": prediction.id,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": sign(secret, prediction.id, timestamp, body),
        }
        answer = await self._post(prediction.webhook_url or "", body, headers)
        tried = Try(
            started_at_ns=started_at_ns,
            duration_ns=time.perf_counter_ns() - began,
            http_status=answer.status,
            error=answer.error,
            answer=answer.body,
            next_try_at_ns=None,
        )
        tries.append(tried)
        return answer

    async def _post(self, url: str, body: bytes, headers: dict[str, str]) -> _Answer:
        seen = b""
        response: httpx.Response | None = None
        limit_s = self._settings.webhook_timeout_s
        try:
            async with (
                asyncio.timeout(limit_s),
                self._client.stream("POST", url, content=body, headers=headers) as response,
            ):
                async for chunk in response.aiter_raw():
                    seen += chunk[: ANSWER_BYTES - len(seen)]
                    if len(seen) == ANSWER_BYTES:
                        break
        except Refused as error:
            return _Answer(None, str(error))
        except (TimeoutError, httpx.TimeoutException):
            if response is None:
                return _Answer(None, f"There was no answer within {limit_s:g} s.", again=True)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            if response is None:
                return _Answer(None, f"The request failed: {error or type(error).__name__}", again=True)
        assert response is not None
        return self._judge(response, seen)

    def _judge(self, response: httpx.Response, seen: bytes) -> _Answer:
        """What an answer means; its status counts, even if its body breaks off."""
        status = response.status_code
        if response.is_success:
            return _Answer(status, "", seen)
        if response.has_redirect_location:
            return _Answer(status, f"It redirects to {response.headers['location'][:500]}, and is not followed.", seen)
        again = status in (408, 429) or status >= 500
        wait_s = _retry_after_s(response.headers.get("retry-after", "")) if status in (429, 503) else 0
        return _Answer(
            status, f"It answered {status}.", seen, again, min(wait_s, self._settings.webhook_max_retry_after_s)
        )

    def _settle(self, due: Due, tries: list[Try], answer: _Answer) -> State:
        """What becomes of the delivery; notes the next try with the last one."""
        if not answer.error:
            return "delivered"
        delays_s = self._settings.webhook_retry_delays_s
        number = due.tries
        if not answer.again or number >= len(delays_s):
            return "failed"
        delay_s = max(delays_s[number] * random.uniform(1 - JITTER, 1 + JITTER), answer.retry_after_s)  # noqa: S311
        tries[-1] = msgspec.structs.replace(tries[-1], next_try_at_ns=time.time_ns() + int(delay_s * 1e9))
        return "pending"

    async def _record(self, due: Due, tries: list[Try], state: State) -> None:
        while True:
            try:
                await self._owed.record(due, tries, state)
            except SpoolUnavailable as error:
                _log.warning("what became of a webhook cannot be recorded yet", id=due.id, cause=str(error))
                await asyncio.sleep(RETRY_SPOOL_S)
            else:
                return


def _may_be_about_the_signature(answer: _Answer) -> bool:
    status = answer.status
    return status is not None and 400 <= status < 500 and status not in (408, 410, 429)


def _retry_after_s(value: str) -> float:
    """Seconds, or a date; 0 for anything else."""
    if value.strip().isdigit() and value.isascii():
        return float(value)
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except (ValueError, TypeError, OverflowError):
        return 0
