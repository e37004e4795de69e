"""Driving videos alone, to look at before one of them is reconstructed: ``candidates/N.mp4`` and
``candidates.json`` and, of the draft driver, body_plan.png."""

import json
from pathlib import Path

from restage4d.driving.candidates import measure
from restage4d.driving.protocols import Candidate
from restage4d.driving.video_file import keep_known
from restage4d.io import video
from restage4d.io.atomic import replacing
from restage4d.io.content_cache import Cache
from restage4d.jobs.footage import decode_part, select_in_detail
from restage4d.jobs.provider_factory import make_prior_providers
from restage4d.jobs.restaging import RestagingJob, driving_tasks, make_driver
from restage4d.progress import Progress, TaskId
from restage4d.providers.weights import Weights


def make_driving_videos(job: RestagingJob, progress: Progress) -> list[Path]:
    """Makes the driving videos of ``job.choice`` and returns their files and the figures'.

    candidates.json: ``provider``, ``refined_prompt`` ("" for the draft driver), ``candidates``,
    each as `restage4d.driving.protocols.Candidate.to_record`, and ``notes`` and ``doubt`` as in
    `restage4d.driving.protocols.DrivingVideo`.

    Raises:
        InputError: no subject, or no video can be used; says why.
        Cancelled: asked to stop; videos that are finished are kept where their maker keeps them.
    """
    info = video.probe(job.video)
    weights = Weights.from_settings(job.choice.weights, job.choice.download)
    driver = make_driver(job, weights)
    masks = make_prior_providers(job.choice.priors, weights).masks
    tasks = driving_tasks(job)
    if TaskId.MEASURE_DRIVING not in tasks:
        tasks += [TaskId.OPTICAL_FLOW, TaskId.MEASURE_DRIVING]
    progress.expect(tasks)
    with progress.task(TaskId.DECODE):
        base = decode_part(job.video, info.fps, job.longer_side, job.first, job.frames)
    selection = select_in_detail(job.video, info, base, job.first, job.selection, masks, progress)
    mask = masks.select(base, selection, progress)
    made = driver.make(base, mask, job.prompt, progress)
    for note in made.notes:
        print(note)
    candidates = made.candidates or (Candidate(1, measure(base, mask, made.clip, progress)),)
    folder = job.out / "candidates"
    if len(candidates) == 1:
        only = folder / f"{candidates[0].number}.mp4"
        if not only.exists():
            video.encode(only, made.clip.frames, made.clip.fps)
            keep_known(Cache(), only, made)
    report = {
        "provider": made.made_by,
        "refined_prompt": made.refined_prompt,
        "doubt": made.doubt,
        "candidates": [candidate.to_record() for candidate in candidates],
        "notes": list(made.notes),
    }
    with replacing(job.out / "candidates.json") as temporary:
        temporary.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    return [
        *sorted(job.out.glob("*.png")),
        job.out / "candidates.json",
        *sorted(folder.glob("*.mp4")),
    ]
