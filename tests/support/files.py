"""Uploads, as the official clients do them."""

from __future__ import annotations

from typing import Any

import httpx

from support.client import Client, data_of

ECHO = """
from unspool import File, model

@model("echo", slots=4)
def echo(file: File) -> File:
    return file
"""
"""A model that starts quickly, for servers of a test's own."""


def ticket(client: Client, filename: str, size: int, **more: Any) -> dict[str, Any]:
    """A place for a file."""
    return data_of(client.http.post("media/uploads", json={"filename": filename, "size": size, **more}))


def put(given: dict[str, Any], content: Any, **headers: str) -> httpx.Response:
    """The PUT that a ticket asks for: its headers, and no key."""
    return httpx.put(given["upload"]["url"], content=content, headers={**given["upload"]["headers"], **headers})


def upload(client: Client, data: bytes, filename: str, **more: Any) -> str:
    """Both; returns the URL of the file."""
    given = ticket(client, filename, len(data), **more)
    answer = put(given, data)
    assert answer.status_code == 200, answer.text
    return str(given["download_url"])
