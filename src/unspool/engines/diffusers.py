"""Pictures and videos from any pipeline of diffusers, on a GPU or on the processor.

Owns how a folder or a repository becomes a model, how a run becomes a call of its pipeline, and what is said meanwhile.

How a run goes:
1. `Diffusers.__call__` turns the inputs into the arguments of the pipeline, and calls it in the worker's thread.
2. Every pipeline draws a bar around its steps. Ours (`_Bar`) knows by it when the denoising begins, in how many steps
   it goes and when it ends, says so, and looks at each step whether the prediction was cancelled.
3. Between the steps small previews are made (`diffusers_previews.py`), as many as 4 % of the time allow.
4. What comes out is written as PNG or mp4, and said as output before the run ends.
"""

from __future__ import annotations

import gc
import json
import secrets
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from unspool.engines import diffusers_inputs as inputs
from unspool.engines.diffusers_previews import Colours, Previews
from unspool.engines.video import write_mp4
from unspool.errors import InvalidInput, ModelError, ModelFileError
from unspool.files.file import File
from unspool.model import MARK, Run, make_model
from unspool.readme import Readme
from unspool.stages import Progress, Stages

Offload = Literal["model", "sequential"]
Dtype = Literal["auto", "float32", "float16", "bfloat16"]

_INDEX = "model_index.json"
_SHARES = {"encode": 2, "denoise": 80, "decode": 12, "write": 6}
"""Guesses for the first run; then each stage is expected to take what it took."""
Shape = tuple[Any, ...]
"""Of a result: width, height, frames."""

_PICTURES = ("image", "last_image", "mask_image", "control_image")
_DEFAULT_SIDE_PX = 512
_WHERE_INPUTS_ARE_REFUSED = {"check_inputs", "set_timesteps"}
"""Methods of diffusers that every pipeline has for it, or every scheduler."""


class Diffusers:
    """A model of pictures or videos: give it an id and weights at the top of a model file, and the file serves it.

    The inputs are those of the pipeline that the weights are for: prompt, size, frames, steps, guidance, seed, and a
    picture where it begins with one.

    Args:
        id: the path after `/api/v3/`, as in "acme/video".
        weights: a folder as `save_pretrained` writes it, or a repository of the hub, as "org/name". Whatever contains
            a folder of that name is a folder, and nothing is fetched for it.
        device: which GPUs its workers see, as in `@model`; of several, a worker computes on the first. Default: the
            first GPU that the server sees, or the processor where there is none.
        dtype: in which numbers it computes; "auto" is bfloat16 on a GPU and float32 elsewhere.
        offload: on a GPU with little memory, "model" keeps in it only the part that computes, "sequential" only the
            layer, which is far slower.
        vae_tiling: decodes large results in pieces, which takes less memory.
        variant: which of several files of weights, as "fp16".
        revision: of a repository: a branch, a tag or a commit.
        defaults: of inputs, in place of the pipeline's own, as `{"num_inference_steps": 4}`.
        options: further arguments of every call of the pipeline, as `{"max_sequence_length": 256}`.
        fps: frames a second of videos, unless the client asks for others.
        max_side_px: how wide and how high results and input pictures may be.
        max_frames: how long videos may be.
        max_steps: how many steps a client may ask for.
        max_images: how many pictures at once.
        max_prompt_chars: how long a prompt may be.
        preview_interval_s: how much time there is between previews, at least; `None` makes none.
        threads: how many threads compute on the processor; default is what torch takes.
        readme: markdown for those who use the model, or a file of it.
        replicas: how many worker processes there are.
        idle_unload_s: ends a worker that had nothing to do for so many seconds; the next prediction loads it again.
        max_attempts: how often a prediction is tried when its process dies under it.
        run_timeout_s: how long one attempt may take, in seconds.
        price: what a prediction that completes costs, in USD.

    Raises:
        ModelFileError: the declaration cannot be served; the message says why.
    """

    def __init__(
        self,
        id: str,
        *,
        weights: str | Path,
        device: str | Iterable[str] | None = None,
        dtype: Dtype = "auto",
        offload: Offload | None = None,
        vae_tiling: bool = False,
        variant: str | None = None,
        revision: str | None = None,
        defaults: Mapping[str, Any] | None = None,
        options: Mapping[str, Any] | None = None,
        fps: int = 16,
        max_side_px: int = 2048,
        max_frames: int = 257,
        max_steps: int = 100,
        max_images: int = 4,
        max_prompt_chars: int = 4000,
        preview_interval_s: float | None = 1.0,
        threads: int | None = None,
        readme: Readme | None = None,
        replicas: int = 1,
        idle_unload_s: float | None = None,
        max_attempts: int = 2,
        run_timeout_s: float | None = None,
        price: float = 0,
    ) -> None:
        limits = inputs.Limits(max_side_px, max_frames, max_steps, max_images, max_prompt_chars)
        _check_numbers(id, fps=fps, threads=threads, **vars(limits))
        self.id = id
        self._weights = _Weights(id, weights, revision, variant)
        self._dtype, self._offload = dtype, offload
        self._vae_tiling, self._threads = vae_tiling, threads
        self._options = dict(options or {})
        self._max_side_px = max_side_px
        self._preview_interval_s = preview_interval_s
        self._pipeline_class, self._signature = self._weights.signature()
        try:
            fields = inputs.make_inputs(self._signature, limits, defaults or {}, fps)
        except ValueError as error:
            raise ModelFileError(f"model {id!r}: {error}") from error
        category = inputs.category(self._signature)
        declared = make_model(
            id,
            self,
            replicas=replicas,
            device=device,
            idle_unload_s=idle_unload_s,
            max_attempts=max_attempts,
            run_timeout_s=run_timeout_s,
            streams=("progress", "log", "output"),
            category=category,
            price=price,
            readme=readme or _readme(id, category, self._pipeline_class),
            inputs=fields,
        )
        setattr(self, MARK, declared)
        self._wanted = declared.device
        self._device = "cpu"
        self._pipeline: Any = None
        self._colours: Colours | None = None
        self._decoder_calls: dict[Shape, int] = {}
        self._stages: Stages

    def setup(self) -> None:
        """Loads the weights.

        Raises:
            ModelFileError: they cannot be loaded, or not to where they shall be.
        """
        torch = _torch(self.id)
        if self._threads is not None:
            torch.set_num_threads(self._threads)
        self._device = _device(torch, self._wanted)
        pipeline = self._weights.load(_dtype(torch, self._dtype, self._device))
        if self._vae_tiling:
            pipeline.vae.enable_tiling()
        if self._preview_interval_s is not None and self._offload:
            self._colours = Colours.of(pipeline)
        self._place(pipeline)
        if self._preview_interval_s is not None and not self._offload:
            self._colours = Colours.of(pipeline)
        self._stages = Stages(f"{self.id} on {self._device}", _SHARES)
        self._pipeline = pipeline

    def _place(self, pipeline: Any) -> None:
        if self._offload and self._device == "cpu":
            raise ModelFileError(f"model {self.id!r}: offload={self._offload!r} needs a GPU to offload from")
        try:
            if self._offload == "model":
                pipeline.enable_model_cpu_offload(device=self._device)
            elif self._offload == "sequential":
                pipeline.enable_sequential_cpu_offload(device=self._device)
            else:
                pipeline.to(self._device)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            raise ModelFileError(
                f"model {self.id!r}: its weights do not fit the memory of {self._device}. Use offload='model', a "
                "smaller dtype, or a device with more memory."
            ) from error

    def __call__(self, run: Run, **given: Any) -> None:
        """Makes pictures or a video of the inputs.

        Raises:
            Cancelled: the prediction was cancelled.
            InvalidInput: the pipeline refuses the inputs, or a picture cannot be read.
            ModelError: there is not enough memory for it.
        """
        call = self._arguments(run, given)
        failure = self._attempt(run, given, call)
        if failure is not None:
            # Only here is the error gone, and with it all that its frames have held.
            _free(self._pipeline)
            raise failure

    def _attempt(self, run: Run, given: Mapping[str, Any], call: dict[str, Any]) -> ModelError | None:
        try:
            with self._stages.follow(run, _work(self._pipeline, call)) as progress:
                self._draw(run, progress, call, given.get("fps"))
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            traceback.clear_frames(error.__traceback__)
            return ModelError(_too_large(call))
        except ValueError as error:
            if not _refused(error):
                raise
            raise InvalidInput(f"The model refuses these inputs: {error}", []) from error
        finally:
            self._pipeline.__dict__.pop("progress_bar", None)
        return None

    def _draw(self, run: Run, progress: Progress, call: dict[str, Any], fps: int | None) -> None:
        progress.stage("encode")
        size = (call["height"], call["width"]) if call.get("height") and call.get("width") else None
        previews = Previews(self._pipeline, self._colours, self._preview_interval_s or 0, size)
        decoding = _Decoding(progress, self._decoder_calls, (*_size(self._pipeline, call), call.get("num_frames")))
        bars = _Bars(progress, previews, decoding, self._synchronize)
        self._pipeline.progress_bar = bars.open
        with previews.watching(), decoding.watching(self._pipeline):
            result = self._pipeline(**call)
        self._synchronize()
        if any(getattr(result, "nsfw_content_detected", None) or ()):
            run.log("The model's safety checker has blackened what it took for unsafe.", "warning")
        frames = getattr(result, "frames", None)
        if frames is not None:
            _write_video(run, progress, frames[0], fps or 16)
        else:
            _write_pictures(run, progress, result.images)

    def _arguments(self, run: Run, given: Mapping[str, Any]) -> dict[str, Any]:
        """The inputs as the pipeline takes them."""
        call = dict(self._options)
        for name, value in given.items():
            if name in ("seed", "fps") or value is None or (name == "negative_prompt" and not value):
                continue
            if name in _PICTURES:
                value = _opened(name, value, self._max_side_px)
            call["num_images_per_prompt" if name == "num_images" else name] = value
        for name in ("fps", "frame_rate"):
            if name in self._signature and "fps" in given:
                call.setdefault(name, given["fps"])
        if "output_type" in self._signature:
            call.setdefault("output_type", "np" if inputs.is_video(self._signature) else "pil")
        if "generator" in self._signature:
            call["generator"] = _generator(run, given.get("seed", -1))
        return call

    def _synchronize(self) -> None:
        """Waits for the GPU, which otherwise is behind what Python has asked of it: then no time would be true."""
        import torch

        kind = torch.device(self._device).type
        if kind == "cuda":
            torch.cuda.synchronize(self._device)
        elif kind == "mps":
            torch.mps.synchronize()


# What a run says


class _Decoding:
    """The decoding of one run. VAEs of videos call their decoder for each few frames: those are its steps.

    Args:
        known: how many calls there were, by the shape of the result. What is missing is added.
    """

    def __init__(self, progress: Progress, known: dict[Shape, int], shape: Shape) -> None:
        self._progress, self._known, self._shape = progress, known, shape
        self._steps: int | None = None
        self._calls = 0

    @contextmanager
    def watching(self, pipeline: Any) -> Iterator[None]:
        """Sees the calls of the pipeline's decoder for as long as it lasts."""
        decoder: Any = getattr(getattr(pipeline, "vae", None), "decoder", None)
        if not hasattr(decoder, "register_forward_hook"):
            yield
            return
        hook = decoder.register_forward_hook(lambda *args: self._called())
        try:
            yield
        finally:
            hook.remove()
        self._known[self._shape] = self._calls

    def begin(self) -> None:
        """The denoising has ended."""
        known = self._known.get(self._shape, 0)
        self._steps = known if known > 1 else 0
        self._progress.stage("decode", steps=self._steps)

    def _called(self) -> None:
        if self._steps is not None:
            self._calls += 1
            if self._steps:
                self._progress.step(self._calls)


class _Bars:
    """Hands out what stands in for the bars that a pipeline draws. The first one is the denoising."""

    def __init__(
        self, progress: Progress, previews: Previews, decoding: _Decoding, synchronize: Callable[[], None]
    ) -> None:
        self._progress, self._previews, self._synchronize = progress, previews, synchronize
        self._decoding = decoding
        self._opened = False
        self._done = 0.0

    def open(self, iterable: Iterable[Any] | None = None, total: int | None = None) -> _Bar:
        """As `DiffusionPipeline.progress_bar`."""
        if total is None and isinstance(iterable, Sized):
            total = len(iterable)
        first, self._opened = not self._opened, True
        bar = _Bar(iterable, self if first and total else None)
        if first and total:
            self._synchronize()
            self._previews.begin()
            self._progress.stage("denoise", steps=total)
        return bar

    def step(self, count: float) -> None:
        """So many steps more are done."""
        self._synchronize()
        self._done += count
        if not self._previews.due():
            self._progress.step(self._done)
            return
        began = time.perf_counter()
        self._progress.step(self._done, preview=self._previews.make())
        self._previews.spent(time.perf_counter() - began)

    def end(self) -> None:
        """The steps are done; what follows is the VAE."""
        self._decoding.begin()


class _Bar:
    """What pipelines use of a tqdm bar."""

    def __init__(self, iterable: Iterable[Any] | None, bars: _Bars | None) -> None:
        self._iterable, self._bars = iterable, bars

    def __enter__(self) -> _Bar:
        return self

    def __exit__(self, kind: type[BaseException] | None, *args: object) -> None:
        if kind is None and self._bars is not None:
            self._bars.end()

    def __iter__(self) -> Iterator[Any]:
        for item in self._iterable or ():
            yield item
            self.update()
        self.__exit__(None)

    def update(self, n: float = 1) -> None:
        if self._bars is not None:
            self._bars.step(n)

    def __getattr__(self, name: str) -> Callable[..., None]:
        """Titles, colours and all else that a bar can be told: there is nothing to draw."""
        if name.startswith("__"):
            raise AttributeError(name)
        return lambda *args, **kwargs: None


def _write_pictures(run: Run, progress: Progress, pictures: Iterable[Any]) -> None:
    from PIL import Image

    pictures = list(pictures)
    progress.stage("write", steps=len(pictures))
    for picture in pictures:
        if not isinstance(picture, Image.Image):
            from unspool.engines.video import to_uint8

            picture = Image.fromarray(to_uint8(picture))
        run.output(picture)
        progress.step()
    run.report(usage={"images": len(pictures)})


def _write_video(run: Run, progress: Progress, frames: Any, fps: int) -> None:
    progress.stage("write", steps=len(frames))
    path = run.folder / "video.mp4"
    write_mp4(path, frames, fps, progress.step)
    run.output(File(path))
    run.report(usage={"frames": len(frames)})


# What a run is given


def _opened(name: str, file: File, max_side_px: int) -> Any:
    """The picture of an input, upright, and no larger than results may be."""
    from PIL import Image, ImageOps

    try:
        with Image.open(file.path) as picture:
            upright = ImageOps.exif_transpose(picture).convert("L" if name == "mask_image" else "RGB")
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        message = "this is no picture that can be read"
        raise InvalidInput(f"{name}: {message}", [{"field": name, "message": message}]) from error
    upright.thumbnail((max_side_px, max_side_px))
    return upright


def _generator(run: Run, seed: int) -> Any:
    """On the processor, so that a seed means the same on every device."""
    import torch

    if seed < 0:
        seed = secrets.randbelow(2**31)
        run.log(f"seed: {seed}")
    return torch.Generator("cpu").manual_seed(seed)


def _work(pipeline: Any, call: Mapping[str, Any]) -> dict[str, float]:
    """What the time of each stage grows with: pixels, and in the denoising steps."""
    width, height = _size(pipeline, call)
    pixels = width * height * call.get("num_frames", 1) * call.get("num_images_per_prompt", 1)
    steps = max(call.get("num_inference_steps") or 1, 1) * min(call.get("strength") or 1, 1)
    return {"denoise": steps * pixels, "decode": pixels, "write": pixels}


def _size(pipeline: Any, call: Mapping[str, Any]) -> tuple[int, int]:
    """Of the result in pixels; where nobody says, what the pipeline was made for."""
    image = call.get("image")
    if image is not None and "width" not in call:
        return image.width, image.height
    side = getattr(pipeline, "default_sample_size", None) or 0
    unet = getattr(getattr(pipeline, "unet", None), "config", None)
    side = side or getattr(unet, "sample_size", None) or 0
    side = side if isinstance(side, int) else 0
    side = side * getattr(pipeline, "vae_scale_factor", 8) or _DEFAULT_SIDE_PX
    return call.get("width") or side, call.get("height") or side


def _refused(error: ValueError) -> bool:
    """Whether a pipeline or its scheduler has looked at its inputs and said no."""
    return any(frame.name in _WHERE_INPUTS_ARE_REFUSED for frame in traceback.extract_tb(error.__traceback__))


# Memory


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that there is not enough memory, on a GPU or on the processor."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    message = str(error).lower()
    return isinstance(error, RuntimeError) and any(
        said in message for said in ("out of memory", "can't allocate memory", "not enough memory", "cannot allocate")
    )


def _too_large(call: Mapping[str, Any]) -> str:
    names = ("width", "height", "num_frames", "num_images_per_prompt", "image")
    asked = {name: call[name] for name in names if call.get(name)}
    if "image" in asked:
        asked["image"] = f"{asked['image'].width}x{asked['image'].height}"
    said = ", ".join(f"{name.removesuffix('_per_prompt')} {value}" for name, value in asked.items())
    lower = [name.removesuffix("_per_prompt") for name in asked if name != "image" and asked[name] != 1]
    advice = f"Lower {', '.join(lower)}." if lower else "Send a smaller picture."
    if not asked:
        advice = "Ask for a smaller width and height."
    return f"There is not enough memory for this{f' ({said})' if said else ''}. {advice}"


def _free(pipeline: Any) -> None:
    import torch

    if hasattr(pipeline, "maybe_free_model_hooks"):
        pipeline.maybe_free_model_hooks()
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


# Loading


class _Weights:
    """A folder or a repository of the hub, and what is in it."""

    def __init__(self, id: str, where: str | Path, revision: str | None, variant: str | None) -> None:
        self._id, self._revision, self._variant = id, revision, variant
        path = Path(where).expanduser()
        self.is_folder = isinstance(where, Path) or path.is_dir() or str(where).startswith(("/", "~", "."))
        self._where = str(path if self.is_folder else where)
        self.name = path.name if self.is_folder else str(where)

    def signature(self) -> tuple[str, inputs.Signature]:
        """The pipeline's class by its name, and what its call takes."""
        name = self._index().get("_class_name")
        if not isinstance(name, str):
            raise ModelFileError(
                f"model {self._id!r}: {self.name} brings its own Python code ({name!r}), which is not run"
            )
        try:
            found = inputs.read_signature(name)
        except ModuleNotFoundError as error:
            raise _not_installed(self._id) from error
        if found is None:
            raise ModelFileError(f"model {self._id!r}: the diffusers that is installed has no {name}; update it")
        return name, found

    def _index(self) -> dict[str, Any]:
        file = Path(self._where) / _INDEX if self.is_folder else self._index_of_repository()
        try:
            index = json.loads(file.read_bytes())
        except OSError as error:
            raise ModelFileError(
                f"model {self._id!r}: {self.name}/{_INDEX} cannot be read: {error.strerror}. Weights are a folder as "
                "save_pretrained writes it, or a repository of the hub."
            ) from error
        except ValueError as error:
            raise ModelFileError(f"model {self._id!r}: {self.name}/{_INDEX} is damaged: {error}") from error
        return index if isinstance(index, dict) else {}

    def _index_of_repository(self) -> Path:
        """Where it is in the cache; fetched if it is not there."""
        try:
            from huggingface_hub import hf_hub_download, try_to_load_from_cache
        except ModuleNotFoundError as error:
            raise _not_installed(self._id) from error
        try:
            cached = try_to_load_from_cache(self._where, _INDEX, revision=self._revision)
            return Path(
                cached if isinstance(cached, str) else hf_hub_download(self._where, _INDEX, revision=self._revision)
            )
        except Exception as error:
            raise ModelFileError(
                f"model {self._id!r}: {self._where!r} is no folder here, and its {_INDEX} cannot be had from the hub: "
                f"{str(error).strip().partition(chr(10))[0]}"
            ) from error

    def load(self, dtype: Any) -> Any:
        """The pipeline, in ordinary memory."""
        from diffusers import DiffusionPipeline

        given = {"variant": self._variant, "revision": self._revision}
        given = {name: value for name, value in given.items() if value is not None}
        try:
            return DiffusionPipeline.from_pretrained(
                self._where, dtype=dtype, local_files_only=self.is_folder or None, **given
            )
        except Exception as error:
            if is_out_of_memory(error):
                raise ModelFileError(f"model {self._id!r}: there is not enough memory to load {self.name}") from error
            raise ModelFileError(
                f"model {self._id!r}: diffusers cannot load {self.name}: {str(error).strip().partition(chr(10))[0]}"
            ) from error


def _torch(id: str) -> Any:
    try:
        import torch
    except ModuleNotFoundError as error:
        raise _not_installed(id) from error
    return torch


def _not_installed(id: str) -> ModelFileError:
    return ModelFileError(
        f'model {id!r} runs on diffusers, which is not installed; run: pip install "unspool[diffusers]"'
    )


def _device(torch: Any, wanted: Sequence[str]) -> str:
    """What torch calls it: a worker sees only its own GPUs, so the first of them is `cuda` whatever its number."""
    if wanted:
        return wanted[0].partition(":")[0]
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def _dtype(torch: Any, wanted: Dtype, device: str) -> Any:
    if wanted == "auto":
        return torch.bfloat16 if device.startswith("cuda") else torch.float32
    return getattr(torch, wanted)


def _check_numbers(id: str, **numbers: int | None) -> None:
    for name, value in numbers.items():
        if value is not None and value < 1:
            raise ModelFileError(f"model {id!r}: {name}={value!r} must be 1 or more")


def _readme(id: str, category: str, pipeline: str) -> str:
    source, _, made = category.partition("-to-")
    begin = "a picture" if source == "image" else "a prompt"
    result = "a video (mp4)" if made == "video" else "pictures (PNG)"
    return (
        f"# {id}\n\nMakes {result} of {begin}, with `{pipeline}` of diffusers. While it works it says its stages, its "
        "steps, the time left, and shows previews."
    )
