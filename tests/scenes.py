"""A small scene whose truth is known, made with numpy and the project's renderer: an upper block
hinged on a lower one, on a ground with texture, filmed by a slowly moving camera; base and driving
move the hinge differently."""

from dataclasses import dataclass

import numpy as np
import torch

from restage4d.clips import (
    Cameras,
    Clip,
    Priors,
    Rewound,
    Tracks,
    rewind,
)
from restage4d.splatting import rasterize

WIDTH, HEIGHT = 96, 72


@dataclass
class Truth:
    """``points`` (P, T, 3) world positions of surface points over the rewound clip, ``visible`` (P,
    T)."""

    rewound: Rewound
    priors: Priors
    points: np.ndarray
    visible: np.ndarray


def look_at(eye: np.ndarray, target: np.ndarray) -> np.ndarray:
    """OpenCV world-to-camera with world +Z up."""
    z = (target - eye) / np.linalg.norm(target - eye)
    x = np.cross(z, [0, 0, 1.0])
    x /= np.linalg.norm(x)
    R = np.stack([x, np.cross(z, x), z])
    w2c = np.eye(4)
    w2c[:3, :3], w2c[:3, 3] = R, -R @ eye
    return w2c.astype(np.float32)


def _blocks(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Points on the surfaces of two boxes, and which box."""
    box = rng.integers(0, 2, n)
    p = rng.uniform(-1, 1, (n, 3))
    face = rng.integers(0, 3, n)
    p[np.arange(n), face] = np.sign(p[np.arange(n), face])
    half = np.array([[0.18, 0.14, 0.22], [0.14, 0.12, 0.22]])
    return p * half[box] + np.array([[0, 0, 0.22], [0, 0, 0.66]])[box], box


def _pose(points: np.ndarray, box: np.ndarray, angle: float, slide: float) -> np.ndarray:
    """The upper box leans by ``angle`` about the hinge; everything slides along x."""
    c, s = np.cos(angle), np.sin(angle)
    hinge = np.array([0, 0, 0.44])
    R = np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])
    out = np.where(box[:, None] == 1, (points - hinge) @ R.T + hinge, points)
    return out + np.array([slide, 0, 0])


def hinge_scene(n_base: int = 8, n_driving: int = 8, seed: int = 0, drivings: int = 1) -> Truth:
    """Renders the scene: clip, exact masks, depth, cameras and tracks."""
    rng = np.random.default_rng(seed)
    body, box = _blocks(rng, 1500)
    colour = rng.uniform(0.1, 0.9, (1500, 3)) * np.where(
        box[:, None] == 1, [1.0, 0.5, 0.4], [0.4, 0.6, 1.0]
    )
    ground = np.concatenate([rng.uniform(-2, 2, (1500, 2)), np.zeros((1500, 1))], 1)
    wall = np.concatenate(
        [rng.uniform(-2, 2, (1500, 1)), np.full((1500, 1), 1.2), rng.uniform(0, 2, (1500, 1))], 1
    )
    still = np.concatenate([ground, wall])
    still_colour = rng.uniform(0.3, 0.6, (3000, 3))
    clips = [_motion(n_base, 0.5, 0.15)] + [
        _motion(n_driving, -0.6 - 0.1 * i, -0.2) for i in range(drivings)
    ]
    rewound = rewind(*_dummy_clips(clips))
    frames, masks, depths, points, w2cs = [], [], [], [], []
    K = np.array([[100, 0, WIDTH / 2], [0, 100, HEIGHT / 2], [0, 0, 1]], np.float32)
    for source, index in zip(rewound.source, rewound.index, strict=True):
        angle, slide = clips[source][index]
        moved = _pose(body, box, angle, slide)
        eye = np.array([0.15 * (index if source == 0 else 0) / max(n_base, 1), -2.2, 0.9])
        w2c = look_at(eye, np.array([0, 0, 0.4]))
        rgb, mask, depth = _render(moved, colour, still, still_colour, w2c, K)
        (
            frames.append(rgb),
            masks.append(mask),
            depths.append(depth),
            points.append(moved),
            w2cs.append(w2c),
        )
    points = np.stack(points, 1).astype(np.float32)
    rewound.clip.frames[:] = np.stack(frames)
    cameras = Cameras(np.repeat(K[None], len(frames), 0), np.stack(w2cs), "moving")
    masks, depths = np.stack(masks), np.stack(depths)
    xy, visible = _observe(points, depths, masks, cameras)
    query = visible.argmax(1).astype(np.int32)
    seen = visible.any(1)
    tracks = Tracks(xy[seen], visible[seen], np.ones(visible[seen].shape, np.float32), query[seen])
    return Truth(rewound, Priors(masks, depths, cameras, tracks), points, visible)


def _motion(n: int, angle: float, slide: float) -> list[tuple[float, float]]:
    return [
        (angle * np.sin(0.5 * np.pi * i / max(n - 1, 1)), slide * i / max(n - 1, 1))
        for i in range(n)
    ]


def _dummy_clips(clips: list) -> tuple[Clip, list[Clip]]:
    made = [Clip(np.zeros((len(c), HEIGHT, WIDTH, 3), np.uint8), 24.0) for c in clips]
    return made[0], made[1:]


def _render(moved, colour, still, still_colour, w2c, K):
    n, b = len(moved), len(still)
    means = torch.tensor(np.concatenate([moved, still]), dtype=torch.float32)
    quats = torch.tensor([[1.0, 0, 0, 0]]).repeat(n + b, 1)
    scales = torch.cat([torch.full((n, 3), 0.018), torch.full((b, 3), 0.05)])
    z = means @ torch.from_numpy(w2c[2, :3]) + float(w2c[2, 3])
    flags = torch.cat([torch.ones(n), torch.zeros(b)])
    rgb = torch.tensor(np.concatenate([colour, still_colour]), dtype=torch.float32)
    channels = torch.cat([rgb, flags[:, None], z[:, None]], 1)
    with torch.no_grad():
        image, alpha, _ = rasterize(
            means,
            quats,
            scales,
            torch.full((n + b,), 0.95),
            channels,
            torch.from_numpy(w2c),
            torch.from_numpy(K),
            WIDTH,
            HEIGHT,
        )
        body, cover, _ = rasterize(
            means[:n], quats[:n], scales[:n], torch.full((n,), 0.95), z[:n, None],
            torch.from_numpy(w2c), torch.from_numpy(K), WIDTH, HEIGHT,
        )  # fmt: skip
    on_body = image[..., 3] > 0.5  # depth does not mix subject and background at the border
    depth = torch.where(
        on_body, body[..., 0] / cover.clamp_min(1e-3), image[..., 4] / alpha.clamp_min(1e-3)
    ).numpy()
    depth[alpha.numpy() < 0.5] = 0
    picture = (image[..., :3].clamp(0, 1) * 255).round().to(torch.uint8).numpy()
    return picture, on_body.float().numpy(), depth.astype(np.float32)


def _observe(points, depths, masks, cameras):
    """Projections of all points and whether each is the surface seen at its pixel."""
    P, T = points.shape[:2]
    xy, visible = np.zeros((P, T, 2), np.float32), np.zeros((P, T), bool)
    for t in range(T):
        camera = points[:, t] @ cameras.w2c[t, :3, :3].T + cameras.w2c[t, :3, 3]
        pixel = (camera / camera[:, 2:]) @ cameras.K[t].T
        xy[:, t] = pixel[:, :2]
        col, row = np.floor(pixel[:, 0]).astype(int), np.floor(pixel[:, 1]).astype(int)
        inside = (col >= 0) & (row >= 0) & (col < WIDTH) & (row < HEIGHT)
        col, row = col.clip(0, WIDTH - 1), row.clip(0, HEIGHT - 1)
        visible[:, t] = (
            inside & (masks[t, row, col] > 0.5) & (camera[:, 2] < depths[t, row, col] + 0.04)
        )
    return xy, visible
