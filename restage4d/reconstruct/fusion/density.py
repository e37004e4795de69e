"""Density control with the semantics of gsplat's DefaultStrategy: where the screen-space gradient
stays high, small Gaussians are duplicated and large ones split in two; transparent ones are
dropped. Coefficients ride along.

Two differences: growth stops at a limit per part (the largest gradients win), and opacities are
never reset, since a fit here is shorter than gsplat's reset interval.
"""

import math

import torch
from numba import njit
from torch import Tensor

from restage4d.reconstruct.config import FusionConfig
from restage4d.reconstruct.model.optimizer import GuardedAdam
from restage4d.reconstruct.model.scene_model import SPLAT_FIELDS, SceneModel
from restage4d.reconstruct.model.skinning import to_array

_SPLIT_SHRINK = 1.6


def keep_rows(model: SceneModel, optimiser: GuardedAdam, part: str, rows: Tensor) -> None:
    """Keeps only those Gaussians of ``part``, with their coefficients and moments."""
    for name in _list_names(part):
        optimiser.resize(name, model.params[name][rows], rows)
    if part == "subject":
        model.take(rows)


def _list_names(part: str) -> list[str]:
    return [f"{part}.{f}" for f in SPLAT_FIELDS] + (["subject.coefs"] if part == "subject" else [])


class DensityControl:
    """Gathers screen-space gradients of one part ("subject" or "background") and grows or prunes
    its Gaussians.

    Args:
        part: prefix of the parameters.
        limit: most Gaussians.
        size: Gaussians larger than 1 % of this length (world units) are split, smaller ones
            duplicated.
    """

    def __init__(self, part: str, limit: int, size: float) -> None:
        self.part, self.limit, self.size = part, limit, size
        self.gradient = torch.zeros(0)
        self.views = torch.zeros(0)

    def observe(self, gradient: Tensor, radii: Tensor, width: int, height: int) -> None:
        """Adds one view: ``gradient`` (N, 2) of the loss by pixel position; ``radii`` (N,) > 0
        where drawn."""
        if len(self.gradient) != len(gradient):
            self.gradient, self.views = (
                gradient.new_zeros(len(gradient)),
                gradient.new_zeros(len(gradient)),
            )
        observe = _observe if gradient.device.type == "cpu" else observe_reference
        observe(gradient, radii, (width / 2, height / 2), self.gradient, self.views)

    def refine(
        self, model: SceneModel, optimiser: GuardedAdam, config: FusionConfig, seed: int
    ) -> tuple[int, int]:
        """Grows, then prunes. Returns how many Gaussians were added and dropped."""
        p = model.params
        names = _list_names(self.part)
        n = len(p[f"{self.part}.means"])
        if n == 0 or len(self.gradient) != n:
            return 0, 0
        with torch.no_grad():
            mean_gradient = self.gradient / self.views.clamp_min(1)
            grow = mean_gradient > config.grow_gradient
            alive = p[f"{self.part}.logit_opacities"].sigmoid() > config.cull_opacity
            grow &= alive
            room = max(self.limit - int(alive.sum()), 0)
            if int(grow.sum()) > room:
                order = torch.where(grow, mean_gradient, -1.0).argsort(descending=True, stable=True)
                grow = torch.zeros_like(grow).index_fill_(0, order[:room], True)
            large = p[f"{self.part}.log_scales"].exp().amax(-1) > 0.01 * self.size
            split, duplicate = (grow & large).nonzero()[:, 0], (grow & ~large).nonzero()[:, 0]
            keep = alive.clone()
            keep[split] = False
            kept = keep.nonzero()[:, 0]
            rows = torch.cat([kept, duplicate, split, split])
            fresh = torch.full((len(duplicate) + 2 * len(split),), -1, dtype=torch.int64)
            values = {name: p[name][rows].clone() for name in names}
            if len(split):
                self._split(values, len(rows) - 2 * len(split), seed)
            source = torch.cat([kept, fresh.to(kept)])
            for name in names:
                optimiser.resize(name, values[name], source)
            if self.part == "subject":
                model.take(rows)
        self.gradient, self.views = torch.zeros(0), torch.zeros(0)
        return len(duplicate) + len(split), n - int(alive.sum())

    def _split(self, values: dict[str, Tensor], start: int, seed: int) -> None:
        """The rows from ``start`` on are halves of split Gaussians: moved to random points of the
        old one and shrunk."""
        scales = values[f"{self.part}.log_scales"][start:].exp()
        q = torch.nn.functional.normalize(values[f"{self.part}.quats"][start:], dim=-1)
        noise = (
            torch.randn(scales.shape, generator=torch.Generator().manual_seed(seed)).to(scales)
            * scales
        )
        w, v = q[:, :1], q[:, 1:]
        turned = noise + 2 * torch.linalg.cross(
            v, torch.linalg.cross(v, noise) + w * noise
        )  # q · noise · q⁻¹
        values[f"{self.part}.means"][start:] += turned
        values[f"{self.part}.log_scales"][start:] -= math.log(_SPLIT_SHRINK)

    def state(self) -> dict[str, Tensor]:
        return {
            f"gradient.{self.part}": self.gradient.clone(),
            f"views.{self.part}": self.views.clone(),
        }

    def load_state(self, state: dict[str, Tensor]) -> None:
        self.gradient, self.views = (
            state[f"gradient.{self.part}"].clone(),
            state[f"views.{self.part}"].clone(),
        )


def observe_reference(
    gradient: Tensor, radii: Tensor, half: tuple[float, float], total: Tensor, views: Tensor
) -> None:
    """Adds to ``total`` (N,) the length of the gradient (N, 2) on a picture two units wide, and to
    ``views`` (N,) one, for all with a radius."""
    seen = radii > 0
    total += torch.where(seen, (gradient * gradient.new_tensor(half)).norm(dim=-1), 0.0)
    views += seen


def _observe(
    gradient: Tensor, radii: Tensor, half: tuple[float, float], total: Tensor, views: Tensor
) -> None:
    """`observe_reference` in one pass on a CPU."""
    arrays = map(to_array, (total, views))
    _add_lengths(*[to_array(gradient), to_array(radii), *half, *arrays])


@njit(nogil=True, cache=True)
def _add_lengths(gradient, radii, half_width, half_height, total, views):
    for i in range(len(radii)):
        if radii[i] > 0:
            x, y = gradient[i, 0] * half_width, gradient[i, 1] * half_height
            total[i] += math.sqrt(x * x + y * y)
            views[i] += 1
