"""Temporal alignment of a network's disparity, against exact depth: the network's noise is known,
as it is put there here."""

import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from restage4d.clips import (
    Cameras,
    Clip,
    Rewound,
    rewind,
)
from restage4d.io import video
from restage4d.io.arrays import mask_picture
from restage4d.priors.depth.alignment import Anchors, align, collect_map_anchors
from restage4d.priors.motion.background_points import follow
from restage4d.progress import Progress, TaskId

sys.path.insert(0, str(Path(__file__).parents[1] / "scripts" / "benchmarks"))
from depth_alignment import measure, network, scale_errors, structure_from_motion

DEMO = Path(__file__).parent.parent / "scripts" / "demo_clip"


@pytest.fixture(scope="module")
def stage() -> tuple[Rewound, np.ndarray, np.ndarray, Cameras, np.ndarray]:
    """The demo clip with a repeated stretch as driving: rewound, masks, true depth, true cameras,
    background tracks."""
    base = video.decode(DEMO / "base.mp4", longer_side=384)
    rewound = rewind(base, [Clip(base.frames[:10], base.fps)])
    order = rewound.index
    pictures = [mask_picture(DEMO / "masks" / f"{i:05d}.png") for i in range(len(base))]
    masks = np.stack(
        [cv2.resize(m, base.size, interpolation=cv2.INTER_AREA) > 127 for m in pictures]
    )[order].astype(np.float32)
    with np.load(DEMO / "cameras.npz") as file:
        K, w2c = file["K"][order].astype(np.float32), file["w2c"][order].astype(np.float32)
    K[:, :2] *= base.size[0] / (2 * K[0, 0, 2])
    with np.load(DEMO / "depth.npz") as file:
        true = np.stack([cv2.resize(d.astype(np.float32), base.size) for d in file["depth"]])[order]
    with Progress().task(TaskId.BACKGROUND_POINTS, len(rewound)) as counted:
        tracks = follow(rewound, masks, counted)
    return rewound, masks, true, Cameras(K, w2c, "moving"), tracks


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_whole_clip_at_once_does_not_flicker(stage, seed):
    rewound, masks, true, cameras, tracks = stage
    flicker, deviation, _, off = measure(rewound, masks, true, cameras, tracks, seed)
    assert (
        flicker <= 0.1
    )  # of what the fit of every frame by itself shows from frame to frame; measured: 0.03
    assert deviation <= 0.3  # over the clip, slow drift included; measured: 0.17 to 0.29
    assert off < 0.015


def test_the_seam_shows_no_step(stage):
    rewound, masks, true, cameras, tracks = stage
    rng = np.random.default_rng(3)
    _, anchors = structure_from_motion(true, masks, cameras, rng)
    error = scale_errors(
        align(network(true, rng), rewound, cameras, tracks, anchors), true, masks > 0.5
    )
    seam = rewound.seam
    assert abs(error[seam + 1] - error[seam]) < 0.004
    assert abs(error[seam] - error[seam - 1]) < 0.004


def test_depth_without_a_shift_is_taken_as_such(stage):
    rewound, masks, true, cameras, tracks = stage
    rng = np.random.default_rng(4)
    disparity = (np.exp(rng.normal(0, 0.2, len(true)))[:, None, None] / true).astype(np.float32)
    _, anchors = structure_from_motion(true, masks, cameras, rng)
    error = np.log(align(disparity, rewound, cameras, tracks, anchors, shift=False) / true)
    assert np.abs(np.median(error, axis=(1, 2))).max() < 0.01


def test_without_points_the_scale_is_that_of_a_depth_trusted_in_the_large(stage):
    rewound, masks, true, cameras, tracks = stage
    rng = np.random.default_rng(5)
    rough = true * np.exp(rng.normal(0, 0.1, true.shape)).astype(np.float32) * 2
    depth = align(network(true, rng), rewound, cameras, tracks, collect_map_anchors(rough, masks))
    assert np.median(depth / true) == pytest.approx(2, rel=0.05)


def test_a_still_camera_and_a_bare_wall():
    """No tracks and a disparity without contrast: still finite, and as far as the anchors say."""
    rewound = rewind(Clip(np.zeros((5, 20, 30, 3), np.uint8), 24.0), [])
    K = np.tile(np.array([[30, 0, 15], [0, 30, 10], [0, 0, 1]], np.float32), (5, 1, 1))
    cameras = Cameras(K, np.tile(np.eye(4, dtype=np.float32), (5, 1, 1)), "static")
    disparity = (
        np.ones((5, 20, 30), np.float32) * np.array([1, 2, 3, 2, 1], np.float32)[:, None, None]
    )
    anchors = collect_map_anchors(
        np.full((5, 20, 30), 4, np.float32), np.zeros((5, 20, 30), np.float32)
    )
    for shift in (True, False):
        depth = align(disparity, rewound, cameras, np.zeros((0, 5, 2), np.float32), anchors, shift)
        np.testing.assert_allclose(depth, 4, rtol=0.01)
    none = Anchors(np.zeros(0, int), np.zeros((0, 2), np.float32), np.zeros(0))
    assert (align(disparity, rewound, cameras, np.zeros((0, 5, 2), np.float32), none) == 1).all()
