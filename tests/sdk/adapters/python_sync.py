"""The adapter of `unspool.Client`: a thread for each command."""

from __future__ import annotations

import json
import os
import sys
import threading
from typing import Any

import telling

from unspool import Client
from unspool.client import Stream, verify_webhook


class Adapter:
    def __init__(self) -> None:
        self.client = Client()
        self.streams: dict[int, Stream] = {}

    def do(self, command: dict[str, Any]) -> dict[str, Any]:
        options, call, id = telling.options(command), command["call"], command.get("id", "")
        match command["do"]:
            case "stream":
                stream = self.client.stream(command["model"], command["inputs"], **options)
                return {"end": self.read(stream, command)}
            case "follow":
                stream = self.client.follow(id or command["url"], command.get("after"))
                return {"end": self.read(stream, command)}
            case "run":
                tell = lambda event: telling.say(call, event=telling.event(event), seen=None)  # noqa: E731
                result: Any = self.client.run(command["model"], command["inputs"], on_event=tell, **options)
            case "submit":
                result = self.client.submit(command["model"], command["inputs"], **options)
            case "get":
                result = self.client.get(id)
            case "wait":
                result = self.client.wait(id, command.get("timeout_s"))
            case "cancel":
                result = self.client.cancel(id)
            case "cancel_stream":
                result = self.streams[command["stream"]].cancel()
            case "delete":
                result = self.client.delete(id)
            case "list":
                result = list(self.client.list(**command["options"]))
            case "upload":
                result = self.client.upload(telling.body(command), filename=command["name"])
            case "models":
                result = [model.id for model in self.client.models()]
            case "model":
                result = {"id": self.client.model(id).id}
            case "readme":
                result = self.client.readme(id)
            case "verify_webhook":
                tolerance = {name: command[name] for name in ["tolerance_s"] if command.get(name) is not None}
                result = verify_webhook(command["body"], command["headers"], command["secret"], **tolerance)
            case _:
                return {"unsupported": "this client has no such verb"}
        return {"result": telling.plain(result)}

    def read(self, stream: Stream, command: dict[str, Any]) -> dict[str, Any]:
        self.streams[command["call"]] = stream
        left = command.get("take")
        with stream:
            for event in stream:
                telling.say(command["call"], event=telling.event(event), seen=telling.seen(stream))
                left = None if left is None else left - 1
                if left == 0:
                    break
        return telling.end(stream)

    def serve(self, command: dict[str, Any]) -> None:
        try:
            answer = self.do(command)
        except Exception as error:
            answer = {"error": telling.error(error)}
        telling.say(command["call"], **answer)


def main() -> None:
    adapter = Adapter()
    for line in sys.stdin:
        command = json.loads(line)
        if command["do"] == "connect":
            adapter.client.close()
            adapter.client = Client(command["url"], command["api_key"], **command["options"])
            telling.say(command["call"], result=None)
        else:
            threading.Thread(target=adapter.serve, args=[command], daemon=True).start()
    os._exit(0)


if __name__ == "__main__":
    main()
