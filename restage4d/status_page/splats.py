"""Posed Gaussians as the rows of numbers that the page's viewer draws."""

from collections import OrderedDict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from restage4d import se3, sh
from restage4d.puppet import Gaussians, Puppet

F32 = NDArray[np.float32]
COLUMNS = 13  # mean 3, colour 3, opacity, covariance xx xy xz yy yz zz
_KEPT = 4  # puppets in memory


def pack_splats(gaussians: Gaussians) -> bytes:
    """Little-endian float32 rows of `COLUMNS` numbers: mean, colour 0..1 (sRGB, degree 0 of the
    spherical harmonics), opacity and the covariance's upper triangle, world units."""
    turned = se3.quat_to_matrix(gaussians.quats) * gaussians.scales[:, None]  # R S
    covariance = turned @ turned.transpose(0, 2, 1)
    rows = np.empty((len(gaussians.means), COLUMNS), "<f4")
    rows[:, :3] = gaussians.means
    level = np.zeros_like(gaussians.means)  # degree 0 is the same from everywhere
    rows[:, 3:6] = sh.colors(gaussians.sh[:, :1], level).clip(0, 1)
    rows[:, 6] = gaussians.opacities
    upper = np.triu_indices(3)
    rows[:, 7:] = covariance[:, upper[0], upper[1]]
    return rows.tobytes()


class PuppetShelf:
    """The puppets looked at last, by their files."""

    def __init__(self) -> None:
        self._puppets: OrderedDict[Path, Puppet] = OrderedDict()

    def take(self, path: Path) -> Puppet:
        """The puppet of a file. Raises `InputError` for a damaged one."""
        puppet = self._puppets.pop(path, None) or Puppet.load(path)
        self._puppets[path] = puppet
        while len(self._puppets) > _KEPT:
            self._puppets.popitem(last=False)
        return puppet
