"""The public interface of the Python SDK, written out for the type checker. Never executed."""

from __future__ import annotations

from pathlib import Path
from typing import Any, assert_type

from unspool import AsyncClient, Client
from unspool.client import (
    ApiError,
    AsyncStream,
    Complete,
    Error,
    Event,
    Log,
    Model,
    Output,
    Page,
    Prediction,
    PredictionFailed,
    Progress,
    StillRunning,
    Stream,
    errors,
    verify_webhook,
)

client = Client("https://example.test", "key", timeout_s=5, stall_timeout_s=40, give_up_s=60, follow_by="poll")


def narrowed(event: Event) -> str:
    """`event.type` tells the class."""
    if event.type == "output":
        assert_type(event, Output)
        return f"{event.output}{event.index}"
    if event.type == "progress":
        assert_type(event, Progress)
        return f"{event.percentage}{event.stage}{event.eta_seconds}{event.restarted}"
    if event.type == "log":
        assert_type(event, Log)
        return event.message
    if event.type == "complete":
        assert_type(event, Complete)
        return f"{event.outputs}{event.timings}"
    assert_type(event, Error)
    return event.error


def told(progress: Progress) -> None:
    print(progress)


with client.stream("acme/x", {"timeout_s": 1}, prompt="x", file=Path("a.png"), on_disconnect="cancel") as stream:
    assert_type(stream, Stream)
    for event in stream:
        where: tuple[str, int, int, dict[str, Any]] = (event.cursor, event.attempt, event.n, event.data)
    facts: tuple[str, str | None, int, str, list[Any], float] = (
        stream.id,
        stream.cursor,
        stream.attempt,
        stream.text,
        stream.outputs,
        stream.percentage,
    )
    assert_type(stream.prediction, Prediction | None)
    stream.cancel()

assert_type(client.run("acme/x", prompt="x", on_progress=told, on_event=narrowed, timeout_s=60), Prediction)
assert_type(client.submit("acme/x", prompt="x", webhook_url="https://example.test", idempotency_key="k"), Prediction)
assert_type(client.get("id", logs=True), Prediction)
assert_type(client.wait("id", timeout_s=1.5), Prediction)
assert_type(client.follow("id", after="1-5"), Stream)
assert_type(client.cancel("id"), Prediction)
client.delete("id")
assert_type([one.id for one in client.list(status="failed", model="acme/x")], list[str])
assert_type(client.list().page(2), Page)
assert_type(client.upload(Path("a.png")), str)
assert_type(client.upload(b"data", filename="a.png", content_type="image/png"), str)
assert_type(client.models(), list[Model])
assert_type(client.model("acme/x").schema, dict[str, Any])
assert_type(client.readme("acme/x"), str)
assert_type(verify_webhook(b"{}", {"webhook-id": "a"}, ["whsec_a", "whsec_b"], tolerance_s=60), Prediction)
assert_type(client.verify_webhook(b"{}", {}, client.webhook_secret()), Prediction)

try:
    client.run("acme/x")
except PredictionFailed as error:
    assert_type(error.prediction, Prediction)
except errors.InvalidInput as error:
    assert_type(error.errors, list[dict[str, str]] | None)
except ApiError as error:
    told_by_the_server: tuple[int, str, str, float | None, str | None] = (
        error.status,
        error.error_code,
        error.message,
        error.retry_after_s,
        error.request_id,
    )
except StillRunning as error:
    assert_type(error.id, str)


async def asynchronous() -> None:
    """The same with `await`."""
    async with AsyncClient() as client:
        async for event in client.stream("acme/x", prompt="x"):
            narrowed(event)
        stream = await client.stream("acme/x", prompt="x")
        assert_type(stream, AsyncStream)
        await stream.cancel()
        await stream.close()
        assert_type(await client.run("acme/x", on_progress=told), Prediction)
        assert_type([one.id async for one in client.list()], list[str])
        assert_type(await client.models(), list[Model])
