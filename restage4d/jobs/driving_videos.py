"""Driving videos alone, to look at before one of them is reconstructed: ``candidates/N.mp4`` and
``candidates.json``."""

import json
from dataclasses import asdict
from pathlib import Path

from restage4d.driving.candidates import measure
from restage4d.io import video
from restage4d.io.atomic import replacing
from restage4d.jobs.footage import decode_part, working_selection
from restage4d.jobs.restaging import Job
from restage4d.progress import Progress, TaskId


def audition(job: Job, progress: Progress) -> list[Path]:
    """Makes the driving videos of ``job.choices`` and returns their files and the figures'.

    candidates.json: ``provider``, ``refined_prompt`` ("" for the draft driver) and ``candidates``,
    each with its ``candidate`` number, the fields of `restage4d.driving.candidates.Figures` and
    their ``score``.

    Raises:
        InputError: no subject, or no video can be used; says why.
        Cancelled: asked to stop; videos that are finished are kept where their maker keeps them.
    """
    info = video.probe(job.video)
    (driver,) = job.choices.drivers(job.out, job.seed)
    with progress.task(TaskId.DECODE):
        base = decode_part(job.video, info.fps, job.longer_side, job.first, job.frames)
    selection = working_selection(base, (info.width, info.height), job.select, job.box, job.mask)
    mask = job.choices.priors().masks.select(base, selection, progress)
    clip = driver.make(base, mask, job.prompt, progress)
    figures = getattr(driver, "figures", [])
    if not figures:
        found = measure(base, mask, clip, progress)
        figures = [{"candidate": 1.0, **asdict(found), "score": float(found.score)}]
    folder = job.out / "candidates"
    if len(figures) == 1 and not (folder / f"{figures[0]['candidate']:.0f}.mp4").exists():
        video.encode(folder / f"{figures[0]['candidate']:.0f}.mp4", clip.frames, clip.fps)
    report = {
        "provider": driver.name,
        "refined_prompt": getattr(driver, "refined_prompt", ""),
        "candidates": figures,
    }
    with replacing(job.out / "candidates.json") as temporary:
        temporary.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    return [job.out / "candidates.json", *sorted(folder.glob("*.mp4"))]
