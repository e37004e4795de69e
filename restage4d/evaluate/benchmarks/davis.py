"""Real restaging pairs with real truth: a DAVIS sequence cut in the middle, its joints annotated by
BADJA.

Base = the frames from the cut back to the first, driving = from the cut to the last. Masks are
DAVIS's own; cameras, depth and tracks are estimated by the weight-free providers. Joints are marked
on the puppet at one annotated frame and carried to the others.
"""

import json
import time
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from restage4d.clips import Clip, rewind
from restage4d.errors import InputError
from restage4d.evaluate.ablations import ENOUGH
from restage4d.evaluate.benchmarks.marks import carry_marks, project
from restage4d.evaluate.metrics import image, tracking
from restage4d.evaluate.runs import (
    Record,
    read_record,
    replace_non_finite,
    write_json,
)
from restage4d.io import video
from restage4d.io.arrays import mask_picture
from restage4d.io.atomic import replacing
from restage4d.io.content_cache import Cache
from restage4d.priors.estimate import estimate_priors, weight_free_providers
from restage4d.progress import Progress
from restage4d.puppet import Puppet
from restage4d.reconstruct.config import FitConfig, preset, with_settings
from restage4d.reconstruct.fit import compute_fingerprint, fit
from restage4d.splatting.gaussians import render_performance

LONGER_SIDE = 256
_ANNOTATED = 1080  # BADJA's pixels are of pictures this high


def run_real_pairs(
    davis: Path, out: Path, progress: Progress, settings: tuple[str, ...] = ()
) -> list[Record]:
    """Fits and measures every sequence of ``davis`` that has joints; kept in ``out/davis`` as they
    are done.

    The draft preset with the steps of the tables, the far side and the hull, then ``settings``
    (``KEY=VALUE``).

    Raises:
        InputError: there is no such sequence, or a setting is wrong.
    """
    config = with_settings(preset("draft"), (*ENOUGH, *settings))
    joints = sorted((davis / "badja_keypoints").glob("*.json"))
    names = [p.stem for p in joints if (davis / p.stem).is_dir()]
    if not names:
        raise InputError(
            f"{davis} has no sequence with joints.",
            "It must hold badja_keypoints/NAME.json and NAME/.",
        )
    return [_run_pair(davis, name, out / "davis", config, progress) for name in names]


def _run_pair(davis: Path, name: str, out: Path, config: FitConfig, progress: Progress) -> Record:
    at = out / f"{name}.json"
    pictures = next(p for p in (davis / name / "images", davis / name) if any(p.glob("*.jpg")))
    clip = video.decode(pictures, longer_side=LONGER_SIDE)
    masks = _read_masks(davis / name / "masks", clip)
    cut = len(clip) // 2
    base = Clip(clip.frames[: cut + 1][::-1].copy(), clip.fps)
    driving = Clip(clip.frames[cut:].copy(), clip.fps)
    folder = out / f"{name}_priors"
    for part, frames in (("base", masks[: cut + 1][::-1]), ("driving_1", masks[cut:])):
        for i, mask in enumerate(frames):
            with replacing(folder / part / "masks" / f"{i:05d}.png") as temporary:
                temporary.write_bytes(
                    cv2.imencode(".png", mask.astype(np.uint8) * 255)[1].tobytes()
                )
    rewound = rewind(base, [driving])
    began = time.perf_counter()
    priors = estimate_priors(
        rewound,
        masks[cut],
        weight_free_providers(),
        priors_dir=folder,
        cache=Cache(),
        progress=progress,
    )
    fingerprint = compute_fingerprint(rewound, priors, config)
    kept = read_record(at, fingerprint)
    if kept:
        return kept
    fusion = fit(rewound, priors, config, out / f"{name}.checkpoint.safetensors", progress)
    seconds = time.perf_counter() - began
    puppet = fusion.model.to_puppet(rewound, fusion.cameras(), ["as filmed"], config.influences)
    puppet.save(out / f"{name}.puppet")
    truth, annotated, frames = read_joints(
        davis / "badja_keypoints" / f"{name}.json", clip.size, len(clip)
    )
    metrics = _measure_joints(puppet, truth, annotated, frames, masks, cut)
    drawn = list(render_performance(puppet, puppet.performances[-1]))
    metrics["psnr"] = image.mean_psnr(drawn, list(driving.frames))
    metrics["psnr_subject"] = image.mean_psnr(drawn, list(driving.frames), list(masks[cut:]))
    about = {
        "sequence": name,
        "cut": cut,
        "frames": len(clip),
        "seconds": round(seconds, 2),
        "fingerprint": fingerprint,
    }
    record = about | {"metrics": replace_non_finite(metrics)}
    write_json(at, record)
    (out / f"{name}.checkpoint.safetensors").unlink(missing_ok=True)
    return record


def _read_masks(folder: Path, clip: Clip) -> NDArray[np.bool_]:
    files = sorted(folder.glob("*.png"))
    if len(files) != len(clip):
        raise InputError(
            f"{folder} has {len(files)} masks, the sequence {len(clip)} frames.",
            "Give DAVIS's annotations.",
        )
    pictures = [mask_picture(f).astype(np.float32) for f in files]
    return np.stack(
        [cv2.resize(p, clip.size, interpolation=cv2.INTER_AREA) > 127 for p in pictures]
    )


def read_joints(
    path: Path, size: tuple[int, int], n_frames: int
) -> tuple[NDArray[np.float32], NDArray[np.bool_], NDArray[np.intp]]:
    """BADJA's joints in pixels of ``size``: xy (F, J, 2), annotated (F, J), and the number of each
    annotated frame (F,)."""
    rows = [
        r
        for r in json.loads(path.read_text(encoding="utf-8"))
        if int(Path(r["image_path"]).stem) < n_frames
    ]
    joints = np.array([r["joints"] for r in rows], np.float32)  # (row, column)
    seen = np.array([r["visibility"] for r in rows], bool) & (joints > 0).any(-1)
    frames = np.array([int(Path(r["image_path"]).stem) for r in rows], np.intp)
    return (joints[..., ::-1] + 0.5) * (size[1] / _ANNOTATED), seen, frames


def _measure_joints(
    puppet: Puppet, truth: NDArray, annotated: NDArray, frames: NDArray, masks: NDArray, cut: int
) -> dict[str, float]:
    """PCK of joints marked at the annotated frame of the driving half nearest to the cut, in all
    later annotated frames."""
    rows = np.flatnonzero(frames >= cut)
    first, rest = rows[0], rows[1:]
    performance = puppet.performances[-1]
    marked = np.flatnonzero(annotated[first])
    paths = carry_marks(puppet, performance, int(frames[first]) - cut, truth[first, marked])
    found = []
    for t in frames[rest] - cut:
        found.append(project(paths[:, t], performance, t)[0])
    found, there = np.stack(found), annotated[np.ix_(rest, marked)]
    true = truth[np.ix_(rest, marked)]
    box = np.array(
        [max(np.ptp(np.nonzero(masks[f].any(a))[0]) + 1 for a in (0, 1)) for f in frames[rest]]
    )
    root = np.sqrt([masks[f].sum() for f in frames[rest]])
    still = np.broadcast_to(truth[first, marked], true.shape)
    return {
        "pck_0.1": tracking.pck(found, true, there, box, 0.1),
        "pck_0.05": tracking.pck(found, true, there, box, 0.05),
        "pck_0.1_sqrt_area": tracking.pck(found, true, there, root, 0.1),
        "pck_0.2_sqrt_area": tracking.pck(found, true, there, root, 0.2),
        "pck_0.1_still": tracking.pck(still, true, there, box, 0.1),
        "joints": float(there.sum()),
    }
