"""What can go wrong with a server behind a model, what clients read of it, and what the operator reads.

A client reads what it can do: shorten a prompt, try again later, tell the operator. It never reads where the upstream
is or what its key is. The operator finds both the URL and the upstream's own words in the server's log.
"""

from __future__ import annotations

import math
import re
import time
from email.utils import parsedate_to_datetime
from typing import Any

import httpx
import msgspec

from unspool.errors import ModelError

_REASON_CHARACTERS = 500
_LOGGED_CHARACTERS = 2000
_TOO_LONG = re.compile(
    r"context.{0,10}(length|size|window|limit)|(prompt|input|request) is too (long|large)", re.IGNORECASE
)
_TOO_LONG_TYPES = frozenset({"context_length_exceeded", "exceed_context_size_error"})
_TEMPORARY = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})
"""Answers after which the same request may succeed. 529 is what overloaded servers of some clouds say."""
_BUSY_WORDS = {"rate_limit_exceeded": 429, "rate_limit_error": 429, "overloaded_error": 503, "server_error": 500}


class UpstreamError(Exception):
    """The server behind a model cannot be used as it should. The message is for clients, the notes for the log."""

    def __init__(self, message: str, *, temporary: bool = False, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.temporary = temporary
        """Whether asking again may help."""
        self.retry_after_s = retry_after_s
        """How long the upstream wants us to wait."""


class Refusal(Exception):
    """An error that the upstream has answered with, by its status or inside a stream."""

    def __init__(self, status: int | None, body: bytes, retry_after: str | None) -> None:
        super().__init__(status)
        self.body = body.decode("utf-8", "replace")
        self._found = _find_error(self.body)
        self.status = status or _status_of(self._found)
        self.retry_after_s = None if retry_after is None else _seconds(retry_after)

    @property
    def reason(self) -> str:
        """The upstream's own words, if it has any."""
        said = next((self._found[name] for name in ("message", "detail") if self._found.get(name)), None)
        if said is None:
            return ""
        return said if isinstance(said, str) else msgspec.json.encode(said).decode()

    @property
    def is_too_long(self) -> bool:
        """Whether prompt and answer do not fit the model."""
        names = {str(self._found.get("type")), str(self._found.get("code"))}
        return bool(names & _TOO_LONG_TYPES) or (self.status == 400 and bool(_TOO_LONG.search(self.reason)))

    @property
    def lengths(self) -> tuple[int, int] | None:
        """The tokens of the prompt, and of the context, if the upstream says them by number."""
        prompt, context = self._found.get("n_prompt_tokens"), self._found.get("n_ctx")
        return (prompt, context) if isinstance(prompt, int) and isinstance(context, int) else None

    def is_about(self, field: str) -> bool:
        """Whether it refuses this field of the request."""
        return self.status in (400, 422) and field in self.body


class Upstream:
    """The server behind a model, for those who have to say something of it.

    Args:
        url: what is asked.
        key: the API key, which nobody may read.
    """

    def __init__(self, url: httpx.URL, key: str | None) -> None:
        self._key = key
        self._netloc = url.netloc.decode("ascii")
        self._host = url.host
        self._shown = str(url.copy_with(userinfo=b"", query=None))

    def refused(self, refusal: Refusal) -> Exception:
        """What an error that it has answered with means here."""
        status, reason = refusal.status, self._public(refusal.reason)
        if refusal.is_too_long:
            return ModelError(_too_long(refusal, reason))
        if status in (400, 413, 422):
            return ModelError(f"The server behind this model refuses these inputs. {reason}".strip())
        return self._noted(
            UpstreamError(
                _meaning(status, refusal.retry_after_s),
                temporary=status in _TEMPORARY,
                retry_after_s=refusal.retry_after_s,
            ),
            f"it answered {status}: {refusal.body}",
        )

    def broken(self, error: BaseException | None, *, begun: bool, limit_s: float) -> UpstreamError:
        """What it means that a request came to no end.

        Args:
            error: what httpx or the clock has raised; None if the stream just stopped.
            begun: whether a token had come.
            limit_s: which deadline it was, if it was one.
        """
        if isinstance(error, TimeoutError):
            where = "in the middle of its answer" if begun else "to this prompt"
            # Not temporary: it is at work, or hangs; more of the same would help neither.
            made = UpstreamError(f"The server behind this model has said nothing for {limit_s:g} s {where}.")
        elif isinstance(error, httpx.ConnectTimeout):
            made = UpstreamError(
                f"The server behind this model could not be reached within {limit_s:g} s.", temporary=True
            )
        elif isinstance(error, httpx.ConnectError | httpx.ProxyError):
            made = UpstreamError("The server behind this model cannot be reached.", temporary=True)
        elif begun:
            made = UpstreamError("The server behind this model broke off in the middle of its answer.")
        else:
            made = UpstreamError("The server behind this model broke off before it answered.", temporary=True)
        return self._noted(made, "the stream ended too early" if error is None else f"{type(error).__name__}: {error}")

    def senseless(self, what: str) -> UpstreamError:
        """It says what is no chat completion."""
        made = UpstreamError("The server behind this model gave an answer that is not a chat completion.")
        return self._noted(made, what)

    def _noted(self, error: UpstreamError, note: str) -> UpstreamError:
        """With what only the log may say."""
        text = f"POST {self._shown}: {note}"[:_LOGGED_CHARACTERS]
        error.add_note(text.replace(self._key, "***") if self._key else text)
        return error

    def _public(self, text: str) -> str:
        if self._key:
            text = text.replace(self._key, "***")
        for address in (self._netloc, self._host):
            text = re.sub(rf"(?<![\w.-]){re.escape(address)}(?![\w-])", "upstream", text)
        text = " ".join(text.split())
        return text if len(text) <= _REASON_CHARACTERS else text[:_REASON_CHARACTERS] + "…"


def _meaning(status: int | None, retry_after_s: float | None) -> str:
    if status == 429:
        when = "" if retry_after_s is None else f" in {math.ceil(retry_after_s)} s"
        return f"The server behind this model is busy (429). Try again{when or ' later'}."
    if status in (401, 403):
        return f"The server behind this model does not accept this server's API key ({status}). Tell the operator."
    if status == 404:
        return "The server behind this model does not have it (404). Tell the operator."
    if status is None or status >= 500:
        return f"The server behind this model has failed{f' ({status})' if status else ''}. Try again later."
    return f"The server behind this model refused the request ({status}). Tell the operator."


def _too_long(refusal: Refusal, reason: str) -> str:
    if refusal.lengths is not None:
        prompt, context = refusal.lengths
        return (
            f"The prompt is {prompt} tokens long; prompt and answer together can be {context} tokens. "
            "Shorten the prompt."
        )
    return f"Prompt and answer together are too long for this model. Shorten the prompt. {reason}".strip()


def _find_error(body: str) -> dict[str, Any]:
    """The object with a message in it: `{"error": {…}}`, or the whole, as older servers have it."""
    try:
        whole = msgspec.json.decode(body)
    except msgspec.DecodeError:
        return {"message": body.strip()} if not body.lstrip().startswith("<") else {}
    if isinstance(whole, list) and whole:
        whole = whole[0]
    if not isinstance(whole, dict):
        return {"message": str(whole)}
    error = whole.get("error")
    if isinstance(error, dict):
        return error
    return {**whole, "message": error} if error else whole


def _status_of(error: dict[str, Any]) -> int | None:
    """Of an error inside a stream: its code, if that is a status, or what its type means."""
    for name in ("code", "status", "status_code"):
        code = str(error.get(name, ""))
        if code.isdigit() and 400 <= int(code) < 600:
            return int(code)
    names = (str(error.get(name)) for name in ("code", "type"))
    return next((_BUSY_WORDS[name] for name in names if name in _BUSY_WORDS), None)


def _seconds(value: str) -> float | None:
    """What a `Retry-After` means from now on: a number of seconds, or a date."""
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(value).timestamp() - time.time()
        except ValueError:
            return None
    return max(0.0, seconds) if math.isfinite(seconds) else None
