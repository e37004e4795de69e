"""Priors from files and the cache: what is written is read, whatever does not fit is named."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from restage4d.clips import (
    Cameras,
    Clip,
    Priors,
    Rewound,
    Tracks,
    rewind,
)
from restage4d.errors import InputError
from restage4d.io.content_cache import Cache, content_key
from restage4d.priors.estimate import Providers, estimate_priors
from restage4d.priors.files import read_priors, write_priors
from restage4d.progress import Progress

H, W = 24, 32


def clip(frames: int, seed: int) -> Clip:
    return Clip(
        np.random.default_rng(seed).integers(0, 255, (frames, H, W, 3)).astype(np.uint8), 24.0
    )


@pytest.fixture
def rewound() -> Rewound:
    return rewind(clip(4, 0), [clip(3, 1), clip(2, 2)])


def make_priors(rewound: Rewound) -> Priors:
    rng = np.random.default_rng(7)
    T = len(rewound)
    K = np.tile(np.array([[30, 0, W / 2], [0, 30, H / 2], [0, 0, 1]], np.float32), (T, 1, 1))
    w2c = np.tile(np.eye(4, dtype=np.float32), (T, 1, 1))
    w2c[:, 0, 3] = np.arange(T)
    tracks = Tracks(
        rng.uniform(0, 20, (5, T, 2)).astype(np.float32),
        rng.uniform(size=(5, T)) > 0.5,
        rng.uniform(size=(5, T)).astype(np.float32),
        rng.integers(0, T, 5).astype(np.int32),
    )
    return Priors(
        rng.choice(np.array([-1, 0, 1], np.float32), (T, H, W)),
        rng.uniform(0, 5, (T, H, W)).astype(np.float32),
        Cameras(K, w2c, "moving", rng.normal(size=(6, 3)).astype(np.float32)),
        tracks,
    )


def test_what_is_written_is_read(tmp_path: Path, rewound: Rewound):
    priors = make_priors(rewound)
    write_priors(tmp_path / "ünïcode", rewound, priors)
    found = read_priors(tmp_path / "ünïcode", rewound)
    np.testing.assert_array_equal(found["masks"]["masks"], priors.masks)
    np.testing.assert_array_equal(found["depth"]["depth"], priors.depth)
    np.testing.assert_allclose(found["cameras"]["K"], priors.cameras.K, rtol=1e-6)
    np.testing.assert_array_equal(found["cameras"]["w2c"], priors.cameras.w2c)
    np.testing.assert_array_equal(found["cameras"]["points"], priors.cameras.points)
    assert str(found["cameras"]["kind"]) == "moving"
    for name, value in vars(priors.tracks).items():
        np.testing.assert_array_equal(found["tracks"][name], value)


def test_frames_are_numbered_as_in_their_own_video(tmp_path: Path, rewound: Rewound):
    (tmp_path / "masks").mkdir()
    for i in range(4):
        cv2.imwrite(
            str(tmp_path / "masks" / f"{i:05d}.png"),
            np.full((2 * H, 2 * W), 255 if i == 2 else 0, np.uint8),
        )
    masks = read_priors(tmp_path, rewound)["masks"]["masks"]
    of_base = rewound.video(0)
    np.testing.assert_array_equal(masks[of_base].mean((1, 2)), [0, 0, 1, 0])
    assert np.isnan(masks[rewound.source > 0]).all(), "driving frames have no masks here"


def test_cameras_of_another_size_are_scaled_and_driving_ones_are_steady(
    tmp_path: Path, rewound: Rewound
):
    K = np.tile(np.array([[300.0, 0, 160], [0, 300, 120], [0, 0, 1]]), (4, 1, 1))
    w2c = np.tile(np.eye(4), (4, 1, 1))
    w2c[:, 2, 3] = np.arange(4)
    np.savez(tmp_path / "cameras.npz", K=K, w2c=w2c)
    found = read_priors(tmp_path, rewound)["cameras"]
    np.testing.assert_allclose(
        found["K"][:, 0], np.tile([30.0, 0, 16], (len(rewound), 1)), rtol=1e-6
    )
    np.testing.assert_array_equal(found["w2c"][rewound.video(0), 2, 3], np.arange(4))
    assert (found["w2c"][rewound.source > 0] == found["w2c"][rewound.seam]).all()


def damage_missing_mask(folder: Path):
    (folder / "base" / "masks" / "00002.png").unlink()


def damage_mask_size(folder: Path):
    cv2.imwrite(str(folder / "base" / "masks" / "00001.png"), np.zeros((H, 2 * W), np.uint8))


def damage_mask_file(folder: Path):
    (folder / "driving_1" / "masks" / "00001.png").write_bytes(b"not a picture")


def damage_depth_sign(folder: Path):
    np.savez(folder / "base" / "depth.npz", depth=-np.ones((4, H, W)))


def damage_depth_shape(folder: Path):
    np.savez(folder / "base" / "depth.npz", depth=np.ones((2, H, W)))


def damage_depth_nan(folder: Path):
    np.savez(folder / "driving_2" / "depth.npz", depth=np.full((3, H, W), np.nan))


def damage_camera_rotation(folder: Path):
    np.savez(
        folder / "base" / "cameras.npz",
        K=np.tile(np.eye(3) * 9, (4, 1, 1)),
        w2c=np.tile(np.eye(4) * 2, (4, 1, 1)),
    )


def damage_camera_shape(folder: Path):
    np.savez(folder / "base" / "cameras.npz", K=np.eye(3), w2c=np.eye(4))


def damage_camera_name(folder: Path):
    np.savez(folder / "base" / "cameras.npz", intrinsics=np.eye(3), w2c=np.eye(4))


def damage_tracks_count(folder: Path):
    np.savez(
        folder / "tracks.npz",
        xy=np.ones((5, 2, 2)),
        visible=np.ones((5, 2)),
        confidence=np.ones((5, 2)),
        query=np.zeros(5, int),
    )


def damage_tracks_pickled(folder: Path):
    np.savez(
        folder / "tracks.npz",
        **dict.fromkeys(("xy", "visible", "confidence", "query"), np.array([{}], object)),
    )


def damage_truncated(folder: Path):
    whole = (folder / "tracks.npz").read_bytes()
    (folder / "tracks.npz").write_bytes(whole[: len(whole) // 2])


DAMAGE = {
    damage_missing_mask: "00002.png",
    damage_mask_size: "00001.png",
    damage_mask_file: "00001.png",
    damage_depth_sign: "depth.npz",
    damage_depth_shape: "depth.npz",
    damage_depth_nan: "depth.npz",
    damage_camera_rotation: "cameras.npz",
    damage_camera_shape: "cameras.npz",
    damage_camera_name: "cameras.npz",
    damage_tracks_count: "tracks.npz",
    damage_tracks_pickled: "tracks.npz",
    damage_truncated: "tracks.npz",
}


@pytest.mark.parametrize("damage", DAMAGE, ids=lambda f: f.__name__)
def test_what_does_not_fit_is_named(tmp_path: Path, rewound: Rewound, damage):
    write_priors(tmp_path, rewound, make_priors(rewound))
    damage(tmp_path)
    with pytest.raises(InputError) as error:
        read_priors(tmp_path, rewound)
    assert DAMAGE[damage] in error.value.what
    assert error.value.remedy


def test_an_empty_folder_is_refused(tmp_path: Path, rewound: Rewound):
    with pytest.raises(InputError, match="no priors"):
        read_priors(tmp_path, rewound)


def write_shape_of_motion(root: Path, frames: int, size: tuple[int, int]):
    """Files as vye16/shape-of-motion's preprocessing writes them, of a point that walks right by 2
    pixels a frame."""
    width, height = size
    for name in ("images", "masks", "aligned_depth_anything", "bootstapir"):
        (root / name / "seq").mkdir(parents=True)
    for i in range(frames):
        mask = np.zeros((height, width), np.uint8)
        mask[10:30, 10 : 30 + i] = 1
        cv2.imwrite(str(root / "images" / "seq" / f"{i:05d}.png"), mask)
        cv2.imwrite(str(root / "masks" / "seq" / f"{i:05d}.png"), mask)
        cv2.imwrite(
            str(root / "aligned_depth_anything" / "seq" / f"{i:05d}.png"),
            np.full((height, width), 65535 // (i + 1), np.uint16),
        )
        for j in range(frames):
            row = [[10 + 2 * j, 20, -9.0 if i != j + 1 else 9.0, -9.0]] * 6
            np.save(root / "bootstapir" / "seq" / f"{i:05d}_{j:05d}.npy", np.array(row, np.float32))


def test_shape_of_motion_over_the_rewound_clip(tmp_path: Path, rewound: Rewound):
    write_shape_of_motion(tmp_path, len(rewound), (2 * W, 2 * H))
    found = read_priors(tmp_path, rewound)
    T = len(rewound)
    np.testing.assert_allclose(found["depth"]["depth"].mean((1, 2)), np.arange(1, T + 1), rtol=1e-3)
    assert set(np.unique(found["masks"]["masks"])) == {-1, 0, 1}
    tracks = found["tracks"]
    np.testing.assert_allclose(
        tracks["xy"][0], np.stack([np.arange(T) + 5.25, np.full(T, 10.25)], 1), atol=1e-6
    )
    one = tracks["query"] == 2
    assert not tracks["visible"][one, 1].any()
    assert tracks["visible"][one, 2:].all()
    assert (tracks["confidence"] > 0.9).all(), "surely visible and surely hidden alike"


def test_shape_of_motion_over_the_base(tmp_path: Path, rewound: Rewound):
    write_shape_of_motion(tmp_path, 4, (W, H))
    depth = read_priors(tmp_path, rewound)["depth"]["depth"]
    np.testing.assert_allclose(depth[rewound.video(0)].mean((1, 2)), [1, 2, 3, 4], rtol=1e-3)
    assert np.isnan(depth[rewound.source > 0]).all()


def test_shape_of_motion_with_cameras_as_a_pickle_says_what_to_do(tmp_path: Path, rewound: Rewound):
    write_shape_of_motion(tmp_path, 4, (W, H))
    (tmp_path / "droid_recon").mkdir()
    with pytest.raises(InputError, match="never opened"):
        read_priors(tmp_path, rewound)


def test_cache_returns_what_it_was_given_and_recomputes_damage(tmp_path: Path):
    cache = Cache(tmp_path)
    arrays = {"a": np.arange(5), "b": np.ones((2, 3), np.float32)}
    assert cache.get("k") is None
    cache.put("k", arrays)
    found = cache.get("k")
    assert found is not None
    for name, value in arrays.items():
        np.testing.assert_array_equal(found[name], value)
    file = next(tmp_path.glob("*.npz"))
    file.write_bytes(file.read_bytes()[:-20])
    assert cache.get("k") is None
    assert cache.get("k") is None
    file.write_bytes(b"PK nonsense")
    assert cache.get("k") is None


def test_cache_keeps_within_its_size_and_drops_the_oldest(tmp_path: Path):
    import os

    cache = Cache(tmp_path, limit=25_000)
    for i in range(4):
        cache.put(str(i), {"a": np.zeros(1000)})
        os.utime(tmp_path / f"{i}.npz", (i, i))
    assert cache.get("0") is None or cache.get("3") is None
    assert sum(p.stat().st_size for p in tmp_path.glob("*.npz")) <= 25_000
    assert cache.get("3") is not None


def test_cache_in_a_place_that_cannot_be_written_only_costs_time(tmp_path: Path):
    (tmp_path / "file").write_text("")
    cache = Cache(tmp_path / "file")
    cache.put("k", {"a": np.ones(3)})
    assert cache.get("k") is None


def test_content_key_tells_apart():
    a = np.arange(6, dtype=np.float32)
    keys = {
        content_key(*parts)
        for parts in ((a,), (a.reshape(2, 3),), (a.astype(np.int32),), (a + 1,), (a, "x"), (a, "y"))
    }
    assert len(keys) == 6
    assert content_key(a, ("x", 1)) == content_key(a.copy(), ("x", 1))


class Counting:
    """Providers with known answers that count how often they are asked."""

    name = "counting"

    def __init__(self, priors: Priors) -> None:
        self.priors, self.asked = priors, 0

    def select(self, base, selection, progress):
        raise AssertionError("not asked here")

    def propagate(self, rewound, first, progress):
        self.asked += 1
        return self.priors.masks

    def cameras(self, rewound, masks, progress):
        self.asked += 1
        return self.priors.cameras

    def depth(self, rewound, masks, cameras, progress):
        self.asked += 1
        return 3 * self.priors.depth

    def tracks(self, rewound, masks, progress):
        self.asked += 1
        return self.priors.tracks


def test_what_is_missing_is_estimated_once_and_joined_in_scale(tmp_path: Path, rewound: Rewound):
    priors = make_priors(rewound)
    counting = Counting(priors)
    write_priors(tmp_path / "given", rewound, priors)
    for part in ("driving_1", "driving_2"):
        (tmp_path / "given" / part / "depth.npz").unlink()
    (tmp_path / "given" / "tracks.npz").unlink()
    providers = Providers(counting, counting, counting, counting)
    run = lambda: estimate_priors(  # noqa: E731
        rewound,
        priors.masks[rewound.seam] > 0.5,
        providers,
        priors_dir=tmp_path / "given",
        cache=Cache(tmp_path / "c"),
        progress=Progress(),
    )
    first = run()
    assert counting.asked == 2, "depth and tracks only"
    np.testing.assert_array_equal(first.masks, priors.masks)
    ratio = first.depth[priors.depth > 0] / priors.depth[priors.depth > 0]
    np.testing.assert_allclose(
        ratio,
        ratio[0],
        rtol=1e-4,
        err_msg="estimated and given depth have one scale, in the world's units",
    )
    np.testing.assert_array_equal(first.tracks.xy, priors.tracks.xy)
    again = run()
    assert counting.asked == 2, "the second run finds everything in the cache"
    np.testing.assert_array_equal(again.depth, first.depth)
