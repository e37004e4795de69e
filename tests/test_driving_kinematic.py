"""The draft driver: the first frame stays, the camera stays, and the subject does what was said."""

import os
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import pytest
from walking_animal import HEIGHT, WIDTH, animal, staged, texture

from restage4d.clips import Clip
from restage4d.driving.draft.acting import LONGEST, SHORTEST, compute_length, perform
from restage4d.driving.draft.anatomy.reading import read_body_plan
from restage4d.driving.draft.compositing.clean_plate import look_behind, make_clean_plate
from restage4d.driving.draft.compositing.inpaint import complete
from restage4d.driving.draft.compositing.matte import (
    dilate,
    estimate_foreground,
    estimate_matte,
    spread,
)
from restage4d.driving.draft.compositing.rasterizer import draw
from restage4d.driving.draft.compositing.registration import register
from restage4d.driving.draft.curves import Room, ramp
from restage4d.driving.draft.deform import Figure
from restage4d.driving.draft.driver import KinematicDriving
from restage4d.driving.draft.prompt import parse
from restage4d.driving.draft.relief import build_relief
from restage4d.driving.draft.shape.stance import View
from restage4d.driving.seam import psnr
from restage4d.errors import Cancelled, InputError
from restage4d.io.images import image
from restage4d.io.video import decode
from restage4d.progress import Progress, TaskId

DATA = Path(os.environ.get("RESTAGE4D_DATA", Path(__file__).parents[2] / "shared" / "data"))
CAMEL = DATA / "davis" / "camel"


@cache
def made(prompt: str) -> Clip:
    base, mask, _ = staged()
    return KinematicDriving().make(base, mask, prompt, Progress()).clip


def subject(frame: np.ndarray) -> np.ndarray:
    """Where a frame differs from the clean plate."""
    return np.abs(frame.astype(np.float32) - staged()[2]).max(-1) > 45


def place(frame: np.ndarray) -> tuple[float, float]:
    ys, xs = np.nonzero(subject(frame))
    return float(xs.mean()), float(ys.mean())


PROMPTS = (
    "walks forward",
    "jumps",
    "crouches then nods",
    "spins",
    "waves",
    "leans left while shaking its head",
)


@pytest.mark.parametrize("prompt", PROMPTS)
def test_it_begins_with_the_base_and_goes_on_from_there(prompt):
    base, _, _ = staged()
    clip = made(prompt)
    np.testing.assert_array_equal(clip.frames[0], base.frames[0])
    assert clip.size == base.size
    assert clip.fps == base.fps
    assert SHORTEST <= len(clip) <= 2 * LONGEST
    assert psnr(clip.frames[0], clip.frames[1]) > 24
    steps = [psnr(a, b) for a, b in zip(clip.frames, clip.frames[1:], strict=False)]
    assert min(steps) > 15, "a jump cut"
    assert psnr(clip.frames[0], clip.frames[len(clip) // 2]) < 40, "nothing moves"


def test_a_slow_beginning_has_no_pop():
    clip = made("slowly walks forward")
    assert psnr(clip.frames[0], clip.frames[1]) > 34


@pytest.mark.parametrize("prompt", PROMPTS)
def test_the_stage_and_the_camera_stay(prompt):
    wall = staged()[2]
    corner = np.s_[:30, 180:]
    for frame in made(prompt).frames[::6]:
        np.testing.assert_allclose(frame[corner], np.round(wall[corner]), atol=1)


def test_directions_are_followed():
    x0, y0 = place(made("walks forward").frames[0])
    assert place(made("walks forward").frames[-1])[0] > x0 + 15
    assert place(made("walks left").frames[-1])[0] < x0 - 15
    up = [place(f)[1] for f in made("jumps").frames]
    assert min(up) < y0 - 12
    assert up[-1] == pytest.approx(y0, abs=2)
    low = made("crouches then nods").frames[-1]
    assert (
        np.flatnonzero(subject(low).any(1))[0]
        > np.flatnonzero(subject(made("jumps").frames[0]).any(1))[0] + 6
    )
    lean = made("leans left while shaking its head").frames[-1]
    assert (
        np.nonzero(subject(lean)[:70])[1].mean()
        < np.nonzero(subject(made("jumps").frames[0])[:70])[1].mean() - 5
    )
    area = [
        subject(made(f"walks {where}").frames[-1]).sum() for where in ("away", "towards the camera")
    ]
    assert area[0] < area[1]


def test_the_feet_stay_on_the_ground():
    lowest = [
        np.flatnonzero(subject(f)[:, 40:200].any(1))[-1] for f in made("walks forward").frames
    ]
    assert np.ptp(lowest) <= 5


@pytest.mark.parametrize("prompt", ["walks forward", "walks left", "crouches then nods"])
def test_feet_that_stand_are_on_the_ground(prompt):
    _, mask, _ = staged()
    body = read_body_plan(mask)
    relief = build_relief(mask, mask.astype(np.float32), body)
    curves = perform(parse(prompt), body, 32, 24.0, Room(40, 40, 20, 40))
    figure = Figure(relief, body)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(View, "project", lambda _, world: world)
        poses = [figure.pose(curves, t, figure.compute_turn(curves, t)) for t in range(len(curves))]
    heights = []
    for bone, part in zip(figure.bones[: len(body.legs)], curves.limbs, strict=False):
        foot = bone.used[(bone.along[bone.used] > 0.85) & (bone.weight[bone.used] > 0.5)]
        stands = np.flatnonzero((part.lift == 0) & (curves.up <= 0))
        assert len(stands) > 3
        heights.extend(poses[t][foot, 1].min() - relief.rest[foot, 1].min() for t in stands)
    assert np.abs(heights).max() < 1


@pytest.mark.parametrize("prompt", ["walks right for 5 seconds", "runs left for 5 seconds"])
def test_a_long_way_ends_inside_the_picture(prompt):
    base, mask, _ = staged()
    clip = KinematicDriving().make(base, mask, prompt, Progress()).clip
    shown = [np.flatnonzero(subject(frame).any(0)) for frame in clip.frames[::8]]
    assert min(cols[0] for cols in shown) > 0
    assert max(cols[-1] for cols in shown) < WIDTH - 1
    ways = np.abs(np.diff([place(frame)[0] for frame in clip.frames[-3:]]))
    assert ways.max() < 1.5, "it runs into a wall"


def test_a_spin_comes_round():
    clip = made("spins")
    width = [np.ptp(np.flatnonzero(subject(f).any(0))) for f in clip.frames]
    assert min(width) < 0.6 * width[0]
    assert psnr(clip.frames[0], clip.frames[-1]) > 24


def test_the_same_twice():
    base, mask, _ = staged()
    again = KinematicDriving().make(base, mask, "walks forward", Progress()).clip
    np.testing.assert_array_equal(again.frames, made("walks forward").frames)


def test_bad_input_is_refused_and_work_can_be_stopped():
    base, mask, _ = staged()
    driver = KinematicDriving()
    with pytest.raises(InputError, match="pixels"):
        driver.make(base, mask[:-2], "jumps", Progress())
    with pytest.raises(InputError, match="0 pixels"):
        driver.make(base, np.zeros_like(mask), "jumps", Progress())
    with pytest.raises(InputError, match="100 %"):
        driver.make(base, np.ones_like(mask), "jumps", Progress())
    with pytest.raises(InputError, match="nothing"):
        driver.make(base, mask, "bakes a cake", Progress())
    with pytest.raises(InputError, match="at most"):
        driver.make(base, mask, "walks for 30 seconds", Progress())
    with pytest.raises(Cancelled):
        driver.make(base, mask, "jumps", Progress(cancelled=lambda: True))


@pytest.mark.parametrize("shape", ["speck", "border", "most"])
def test_odd_subjects_are_no_crash(shape):
    base, _, _ = staged()
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[
        {"speck": np.s_[40:50, 60:70], "border": np.s_[90:, :60], "most": np.s_[:, 80:]}[shape]
    ] = True
    clip = (
        KinematicDriving()
        .make(Clip(base.frames[:3], 24.0), mask, "jump, spin and wave", Progress())
        .clip
    )
    np.testing.assert_array_equal(clip.frames[0], base.frames[0])
    assert np.isfinite(clip.frames).all()


def test_body_plan_of_the_animal():
    _, mask, _ = staged()
    body = read_body_plan(mask)
    assert len(body.legs) == 4
    assert body.facing == 1
    assert body.head is not None
    assert body.head.tip[0] > 130
    mirrored = read_body_plan(mask[:, ::-1])
    assert mirrored.facing == -1
    assert len(mirrored.legs) == 4
    for limb in (*body.legs, body.head):
        assert limb.weight.min() == 0
        assert limb.weight.max() <= 1
        assert limb.weight[~mask].max() == 0


def test_a_blob_has_no_limbs():
    y, x = np.indices((100, 100))
    body = read_body_plan((x - 50) ** 2 + (y - 50) ** 2 < 30**2)
    assert (body.legs, body.others, body.facing) == ([], [], 0)


def test_the_empty_stage_shows_what_other_frames_saw():
    base, mask, wall = staged()
    hole = dilate(mask, 4)
    with Progress().task(TaskId.EMPTY_STAGE) as stage:
        none = np.zeros_like(hole)
        behind, known = look_behind(base, hole, none, register(base, mask, stage), stage)
        plate = make_clean_plate(base.frames[0].astype(np.float32), hole, behind, known, none)
    np.testing.assert_array_equal(plate[~hole], base.frames[0][~hole])
    seen = hole & (
        animal(90 + 37.5)[..., 0] == 0
    )  # behind the animal in the first frame, free in the last
    assert np.abs(plate - wall)[seen].mean() < 8


def test_completion_goes_on_with_the_pattern():
    x = np.indices((96, 96))[1]
    stripes = np.repeat((127 + 90 * np.sin(x * 2 * np.pi / 12))[..., None], 3, -1).astype(
        np.float32
    )
    hole = np.zeros((96, 96), bool)
    hole[30:60, 35:65] = True
    broken = np.where(hole[..., None], 0, stripes).astype(np.float32)
    filled = complete(broken, hole, np.random.default_rng(0))
    np.testing.assert_array_equal(filled[~hole], stripes[~hole])
    assert np.abs(filled - stripes)[hole].mean() < 25
    np.testing.assert_array_equal(filled, complete(broken, hole, np.random.default_rng(0)))


def test_spread_keeps_what_is_known_and_fills_between():
    values = np.full((40, 50, 2), 7.0, np.float32)
    known = np.zeros((40, 50), np.float32)
    known[5:8, 9:12] = known[30, 40] = 1
    values[known == 0] = 1e6
    np.testing.assert_allclose(spread(values, known), 7.0, rtol=1e-4)


def test_matte_and_colours_give_the_frame_back():
    base, mask, wall = staged()
    frame = base.frames[0].astype(np.float32)
    alpha = estimate_matte(frame, mask)
    assert ((alpha >= 0) & (alpha <= 1)).all()
    assert alpha[dilate(~mask, 5) & mask].mean() > 0.7
    assert alpha[~dilate(mask, 5)].max() == 0
    colours = estimate_foreground(frame, alpha, wall.astype(np.float32))
    again = alpha[..., None] * colours + (1 - alpha[..., None]) * wall
    assert psnr(np.round(again).astype(np.uint8), base.frames[0]) > 30


def test_a_relief_at_rest_is_where_it_was_filmed():
    _, mask, _ = staged()
    relief = build_relief(mask, mask.astype(np.float32), read_body_plan(mask))
    c, s = np.cos(relief.yaw), np.sin(relief.yaw)
    a, b, d = relief.rest.T
    seen = relief.view.project(np.column_stack([a * c - d * s, b, a * s + d * c]))
    np.testing.assert_allclose(seen[:, :2], relief.uv, atol=1e-3)


def test_drawing_a_mesh_at_rest_gives_its_texture_back():
    picture = texture(40, 60, 5, 0, 255).astype(np.float32)
    rows, cols = np.indices((40, 60))
    uv = np.stack([cols.ravel() + 0.5, rows.ravel() + 0.5], -1).astype(np.float32)
    corner = (rows[:-1, :-1] * 60 + cols[:-1, :-1]).ravel()
    triangles = np.concatenate(
        [
            np.stack([corner, corner + 1, corner + 61], -1),
            np.stack([corner, corner + 61, corner + 60], -1),
        ]
    ).astype(np.int32)
    points = np.column_stack([uv, np.ones(len(uv))]).astype(np.float32)
    black = np.zeros_like(picture)
    opaque = np.ones(len(uv), np.float32)
    drawn = draw(black, points, uv, opaque, triangles, picture).picture
    np.testing.assert_allclose(drawn[1:-1, 1:-1], picture[1:-1, 1:-1], atol=0.05)
    np.testing.assert_allclose(
        draw(black, points, uv, opaque * 0.5, triangles, picture).picture[1:-1, 1:-1],
        picture[1:-1, 1:-1] / 2,
        atol=0.05,
    )
    np.testing.assert_array_equal(
        draw(black, points, uv, opaque, triangles[:, ::-1], picture).picture, black
    )  # seen from behind
    nearer = np.concatenate([points, points - np.array([0, 0, 0.5], np.float32)])
    both = draw(
        black,
        nearer,
        np.tile(uv, (2, 1)),
        np.ones(2 * len(uv), np.float32),
        np.concatenate([triangles, triangles + len(uv)]),
        picture,
    )
    np.testing.assert_allclose(both.picture, drawn, atol=1e-3)
    small = points * np.array([0.25, 0.25, 1], np.float32)
    noise = np.random.default_rng(0).uniform(0, 255, picture.shape).astype(np.float32)
    assert (
        draw(black, small, uv, opaque, triangles, noise).picture[1:9, 1:14].std()
        < 0.5 * noise.std()
    )  # averaged, not picked


def test_lengths():
    assert compute_length(parse("turn left"), 90, 24.0)[0] == LONGEST
    assert compute_length(parse("turn left"), 10, 24.0)[0] == SHORTEST
    frames, factor = compute_length(parse("walk for 5 seconds, then nod"), 48, 24.0)
    assert frames > LONGEST
    assert (frames - 1) / 24 >= factor * parse("walk for 5 seconds, then nod").seconds - 1e-6
    t = np.linspace(-1, 3, 200)
    assert (np.diff(ramp(t, 0, 1)) >= 0).all()
    assert ramp(t, 0, 1)[0] == 0
    assert ramp(t, 0, 1)[-1] == 1


@pytest.mark.skipif(not CAMEL.exists(), reason=f"no footage at {CAMEL}")
def test_on_real_footage():
    base = decode(CAMEL / "images", longer_side=256, stop=1.5)
    mask = (
        cv2.resize(image(CAMEL / "masks" / "00000.png"), base.size, interpolation=cv2.INTER_AREA)
        > 127
    )
    body = read_body_plan(mask)
    assert body.facing == 1
    assert len(body.legs) >= 3
    clip = KinematicDriving().make(base, mask, "the camel nods", Progress()).clip
    np.testing.assert_array_equal(clip.frames[0], base.frames[0])
    assert psnr(clip.frames[0], clip.frames[1]) > 34
    still = np.s_[:, :60]
    np.testing.assert_allclose(clip.frames[-1][still], base.frames[0][still], atol=1)
