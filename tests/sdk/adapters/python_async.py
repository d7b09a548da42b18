"""The adapter of `unspool.AsyncClient`: a task for each command."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from typing import Any

import telling

from unspool import AsyncClient
from unspool.client import AsyncStream, verify_webhook


class Adapter:
    def __init__(self) -> None:
        self.client = AsyncClient()
        self.streams: dict[int, AsyncStream] = {}

    async def do(self, command: dict[str, Any]) -> dict[str, Any]:
        options, call, id = telling.options(command), command["call"], command.get("id", "")
        match command["do"]:
            case "stream":
                stream = self.client.stream(command["model"], command["inputs"], **options)
                return {"end": await self.read(stream, command)}
            case "follow":
                stream = self.client.follow(id or command["url"], command.get("after"))
                return {"end": await self.read(stream, command)}
            case "run":

                async def tell(event: Any) -> None:
                    telling.say(call, event=telling.event(event), seen=None)

                result: Any = await self.client.run(command["model"], command["inputs"], on_event=tell, **options)
            case "submit":
                result = await self.client.submit(command["model"], command["inputs"], **options)
            case "get":
                result = await self.client.get(id)
            case "wait":
                result = await self.client.wait(id, command.get("timeout_s"))
            case "cancel":
                result = await self.client.cancel(id)
            case "cancel_stream":
                result = await self.streams[command["stream"]].cancel()
            case "delete":
                result = await self.client.delete(id)
            case "list":
                result = [one async for one in self.client.list(**command["options"])]
            case "upload":
                result = await self.client.upload(telling.body(command), filename=command["name"])
            case "models":
                result = [model.id for model in await self.client.models()]
            case "model":
                result = {"id": (await self.client.model(id)).id}
            case "readme":
                result = await self.client.readme(id)
            case "verify_webhook":
                tolerance = {name: command[name] for name in ["tolerance_s"] if command.get(name) is not None}
                result = verify_webhook(command["body"], command["headers"], command["secret"], **tolerance)
            case _:
                return {"unsupported": "this client has no such verb"}
        return {"result": telling.plain(result)}

    async def read(self, stream: AsyncStream, command: dict[str, Any]) -> dict[str, Any]:
        self.streams[command["call"]] = stream
        left = command.get("take")
        async with stream:
            async for event in stream:
                telling.say(command["call"], event=telling.event(event), seen=telling.seen(stream))
                left = None if left is None else left - 1
                if left == 0:
                    break
        return telling.end(stream)

    async def serve(self, command: dict[str, Any]) -> None:
        try:
            answer = await self.do(command)
        except Exception as error:
            answer = {"error": telling.error(error)}
        telling.say(command["call"], **answer)


async def main() -> None:
    adapter = Adapter()
    tasks = set()
    while line := await asyncio.to_thread(sys.stdin.readline):
        command = json.loads(line)
        if command["do"] == "connect":
            await adapter.client.close()
            adapter.client = AsyncClient(command["url"], command["api_key"], **command["options"])
            telling.say(command["call"], result=None)
        else:
            task = asyncio.create_task(adapter.serve(command))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
    os._exit(0)


if __name__ == "__main__":
    asyncio.run(main())
