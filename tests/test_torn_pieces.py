"""Parts that tear off a finished puppet come back: along the ray where they are seen, with the body
where they are hidden."""

from dataclasses import replace

import numpy as np
import pytest
from samples import box_puppet, sheet_puppet, spread_dots

from restage4d.errors import Cancelled
from restage4d.evaluate.metrics.pieces import label_pieces, label_solid, measure_unity
from restage4d.puppet import Gaussians, Puppet
from restage4d.reconstruct.torn_pieces import rejoin_torn_pieces

FRAMES, TORN = 6, 4


def never() -> None:
    """Nobody cancels."""


def make_masks(puppet: Puppet, value: float = 1.0) -> list[np.ndarray]:
    width, height = puppet.performances[0].size
    return [np.full((FRAMES, height, width), value, np.float32) for _ in puppet.performances]


def rejoin(puppet: Puppet, masks: list[np.ndarray] | None = None, *, first: bool = False) -> Puppet:
    """Mended; without ``masks`` all of every picture is the subject's."""
    return rejoin_torn_pieces(puppet, masks or make_masks(puppet), never, first=first)


def box_with_a_part(behind: bool, by: tuple[float, float, float]) -> Puppet:
    """A box whose front, or back, is moved by its second basis, and flies off ``by`` in frame
    `TORN` of "restaged"."""
    puppet = box_puppet(frames=FRAMES)
    y = puppet.subject.means[:, 1]
    part = y > 0.2 if behind else y < -0.2
    performance = puppet.performances[1]
    bases = performance.bases.copy()
    bases[1, TORN, 6:] += by
    return replace(
        puppet,
        index=part.astype(np.uint16)[:, None],
        performances=[puppet.performances[0], replace(performance, bases=bases)],
    )


def test_a_hidden_part_goes_with_the_body():
    torn = box_with_a_part(behind=True, by=(0.05, 0.9, 0.02))
    assert measure_unity(torn, torn.performances[1])[TORN] < 0.8
    mended = rejoin(torn)
    assert measure_unity(mended, mended.performances[1]).min() == 1
    bases, body = mended.performances[1].bases, mended.performances[1].bases[0]
    assert bases[1, TORN, 6] == pytest.approx(body[TORN, 6], abs=0.06)
    assert bases[1, TORN, 7] == pytest.approx(body[TORN, 7], abs=0.03)


def test_a_part_that_is_seen_moves_along_its_ray_alone():
    torn = box_with_a_part(behind=False, by=(0.0, -0.5, 0.0))
    mended = rejoin(torn)
    assert measure_unity(mended, mended.performances[1]).min() == 1
    before, after = (
        p.pose(p.performances[1], TORN).means[p.index[:, 0] == 1].mean(0) for p in (torn, mended)
    )
    eye = np.array([0, -3, 0.5])
    move = after - before
    ray = (before - eye) / np.linalg.norm(before - eye)
    assert np.linalg.norm(move) > 0.3
    assert move == pytest.approx((move @ ray) * ray, abs=1e-4)


def test_a_part_that_is_seen_elsewhere_stays_where_it_was_filmed():
    torn = box_with_a_part(behind=False, by=(0.0, 0.0, 0.9))
    mended = rejoin(torn)
    assert np.array_equal(mended.performances[1].bases, torn.performances[1].bases)


def test_a_part_that_flies_over_the_background_goes_with_the_body():
    """The mask of that frame of that performance tells, where the part is seen."""
    torn = box_with_a_part(behind=False, by=(0.0, 0.0, 0.9))
    masks = make_masks(torn)
    masks[1][TORN, :45] = 0  # over the box
    mended = rejoin(torn, masks)
    assert measure_unity(mended, mended.performances[1]).min() == 1
    bases = mended.performances[1].bases
    assert bases[1, TORN, 6:] == pytest.approx(bases[0, TORN, 6:], abs=0.06)


def test_a_part_that_flies_where_the_mask_is_not_known_stays():
    torn = box_with_a_part(behind=False, by=(0.0, 0.0, 0.9))
    masks = make_masks(torn, 0.0)
    masks[1][TORN, :45] = -1
    assert np.array_equal(rejoin(torn, masks).performances[1].bases, torn.performances[1].bases)
    masks[1][TORN, :45] = 1
    assert np.array_equal(rejoin(torn, masks).performances[1].bases, torn.performances[1].bases)


def test_what_hardly_hangs_together_is_not_whole():
    """Two handfuls as far apart as four to five times the usual distance."""
    handful = spread_dots(6, (0, 0.1), (0, 0.1), (0, 0.1))
    puppet = sheet_puppet([handful, handful + np.array([0.35, 0, 0])])
    bases = puppet.performances[0].bases[:, 0]
    assert label_solid(puppet, bases).max() == 0
    assert list(np.bincount(label_solid(puppet, bases, 3.0))) == [6, 6]


def test_specks_between_do_not_make_one_body_of_two():
    """What is too faint to be seen is no bridge, and belongs to what is nearest to it."""
    torn = box_with_a_part(behind=True, by=(0.0, 0.9, 0.0))
    n = len(torn.subject)
    way = np.linspace(0.0, 1.2, 200, dtype=np.float32)[:, None] * np.array([0, 1, 0], np.float32)
    faint = {name: np.concatenate([v, v[:200]]) for name, v in vars(torn.subject).items()}
    faint["means"][n:] = torn.subject.means.mean(0) + way
    faint["opacities"][n:] = 0.01
    torn = replace(
        torn,
        subject=Gaussians(**faint),
        index=np.concatenate([torn.index, np.zeros_like(torn.index[:200])]),
        weight=np.concatenate([torn.weight, torn.weight[:200]]),
    )
    piece = label_solid(torn, torn.performances[1].bases[:, TORN])
    assert set(piece[:n]) == {0, 1}
    assert (piece[n], piece[-1]) == (0, 1)
    mended = rejoin(torn)
    assert measure_unity(mended, mended.performances[1]).min() == 1


def test_all_else_stays_to_the_bit():
    torn = box_with_a_part(behind=True, by=(0.0, 0.9, 0.0))
    mended = rejoin(torn)
    assert np.array_equal(mended.performances[0].bases, torn.performances[0].bases)
    others = np.arange(FRAMES) != TORN
    kept, given = mended.performances[1].bases, torn.performances[1].bases
    assert np.array_equal(kept[:, others], given[:, others])
    assert np.array_equal(kept[0], given[0])
    assert mended.subject is torn.subject
    whole = box_puppet(frames=FRAMES)
    assert rejoin(whole).performances[1] is whole.performances[1]


def test_the_frame_that_all_performances_share_is_not_touched():
    torn = box_with_a_part(behind=True, by=(0.0, 0.9, 0.0))
    for performance in torn.performances:
        performance.bases[1, 0, 7] += 0.9
    mended = rejoin(torn)
    for kept, given in zip(mended.performances, torn.performances, strict=True):
        assert np.array_equal(kept.bases[:, 0], given.bases[:, 0])


def test_the_frame_that_all_share_is_mended_in_all_of_a_new_puppet():
    torn = box_with_a_part(behind=True, by=(0.0, 0.0, 0.0))
    for performance in torn.performances:
        performance.bases[1, 0, 7] += 0.9
    mended = rejoin(torn, first=True)
    first, second = mended.performances
    assert np.array_equal(first.bases[:, 0], second.bases[:, 0])
    assert first.bases[1, 0, 7] == pytest.approx(first.bases[0, 0, 7], abs=0.06)
    assert np.array_equal(second.bases[:, 1:], torn.performances[1].bases[:, 1:])


def test_the_frame_that_all_share_stays_shared():
    """Also where only another performance shows how the part hangs together."""
    torn = box_with_a_part(behind=True, by=(0.0, 0.0, 0.0))
    torn.performances[0].bases[1, :, 7] += 0.9
    torn.performances[1].bases[1, 0, 7] += 0.9
    first, second = rejoin(torn, first=True).performances
    assert np.array_equal(first.bases[:, 0], second.bases[:, 0])


def test_it_can_be_cancelled():
    def cancel() -> None:
        raise Cancelled

    torn = box_puppet(frames=FRAMES)  # whole: looking takes time, too
    with pytest.raises(Cancelled):
        rejoin_torn_pieces(torn, make_masks(torn), cancel, first=False)


def test_pieces_are_numbered_from_the_largest():
    points = np.random.default_rng(0).uniform(size=(300, 3)).astype(np.float32)
    points[:60] += 10
    points[60:80] -= 10
    piece = label_pieces(points, 20.0)
    assert [set(piece[80:]), set(piece[:60]), set(piece[60:80])] == [{0}, {1}, {2}]
