"""JSON schemas of what the API answers with. They describe; tests hold every answer against them."""

from __future__ import annotations

from typing import Any

from unspool.api.description import array, obj, ref
from unspool.states import Status

TEXT: dict[str, Any] = {"type": "string"}
NUMBER: dict[str, Any] = {"type": "number"}
COUNT: dict[str, Any] = {"type": "integer", "minimum": 0}
FLAG: dict[str, Any] = {"type": "boolean"}
TIME: dict[str, Any] = {"type": "string", "format": "date-time"}
STATUS: dict[str, Any] = {"type": "string", "enum": [str(status) for status in Status]}
PERCENTAGE: dict[str, Any] = {"type": "number", "minimum": 0, "maximum": 100}
NUMBERS: dict[str, Any] = {"type": "object", "additionalProperties": {"type": "number"}}
INPUTS: dict[str, Any] = {"type": "object"}
CURRENCY: dict[str, Any] = {"const": "USD"}


def text(description: str) -> dict[str, Any]:
    """A string that needs explaining."""
    return {"type": "string", "description": description}


def _event(type: str, always: dict[str, Any], perhaps: dict[str, Any] | None = None) -> dict[str, Any]:
    perhaps = perhaps or {}
    return obj({"type": {"const": type}, **always, **perhaps}, optional=tuple(perhaps))


EVENTS: dict[str, dict[str, Any]] = {
    "ProgressEvent": _event(
        "progress",
        {"percentage": PERCENTAGE},
        {
            "id": TEXT,
            "status": STATUS,
            "queue_position": COUNT,
            "attempt": COUNT,
            "stage": TEXT,
            "step": NUMBER,
            "steps": NUMBER,
            "eta_seconds": NUMBER,
            "preview": TEXT,
        },
    ),
    "LogEvent": _event(
        "log", {"message": TEXT, "level": {"enum": ["debug", "info", "warning", "error"]}, "timestamp": TIME}
    ),
    "OutputEvent": _event(
        "output",
        {"output": {"description": "Of text the new piece, of anything else a finished part."}},
        {"index": COUNT},
    ),
    "CompleteEvent": _event(
        "complete", {"id": TEXT, "outputs": {"type": "array"}}, {"timings": NUMBERS, "usage": NUMBERS}
    ),
    "ErrorEvent": _event(
        "error", {"id": TEXT, "error": TEXT, "code": COUNT, "status": {"enum": ["failed", "cancelled", "timeout"]}}
    ),
}

PREDICTION = obj(
    {
        "id": TEXT,
        "model": TEXT,
        "status": STATUS,
        "outputs": {"type": "array", "description": "Empty until it has completed."},
        "urls": {"type": "object", "additionalProperties": TEXT, "required": ["get"]},
        "has_nsfw_contents": array(FLAG),
        "created_at": TIME,
        "error": text("Why it did not complete; empty if nothing went wrong."),
        "timings": {**NUMBERS, "description": "Milliseconds."},
        "executionTime": {**NUMBER, "description": "Milliseconds."},
        "progress": PERCENTAGE,
        "attempt": COUNT,
        "code": {"type": "integer", "description": "Why it did not complete, as a number."},
        "usage": NUMBERS,
        "logs": array(obj({"message": TEXT, "level": TEXT, "timestamp": TIME})),
        "input": INPUTS,
        "inputs": INPUTS,
    },
    optional=("progress", "attempt", "code", "usage", "logs", "input", "inputs"),
)

MODEL = obj(
    {
        "model_id": TEXT,
        "name": TEXT,
        "description": TEXT,
        "type": text("What it makes of what, as text-to-image."),
        "base_price": {**NUMBER, "description": "USD of a prediction that completes."},
        "streams": array({"enum": ["progress", "log", "output"]}),
        "readme": text("Markdown."),
        "api_schema": obj(
            {
                "api_schemas": array(
                    obj(
                        {
                            "type": {"const": "model_run"},
                            "method": {"const": "POST"},
                            "server": TEXT,
                            "api_path": TEXT,
                            "request_schema": {"type": "object", "required": ["properties", "x-order-properties"]},
                        }
                    )
                )
            }
        ),
    }
)

ERROR = obj(
    {
        "code": {"type": "integer", "description": "The HTTP status."},
        "message": text("What to do."),
        "error_code": TEXT,
        "data": {"type": "null"},
        "errors": {**array(obj({"field": TEXT, "message": TEXT})), "description": "Every wrong field."},
    },
    optional=("errors",),
)

_WHEN = {"type": ["string", "null"], "format": "date-time"}
DELIVERY = obj(
    {
        "id": TEXT,
        "webhook_url": text("Empty if the prediction has none."),
        "status": {"enum": ["none", "waiting", "pending", "delivered", "failed"]},
        "next_try_at": _WHEN,
        "attempts": array(
            obj(
                {
                    "attempt": {"type": "integer", "minimum": 1},
                    "at": TIME,
                    "status": {"type": ["integer", "null"], "description": "Of its answer, if there was one."},
                    "duration_ms": {**NUMBER, "minimum": 0},
                    "error": text("Empty if it was delivered."),
                    "answer": text("Its first 1,024 bytes."),
                    "next_try_at": _WHEN,
                }
            )
        ),
    }
)

WEBHOOK_SECRET = obj({"secret": {"type": "string", "pattern": "^whsec_"}, "previous_valid_until": _WHEN})

_UPLOAD = {
    "type": {"enum": ["image", "video", "audio", "file"]},
    "download_url": TEXT,
    "filename": TEXT,
    "size": {**COUNT, "description": "Bytes."},
}
UPLOAD = obj(_UPLOAD)
FORM_UPLOAD = obj({**_UPLOAD, "url": TEXT})
UPLOAD_TICKET = obj(
    {
        **_UPLOAD,
        "upload": obj(
            {
                "method": {"const": "PUT"},
                "url": TEXT,
                "headers": {"type": "object", "additionalProperties": TEXT},
                "expires_at": TIME,
            }
        ),
    }
)

COMPONENTS: dict[str, dict[str, Any]] = {
    "Prediction": PREDICTION,
    "Model": MODEL,
    "Delivery": DELIVERY,
    "WebhookSecret": WEBHOOK_SECRET,
    "Upload": UPLOAD,
    "FormUpload": FORM_UPLOAD,
    "UploadTicket": UPLOAD_TICKET,
    "Error": ERROR,
    "Event": {
        "oneOf": [ref(name) for name in EVENTS],
        "discriminator": {
            "propertyName": "type",
            "mapping": {schema["properties"]["type"]["const"]: ref(name)["$ref"] for name, schema in EVENTS.items()},
        },
    },
    **EVENTS,
}
"""What other schemas refer to, by name."""

CURSOR: dict[str, Any] = {"type": "string", "pattern": "^(0|[1-9][0-9]{0,8})-([1-9][0-9]{0,17})$"}
STREAM: dict[str, Any] = {
    "description": "Server-Sent Events, each of them as described here. The last one is `complete` or `error`.",
    **obj(
        {
            "id": {**CURSOR, "description": "The cursor."},
            "data": {"type": "string", "contentMediaType": "application/json", "contentSchema": ref("Event")},
        }
    ),
}
EVENT_PAGE = obj({"events": array(obj({"cursor": CURSOR, "event": ref("Event")})), "done": FLAG})
