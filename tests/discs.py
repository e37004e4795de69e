"""A flat disc that faces the camera, filmed, as a scene to complete."""

import numpy as np
import torch

from restage4d.clips import Cameras, Clip, Priors, Rewound, Tracks, rewind
from restage4d.reconstruct.model.scene_model import SceneModel

FOCAL, SIZE, NEAR, RADIUS = 100.0, 64, 4.0, 16
FRAMES = 3
K = np.array([[FOCAL, 0, SIZE / 2], [0, FOCAL, SIZE / 2], [0, 0, 1]], np.float32)
HALF = RADIUS / np.sqrt(2) / FOCAL * NEAR  # of a disc, by `inflate`


def draw_disc() -> np.ndarray:
    row, column = np.mgrid[:SIZE, :SIZE] + 0.5
    return np.hypot(row - SIZE / 2, column - SIZE / 2) < RADIUS


def make_front() -> np.ndarray:
    """Points (N, 3) of a flat disc that faces the camera, a pixel apart."""
    row, column = np.nonzero(draw_disc())
    xy = np.stack([column + 0.5 - SIZE / 2, row + 0.5 - SIZE / 2], 1) / FOCAL
    return np.concatenate([xy * NEAR, np.full((len(xy), 1), NEAR)], 1).astype(np.float32)


def make_model(
    means: np.ndarray,
    far: np.ndarray,
    turn: float = 0.0,
    red: np.ndarray | None = None,
    round_: float = 0.0,
) -> SceneModel:
    """Gaussians moved by one basis, that turns the body about the camera's axis from frame to
    frame by ``turn``, or about the picture's vertical by ``round_``."""
    n = len(means)
    angles = turn * np.arange(FRAMES)
    rots, trans = np.zeros((1, FRAMES, 6), np.float32), np.zeros((1, FRAMES, 3), np.float32)
    for t, a in enumerate(angles):
        rots[0, t] = [np.cos(a), np.sin(a), 0, -np.sin(a), np.cos(a), 0]
        if round_:
            c, s = np.cos(round_ * t), np.sin(round_ * t)
            rots[0, t] = [c, 0, -s, 0, 1, 0]
            trans[0, t] = [-s * NEAR, 0, NEAR - c * NEAR]  # about the body's middle
    quats = np.random.default_rng(0).normal(size=(n, 4)).astype(np.float32)
    sh0 = np.zeros((n, 3), np.float32)
    if red is not None:
        sh0[:, 0] = red
    params = {
        "subject.means": means,
        "subject.quats": quats / np.linalg.norm(quats, axis=1, keepdims=True),
        "subject.log_scales": np.log(np.tile([[0.016, 0.016, 0.008]], (n, 1))),
        "subject.logit_opacities": np.full(n, 3.0),
        "subject.sh0": sh0,
        "subject.coefs": np.zeros((n, 1)),
        "bases.rots": rots,
        "bases.trans": trans,
    }
    empty = {"means": (0, 3), "quats": (0, 4), "log_scales": (0, 3), "logit_opacities": (0,)}
    params |= {f"background.{k}": np.zeros(s) for k, s in (empty | {"sh0": (0, 3)}).items()}
    tensors = {name: torch.tensor(v, dtype=torch.float32) for name, v in params.items()}
    return SceneModel(tensors, far=torch.tensor(far, dtype=torch.float32))


def make_priors(depth: float = NEAR) -> tuple[Rewound, Priors]:
    mask = draw_disc().astype(np.float32)
    masks = np.tile(mask, (FRAMES, 1, 1))
    depths = np.where(masks > 0, np.float32(depth), np.float32(9))
    w2c = np.tile(np.eye(4, dtype=np.float32), (FRAMES, 1, 1))
    cameras = Cameras(np.tile(K, (FRAMES, 1, 1)), w2c, "static")
    none = Tracks(
        np.zeros((0, FRAMES, 2), np.float32), np.zeros((0, FRAMES), bool),
        np.zeros((0, FRAMES), np.float32), np.zeros(0, np.int32),
    )  # fmt: skip
    clip = Clip(np.zeros((FRAMES, SIZE, SIZE, 3), np.uint8), 24.0)
    return rewind(clip, []), Priors(masks, depths, cameras, none)


def make_guess(means: np.ndarray) -> np.ndarray:
    """A sparse far side, as seeding makes it."""
    return (means * (1 + 2 * HALF / NEAR))[::9]
