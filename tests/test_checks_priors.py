"""Doubts about cameras and depth, on a scene whose truth is known."""

from dataclasses import replace

import numpy as np
import pytest
from scenes import Truth, hinge_scene
from scipy.spatial.transform import Rotation

from restage4d.checks.estimates import check_estimates, name_video
from restage4d.checks.priors import (
    check_video_priors,
    measure_against_points,
    measure_behind,
    measure_flicker,
    measure_reprojection,
    measure_tilt,
)
from restage4d.clips import Priors


@pytest.fixture(scope="module")
def scene() -> Truth:
    return hinge_scene(drivings=2)


def with_ground(priors: Priors, share: float, tilt: float = 0.0) -> Priors:
    """Sparse points of which a share lies on the ground, and a world turned by ``tilt`` degrees
    about the camera's right axis."""
    rng = np.random.default_rng(2)
    points = np.column_stack(
        [rng.uniform(-1.5, 1.5, 400), rng.uniform(-1, 0.8, 400), np.zeros(400)]
    )
    loose = rng.random(400) >= share
    points[loose, 2] = rng.uniform(-1.5, 0.4, loose.sum())
    turn = np.eye(4)
    turn[:3, :3] = Rotation.from_euler("x", tilt, degrees=True).as_matrix()
    cameras = replace(
        priors.cameras,
        points=(points @ turn[:3, :3].T).astype(np.float32),
        w2c=(priors.cameras.w2c @ turn.T).astype(np.float32),
    )
    return replace(priors, cameras=cameras)


def codes(scene: Truth, priors: Priors) -> list[tuple[str, str]]:
    return [(f.code, f.video) for f in check_estimates(scene.rewound, priors)]


def test_the_truth_has_no_findings(scene):
    assert codes(scene, scene.priors) == []
    assert codes(scene, with_ground(scene.priors, 0.9)) == []


def test_tilt_and_its_support(scene):
    flat = with_ground(scene.priors, 0.9)
    tilt, support, count = measure_tilt(scene.rewound, flat)
    assert tilt == pytest.approx(np.degrees(np.arctan2(0.5, 2.2)), abs=1.0)
    assert support > 0.85
    assert count > 150
    steep = with_ground(scene.priors, 0.9, -50)  # the same picture of a world that lies askew
    tilt, support, _ = measure_tilt(scene.rewound, steep)
    assert tilt == pytest.approx(np.degrees(np.arctan2(0.5, 2.2)) + 50, abs=1.0)
    assert support < 0.3
    (found,) = [f for f in check_estimates(scene.rewound, steep) if f.code == "tilt-doubtful"]
    assert "63° down, but only" in found.text
    none = replace(steep, cameras=replace(steep.cameras, points=np.zeros((0, 3), np.float32)))
    (found,) = [f for f in check_estimates(scene.rewound, none) if f.code == "tilt-doubtful"]
    assert "no points of the background say so" in found.text


def test_a_subject_behind_its_background(scene):
    masks, depth = scene.priors.masks, scene.priors.depth.copy()
    assert np.nanmax(measure_behind(masks, depth)) < 0.1
    depth[masks > 0.5] *= 2.5
    assert np.nanmin(measure_behind(masks, depth)) > 0.9
    found = check_estimates(scene.rewound, replace(scene.priors, depth=depth))
    behind = [f for f in found if f.code == "subject-behind"]
    assert [f.video for f in behind] == ["base", "restaged 1", "restaged 2"]
    assert (behind[0].first_frame, behind[0].last_frame) == (0, 7)
    assert (behind[1].first_frame, behind[1].last_frame) == (0, 7)


def test_a_subject_that_is_not_where_the_points_around_it_are(scene):
    priors, rows = with_ground(scene.priors, 1.0), scene.rewound.video(0)
    rng = np.random.default_rng(6)
    wall = np.column_stack([rng.uniform(-1, 1, 300), np.full(300, 1.2), rng.uniform(0.2, 1.4, 300)])
    points = np.concatenate([priors.cameras.points, wall]).astype(np.float32)
    priors = replace(priors, cameras=replace(priors.cameras, points=points))
    before, feet = measure_against_points(priors, rows)
    assert np.nanmax(before) == 0
    assert np.isfinite(feet).all()
    assert np.nanmedian(feet) == pytest.approx(1.0, abs=0.1)
    # only what the points say: the maps' own background goes with the subject
    far = replace(priors, depth=priors.depth * 2.5)
    before, feet = measure_against_points(far, rows)
    assert np.nanmin(before) > 0.9
    assert np.nanmedian(feet) == pytest.approx(1 / 2.5, abs=0.05)
    found = check_video_priors(scene.rewound, far, rows, "base")
    assert {"subject-behind", "subject-off-ground"} <= {f.code for f in found}
    assert check_video_priors(scene.rewound, priors, rows, "base") == []


def test_depth_that_flickers(scene):
    rows = scene.rewound.video(1)
    steady = measure_flicker(scene.priors.masks[rows], scene.priors.depth[rows])
    assert steady.max() < 0.02
    depth = scene.priors.depth.copy()
    depth[rows[3:7:2]] *= 1.1
    off = measure_flicker(scene.priors.masks[rows], depth[rows])
    assert off[3] == pytest.approx(np.log(1.1), abs=0.02)
    priors = replace(scene.priors, depth=depth)
    assert ("depth-flicker", "restaged 1") in codes(scene, priors)
    assert ("depth-flicker", "base") not in codes(scene, priors)


def test_a_camera_that_is_taken_to_stand_still(scene):
    rows = scene.rewound.video(0)
    true = measure_reprojection(scene.rewound, scene.priors, rows)[:, 1]
    assert len(true) >= 3
    assert np.median(true) < 0.5
    w2c = scene.priors.cameras.w2c.copy()
    w2c[:] = w2c[scene.rewound.seam]
    still = replace(scene.priors, cameras=replace(scene.priors.cameras, w2c=w2c, kind="static"))
    missed = measure_reprojection(scene.rewound, still, rows)[:, 1]
    assert np.median(missed) > 1.0
    found = check_estimates(scene.rewound, still)
    assert [(f.code, f.video) for f in found] == [("camera-doubtful", "base")]
    assert 'taken to be "static"' in found[0].text


def test_names_are_those_of_performances():
    assert [name_video(i, 2) for i in range(3)] == ["base", "restaged 1", "restaged 2"]
    assert name_video(1, 1) == "restaged"
