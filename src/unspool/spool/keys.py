"""The contract of the store of API keys: who may ask, and how much of it.

Nobody keeps the text of a key, only its digest: the SHA-256 of the text. The texts that Unspool makes hold 256 random
bits, which nobody finds by trying, however fast the digest is to compute; a slow digest with a salt is for passwords
that people think up, and would cost every request what it costs an attacker.

A key has one id for life, the first 16 hexadecimal digits of the digest of its first text. The predictions of a key
bear its id as their `owner`. A key may have several texts, one after another: `rotate` gives it a new one, and for a
while both are good.

The store may be used by several processes at once: the commands change it while a server reads it. `revision` tells a
server cheaply whether there is something new to `list`.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence
from enum import StrEnum
from typing import Protocol

import msgspec

ID_LENGTH = 16


def new_text() -> str:
    """The text of a new key."""
    return f"unspool_{secrets.token_urlsafe(32)}"


def digest_of(text: str) -> bytes:
    """What is kept of a text."""
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """How much one owner may have at once. 0 is no limit."""

    requests_per_minute: int = 0
    max_running: int = 0
    """Predictions that run; those beyond it wait."""
    max_waiting: int = 0
    """Predictions that wait; a submit beyond it is refused."""
    max_viewers: int = 0
    """Open streams; one beyond it is refused."""


UNLIMITED = Limits()


class OwnLimits(msgspec.Struct, frozen=True, kw_only=True):
    """What a key has of its own; `None` is whatever the server's settings say. Fields as those of `Limits`."""

    requests_per_minute: int | None = None
    max_running: int | None = None
    max_waiting: int | None = None
    max_viewers: int | None = None

    def over(self, defaults: Limits) -> Limits:
        """The limits that hold for a key with these."""
        own = {name: value for name, value in msgspec.structs.asdict(self).items() if value is not None}
        return msgspec.structs.replace(defaults, **own)


class KeyState(StrEnum):
    """Whether a key is good."""

    ACTIVE = "active"
    SUSPENDED = "suspended"
    """It was the key of the server's settings, and another one is now. It is good again when it is so again."""
    REVOKED = "revoked"
    """For ever."""


class Text(msgspec.Struct, frozen=True, kw_only=True):
    """One text of a key, by its digest."""

    digest: bytes
    expires_at_ns: int | None
    """From then on it is not good; `None`: as long as its key."""


class Key(msgspec.Struct, frozen=True, kw_only=True):
    """An API key as it stands. Times are nanoseconds since the Unix epoch."""

    id: str
    name: str
    state: KeyState
    created_at_ns: int
    revoked_at_ns: int | None
    limits: OwnLimits
    texts: Sequence[Text]
    """All that it ever had, the oldest first."""


class Keys(Protocol):
    """The store of API keys. Every change is durable when the method returns.

    `ref` names a key by its id, or by its name if no other key of that name is active.

    Any method may raise `SpoolUnavailable`; then nothing was changed.
    """

    async def adopt(self, name: str, digest: bytes) -> Key:
        """The key that the server's settings name, made if its text is not known yet.

        Keys that came here this way before and are not this one are suspended; this one is not, but it stays revoked
        if it is, and an expired text stays expired.
        """
        ...

    async def create(self, name: str, digest: bytes, limits: OwnLimits) -> Key:
        """A new key with this text.

        Raises:
            KeyExists: a key of this name is not revoked, or the text is that of a key.
        """
        ...

    async def list(self) -> list[Key]:
        """All keys, also those that are revoked, the oldest first."""
        ...

    async def revoke(self, ref: str) -> Key:
        """Ends a key and all its texts, for ever. Doing it twice, by id, is doing it once.

        Raises:
            UnknownKey: there is none, or several have the name.
        """
        ...

    async def rotate(self, ref: str, digest: bytes, overlap_s: float) -> Key:
        """Gives a key a new text. Those it has are good for `overlap_s` seconds more, if they would be.

        Raises:
            UnknownKey: there is none that is active, or several have the name.
            KeyExists: the text is that of a key.
        """
        ...

    async def revision(self) -> int:
        """A number that grows with every change."""
        ...
