"""What a click selected is compared with what a later frame sees, region by region."""

import cv2
import numpy as np
import pytest
from moving import CENTRE, RADII, Moving, moving

from restage4d.clips import Clip
from restage4d.errors import Cancelled
from restage4d.evaluate.metrics.image import iou
from restage4d.priors.masks.regions import label
from restage4d.priors.masks.selecting.later_frames import correct_by_later_frame, count_steps
from restage4d.priors.masks.selecting.segment import Still
from restage4d.priors.motion.first_motion import measure_motion
from restage4d.progress import Event, Progress, TaskId

SIDE = np.s_[52:68, 82:96]  # rows, columns beside the body: background and a little of the body
INNER = np.s_[44:60, 34:46]  # at the body's outline


def correct(
    scene: Moving,
    mask: np.ndarray,
    guess: np.ndarray | None = None,
    traced: np.ndarray | None = None,
) -> tuple[np.ndarray, list[Event]]:
    events: list[Event] = []
    nothing = np.zeros_like(mask)
    guess, traced = (nothing if part is None else part for part in (guess, traced))
    still = Still(scene.clip.frames[0], measure_motion(scene.clip, Progress()))
    steps = count_steps(len(scene.clip))
    with Progress(events.append).task(TaskId.SELECT, steps) as task:
        return correct_by_later_frame(scene.clip, still, mask, guess, traced, task), events


@pytest.fixture(scope="module")
def scene() -> Moving:
    return moving(frames=9, step=(3.0, 0.5))


def test_what_a_mask_took_along_goes_and_what_it_missed_comes(scene):
    true = scene.masks[0]
    wrong = true.copy()
    wrong[SIDE] = True
    wrong[INNER] = False
    found, events = correct(scene, wrong)
    assert iou(wrong, true) < 0.88
    assert iou(found, true) > 0.95
    assert (found & ~true)[SIDE].sum() < 0.15 * (wrong & ~true)[SIDE].sum()
    assert (found & true)[INNER].sum() > 0.85 * true[INNER].sum()
    assert events[-1].step == events[-1].total, "all steps that were promised"


def test_a_right_mask_stays_as_it_is(scene):
    found, _ = correct(scene, scene.masks[0])
    assert iou(found, scene.masks[0]) > 0.98


def test_of_guesses_those_stay_that_move_with_the_subject(scene):
    true = scene.masks[0]
    body, ground = np.zeros_like(true), np.zeros_like(true)
    body[68:90], ground[20:40, 50:60] = True, True
    body &= true
    found, _ = correct(scene, true & ~body, body | (ground & ~true))
    assert (found & body).sum() > 0.9 * body.sum()
    assert not (found & ground & ~true).any()


def test_of_a_traced_limb_all_stays_or_nothing(scene):
    true = scene.masks[0]
    body, ground = np.zeros_like(true), np.zeros_like(true)
    body[68:90], ground[20:40, 50:60] = True, True
    body &= true
    wide = cv2.dilate(body.astype(np.uint8), np.ones((5, 5))) > 0  # with some ground around it
    found, _ = correct(scene, true & ~body, traced=(wide | ground) & ~(true & ~body))
    assert (found & wide).sum() == wide.sum()
    assert not (found & ground & ~true & ~wide).any()


def test_a_clip_that_is_too_short_tells_nothing():
    scene = moving(frames=8)
    mask = np.roll(scene.masks[0], 6, axis=1)
    found, events = correct(scene, mask)
    np.testing.assert_array_equal(found, mask)
    assert count_steps(8) == 0
    assert not correct(scene, np.zeros_like(mask))[0].any()
    assert all(event.task is TaskId.SELECT for event in events)


def test_a_large_picture_is_followed_in_a_smaller_one(scene):
    size = 480, 336
    frames = [cv2.resize(f, size, interpolation=cv2.INTER_CUBIC) for f in scene.clip.frames]
    rows, cols = np.indices(size[::-1]).astype(np.float64)
    x, y = ((cols + 0.5) / 3 - 0.5 - CENTRE[0]) / RADII[0], ((rows + 0.5) / 3 - 0.5 - CENTRE[1])
    true = x**2 + (y / RADII[1]) ** 2 < 1
    wrong = true.copy()
    wrong[156:204, 246:288] = True
    large = Moving(Clip(np.stack(frames), 24.0), scene.masks, scene.shift)
    found, _ = correct(large, wrong)
    assert iou(found, true) > 0.96 > iou(wrong, true)
    assert label(found, corners=False).max() == 1, "no slivers along the outline"
    assert label(~found, corners=True).max() == 1, "no pinholes"


def test_nothing_is_taken_away_where_the_subject_gets_lost(scene):
    still = moving(frames=9, step=(0.0, 0.0)).clip.frames
    empty = np.where(scene.masks[0][None, :, :, None], still[0, 5, 5], still)
    gone = Clip(np.concatenate([scene.clip.frames[:1], empty[1:]]).astype(np.uint8), 24.0)
    found, _ = correct(Moving(gone, scene.masks, scene.shift), scene.masks[0])
    assert iou(found, scene.masks[0]) > 0.9


def test_it_ends_when_asked_to(scene):
    still = Still(scene.clip.frames[0], measure_motion(scene.clip, Progress()))
    mask, asked = scene.masks[0], iter(range(1000))
    nothing = np.zeros_like(mask)
    progress = Progress(cancelled=lambda: next(asked) > 20)
    with pytest.raises(Cancelled), progress.task(TaskId.SELECT, count_steps(9)) as task:
        correct_by_later_frame(scene.clip, still, mask, nothing, nothing, task)
