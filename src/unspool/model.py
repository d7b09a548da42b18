"""What the author of a model uses: `@model`, `Run`, `ModelError`.

Owns how a function or class becomes a model (id, schema, README, what it streams) and what a running model can say.
Knows nothing of processes, sockets or HTTP: a `Run` hands finished event bytes to a sink that its worker gives it.
"""

from __future__ import annotations

import inspect
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, cast, get_type_hints

import msgspec
import pydantic

from unspool import batched, events
from unspool.bars import Bars, Habit
from unspool.errors import ModelFileError
from unspool.files.file import File, as_file, serialization_context
from unspool.readme import Readme, text_of
from unspool.states import Status
from unspool.types import ModelInfo

RESERVED_FIELDS = frozenset({"stream", "enable_sync_mode", "enable_base64_output", "webhook_url"})
"""Fields of a request that are not inputs (`wire.md` §2)."""

RESERVED_SEGMENTS = frozenset(
    {"models", "balance", "predictions", "media", "model", "webhook", "user", "billings", "account", "upload"}
)
"""First path segments of the API itself, which no model id may begin with (`wavespeed-v3.md` §0.12)."""

STREAMABLE = ("progress", "log", "output")

Level = Literal["debug", "info", "warning", "error"]
T = TypeVar("T")
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)*", re.ASCII)
_GPU = re.compile(r"cuda:(0|[1-9][0-9]{0,3})", re.ASCII)
_DEVICE = re.compile(rf"cpu|mps|cuda|{_GPU.pattern}", re.ASCII)
_CATEGORY = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*", re.ASCII)
_HIGHEST_PRICE = 1e9
_TRACK_INTERVAL_S = 0.1


class Cancelled(BaseException):
    """Raised inside a model whose prediction was cancelled or ran out of time.

    Not an `Exception`, so that `except Exception` does not swallow it. Clean up in `finally` and let it pass.
    """


current_run: ContextVar[Run | None] = ContextVar("current_run", default=None)
"""The run that the code at hand works for."""


class Run:
    """One attempt at a prediction, as the model sees it. Safe to use from any thread.

    Every method that says something raises `Cancelled` once the prediction was cancelled.
    """

    def __init__(
        self,
        id: str,
        attempt: int,
        emit: Callable[[bytes], None],
        *,
        keep: FileTeller | None = None,
        embed: FileTeller | None = None,
        make_folder: Callable[[], Path] | None = None,
        habit: Habit | None = None,
    ) -> None:
        """What its worker gives it.

        Args:
            emit: takes each event.
            keep: stores an output file and returns its URL.
            embed: says an output file as base64, if the client asked for that.
            make_folder: makes the folder of the run.
            habit: what is known of other runs of this model.
        """
        self.id = id
        """The prediction's id."""
        self.attempt = attempt
        """1 for the first attempt, 2 when the first one was lost, …"""
        self.stop_status: Status | None = None
        self._habit = habit
        self._bars: Bars | None = None
        self._emit = emit
        self._keep = keep or _nowhere
        self._embed = embed
        self._make_folder = make_folder
        self._folder: Path | None = None
        self._percentage = 0.0
        self._progress_lock = threading.Lock()
        self._texts: dict[int, list[str]] = {}
        self._parts: dict[int, Any] = {}
        self._text_index: int | None = None
        self._usage: dict[str, float] = {}
        self._timings: dict[str, float] = {}
        self._began = time.perf_counter()

    @property
    def cancelled(self) -> bool:
        """Whether the prediction was cancelled or ran out of time. For loops that say nothing for long."""
        return self.stop_status is not None

    def check(self) -> None:
        """Raises `Cancelled` if the prediction was cancelled or ran out of time."""
        if self.stop_status is not None:
            raise Cancelled(self.stop_status)

    @property
    def bars(self) -> Bars:
        """Its loops that report. For `track`, the worker and integrations."""
        if self._bars is None:
            with self._progress_lock:
                self._bars = self._bars or Bars(self._habit)
        return self._bars

    @property
    def folder(self) -> Path:
        """A folder of this run's own, removed with all that is in it when the run has ended."""
        if self._folder is None:
            if self._make_folder is None:
                raise RuntimeError("a run has a folder in a worker only")
            self._folder = self._make_folder()
        return self._folder

    @property
    def has_folder(self) -> bool:
        """Whether the folder was made."""
        return self._folder is not None

    def output(self, part: Any, index: int | None = None, *, partial: bool = False) -> None:
        """Streams a piece of the outputs.

        Args:
            part: text is a delta: the pieces of one index, joined, are `outputs[index]`. Anything else made of JSON
                types and files (`File`, a path, a picture of PIL) is a finished part. Of a file, its URL is streamed.
            index: which element of `outputs` it belongs to. Default: 0 for text, the next free one for a part.
            partial: it is one of the pieces of an element that the model gives as a whole in the end, as a sentence of
                a speech. It is streamed, and not itself in `outputs`.

        Raises:
            ValueError: the element is a finished part already.
            TypeError: there is no JSON for it.
        """
        if self.stop_status is not None:
            raise Cancelled(self.stop_status)
        if partial:
            said = to_json(part, self._keep)
            self.check()
            self._emit(events.output(said, self._next_index() if index is None else index))
        elif not isinstance(part, str):
            self._output_part(part, index)
        elif part:
            self._output_text(part, self._default_index() if index is None else index)

    def _output_text(self, text: str, index: int) -> None:
        pieces = self._texts.get(index)
        if pieces is None:
            if index in self._parts:
                raise ValueError(f"outputs[{index}] is a finished part; text cannot be added to it")
            pieces = self._texts[index] = []
        pieces.append(text)
        event = events.output(text, index)
        if len(event) <= events.MAX_EVENT_BYTES:
            self._emit(event)
        else:
            for piece in events.output_text(text, index):
                self._emit(piece)

    def _output_part(self, part: Any, index: int | None) -> None:
        index = self._next_index() if index is None else index
        if index in self._parts or index in self._texts:
            raise ValueError(f"outputs[{index}] was given before; a finished part cannot be changed")
        said = to_json(part, self._keep)
        self.check()
        self._parts[index] = said if self._embed is None else to_json(part, self._embed)
        self._emit(events.output(said, index))

    def _default_index(self) -> int:
        """Text without an index is one text: the first element, or the next free one if that is a part."""
        if self._text_index is None:
            self._text_index = self._next_index() if 0 in self._parts else 0
        return self._text_index

    def _next_index(self) -> int:
        return max(*self._parts, *self._texts, -1, -1) + 1

    def progress(
        self,
        percentage: float,
        *,
        stage: str | None = None,
        step: int | None = None,
        steps: int | None = None,
        eta_seconds: float | None = None,
        preview: Any = None,
    ) -> None:
        """Says how far the run is.

        Args:
            percentage: 0 to 100; it never falls, a lower one is raised to the last.
            stage: what it does now: "load", "prefill", "denoise", "encode", …
            step: how many of `steps` are done.
            preview: a picture of the unfinished result: a `File`, a path, a picture of PIL, or a URL.
        """
        self.check()
        if preview is not None and not isinstance(preview, str):
            preview = to_json(preview, self._keep)
        eta = None if eta_seconds is None else round(eta_seconds, 1)
        said = {"stage": stage, "step": step, "steps": steps, "eta_seconds": eta, "preview": preview}
        with self._progress_lock:
            self._percentage = max(self._percentage, min(float(percentage), 100.0))
            self._emit(events.progress(self._percentage, **said))

    def log(self, message: str, level: Level = "info") -> None:
        """Adds a line to the prediction's log."""
        self.check()
        for event in events.log(message, level):
            self._emit(event)

    def track(self, iterable: Iterable[T], *, total: int | None = None, stage: str | None = None) -> Iterator[T]:
        """Iterates and reports progress with steps and the estimated time left, at most ten times a second.

        Loops inside of loops (this, or `tqdm`) move the percentage within a step of the outer one.

        Args:
            total: how many items there will be, if `len(iterable)` does not tell. Without it there is no percentage.
        """
        if total is None:
            total = len(iterable) if isinstance(iterable, Sized) else None
        bar = self.bars.begin(total, stage, at_home=current_run.get() is self)
        said = 0.0
        try:
            for item in iterable:
                yield item
                bar.done += 1
                now = time.perf_counter()
                if now - said >= _TRACK_INTERVAL_S or bar.done == total:
                    said = now
                    self.progress(**self.bars.report(bar))
                else:
                    self.check()
        finally:
            bar.end()

    def report(self, *, usage: Mapping[str, float] | None = None, timings: Mapping[str, float] | None = None) -> None:
        """Adds numbers to the `complete` event.

        Args:
            usage: what was used up: tokens, frames, …
            timings: milliseconds by phase. `inference` is measured for you.
        """
        self._usage.update(usage or {})
        self._timings.update(timings or {})

    def completed(self, returned: Any) -> bytes:
        """The `complete` event: what was yielded, then what was returned. For the worker, not for models."""
        if self._bars is not None:
            self._bars.learn()
        outputs = [self._joined(index) for index in range(self._next_index())]
        outputs += _as_outputs(returned, self._embed or self._keep)
        self._timings["inference"] = round((time.perf_counter() - self._began) * 1000, 3)
        return events.complete(self.id, outputs, timings=self._timings, usage=self._usage)

    def _joined(self, index: int) -> Any:
        return self._parts[index] if index in self._parts else "".join(self._texts.get(index, ()))


def _as_outputs(returned: Any, tell: FileTeller) -> list[Any]:
    if returned is None:
        return []
    value = to_json(returned, tell)
    return list(value) if isinstance(value, list | tuple) else [value]


FileTeller = Callable[[File], str]
"""How a file is told in JSON: its URL, or its bytes as base64."""


def _nowhere(file: File) -> str:
    raise TypeError(f"{file} can be the output of a model in a worker only")


def to_json(value: Any, tell: FileTeller = _nowhere) -> Any:
    """The value in JSON types: pydantic models, dataclasses, tuples, numpy numbers, files.

    Args:
        tell: how each file is told.

    Raises:
        TypeError: there is no JSON for it.
    """
    if isinstance(value, str):
        return value
    if isinstance(value, bytes | bytearray | memoryview):
        raise _no_json(value)

    def hook(value: Any) -> Any:
        if isinstance(value, pydantic.BaseModel):
            return value.model_dump(mode="json", context=serialization_context(tell))
        file = as_file(value)
        if file is not None:
            return tell(file)
        if hasattr(value, "tolist"):
            return value.tolist()
        raise _no_json(value)

    return msgspec.to_builtins(value, enc_hook=hook)


def _no_json(value: Any) -> TypeError:
    if isinstance(value, bytes | bytearray | memoryview):
        return TypeError("a model cannot output bytes without a type; return File(data=…, content_type='image/png')")
    return TypeError(
        f"a model cannot output {type(value).__name__}; return text, numbers, lists, dicts, pydantic models or files"
    )


@dataclass(frozen=True)
class Model:
    """A model as its author declared it. Made by `@model` and by engines."""

    id: str
    target: Callable[..., Any]
    """What is called for each prediction, or a class whose instances are."""
    readme: str
    slots: int
    """How many calls there may be at once."""
    replicas: int
    max_attempts: int
    run_timeout_s: float | None
    streams: tuple[str, ...]
    category: str
    price: float
    inputs: type[pydantic.BaseModel]
    run_parameter: str | None
    """The parameter that receives the `Run`, or the runs of a batch, if it asks for them."""
    setup: Callable[[], Any] | None = field(default=None)
    batch: int | None = None
    """For how many predictions one call may be; `None` if a call is for one, and is not given lists."""
    batch_wait_s: float = 0
    whole_parameter: str | None = None
    """The parameter that receives the inputs of a batch as objects. Without it, each input has one of its own."""
    device: tuple[str, ...] = ()
    idle_unload_s: float | None = None

    def info(self) -> ModelInfo:
        """What the HTTP side and the host need to know. A batched model takes one batch more than it can run, so that
        the next one is full when a call ends.
        """
        return ModelInfo(
            id=self.id,
            schema=self.inputs.model_json_schema(),
            streams=self.streams,
            readme=self.readme,
            slots=self.slots if self.batch is None else self.batch * (self.slots + 1),
            replicas=self.replicas,
            max_attempts=self.max_attempts,
            run_timeout_s=self.run_timeout_s,
            category=self.category,
            price=self.price,
            device=self.device,
            idle_unload_s=self.idle_unload_s,
        )


def model(
    id: str,
    *,
    slots: int = 1,
    replicas: int = 1,
    max_attempts: int = 2,
    run_timeout_s: float | None = None,
    streams: Iterable[str] | bool = True,
    readme: Readme | None = None,
    category: str = "other",
    price: float = 0,
    batch: int | None = None,
    batch_wait_ms: float = 5,
    device: str | Iterable[str] | None = None,
    idle_unload_s: float | None = None,
) -> Callable[[T], T]:
    """Makes a function, or a class with `__call__` and perhaps `setup`, a model. Returns it unchanged.

    Args:
        id: the path after `/api/v3/`: one or more segments, as in `acme/countdown`.
        slots: how many predictions one worker process runs at once; with `batch`, how many batches.
        replicas: how many worker processes there are.
        max_attempts: how often a prediction is tried when its process dies under it.
        run_timeout_s: how long one attempt may take, in seconds; a request can ask for less.
        streams: which of "progress", "log", "output" it emits; `True` derives it, `False` refuses `stream: true`.
        readme: markdown, or a path to it, from the folder of this file; default is the docstring.
        category: what it makes of what, as "text-to-image", "image-to-video", "text-to-text"; clients filter by it.
        price: what a prediction that completes costs, in USD. Nothing is charged: it is counted, and shown.
        batch: calls it for up to so many predictions at once, with lists in place of single inputs.
        batch_wait_ms: how long a batch that could begin waits for more predictions, in milliseconds.
        device: where its workers compute: "cpu", "cuda" (every GPU that this server sees), "cuda:1",
            ["cuda:0", "cuda:1"] or "mps". GPUs are dealt out to the replicas, each of which sees only its own.
            Default: workers see what the server sees.
        idle_unload_s: ends a worker that had nothing to do for so many seconds; the next prediction loads it again.

    Raises:
        ModelFileError: the declaration cannot be served; the message says why.
    """

    def declare(target: T) -> T:
        declared = make_model(
            id,
            cast(Callable[..., Any], target),
            slots=slots,
            replicas=replicas,
            max_attempts=max_attempts,
            run_timeout_s=run_timeout_s,
            streams=streams,
            readme=readme,
            category=category,
            price=price,
            batch=batch,
            batch_wait_ms=batch_wait_ms,
            device=device,
            idle_unload_s=idle_unload_s,
        )
        setattr(target, MARK, declared)
        return target

    return declare


MARK = "__unspool_model__"
"""The attribute by which a served file's models are found."""


def make_model(
    id: str,
    target: Callable[..., Any],
    *,
    slots: int = 1,
    replicas: int = 1,
    max_attempts: int = 2,
    run_timeout_s: float | None = None,
    streams: Iterable[str] | bool = True,
    readme: Readme | None = None,
    category: str = "other",
    price: float = 0,
    batch: int | None = None,
    batch_wait_ms: float = 5,
    device: str | Iterable[str] | None = None,
    idle_unload_s: float | None = None,
    inputs: type[pydantic.BaseModel] | None = None,
) -> Model:
    """The declaration that `@model` attaches; engines call it with themselves as the target.

    Args:
        inputs: the inputs where a signature cannot say all of it (as "this or that"); its fields are passed by name.

    Raises:
        ModelFileError: the declaration cannot be served; the message says why.
    """
    _check_id(id)
    counts = {"slots": slots, "replicas": replicas, "max_attempts": max_attempts, "batch": batch}
    for name, value in counts.items():
        if value is not None and value < 1:
            raise ModelFileError(f"model {id!r}: {name}={value!r} must be 1 or more")
    for name, seconds in (("run_timeout_s", run_timeout_s), ("idle_unload_s", idle_unload_s)):
        if seconds is not None and seconds <= 0:
            raise ModelFileError(f"model {id!r}: {name}={seconds!r} must be more than 0")
    if batch_wait_ms < 0:
        raise ModelFileError(f"model {id!r}: batch_wait_ms={batch_wait_ms!r} must be 0 or more")
    if not _CATEGORY.fullmatch(category):
        raise ModelFileError(f"model {id!r}: category={category!r} must be words joined by '-', as in 'text-to-image'")
    if isinstance(price, bool) or not isinstance(price, int | float) or not 0 <= price < _HIGHEST_PRICE:
        raise ModelFileError(f"model {id!r}: price={price!r} must be a number of USD, 0 or more")
    call, setup = _call_and_setup(id, target)
    derived, run_parameter, whole_parameter = _inputs(id, call, batch is not None)
    return Model(
        id=id,
        target=target,
        readme=text_of(id, readme, target),
        slots=slots,
        replicas=replicas,
        max_attempts=max_attempts,
        run_timeout_s=run_timeout_s,
        streams=_streams(id, streams, call),
        category=category,
        price=float(price),
        inputs=inputs or derived,
        run_parameter=run_parameter,
        setup=setup,
        batch=batch,
        batch_wait_s=batch_wait_ms / 1000,
        whole_parameter=whole_parameter,
        device=_device(id, device),
        idle_unload_s=idle_unload_s,
    )


def _device(id: str, device: str | Iterable[str] | None) -> tuple[str, ...]:
    named = () if device is None else (device,) if isinstance(device, str) else tuple(device)
    one_by_one = len(named) > 1 or not isinstance(device, str | None)
    if any(not (_GPU if one_by_one else _DEVICE).fullmatch(one) for one in named) or len(set(named)) < len(named):
        raise ModelFileError(
            f"model {id!r}: device={device!r} must be 'cpu', 'cuda', 'mps', a GPU such as 'cuda:0', or a list of GPUs"
        )
    return named


def _check_id(id: str) -> None:
    if not _ID.fullmatch(id) or len(id) > 200:
        raise ModelFileError(
            f"model id {id!r}: use segments of letters, digits, '.', '_' and '-' with '/' between, as in 'acme/video'"
        )
    segments = id.split("/")
    if segments[0] in RESERVED_SEGMENTS:
        raise ModelFileError(f"model id {id!r}: {segments[0]!r} is a path of the API itself; put a name before it")
    if segments[-1] == "stream":
        raise ModelFileError(f"model id {id!r}: a last segment 'stream' means the stream of the model before it")


def _call_and_setup(id: str, target: Callable[..., Any]) -> tuple[Callable[..., Any], Callable[[], Any] | None]:
    if inspect.isroutine(target):
        return target, None
    owner = target if inspect.isclass(target) else type(target)
    if not any("__call__" in vars(base) for base in owner.__mro__):
        raise ModelFileError(f"model {id!r}: {owner.__name__} needs a __call__ method; it runs once per prediction")
    setup = getattr(target, "setup", None)
    return owner.__call__, setup


def _inputs(id: str, call: Callable[..., Any], batch: bool) -> tuple[type[pydantic.BaseModel], str | None, str | None]:
    """The pydantic model of the inputs, made of the signature; the names of `run_parameter` and `whole_parameter`.

    Fields have names of their own and the parameters' as aliases: an input may be called `schema` or `copy`.
    """
    try:
        hints = get_type_hints(call, include_extras=True)
    except Exception as error:
        raise ModelFileError(f"model {id!r}: its annotations cannot be read: {error}") from error
    fields: dict[str, Any] = {}
    run_parameter, extra = None, "forbid"
    parameters = list(inspect.signature(call).parameters.values())
    if parameters and parameters[0].name == "self":
        parameters = parameters[1:]
    for parameter in parameters:
        name, kind, hint = parameter.name, parameter.kind, hints.get(parameter.name, Any)
        if batch:
            _check_batched(id, parameter)
            hint = batched.entry(id, name, hint)
        if hint is Run or (name == ("runs" if batch else "run") and hint is Any):
            run_parameter = name
        elif kind is parameter.VAR_KEYWORD:
            extra = "allow"
        elif kind in (parameter.VAR_POSITIONAL, parameter.POSITIONAL_ONLY):
            raise ModelFileError(f"model {id!r}: parameter {name!r} must be one that can be passed by name")
        else:
            hints[name] = hint
            fields[name] = parameter.default
    if batch and not fields and run_parameter is None:
        raise ModelFileError(f"model {id!r}: a batched model needs a parameter that is a list with an entry each")
    if batch and len(fields) == 1 and batched.has_fields(hints[whole := next(iter(fields))]):
        return _schema_of(id, lambda: batched.whole_inputs(hints[whole])), run_parameter, whole
    config = pydantic.ConfigDict(extra=cast(Any, extra), protected_namespaces=(), arbitrary_types_allowed=False)
    named = {f"input_{name}": _field(name, hints.get(name, Any), default) for name, default in fields.items()}
    return _schema_of(id, lambda: pydantic.create_model("Inputs", __config__=config, **named)), run_parameter, None


def _check_batched(id: str, parameter: inspect.Parameter) -> None:
    if parameter.kind is parameter.VAR_KEYWORD:
        raise ModelFileError(f"model {id!r}: a batched model cannot take **{parameter.name}; name its inputs")
    if parameter.default is not parameter.empty:
        raise ModelFileError(
            f"model {id!r}: parameter {parameter.name!r} of a batched model is always given; say what one prediction "
            f"may leave out: list[Annotated[…, Field(default={parameter.default!r})]]"
        )


def _schema_of(id: str, make: Callable[[], type[pydantic.BaseModel]]) -> type[pydantic.BaseModel]:
    """What `make` makes, once its schema is known to be one that can be served."""
    try:
        made = make()
        names = made.model_json_schema()["properties"]
    except Exception as error:
        raise ModelFileError(f"model {id!r}: no JSON schema for its parameters: {error}") from error
    for name in RESERVED_FIELDS.intersection(names):
        raise ModelFileError(f"model {id!r}: an input cannot be called {name!r}; the API uses that name itself")
    return made


def _field(name: str, hint: Any, default: Any) -> Any:
    """A field of the inputs. Without a default of the parameter, its annotation may say one."""
    return _named(name, hint) if default is inspect.Parameter.empty else (_named(name, hint), default)


def _named(name: str, hint: Any) -> Any:
    """The annotation with the parameter's name as alias, and as title unless the author gave one."""
    title = pydantic.Field(title=name.strip("_").replace("_", " ").capitalize() or name)
    bare, said = getattr(hint, "__origin__", None), getattr(hint, "__metadata__", None)
    titled = Annotated[hint, title] if said is None else Annotated[(bare, title, *said)]
    return Annotated[titled, pydantic.Field(alias=name)]


def _streams(id: str, streams: Iterable[str] | bool, call: Callable[..., Any]) -> tuple[str, ...]:
    if streams is False:
        return ()
    if streams is True:
        yields = inspect.isgeneratorfunction(call) or inspect.isasyncgenfunction(call)
        return STREAMABLE if yields else ("progress", "log")
    chosen = set(streams)
    if chosen - set(STREAMABLE):
        raise ModelFileError(f"model {id!r}: streams={sorted(chosen)} may name only {', '.join(STREAMABLE)}")
    return tuple(name for name in STREAMABLE if name in chosen)


def find_models(namespace: Mapping[str, Any]) -> list[Model]:
    """The models among the values of a module, in the order of their definition.

    Raises:
        ModelFileError: two models have the same id.
    """
    found: dict[str, Model] = {}
    for value in namespace.values():
        declared = getattr(value, MARK, None)
        if isinstance(declared, Model) and found.setdefault(declared.id, declared) is not declared:
            raise ModelFileError(f"two models are called {declared.id!r}; give one of them another id")
    return list(found.values())
