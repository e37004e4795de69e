"""Named pieces of the fit on made-up scenes of any size, for `scripts/bench.py` and the test that
holds their cost."""

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from restage4d.clips import Cameras, Clip, Priors, Rewound, Tracks, rewind
from restage4d.frame_arrays import make_frames
from restage4d.priors.geometry.inflation import inflate
from restage4d.progress import Progress, TaskId
from restage4d.reconstruct.config import FitConfig, MotionConfig
from restage4d.reconstruct.fusion.optimisation import Fusion
from restage4d.reconstruct.model.scene_model import SceneModel
from restage4d.reconstruct.motion.initialisation import fit_motion
from restage4d.reconstruct.motion.lifting import lift_tracks

# Operations that only look at a tensor in another way: no arithmetic, no memory.
_VIEWS = (
    "detach", "lift_fresh", "select.", "slice.", "view.", "unsqueeze", "squeeze", "expand",
    "permute", "aten.t.", "alias", "unbind", "split", "as_strided", "transpose",
)  # fmt: skip


@dataclass(frozen=True)
class Size:
    """Of a made-up scene."""

    frames: int = 12
    subject: int = 4000
    background: int = 8000
    bases: int = 50
    width: int = 192
    height: int = 108
    influences: int = 8


def make_scene(size: Size) -> tuple[Rewound, Priors]:
    """A striped ball before a wall, filmed by a camera that passes by."""
    rng = np.random.default_rng(0)
    h, w, n = size.height, size.width, size.frames
    focal = 1.2 * w
    y, x = (np.mgrid[:h, :w] + 0.5) / focal - np.array([h, w])[:, None, None] / (2 * focal)
    frames = make_frames((n, h, w, 3), np.uint8)
    masks, depths = make_frames((n, h, w)), make_frames((n, h, w))
    w2c = np.tile(np.eye(4, dtype=np.float32), (n, 1, 1))
    w2c[:, 0, 3], w2c[:, 2, 3] = np.linspace(-0.2, 0.2, n), 3.0
    for t in range(n):
        away = (x - w2c[t, 0, 3] / 3) ** 2 + y**2
        ball = away < 0.15**2
        depths[t] = np.where(ball, 3 - np.sqrt(np.maximum(0.45**2 - 9 * away, 0)), 5.0)
        masks[t] = ball
        stripes = np.sin(40 * x)[..., None] * np.sin(33 * y)[..., None] * [40, 30, 20]
        frame = 128 + stripes + np.where(ball[..., None], [60, 0, -60], 0)
        frames[t] = np.clip(frame, 0, 255)
    clip = Clip(frames, 24.0)
    half = n // 2
    rewound = rewind(Clip(clip.frames[: half + 1], 24.0), [Clip(clip.frames[: n - half], 24.0)])
    K = np.tile(np.array([[focal, 0, w / 2], [0, focal, h / 2], [0, 0, 1]], np.float32), (n, 1, 1))
    points = 0.4 * rng.normal(size=(600, 3)) / 2
    xy = np.stack(
        [
            focal * (points[:, :2] + w2c[t, :2, 3]) / (points[:, 2:] + 3) + [w / 2, h / 2]
            for t in range(n)
        ],
        1,
    ).astype(np.float32)
    seen = np.ones(xy.shape[:2], bool)
    tracks = Tracks(xy, seen, np.ones(seen.shape, np.float32), np.zeros(len(xy), np.int32))
    cameras = Cameras(K, w2c, "moving")
    return rewound, Priors(masks, depths, cameras, tracks)


def make_fusion(size: Size, config: FitConfig) -> Fusion:
    """Photometric fusion of the scene with so many Gaussians and bases, before its first step."""
    rng = np.random.default_rng(1)
    rewound, priors = make_scene(size)

    def tensor(*shape: int, scale: float = 1.0, shift: float = 0.0) -> torch.Tensor:
        return torch.from_numpy((shift + scale * rng.normal(size=shape)).astype(np.float32))

    params = {}
    for part, count, spread in (
        ("subject", size.subject, 0.15),
        ("background", size.background, 1.0),
    ):
        params[f"{part}.means"] = tensor(count, 3, scale=spread)
        params[f"{part}.quats"] = tensor(count, 4)
        params[f"{part}.log_scales"] = tensor(count, 3, scale=0.1, shift=-4.3 if spread < 1 else -3)
        params[f"{part}.logit_opacities"] = tensor(count, shift=1.0)
        params[f"{part}.sh0"] = tensor(count, 3, scale=0.3)
    params["background.means"][:, 2] = 2.0
    params["subject.coefs"] = tensor(size.subject, size.bases)
    rots = torch.tensor([1.0, 0, 0, 0, 1, 0]).repeat(size.bases, size.frames, 1)
    params["bases.rots"] = rots + tensor(size.bases, size.frames, 6, scale=0.01)
    params["bases.trans"] = tensor(size.bases, size.frames, 3, scale=0.01)
    params |= {f"cameras.{name}": torch.zeros(size.frames, 3) for name in ("turns", "shifts")}
    far = torch.where(torch.arange(size.subject) % 3 == 0, 0.1, 0.0)
    return Fusion(SceneModel(params, far=far), rewound, priors, config)


def count_operations(work: Callable[[], object]) -> tuple[int, int]:
    """Operations that ``work`` sends to torch, forwards and backwards: those that compute, and
    all with the views."""
    counts: Counter[str] = Counter()

    class Count(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            counts[str(func)] += 1
            return func(*args, **(kwargs or {}))

    with Count():
        work()
    views = sum(n for name, n in counts.items() if any(view in name for view in _VIEWS))
    return counts.total() - views, counts.total()


def list_workloads() -> dict[str, tuple[Callable[[], object], int]]:
    """By name what is timed, ready to be called again and again, and how many visits of a frame
    one call is."""
    size, default = Size(), FitConfig()
    made: dict[str, tuple[Callable[[], object], int]] = {}
    for name, prune_at in (("fusion step", 0.0), ("fusion step, dense", 0.7)):
        fusion_config = replace(default.fusion, prune_at=prune_at, steps=100_000, at_once=1)
        config = replace(default, fusion=fusion_config, influences=size.influences)
        made[name] = make_steps(make_fusion(size, config)), 1
    rewound, priors = make_scene(size)
    tracks = lift_tracks(rewound, priors)
    motion = replace(default, motion=MotionConfig(n_bases=20, n_tracks=400, steps=5))
    made["motion, five steps"] = (
        lambda: fit_motion(tracks, rewound, priors, motion, Progress()),
        5,
    )
    disc = np.hypot(*(np.mgrid[:120, :160] - np.array([60, 80])[:, None, None])) < 50
    made["inflate"] = (lambda: inflate(disc), 1)
    return made


def make_steps(fusion: Fusion) -> Callable[[], None]:
    """One step of the optimiser a call, without what comes now and then."""

    def step() -> None:
        fusion.step = 2 * fusion.config.fusion.at_once  # never at the start of a period
        with Progress().task(TaskId.FUSE, fusion.steps) as task:
            fusion.take_step(task)

    return step


def run_yardstick() -> float:
    """A fixed piece of work of the same kinds, arithmetic and memory, that no change of ours
    touches; what it comes to."""
    rng = np.random.default_rng(2)
    values = rng.random(300_000, dtype=np.float32)
    matrix = rng.random((192, 192), dtype=np.float32)
    total = float(np.sort(values)[1000])
    for _ in range(6):
        total += float(np.exp(-values).sum() + (matrix @ matrix).mean())
    return total


def measure(work: Callable[[], object], repeats: int = 7) -> tuple[float, float]:
    """CPU milliseconds of ``work``, and over those of `run_yardstick`: the least of ``repeats``
    each, in turns, so that what else the machine does counts little."""
    work()
    run_yardstick()
    best, yard = np.inf, np.inf
    for _ in range(repeats):
        start = time.process_time()
        work()
        middle = time.process_time()
        run_yardstick()
        best, yard = min(best, middle - start), min(yard, time.process_time() - middle)
    return 1000 * best, best / yard
