"""Small pictures of an unfinished result, that cost next to nothing.

A latent becomes colour by one linear map, which is fitted to the model's own VAE when it is loaded (`Colours.of`). What
is shown is what the scheduler expects to come out in the end, not the noise that is still there (`expected_result`).
"""

from __future__ import annotations

import functools
import io
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from unspool.files.file import File

SHARE_OF_TIME = 0.04
"""Of the time since the denoising began, previews take no more than this."""
MAX_FRAMES = 6
LONG_SIDE_PX = 256

_SAMPLES = 4
_SAMPLE_PX = 128
_PATCHES = 8
_RIDGE = 1e-3
_KEEPING_S = 0.005
"""What storing a preview takes, until it has been measured."""

_log = logging.getLogger(__name__)


class Colours:
    """The map from a latent to red, green and blue between -1 and 1."""

    def __init__(self, weight: Any, bias: Any) -> None:
        self._weight, self._bias = weight, bias
        self.cost_s = _KEEPING_S

    @classmethod
    def of(cls, pipeline: Any) -> Colours | None:
        """Fitted to what the pipeline's VAE makes of patches of colour. `None` where it has no VAE of a known kind."""
        try:
            colours = cls._fit(pipeline.vae)
            # The first one also loads what makes pictures.
            colours.cost_s += [_seconds(lambda: colours.picture(colours._grey())) for _ in range(2)][1]
        except Exception:
            _log.debug("no previews", exc_info=True)
            return None
        return colours

    @classmethod
    def _fit(cls, vae: Any) -> Colours:
        import torch
        from torch.nn import functional

        parameter = next(vae.parameters())
        patches = torch.rand(_SAMPLES, 3, _PATCHES, _PATCHES, generator=torch.Generator().manual_seed(0)) * 2 - 1
        pictures = functional.interpolate(patches, _SAMPLE_PX, mode="bilinear").to(parameter.device, parameter.dtype)
        is_video = any(some.ndim == 5 for some in vae.parameters())
        with torch.no_grad():
            latents = _normalized(vae, _encoded(vae, pictures.unsqueeze(2) if is_video else pictures))
        latents = (latents[:, :, 0] if latents.ndim == 5 else latents).float().cpu()
        wanted = functional.adaptive_avg_pool2d(pictures.float().cpu(), latents.shape[-2:])
        x = latents.permute(0, 2, 3, 1).reshape(-1, latents.shape[1])
        y = wanted.permute(0, 2, 3, 1).reshape(-1, 3)
        centre, mean = x.mean(0), y.mean(0)
        x, y = x - centre, y - mean
        ridge = torch.eye(x.shape[1]) * (_RIDGE * x.square().sum() / x.shape[1] + 1e-6)
        weight = torch.linalg.solve(x.T @ x + ridge, x.T @ y)
        return cls(weight, mean - centre @ weight)

    def _grey(self) -> Any:
        import torch

        return torch.zeros(self._weight.shape[0], MAX_FRAMES, 64, 64)

    def picture(self, latents: Any) -> File:
        """Latents of channels x height x width as JPEG; of channels x frames x height x width as animated WebP."""
        from PIL import Image

        still = latents.ndim == 3
        frames = latents.unsqueeze(1) if still else latents
        count = frames.shape[1]
        shown = sorted({round(n * (count - 1) / max(MAX_FRAMES - 1, 1)) for n in range(MAX_FRAMES)})
        chosen = frames[:, shown].permute(1, 2, 3, 0).float().cpu()
        colours = ((chosen @ self._weight + self._bias).clamp(-1, 1) * 127.5 + 127.5).byte().numpy()
        first, *others = [Image.fromarray(one).resize(_shown_size(one), Image.Resampling.BILINEAR) for one in colours]
        out = io.BytesIO()
        if still:
            first.save(out, "JPEG", quality=75)
            return File(data=out.getvalue(), content_type="image/jpeg")
        first.save(out, "WEBP", save_all=True, append_images=others, duration=150, loop=0, quality=60, method=0)
        return File(data=out.getvalue(), content_type="image/webp")


def _seconds(work: Callable[[], Any]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _shown_size(array: Any) -> tuple[int, int]:
    height, width = array.shape[:2]
    scale = LONG_SIDE_PX / max(height, width)
    return max(round(width * scale), 1), max(round(height * scale), 1)


def _encoded(vae: Any, pictures: Any) -> Any:
    """VAEs differ in what they call it."""
    said = vae.encode(pictures)
    for name in ("latent_dist", "latents", "latent"):
        found = getattr(said, name, None)
        if found is not None:
            return found.mode() if hasattr(found, "mode") and name == "latent_dist" else found
    raise TypeError(f"{type(vae).__name__}.encode gives no latents")


def _normalized(vae: Any, latents: Any) -> Any:
    """As pipelines have them between the steps: about as large as noise."""
    import torch

    scale = getattr(vae.config, "scaling_factor", None) or 1.0
    mean, std = (getattr(vae.config, name, None) for name in ("latents_mean", "latents_std"))
    buffers = dict(vae.named_buffers())
    mean = buffers.get("latents_mean") if mean is None else mean
    std = buffers.get("latents_std") if std is None else std
    if mean is None or std is None:
        return (latents - (getattr(vae.config, "shift_factor", None) or 0.0)) * scale
    shape = (1, -1, *([1] * (latents.ndim - 2)))
    mean, std = (torch.as_tensor(values).to(latents).reshape(shape) for values in (mean, std))
    return (latents - mean) * scale / std


class Previews:
    """The previews of one run: which steps have one, and what it shows.

    Args:
        interval_s: how long after a preview there is no other.
        size: height and width of the result in pixels, where they are known.
    """

    def __init__(self, pipeline: Any, colours: Colours | None, interval_s: float, size: tuple[int, int] | None) -> None:
        self._pipeline, self._colours, self._interval_s, self._size = pipeline, colours, interval_s, size
        self._cost_s = colours.cost_s if colours else 0.0
        self._spent_s = 0.0
        self._began = self._last = 0.0
        self._step: tuple[Any, Any, Any] | None = None

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Sees each step of the pipeline's scheduler for as long as it lasts."""
        scheduler: Any = getattr(self._pipeline, "scheduler", None)
        if self._colours is None or not hasattr(scheduler, "step"):
            yield
            return
        step = scheduler.step

        @functools.wraps(step)  # pipelines look at its signature
        def watched(model_output: Any, timestep: Any, sample: Any, *args: Any, **kwargs: Any) -> Any:
            result = step(model_output, timestep, sample, *args, **kwargs)
            self._step = (model_output, sample, result)
            return result

        scheduler.step = watched
        try:
            yield
        finally:
            self._step = None
            with suppress(AttributeError):
                del scheduler.step

    def begin(self) -> None:
        """The denoising begins."""
        self._began = self._last = time.perf_counter()

    def due(self) -> bool:
        """Whether it is time for one, and there is time for it."""
        if self._colours is None or self._step is None:
            return False
        now = time.perf_counter()
        affordable = self._spent_s + self._cost_s <= SHARE_OF_TIME * (now - self._began)
        return affordable and now - self._last >= self._interval_s

    def make(self) -> File | None:
        """The preview of this step. One that fails is the last of its run, which goes on."""
        assert self._step is not None
        assert self._colours is not None
        try:
            latents = expected_result(self._pipeline.scheduler, *self._step)
            if latents.ndim == 3:
                latents = self._unpacked(latents)
            return self._colours.picture(latents[0])
        except Exception:
            _log.debug("no more previews", exc_info=True)
            self._colours = None
            return None

    def _unpacked(self, latents: Any) -> Any:
        """Transformers like Flux's have the patches of a picture in a row; their pipelines can put it together."""
        if self._size is None:
            raise TypeError("where a row of the picture ends is not known")
        return self._pipeline._unpack_latents(latents, *self._size, self._pipeline.vae_scale_factor)

    def spent(self, seconds: float) -> None:
        """What the last one has cost, with storing and saying it."""
        self._spent_s += seconds
        self._cost_s = max(seconds, (self._cost_s + seconds) / 2)
        self._last = time.perf_counter()


def expected_result(scheduler: Any, model_output: Any, sample: Any, result: Any) -> Any:
    """What the scheduler expects at the end, seen from the step that has just been done; else where it stands."""
    previous = result[0] if isinstance(result, tuple) else result.prev_sample
    said = result[1] if isinstance(result, tuple) and len(result) > 1 else getattr(result, "pred_original_sample", None)
    if said is not None and getattr(said, "shape", None) == previous.shape:
        return said
    history = getattr(scheduler, "model_outputs", None)
    predicts = getattr(scheduler.config, "predict_x0", None) or "++" in getattr(scheduler.config, "algorithm_type", "")
    if history and history[-1] is not None and predicts:
        return history[-1]
    if type(scheduler).__name__.startswith("FlowMatchEuler"):
        return sample - scheduler.sigmas[scheduler.step_index - 1].to(sample) * model_output
    return previous
