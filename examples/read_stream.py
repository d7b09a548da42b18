#!/usr/bin/env python3
"""Reads the stream of a prediction with requests, and prints the text as it comes.

    UNSPOOL_API_KEY=... python examples/read_stream.py "Write a haiku about rivers."

The defaults are those of `unspool demo`.
"""

import json
import os
import sys

import requests

URL = os.environ.get("UNSPOOL_URL", "http://127.0.0.1:8080")
MODEL = os.environ.get("UNSPOOL_MODEL", "smollm2/135m-instruct")
KEY = os.environ.get("UNSPOOL_API_KEY") or sys.exit("Set UNSPOOL_API_KEY to the key that the server printed.")


def main(prompt: str) -> int:
    """Submits, reads to the end, and returns the exit status."""
    response = requests.post(
        f"{URL}/api/v3/{MODEL}",
        headers={"Authorization": f"Bearer {KEY}"},
        json={"prompt": prompt, "stream": True},
        stream=True,
        timeout=60,  # between two pieces; the server says something at least every 15 seconds
    )
    if response.status_code != 200:
        print(f"HTTP {response.status_code}: {response.text}", file=sys.stderr)
        return 1
    event = {}
    for raw in response.iter_lines():
        line = raw.decode("utf-8")
        if line.startswith("data: "):
            event = json.loads(line[6:])
            show(event)
    return 0 if event.get("type") == "complete" else 1


def show(event: dict) -> None:
    """Text to stdout, the rest to stderr."""
    if event["type"] == "output":
        print(event["output"], end="", flush=True)
    elif event["type"] == "progress" and "status" in event:
        print(f"[{event['status']}]", file=sys.stderr)
    elif event["type"] == "log":
        print(f"[{event['level']}] {event['message']}", file=sys.stderr)
    elif event["type"] == "complete":
        print("[completed]", file=sys.stderr)
    elif event["type"] == "error":
        print(f"[{event['status']}] {event['error']}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else "Write a haiku about rivers."))
