"""Flat things that stand on a ground before cameras, with their masks: scenes for depth."""

import cv2
import numpy as np

from restage4d.clips import Cameras, Clip, Rewound, rewind

W, H, FOCAL = 192, 120, 230.0
PITCH = np.radians(15)


def camera_from_world(eye, yaw: float = 0.0, pitch: float = PITCH) -> np.ndarray:
    """w2c of a camera in a +Z up world that looks along +Y, turned right by ``yaw`` and down by
    ``pitch``."""
    ahead = np.array([np.sin(yaw) * np.cos(pitch), np.cos(yaw) * np.cos(pitch), -np.sin(pitch)])
    right = np.array([np.cos(yaw), -np.sin(yaw), 0])
    w2c = np.eye(4)
    w2c[:3, :3] = np.stack([right, np.cross(ahead, right), ahead])
    w2c[:3, 3] = -w2c[:3, :3] @ eye
    return w2c


def cameras_of(poses, kind: str, points=None) -> Cameras:
    K = np.array([[FOCAL, 0, W / 2], [0, FOCAL, H / 2], [0, 0, 1]], np.float32)
    sparse = np.zeros((0, 3), np.float32) if points is None else np.asarray(points, np.float32)
    return Cameras(np.tile(K, (len(poses), 1, 1)), np.asarray(poses, np.float32), kind, sparse)


def draw(pose, corners) -> np.ndarray:  # (4, 4), (N, 3) -> (H, W) float
    """The mask of a flat convex thing."""
    local = np.asarray(corners) @ pose[:3, :3].T + pose[:3, 3]
    xy = FOCAL * local[:, :2] / local[:, 2:] + [W / 2, H / 2]
    mask = np.zeros((H, W), np.uint8)
    cv2.fillConvexPoly(mask, cv2.convexHull(np.round(xy * 16 - 8).astype(np.int32)), 1, shift=4)
    return mask.astype(np.float32)


def plank(
    x: float, y: float, z: float = 0.0, wide: float = 0.8, tall: float = 0.9, turn: float = 0.0
) -> np.ndarray:
    """Corners of an upright rectangle that stands at (x, y), turned about the vertical: its right
    end goes away."""
    along = np.array([np.cos(turn), np.sin(turn), 0]) * wide / 2
    foot = np.array([x, y, z])
    return np.stack(
        [foot - along, foot + along, foot + along + [0, 0, tall], foot - along + [0, 0, tall]]
    )


def frames(count: int) -> Clip:
    return Clip(np.zeros((count, H, W, 3), np.uint8), 24.0)


def ground_points(rng, count: int = 300) -> np.ndarray:
    return np.stack(
        [rng.uniform(-4, 4, count), rng.uniform(1, 9, count), rng.normal(0, 0.01, count)], 1
    )


def of_rewound(rewound: Rewound, base: list, driving: list) -> np.ndarray:
    """Things given per video in playing order (both from number 0), in the order of the rewound
    clip."""
    return np.array(
        [
            (base if s == 0 else driving)[i]
            for s, i in zip(rewound.source, rewound.index, strict=True)
        ]
    )


def still_scene(places: list, driving: list) -> tuple[Rewound, np.ndarray, Cameras]:
    """A still camera, 1.5 above a ground shown by points, and a plank at (x, y, z) in every
    frame."""
    rewound = rewind(frames(len(places)), [frames(len(driving))])
    pose = camera_from_world([0, 0, 1.5])
    masks = np.stack([draw(pose, plank(*p)) for p in of_rewound(rewound, places, driving)])
    return (
        rewound,
        masks,
        cameras_of([pose] * len(rewound), "static", ground_points(np.random.default_rng(1))),
    )
