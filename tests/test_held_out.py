"""Figures of the product on stages: a puppet in a world of its own, judged from where nobody
filmed."""

from dataclasses import replace

import numpy as np
import pytest
from scenes import look_at
from stages import write_stage

from restage4d import se3
from restage4d.clips import Clip
from restage4d.errors import InputError
from restage4d.evaluate import held_out
from restage4d.evaluate.metrics.pieces import measure_unity
from restage4d.evaluate.product import choose_click, measure_product, write_product_tables
from restage4d.evaluate.stage import StageClip, View, list_stages
from restage4d.puppet import Camera, Gaussians, Performance, Puppet
from restage4d.splatting.gaussians import render_gaussians

SIZE = (96, 72)
K = np.array([[100, 0, 48], [0, 100, 36], [0, 0, 1]], np.float32)
FRAMES = 5
EYES = {"behind": [0, 2.2, 0.9], "beside": [2.2, 0, 0.9]}
TURN = 40.0  # degrees, over the clip
# another world: turned, moved and of another size
FACTOR, SHIFT = 0.37, np.array([3.0, -1.0, 0.5])
TILT = se3.quat_to_matrix(np.array([0.9, 0.2, -0.1, 0.35]))


def _body(rng: np.random.Generator) -> Gaussians:
    """An ellipsoid standing on four legs."""
    p = rng.normal(size=(2500, 3))
    p = p / np.linalg.norm(p, axis=1, keepdims=True) * [0.45, 0.2, 0.2] + [0, 0, 0.55]
    foot = rng.uniform(-0.05, 0.05, (1500, 3)) * [1, 1, 0]
    foot[:, 2] = rng.uniform(0, 0.45, 1500)
    foot += np.stack(
        [rng.choice([-0.3, 0.3], 1500), rng.choice([-0.1, 0.1], 1500), 0 * foot[:, 0]], 1
    )
    means = np.concatenate([p, foot]).astype(np.float32)
    n = len(means)
    quats = np.zeros((n, 4), np.float32)
    quats[:, 0] = 1
    return Gaussians(
        means,
        quats,
        np.full((n, 3), 0.02, np.float32),
        np.full(n, 0.95, np.float32),
        rng.uniform(-1, 1, (n, 1, 3)).astype(np.float32),
    )


def _puppet(body: Gaussians) -> Puppet:
    """It turns about the vertical before a still camera."""
    angles = np.radians(TURN) * np.linspace(0, 1, FRAMES)
    R = np.stack(
        [[[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]] for a in angles]
    )
    bases = se3.pack(R, np.zeros((FRAMES, 3)))[None].astype(np.float32)
    w2c = np.tile(look_at(np.array([0, -2.2, 0.9]), np.array([0, 0, 0.4])), (FRAMES, 1, 1))
    one = Performance("base", bases, 24.0, np.tile(K, (FRAMES, 1, 1)), w2c, SIZE)
    n = len(body.means)
    empty = Gaussians(*(a[:0] for a in vars(body).values()))
    return Puppet(
        body, np.zeros((n, 1), np.uint16), np.ones((n, 1), np.float32),
        [one, replace(one, name="restaged")], empty,
    )  # fmt: skip


@pytest.fixture(scope="module")
def body() -> Gaussians:
    return _body(np.random.default_rng(0))


@pytest.fixture(scope="module")
def truth(body: Gaussians) -> StageClip:
    """What the puppet of ``body`` shows, as a stage's truth."""
    puppet = _puppet(body)
    performance = puppet.performances[0]

    def draw(t: int, w2c: np.ndarray):
        rgba, depth = render_gaussians([puppet.pose(performance, t)], Camera(K, w2c, SIZE))
        mask = rgba[..., 3] > 0.5
        picture = (255 * np.where(mask[..., None], rgba[..., :3], 0.5)).round().astype(np.uint8)
        return picture, mask, np.where(mask, depth, 0)

    w2c = performance.w2c
    frames, masks, depth = (
        np.stack(x) for x in zip(*(draw(t, w2c[t]) for t in range(FRAMES)), strict=True)
    )
    points = np.stack([puppet.pose(performance, t).means for t in range(FRAMES)], 1)[::5]
    camera = np.einsum("tij,ptj->pti", w2c[:, :3, :3], points) + w2c[:, :3, 3]
    xy = np.floor((camera / camera[..., 2:]) @ K.T)[..., :2].astype(int)
    at = np.arange(FRAMES), xy[..., 1].clip(0, 71), xy[..., 0].clip(0, 95)
    visible = masks[at] & (np.abs(camera[..., 2] - depth[at]) < 0.03)
    views = {}
    for name, eye in EYES.items():
        seen = look_at(np.array(eye), np.array([0, 0, 0.4]))
        pictures, shapes, _ = zip(*(draw(t, seen) for t in (0, 4)), strict=True)
        views[name] = View(
            np.stack(pictures), np.stack(shapes), np.stack([K, K]), np.stack([seen, seen]),
            np.array([0, 4], np.int32),
        )  # fmt: skip
    return StageClip(
        Clip(frames, 24.0),
        masks,
        depth.astype(np.float32),
        performance.K,
        w2c,
        points,
        visible,
        views,
    )


def _in_another_world(puppet: Puppet) -> Puppet:
    """The same puppet and cameras in a world that is turned, moved and smaller."""
    R = TILT.astype(np.float32)
    n = len(puppet.subject.means)
    subject = replace(
        puppet.subject, means=puppet.subject.means * FACTOR, scales=puppet.subject.scales * FACTOR
    )
    made = []
    for p in puppet.performances:
        turn = np.stack([R @ se3.gram_schmidt(p.bases[0, t, :6]) for t in range(p.n_frames)])
        w2c = p.w2c.copy()
        w2c[:, :3, :3] = p.w2c[:, :3, :3] @ R.T
        w2c[:, :3, 3] = FACTOR * p.w2c[:, :3, 3] - w2c[:, :3, :3] @ SHIFT
        shift = np.tile(SHIFT, (p.n_frames, 1))
        made.append(replace(p, bases=se3.pack(turn, shift)[None].astype(np.float32), w2c=w2c))
    assert n == len(subject.means)
    return replace(puppet, subject=subject, performances=made)


def test_the_true_puppet_is_perfect_in_whatever_world_it_lives(body, truth):
    puppet = _in_another_world(_puppet(body))
    figures, rows = measure_product(puppet, truth, truth, extent=0.9)
    for name in EYES:
        assert figures[f"iou_{name}"] > 0.99
        assert figures[f"psnr_{name}"] > 25  # the truth's outline is not mixed with the backdrop
    assert figures["depth_slope"] == pytest.approx(1, abs=0.02)
    assert figures["depth_error"] < 0.015
    assert figures["turn"] == pytest.approx(TURN, abs=0.5)
    assert figures["turn_ratio"] == pytest.approx(1, abs=0.02)
    assert figures["lower_cover_first"] > 0.98
    assert figures["lower_cover_last"] > 0.98
    assert figures["unity"] == 1
    assert figures["sharpness_ratio"] == pytest.approx(figures["sharpness_ratio_true"], rel=0.1)
    assert len(rows) == 4  # truth and puppet for each of two views
    assert figures["psnr_empty"] < figures["psnr_flat"]
    assert figures["iou_shift2"] < figures["iou_shift1"] < 1
    assert figures["psnr_shift2"] < figures["psnr_beside"]


def test_a_flat_body_has_less_depth_and_is_thinner_from_beside(body, truth):
    flat = replace(body, means=body.means * np.array([1, 0.3, 1], np.float32))
    figures, _ = measure_product(_puppet(flat), truth, truth, extent=0.9)
    assert figures["depth_slope"] < 0.9
    assert figures["iou_beside"] < 0.75


def test_lost_feet_are_seen_in_the_lower_cover(body, truth):
    keep = body.means[:, 2] > 0.36
    figures, _ = measure_product(
        _puppet(Gaussians(*(a[keep] for a in vars(body).values()))), truth, truth, extent=0.9
    )
    assert figures["lower_cover_first"] < 0.1


def test_a_piece_apart_is_not_one_body(body):
    means = body.means.copy()
    means[-300:] += [2, 0, 0]
    assert measure_unity(_puppet(body), _puppet(body).performances[0]).min() == 1
    puppet = _puppet(replace(body, means=means))
    assert measure_unity(puppet, puppet.performances[0]).min() == pytest.approx(1 - 300 / 4000)


def test_a_turn_that_the_puppet_does_not_make_is_not_found(body, truth):
    puppet = _puppet(body)
    still = [replace(p, bases=np.repeat(p.bases[:, :1], FRAMES, 1)) for p in puppet.performances]
    puppet = replace(puppet, performances=still)
    overlay = held_out.overlay_worlds(puppet, still[1], truth)
    figures = held_out.measure_turn(puppet, still[1], truth, overlay)
    assert figures["turn_true"] == pytest.approx(TURN, abs=0.5)
    assert figures["turn_ratio"] < 0.05


def test_blur_is_less_sharp():
    rng = np.random.default_rng(1)
    noise = rng.integers(0, 255, (40, 40, 3)).astype(np.uint8)
    mask = np.ones((40, 40), bool)
    flat = np.full_like(noise, 90)
    assert held_out.measure_sharpness(noise, mask) > 20
    assert held_out.measure_sharpness(flat, mask) == 0
    assert np.isnan(held_out.measure_sharpness(noise, np.zeros((40, 40), bool)))


def test_click_is_where_the_subject_is_thickest():
    mask = np.zeros((40, 60), bool)
    mask[10:30, 5:25] = True  # a square with a thin arm
    mask[18:20, 25:55] = True
    x, y = choose_click(mask).point or (0, 0)
    assert abs(x - 15) <= 1
    assert abs(y - 20) <= 1


def test_tables_have_a_row_for_every_puppet_and_a_mean():
    records = [
        {"stage": name, "driving": 1, "metrics": {"iou_beside": value, "turn_ratio": None}}
        for name, value in (("a", 0.5), ("b", 0.7))
    ]
    table = write_product_tables(records)
    assert "| a |  | 0.50 |" in table
    assert "| mean |  | 0.60 |" in table


def test_stages_are_listed_one_or_many(tmp_path):
    write_stage(tmp_path / "one")
    assert list_stages(tmp_path / "one") == [tmp_path / "one"]
    assert list_stages(tmp_path) == [tmp_path / "one"]
    with pytest.raises(InputError, match="no stages"):
        list_stages(tmp_path / "one" / "base")
