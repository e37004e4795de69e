"""Prints how steady a network's disparity is over a stage after alignment, against the usual fit of
every frame by itself.

    python scripts/benchmarks/depth_alignment.py STAGE [STAGE ...]

The network is imitated: exact disparity with another scale and shift in every frame and a smooth
error over the picture. Sparse points are noisy and each is seen in some frames only. Everything
else (tracks, alignment) is what a run does.
"""

import argparse
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from restage4d.clips import Cameras, Rewound
from restage4d.evaluate.stage import make_scene, read_stage
from restage4d.priors.depth.alignment import (
    Anchors,
    align,
    align_each,
    collect_point_anchors,
)
from restage4d.priors.motion.background_points import follow
from restage4d.progress import Progress, TaskId

F32 = NDArray[np.float32]


def network(true: F32, rng: np.random.Generator) -> F32:
    """Disparity with another scale (15 %) and shift in every frame, and a smooth error over the
    picture (5 %)."""
    scale = np.exp(rng.normal(0, 0.15, len(true)))[:, None, None]
    shift = rng.normal(0, 0.05, len(true))[:, None, None] * np.median(1 / true)
    bump = np.exp(cv2.GaussianBlur(rng.normal(0, 1, true.shape[1:]), (0, 0), 20) * 20 * 0.05)
    return ((scale / true + shift) * bump).astype(np.float32)


def structure_from_motion(
    true: F32, masks: F32, cameras: Cameras, rng: np.random.Generator, per_frame: int = 30
) -> tuple[Cameras, Anchors]:
    """Cameras with sparse background points of 3 % noise, and observations of them, about
    ``per_frame`` in each frame."""
    points = []
    for t in range(0, len(true), 4):
        rows, cols = np.nonzero(masks[t] == 0)
        some = rng.permutation(len(rows))[:30]
        rows, cols = rows[some], cols[some]
        z = true[t, rows, cols] * np.exp(rng.normal(0, 0.03, len(rows)))
        xy = np.stack([cols + 0.5, rows + 0.5], 1)
        local = (
            np.concatenate(
                [(xy - cameras.K[t, :2, 2]) / cameras.K[t, [0, 1], [0, 1]], np.ones((len(xy), 1))],
                1,
            )
            * z[:, None]
        )
        points.append((local - cameras.w2c[t, :3, 3]) @ cameras.w2c[t, :3, :3])
    found = Cameras(cameras.K, cameras.w2c, "moving", np.concatenate(points).astype(np.float32))
    anchors = collect_point_anchors(found, masks)
    seen = rng.random(len(anchors.z)) < per_frame * len(true) / len(anchors.z)
    return found, Anchors(anchors.frame[seen], anchors.xy[seen], anchors.z[seen])


def scale_errors(depth: F32, true: F32, where: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Logarithm of depth over truth, the median over ``where`` in each frame."""
    return np.array(
        [np.median(np.log(d / g)[w]) for d, g, w in zip(depth, true, where, strict=True)]
    )


def measure(
    rewound: Rewound, masks: F32, true: F32, cameras: Cameras, tracks: F32, seed: int
) -> tuple[float, float, float, float]:
    """Of the scale of subject and background: how much it changes from frame to frame over what the
    fit of every frame by itself makes of it; its deviation over the clip, likewise; its own
    deviation; and how far off it is in the mean."""
    rng = np.random.default_rng(seed)
    disparity = network(true, rng)
    _, anchors = structure_from_motion(true, masks, cameras, rng)
    each, ours = align_each(disparity, anchors), align(disparity, rewound, cameras, tracks, anchors)
    flicker, error = (
        np.stack([scale_errors(d, true, w) for w in (masks > 0.5, masks == 0)])
        for d in (each, ours)
    )
    parents, children = (list(side) for side in zip(*rewound.neighbours(), strict=True))
    steps, jumps = (np.abs(e[:, children] - e[:, parents]).mean() for e in (error, flicker))
    deviation = float(error.std(1).mean())
    return (
        float(steps / jumps),
        deviation / float(flicker.std(1).mean()),
        deviation,
        float(np.abs(error.mean(1)).max()),
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("stages", type=Path, nargs="+")
    arguments = parser.parse_args()
    print(
        "| stage | flicker, of per-frame | deviation, of per-frame | deviation % | mean off % "
        "|\n|---|---|---|---|---|"
    )
    for folder in arguments.stages:
        scene = make_scene(read_stage(folder), 0)
        rewound, truth = scene.rewound, scene.seen
        masks = truth.masks.astype(np.float32)
        with Progress().task(TaskId.BACKGROUND_POINTS, len(rewound)) as counted:
            tracks = follow(rewound, masks, counted)
        cameras = Cameras(truth.K, truth.w2c, "moving")
        rows = np.array(
            [
                measure(rewound, masks, truth.depth.astype(np.float32), cameras, tracks, seed)
                for seed in range(3)
            ]
        )
        cells = [" ".join(f"{v:.2f}" for v in column) for column in (rows * (1, 1, 100, 100)).T]
        print(f"| {folder.name} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
