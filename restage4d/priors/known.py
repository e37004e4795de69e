"""What the maker of a driving video knows of it, so that nobody has to estimate it."""

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from restage4d.clips import Cameras, Clip, Tracks
from restage4d.errors import InputError

F32 = NDArray[np.float32]

_STILL = 1e-4  # of the length of w2c's translation, by which a camera on the spot may be off


@dataclass(frozen=True)
class KnownPriors:
    """Priors of a driving video's frames d_0..d_n, each None where it is not known.

    They have a scale of their own: `restage4d.priors.joining` brings them to the base's.

    Attributes:
        masks: (T, H, W) float32, the subject's opacity in 0..1.
        depth: (T, H, W) float32 planar z-depth of the subject in a unit of its own; 0 = unknown.
        cameras: T cameras that may turn and zoom, but stay in one place; d_0's is the base's first.
        tracks: over the T frames; hidden points with a confidence are known to be hidden there,
            and how far behind what hides them where `Tracks.behind` says so.

    Example:
        >>> known = KnownPriors(masks=alpha)
        >>> DrivingVideo(Clip(frames, 24.0), "mine", known=known)
    """

    masks: F32 | None = None
    depth: F32 | None = None
    cameras: Cameras | None = None
    tracks: Tracks | None = None

    def check(self, clip: Clip) -> None:
        """Raises `InputError` unless everything that is given fits ``clip`` and is finite."""
        maps = clip.frames.shape[:3]
        if self.masks is not None:
            _need_array("masks", self.masks, maps)
            _need(self.masks.min() >= 0 and self.masks.max() <= 1, "masks are not in 0..1")
        if self.depth is not None:
            _need_array("depth", self.depth, maps)
            _need(self.depth.min() >= 0, "depth is negative")
        if self.cameras is not None:
            _check_cameras(self.cameras, len(clip))
        if self.tracks is not None:
            _check_tracks(self.tracks, len(clip))

    def resize(
        self, old: tuple[int, int], new: tuple[int, int], frames: NDArray[np.intp]
    ) -> "KnownPriors":
        """For the same video at another size and rate.

        Args:
            old, new: (width, height) in pixels, of about the same aspect.
            frames: the old frame that each new one is.
        """
        masks, depth, cameras, tracks = self.masks, self.depth, self.cameras, self.tracks
        scale = np.array(new, np.float32) / old
        if masks is not None:
            masks = _resize(masks[frames], new, cv2.INTER_AREA)
        if depth is not None:
            depth = _resize(depth[frames], new, cv2.INTER_NEAREST)
        if cameras is not None:
            K = cameras.K[frames].copy()
            K[:, :2] *= scale[:, None]
            cameras = replace(cameras, K=K, w2c=cameras.w2c[frames])
        if tracks is not None:
            tracks = _pick_frames(tracks, frames)
            tracks = replace(tracks, xy=(tracks.xy * scale).astype(np.float32))
        return KnownPriors(masks, depth, cameras, tracks)


def pack_known(known: KnownPriors) -> dict[str, NDArray]:
    """As named arrays for an .npz file; masks in 256 levels."""
    arrays: dict[str, NDArray] = {}
    if known.masks is not None:
        arrays["masks"] = np.round(known.masks * 255).astype(np.uint8)
    if known.depth is not None:
        arrays["depth"] = known.depth
    if known.cameras is not None:
        arrays |= {"K": known.cameras.K, "w2c": known.cameras.w2c}
    if known.tracks is not None:
        arrays |= vars(known.tracks)
    return arrays


def unpack_known(arrays: dict[str, NDArray]) -> KnownPriors:
    """What `pack_known` packed."""
    masks = None
    if "masks" in arrays:
        masks = (arrays["masks"] / 255).astype(np.float32)
    cameras = None
    if "K" in arrays:
        cameras = Cameras(arrays["K"], arrays["w2c"], find_kind(arrays["w2c"]))
    tracks = None
    if "xy" in arrays:
        names = ("xy", "visible", "confidence", "query", "behind")
        tracks = Tracks(**{n: arrays[n] for n in names if n in arrays})
    return KnownPriors(masks, arrays.get("depth"), cameras, tracks)


def find_kind(w2c: F32) -> str:  # (T, 4, 4)
    """The `Cameras.kind` of cameras that stay in one place."""
    return "static" if np.abs(w2c - w2c[0]).max() < _STILL else "pan"


def _pick_frames(tracks: Tracks, frames: NDArray[np.intp]) -> Tracks:
    """Points that none of ``frames`` sees are left out; the others begin where they are seen first,
    unless they began in one of them."""
    seen = tracks.visible[:, frames].any(1)
    visible, query = tracks.visible[seen][:, frames], tracks.query[seen]
    same = frames == query[:, None]
    begin = np.where(same.any(1), same.argmax(1), visible.argmax(1)).astype(np.int32)
    xy, confidence, behind = (
        value[seen][:, frames] for value in (tracks.xy, tracks.confidence, tracks.behind)
    )
    return Tracks(xy, visible, confidence, begin, behind)


def _resize(maps: F32, size: tuple[int, int], how: int) -> F32:
    if maps.shape[:0:-1] == size:
        return maps
    return np.stack([cv2.resize(m, size, interpolation=how) for m in maps]).astype(np.float32)


def _need(truth: object, what: str) -> None:
    if not truth:
        raise InputError(
            f"What the driving video's maker knows of it cannot be used: {what}.",
            "Correct it or leave it out: it is estimated then.",
        )


def _need_array(name: str, array: NDArray, shape: tuple[int, ...]) -> None:
    _need(array.shape == shape, f"{name} has shape {array.shape}, expected {shape}")
    _need(array.dtype.kind in "fiub", f"{name} does not hold numbers")
    _need(np.isfinite(array).all(), f"{name} has values that are not finite")


def _check_cameras(cameras: Cameras, frames: int) -> None:
    _need_array("K", cameras.K, (frames, 3, 3))
    _need_array("w2c", cameras.w2c, (frames, 4, 4))
    _need((cameras.K[:, [0, 1], [0, 1]] > 0).all(), "K has focal lengths that are not positive")
    R = cameras.w2c[:, :3, :3].astype(np.float64)
    rigid = np.abs(R @ R.transpose(0, 2, 1) - np.eye(3)).max() < 1e-3
    _need(rigid and (np.linalg.det(R) > 0).all(), "w2c does not hold rigid motions")
    centre = -np.einsum("tji,tj->ti", R, cameras.w2c[:, :3, 3])
    travel = np.linalg.norm(centre - centre[0], axis=1).max()
    _need(
        travel <= _STILL * max(float(np.linalg.norm(centre[0])), 1.0),
        "its camera travels, which has no scale that the base knows",
    )


def _check_tracks(tracks: Tracks, frames: int) -> None:
    count = len(tracks.xy)
    _need_array("xy", tracks.xy, (count, frames, 2))
    for name in ("visible", "confidence", "behind"):
        _need_array(name, getattr(tracks, name), (count, frames))
    _need_array("query", tracks.query, (count,))
    _need((tracks.behind >= 0).all(), "behind is negative")
    confidence, query = tracks.confidence, tracks.query
    _need(((confidence >= 0) & (confidence <= 1)).all(), "confidence is not in 0..1")
    _need(((query >= 0) & (query < frames)).all(), f"query names a frame outside 0..{frames - 1}")
