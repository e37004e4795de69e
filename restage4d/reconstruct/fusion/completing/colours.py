"""Colours of Gaussians that no frame decides, from those nearby that some frame does."""

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import KDTree

from restage4d.reconstruct.fusion.completing.reflection import LIP
from restage4d.reconstruct.model.scene_model import SceneModel

F32 = NDArray[np.float32]
Bool = NDArray[np.bool_]

_ABOUT = 40  # Gaussians nearby; the half of them farther inside lends it its mean colour
_NEAREST = 6  # Gaussians that lend one along the outline their mean colour
_SOFT, _SAMPLES = 48, 3000  # Gaussians, of so many of the near side, whose mean is without detail
_SPREAD = 600  # Gaussians whose colours are spread over the subject


def average_colours(
    model: SceneModel, posed: F32, rows: NDArray[np.intp], near: Bool, margin: F32
) -> torch.Tensor:
    """Mean sh0 (M, 3) of the ``near`` Gaussians (N,) about each of ``rows`` (M,), of the half that
    lies farther inside the outline, by ``margin`` (N,) pixels: the middle of a limb on a limb."""
    if not len(rows):
        return torch.zeros(0, 3, device=model.device)
    sources = np.flatnonzero(near & (margin > LIP))  # the rows are of them
    count = min(_ABOUT, len(sources))
    about = KDTree(posed[sources]).query(posed[rows], k=count)[1]
    about = sources[np.asarray(about, np.intp).reshape(len(rows), count)]
    order = np.argsort(-margin[about], 1, kind="stable")[:, : (count + 1) // 2]
    about = np.take_along_axis(about, order, 1)
    sh0 = model.params["subject.sh0"].detach()
    return sh0[torch.from_numpy(about).to(model.device)].mean(1)


def blur_colours(
    model: SceneModel, posed: F32, rows: NDArray[np.intp] | Bool, sources: Bool
) -> torch.Tensor:
    """sh0 (M, 3) of the subject's ``rows`` without detail: means of ``sources`` (N,) nearby."""
    some = np.random.default_rng(0).permutation(np.flatnonzero(sources))[:_SAMPLES]
    sh0 = model.params["subject.sh0"].detach()
    if not len(some):
        return sh0[torch.from_numpy(rows).to(model.device)]
    count = min(_SOFT, len(some))
    about = np.asarray(KDTree(posed[some]).query(posed[rows], k=count)[1], np.intp)
    return sh0[torch.from_numpy(some[about.reshape(-1, count)]).to(model.device)].mean(1)


def spread_colours(model: SceneModel, posed: F32, sources: Bool) -> torch.Tensor:
    """sh0 (N, 3) of the whole subject from some ``sources`` (N,) alone, without their detail and
    smoothly between them: weighted by the distance to the power of -4 (Shepard 1968)."""
    some = np.random.default_rng(0).permutation(np.flatnonzero(sources))[:_SPREAD]
    if not len(some):
        return model.params["subject.sh0"].detach()
    sh0 = blur_colours(model, posed, some, sources)
    at, rows = (torch.from_numpy(a).to(model.device) for a in (posed, some))
    apart = torch.cdist(at, at[rows], compute_mode="donot_use_mm_for_euclid_dist")
    near = apart.min(1, keepdim=True).values.clamp_min(1e-6)
    weight = (near / apart.clamp_min(1e-6)) ** 4
    return (weight / weight.sum(1, keepdim=True)) @ sh0


def replace_rim(model: SceneModel, posed: F32, along: Bool, inner: Bool) -> torch.Tensor:
    """sh0 (N, 3) of the subject in which those ``along`` (N,) an outline, which may hold the
    background's colour, have the mean colour of the nearest ``inner`` (N,) ones."""
    sh0 = model.params["subject.sh0"].detach().clone()
    rim, inside = np.flatnonzero(along), np.flatnonzero(inner)
    if len(rim) and len(inside):
        count = min(_NEAREST, len(inside))
        about = np.asarray(KDTree(posed[inside]).query(posed[rim], k=count)[1], np.intp)
        about = torch.from_numpy(inside[about.reshape(-1, count)]).to(model.device)
        sh0[torch.from_numpy(rim).to(model.device)] = sh0[about].mean(1)
    return sh0


def calm_colours(model: SceneModel, posed: F32, rows: Bool, own: F32, sources: Bool) -> None:
    """The subject's ``rows`` (N,) keep the share ``own`` (N,) of their colours, the rest comes from
    `blur_colours`."""
    blurred = blur_colours(model, posed, rows, sources)
    share = torch.from_numpy(own[rows]).to(blurred)[:, None]
    at = np.flatnonzero(rows)
    sh0 = model.params["subject.sh0"].detach()[torch.from_numpy(at).to(model.device)]
    set_colours(model, at, share * sh0 + (1 - share) * blurred)


def set_colours(model: SceneModel, rows: NDArray[np.intp], sh0: torch.Tensor) -> None:
    """The subject's ``rows`` (M,) get colours ``sh0`` (M, 3)."""
    with torch.no_grad():
        model.params["subject.sh0"][torch.from_numpy(rows).to(model.device)] = sh0
