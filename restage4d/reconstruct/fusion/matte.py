"""Masks made mattes while the scene is fitted: by then its background is the clean plate of every
frame.

A mask takes along what is as dark as the subject beside its feet: the ground in its shadow, which
has the plate's tint and less of its light. Along its outline pixels hold both subject and
background; as a mask has it, all of such a pixel is subject, and the background's colour becomes a
fringe.
"""

from collections.abc import Callable, Sequence

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt
from torch import Tensor

from restage4d.reconstruct.fusion.rendering import draw_frame, find_pixels, render_view
from restage4d.reconstruct.fusion.targets import Targets
from restage4d.reconstruct.model.scene_model import SceneModel, Splats

F32 = NDArray[np.float32]
Bool = NDArray[np.bool_]

_LOWER = 0.6  # of the mask's height, from its top: shadow on the ground is looked for below
_LEVELS = 0.12, 0.92  # of the plate's light that a shadow leaves
_TINT = 0.09  # difference of chromaticity from which a colour is not the ground's in shadow
_NEARER = 0.7  # times as far as from the subject's own tint around, a shadow's is from the ground's
_REACH = 20.0  # pixels: what is around
_DARK = 30.0, 100.0  # sums of r, g, b below which picture and plate have no tint to speak of
_FITS = 0.03  # difference of chromaticity between picture and plate beside the subject
# Shares of the mask above and below that may look like shadow: with more, it is the subject that
# has the ground's tint.
_MOST_ABOVE, _MOST_BELOW = 0.09, 0.3
_SEEN = 0.6  # alpha of the background from which it is a plate
_SURFACE = 0.04  # of the extent: a Gaussian this near to what is drawn shows there
_FEWEST = 3  # frames that must show a Gaussian
_SHADED = 0.2  # share of them in which what is shadow lies on one, at least
_AWAY = 0.35  # and of all frames in which it lies on one or beside the mask
_LIP = 2.0  # pixels along the outline whose colours may be mixed with the background


def find_shadows(
    model: SceneModel, targets: Targets, camera: Callable[[int], Tensor]
) -> Tensor:  # (T, H, W) bool
    """`find_shadow` in every frame, against the model's background; nothing where the body looks
    like the ground."""
    background = model.get_background()
    nothing = Splats(**{name: value[:0] for name, value in vars(background).items()})
    found, shares = [], []
    for t, mask in enumerate(targets.masks.cpu().numpy()):
        with torch.no_grad():
            view = render_view(nothing, background, targets.K[t], camera(t), targets.size)
        alpha = view.alpha.cpu().numpy()
        plate = 255 * (view.rgb.cpu().numpy() / np.maximum(alpha, 0.05)[..., None]).clip(0, 1)
        picture = targets.frames[t].cpu().numpy().astype(np.float32)
        shadow, share = find_shadow(picture, plate, alpha > _SEEN, mask > 0.5)
        found.append(shadow)
        shares.append(share)
    shadows = torch.from_numpy(np.stack(found)).to(targets.masks.device)
    above, below = np.mean(shares, axis=0)
    return shadows & bool(above < _MOST_ABOVE and below < _MOST_BELOW)


def judge_gaussians(
    model: SceneModel,
    targets: Targets,
    camera: Callable[[int], Tensor],
    shadows: Tensor,
    frames: Sequence[int],
) -> tuple[Tensor, Tensor]:  # (N,) bool, (N,) bool
    """Which subject Gaussians are shadow on the ground, and which show along the outline alone.

    Shadow lies on a shadow in some of the ``frames`` that show it. As it does not move with the
    legs, it comes to lie beside the subject in others.
    """
    n = model.n_subject
    shown, shaded, off, before, margin = (torch.zeros(n, device=model.device) for _ in range(5))
    for t in frames:
        with torch.no_grad():
            view = draw_frame(model, targets, camera, t)
            at, z, inside = find_pixels(
                model.compute_positions(t), targets.K[t], camera(t), targets.size
            )
        front = inside & (z < view.depth[at] + _SURFACE)
        here = front & (z > view.depth[at] - _SURFACE)
        wide = torch.from_numpy(_dilate(targets.masks[t].cpu().numpy() != 0, 1)).to(model.device)
        before += front
        off += front & ~wide[at]
        mask = np.pad(targets.masks[t].cpu().numpy() > 0.5, 1, mode="edge")
        deep = torch.from_numpy(np.asarray(distance_transform_edt(mask))[1:-1, 1:-1]).to(margin)
        shown += here
        shaded += here & shadows[t][at]
        margin = torch.where(here, margin.maximum(deep[at]), margin)
    enough = shown >= _FEWEST
    shadow = (shaded > _SHADED * shown) & (shaded + off > _AWAY * before)
    return enough & shadow, enough & (margin <= _LIP)


def draw_pixels(
    model: SceneModel, targets: Targets, camera: Callable[[int], Tensor], where: Tensor
) -> Tensor:  # (T, H, W) bool -> (M, 3) uint8
    """The colours that the scene has at these pixels."""
    colours = [torch.zeros(0, 3, dtype=torch.uint8, device=model.device)]
    for t in where.any(-1).any(-1).nonzero()[:, 0].tolist():
        with torch.no_grad():
            rgb = draw_frame(model, targets, camera, t).rgb[where[t]]
        colours.append((255 * rgb.clamp(0, 1)).round().to(torch.uint8))
    return torch.cat(colours)


def find_shadow(
    picture: F32, plate: F32, seen: Bool, mask: Bool
) -> tuple[Bool, tuple[float, float]]:
    """Pixels of ``mask`` (H, W) that show ground in the subject's shadow: below the body, of the
    plate's tint, darker than the plate, and joined to the mask's outside.

    Also the shares of the mask above and below that look so. Where they are large, tint does not
    tell ground from dark legs.

    Args:
        picture, plate: (H, W, 3) in 0..255.
        seen: (H, W) where the plate shows what frames have shown.
        mask: (H, W).
    """
    none = np.zeros_like(mask), (0.0, 0.0)
    rows = np.flatnonzero(mask.any(1))
    if not len(rows):
        return none
    below = np.zeros_like(mask)
    below[round(rows[0] + _LOWER * (rows[-1] - rows[0])) :] = True
    soft, under = (cv2.GaussianBlur(x, (0, 0), 0.7) for x in (picture, plate))
    light, lit = soft.sum(-1), under.sum(-1)
    tint, ground = soft / (light + 1)[..., None], under / (lit + 1)[..., None]
    off = np.abs(tint - ground).max(-1)
    level = light / (lit + 1)
    known = seen & (light > _DARK[0]) & (lit > _DARK[1])
    beside = below & known & ~mask & _dilate(mask, 12) & ~_dilate(mask, 2)
    if beside.sum() < 30 or np.quantile(off[beside], 0.75) > _FITS:
        return none
    sure = mask & known & (off > _TINT)
    around, _ = _blur_within(tint, sure, _REACH)
    alike = mask & known & (off < _TINT) & (level < _LEVELS[1]) & (level > _LEVELS[0])
    alike &= off < _NEARER * np.abs(tint - around).max(-1)
    # the rim of a leg mixes both tints, and is thin
    alike = cv2.morphologyEx(alike.astype(np.uint8), cv2.MORPH_OPEN, np.ones((2, 2), np.uint8))
    _, labels = cv2.connectedComponents(alike)
    joined = np.unique(labels[_dilate(~mask, 1) & (labels > 0)])
    found = np.isin(labels, joined)
    shares = [
        float(found[part].sum() / max(part.sum(), 1)) for part in (mask & ~below, mask & below)
    ]
    return found & below, (shares[0], shares[1])


def _dilate(mask: Bool, pixels: int) -> Bool:
    shape = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * pixels + 1, 2 * pixels + 1))
    return cv2.dilate(mask.astype(np.uint8), shape).astype(bool)


def _blur_within(values: F32, where: Bool, sigma: float) -> tuple[F32, F32]:
    """Local mean of the values (H, W, 3) of ``where``, and the share of it around (H, W)."""
    weight = cv2.GaussianBlur(where.astype(np.float32), (0, 0), sigma)
    total = cv2.GaussianBlur(values * where[..., None].astype(np.float32), (0, 0), sigma)
    return total / np.maximum(weight, 1e-4)[..., None], weight
