"""A stage folder (docs/stage_format.md) made from the hinged blocks of `scenes`, with no Blender
and no waiting."""

import json
from pathlib import Path

import cv2
import numpy as np
from scenes import HEIGHT, WIDTH, Truth, hinge_scene

VIEWS = ("beside", "behind")
QUICK = (  # settings of a fit that takes seconds
    "motion.steps=15",
    "motion.n_bases=8",
    "motion.n_tracks=120",
    "fusion.steps=24",
    "fusion.background_stride=5",
)


def write_stage(folder: Path, n: int = 6, faults: bool = False) -> Truth:
    """Base and one driving clip of ``n`` frames; held-out views show frames 0 and 3 as the film
    camera does."""
    truth = hinge_scene(n_base=n, n_driving=n)
    names = {"base": 0, "driving_1": 1} | ({"faulty_1": 1} if faults else {})
    for name, source in names.items():
        rows = truth.rewound.video(source)
        frames = truth.rewound.clip.frames[rows].copy()
        if name == "faulty_1":
            frames[3:] = 255 - frames[3:]
        _clip(folder / name, truth, rows, frames, range(n))
        np.savez(
            folder / name / "points.npz",
            points=truth.points[:, rows],
            visible=truth.visible[:, rows],
        )
        if name != "faulty_1":
            for view in VIEWS:
                _clip(folder / name / view, truth, rows, frames, (0, 3))
    about = {
        "format": 1,
        "character": "blocks",
        "base": "lean",
        "driving": ["lean back"],
        "frames": n,
        "fps": 24,
        "extent": 0.9,
    }
    about |= {"size": [WIDTH, HEIGHT], "views": list(VIEWS), "view_step": 3, "seed": 0}
    about["faults"] = {"frames": list(range(3, n))} if faults else None
    (folder / "stage.json").write_text(json.dumps(about), encoding="utf-8")
    return truth


def _clip(folder: Path, truth: Truth, rows: np.ndarray, frames: np.ndarray, which) -> None:
    for part in ("frames", "masks"):
        (folder / part).mkdir(parents=True)
    for i in which:
        cv2.imwrite(str(folder / "frames" / f"{i:05d}.png"), frames[i][..., ::-1])
        cv2.imwrite(
            str(folder / "masks" / f"{i:05d}.png"),
            (truth.priors.masks[rows[i]] > 0.5).astype(np.uint8) * 255,
        )
    rows = rows[list(which)]
    np.savez(
        folder / "cameras.npz",
        K=truth.priors.cameras.K[rows],
        w2c=truth.priors.cameras.w2c[rows],
        frame=np.array(which),
    )
    np.savez(folder / "depth.npz", depth=truth.priors.depth[rows])
