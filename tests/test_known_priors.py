"""What a driving video's maker knows is used instead of an estimate, and is checked first."""

from dataclasses import replace

import numpy as np
import pytest

from restage4d.clips import Cameras, Clip, Rewound, Tracks, rewind
from restage4d.driving.draft.driver import KinematicDriving
from restage4d.driving.protocols import DrivingVideo
from restage4d.errors import InputError
from restage4d.priors.estimate import Providers, estimate_priors
from restage4d.priors.joining import join_cameras, join_depth, join_masks, join_tracks
from restage4d.priors.known import KnownPriors, pack_known, unpack_known
from restage4d.progress import Progress

WIDTH, HEIGHT = 16, 12
BASE, DRIVING = 3, 4  # frames; the rewound clip is b_2 b_1 b_0 d_1 d_2 d_3
SEAM, ROWS = 2, [3, 4, 5]


def clip(frames: int) -> Clip:
    return Clip(np.zeros((frames, HEIGHT, WIDTH, 3), np.uint8), 24.0)


def joined_clip() -> Rewound:
    return rewind(clip(BASE), [clip(DRIVING)])


def intrinsics(focal: float) -> np.ndarray:
    return np.array([[focal, 0, 8], [0, focal, 6], [0, 0, 1]], np.float32)


def cameras(frames: int, focal: float, kind: str = "static") -> Cameras:
    w2c = np.tile(np.eye(4, dtype=np.float32), (frames, 1, 1))
    return Cameras(np.tile(intrinsics(focal), (frames, 1, 1)), w2c, kind)


def tracks(xy: list, visible: list, query: list) -> Tracks:
    seen = np.array(visible, bool)
    return Tracks(
        np.array(xy, np.float32), seen, seen.astype(np.float32) * 0.5, np.array(query, np.int32)
    )


def turn(degrees: float) -> np.ndarray:
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]], np.float32)


def test_masks_known_take_the_place_of_missing_ones():
    rewound = joined_clip()
    own = np.random.default_rng(0).random((DRIVING, HEIGHT, WIDTH)).astype(np.float32)
    masks = np.full((6, HEIGHT, WIDTH), np.nan, np.float32)
    masks[4] = 1  # a file gives it
    joined = join_masks(masks, rewound, {1: KnownPriors(masks=own)})
    np.testing.assert_array_equal(joined[[3, 5]], own[[1, 3]])
    assert (joined[4] == 1).all(), "files come first"
    assert np.isnan(joined[:3]).all(), "base and shared frame are the base's own"
    assert np.isnan(masks[3]).all(), "what is passed in stays"


def test_cameras_known_begin_with_the_bases_first():
    rewound = joined_clip()
    estimated = cameras(6, 20.0, "moving")
    estimated.w2c[:, 0, 3] = np.arange(6)
    estimated.w2c[:, :3, :3] = turn(10)
    still = join_cameras(estimated, rewound, {1: KnownPriors(cameras=cameras(DRIVING, 30.0))})
    np.testing.assert_allclose(still.w2c[ROWS], estimated.w2c[[SEAM] * 3], atol=1e-6)
    np.testing.assert_array_equal(still.w2c[: SEAM + 1], estimated.w2c[: SEAM + 1])
    np.testing.assert_allclose(still.K, estimated.K, atol=1e-5)
    assert still.kind == "moving"
    own = cameras(DRIVING, 30.0)
    own.w2c[2, :3, :3] = turn(5)
    own.K[3, [0, 1], [0, 1]] = 60
    moved = join_cameras(cameras(6, 20.0), rewound, {1: KnownPriors(cameras=own)})
    np.testing.assert_allclose(moved.w2c[4, :3, :3], turn(5), atol=1e-6)
    np.testing.assert_allclose(moved.K[5], intrinsics(40.0), atol=1e-4)
    assert moved.kind == "pan"
    same = join_cameras(cameras(6, 20.0), rewound, {1: KnownPriors(cameras=cameras(DRIVING, 9.0))})
    assert same.kind == "static"


def test_depth_known_is_brought_to_the_bases_scale():
    rewound = joined_clip()
    masks = np.zeros((6, HEIGHT, WIDTH), np.float32)
    masks[:, 3:9, 4:10] = 1
    depth = np.full((6, HEIGHT, WIDTH), 5.0, np.float32)
    depth[3:] = 7.0  # an estimate that flickers
    depth[:, 3:9, 4:10] = 2.0
    own = np.zeros((DRIVING, HEIGHT, WIDTH), np.float32)
    own[:, 3:9, 4:10] = 100.0
    own[2, 3:9, 4:10] = 150.0  # goes away by a half
    own[3, 3:9, 4:6] = 90.0  # a part nearer than the rest by a tenth
    known = KnownPriors(depth=own, cameras=cameras(DRIVING, 40.0))
    joined = join_depth(depth, masks, cameras(6, 20.0), rewound, {1: known})
    np.testing.assert_array_equal(joined[: SEAM + 1], depth[: SEAM + 1])
    np.testing.assert_allclose(joined[3, 3:9, 4:10], 2.0)
    np.testing.assert_allclose(joined[4, 3:9, 4:10], 3.0)
    np.testing.assert_allclose(joined[5, 3:9, 6:10], 2.0)
    # half the base's angle of view per pixel: the same picture is half as wide, so half as thick
    np.testing.assert_allclose(joined[5, 3:9, 4:6], 2.0 - 2 * 0.2)
    np.testing.assert_allclose(joined[3:, 0], 5.0, err_msg="the stage is b_0's")
    alone = join_depth(depth, masks, cameras(6, 20.0), rewound, {1: replace(known, cameras=None)})
    np.testing.assert_allclose(alone[5, 3:9, 4:6], 1.8)


def test_tracks_known_go_on_from_the_estimated_ones():
    rewound = joined_clip()
    own = Tracks(
        np.array([[[5, 5], [6, 5], [7, 5], [8, 5]], [[9, 9], [9, 8], [9, 7], [9, 6]]], np.float32),
        np.array([[1, 1, 0, 1], [0, 0, 1, 1]], bool),
        np.ones((2, 4), np.float32),
        np.array([0, 2], np.int32),
    )
    here = [[3, 5.1], [4, 5.1], [5, 5.1], [1, 1], [1, 1], [1, 1]]  # passes the first at b_0
    gone = [[2, 2], [3, 2], [3, 3], [1, 1], [1, 1], [1, 1]]  # was lost before b_0
    late = [[1, 1], [1, 1], [1, 1], [8, 8], [8, 8], [8, 8]]  # picked in the driving video
    estimated = tracks(
        [here, gone, late],
        [[1, 1, 1, 1, 1, 1], [1, 1, 0, 1, 1, 1], [0, 0, 0, 1, 1, 1]],
        [0, 0, 4],
    )
    joined = join_tracks(estimated, rewound, {1: KnownPriors(tracks=own)})
    assert joined.visible.tolist() == [
        [True, True, True, True, False, True],
        [True, True, False, False, False, False],
        [False, False, False, False, True, True],
    ]
    np.testing.assert_allclose(joined.xy[0, :3], here[:3])
    np.testing.assert_allclose(joined.xy[0, 3:], [[6, 5.1], [7, 5.1], [8, 5.1]], rtol=1e-6)
    assert joined.confidence[0].tolist() == [0.5, 0.5, 0.5, 1, 1, 1], "known where it is hidden"
    assert joined.confidence[1].tolist() == [0.5, 0.5, 0, 0, 0, 0]
    np.testing.assert_array_equal(joined.xy[2, 2:], own.xy[1])
    assert joined.confidence[2].tolist() == [0, 0, 1, 1, 1, 1], "the base says nothing of it"
    np.testing.assert_allclose(joined.xy[2, :2, 0], [7, 8], atol=1e-5, err_msg="as those around it")
    assert joined.query.tolist() == [0, 0, 4]
    assert join_tracks(estimated, rewound, {1: KnownPriors()}) is estimated


WRONG = {
    "masks has shape": KnownPriors(masks=np.zeros((4, 3, 3), np.float32)),
    "not in 0..1": KnownPriors(masks=np.full((4, HEIGHT, WIDTH), 2, np.float32)),
    "masks has values that are not finite": KnownPriors(
        masks=np.full((4, HEIGHT, WIDTH), np.nan, np.float32)
    ),
    "depth is negative": KnownPriors(depth=np.full((4, HEIGHT, WIDTH), -1, np.float32)),
    "K has shape": KnownPriors(cameras=cameras(3, 20.0)),
    "focal lengths": KnownPriors(cameras=cameras(4, -1.0)),
    "rigid": KnownPriors(cameras=replace(cameras(4, 9.0), w2c=np.ones((4, 4, 4), np.float32))),
    "travels": KnownPriors(
        cameras=replace(
            cameras(4, 9.0), w2c=np.stack([np.eye(4, k=0) + k * np.eye(4, k=3) for k in range(4)])
        )
    ),
    "query names": KnownPriors(tracks=tracks([[[0, 0]] * 4], [[1] * 4], [4])),
    "visible has shape": KnownPriors(tracks=tracks([[[0, 0]] * 4], [[1] * 3], [0])),
    "confidence is not": KnownPriors(
        tracks=replace(
            tracks([[[0, 0]] * 4], [[1] * 4], [0]), confidence=np.full((1, 4), 2, np.float32)
        )
    ),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_does_not_fit_is_refused(what: str):
    with pytest.raises(InputError, match=what):
        DrivingVideo(clip(DRIVING), "test", known=WRONG[what])


def full() -> KnownPriors:
    rng = np.random.default_rng(1)
    return KnownPriors(
        np.round(rng.random((DRIVING, HEIGHT, WIDTH)) * 255).astype(np.float32) / 255,
        rng.uniform(1, 2, (DRIVING, HEIGHT, WIDTH)).astype(np.float32),
        cameras(DRIVING, 20.0),
        tracks([[[1, 1], [2, 2], [3, 3], [4, 4]]] * 2, [[1, 0, 1, 1], [0, 0, 0, 1]], [0, 3]),
    )


def test_a_file_of_it_gives_it_back(tmp_path):
    with (tmp_path / "known.npz").open("wb") as file:
        np.savez(file, allow_pickle=False, **pack_known(full()))
    with np.load(tmp_path / "known.npz", allow_pickle=False) as file:
        again = unpack_known(dict(file))
    again.check(clip(DRIVING))
    for name, array in pack_known(full()).items():
        np.testing.assert_array_equal(pack_known(again)[name], array)
    assert again.cameras is not None and again.cameras.kind == "static"
    nothing = unpack_known(pack_known(KnownPriors()))
    assert nothing == KnownPriors()


def test_another_size_and_rate():
    half = full().resize((WIDTH // 2, HEIGHT // 2), np.array([0, 2]))
    half.check(Clip(np.zeros((2, HEIGHT // 2, WIDTH // 2, 3), np.uint8), 12.0))
    assert half.masks is not None and half.cameras is not None and half.tracks is not None
    np.testing.assert_allclose(half.masks.mean((1, 2)), full().masks[[0, 2]].mean((1, 2)), 1e-5)
    np.testing.assert_allclose(half.cameras.K[0], [[10, 0, 4], [0, 10, 3], [0, 0, 1]])
    np.testing.assert_allclose(half.tracks.xy, [[[0.5, 0.5], [1.5, 1.5]]])
    assert half.tracks.query.tolist() == [0], "the point that no frame sees is left out"
