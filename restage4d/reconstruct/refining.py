"""A performance that an artist changed, solved anew around the changes.

What was changed is a soft target, and what was not stays; between the two the correction is smooth
in time, neighbours keep their distances, what stands on the ground stays there, and nothing goes
through it. No video is looked at.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from restage4d import se3
from restage4d.errors import InputError
from restage4d.posing.graph import sample_points
from restage4d.puppet import Performance, Puppet
from restage4d.reconstruct.losses.regularisers import acceleration
from restage4d.reconstruct.losses.rigidity import edge_lengths, knn_edges, motion_similarity
from restage4d.reconstruct.model.se3_torch import blend_columns, gram_schmidt, scatter_coefs
from restage4d.reconstruct.model.skinning import skin_points

_POINTS, _NEIGHBOURS = 400, 8
_TOUCHED = 1e-3  # of the body's extent: a point that was moved further was changed
_UNIT = 0.01  # of the body's extent: what the terms are measured in
_KEEP, _RIGID, _SMOOTH, _GROUND = 1.0, 20.0, 3.0, 3.0  # weights of the terms
_CHANGED, _STANDS = 15.0, 3.0  # weights of points where the artist put them, and on the ground
_NEAR, _SLOW = 0.02, 5e-3  # of the extent: how near the ground, and how slow, what stands on it is
_RATE = 5e-3  # of Adam, in radians and extents


@dataclass(frozen=True)
class Refined:
    """What came out.

    Attributes:
        performance: the new one.
        figures: before and after, of the sampled points: how far changed points are from where the
            artist put them, the largest acceleration of the correction (both in extents), and the
            99 % quantile of how neighbours' distances differ from what they were.
    """

    performance: Performance
    figures: dict[str, float]


def refine(
    puppet: Puppet,
    tweaked: Performance,
    before: Performance,
    *,
    name: str,
    blend: int = 4,
    steps: int = 300,
) -> Refined:
    """Solves for a new performance.

    Args:
        puppet: whose points and influences are moved.
        tweaked: as the artist left it.
        before: the same as it was.
        name: of the new performance.
        blend: frames over which a change may come and go; beyond, frames keep their bases to the
            bit.
        steps: of the optimiser.

    Raises:
        InputError: the two have other numbers of frames or bases, or are the same.
    """
    if tweaked.bases.shape != before.bases.shape:
        raise InputError(
            f"{tweaked.name!r} has bases of shape {tweaked.bases.shape}, before it was "
            f"{before.bases.shape}.",
            "Give the performance that was changed, as it was before.",
        )
    rows, _ = sample_points(puppet.subject.means, puppet.index, puppet.weight, _POINTS)
    means = torch.from_numpy(puppet.subject.means[rows])
    index = torch.from_numpy(puppet.index[rows].astype(np.int64))
    coefs = scatter_coefs(index, torch.from_numpy(puppet.weight[rows]), puppet.n_bases)
    was, wanted = (_carry(torch.from_numpy(p.bases), coefs, means) for p in (before, tweaked))
    extent = float(torch.linalg.norm(was[:, 0].amax(0) - was[:, 0].amin(0)))
    touched = torch.linalg.norm(wanted - was, dim=-1) > _TOUCHED * extent  # (n, T)
    if not touched.any():
        raise InputError(
            f"{tweaked.name!r} is as it was before.", "Change something in it first, and key it."
        )
    far = _find_distance(touched)
    free = far.amin(0) <= blend  # (T,)
    floor = torch.quantile(was[..., 2], 0.005)
    target = torch.where(touched[..., None], wanted, was)
    keep = _weigh(touched, far, was, floor, extent, blend)
    edges = torch.from_numpy(knn_edges(means.numpy(), _NEIGHBOURS))
    alike = motion_similarity(coefs, edges)[:, None]
    lengths = edge_lengths(was, edges)
    triples = torch.arange(was.shape[1])[:, None] + torch.tensor([0, 1, 2])
    triples = triples[:-2] if was.shape[1] > 2 else triples[:0]
    start = torch.from_numpy(before.bases)
    bases = torch.from_numpy(tweaked.bases).clone().requires_grad_()
    optimiser = torch.optim.Adam([bases], lr=_RATE * max(extent, 1e-6))
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    unit = _UNIT * extent

    def measure(points: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """How far from the targets, stretched, and jerked points are: (n, T), (E, T), (n, T-2)."""
        off = torch.linalg.norm(points - target + 1e-12, dim=-1)
        jerk = torch.linalg.norm(acceleration(points - was, triples) + 1e-12, dim=-1)
        return off, (edge_lengths(points, edges) - lengths).abs(), jerk

    for _ in range(steps):
        optimiser.zero_grad()
        points = _carry(torch.where(free[:, None], bases, start), coefs, means)
        off, stretched, jerk = measure(points)
        loss = (
            _KEEP * (keep * (off / unit) ** 2).mean() + _RIGID * (alike * stretched).mean() / unit
        )
        loss = loss + _GROUND * torch.relu(floor - points[..., 2]).mean() / unit
        if len(triples):
            loss = loss + _SMOOTH * ((jerk / unit) ** 2).mean()
        loss.backward()
        optimiser.step()
        schedule.step()
    solved = bases.detach()
    R = gram_schmidt(solved[..., :6]).numpy()
    new = np.where(free.numpy()[:, None], se3.pack(R, solved[..., 6:].numpy()), before.bases)
    figures = {}
    for label, all_bases in (("tweaked", tweaked.bases), ("refined", new.astype(np.float32))):
        off, stretched, jerk = measure(_carry(torch.from_numpy(all_bases), coefs, means))
        figures[f"{label}_off_keys"] = float(off[touched].mean()) / extent
        figures[f"{label}_jerk"] = float(jerk.max()) / extent if len(triples) else 0.0
        figures[f"{label}_stretch"] = float(torch.quantile(stretched.amax(1), 0.99)) / extent
    performance = Performance(
        name, new.astype(np.float32), before.fps, before.K, before.w2c, before.size, before.prompt
    )
    return Refined(performance, figures)


def _carry(bases: Tensor, coefs: Tensor, means: Tensor) -> Tensor:  # (K, T, 9) -> (n, T, 3)
    return skin_points(blend_columns(bases, coefs), means)


def _find_distance(touched: Tensor) -> Tensor:  # (n, T) -> (n, T)
    """Frames to the nearest in which the point was changed; as many as there are for none."""
    n, count = touched.shape
    frames = torch.arange(count)
    gap = (frames[:, None] - frames).abs().expand(n, count, count)
    return torch.where(touched[:, None], gap, count).amin(-1).float()


def _weigh(
    touched: Tensor, far: Tensor, was: Tensor, floor: Tensor, extent: float, blend: int
) -> Tensor:  # (n, T)
    """How much each point is to be where its target is: as the artist put it, less in the frames
    around, and in full where it stands on the ground or was not changed."""
    speed = torch.zeros_like(far)
    step = torch.linalg.norm(was[:, 1:] - was[:, :-1], dim=-1)
    speed[:, 1:] = step
    speed[:, :-1] = torch.maximum(speed[:, :-1], step)
    stands = (was[..., 2] < floor + _NEAR * extent) & (speed < _SLOW * extent)
    around = 0.02 + 0.98 * (far / (blend + 1)).clamp(max=1) ** 2
    return torch.where(touched, _CHANGED, torch.where(stands, _STANDS, around))
