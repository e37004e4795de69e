"""Preview pictures, judged by the colours of a box that has another colour on each side."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from samples import BACK, FRONT, LEFT, RIGHT, box_puppet

from restage4d import se3, sh
from restage4d.clips import Clip
from restage4d.io import video
from restage4d.jobs.preview import (
    ROWS,
    Views,
    orbit,
    orbit_camera,
    render_performance,
    write_preview,
)

FACES = {"front": FRONT, "back": BACK, "left": LEFT, "right": RIGHT}


def counts(picture: np.ndarray) -> dict[str, int]:
    """How many pixels have the colour of each face."""
    return {
        k: int((np.abs(picture / 255.0 - np.array(c)).max(-1) < 0.2).sum())
        for k, c in FACES.items()
    }


def mostly(picture: np.ndarray) -> str:
    return max(counts(picture).items(), key=lambda item: item[1])[0]


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
        views = orbit(puppet, performance, degrees)
        for t, picture in zip(
            frames, render_performance(puppet, performance, frames, views), strict=True
        ):
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
        assert (
            mostly(
                next(
                    render_performance(
                        puppet, performance, views=orbit(puppet, performance, degrees)
                    )
                )
            )
            == side
        )


def test_the_clips_camera_sees_the_motion_and_the_background() -> None:
    puppet = box_puppet()
    performance = puppet.performances[1]
    first, last = render_performance(puppet, performance, frames=[0, performance.n_frames - 1])

    def middle(picture: np.ndarray) -> float:
        return float(np.flatnonzero((np.abs(picture / 255.0 - FRONT).max(-1) < 0.2).any(0)).mean())

    # 0.8 to the right at a depth of 2.65 before the box's front, focal = width = 160
    assert middle(last) - middle(first) == pytest.approx(0.8 * 160 / 2.65, abs=3)
    assert np.allclose(first[-1, 40] / 255, 0.4, atol=0.05)  # the ground
    views = Views(performance.K, performance.w2c, (1.0, 1.0, 1.0))
    alone = next(render_performance(puppet, performance, views=views))
    assert (alone[-1, 40] == 255).all()  # no ground before a backdrop


def test_view_dependent_colour_follows_the_camera() -> None:
    """A box whose radiance is brighter towards +y: dark from the front, bright from behind."""
    puppet = box_puppet()
    g = puppet.subject
    g.sh = np.zeros((len(g), 4, 3), np.float32)
    g.sh[:, 1] = 0.8 / 0.4886  # the band -y: seen along +y (from the front) it takes 0.8 away
    performance = puppet.performances[0]
    front, back = (
        next(render_performance(puppet, performance, views=orbit(puppet, performance, d)))
        for d in (0, 180)
    )
    middle = performance.size[1] // 2, performance.size[0] // 2
    assert front[middle].max() < 20
    assert back[middle].min() > 235
    assert sh.colors(g.sh[:1], np.array([[0, 1.0, 0]], np.float32)).max() == 0


def test_the_sheet_and_the_preview(tmp_path: Path) -> None:
    puppet = box_puppet(frames=10, size=(160, 100))
    base = np.full((6, 100, 160, 3), (255, 0, 255), np.uint8)  # shorter than the driving video
    driving = np.full((10, 100, 160, 3), (0, 255, 255), np.uint8)
    clips = {"base": Clip(base, 12.0), "restaged": Clip(driving, 12.0)}
    write_preview(puppet, clips, tmp_path / "sheet.png", tmp_path / "preview.mp4")
    sheet = cv2.imread(str(tmp_path / "sheet.png"))[..., ::-1]
    assert sheet.shape == (ROWS * 100, 5 * 160, 3)
    for row in np.split(sheet, ROWS):
        cells = np.split(row, 5, axis=1)
        assert tuple(cells[0][-1, -1]) == (255, 0, 255)
        assert tuple(cells[1][-1, -1]) == (0, 255, 255)
        assert [mostly(cell) for cell in cells[2:]] == ["front", "back", "left"]
        assert all(
            (cell[:16, :60] > 200).all(-1).any() and (cell[:4, :9] < 70).all() for cell in cells
        )  # a label in every cell
    clip = video.decode(tmp_path / "preview.mp4", longer_side=None)
    assert (len(clip), clip.size, clip.fps) == (10, (800, 100), 12.0)
    assert np.abs(clip.frames[0].astype(int) - sheet[:100]).mean() < 6


def test_several_performances_follow_one_another_and_none_shows_the_base(tmp_path: Path) -> None:
    puppet = box_puppet(frames=4, size=(64, 48))
    grey = Clip(np.full((4, 48, 64, 3), 99, np.uint8), 12.0)
    second = box_puppet(frames=4, size=(64, 48)).performances[1]
    second.name = "restaged 2"
    puppet.performances.append(second)
    names = [p.name for p in puppet.performances]
    write_preview(puppet, dict.fromkeys(names, grey), tmp_path / "s.png", tmp_path / "p.mp4")
    assert len(video.decode(tmp_path / "p.mp4")) == 8
    puppet.performances = puppet.performances[:1]
    write_preview(puppet, {"base": grey}, tmp_path / "s.png", tmp_path / "p.mp4")
    assert cv2.imread(str(tmp_path / "s.png")).shape[1] == 4 * 64
