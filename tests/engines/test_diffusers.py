"""The engine for diffusers on real pipelines, small enough to be built on the spot."""

import importlib.util
import io
import itertools
import json
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import httpx
import jsonschema_rs
import pytest
from PIL import Image

import support
from support.client import error_of
from support.server import Server
from support.services import missing
from unspool.engines.diffusers import Diffusers, is_out_of_memory
from unspool.engines.diffusers_inputs import read_signature
from unspool.errors import ModelFileError
from unspool.model import MARK

MODELS = Path(__file__).parents[1] / "models" / "diffusers_tiny.py"
EXAMPLE = Path(__file__).parents[2] / "examples" / "models" / "video.py"
BUILD_DEADLINE_S = 200
LOAD_DEADLINE_S = 200
MORE_STEPS_THAN_THERE_IS_TIME_FOR = 100_000


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """The folder of the tiny pipelines: wan, stable-diffusion, image-to-image."""
    for needed in ("torch", "diffusers", "transformers", "av"):
        if importlib.util.find_spec(needed) is None:
            missing(needed, "Install it: ./scripts/install")
    folder = tmp_path_factory.mktemp("pipelines")
    build = [sys.executable, str(Path(support.__file__).parent / "tiny_pipelines.py"), str(folder)]
    subprocess.run(build, check=True, capture_output=True, timeout=BUILD_DEADLINE_S)
    return folder


@pytest.fixture(scope="module")
def loading(weights, tmp_path_factory):
    """The server as soon as it takes requests, and the events of a prediction that had to wait for its model."""
    server = Server(MODELS, tmp_path_factory.mktemp("data"), {"TINY_PIPELINES": str(weights)})
    try:
        first = None
        with httpx.Client(base_url=server.start().url) as http:
            deadline = time.monotonic() + LOAD_DEADLINE_S
            while first is None and time.monotonic() < deadline:
                answer = http.post(
                    "/api/v3/tiny/picture",
                    json={"prompt": "a", "seed": 1},
                    headers={"Authorization": f"Bearer {server.key}"},
                )
                first = answer.json()["data"]["id"] if answer.status_code == 200 else time.sleep(0.05)
        yield server, first
    finally:
        server.close()


@pytest.fixture(scope="module")
def tiny(loading):
    """A server with one model of each kind, all loaded."""
    return loading[0].wait_until_ready(LOAD_DEADLINE_S)


@pytest.fixture(scope="module")
def client(tiny):
    return tiny.client()


def data_url(picture, kind="PNG"):
    import base64

    buffer = io.BytesIO()
    picture.save(buffer, kind)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(buffer.getvalue()).decode()}"


RED = data_url(Image.new("RGB", (64, 48), (200, 30, 30)))
VIDEO = {"prompt": "a seven", "num_inference_steps": 8, "num_frames": 9}
EACH_KIND = [
    ("tiny/video", VIDEO, 8),
    ("tiny/picture", {"prompt": "a house", "num_inference_steps": 8}, 8),
    # Of an image-to-image run only the last steps happen: strength of them.
    ("tiny/variation", {"prompt": "a house", "image": RED, "num_inference_steps": 10, "strength": 0.5}, 5),
]


def run(client, model, **inputs):
    """The events of a run that completes, and the object that polling shows then."""
    events = [event.data for event in client.log(client.submit(model, **inputs)["id"])]
    assert events[-1]["type"] == "complete", events[-1]
    return events


def fetched(client, url):
    answer = client.http.get(url)
    assert answer.status_code == 200
    return answer.content


def outputs(client, events):
    return [fetched(client, url) for url in events[-1]["outputs"]]


def frames_of(video):
    import av

    with av.open(io.BytesIO(video)) as container:
        stream = container.streams.video[0]
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)], float(stream.average_rate)


# What a run says


@pytest.mark.parametrize(("model", "inputs", "steps"), EACH_KIND, ids=[model for model, _, _ in EACH_KIND])
def test_a_run_goes_through_its_stages_in_order_with_steps_and_a_percentage_that_never_falls(
    client, model, inputs, steps
):
    events = run(client, model, **inputs)
    staged = [event for event in events if event.get("stage") not in (None, "fetch")]
    stages = [stage for stage, _ in itertools.groupby(staged, key=lambda event: event["stage"])]
    assert stages == ["encode", "denoise", "decode", "write"]
    denoise = [event for event in staged if event["stage"] == "denoise"]
    counted = [event["step"] for event in denoise]
    assert counted == sorted(set(counted))
    assert (counted[0], counted[-1]) == (0, steps)
    assert {event["steps"] for event in denoise} == {steps}
    percentages = [event["percentage"] for event in events if event["type"] == "progress"]
    assert percentages == sorted(percentages)
    assert percentages[-1] == 100
    assert percentages[-2] < 100


def test_the_output_is_said_before_100_and_is_what_completes(client):
    events = run(client, "tiny/picture", prompt="a", num_images=2)
    kinds = [event["type"] for event in events if event["type"] != "log"]
    whole = next(n for n, event in enumerate(events) if event.get("percentage") == 100)
    said = [n for n, event in enumerate(events) if event["type"] == "output"]
    assert len(said) == 2
    assert max(said) < whole
    assert [events[n]["output"] for n in said] == events[-1]["outputs"]
    assert kinds[-1] == "complete"
    assert events[-1]["usage"] == {"images": 2}


def test_a_second_run_knows_from_its_first_stage_on_how_long_it_will_take(client):
    same = {"prompt": "a", "num_inference_steps": 20, "width": 48, "height": 48}
    run(client, "tiny/picture", **same)
    first = next(event for event in run(client, "tiny/picture", **same) if event.get("stage") == "encode")
    assert first["eta_seconds"] >= 0


def test_what_stages_cost_is_remembered_beside_the_data(client, tiny):
    run(client, "tiny/picture", prompt="a")
    learned = [json.loads(file.read_bytes()) for file in (tiny.data_dir / "learned").glob("tiny-picture*.json")]
    assert set(learned[0]["stages"]) == {"encode", "denoise", "decode", "write"}


def test_the_frames_that_a_vae_decodes_one_after_another_are_steps_once_their_number_is_known(client):
    run(client, "tiny/video", **VIDEO)
    decode = [event for event in run(client, "tiny/video", **VIDEO) if event.get("stage") == "decode"]
    assert decode[0]["steps"] == 3
    assert decode[-1]["step"] == 3


def test_who_waits_for_the_weights_sees_them_load_and_then_the_run(loading):
    server, first = loading
    events = [event.data for event in server.wait_until_ready(LOAD_DEADLINE_S).client().log(first)]
    stages = [stage for stage, _ in itertools.groupby(events, key=lambda event: event.get("stage"))]
    loads = [event for event in events if event.get("stage") == "load"]
    assert stages.index("load") < stages.index("encode")
    assert {event["percentage"] for event in loads} == {0}
    assert any(event.get("steps") for event in loads)


# Previews


@pytest.mark.parametrize(
    ("model", "steps", "kind", "frames"),
    [("tiny/picture", 120, "JPEG", 1), ("tiny/video", 200, "WEBP", 3)],
    ids=["picture", "video"],
)
def test_previews_are_small_pictures_by_url_and_are_rare(client, model, steps, kind, frames):
    events = run(client, model, prompt="a", num_inference_steps=steps)
    previews = [event for event in events if event.get("preview")]
    assert previews
    assert len(previews) < steps / 4
    assert {event["stage"] for event in previews} == {"denoise"}
    content = fetched(client, previews[-1]["preview"])
    with Image.open(io.BytesIO(content)) as shown:
        assert shown.format == kind
        assert max(shown.size) <= 256
        assert getattr(shown, "n_frames", 1) == frames
    assert len(content) < 100_000


# What comes out


def test_the_video_is_an_mp4_of_the_frames_size_and_speed_that_were_asked_for(client):
    events = run(client, "tiny/video", prompt="a", num_frames=9, width=48, height=32, fps=12)
    assert events[-1]["outputs"][0].endswith(".mp4")
    frames, rate = frames_of(outputs(client, events)[0])
    assert len(frames) == 9
    assert frames[0].shape == (32, 48, 3)
    assert rate == 12


def test_the_picture_is_a_png_of_the_size_that_was_asked_for(client):
    with Image.open(
        io.BytesIO(outputs(client, run(client, "tiny/picture", prompt="a", width=64, height=48))[0])
    ) as png:
        png.load()
        assert (png.format, png.size) == ("PNG", (64, 48))


def test_without_a_size_the_picture_is_as_large_as_the_model_was_made_for(client):
    with Image.open(io.BytesIO(outputs(client, run(client, "tiny/picture", prompt="a"))[0])) as png:
        assert png.size == (32, 32)


@pytest.mark.parametrize(("model", "inputs", "steps"), EACH_KIND, ids=[model for model, _, _ in EACH_KIND])
def test_the_same_seed_gives_the_same_result_and_another_seed_another(client, model, inputs, steps):
    made = [outputs(client, run(client, model, **inputs, seed=seed))[0] for seed in (7, 7, 8)]
    if model == "tiny/video":
        made = [b"".join(frame.tobytes() for frame in frames_of(video)[0]) for video in made]
    assert made[0] == made[1]
    assert made[0] != made[2]


def test_a_seed_that_was_picked_is_logged_and_gives_the_same_again(client):
    events = run(client, "tiny/picture", prompt="a")
    said = next(event["message"] for event in events if event["type"] == "log" and "seed" in event["message"])
    again = run(client, "tiny/picture", prompt="a", seed=int(said.removeprefix("seed: ")))
    assert outputs(client, events) == outputs(client, again)


def test_the_result_of_a_picture_depends_on_the_picture(client):
    blue = data_url(Image.new("RGB", (64, 48), (20, 30, 220)), "JPEG")
    inputs = {"prompt": "a", "num_inference_steps": 4, "strength": 0.5, "seed": 1}
    made = [outputs(client, run(client, "tiny/variation", image=image, **inputs))[0] for image in (RED, blue)]
    assert made[0] != made[1]
    with Image.open(io.BytesIO(made[0])) as png:
        assert png.size == (64, 48)


def test_a_large_picture_is_made_as_small_as_results_may_be(client):
    large = data_url(Image.new("RGB", (400, 200)), "JPEG")
    events = run(client, "tiny/variation", prompt="a", image=large, num_inference_steps=2)
    with Image.open(io.BytesIO(outputs(client, events)[0])) as png:
        assert png.size == (64, 32)


# Cancelling


@pytest.mark.parametrize(
    ("model", "inputs"),
    [
        ("tiny/video", {"num_inference_steps": MORE_STEPS_THAN_THERE_IS_TIME_FOR}),
        ("tiny/picture", {"num_inference_steps": 900, "width": 128, "height": 128}),
    ],
    ids=["video", "picture"],
)
def test_a_cancel_ends_a_run_at_its_next_step_and_its_worker_goes_on(client, tiny, model, inputs):
    workers = tiny.worker_pids()
    with client.run(model, prompt="a", **inputs) as stream:
        while not stream.until("progress").data.get("step"):
            pass
        client.cancel(stream.id)
        events = [event.data for event in stream]
    assert (events[-1]["type"], events[-1]["status"]) == ("error", "cancelled")
    assert "decode" not in {event.get("stage") for event in events}
    assert run(client, model, prompt="a")[-1]["type"] == "complete"
    assert tiny.worker_pids() == workers


# Memory


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets a process limit its memory")
def test_what_does_not_fit_into_memory_says_what_to_lower_and_the_worker_goes_on(client, tiny):
    workers = tiny.worker_pids()
    for _ in range(2):
        large = client.submit("tiny/picture", prompt="a", width=1024, height=1024, num_images=4)
        end = client.log(large["id"])[-1].data
        assert end["status"] == "failed"
        assert end["error"] == (
            "There is not enough memory for this (width 1024, height 1024, num_images 4)."
            " Lower width, height, num_images."
        )
    assert run(client, "tiny/picture", prompt="a")[-1]["type"] == "complete"
    assert tiny.worker_pids() == workers


@pytest.mark.parametrize(
    ("error", "says_so"),
    [
        (MemoryError(), True),
        (type("OutOfMemoryError", (RuntimeError,), {})("CUDA out of memory. Tried to allocate 20 GiB"), True),
        (RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory"), True),
        (RuntimeError("MPS backend out of memory"), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_errors_that_say_that_memory_is_short_are_known(error, says_so):
    assert is_out_of_memory(error) == says_so


# What it refuses


@pytest.mark.parametrize(
    ("model", "inputs", "field"),
    [
        ("tiny/picture", {}, "prompt"),
        ("tiny/picture", {"prompt": ""}, "prompt"),
        ("tiny/picture", {"prompt": "a" * 4001}, "prompt"),
        ("tiny/picture", {"prompt": "a", "width": 65}, "width"),
        ("tiny/picture", {"prompt": "a", "width": 4096}, "width"),
        ("tiny/picture", {"prompt": "a", "num_inference_steps": 0}, "num_inference_steps"),
        ("tiny/picture", {"prompt": "a", "num_images": 5}, "num_images"),
        ("tiny/picture", {"prompt": "a", "num_frames": 9}, "num_frames"),
        ("tiny/video", {"prompt": "a", "num_frames": 258}, "num_frames"),
        ("tiny/video", {"prompt": "a", "fps": 0}, "fps"),
        ("tiny/video", {"prompt": "a", "latents": [1]}, "latents"),
        ("tiny/variation", {"prompt": "a"}, "image"),
        ("tiny/variation", {"prompt": "a", "image": "/etc/passwd"}, "image"),
        ("tiny/variation", {"prompt": "a", "image": RED, "strength": 1.1}, "strength"),
    ],
    ids=lambda value: json.dumps(value)[:60] if isinstance(value, dict) else "",
)
def test_inputs_that_do_not_fit_are_refused_before_there_is_a_prediction(client, model, inputs, field):
    body = error_of(client.http.post(model, json=inputs), 400, "invalid_input")
    assert field in json.dumps(body["errors"])


def test_what_only_the_pipeline_can_know_is_refused_by_it_in_its_own_words(client):
    end = client.log(client.submit("tiny/video", prompt="a", width=72)["id"])[-1].data
    assert (end["status"], end["code"]) == ("failed", 1401)
    assert end["error"].startswith("The model refuses these inputs: `height` and `width` have to be divisible by 16")


def test_more_steps_than_a_scheduler_has_are_refused_by_it(client):
    end = client.log(client.submit("tiny/picture", prompt="a", num_inference_steps=1001)["id"])[-1].data
    assert (end["status"], end["code"]) == ("failed", 1401)
    assert "1000 timesteps" in end["error"]


def test_a_file_that_is_no_picture_is_told(client):
    broken = "data:image/png;base64,bm8gcGljdHVyZQ=="
    end = client.log(client.submit("tiny/variation", prompt="a", image=broken)["id"])[-1].data
    assert (end["status"], end["code"]) == ("failed", 1401)
    assert "no picture that can be read" in end["error"]


# Declaring a model


def declared(folder, **options):
    return getattr(Diffusers("test/model", weights=folder, **options), MARK)


def test_the_inputs_are_those_of_the_pipeline_with_its_defaults(weights):
    fields = declared(weights / "wan").info().schema["properties"]
    assert list(fields) == [
        "prompt",
        "negative_prompt",
        "width",
        "height",
        "num_frames",
        "num_inference_steps",
        "guidance_scale",
        "guidance_scale_2",
        "fps",
        "seed",
    ]
    assert (fields["num_frames"]["default"], fields["num_frames"]["maximum"]) == (81, 257)
    assert declared(weights / "image-to-image").info().schema["required"] == ["prompt", "image"]


@pytest.mark.parametrize(
    ("folder", "category"),
    [("wan", "text-to-video"), ("stable-diffusion", "text-to-image"), ("image-to-image", "image-to-image")],
)
def test_the_category_says_what_becomes_of_what(weights, folder, category):
    assert declared(weights / folder).category == category


def test_declaring_a_model_does_not_import_torch(weights):
    code = (
        "import sys; from unspool.engines.diffusers import Diffusers;"
        f"Diffusers('a/b', weights={str(weights / 'wan')!r});"
        "print(sorted({'torch', 'diffusers', 'numpy', 'av'} & set(sys.modules)))"
    )
    said = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=100)
    assert said.stdout == "[]\n"


def test_every_schema_is_one_and_every_default_fits_it(weights):
    for folder in ("wan", "stable-diffusion", "image-to-image"):
        schema = declared(weights / folder, max_side_px=64, max_frames=9, max_steps=4).info().schema
        fields = schema["properties"]
        defaults = {name: field["default"] for name, field in fields.items() if "default" in field}
        given = {name: RED if name == "image" else "a" for name in schema["required"]}
        jsonschema_rs.validate(schema, defaults | given)
        kept = [name for name, field in fields.items() if {"ge", "le", "anyOf"} & set(field)]
        assert kept == []


def test_an_authors_defaults_take_the_place_of_the_pipelines(weights):
    fields = declared(weights / "wan", defaults={"num_inference_steps": 4, "fps": 24}).info().schema["properties"]
    assert fields["num_inference_steps"]["default"] == 4
    assert fields["fps"]["default"] == 24


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"defaults": {"speed": 3}}, r"defaults name \['speed'\], but its inputs are prompt"),
        ({"defaults": {"num_inference_steps": 400}}, "num_inference_steps Input should be less than or equal to 100"),
        ({"max_frames": 0}, "frames=0 must be 1 or more"),
        ({"threads": 0}, "threads=0 must be 1 or more"),
    ],
)
def test_a_declaration_that_cannot_be_served_is_told(weights, options, said):
    with pytest.raises(ModelFileError, match=said):
        declared(weights / "wan", **options)


@pytest.mark.parametrize(
    ("index", "said"),
    [
        (None, r"weights/model_index\.json cannot be read: No such file"),
        ("{", r"model_index\.json is damaged"),
        ('{"_class_name": ["pipeline", "Mine"]}', "brings its own Python code"),
        ('{"_class_name": "PipelineOfTomorrow"}', "has no PipelineOfTomorrow; update it"),
        ("[]", "brings its own Python code"),
    ],
)
def test_a_folder_that_is_no_pipeline_is_told(weights, tmp_path, index, said):
    folder = tmp_path / "weights"
    folder.mkdir()
    if index is not None:
        (folder / "model_index.json").write_text(index)
    with pytest.raises(ModelFileError, match=said):
        declared(folder)


def test_a_missing_library_is_told_with_the_command_that_brings_it(tmp_path, monkeypatch):
    (tmp_path / "model_index.json").write_text('{"_class_name": "WanPipeline"}')
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModelFileError, match=r'pip install "unspool\[diffusers\]"'):
        declared(tmp_path)


def test_a_repository_of_the_hub_is_declared_from_what_is_in_the_cache(weights, tmp_path):
    cache = tmp_path / "hub" / "models--acme--video"
    (cache / "refs").mkdir(parents=True)
    (cache / "refs" / "main").write_text("0" * 40)
    (cache / "snapshots").mkdir()
    (cache / "snapshots" / ("0" * 40)).symlink_to(weights / "wan")
    code = (
        "from unspool.engines.diffusers import Diffusers; from unspool.model import MARK\n"
        "print(getattr(Diffusers('a/b', weights='acme/video'), MARK).category)\n"
        "Diffusers('a/b', weights='acme/other')"
    )
    environment = {"HF_HUB_CACHE": str(tmp_path / "hub"), "HF_HUB_OFFLINE": "1", "PYTHONPATH": ":".join(sys.path)}
    said = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=100, env=environment, check=False
    )
    assert said.stdout == "text-to-video\n"
    assert "'acme/other' is no folder here, and its model_index.json cannot be had from the hub" in said.stderr


def test_a_pipeline_of_every_kind_has_a_signature_that_can_be_read(weights):
    names = ["FluxPipeline", "StableVideoDiffusionPipeline", "WanImageToVideoPipeline", "LTXPipeline", "DDPMPipeline"]
    found = {name: read_signature(name) for name in names}
    assert Counter(bool(signature) for signature in found.values()) == {True: len(names)}
    assert found["WanImageToVideoPipeline"]["image"].required
    assert found["FluxPipeline"]["num_inference_steps"].default == 28


# What previews show


def test_a_preview_is_as_near_to_the_picture_as_one_linear_map_can_be(weights):
    """On a VAE that only mixes colours, so that the right answer is known."""
    code = """
import io, types, torch
from PIL import Image
from unspool.engines.diffusers_previews import Colours
class Mixing(torch.nn.Module):
    config = types.SimpleNamespace(scaling_factor=0.5, shift_factor=0.25)
    def __init__(self):
        super().__init__()
        self.mix = torch.nn.Parameter(torch.tensor([[2., 0, 1, 1], [0, 1, 1, 0], [1, 0, 0, 3]]))
    def encode(self, pictures):
        small = torch.nn.functional.avg_pool2d(pictures, 8)
        return types.SimpleNamespace(latents=torch.einsum('nchw,cd->ndhw', small, self.mix))
vae = Mixing()
colours = Colours.of(types.SimpleNamespace(vae=vae))
wanted = torch.tensor([0.5, -0.5, 0.25]).reshape(1, 3, 1, 1).expand(1, 3, 64, 64)
latents = (vae.encode(wanted).latents - 0.25) * 0.5
shown = Image.open(io.BytesIO(colours.picture(latents[0].detach()).data))
assert shown.format == 'JPEG' and shown.size == (256, 256), shown
print(shown.getpixel((128, 128)))
"""
    said = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=100)
    wanted = [(value + 1) * 127.5 for value in (0.5, -0.5, 0.25)]
    assert json.loads(said.stdout.replace("(", "[").replace(")", "]")) == pytest.approx(wanted, abs=6)


def test_a_preview_shows_what_comes_out_and_not_the_noise_that_is_still_there(weights):
    """From samples that are known, noised as the scheduler noises, with the output of a model that knows them."""
    code = """
import json, torch
from diffusers import DDIMScheduler, DPMSolverMultistepScheduler, EulerDiscreteScheduler
from diffusers import FlowMatchEulerDiscreteScheduler, UniPCMultistepScheduler
from unspool.engines.diffusers_previews import expected_result
schedulers = [
    FlowMatchEulerDiscreteScheduler(shift=3.0),
    UniPCMultistepScheduler(prediction_type='flow_prediction', use_flow_sigmas=True),
    DDIMScheduler(clip_sample=False),
    EulerDiscreteScheduler(),
    DPMSolverMultistepScheduler(algorithm_type='dpmsolver++'),
]
clean, noise = torch.randn(2, 1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
off = []
for scheduler in schedulers:
    scheduler.set_timesteps(10)
    flow = len(off) < 2
    if flow:
        sample = (1 - scheduler.sigmas[4]) * clean + scheduler.sigmas[4] * noise
    else:
        sample = scheduler.add_noise(clean, noise, scheduler.timesteps[4:5])
    if hasattr(scheduler, 'set_begin_index'):
        scheduler.set_begin_index(4)
    output = noise - clean if flow else noise
    scheduler.scale_model_input(sample, scheduler.timesteps[4]) if hasattr(scheduler, 'scale_model_input') else None
    result = scheduler.step(output, scheduler.timesteps[4], sample, return_dict=False)
    off.append(float((expected_result(scheduler, output, sample, result) - clean).abs().max()))
print(json.dumps(off))
"""
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=100, check=False)
    assert said.returncode == 0, said.stderr
    assert max(json.loads(said.stdout)) < 0.01


# The example


def test_the_example_makes_a_video(weights, tmp_path):
    server = Server(EXAMPLE, tmp_path / "data", {"WEIGHTS": str(weights / "wan")})
    try:
        client = server.start().wait_until_ready(LOAD_DEADLINE_S).client()
        events = run(client, "acme/video", prompt="a", width=64, height=64, num_frames=5, num_inference_steps=2)
        assert len(frames_of(outputs(client, events)[0])[0]) == 5
    finally:
        server.close()
