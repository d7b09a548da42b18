"""What the server tells about predictions and models, as typed objects. Fields are spelled as on the wire."""

from __future__ import annotations

from typing import Any

import msgspec

from unspool.states import Status

_TERMINAL = frozenset({"completed", "failed", "cancelled", "timeout"})


class Prediction(msgspec.Struct, kw_only=True):
    """A prediction as it stood when the server was asked."""

    id: str
    model: str = ""
    status: str = Status.CREATED
    """`created`, `processing`, `completed`, `failed`, `cancelled` or `timeout`."""
    outputs: list[Any] = []
    """Empty until it has completed."""
    error: str = ""
    """Why it did not complete."""
    code: int | None = None
    """Why it did not complete, as a number."""
    urls: dict[str, str] = {}
    """`get`, `stream` and `cancel`. `stream` has a token: whoever has that URL can watch, and do nothing else."""
    has_nsfw_contents: list[bool] = []
    created_at: str = ""
    """RFC 3339."""
    timings: dict[str, Any] = {}
    """Milliseconds, by what took them."""
    executionTime: float = 0  # noqa: N815
    """Milliseconds."""
    progress: float = 0
    """The latest percentage."""
    attempt: int = 0
    usage: dict[str, Any] = {}
    input: dict[str, Any] | None = None
    """The inputs, where they were asked for: in webhooks and `list(include_inputs=True)`."""
    logs: list[dict[str, Any]] | None = None
    """With `get(id, logs=True)`."""

    @property
    def done(self) -> bool:
        """Whether it has ended, well or not."""
        return self.status in _TERMINAL

    @property
    def output(self) -> Any:
        """The first of the outputs; None if there is none."""
        return self.outputs[0] if self.outputs else None


class Model(msgspec.Struct, kw_only=True):
    """A model of the server."""

    model_id: str
    name: str = ""
    description: str = ""
    """What its author says."""
    type: str = "other"
    """What it makes of what, as `text-to-image`."""
    base_price: float = 0
    """Of one completed prediction, in USD."""
    streams: list[str] = []
    """Which of `progress`, `log` and `output` it emits; empty if it does not stream."""
    readme: str = ""
    """Its page, as markdown."""
    api_schema: dict[str, Any] = {}

    @property
    def id(self) -> str:
        """What `run`, `stream` and `submit` call it."""
        return self.model_id

    @property
    def schema(self) -> dict[str, Any]:
        """The JSON schema of its inputs; their order is in `x-order-properties`."""
        for one in self.api_schema.get("api_schemas", []):
            if one.get("type") == "model_run":
                schema: dict[str, Any] = one.get("request_schema", {})
                return schema
        return {}


class Page(msgspec.Struct, kw_only=True):
    """Some of the predictions of an API key, the newest first."""

    items: list[Prediction]
    page: int = 1
    page_size: int = 0
    total: int = 0
    """On all pages together."""
    has_more: bool = False


class Upload(msgspec.Struct, kw_only=True):
    """Where to send a file."""

    download_url: str
    upload: UploadRequest


class UploadRequest(msgspec.Struct, kw_only=True):
    """How to send it."""

    method: str
    url: str
    headers: dict[str, str]
