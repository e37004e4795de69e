"""Settings of the fit. Lengths are relative to the subject's extent (1 in world units)."""

from collections.abc import Iterable
from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from restage4d.errors import InputError

CLIPS = ("both", "base", "driving")
# what a setting may be, where it is not any number from 0 to a billion: more than these would fill
# every computer's memory, or none can be done with
_RANGES = {
    "motion.n_bases": (1, 1000),
    "motion.n_tracks": (10, 200_000),
    "motion.frames_per_step": (1, 10_000),
    "rigidity.k": (1, 256),
    "fusion.max_subject": (10, 5_000_000),
    "fusion.max_background": (0, 5_000_000),
    "fusion.seed_frames": (1, 10_000),
    "fusion.subject_stride": (0.1, 1000),
    "fusion.background_stride": (0.1, 1000),
    "fusion.steps": (0, 10_000_000),
    "fusion.steps_per_frame": (1, 10_000),
    "fusion.base_looks": (0, 100),
    "fusion.driving_looks": (0, 100),
    "fusion.guessed_views": (0, 100),
    "fusion.at_once": (1, 8),  # the delay that steps so small allow
    "fusion.densify_every": (1, 1_000_000),
    "influences": (1, 64),
}


@dataclass(frozen=True)
class MotionConfig:
    """Motion initialisation: bases and coefficients from lifted tracks."""

    n_bases: int = 100
    n_tracks: int = 1200  # tracks optimised; the others only lend their positions to seeding
    steps: int = 600
    frames_per_step: int = 24
    lr_rots: float = 1e-2
    lr_trans: float = 1e-2
    lr_coefs: float = 2e-2
    lr_means: float = 1e-3
    lr_decay: float = 0.1  # of every rate, over all steps
    track_3d: float = 1.0
    track_2d: float = 1.0  # visible and confidently hidden points, in units of the focal length
    start_smoothing: float = 0.7  # frames over which the first guess of the bases is smoothed
    sparsity: float = 0.002
    tail: float = 0.05  # share of coefficients beyond the strongest M, which pruning will cut off
    smooth_bases: float = 0.1
    smooth_tracks: float = 0.05
    smooth_depth: float = 0.05
    hull: float = 5.0  # points outside the silhouette, or hidden and not inside the body


@dataclass(frozen=True)
class RigidityConfig:
    """Eq. 2-6. Weights are on the mean over frames and edges, times k; see docs/architecture.md for
    the paper's sum."""

    init_weight: float = 1.0
    refine_weight: float = 6.0
    between_bases: float = (
        0.1  # share of init_weight with which neighbouring bases have to agree (beyond the paper)
    )
    k: int = 8
    visible: float = (
        0.1  # least weight of an edge in Eq. 6, whether its ends are hidden or not (the paper's: 0)
    )
    tau0: float = 0.02  # visible above this depth difference ...
    tau1: float = 0.08  # ... hidden below this one


@dataclass(frozen=True)
class FusionConfig:
    """Photometric fusion."""

    # visits but those of guessed views; 0: steps_per_frame of every frame of the rewound clip, and
    # the looks
    steps: int = 0
    steps_per_frame: int = 22
    # visits of a frame's subject alone, for each of the whole frame: more of the base's, as driving
    # videos show the subject as b_0 does, and outvote the other base frames
    base_looks: float = 0.4
    driving_looks: float = 0.2
    guessed_views: float = 0.2  # visits of guessed views, for each other visit
    at_once: int = 2  # visits whose gradients are taken at the same parameters, side by side
    max_subject: int = 16_000
    max_background: int = 40_000
    seed_frames: int = 12  # frames whose pixels seed Gaussians
    subject_stride: float = 1.5  # pixels between seeds
    background_stride: float = 2.0
    lr_means: float = 4e-4
    lr_quats: float = 2e-3
    lr_log_scales: float = 1e-2
    lr_logit_opacities: float = 3e-2
    lr_sh0: float = 1e-2
    lr_coefs: float = 1e-2
    lr_rots: float = 6e-4
    lr_trans: float = 6e-4
    lr_cameras: float = 0.02  # pixels; 0 keeps the given cameras
    lr_decay: float = 0.1  # of means, bases and cameras, over all steps
    rgb: float = 1.0
    dssim: float = 0.2  # share of 1 - SSIM in the colour loss
    mask: float = 1.0
    depth: float = 0.2
    depth_gradient: float = 0.2
    track_2d: float = 2.0
    smooth_bases: float = 0.1
    smooth_tracks: float = 0.5
    hull: float = 5.0  # as in MotionConfig
    scale_variance: float = 0.01
    tail: float = 0.2  # as in MotionConfig, growing to ten times this when coefficients are pruned
    unsure_colour: float = (
        0.5  # holds colours that the frames hardly decide to those of the neighbours
    )
    densify_from: float = 0.1  # of all steps
    densify_until: float = 0.6
    densify_every: int = 100
    grow_gradient: float = (
        2e-4  # screen-space gradient per pixel of a unit-wide image, as in gsplat
    )
    cull_opacity: float = 0.02
    far_side: bool = True  # a guess of the subject's far side (far_side.py)
    completion: bool = True  # which gives way to the mirror image of what was filmed
    cull_shown: float = 0.03  # share of its footprint that a Gaussian must show in some frame
    closeups: float = 0.5  # share of steps on base frames that look closer at the subject ...
    closeups_from: float = 0.6  # ... from then on, of all steps
    clean_at: float = 0.7  # of all steps: floaters go, and then what was never decided is held
    prune_at: float = 0.7  # of all steps: dense coefficients become M influences; 0: from the start

    def total_steps(self, looks: NDArray[np.float64]) -> int:
        """Visits for a rewound clip of T frames, ``looks`` (T,) at the subject for each visit."""
        return self.steps or int(self.steps_per_frame * (len(looks) + looks.sum()))


@dataclass(frozen=True)
class FitConfig:
    """The whole fit. Every mechanism of the paper is a switch here, so that an ablation is a
    changed field."""

    motion: MotionConfig = field(default_factory=MotionConfig)
    rigidity: RigidityConfig = field(default_factory=RigidityConfig)
    fusion: FusionConfig = field(default_factory=FusionConfig)
    clips: str = (
        "both"  # fit "both" together by rewinding, the "base" alone, or the "driving" videos alone
    )
    backtracing: bool = (
        True  # Eq. 7-8: points that only a driving video shows become part of the subject
    )
    steady_depth: bool = (
        True  # depth without the noise of single pixels, its scale held to the background
    )
    shape_from_motion: bool = True  # depth brought to the turn that the subject's tracks show
    influences: int = 8
    seed: int = 0


def preset(quality: str) -> FitConfig:
    """Settings by name: "draft" to look at within a minute or two, "default", "high" for sharper
    frames, which costs time and a little of what no frame shows (docs/results.md)."""
    if quality == "draft":
        fusion = FusionConfig(
            steps_per_frame=7, max_subject=10_000, max_background=20_000, subject_stride=2.0,
            background_stride=3.0,
            # few steps have to go far
            lr_means=1.2e-3, lr_log_scales=2e-2, lr_logit_opacities=6e-2, lr_sh0=2e-2,
        )  # fmt: skip
        return FitConfig(motion=MotionConfig(steps=400, n_tracks=800), fusion=fusion)
    if quality == "high":
        fusion = FusionConfig(
            steps_per_frame=50,
            max_subject=30_000,
            max_background=120_000,
            subject_stride=1.0,
            background_stride=1.5,
        )
        return FitConfig(motion=MotionConfig(steps=800), fusion=fusion)
    return FitConfig()


def with_settings(config: FitConfig, settings: Iterable[str]) -> FitConfig:
    """``config`` with each ``KEY=VALUE`` (``rigidity.init_weight=0``) put in. Raises `InputError`
    for one that does not fit."""
    for text in settings:
        key, equals, value = text.partition("=")
        if not equals:
            raise InputError(
                f"--set {text} is not KEY=VALUE.", "Write it like --set fusion.steps=500."
            )
        config = _override(config, key.split("."), value, text)
    if config.clips not in CLIPS:
        raise InputError(
            f"--set clips={config.clips}: there is no such choice.",
            f"Take one of: {', '.join(CLIPS)}.",
        )
    return config


def _override(config: Any, path: list[str], value: str, text: str) -> Any:
    names = [f.name for f in fields(config)]
    if path[0] not in names:
        raise InputError(
            f"--set {text}: there is no setting {path[0]!r}.", f"There are {', '.join(names)}."
        )
    old = getattr(config, path[0])
    if is_dataclass(old) != (len(path) > 1):
        raise InputError(
            f"--set {text} does not name one setting.", "Write it like --set fusion.steps=500."
        )
    if is_dataclass(old):
        return replace(config, **{path[0]: _override(old, path[1:], value, text)})
    try:
        new = (
            {"true": True, "false": False}[value.lower()]
            if isinstance(old, bool)
            else type(old)(value)
        )
    except (ValueError, KeyError) as error:
        raise InputError(
            f"--set {text}: {value!r} is not a {type(old).__name__}.", f"The default is {old}."
        ) from error
    if not isinstance(new, bool | str):
        least, most = _RANGES.get(text.partition("=")[0], (0, 1_000_000_000))
        if not least <= new <= most:  # NaN too
            raise InputError(
                f"--set {text}: it has to be from {least} to {most}.", f"The default is {old}."
            )
    return replace(config, **{path[0]: new})
