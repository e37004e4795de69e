"""Parts that hang apart from a finished puppet are bridged."""

from dataclasses import replace

import numpy as np
import pytest
from samples import box_puppet, sheet_puppet, spread_dots

from restage4d.errors import Cancelled
from restage4d.evaluate.metrics.pieces import label_pieces, measure_unity
from restage4d.evaluate.metrics.tracking import SOLID
from restage4d.priors.geometry.pixels import find_pixels
from restage4d.puppet import Gaussians, Puppet
from restage4d.reconstruct.bridging import bridge_gaps
from restage4d.reconstruct.fusion.completing.reflection import measure_spacing

FRAMES, COPIES = 6, 4
LOW, HIGH = 0.2, 0.29  # of the slice that is missing, of a height of 0.5 and a length of 0.7


def never() -> None:
    """Nobody cancels."""


def box_in_two(swing: float = 0.0) -> Puppet:
    """A box without a slice. What is above it is moved by the second basis, in "restaged" aside,
    frame by frame, up to ``swing``."""
    puppet = box_puppet(frames=FRAMES)
    many = {n: np.repeat(v, COPIES, 0) for n, v in vars(puppet.subject).items()}
    means = many["means"]
    means += np.random.default_rng(0).uniform(-0.01, 0.01, means.shape)
    z = means[:, 2]
    kept = (z < LOW) | (z > HIGH)
    above = (z > HIGH)[kept]
    performances = []
    for performance in puppet.performances:
        bases = performance.bases.copy()
        bases[1] = bases[0]
        if performance.name == "restaged":
            bases[1, :, 6] += np.linspace(0, swing, FRAMES)
        performances.append(replace(performance, bases=bases))
    return replace(
        puppet,
        subject=Gaussians(**{n: v[kept] for n, v in many.items()}),
        index=np.stack([above, ~above], 1).astype(np.uint16),
        weight=np.tile(np.array([1, 0], np.float32), (int(kept.sum()), 1)),
        performances=performances,
    )


CHEST = spread_dots(6000, (-0.2, 0.2), (-0.1, 0.1), (0.29, 0.29))


def list_unity(puppet: Puppet) -> list[float]:
    return [float(measure_unity(puppet, p).min()) for p in puppet.performances]


@pytest.mark.parametrize("swing", [0.0, 0.06])
def test_a_part_that_hangs_apart_is_joined_in_every_frame(swing):
    torn = box_in_two(swing)
    n = len(torn.subject)
    assert max(list_unity(torn)) < 0.8
    whole = bridge_gaps(torn, never)
    assert min(list_unity(whole)) > 0.999
    for name, value in vars(torn.subject).items():
        assert np.array_equal(getattr(whole.subject, name)[:n], value), name
    assert whole.weight.sum(1) == pytest.approx(np.ones(len(whole.weight)), abs=1e-5)
    added = vars(whole.subject)["means"][n:]
    assert 50 < len(added) < 0.1 * n
    assert added[:, 2].min() > LOW - 0.03
    assert added[:, 2].max() < HIGH + 0.03
    last = whole.pose("restaged", FRAMES - 1).means[n:] - whole.pose("restaged", 0).means[n:]
    share = (added[:, 2] - LOW) / (HIGH - LOW)
    assert last[:, 0] == pytest.approx(0.8 + swing * share.clip(0, 1), abs=0.02)


def test_a_foot_hangs_from_where_it_always_hangs():
    """It swings past another leg, which is nearer at times; not for long."""
    leg = spread_dots(1200, (0.096, 0.096), (-0.03, 0.03), (0.05, 0.29))
    foot = spread_dots(1000, (-0.06, 0.06), (-0.06, 0.06), (0.228, 0.228))
    torn = sheet_puppet([CHEST, leg, foot], slide=0.0235)
    torn.performances[1].bases[1, :, 6] -= 0.0235
    assert max(list_unity(torn)) < 0.95
    whole = bridge_gaps(torn, never)
    assert min(list_unity(whole)) > 0.999
    added = whole.subject.means[len(torn.subject) :]
    assert added[:, 0].max() < 0.08


def test_rows_that_end_in_a_tip_hold():
    tip = np.linspace([0, 0, 0.29], [0, 0, 0.262], 25)
    part = spread_dots(1000, (-0.06, 0.06), (-0.06, 0.06), (0.21, 0.21))
    torn = sheet_puppet([CHEST, tip, part])
    assert max(list_unity(torn)) < 0.95
    whole = bridge_gaps(torn, never)
    assert min(list_unity(whole)) > 0.999
    assert 30 < len(whole.subject) - len(torn.subject) < 80  # rows start apart


def test_a_part_that_ends_in_a_thread_is_held_by_more_of_it():
    thread = np.linspace([0, 0, 0.24], [0, 0, 0.208], 5)
    part = spread_dots(1000, (-0.06, 0.06), (-0.06, 0.06), (0.2, 0.2))
    torn = sheet_puppet([CHEST, np.concatenate([thread, part])])
    assert max(list_unity(torn)) < 0.95
    whole = bridge_gaps(torn, never)
    assert min(list_unity(whole)) > 0.999
    assert 30 < len(whole.subject) - len(torn.subject) < 90


def test_what_is_too_faint_to_be_seen_holds_nothing():
    torn = box_in_two()
    n = len(torn.subject)
    low = np.flatnonzero(torn.subject.means[:, 2] < LOW)
    few = np.repeat(low[:1], 300)
    values = {k: np.concatenate([v, v[few]]) for k, v in vars(torn.subject).items()}
    values["means"][n:, 2] = np.linspace(LOW - 0.05, HIGH + 0.05, 300)
    values["opacities"][n:] = 0.01
    rows = np.concatenate([np.arange(n), few])
    torn = replace(
        torn, subject=Gaussians(**values), index=torn.index[rows], weight=torn.weight[rows]
    )
    whole = bridge_gaps(torn, never)
    assert min(list_unity(whole)) > 0.999
    assert whole.subject.opacities[n + 300 :].min() >= SOLID


def test_colours_lead_from_one_end_to_the_other():
    torn = box_in_two()
    n = len(torn.subject)
    torn.subject.sh[:] = np.where(torn.index[:, :1, None] == 1, 1.0, -1.0)
    whole = bridge_gaps(torn, never)
    height = (whole.subject.means[n:, 2] - LOW) / (HIGH - LOW)
    assert whole.subject.sh[n:, 0, 0] == pytest.approx(2 * height - 1, abs=0.35)
    assert whole.subject.scales[n:].max() < 0.02
    assert whole.subject.scales[n:].min() > measure_spacing(torn.subject.means)


@pytest.mark.parametrize(("swing", "joined"), [(0.08, True), (0.26, False)])
def test_a_bridge_is_never_longer_than_a_fifth_of_the_body(swing, joined):
    """A gap of 0.09, aside by ``swing`` in the last frame; the body is 0.67 long."""
    torn = box_in_two(swing)
    assert (bridge_gaps(torn, never) is not torn) == joined


def test_no_streak_leads_to_what_flies_off():
    torn = box_in_two(swing=0.5)
    assert bridge_gaps(torn, never) is torn


def test_no_streak_leads_to_what_flies_off_between_the_frames_looked_at():
    torn = box_in_two()
    performance = torn.performances[1]
    many = {n: np.repeat(getattr(performance, n), 40, 0) for n in ("K", "w2c")}
    bases = np.repeat(performance.bases, 40, 1)
    bases[1, 101, 6] += 0.9
    long = replace(
        torn, performances=[torn.performances[0], replace(performance, bases=bases, **many)]
    )
    assert bridge_gaps(long, never) is long
    bases[1, 101, 6] -= 0.9
    assert bridge_gaps(long, never) is not long


def test_a_whole_puppet_stays_as_it_is():
    puppet = box_puppet(frames=FRAMES)
    assert label_pieces(puppet.pose("base").means).max() == 0
    assert bridge_gaps(puppet, never) is puppet


def test_it_can_be_cancelled():
    def stop() -> None:
        raise Cancelled("enough")

    with pytest.raises(Cancelled):
        bridge_gaps(box_in_two(), stop)


@pytest.mark.parametrize("known", [True, False])
def test_no_web_is_spun_between_two_feet(known):
    """The other foot is nearer than the leg that the foot belongs to, of which a mask lost a piece;
    but between the feet frames see the background."""
    leg = spread_dots(1200, (-0.01, 0.01), (-0.03, 0.03), (0.16, 0.29))
    other = spread_dots(1600, (0.1, 0.12), (-0.03, 0.03), (0.02, 0.29))
    foot = spread_dots(1000, (-0.02, 0.06), (-0.03, 0.03), (0.02, 0.1))
    torn = sheet_puppet([CHEST, leg, other, foot])
    drawn = [np.concatenate([CHEST, leg, other, foot, spread_dots(800, (-0.01, 0.01), (-0.03, 0.03),
                                                                  (0.1, 0.16))])]  # fmt: skip
    masks = [draw_mask(performance, drawn[0]) for performance in torn.performances]
    if not known:
        masks = [np.full_like(mask, -1) for mask in masks]
    whole = bridge_gaps(torn, never, masks)
    assert min(list_unity(whole)) > 0.999
    added = whole.subject.means[len(torn.subject) :]
    between = (added[:, 0] > 0.065) & (added[:, 0] < 0.095)
    assert (between.mean() < 0.1) == known


def draw_mask(performance, points: np.ndarray) -> np.ndarray:
    """(T, H, W) where any of ``points`` (N, 3), which stand still, shows."""
    width, height = performance.size
    masks = np.zeros((performance.n_frames, height, width), np.float32)
    for t, mask in enumerate(masks):
        row, column, _, inside = find_pixels(
            points, performance.K[t], performance.w2c[t], mask.shape
        )
        mask[row[inside], column[inside]] = 1
    return masks


@pytest.mark.parametrize("frames", [2, 5])
def test_what_hangs_apart_in_few_frames_gets_no_bridge_before_the_background(frames):
    """It would stand there in all others; a limb that a mask cut off hangs apart in most."""
    foot = spread_dots(1000, (-0.06, 0.06), (-0.06, 0.06), (0.25, 0.25))
    torn = sheet_puppet([CHEST, foot])
    for performance in torn.performances:
        performance.bases[1, frames:, 8] += 0.03  # there it hangs together
    nowhere = draw_mask(torn.performances[0], CHEST[:0])
    masks = [nowhere for _ in torn.performances]
    assert min(list_unity(torn)) < 0.9
    assert (bridge_gaps(torn, never, masks) is torn) == (frames == 2)
    assert bridge_gaps(torn, never) is not torn


def test_rows_that_frames_see_before_the_background_are_left_out_where_others_join():
    torn = box_in_two()
    n, means = len(torn.subject), torn.subject.means
    middle = float(np.median(means[:, 0]))
    gap = spread_dots(20_000, (means[:, 0].min(), means[:, 0].max()), (-0.1, 0.1), (LOW, HIGH))
    covered = np.concatenate([means, gap[gap[:, 0] > middle]])
    masks = []
    for performance in torn.performances:
        width, height = performance.size
        mask = np.zeros((FRAMES, height, width), np.float32)
        for t in range(FRAMES):
            points = covered + (torn.pose(performance, t).means - means)[0]
            camera = performance.K[t], performance.w2c[t]
            row, column, _, inside = find_pixels(points, *camera, mask.shape[1:])
            mask[t, row[inside], column[inside]] = 1
        masks.append(mask)
    whole = bridge_gaps(torn, never, masks)
    assert min(list_unity(whole)) > 0.99
    bare = whole.subject.means[n:, 0] < middle - 0.02
    assert bare.mean() < 0.05
    anywhere = bridge_gaps(torn, never)
    assert (anywhere.subject.means[n:, 0] < middle - 0.02).mean() > 0.2
