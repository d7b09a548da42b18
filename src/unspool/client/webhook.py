"""Webhooks that came: whether the server has sent them, and what they say."""

from __future__ import annotations

import hashlib
import hmac
import re
import time
from collections.abc import Mapping, Sequence

import msgspec

from unspool.client.errors import BadAnswer, WebhookInvalid
from unspool.client.objects import Prediction

_SECONDS = re.compile(r"[0-9]{1,15}")


def verify_webhook(
    body: bytes | str, headers: Mapping[str, str], secret: str | Sequence[str], tolerance_s: float = 300
) -> Prediction:
    """The prediction of a webhook that the server has signed.

    Args:
        body: byte for byte as it came, before any parsing.
        headers: of the request, in any case.
        secret: what `webhook_secret()` says; several while it is being changed.
        tolerance_s: how old it may be, so that nobody can send it again who has seen it once.

    Raises:
        WebhookInvalid: it is not signed with one of these secrets, or is too old. Answer with 401.
        ValueError: there is no secret.
    """
    body = body.encode() if isinstance(body, str) else body
    secrets = [secret] if isinstance(secret, str) else secret
    if not secrets or not all(one.removeprefix("whsec_") for one in secrets):
        raise ValueError("There is no secret to check with: GET /api/v3/webhook/secret tells it.")
    given = {name.lower(): value for name, value in headers.items()}
    id, timestamp = given.get("webhook-id", ""), given.get("webhook-timestamp", "")
    claimed = given.get("webhook-signature", "").encode()
    if not _SECONDS.fullmatch(timestamp) or abs(time.time() - int(timestamp)) > tolerance_s:
        raise WebhookInvalid("The webhook has no time, or one that is too far from now: it may have been replayed.")
    signed = f"{id}.{timestamp}.".encode() + body
    # All are compared, so that the time it takes does not tell which of them is good.
    good = [hmac.compare_digest(_signature(one, signed), claimed) for one in secrets]
    if not any(good):
        raise WebhookInvalid("The signature is not that of this body with this secret.")
    try:
        return msgspec.json.decode(body, type=Prediction)
    except ValueError as error:
        raise BadAnswer("The webhook is signed, and its body is no prediction.") from error


def _signature(secret: str, signed: bytes) -> bytes:
    key = secret.removeprefix("whsec_").encode()
    return b"v3," + hmac.new(key, signed, hashlib.sha256).hexdigest().encode()
