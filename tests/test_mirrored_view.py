"""The far side fitted to the mirrored picture of the near side."""

import numpy as np
import pytest
import torch

from restage4d.errors import Cancelled
from restage4d.reconstruct.fusion.completing import mirrored_view
from restage4d.reconstruct.fusion.completing.mirrored_view import (
    Picture,
    View,
    draw_frames,
    draw_mirrored,
    fill_picture,
    fit_to_mirrored,
    look_along,
    mirror_view,
)
from restage4d.reconstruct.fusion.completing.symmetry import Plane
from restage4d.reconstruct.model.scene_model import SceneModel

SIZE = (64, 48)
K = np.array([[80, 0, 32], [0, 80, 24], [0, 0, 1]], np.float32)
EYE = np.eye(4, dtype=np.float32)
NEAR, BETWEEN, STEP = 4.0, 0.4, 0.05
PLANE = Plane(np.array([0.0, 0, 1]), NEAR + BETWEEN / 2)


def _project(points: np.ndarray, view: View) -> np.ndarray:
    camera = points @ view.w2c[:3, :3].T + view.w2c[:3, 3]
    assert camera[:, 2].min() > 0
    return (camera @ view.K.T)[:, :2] / camera[:, 2:]


def _sheet(z: float) -> np.ndarray:
    x, y = np.meshgrid(np.arange(-0.9, 0.9, STEP), np.arange(-0.6, 0.6, STEP))
    return np.stack([x.ravel(), y.ravel(), np.full(x.size, z)], 1).astype(np.float32)


def _model(means: np.ndarray, red: np.ndarray) -> SceneModel:
    n = len(means)
    rots = np.tile(np.array([1, 0, 0, 0, 1, 0], np.float32), (1, 2, 1))
    params = {
        "subject.means": means,
        "subject.quats": np.tile([1.0, 0, 0, 0], (n, 1)),
        "subject.log_scales": np.log(np.tile([[0.03, 0.03, 0.01]], (n, 1))),
        "subject.logit_opacities": np.full(n, 3.0),
        "subject.sh0": np.stack([red, 0 * red, 0 * red], 1),
        "subject.coefs": np.zeros((n, 1)),
        "bases.rots": rots,
        "bases.trans": np.zeros((1, 2, 3)),
    }
    empty = {"means": (0, 3), "quats": (0, 4), "log_scales": (0, 3), "logit_opacities": (0,)}
    params |= {f"background.{k}": np.zeros(s) for k, s in (empty | {"sh0": (0, 3)}).items()}
    return SceneModel({k: torch.tensor(v, dtype=torch.float32) for k, v in params.items()})


def _two_sheets() -> tuple[SceneModel, np.ndarray, Picture, list[Picture]]:
    """A checked sheet and, behind it, a grey one with a hole; rows of the latter, and what both are
    fitted to."""
    front, back = _sheet(NEAR), _sheet(NEAR + BETWEEN)
    checked = np.where((np.floor(front[:, :2] / 0.3)).sum(1) % 2, 1.2, -1.2)
    alone = _model(front, checked)
    view = fill_picture(EYE, front, SIZE)
    mirrored = draw_mirrored(alone, 0, view, PLANE, alone.params["subject.sh0"])
    back = back[np.hypot(*back[:, :2].T) > 0.08]
    model = _model(np.concatenate([front, back]), np.concatenate([checked, 0 * back[:, 0]]))
    frames = draw_frames(model, [0, 1], np.stack([K, K]), np.stack([EYE, EYE]), SIZE)
    return model, np.arange(len(front), len(front) + len(back)), mirrored, frames


def sizes(rows: np.ndarray, largest: float = 0.08) -> np.ndarray:
    return np.full(len(rows), largest, np.float32)


def _difference(model: SceneModel, picture: Picture) -> float:
    now = draw_frames(
        model, [picture.frame], np.stack([picture.view.K] * 2),
        np.stack([picture.view.w2c] * 2), picture.view.size,
    )[0]  # fmt: skip
    return float((now.image - picture.image).abs().mean())


def test_the_mirrored_camera_sees_the_mirror_image_turned_round():
    rng = np.random.default_rng(0)
    points = rng.uniform(-0.5, 0.5, (50, 3)).astype(np.float32) + np.array([0, 0, 4], np.float32)
    normal = np.array([0.3, -0.1, 0.95])
    plane = Plane(normal / np.linalg.norm(normal), 4.3)
    view = View(K, EYE, SIZE)
    other = mirror_view(view, plane)
    assert np.linalg.det(other.w2c[:3, :3]) == pytest.approx(1, abs=1e-5)
    seen, found = _project(points, view), _project(plane.reflect(points), other)
    assert found[:, 0] == pytest.approx(np.asarray(SIZE[0] - seen[:, 0]), abs=1e-3)
    assert found[:, 1] == pytest.approx(seen[:, 1], abs=1e-3)


def test_from_far_off_what_moves_along_the_axis_stays_where_it_is():
    """So the image through a body's middle is seen as its near side is, however thick it is."""
    rng = np.random.default_rng(0)
    points = rng.uniform(-0.5, 0.5, (500, 3)).astype(np.float32) + np.array([0, 0, 4], np.float32)
    axis = np.array([0, -0.4, 1], np.float32) / np.float32(np.hypot(0.4, 1))
    view = look_along(axis, EYE, points, 1.0, SIZE)
    moved = points + rng.uniform(0, 0.5, (500, 1)).astype(np.float32) * axis
    here, there = _project(points, view), _project(moved, view)
    assert there == pytest.approx(here, abs=0.3)
    inside = ((here > 0) & (here < SIZE)).all(1)
    assert inside.mean() > 0.98
    assert np.ptp(here[:, 1]) > 0.7 * SIZE[1]


def test_a_large_picture_is_drawn_smaller():
    sheet, large = _sheet(NEAR), np.diag([32, 32, 1]).astype(np.float32) @ K
    model = _model(sheet, np.zeros(len(sheet)))
    picture = draw_frames(model, [0], large[None], EYE[None], (2048, 1536))[0]
    assert picture.view.size == (512, 384)
    assert picture.view.K[0, 0] == pytest.approx(32 * 80 / 4)
    assert picture.image.shape == (384, 512, 4)
    assert picture.image[192, 256, 3] > 0.9


def test_the_far_side_comes_to_look_as_the_near_side_does_the_other_way_round():
    model, rows, mirrored, frames = _two_sheets()
    before = {n: v.detach().clone() for n, v in model.params.items()}
    wrong = _difference(model, mirrored)
    fit_to_mirrored(model, rows, mirrored, frames, STEP, sizes(rows), lambda: None)
    assert _difference(model, mirrored) < 0.4 * wrong
    assert max(_difference(model, picture) for picture in frames) < 2e-3
    first = rows[0]
    for name, value in before.items():
        now = model.params[name].detach()
        if name.startswith("subject."):
            assert torch.equal(now[:first], value[:first]), name
        else:
            assert torch.equal(now, value), name
    moved = (model.params["subject.means"].detach() - before["subject.means"]).norm(dim=-1)
    assert 0 < moved.max() <= STEP * 1.001
    assert model.params["subject.log_scales"].detach().max() <= np.log(0.08) + 1e-6


def test_what_is_hidden_from_both_sides_hardly_changes():
    """Else it would come out as specks from elsewhere."""
    model, rows, mirrored, frames = _two_sheets()
    between = _sheet(NEAR + BETWEEN / 2)
    between = between[np.abs(between[:, :2]).max(1) < 0.4]
    means = np.concatenate([model.params["subject.means"].detach().numpy(), between])
    red = np.concatenate([model.params["subject.sh0"][:, 0].detach().numpy(), 0 * between[:, 0]])
    fuller = _model(means, red)
    rows = np.concatenate([rows, np.arange(len(red) - len(between), len(red))])
    fit_to_mirrored(fuller, rows, mirrored, frames, STEP, sizes(rows), lambda: None)
    colours = fuller.params["subject.sh0"].detach().abs().max(1).values
    away = np.hypot(*between[:, :2].T) > 0.25  # of the hole
    assert colours[-len(between) :][away].median() < 0.1
    assert colours[rows[: -len(between)]].median() > 0.5


def test_frames_keep_their_looks_where_the_mirrored_picture_asks_for_more():
    """A body that is wider there: beside the outline of the frames nothing may come out."""
    model, rows, _, frames = _two_sheets()
    wide = _sheet(NEAR) * np.array([1.2, 1.2, 1], np.float32)
    large = _model(wide, np.full(len(wide), 1.2))
    large.params["subject.log_scales"].data += np.log(1.3)
    view = fill_picture(EYE, wide, SIZE)
    wider = draw_mirrored(large, 0, view, PLANE, large.params["subject.sh0"])
    fit_to_mirrored(model, rows, wider, frames, STEP, sizes(rows), lambda: None)
    assert max(_difference(model, picture) for picture in frames) < 0.012


def test_none_moves_or_grows_farther_than_allowed(monkeypatch):
    model, rows, mirrored, frames = _two_sheets()
    before = {n: v.detach().clone() for n, v in model.params.items()}
    monkeypatch.setitem(mirrored_view._RATES, "means", 1.0)
    monkeypatch.setitem(mirrored_view._RATES, "log_scales", 0.5)
    largest = sizes(rows, 0.04)
    largest[::2] = 0.01  # smaller than they are: they keep their size at most
    fit_to_mirrored(model, rows, mirrored, frames, STEP, largest, lambda: None)
    moved = (model.params["subject.means"].detach() - before["subject.means"]).norm(dim=-1)
    assert 0.9 * STEP < moved.max() <= STEP * 1.001
    grown = model.params["subject.log_scales"].detach()[rows].exp().numpy()
    was = before["subject.log_scales"][rows].exp().numpy()
    assert (grown[::2] <= was[::2] + 1e-6).all()
    assert 0.039 < grown[1::2].max() <= 0.04 + 1e-6


def test_it_can_be_cancelled():
    model, rows, mirrored, frames = _two_sheets()

    def stop() -> None:
        raise Cancelled("enough")

    with pytest.raises(Cancelled):
        fit_to_mirrored(model, rows, mirrored, frames, STEP, sizes(rows), stop)
