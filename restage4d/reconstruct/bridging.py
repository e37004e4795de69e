"""Gaps between the body of a finished puppet and parts that hang apart from it are bridged.

Where a mask lost a thin or pale piece, a shin between hoof and knee, what is left of the limb hangs
in the air in every frame. What was between them is not known, but that something was: both belong
to one body. Rows of Gaussians lead from one end to the other, in place, colour and coefficients
between those of the ends, so that they go along with both.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.spatial import KDTree
from scipy.spatial.distance import cdist

from restage4d import se3
from restage4d.evaluate.metrics.pieces import label_solid
from restage4d.evaluate.metrics.tracking import SOLID
from restage4d.priors.geometry.pixels import find_pixels
from restage4d.puppet import F32, Gaussians, Puppet
from restage4d.reconstruct.fusion.completing.reflection import measure_extent, measure_spacing
from restage4d.threads import map_on_cores

Bool = NDArray[np.bool_]
F64 = NDArray[np.float64]

_LEAST = 0.002  # of all Gaussians: smaller pieces are no parts
_SAME = 0.5  # share of two pieces of different frames that they have in common, to be one part
_WIDEST = 0.2  # of the extent: a part that is farther off in any frame was torn off by an error
_ROWS = 16  # that lead across a gap at most ...
_POOL = 64  # ... of so many
# of both ends, tried in turn: depth in extents, and how far rows start apart in median distances of
# neighbours
_ENDS = (0.02, 0.7), (0.04, 1.0), (0.04, 1.5), (0.05, 2.0)
_MOST = 200  # starts that are matched
_FEWEST = 3  # rows without which there is no bridge
_JOINED = 0.5  # of the frames in which it hangs apart: what a bridge must mend to be one
_STEP = 1.5  # median distances of neighbours from one Gaussian of a row to the next at most ...
_LONGEST = 40  # ... up to so many
_FILL = 2.5  # deviations of ends from their middle, shared by the rows: their thickness ...
_THICK = 1.5  # ... up to so many median distances of neighbours
_PASSES = 3
_CLEAR = 0.05  # of a row, in the frames, before the background, that does not show
_AIRY = 0.3  # of a bridge: from where others are tried
_BETTER = 0.5  # of that share: another end of the body is taken where it has less
_ELSEWHERE = 0.1  # of the extent: how far other ends are from those that were tried
_TRIES = 4
_MOSTLY = 0.5  # of the frames in which a part has to hang apart for a bridge before the background
_FRAMES = 72  # of a performance that are looked at, evenly


@dataclass(frozen=True)
class _Look:
    """The puppet at a frame ``t`` of a performance, under bases (K, 9): means (N, 3) in the world,
    numbers of their pieces (N,), 0 the largest, and the body's extent."""

    performance: int
    t: int
    bases: F32
    means: F32
    piece: NDArray[np.intp]
    extent: float


@dataclass(frozen=True)
class _Rows:
    """Rows across a gap: where they begin on the part and end on the body, numbers of Gaussians
    (R,), and of how many each is; the shortest first."""

    a: NDArray[np.intp]
    b: NDArray[np.intp]
    count: NDArray[np.intp]

    def take(self, which: NDArray[np.intp] | slice) -> "_Rows":
        return _Rows(self.a[which], self.b[which], self.count[which])


def bridge_gaps(
    puppet: Puppet, check: Callable[[], None], masks: Sequence[F32] | None = None
) -> Puppet:
    """The puppet with Gaussians added where parts of it hang apart, never by more than a little.

    A part that flies off far in some frame is left alone: a streak would lead to it. So is one
    that a bridge does not join. A bridge leads to the nearest of the body, but where frames see the
    background there, and less of it on the way to another end: two feet side by side are no limb.
    Rows that frames see before the background are left out where others join the part, too; what
    hangs apart in few frames gets no bridge of such rows, which would stand there in all others.

    Args:
        puppet: with its performances.
        check: called now and then; may raise `Cancelled`.
        masks: (T, H, W) of each performance, 0..1, the subject in its frames; below 0: not known.
            None: of none.
    """
    for _ in range(_PASSES):  # what hangs apart in one frame may be cut otherwise in another
        longer = _bridge_once(puppet, check, masks)
        if longer is puppet:
            break
        puppet = longer
    return puppet


def _bridge_once(puppet: Puppet, check: Callable[[], None], masks: Sequence[F32] | None) -> Puppet:
    """The puppet with bridges to the parts that hang apart now, itself where there are none."""
    moments = [
        (i, int(t))
        for i, performance in enumerate(puppet.performances)
        for t in np.unique(np.linspace(0, performance.n_frames - 1, _FRAMES).round().astype(int))
    ]

    def look(moment: tuple[int, int]) -> _Look:
        check()
        bases = puppet.performances[moment[0]].bases[:, moment[1]]
        at = se3.blend(bases, puppet.index, puppet.weight)
        means = se3.transform(*at, puppet.subject.means)
        return _Look(*moment, bases, means, label_solid(puppet, bases), measure_extent(means))

    looks = map_on_cores(look, moments, check)
    for part in _find_parts(looks):
        torn = [look for look in looks if _hangs_apart(part, look.piece)]
        if not torn:
            continue
        facing = _face(puppet, part, torn, check)
        best, least = puppet, np.inf
        for _ in range(_TRIES):
            found = _bridge_part(puppet, part, facing, torn, looks, masks, check)
            if found is None:
                break
            longer, ends = found
            share = float(_measure_airy(longer, len(puppet.subject), looks, masks).mean())
            if best is puppet or share < _BETTER * least:
                best, least = longer, share
            if share <= _AIRY:
                break
            facing = _leave_out(facing, ends)
            if facing is None:
                break
        if least <= _CLEAR or len(torn) >= _MOSTLY * len(looks):
            puppet = best
    return puppet


def _bridge_part(
    puppet: Puppet,
    part: Bool,
    facing: "_Facing",
    torn: list[_Look],
    looks: list[_Look],
    masks: Sequence[F32] | None,
    check: Callable[[], None],
) -> tuple[Puppet, NDArray[np.intp]] | None:
    """The puppet with a bridge that joins the part, and where rows end on the body; None where
    there is none. Rows that no frame sees before the background are taken if they join it."""
    for rows in _list_rows(puppet, facing, looks, masks):
        if len(rows.a) < _FEWEST:
            continue
        longer = _add_rows(puppet, rows, looks)
        poses = [look.bases for look in torn]
        labels = map_on_cores(partial(label_solid, longer), poses, check)
        joined = [not _hangs_apart(part, piece[: len(part)]) for piece in labels]
        if np.mean(joined) > _JOINED:
            return longer, rows.b
    return None


def _list_rows(
    puppet: Puppet, facing: "_Facing", looks: list[_Look], masks: Sequence[F32] | None
) -> Iterator[_Rows]:
    """What may be a bridge, the best first: from nearer and deeper ends, of hidden rows, of any."""
    widest = _WIDEST * min(look.extent for look in looks)
    plans = []
    for ends in _ENDS:
        plans.append(_plan_rows(puppet, facing, *ends, widest))
        if masks is not None and len(plans[-1].a):
            yield _keep_hidden(puppet, plans[-1], looks, masks).take(slice(_ROWS))
    for plan in plans:
        yield plan.take(slice(_ROWS))


def _keep_hidden(puppet: Puppet, rows: _Rows, looks: list[_Look], masks: Sequence[F32]) -> _Rows:
    """Those that hardly stand before the background."""
    airy = _measure_airy(_add_rows(puppet, rows, looks), len(puppet.subject), looks, masks)
    share = np.bincount(np.repeat(np.arange(len(rows.a)), rows.count), airy) / rows.count
    return rows.take(np.flatnonzero(share <= _CLEAR))


def _measure_airy(
    puppet: Puppet, first: int, looks: list[_Look], masks: Sequence[F32] | None
) -> F64:  # -> (M,)
    """Share of the frames looked at in which each Gaussian from ``first`` on stands before the
    background, by the masks; of what is not known, nothing does."""
    shares = np.zeros(len(puppet.subject) - first)
    if masks is None:
        return shares
    for look in looks:
        mask, performance = masks[look.performance][look.t], puppet.performances[look.performance]
        at = se3.blend(look.bases, puppet.index[first:], puppet.weight[first:])
        points = se3.transform(*at, puppet.subject.means[first:])
        camera = performance.K[look.t], performance.w2c[look.t]
        row, column, _, inside = find_pixels(points, *camera, mask.shape)
        seen = mask[row, column]
        shares += inside & (seen >= 0) & (seen < 0.5)
    return shares / len(looks)


def _leave_out(facing: "_Facing", ends: NDArray[np.intp]) -> "_Facing | None":
    """The part and the rest of the body, away from ``ends``; None where that is nothing."""
    means, extent = facing.look.means, facing.look.extent
    away = np.asarray(KDTree(means[ends]).query(means[facing.body])[0])
    kept = away > _ELSEWHERE * extent
    if not kept.any():
        return None
    body = facing.body[kept]
    distance = np.asarray(KDTree(means[body]).query(means[facing.part])[0])
    near = np.argsort(distance, kind="stable")
    return replace(
        facing,
        part=facing.part[near],
        body=body,
        from_part=distance[near],
        from_body=facing.from_body[kept],
    )


def _hangs_apart(part: Bool, piece: NDArray[np.intp]) -> bool:
    """Whether most of a part (N,) is of another piece than most of the rest."""
    return bool((piece[part] == _find_body(part, piece)).mean() < 0.5)


def _find_body(part: Bool, piece: NDArray[np.intp]) -> int:
    """The number of the piece to which most of the rest belongs."""
    return int(np.bincount(piece[~part]).argmax())


def _find_parts(looks: list[_Look]) -> list[Bool]:
    """What hangs apart in some frame, (N,) each, the largest first; of those that are about the
    same the largest alone."""
    found: list[Bool] = []
    for look in looks:
        count = np.bincount(look.piece)
        found += [
            look.piece == i for i in range(1, len(count)) if count[i] >= _LEAST * len(look.piece)
        ]
    parts: list[Bool] = []
    for part in sorted(found, key=lambda p: -int(p.sum())):
        if all((part & p).sum() < _SAME * (part | p).sum() for p in parts):
            parts.append(part)
    return parts


@dataclass(frozen=True)
class _Facing:
    """A part and the body in the frame in which they are farthest apart: numbers of the solid
    Gaussians of each, the nearest to the other first, and their distances to it."""

    look: _Look
    part: NDArray[np.intp]
    body: NDArray[np.intp]
    from_part: F64
    from_body: F64


def _face(puppet: Puppet, part: Bool, torn: list[_Look], check: Callable[[], None]) -> _Facing:
    """The part and what it hangs apart from, in the one of ``torn`` with the widest gap."""
    solid = puppet.subject.opacities[: len(part)] >= SOLID
    rows = np.flatnonzero(part & solid)

    def measure(look: _Look) -> tuple[NDArray[np.intp], F64]:
        body = np.flatnonzero(~part & solid & (look.piece == _find_body(part, look.piece)))
        return body, np.asarray(KDTree(look.means[body]).query(look.means[rows])[0])

    found = map_on_cores(measure, torn, check)
    wide = int(np.argmax([distance.min() for _, distance in found]))
    look, (body, distance) = torn[wide], found[wide]
    back = np.asarray(KDTree(look.means[rows]).query(look.means[body])[0])
    near, there = np.argsort(distance, kind="stable"), np.argsort(back, kind="stable")
    return _Facing(look, rows[near], body[there], distance[near], back[there])


def _plan_rows(
    puppet: Puppet, facing: _Facing, depth: float, spread: float, widest: float
) -> _Rows:
    """Rows across the gap that are never longer than ``widest``, world units. ``depth`` and
    ``spread``: see `_ENDS`."""
    look, spacing = facing.look, measure_spacing(facing.look.means)
    reach = facing.from_part[0] + depth * look.extent
    a, b = (
        _take_apart(look, of[away < reach], spread * spacing)
        for of, away in ((facing.part, facing.from_part), (facing.body, facing.from_body))
    )
    i, j = linear_sum_assignment(cdist(look.means[a], look.means[b], "sqeuclidean"))
    a, b = a[i], b[j]
    apart = _measure_apart(puppet, a, b)
    kept = np.argsort(apart, kind="stable")[:_POOL]
    kept = kept[apart[kept] < widest]
    count = np.ceil(apart[kept] / (_STEP * spacing)).astype(int).clip(2, _LONGEST) - 1
    return _Rows(a[kept], b[kept], count)


def _take_apart(look: _Look, rows: NDArray[np.intp], least: float) -> NDArray[np.intp]:
    """Those of ``rows`` (R,) that are ``least`` apart, world units, the first `_MOST`. Rows that
    end in one place would have nothing but one another among their nearest neighbours there, and
    not hang together with what is beyond (`label_solid`)."""
    kept: list[int] = []
    for i in rows:
        if np.all(np.linalg.norm(look.means[kept] - look.means[i], axis=1) >= least):
            kept.append(int(i))
        if len(kept) == _MOST:
            break
    return np.array(kept, np.intp)


def _measure_girth(end: F32) -> float:
    """Standard deviation of the Gaussians of rows that begin at ``end`` (R, 3), so that they fill
    what is between them."""
    return float(_FILL * np.sqrt(np.mean(np.var(end, axis=0)) / len(end)))


def _measure_apart(puppet: Puppet, a: NDArray[np.intp], b: NDArray[np.intp]) -> F32:
    """How far a and b (R,) are apart in the frame, of all there are, in which they are farthest
    from one another: (R,), world units."""

    def place(bases: F32, rows: NDArray[np.intp]) -> F32:
        at = se3.blend(bases, puppet.index[rows], puppet.weight[rows])
        return se3.transform(*at, puppet.subject.means[rows])

    most = np.zeros(len(a), np.float32)
    for performance in puppet.performances:
        for t in range(performance.n_frames):
            bases = performance.bases[:, t]
            way = place(bases, a) - place(bases, b)
            most = np.maximum(most, np.linalg.norm(way, axis=1))
    return most


def _add_rows(puppet: Puppet, rows: _Rows, looks: list[_Look]) -> Puppet:
    """The puppet with the rows' Gaussians.

    Coefficients are those of both ends mixed. Each place is the one from where they carry the
    Gaussian nearest to the straight line between both ends, in the mean of all frames looked at.
    """
    a, b, count = rows.a, rows.b, rows.count
    each = np.repeat(np.arange(len(a)), count)
    number = np.arange(len(each)) - np.repeat(np.cumsum(count) - count, count) + 1
    share = (number / (count + 1)[each]).astype(np.float32)
    ends, a, b = a, a[each], b[each]

    def mix(values: F32) -> F32:
        s = share.reshape(-1, *[1] * (values.ndim - 1))
        return ((1 - s) * values[a] + s * values[b]).astype(np.float32)

    mixed = mix(puppet.compute_dense_weight())
    index = np.argsort(-mixed, 1, kind="stable")[:, : puppet.index.shape[1]]
    weight = np.take_along_axis(mixed, index, 1)
    weight /= weight.sum(1, keepdims=True)
    places = [
        se3.inverse_transform(*se3.blend(look.bases, index, weight), mix(look.means))
        for look in looks
    ]
    old = puppet.subject
    spacing = measure_spacing(looks[0].means)
    size = np.full(
        (len(each), 3),
        np.clip(_measure_girth(old.means[ends]), spacing / 2, _THICK * spacing),
        np.float32,
    )
    new = Gaussians(
        means=np.mean(places, 0).astype(np.float32),
        quats=np.tile(np.array([1, 0, 0, 0], np.float32), (len(a), 1)),
        scales=size,
        opacities=mix(old.opacities),
        sh=mix(old.sh),
    )
    values = {n: np.concatenate([v, getattr(new, n)]) for n, v in vars(old).items()}
    return replace(
        puppet,
        subject=Gaussians(**values),
        index=np.concatenate([puppet.index, index.astype(puppet.index.dtype)]),
        weight=np.concatenate([puppet.weight, weight]),
    )
