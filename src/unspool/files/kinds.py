"""Content types, file extensions and safe names. A file's type is what its extension says: nothing else is stored.

The table is our own, not the `mimetypes` of the machine, so that a file is the same everywhere.
"""

from __future__ import annotations

import re
from typing import Final

UNKNOWN: Final = "application/octet-stream"

_EXTENSIONS: Final = {
    "image/png": ".png",
    "image/jpeg": ".jpg .jpeg .jfif",
    "image/webp": ".webp",
    "image/gif": ".gif",
    "image/avif": ".avif",
    "image/bmp": ".bmp",
    "image/tiff": ".tiff .tif",
    "image/heic": ".heic",
    "image/svg+xml": ".svg",
    "image/x-icon": ".ico",
    "image/x-exr": ".exr",
    "image/vnd.radiance": ".hdr",
    "video/mp4": ".mp4 .m4v",
    "video/webm": ".webm",
    "video/quicktime": ".mov",
    "video/x-matroska": ".mkv",
    "video/x-msvideo": ".avi",
    "video/mpeg": ".mpeg .mpg",
    "video/ogg": ".ogv",
    "audio/mpeg": ".mp3",
    "audio/wav": ".wav",
    "audio/flac": ".flac",
    "audio/ogg": ".ogg .oga .opus",
    "audio/mp4": ".m4a",
    "audio/aac": ".aac",
    "audio/aiff": ".aiff .aif",
    "audio/webm": ".weba",
    "text/plain": ".txt .log",
    "text/markdown": ".md",
    "text/csv": ".csv",
    "text/html": ".html .htm",
    "text/vtt": ".vtt",
    "application/x-subrip": ".srt",
    "application/json": ".json",
    "application/jsonl": ".jsonl .ndjson",
    "application/xml": ".xml",
    "application/pdf": ".pdf",
    "application/zip": ".zip",
    "application/gzip": ".gz",
    "application/x-tar": ".tar",
    "model/gltf-binary": ".glb",
    "model/gltf+json": ".gltf",
    "model/obj": ".obj",
    "model/stl": ".stl",
    "model/vnd.usdz+zip": ".usdz",
}
"""The extensions of each type, the usual one first."""

_ALIASES: Final = {
    "image/jpg": "image/jpeg",
    "image/pjpeg": "image/jpeg",
    "image/x-png": "image/png",
    "image/vnd.microsoft.icon": "image/x-icon",
    "video/x-m4v": "video/mp4",
    "audio/mp3": "audio/mpeg",
    "audio/x-wav": "audio/wav",
    "audio/wave": "audio/wav",
    "audio/vnd.wave": "audio/wav",
    "audio/x-flac": "audio/flac",
    "audio/opus": "audio/ogg",
    "audio/x-m4a": "audio/mp4",
    "audio/x-aiff": "audio/aiff",
    "text/xml": "application/xml",
    "application/x-zip-compressed": "application/zip",
    "application/x-gzip": "application/gzip",
    "application/x-ndjson": "application/jsonl",
}
_TYPES: Final = {extension: kind for kind, all_of_it in _EXTENSIONS.items() for extension in all_of_it.split()}
_EXTENSION = re.compile(r"\.[a-z0-9]{1,16}", re.ASCII)
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+", re.ASCII)
_MAX_STEM = 60


def content_type_of(name: str) -> str:
    """What a file of this name is, by its extension."""
    return _TYPES.get(_last_extension(name), UNKNOWN)


def decide(declared: str | None, name: str) -> tuple[str, str]:
    """The content type and the extension of a file, by what it is declared as and what it is called.

    A declared type counts if it is one that we know; otherwise (as with `application/octet-stream`) the name decides.
    An extension that fits the type is kept, and so is one that we do not know if nothing better is known.
    """
    known = normal(declared)
    extension = _last_extension(name)
    if known in _EXTENSIONS:
        return known, extension if _TYPES.get(extension) == known else _EXTENSIONS[known].split()[0]
    return _TYPES.get(extension, UNKNOWN), extension or ".bin"


def normal(content_type: str | None) -> str:
    """A content type in lower case, without parameters, by its usual name; empty for none."""
    bare = (content_type or "").partition(";")[0].strip().lower()
    return _ALIASES.get(bare, bare)


def kind_of(content_type: str) -> str:
    """`image`, `video`, `audio`, or `file` for everything else."""
    kind = content_type.partition("/")[0]
    return kind if kind in ("image", "video", "audio") else "file"


def safe_stem(name: str) -> str:
    """What is before the extension, in characters that are safe in a path, a URL and a header; may be empty."""
    base = re.split(r"[/\\]", name)[-1]
    stem = base[: -len(extension)] if (extension := _last_extension(base)) else base
    return _UNSAFE.sub("-", stem).strip("-._")[:_MAX_STEM]


def safe_name(name: str, extension: str) -> str:
    """A file name of this extension that is safe everywhere."""
    return (safe_stem(name) or "file") + extension


def _last_extension(name: str) -> str:
    dot = name.rfind(".")
    extension = name[dot:].lower() if dot > 0 else ""
    return extension if _EXTENSION.fullmatch(extension) else ""
