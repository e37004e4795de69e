"""Completion after the fit: the subject's far side as the mirror image of the side that was filmed.

While the fit runs, `far_side` keeps coarse guesses behind the surface, so that the body has a
volume. No frame supervises them, so they stay coarse. Here those that no frame shows give way to
the fitted Gaussians of the near side, whose detail, colours and coefficients come along.

Where the body's plane of symmetry is sure (`symmetry`) and it is filmed from beside, everything
that some frame shows away from an outline is reflected through that plane, in the pose that most
frames share: reflected while it looks aside, a head gets a second face. Other bodies are
reflected through their middle: the surface that one frame sees, the one that shows most of the
subject, moved by the half thickness that the outline allows
(`restage4d.priors.geometry.inflation.inflate`). From several frames, each with an outline and a
middle of its own, such images do not agree and lie over one another.

A body that turned before the camera by more than a quarter has shown its other side: its guesses
are left as the frames carved them, which is nearer to the truth than a mirror image. Guesses get
the colours of what was filmed nearby: their own come from single pixels, and are speckles. So do,
in part, Gaussians of the near side that only shine through others.

What frames show wins: nothing is added where an observed surface lies already, or where frames see
past the place, and what is added stays as small as keeps it inside their outlines. Gaussians along
the outline, which may hold the background's colour, are no sources. The wall between both sides, of
which no frame shows anything, is plain: round Gaussians in the mean colour of what lies inside the
outline there. Copies of single Gaussians, one behind another, would be stripes and beads.

An animal or a car about as wide as tall, or wider, is filmed from beside: its far side is like the
near one. What is taller than wide was filmed from the front or from behind: a face belongs on one
side of a head only, so that its image through the middle has the colours of the body's sides at
that height, where hair, fur or clothes go round it.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt
from scipy.spatial import KDTree

from restage4d import se3
from restage4d.clips import Cameras, Priors, Rewound
from restage4d.priors.geometry.pixels import find_pixels
from restage4d.puppet import SH_C0
from restage4d.reconstruct.fusion.completing.colours import (
    average_colours,
    blur_colours,
    calm_colours,
    replace_rim,
    set_colours,
    spread_colours,
)
from restage4d.reconstruct.fusion.completing.mirrored_view import (
    View,
    draw_frames,
    draw_mirrored,
    fill_picture,
    fit_to_mirrored,
    look_along,
)
from restage4d.reconstruct.fusion.completing.poses import Body, find_usual_pose, measure_turn
from restage4d.reconstruct.fusion.completing.reflection import (
    LIP,
    WALL,
    bring_inside,
    find_axis,
    find_inside,
    find_sides,
    measure_extent,
    measure_margin,
    measure_spacing,
    reflect,
    reflect_through_plane,
)
from restage4d.reconstruct.fusion.completing.sizes import close_gaps, limit_sizes
from restage4d.reconstruct.fusion.completing.symmetry import Look, Plane, find_symmetry_plane
from restage4d.reconstruct.fusion.far_side import find_contradicted
from restage4d.reconstruct.fusion.floaters import (
    measure_guessed_visibility,
    measure_visibility,
    shorten_needles,
)
from restage4d.reconstruct.fusion.guessed_views import GuessedView
from restage4d.reconstruct.fusion.rendering import render_view
from restage4d.reconstruct.model.scene_model import SPLAT_FIELDS, SceneModel

F32 = NDArray[np.float32]
Bool = NDArray[np.bool_]

_FRAMES = 16  # that say what is shown, and may contradict; the one with most of the subject mirrors
_KEPT = 2  # every how many-th of them keeps its looks while the far side is fitted
_CONTRADICTED = 0.1  # share of them that may
_SHOWN = 0.1  # share of its footprint from which a frame decides a guess: the surface before it is
# never quite solid, and without those that show through it the frames lose 1.5 dB of the subject.
# A copy that shows as much stands before what was fitted, and goes
_SOURCE = 0.15  # and from which one decides a Gaussian of the near side: they overlap
# up to which the colours of Gaussians of the near side are mixed with those around: these shine
# through others, and their own colours are specks from elsewhere
_FAINT = 0.2
# of the extent, by which a reflected Gaussian may lie before a seen surface: reflected through the
# middle, and through a plane
_TOLERANCE, _EXACT = 0.12, 0.06
_GUESS_COVERED = 4.0  # and within which a guess, which is sparser, is not needed
_EDGE = 0.05  # of the extent from the plane: guesses this near close the wall, too ...
_EDGE_COVERED = 1.5  # ... and are not needed within as many distances of neighbours
_WITNESSES = 700  # points of the surface that are asked for the plane
_BESIDE = 60.0  # degrees between its normal and the view up to which it shows what is hidden
_ROUND = 90.0  # degrees of turn from which the frames have seen the other side
_BEYOND = 0.04  # of the extent, by which a guess may lie behind the reflected surface
# of the extent: standard deviation of a guess that stays. Larger ones hang out of the body as
# smears where no frame looks; cut to this size they cost the frames nothing
_LARGEST = 0.015
_BLOB = 0.7  # distances of neighbours: standard deviation of what closes the wall
_WIDE = 0.9  # width over height of the outline, from which a body counts as filmed from beside
_CUT = 1.5  # times the height that it shows, of a body that is cut off below: a head, a bust ...
_BROAD = 0.4  # ... by so much of its width: more than a foot on the edge
_SOLID = 0.5  # alpha from which a pixel shows the subject


def calm_faint_colours(
    model: SceneModel, rewound: Rewound, cameras: Cameras, views: Sequence[GuessedView]
) -> None:
    """Where guessed ``views`` show the far side, nothing is to be completed: Gaussians that neither
    they nor frames show well are mixed with those around, in place."""
    frames = np.linspace(0, len(rewound) - 1, min(_FRAMES, len(rewound))).astype(int).tolist()
    K, w2c = (torch.from_numpy(a).to(model.device) for a in (cameras.K, cameras.w2c))
    shares, _ = measure_visibility(model, frames, K, lambda t: w2c[t], rewound.clip.size)
    guessed = measure_guessed_visibility(model, rewound.seam, views)
    share = torch.maximum(shares, guessed).cpu().numpy()
    own = (share / _FAINT).astype(np.float32)
    calm_colours(model, Body(model).means, share < _FAINT, own, share > _SOURCE)


def complete_far_side(
    model: SceneModel,
    rewound: Rewound,
    priors: Priors,
    cameras: Cameras,
    check: Callable[[], None] = lambda: None,
) -> None:
    """Completes ``model`` in place. ``cameras`` are those of the fit, corrections included;
    ``check`` is called at each of the last `STEPS` and may raise `Cancelled`."""
    frames = np.linspace(0, len(rewound) - 1, min(_FRAMES, len(rewound))).astype(int)
    K, w2c = (torch.from_numpy(a).to(model.device) for a in (cameras.K, cameras.w2c))
    shares, _ = measure_visibility(model, frames.tolist(), K, lambda t: w2c[t], rewound.clip.size)
    share, far = shares.cpu().numpy(), (model.far > 0).cpu().numpy()
    near = ~far & (share > _SOURCE)
    hidden = far & (share <= _SHOWN)
    faint = ~far & (share < _FAINT)
    t = int(max(frames, key=lambda t: int((priors.masks[t] > 0.5).sum())))
    mask = priors.masks[t] > 0.5
    if not hidden.any() or not near.any() or not mask.any():
        return
    body = Body(model)
    surfaces = {
        int(f): _draw_surface(model, K[f], w2c[f], rewound.clip.size, int(f)) for f in (*frames, t)
    }
    inner = near & _find_inner(body, surfaces, priors, cameras)
    set_colours(model, np.flatnonzero(hidden), blur_colours(model, body.means, hidden, inner))
    calm_colours(model, body.means, faint, (share / _FAINT).astype(np.float32), inner)
    if measure_turn(body, near, frames, cameras) > _ROUND:
        return
    extent = measure_extent(body.means)
    usual = find_usual_pose(body, near, frames)
    if plane := _find_plane(model, body, near, usual, surfaces, rewound, priors, cameras):
        t, mask = usual, priors.masks[usual] > 0.5
    posed, turned, R, shift = body.pose(t)
    margin = measure_margin(posed, surfaces[t], mask, cameras.K[t], cameras.w2c[t])
    if plane:
        rim = (margin > LIP) & (margin <= LIP + WALL)
        found = reflect_through_plane(posed, turned, inner, rim, plane)
    else:
        found = reflect(posed, turned, near, surfaces[t], mask, cameras.K[t], cameras.w2c[t])
    if not len(found.source):
        return
    R, shift = R[found.source], shift[found.source]
    tolerance = (_EXACT if plane else _TOLERANCE) * extent

    def measure_room(at: F32, rows: NDArray[np.intp]) -> tuple[F32, F32]:
        """Copies at ``at`` in the world at frame t: their canonical means and their room, 0 where
        the frames contradict them."""
        means = se3.inverse_transform(R[rows], shift[rows], at).astype(np.float32)
        source = found.source[rows]
        places = np.stack([se3.transform(*body.blend(int(f), source), means) for f in frames], 1)
        room = _measure_room(places, priors.masks, cameras, frames)
        wrong = find_contradicted(
            places, priors.masks[frames], priors.depth[frames], cameras.K[frames],
            cameras.w2c[frames], tolerance, _CONTRADICTED,
        )  # fmt: skip
        return means, np.where(wrong, 0, room)

    if not plane:
        found = bring_inside(found, posed, lambda at, rows: measure_room(at, rows)[1] > 0)
    means, room = measure_room(found.means, np.arange(len(found.source)))
    spacing = measure_spacing(posed[near])
    free = (room > 0) & (_measure_distance(found.means, posed[~hidden]) > found.clear * spacing)
    back = se3.matrix_to_quat(np.swapaxes(R, -1, -2)).astype(np.float32)
    quats = se3.quat_multiply(back, found.quats)
    # guesses stay where this frame has nothing better, and its body reaches
    done = np.concatenate([posed[~hidden], found.means[free]])
    keep = ~hidden
    away = _measure_distance(posed[hidden], done)
    keep[hidden] = away > _GUESS_COVERED * spacing
    if plane:
        edge = np.abs(plane.measure_height(posed[hidden])) < _EDGE * extent
        keep[hidden] |= edge & (away > _EDGE_COVERED * spacing)
    keep[hidden] &= find_inside(
        posed[hidden], surfaces[t], mask, cameras.K[t], cameras.w2c[t], _BEYOND * extent
    )
    rows = np.concatenate([np.flatnonzero(keep), found.source[free]])
    wall = found.wall[free]
    plain = average_colours(model, posed, found.source[free][wall], near, margin)
    most = (room[free] / 3).astype(np.float32)
    n_kept = int(keep.sum())
    some = [int(f) for f in frames[::_KEPT]]
    before = draw_frames(model, some, cameras.K, cameras.w2c, rewound.clip.size)
    view, through = _choose_view(
        posed[near], plane, surfaces[t], mask, cameras.K[t], cameras.w2c[t], rewound.clip.size
    )
    faced = not plane and not _is_wide(mask)
    if faced:
        sides = find_sides(posed, near, surfaces[t], mask, cameras.K[t], cameras.w2c[t])
        shown = spread_colours(model, posed, sides)
    else:
        shown = replace_rim(model, posed, near & ~inner, inner)
    mirrored = draw_mirrored(model, t, view, through, shown)
    _append(model, rows, n_kept, means[free], quats[free], most)
    if faced:
        set_colours(model, np.arange(n_kept, len(rows)), shown[found.source[free]])
    _make_plain(
        model, n_kept + np.flatnonzero(wall), plain, np.minimum(_BLOB * spacing, most[wall])
    )
    limit_sizes(model, np.flatnonzero(far[keep]), _LARGEST * extent)
    shares, _ = measure_visibility(model, frames.tolist(), K, lambda t: w2c[t], rewound.clip.size)
    unseen = (shares <= _SHOWN).cpu().numpy()
    unseen[:n_kept] = True
    _take(model, np.flatnonzero(unseen))
    guessed = np.concatenate([hidden[keep], ~wall])[unseen]
    rows = np.flatnonzero(guessed)
    most = np.concatenate([np.full(n_kept, _LARGEST * extent), most])[unseen][guessed]
    close_gaps(model, Body(model).pose(t)[0], rows, most.astype(np.float32))
    largest = np.minimum(most, _LARGEST * extent).astype(np.float32)
    fit_to_mirrored(model, rows, mirrored, before, spacing, largest, check)
    shorten_needles(model)


def _find_plane(
    model: SceneModel, body: Body, near: Bool, t: int, surfaces: dict[int, F32],
    rewound: Rewound, priors: Priors, cameras: Cameras,
) -> Plane | None:  # fmt: skip
    """The body's plane of symmetry in the world at frame t, None where none is sure or where it is
    filmed so much from the front that both of its sides are seen."""
    rows = np.random.default_rng(0).permutation(np.flatnonzero(near))[:_WITNESSES]
    posed, _, R, shift = body.pose(t)
    looks = []
    for f, surface in surfaces.items():
        there = body.blend(f, rows)
        turn = there[0] @ R[rows].swapaxes(-1, -2)
        outside = priors.masks[f] == 0
        looks.append(
            Look(
                turn,
                there[1] - np.einsum("nij,nj->ni", turn, shift[rows]),
                surface,
                np.asarray(distance_transform_edt(outside)),
                (rewound.clip.frames[f] / 255).astype(np.float32),
                cameras.K[f],
                cameras.w2c[f],
            )
        )
    colours = SH_C0 * model.params["subject.sh0"].detach().cpu().numpy()[rows] + 0.5
    extent = measure_extent(body.means)
    plane = find_symmetry_plane(posed[rows], colours.astype(np.float32), looks, extent)
    facing = np.cos(np.radians(_BESIDE))
    return plane if plane and abs(cameras.w2c[t, 2, :3] @ plane.normal) > facing else None


def _choose_view(
    points: F32, plane: Plane | None, surface: F32, mask: Bool, K: F32, w2c: F32,
    size: tuple[int, int],
) -> tuple[View, Plane]:  # fmt: skip
    """From where the body, ``points`` (N, 3) in the world, is drawn to see how its far side should
    look, and the plane behind which that is. Through a plane of symmetry all views are mirrored:
    the film camera's is the best one. Through the middle only the view along the way from side to
    side is."""
    if plane:
        return fill_picture(w2c, points, size), plane
    axis = find_axis(surface, mask, K)
    view = look_along(axis, w2c, points, measure_extent(points), size)
    normal = (axis @ w2c[:3, :3]).astype(np.float64)
    return view, Plane(normal, float(np.median(points @ normal)))


def _find_inner(
    body: Body, surfaces: dict[int, F32], priors: Priors, cameras: Cameras
) -> Bool:  # -> (N,)
    """Gaussians that some frame shows on its surface, away from the outline."""
    found = np.zeros(len(body.means), bool)
    for f, surface in surfaces.items():
        inside = measure_margin(
            body.pose(f)[0], surface, priors.masks[f] > 0.5, cameras.K[f], cameras.w2c[f]
        )
        found |= inside > LIP
    return found


def _draw_surface(
    model: SceneModel, K: torch.Tensor, w2c: torch.Tensor, size: tuple[int, int], t: int
) -> F32:
    """The z-depth (H, W) of the subject drawn alone, 0 where it is not solid."""
    nothing = model.get_background()
    nothing = type(nothing)(**{name: value[:0] for name, value in vars(nothing).items()})
    with torch.no_grad():
        view = render_view(model.pose_subject(t), nothing, K, w2c, size)
        return torch.where(view.subject > _SOLID, view.depth, 0).cpu().numpy()


def _measure_distance(points: F32, others: F32) -> F32:  # (M, 3), (N, 3) -> (M,)
    """To the nearest of the others."""
    return np.asarray(KDTree(others).query(points)[0], np.float32)


def _measure_room(posed: F32, masks: F32, cameras: Cameras, frames: NDArray[np.intp]) -> F32:
    """How far inside the frames' outlines points (M, F, 3) lie, world units (M,): in nine of ten
    frames at least that far. 0 for points outside."""
    rooms = []
    for i, f in enumerate(frames):
        inside = np.asarray(distance_transform_edt(np.pad(masks[f] > 0.5, 1)))[1:-1, 1:-1]
        row, column, z, _ = find_pixels(posed[:, i], cameras.K[f], cameras.w2c[f], inside.shape)
        rooms.append(np.where(inside[row, column] > 1, inside[row, column], 0) * z.clip(0))
        rooms[-1] /= cameras.K[f, 0, 0]
    return np.quantile(np.stack(rooms, 1), _CONTRADICTED, axis=1).astype(np.float32)


def _append(
    model: SceneModel, rows: NDArray[np.intp], n_kept: int, means: F32, quats: F32, most: F32
) -> None:
    """The model's subject becomes its ``rows``; those from ``n_kept`` on get the given means and
    orientations, and sizes up to ``most`` (standard deviations, world units)."""
    _take(model, rows)
    p, device = model.params, model.device
    with torch.no_grad():
        p["subject.means"][n_kept:] = torch.from_numpy(means).to(device)
        p["subject.quats"][n_kept:] = torch.from_numpy(quats).to(device)
        limit = torch.from_numpy(np.log(most)).to(device)[:, None]
        sizes = p["subject.log_scales"][n_kept:]
        p["subject.log_scales"][n_kept:] = torch.minimum(sizes, limit)


def _is_wide(mask: Bool) -> bool:  # (H, W)
    """Whether the body is about as wide as tall, or wider, by all but a few pixels of its outline.
    What the picture's lower edge cuts off broadly is taller than it shows."""
    row, column = (np.ptp(np.quantile(at, [0.02, 0.98])) for at in np.nonzero(mask))
    cut = mask[-2:].any(0).sum() > _BROAD * column
    return float(column) > _WIDE * (_CUT if cut else 1.0) * float(row)


def _make_plain(model: SceneModel, rows: NDArray[np.intp], sh0: torch.Tensor, sizes: F32) -> None:
    """The subject's ``rows`` become round, of standard deviations ``sizes`` and colours ``sh0``."""
    at, p = torch.from_numpy(rows).to(model.device), model.params
    with torch.no_grad():
        p["subject.sh0"][at] = sh0
        logs = torch.from_numpy(np.log(np.maximum(sizes, 1e-6)).astype(np.float32))
        p["subject.log_scales"][at] = logs.to(model.device)[:, None].expand(-1, 3)


def _take(model: SceneModel, rows: NDArray[np.intp]) -> None:
    """The model's subject becomes its ``rows``."""
    at, p = torch.from_numpy(rows).to(model.device), model.params
    for name in [*(f"subject.{f}" for f in SPLAT_FIELDS), "subject.coefs"]:
        p[name] = p[name][at].detach().clone()
    model.take(at)
