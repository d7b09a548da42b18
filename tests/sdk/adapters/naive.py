"""A client as the published samples read a stream: no resume, no check, no patience. It must fail the scenarios."""

from __future__ import annotations

import json
import sys
import threading
from typing import Any

import httpx

_lock = threading.Lock()


def say(**answer: Any) -> None:
    with _lock:
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


class Naive:
    def __init__(self, url: str, api_key: str) -> None:
        self.http = httpx.Client(
            base_url=f"{url}/api/v3/", headers={"Authorization": f"Bearer {api_key}"}, timeout=httpx.Timeout(1.5)
        )

    def do(self, command: dict[str, Any]) -> dict[str, Any]:
        model, inputs = command.get("model"), command.get("inputs", {})
        match command["do"]:
            case "stream":
                return {"end": self.read(command, "POST", str(model), json={**inputs, "stream": True})}
            case "follow":
                after = {"after": command["after"]} if command["after"] else {}
                return {"end": self.read(command, "GET", f"predictions/{command['id']}/stream", params=after)}
            case "run":
                end = self.read(command, "POST", str(model), json={**inputs, "stream": True})
                return {"result": end["prediction"]}
            case "submit":
                return {"result": self.http.post(str(model), json=inputs).json()["data"]}
            case "cancel":
                return {"result": self.http.post(f"predictions/{command['id']}/cancel").json()["data"]}
        return {"unsupported": command["do"]}

    def read(self, command: dict[str, Any], method: str, path: str, **request: Any) -> dict[str, Any]:
        text, cursor, attempt, event = "", "", 0, {}
        with self.http.stream(method, path, **request) as response:
            id = response.headers.get("x-prediction-id")
            try:
                for line in response.iter_lines():
                    if line.startswith("id: "):
                        cursor = line[4:]
                    if not line.startswith("data: "):
                        continue
                    event = json.loads(line[6:])
                    now, n = (int(part) for part in cursor.split("-"))
                    restarted = now > max(attempt, 1)
                    text, attempt = ("" if restarted else text), now
                    if event["type"] == "output" and isinstance(event["output"], str):
                        text += event["output"]
                    place = {"type": event["type"], "cursor": cursor, "attempt": now, "n": n, "restarted": restarted}
                    seen = {"id": id, "cursor": cursor, "attempt": now, "text": text, "percentage": 0}
                    say(call=command["call"], event={**place, "data": event}, seen=seen)
            except httpx.HTTPError:
                pass  # the stream has ended, and that is that
        prediction = self.http.get(f"predictions/{id}").json()["data"]
        outputs = event.get("outputs", [])
        return {"id": id, "cursor": cursor, "attempt": attempt, "text": text, "outputs": outputs, "percentage": 0,
                "prediction": prediction}  # fmt: skip


def serve(client: Naive, command: dict[str, Any]) -> None:
    try:
        say(call=command["call"], **client.do(command))
    except Exception as error:
        nothing = dict.fromkeys(["status", "error_code", "retry_after_s", "errors", "request_id", "prediction"])
        told = {"class": type(error).__name__, "message": str(error)}
        say(call=command["call"], error={**nothing, **told})


def main() -> None:
    client: Any = None
    for line in sys.stdin:
        command = json.loads(line)
        if command["do"] == "connect":
            client = Naive(command["url"], command["api_key"])
            say(call=command["call"], result=None)
        else:
            threading.Thread(target=serve, args=[client, command], daemon=True).start()


if __name__ == "__main__":
    main()
