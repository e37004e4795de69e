"""Bases that follow a place of the body that is pulled, as rigidly as its neighbourhoods allow.

Unknown is one rigid motion per basis, on top of what the basis is at this moment. The energy is a
sum of squares over some of the points, carried by Eq. 1 itself:

* the middle of the grabbed points is where it is pulled to;
* every edge (i, j) of the graph stands to i as before, up to the rotation of i (Sorkine and Alexa
  2007, with the rotations that Eq. 1 gives), weighted as in Eq. 2-3;
* pinned points, and softly those beyond the reach, stay where they were;
* and a little, all bases stay as they were.

Lengths are measured in the graph's spacing, so that nothing hangs on the body's size. Gauss-Newton
with the exact derivative of Eq. 1; the inverse of the normal equations is kept while it serves.
"""

from dataclasses import dataclass

import numpy as np

from restage4d import se3
from restage4d.errors import InputError
from restage4d.posing.carrying import Body, Carried, carry, cross_matrix, turn_bases
from restage4d.posing.graph import Graph, Rows, connect, measure_ways, sample_points
from restage4d.se3 import Array

_PULL, _PIN, _HOLD, _STAY, _CALM = 100.0, 1e5, 0.3, 3e-4, 1e-2  # weights of the energy's parts
_CHUNK = 48  # edges whose equations are added up at once
_STALE = 0.8  # radians or spacings that a basis moves before the equations are made anew
_AT_REST = 1e-3  # radians or spacings: less is no motion any more
_COARSE, _FINE, _BEYOND = (
    500,
    600,
    150,
)  # points of the graphs: to measure ways; near the hand; else
_GRABBED, _PINNED = 40, 150  # points that stand for all that are grabbed or pinned
_MOVED = 0.02  # a basis with less than this of every point in reach is left alone


@dataclass(frozen=True, eq=False)
class Grip:
    """What is grabbed.

    Attributes:
        rows: of the points in the hand.
        reach: (N,) how much each point of the body may follow: 1 near the hand, 0 beyond.
        graph: finer near the hand.
    """

    rows: Rows
    reach: Array
    graph: Graph


def grab(body: Body, point: int, *, size: float, reach: float) -> Grip:
    """Takes hold of a place.

    Args:
        point: the one in the middle of the hand.
        size: radius of what the hand holds, world units.
        reach: how far along the body it may bend, world units.

    Raises:
        InputError: there is no such point.
    """
    if not 0 <= point < len(body.means):
        raise InputError("Nothing was grabbed.", "Press on a splat of the puppet.")
    posed = body.pose()
    nodes, of_point = sample_points(body.means, body.index, body.weight, _COARSE)
    coarse = connect(nodes, body.means, posed, body.index, body.weight)
    far = measure_ways(coarse, posed[nodes], int(of_point[point]))[of_point]
    gap = np.linalg.norm(posed - posed[point], axis=1)
    far = np.maximum(
        np.where(far <= coarse.spacing, 0, far), gap
    )  # no nearer than as the crow flies
    s = np.clip(2 - 2 * far / max(reach, 1e-9), 0, 1)
    follows = s * s * (3 - 2 * s)
    held = (gap <= size) & (far <= size + 2 * coarse.spacing)
    held[point] = True
    rows = np.flatnonzero(held)
    inside = np.flatnonzero(follows > 0)
    follows[rows], outside = 1.0, np.flatnonzero(follows <= 0)
    chosen = [
        part[sample_points(body.means[part], body.index[part], body.weight[part], count)[0]]
        for part, count in ((inside, _FINE), (outside, _BEYOND))
        if len(part)
    ]
    fine = connect(np.concatenate(chosen), body.means, posed, body.index, body.weight)
    return Grip(_thin(rows, _GRABBED), follows, fine)


class Drag:
    """One pull, from the press to the release.

    Args:
        body: as it is when the pull begins.
        grip: what of it is grabbed.
        pinned: points that must stay.

    Example:
        >>> drag = Drag(body, grab(body, 1234, size=0.03, reach=0.3))
        >>> bases = drag.move(np.array([0.0, 0.0, 0.1]))
    """

    def __init__(self, body: Body, grip: Grip, pinned: Rows | None = None) -> None:
        pinned = _thin(np.zeros(0, np.intp) if pinned is None else pinned, _PINNED)
        self.graph, nodes = grip.graph, grip.graph.nodes
        rows = np.concatenate([nodes, pinned, grip.rows])
        self._hold = np.zeros(len(rows))
        self._hold[: len(nodes)] = _STAY + _HOLD * (1 - grip.reach[nodes])
        self._hold[len(nodes) : len(nodes) + len(pinned)] = _PIN
        self._grabbed = np.arange(len(nodes) + len(pinned), len(rows))
        self._means = body.means[rows].astype(np.float64)
        self._index = body.index[rows].astype(np.intp)
        weight = body.weight[rows].astype(np.float64)
        self._weight = weight / weight.sum(1, keepdims=True)
        self.start = body.bases.astype(np.float64)
        self.bases = self.start
        self._centre, self._free = self._look_at_bases(grip.reach[rows])
        self._carried = self._carry(self.start)
        self._x0, self._R0 = self._carried.x, self._carried.R
        self._target = self._x0[self._grabbed].mean(0)
        i, j = self.graph.edges.T
        self._edges_from = self._x0[j] - self._x0[i]
        self._root = np.sqrt(self.graph.weight)[:, None] / self.graph.spacing
        self._plan()
        self._inverse: Array | None = None
        self._made_at = self.start

    def move(self, offset: Array, *, steps: int = 2) -> Array:
        """The bases (K, 9) for a hand that stands ``offset`` (3,) from where it grabbed, after a
        few steps; the next call goes on from there."""
        self._target = self._x0[self._grabbed].mean(0) + offset
        for i in range(steps):
            if self._step(np.inf if i else _STALE) < 1e-4:
                break
        return self.bases

    def settle(self, *, steps: int = 10) -> Array:
        """The bases (K, 9) once nothing moves any more, for the last place of the hand."""
        for _ in range(steps):
            if self._step(0.0) < _AT_REST:
                break
        return self.bases

    def compute_energy(self, bases: Array) -> float:
        """What is made small, for bases (K, 9)."""
        return _halve_squares(self._find_residuals(self._carry(bases), bases))

    def compute_gradient(self, bases: Array) -> Array:
        """(K, 6): of `compute_energy`, to a small motion of each basis as `carrying.turn_bases`
        takes it about `find_middle`."""
        return self._differentiate(self._carry(bases), bases)

    def find_middle(self, bases: Array) -> Array:  # (K, 9) -> (K, 3)
        """Where the middle of what each basis moves is, as that basis alone carries it."""
        R = se3.gram_schmidt(bases[:, :6])
        return np.einsum("kij,kj->ki", R, self._centre) + bases[:, 6:]

    def _differentiate(self, carried: Carried, bases: Array) -> Array:  # -> (K, 6)
        h = self.graph.spacing
        edges, held, pull, moved = self._find_residuals(carried, bases)
        i, j = self.graph.edges.T
        force, twist = np.zeros_like(carried.x), np.zeros_like(carried.x)
        push = self._root * edges
        _add_rows(force, j, push)
        _add_rows(force, i, -push)
        _add_rows(twist, i, np.cross(push, self._turn_edges(carried)))
        force += np.sqrt(self._hold)[:, None] / h * held
        force[self._grabbed] += np.sqrt(_PULL) / h / len(self._grabbed) * pull
        each = np.einsum("pi,pmic->pmc", force, carried.dx)
        each += np.einsum("pi,pmic->pmc", twist, carried.turn)
        where = self._index.ravel()
        out = np.zeros((len(bases), 6))
        for c in range(6):
            out[:, c] = np.bincount(where, each[..., c].ravel(), len(bases))
        back = np.sqrt(_CALM) * moved
        out[:, :3] += np.cross(bases[:, :3], back[:, :3]) + np.cross(bases[:, 3:6], back[:, 3:6])
        out[:, 3:] += back[:, 6:] / h
        return out

    def _look_at_bases(self, reach: Array) -> tuple[Array, Rows]:
        """The middle of what each basis moves, (K, 3) at rest, and which bases move anything that
        may follow."""
        k = len(self.start)
        share, centre, most = np.zeros(k), np.zeros((k, 3)), np.zeros(k)
        for index, weight in zip(self._index.T, self._weight.T, strict=True):
            np.add.at(share, index, weight)
            np.add.at(centre, index, weight[:, None] * self._means)
            np.maximum.at(most, index, np.where(reach > 0, weight, 0))
        centre[share == 0] = self._means.mean(0)
        return centre / np.where(share == 0, 1, share)[:, None], np.flatnonzero(most >= _MOVED)

    def _carry(self, bases: Array) -> Carried:
        return carry(bases, self._means, self._index, self._weight, self.find_middle(bases))

    def _find_residuals(
        self, carried: Carried, bases: Array
    ) -> tuple[Array, Array, Array, Array]:  # (E, 3), (P, 3), (3,), (K, 9)
        """Of the edges, the held points, the pull, and the bases themselves."""
        (i, j), h = self.graph.edges.T, self.graph.spacing
        edges = self._root * (carried.x[j] - carried.x[i] - self._turn_edges(carried))
        held = np.sqrt(self._hold)[:, None] / h * (carried.x - self._x0)
        pull = np.sqrt(_PULL) / h * (carried.x[self._grabbed].mean(0) - self._target)
        shift = (self.find_middle(bases) - self.find_middle(self.start)) / h
        turn = bases[:, :6] - self.start[:, :6]
        return edges, held, pull, np.sqrt(_CALM) * np.concatenate([turn, shift], 1)

    def _turn_edges(self, carried: Carried) -> Array:  # -> (E, 3)
        """What each edge would be if it stood to its first end as at the start."""
        turned = carried.R @ self._R0.transpose(0, 2, 1)
        return np.einsum("eij,ej->ei", turned[self.graph.edges[:, 0]], self._edges_from)

    def _plan(self) -> None:
        """Which unknowns every chunk of edges and of points speaks of; the same from press to
        release."""
        strongest = self._index[np.arange(len(self._index)), self._weight.argmax(1)]
        place = np.full(len(self.start), -1)
        place[self._free] = np.arange(len(self._free))
        self._place = place[self._index]  # (P, M), -1 for a basis that is left alone
        i, j = self.graph.edges.T
        both = np.concatenate([self._place[i], self._place[j]], 1)
        self._edge_chunks = _split(both, np.lexsort((strongest[j], strongest[i])))
        held = np.flatnonzero(self._hold)
        self._held_chunks = _split(self._place, held[np.argsort(strongest[held], kind="stable")])

    def _invert(self, carried: Carried, bases: Array) -> Array:
        """The inverse of the normal equations of the free bases, (6F, 6F)."""
        h, f, (i, j) = self.graph.spacing, len(self._free), self.graph.edges.T
        H = np.zeros((f + 1, f + 1, 6, 6))  # the last row and column take what is left alone
        dx, turn = (a[:].astype(np.float32) for a in (carried.dx, carried.turn))
        arm = cross_matrix(self._turn_edges(carried)).astype(np.float32)
        root = self._root.astype(np.float32)[..., None, None]
        for edges, found, column in self._edge_chunks:
            near = arm[edges, None] @ turn[i[edges]] - dx[i[edges]]
            block = _gather(
                root[edges] * np.concatenate([near, dx[j[edges]]], 1), column, len(found)
            )
            H[found[:, None], found] += block
        root = (np.sqrt(self._hold) / h)[:, None, None, None]
        for rows, found, column in self._held_chunks:  # of weights too far apart for float32
            H[found[:, None], found] += _gather(root[rows] * carried.dx[rows], column, len(found))
        pull = np.zeros((f + 1, 3, 6))
        for p in self._grabbed:
            np.add.at(pull, self._place[p], np.sqrt(_PULL) / h / len(self._grabbed) * carried.dx[p])
        H += np.einsum("aic,bid->abcd", pull, pull)
        calm, mine = np.zeros((f, 6, 6)), bases[self._free]
        for column in (mine[:, :3], mine[:, 3:6]):
            cross = cross_matrix(column)
            calm[:, :3, :3] += _CALM * cross.transpose(0, 2, 1) @ cross
        calm[:, 3:, 3:] += _CALM / h**2 * np.eye(3)
        H[np.arange(f), np.arange(f)] += calm
        flat = H[:f, :f].transpose(0, 2, 1, 3).reshape(6 * f, 6 * f)
        flat[np.diag_indices(6 * f)] += 1e-8 * flat.trace() / (6 * f)
        return np.linalg.inv(flat)

    def _step(self, stale: float) -> float:
        """One step of Gauss-Newton, with equations that were made no further than ``stale`` from
        here; returns how far bases moved, in radians and spacings."""
        before, carried = self.bases, self._carried
        if self._inverse is None or self._compare(before, self._made_at) > stale:
            self._inverse, self._made_at = self._invert(carried, before), before
        small = np.zeros((len(before), 6))
        wanted = self._inverse @ self._differentiate(carried, before)[self._free].ravel()
        small[self._free] = -wanted.reshape(-1, 6)
        turn = float(np.linalg.norm(small[:, :3], axis=1).max())
        small *= min(1.0, 0.7 / max(turn, 1e-9))  # further is more than the derivative tells
        middle = self.find_middle(before)
        energy = _halve_squares(self._find_residuals(carried, before))
        for _ in range(4):
            moved = turn_bases(before, small, middle)
            there = self._carry(moved)
            if _halve_squares(self._find_residuals(there, moved)) <= energy:
                self.bases, self._carried = moved, there
                return self._compare(before, moved)
            small *= 0.5
        if self._made_at is before:
            return 0.0  # as low as it gets
        self._inverse = None
        return 1.0

    def _compare(self, a: Array, b: Array) -> float:
        shift = np.abs(self.find_middle(a) - self.find_middle(b)).max() / self.graph.spacing
        return float(max(np.abs(a[:, :6] - b[:, :6]).max(), shift))


def _halve_squares(parts: tuple[Array, ...]) -> float:
    return 0.5 * sum(float((part**2).sum()) for part in parts)


def _gather(parts: Array, column: Rows, count: int) -> Array:  # (E, S, 3, 6), (E, S)
    """``J.T @ J`` of equations whose S parts stand in some of ``count`` columns: (count, count, 6,
    6)."""
    J = np.zeros((len(parts), 3, count, 6), parts.dtype)
    row = np.arange(len(parts))
    for s in range(column.shape[1]):  # a column may stand twice in a row
        J[row, :, column[:, s]] += parts[:, s]
    flat = J.reshape(3 * len(parts), 6 * count)
    return (flat.T @ flat).reshape(count, 6, count, 6).transpose(0, 2, 1, 3)


def _split(place: Rows, order: Rows) -> list[tuple[Rows, Rows, Rows]]:
    """Equations, in an order that keeps near ones together, in chunks: which they are, the unknowns
    that they speak of, and which of these each of their parts is."""
    chunks = []
    order = order[(place[order] >= 0).any(1)]
    for first in range(0, len(order), _CHUNK):
        rows = order[first : first + _CHUNK]
        found, column = np.unique(place[rows], return_inverse=True)
        chunks.append((rows, found, column.reshape(place[rows].shape)))
    return chunks


def _thin(rows: Rows, count: int) -> Rows:
    """At most ``count`` of them, evenly."""
    return rows[np.linspace(0, len(rows) - 1, min(count, len(rows))).astype(np.intp)]


def _add_rows(out: Array, rows: Rows, values: Array) -> None:  # (P, 3), (E,), (E, 3)
    for c in range(3):
        out[:, c] += np.bincount(rows, values[:, c], len(out))
