"""Drawn puppets, judged by the colours of a box that has another colour on each side; and the
cameras that go round it."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from samples import FRONT, box_puppet, mostly, random_gaussians

from restage4d import se3, sh
from restage4d.puppet import Camera
from restage4d.splatting import gaussians, rasterize
from restage4d.splatting.gaussians import render_gaussians, render_performance
from restage4d.splatting.orbit import orbit_camera, orbit_cameras

GREY = (0.78, 0.78, 0.78)


def random_camera(rng: np.random.Generator) -> np.ndarray:
    w2c = np.eye(4, dtype=np.float32)
    w2c[:3, :3] = se3.quat_to_matrix(rng.normal(size=4))
    w2c[:3, 3] = rng.normal(size=3) * 3
    return w2c


def eye_of(w2c: np.ndarray) -> np.ndarray:
    return -w2c[:3, :3].T @ w2c[:3, 3]


# --- the orbiting camera --------------------------------------------------------------------------


def test_orbit_camera_is_a_rotation_that_looks_at_the_centre_upright_and_keeps_the_distance() -> (
    None
):
    rng = np.random.default_rng(0)
    for _ in range(50):
        w2c, centre, degrees = random_camera(rng), rng.normal(size=3), rng.uniform(-360, 360)
        moved = orbit_camera(w2c, centre, degrees)
        R = moved[:3, :3]
        assert np.allclose(R @ R.T, np.eye(3), atol=1e-5)
        assert np.linalg.det(R) == pytest.approx(1, abs=1e-5)
        seen = R @ centre + moved[:3, 3]
        assert np.allclose(seen[:2], 0, atol=1e-5)
        assert seen[2] == pytest.approx(np.linalg.norm(eye_of(w2c) - centre), rel=1e-5)
        assert R[0, 2] == pytest.approx(0, abs=1e-6)  # the horizon is level
        assert R[1, 2] <= 1e-6  # and up is up


def test_orbit_camera_turns_counter_clockwise_and_rises() -> None:
    w2c = np.array(
        [[1, 0, 0, 0], [0, 0, -1, 0], [0, 1, 0, 2], [0, 0, 0, 1]], np.float32
    )  # at (0, -2, 0), looking along +y
    assert np.allclose(eye_of(orbit_camera(w2c, np.zeros(3), 90, raised=0)), [2, 0, 0], atol=1e-6)
    assert np.allclose(eye_of(orbit_camera(w2c, np.zeros(3), 180, raised=0)), [0, 2, 0], atol=1e-6)
    assert np.allclose(orbit_camera(w2c, np.zeros(3), 0, raised=0), w2c, atol=1e-6)
    assert np.allclose(
        eye_of(orbit_camera(w2c, np.zeros(3), 0, raised=30)), [0, -np.sqrt(3), 1], atol=1e-6
    )


def test_orbit_camera_does_not_tip_over_nor_fall_into_the_centre() -> None:
    above = np.array(
        [[1, 0, 0, 0], [0, -1, 0, 0], [0, 0, -1, 3], [0, 0, 0, 1]], np.float32
    )  # straight down from (0, 0, 3)
    assert np.isfinite(orbit_camera(above, np.zeros(3), 90)).all()
    assert eye_of(orbit_camera(above, np.zeros(3), 90))[2] <= 3
    inside = np.eye(4, dtype=np.float32)
    moved = orbit_camera(inside, np.zeros(3), 90, nearest=1.5)
    assert np.linalg.norm(eye_of(moved)) == pytest.approx(1.5)


def test_orbit_keeps_a_walking_subject_in_the_picture_and_large() -> None:
    puppet = box_puppet()
    performance = puppet.performances[1]
    width, height = performance.size
    frames = [0, 4, 9]
    for degrees in (0, 90, 180):
        cameras = [orbit_cameras(puppet, performance, degrees)[t] for t in frames]
        pictures = render_performance(puppet, performance, frames, cameras, GREY)
        for t, picture in zip(frames, pictures, strict=True):
            drawn = np.abs(picture.astype(int) - picture[0, 0]).max(-1) > 40
            rows, columns = np.flatnonzero(drawn.any(1)), np.flatnonzero(drawn.any(0))
            assert rows[0] > 0, (degrees, t)
            assert rows[-1] < height - 1, (degrees, t)
            assert columns[0] > 0, (degrees, t)
            assert columns[-1] < width - 1, (degrees, t)
            assert max(np.ptp(rows) / height, np.ptp(columns) / width) > 0.5, (degrees, t)


# --- pictures -------------------------------------------------------------------------------------


def test_every_view_shows_its_own_side() -> None:
    puppet = box_puppet()
    performance = puppet.performances[1]
    assert mostly(next(render_performance(puppet, performance))) == "front"
    for degrees, side in ((0, "front"), (90, "left"), (180, "back"), (270, "right")):
        cameras = orbit_cameras(puppet, performance, degrees)[:1]
        assert mostly(next(render_performance(puppet, performance, [0], cameras, GREY))) == side


def test_frames_drawn_side_by_side_are_those_drawn_alone(monkeypatch) -> None:
    puppet = box_puppet()
    performance = puppet.performances[1]
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    alone = list(render_performance(puppet, performance))
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    threads = torch.get_num_threads()
    together = list(render_performance(puppet, performance))
    np.testing.assert_array_equal(together, alone)
    assert len(together) == performance.n_frames
    with ThreadPoolExecutor(1) as pool:  # what is worked at next has all threads again
        assert pool.submit(torch.get_num_threads).result() == threads


def test_the_clips_camera_sees_the_motion_and_the_background() -> None:
    puppet = box_puppet()
    performance = puppet.performances[1]
    first, last = render_performance(puppet, performance, frames=[0, performance.n_frames - 1])

    def middle(picture: np.ndarray) -> float:
        return float(np.flatnonzero((np.abs(picture / 255.0 - FRONT).max(-1) < 0.2).any(0)).mean())

    # 0.8 to the right at a depth of 2.65 before the box's front, focal = width = 160
    assert middle(last) - middle(first) == pytest.approx(0.8 * 160 / 2.65, abs=3)
    assert np.allclose(first[-1, 40] / 255, 0.4, atol=0.05)  # the ground
    alone = next(render_performance(puppet, performance, backdrop=(1.0, 1.0, 1.0)))
    assert (alone[-1, 40] == 255).all()  # no ground before a backdrop


def test_view_dependent_colour_follows_the_camera() -> None:
    """A box whose radiance is brighter towards +y: dark from the front, bright from behind."""
    puppet = box_puppet()
    g = puppet.subject
    g.sh = np.zeros((len(g), 4, 3), np.float32)
    g.sh[:, 1] = 0.8 / 0.4886  # the band -y: seen along +y (from the front) it takes 0.8 away
    performance = puppet.performances[0]
    front, back = (
        next(
            render_performance(
                puppet, performance, [0], orbit_cameras(puppet, performance, d)[:1], GREY
            )
        )
        for d in (0, 180)
    )
    middle = performance.size[1] // 2, performance.size[0] // 2
    assert front[middle].max() < 20
    assert back[middle].min() > 235
    assert sh.colors(g.sh[:1], np.array([[0, 1.0, 0]], np.float32)).max() == 0


# --- sets of Gaussians ----------------------------------------------------------------------------


def camera(size: tuple[int, int] = (48, 32)) -> Camera:
    K = np.array([[40, 0, size[0] / 2], [0, 40, size[1] / 2], [0, 0, 1]], np.float32)
    w2c = np.eye(4, dtype=np.float32)
    w2c[:3, 3] = [0.1, -0.05, 2]
    return Camera(K, w2c, size)


def test_sets_are_drawn_as_the_dense_reference_draws_them_together() -> None:
    """Colours by SH degree 0 and 2 in one picture, premultiplied; depth is the mean z."""
    rng = np.random.default_rng(3)
    sets = [random_gaussians(rng, 40, 2), random_gaussians(rng, 30)]
    sets[0].sh *= 0.3
    rgba, depth = render_gaussians(sets, camera())
    assert (rgba.shape, rgba.dtype) == ((32, 48, 4), np.float32)
    assert (depth.shape, depth.dtype) == ((32, 48), np.float32)
    w2c = camera().w2c
    means = np.concatenate([g.means for g in sets])
    eye = np.linalg.inv(w2c)[:3, 3]
    colours = []
    for g in sets:
        d = g.means - eye
        colours.append(sh.colors(g.sh, d / np.linalg.norm(d, axis=1, keepdims=True)))
    z = (means @ w2c[:3, :3].T + w2c[:3, 3])[:, 2]
    columns = [
        means,
        *(np.concatenate([getattr(g, k) for g in sets]) for k in ("quats", "scales", "opacities")),
        np.concatenate([np.concatenate(colours), z[:, None]], 1),
        w2c,
        camera().K,
    ]
    arrays = [torch.from_numpy(np.asarray(c, np.float64)) for c in columns]
    image, alpha, _ = rasterize(*arrays, 48, 32, backend="reference")
    assert np.allclose(rgba[..., 3], alpha, atol=1e-4)
    assert np.allclose(rgba[..., :3], image[..., :3].clip(0, 1), atol=1e-4)
    shown = alpha.numpy() > 0.05
    assert shown.any()
    assert (~shown).any()
    assert np.allclose(depth[shown], (image[..., 3] / alpha)[torch.from_numpy(shown)], atol=1e-3)
    assert (depth[rgba[..., 3] == 0] == 0).all()


def test_it_is_drawn_where_drawing_is_fastest(monkeypatch: pytest.MonkeyPatch) -> None:
    devices = set()

    def rasterize_elsewhere(*arguments):
        devices.update(a.device.type for a in arguments if isinstance(a, torch.Tensor))
        return torch.zeros(32, 48, 4), torch.zeros(32, 48), {}

    monkeypatch.setattr(gaussians, "drawing_device", lambda: "meta")
    monkeypatch.setattr(gaussians, "rasterize", rasterize_elsewhere)
    rgba, depth = render_gaussians([random_gaussians(np.random.default_rng(0), 5)], camera())
    assert devices == {"meta"}
    assert (rgba == 0).all()
    assert (depth == 0).all()
