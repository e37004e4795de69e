"""Structure from motion by COLMAP on point tracks, in a process of its own.

pycolmap brings libraries that crash beside OpenCV when loaded in the wrong order, and its mapper
cannot be stopped from outside: a child process ends both troubles. The child is this module:
``python -m restage4d.priors.cameras.colmap FOLDER``. It works at a longer side of 384 "pixels", so
that its tolerances hold for every size.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from restage4d.priors.cameras.focal import RATIOS, pull
from restage4d.progress import Task

F32 = NDArray[np.float32]

_MIN_SHARED = 20  # tracks that two keyframes must share to be matched
_PER_KEYFRAME = (
    300  # tracks that every keyframe brings into the map, those seen in most keyframes first
)
_LONGER = 384.0
_CAP = 2.0  # larger residuals are not background at rest and all count the same
_INSIDE_OUT = 0.5  # of ln(cost): how strongly a map whose lower points are farther away is disliked
_STEP = 1.12  # from one focal length to the next when the best is searched around a map's


@dataclass
class Mapped:
    """Cameras and points from COLMAP; ``w2c`` (T, 4, 4) is NaN for frames that could not be placed.

    ``error`` is the mean reprojection error in pixels of the sights that agree with the map,
    ``score`` what focal lengths are compared by: the log of the mean squared error over all sights,
    capped, a pull to the guess, and that low things are near.
    """

    focal: float
    w2c: F32
    points: F32
    error: float
    score: float


def map_tracks(
    xy: NDArray[np.floating],
    keyframes: NDArray[np.integer],
    size: tuple[int, int],
    focals: Sequence[float],
    search: bool,
    seed: int,
    task: Task,
    timeout: float,
) -> Mapped | str:
    """Cameras from tracks (P, T, 2; NaN where not seen): keyframes mapped incrementally, the other
    frames placed in that map.

    Args:
        keyframes: positions of the frames that make the map.
        size: (width, height) in pixels.
        focals: in pixels, the guess first; a map is made with each, side by side, and the best one
            taken.
        search: whether the focal length may then move on from there, within
            `restage4d.priors.cameras.focal.RATIOS`.
        task: advanced by one for every keyframe placed: ``len(keyframes) * len(focals)`` steps at
            most.
        timeout: seconds for all of it.

    Returns:
        The map, or one sentence that says why there is none. Raises `Cancelled` through ``task``.
    """
    scale = max(size) / _LONGER
    xy = xy[_useful(xy, keyframes)]
    with tempfile.TemporaryDirectory(prefix="restage4d-", ignore_cleanup_errors=True) as name:
        folders = [Path(name) / str(i) for i in range(len(focals))]
        for folder, focal in zip(folders, focals, strict=True):
            folder.mkdir()
            lens = {
                "focal": focal / scale,
                "guess": focals[0] / scale,
                "size": np.array(size) / scale,
                "search": search,
            }
            np.savez(folder / "in.npz", xy=xy / scale, keyframes=keyframes, seed=seed, **lens)
        with ExitStack() as stack:
            children = [stack.enter_context(_child(folder)) for folder in folders]
            began, reported = time.monotonic(), 0
            while any(child.poll() is None for child in children):
                time.sleep(0.05)
                done = sum(
                    min((folder / "out.txt").stat().st_size, len(keyframes)) for folder in folders
                )
                task.advance(done - reported)
                reported = done
                if time.monotonic() - began > timeout:
                    return f"structure from motion took longer than {timeout:.0f} s"
        maps, trouble = [], "too little of the background is seen from two places"
        for folder, child in zip(folders, children, strict=True):
            if child.returncode:
                said = (folder / "err.txt").read_text(errors="replace").strip().splitlines() or [
                    "no message"
                ]
                trouble = f"COLMAP ended with {child.returncode}: {said[-1]}"
            elif (folder / "map.npz").exists():
                with np.load(folder / "map.npz", allow_pickle=False) as found:
                    focal, error, score = (float(found[key]) for key in ("focal", "error", "score"))
                    maps.append(
                        Mapped(focal * scale, found["w2c"], found["points"], error * scale, score)
                    )
        return (
            min(maps, key=lambda m: m.score)
            if maps
            else f"structure from motion found no map: {trouble}"
        )


def _useful(xy: NDArray[np.floating], keyframes: NDArray[np.integer]) -> NDArray[np.bool_]:
    """Which tracks are enough for a map: more only cost time."""
    seen = np.isfinite(xy[:, keyframes, 0])
    count = seen.sum(1)
    chosen = np.zeros(len(xy), bool)
    for k in range(len(keyframes)):
        here = np.flatnonzero(seen[:, k] & (count >= 3))
        chosen[here[np.argsort(-count[here], kind="stable")[:_PER_KEYFRAME]]] = True
    return chosen


@contextmanager
def _child(folder: Path) -> Iterator[subprocess.Popen]:
    """The mapper under way in ``folder``; killed if still alive at the end."""
    with open(folder / "out.txt", "wb") as out, open(folder / "err.txt", "wb") as err:
        command = [sys.executable, "-m", "restage4d.priors.cameras.colmap", str(folder)]
        single = {
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
        }  # as above, and children run side by side
        child = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=out, stderr=err, env=single
        )
        try:
            yield child
        finally:
            if child.poll() is None:
                child.kill()
            child.wait()


def _main(folder: Path) -> None:
    """In the child process: reads ``in.npz``, writes ``map.npz``; prints one dot for every keyframe
    placed."""
    import pycolmap

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
    _write_database(pycolmap, folder / "map.db", camera, xy, rows, keyframes, seed)

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

    def dot() -> None:
        sys.stdout.write(".")
        sys.stdout.flush()

    (folder / "models").mkdir()
    models = pycolmap.incremental_mapping(
        folder / "map.db",
        folder,
        folder / "models",
        options,
        initial_image_pair_callback=dot,
        next_image_callback=dot,
    )
    best = max(models.values(), key=lambda m: m.num_reg_images(), default=None)
    if best is None or best.num_points3D() < 30 or best.num_reg_images() < 0.6 * len(keyframes):
        return
    ids = np.array(sorted(best.points3D), np.int64)
    points = np.full((len(xy), 3), np.nan)
    for point in ids:
        element = best.points3D[point].track.elements[0]
        points[rows[element.image_id - 1][element.point2D_idx]] = best.points3D[point].xyz
    w2c = np.full((xy.shape[1], 4, 4), np.nan)
    for image_id in best.reg_image_ids():
        w2c[image_id - 1] = _matrix(best.images[image_id].cam_from_world())

    if search:
        points, w2c = _search_focal(pycolmap, camera, guess, xy, points, w2c)
    _place_rest(pycolmap, camera, xy, points, w2c, seed)
    points, w2c = _adjust(pycolmap, camera, xy, points, w2c, _sights(camera, xy, points, w2c))
    squares = _residuals(camera, xy, points, w2c)
    agreed = squares < 1.0
    steady = agreed.sum(1) >= 3
    if steady.sum() < 30:
        return
    np.savez(
        folder / "map.npz",
        focal=camera.focal_length,
        w2c=w2c.astype(np.float32),
        points=points[steady].astype(np.float32),
        error=np.sqrt(squares[agreed]).mean(),
        score=_score(camera, guess, xy, squares) + _INSIDE_OUT * _inside_out(points[steady], w2c),
    )


def _matrix(pose) -> NDArray[np.float64]:
    return np.vstack([pose.matrix(), [0, 0, 0, 1]])


def _write_database(pycolmap, path: Path, camera, xy, rows, keyframes, seed: int) -> None:
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


def _residuals(camera, xy, points, w2c):  # -> (P, T)
    """Squared reprojection errors in pixels², infinite where nothing is seen or the point is behind
    the camera."""
    seen = np.einsum("tij,pj->pti", w2c[:, :3, :3], points) + w2c[:, :3, 3]
    image = (
        camera.focal_length * seen[..., :2] / np.where(seen[..., 2:] > 1e-6, seen[..., 2:], np.nan)
        + camera.params[1:3]
    )
    return np.nan_to_num(((image - xy) ** 2).sum(-1), nan=np.inf)


def _sights(camera, xy, points, w2c):  # -> (P, T) bool
    """Which sights of points the map agrees with; points with fewer than three have none."""
    sights = _residuals(camera, xy, points, w2c) < 9.0
    return sights & (sights.sum(1) >= 3)[:, None]


def _adjust(pycolmap, camera, xy, points, w2c, sights):
    """Bundle adjustment of everything but the focal length: new (points, w2c)."""
    model = pycolmap.Reconstruction()
    model.add_camera_with_trivial_rig(camera)
    elements: dict[int, list] = {int(p): [] for p in np.flatnonzero(sights.any(1))}
    for t in np.flatnonzero(np.isfinite(w2c[:, 0, 0])):
        here = np.flatnonzero(sights[:, t])
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
        w2c[image_id - 1] = _matrix(model.images[image_id].cam_from_world())
    return points, w2c


def _score(camera, guess: float, xy, squares) -> float:
    """How well a map explains all sights in its frames; lower is better."""
    return float(
        np.log(np.minimum(squares[np.isfinite(xy[..., 0])], _CAP**2).mean())
        + pull(camera.focal_length, guess)
    )


def _inside_out(points, w2c) -> float:
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


def _search_focal(pycolmap, camera, guess: float, xy, points, w2c):
    """Walks to the focal length with the best map, within bounds (a free one runs off); leaves it
    in ``camera``."""
    placed = np.isfinite(w2c[:, 0, 0])
    xy = np.where(placed[:, None], xy, np.nan)
    sights = _sights(camera, xy, points, w2c)

    def fit(focal: float, points, w2c):
        camera.focal_length = focal
        found = _adjust(pycolmap, camera, xy, points, w2c, sights)
        return (
            _score(camera, guess, xy, np.where(sights, _residuals(camera, xy, *found), np.inf)),
            focal,
            *found,
        )

    best = fit(camera.focal_length, points, w2c)
    scores = [best[:2]]
    for factor in (_STEP, 1 / _STEP):
        while RATIOS[0] * _LONGER <= best[1] * factor <= RATIOS[1] * _LONGER:
            ahead = fit(best[1] * factor, *best[2:])
            scores.append(ahead[:2])
            if ahead[0] >= best[0]:
                break
            best = ahead
    three = {round(np.log(focal / best[1]) / np.log(_STEP)): score for score, focal in scores}
    if {-1, 1} <= three.keys():  # the bottom of the parabola through the best and its neighbours
        bottom = 0.5 * (three[-1] - three[1]) / (three[-1] + three[1] - 2 * three[0] + 1e-12)
        best = min(best, fit(best[1] * _STEP**bottom, *best[2:]), key=lambda found: found[0])
    camera.focal_length = best[1]
    return best[2:]


def _place_rest(pycolmap, camera, xy, points, w2c, seed: int) -> None:
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
            w2c[t] = _matrix(found["cam_from_world"])


if __name__ == "__main__":
    _main(Path(sys.argv[1]))
