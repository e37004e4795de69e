"""Synthetic puppets for the Blender tests and figures; numpy only, seeded."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from restage4d import se3
from restage4d.puppet import (
    Gaussians,
    Performance,
    Puppet,
    rgb_to_sh,
)

F32 = NDArray[np.float32]


def axis_angle(axis: F32, angle: F32) -> F32:  # (..., 3), (...) -> (..., 4) wxyz
    axis = axis / np.linalg.norm(axis, axis=-1, keepdims=True)
    return np.concatenate([np.cos(angle / 2)[..., None], np.sin(angle / 2)[..., None] * axis], -1)


def smooth_bases(
    rng: np.random.Generator, k: int, frames: int, turn: float = 2.0, shift: float = 0.4
) -> F32:
    """(k, frames, 9) rigid motions that wander smoothly by up to ``turn`` radians per axis and
    ``shift`` units."""
    time = np.linspace(0, 2 * np.pi, frames)
    phase, speed = rng.uniform(0, 2 * np.pi, (k, 6, 1)), rng.uniform(0.4, 1.6, (k, 6, 1))
    wave = np.sin(speed * time + phase)  # (k, 6, T)
    vector = turn * np.moveaxis(wave[:, :3], 1, -1)
    R = se3.quat_to_matrix(axis_angle(vector + 1e-9, np.linalg.norm(vector, axis=-1)))
    return se3.pack(R, shift * np.moveaxis(wave[:, 3:], 1, -1)).astype(np.float32)


def look_at(eye: F32, target: F32) -> F32:  # (T, 3), (T, 3) -> (T, 4, 4)
    """OpenCV world-to-camera matrices with +Z up in the picture."""
    z = target - eye
    z /= np.linalg.norm(z, axis=-1, keepdims=True)
    x = np.cross(z, np.broadcast_to([0.0, 0.0, 1.0], z.shape))
    x /= np.linalg.norm(x, axis=-1, keepdims=True)
    R = np.stack([x, np.cross(z, x), z], -2)
    w2c = np.tile(np.eye(4), (len(eye), 1, 1))
    w2c[:, :3, :3], w2c[:, :3, 3] = R, -np.einsum("tij,tj->ti", R, eye)
    return w2c.astype(np.float32)


def cameras(
    frames: int, size: tuple[int, int], *, moving: bool, radius: float = 3.0
) -> tuple[F32, F32]:
    """K (T, 3, 3), off-centre, and w2c (T, 4, 4) of a camera that stands or goes round the origin
    while it zooms."""
    s = np.linspace(0, 1, frames) if moving else np.zeros(frames)
    angle = -1.0 + 0.8 * s
    eye = radius * np.stack([np.cos(angle), np.sin(angle), 0.35 + 0.2 * s], -1)
    K = np.zeros((frames, 3, 3), np.float32)
    K[:, 0, 0] = K[:, 1, 1] = size[0] * (1.3 + 0.2 * s)
    K[:, 0, 2], K[:, 1, 2], K[:, 2, 2] = 0.52 * size[0], 0.47 * size[1], 1
    return K, look_at(eye, np.zeros_like(eye))


def gaussians(rng: np.random.Generator, n: int, sh: int = 1, extent: float = 1.0) -> Gaussians:
    """n random Gaussians in a ball."""
    quats = rng.normal(size=(n, 4))
    return Gaussians(
        means=(extent * 0.3 * rng.normal(size=(n, 3))).astype(np.float32),
        quats=(quats / np.linalg.norm(quats, axis=1, keepdims=True)).astype(np.float32),
        scales=(extent * np.exp(rng.normal(-4.5, 0.4, (n, 3)))).astype(np.float32),
        opacities=rng.uniform(0, 1, n).astype(np.float32),
        sh=rng.normal(0, 0.3, (n, sh, 3)).astype(np.float32),
    )


def random_puppet(
    n: int = 500,
    k: int = 12,
    frames: int = 9,
    *,
    m: int = 8,
    names: Sequence[str] = ("base", "jump"),
    sh: int = 1,
    seed: int = 0,
) -> Puppet:
    """Stress motion: every basis wanders by itself, every point listens to m random bases. Cameras
    differ per performance."""
    rng = np.random.default_rng(seed)
    performances = []
    for i, name in enumerate(names):
        K, w2c = cameras(frames + i, (160, 90), moving=i > 0)
        bases = smooth_bases(rng, k, frames + i)
        performances.append(
            Performance(name, bases, 23.976, K, w2c, (160, 90), prompt=f"{name}!" if i else "")
        )
    index = np.argsort(rng.random((n, k)), axis=1)[:, :m].astype(np.uint16)
    weight = rng.dirichlet(np.full(m, 0.5), n).astype(np.float32)
    return Puppet(
        gaussians(rng, n, sh),
        index,
        weight,
        performances,
        gaussians(rng, 60, extent=3),
        provenance={"seed": seed},
    )


_LIMBS = (  # joint, tip, radius, swing in radians, phase
    ((-0.24, 0.0, 0.42), (0.22, 0.0, 0.42), 0.13, 0.05, 0.0),  # torso
    ((0.24, 0.0, 0.46), (0.38, 0.0, 0.62), 0.075, 0.35, 0.5),  # neck
    ((0.38, 0.0, 0.62), (0.52, 0.0, 0.60), 0.07, 0.35, 0.5),  # head, on the neck's basis
    ((0.18, 0.09, 0.38), (0.19, 0.1, 0.03), 0.045, 0.6, 0.0),
    ((0.18, -0.09, 0.38), (0.19, -0.1, 0.03), 0.045, 0.6, np.pi),
    ((-0.2, 0.09, 0.38), (-0.22, 0.1, 0.03), 0.05, 0.6, np.pi),
    ((-0.2, -0.09, 0.38), (-0.22, -0.1, 0.03), 0.05, 0.6, 0.0),
    ((-0.28, 0.0, 0.5), (-0.46, 0.0, 0.6), 0.03, 0.8, 1.0),  # tail
)


def creature(
    n: int = 12_000, frames: int = 24, size: tuple[int, int] = (480, 360), seed: int = 0
) -> Puppet:
    """A spotted quadruped of flat surface Gaussians on a floor, that walks on the spot; to be
    looked at."""
    rng = np.random.default_rng(seed)
    a, b, radius, swing, phase = (np.array(x, float) for x in zip(*_LIMBS, strict=True))
    area = radius * (np.linalg.norm(b - a, axis=1) + 2 * radius)
    limb = rng.choice(len(_LIMBS), n, p=area / area.sum())
    normal = rng.normal(size=(n, 3))
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    means = a[limb] + rng.random((n, 1)) * (b - a)[limb] + radius[limb, None] * normal
    quats = axis_angle(np.cross([0.0, 0.0, 1.0], normal) + 1e-9, np.arccos(normal[:, 2]))
    scales = np.tile([0.011, 0.011, 0.003], (n, 1)) * rng.uniform(0.7, 1.3, (n, 1))
    spots = np.sin(23 * means[:, 0] + 3 * np.sin(17 * means[:, 1])) * np.sin(
        21 * means[:, 2] + 2 * np.cos(19 * means[:, 0])
    )
    color = np.where(spots[:, None] > 0.25, [0.30, 0.16, 0.08], [0.82, 0.62, 0.36]) + rng.normal(
        0, 0.02, (n, 3)
    )
    color *= 0.72 + 0.28 * (normal @ np.array([0.4, -0.5, 0.77]))[:, None].clip(-0.6, 1)
    subject = Gaussians(
        *(
            x.astype(np.float32)
            for x in (
                means,
                quats,
                scales,
                rng.uniform(0.6, 1, n),
                rgb_to_sh(color.clip(0, 1))[:, None],
            )
        )
    )

    basis = np.array([0, 1, 1, 2, 3, 4, 5, 6])
    owner = np.array([0, 1, 3, 4, 5, 6, 7])  # the limb whose joint a basis turns about
    line = b[owner] - a[owner]
    along = np.clip(((means[:, None] - a[owner]) * line).sum(-1) / (line**2).sum(-1), 0, 1)
    distance = (
        np.linalg.norm(means[:, None] - a[owner] - along[..., None] * line, axis=-1) - radius[owner]
    )
    score = np.exp(-((np.maximum(distance, 0) / 0.03) ** 2)) + 1e-6
    score[np.arange(n), basis[limb]] += 1.0
    index = np.argsort(-score, axis=1)[:, :4].astype(np.uint16)
    weight = np.take_along_axis(score, index.astype(int), 1)
    weight /= weight.sum(1, keepdims=True)

    def motion(pace: float) -> F32:
        time = 2 * np.pi * np.arange(frames) / frames
        angle = pace * swing[owner, None] * np.sin(time + phase[owner, None])
        axis = np.where(np.arange(7)[:, None] == 6, [0.0, 0.0, 1.0], [0.0, 1.0, 0.0])[:, None]
        R = se3.quat_to_matrix(axis_angle(np.broadcast_to(axis, (7, frames, 3)), angle))
        joint = a[owner]
        t = joint[:, None] - np.einsum("ktij,kj->kti", R, joint)
        t[..., 2] += 0.05 * pace * np.abs(np.sin(time))
        return se3.pack(R, t).astype(np.float32)

    g = 4000
    floor = np.stack([rng.uniform(-1.6, 1.6, g), rng.uniform(-1.6, 1.6, g), np.full(g, -0.02)], -1)
    tone = np.where((np.floor(floor[:, 0] * 2) + np.floor(floor[:, 1] * 2)) % 2 == 0, 0.55, 0.42)[
        :, None
    ] * [0.9, 1.0, 0.95]
    background = Gaussians(
        floor.astype(np.float32),
        np.tile(np.array([1, 0, 0, 0], np.float32), (g, 1)),
        np.tile(np.array([0.035, 0.035, 0.004], np.float32), (g, 1)),
        np.full(g, 0.9, np.float32),
        rgb_to_sh(tone)[:, None].astype(np.float32),
    )
    K, w2c = cameras(frames, size, moving=False, radius=2.4)
    w2c[:, 1, 3] += 0.3
    performances = [
        Performance(name, motion(pace), 24.0, K, w2c, size)
        for name, pace in (("base", 0.4), ("gallop", 1.2))
    ]
    return Puppet(subject, index, weight.astype(np.float32), performances, background)
