"""Makes one call with the `wavespeed` of this environment and prints what came of it, as one line of JSON.

python call.py '{"url": …, "key": …, "method": "run", "args": […, {"timeout": 20}]}'
"""

from __future__ import annotations

import json
import sys
from typing import Any

import wavespeed


def outcome(task: dict[str, Any]) -> dict[str, Any]:
    client = wavespeed.Client(api_key=task["key"], base_url=task["url"], max_connection_retries=0)
    *args, last = task["args"]
    keywords = last if isinstance(last, dict) else {}
    if not keywords:
        args.append(last)
    try:
        return {"returned": getattr(client, task["method"])(*args, **keywords)}
    except Exception as error:
        return {"raised": {"name": type(error).__name__, "message": str(error)}}


print(json.dumps(outcome(json.loads(sys.argv[1]))))
