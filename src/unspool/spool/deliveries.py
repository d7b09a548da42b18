"""The contract of the deliveries: the webhooks that are owed, every try to send one, and the secrets that sign them.

A prediction with a `webhook_url` has one delivery from the moment it ends. It is `pending` until a try settles it as
`delivered` or `failed`; sending again makes it pending once more.

1. Durability. The delivery becomes due in the very step that makes the prediction's end durable, so there is no
   moment at which one is known without the other. What `record`, `send_again` and `rotate` did survives kill -9 once
   they have returned.
2. At least once. A delivery that was being sent when the process died is still due, and is sent again.
3. Order. `targets` and `due` cost no more for a target with a million deliveries than for one with ten.

Any method may raise `SpoolUnavailable`; then nothing was changed. Times are nanoseconds since the Unix epoch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple, Protocol
from urllib.parse import urlsplit

import msgspec

from unspool.spool.watch import Watch

State = Literal["pending", "delivered", "failed"]


class Target(NamedTuple):
    """A receiver with pending deliveries."""

    name: str
    """Host and port, see `target_of`."""
    next_try_at_ns: int
    """When the first of them is due."""


class Due(NamedTuple):
    """A delivery to be sent now."""

    id: str
    """Of its prediction."""
    tries: int
    """How often `record` was called since it became due, or since it was last asked to be sent again."""
    round: int
    """Goes up with `send_again`."""


class Try(msgspec.Struct, frozen=True, kw_only=True):
    """One request to a receiver, and what came of it."""

    started_at_ns: int
    duration_ns: int
    http_status: int | None
    """`None` if there was no answer."""
    error: str
    """Why it did not deliver; empty if it did."""
    answer: bytes
    """The beginning of the answer's body."""
    next_try_at_ns: int | None
    """`None` if this was the last one."""


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """How the delivery of a prediction stands."""

    state: State
    next_try_at_ns: int | None
    """When a pending one is due."""
    tries: Sequence[Try]
    """All of them, the oldest first."""


class Secrets(NamedTuple):
    """What signs the webhooks of one owner."""

    current: str
    """`whsec_` and 64 hexadecimal digits."""
    previous: str | None
    """The one before, while it is still good."""
    previous_until_ns: int | None


class Deliveries(Protocol):
    """The deliveries of a spool. All methods are called from one event loop."""

    async def targets(self) -> list[Target]:
        """Every receiver with pending deliveries."""
        ...

    async def due(self, target: str, now_ns: int, limit: int) -> list[Due]:
        """The deliveries to one receiver that are due, the longest due first."""
        ...

    async def record(self, due: Due, tried: Sequence[Try], state: State) -> None:
        """Adds tries, and settles the delivery or, when it stays `pending`, makes it due at the last one's next try.

        If `send_again` has begun another round meanwhile, the tries are added and nothing else is changed; if the
        delivery was deleted, nothing is.
        """
        ...

    async def get(self, id: str) -> Delivery | None:
        """The delivery of a prediction; `None` if it owes none (yet)."""
        ...

    async def send_again(self, id: str, now_ns: int) -> bool:
        """Makes it due now with all tries before it, whatever has become of it. `False` if there is none."""
        ...

    async def delete(self, ids: Sequence[str]) -> None:
        """Forgets the deliveries of these predictions, with their tries."""
        ...

    async def secrets(self, owner: str, now_ns: int) -> Secrets:
        """The secrets of an owner; the first call makes one."""
        ...

    async def rotate(self, owner: str, now_ns: int, previous_until_ns: int) -> Secrets:
        """Makes a new secret. The one that was current is good until `previous_until_ns`; an older one is not."""
        ...

    def watch(self) -> Watch:
        """Wakes its waiter when a delivery may have become due sooner than what `targets` told."""
        ...


def target_of(url: str) -> str:
    """The receiver of a URL: host and port, since that is what answers slowly or not at all."""
    parts = urlsplit(url)
    try:
        port = parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError:
        port = 0
    return f"{parts.hostname}:{port}"
