"""The demo clip's ground truth holds together: cameras, depth, masks, surface points and video
agree with each other."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from restage4d.io import images, video

CLIP = Path(__file__).parents[1] / "scripts" / "demo_clip"


class Truth:
    def __init__(self) -> None:
        self.frames = video.decode(CLIP / "base.mp4").frames
        self.fps = video.decode(CLIP / "base.mp4").fps
        self.masks = np.stack(
            [images.image(p)[..., 0] == 255 for p in sorted((CLIP / "masks").glob("*.png"))]
        )
        with np.load(CLIP / "cameras.npz", allow_pickle=False) as file:
            self.K, self.w2c = file["K"].astype(float), file["w2c"].astype(float)
        with np.load(CLIP / "depth.npz", allow_pickle=False) as file:
            self.depth = file["depth"].astype(float)
        with np.load(CLIP / "points.npz", allow_pickle=False) as file:
            self.points, self.visible = file["points"].astype(float), file["visible"]

    def project(self, X: np.ndarray, t: int) -> tuple[np.ndarray, np.ndarray]:
        """World points (P, 3) to pixels (P, 2) and depth (P,)."""
        at = X @ self.w2c[t, :3, :3].T + self.w2c[t, :3, 3]
        return at[:, :2] / at[:, 2:] * self.K[t, [0, 1], [0, 1]] + self.K[t, :2, 2], at[:, 2]

    def unproject(self, xy: np.ndarray, z: np.ndarray, t: int) -> np.ndarray:
        rays = np.concatenate(
            [(xy - self.K[t, :2, 2]) / self.K[t, [0, 1], [0, 1]], np.ones((len(xy), 1))], 1
        )
        return (rays * z[:, None] - self.w2c[t, :3, 3]) @ self.w2c[t, :3, :3]


@pytest.fixture(scope="module")
def truth() -> Truth:
    return Truth()


def test_shapes_and_size(truth: Truth) -> None:
    n, height, width, _ = truth.frames.shape
    assert n == 48
    assert truth.fps == pytest.approx(24)
    assert 256 <= width <= 384
    assert truth.masks.shape == truth.depth.shape == (n, height, width)
    assert truth.K.shape == (n, 3, 3)
    assert truth.w2c.shape == (n, 4, 4)
    assert truth.points.shape[0] >= 2000
    assert truth.points.shape[1:] == (n, 3)
    assert truth.visible.shape == truth.points.shape[:2]
    assert sum(p.stat().st_size for p in CLIP.rglob("*") if p.is_file()) <= 5.5e6


def test_camera_moves_slowly_and_rigidly(truth: Truth) -> None:
    R = truth.w2c[:, :3, :3]
    assert np.abs(R @ R.transpose(0, 2, 1) - np.eye(3)).max() < 1e-5
    eye = -np.einsum("tji,tj->ti", R, truth.w2c[:, :3, 3])
    steps = np.linalg.norm(np.diff(eye, axis=0), axis=1)
    assert steps.min() > 0
    assert steps.max() < 0.1  # extent of the creature: about 1.2
    assert steps.max() / steps.min() < 1.5


def test_visible_points_lie_on_the_mask_and_in_the_depth_map(truth: Truth) -> None:
    for t in range(0, 48, 5):
        xy, z = truth.project(truth.points[:, t], t)
        seen = truth.visible[:, t]
        assert 0.15 < seen.mean() < 0.6
        column, row = np.floor(xy[seen]).astype(int).T
        near = cv2.dilate(truth.masks[t].astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
        assert near[
            row, column
        ].all()  # at the outline the pixel's centre may just miss the subject
        assert truth.masks[t][row, column].mean() > 0.93
        # within a pixel of any depth edge the pixel's centre may see something else
        d = truth.depth[t]
        low, high = cv2.erode(d, np.ones((3, 3))), cv2.dilate(d, np.ones((3, 3)))
        smooth = (high - low < 0.02 * d)[row, column]
        error = np.abs(d[row, column] / z[seen] - 1)[smooth]
        assert smooth.mean() > 0.5
        assert (error < 0.01).mean() > 0.995
        assert np.median(error) < 0.001


def test_hidden_points_are_behind_something(truth: Truth) -> None:
    for t in range(0, 48, 5):
        hidden = truth.points[~truth.visible[:, t], t]
        xy, z = truth.project(hidden, t)
        column, row = np.floor(xy).astype(int).T
        inside = (
            (column >= 1)
            & (row >= 1)
            & (column < truth.depth.shape[2] - 1)
            & (row < truth.depth.shape[1] - 1)
        )
        nearest = cv2.erode(truth.depth[t], np.ones((3, 3)))
        assert (nearest[row[inside], column[inside]] < z[inside] * 1.001).mean() > 0.99


def test_points_cover_the_whole_surface(truth: Truth) -> None:
    # From every side the outline of all points fills the outline of the mask.
    for t in (0, 24, 47):
        xy, _ = truth.project(truth.points[:, t], t)
        drawn = np.zeros(truth.masks[t].shape, np.uint8)
        for x, y in np.floor(xy).astype(int):
            cv2.circle(drawn, (int(x), int(y)), 5, 1, -1)
        assert (drawn > 0)[truth.masks[t]].mean() > 0.98
    ever = truth.visible.any(1).mean()
    assert 0.5 < ever < 0.9  # some sides are never seen: that is what restaging has to live with


def test_background_stands_still(truth: Truth) -> None:
    rng = np.random.default_rng(0)
    height, width = truth.masks.shape[1:]
    for a, b in ((0, 12), (10, 40), (47, 3)):
        xy = np.stack([rng.integers(2, width - 2, 3000), rng.integers(2, height - 2, 3000)], 1)
        clear_a = ~(cv2.dilate(truth.masks[a].astype(np.uint8), np.ones((7, 7))) > 0)
        xy = xy[clear_a[xy[:, 1], xy[:, 0]]]
        X = truth.unproject(xy + 0.5, truth.depth[a][xy[:, 1], xy[:, 0]], a)
        uv, z = truth.project(X, b)
        column, row = np.floor(uv).astype(int).T
        inside = (column >= 0) & (row >= 0) & (column < width) & (row < height)
        clear_b = ~(cv2.dilate(truth.masks[b].astype(np.uint8), np.ones((7, 7))) > 0)
        keep = np.flatnonzero(inside)[clear_b[row[inside], column[inside]]]
        assert len(keep) > 800
        error = np.abs(truth.depth[b][row[keep], column[keep]] / z[keep] - 1)
        assert np.median(error) < 0.004  # half a pixel of the sloping ground
        assert (error < 0.02).mean() > 0.97  # the rest: grass and pebbles in the way
        # and the video shows the same thing there: cameras and frames belong together
        seen_a = truth.frames[a][xy[keep, 1], xy[keep, 0]].astype(float)
        seen_b = truth.frames[b][row[keep], column[keep]].astype(float)
        shuffled = seen_b[rng.permutation(len(keep))]
        assert np.abs(seen_a - seen_b).mean() < 0.5 * np.abs(seen_a - shuffled).mean()


def test_points_keep_their_colour_in_the_video(truth: Truth) -> None:
    colours = np.full((*truth.visible.shape, 3), np.nan)
    for t in range(48):
        column, row = (
            np.floor(truth.project(truth.points[:, t], t)[0][truth.visible[:, t]]).astype(int).T
        )
        colours[truth.visible[:, t], t] = truth.frames[t][row, column]
    often = truth.visible.sum(1) > 20
    within = np.nanstd(colours[often], axis=1).mean()
    between = np.nanmean(colours[often], axis=1).std(0).mean()
    assert within < 0.6 * between


def test_motion_is_smooth_and_the_feet_stand(truth: Truth) -> None:
    step = np.linalg.norm(np.diff(truth.points, axis=1), axis=2)
    assert step.max() < 0.15
    low = truth.points[:, :, 2].min(0)
    assert np.abs(low).max() < 0.03  # always on the ground, never in it
    soles = truth.points[:, :, 2] < 0.02
    assert np.median(step[soles[:, 1:] & soles[:, :-1]]) < 0.4 * np.median(step)
