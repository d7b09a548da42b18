"""The client of the server that a command speaks with."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from unspool.client import Client

TIMEOUT_S = 30.0
GIVE_UP_S = 3.0
PATIENCE_S = 600.0
"""How long a prediction that is followed is not given up while nothing answers."""


def connect(url: str | None, api_key: str | None, *, timeout_s: float = TIMEOUT_S, patient: bool = False) -> Client:
    """A client of the server that the options name.

    Args:
        timeout_s: for the answer to a request.
        patient: to wait for a server that does not answer as long as the SDK does by itself, which is right for one
            that did answer a moment ago; otherwise it is tried for `GIVE_UP_S`.
    """
    from unspool.client import Client

    if patient:
        return Client(url, api_key, timeout_s=timeout_s, give_up_s=PATIENCE_S)
    return Client(url, api_key, timeout_s=timeout_s, give_up_s=min(GIVE_UP_S, timeout_s))
