"""`/openapi.json`, and `/docs`, which shows it: Swagger UI, every file of it from this server."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from importlib.resources import files
from typing import Any

from starlette.requests import Request

from unspool.api.auth import Auth
from unspool.api.description import bare, content, described
from unspool.api.responses import Answer, Json, Text
from unspool.config import Settings
from unspool.errors import NotFound

FILES = {
    "swagger-ui-bundle.js": "text/javascript; charset=utf-8",
    "swagger-ui.css": "text/css; charset=utf-8",
    "favicon-32x32.png": "image/png",
    "docs.js": "text/javascript; charset=utf-8",
}
_PAGE = """<!DOCTYPE html>
<html lang="en">
  <head>
    <meta charset="utf-8">
    <meta name="viewport" content="width=device-width, initial-scale=1">
    <title>API of this server</title>
    <link rel="stylesheet" href="docs/swagger-ui.css">
    <link rel="icon" type="image/png" href="docs/favicon-32x32.png">
  </head>
  <body>
    <div id="docs"></div>
    <script src="docs/swagger-ui-bundle.js"></script>
    <script src="docs/docs.js"></script>
  </body>
</html>
"""
_HEADERS = {
    # Swagger UI sets styles on elements, and its style sheet has pictures as data; scripts are from here only.
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:;"
        " connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
}
_KEPT = {"cache-control": "public, max-age=86400", "x-content-type-options": "nosniff"}


class Docs:
    """The handlers.

    Args:
        describe: makes the OpenAPI document, given the base URL of the API.
    """

    def __init__(self, auth: Auth, settings: Settings, describe: Callable[[str], Awaitable[dict[str, Any]]]) -> None:
        self._auth = auth
        self._settings = settings
        self._describe = describe

    async def _check(self, request: Request) -> None:
        if not self._settings.public_docs:
            await self._auth.owner(request)

    @described(
        summary="This description",
        tag="Description",
        details="Without a key, unless the server was told otherwise (`UNSPOOL_PUBLIC_DOCS=0`).",
        security="none",
        answers={200: bare({"type": "object"})},
    )
    async def openapi(self, request: Request) -> Answer:
        """`GET /openapi.json`."""
        await self._check(request)
        base = (self._settings.public_url or str(request.base_url)).rstrip("/")
        return Json(await self._describe(base), bare=True)

    @described(
        summary="This description, to read and try",
        tag="Description",
        security="none",
        answers={200: content({"text/html": {"type": "string"}})},
    )
    async def page(self, request: Request) -> Answer:
        """`GET /docs`."""
        await self._check(request)
        return Text(_PAGE, "text/html; charset=utf-8", _HEADERS)

    @described(
        summary="A file of the page that shows this description",
        tag="Description",
        security="none",
        answers={200: content({kind.partition(";")[0]: {} for kind in FILES.values()})},
        errors=(NotFound,),
    )
    async def file(self, request: Request) -> Answer:
        """`GET /docs/{file}`."""
        name = request.path_params["file"]
        if name not in FILES:
            raise NotFound("There is no such file. The page is at /docs.")
        return Text(files("unspool.api").joinpath("swagger_ui", name).read_bytes(), FILES[name], _KEPT)
