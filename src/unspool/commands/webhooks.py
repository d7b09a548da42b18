"""`unspool webhooks listen`: a receiver on this machine that checks each webhook and prints it."""

from __future__ import annotations

import json
import signal
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated, Any

import typer

from unspool.commands.connection import connect
from unspool.commands.exits import fail, told
from unspool.commands.options import ApiKey, AsJson, Url
from unspool.commands.terminal import err, out, print_json

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response

    from unspool.client import Client

FORWARD_TIMEOUT_S = 10.0
MAX_SHOWN = 200
HEAD_TIMEOUT_S = 30.0
PASSED_ON = ("content-type", "user-agent", "webhook-id", "webhook-timestamp", "webhook-signature")

app = typer.Typer(name="webhooks", help="Webhooks on the way to you.", no_args_is_help=True)


@app.callback()
def _webhooks() -> None:
    """Webhooks on the way to you."""


@app.command()
def listen(
    port: Annotated[int, typer.Option(help="Port to listen on; 0 picks one.")] = 9000,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    secret: Annotated[
        str | None,
        typer.Option(
            help="The secret that signs [default: the server is asked, with the API key].", show_default=False
        ),
    ] = None,
    forward: Annotated[
        str | None, typer.Option(metavar="URL", help="Send each one that is genuine on to this URL; its answer counts.")
    ] = None,
    as_json: AsJson = False,
    url: Url = None,
    api_key: ApiKey = None,
) -> None:
    """Receives webhooks on this machine, checks their signatures and prints them, until Ctrl-C.

    Answers 200 to those that are genuine and 401 to others. The server has to be allowed to send to this machine.
    """
    with told(), connect(url, api_key) as client:
        receiver = Receiver(client, secret, forward, as_json)
        receiver.fetch_secret()
        import asyncio

        try:
            asyncio.run(_serve(receiver.app(), host, port))
        except OSError as error:
            fail(f"Cannot listen on {host}:{port}: {error.strerror}. Name another port with --port.")


class Receiver:
    """Checks, prints and perhaps passes on what comes.

    Args:
        secret: the one that signs; without it the server is asked, and again when a signature is wrong.
        forward: the URL that genuine webhooks are passed on to.
    """

    def __init__(self, client: Client, secret: str | None, forward: str | None, as_json: bool) -> None:
        self._client = client
        self._secret = secret
        self._given = secret is not None
        self._forward = forward
        self._as_json = as_json

    def app(self) -> Starlette:
        """The receiver as an ASGI application. Every path is one."""
        from starlette.applications import Starlette
        from starlette.routing import Route

        return Starlette(routes=[Route("/{path:path}", self._receive, methods=["POST"])])

    def fetch_secret(self) -> None:
        """Asks the server for the secret, unless it was given."""
        if not self._given:
            self._secret = self._client.webhook_secret()

    async def _receive(self, request: Request) -> Response:
        from starlette.responses import PlainTextResponse

        body = await request.body()
        why = await self._why_not(body, request.headers)
        answer, status = ("", 200) if why is None else (why, 401)
        if why is None and self._forward is not None:
            status, answer = await self._pass_on(body, request.headers)
        self._show(body, request.headers, why, status)
        return PlainTextResponse(answer, status)

    async def _why_not(self, body: bytes, headers: Mapping[str, str]) -> str | None:
        """Why a webhook is not genuine; `None` for one that is."""
        why = self._check(body, headers)
        if why is not None and not self._given:  # the secret may have been changed meanwhile
            import asyncio

            from unspool.client import SdkError

            with suppress(SdkError):
                await asyncio.to_thread(self.fetch_secret)
            why = self._check(body, headers)
        return why

    def _check(self, body: bytes, headers: Mapping[str, str]) -> str | None:
        from unspool.client import WebhookInvalid, verify_webhook

        try:
            verify_webhook(body, headers, self._secret or "")
        except WebhookInvalid as error:
            return str(error)
        return None

    async def _pass_on(self, body: bytes, headers: Mapping[str, str]) -> tuple[int, str]:
        import httpx

        passed = {name: headers[name] for name in PASSED_ON if name in headers}
        try:
            async with httpx.AsyncClient(timeout=FORWARD_TIMEOUT_S) as http:
                answer = await http.post(self._forward or "", content=body, headers=passed)
        except httpx.HTTPError as error:
            err().print(
                f"Cannot pass it on to {self._forward}: {error or type(error).__name__}", style="red", markup=False
            )
            return 502, "Cannot be passed on."
        return answer.status_code, answer.text[:1000]

    def _show(self, body: bytes, headers: Mapping[str, str], why: str | None, status: int) -> None:
        try:
            said = json.loads(body)
        except ValueError:
            said = None
        if self._as_json:
            print_json({"verified": why is None, "reason": why, "answered": status, "webhook": said})
            return
        told: dict[str, Any] = said if isinstance(said, dict) else {}
        about = " ".join(str(told.get(name, "")) for name in ("id", "model", "status"))
        outputs = json.dumps(told.get("outputs") or told.get("error") or "", ensure_ascii=False)[:MAX_SHOWN]
        line = f"{time.strftime('%H:%M:%S')} {about} {outputs}" if why is None else f"{time.strftime('%H:%M:%S')} {why}"
        mark = "[green]verified[/]" if why is None else "[red]refused [/]"
        out().print(f"{mark} [dim]{status}[/]", end=" ")
        out().print(line, markup=False, soft_wrap=True)
        sys.stdout.flush()


async def _serve(receiver: Starlette, host: str, port: int) -> None:
    """Serves until SIGINT or SIGTERM."""
    import asyncio

    from unspool.http_server import HttpServer, listen

    listening = listen(host, port)
    server = HttpServer(receiver, listening, head_timeout_s=HEAD_TIMEOUT_S)
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await server.start()
    _explain(host, listening.getsockname()[1])
    await stop.wait()
    await server.stop()


def _explain(host: str, port: int) -> None:
    shown = f"[{host}]" if ":" in host else host
    err().print(f"Listening for webhooks. Submit with webhook_url: http://{shown}:{port}/", markup=False)
    err().print(
        f"The server has to be allowed to send there: UNSPOOL_WEBHOOK_ALLOW_HTTP=1 UNSPOOL_WEBHOOK_ALLOW_HOSTS={host}"
        " unspool serve …",
        style="dim",
        markup=False,
    )
