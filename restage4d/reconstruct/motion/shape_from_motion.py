"""The subject's shape from its own motion: where the tracks show that it turns, depth is brought to
the turn and the distance that they show.

Depth of a single picture explains a turn before the camera by squeezing. The tracks of the same
turn, taken as one rigid body (`rigid_adjustment`), tell how far it turns. In every frame the
subject's depth then gets the slope along the picture's horizontal that this body has there, a turn
about the upright, to which standing bodies mostly keep, and the body's distance: a squeezed body
that stands on its near foot lies too near as a whole. The distance that depth tells holds the
body's, as a weight in the adjustment. Slopes along the vertical, and what limbs do by themselves,
the tracks tell too badly (docs/method.md); the relief's own detail stays.

Depth in which the subject turns as the tracks do already is left alone. So is depth in which
neighbouring points keep their distances: where it has joints, the one rigid body is what is wrong.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from restage4d.clips import Priors, Rewound
from restage4d.errors import FitError
from restage4d.frame_arrays import stack_on_cores
from restage4d.priors.geometry.inflation import inflate
from restage4d.reconstruct.losses.rigidity import knn_edges
from restage4d.reconstruct.motion.body_motion import estimate_body_motion
from restage4d.reconstruct.motion.initialisation import choose_tracks
from restage4d.reconstruct.motion.lifting import (
    LiftedTracks,
    compute_time_weights,
    lift_tracks,
    list_frame_triples,
)
from restage4d.reconstruct.motion.linear_fit import fit_linear
from restage4d.reconstruct.motion.rigid_adjustment import (
    AdjustmentConfig,
    RigidBody,
    adjust_rigid_body,
)

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
_POINTS = 400  # of the tracks, spread evenly
_REFERENCE = 384  # pixels of the longer side that `AdjustmentConfig.pixels` is said for
_AGREES = 0.5  # from which an observation belongs to the body
_ENOUGH = 30  # of them, without which a frame goes by its neighbours
_STEADY = 1.5  # frames over which slopes and distances are smoothed
_MOST = 1.25  # times, up to which depth may be corrected
_NEIGHBOURS = 8
_KEPT = 0.03  # stretch up to which depth keeps the body's shape, and is right
_WORSE = 1.5  # times the stretch, that corrected depth may have: its noise is turned, too
_DIFFERS = (7.0, 14.0)  # degrees of turn by which depth and tracks differ: none, all is corrected


def refine_depth(rewound: Rewound, priors: Priors) -> F32:  # -> (T, H, W)
    """Depth in which the subject turns as its tracks do. ``priors`` with tracks as
    `restage4d.reconstruct.motion.lifting.reject_observations` leaves them."""
    try:
        lifted = lift_tracks(rewound, priors)
    except FitError:
        return priors.depth
    tracks = choose_tracks(lifted, _POINTS, np.random.default_rng(0))
    body = adjust_body(tracks, rewound, priors)
    share = _measure_need(tracks, body, rewound, priors)
    if share == 0:
        return priors.depth
    first = _to_cameras(tracks.xyz, priors)[..., 2]
    found = body.compute_places()[..., 2]
    factor = np.log(np.maximum(found, 1e-3) / np.maximum(first, 1e-3))
    belongs = tracks.visible & (body.agreement > _AGREES)
    lines, known = np.zeros((len(rewound), 2)), np.zeros(len(rewound))
    middles = np.zeros(len(rewound))
    for t in range(len(rewound)):
        shown = (priors.masks[t] > 0.5).any(0)
        middles[t] = np.average(np.arange(len(shown)) + 0.5, weights=shown) if shown.any() else 0
        rows = belongs[:, t]
        if rows.sum() >= _ENOUGH:
            x = tracks.xy[rows, t, 0] - middles[t]
            lines[t] = fit_linear(np.stack([x, np.ones(len(x))], 1), factor[rows, t])
            known[t] = 1
    weight = compute_time_weights(rewound, _STEADY) * known
    lines = share * weight @ lines / np.maximum(weight.sum(1), 1e-6)[:, None]
    columns = np.arange(priors.depth.shape[2]) + 0.5
    change = _change(columns - middles[:, None], lines)  # (T, W)

    def correct(t: int) -> F32:
        depth = priors.depth[t]
        subject = (priors.masks[t] > 0.5) & (depth > 0)
        return np.where(subject, depth * change[t], depth).astype(np.float32)

    places = _to_cameras(tracks.xyz, priors)
    changes = _change(tracks.xy[..., 0].T - middles[:, None], lines).T
    before, after = (measure_stretch(p, tracks) for p in (places, places * changes[..., None]))
    if before <= _KEPT or after >= _WORSE * before:
        return priors.depth
    return stack_on_cores(correct, range(len(priors.depth)))


def _change(x: F64, lines: F64) -> F64:  # (T, N), (T, 2) -> (T, N)
    """The factor of depths at ``x`` pixels from the middle, by every frame's slope and offset."""
    turn = np.clip(lines[:, :1] * x, -np.log(_MOST), np.log(_MOST))
    return np.exp(turn + lines[:, 1:])


def measure_stretch(places: F64, tracks: LiftedTracks) -> float:
    """How much neighbouring points change their distance: the median over pairs of the standard
    deviation over time of its logarithm. 0 for a body that keeps its shape, whatever its joints do.

    Args:
        places: (P, T, 3) of the points.
        tracks: which of them are seen.
    """
    start = places[:, tracks.canonical]
    edges = knn_edges(start.astype(np.float32), _NEIGHBOURS)
    length = np.linalg.norm(places[edges[:, 0]] - places[edges[:, 1]], axis=-1)
    both = tracks.visible[edges[:, 0]] & tracks.visible[edges[:, 1]]
    values = np.ma.masked_array(np.log(np.maximum(length, 1e-6)), ~both)
    enough = both.sum(1) >= 3
    return float(np.median(values[enough].std(1).filled(0))) if enough.any() else 0.0


def adjust_body(tracks: LiftedTracks, rewound: Rewound, priors: Priors) -> RigidBody:
    """The tracks as one rigid body before the cameras."""
    places = _to_cameras(tracks.xyz, priors)
    w2c = priors.cameras.w2c.astype(np.float64)
    R, t = (x.astype(np.float64) for x in estimate_body_motion(tracks.xyz, tracks.visible, rewound))
    R, t = w2c[:, :3, :3] @ R, np.einsum("tij,tj->ti", w2c[:, :3, :3], t) + w2c[:, :3, 3]
    c = tracks.canonical
    points = (places[:, c] - t[c]) @ R[c]  # in the body's own frame
    middle = np.median(points, 0)
    t = t + R @ middle
    points = points - middle
    longer = max(rewound.clip.size)
    config = AdjustmentConfig()
    extent = float(np.ptp(np.quantile(points, [0.02, 0.98], axis=0), axis=0).max())
    config = replace(
        config, pixels=config.pixels * longer / _REFERENCE, place=config.place * extent
    )
    trust = np.where(tracks.visible, tracks.confidence, 0).astype(np.float64)
    triples = list_frame_triples(rewound)
    K = priors.cameras.K.astype(np.float64)
    distance, xy = measure_distance(priors), tracks.xy.astype(np.float64)
    body = adjust_rigid_body(xy, trust, K, points, R, t, triples, distance, config)
    # once more from where the frames that show a point have it: what others hid had its place there
    # by depth that was turned otherwise; and farther off, where points tell it, than an outline
    # lets the middle of a long body be that one sees end-on
    own = np.einsum("tji,ptj->pti", body.R, places - body.t)
    hidden = np.repeat(~tracks.visible[..., None], 3, -1)
    points = np.ma.median(np.ma.masked_array(own, hidden), 1).filled(0.0)
    before = places[..., 2] - np.einsum("tj,pj->pt", body.R[:, 2], points)
    middle = np.ma.median(np.ma.masked_array(before, ~tracks.visible), 0).filled(0.0)
    known = tracks.visible.sum(0) >= _ENOUGH
    distance = np.maximum(distance, np.where(known, middle, 0.0))
    return adjust_rigid_body(xy, trust, K, points, body.R, body.t, triples, distance, config)


def measure_distance(priors: Priors) -> F64:  # -> (T,)
    """How far the subject's middle is in every frame, behind the surface by half of what its
    outline lets it be thick. 0 where no frame shows it."""
    out = np.zeros(len(priors.depth))
    for t, (depth, mask) in enumerate(zip(priors.depth, priors.masks, strict=True)):
        subject = (mask > 0.5) & (depth > 0)
        if subject.any():
            half = inflate(mask > 0.5) / priors.cameras.K[t, 0, 0]
            out[t] = np.median(depth[subject] * (1 + half[subject]))
    return out


def _measure_need(tracks: LiftedTracks, body: RigidBody, rewound: Rewound, priors: Priors) -> float:
    """0 where the lifted tracks turn as the ``body`` does, to 1 where they do not at all."""
    R = priors.cameras.w2c[:, :3, :3] @ estimate_body_motion(tracks.xyz, tracks.visible, rewound)[0]
    c = tracks.canonical
    lifted, found = R @ R[c].T, body.R @ body.R[c].T
    cosine = (np.einsum("tij,tij->t", lifted, found) - 1) / 2
    differs = np.degrees(np.arccos(np.clip(cosine, -1, 1)))
    low, high = _DIFFERS
    x = np.clip((np.quantile(differs, 0.9) - low) / (high - low), 0, 1)
    return float(x * x * (3 - 2 * x))


def _to_cameras(xyz: F32, priors: Priors) -> F64:  # (P, T, 3) -> (P, T, 3)
    w2c = priors.cameras.w2c.astype(np.float64)
    return np.einsum("tij,ptj->pti", w2c[:, :3, :3], xyz) + w2c[:, :3, 3]
