"""One run of the main job: inputs checked, `restage` called, results written into a folder, figures
into report.json."""

import json
import math
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import psutil
from numpy.typing import NDArray

from restage4d.checks.findings import FindingLog
from restage4d.checks.frames import check_frames
from restage4d.clips import Clip, Selection
from restage4d.defaults import LONGER_SIDE, QUALITY
from restage4d.driving.draft.prompt import parse
from restage4d.driving.protocols import DrivingProvider
from restage4d.driving.video_file import FileDriving
from restage4d.errors import InputError
from restage4d.evaluate.metrics.image import iou, mean_psnr
from restage4d.io import video
from restage4d.io.atomic import replacing
from restage4d.io.content_cache import Cache, content_key
from restage4d.io.ply import write_ply_sequence
from restage4d.jobs import mask_file
from restage4d.jobs.footage import (
    decode_part,
    locate_head,
    read_true_masks,
    resize_corrections,
    select_in_detail,
)
from restage4d.jobs.preview import write_preview
from restage4d.jobs.provider_choice import ProviderChoice
from restage4d.jobs.provider_factory import make_driving_provider, make_prior_providers
from restage4d.jobs.puppet_figures import compute_puppet_figures
from restage4d.jobs.report import remove_nan, summarise
from restage4d.jobs.results_folder import (
    claim_folder,
    hash_path,
    is_blend_edited,
    set_blend_aside,
)
from restage4d.pipeline import Restaged, restage
from restage4d.progress import Progress, TaskId
from restage4d.providers.weights import Weights
from restage4d.reconstruct.config import FitConfig, preset, with_settings
from restage4d.splatting.gaussians import render_performance


@dataclass(frozen=True)
class RestagingJob:
    """What one run shall do.

    Attributes:
        video: the base: a video file or a folder of frames.
        prompt: what the subject shall do instead.
        out: folder for the results.
        selection: the subject in the base's first frame, in the video's own pixels.
        corrections: masks of later frames of the base, counted from ``first``, that a person
            corrected.
        head: where a person sees the subject's head in the base's first frame, in the video's own
            pixels; for the draft driver.
        driving: driving videos that are there already; else ``choice.driver`` makes one.
        made_by: who made those, asked by which prompt; for the provenance.
        priors: folder with priors to be read instead of estimated (docs/priors.md).
        true_masks: folder with true masks of the base, to report the IoU of ours.
        longer_side: pixels of the working size.
        first, frames: the part of the base that is used; None: to its end.
        seed: of everything random.
        quality: see `restage4d.reconstruct.config.preset`.
        settings: of the fit, each ``KEY=VALUE``.
        choice: who makes what.
        splats: whether splats/ is written, one PLY per frame.
        overwrite: results of another run in ``out`` may be written over.

    Paths become absolute, as other processes with other working folders get them too.
    """

    video: Path
    prompt: str
    out: Path
    selection: Selection = field(default_factory=Selection)
    corrections: dict[int, NDArray[np.bool_]] = field(default_factory=dict)
    head: tuple[float, float] | None = None
    driving: list[Path] = field(default_factory=list)
    made_by: tuple[str, str] = ("", "")
    priors: Path | None = None
    true_masks: Path | None = None
    longer_side: int = LONGER_SIDE
    first: int = 0
    frames: int | None = None
    seed: int = 0
    quality: str = QUALITY
    settings: list[str] = field(default_factory=list)
    choice: ProviderChoice = field(default_factory=ProviderChoice)
    splats: bool = True
    overwrite: bool = False

    def __post_init__(self) -> None:
        for name in ("video", "out", "priors", "true_masks"):
            path = getattr(self, name)
            object.__setattr__(self, name, None if path is None else path.absolute())
        object.__setattr__(self, "driving", [path.absolute() for path in self.driving])


class BlendMaker(Protocol):
    """Makes a Blender file of a puppet."""

    def __call__(self, puppet: Path, blend: Path, footage: dict[str, Path]) -> None:
        """Writes ``blend`` from the file ``puppet``; ``footage`` is each performance's video by
        name. Raises `InputError` saying why there is none."""
        ...


def run(
    job: RestagingJob,
    progress: Progress,
    *,
    make_blend: BlendMaker | None = None,
    choose: Callable[[str], int] | None = None,
) -> None:
    """Runs the job: ``job.out`` then holds the puppet, contact sheet, preview, footage/,
    report.json, job.json, and splats/ and puppet.blend where asked for.

    Args:
        job: what to do.
        progress: told every task; ends cancelled work.
        make_blend: who makes puppet.blend, last of all; where it fails, report.json says why and
            everything else is there. None: nobody.
        choose: given the table of candidates, returns the number of the driving video to keep;
            None takes the best.

    Raises:
        InputError: before any work, where an input cannot be used, or ``job.out`` holds the results
            of another run.
        FitError, Cancelled: see `restage`.
    """
    config = configure(job)
    info = video.probe(job.video)
    for path in job.driving:
        video.probe(path)
    drafts = not job.driving and job.choice.driver.is_draft
    if drafts and (ignored := parse(job.prompt).ignored):
        print(f"The draft driver leaves out: {', '.join(ignored)}")
    if job.head and not drafts:
        print("The head is for the draft driver alone; it is not used.")
    elif job.head:
        locate_head(job.video, job.head)
    _check_folders(job)
    with claim_folder(job.out, describe(job), overwrite=job.overwrite):
        _run_in_folder(job, config, info, progress, make_blend, choose)


def _run_in_folder(
    job: RestagingJob,
    config: FitConfig,
    info: video.VideoInfo,
    progress: Progress,
    make_blend: BlendMaker | None,
    choose: Callable[[str], int] | None,
) -> None:
    weights = Weights.from_settings(job.choice.weights, job.choice.download)
    providers = make_prior_providers(job.choice.priors, weights)
    given: list[DrivingProvider] = [
        FileDriving(path, *job.made_by, cache=Cache()) for path in job.driving
    ]
    drivers = given or [make_driver(job, weights, choose)]
    progress.expect(expected_tasks(job, blend=make_blend is not None))
    with progress.task(TaskId.DECODE):
        base = decode_part(job.video, info.fps, job.longer_side, job.first, job.frames)
    log = FindingLog(_say)
    if config.clips != "driving":
        log.add(check_frames(base, first=job.first))
    corrections = resize_corrections(job.corrections, (info.width, info.height), base)
    selection = select_in_detail(
        job.video, info, base, job.first, job.selection, providers.masks, progress
    )
    true_masks = read_true_masks(job.true_masks, base) if job.true_masks else None
    blend_is_edited = is_blend_edited(job.out)  # before report.json is written anew
    checkpoint = job.out / "checkpoint.safetensors"
    made = restage(
        base,
        job.prompt,
        selection,
        drivers,
        providers,
        config,
        progress,
        corrections=corrections,
        priors_dir=job.priors,
        cache=Cache(),
        checkpoint=checkpoint,
        log=log,
    )
    footage = _write_footage(job.out, made)
    report = _write_results(job, made, true_masks, log, progress)
    checkpoint.unlink(missing_ok=True)
    if make_blend:
        with progress.task(TaskId.WRITE_BLEND):
            report["blend"] = _try_blend(make_blend, job.out, footage, keep=blend_is_edited)
        _write_report(job.out, report, progress)
    print(summarise(job.out, report, log, splats=job.splats))


def _say(text: str) -> None:
    """On a terminal the progress line stands there unfinished."""
    print(f"\n{text}" if sys.stdout.isatty() else text, flush=True)


def describe(job: RestagingJob) -> dict[str, Any]:
    """All that decides a job's results, files by their content: two jobs of which this is the same
    make the same puppet. Raises `InputError` where a file cannot be read."""
    where, masks = job.selection, job.corrections.items()
    return {
        "video": hash_path(job.video),
        "prompt": job.prompt,
        "selection": content_key(
            where.point, where.box, where.mask, where.text, *sum(sorted(masks), ())
        ),
        "head": job.head,
        "driving": [hash_path(path) for path in job.driving],
        "priors": hash_path(job.priors) if job.priors else None,
        "longer_side": job.longer_side,
        "first": job.first,
        "frames": job.frames,
        "seed": job.seed,
        "quality": job.quality,
        "settings": sorted(job.settings),
        "providers": vars(job.choice.priors),
        "driver": None if job.driving else vars(job.choice.driver),
    }


def make_driver(
    job: RestagingJob, weights: Weights, choose: Callable[[str], int] | None = None
) -> DrivingProvider:
    """The job's maker of driving videos; candidates and body_plan.png go to ``job.out``. Raises
    `InputError` as `make_driving_provider` does, and for a head outside the frame."""
    return make_driving_provider(
        job.choice.driver,
        weights,
        seed=job.seed,
        head=job.head and locate_head(job.video, job.head),
        folder=job.out,
        cache=Cache(),
        choose=choose,
    )


def configure(job: RestagingJob) -> FitConfig:
    """The settings of the fit: a preset, the seed, then each ``KEY=VALUE``. Raises `InputError` for
    a wrong one."""
    return with_settings(replace(preset(job.quality), seed=job.seed), job.settings)


def driving_tasks(job: RestagingJob) -> list[TaskId]:
    """What a job does until it has its driving videos, in order."""
    tasks = [TaskId.DECODE, TaskId.OPTICAL_FLOW, TaskId.SELECT]
    if job.driving:
        return tasks + [TaskId.READ_DRIVING] * len(job.driving)
    if job.choice.driver.is_draft:
        return [*tasks, TaskId.EMPTY_STAGE, TaskId.DRAW_DRIVING]
    candidate = [TaskId.GENERATE_DRIVING, TaskId.OPTICAL_FLOW, TaskId.MEASURE_DRIVING]
    return [*tasks, TaskId.REFINE_PROMPT] + candidate * job.choice.driver.candidates


def expected_tasks(job: RestagingJob, *, blend: bool) -> list[TaskId]:
    """What the whole job does, in order, with every prior estimated."""
    tasks = driving_tasks(job)
    tasks += [TaskId.OPTICAL_FLOW, TaskId.MASKS] * (1 + len(job.corrections))
    tasks += [TaskId.BACKGROUND_POINTS, TaskId.CAMERAS]
    tasks += [TaskId.DEPTH, TaskId.TRACKS]
    tasks += [TaskId.FIT_MOTION, TaskId.SEED_GAUSSIANS, TaskId.FUSE, TaskId.FIGURES]
    tasks += [TaskId.WRITE_SPLATS] if job.splats else []
    return [*tasks, TaskId.PREVIEW, *([TaskId.WRITE_BLEND] if blend else [])]


def _check_folders(job: RestagingJob) -> None:
    for path, what in ((job.priors, "--priors"), (job.true_masks, "--true-masks")):
        if path is not None and not path.is_dir():
            raise InputError(f"{what} {path} is not a folder.", "Give a folder that exists.")


def _write_footage(out: Path, made: Restaged) -> dict[str, Path]:
    """Each performance's video by name, written into footage/."""
    footage = {}
    for name, clip in _clips(made).items():
        footage[name] = out / "footage" / f"{name.replace(' ', '_')}.mp4"
        video.encode(footage[name], clip.frames, clip.fps)
    return footage


def _clips(made: Restaged) -> dict[str, Clip]:
    names = [performance.name for performance in made.puppet.performances]
    return dict(zip(names, [made.base, *made.drivings], strict=True))


def _write_results(
    job: RestagingJob,
    made: Restaged,
    true_masks: list[NDArray[np.bool_]] | None,
    log: FindingLog,
    progress: Progress,
) -> dict[str, Any]:
    """Everything but footage and .blend; returns what report.json says."""
    puppet, out = made.puppet, job.out
    with progress.task(TaskId.FIGURES):
        report = _compute_figures(job, made, true_masks) | compute_puppet_figures(made, log)
    report["findings"] = [finding.to_record() for finding in log.findings]
    puppet.findings = [*log.findings]
    mask_file.write_masks(out / mask_file.NAME, made.priors.masks[made.rewound.video(0)] > 0.5)
    puppet.metrics |= {k: v for k, v in report.items() if isinstance(v, float) and math.isfinite(v)}
    puppet.save(out / "puppet.puppet")
    if job.splats:
        write_ply_sequence(puppet, puppet.performances[-1], out / "splats", progress)
    write_preview(puppet, _clips(made), out / "contact_sheet.png", out / "preview.mp4", progress)
    _write_report(out, report, progress)
    return report


def _compute_figures(
    job: RestagingJob, made: Restaged, true_masks: list[NDArray[np.bool_]] | None
) -> dict[str, Any]:
    """Figures of the puppet as its file gives it, not of the fit's inner state."""
    puppet = made.puppet
    rows = made.rewound.video(0)
    masks = [m > 0.5 for m in made.priors.masks[rows]]
    restaged_base = list(render_performance(puppet, puppet.performances[0]))
    driving = [
        mean_psnr(list(render_performance(puppet, p)), list(clip.frames))
        for p, clip in zip(puppet.performances[1:], made.drivings, strict=True)
    ]
    return {
        "psnr_base": mean_psnr(restaged_base, list(made.base.frames)),
        "psnr_subject": mean_psnr(restaged_base, list(made.base.frames), true_masks or masks),
        "psnr_driving": float(np.mean(driving)) if driving else float("nan"),
        "mask_iou": float(np.mean([iou(a, b) for a, b in zip(masks, true_masks, strict=True)]))
        if true_masks
        else None,
        "pruning_psnr_loss": puppet.metrics["pruning_psnr_loss"],
        "n_gaussians": len(puppet.subject) + len(puppet.background),
        "n_subject": len(puppet.subject),
        "n_bases": puppet.n_bases,
        "n_frames": {p.name: p.n_frames for p in puppet.performances},
        "camera": made.priors.cameras.kind,
        "providers": puppet.provenance["providers"],
        "seed": job.seed,
        "prompt": job.prompt,
    }


def _try_blend(
    make_blend: BlendMaker, out: Path, footage: dict[str, Path], *, keep: bool
) -> str | None:
    """None where puppet.blend was made, else why not. ``keep`` sets the one that is there aside."""
    try:
        if keep:
            print(f"puppet.blend was changed since it was made; it is now {set_blend_aside(out)}")
        make_blend(out / "puppet.puppet", out / "puppet.blend", footage)
    except InputError as error:
        return str(error)
    except OSError as error:
        return f"{out / 'puppet.blend'} cannot be written: {error.strerror}."
    return None


def _write_report(out: Path, report: dict[str, Any], progress: Progress) -> None:
    """report.json, with time and memory until now."""
    report["seconds"] = {name: round(seconds, 2) for name, seconds in progress.seconds.items()}
    report["peak_rss_bytes"] = _peak_rss() or psutil.Process().memory_info().rss
    with replacing(out / "report.json") as temporary:
        temporary.write_text(json.dumps(remove_nan(report), indent=2) + "\n")


def _peak_rss() -> int | None:
    """Peak resident memory of this process and its largest child, where the system tells."""
    try:
        import resource  # not on Windows
    except ImportError:
        return getattr(psutil.Process().memory_info(), "peak_wset", None)
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    child = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return max(own, child) * (1 if os.uname().sysname == "Darwin" else 1024)
