"""Every figure of one fitted puppet on one scene of a stage. The names are defined in
docs/metrics.md."""

import numpy as np
from numpy.typing import NDArray

from restage4d.evaluate.metrics import image, shape, tracking
from restage4d.evaluate.metrics.perceptual import PerceptualMetrics
from restage4d.evaluate.noise import choose_measured_points
from restage4d.evaluate.stage import Scene, View
from restage4d.puppet import Camera, Performance, Puppet
from restage4d.splatting.gaussians import render_gaussians, render_performance

F32 = NDArray[np.float32]
U8 = NDArray[np.uint8]
HELD_OUT = ("beside", "behind")  # views of the ablation tables
_EDGE_POINTS = 1000  # the paper's
_PAIRS = 5000
_SEEN = 0.05  # of the extent: a point no further behind what the puppet shows counts as seen
_CHANGED = 12  # of 255: a pixel that a fault changed by more


def measure(
    puppet: Puppet, scene: Scene, extent: float, perceptual: PerceptualMetrics, seed: int = 0
) -> dict[str, float]:
    """All figures over the driving part. ``puppet``'s last performance is the driving one;
    ``extent`` in world units."""
    performance = puppet.performances[-1]
    figures = _measure_pictures(puppet, performance, scene, perceptual)
    figures |= _measure_views(puppet, performance, scene, perceptual)
    figures |= _measure_geometry(puppet, performance, extent, seed)
    figures |= measure_points(puppet, performance, scene, extent, seed)
    figures["3d_aj"], figures["apd"], figures["oa"] = _measure_tapvid(
        puppet, performance, scene, extent
    )
    return figures


def _measure_pictures(
    puppet: Puppet, performance: Performance, scene: Scene, perceptual: PerceptualMetrics
) -> dict[str, float]:
    """Train views against what the fit saw; with faults, against the clean truth, beside the
    driving video's own error."""
    drawn = list(render_performance(puppet, performance))
    filmed = [scene.rewound.clip.frames[t] for t in scene.rows]
    masks = [scene.seen.masks[t] for t in scene.rows]
    out = {
        "psnr": image.mean_psnr(drawn, filmed),
        "psnr_subject": image.mean_psnr(drawn, filmed, masks),
        "ssim": float(np.mean([image.ssim(a, b) for a, b in zip(drawn, filmed, strict=True)])),
        "ssim_subject": float(
            np.nanmean([image.ssim(a, b, m) for a, b, m in zip(drawn, filmed, masks, strict=True)])
        ),
    }
    if perceptual.lpips:
        out["lpips"] = perceptual.lpips.distance(drawn, filmed)
    if not scene.faults:
        return out
    ours, video, ours_all, video_all = [], [], [], []
    for t in scene.faults:
        clean = scene.driving.clip.frames[t].astype(np.float64)
        mine, theirs = (
            np.abs(drawn[t] - clean).mean(-1) / 255,
            np.abs(filmed[t] - clean).mean(-1) / 255,
        )
        changed = np.abs(filmed[t] - clean).max(-1) > _CHANGED
        subject = scene.driving.masks[t] | masks[t]
        changed &= subject
        ours.append(mine[changed].sum())
        video.append(theirs[changed].sum())
        ours_all.append(mine[subject].mean())
        video_all.append(theirs[subject].mean())
    return out | {
        "fault_error": float(np.mean(ours_all)),
        "fault_error_video": float(np.mean(video_all)),
        "fault_ratio": float(np.mean(ours_all) / np.mean(video_all)),
        "fault_ratio_changed": float(np.sum(ours) / max(np.sum(video), 1e-9)),
    }


def _measure_views(
    puppet: Puppet, performance: Performance, scene: Scene, perceptual: PerceptualMetrics
) -> dict[str, float]:
    """The subject alone from behind and beside, which no fit saw."""
    out: dict[str, float] = {}
    similar, strange = [], []
    views = {name: view for name, view in scene.driving.views.items() if name in HELD_OUT}
    for name, view in views.items():
        drawn = list(render_alone(puppet, performance, view))
        truth = [image.cut_out(p, m) for p, m in zip(view.pictures, view.masks, strict=True)]
        pairs = list(zip(drawn, truth, view.masks, strict=True))
        out[f"view_psnr_{name}"] = float(np.nanmean([image.subject_psnr(*row) for row in pairs]))
        out[f"view_ssim_{name}"] = float(np.nanmean([image.ssim(*row) for row in pairs]))
        if perceptual.lpips:
            strange.append(perceptual.lpips.distance(drawn, truth))
        if perceptual.clip:
            first = image.cut_out(scene.driving.clip.frames[0], scene.driving.masks[0])
            similar.append(perceptual.clip.mean_similarity(drawn, [first] * len(drawn)))
    for figure in ("psnr", "ssim"):
        values = [out[f"view_{figure}_{name}"] for name in views]
        out[f"view_{figure}"] = float(np.mean(values)) if values else float("nan")
    if similar:
        out["ocv_clip"] = float(np.mean(similar))
    if strange:
        out["view_lpips"] = float(np.mean(strange))
    return out


def render_alone(
    puppet: Puppet, performance: Performance, view: View
):  # -> iterator of (H, W, 3) uint8
    """The subject alone before plain grey, as the cameras of a held-out view see it."""
    cameras = [Camera(K, w, performance.size) for K, w in zip(view.K, view.w2c, strict=True)]
    grey = image.BACKDROP / 255
    return render_performance(puppet, performance, view.frame.tolist(), cameras, (grey, grey, grey))


def _measure_geometry(
    puppet: Puppet, performance: Performance, extent: float, seed: int
) -> dict[str, float]:
    """Eq. 9 of the volume, and the same form of edge lengths between 1,000 Gaussians."""
    paths = tracking.compute_gaussian_paths(puppet, performance)
    volume = shape.volume_variance(paths, extent)
    few = np.random.default_rng([seed, 6]).permutation(len(paths))[:_EDGE_POINTS]
    variances = shape.edge_variances(paths[few], shape.neighbour_edges(paths[few, 0]))
    return {
        "volume_cv": volume**0.5,
        "volume_consistency": shape.consistency(volume),
        "edge_cv": float(np.sqrt(variances).mean()),
        "edge_consistency": shape.consistency(float(variances.mean())),
    }


def measure_points(
    puppet: Puppet, performance: Performance, scene: Scene, extent: float, seed: int
) -> dict[str, float]:
    """Measured surface points marked at the shared first frame and carried through the driving
    part, against the truth."""
    rows = choose_measured_points(scene)
    truth, visible = scene.driving.points[rows], scene.driving.visible[rows]
    paths = tracking.carry(puppet, performance, truth[:, 0], 0)
    out: dict[str, float] = {}
    for how, suffix in (("none", ""), ("median", "_median"), ("sim3", "_sim3")):
        there = tracking.align(paths, truth, how, scene.driving.w2c)[:, 1:] / extent
        goal = truth[:, 1:] / extent
        for which, where in (
            ("", None),
            ("_visible", visible[:, 1:]),
            ("_hidden", ~visible[:, 1:]),
        ):
            out[f"track_l1{which}{suffix}"] = tracking.l1(there, goal, where)
        if how == "none":
            out["track_l1_revealed"] = tracking.l1(
                there, goal, visible[:, 1:] & scene.revealed[rows, None]
            )
    edges = shape.neighbour_edges(truth[:, 0])
    ours, true = (np.sqrt(shape.edge_variances(p, edges)).mean() for p in (paths, truth))
    pairs = shape.draw_pairs(_PAIRS, len(truth), seed)
    return out | {
        "surface_edge_cv": float(ours),
        "surface_edge_cv_true": float(true),
        "surface_edge_ratio": float(ours / true),
        "distance_variance": shape.distance_variance(paths, pairs, extent),
        "distance_variance_true": shape.distance_variance(truth, pairs, extent),
    }


def _measure_tapvid(
    puppet: Puppet, performance: Performance, scene: Scene, extent: float
) -> tuple[float, float, float]:
    rows = choose_measured_points(scene)
    truth, visible = scene.driving.points[rows], scene.driving.visible[rows]
    paths = tracking.carry(puppet, performance, truth[:, 0], 0)
    seen = find_visible(puppet, performance, paths, _SEEN * extent)
    K, w2c = scene.driving.K, scene.driving.w2c
    figures = tracking.tapvid3d(
        paths[:, 1:], seen[:, 1:], truth[:, 1:], visible[:, 1:], K[1:], w2c[1:]
    )
    return figures["3d_aj"], figures["apd"], figures["oa"]


def find_visible(
    puppet: Puppet, performance: Performance, paths: F32, tolerance: float
) -> NDArray[np.bool_]:  # (P, T, 3) -> (P, T)
    """Whether each carried point lies in the picture and no further than ``tolerance`` behind the
    puppet's rendered surface."""
    out = np.zeros(paths.shape[:2], bool)
    width, height = performance.size
    for t in range(performance.n_frames):
        sets = [puppet.pose(performance, t)] + (
            [puppet.background] if len(puppet.background) else []
        )
        _, depth = render_gaussians(sets, performance.camera(t))
        camera = paths[:, t] @ performance.w2c[t, :3, :3].T + performance.w2c[t, :3, 3]
        xy = (camera / np.maximum(camera[:, 2:], 1e-6)) @ performance.K[t].T
        column, row = np.floor(xy[:, 0]).astype(int), np.floor(xy[:, 1]).astype(int)
        inside = (camera[:, 2] > 0) & (column >= 0) & (row >= 0) & (column < width) & (row < height)
        surface = depth[row.clip(0, height - 1), column.clip(0, width - 1)]
        out[:, t] = inside & (camera[:, 2] <= surface + tolerance)
    return out
