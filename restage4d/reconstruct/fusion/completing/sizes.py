"""How large Gaussians of the far side may be, and have to be."""

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import KDTree

from restage4d.reconstruct.model.scene_model import SceneModel

F32 = NDArray[np.float32]

_NEIGHBOUR = 4  # whose distance is the width of a gap
_CLOSES = 0.6  # of that width: standard deviation of what closes it
_WIDEST = 3.0  # times the usual gap: where there is nothing around, nothing is to be closed


def limit_sizes(model: SceneModel, rows: NDArray[np.intp], largest: float) -> None:
    """Standard deviations of the subject's ``rows`` become at most ``largest``, world units."""
    sizes = model.params["subject.log_scales"]
    with torch.no_grad():
        sizes[torch.from_numpy(rows)] = sizes[torch.from_numpy(rows)].clamp(max=np.log(largest))


def close_gaps(model: SceneModel, posed: F32, rows: NDArray[np.intp], most: F32) -> None:
    """Widens the subject's ``rows`` (M,) along their two longer axes until they reach one another,
    to standard deviations of ``most`` (M,) at the most: the surface they are copies of is closed
    by many layers, of which some are left out.

    Args:
        model: changed in place.
        posed: (N, 3) all Gaussians in the world.
        rows: (M,) which.
        most: (M,) world units.
    """
    if len(posed) <= _NEIGHBOUR or not len(rows):
        return
    apart = np.asarray(KDTree(posed).query(posed[rows], k=_NEIGHBOUR + 1)[0], np.float32)[:, -1]
    wide = np.minimum(apart, _WIDEST * np.median(apart))
    least = np.minimum(_CLOSES * wide, most).astype(np.float32)
    at = torch.from_numpy(rows).to(model.device)
    with torch.no_grad():
        sizes = model.params["subject.log_scales"][at]
        floor = torch.from_numpy(np.log(np.maximum(least, 1e-6))).to(sizes)[:, None]
        thin = torch.nn.functional.one_hot(sizes.argmin(1), 3).bool()
        model.params["subject.log_scales"][at] = torch.where(thin, sizes, sizes.maximum(floor))
