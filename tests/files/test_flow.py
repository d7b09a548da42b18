"""Files from the upload to the download, through real workers."""

from __future__ import annotations

import base64
import hashlib
import io
import re
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from conftest import MakeServer
from support.client import Client, data_of, error_of
from support.files import ECHO, ticket, upload
from support.server import Server
from support.waiting import wait_until

PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
)


def run(client: Client, model: str, **inputs: Any) -> dict[str, Any]:
    done = client.finished(client.submit(model, **inputs)["id"])
    assert done["status"] == "completed", done["error"]
    return done


def test_an_upload_goes_through_a_model_and_comes_back_in_parts(client: Client):
    url = upload(client, PIXEL, "My cat (1).png")
    [output] = run(client, "files/echo", file=url)["outputs"]
    assert output != url
    answer = httpx.get(output)
    assert (answer.status_code, answer.content, answer.headers["content-type"]) == (200, PIXEL, "image/png")
    part = httpx.get(output, headers={"Range": "bytes=1-3"})
    assert (part.status_code, part.content) == (206, b"PNG")
    assert part.headers["content-range"] == f"bytes 1-3/{len(PIXEL)}"


@pytest.mark.parametrize("model", ["files/facts", "files/facts-async"])
def test_a_model_is_told_what_its_file_is(client: Client, model: str):
    url = upload(client, PIXEL, "My cat (1).png")
    [said] = run(client, model, file=url)["outputs"]
    path = Path(said.pop("path"))
    assert said == {
        "filename": "My-cat-1.png",
        "content_type": "image/png",
        "size_bytes": len(PIXEL),
        "sha256": hashlib.sha256(PIXEL).hexdigest(),
    }
    assert path.name == "My-cat-1.png"
    assert not path.exists(), "the folder of the run is still there"


def test_files_are_found_wherever_they_are_in_the_inputs(client: Client):
    data = [b"%d" % number for number in range(4)]
    urls = [f"data:text/plain;base64,{base64.b64encode(each).decode()}" for each in data]
    done = run(client, "files/many", files=urls[:2], mask=urls[2], layer={"picture": urls[3]})
    [said] = done["outputs"]
    digests = [each["sha256"] for each in [*said["files"], said["mask"], said["layer"]]]
    assert digests == [hashlib.sha256(each).hexdigest() for each in data]


def test_the_output_of_one_model_is_the_input_of_another(client: Client):
    [first] = run(client, "files/large", size=1000)["outputs"]
    [said] = run(client, "files/facts", file=first)["outputs"]
    assert (said["size_bytes"], said["content_type"]) == (1000, "application/zip")


def test_every_kind_of_file_that_a_model_gives_back_becomes_a_url(client: Client, server: Server):
    outputs = run(client, "files/every-kind")["outputs"]
    clip, sound, picture, drawn, nested, inside, text = outputs
    expected = [
        (clip, ".mp4", "video/mp4", b"a path"),
        (sound, ".wav", "audio/wav", b"a File of a path"),
        (picture, ".webp", "image/webp", b"bytes"),
        (nested["nested"][0], ".json", "application/json", b"{}"),
        (inside["picture"], ".gif", "image/gif", b"in a model"),
    ]
    for url, extension, kind, content in expected:
        answer = httpx.get(url)
        assert url.startswith(f"{server.url}/files/")
        assert url.endswith(extension)
        assert (answer.headers["content-type"], answer.content) == (kind, content)
    with Image.open(io.BytesIO(httpx.get(drawn).content)) as image:
        assert (image.format, image.size) == ("PNG", (2, 3))
    assert (inside["seed"], text) == (7, "text")


@pytest.mark.parametrize("model", ["files/parts", "files/parts-async"])
def test_a_part_is_streamed_as_its_url_and_is_in_the_outputs(client: Client, model: str):
    events = client.log(client.submit(model)["id"])
    parts = [event.data["output"] for event in events if event.type == "output"]
    assert parts == events[-1].data["outputs"]
    [url] = re.findall(r"http[^'\"]+\.png", str(parts))[:1]
    assert httpx.get(url).status_code == 200


def test_the_stage_of_fetching_is_told(client: Client):
    events = client.log(client.submit("files/facts", file="data:,x")["id"])
    said = [(event.data["step"], event.data["steps"]) for event in events if event.data.get("stage") == "fetch"]
    assert said == [(0, 1), (1, 1)]


def test_an_output_that_is_not_there_is_an_error_without_a_path(client: Client):
    done = client.finished(client.submit("files/missing")["id"])
    assert done["status"] == "failed"
    assert "'lost.png'" in done["error"]
    assert "nowhere" not in done["error"]


def test_bytes_need_a_type(client: Client):
    done = client.finished(client.submit("files/bytes")["id"])
    assert done["status"] == "failed"
    assert "content_type" in done["error"]


def test_the_schema_says_what_a_file_input_is(client: Client):
    models = {each["model_id"]: each for each in client.http.get("models").json()["data"]}
    schema = models["files/facts"]["api_schema"]["api_schemas"][0]["request_schema"]["properties"]["file"]
    assert schema == {
        "type": "string",
        "format": "uri",
        "pattern": "^(https?://|data:)",
        "x-ui-component": "uploader",
        "x-accept": "image/*,video/*",
        "title": "File",
    }
    many = models["files/many"]["api_schema"]["api_schemas"][0]["request_schema"]["properties"]
    assert many["files"]["items"]["x-ui-component"] == "uploader"
    assert {"type": "null"} in many["mask"]["anyOf"]


def test_what_is_no_url_is_refused_before_anything_is_accepted(client: Client):
    body = error_of(client.http.post("files/facts", json={"file": "/etc/passwd"}), 400, "invalid_input")
    assert [wrong["field"] for wrong in body["errors"]] == ["file"]


# Base64


def test_base64_output_is_the_same_wherever_it_is_read(client: Client):
    with client.run("files/every-kind", enable_base64_output=True) as stream:
        complete = stream.until("complete")
    outputs = complete.data["outputs"]
    assert base64.b64decode(outputs[0], validate=True) == b"a path"
    assert base64.b64decode(outputs[4]["nested"][0], validate=True) == b"{}"
    assert base64.b64decode(outputs[5]["picture"], validate=True) == b"in a model"
    assert client.result(stream.id)["outputs"] == outputs
    body = {"enable_base64_output": True, "enable_sync_mode": True, "size": 3}
    assert data_of(client.http.post("files/large", json=body))["outputs"] == ["eHh4"]


def test_parts_of_a_base64_output_are_streamed_as_urls(client: Client):
    events = client.log(client.submit("files/parts", enable_base64_output=True)["id"])
    [url] = [event.data["output"] for event in events if event.type == "output"][:1]
    assert httpx.get(url).content == b"first"
    assert events[-1].data["outputs"][0] == base64.b64encode(b"first").decode()


def test_what_goes_out_as_base64_is_not_kept(client: Client, server: Server):
    done = run(client, "files/large", size=3, enable_base64_output=True)
    assert not (server.data_dir / "files" / "outputs" / done["id"]).exists()


def test_a_preview_is_told_by_its_url(client: Client):
    events = client.log(client.submit("files/preview")["id"])
    [url] = [event.data["preview"] for event in events if "preview" in event.data]
    with Image.open(io.BytesIO(httpx.get(url).content)) as image:
        assert image.size == (4, 4)


def test_urls_begin_with_the_public_url(make_server: MakeServer):
    server = make_server(ECHO, UNSPOOL_PUBLIC_URL="https://api.example/base/")
    client = server.client()
    [output] = run(client, "echo", file="data:,xxx")["outputs"]
    given = ticket(client, "a.png", 3)
    for url in (output, given["download_url"]):
        assert url.startswith("https://api.example/base/files/")
    assert given["upload"]["url"].startswith("https://api.example/base/api/v3/media/uploads/")
    assert httpx.get(output.replace("https://api.example/base", server.url)).content == b"xxx"
    [again] = run(client, "echo", file=output)["outputs"]
    assert httpx.get(again.replace("https://api.example/base", server.url)).content == b"xxx"


# What is left behind


def test_a_killed_worker_leaves_nothing_behind(client: Client, server: Server):
    scratch = server.data_dir / "scratch"
    done = client.finished(client.submit("files/die", file="data:,x")["id"])
    assert done["status"] == "failed"
    wait_until(lambda: not list(scratch.glob("*/run-*")), "the folder of the killed worker's run was removed")
