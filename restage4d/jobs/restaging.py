"""One run of the main job: inputs checked, `restage` called, results written into a folder, figures
into report.json."""

import json
import math
import os
import subprocess
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from numpy.typing import NDArray

from restage4d.clips import Clip, Selection
from restage4d.driving.draft.prompt import parse
from restage4d.driving.protocols import DrivingProvider
from restage4d.driving.video_file import FileDriving
from restage4d.errors import InputError
from restage4d.evaluate.metrics.image import iou, mean_psnr
from restage4d.io import video
from restage4d.io.arrays import mask_picture
from restage4d.io.atomic import replacing
from restage4d.io.content_cache import Cache
from restage4d.io.ply import remove_longer_sequence, write_ply_sequence
from restage4d.jobs.footage import decode_part, working_mask, working_selection
from restage4d.jobs.preview import write_preview
from restage4d.jobs.provider_choice import Choices
from restage4d.pipeline import Restaged, restage
from restage4d.progress import Progress
from restage4d.reconstruct.config import FitConfig, preset, with_settings
from restage4d.render.gaussians import render_performance

_ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Job:
    """What ``restage4d run`` was asked; the fields are its arguments."""

    video: Path
    prompt: str
    out: Path
    select: tuple[float, float] | None = None
    box: tuple[float, float, float, float] | None = None
    mask: Path | None = None
    driving: list[Path] = field(default_factory=list)
    made_by: tuple[str, str] = (
        "",
        "",
    )  # who made the driving videos, asked by which prompt; for the provenance
    priors: Path | None = None
    true_masks: Path | None = None
    longer_side: int = 384
    first: int = 0
    frames: int | None = None
    seed: int = 0
    quality: str = "default"
    set: list[str] = field(default_factory=list)
    blender_python: Path | None = None
    select_text: str | None = None
    choices: Choices = field(default_factory=Choices)
    puppet_only: bool = (
        False  # neither splats/ nor the .blend file: Blender takes the puppet itself
    )


def run(job: Job, progress: Progress) -> None:
    """Runs the job: ``job.out`` then holds the puppet, its .blend, contact sheet, preview, splats/,
    footage/ and report.json.

    Raises:
        InputError: before any work, where an input cannot be used.
        FitError, Cancelled: see `restage`.
    """
    config = configure(job)
    info = video.probe(job.video)
    for path in job.driving:
        video.probe(path)
    if not job.driving and job.choices.drafts and (ignored := parse(job.prompt).ignored):
        print(f"The draft driver leaves out: {', '.join(ignored)}")
    _check_folders(job)
    providers = job.choices.priors()
    given: list[DrivingProvider] = [FileDriving(path, *job.made_by) for path in job.driving]
    drivers = given or job.choices.drivers(job.out, job.seed)
    with progress.stage("decode"):
        base = decode_part(job.video, info.fps, job.longer_side, job.first, job.frames)
    selection = working_selection(base, (info.width, info.height), job.select, job.box, job.mask)
    if job.select_text:
        selection = Selection(text=job.select_text)
    true_masks = _true_masks(job.true_masks, base) if job.true_masks else None
    checkpoint = job.out / "checkpoint.safetensors"
    made = restage(
        base,
        job.prompt,
        selection,
        drivers,
        providers,
        config,
        progress,
        priors_dir=job.priors,
        cache=Cache(),
        checkpoint=checkpoint,
    )
    report = _write(job, made, true_masks, progress)
    checkpoint.unlink(missing_ok=True)
    print(_summary(job.out, report))


def configure(job: Job) -> FitConfig:
    """The settings of the fit: a preset, the seed, then each ``KEY=VALUE``. Raises `InputError` for
    a wrong one."""
    return with_settings(replace(preset(job.quality), seed=job.seed), job.set)


def _check_folders(job: Job) -> None:
    for path, what in ((job.priors, "--priors"), (job.true_masks, "--true-masks")):
        if path is not None and not path.is_dir():
            raise InputError(f"{what} {path} is not a folder.", "Give a folder that exists.")
    try:
        job.out.mkdir(parents=True, exist_ok=True)
        with replacing(job.out / "report.json") as probe:
            probe.write_text("{}")
        (job.out / "report.json").unlink()
    except OSError as error:
        raise InputError(
            f"--out {job.out} cannot be written: {error.strerror}.",
            "Give another folder or free some space.",
        ) from error


def _true_masks(folder: Path, base: Clip) -> list[NDArray[np.bool_]]:
    files = sorted(p for p in folder.iterdir() if p.suffix.lower() == ".png")
    if len(files) < len(base):
        raise InputError(
            f"--true-masks {folder} has {len(files)} PNG files, the base {len(base)} frames.",
            "Give one per frame.",
        )
    first = mask_picture(files[0])
    return [
        working_mask(f, base.size, (first.shape[1], first.shape[0])) for f in files[: len(base)]
    ]


def _write(
    job: Job, made: Restaged, true_masks: list[NDArray[np.bool_]] | None, progress: Progress
) -> dict[str, Any]:
    puppet, out = made.puppet, job.out
    clips = {
        p.name: clip
        for p, clip in zip(puppet.performances, [made.base, *made.drivings], strict=True)
    }
    for name, clip in clips.items():
        video.encode(out / "footage" / f"{name.replace(' ', '_')}.mp4", clip.frames, clip.fps)
    with progress.stage("figures"):
        report = _figures(job, made, true_masks)
    puppet.metrics |= {k: v for k, v in report.items() if isinstance(v, float) and math.isfinite(v)}
    puppet.save(out / "puppet.puppet")
    if not job.puppet_only:
        remove_longer_sequence(
            write_ply_sequence(puppet, puppet.performances[-1], out / "splats", progress)
        )
    write_preview(puppet, clips, out / "contact_sheet.png", out / "preview.mp4", progress)
    if not job.puppet_only:
        with progress.stage("Blender file"):
            report["blend"] = write_blend(out, list(clips), job.blender_python)
    report["seconds"] = {name: round(seconds, 2) for name, seconds in progress.seconds.items()}
    memory = psutil.Process().memory_info()
    report["peak_rss_bytes"] = _peak_rss() or memory.rss
    with replacing(out / "report.json") as temporary:
        temporary.write_text(json.dumps(_finite(report), indent=2) + "\n")
    return report


def _figures(
    job: Job, made: Restaged, true_masks: list[NDArray[np.bool_]] | None
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


def write_blend(out: Path, performances: list[str], python: Path | None) -> str | None:
    """Makes ``out/puppet.blend`` in a Python that has bpy. Returns None, or why there is no
    file."""
    default = _ROOT / ".venv-blender" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    python = python or default
    if not python.exists():
        return f"{python} is missing: run scripts/run.sh, or give --blender-python."
    footage = [
        f"--footage={name}={out / 'footage' / (name.replace(' ', '_') + '.mp4')}"
        for name in performances
    ]
    command = [
        str(python),
        "-m",
        "blender_addon.headless",
        str(out / "puppet.puppet"),
        str(out / "puppet.blend"),
        *footage,
    ]
    done = subprocess.run(
        command, cwd=_ROOT, capture_output=True, text=True, timeout=600, check=False
    )
    if done.returncode != 0:
        raise InputError(
            f"Blender could not make {out / 'puppet.blend'}: {done.stderr.strip()[-500:]}",
            "The puppet itself is kept.",
        )
    return None


def _peak_rss() -> int | None:
    """Peak resident memory of this process and its largest child, where the system tells."""
    try:
        import resource
    except ImportError:  # Windows
        return getattr(psutil.Process().memory_info(), "peak_wset", None)
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    child = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return max(own, child) * (1 if os.uname().sysname == "Darwin" else 1024)


def _finite(value: Any) -> Any:
    """NaN becomes null, as JSON has no NaN."""
    if isinstance(value, dict):
        return {k: _finite(v) for k, v in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _summary(out: Path, report: dict[str, Any]) -> str:
    total = sum(report["seconds"].values())
    lines = [
        "",
        f"Done in {total / 60:.1f} min: base {report['psnr_base']:.1f} dB (subject "
        f"{report['psnr_subject']:.1f} dB), "
        f"{report['n_gaussians']} Gaussians, {report['n_bases']} bases. Look at it:",
        f"  {out / 'contact_sheet.png'}  base | driving | restaged | behind | beside",
        f"  {out / 'preview.mp4'}  the same as a video",
        f"  {out / 'puppet.puppet'}  the puppet",
        f"  {out / 'report.json'}  all figures",
    ]
    if "blend" in report:
        blend = (
            report["blend"]
            or "open it in Blender: one bone per motion basis, the camera, the footage"
        )
        lines.insert(-2, f"  {out / 'puppet.blend'}  {blend}")
        lines.insert(-2, f"  {out / 'splats'}  one splat PLY per frame, for SuperSplat and others")
    return "\n".join(lines)
