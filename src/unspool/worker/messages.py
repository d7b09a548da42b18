"""What clients may read of what went wrong inside a model."""

from __future__ import annotations

import os
import re

from unspool.errors import ModelError

_PATH = re.compile(r"(?:file://|(?<![\w:/.]))(?:~|[A-Za-z]:)?[/\\](?:[^\s'\"/\\:,()]+[/\\])+")
_USER_IN_URL = re.compile(r"//[^/\s@]+@")
_SECRET_NAME = re.compile(r"KEY|TOKEN|SECRET|PASSWORD|CREDENTIAL", re.IGNORECASE)


def public_message(error: BaseException) -> str:
    """What a client may read of an exception: its type and message, without folders, and without secrets.

    A secret is what stands in an environment variable with a name like one, or before the `@` of a URL. The message
    of a `ModelError` is its author's word to the client and stays as it is.
    """
    if isinstance(error, ModelError):
        return str(error)
    message = _USER_IN_URL.sub("//***@", str(error))
    for name, value in os.environ.items():
        if len(value) >= 8 and _SECRET_NAME.search(name):
            message = message.replace(value, "***")
    message = _PATH.sub("", message)
    return f"{type(error).__name__}: {message}" if message else type(error).__name__
