"""Who asks: API keys, and the signed tokens of stream URLs."""

from __future__ import annotations

import asyncio
import hmac
import time
from collections.abc import Callable
from typing import NamedTuple, Self
from urllib.parse import urlsplit

import structlog
from starlette.requests import Request

from unspool.api.limits import Pace
from unspool.config import Settings
from unspool.errors import Forbidden, NotFound, SpoolUnavailable, Unauthenticated
from unspool.spool import Spool
from unspool.spool.keys import UNLIMITED, Key, Keys, KeyState, Limits, digest_of

LOOK_INTERVAL_S = 1.0
"""A key that was revoked is refused after so long, at the latest."""
FIRST = "first"
"""The name of the key of the settings or of the data folder."""
LOCAL = "local"
"""The owner of everything where no key is asked for."""

_log = structlog.get_logger("unspool.auth")


class _Known(NamedTuple):
    """A text of a key, as it stands in memory."""

    owner: str
    active: bool
    expires_at_ns: int | None


class Auth:
    """Knows the API keys, by their digests, and signs what clients carry back to us.

    The keys are in memory. The store is looked at once a second, and at once when a text comes that is not known, so
    a request with a good key asks nobody.

    Args:
        secret: signs tokens; the same on every node and after every restart.
        clock: the time in nanoseconds since the Unix epoch.
    """

    def __init__(self, keys: Keys, secret: bytes, settings: Settings, clock: Callable[[], int] = time.time_ns) -> None:
        self._keys = keys
        self._secret = secret
        self._off = settings.auth == "off"
        self._cors_origins = settings.cors_origins
        self._clock = clock
        self._defaults = Limits(
            requests_per_minute=settings.key_requests_per_minute,
            max_running=settings.key_max_running,
            max_waiting=settings.key_max_waiting,
            max_viewers=settings.key_max_viewers,
        )
        self._known: dict[bytes, _Known] = {}
        self._limits: dict[str, Limits] = {LOCAL: UNLIMITED} if self._off else {}
        self._pace = Pace(self.limits)
        self._revision = -1
        self._looking: asyncio.Task[None] | None = None

    @classmethod
    async def open(cls, spool: Spool, settings: Settings, key: str | None) -> Self:
        """Reads the keys, with `key` among them, and tells the spool their limits."""
        auth = cls(spool.keys, await spool.secret(), settings)
        if key is not None:
            await auth._adopt(key)
        await auth.look()
        spool.limits = auth.limits
        return auth

    async def _adopt(self, key: str) -> None:
        adopted = await self._keys.adopt(FIRST, digest_of(key))
        if adopted.state is KeyState.REVOKED:
            _log.warning("the API key of the settings or of the data folder is revoked and will be refused")

    # Requests

    async def owner(self, request: Request) -> str:
        """The id of the key that asks. Counts the request.

        Raises:
            Unauthenticated: there is no key, or a wrong one.
            RateLimited: the key has asked too often.
            Forbidden: no key is needed, and a page of another origin asks.
        """
        if self._off:
            self._check_origin(request)
            return LOCAL
        scheme, _, text = (request.headers.get("authorization") or "").partition(" ")
        if scheme.lower() != "bearer" or not text:
            raise Unauthenticated("Send your API key in the header 'Authorization: Bearer <key>'.")
        digest = digest_of(text.strip())
        if digest not in self._known:
            await self.look()
        known = self._known.get(digest)
        if known is None:
            raise Unauthenticated("This API key is not known. Check it for missing or extra characters.")
        if not known.active or (known.expires_at_ns is not None and known.expires_at_ns <= self._clock()):
            raise Unauthenticated("This API key is not valid any more. Use the one that has replaced it.")
        self._pace.count(known.owner)
        return known.owner

    def _check_origin(self, request: Request) -> None:
        """Where nobody needs a key, a page that somebody here has open must not be able to use the server."""
        origin = request.headers.get("origin")
        if origin is None or "*" in self._cors_origins or origin in self._cors_origins:
            return
        if urlsplit(origin).netloc != request.headers.get("host"):
            raise Forbidden(
                "This server asks for no API key, so web pages of other origins may not use it. Whoever runs it can"
                " allow this origin in UNSPOOL_CORS_ORIGINS."
            )

    def limits(self, owner: str) -> Limits:
        """How much an owner may have at once."""
        return self._limits.get(owner, self._defaults)

    # What the store says

    async def keep_fresh(self) -> None:
        """For ever: looks whether keys have changed."""
        while True:
            await asyncio.sleep(LOOK_INTERVAL_S)
            try:
                await self.look()
            except SpoolUnavailable as error:
                _log.warning("the API keys cannot be read", cause=str(error))

    async def look(self) -> None:
        """Learns of all changes that were made before this call. Calls at the same time share one look."""
        if self._looking is not None:
            await asyncio.wait([self._looking])
        if self._looking is None:
            self._looking = asyncio.ensure_future(self._look())
            self._looking.add_done_callback(self._looked)
        await asyncio.shield(self._looking)

    def _looked(self, look: asyncio.Task[None]) -> None:
        self._looking = None
        if not look.cancelled():
            look.exception()

    async def _look(self) -> None:
        if self._off:
            return
        revision = await self._keys.revision()
        if revision == self._revision:
            return
        keys = await self._keys.list()
        self._known = {text.digest: _known(key, text.expires_at_ns) for key in keys for text in key.texts}
        self._limits = {key.id: key.limits.over(self._defaults) for key in keys}
        if self._revision >= 0:
            _log.info("the API keys have changed", active=sum(key.state is KeyState.ACTIVE for key in keys))
        self._revision = revision

    # Tokens

    def stream_token(self, id: str) -> str:
        """Lets whoever has it read the stream of one prediction, and nothing else."""
        return hmac.digest(self._secret, b"stream:" + id.encode(), "sha256").hex()[:32]

    def check_stream_token(self, id: str, token: str) -> None:
        """Raises:
        NotFound: the token is not the one of this prediction.
        """
        if not hmac.compare_digest(token.encode(), self.stream_token(id).encode()):
            raise NotFound("There is no such prediction, or the token of this URL is not complete.")


def _known(key: Key, expires_at_ns: int | None) -> _Known:
    return _Known(key.id, key.state is KeyState.ACTIVE, expires_at_ns)
