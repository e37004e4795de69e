"""Prints what the priors without weights are worth against stages with exact truth, as the table of
docs/priors.md.

    python scripts/benchmarks/priors_on_stages.py STAGE [STAGE ...]
        [--masks NAME] [--cameras NAME] [--depth NAME] [--tracks NAME]

Masks start from the true mask of b_0; everything else is given the true masks (and depth the true
cameras), so that each column is that estimator's own error. Learned providers are measured the same
way where their weights are (RESTAGE4D_WEIGHTS).
"""

import argparse
import time
from dataclasses import asdict
from pathlib import Path

import cv2
import numpy as np

from restage4d.clips import Cameras, Rewound
from restage4d.defaults import WEIGHT_FREE, PriorNames
from restage4d.evaluate.metrics.tracking import fit_similarity
from restage4d.evaluate.stage import (
    Scene,
    StageClip,
    make_scene,
    read_stage,
)
from restage4d.jobs.provider_factory import make_prior_providers
from restage4d.priors.estimate import Providers
from restage4d.progress import Progress
from restage4d.providers.weights import Weights

HEADS = (
    "stage", "mask IoU base", "driving", "camera", "focal %", "turn °", "place %",
    "depth subject %", "flicker %", "ground %",
    "track px", "within 4 px %", "seen %", "seconds",
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("stages", type=Path, nargs="+")
    for kind, name in asdict(WEIGHT_FREE).items():
        parser.add_argument(f"--{kind}", default=name)
    arguments = parser.parse_args()
    names = PriorNames(arguments.masks, arguments.cameras, arguments.depth, arguments.tracks)
    providers = make_prior_providers(names, Weights.from_settings(None, False))
    print("| " + " | ".join(HEADS) + " |\n|" + "---|" * len(HEADS))
    for folder in arguments.stages:
        began = time.perf_counter()
        figures = measure(make_scene(read_stage(folder), 0), providers)
        cells = [
            folder.name,
            *(f"{v:.2f}" if isinstance(v, float) else v for v in figures),
            f"{time.perf_counter() - began:.0f}",
        ]
        print("| " + " | ".join(cells) + " |", flush=True)


def measure(scene: Scene, providers: Providers) -> list[float | str]:
    """The columns of HEADS but the first and the last."""
    rewound, truth, progress = scene.rewound, scene.seen, Progress()
    masks = truth.masks.astype(np.float32)
    found = providers.masks.propagate(rewound, truth.masks[rewound.seam], progress) > 0.5
    overlap = (found & truth.masks).sum((1, 2)) / np.maximum((found | truth.masks).sum((1, 2)), 1)
    base = rewound.source == 0
    cameras = providers.cameras.cameras(rewound, masks, progress)
    given = Cameras(truth.K, truth.w2c, "moving", sparse_points(truth, rewound))
    depth = providers.depth.depth(rewound, masks, given, progress)
    return [
        float(overlap[base].mean()),
        float(overlap[~base].mean()),
        cameras.kind,
        *camera_errors(cameras, truth),
        *depth_errors(depth, truth, rewound),
        *track_errors(providers, rewound, masks, truth),
    ]


def sparse_points(truth: StageClip, rewound: Rewound) -> np.ndarray:
    """300 background points as structure from motion would give them, from true depth with 2 %
    noise."""
    rng = np.random.default_rng(0)
    parts = []
    for t in np.linspace(0, len(rewound) - 1, 10).astype(int):
        rows, cols = np.nonzero(~truth.masks[t] & (truth.depth[t] > 0))
        some = rng.permutation(len(rows))[:30]
        rows, cols = rows[some], cols[some]
        z = truth.depth[t, rows, cols] * np.exp(rng.normal(0, 0.02, len(rows)))
        xy = np.stack([cols + 0.5, rows + 0.5], 1)
        local = (
            np.concatenate(
                [(xy - truth.K[t, :2, 2]) / truth.K[t, [0, 1], [0, 1]], np.ones((len(xy), 1))], 1
            )
            * z[:, None]
        )
        parts.append((local - truth.w2c[t, :3, 3]) @ truth.w2c[t, :3, :3])
    return np.concatenate(parts).astype(np.float32)


def camera_errors(found: Cameras, truth: StageClip) -> list[float]:
    """Focal length %; mean turn against b_m in degrees; mean place after a similarity, % of the way
    from camera to subject."""
    focal = 100 * abs(found.K[0, 0, 0] / truth.K[0, 0, 0] - 1)
    ours = found.w2c[:, :3, :3] @ found.w2c[0, :3, :3].T
    true = truth.w2c[:, :3, :3] @ truth.w2c[0, :3, :3].T
    traces = np.einsum("tij,tij->t", ours, true)
    turn = np.degrees(np.arccos(np.clip((traces - 1) / 2, -1, 1))).mean()
    a, b = (
        -np.einsum("tji,tj->ti", w[:, :3, :3], w[:, :3, 3]).astype(np.float64)
        for w in (found.w2c, truth.w2c)
    )
    if np.ptp(b, axis=0).max() < 1e-6 or np.ptp(a, axis=0).max() < 1e-6:
        off = np.linalg.norm(b - b.mean(0), axis=1)
    else:
        s, R, t = fit_similarity(a, b)
        off = np.linalg.norm(s * a @ R.T + t - b, axis=1)
    far = np.median(np.linalg.norm(b - truth.points[:, 0].mean(0), axis=1))
    return [float(focal), float(turn), float(100 * off.mean() / far)]


def depth_errors(depth: np.ndarray, truth: StageClip, rewound: Rewound) -> list[float]:
    """After one scale for the clip: median error on the subject; change of its scale from frame to
    frame; error on the ground."""
    known = (truth.depth > 0) & (depth > 0)
    ratio = np.log(np.where(known, depth, 1) / np.where(known, truth.depth, 1))
    ratio -= np.median(ratio[known & truth.masks])
    per_frame = np.array(
        [
            np.median(r[k & m]) if (k & m).any() else np.nan
            for r, k, m in zip(ratio, known, truth.masks, strict=True)
        ]
    )
    steps = np.array([abs(per_frame[t] - per_frame[p]) for p, t in rewound.neighbours()])
    subject, ground = (
        100 * float(np.median(np.abs(ratio[known & where])))
        for where in (truth.masks, ~truth.masks)
    )
    return [subject, 100 * float(np.nanmean(steps)), ground]


def track_errors(
    providers: Providers, rewound: Rewound, masks: np.ndarray, truth: StageClip
) -> list[float]:
    """Of tracks picked within 1.5 pixels of a true point that is seen there, in all other frames
    where both see it: median error in pixels, share within 4 pixels; and the share of frames in
    which "seen" and "hidden" are said rightly."""
    tracks = providers.tracks.tracks(rewound, masks, Progress())
    local = np.einsum("tij,ptj->pti", truth.w2c[:, :3, :3], truth.points) + truth.w2c[:, :3, 3]
    true = local[..., :2] / local[..., 2:] * truth.K[:, [0, 1], [0, 1]] + truth.K[:, :2, 2]
    errors, right = [], []
    for row, q in enumerate(tracks.query):
        seen = np.flatnonzero(truth.visible[:, q])
        gap = np.linalg.norm(true[seen, q] - tracks.xy[row, q], axis=1)
        if not len(gap) or gap.min() > 1.5:
            continue
        point = seen[gap.argmin()]
        way = true[point] + (tracks.xy[row, q] - true[point, q])
        others = np.arange(len(rewound)) != q
        both = others & truth.visible[point] & tracks.visible[row]
        errors.append(np.linalg.norm(tracks.xy[row] - way, axis=1)[both])
        right.append(np.mean(truth.visible[point][others] == tracks.visible[row][others]))
    off = np.concatenate(errors)
    return [float(np.median(off)), 100 * float(np.mean(off < 4)), 100 * float(np.mean(right))]


if __name__ == "__main__":
    cv2.setNumThreads(2)
    main()
