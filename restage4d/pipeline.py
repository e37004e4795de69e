"""The whole way from a video and a prompt to a puppet, in one readable function."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from restage4d import __version__
from restage4d.checks.driving import check_driving
from restage4d.checks.estimates import check_estimates, name_video
from restage4d.checks.findings import FindingLog
from restage4d.checks.masks import check_first_mask
from restage4d.checks.puppet import check_bridges
from restage4d.clips import (
    Clip,
    Priors,
    Rewound,
    Selection,
    rewind,
)
from restage4d.driving.draft.driver import model_body
from restage4d.driving.protocols import DrivingProvider
from restage4d.errors import InputError
from restage4d.frame_arrays import take_frames
from restage4d.io.content_cache import Cache, content_key
from restage4d.io.video_frames import is_cut_out
from restage4d.priors.estimate import NO_CORRECTIONS, Providers, estimate_priors
from restage4d.progress import Progress, TaskId, Turn, at_once
from restage4d.puppet import Gaussians, Performance, Puppet
from restage4d.reconstruct.body_parts import find_body_parts
from restage4d.reconstruct.config import FitConfig
from restage4d.reconstruct.fit import fit
from restage4d.reconstruct.fusion.closeups import cut_closeups
from restage4d.reconstruct.fusion.optimisation import Fusion
from restage4d.reconstruct.new_performance import fit_new_performance, list_performances
from restage4d.reconstruct.one_body import make_one_body
from restage4d.reconstruct.sketch import sketch_body
from restage4d.reconstruct.torn_pieces import rejoin_torn_pieces


@dataclass
class Restaged:
    """What `restage` made: the puppet with a performance per video, the videos it was made from at
    working size (b_0 first each), and the priors; ``older`` are other performances that it had
    before."""

    puppet: Puppet
    base: Clip
    drivings: list[Clip]
    rewound: Rewound
    priors: Priors
    mask: NDArray[np.bool_] = field(repr=False)
    older: list[Performance] = field(default_factory=list)


def restage(
    base: Clip,
    prompt: str,
    selection: Selection,
    drivers: list[DrivingProvider],
    providers: Providers,
    config: FitConfig,
    progress: Progress,
    *,
    into: Puppet | None = None,
    corrections: Mapping[int, NDArray[np.bool_]] = NO_CORRECTIONS,
    priors_dir: Path | None = None,
    cache: Cache | None = None,
    checkpoint: Path | None = None,
    log: FindingLog | None = None,
    decode_finer: Callable[[], Clip | None] = lambda: None,
    turn: Turn = at_once,
) -> Restaged:
    """Video + prompt -> puppet.

    Args:
        base: the filmed clip at working size, b_0 first. Its alpha is its masks; of a cut-out the
            puppet has no background.
        prompt: what the subject shall do instead.
        selection: what the artist pointed at in b_0.
        drivers: one provider per driving video; each becomes a branch and a performance.
        providers: of masks, cameras, depth and tracks.
        config: of the fit.
        progress: told every task; ends cancelled work.
        into: a puppet of the same base that performs the driving videos too: its Gaussians,
            coefficients and performances stay to the last bit.
        corrections: masks (H, W) of later base frames, by their numbers: the subject is followed
            anew from each.
        priors_dir: folder with priors to be read instead of estimated (docs/priors.md).
        cache: where estimated priors are kept by content.
        checkpoint: file from which an interrupted fit goes on.
        log: told what the checks find about selection, driving videos and priors.
        decode_finer: gives the base's frames at a finer scale, for its subject's detail; None where
            there is none.
        turn: lets the fit begin; all before it does not wait.

    Raises:
        InputError: the selection, prompt, driving video or given priors cannot be used, or do not
            go with ``config.clips``; or a check finds before the fit that it cannot work.
        FitError: too little to reconstruct, or NaNs that come back.
        Cancelled: asked to stop; ``checkpoint`` is kept.
    """
    log = log or FindingLog()
    if into is not None:
        check_into(into, base, config)
    alone = config.clips == "driving"
    if alone and (priors_dir or corrections or not drivers):
        raise InputError(
            "clips=driving needs a driving video and cannot use --priors or masks of later frames.",
            "Leave one of the two out.",
        )
    mask = providers.masks.select(base, selection, progress)
    log.add(check_first_mask(mask))
    progress.observe(sketch_body(base.frames[0], mask))
    videos = [
        driver.make(base, mask, prompt, progress)
        for driver in (drivers if config.clips != "base" else [])
    ]
    drivings = [video.clip for video in videos]
    names = [name_video(i, len(videos)) for i in range(1, len(videos) + 1)]
    log.add(check_driving(zip(names, videos, strict=True)))
    body = None
    if into is None and config.fusion.guessed_views:
        bodies = [video.body for video in videos if video.body]
        body = bodies[0] if bodies else model_body(base, mask, progress)
    first = 0 if alone else 1  # the number of the first driving video in the rewound clip
    if alone:  # the first driving video takes the base's place: both begin with the same frame
        base, *drivings = drivings
    rewound = rewind(base, drivings)
    priors = estimate_priors(
        rewound,
        mask,
        providers,
        corrections=corrections,
        known={i: video.known for i, video in enumerate(videos, first)},
        priors_dir=priors_dir,
        cache=cache,
        progress=progress,
    )
    log.add(check_estimates(rewound, priors))
    older, prompts = [], [prompt] * len(drivings)

    def split_masks(numbers: range) -> list[NDArray]:  # of (T, H, W) by the videos' numbers
        return [take_frames(priors.masks, rewound.video(i)) for i in numbers]

    if into is not None:

        def make_performances() -> tuple[Fusion, list[Performance]]:
            fusion = fit_new_performance(into, rewound, priors, config, progress)
            made = replace(into, performances=list_performances(into, fusion, prompts))
            masks = split_masks(range(1, 1 + len(drivings)))
            with progress.task(TaskId.JOIN_PIECES):
                made = rejoin_torn_pieces(made, masks, progress.check, first=False)
            return fusion, made.performances

        fusion, made = turn(make_performances)
        older = into.performances[1:]
        puppet = replace(into, performances=[into.performances[0], *made])
    else:
        finer = None if alone else decode_finer()
        closeups = cut_closeups(finer, rewound, priors.masks) if finer else None
        del finer  # the crops are enough

        def make_puppet() -> tuple[Fusion, Puppet]:
            fusion = fit(rewound, priors, config, checkpoint, progress, closeups, body)
            made = fusion.model.to_puppet(rewound, fusion.cameras(), prompts, config.influences)
            masks = split_masks(range(len(made.performances)))
            whole, bridging = make_one_body(made, masks, progress)
            log.add(check_bridges(bridging, len(base)))
            return fusion, whole

        fusion, puppet = turn(make_puppet)
        plan = videos[0].plan if videos else None
        puppet = replace(puppet, body=find_body_parts(puppet, mask, plan))
    if alone:
        puppet.performances[0].name, puppet.performances[0].prompt = "driving", prompt
    if base.alpha is not None and is_cut_out(
        base.frames, base.alpha
    ):  # a grey wall would stand there
        puppet.background = Gaussians(**{k: v[:0] for k, v in vars(puppet.background).items()})
    if into is None:
        puppet.metres_per_unit = priors.metres_per_unit
    puppet.metrics = {
        "pruning_psnr_loss": fusion.pruning_psnr_loss,
        "rollbacks": float(fusion.optimiser.rollbacks),
    }
    before = into.provenance if into is not None else {}
    puppet.provenance = {
        "base": content_key(base.frames),
        "driving": [*before.get("driving", []), *(content_key(clip.frames) for clip in drivings)],
        "prompt": prompt,
        "refined_prompt": [video.refined_prompt for video in videos],
        "candidates": [[c.to_record() for c in video.candidates] for video in videos],
        "providers": {name: provider.name for name, provider in vars(providers).items()}
        | {"driving": [video.made_by for video in videos]},
        "seed": config.seed,
        "versions": {"restage4d": __version__}
        | {name: version(name) for name in ("numpy", "torch")},
    }
    return Restaged(puppet, base, drivings, rewound, priors, mask, older)


def check_into(puppet: Puppet, base: Clip, config: FitConfig) -> None:
    """Raises `InputError` unless the puppet was made from this base clip at this working size, and
    the fit is of both clips."""
    if puppet.provenance.get("base") != content_key(base.frames):
        raise InputError(
            "The puppet was made from another base video, another part of it, or at another "
            "working size.",
            "Give the video, --first, --frames and --longer-side that it was made with.",
        )
    if puppet.performances[0].n_frames != len(base):
        raise InputError(
            f"The puppet's first performance, {puppet.performances[0].name!r}, is not the base: it "
            f"has {puppet.performances[0].n_frames} frames, the base {len(base)}.",
            "Bring the base performance to the top and save the puppet again.",
        )
    if config.clips != "both":
        raise InputError(
            "A puppet that is there can only perform driving videos with clips=both.",
            "Leave out --set clips.",
        )
