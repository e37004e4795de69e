"""Image-to-video models of diffusers with tiny random weights: the real loading, running and
bringing back to the base."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from restage4d.clips import Clip
from restage4d.driving.framing import fit_into, nearest_aspect
from restage4d.driving.seam import SeamLimits, prepare
from restage4d.errors import Cancelled, InputError
from restage4d.progress import Progress

pytest.importorskip("diffusers", reason="the extra models is not installed")

import diffusers
import tiny_pipelines
import torch

from restage4d.driving import diffusion
from restage4d.driving.diffusion import DiffusersDriving, DiffusionConfig
from restage4d.jobs.provider_choice import DriverChoice
from restage4d.jobs.provider_factory import make_driving_provider
from restage4d.providers.weights import Weights

W, H = 64, 48


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("pipelines")


@pytest.fixture
def base() -> Clip:
    return Clip(np.random.default_rng(0).integers(0, 255, (6, H, W, 3), np.uint8), 12.0)


@pytest.fixture
def any_first_frame(monkeypatch) -> list[Clip]:
    """Random weights do not begin with b_0: the seam lets everything pass, and what came to it is
    kept."""
    came: list[Clip] = []

    def lenient(base: Clip, clip: Clip, name: str, subject: np.ndarray) -> Clip:
        assert subject.shape == (H, W)
        came.append(clip)
        return prepare(base, clip, name, SeamLimits(min_psnr=0.0))

    monkeypatch.setattr(diffusion, "prepare", lenient)
    return came


def made(models: Path, name: str, **config) -> DiffusersDriving:
    folder = models / name
    if not folder.exists():
        tiny_pipelines.write(name, folder)
    driver = DiffusersDriving(name, folder, DiffusionConfig(steps=2, area=32 * 48, **config))
    if driver.family.size:  # what only knows one size would take minutes here
        driver.family = replace(driver.family, size=(64, 64))
    return driver


MASK = np.ones((H, W), bool)


FAMILIES = [
    ("wan", 10, 9),
    ("wan-a14b", 9, 9),
    ("wan-5b", 9, 9),
    ("ltx", 12, 9),
    ("cogvideox", 9, 9),
    ("svd", 5, 5),
]


@pytest.mark.parametrize(("name", "asked", "frames"), FAMILIES)
def test_every_family_makes_a_clip_of_the_bases_size_and_rate(
    models, base, any_first_frame, name, asked, frames
):
    driver = made(models, name, frames=asked, seed=3)
    steps: list[int] = []
    clip = driver.make(base, MASK, "it jumps.", Progress(lambda e: steps.append(e.step))).clip
    assert any_first_frame[0].frames.shape[0] == frames
    assert any_first_frame[0].fps == driver.family.fps
    assert clip.size == base.size
    assert clip.fps == base.fps
    assert len(clip) == max(2, int((frames - 1) / driver.family.fps * base.fps + 1e-6) + 1)
    assert clip.frames.dtype == np.uint8
    assert clip.frames.std() > 1
    assert max(steps) == 2
    again = made(models, name, frames=asked, seed=3).make(base, MASK, "it jumps.", Progress()).clip
    np.testing.assert_array_equal(clip.frames, again.frames)


def test_another_seed_makes_another_video(models, base, any_first_frame):
    one, other = (
        made(models, "wan", frames=5, seed=s).make(base, MASK, "it jumps", Progress()).clip.frames
        for s in (1, 2)
    )
    assert np.abs(one.astype(int) - other).mean() > 1


def test_the_rate_that_is_asked_for_is_taken(models, base, any_first_frame):
    made(models, "wan", frames=5, fps=6.0).make(base, MASK, "it jumps", Progress())
    assert any_first_frame[0].fps == 6.0


def test_a_first_frame_that_differs_is_refused_with_figures(models, base):
    with pytest.raises(
        InputError, match=r"first frame of the video by wan differs .* dB \(needs 20\)"
    ):
        made(models, "wan", frames=5).make(base, MASK, "it jumps", Progress())


@pytest.mark.parametrize("name", [name for name, _, _ in FAMILIES])
def test_cancelling_ends_it_between_two_steps(models, base, any_first_frame, name):
    steps: list[int] = []
    with pytest.raises(Cancelled):
        made(models, name, frames=5).make(
            base, MASK, "it", Progress(lambda e: steps.append(e.step), lambda: 1 in steps)
        )
    assert max(steps) == 1
    assert not any_first_frame


def test_what_does_not_fit_the_gpu_is_run_in_parts(models, base, any_first_frame, monkeypatch):
    """Each way is tried in turn; the one that fits gives the same video as always."""
    driver = made(models, "wan", frames=5)
    monkeypatch.setattr(diffusion, "best_device", lambda: torch.device("cpu"))
    usual = driver.make(base, MASK, "it jumps", Progress()).clip
    tried: list[str] = []
    load = driver._load

    def scarce(where: str):
        tried.append(where)
        if where != "cpu":
            raise torch.OutOfMemoryError("CUDA out of memory")
        return load(where)

    monkeypatch.setattr(driver, "_load", scarce)
    monkeypatch.setattr(diffusion, "best_device", lambda: torch.device("cuda"))
    np.testing.assert_array_equal(
        driver.make(base, MASK, "it jumps", Progress()).clip.frames, usual.frames
    )
    assert tried == ["gpu", "parts", "layers", "cpu"]


@pytest.mark.parametrize(
    ("where", "calls"),
    [
        ("gpu", ["to cuda"]),
        ("parts", ["parts take turns"]),
        ("layers", ["layers take turns", "picture in tiles"]),
        ("cpu", []),
    ],
)
def test_each_way_asks_diffusers_for_it(models, monkeypatch, where, calls):
    """What the pipeline is told in each way of running it; there is no GPU here to do it."""
    driver, told = made(models, "wan"), []
    pipe = diffusers.WanImageToVideoPipeline
    monkeypatch.setattr(pipe, "to", lambda self, device: told.append(f"to {device}"))
    monkeypatch.setattr(
        pipe, "enable_model_cpu_offload", lambda self: told.append("parts take turns")
    )
    monkeypatch.setattr(
        pipe, "enable_sequential_cpu_offload", lambda self: told.append("layers take turns")
    )
    monkeypatch.setattr(
        diffusers.AutoencoderKLWan, "enable_tiling", lambda self: told.append("picture in tiles")
    )
    monkeypatch.setattr(diffusion, "precision", lambda device: torch.bfloat16)
    loaded = driver._load(where)
    assert told == calls
    half = torch.float32 if where == "cpu" else torch.bfloat16
    assert (loaded.transformer.dtype, loaded.vae.dtype) == (
        half,
        torch.float32,
    )  # Wan's autoencoder stays exact


def test_damaged_pipelines_are_one_clear_error(models, tmp_path, base):
    folder = tiny_pipelines.write("wan", tmp_path / "wan")
    weights = folder / "transformer" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:500])
    with pytest.raises(InputError) as caught:
        DiffusersDriving("wan", folder, DiffusionConfig(frames=5, steps=1, area=32 * 48)).make(
            base, MASK, "it", Progress()
        )
    assert str(folder) in str(caught.value)
    assert "\n" not in str(caught.value)
    (folder / "model_index.json").write_text('{"_class_name": "StableDiffusionPipeline"}')
    with pytest.raises(InputError, match="StableDiffusionPipeline, which makes no video"):
        DiffusersDriving("wan", folder, DiffusionConfig())
    with pytest.raises(InputError, match=r"model_index.json cannot be read"):
        DiffusersDriving("wan", tmp_path, DiffusionConfig())


def test_a_folder_is_a_driver_too_and_gets_the_refined_prompt(
    models, base, any_first_frame, tmp_path, monkeypatch
):
    made(models, "wan")
    monkeypatch.setattr(
        diffusion,
        "_FAMILIES",
        {k: replace(f, steps=1, area=32 * 48) for k, f in diffusion._FAMILIES.items()},
    )
    told: list[str] = []
    choice = DriverChoice(str(models / "wan"), frames=5)
    driver = make_driving_provider(choice, Weights(), announce=told.append)
    video = driver.make(base, MASK, "it jumps", Progress())
    assert video.clip.size == (W, H)
    assert video.made_by == driver.name == "wan"
    assert video.refined_prompt.startswith("It jumps.")
    assert "its licence is not known here" in told[0]
    assert "camera stays completely still" in told[-1]


def test_missing_weights_of_a_known_driver_name_the_file(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    told: list[str] = []
    with pytest.raises(
        InputError, match=r"model_index.json is missing.*Lightricks/LTX-Video.*--download"
    ):
        make_driving_provider(DriverChoice("ltx"), Weights(tmp_path), announce=told.append)
    assert "does not allow commercial use" in told[0]


@pytest.mark.parametrize(
    ("size", "into"),
    [((64, 48), (96, 48)), ((48, 64), (96, 48)), ((100, 20), (64, 64)), ((64, 48), (32, 24))],
)
def test_a_frame_comes_out_of_a_larger_picture_as_it_went_in(size, into):
    rng = np.random.default_rng(0)
    frame = (
        rng.integers(0, 255, (size[1] // 4, size[0] // 4, 3), np.uint8).repeat(4, 0).repeat(4, 1)
    )
    fitted = fit_into(frame, into)
    assert fitted.size == into
    twice = np.stack(
        [fitted.picture.repeat(2, 0).repeat(2, 1)] * 2
    )  # the service answers in twice the size
    taken = fitted.crop(twice)
    left, top, width, height = fitted.window
    np.testing.assert_array_equal(
        taken[1, ::2, ::2], fitted.picture[top : top + height, left : left + width]
    )
    assert taken.shape[2] / taken.shape[1] == pytest.approx(size[0] / size[1], rel=0.05)


def test_the_nearest_shape_is_chosen():
    sizes = ((1280, 720), (720, 1280), (960, 960))
    assert nearest_aspect(np.zeros((480, 854, 3), np.uint8), sizes) == (1280, 720)
    assert nearest_aspect(np.zeros((720, 405, 3), np.uint8), sizes) == (720, 1280)
    assert nearest_aspect(np.zeros((100, 110, 3), np.uint8), sizes) == (960, 960)
