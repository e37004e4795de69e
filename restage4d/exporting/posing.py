"""The subject of a shot posed frame by frame, quickly: Eq. 1 as one sparse product of coefficients
and bases, everything after it column by column in float32.

`restage4d.puppet.Puppet.pose` is the readable twin; the two agree to float32.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from restage4d import sh
from restage4d.puppet import F32, Gaussians

_T = TypeVar("_T")
_AHEAD = 3  # frames that are ready or being posed while one is written
_BLOCK = 1 << 14  # points that are posed together: their columns fit a core's cache
_EPS = np.float32(1e-12)


class Poser:
    """Poses Gaussians by motion bases.

    Args:
        gaussians: N of them, as they are before any motion.
        index, weight: (N, M) rows of the bases and their shares, as `Puppet` has them.
        n_bases: K.

    Example:
        >>> poser = Poser(puppet.subject, puppet.index, puppet.weight, puppet.n_bases)
        >>> poser.pose(performance.bases[:, 20])  # puppet.pose(performance, 20)
    """

    def __init__(
        self, gaussians: Gaussians, index: NDArray[np.integer], weight: F32, n_bases: int
    ) -> None:
        from scipy.sparse import csr_matrix  # Blender reads this module's users without it

        starts = np.arange(0, index.size + 1, index.shape[1])
        shares = (weight.ravel(), index.ravel().astype(np.int32), starts)
        shares = csr_matrix(shares, shape=(len(gaussians), n_bases))
        self._gaussians = gaussians
        self._blocks = [
            (
                slice(first, first + _BLOCK),
                shares[first : first + _BLOCK],
                np.ascontiguousarray(gaussians.means[first : first + _BLOCK].T),
                np.ascontiguousarray(gaussians.quats[first : first + _BLOCK].T),
            )
            for first in range(0, len(gaussians), _BLOCK)
        ]

    def pose(self, bases: F32) -> Gaussians:  # (K, 9)
        """The Gaussians at a moment; SH above degree 0 turn with them. What does not move is not
        copied."""
        g, bases = self._gaussians, np.ascontiguousarray(bases, np.float32)
        means, quats = np.empty_like(g.means), np.empty_like(g.quats)
        radiance = g.sh if g.sh.shape[1] == 1 else np.empty_like(g.sh)
        for rows, shares, rest, turned in self._blocks:
            columns = np.ascontiguousarray((shares @ bases).T)  # (9, n)
            x, y, z = _orthogonalise(columns[:3], columns[3:6])
            for i in range(3):
                means[rows, i] = x[i] * rest[0] + y[i] * rest[1] + z[i] * rest[2] + columns[6 + i]
            quats[rows] = _multiply(_find_quats(x, y, z), turned).T
            if radiance is not g.sh:
                radiance[rows] = _rotate_radiance(g.sh[rows], x, y, z)
        return replace(g, means=means, quats=quats, sh=radiance)


def pose_ahead(jobs: Iterable[Callable[[], _T]]) -> Iterator[_T]:
    """Runs jobs in threads, a few ahead of what is taken; their results in order. Ended early, what
    has not begun never begins."""
    with ThreadPoolExecutor(2, "pose") as pool:
        under_way: deque[Future[_T]] = deque()
        try:
            for job in jobs:
                under_way.append(pool.submit(job))
                if len(under_way) >= _AHEAD:
                    yield under_way.popleft().result()
            while under_way:
                yield under_way.popleft().result()
        finally:
            for waiting in under_way:
                waiting.cancel()


def _orthogonalise(x: F32, y: F32) -> tuple[F32, F32, F32]:  # (3, N), (3, N)
    """γ of Eq. 1, in place: the three columns of each rotation."""
    x *= 1 / np.maximum(np.sqrt((x * x).sum(0)), _EPS)
    y -= (x * y).sum(0) * x
    y *= 1 / np.maximum(np.sqrt((y * y).sum(0)), _EPS)
    return x, y, np.stack([x[i - 2] * y[i - 1] - x[i - 1] * y[i - 2] for i in range(3)])


def _find_quats(x: F32, y: F32, z: F32) -> F32:  # three of (3, N) -> (4, N)
    """Unit quaternions (wxyz) of rotations, each by its largest component, as
    `se3.matrix_to_quat`."""
    squares = np.stack(
        [
            1 + x[0] + y[1] + z[2],
            1 + x[0] - y[1] - z[2],
            1 - x[0] + y[1] - z[2],
            1 - x[0] - y[1] + z[2],
        ]
    )  # 4 w², 4 x², 4 y², 4 z²
    largest = squares.argmax(0)
    quats = np.empty_like(squares)
    for k in range(4):
        rows = np.flatnonzero(largest == k)
        if len(rows) == 0:
            continue
        some = slice(None) if len(rows) == len(largest) else rows
        a, b, c = x[:, some], y[:, some], z[:, some]
        wx, wy, wz = b[2] - c[1], c[0] - a[2], a[1] - b[0]
        xy, xz, yz = a[1] + b[0], a[2] + c[0], b[2] + c[1]
        first = squares[k][some]
        row = (
            (first, wx, wy, wz),
            (wx, first, xy, xz),
            (wy, xy, first, yz),
            (wz, xz, yz, first),
        )[k]
        length = np.sqrt(sum(v * v for v in row))
        sign = np.copysign(1 / length, row[0])
        for i in range(4):
            quats[i, some] = row[i] * sign
    return quats


def _multiply(a: F32, b: F32) -> F32:  # (4, N), (4, N) -> (4, N)
    """`se3.quat_multiply`, by columns."""
    aw, ax, ay, az = a
    bw, bx, by, bz = b
    return np.stack(
        [
            aw * bw - ax * bx - ay * by - az * bz,
            aw * bx + ax * bw + ay * bz - az * by,
            aw * by - ax * bz + ay * bw + az * bx,
            aw * bz + ax * by - ay * bx + az * bw,
        ]
    )


def _rotate_radiance(old: F32, x: F32, y: F32, z: F32) -> F32:  # (n, C, 3), three of (3, n)
    """`sh.rotate` by columns: ``new = Y(D)^-1 Y(D R) old`` band by band, term by term."""
    degree = sh.degree_of(old.shape[1])
    columns = np.ascontiguousarray(old.transpose(1, 2, 0))  # (C, 3, n)
    directions = sh.DIRECTIONS.astype(np.float32)
    turned = sh.basis_rows(directions @ x, directions @ y, directions @ z, degree)
    new = np.zeros_like(columns)
    new[0] = columns[0]
    for band, inverse in enumerate(sh.INVERSES[:degree], 1):
        part = slice(band * band, (band + 1) ** 2)
        for i in range(part.start, part.stop):
            values = turned[i][: 2 * band + 1]
            new[part] += (inverse.astype(np.float32) @ values)[:, None] * columns[i]
    return new.transpose(2, 0, 1)
