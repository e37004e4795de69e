"""One run of the main job: inputs checked, `restage` called, results written into a folder, figures
into report.json."""

import sys
from collections.abc import Callable
from concurrent.futures import wait
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from restage4d.checks.estimates import name_video
from restage4d.checks.findings import FindingLog
from restage4d.checks.frames import check_frames
from restage4d.clips import Selection
from restage4d.defaults import LONGER_SIDE, QUALITY
from restage4d.driving.protocols import DrivingProvider
from restage4d.driving.script_reading import Script, make_script
from restage4d.driving.video_file import FileDriving
from restage4d.errors import InputError
from restage4d.io import video
from restage4d.io.content_cache import Cache, content_key
from restage4d.jobs.footage import (
    decode_finer,
    decode_part,
    list_notes,
    locate_head,
    read_true_masks,
    resize_corrections,
    select_in_detail,
    take_alpha,
)
from restage4d.jobs.provider_choice import ProviderChoice, needs_gpu
from restage4d.jobs.provider_factory import (
    find_endpoint,
    make_driving_provider,
    make_prior_providers,
    resolve_estimators,
)
from restage4d.jobs.report import summarise
from restage4d.jobs.results import (
    BlendMaker,
    try_blend,
    write_footage,
    write_pictures,
    write_puppet,
    write_report,
)
from restage4d.jobs.results_folder import (
    claim_folder,
    hash_path,
    is_blend_edited,
)
from restage4d.pipeline import restage
from restage4d.priors.estimate import NO_CORRECTIONS, is_followed_beside
from restage4d.priors.protocols import TrackProvider
from restage4d.progress import Progress, TaskId, Turn, at_once
from restage4d.providers.weights import Weights
from restage4d.puppet import Puppet
from restage4d.puppet.header import read_metadata
from restage4d.reconstruct.config import FitConfig, preset, with_settings
from restage4d.splatting import prepare_drawing


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
        into: a puppet file of the same base that is to perform the driving videos too; None: a new
            puppet is made.
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
    into: Path | None = None
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
        for name in ("video", "out", "into", "priors", "true_masks"):
            path = getattr(self, name)
            object.__setattr__(self, name, None if path is None else path.absolute())
        object.__setattr__(self, "driving", [path.absolute() for path in self.driving])


def run(
    job: RestagingJob,
    progress: Progress,
    *,
    make_blend: BlendMaker | None = None,
    choose: Callable[[str], int] | None = None,
    turn: Turn = at_once,
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
        turn: lets the fit begin, or the whole job where networks estimate or draw.

    Raises:
        InputError: before any work, where an input cannot be used, or ``job.out`` holds the results
            of another run.
        FitError, Cancelled: see `restage`.
    """
    config = configure(job)
    job = settle_estimators(job)
    info = video.probe(job.video)
    for path in job.driving:
        video.probe(path)
    if job.into:
        read_metadata(job.into)
    drafts = not job.driving and job.choice.driver.is_draft
    if job.head and not drafts:
        print("The head is for the draft driver alone; it is not used.")
    elif job.head:
        locate_head(job.video, job.head)
    _check_folders(job)
    script = show_script(job)
    with claim_folder(job.out, describe(job), overwrite=job.overwrite):

        def work(turn: Turn) -> None:
            _run_in_folder(job, config, info, script, progress, make_blend, choose, turn)

        if needs_gpu(job.choice, makes_driving=not job.driving):
            turn(lambda: work(at_once))
        else:
            work(turn)


def _run_in_folder(
    job: RestagingJob,
    config: FitConfig,
    info: video.VideoInfo,
    script: Script | None,
    progress: Progress,
    make_blend: BlendMaker | None,
    choose: Callable[[str], int] | None,
    turn: Turn,
) -> None:
    prepare_drawing(say)
    weights = Weights.from_settings(job.choice.weights, job.choice.download)
    providers = make_prior_providers(job.choice.priors, weights)
    given: list[DrivingProvider] = [
        FileDriving(path, *job.made_by, cache=Cache()) for path in job.driving
    ]
    drivers = given or [make_driver(job, weights, choose, script)]
    tasks = expected_tasks(job, blend=make_blend is not None)
    progress.expect(tasks, weigh_fit(config) | weigh_tracks(providers.tracks))
    with progress.task(TaskId.DECODE):
        base = decode_part(job.video, info.fps, job.longer_side, job.first, job.frames)
    log = FindingLog(say)
    log.add(list_notes(base.notes, len(base)))
    for i, path in enumerate(job.driving, 1):
        driving = video.probe(path)
        log.add(list_notes(driving.notes, driving.frames, name_video(i, len(job.driving))))
    if config.clips != "driving":
        log.add(check_frames(base, first=job.first))
    corrections = resize_corrections(job.corrections, (info.width, info.height), base)
    base, found = take_alpha(base, job.selection, corrections)
    log.add(found)
    selection = select_in_detail(
        job.video, info, base, job.first, job.selection, providers.masks, progress
    )
    true_masks = read_true_masks(job.true_masks, base) if job.true_masks else None
    blend_is_edited = is_blend_edited(job.out)  # before report.json is written anew
    into = Puppet.load(job.into) if job.into else None
    checkpoint = job.out / "checkpoint.safetensors"
    made = restage(
        base,
        job.prompt,
        selection,
        drivers,
        providers,
        config,
        progress,
        into=into,
        corrections=NO_CORRECTIONS if base.alpha is not None else corrections,
        priors_dir=job.priors,
        cache=Cache(),
        checkpoint=checkpoint,
        log=log,
        decode_finer=lambda: decode_finer(job.video, info, base, job.first),
        turn=turn,
    )

    def finish() -> None:
        footage = write_footage(job.out, made)
        report = write_puppet(
            job.out,
            made,
            true_masks,
            log,
            progress,
            asked={
                "seed": job.seed,
                "prompt": job.prompt,
                "script": script.to_record() if script else None,
            },
        )
        making = None
        if make_blend:  # by a process of Blender's own, beside the pictures

            def make(_: Progress, make_blend: BlendMaker = make_blend) -> str | None:
                return try_blend(make_blend, job.out, footage, keep=blend_is_edited)

            making = progress.start_beside(make)
        try:
            write_pictures(job.out, made, progress, splats=job.splats)
            write_report(job.out, report, progress)  # whatever becomes of Blender
            checkpoint.unlink(missing_ok=True)
            if making:
                with progress.task(TaskId.WRITE_BLEND):
                    wait([making])
        finally:
            if making:
                wait([making])  # also where the job is cancelled: nothing goes on after its end
        if making:
            report["blend"] = making.result()
            write_report(job.out, report, progress)
        print(summarise(job.out, report, log, splats=job.splats))

    turn(finish)


def settle_estimators(job: RestagingJob) -> RestagingJob:
    """The job with the names of who estimates what in place of "auto", said where it chose."""
    weights = Weights.from_settings(job.choice.weights, job.choice.download)
    names = resolve_estimators(job.choice.priors, weights, say)
    return replace(job, choice=replace(job.choice, priors=names))


def say(text: str) -> None:
    """Prints a line; on a terminal the progress line stands there unfinished."""
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
    } | ({"into": hash_path(job.into)} if job.into else {})


def show_script(job: RestagingJob) -> Script | None:
    """What the draft driver will act, said before anything is made of it; None where another makes
    the driving video. Raises `InputError` as `make_script` does."""
    if job.driving or not job.choice.driver.is_draft:
        return None
    script = make_script(job.prompt, find_endpoint(job.choice.driver), Cache(), say)
    say(str(script))
    return script


def make_driver(
    job: RestagingJob,
    weights: Weights,
    choose: Callable[[str], int] | None = None,
    script: Script | None = None,
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
        script=script.directions if script else None,
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
    config = configure(job)
    tasks = driving_tasks(job)
    draws = not job.driving and job.choice.driver.is_draft
    guesses = not job.into and config.fusion.guessed_views > 0
    tasks += [TaskId.MODEL_BODY] if guesses and not draws else []
    tasks += [TaskId.OPTICAL_FLOW, TaskId.MASKS] * (1 + len(job.corrections))
    tasks += [TaskId.BACKGROUND_POINTS, TaskId.CAMERAS]
    tasks += [TaskId.DEPTH, TaskId.TRACKS]
    tasks += [TaskId.ALIGN_DEPTH, TaskId.FIT_MOTION]
    tasks += [] if job.into else [TaskId.SEED_GAUSSIANS]
    completes = not job.into and config.fusion.completion and not guesses
    tasks += [TaskId.FUSE, *([TaskId.COMPLETE] if completes else [])]
    tasks += [TaskId.JOIN_PIECES, TaskId.FIGURES]
    tasks += [TaskId.WRITE_SPLATS] if job.splats else []
    return [*tasks, TaskId.PREVIEW, *([TaskId.WRITE_BLEND] if blend else [])]


def weigh_fit(config: FitConfig) -> dict[TaskId, float]:
    """How much longer than by default the parts of the fit take, beside what goes before it."""
    usual = FitConfig()
    visits, drawn = config.fusion, usual.fusion
    many = (visits.max_subject + visits.max_background) / (drawn.max_subject + drawn.max_background)
    return {
        TaskId.FIT_MOTION: config.motion.steps / usual.motion.steps,
        TaskId.FUSE: visits.steps_per_frame / drawn.steps_per_frame * (0.5 + 0.5 * many),
    }


def weigh_tracks(provider: TrackProvider) -> dict[TaskId, float]:
    """How much of its time is left to wait for when the tracks' turn has come."""
    return {TaskId.TRACKS: 0.1 if is_followed_beside(provider) else 1.0}


def _check_folders(job: RestagingJob) -> None:
    for path, what in ((job.priors, "--priors"), (job.true_masks, "--true-masks")):
        if path is not None and not path.is_dir():
            raise InputError(f"{what} {path} is not a folder.", "Give a folder that exists.")
