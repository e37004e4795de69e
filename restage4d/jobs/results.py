"""What a finished run leaves in its folder: footage/, puppet, splats, pictures, puppet.blend and
report.json."""

import json
import math
import os
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import psutil
from numpy.typing import NDArray

from restage4d.checks.estimates import name_video
from restage4d.checks.findings import FindingLog
from restage4d.clips import Clip
from restage4d.errors import InputError
from restage4d.evaluate.metrics.image import iou, mean_psnr
from restage4d.io import video
from restage4d.io.atomic import replacing
from restage4d.io.ply import write_ply_sequence
from restage4d.jobs import mask_file
from restage4d.jobs.preview import choose_backdrop, write_preview
from restage4d.jobs.puppet_figures import compute_puppet_figures
from restage4d.jobs.report import remove_nan
from restage4d.jobs.results_folder import set_blend_aside
from restage4d.pipeline import Restaged
from restage4d.progress import Progress, TaskId
from restage4d.puppet import Performance
from restage4d.splatting.gaussians import render_performance


class BlendMaker(Protocol):
    """Makes a Blender file of a puppet."""

    def __call__(self, puppet: Path, blend: Path, footage: dict[str, Path]) -> None:
        """Writes ``blend`` from the file ``puppet``; ``footage`` is each performance's video by
        name. Raises `InputError` saying why there is none."""
        ...


def write_footage(out: Path, made: Restaged) -> dict[str, Path]:
    """Each performance's video by name, written into footage/."""
    footage = {}
    for name, clip in _clips(made).items():
        footage[name] = out / "footage" / f"{name.replace(' ', '_')}.mp4"
        video.encode(footage[name], clip.frames, clip.fps)
    return footage


def _clips(made: Restaged) -> dict[str, Clip]:
    names = [performance.name for performance in made.puppet.performances]
    return dict(zip(names, [made.base, *made.drivings], strict=True))


def write_puppet(
    out: Path,
    made: Restaged,
    true_masks: list[NDArray[np.bool_]] | None,
    log: FindingLog,
    progress: Progress,
    *,
    asked: dict[str, Any],
) -> dict[str, Any]:
    """The puppet with its figures and findings, and the masks; returns what report.json says.

    Args:
        out: the run's folder.
        made: what the run made.
        true_masks: of the base's frames, to compare the masks with; None for none.
        log: takes what the figures show, and gives all findings of the run.
        progress: told the task.
        asked: what report.json says of the request.
    """
    puppet = made.puppet
    told = len(log.findings)  # before there was a puppet, of driving videos by their numbers
    with progress.task(TaskId.FIGURES):
        report = _compute_figures(made, true_masks) | asked | compute_puppet_figures(made, log)
    names = [p.name for p in puppet.performances[1:]]
    renames = {name_video(i, len(names)): name for i, name in enumerate(names, 1)}
    found = [replace(f, video=renames.get(f.video, f.video)) for f in log.findings[:told]]
    found += log.findings[told:]
    report["findings"] = [finding.to_record() for finding in found]
    puppet.findings = [*(f for f in puppet.findings if f not in found), *found]
    mask_file.write_masks(out / mask_file.NAME, np.stack(_list_base_masks(made)))
    puppet.metrics |= {k: v for k, v in report.items() if isinstance(v, float) and math.isfinite(v)}
    base, *new = puppet.performances
    replace(puppet, performances=[base, *made.older, *new]).save(out / "puppet.puppet")
    return report


def write_pictures(out: Path, made: Restaged, progress: Progress, *, splats: bool) -> None:
    """Contact sheet and preview, and with ``splats`` a PLY of each frame."""
    if splats:
        write_ply_sequence(made.puppet, made.puppet.performances[-1], out / "splats", progress)
    write_preview(
        made.puppet, _clips(made), out / "contact_sheet.png", out / "preview.mp4", progress
    )


def _list_base_masks(made: Restaged) -> list[NDArray[np.bool_]]:
    """The subject in the base's frames, b_0 first."""
    return [made.priors.masks[t] > 0.5 for t in made.rewound.video(0)]


def _compute_figures(made: Restaged, true_masks: list[NDArray[np.bool_]] | None) -> dict[str, Any]:
    """Figures of the puppet as its file gives it, not of the fit's inner state."""
    puppet = made.puppet
    masks = _list_base_masks(made)

    def draw(performance: Performance) -> list[NDArray[np.uint8]]:
        return list(render_performance(puppet, performance, backdrop=choose_backdrop(puppet)))

    base = draw(puppet.performances[0])
    driving = [
        mean_psnr(draw(performance), list(clip.frames))
        for performance, clip in zip(puppet.performances[1:], made.drivings, strict=True)
    ]
    return {
        "psnr_base": mean_psnr(base, list(made.base.frames)),
        "psnr_subject": mean_psnr(base, list(made.base.frames), true_masks or masks),
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
    }


def try_blend(
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


def write_report(out: Path, report: dict[str, Any], progress: Progress) -> None:
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
