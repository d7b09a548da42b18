"""The parts of the SDK around following: errors, webhooks, files among inputs, what an import costs."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import unspool
from unspool import client as sdk
from unspool import errors as server
from unspool.client import errors, files, verify_webhook
from unspool.client.asks import Answer, error_of, inputs_of, target
from unspool.client.errors import ApiError, BadAnswer, WebhookInvalid
from unspool.webhooks import sign

ROOT = Path(__file__).parents[2]

# Errors


def test_every_error_of_the_server_is_a_class_of_the_same_name_and_code():
    theirs = {kind.__name__: kind.code for kind in server.ClientError.__subclasses__()}
    ours = {kind.__name__: kind.code for kind in ApiError.__subclasses__()}
    assert ours == theirs


def test_the_tree_in_the_docstring_is_the_tree():
    drawn = [line.split("── ")[1].split()[0] for line in (errors.__doc__ or "").splitlines() if "── " in line]
    kinds = [errors.SdkError]
    for kind in kinds:
        kinds += kind.__subclasses__()
    assert sorted(drawn) == sorted(kind.__name__ for kind in kinds)


def answer(status: int, body: Any, **headers: str) -> Answer:
    return Answer(status, headers, body if isinstance(body, bytes) else json.dumps(body).encode())


def test_an_error_says_everything_that_the_server_said():
    wrong = [{"field": "steps", "message": "must be of type integer"}]
    body = {"code": 400, "message": "Correct steps", "error_code": "invalid_input", "data": None, "errors": wrong}
    error = error_of(answer(400, body, **{"x-request-id": "r"}))
    assert isinstance(error, errors.InvalidInput)
    assert (error.status, error.message, error.errors, error.request_id) == (400, "Correct steps", wrong, "r")
    assert str(error) == "Correct steps\n  steps: must be of type integer"


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'"x"', b"\xff", {"message": None}, {"error_code": 7}])
def test_whatever_a_proxy_answers_is_an_error_with_its_status(body: Any):
    error = error_of(answer(502, body))
    assert isinstance(error, ApiError)
    assert (error.status, error.error_code) in ((502, ""), (502, "7"))
    assert "502" in str(error)


def test_a_code_that_is_not_known_is_kept():
    error = error_of(answer(418, {"error_code": "teapot", "message": "Short and stout."}))
    assert type(error) is ApiError
    assert (error.error_code, str(error)) == ("teapot", "Short and stout.")


# Inputs


def test_inputs_may_be_called_like_options():
    assert inputs_of({"timeout_s": 3}, {"prompt": "x"}) == {"timeout_s": 3, "prompt": "x"}
    with pytest.raises(TypeError, match="given twice: prompt"):
        inputs_of({"prompt": "a"}, {"prompt": "b"})


def test_files_among_inputs_are_found_and_replaced():
    path, file, data = Path("a.png"), io.BytesIO(b"x"), b"raw"
    inputs = {"image": path, "masks": [file, path], "layer": {"mask": data}, "prompt": "a.png", "n": 3}
    assert files.files_in(inputs) == [path, file, data]
    urls = {id(one): f"https://{name}" for name, one in {"path": path, "file": file, "data": data}.items()}
    assert files.replaced(inputs, urls) == {
        "image": "https://path",
        "masks": ["https://file", "https://path"],
        "layer": {"mask": "https://data"},
        "prompt": "a.png",
        "n": 3,
    }


@pytest.mark.parametrize(
    ("source", "filename", "expected"),
    [(Path("/x/cat.png"), None, "cat.png"), ("/x/cat.png", "dog.png", "dog.png"), (io.BytesIO(), None, "file")],
)
def test_a_file_is_called_as_on_disk_or_as_its_user_says(source: Any, filename: str | None, expected: str):
    assert files.name_of(source, filename) == expected


def test_a_prediction_may_be_named_by_the_url_of_its_stream():
    assert target("abc") == ("abc", None)
    assert target("https://host/sub/api/v3/predictions/abc/stream?token=t") == ("abc", "t")
    with pytest.raises(ValueError, match="not the URL of a prediction"):
        target("https://host/api/v3/models")


@pytest.mark.parametrize("url", ["localhost:8080", "example.test", "ftp://example.test"])
def test_what_is_no_url_of_a_server_is_said_at_once(url: str):
    with pytest.raises(ValueError, match="begins with http"):
        sdk.Client(url)


# Webhooks

BODY = json.dumps({"id": "p1", "status": "completed", "outputs": ["世界"], "input": {"prompt": "x"}}).encode()


def signed(secret: str = "whsec_a", age_s: float = 0, body: bytes = BODY) -> dict[str, str]:
    at = int(time.time() - age_s)
    return {"Webhook-Id": "p1", "Webhook-Timestamp": str(at), "webhook-signature": sign(secret, "p1", at, body)}


def test_a_webhook_of_the_server_is_a_prediction():
    prediction = verify_webhook(BODY, signed(), "whsec_a")
    assert (prediction.id, prediction.status, prediction.outputs) == ("p1", "completed", ["世界"])
    assert prediction.input == {"prompt": "x"}
    assert sdk.Client.verify_webhook(BODY.decode(), signed(), "whsec_a").id == "p1"


def test_one_of_several_secrets_will_do_while_they_change():
    assert verify_webhook(BODY, signed("whsec_old"), ["whsec_new", "whsec_old"]).id == "p1"
    with pytest.raises(WebhookInvalid):
        verify_webhook(BODY, signed("whsec_older"), ["whsec_new", "whsec_old"])


@pytest.mark.parametrize("name", ["Webhook-Id", "Webhook-Timestamp", "webhook-signature"])
@pytest.mark.parametrize("value", [None, "", "1", "v3,", "v3,00", "世", "1" * 5000, "9" * 400, "²"])
def test_no_header_can_be_changed_or_left_out(name: str, value: str | None):
    headers = {key: text for key, text in signed().items() if key != name} | ({} if value is None else {name: value})
    with pytest.raises(WebhookInvalid):
        verify_webhook(BODY, headers, "whsec_a")


@pytest.mark.parametrize("age_s", [400, -400])
def test_a_webhook_of_another_time_is_refused(age_s: float):
    with pytest.raises(WebhookInvalid, match="replayed"):
        verify_webhook(BODY, signed(age_s=age_s), "whsec_a")
    assert verify_webhook(BODY, signed(age_s=age_s), "whsec_a", tolerance_s=500).id == "p1"


def test_a_body_that_was_changed_or_is_no_prediction_is_refused():
    with pytest.raises(WebhookInvalid):
        verify_webhook(BODY.replace(b"p1", b"p2"), signed(), "whsec_a")
    with pytest.raises(BadAnswer):
        verify_webhook(b"[]", signed(body=b"[]"), "whsec_a")


@pytest.mark.parametrize("secret", ["", "whsec_", []])
def test_no_secret_is_a_mistake_and_not_a_signature_of_everybody(secret: Any):
    with pytest.raises(ValueError, match="secret"):
        verify_webhook(BODY, signed("whsec_"), secret)


# Imports


def imported(statement: str) -> set[str]:
    """The modules that a new interpreter has loaded after a statement."""
    program = f"import sys; {statement}; print(*sys.modules, sep='\\n')"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    return set(done.stdout.split())


def test_who_calls_a_server_does_not_load_what_makes_one():
    loaded = imported("from unspool import AsyncClient, Client")
    heavy = {"starlette", "uvicorn", "pydantic", "pydantic_settings", "structlog", "jsonschema_rs", "uvloop", "obstore"}
    assert not loaded & heavy
    ours = {name.split(".")[1] for name in loaded if name.startswith("unspool.")}
    assert ours == {"client", "errors", "types", "states", "sse"}


def test_who_makes_models_does_not_load_what_calls_a_server():
    assert not {name for name in imported("from unspool import model, Run, File") if name.startswith("unspool.client")}


@pytest.mark.parametrize(
    "statement",
    [
        "import unspool.model; from unspool import model",
        "from unspool import model; import unspool.model",
        "from unspool.model import Run; import unspool; model = unspool.model",
        "import unspool.worker.process; from unspool import model",
        "from unspool import *",
    ],
)
def test_model_is_the_decorator_whatever_was_imported_before(statement: str):
    imported(f"{statement}; assert callable(model), model")


def test_everything_that_is_promised_is_there():
    assert {name: getattr(unspool, name) for name in unspool.__all__}
    assert {name: getattr(sdk, name) for name in sdk.__all__}
    assert set(unspool.__all__) <= set(dir(unspool))
    with pytest.raises(AttributeError, match="no attribute 'Modle'"):
        _ = unspool.Modle


def test_the_synchronous_client_is_what_its_source_makes_of_it():
    command = [sys.executable, str(ROOT / "scripts" / "sync_client"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
