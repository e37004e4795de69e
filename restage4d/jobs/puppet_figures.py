"""Figures of the puppet alone, for report.json, and what they tell."""

import numpy as np

from restage4d.checks.findings import FindingLog
from restage4d.checks.puppet import check_alone, check_unity, measure_alone
from restage4d.evaluate.metrics.pieces import measure_unity
from restage4d.frame_arrays import take_frames
from restage4d.pipeline import Restaged


def compute_puppet_figures(made: Restaged, log: FindingLog) -> dict[str, float]:
    """``iou_puppet_base``, ``psnr_puppet_base`` and the same for driving, the mean over driving
    videos, and ``unity``, the least of all performances and frames (docs/metrics.md); nan without
    any. ``log`` is told where the puppet is doubtful."""
    clips, figures, unities = [made.base, *made.drivings], [], []
    for i, (performance, clip) in enumerate(zip(made.puppet.performances, clips, strict=True)):
        masks = take_frames(made.priors.masks, made.rewound.video(i))
        figures.append(measure_alone(made.puppet, performance, clip.frames, masks))
        log.add(check_alone(figures[-1], performance.name))
        unities.append(measure_unity(made.puppet, performance))
        log.add(check_unity(unities[-1], performance.name))
    base, *driving = figures
    nan = [float("nan")]
    return {
        "iou_puppet_base": base.mean_iou,
        "psnr_puppet_base": base.mean_psnr,
        "iou_puppet_driving": float(np.mean([f.mean_iou for f in driving] or nan)),
        "psnr_puppet_driving": float(np.mean([f.mean_psnr for f in driving] or nan)),
        "unity": float(min(unity.min() for unity in unities)),
    }
