"""Legs that stand: the background that later frames show tells them from the ground."""

import cv2
import numpy as np
import pytest
from legs import CENTRE, walking

from restage4d.clips import Clip, Selection, rewind
from restage4d.errors import Cancelled
from restage4d.priors.masks.grabcut import GrabCutMasks
from restage4d.priors.masks.limbs import add_standing_limbs
from restage4d.priors.masks.selecting.select import select_subject
from restage4d.priors.masks.selecting.surroundings import remove_revealed_background
from restage4d.priors.motion.background_motion import BackgroundMotion
from restage4d.priors.motion.optical_flow import compute_optical_flow
from restage4d.priors.motion.revealed_background import (
    _measure_unlikeness,
    measure_change,
    measure_change_around,
)
from restage4d.priors.motion.smooth_colours import smooth_lab
from restage4d.progress import Event, Progress, TaskId


@pytest.fixture(scope="module")
def scene():
    return walking()


def test_a_click_on_the_body_finds_legs_that_stand(scene):
    clip, masks, legs = scene
    found = select_subject(clip, Selection(point=CENTRE), Progress())
    assert (found & legs[0]).sum() / legs[0].sum() > 0.8
    assert (found & masks[0]).sum() / (found | masks[0]).sum() > 0.9


def test_a_box_holds_the_legs_that_stand_in_it(scene):
    clip, masks, legs = scene
    rows, cols = np.nonzero(masks[0])
    left, top, right, bottom = cols.min() - 2, rows.min() - 2, cols.max() + 3, rows.max() + 3
    found = select_subject(clip, Selection(box=(left, top, right, bottom)), Progress())
    assert (found & legs[0]).sum() / legs[0].sum() > 0.7
    knee = int(np.nonzero(legs[0])[0].mean())
    cut = select_subject(clip, Selection(box=(left, top, right, knee)), Progress())
    assert cut[:knee].sum() > 0.8 * masks[0][:knee].sum()
    assert not cut[knee:].any(), "nothing outside of the box"


def test_selecting_reports_the_flow_once_and_takes_its_share_of_the_whole(scene):
    clip, _, _ = scene
    events: list[Event] = []
    progress = Progress(events.append)
    tasks = [TaskId.OPTICAL_FLOW, TaskId.SELECT, TaskId.OPTICAL_FLOW, TaskId.MASKS]
    progress.expect(tasks)
    select_subject(clip, Selection(point=CENTRE), progress)
    assert [e.task for e in events if e.step == 0] == tasks[:2]
    shares = [e.share for e in events]
    assert shares == sorted(shares)
    assert shares[-1] == pytest.approx(
        sum(t.weight for t in tasks[:2]) / sum(t.weight for t in tasks)
    )


def test_a_cancelled_selection_ends(scene):
    asked = iter(range(100))
    with pytest.raises(Cancelled):
        select_subject(
            scene[0], Selection(point=CENTRE), Progress(cancelled=lambda: next(asked) > 4)
        )


def test_legs_change_and_the_ground_does_not(scene):
    clip, masks, legs = scene
    change = measure_change(clip, Progress())
    known = np.isfinite(change)
    assert np.median(change[legs[0] & known]) > 10
    assert np.quantile(change[~masks.any(0) & known], 0.95) < 6
    assert not known[:, :4].any()  # the camera pans: no later frame shows the left edge
    assert known[:, 30:].all()


def test_frames_before_and_after_tell_of_any_frame(scene):
    clip, masks, legs = scene
    rewound = rewind(clip, [])
    motion = BackgroundMotion(rewound, compute_optical_flow(rewound, Progress()), masks[::-1])
    lab = np.stack([smooth_lab(frame, 0.6) for frame in rewound.clip.frames])
    window = slice(30, 120), slice(20, 230)
    for t in (4, 12, 20):
        change = measure_change_around(lab, motion, int(rewound.video(0)[t]), window)
        known = np.isfinite(change)
        assert change.shape == (90, 210)
        assert known.mean() > 0.95
        assert np.median(change[legs[t][window] & known]) > 10
        assert np.quantile(change[~masks[t][window] & known], 0.9) < 6


def test_legs_that_stand_are_followed(scene):
    clip, masks, legs = scene
    rewound = rewind(clip, [])
    found = GrabCutMasks().propagate(rewound, masks[0], Progress())[rewound.video(0)] > 0.5
    low = [(f & leg).sum() / leg.sum() for f, leg in zip(found, legs, strict=True)]
    assert min(low) > 0.7  # 0.01 by flow, colour and motion alone
    union = [(f & m).sum() / (f | m).sum() for f, m in zip(found, masks, strict=True)]
    assert min(union) > 0.94


def test_nothing_is_known_of_a_clip_too_short():
    clip, _, _ = walking(4)
    assert np.isnan(measure_change(Clip(clip.frames, 24.0), Progress())).all()
    rewound = rewind(clip, [])
    flow = compute_optical_flow(rewound, Progress())
    motion = BackgroundMotion(rewound, flow, np.zeros(clip.frames.shape[:3], bool))
    lab = np.zeros(clip.frames.shape, np.float32)
    window = slice(0, 20), slice(0, 20)
    assert np.isnan(measure_change_around(lab, motion, rewound.seam, window)).all()


def test_only_the_colour_of_a_shadow_counts_and_a_near_miss_not_at_all():
    lab = np.tile(np.array((60, 5, 20), np.float32), (20, 20, 1))
    lab[:, 10:] = (30, -10, 5)
    here = lab.copy()
    here[4:6, 2:8] = 0.8 * (lab[4:6, 2:8] + (16, 0, 0)) - (16, 0, 0)
    here[12:14, 2:8, 1:] = (25, -10)
    distance = _measure_unlikeness(here, np.roll(lab, 1, axis=1), 1)
    assert np.allclose(distance[4:6, 3:7], 0.8 * 0.2 * 76, atol=0.01)
    assert np.allclose(distance[12:14, 3:7], np.hypot(20, 30), atol=0.01)
    assert np.allclose(distance[8, 2:18], 0)


@pytest.mark.parametrize(
    ("top", "left", "bottom", "right", "level", "added"),
    [
        (60, 50, 85, 54, 20.0, True),  # a leg
        (60, 50, 85, 54, 2.0, False),  # where later frames show the same
        (60, 20, 63, 50, 20.0, False),  # a shadow along the ground
        (60, 40, 74, 50, 20.0, False),  # too thick
        (5, 50, 30, 54, 20.0, False),  # above the body
        (64, 50, 85, 54, 20.0, False),  # does not touch it
    ],
)
def test_a_limb_hangs_below_is_narrow_upright_and_changes(top, left, bottom, right, level, added):
    body = np.zeros((120, 120), bool)
    body[30:60, 20:100] = True
    limb = np.zeros_like(body)
    limb[top:bottom, left:right] = True
    lab = np.zeros((120, 120, 3), np.float32)
    lab[body | limb] = (50, 10, 20)
    change = np.where(limb, np.float32(level), 1)
    assert np.array_equal(add_standing_limbs(lab, change, body), body | limb if added else body)
    alike = np.where(body[..., None], lab, 0)
    assert np.array_equal(add_standing_limbs(alike, change, body), body)  # nothing to be seen there


def test_a_limb_and_its_shadow_come_apart_by_their_colours():
    body = np.zeros((120, 120), bool)
    body[30:60, 20:100] = True
    limb, shadow = np.zeros_like(body), np.zeros_like(body)
    limb[60:85, 50:54] = True
    shadow[80:85, 54:95] = True
    lab = np.full((120, 120, 3), (70, 0, 0), np.float32)
    lab[body | limb], lab[shadow] = (50, 10, 20), (40, 0, 0)
    change = np.where(limb | shadow, np.float32(12), 1)
    found = add_standing_limbs(lab, change, body)
    assert (found & limb).sum() > 0.9 * limb.sum()
    assert (found & shadow).sum() < 0.1 * shadow.sum()


def test_without_later_frames_nothing_is_added():
    body = np.zeros((40, 40), bool)
    body[10:20, 10:30] = True
    unknown = np.full((40, 40), np.nan, np.float32)
    assert np.array_equal(
        add_standing_limbs(np.zeros((40, 40, 3), np.float32), unknown, body), body
    )


def walk_on(change: float) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Colours, change and masks with and without a plate of background at a body's side; deep
    inside it the change is ``change``."""
    body = np.zeros((120, 140), bool)
    body[30:80, 20:100] = True
    body[80:110, 30:35] = True  # a leg
    plate = np.zeros_like(body)
    plate[40:52, 100:122] = True
    lab = np.zeros((*body.shape, 3), np.float32)
    lab[body] = (50, 10, 20)
    lab[plate] = (8, 0, 0)
    unlike = np.where(body, np.float32(change), 1)
    unlike[100:110, 30:35] = 1  # its foot stands
    return lab, unlike.astype(np.float32), body | plate, body


def test_background_that_other_frames_show_goes():
    lab, change, mask, body = walk_on(20.0)
    assert np.array_equal(remove_revealed_background(lab, change, mask), body)
    inside = change.copy()
    inside[50:54, 50:54] = 1  # like what is behind it
    assert np.array_equal(remove_revealed_background(lab, inside, mask), body)


def test_a_body_before_itself_stays():
    """In other frames, too, it is where it is in this one."""
    lab, change, mask, _ = walk_on(2.0)
    assert np.array_equal(remove_revealed_background(lab, change, mask), mask)
    unknown = np.full_like(change, np.nan)
    assert np.array_equal(remove_revealed_background(lab, unknown, mask), mask)


def test_a_smaller_picture_tells_the_same(scene):
    clip, masks, legs = scene
    rewound = rewind(clip, [])
    motion = BackgroundMotion(rewound, compute_optical_flow(rewound, Progress()), masks[::-1])
    half = (clip.frames.shape[2] // 2, clip.frames.shape[1] // 2)
    lab = np.stack([smooth_lab(frame, 0.6) for frame in rewound.clip.frames])
    small = np.stack([cv2.resize(each, half, interpolation=cv2.INTER_AREA) for each in lab])
    window = slice(15, 60), slice(10, 115)
    for t in (4, 12, 20):
        change = measure_change_around(small, motion, int(rewound.video(0)[t]), window, 0.5)
        leg, body = (m[t][::2, ::2][window] for m in (legs, masks))
        assert np.median(change[leg]) > 10
        assert np.quantile(change[~body], 0.9) < 6
