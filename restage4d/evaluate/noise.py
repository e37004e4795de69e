"""Priors made from a stage's truth: as it is ("clean"), or as learned estimators would see it
("learned").

Every constant of "learned" is in `NoiseLevels`; docs/metrics.md says in words what it means.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from restage4d.clips import (
    Cameras,
    Priors,
    Rewound,
    Tracks,
)
from restage4d.errors import InputError
from restage4d.evaluate.stage import Scene
from restage4d.io.arrays import camera_kind
from restage4d.priors.tracks.flow_tracks import extrapolate_occluded

F32 = NDArray[np.float32]
Bool = NDArray[np.bool_]
NOISE = ("clean", "learned")
_SURFACE = 0.02  # of the depth: a point this near to what the camera shows is seen


@dataclass(frozen=True)
class NoiseLevels:
    """How far learned priors are off."""

    depth_drift: float = 0.015  # standard deviation of the depth's scale, slow in time
    depth_pixel: float = 0.02  # of every pixel's depth, independent
    jitter: float = 1.0  # pixels at a width of 384, of every track position
    outliers: float = 0.05  # share of tracks that jump off to another place
    jump: float = 0.1  # of the width, how far
    lost: float = 0.10  # share of tracks that are never seen again after some frame
    flags: float = 0.05  # share of visibility flags that are wrong
    border: float = 2.0  # pixels at a width of 384, most that a mask's border is off
    rotation: float = 0.2  # degrees that a camera is off
    translation: float = 0.01  # of the distance to the subject that a camera is off
    memory: float = 8.0  # frames over which slow errors change


def choose_tracked_points(scene: Scene) -> NDArray[np.intp]:
    """Numbers of the surface points that tracks are made from: every other one. The rest is for
    measuring alone."""
    return np.arange(0, len(scene.seen.points), 2)


def choose_measured_points(scene: Scene) -> NDArray[np.intp]:
    """Numbers of the surface points that no track is made from."""
    return np.arange(1, len(scene.seen.points), 2)


def make_priors_from_truth(scene: Scene, noise: str, seed: int) -> Priors:
    """Masks, depth, cameras and tracks of ``scene.rewound``.

    Cameras and depth drift against the shared first frame, which keeps the truth: it fixes the
    gauge, so that the fitted world can be compared with the true one without aligning them. A
    camera that stands still keeps one error.

    Raises:
        InputError: ``noise`` is not one of `NOISE`.
    """
    if noise not in NOISE:
        raise InputError(f"There is no noise level {noise!r}.", f"Take one of: {', '.join(NOISE)}.")
    seen, rewound = scene.seen, scene.rewound
    rng = np.random.default_rng([seed, 77])
    rows = choose_tracked_points(scene)
    xy, visible = _observe(seen.points[rows], seen.visible[rows], scene)
    claimed = np.zeros_like(visible)
    masks, depth, K, w2c = seen.masks.astype(np.float32), seen.depth.copy(), seen.K, seen.w2c
    if noise == "learned":
        n = NoiseLevels()
        scale = rewound.clip.size[0] / 384
        depth *= (1 + n.depth_drift * _draw_slow_noise(rng, rewound, n.memory, 1))[:, :, None]
        depth *= 1 + n.depth_pixel * rng.standard_normal(depth.shape).astype(np.float32)
        masks = shift_borders(seen.masks, n.border * scale, rng)
        w2c = _shake_cameras(scene, rng, n)
        xy = (xy + n.jitter * scale * rng.standard_normal(xy.shape)).astype(np.float32)
        visible, claimed = _mistake_visibility(xy, visible, rewound.clip.size, rng, n)
    return Priors(
        masks,
        depth,
        Cameras(K, w2c, camera_kind(w2c)),
        _make_tracks(xy, visible, claimed, rewound, rng),
    )


def cut_to_driving(priors: Priors, scene: Scene, alone: Scene, seed: int) -> Priors:
    """What is left of a joint scene's priors for its driving clip: the very same errors, so that
    fits with and without the base clip differ in nothing else.

    Args:
        priors: of ``scene``, as `make_priors_from_truth` made them.
        scene: base and driving clip, T frames.
        alone: the same driving clip as the only video, n frames.
        seed: of the frames where points are picked.

    Returns:
        Masks and depth (n, H, W), cameras and tracks (P, n) in the order of ``alone.rewound``;
        units as in ``priors``. Points that fewer than three of these frames show are left out.
    """
    rows, given, tracks = scene.rows[alone.rewound.index], priors.cameras, priors.tracks
    cameras = Cameras(given.K[rows], given.w2c[rows], camera_kind(given.w2c[rows]))
    visible = tracks.visible[:, rows]
    left = _make_tracks(
        tracks.xy[:, rows],
        visible,
        np.zeros_like(visible),
        alone.rewound,
        np.random.default_rng([seed, 78]),
    )
    return Priors(priors.masks[rows], priors.depth[rows], cameras, left)


def _make_tracks(
    xy: F32, visible: Bool, claimed: Bool, rewound: Rewound, rng: np.random.Generator
) -> Tracks:
    """Of the points that three frames or more show; where they are hidden is guessed from these
    frames alone, and so is the place of hidden points that are ``claimed`` to be visible: no truth
    leaks in."""
    ever = visible.sum(1) >= 3
    xy, visible, claimed = xy[ever], visible[ever], claimed[ever]
    tracks = Tracks(xy, visible, np.ones(visible.shape, np.float32), _choose_query(visible, rng))
    extrapolate_occluded(rewound, tracks)
    claimed &= (tracks.xy >= 0).all(-1) & (tracks.xy < rewound.clip.size).all(-1)
    tracks.visible |= claimed
    tracks.confidence[claimed] = 1
    return tracks


def _observe(
    points: F32, visible: Bool, scene: Scene
) -> tuple[F32, Bool]:  # (P, T, 3), (P, T) -> (P, T, 2), (P, T)
    """Pixels of the points, and whether each is what the camera shows there (a missing limb shows
    what is behind it)."""
    seen = scene.seen
    xy = np.zeros((*visible.shape, 2), np.float32)
    shown = visible.copy()
    height, width = seen.depth.shape[1:]
    for t in range(visible.shape[1]):
        camera = points[:, t] @ seen.w2c[t, :3, :3].T + seen.w2c[t, :3, 3]
        xy[:, t] = ((camera / camera[:, 2:]) @ seen.K[t].T)[:, :2]
        if scene.faults:
            column = np.clip(xy[:, t, 0].astype(int), 0, width - 1)
            row = np.clip(xy[:, t, 1].astype(int), 0, height - 1)
            near = np.abs(seen.depth[t, row, column] / camera[:, 2] - 1) < _SURFACE
            shown[:, t] &= near & seen.masks[t, row, column]
    return xy, shown


def _choose_query(visible: Bool, rng: np.random.Generator) -> NDArray[np.int32]:  # (P, T) -> (P,)
    """One of the frames that shows the point, drawn at random."""
    return (visible * rng.random(visible.shape)).argmax(1).astype(np.int32)


def _draw_slow_noise(
    rng: np.random.Generator, rewound: Rewound, memory: float, channels: int
) -> F32:  # (T, C)
    """Smooth errors of unit variance over the clip, as differences from the shared first frame."""
    t = np.arange(len(rewound))
    weight = np.exp(-0.5 * ((t[:, None] - t) / memory) ** 2)
    path = (
        weight
        @ rng.standard_normal((len(t), channels))
        / np.sqrt((weight**2).sum(1, keepdims=True))
    )
    path -= path[rewound.seam]
    return (path / np.sqrt(np.maximum((path**2).mean(0), 1e-12))).astype(np.float32)


def shift_borders(
    masks: Bool, reach: float, rng: np.random.Generator
) -> F32:  # (T, H, W) -> (T, H, W)
    """Masks whose border lies off by up to ``reach`` pixels, changing slowly along the border and
    from frame to frame."""
    out = np.empty(masks.shape, np.float32)
    height, width = masks.shape[1:]
    grid = max(width // 12, 2), max(height // 12, 2)
    field = rng.uniform(-1, 1, (grid[1], grid[0])).astype(np.float32)
    for t, mask in enumerate(masks):
        fresh = rng.uniform(-1, 1, field.shape).astype(np.float32)
        field = field if t == 0 else 0.7 * field + 0.3 * fresh
        shift = cv2.resize(field, (width, height), interpolation=cv2.INTER_LINEAR)
        shift *= reach / max(float(np.abs(field).max()), 1e-6)
        inside = cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, 5)
        outside = cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, 5)
        signed = np.where(mask, inside - 0.5, 0.5 - outside)  # the border lies between two pixels
        out[t] = signed + shift > 0
    return out


def _shake_cameras(scene: Scene, rng: np.random.Generator, n: NoiseLevels) -> F32:  # (T, 4, 4)
    """Cameras off by a slow rotation and translation; frames with one true camera share one
    error."""
    true = scene.seen.w2c
    error = _draw_slow_noise(rng, scene.rewound, n.memory, 6)
    for other, t in scene.rewound.outward(scene.rewound.seam):
        if np.abs(true[t] - true[other]).max() < 1e-6:
            error[t] = error[other]
    out = true.copy()
    for t in range(len(true)):
        middle = scene.seen.points[:, t].mean(0)
        distance = float((true[t, :3, :3] @ middle + true[t, :3, 3])[2])
        turn, _ = cv2.Rodrigues(
            np.radians(n.rotation) * error[t, :3].astype(np.float64) / np.sqrt(3)
        )
        out[t, :3, :3] = turn @ true[t, :3, :3]
        out[t, :3, 3] = turn @ true[t, :3, 3] + n.translation * distance * error[t, 3:] / np.sqrt(3)
    return out.astype(np.float32)


def _mistake_visibility(
    xy: F32, visible: Bool, size: tuple[int, int], rng: np.random.Generator, n: NoiseLevels
) -> tuple[Bool, Bool]:  # (P, T), (P, T)
    """Tracks that jump off, are lost or have wrong flags. ``xy`` (P, T, 2) is changed in place;
    returns ``visible`` without the points that are hidden and claimed to be visible, and these."""
    count, total = visible.shape
    width, height = size
    start = rng.integers(0, total, count)
    after = np.arange(total) >= start[:, None]
    angle = rng.uniform(0, 2 * np.pi, count)
    off = (
        np.stack([np.cos(angle), np.sin(angle)], -1)
        * n.jump
        * width
        * rng.uniform(0.3, 1.0, (count, 1))
    )
    kind = rng.permutation(count)
    wrong = kind < round(n.outliers * count)
    xy += np.where((wrong[:, None] & after)[..., None], off[:, None], 0).astype(np.float32)
    lost = (kind >= round(n.outliers * count)) & (kind < round((n.outliers + n.lost) * count))
    flipped = rng.random(visible.shape) < n.flags
    kept = ~(lost[:, None] & after)
    inside = (xy >= 0).all(-1) & (xy < [width, height]).all(-1)
    return visible & ~flipped & kept & inside, ~visible & flipped & kept
