"""Rewinding: base and driving videos as one tree of frames."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from restage4d.clips import Clip, Rewound, rewind


def clip(source: int, n: int, fps: float = 24.0, size: tuple[int, int] = (2, 1)) -> Clip:
    """Every pixel of frame i says which video and frame it is."""
    frames = np.zeros((n, size[1], size[0], 3), np.uint8)
    frames[..., 0], frames[..., 1] = source, np.arange(n)[:, None, None]
    return Clip(frames, fps)


def made(m: int, *ns: int) -> Rewound:
    return rewind(clip(0, m), [clip(i, n) for i, n in enumerate(ns, 1)])


lengths = st.lists(st.integers(2, 9), max_size=4)


def test_one_driving_video_reads_as_the_paper_says() -> None:
    r = made(4, 3)
    labels = [(int(f[0, 0, 0]), int(f[0, 0, 1])) for f in r.clip.frames]
    assert labels == [(0, 3), (0, 2), (0, 1), (0, 0), (1, 1), (1, 2)]
    assert r.seam == 3
    assert list(r.parent) == [-1, 0, 1, 2, 3, 4]
    assert [list(p) for p in r.paths()] == [[0, 1, 2, 3, 4, 5]]


@given(st.integers(1, 9), lengths)
def test_frames_keep_their_labels_and_the_shared_frame_stands_once(m: int, ns: list[int]) -> None:
    r = made(m, *ns)
    assert len(r) == m + sum(n - 1 for n in ns)
    assert np.array_equal(r.clip.frames[:, 0, 0, 0], r.source)
    assert np.array_equal(r.clip.frames[:, 0, 0, 1], r.index)
    assert (r.index == 0).sum() == 1
    assert (r.source[r.seam], r.index[r.seam]) == (0, 0)
    assert all(a.dtype == np.int32 for a in (r.source, r.index, r.parent))


@given(st.integers(1, 9), lengths)
def test_parents_make_a_tree_rooted_in_the_last_base_frame(m: int, ns: list[int]) -> None:
    r = made(m, *ns)
    assert np.flatnonzero(r.parent < 0).tolist() == [0]
    assert (r.source[0], r.index[0]) == (0, m - 1)
    assert len(r.neighbours()) == len(r) - 1
    for parent, t in r.neighbours():
        assert parent < t
        if r.source[t] == 0:  # the base runs backwards
            assert r.source[parent] == 0
            assert r.index[parent] == r.index[t] + 1
        elif r.index[t] == 1:
            assert parent == r.seam
        else:
            assert r.source[parent] == r.source[t]
            assert r.index[parent] == r.index[t] - 1


@given(st.integers(1, 9), lengths)
def test_every_video_comes_back_in_playing_order(m: int, ns: list[int]) -> None:
    r = made(m, *ns)
    assert r.index[r.video(0)].tolist() == list(range(m))
    for i, n in enumerate(ns, 1):
        rows = r.video(i)
        assert rows[0] == r.seam
        assert r.index[rows].tolist() == list(range(n))
        assert (r.source[rows[1:]] == i).all()


@given(st.integers(1, 9), lengths)
def test_paths_follow_the_tree_from_the_root_and_cover_every_frame(m: int, ns: list[int]) -> None:
    r = made(m, *ns)
    paths = r.paths()
    assert len(paths) == max(len(ns), 1)
    assert sorted({int(t) for p in paths for t in p}) == list(range(len(r)))
    for path in paths:
        assert path[0] == 0
        assert [int(r.parent[t]) for t in path[1:]] == path[:-1].tolist()


@given(st.integers(1, 9), lengths)
def test_the_number_of_branches(m: int, ns: list[int]) -> None:
    assert made(m, *ns).n_branches == len(ns)


def test_clips_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="does not fit"):
        rewind(clip(0, 3), [clip(1, 3, size=(4, 1))])
    with pytest.raises(ValueError, match="does not fit"):
        rewind(clip(0, 3), [clip(1, 3, fps=25.0)])
    with pytest.raises(
        ValueError, match="one frame"
    ):  # it would vanish: its only frame is the base's
        rewind(clip(0, 3), [clip(1, 1)])
    assert len(rewind(clip(0, 3, fps=30000 / 1001), [clip(1, 3, fps=29.97)])) == 5


def test_size_is_width_then_height() -> None:
    assert clip(0, 2, size=(7, 5)).size == (7, 5)
    assert len(clip(0, 2)) == 2


def test_outward_meets_every_frame_once_after_a_neighbour_of_it() -> None:
    rewound = rewind(clip(0, 4), [clip(1, 3), clip(2, 5)])
    beside = {frozenset(pair) for pair in rewound.neighbours()}
    for start in range(len(rewound)):
        met = [start]
        for known, new in rewound.outward(start):
            assert known in met
            assert frozenset((known, new)) in beside
            met.append(new)
        assert sorted(met) == list(range(len(rewound)))
