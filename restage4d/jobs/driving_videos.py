"""Driving videos alone, to look at before one of them is reconstructed: ``candidates/N.mp4`` and
``candidates.json`` and, of the draft driver, body_plan.png."""

import json
from pathlib import Path

from restage4d.checks.findings import Finding, FindingLog
from restage4d.checks.frames import check_frames
from restage4d.checks.masks import check_first_mask
from restage4d.driving.candidates import measure
from restage4d.driving.protocols import Candidate
from restage4d.driving.video_file import keep_known
from restage4d.io import video
from restage4d.io.atomic import replacing
from restage4d.io.content_cache import Cache
from restage4d.jobs.footage import decode_part, list_notes, select_in_detail, take_alpha
from restage4d.jobs.provider_factory import make_prior_providers
from restage4d.jobs.restaging import RestagingJob, driving_tasks, make_driver, say, show_script
from restage4d.progress import Progress, TaskId
from restage4d.providers.weights import Weights


def make_driving_videos(job: RestagingJob, progress: Progress) -> list[Path]:
    """Makes the driving videos of ``job.choice`` and returns their files and the figures'.

    candidates.json: ``provider``, ``refined_prompt`` ("" for the draft driver), ``script`` (of the
    draft driver, as `restage4d.driving.script_reading.Script.to_record`), ``candidates``, each as
    `restage4d.driving.protocols.Candidate.to_record`, ``notes`` and ``doubt`` as in
    `restage4d.driving.protocols.DrivingVideo`, and ``findings`` of base and candidates
    ("candidate 1" ...), as `restage4d.checks.findings.Finding.to_record`. A candidate that `run`
    would refuse is handed out all the same.

    Raises:
        InputError: no subject, no video can be used, or a check finds that the base cannot work;
            says why.
        Cancelled: asked to stop; videos that are finished are kept where their maker keeps them.
    """
    info = video.probe(job.video)
    weights = Weights.from_settings(job.choice.weights, job.choice.download)
    script = show_script(job)
    driver = make_driver(job, weights, script=script)
    masks = make_prior_providers(job.choice.priors, weights).masks
    tasks = driving_tasks(job)
    if TaskId.MEASURE_DRIVING not in tasks:
        tasks += [TaskId.OPTICAL_FLOW, TaskId.MEASURE_DRIVING]
    progress.expect(tasks)
    with progress.task(TaskId.DECODE):
        base = decode_part(job.video, info.fps, job.longer_side, job.first, job.frames)
    log = FindingLog(say)
    log.add(list_notes(base.notes, len(base)))
    log.add(check_frames(base, first=job.first))
    base, told = take_alpha(base, job.selection)
    log.add(told)
    selection = select_in_detail(job.video, info, base, job.first, job.selection, masks, progress)
    mask = masks.select(base, selection, progress)
    log.add(check_first_mask(mask))
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
    found = [finding for c in candidates for finding in _check_candidate(folder, c.number)]
    for finding in found:
        say(str(finding))
    report = {
        "provider": made.made_by,
        "refined_prompt": made.refined_prompt,
        "script": script.to_record() if script else None,
        "doubt": made.doubt,
        "candidates": [candidate.to_record() for candidate in candidates],
        "notes": list(made.notes),
        "findings": [finding.to_record() for finding in [*log.findings, *found]],
    }
    with replacing(job.out / "candidates.json") as temporary:
        temporary.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    return [
        *sorted(job.out.glob("*.png")),
        job.out / "candidates.json",
        *sorted(folder.glob("*.mp4")),
    ]


def _check_candidate(folder: Path, number: int) -> list[Finding]:
    clip = video.decode(folder / f"{number}.mp4", longer_side=None)
    return check_frames(clip, video=f"candidate {number}")
