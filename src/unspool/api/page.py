"""The page of a model: what its author says, its inputs as a table, what it streams, and how to call it.

The programs on it are whole: with `UNSPOOL_API_KEY` set they run as they stand, and tests run them.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from unspool.types import ModelInfo

_MAX_DEPTH = 4
_LINE_CHARACTERS = 100
_STREAMED = {
    "progress": "`progress`: how far it is, and in which stage.",
    "log": "`log`: lines that it writes while it works.",
    "output": "`output`: its outputs, piece by piece as they are made.",
}
_MAX_ITEMS = 20
_MAX_CHARACTERS = 200
_FILES = {"image": "image.png", "video": "video.mp4", "audio": "audio.wav"}
"""What a file is called in a sample, by the first half of its content type."""

Schema = Mapping[str, Any]


def page(info: ModelInfo, server: str) -> str:
    """The page as markdown.

    Args:
        server: the base of this server's URLs, as clients reach it.
    """
    title = "" if re.match(r"\s*# ", info.readme) else f"# {info.id}"
    parts = [title, info.readme, _inputs(info.schema), _streams(info), _calls(info, server)]
    return "\n\n".join(part for part in parts if part) + "\n"


# The inputs


@dataclass(frozen=True)
class _Row:
    name: str
    schema: Schema
    required: bool


def _inputs(schema: Schema) -> str:
    rows = list(_rows(schema, schema, "", 0))
    if not rows:
        more = "It takes any." if schema.get("additionalProperties") else "It takes none."
        return f"## Inputs\n\n{more}"
    lines = ["## Inputs", "", "| input | type | default | meaning |", "|---|---|---|---|"]
    for row in rows:
        cells = [_code(row.name), _type(row.schema, schema), _default(row), _meaning(row.schema, schema)]
        lines.append(f"| {' | '.join(map(_cell, cells))} |")
    if choice := _choice(schema):
        lines += ["", f"Give one of {', '.join(map(_code, choice))}."]
    if schema.get("additionalProperties"):
        lines += ["", "It takes other inputs too."]
    return "\n".join(lines)


def _rows(schema: Schema, root: Schema, prefix: str, depth: int) -> Iterator[_Row]:
    """The properties, each followed by what is inside it."""
    for name, property in schema.get("properties", {}).items():
        path = f"{prefix}{name}"
        yield _Row(path, _schema(property), name in schema.get("required", ()))
        if depth < _MAX_DEPTH:
            inner = _resolve(property, root)
            items = inner.get("items")
            if isinstance(items, Mapping):
                yield from _rows(_resolve(items, root), root, f"{path}[].", depth + 1)
            else:
                yield from _rows(inner, root, f"{path}.", depth + 1)


def _schema(value: Any) -> Schema:
    """A schema may also be `true`: anything."""
    return value if isinstance(value, Mapping) else {}


def _resolve(value: Any, root: Schema) -> Schema:
    """What a reference points to; of alternatives, the first that is not null."""
    schema = _schema(value)
    for _ in range(_MAX_DEPTH):
        if reference := schema.get("$ref"):
            schema = _schema(root.get("$defs", {}).get(str(reference).removeprefix("#/$defs/")))
        elif some := [one for one in map(_schema, schema.get("anyOf", ())) if one.get("type") != "null"]:
            schema = some[0]
        else:
            break
    return schema


def _choice(schema: Schema) -> list[str]:
    """The inputs of which one has to be given."""
    groups = [_schema(group).get("required", []) for group in schema.get("oneOf", schema.get("anyOf", ()))]
    return [group[0] for group in groups if len(group) == 1]


def _type(value: Any, root: Schema, depth: int = 0) -> str:
    schema = _schema(value)
    if depth > _MAX_DEPTH:
        return "any"
    if "$ref" in schema:
        return _type(_resolve(schema, root), root, depth + 1)
    if values := schema.get("enum"):
        return "one of " + ", ".join(_code(_json(value)) for value in values)
    if "const" in schema:
        return _code(_json(schema["const"]))
    if alternatives := schema.get("anyOf", schema.get("oneOf") if "type" not in schema else None):
        return " or ".join(dict.fromkeys(_type(one, root, depth + 1) for one in alternatives))
    if _is_file(schema):
        accept = schema.get("x-accept")
        return f"file ({_code(accept)})" if accept else "file"
    kind = schema.get("type", "any")
    if kind == "array" and isinstance(schema.get("items"), Mapping):
        kind = f"list of {_type(schema['items'], root, depth + 1)}"
    return ", ".join([kind if isinstance(kind, str) else " or ".join(kind), *_limits(schema)])


def _limits(schema: Schema) -> Iterator[str]:
    low, high = schema.get("minimum"), schema.get("maximum")
    if low is not None and high is not None:
        yield f"{low} to {high}"
    elif low is not None:
        yield f"{low} or more"
    elif high is not None:
        yield f"{high} or less"
    for name, word in (("exclusiveMinimum", "more than"), ("exclusiveMaximum", "less than")):
        if name in schema:
            yield f"{word} {schema[name]}"
    for least, most, unit in (("minLength", "maxLength", "characters"), ("minItems", "maxItems", "items")):
        if schema.get(least):
            yield f"{schema[least]} {unit} or more"
        if most in schema:
            yield f"{schema[most]} {unit} at most"
    if "pattern" in schema:
        yield f"like {_code(schema['pattern'])}"


def _is_file(schema: Schema) -> bool:
    return schema.get("x-ui-component") == "uploader"


def _default(row: _Row) -> str:
    if row.required:
        return "required"
    default = row.schema.get("default")
    return "" if default is None else _code(_json(default))


def _meaning(schema: Schema, root: Schema) -> str:
    said = schema.get("description") or (_resolve(schema, root).get("description") if "$ref" in schema else "") or ""
    return str(said)


def _cell(text: str) -> str:
    """Text as it can stand in a table."""
    return " ".join(text.split()).replace("|", "\\|")


def _code(text: str) -> str:
    """A span of code, whatever is in it."""
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * (longest + 1)
    return f"{fence} {text} {fence}" if longest else f"`{text}`"


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


# What it streams


def _streams(info: ModelInfo) -> str:
    if not info.streams:
        return "## What it streams\n\nStreams: nothing; poll for the result"
    meanings = "\n".join(f"- {_STREAMED[name]}" for name in info.streams if name in _STREAMED)
    return f"## What it streams\n\nStreams: {', '.join(info.streams)}\n\n{meanings}"


# How to call it


def _calls(info: ModelInfo, server: str) -> str:
    example, certain = example_of(info.schema)
    sample = _Sample(info.id, server, example)
    parts = ["## How to call it", "Put an API key into the environment variable `UNSPOOL_API_KEY`."]
    if not certain:
        parts.append("Put values that suit the model in the place of those below.")
    if sample.files:
        parts.append(f"The samples upload {', '.join(map(_code, sample.files))}; use a file of your own.")
    for language, watch, wait in (
        ("curl", _curl(sample, "stream"), _curl(sample, "enable_sync_mode")),
        ("Python", _python_stream(sample), _python(sample)),
        ("JavaScript", _javascript_stream(sample), _javascript(sample)),
    ):
        fence = {"curl": "sh"}.get(language, language.lower())
        parts.append(f"### {language}")
        if info.streams:
            parts.append(f"Watch it:\n\n```{fence}\n{watch}\n```")
        parts.append(f"{_WAITED[language]}\n\n```{fence}\n{wait}\n```")
    return "\n\n".join(parts)


_WAITED = {
    "curl": "Wait for the outputs; if they take long, the answer says where to poll:",
    "Python": "Wait for the outputs, after `pip install wavespeed`:",
    "JavaScript": "Wait for the outputs, after `npm install wavespeed`:",
}


@dataclass(frozen=True)
class _Upload:
    """Stands in an example where a file has to be uploaded first."""

    file: str


class _Sample:
    def __init__(self, id: str, server: str, example: dict[str, Any]) -> None:
        self.id, self.server, self.example = id, server, example
        self.api = f"{server}/api/v3"
        self.files = list(dict.fromkeys(upload.file for upload in _uploads(example)))

    def inputs(self, words: tuple[str, str, str], upload: str, **more: Any) -> str:
        """The example as a literal of a language; `upload` is the call that uploads `{}`."""
        return _literal(self.example | more, words, upload)


def _uploads(value: Any) -> Iterator[_Upload]:
    if isinstance(value, _Upload):
        yield value
    elif isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _uploads(inner)


def _literal(value: Any, words: tuple[str, str, str], upload: str, indent: str = "") -> str:
    """JSON in a language whose words for true, false and null these are."""
    if isinstance(value, _Upload):
        return upload.format(value.file)
    if value is None or isinstance(value, bool):
        return words[(True, False, None).index(value)]
    if not isinstance(value, dict | list) or not value:
        return _json(value)
    inner = indent + "    "
    opening, closing = "{}" if isinstance(value, dict) else "[]"
    if isinstance(value, dict):
        parts = [f"{_json(name)}: {_literal(one, words, upload, inner)}" for name, one in value.items()]
    else:
        parts = [_literal(one, words, upload, inner) for one in value]
    line = opening + ", ".join(parts) + closing
    if len(indent) + len(line) <= _LINE_CHARACTERS and "\n" not in line:
        return line
    return f"{opening}\n" + "".join(f"{inner}{part},\n" for part in parts) + f"{indent}{closing}"


_JSON_WORDS = ("true", "false", "null")
_PYTHON_WORDS = ("True", "False", "None")


def _curl(sample: _Sample, flag: str) -> str:
    uploads = [
        f"url_{number}=$(curl -s {shlex.quote(f'{sample.api}/media/upload/binary')} \\\n"
        f'    -H "Authorization: Bearer $UNSPOOL_API_KEY" -F file=@{file} \\\n'
        """    | sed 's/.*"download_url":"\\([^"]*\\)".*/\\1/')"""
        for number, file in enumerate(sample.files)
    ]

    def plain(value: Any) -> Any:
        if isinstance(value, _Upload):
            return f"\0{sample.files.index(value.file)}\0"
        if isinstance(value, dict):
            return {name: plain(one) for name, one in value.items()}
        return [plain(one) for one in value] if isinstance(value, list) else value

    body = shlex.quote(_json(plain(sample.example) | {flag: True}))
    body = re.sub(r"\\u0000(\d+)\\u0000", r"""'"$url_\1"'""", body)
    options = "-sN" if flag == "stream" else "-s"
    call = (
        f"curl {options} {shlex.quote(f'{sample.api}/{sample.id}')} \\\n"
        '    -H "Authorization: Bearer $UNSPOOL_API_KEY" \\\n'
        '    -H "Content-Type: application/json" \\\n'
        f"    -d {body}"
    )
    return "\n".join([*uploads, call])


def _python(sample: _Sample) -> str:
    return f"""import os

import wavespeed

client = wavespeed.Client(api_key=os.environ["UNSPOOL_API_KEY"], base_url="{sample.server}")
inputs = {sample.inputs(_PYTHON_WORDS, 'client.upload("{}")')}
print(client.run("{sample.id}", inputs)["outputs"])"""


_PYTHON_UPLOAD = """

def upload(path):
    with open(path, "rb") as file:
        answer = requests.post(f"{api}/media/upload/binary", headers=headers, files={"file": file})
    answer.raise_for_status()
    return answer.json()["data"]["download_url"]

"""


def _python_stream(sample: _Sample) -> str:
    upload = _PYTHON_UPLOAD if sample.files else ""
    return f"""import json
import os

import requests

api = "{sample.api}"
headers = {{"Authorization": f"Bearer {{os.environ['UNSPOOL_API_KEY']}}"}}
{upload}
inputs = {sample.inputs(_PYTHON_WORDS, 'upload("{}")', stream=True)}
with requests.post(f"{{api}}/{sample.id}", headers=headers, json=inputs, stream=True) as response:
    response.raise_for_status()
    for line in response.iter_lines():
        if line.startswith(b"data: "):
            print(json.loads(line[6:]))"""


def _javascript(sample: _Sample) -> str:
    return f"""import {{ Client }} from 'wavespeed';

const client = new Client(process.env.UNSPOOL_API_KEY, {{ baseUrl: '{sample.server}' }});
const inputs = {sample.inputs(_JSON_WORDS, 'await client.upload("{}")')};
const {{ outputs }} = await client.run('{sample.id}', inputs);
console.log(outputs);"""


_JAVASCRIPT_UPLOAD = """
async function upload(path) {
    const body = new FormData();
    body.append('file', new Blob([await readFile(path)]), path);
    const answer = await fetch(`${api}/media/upload/binary`, { method: 'POST', headers, body });
    if (!answer.ok) throw new Error(await answer.text());
    return (await answer.json()).data.download_url;
}
"""


def _javascript_stream(sample: _Sample) -> str:
    imports = "import { readFile } from 'node:fs/promises';\n\n" if sample.files else ""
    upload = _JAVASCRIPT_UPLOAD if sample.files else ""
    return f"""{imports}const api = '{sample.api}';
const headers = {{ Authorization: `Bearer ${{process.env.UNSPOOL_API_KEY}}` }};
{upload}
const response = await fetch(`${{api}}/{sample.id}`, {{
    method: 'POST',
    headers: {{ ...headers, 'Content-Type': 'application/json' }},
    body: JSON.stringify({sample.inputs(_JSON_WORDS, 'await upload("{}")', stream=True)}),
}});
if (!response.ok) throw new Error(await response.text());
let rest = '';
for await (const text of response.body.pipeThrough(new TextDecoderStream())) {{
    const lines = (rest + text).split('\\n');
    rest = lines.pop();
    for (const line of lines) {{
        if (line.startsWith('data: ')) console.log(JSON.parse(line.slice(6)));
    }}
}}"""


# An example of the inputs


def example_of(schema: Schema) -> tuple[dict[str, Any], bool]:
    """Inputs to call the model with, and whether they surely fit.

    What the author gives as `examples` comes first, then defaults, then what the types allow.
    """
    if isinstance(given := (schema.get("examples") or [None])[0], dict):
        return dict(given), True
    made = _Example(schema)
    properties = schema.get("properties", {})
    wanted = [*schema.get("required", []), *_choice(schema)[:1]]
    told = [name for name, one in properties.items() if _tells(_schema(one))]
    wanted = wanted or told[:1]
    example = {name: made.value(properties.get(name, {}), name) for name in dict.fromkeys(wanted)}
    return example, made.certain


def _tells(schema: Schema) -> bool:
    return bool(schema.get("examples")) or schema.get("default") not in (None, "", [], {})


class _Example:
    def __init__(self, root: Schema) -> None:
        self.certain = True
        self._root = root

    def value(self, schema: Any, name: str, depth: int = 0) -> Any:
        """A value of that schema."""
        for source in (_schema(schema), _resolve(schema, self._root)):
            for given in ("examples", "enum"):
                if source.get(given):
                    return source[given][0]
            for given in ("default", "const"):
                if source.get(given) is not None:
                    return source[given]
        return self._made(_resolve(schema, self._root), name, depth)

    def _made(self, schema: Schema, name: str, depth: int) -> Any:
        if _is_file(schema):
            return _Upload(_FILES.get(str(schema.get("x-accept", "")).partition("/")[0], f"{_plain(name)}.bin"))
        match schema.get("type"):
            case "string":
                return self._text(schema)
            case "integer" | "number":
                return self._number(schema)
            case "boolean":
                return True
            case "array" if depth < _MAX_DEPTH:
                count = max(1, min(schema.get("minItems", 0), _MAX_ITEMS))
                return [self.value(schema.get("items"), name, depth + 1)] * count
            case "object" if depth < _MAX_DEPTH:
                needed, inside = schema.get("required", ()), schema.get("properties", {})
                return {inner: self.value(inside.get(inner), inner, depth + 1) for inner in needed}
        self.certain = False
        return None

    def _text(self, schema: Schema) -> str:
        if "pattern" in schema or "format" in schema:
            self.certain = False
        text = "A few words."
        return text.ljust(min(schema.get("minLength", 0), _MAX_CHARACTERS), ".")[: schema.get("maxLength")]

    def _number(self, schema: Schema) -> float:
        low = schema.get("minimum", schema.get("exclusiveMinimum"))
        high = schema.get("maximum", schema.get("exclusiveMaximum"))
        if schema.get("multipleOf") or "exclusiveMinimum" in schema or "exclusiveMaximum" in schema:
            return self._inside(schema, low, high)
        number = 1 if low is None else max(1, low)
        return number if high is None else min(number, high)

    def _inside(self, schema: Schema, low: float | None, high: float | None) -> float:
        step = schema.get("multipleOf") or 1
        start = 0 if low is None else low // step * step
        for number in (start + step, start + 2 * step, start):
            above = low is None or number > low
            if above and (high is None or number < high):
                return int(number) if number == int(number) else float(number)
        if low is not None and high is not None and schema.get("type") == "number" and "multipleOf" not in schema:
            return (low + high) / 2
        self.certain = False
        return start


def _plain(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_-]", "_", name) or "file"
