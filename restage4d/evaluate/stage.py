"""A rendered stage (docs/stage_format.md) in memory: clips with their exact truth, and the clip
that a fit sees."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from restage4d.clips import Clip, Rewound, rewind
from restage4d.errors import InputError
from restage4d.io.arrays import load_arrays, load_cameras, mask_picture
from restage4d.io.images import image

F32 = NDArray[np.float32]
Bool = NDArray[np.bool_]
_REMEDY = "Give a folder made by scripts/render_stage.py; docs/stage_format.md has its layout."


@dataclass
class View:
    """A held-out view of a clip: pictures (V, H, W, 3) uint8, masks (V, H, W), K (V, 3, 3), w2c (V,
    4, 4) and frame (V,), the number in the clip of each picture."""

    pictures: NDArray[np.uint8]
    masks: Bool
    K: F32
    w2c: F32
    frame: NDArray[np.int32]


@dataclass
class StageClip:
    """One clip with its truth: masks (T, H, W), depth (T, H, W) with 0 = nothing there, K (T, 3,
    3), w2c (T, 4, 4); surface points (P, T, 3) in the world and whether each is seen, (P, T);
    held-out views by name."""

    clip: Clip
    masks: Bool
    depth: F32
    K: F32
    w2c: F32
    points: F32
    visible: Bool
    views: dict[str, View]


@dataclass
class Stage:
    """A base clip and driving clips; ``faulty`` holds the driving clips with generator faults, or
    nothing.

    Attributes:
        name: of the folder.
        about: what ``stage.json`` says.
    """

    name: str
    about: dict[str, Any]
    base: StageClip
    driving: list[StageClip]
    faulty: list[StageClip]

    @property
    def extent(self) -> float:
        """Largest box side of the subject at the shared first frame, world units."""
        return float(self.about["extent"])


@dataclass
class Scene:
    """What one fit sees of a stage, and the truth of every frame that it sees.

    Attributes:
        rewound: the clip; with ``joint`` base and driving, else the driving clip alone (as the only
            video, source 0).
        seen: the truth in the order of ``rewound``: masks and depth as the camera saw them, faults
            included.
        driving: the driving clip without faults, b_0 first.
        rows: positions in ``rewound`` of the driving clip's frames, b_0 first.
        faults: numbers of the driving frames with faults.
        revealed: (P,) surface points that the driving clip shows and no frame of the base.
    """

    rewound: Rewound
    seen: StageClip
    driving: StageClip
    rows: NDArray[np.intp]
    faults: list[int]
    revealed: Bool


def read_stage(folder: Path) -> Stage:
    """Reads a stage. Raises `InputError` naming the file that is missing or damaged."""
    path = folder / "stage.json"
    try:
        about = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(
            f"{folder} is not a finished stage: {path.name} cannot be read ({error}).", _REMEDY
        ) from error
    if about.get("format") != 1:
        raise InputError(
            f"{path} has format {about.get('format')!r}; this version reads format 1.", _REMEDY
        )
    n = len(about["driving"])
    if n == 0:
        raise InputError(f"{folder} has no driving clip.", "Render it with --driving ANIMATION.")
    fps = float(about["fps"])
    return Stage(
        folder.resolve().name,
        about,
        _read_clip(folder / "base", fps),
        [_read_clip(folder / f"driving_{i}", fps) for i in range(1, n + 1)],
        [_read_clip(folder / f"faulty_{i}", fps) for i in range(1, n + 1)]
        if about.get("faults")
        else [],
    )


def list_stages(folder: Path) -> list[Path]:
    """The folder itself where it is a stage, else all stages in it. Raises `InputError` where there
    is none."""
    if (folder / "stage.json").is_file():
        return [folder]
    found = sorted(p.parent for p in folder.glob("*/stage.json"))
    if not found:
        raise InputError(
            f"{folder} holds no stages.", "Make some with scripts/render_stage.py, one folder each."
        )
    return found


def make_scene(stage: Stage, driving: int, *, joint: bool = True, faulty: bool = False) -> Scene:
    """The scene of one driving clip (counted from 0): with the base clip or alone, with faults or
    without."""
    if faulty and not stage.faulty:
        raise InputError(f"Stage {stage.name} has no faults.", "Render it with --faults.")
    clean = stage.driving[driving]
    filmed = stage.faulty[driving] if faulty else clean
    if joint:
        rewound = rewind(stage.base.clip, [filmed.clip])
        seen = _join([stage.base, filmed], rewound)
        rows = rewound.video(1)
    else:
        rewound = rewind(filmed.clip, [])
        seen = _join([filmed], rewound)
        rows = rewound.video(0)
    faults = list(stage.about["faults"]["frames"]) if faulty else []
    revealed = np.logical_and(clean.visible.any(axis=1), ~stage.base.visible.any(axis=1))
    return Scene(rewound, seen, clean, rows, faults, np.asarray(revealed))


def _join(clips: list[StageClip], rewound: Rewound) -> StageClip:
    """Truth of several clips in the order of the rewound clip."""
    pick = list(zip(rewound.source, rewound.index, strict=True))

    def stack(name: str, axis: int = 0) -> NDArray:
        return np.stack([np.take(getattr(clips[s], name), i, axis) for s, i in pick], axis)

    return StageClip(
        rewound.clip,
        *(stack(n) for n in ("masks", "depth", "K", "w2c")),
        *(stack(n, 1) for n in ("points", "visible")),
        views={},
    )


def _read_clip(folder: Path, fps: float) -> StageClip:
    seen = _read_view(folder)
    count = len(seen.pictures)
    depth = _read_array(folder / "depth.npz", "depth").astype(np.float32)
    points, visible = (_read_array(folder / "points.npz", name) for name in ("points", "visible"))
    if not len(depth) == count == len(seen.K) == points.shape[1] == visible.shape[1]:
        raise InputError(
            f"{folder}: pictures, depth, cameras and points differ in their number of frames.",
            _REMEDY,
        )
    views = {p.name: _read_view(p) for p in sorted(folder.iterdir()) if (p / "frames").is_dir()}
    return StageClip(
        Clip(seen.pictures, fps),
        seen.masks,
        depth,
        seen.K,
        seen.w2c,
        points.astype(np.float32),
        visible.astype(bool),
        views,
    )


def _read_view(folder: Path) -> View:
    files = sorted((folder / "frames").glob("*.png"))
    if not files:
        raise InputError(f"{folder / 'frames'} holds no pictures.", _REMEDY)
    masks = [folder / "masks" / f.name for f in files]
    missing = next((m for m in masks if not m.is_file()), None)
    if missing:
        raise InputError(f"{missing} is missing.", _REMEDY)
    pictures = np.stack([image(f)[..., :3] for f in files])
    cameras = load_cameras(folder / "cameras.npz", pictures.shape[2])
    numbers = np.array([int(f.stem) for f in files], np.int32)
    return View(
        pictures,
        np.stack([mask_picture(m) > 127 for m in masks]),
        cameras["K"],
        cameras["w2c"],
        numbers,
    )


def _read_array(path: Path, name: str) -> NDArray:
    return load_arrays(path, (name,))[name]
