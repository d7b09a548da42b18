"""The requests of a client: sent, tried again where that helps, and turned into answers or errors."""

from __future__ import annotations

import os
from collections.abc import AsyncIterable
from time import monotonic

import httpx

from unspool.client.asks import Answer, Ask, error_of
from unspool.client.concurrency import async_sleep
from unspool.client.errors import ApiError
from unspool.client.follow import connection_failed
from unspool.client.pace import REQUEST_GIVE_UP_S, UNREACHED_S, Patience, Timing

DEFAULT_URL = "http://127.0.0.1:8080"
NEVER_CONNECTED = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.UnsupportedProtocol)


class AsyncHttp:
    """Connections to one server.

    Args:
        url: of the server; with or without `/api/v3`.
    """

    def __init__(
        self, url: str | None, api_key: str | None, timing: Timing, transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        url = url or os.environ.get("UNSPOOL_URL") or DEFAULT_URL
        self.url = url.rstrip("/").removesuffix("/api/v3")
        self.timing = timing
        self.reached = False
        """The server has answered."""
        self.streams_held_back = False
        """Streams bring nothing in time on this network."""
        key = os.environ.get("UNSPOOL_API_KEY") if api_key is None else api_key
        self._auth = {"Authorization": f"Bearer {key}"} if key else {}
        self._client = httpx.AsyncClient(
            headers={"User-Agent": "unspool-python", "Accept-Encoding": "identity"},
            timeout=timing.timeout_s,
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=20),
            transport=transport,
        )

    async def close(self) -> None:
        """Closes all connections."""
        await self._client.aclose()

    async def open(self, ask: Ask, content: AsyncIterable[bytes] | None = None) -> httpx.Response:
        """Sends a request once. The body of the answer is not read, and has to be closed."""
        request = self._request(ask, content)
        response = await self._client.send(request, stream=True)
        self.reached = True
        # What the body may take counts from here on; it is read with what the request says then.
        request.extensions["timeout"]["read"] = self.timing.stall_timeout_s if ask.streams else self.timing.timeout_s
        return response

    def _request(self, ask: Ask, content: AsyncIterable[bytes] | None) -> httpx.Request:
        url = ask.path if "://" in ask.path else f"{self.url}/api/v3/{ask.path}"
        head_s = min(self.timing.timeout_s, self.timing.first_event_timeout_s) if ask.streams else self.timing.timeout_s
        accept = "text/event-stream" if ask.streams else "application/json"
        headers = {"Accept": accept, **(self._auth if ask.with_key else {}), **ask.headers}
        timeout = httpx.Timeout(self.timing.timeout_s, read=ask.timeout_s or head_s, pool=None)
        return self._client.build_request(
            ask.method,
            url,
            params=ask.params or None,
            headers=headers,
            content=ask.body if content is None else content,
            timeout=timeout,
        )

    async def ask(self, ask: Ask, *, give_up_s: float = REQUEST_GIVE_UP_S) -> Answer:
        """Sends a request until there is an answer that counts.

        Raises:
            ApiError: the server says no.
            BadAnswer: something else than an Unspool server answers.
            ConnectionFailed: nothing answers.
        """
        patience = Patience(self.timing, min(give_up_s, self.timing.give_up_s))
        while True:
            try:
                answer = await self.once(ask)
            except httpx.TransportError as error:
                at_most_s = None if self.reached else UNREACHED_S
                pause_s = patience.failed(monotonic(), give_up_s=at_most_s)
                if pause_s is None:
                    raise connection_failed(error) from error
            else:
                if 200 <= answer.status < 300:
                    return answer
                refusal = error_of(answer)
                pause_s = patience.refused(monotonic(), refusal) if isinstance(refusal, ApiError) else None
                if pause_s is None:
                    raise refusal
            await async_sleep(pause_s)

    async def once(self, ask: Ask, content: AsyncIterable[bytes] | None = None) -> Answer:
        """Sends a request once and reads the answer."""
        response = await self.open(ask, content)
        try:
            return Answer(response.status_code, response.headers, await response.aread())
        finally:
            await response.aclose()
