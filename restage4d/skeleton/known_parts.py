"""Parts of the body that are known beforehand, laid onto its cells."""

from collections.abc import Sequence

import numpy as np

from restage4d.skeleton.body_parts import BodyPart
from restage4d.skeleton.branches import Branch, trace_line
from restage4d.skeleton.shape import Shape, compute_distances, label_islands

_LEAST = 1.2  # cells: a shorter part has no shape
_HANGING = 2.0  # ways to the joint: what hangs on a part reaches no farther


def grow_branches(shape: Shape, parts: Sequence[BodyPart]) -> list[tuple[BodyPart, Branch]]:
    """The cells of each part: those nearer to its tip, within the body, than its joint is, and
    nearer to it than to any other part; and what then hangs on the trunk through it alone (ears on
    a head). Parts too short to have cells are left out."""
    kept, ways, lengths = [], [], []
    for part in parts:
        tip, joint = (_find_cell(shape, place) for place in (part.tip, part.joint))
        way = compute_distances(shape, np.array([tip]))
        if _LEAST * shape.size < way[joint] < np.inf:
            kept.append(part)
            ways.append(way)
            lengths.append(float(way[joint]) + shape.size)  # both ends lie within
    if not kept:
        return []
    share = np.stack(ways) / np.array(lengths)[:, None]
    owner = np.where(share.min(0) <= 1.0, share.argmin(0), -1)
    rest = owner < 0
    island = label_islands(len(shape), shape.edges[rest[shape.edges].all(1)])
    trunk = np.bincount(island[rest]).argmax() if rest.any() else -1
    hanging = rest & (island != trunk) & (share.min(0) <= _HANGING)
    owner = np.where(hanging, share.argmin(0), owner)
    found = []
    for i, (part, way, length) in enumerate(zip(kept, ways, lengths, strict=True)):
        cells = owner == i
        along = np.where(cells, np.clip(length - way, 0.0, length), 0.0)
        line, radius = trace_line(shape, cells & (share[i] <= 1.0), along, length)
        tip = _find_cell(shape, part.tip)
        line[0] = part.joint
        line[-1] = 0.5 * (line[-1] + shape.places[tip])
        found.append((part, Branch(cells, tip, along, length, line, radius)))
    return found


def _find_cell(shape: Shape, place: Sequence[float]) -> int:
    return int(np.linalg.norm(shape.places - np.asarray(place), axis=1).argmin())
