"""The prediction as clients see it: one object, the same in every poll, list and webhook."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import msgspec

from unspool.spool import Spool
from unspool.states import Status
from unspool.types import Prediction

_decode = msgspec.json.Decoder().decode


class Views:
    """Builds prediction objects (`wavespeed-v3.md` §1.2, `wire.md` §4).

    Args:
        stream_token: the token that lets whoever has it read the stream of a prediction, by its id.
    """

    def __init__(self, spool: Spool, stream_token: Callable[[str], str]) -> None:
        self._spool = spool
        self._stream_token = stream_token

    async def describe(self, prediction: Prediction, base_url: str) -> dict[str, Any]:
        """The object, ready to be encoded as JSON.

        Args:
            base_url: what its URLs begin with.
        """
        terminal = _decode(prediction.terminal) if prediction.terminal else {}
        outputs = terminal.get("outputs", [])
        timings = {"inference": 0, **terminal.get("timings", {})}
        described = {
            "id": prediction.id,
            "model": prediction.model,
            "status": prediction.status,
            "outputs": outputs,
            "urls": self._urls(prediction.id, base_url.rstrip("/")),
            "has_nsfw_contents": [False] * len(outputs),
            "created_at": rfc3339(prediction.created_at_ns),
            "error": terminal.get("error", ""),
            "timings": timings,
            "executionTime": timings["inference"],
            "progress": await self._percentage(prediction),
            "attempt": prediction.attempt,
        }
        if "code" in terminal:
            described["code"] = terminal["code"]
        if "usage" in terminal:
            described["usage"] = terminal["usage"]
        return described

    async def with_input(self, prediction: Prediction, base_url: str) -> dict[str, Any]:
        """The same with `input`, as webhooks carry it."""
        return await self.describe(prediction, base_url) | {"input": msgspec.Raw(prediction.input)}

    async def _percentage(self, prediction: Prediction) -> float:
        if prediction.status is Status.COMPLETED:
            return 100
        said = await self._spool.last_progress(prediction.id)
        percentage: float = _decode(said)["percentage"] if said else 0
        return percentage

    def _urls(self, id: str, base_url: str) -> dict[str, str]:
        path = f"{base_url}/api/v3/predictions/{id}"
        return {
            "get": f"{path}/result",
            "stream": f"{path}/stream?token={self._stream_token(id)}",
            "cancel": f"{path}/cancel",
        }


def rfc3339(time_ns: int) -> str:
    """A time in nanoseconds since the Unix epoch as text, UTC."""
    seconds, nanoseconds = divmod(time_ns, 10**9)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{nanoseconds:09d}Z"
