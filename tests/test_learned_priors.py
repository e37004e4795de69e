"""Learned masks and depth: the real loading and running code, with tiny random weights."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from restage4d.clips import (
    Cameras,
    Clip,
    Rewound,
    Selection,
    rewind,
)
from restage4d.defaults import WEIGHT_FREE, PriorNames
from restage4d.errors import InputError
from restage4d.progress import Progress, TaskId
from restage4d.providers.weights import Weights

pytest.importorskip("transformers", reason="the extra models is not installed")

import tiny_models
import torch

from restage4d.jobs.provider_factory import make_prior_providers
from restage4d.priors.depth.depth_anything import DepthAnythingConfig, DepthAnythingDepth
from restage4d.priors.masks.sam import SamConfig, SamMasks
from restage4d.providers import devices

W, H = 60, 40


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("weights")
    tiny_models.sam2(folder / "sam2")
    tiny_models.edgetam(folder / "edgetam")
    tiny_models.depth_anything(folder / "depth-anything-v2")
    tiny_models.depth_anything(folder / "metric", "metric")
    return folder


@pytest.fixture(scope="module")
def clip() -> Rewound:
    """Noise of 4 base frames and two driving videos of 4 and 3: frames 0-3, 4-6 and 7-8."""
    frames = np.random.default_rng(0).integers(0, 255, (4, H, W, 3), np.uint8)
    return rewind(
        Clip(frames, 24.0), [Clip(frames[[0, 2, 1, 3]], 24.0), Clip(frames[[0, 3, 1]], 24.0)]
    )


def square() -> np.ndarray:
    mask = np.zeros((H, W), bool)
    mask[10:30, 20:40] = True
    return mask


# --- masks ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", ["sam2", "edgetam"])
def test_sam_follows_a_mask_both_ways_and_into_every_branch(models, clip, family):
    provider = SamMasks(family, models / family, SamConfig(family, "x"))
    visited: list[str] = []
    masks = provider.propagate(clip, square(), Progress(lambda e: visited.append(e.task)))
    assert masks.shape == (9, H, W)
    assert masks.dtype == np.float32
    assert set(np.unique(masks)) <= {-1.0, 0.0, 1.0}
    there = masks[clip.seam] > 0.5
    assert (there & square()).sum() / (
        there | square()
    ).sum() > 0.9  # the given mask itself, but for the model's coarser grid
    assert visited[-1] is TaskId.MASKS
    np.testing.assert_array_equal(masks, provider.propagate(clip, square(), Progress()))


def test_sam_sees_the_frames_of_each_path_in_order(models, clip, monkeypatch):
    """From b_0 along the first driving video, then back to b_m; then along the second driving
    video, with the base known."""
    provider = SamMasks("sam2", models / "sam2", SamConfig("sam2", "x"))
    calls: list[tuple[int, bool, int]] = []
    inner = provider._model.forward

    def spy(session, frame_idx, reverse=False, **rest):
        calls.append((frame_idx, reverse, len(session.processed_frames)))
        return inner(session, frame_idx=frame_idx, reverse=reverse, **rest)

    monkeypatch.setattr(provider._model, "forward", spy)
    provider.propagate(clip, square(), Progress())
    first = [
        (3, False, 7),
        (4, False, 7),
        (5, False, 7),
        (6, False, 7),
        (2, True, 7),
        (1, True, 7),
        (0, True, 7),
    ]
    assert calls == [*first, (3, False, 6), (4, False, 6), (5, False, 6)]


@pytest.mark.parametrize(
    "selection", [Selection(point=(30.0, 20.0)), Selection(box=(20.0, 10.0, 40.0, 30.0))]
)
def test_sam_outlines_what_is_clicked_or_boxed(models, clip, selection):
    provider = SamMasks("sam2", models / "sam2", SamConfig("sam2", "x"))
    base = Clip(clip.clip.frames[3::-1], 24.0)
    mask = provider.select(base, selection, Progress())
    assert mask.shape == (H, W)
    assert mask.dtype == bool
    assert 0 < mask.mean() < 0.95
    np.testing.assert_array_equal(mask, provider.select(base, selection, Progress()))


def test_sam_keeps_a_given_mask_and_does_not_read(models, clip):
    provider = SamMasks("sam2", models / "sam2", SamConfig("sam2", "x"))
    base = Clip(clip.clip.frames[3::-1], 24.0)
    np.testing.assert_array_equal(
        provider.select(base, Selection(mask=square()), Progress()), square()
    )
    with pytest.raises(InputError, match=r"cannot find a subject by words.*sam3"):
        provider.select(base, Selection(text="the dog"), Progress())


def test_sam_3_finds_the_subject_by_words_and_follows_it(tmp_path, clip, monkeypatch):
    weights = Weights(tiny_models.sam3(tmp_path / "sam3").parent)
    announced: list[str] = []
    provider = make_prior_providers(
        replace(WEIGHT_FREE, masks="sam3"), weights, announced.append
    ).masks
    assert "SAM License" in announced[0]
    base = Clip(clip.clip.frames[3::-1], 24.0)
    monkeypatch.setattr(
        "restage4d.priors.masks.sam._SCORE", 0.0
    )  # random weights are sure of nothing
    mask = provider.select(base, Selection(text="the dog"), Progress())
    assert mask.shape == (H, W)
    assert 0 < mask.mean() < 0.95
    monkeypatch.setattr("restage4d.priors.masks.sam._SCORE", 1.0)
    with pytest.raises(InputError, match='"the dog" was not found'):
        provider.select(base, Selection(text="the dog"), Progress())
    masks = provider.propagate(clip, square(), Progress())
    assert masks.shape == (9, H, W)
    (tmp_path / "sam3" / "tokenizer.json").unlink()
    with pytest.raises(InputError, match="no tokenizer"):
        provider.select(base, Selection(text="the dog"), Progress())


def test_sam_prompts_are_scaled_to_the_models_square(models):
    provider = SamMasks("sam2", models / "sam2", SamConfig("sam2", "x"))
    session = provider._open_session(
        np.zeros((1, H, W, 3), np.uint8), torch.device("cpu"), torch.device("cpu")
    )
    provider._prompt(session, 0, (W, H), box=(0.0, 0.0, W, H))
    given = session.point_inputs_per_obj[0][0]
    assert given["point_labels"].tolist() == [[[2, 3]]]
    # the picture's corners in pixels of the square, whose first centre is 0
    np.testing.assert_allclose(
        given["point_coords"].numpy().reshape(2, 2), [[-0.5, -0.5], [127.5, 127.5]]
    )


# --- depth ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "kind"), [("depth-anything-v2", "relative"), ("metric", "metric")]
)
def test_depth_anything_gives_finite_disparity_of_every_frame(models, clip, name, kind):
    provider = DepthAnythingDepth(name, models / name, DepthAnythingConfig("x"))
    disparity = provider.estimate_disparity(clip.clip.frames, Progress())
    assert disparity.shape == (9, H, W)
    assert disparity.dtype == np.float32
    assert np.isfinite(disparity).all()
    assert (disparity >= 0).all()
    assert np.ptp(disparity) > 0
    if kind == "metric":
        assert (disparity >= 1 / 20).all()  # nothing is farther than the model's 20 m
    one = provider.estimate_disparity(clip.clip.frames[2:3], Progress())
    np.testing.assert_allclose(one[0], disparity[2], rtol=1e-4, atol=1e-5 * disparity.max())


def test_depth_anything_ends_in_the_cameras_units(models, clip):
    """Whatever the network says, the background's depth is what the weight-free depth says in the
    large."""
    from restage4d.priors.depth.relief import ReliefDepth

    K = np.tile(np.array([[70, 0, 30], [0, 70, 20], [0, 0, 1]], np.float32), (9, 1, 1))
    cameras = Cameras(K, np.tile(np.eye(4, dtype=np.float32), (9, 1, 1)), "static")
    masks = np.tile(square().astype(np.float32), (9, 1, 1))
    masks[:, 9] = -1
    depth = DepthAnythingDepth("d", models / "depth-anything-v2", DepthAnythingConfig("x")).depth(
        clip, masks, cameras, Progress()
    )
    usual = ReliefDepth().depth(clip, masks, cameras, Progress())
    assert np.isfinite(depth).all()
    assert (depth[masks >= 0] > 0).all()
    assert (depth[masks < 0] == 0).all()
    assert np.median(depth[masks == 0]) == pytest.approx(np.median(usual[masks == 0]), rel=0.3)


# --- memory, precision, weights -------------------------------------------------------------------


def test_less_is_tried_at_once_when_memory_runs_out(models, clip, monkeypatch):
    provider = DepthAnythingDepth("d", models / "depth-anything-v2", DepthAnythingConfig("x"))
    whole = provider.estimate_disparity(clip.clip.frames, Progress())
    inner, sizes = provider._model.forward, []

    def scarce(pixel_values):
        sizes.append(len(pixel_values))
        if len(pixel_values) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return inner(pixel_values=pixel_values)

    monkeypatch.setattr(provider._model, "forward", scarce)
    np.testing.assert_allclose(
        provider.estimate_disparity(clip.clip.frames, Progress()),
        whole,
        rtol=1e-4,
        atol=1e-5 * whole.max(),
    )
    assert sizes[:3] == [8, 2, 1]
    monkeypatch.setattr(
        provider._model, "forward", lambda pixel_values: scarce(torch.cat([pixel_values] * 2))
    )
    with pytest.raises(InputError, match="does not fit into memory"):
        provider.estimate_disparity(clip.clip.frames, Progress())


def test_other_errors_are_not_taken_for_lack_of_memory():
    def broken(_: int) -> None:
        raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes"):
        devices.until_it_fits([1, 2], broken, "x")


def test_models_run_in_half_precision(models, clip, monkeypatch):
    """What a GPU does, here on the CPU: close to full precision, and masks of the same kind."""
    full = DepthAnythingDepth(
        "d", models / "depth-anything-v2", DepthAnythingConfig("x")
    ).estimate_disparity(clip.clip.frames, Progress())
    for module in ("restage4d.priors.depth.depth_anything", "restage4d.priors.masks.sam"):
        monkeypatch.setattr(sys.modules[module], "precision", lambda device: torch.bfloat16)
    half = DepthAnythingDepth(
        "d", models / "depth-anything-v2", DepthAnythingConfig("x")
    ).estimate_disparity(clip.clip.frames, Progress())
    assert np.abs(half - full).max() < 0.1 * full.max()
    masks = SamMasks("sam2", models / "sam2", SamConfig("sam2", "x")).propagate(
        clip, square(), Progress()
    )
    assert set(np.unique(masks)) <= {-1.0, 0.0, 1.0}


def damaged(models: Path, to: Path, what: str) -> Path:
    """A copy of the tiny Depth Anything with one thing wrong."""
    folder = to / "depth-anything-v2"
    folder.mkdir()
    config, weights = (
        (models / "depth-anything-v2" / n).read_bytes()
        for n in ("config.json", "model.safetensors")
    )
    settings = json.loads(config)
    if what == "truncated":
        weights = weights[: len(weights) // 2]
    elif what == "text":
        weights = b"<html>404</html>"
    elif what == "another model":
        settings["model_type"] = "dpt"
    elif what == "another size":
        settings["fusion_hidden_size"] = 16
    elif what == "config":
        config = b"{"
    (folder / "config.json").write_bytes(
        config if what == "config" else json.dumps(settings).encode()
    )
    (folder / "model.safetensors").write_bytes(weights)
    return to


@pytest.mark.parametrize("what", ["truncated", "text", "another model", "another size", "config"])
def test_wrong_weights_are_one_clear_error(models, tmp_path, what):
    with pytest.raises(InputError) as caught:
        make_prior_providers(
            PriorNames(depth="depth-anything-v2"), Weights(damaged(models, tmp_path, what))
        )
    file = "config.json" if what in ("config", "another model") else "model.safetensors"
    assert str(tmp_path / "depth-anything-v2" / file) in str(caught.value)
    assert caught.value.remedy
    assert "\n" not in str(caught.value)


def test_missing_weights_name_the_file_the_source_and_the_licence(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(InputError) as caught:
        make_prior_providers(PriorNames(masks="sam2"), Weights(tmp_path))
    for word in (
        "config.json",
        "model.safetensors",
        "facebook/sam2.1-hiera-large",
        "Apache-2.0",
        str(tmp_path / "sam2"),
        "--download",
    ):
        assert word in str(caught.value)


def test_non_commercial_licences_are_announced_before_anything_else(tmp_path):
    announced: list[str] = []
    with pytest.raises(InputError):
        make_prior_providers(
            replace(WEIGHT_FREE, depth="depth-anything-v2-large"),
            Weights(tmp_path),
            announced.append,
        )
    assert len(announced) == 1
    assert "CC BY-NC 4.0" in announced[0]
    assert "does not allow commercial use" in announced[0]


def test_an_unknown_name_lists_the_known_ones(tmp_path):
    with pytest.raises(
        InputError,
        match=r'no provider of tracks called "raft".*flow, bootstapir, tapnext, cotracker3',
    ):
        make_prior_providers(PriorNames(tracks="raft"), Weights(tmp_path))


def test_the_defaults_need_no_weights(tmp_path):
    chosen = make_prior_providers(PriorNames(), Weights(tmp_path))
    assert [type(p).__name__ for p in vars(chosen).values()] == [
        "GrabCutMasks",
        "SfmCameras",
        "ReliefDepth",
        "FlowTracks",
    ]
