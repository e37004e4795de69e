"""The draft driver's pictures: what stands behind the subject, its shadow, its texture."""

from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np
import pytest

from restage4d.clips import Clip
from restage4d.driving.draft.anatomy.reading import read_body_plan
from restage4d.driving.draft.compositing.clean_plate import look_behind, make_clean_plate
from restage4d.driving.draft.compositing.inpaint import complete
from restage4d.driving.draft.compositing.matte import dilate
from restage4d.driving.draft.compositing.registration import Registration, register
from restage4d.driving.draft.compositing.shadow import (
    Shadow,
    find_ground,
    find_shadow,
    measure_shadow,
)
from restage4d.driving.draft.relief import build_relief
from restage4d.driving.draft.shape.stance import estimate_view
from restage4d.driving.seam import psnr
from restage4d.progress import Progress, TaskId

W, H = 224, 128
CENTRE, RADII = (60.0, 72.0), (26.0, 24.0)
LIGHT_LEFT = 0.5  # in the shadow
PAN = 0.8  # pixels a frame


def draw_noise(seed: int, low: float, high: float, width: int = W) -> np.ndarray:
    rng = np.random.default_rng(seed)
    fine, coarse = rng.normal(size=(H, width, 3)), rng.normal(size=(H, width, 1))
    fine, coarse = (cv2.GaussianBlur(x, (0, 0), s) for x, s in ((fine, 1.0), (coarse, 9.0)))
    mixed = 0.5 * fine / fine.std() + coarse[..., None] / coarse.std()
    return np.clip((low + high) / 2 + (high - low) / 6 * mixed, low, high).astype(np.float32)


@dataclass
class Scene:
    """A clip, its subject's true masks, and the first frame's background and shadow (H, W)."""

    clip: Clip
    masks: list[np.ndarray]
    truth: np.ndarray
    light: np.ndarray


@cache
def draw_scene(brightest: float = 60.0, step: float = 4.0, frames: int = 28) -> Scene:
    """A round thing with a soft shadow glides over the ground before a panning camera."""
    world, coat = draw_noise(1, 90, 210, W + 64), draw_noise(2, brightest - 50, brightest, 2 * W)
    rows, cols = np.indices((H, W)).astype(np.float32)
    pictures, masks, light = [], [], np.ones((H, W))
    for t in range(frames):
        x = CENTRE[0] + step * t
        back = cv2.remap(world, cols + np.float32(PAN * t), rows, cv2.INTER_CUBIC)
        away = ((cols - x - 8) / 36) ** 2 + ((rows - 96) / 9) ** 2
        shade = 1 - (1 - LIGHT_LEFT) * np.clip(1.6 - away, 0, 1)
        alpha = np.clip(
            12 * (1 - np.hypot((cols - x) / RADII[0], (rows - CENTRE[1]) / RADII[1])) + 0.5, 0, 1
        )
        body = cv2.remap(coat, cols - np.float32(x - W), rows, cv2.INTER_LINEAR)
        a = alpha[..., None]
        pictures.append(np.clip(back * shade[..., None] * (1 - a) + body * a, 0, 255).round())
        masks.append(alpha > 0.5)
        light = shade if t == 0 else light
    clip = Clip(np.stack(pictures).astype(np.uint8), 24.0)
    return Scene(clip, masks, world[:, :W], light)


@cache
def follow_scene(brightest: float = 60.0) -> Registration:
    with Progress().task(TaskId.EMPTY_STAGE) as stage:
        return register(draw_scene(brightest).clip, draw_scene(brightest).masks[0], stage)


@cache
def clear_scene() -> tuple[np.ndarray, np.ndarray, Shadow]:
    """The hole, the clean plate and the shadow of the scene."""
    scene, found = draw_scene(), follow_scene()
    mask, first = scene.masks[0], scene.clip.frames[0].astype(np.float32)
    body, hole = read_body_plan(mask), dilate(mask, 4)
    with Progress().task(TaskId.EMPTY_STAGE) as stage:
        behind, known = look_behind(scene.clip, hole, find_ground(mask, body), found, stage)
    shadow = find_shadow(first, mask, hole, body, behind, known)
    return hole, make_clean_plate(shadow.lit, hole, behind, known, shadow.where), shadow


def test_the_mask_goes_with_the_subject_and_leaves_what_it_laid_bare():
    found, truth = follow_scene(170.0), draw_scene(170.0).masks  # colours do not tell
    pairs = [(m, truth[t]) for t, m in zip(found.index, found.masks, strict=True)]
    assert len(pairs) == len(truth)
    assert np.mean([(m & true).sum() / true.sum() for m, true in pairs]) > 0.95
    assert np.mean([m.sum() / true.sum() for m, true in pairs]) < 2.0


def test_frames_stay_registered_to_the_first():
    found = follow_scene()
    corners = np.array([[[30.0, 20], [W - 60, 20], [30, H - 20]]])
    for t, to_first in zip(found.index, found.to_first, strict=True):
        there = cv2.perspectiveTransform(corners, to_first)
        np.testing.assert_allclose(there - corners, [[[PAN * t, 0]] * 3], atol=0.5)


def test_the_plate_is_the_background():
    scene, (hole, plate, shadow) = draw_scene(), clear_scene()
    where = np.where(hole[..., None], plate, scene.truth)
    share = hole.mean()
    in_hole = psnr(where.astype(np.uint8), scene.truth.astype(np.uint8)) + 10 * np.log10(share)
    assert in_hole > 26
    around = dilate(hole, 12) & ~hole
    assert plate[hole].min() > scene.truth[around].min() - 8, "darker than all that is around"
    untouched = ~hole & ~dilate(shadow.where, 12)
    np.testing.assert_array_equal(plate[untouched], scene.clip.frames[0][untouched])


def test_the_shadow_is_taken_off_the_plate_and_known():
    scene, (hole, plate, shadow) = draw_scene(), clear_scene()
    dark = (scene.light < 0.9) & ~hole
    filmed = scene.clip.frames[0].astype(np.float32)
    before, after = (np.abs(x - scene.truth)[dark].mean() for x in (filmed, plate))
    assert after < 0.35 * before  # 9 dB of what the shadow took
    assert shadow.where[dark].mean() > 0.8
    assert shadow.where[scene.light > 0.99].mean() < 0.02
    core = (scene.light < LIGHT_LEFT + 0.02) & ~hole
    assert shadow.factor[core].mean() == pytest.approx(LIGHT_LEFT, abs=0.06)


def test_other_frames_measure_a_faint_shadow():
    ground, (rows, cols) = draw_noise(5, 90, 210), np.indices((H, W))
    hole, shade = np.abs(cols - 60) + np.abs(rows - 60) < 30, np.hypot(cols - 80, rows - 84) < 20
    frame = np.where(shade[..., None], 0.76 * ground, ground).astype(np.float32)
    everywhere = np.ones((H, W), bool)
    found = measure_shadow(frame, ground, everywhere, everywhere, hole)
    assert found[shade & ~hole].mean() > 0.9
    assert found[~dilate(shade, 2)].mean() == 0
    away = np.roll(frame, 90, 1), np.roll(ground, 90, 1)  # not joined to the subject
    assert not measure_shadow(*away, everywhere, everywhere, hole).any()


def test_the_shadow_goes_with_the_subject():
    scene, (hole, plate, shadow) = draw_scene(), clear_scene()
    view = estimate_view(read_body_plan(scene.masks[0]), (W, H))
    moved = shadow.draw_on(plate, view, 70.0, 0.0, 0.0, 0.0)
    core = (scene.light < LIGHT_LEFT + 0.02) & ~hole
    there = np.roll(core, 70, 1)
    assert (moved[there] / plate[there]).mean() == pytest.approx(LIGHT_LEFT, abs=0.08)
    assert (moved / plate)[core & ~dilate(there, 20)].min(initial=1.0) > 0.9


def test_nothing_is_copied_from_what_shall_be_avoided():
    picture = draw_noise(3, 100, 200)
    hole, avoid = np.zeros((2, H, W), bool)
    hole[40:80, 60:110] = True
    avoid[70:100, 40:150] = True
    broken = np.where((hole | avoid)[..., None], np.float32(5), picture)
    filled = complete(broken, hole, np.random.default_rng(0), avoid & ~hole)
    assert filled[hole].min() > 90
    assert (complete(broken, hole, np.random.default_rng(0))[hole] < 50).mean() > 0.05


def test_completion_is_as_busy_as_its_surroundings():
    picture = draw_noise(4, 20, 230)
    picture[:, : W // 2] = cv2.GaussianBlur(picture[:, : W // 2], (0, 0), 6)  # fog, for the taking
    hole = np.zeros((H, W), bool)
    hole[30:95, 130:195] = True
    filled = complete(np.where(hole[..., None], 0, picture), hole, np.random.default_rng(0))
    slope = [np.abs(np.diff(p[40:85, 140:185], axis=1)).mean() for p in (filled, picture)]
    assert slope[0] > 0.2 * slope[1]  # without that, a twentieth: all of it from the fog


def test_texture_is_not_stretched_over_what_turns_away():
    mask = draw_scene().masks[0]
    relief = build_relief(mask, mask.astype(np.float32), read_body_plan(mask))
    near = relief.triangles[: len(relief.triangles) // 2]

    def measure(points: np.ndarray) -> np.ndarray:
        a, b = (points[near[:, k]] - points[near[:, 0]] for k in (1, 2))
        return np.linalg.norm(np.cross(a, b).reshape(len(near), -1), axis=1) / 2

    flat = np.column_stack([relief.inner, np.zeros(len(relief.inner))])
    area, pixels = measure(relief.rest), np.maximum(measure(flat), 1e-6)
    assert area[area > 2.5 * pixels].sum() < 0.12 * area.sum()
    inside = cv2.erode(mask.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    at = np.floor(relief.inner).astype(int)
    assert inside[at[:, 1], at[:, 0]].mean() > 0.99, "colours of the background"
