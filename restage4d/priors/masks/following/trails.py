"""Which trails through the clip belong to the subject: short pieces of dense point tracks, labelled
all together.

Every piece of a trail is a node of a graph. Pieces of one trail hang together, and so do pieces
that lie side by side, move alike and look alike. Pieces in the frame of the given mask carry its
label; all others have their motion against the background as a hint. The labels that vary least
over the graph solve one sparse linear system (random walker: Grady, "Random walks for image
segmentation", 2006). Background that comes into view behind the subject is so judged by all of its
life, not by one frame.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.linalg import cg
from scipy.spatial import KDTree

from restage4d.clips import Rewound
from restage4d.priors.masks.likelihood_ratio import LogLikelihoodRatio
from restage4d.priors.motion.background_motion import is_lost
from restage4d.priors.motion.optical_flow import Flow, sample

F32 = NDArray[np.float32]
Ints = NDArray[np.int64]
Bool = NDArray[np.bool_]

_FINE = 4  # pixels between trails where the subject may be, at a longer side of 384
_COARSE = 3  # times that elsewhere
_PIECE = 6  # frames after which a trail's next piece begins
_JUMP = 14.0  # change of Lab colour that ends a trail: it slipped onto something else
_NEAREST = 6  # trails to which each one is tied, in every second frame
_SAME_VELOCITY, _SAME_COLOUR = (
    0.6,
    8.0,
)  # scale of the differences, pixels per frame and Lab, that tied trails may have
_LINK = 16.0  # strength of the tie between pieces of one trail; side by side it is at most 1
_SEED = 20.0  # how much trails hold on to the given mask
_HINT = 0.05  # strength of the motion's hint


@dataclass
class Trails:
    """Points in every frame, and what they belong to.

    Attributes:
        xy: per frame (k, 2) pixels.
        node: per frame (k,) the number of the trail's piece.
        label: (nodes,) subject in 0..1.
    """

    xy: list[F32]
    node: list[Ints]
    label: F32


def find_trails(
    rewound: Rewound,
    flow: Flow,
    speed: F32,
    velocity: NDArray[np.float16],
    lab: F32,
    first: Bool,
    near: Bool,
) -> Trails:
    """Trails over the clip from the flow, and their labels from the mask ``first`` of the seam.

    Args:
        speed: (T, H, W) against the background, NaN where unknown, and
        velocity: (T, H, W, 4), both as from `BackgroundMotion.measure_own_motion`.
        lab: (T, H, W, 3) smoothed Lab colours.
        first: (H, W) mask of frame ``rewound.seam``.
        near: (T, H, W) where the subject may be: trails are dense there.
    """
    xy, node, links, count = _grow(rewound, flow, lab, near)
    ends, weights = [np.concatenate(links) if links else np.empty((0, 2), np.int64)], []
    weights.append(np.full(len(ends[0]), _LINK))
    side_by_side = _tie_pieces(rewound, xy, node, velocity, lab, count)
    ends.append(side_by_side[0])
    weights.append(side_by_side[1])

    piece = np.concatenate(node)
    pace = np.concatenate(
        [sample(np.log(np.clip(s, 0.01, 100)), p) for s, p in zip(speed, xy, strict=True)]
    )
    known = np.isfinite(pace)
    seen = np.bincount(piece[known], minlength=count)
    pace = np.bincount(piece[known], pace[known], minlength=count) / np.maximum(seen, 1)
    pace = np.where(seen > 0, np.exp(pace), np.nan).astype(np.float32)

    scale = max(rewound.clip.size) / 384
    inside = first.astype(np.uint8)
    depth = cv2.distanceTransform(inside, cv2.DIST_L2, 3) - cv2.distanceTransform(
        1 - inside, cv2.DIST_L2, 3
    )
    depth = np.clip(depth, -max(first.shape), max(first.shape))  # of an empty mask it is endless
    depth = sample(depth, xy[rewound.seam]) / scale
    given = node[rewound.seam]
    ratio = LogLikelihoodRatio(0.03, 12.0)
    clear = (depth > 2) | (
        (depth < -2) & (depth > -60)
    )  # flow blurs the outline; what is far away is no match
    ratio.learn(pace[given[clear]], depth[clear] > 0)
    hint = np.clip(ratio(pace), -4, 4)
    label = (1 / (1 + np.exp(-hint))).astype(np.float32)
    weight = _HINT * np.abs(np.tanh(hint / 2)) * np.minimum(seen / _PIECE, 1) + 1e-6
    label[given], weight[given] = depth > 0, _SEED * np.clip(np.abs(depth) / 3, 0.05, 1)

    pairs = np.concatenate(ends)
    a, b = pairs[:, 0], pairs[:, 1]
    tie = np.concatenate(weights)
    graph = sparse.coo_array(
        (np.r_[tie, tie], (np.r_[a, b], np.r_[b, a])), shape=(count, count)
    ).tocsr()
    laplacian = sparse.diags_array(graph.sum(1) + weight) - graph
    precondition = sparse.diags_array(1 / laplacian.diagonal())
    found, _ = cg(laplacian, weight * label, x0=label, rtol=1e-4, maxiter=400, M=precondition)
    return Trails(xy, node, np.clip(found, 0, 1).astype(np.float32))


def _grow(
    rewound: Rewound, flow: Flow, lab: F32, near: Bool
) -> tuple[list[F32], list[Ints], list[Ints], int]:
    """Points and pieces per frame, pairs (n, 2) of pieces that follow one another, and the number
    of pieces."""
    total, height, width = near.shape
    fine = max(2, round(_FINE * max(height, width) / 384))
    grid_rows, grid_cols = -(-height // fine), -(-width // fine)
    rows, cols = (grid.ravel() for grid in np.mgrid[:grid_rows, :grid_cols])
    centre = np.stack(
        [
            np.minimum((cols + 0.5) * fine, width - 0.5),
            np.minimum((rows + 0.5) * fine, height - 0.5),
        ],
        -1,
    )
    centre = centre.astype(np.float32)
    block = (rows // _COARSE) * grid_cols + cols // _COARSE
    middle = (rows % _COARSE == _COARSE // 2) & (cols % _COARSE == _COARSE // 2)
    xy: list[F32] = [np.empty((0, 2), np.float32)] * total
    node: list[Ints] = [np.empty(0, np.int64)] * total
    look: list[F32] = [np.empty((0, 3), np.float32)] * total
    age: list[Ints] = [np.empty(0, np.int64)] * total
    links: list[Ints] = []
    count = 0
    for a, b in [(rewound.seam, rewound.seam), *rewound.outward(rewound.seam)]:
        here, piece, colour, old = xy[a], node[a], look[a], age[a]
        if len(here):
            step = sample(flow.get_flow(a, b), here)
            here = here + step
            colour_now = sample(lab[b], here)
            keep = ~is_lost(step, sample(flow.get_flow(b, a), here)) & (
                np.linalg.norm(colour_now - colour, axis=1) < _JUMP
            )
            keep &= (here > 0).all(1) & (here[:, 0] < width) & (here[:, 1] < height)
            kept = np.flatnonzero(keep)
            cell = (here[kept, 1] / fine).astype(np.int64) * grid_cols + (
                here[kept, 0] / fine
            ).astype(np.int64)
            kept = kept[
                np.sort(np.unique(cell, return_index=True)[1])
            ]  # where trails crowd, the oldest stays
            here, piece, old = here[kept], piece[kept].copy(), old[kept] + 1
            colour = np.float32(0.8) * colour[kept] + np.float32(0.2) * colour_now[kept]
            again = old >= _PIECE
            fresh = np.arange(count, count + again.sum())
            count += len(fresh)
            links.append(np.stack([piece[again], fresh], 1))
            piece[again], old[again] = fresh, 0
        taken = np.zeros(grid_rows * grid_cols, bool)
        taken[
            (here[:, 1] / fine).astype(np.intp) * grid_cols + (here[:, 0] / fine).astype(np.intp)
        ] = True
        empty = np.bincount(block, taken)[block] == 0
        pixel = centre.astype(np.intp)
        born = centre[~taken & (near[b][pixel[:, 1], pixel[:, 0]] | (middle & empty))]
        xy[b] = np.concatenate([here, born]).astype(np.float32)
        node[b] = np.concatenate([piece, np.arange(count, count + len(born))])
        look[b] = np.concatenate([colour, sample(lab[b], born)]).astype(np.float32)
        age[b] = np.concatenate([old, np.zeros(len(born), np.int64)])
        count += len(born)
    return xy, node, links, count


def _tie_pieces(
    rewound: Rewound,
    xy: list[F32],
    node: list[Ints],
    velocity: NDArray[np.float16],
    lab: F32,
    count: int,
) -> tuple[Ints, NDArray[np.float64]]:
    """Pairs of pieces (n, 2) that were seen side by side, and how much they belong together
    (n,)."""
    reach = 2 * _COARSE * max(2, round(_FINE * max(rewound.clip.size) / 384))
    key, faster, other = [], [], []
    for t in range(0, len(xy), 2):
        motion, colour = sample(velocity[t], xy[t]), sample(lab[t], xy[t])
        found = KDTree(xy[t]).query(xy[t], _NEAREST + 1, distance_upper_bound=reach)
        a, b = np.repeat(np.arange(len(motion)), _NEAREST), np.asarray(found[1])[:, 1:].ravel()
        a, b = a[b < len(motion)], b[b < len(motion)]
        apart = (motion[a] - motion[b]).reshape(-1, 2, 2)
        faster.append(np.linalg.norm(apart, axis=-1).max(1))
        other.append(np.linalg.norm(colour[a] - colour[b], axis=1))
        key.append(np.minimum(node[t][a], node[t][b]) * count + np.maximum(node[t][a], node[t][b]))
    pair, which = np.unique(np.concatenate(key), return_inverse=True)
    times = np.bincount(which)
    faster = np.bincount(which, np.concatenate(faster) ** 2) / times
    other = np.bincount(which, np.concatenate(other)) / times
    weight = (
        np.exp(-0.5 * faster / _SAME_VELOCITY**2 - 0.5 * (other / _SAME_COLOUR) ** 2)
        * np.minimum(times / 6, 1)
        + 1e-4
    )
    return np.stack([pair // count, pair % count], 1), weight
