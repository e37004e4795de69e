"""Figures of dragging: milliseconds of a step of the solver and of all points, and how it holds.

    python scripts/benchmarks/rig/posing.py [PUPPET ...] [--json OUT]

Pulls a foot of every puppet 12 cm up (its own scale), with the reach of the tool's default, in 15
moves of the hand, and back. Without puppets: a synthetic body of 15,000 and of 100,000 points with
100 bases. Times are of the processor, so that other programs count less; numpy's threads are left
at what the machine gives.
"""

import sys
import time

import numpy as np
from figures import read_arguments, write_figures
from scipy.spatial import KDTree

from restage4d import se3
from restage4d.posing.carrying import Body
from restage4d.posing.drag import Drag, grab
from restage4d.puppet import Puppet

_MOVES, _HAND, _REACH, _UP = 15, 0.03, 0.35, 0.12


def make_body(n: int, k: int = 100) -> Body:
    """A thick bent plate of n points over k bases that move a little apart."""
    rng = np.random.default_rng(0)
    means = rng.uniform(-0.5, 0.5, (n, 3)) * [1.0, 0.3, 0.7]
    middle = rng.uniform(-0.5, 0.5, (k, 3)) * [1.0, 0.3, 0.7]
    far, index = KDTree(middle).query(means, k=8)
    weight = np.exp(-((far / 0.08) ** 2)) + 1e-6
    turn = 0.05 * rng.normal(size=(k, 3))
    quats = np.concatenate([np.ones((k, 1)), turn / 2], 1)
    R = se3.quat_to_matrix(quats)
    t = middle - np.einsum("kij,kj->ki", R, middle)
    return Body(
        means.astype(np.float32),
        np.asarray(index).astype(np.uint16),
        (weight / weight.sum(1, keepdims=True)).astype(np.float32),
        se3.pack(R, t),
    )


def find_foot(places: np.ndarray, dense: np.ndarray) -> int:
    """The foremost of the lowest dense points."""
    low = np.flatnonzero(dense & (places[:, 2] < np.quantile(places[dense, 2], 0.02)))
    return int(low[places[low, 0].argmax()])


def measure(name: str, body: Body, dense: np.ndarray, up: float) -> dict[str, object]:
    """One pull forth and back."""
    before = body.pose()
    extent = float(np.linalg.norm(np.ptp(before, axis=0)))
    began = time.process_time()
    grip = grab(body, find_foot(before, dense), size=_HAND * extent, reach=_REACH * extent)
    drag = Drag(body, grip)
    press = time.process_time() - began
    steps, points = [], []
    shares = np.linspace(0, 1, _MOVES + 1)[1:]
    for share in (*shares, *shares[::-1][1:]):
        began = time.process_time()
        drag.move(np.array([0.25 * up, 0, up]) * share)
        steps.append(time.process_time() - began)
        began = time.process_time()
        body.pose(drag.bases)
        points.append(time.process_time() - began)
        if share == 1:
            began = time.process_time()
            after = body.pose(drag.settle())
            rest = time.process_time() - began
    drag.move(np.zeros(3))
    back = np.abs(body.pose(drag.settle()) - before).max() / extent
    _, near = KDTree(body.means[dense]).query(body.means[dense], k=7)
    near = np.asarray(near)[:, 1:]
    lengths = [np.linalg.norm(x[dense][:, None] - x[dense][near], axis=-1) for x in (before, after)]
    stretch = lengths[1] / np.maximum(lengths[0], 1e-3 * extent)
    moved = (after - before)[grip.rows].mean(0)
    return {
        "puppet": name,
        "points": len(body.means),
        "press_ms": round(1e3 * press, 1),
        "move_median_ms": round(1e3 * float(np.median(steps)), 1),
        "move_mean_ms": round(1e3 * float(np.mean(steps)), 1),
        "move_longest_ms": round(1e3 * max(steps), 1),
        "points_ms": round(1e3 * float(np.median(points)), 1),
        "release_ms": round(1e3 * rest, 1),
        "hand_misses_by": round(float(np.linalg.norm(moved - [0.25 * up, 0, up]) / up), 4),
        "stretched_over_3": float((stretch > 3).mean()),
        "longest_stretch": round(float(stretch.max()), 2),
        "back_in_extents": float(back),
    }


def main() -> int:
    given = read_arguments("Figures of dragging a puppet.", synthetic=True)
    rows = []
    for n in (15_000, 100_000) if not given.puppets else ():
        rows.append(measure(f"synthetic {n}", make_body(n), np.ones(n, bool), _UP))
    for path in given.puppets:
        puppet = Puppet.load(path)
        p = puppet.performances[-1]
        bases = p.bases[:, p.n_frames // 2]
        body = Body(puppet.subject.means, puppet.index, puppet.weight, bases)
        up = _UP / puppet.metres_per_unit
        rows.append(measure(str(path), body, puppet.subject.opacities > 0.3, up))
    write_figures(rows, given.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
