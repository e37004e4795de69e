"""The fit from rewound clip and priors to a scene: lift, motion initialisation, seeding,
photometric fusion."""

import hashlib
import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch

from restage4d import __version__
from restage4d.clips import Priors, Rewound
from restage4d.driving.draft.standing_body import StandingBody
from restage4d.progress import Progress, TaskId
from restage4d.reconstruct.checkpoint import load_checkpoint
from restage4d.reconstruct.config import FitConfig
from restage4d.reconstruct.fusion.closeups import Closeups
from restage4d.reconstruct.fusion.completing.completion import calm_faint_colours, complete_far_side
from restage4d.reconstruct.fusion.completing.mirrored_view import STEPS
from restage4d.reconstruct.fusion.floaters import shorten_needles
from restage4d.reconstruct.fusion.guessed_views import GuessedView, draw_guessed_views
from restage4d.reconstruct.fusion.optimisation import Fusion
from restage4d.reconstruct.fusion.seeding import seed_scene
from restage4d.reconstruct.losses.hull import Hull
from restage4d.reconstruct.model.scene_model import SceneModel
from restage4d.reconstruct.motion.depth import prepare_depth
from restage4d.reconstruct.motion.initialisation import fit_motion
from restage4d.reconstruct.motion.lifting import LiftedTracks, lift_tracks, reject_observations
from restage4d.reconstruct.motion.shape_from_motion import refine_depth
from restage4d.splatting import drawing_device


def fit(
    rewound: Rewound,
    priors: Priors,
    config: FitConfig,
    checkpoint: Path | None,
    progress: Progress,
    closeups: Closeups | None = None,
    body: StandingBody | None = None,
) -> Fusion:
    """Runs motion initialisation and photometric fusion, or goes on from ``checkpoint`` where it is
    of the same inputs and settings. ``closeups`` are the base's subject at a finer scale, ``body``
    is a guess of it in the first frame, from any side.

    Returns:
        The finished `Fusion`; ``.model`` is the scene, ``.pruning_psnr_loss`` a figure for the
        report.

    Raises:
        FitError: too little to fit, or NaNs that come back.
        Cancelled: asked to stop; the checkpoint holds the last step of fusion.
    """
    fingerprint = compute_fingerprint(rewound, priors, config, closeups, body)
    device = torch.device(drawing_device())
    with progress.task(TaskId.ALIGN_DEPTH):
        priors = prepare_priors(rewound, priors, config)
        hull = Hull(priors, device)
        views = []
        if body and config.fusion.guessed_views:
            views = _look_around(body, rewound, priors, device)
    saved = load_checkpoint(checkpoint, fingerprint) if checkpoint else None
    if saved:
        tensors, about = {name: value.to(device) for name, value in saved[0].items()}, saved[1]
        params = {name[2:]: value for name, value in tensors.items() if name.startswith("p.")}
        fusion = Fusion(
            SceneModel(params, tensors.get("support"), tensors["far"]),
            rewound,
            priors,
            config,
            closeups,
            hull=hull,
            views=views,
        )
        fusion.load(tensors, about)
    else:
        tracks = lift_usable_tracks(rewound, priors, config)
        motion = fit_motion(tracks, rewound, priors, config, progress, device, hull=hull)
        with progress.task(TaskId.SEED_GAUSSIANS):
            model = seed_scene(motion, tracks.canonical, rewound, priors, config, device, views)
        fusion = Fusion(model, rewound, priors, config, closeups, hull=hull, views=views)
    fusion.run(checkpoint, fingerprint, progress)
    # after the last checkpoint, so that a resumed fit does it once, too
    shorten_needles(fusion.model)
    if views:
        calm_faint_colours(fusion.model, rewound, fusion.cameras(), views)
    elif config.fusion.completion:
        with progress.task(TaskId.COMPLETE, STEPS) as task:
            complete_far_side(fusion.model, rewound, priors, fusion.cameras(), task.advance)
    return fusion


def _look_around(
    body: StandingBody, rewound: Rewound, priors: Priors, device: torch.device
) -> list[GuessedView]:
    t, cameras = rewound.seam, priors.cameras
    return draw_guessed_views(body, priors.depth[t], cameras.K[t], cameras.w2c[t], device)


def prepare_priors(rewound: Rewound, priors: Priors, config: FitConfig) -> Priors:
    """The priors that the fit goes by: depth without pixel noise and drift, in which the subject
    turns as its tracks do; tracks without observations that nothing bears out."""
    priors = (
        replace(priors, depth=prepare_depth(rewound, priors)) if config.steady_depth else priors
    )
    priors = replace(priors, tracks=reject_observations(rewound, priors))
    if config.shape_from_motion:
        priors = replace(priors, depth=refine_depth(rewound, priors))
    return priors


def lift_usable_tracks(rewound: Rewound, priors: Priors, config: FitConfig) -> LiftedTracks:
    """The lifted tracks that motion initialisation goes by."""
    tracks = lift_tracks(rewound, priors)
    return tracks if config.backtracing else tracks.select_seen_in(rewound.video(0))


def compute_fingerprint(
    rewound: Rewound,
    priors: Priors,
    config: FitConfig,
    closeups: Closeups | None = None,
    body: StandingBody | None = None,
) -> str:
    """Content hash of everything that decides the result."""
    digest = hashlib.sha256(json.dumps([__version__, asdict(config)], sort_keys=True).encode())
    arrays = [
        rewound.clip.frames,
        rewound.source,
        rewound.index,
        priors.masks,
        priors.depth,
        priors.cameras.K,
    ]
    arrays += [
        priors.cameras.w2c,
        priors.tracks.xy,
        priors.tracks.visible,
        priors.tracks.confidence,
        priors.tracks.behind,
    ]
    if closeups:
        arrays += [*closeups.pictures.values()]
    if body:
        arrays += [body.points, body.uv, body.triangles, body.texture]
    for array in arrays:
        digest.update(str(array.shape).encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
