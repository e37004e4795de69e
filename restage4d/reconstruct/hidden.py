"""Gaussians that no frame ever shows. Density control leaves them inside and behind the subject, where nothing supervises
their colour: from the frames' cameras they are not seen, from beside and behind they are blots."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from restage4d.reconstruct.model import SceneModel
from restage4d.render import rasterize
from restage4d.render.constants import EPS2D


def shown(
    model: SceneModel, frames: list[int], K: Tensor, camera: Callable[[int], Tensor], size: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """The largest share of each Gaussian's footprint that reaches the eye in any of ``frames``: subject (N,), background (B,).

    The weight with which a Gaussian enters the picture is the gradient of the picture's sum by its colour. Its footprint
    is taken from the largest and the smallest axis, so that a flake seen face on never counts as hidden.
    """
    background = model.background()
    best = torch.zeros(model.n_subject + len(background.means), device=model.device)
    for t in frames:
        with torch.no_grad():
            subject = model.subject(t)
            means, quats, scales, opacities = (
                torch.cat([getattr(subject, name), getattr(background, name)])
                for name in ("means", "quats", "scales", "opacities")
            )
        colors = torch.zeros(len(means), 1, device=model.device, requires_grad=True)
        w2c = camera(t).detach()
        image, _, info = rasterize(means, quats, scales, opacities, colors, w2c, K[t], *size)
        (weight,) = torch.autograd.grad(image.sum(), colors)
        pixels = K[t, 0, 0] / info["depths"].clamp_min(0.01)
        extent = [((scales.aminmax(dim=-1)[i] * pixels).square() + EPS2D).sqrt() for i in (0, 1)]
        footprint = 2 * math.pi * extent[0] * extent[1] * opacities
        best = torch.maximum(best, weight[:, 0] / footprint.clamp_min(1e-9))
    return best[: model.n_subject], best[model.n_subject :]
