"""The child process of `colmap`: ``python -m restage4d.priors.cameras.colmap_program FOLDER``.

It reads ``in.npz``, writes ``map.npz`` where it finds a map, and prints one dot for every keyframe
placed. Lengths are pixels at a longer side of 384.
"""

import sys
from pathlib import Path

import numpy as np
import pycolmap
from numpy.typing import NDArray

from restage4d.priors.cameras.focal import LONGER_SIDE, RATIOS, compute_pull

_MIN_SHARED = 20  # tracks that two keyframes must share to be matched
_CAP = 2.0  # larger residuals are not background at rest and all count the same
_INVERSION = 0.5  # of ln(cost): how strongly a map whose lower points are farther away is disliked
_STEP = 1.12  # from one focal length to the next when the best is searched around a map's


def main(folder: Path) -> None:
    """Maps what ``in.npz`` in ``folder`` holds."""
    pycolmap.logging.minloglevel = 2
    with np.load(folder / "in.npz", allow_pickle=False) as given:
        xy, keyframes, seed = given["xy"].astype(np.float64), given["keyframes"], int(given["seed"])
        size = given["size"]
        guess, focal, search = float(given["guess"]), float(given["focal"]), bool(given["search"])
    pycolmap.set_random_seed(seed)
    camera = pycolmap.Camera.create_from_model_name(
        1, "SIMPLE_PINHOLE", focal, *(int(v) for v in np.ceil(size))
    )
    camera.params = [focal, *size / 2]
    camera.has_prior_focal_length = True
    seen = np.isfinite(xy[..., 0])
    rows = [np.flatnonzero(seen[:, t]) for t in range(xy.shape[1])]
    _write_database(folder / "map.db", camera, xy, rows, keyframes, seed)

    found = _map_keyframes(folder, xy, rows, len(keyframes), seed)
    if found is None:
        return
    points, w2c = found
    if search:
        points, w2c = _search_focal(camera, guess, xy, points, w2c)
    _place_rest(camera, xy, points, w2c, seed)
    points, w2c = _adjust(camera, xy, points, w2c, _find_inliers(camera, xy, points, w2c))
    squares = _compute_residuals(camera, xy, points, w2c)
    agreed = squares < 1.0
    stable = agreed.sum(1) >= 3
    if stable.sum() < 30:
        return
    np.savez(
        folder / "map.npz",
        focal=camera.focal_length,
        w2c=w2c.astype(np.float32),
        points=points[stable].astype(np.float32),
        error=np.sqrt(squares[agreed]).mean(),
        score=_compute_score(camera, guess, xy, squares)
        + _INVERSION * _measure_inversion(points[stable], w2c),
    )


def _map_keyframes(folder: Path, xy, rows, count: int, seed: int):
    """Points (P, 3) and poses (T, 4, 4) of COLMAP's incremental mapping, NaN where it has none;
    None where it finds too little."""
    options = pycolmap.IncrementalPipelineOptions()
    options.multiple_models = options.extract_colors = False
    options.ba_refine_focal_length = options.ba_refine_extra_params = False
    options.min_model_size = 3
    options.random_seed, options.num_threads = (
        seed,
        1,
    )  # threads would make the result differ from run to run
    options.mapper.random_seed, options.mapper.num_threads = seed, 1
    options.triangulation.random_seed = seed
    options.mapper.init_min_num_inliers, options.mapper.init_min_tri_angle = 40, 3.0
    options.mapper.abs_pose_refine_focal_length = False
    options.mapper.abs_pose_max_error, options.mapper.filter_max_reproj_error = 4.0, 2.0
    options.mapper.filter_min_tri_angle = options.triangulation.min_angle = 0.7
    options.mapper.ba_local_min_tri_angle = 2.0
    options.ba_global_frames_ratio = options.ba_global_points_ratio = 1.3

    def report() -> None:
        sys.stdout.write(".")
        sys.stdout.flush()

    (folder / "models").mkdir()
    models = pycolmap.incremental_mapping(
        folder / "map.db",
        folder,
        folder / "models",
        options,
        initial_image_pair_callback=report,
        next_image_callback=report,
    )
    best = max(models.values(), key=lambda m: m.num_reg_images(), default=None)
    if best is None or best.num_points3D() < 30 or best.num_reg_images() < 0.6 * count:
        return None
    ids = np.array(sorted(best.points3D), np.int64)
    points = np.full((len(xy), 3), np.nan)
    for point in ids:
        element = best.points3D[point].track.elements[0]
        points[rows[element.image_id - 1][element.point2D_idx]] = best.points3D[point].xyz
    w2c = np.full((xy.shape[1], 4, 4), np.nan)
    for image_id in best.reg_image_ids():
        w2c[image_id - 1] = _to_matrix(best.images[image_id].cam_from_world())
    return points, w2c


def _to_matrix(pose) -> NDArray[np.float64]:
    return np.vstack([pose.matrix(), [0, 0, 0, 1]])


def _write_database(path: Path, camera, xy, rows, keyframes, seed: int) -> None:
    """Keyframes with their points, and every pair that shares enough of them, checked for a common
    two-view geometry."""
    options = pycolmap.TwoViewGeometryOptions()
    options.ransac.max_error, options.ransac.random_seed, options.ransac.max_num_trials = (
        1.5,
        seed,
        2000,
    )
    options.min_num_inliers = _MIN_SHARED
    options.detect_watermark = False
    with pycolmap.Database.open(path) as database:
        database.write_camera(camera, use_camera_id=True)
        rig = pycolmap.Rig(rig_id=1)
        rig.add_ref_sensor(camera.sensor_id)
        database.write_rig(rig, use_rig_id=True)
        for t in keyframes:
            image = pycolmap.Image(name=f"{t:05d}", camera_id=1, image_id=int(t) + 1)
            database.write_image(image, use_image_id=True)
            frame = pycolmap.Frame(frame_id=int(t) + 1, rig_id=1)
            frame.add_data_id(image.data_id)
            database.write_frame(frame, use_frame_id=True)
            database.write_keypoints(int(t) + 1, xy[rows[t], t].astype(np.float32))
        for i, a in enumerate(keyframes):
            for b in keyframes[i + 1 :]:
                shared = np.intersect1d(rows[a], rows[b], assume_unique=True)
                if len(shared) < _MIN_SHARED:
                    continue
                matches = np.stack(
                    [np.searchsorted(rows[a], shared), np.searchsorted(rows[b], shared)], 1
                ).astype(np.uint32)
                geometry = pycolmap.estimate_calibrated_two_view_geometry(
                    camera, xy[rows[a], a], camera, xy[rows[b], b], matches, options
                )
                database.write_matches(int(a) + 1, int(b) + 1, matches)
                database.write_two_view_geometry(int(a) + 1, int(b) + 1, geometry)


def _compute_residuals(camera, xy, points, w2c):  # -> (P, T)
    """Squared reprojection errors in pixels², infinite where nothing is seen or the point is behind
    the camera."""
    seen = np.einsum("tij,pj->pti", w2c[:, :3, :3], points) + w2c[:, :3, 3]
    image = (
        camera.focal_length * seen[..., :2] / np.where(seen[..., 2:] > 1e-6, seen[..., 2:], np.nan)
        + camera.params[1:3]
    )
    return np.nan_to_num(((image - xy) ** 2).sum(-1), nan=np.inf)


def _find_inliers(camera, xy, points, w2c):  # -> (P, T) bool
    """Which observations of points the map agrees with; points with fewer than three have none."""
    observations = _compute_residuals(camera, xy, points, w2c) < 9.0
    return observations & (observations.sum(1) >= 3)[:, None]


def _adjust(camera, xy, points, w2c, observations):
    """Bundle adjustment of everything but the focal length: new (points, w2c)."""
    model = pycolmap.Reconstruction()
    model.add_camera_with_trivial_rig(camera)
    elements: dict[int, list] = {int(p): [] for p in np.flatnonzero(observations.any(1))}
    for t in np.flatnonzero(np.isfinite(w2c[:, 0, 0])):
        here = np.flatnonzero(observations[:, t])
        image = pycolmap.Image(
            name=f"{t:05d}", keypoints=xy[here, t], camera_id=1, image_id=int(t) + 1
        )
        model.add_image_with_trivial_frame(
            image, pycolmap.Rigid3d(pycolmap.Rotation3d(w2c[t, :3, :3]), w2c[t, :3, 3])
        )
        for i, p in enumerate(here):
            elements[int(p)].append(pycolmap.TrackElement(int(t) + 1, i))
    for p, track in elements.items():
        model.add_point3D_with_id(
            p + 1, pycolmap.Point3D(xyz=points[p], track=pycolmap.Track(track))
        )
    options = pycolmap.BundleAdjustmentOptions()
    options.refine_focal_length = options.refine_extra_params = options.print_summary = False
    options.ceres.loss_function_type = pycolmap.LossFunctionType.SOFT_L1
    options.ceres.loss_function_scale = 1.0
    options.ceres.solver_options.max_num_iterations = 40
    options.ceres.solver_options.function_tolerance = 1e-5
    options.ceres.solver_options.num_threads = 1
    pycolmap.bundle_adjustment(model, options)
    points, w2c = np.full_like(points, np.nan), np.full_like(w2c, np.nan)
    for p, point in model.points3D.items():
        points[p - 1] = point.xyz
    for image_id in model.reg_image_ids():
        w2c[image_id - 1] = _to_matrix(model.images[image_id].cam_from_world())
    return points, w2c


def _compute_score(camera, guess: float, xy, squares) -> float:
    """How well a map explains all observations in its frames; lower is better."""
    return float(
        np.log(np.minimum(squares[np.isfinite(xy[..., 0])], _CAP**2).mean())
        + compute_pull(camera.focal_length, guess)
    )


def _measure_inversion(points, w2c) -> float:
    """0..1: how much lower points are farther away.

    Seen with little perspective, a scene and its inside-out twin (depth and turning reversed)
    explain the same tracks; what lies lower in a picture is nearly always nearer.
    """
    ranks = []
    for pose in w2c[np.isfinite(w2c[:, 0, 0])]:
        seen = points @ pose[:3, :3].T + pose[:3, 3]
        seen = seen[seen[:, 2] > 1e-6]
        if len(seen) > 10:
            lower, nearer = (
                np.argsort(np.argsort(v)) for v in (seen[:, 1] / seen[:, 2], 1 / seen[:, 2])
            )
            ranks.append(np.corrcoef(lower, nearer)[0, 1])
    return max(0.0, -float(np.mean(ranks))) if ranks else 0.0


def _search_focal(camera, guess: float, xy, points, w2c):
    """Walks to the focal length with the best map, within bounds (a free one runs off); leaves it
    in ``camera``."""
    placed = np.isfinite(w2c[:, 0, 0])
    xy = np.where(placed[:, None], xy, np.nan)
    observations = _find_inliers(camera, xy, points, w2c)

    def fit_map(focal: float, points, w2c):
        camera.focal_length = focal
        found = _adjust(camera, xy, points, w2c, observations)
        return (
            _compute_score(
                camera,
                guess,
                xy,
                np.where(observations, _compute_residuals(camera, xy, *found), np.inf),
            ),
            focal,
            *found,
        )

    best = fit_map(camera.focal_length, points, w2c)
    scores = [best[:2]]
    for factor in (_STEP, 1 / _STEP):
        while RATIOS[0] * LONGER_SIDE <= best[1] * factor <= RATIOS[1] * LONGER_SIDE:
            ahead = fit_map(best[1] * factor, *best[2:])
            scores.append(ahead[:2])
            if ahead[0] >= best[0]:
                break
            best = ahead
    three = {round(np.log(focal / best[1]) / np.log(_STEP)): score for score, focal in scores}
    if {-1, 1} <= three.keys():  # the bottom of the parabola through the best and its neighbours
        bottom = 0.5 * (three[-1] - three[1]) / (three[-1] + three[1] - 2 * three[0] + 1e-12)
        best = min(best, fit_map(best[1] * _STEP**bottom, *best[2:]), key=lambda found: found[0])
    camera.focal_length = best[1]
    return best[2:]


def _place_rest(camera, xy, points, w2c, seed: int) -> None:
    """Poses of frames outside the map, from the map's points that they see; in place."""
    options = pycolmap.AbsolutePoseEstimationOptions()
    options.ransac.max_error, options.ransac.random_seed, options.ransac.max_num_trials = (
        2.0,
        seed,
        2000,
    )
    for t in np.flatnonzero(~np.isfinite(w2c[:, 0, 0])):
        here = np.flatnonzero(np.isfinite(points[:, 0]) & np.isfinite(xy[:, t, 0]))
        if len(here) < 12:
            continue
        found = pycolmap.estimate_and_refine_absolute_pose(
            xy[here, t], points[here], camera, options
        )
        if found is not None and found["num_inliers"] >= max(12, 0.4 * len(here)):
            w2c[t] = _to_matrix(found["cam_from_world"])


if __name__ == "__main__":
    main(Path(sys.argv[1]))
