"""Whether the puppet alone shows the subject: figures that a background which paints what the
puppet lacks cannot flatter."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from restage4d.checks.findings import Finding, describe_frames
from restage4d.checks.thresholds import DEFAULT, Thresholds
from restage4d.evaluate.metrics.image import BACKDROP, iou, psnr
from restage4d.puppet import Performance, Puppet
from restage4d.splatting.gaussians import draw_side_by_side, render_gaussians

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]


@dataclass(frozen=True)
class AloneFigures:
    """Of the subject drawn without background, per frame of a performance.

    Attributes:
        iou: (T,) of its silhouette (alpha > 0.5) with the mask.
        psnr: (T,) dB inside the mask, before plain grey; nan without a mask.
    """

    iou: F64
    psnr: F64

    @property
    def mean_iou(self) -> float:
        return float(self.iou.mean())

    @property
    def mean_psnr(self) -> float:
        return float(np.nanmean(self.psnr)) if np.isfinite(self.psnr).any() else float("nan")


def measure_alone(
    puppet: Puppet,
    performance: Performance,
    frames: NDArray[np.uint8],  # (T, H, W, 3)
    masks: F32,  # (T, H, W) as in `Priors.masks`
) -> AloneFigures:
    """Draws the subject of every frame through the clip's camera and compares it with frames and
    masks. Pixels of the masks' unknown band do not count."""

    def compare(t: int) -> tuple[float, float]:
        rgba, _ = render_gaussians([puppet.pose(performance, t)], performance.camera(t))
        mask, known = masks[t] > 0.5, masks[t] >= 0
        picture = 255 * rgba[..., :3] + (1 - rgba[..., 3:]) * BACKDROP
        level = psnr(picture.clip(0, 255).round().astype(np.uint8), frames[t], mask)
        return iou((rgba[..., 3] > 0.5) & known, mask), level

    overlaps, levels = zip(*draw_side_by_side(compare, range(len(frames))), strict=True)
    return AloneFigures(np.array(overlaps), np.array(levels))


def check_alone(
    figures: AloneFigures, video: str, thresholds: Thresholds = DEFAULT
) -> list[Finding]:
    """A finding where the puppet alone is not where the masks are, in the mean or in single
    frames."""
    remedy = "Look at it from the clip's camera without the background; correct masks or cameras."
    bad = figures.iou < thresholds.iou_worst
    if figures.mean_iou >= thresholds.iou_mean and not bad.any():
        return []
    text = (
        f"The puppet alone covers the subject's masks of {video} with an IoU of only "
        f"{figures.mean_iou:.2f}, {figures.iou.min():.2f} at worst (frame {figures.iou.argmin()})"
    )
    first, last = 0, len(figures.iou) - 1
    if bad.any():
        where, first, last = describe_frames(bad)
        text += f"; below {thresholds.iou_worst:g} in {where}"
    return [Finding("puppet-silhouette", "warning", f"{text}.", remedy, first, last, video)]


def check_unity(unity: F64, video: str, thresholds: Thresholds = DEFAULT) -> list[Finding]:
    """A finding where the puppet comes apart in a performance.

    Args:
        unity: (T,) share of its Gaussians in its largest piece, as from `measure_unity`.
        video: the performance.
        thresholds: `torn`.
    """
    bad = unity < thresholds.torn
    if not bad.any():
        return []
    where, first, last = describe_frames(bad)
    text = (
        f"The puppet comes apart in {video}, in {where}: {100 * (1 - unity.min()):.0f} % of it are "
        f"not connected to the rest (frame {unity.argmin()})."
    )
    remedy = "Look at it from beside in these frames; correct masks, or ask for less motion."
    return [Finding("puppet-torn", "warning", text, remedy, first, last, video)]


def check_bridges(added: int, frames: int) -> list[Finding]:
    """A finding where parts hung apart, and ``added`` Gaussians were put between them and the body
    (`restage4d.reconstruct.bridging`). ``frames``: of the base."""
    if not added:
        return []
    text = (
        f"Parts of the subject hung apart from its body: {added} Gaussians were added between them."
    )
    remedy = "If it is wrong there, erase these splats in Blender, or correct masks."
    return [Finding("puppet-bridged", "note", text, remedy, 0, frames - 1)]
