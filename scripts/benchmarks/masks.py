"""Prints how well masks without models follow real footage.

    python scripts/benchmarks/masks.py [NAME ...] [--select] [--side 384] [--first 0] [--frames 90]

Every clip is followed both ways in time from its first true mask; "low" is the share of the lowest
30 % of the true silhouette that the mask covers, on average and in the last three frames.
With `--select`, the subject is selected in the first frame instead: by clicks on its innermost and
on random points, by its box, and by nothing; IoU / low.
"""

import argparse
import os
import time
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from restage4d.clips import Clip, Selection, rewind
from restage4d.errors import InputError
from restage4d.io.video import decode
from restage4d.priors.masks.grabcut import GrabCutMasks
from restage4d.priors.motion.optical_flow import compute_optical_flow
from restage4d.progress import Progress

ROOT = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("RESTAGE4D_DATA", ROOT.parent / "shared" / "data"))
DEMO = ROOT / "scripts" / "demo_clip"
NAMES = ("demo", "camel", "dog", "blackswan", "car-shadow")
SIDE = 384
LOW = 0.3  # of the silhouette's height: legs and feet


def scaled(path: Path, flag: int, side: int) -> NDArray[np.uint8]:
    image = cv2.imread(str(path), flag)
    assert image is not None, path
    factor = side / max(image.shape[:2])
    size = (round(image.shape[1] * factor), round(image.shape[0] * factor))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)


def load(name: str, side: int = SIDE) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Frames (T, H, W, 3) and true masks (T, H, W) of a clip of DAVIS, or of the demo clip."""
    if name == "demo":
        frames = decode(DEMO / "base.mp4", longer_side=side).frames
        return frames, np.stack(
            [
                scaled(path, cv2.IMREAD_GRAYSCALE, side) > 127
                for path in sorted((DEMO / "masks").iterdir())
            ]
        )
    folder = DATA / "davis" / name
    frames = np.stack(
        [
            scaled(path, cv2.IMREAD_COLOR, side)[..., ::-1]
            for path in sorted((folder / "images").iterdir())
        ]
    )
    masks = np.stack(
        [
            scaled(path, cv2.IMREAD_GRAYSCALE, side) > 127
            for path in sorted((folder / "masks").iterdir())
        ]
    )
    return frames, masks


def iou(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    return float((a & b).sum() / max((a | b).sum(), 1))


def measure_low(mask: NDArray[np.bool_], true: NDArray[np.bool_]) -> float:
    """Share of the lowest part of ``true`` (H, W) that ``mask`` covers."""
    rows = np.flatnonzero(true.any(1))
    low = true & (np.arange(len(true))[:, None] > rows[-1] - LOW * (rows[-1] - rows[0]))
    return float((mask & low).sum() / low.sum())


def clicks(mask: NDArray[np.bool_], count: int = 4) -> list[tuple[float, float]]:
    """The innermost point of ``mask`` and random ones at least two pixels inside."""
    depth = cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, 5)
    row, col = np.unravel_index(int(depth.argmax()), depth.shape)
    rows, cols = np.nonzero(depth > 2)
    chosen = np.random.default_rng(0).choice(len(rows), count - 1, replace=False)
    return [(col + 0.5, row + 0.5), *((float(cols[i]) + 0.5, float(rows[i]) + 0.5) for i in chosen)]


def selecting(name: str, frames: NDArray[np.uint8], truth: NDArray[np.bool_]) -> None:
    base = Clip(np.ascontiguousarray(frames), 24.0)
    rows, cols = np.nonzero(truth)
    box = tuple(float(v) for v in (cols.min(), rows.min(), cols.max() + 1, rows.max() + 1))
    for label, ways in (
        ("clicks", [Selection(point=point) for point in clicks(truth)]),
        ("box", [Selection(box=box)]),  # type: ignore[arg-type]
        ("nothing", [Selection()]),
    ):
        scores = []
        for way in ways:
            try:
                found = GrabCutMasks().select(base, way, Progress())
                scores.append(f"{iou(found, truth):.3f}/{measure_low(found, truth):.2f}")
            except InputError as error:
                scores.append(f"failed ({error})")
        print(f"{name:11s} {label:8s} {' '.join(scores)}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", default=NAMES)
    parser.add_argument("--save", type=Path, help="folder for the masks as .npy")
    parser.add_argument(
        "--select", action="store_true", help="how well the subject is selected in the first frame"
    )
    parser.add_argument("--side", type=int, default=SIDE, help="longer side in pixels")
    parser.add_argument("--first", type=int, default=0, help="the first frame that is used")
    parser.add_argument("--frames", type=int, default=90, help="how many are used at most")
    arguments = parser.parse_args()
    part = slice(arguments.first, arguments.first + arguments.frames)
    provider = GrabCutMasks()
    for name in arguments.names:
        frames, truth = load(name, arguments.side)
        frames, truth = frames[part], truth[part]
        if arguments.select:
            selecting(name, frames, truth[0])
            continue
        for way in (1, -1):
            base = Clip(np.ascontiguousarray(frames[::way]), 24.0)
            rewound = rewind(base, [])
            began = time.perf_counter()
            worked = time.process_time()
            compute_optical_flow(rewound, Progress())
            flowed = time.perf_counter()
            masks = provider.propagate(rewound, truth[::way][0], Progress())[::-1]
            seconds = time.perf_counter() - flowed
            scores = np.array(
                [iou(mask > 0.5, true) for mask, true in zip(masks, truth[::way], strict=True)]
            )
            low = [measure_low(m > 0.5, t) for m, t in zip(masks, truth[::way], strict=True)]
            print(
                f"{name:11s} {'forwards ' if way == 1 else 'backwards'} IoU {scores.mean():.3f} "
                f"lowest {scores.min():.3f} "
                f"last {scores[-1]:.3f}; low {np.mean(low):.3f} last {np.mean(low[-3:]):.3f}; "
                f"{seconds / len(base):.3f} s a frame, flow "
                f"{(flowed - began) / len(base):.3f}, "
                f"of one core {(time.process_time() - worked) / len(base):.3f}",
                flush=True,
            )
            if arguments.save:
                arguments.save.mkdir(parents=True, exist_ok=True)
                np.save(
                    arguments.save / f"{name}{'' if way == 1 else '_back'}.npy",
                    masks.astype(np.float16),
                )


if __name__ == "__main__":
    main()
