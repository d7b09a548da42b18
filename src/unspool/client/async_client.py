"""The client: every verb of the API."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from functools import partial
from pathlib import Path
from time import monotonic
from types import TracebackType
from typing import IO, Any, Literal, TypeAlias
from urllib.parse import quote, urlsplit

import httpx

from unspool.client import files
from unspool.client.asks import (
    Ask,
    Submit,
    data_of,
    error_of,
    inputs_of,
    json_ask,
    prediction,
    target,
)
from unspool.client.async_http import AsyncHttp
from unspool.client.async_stream import AsyncStream
from unspool.client.concurrency import async_call, async_open_file, async_pieces, async_rest, async_sleep, size_of
from unspool.client.errors import (
    AlreadyUploaded,
    ApiError,
    Conflict,
    ConnectionFailed,
    NotFound,
    UnknownModel,
    completed,
)
from unspool.client.events import Event, Progress
from unspool.client.follow import Follow, connection_failed
from unspool.client.objects import Model, Page, Prediction, Upload
from unspool.client.pace import Patience, Timing
from unspool.client.reader import cursor
from unspool.client.webhook import verify_webhook
from unspool.types import Cursor

DELETE_GIVE_UP_S = 60.0
Models: TypeAlias = list[Model]


class AsyncClient:
    """Speaks with one Unspool server. One object serves a whole program, from any number of tasks and threads.

    Args:
        url: of the server; by default `UNSPOOL_URL`, or `http://127.0.0.1:8080`.
        api_key: by default `UNSPOOL_API_KEY`.
        timeout_s: for the answer to a request that is no stream, and for a connection.
        stall_timeout_s: a stream in which no byte comes for so long is dead, and opened again.
        first_event_timeout_s: a new stream that brings nothing for so long is held back by something in between.
        streams_before_polling: so many of those in a row, and the log is read by long polling.
        poll_wait_s: how long one of these polls may be held, 0 to 60.
        backoff_s: the first pause between two tries; by default what the server says. It doubles, with jitter.
        max_backoff_s: the longest pause between two tries.
        give_up_s: how long a stream is tried for while nothing answers at all; other requests at most 60 s.
        follow_by: `stream` or `poll` for always the one; by default streams, and polls where streams are held back.
        transport: of httpx, for proxies or certificates of your own.
    """

    def __init__(
        self,
        url: str | None = None,
        api_key: str | None = None,
        *,
        timeout_s: float = 30.0,
        stall_timeout_s: float = 40.0,
        first_event_timeout_s: float = 10.0,
        streams_before_polling: int = 2,
        poll_wait_s: float = 30.0,
        backoff_s: float | None = None,
        max_backoff_s: float = 15.0,
        give_up_s: float = 300.0,
        follow_by: Literal["auto", "stream", "poll"] = "auto",
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        timing = Timing(
            timeout_s=timeout_s,
            stall_timeout_s=stall_timeout_s,
            first_event_timeout_s=first_event_timeout_s,
            streams_before_polling=streams_before_polling,
            poll_wait_s=poll_wait_s,
            backoff_s=backoff_s,
            max_backoff_s=max_backoff_s,
            give_up_s=give_up_s,
            follow_by=follow_by,
        )
        self._http = AsyncHttp(url, api_key, timing, transport)

    @property
    def url(self) -> str:
        """Of the server."""
        return self._http.url

    # Running a model

    def stream(
        self,
        model: str,
        input: Mapping[str, Any] | None = None,
        /,
        *,
        webhook_url: str | None = None,
        on_disconnect: str | None = None,
        idempotency_key: str | None = None,
        start_timeout: float | None = None,
        run_timeout: float | None = None,
        **inputs: Any,
    ) -> AsyncStream:
        """Runs a model and yields its events. The request is made when the stream is entered or first read.

        Inputs are named, or in a dictionary where their names are those of the options here. Files among them (paths
        and open files) are uploaded first. It comes back by itself when the connection is lost, with no event missing
        or doubled. A terminal `error` is an event like others.

        Args:
            webhook_url: where the server sends the prediction when it has ended.
            on_disconnect: `cancel`: the server cancels it when nobody has followed it for 5 s.
            idempotency_key: by default one is made. With one of your own, running the same again within 24 h is the
                same prediction.
            start_timeout: seconds that it may wait for its start.
            run_timeout: seconds that one attempt may take.

        Raises:
            ApiError: the server says no; the class tells why. (All of these while the stream is read.)
            ConnectionFailed: nothing answers.
            Gap: the server has lost an event.
        """
        options = _options(webhook_url, on_disconnect, idempotency_key, start_timeout, run_timeout)
        return self._stream(model, inputs_of(input, inputs), options)

    def _stream(self, model: str, inputs: dict[str, Any], options: dict[str, Any], **follow: Any) -> AsyncStream:
        return AsyncStream(self._http, partial(self._prepare, model, inputs, options, follow))

    async def _prepare(
        self, model: str, inputs: dict[str, Any], options: dict[str, Any], follow: dict[str, Any]
    ) -> Follow:
        submit = Submit(model, await self._with_uploads(inputs), **options)
        return Follow(self._http.timing, submit=submit, polling=self._http.streams_held_back, **follow)

    async def run(
        self,
        model: str,
        input: Mapping[str, Any] | None = None,
        /,
        *,
        on_progress: Callable[[Progress], Any] | None = None,
        on_event: Callable[[Event], Any] | None = None,
        timeout_s: float | None = None,
        webhook_url: str | None = None,
        on_disconnect: str | None = None,
        idempotency_key: str | None = None,
        start_timeout: float | None = None,
        run_timeout: float | None = None,
        **inputs: Any,
    ) -> Prediction:
        """Runs a model and returns the prediction when it has completed. Inputs and options are those of `stream`.

        Args:
            on_progress: called with each progress event; `print` will do.
            on_event: called with each event.
            timeout_s: how long to wait. The prediction goes on after that.

        Raises:
            PredictionFailed: it failed; `.prediction` is what became of it.
            PredictionCancelled: it was cancelled.
            PredictionTimedOut: its `run_timeout` or `start_timeout` was over.
            StillRunning: `timeout_s` is over.
            ApiError: the server says no; the class tells why.
            ConnectionFailed: nothing answers.
        """
        options = _options(webhook_url, on_disconnect, idempotency_key, start_timeout, run_timeout)
        stream = self._stream(model, inputs_of(input, inputs), options, only_wait=True, **_until(timeout_s))
        return await self._end_of(stream, on_progress, on_event)

    async def _end_of(
        self,
        stream: AsyncStream,
        on_progress: Callable[[Progress], Any] | None = None,
        on_event: Callable[[Event], Any] | None = None,
    ) -> Prediction:
        async with stream:
            async for event in stream:
                if on_event is not None:
                    await async_call(on_event, event)
                if on_progress is not None and event.type == "progress":
                    await async_call(on_progress, event)
        return completed(await self._whole(stream))

    async def _whole(self, stream: AsyncStream) -> Prediction:
        """The prediction as the server has it; or what its events told, if the server cannot be asked just now."""
        told = stream.prediction
        try:
            return await self.get(stream.id)
        except (ApiError, ConnectionFailed):
            if told is None:
                raise
            return told

    async def submit(
        self,
        model: str,
        input: Mapping[str, Any] | None = None,
        /,
        *,
        webhook_url: str | None = None,
        on_disconnect: str | None = None,
        idempotency_key: str | None = None,
        start_timeout: float | None = None,
        run_timeout: float | None = None,
        **inputs: Any,
    ) -> Prediction:
        """Begins a prediction and returns at once. Inputs and options are those of `stream`.

        It is safe against lost connections: the request carries an `Idempotency-Key`, so trying it again makes no
        second prediction.

        Raises:
            ApiError: the server says no; the class tells why.
            ConnectionFailed: nothing answers.
        """
        options = _options(webhook_url, on_disconnect, idempotency_key, start_timeout, run_timeout)
        submit = Submit(model, await self._with_uploads(inputs_of(input, inputs)), **options)
        return data_of(await self._http.ask(submit.ask(stream=False)), Prediction)

    # One prediction

    async def get(self, id: str, *, logs: bool = False) -> Prediction:
        """The prediction as it stands.

        Args:
            logs: with its lines of log.

        Raises:
            NotFound: there is none of that id that this key may see.
        """
        ask = Ask("GET", prediction(id, "result"), {"logs": "true"} if logs else {})
        return data_of(await self._http.ask(ask), Prediction)

    async def wait(self, id: str, timeout_s: float | None = None) -> Prediction:
        """Waits for the end of a prediction and returns it, if it has completed.

        Raises:
            PredictionFailed: it failed; `.prediction` is what became of it.
            PredictionCancelled: it was cancelled.
            PredictionTimedOut: its `run_timeout` or `start_timeout` was over.
            StillRunning: `timeout_s` is over. The prediction goes on.
        """
        return await self._end_of(self._follow(id, None, **_until(timeout_s)))

    def follow(self, id: str, after: str | Cursor | None = None) -> AsyncStream:
        """The events of a prediction that exists, from its beginning or after one that you have seen.

        Args:
            id: of the prediction; or the `urls.stream` of one, which needs no key.
            after: the cursor of the last event that was seen, as `"1-5"`.

        Raises:
            NotFound: there is none of that id that this key may see. (All of these while the stream is read.)
            BadCursor: this cursor was never given out.
        """
        return self._follow(id, after)

    def _follow(self, id: str, after: str | Cursor | None, **follow: Any) -> AsyncStream:
        where, token = target(id)
        after = cursor(after)

        async def prepare() -> Follow:
            polling = self._http.streams_held_back
            return Follow(self._http.timing, id=where, token=token, after=after, polling=polling, **follow)

        return AsyncStream(self._http, prepare)

    async def cancel(self, id: str) -> Prediction:
        """Cancels a prediction and returns it as it stands; it is `cancelled` when its work has really stopped."""
        return data_of(await self._http.ask(Ask("POST", prediction(id, "cancel"))), Prediction)

    async def delete(self, id: str) -> None:
        """Deletes a prediction with its files. One that has not ended is cancelled first, and waited for.

        Raises:
            NotFound: there is none of that id.
            Conflict: it has not stopped within a minute.
        """
        deadline = monotonic() + DELETE_GIVE_UP_S
        again = False
        while True:
            try:
                await self._http.ask(Ask("DELETE", prediction(id)))
            except NotFound:
                if again:
                    return
                raise
            except Conflict as error:
                if monotonic() >= deadline:
                    raise
                await async_sleep(error.retry_after_s or 1)
            else:
                return
            again = True

    def list(self, **wanted: Any) -> AsyncPredictions:
        """The predictions of the API key, the newest first: iterate over it, or ask for one `page`.

        Args:
            wanted: `status`, `model`, `created_after`, `created_before`, `include_inputs`, `page_size` (1 to 100).
        """
        return AsyncPredictions(self._http, wanted)

    # Files

    async def upload(
        self, source: str | files.Source, *, filename: str | None = None, content_type: str | None = None
    ) -> str:
        """Uploads a file and returns its URL, which is a value for file inputs.

        Args:
            source: a path, an open file (from where it stands), or bytes.
            filename: by default that of the file.
            content_type: by default what the name says.

        Raises:
            TooLarge: the server does not take files of that size.
        """
        if isinstance(source, str | Path):
            with await async_open_file(Path(source)) as file:
                return await self._upload(file, files.name_of(source, filename), content_type)
        if isinstance(source, bytes | bytearray | memoryview):
            return await self._upload(files.open_bytes(source), filename or "file", content_type)
        return await self._upload(source, files.name_of(source, filename), content_type)

    async def _upload(self, file: IO[bytes], filename: str, content_type: str | None) -> str:
        size = size_of(file)
        if size is None:
            file = files.open_bytes(await async_rest(file))
            size = size_of(file) or 0
        wish = files.Wish(filename, size, files.type_of(filename, content_type))
        place = data_of(await self._http.ask(json_ask("POST", "media/uploads", wish)), Upload)
        await self._put(place, file, size)
        return place.download_url

    async def _put(self, place: Upload, file: IO[bytes], size: int) -> None:
        """Sends the bytes, again and again from their start; a file that is there already has come before."""
        headers = {**place.upload.headers, "Content-Length": str(size)}
        ask = Ask(place.upload.method, self._here(place.upload.url), headers=headers, with_key=False)
        patience = Patience(self._http.timing, self._http.timing.give_up_s)
        start, again = file.tell(), False
        while True:
            try:
                answer = await self._http.once(ask, async_pieces(file, start))
            except httpx.TransportError as error:
                failure: Exception = connection_failed(error)
                pause_s = patience.failed(monotonic())
            else:
                if 200 <= answer.status < 300:
                    return
                failure = error_of(answer)
                if again and isinstance(failure, AlreadyUploaded):
                    return
                pause_s = patience.refused(monotonic(), failure) if isinstance(failure, ApiError) else None
            if pause_s is None:
                raise failure
            again = True
            await async_sleep(pause_s)

    def _here(self, url: str) -> str:
        """A URL of the server at the address by which this client reaches it."""
        parts = urlsplit(url)
        path = parts.path.partition("/api/v3/")[2]
        return f"{self.url}/api/v3/{path}?{parts.query}" if path else url

    async def _with_uploads(self, inputs: dict[str, Any]) -> dict[str, Any]:
        urls = {id(file): await self.upload(file) for file in files.files_in(inputs)}
        with_urls: dict[str, Any] = files.replaced(inputs, urls) if urls else inputs
        return with_urls

    # Models

    async def models(self) -> Models:
        """The models of the server."""
        answer = await self._http.ask(Ask("GET", "models"))
        return data_of(answer, Models)

    async def model(self, id: str) -> Model:
        """One model.

        Raises:
            UnknownModel: there is none of that id; the message names the nearest.
        """
        for model in await self.models():
            if model.id == id:
                return model
        await self.readme(id)
        raise UnknownModel(f"There is no model {id!r}.", status=404)

    async def readme(self, id: str) -> str:
        """The page of a model, as markdown: what it does, its inputs, what it streams, how to call it.

        Raises:
            UnknownModel: there is none of that id; the message names the nearest.
        """
        return (await self._http.ask(Ask("GET", f"models/{quote(id)}/readme"))).body.decode()

    # Webhooks

    async def webhook_secret(self) -> str:
        """What the server signs webhooks of this API key with."""
        secret: str = data_of(await self._http.ask(Ask("GET", "webhook/secret")), dict[str, Any])["secret"]
        return secret

    verify_webhook = staticmethod(verify_webhook)

    # Its life

    async def close(self) -> None:
        """Closes all connections."""
        await self._http.close()

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


class AsyncPredictions:
    """Predictions, the newest first. Iterating asks for page after page."""

    def __init__(self, http: AsyncHttp, wanted: Mapping[str, Any]) -> None:
        self._http = http
        self._wanted = {name: value for name, value in wanted.items() if value is not None}

    async def page(self, number: int = 1) -> Page:
        """One page; 1 is the first."""
        return data_of(await self._http.ask(json_ask("POST", "predictions", {**self._wanted, "page": number})), Page)

    async def __aiter__(self) -> AsyncIterator[Prediction]:
        number, more = 1, True
        before: set[str] = set()
        while more:
            page = await self.page(number)
            for one in page.items:
                if one.id not in before:  # New ones push those of the last page onto this one.
                    yield one
            before = {one.id for one in page.items}
            number, more = number + 1, page.has_more


def _options(
    webhook_url: str | None,
    on_disconnect: str | None,
    idempotency_key: str | None,
    start_timeout: float | None,
    run_timeout: float | None,
) -> dict[str, Any]:
    return {
        "webhook_url": webhook_url,
        "on_disconnect": on_disconnect,
        "idempotency_key": idempotency_key,
        "start_timeout": start_timeout,
        "run_timeout": run_timeout,
    }


def _until(timeout_s: float | None) -> dict[str, Any]:
    return {} if timeout_s is None else {"deadline": monotonic() + timeout_s, "within_s": timeout_s}
