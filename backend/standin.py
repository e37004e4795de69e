"""The stand-in job: a real fit of a few hundred Gaussians to a few tiny frames, for tests of the
service.

A textured ball rolls before a wall; masks, depth, cameras and tracks are known. Everything after
that is the real code.
"""

from pathlib import Path

import numpy as np

from restage4d.clips import (
    Cameras,
    Clip,
    Priors,
    Rewound,
    Tracks,
    rewind,
)
from restage4d.progress import Progress, TaskId
from restage4d.puppet import Puppet
from restage4d.reconstruct.config import FitConfig, FusionConfig, MotionConfig
from restage4d.reconstruct.fit import fit

WIDTH, HEIGHT, FRAMES = 48, 36, 3
_RADIUS, _DISTANCE, _FOCAL = 0.5, 3.0, 60.0


def run(seed: int, steps: int, out: Path, progress: Progress) -> Path:
    """Fits, and writes ``out/puppet.puppet``; goes on from ``out/checkpoint.safetensors`` where
    there is one.

    Args:
        seed: of texture and fit.
        steps: of the photometric fusion.
        out: folder for checkpoint and puppet.
        progress: told the stages.
    """
    rewound, priors = scene(seed)
    config = FitConfig(
        motion=MotionConfig(n_bases=4, n_tracks=60, steps=6),
        fusion=FusionConfig(
            steps=steps,
            max_subject=400,
            max_background=400,
            subject_stride=1.0,
            background_stride=3.0,
        ),
        seed=seed,
    )
    progress.expect([TaskId.FIT_MOTION, TaskId.SEED_GAUSSIANS, TaskId.FUSE])
    fusion = fit(rewound, priors, config, out / "checkpoint.safetensors", progress)
    puppet: Puppet = fusion.model.to_puppet(rewound, priors.cameras, ["roll"], config.influences)
    puppet.metrics = {"pruning_psnr_loss": fusion.pruning_psnr_loss}
    puppet.save(out / "puppet.puppet")
    return out / "puppet.puppet"


def scene(seed: int) -> tuple[Rewound, Priors]:
    """The ball rolls to the left in the base and to the right in the driving video."""
    rng = np.random.default_rng(seed)
    texture = rng.uniform(40, 255, (8, 8, 3))
    wall = rng.uniform(20, 90, (HEIGHT, WIDTH, 3))
    clips = [Clip(np.zeros((FRAMES, HEIGHT, WIDTH, 3), np.uint8), 24.0) for _ in range(2)]
    rewound = rewind(clips[0], clips[1:])
    sign = np.where(rewound.source == 0, -1.0, 1.0)
    centres = np.stack(
        [0.15 * sign * rewound.index, np.zeros(len(sign)), np.full(len(sign), 0.5)], 1
    )
    frames, masks, depths = [], [], []
    cols, rows = np.meshgrid(np.arange(WIDTH) + 0.5, np.arange(HEIGHT) + 0.5)
    rays = np.stack(
        [(cols - WIDTH / 2) / _FOCAL, np.ones_like(cols), -(rows - HEIGHT / 2) / _FOCAL], -1
    )  # world, y forward
    for centre in centres:
        towards = centre + np.array([0, _DISTANCE, 0])
        a, b = (rays**2).sum(-1), rays @ towards
        inner = b**2 - a * (towards @ towards - _RADIUS**2)
        hit = inner > 0
        t = np.where(hit, (b - np.sqrt(np.maximum(inner, 0))) / a, _DISTANCE + 1.0)
        points = rays * t[..., None] - towards
        cell = np.clip(((points[..., [0, 2]] / _RADIUS + 1) * 4).astype(int), 0, 7)
        frames.append(np.where(hit[..., None], texture[cell[..., 0], cell[..., 1]], wall))
        masks.append(hit)
        depths.append(t)
    rewound.clip.frames[:] = np.stack(frames).astype(np.uint8)
    w2c = np.eye(4, dtype=np.float32)
    w2c[:3, :3] = [[1, 0, 0], [0, 0, -1], [0, 1, 0]]
    w2c[2, 3] = _DISTANCE
    n = len(centres)
    K = np.array([[_FOCAL, 0, WIDTH / 2], [0, _FOCAL, HEIGHT / 2], [0, 0, 1]], np.float32)
    cameras = Cameras(np.repeat(K[None], n, 0), np.repeat(w2c[None], n, 0), "static")
    front = rng.normal(size=(120, 3))
    front[:, 1] = -np.abs(front[:, 1]) - 0.4
    front *= _RADIUS / np.linalg.norm(front, axis=1, keepdims=True)
    seen = (front[:, None] + centres[None]) @ w2c[:3, :3].T + w2c[:3, 3]
    xy = (seen[..., :2] / seen[..., 2:] * _FOCAL + [WIDTH / 2, HEIGHT / 2]).astype(np.float32)
    inside = (xy >= 0).all(-1) & (xy[..., 0] < WIDTH) & (xy[..., 1] < HEIGHT)
    tracks = Tracks(
        xy, inside, np.ones(inside.shape, np.float32), inside.argmax(1).astype(np.int32)
    )
    return rewound, Priors(
        np.stack(masks).astype(np.float32), np.stack(depths).astype(np.float32), cameras, tracks
    )
