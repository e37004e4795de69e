"""What a driving video's maker knows is used instead of an estimate, and is checked first."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from moving import moving

from restage4d.clips import Cameras, Clip, Rewound, Selection, Tracks, rewind
from restage4d.driving.draft.driver import KinematicDriving
from restage4d.driving.protocols import DrivingVideo
from restage4d.driving.video_file import FileDriving, keep_known
from restage4d.errors import InputError
from restage4d.evaluate.metrics.image import iou
from restage4d.io.content_cache import Cache
from restage4d.io.video import encode
from restage4d.pipeline import restage
from restage4d.priors.estimate import estimate_priors, weight_free_providers
from restage4d.priors.joining import join_cameras, join_depth, join_masks, join_tracks
from restage4d.priors.known import KnownPriors, pack_known, unpack_known
from restage4d.priors.masks.grabcut import GrabCutMasks
from restage4d.progress import Progress
from restage4d.reconstruct.config import preset, with_settings

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
    slope = 1 + 0.01 * (np.arange(4, 10) - 6.5) - 0.02 * (np.arange(3, 9)[:, None] - 5.5)
    depth[SEAM, 3:9, 4:10] *= slope
    tilted = join_depth(depth, masks, cameras(6, 20.0), rewound, {1: known})
    np.testing.assert_allclose(tilted[3, 3:9, 4:10], 2.0 * slope, 1e-3)
    np.testing.assert_allclose(tilted[4, 3:9, 4:10], 3.0 * slope, 1e-3)
    depth[SEAM, 3:9, 4:10] = 2.0
    alone = join_depth(depth, masks, cameras(6, 20.0), rewound, {1: replace(known, cameras=None)})
    np.testing.assert_allclose(alone[5, 3:9, 4:6], 1.8)


def test_tracks_known_go_on_from_the_estimated_ones():
    rewound = joined_clip()
    own = Tracks(
        np.array([[[5, 5], [6, 5], [7, 5], [8, 5]], [[9, 9], [9, 8], [9, 7], [9, 6]]], np.float32),
        np.array([[1, 1, 0, 1], [0, 0, 1, 1]], bool),
        np.ones((2, 4), np.float32),
        np.array([0, 2], np.int32),
        np.array([[0, 0, 1.25, 0], [1.5, 1.75, 0, 0]], np.float32),
    )
    here = [[3, 5.1], [4, 5.1], [5, 5.1], [1, 1], [1, 1], [1, 1]]  # passes the first at b_0
    gone = [[2, 2], [3, 2], [3, 3], [1, 1], [1, 1], [1, 1]]  # was lost before b_0
    late = [[1, 1], [1, 1], [1, 1], [8, 8], [8, 8], [8, 8]]  # picked in the driving video ...
    back = [[5, 4.9], [5, 4.9], [5, 4.9], [0, 0], [0, 0], [0, 0]]  # ... and followed to b_0
    estimated = tracks(
        [here, gone, late, back],
        [[1, 1, 1, 1, 1, 1], [1, 1, 0, 1, 1, 1], [0, 0, 0, 1, 1, 1], [0, 1, 1, 1, 1, 1]],
        [0, 0, 4, 5],
    )
    base_cameras = cameras(6, 20.0)
    joined = join_tracks(estimated, base_cameras, rewound, {1: KnownPriors(tracks=own)})
    assert joined.visible.tolist() == [
        [True, True, True, True, False, True],
        [True, True, False, False, False, False],
        [False, True, True, True, False, True],
        [False, False, False, False, True, True],
    ]
    np.testing.assert_allclose(joined.xy[0, :3], here[:3])
    np.testing.assert_allclose(joined.xy[0, 3:], [[6, 5.1], [7, 5.1], [8, 5.1]], rtol=1e-6)
    assert joined.confidence[0].tolist() == [0.5, 0.5, 0.5, 1, 1, 1], "known where it is hidden"
    assert joined.confidence[1].tolist() == [0.5, 0.5, 0, 0, 0, 0]
    np.testing.assert_array_equal(joined.xy[3, 2:], own.xy[1])
    assert joined.confidence[3].tolist() == [0, 0, 1, 1, 1, 1], "the base says nothing of it"
    np.testing.assert_allclose(joined.xy[3, 1, 0], 8.5, atol=0.5, err_msg="as those around it")
    np.testing.assert_allclose(joined.xy[2, 3:], [[6, 4.9], [7, 4.9], [8, 4.9]], rtol=1e-6)
    assert joined.query.tolist() == [0, 0, SEAM, 4]
    assert joined.behind[0].tolist() == [0, 0, 0, 0, 1.25, 0]
    assert joined.behind[1].tolist() == [0] * 6
    assert joined.behind[3].tolist() == [0, 0, 1.5, 1.75, 0, 0], "behind what b_0 shows, too"
    assert join_tracks(estimated, base_cameras, rewound, {1: KnownPriors()}) is estimated
    longer = {1: KnownPriors(cameras=cameras(DRIVING, 40.0), tracks=own)}
    deeper = join_tracks(estimated, base_cameras, rewound, longer)
    assert deeper.behind[3].tolist() == [0, 0, 2, 2.5, 0, 0], "as thick as it is wide"


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
    "behind is negative": KnownPriors(
        tracks=replace(
            tracks([[[0, 0]] * 4], [[1] * 4], [0]), behind=np.full((1, 4), -1, np.float32)
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
        (rng.integers(0, 256, (DRIVING, HEIGHT, WIDTH)) / 255).astype(np.float32),
        rng.uniform(1, 2, (DRIVING, HEIGHT, WIDTH)).astype(np.float32),
        cameras(DRIVING, 20.0),
        replace(
            tracks([[[1, 1], [2, 2], [3, 3], [4, 4]]] * 2, [[1, 0, 1, 1], [0, 0, 0, 1]], [0, 3]),
            behind=np.array([[0, 1.5, 0, 0], [1.25, 1.5, 1.75, 0]], np.float32),
        ),
    )


def test_a_file_of_it_gives_it_back(tmp_path):
    with (tmp_path / "known.npz").open("wb") as file:
        np.savez(file, allow_pickle=False, **pack_known(full()))
    with np.load(tmp_path / "known.npz", allow_pickle=False) as file:
        again = unpack_known(dict(file))
    again.check(clip(DRIVING))
    for name, array in pack_known(full()).items():
        np.testing.assert_array_equal(pack_known(again)[name], array)
    assert again.cameras is not None
    assert again.cameras.kind == "static"
    nothing = unpack_known(pack_known(KnownPriors()))
    assert nothing == KnownPriors()


def test_another_size_and_rate():
    whole = full()
    assert whole.masks is not None
    later = whole.resize((WIDTH, HEIGHT), (WIDTH, HEIGHT), np.array([1, 3]))
    assert later.tracks is not None
    assert later.tracks.behind.tolist() == [[1.5, 0], [1.5, 0]]
    half = whole.resize((WIDTH, HEIGHT), (WIDTH // 2, HEIGHT // 2), np.array([0, 2]))
    half.check(Clip(np.zeros((2, HEIGHT // 2, WIDTH // 2, 3), np.uint8), 12.0))
    assert half.masks is not None
    assert half.cameras is not None
    assert half.tracks is not None
    np.testing.assert_allclose(half.masks.mean((1, 2)), whole.masks[[0, 2]].mean((1, 2)), 1e-5)
    np.testing.assert_allclose(half.cameras.K[0], [[10, 0, 4], [0, 10, 3], [0, 0, 1]])
    np.testing.assert_allclose(half.tracks.xy, [[[0.5, 0.5], [1.5, 1.5]]])
    assert half.tracks.query.tolist() == [0], "the point that no frame sees is left out"


@cache
def drawn() -> tuple[Clip, np.ndarray, DrivingVideo]:
    """A base, its first mask, and the draft driver's video of it."""
    scene = moving(frames=4, step=(2.5, 0.5))
    mask = scene.masks[0] > 0.5
    video = KinematicDriving().make(scene.clip, mask, "it jumps to the left", Progress())
    return scene.clip, mask, video


def test_the_draft_driver_tells_what_it_draws():
    _, mask, video = drawn()
    known = video.known
    assert known.masks is not None
    assert known.depth is not None
    assert known.cameras is not None
    assert known.tracks is not None
    assert iou(known.masks[0] > 0.5, mask) > 0.9
    np.testing.assert_array_equal(known.depth > 0, known.masks > 0.5)
    assert known.cameras.kind == "static"
    # where the picture is not the empty stage, the subject is
    stage = np.median(video.clip.frames, axis=0)
    moved = np.abs(video.clip.frames - stage).max(-1) > 40
    widest = (known.masks > 0).any(0)
    assert moved[:, ~widest].mean() < 0.02
    xy, visible = known.tracks.xy, known.tracks.visible
    assert visible[:, 0].sum() > 100
    for t in range(len(video.clip)):
        col, row = xy[visible[:, t], t].astype(int).T
        assert (known.masks[t][row, col] > 0.5).all(), "visible points lie on the subject"
    # a point's colour goes along with it
    near = visible[:, 0] & visible[:, -1]
    first, last = (
        video.clip.frames[t][tuple(xy[near, t].astype(int).T[::-1])].astype(float) for t in (0, -1)
    )
    assert np.median(np.abs(last - first)) < 8


def test_known_priors_reach_the_fit_as_they_are():
    base, mask, video = drawn()
    few = ["motion.n_bases=4", "motion.n_tracks=60", "motion.steps=6", "fusion.steps=10"]
    few += ["fusion.max_subject=400", "fusion.max_background=400"]
    made = restage(
        base,
        "it jumps to the left",
        Selection(mask=mask),
        [KinematicDriving()],
        weight_free_providers(),
        with_settings(preset("draft"), few),
        Progress(),
    )
    rows = made.rewound.video(1)[1:]
    assert video.known.masks is not None
    np.testing.assert_array_equal(made.priors.masks[rows], video.known.masks[1:])
    w2c, K = made.priors.cameras.w2c, made.priors.cameras.K
    seam = [made.rewound.seam] * len(rows)
    np.testing.assert_allclose(w2c[rows], w2c[seam])
    np.testing.assert_allclose(K[rows], K[seam])
    tracks = made.priors.tracks
    both = tracks.visible[:, made.rewound.video(0)[1:]].any(1) & tracks.visible[:, rows].any(1)
    assert both.sum() > 50, "tracks run over both videos"


@pytest.mark.parametrize("way", ["as it is", "other subject", "other file", "larger", "no cache"])
def test_a_file_brings_what_its_maker_knew(tmp_path, way: str):
    base, mask, video = drawn()
    store, path = Cache(tmp_path / "cache"), tmp_path / "1.mp4"
    encode(path, video.clip.frames, video.clip.fps)
    keep_known(store, path, video)
    if way == "other subject":
        mask = np.roll(mask, 60, axis=1)
    elif way == "other file":
        encode(path, video.clip.frames, video.clip.fps, 30)
    elif way == "larger":
        base = Clip(base.frames.repeat(2, 1).repeat(2, 2), base.fps)
        mask = mask.repeat(2, 0).repeat(2, 1)
    path = path.rename(tmp_path / "renamed.mp4")
    driver = FileDriving(path, cache=None if way == "no cache" else store)
    if way == "other subject":  # the seam's own check of the subject is not asked here
        found = driver._find_known(video.clip, video.clip, mask)
    else:
        found = driver.make(base, mask, "", Progress()).known
    if way in ("as it is", "larger"):
        assert found.masks is not None
        assert found.tracks is not None
        assert video.known.masks is not None
        assert found.masks.shape[1:] == mask.shape
        np.testing.assert_allclose(
            found.masks.mean((1, 2)), video.known.masks.mean((1, 2)), atol=2e-3
        )
    else:
        assert found == KnownPriors()


class CountedMasks(GrabCutMasks):
    """Counts how many frames it follows the subject through."""

    frames = 0

    def propagate(self, rewound: Rewound, first: np.ndarray, progress: Progress) -> np.ndarray:
        self.frames += len(rewound)
        return super().propagate(rewound, first, progress)


def test_masks_of_the_base_do_not_hang_on_a_driving_video_whose_masks_are_known(tmp_path):
    scene = moving(frames=8)
    base = Clip(scene.clip.frames[:5], 24.0)
    driving = Clip(scene.clip.frames[[0, 2, 4]], 24.0)
    own = scene.masks[[0, 2, 4]].astype(np.float32)
    painted = Clip(driving.frames.copy(), 24.0)
    painted.frames[1:][own[1:] == 0] = 90  # a background that no camera saw
    providers = replace(weight_free_providers(), masks=CountedMasks())

    def estimate(drivings: list[Clip], known: dict[int, KnownPriors]) -> np.ndarray:
        rewound = rewind(base, drivings)
        return estimate_priors(
            rewound,
            scene.masks[0],
            providers,
            known=known,
            priors_dir=None,
            cache=Cache(tmp_path),
            progress=Progress(),
        ).masks

    alone = estimate([], {})
    for clip in (driving, painted):
        masks = estimate([clip], {1: KnownPriors(masks=own)})
        np.testing.assert_array_equal(masks[:5], alone)
        np.testing.assert_array_equal(masks[5:], own[1:])
    assert providers.masks.frames == 5, "another driving video finds the base's in the cache"
    both = estimate([painted, driving], {1: KnownPriors(masks=own)})
    np.testing.assert_array_equal(both[5:7], own[1:])
    assert providers.masks.frames == 5 + 7, "of two videos one has to be followed"
    assert iou(both[7] > 0.5, scene.masks[2]) > 0.8
