"""Who asks: API keys, and the signed tokens of stream URLs."""

from __future__ import annotations

import hashlib
import hmac

from unspool.errors import NotFound, Unauthenticated


class Auth:
    """Knows the API key, by its hash, and signs what clients carry back to us.

    Args:
        key: the API key.
        secret: signs tokens; the same on every node and after every restart.
    """

    def __init__(self, key: str, secret: bytes) -> None:
        self._digest = _digest(key)
        self._owner = self._digest.hex()[:16]
        self._secret = secret

    def owner(self, authorization: str | None) -> str:
        """The id of the key in an `Authorization` header.

        Raises:
            Unauthenticated: there is no key, or a wrong one.
        """
        scheme, _, key = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not key:
            raise Unauthenticated("Send your API key in the header 'Authorization: Bearer <key>'.")
        if not hmac.compare_digest(_digest(key.strip()), self._digest):
            raise Unauthenticated("This API key is not known. Check it for missing or extra characters.")
        return self._owner

    def stream_token(self, id: str) -> str:
        """Lets whoever has it read the stream of one prediction, and nothing else."""
        return hmac.digest(self._secret, b"stream:" + id.encode(), "sha256").hex()[:32]

    def check_stream_token(self, id: str, token: str) -> None:
        """Raises:
        NotFound: the token is not the one of this prediction.
        """
        if not hmac.compare_digest(token.encode(), self.stream_token(id).encode()):
            raise NotFound("There is no such prediction, or the token of this URL is not complete.")


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()
