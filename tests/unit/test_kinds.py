"""What a file is, by what it is declared as and what it is called."""

from __future__ import annotations

import pytest

from unspool import File
from unspool.files.kinds import content_type_of, decide, kind_of, safe_name, safe_stem


@pytest.mark.parametrize(
    ("declared", "name", "content_type", "extension"),
    [
        ("image/png", "cat.png", "image/png", ".png"),
        ("image/png", "", "image/png", ".png"),
        ("IMAGE/PNG; charset=x", "cat", "image/png", ".png"),
        ("image/jpeg", "cat.jpeg", "image/jpeg", ".jpeg"),
        ("image/jpg", "cat", "image/jpeg", ".jpg"),
        ("image/png", "page.html", "image/png", ".png"),
        ("audio/x-wav", "a.bin", "audio/wav", ".wav"),
        ("application/octet-stream", "clip.MP4", "video/mp4", ".mp4"),
        (None, "clip.mov", "video/quicktime", ".mov"),
        ("", "notes", "application/octet-stream", ".bin"),
        ("application/x-new", "scene.usdz", "model/vnd.usdz+zip", ".usdz"),
        (None, "weights.safetensors", "application/octet-stream", ".safetensors"),
        (None, "a.p/../x", "application/octet-stream", ".bin"),
        (None, "archive.tar.gz", "application/gzip", ".gz"),
        (None, ".png", "application/octet-stream", ".bin"),
        (None, "x." + "a" * 17, "application/octet-stream", ".bin"),
    ],
)
def test_type_and_extension_of_a_file(declared: str | None, name: str, content_type: str, extension: str):
    assert decide(declared, name) == (content_type, extension)
    assert content_type_of(f"x{extension}") == content_type, "what is stored has only its extension"


@pytest.mark.parametrize(
    ("content_type", "kind"),
    [("image/png", "image"), ("video/mp4", "video"), ("audio/wav", "audio"), ("model/stl", "file"), ("", "file")],
)
def test_the_kind_of_a_type(content_type: str, kind: str):
    assert kind_of(content_type) == kind


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("My cat (1).png", "My-cat-1"),
        ("../../etc/passwd", "passwd"),
        (r"C:\Users\me\a.txt", "a"),
        ("дом.png", ""),
        ("a\r\nSet-Cookie: x.png", "a-Set-Cookie-x"),
        ("...", ""),
        ("-rf.png", "rf"),
        ("x" * 500, "x" * 60),
        ('"quoted".png', "quoted"),
    ],
)
def test_a_name_keeps_only_what_is_safe_everywhere(name: str, stem: str):
    assert safe_stem(name) == stem
    assert safe_name(name, ".png") == f"{stem or 'file'}.png"


def test_a_file_needs_a_path_or_typed_data():
    for wrong in ({}, {"path": "a.png", "data": b""}, {"data": b"x"}):
        with pytest.raises(ValueError, match="File"):
            File(**wrong)
    assert File(data=b"x", filename="a.webp").content_type == "image/webp"
    assert File("folder/a.webp").filename == "a.webp"
    assert File(data=b"xyz", content_type="image/png").size_bytes == 3
    with pytest.raises(ValueError, match=r"\.data"):
        _ = File(data=b"x", content_type="image/png").path
