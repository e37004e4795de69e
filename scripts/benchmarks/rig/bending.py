"""How much bending a joint by 35 degrees tears a puppet: edges that get over three times longer.

    python scripts/benchmarks/rig/bending.py PUPPET ... [--json OUT]

Every joint of the skeleton that is found in the puppet, about the three axes both ways, at rest.
Edges go from each point to its eight nearest. The worst joint, and the mean of all, by the skin
weights that are built.
"""

import sys

import numpy as np
from figures import read_arguments, write_figures
from scipy.spatial import KDTree

from restage4d import se3
from restage4d.puppet import Puppet
from restage4d.skeleton.finding import find_skeleton
from restage4d.skeleton.posing import blend_changes
from restage4d.skeleton.skeleton import Skeleton

_DEGREES, _LONGER, _NEAR = 35, 3.0, 8


def turn_about(place: np.ndarray, axis: np.ndarray, degrees: float) -> np.ndarray:  # -> (4, 4)
    """A rotation about an axis (3,) through a place (3,)."""
    half = np.radians(degrees) / 2
    out = np.eye(4)
    out[:3, :3] = se3.quat_to_matrix(np.concatenate([[np.cos(half)], np.sin(half) * axis]))
    out[:3, 3] = place - out[:3, :3] @ place
    return out


def measure(skeleton: Skeleton, means: np.ndarray) -> dict[str, float]:
    """By joint the largest share of edges, of all axes and both ways."""
    far, near = KDTree(means).query(means, k=_NEAR + 1)
    far, near = np.asarray(far)[:, 1:], np.asarray(near)[:, 1:]
    rest = np.maximum(far, 1e-9)
    out: dict[str, float] = {}
    for b, bone in enumerate(skeleton.bones):
        mine = {b}
        for i, other in enumerate(skeleton.bones):
            if other.parent in mine:
                mine.add(i)
        for axis in np.eye(3):
            for degrees in (_DEGREES, -_DEGREES):
                changes = np.tile(np.eye(4), (len(skeleton.bones), 1, 1))
                changes[list(mine)] = turn_about(bone.head, axis, degrees)
                R, t = blend_changes(changes, skeleton.index, skeleton.weight)
                posed = se3.transform(R, t, means)
                longer = np.linalg.norm(posed[:, None] - posed[near], axis=2) > _LONGER * rest
                out[bone.name] = max(out.get(bone.name, 0.0), float(longer.mean()))
    return out


def main() -> int:
    given = read_arguments("How much bending a joint tears a puppet.")
    rows = []
    for path in given.puppets:
        puppet = Puppet.load(path)
        skeleton = find_skeleton(puppet)
        if skeleton is None:
            print(f"{path}: no skeleton is found")
            continue
        found = measure(skeleton, puppet.subject.means.astype(np.float64))
        worst = sorted(found, key=lambda name: -found[name])[:4]
        mean = float(np.mean(list(found.values())))
        shares = {name: f"{100 * found[name]:.3f} %" for name in worst}
        rows.append({"puppet": str(path), "mean": f"{100 * mean:.3f} %"} | shares)
    write_figures(rows, given.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
