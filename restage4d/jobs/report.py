"""The report of a run: the sentence at its end, and figures as JSON takes them."""

import math
from pathlib import Path
from typing import Any

from restage4d.checks.findings import FindingLog


def remove_nan(value: Any) -> Any:
    """NaN becomes null, as JSON has no NaN."""
    if isinstance(value, dict):
        return {k: remove_nan(v) for k, v in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def summarise(out: Path, report: dict[str, Any], log: FindingLog, *, splats: bool) -> str:
    """What a person is told when a run has ended: figures, what is doubtful, and what to open."""
    total = sum(report["seconds"].values())
    lines = [
        "",
        f"Done in {total / 60:.1f} min{', but doubtful' if log.doubts else ''}: base "
        f"{report['psnr_base']:.1f} dB (subject {report['psnr_subject']:.1f} dB; the puppet alone "
        f"{report['psnr_puppet_base']:.1f} dB, IoU {report['iou_puppet_base']:.2f}), "
        f"{report['n_gaussians']} Gaussians, {report['n_bases']} bases.",
        *(f"  {finding}" for finding in log.doubts),
        "Look at it:",
        f"  {out / 'contact_sheet.png'}  base | driving | restaged | behind | beside",
        f"  {out / 'preview.mp4'}  the same as a video",
    ]
    if "blend" in report and not report["blend"]:
        lines.append(
            f"  {out / 'puppet.blend'}  open it in Blender: one bone per motion basis, the camera, "
            "the footage"
        )
    if splats:
        lines.append(f"  {out / 'splats'}  one splat PLY per frame, for SuperSplat and others")
    lines.append(f"  {out / 'puppet.puppet'}  the puppet")
    lines.append(f"  {out / 'report.json'}  all figures")
    if report.get("blend"):
        lines.append(f"Warning: there is no .blend file. {report['blend']}")
    return "\n".join(lines)
