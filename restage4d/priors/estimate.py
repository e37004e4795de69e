"""All priors of a rewound clip: from files where given, masks also from the clips' alpha, else from
the cache, else estimated."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache as cache_once
from pathlib import Path
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from restage4d import __version__
from restage4d.clips import (
    Cameras,
    Priors,
    Rewound,
    Tracks,
)
from restage4d.errors import InputError
from restage4d.frame_arrays import make_frames, stack_on_cores, take_frames
from restage4d.io.content_cache import Cache, content_key
from restage4d.priors.cameras.sfm import SfmCameras
from restage4d.priors.depth.relief import ReliefDepth
from restage4d.priors.files import read_priors
from restage4d.priors.geometry.world import align_world
from restage4d.priors.joining import join_cameras, join_depth, join_masks, join_tracks
from restage4d.priors.known import KnownPriors
from restage4d.priors.masks.grabcut import GrabCutMasks
from restage4d.priors.masks.keyframes import follow_from_keyframe
from restage4d.priors.masks.lost_parts import mark_lost_parts
from restage4d.priors.motion.background_points import follow, triangulate
from restage4d.priors.motion.optical_flow import compute_optical_flow
from restage4d.priors.protocols import (
    CameraProvider,
    DepthProvider,
    MaskProvider,
    TrackProvider,
)
from restage4d.priors.tracks.flow_tracks import FlowTracks
from restage4d.progress import Progress, TaskId

F32 = NDArray[np.float32]

NO_CORRECTIONS: Mapping[int, NDArray[np.bool_]] = MappingProxyType({})
NOTHING_KNOWN: Mapping[int, KnownPriors] = MappingProxyType({})


@dataclass
class Providers:
    """Who estimates what."""

    masks: MaskProvider
    cameras: CameraProvider
    depth: DepthProvider
    tracks: TrackProvider


def weight_free_providers() -> Providers:
    """Those of `restage4d.defaults.WEIGHT_FREE`."""
    return Providers(GrabCutMasks(), SfmCameras(), ReliefDepth(), FlowTracks())


def estimate_priors(
    rewound: Rewound,
    first_mask: NDArray,  # (H, W) bool
    providers: Providers,
    *,
    corrections: Mapping[int, NDArray[np.bool_]] = NO_CORRECTIONS,
    known: Mapping[int, KnownPriors] = NOTHING_KNOWN,
    priors_dir: Path | None,
    cache: Cache | None,
    progress: Progress,
) -> Priors:
    """Masks, cameras, depth, the world frame, tracks, in that order.

    Args:
        rewound: the clip.
        first_mask: the subject in b_0.
        providers: who estimates what the files do not give.
        corrections: masks (H, W) that a person corrected, by the number of their base frame.
        known: what the makers of videos know of them, by the video's number in ``rewound``; files
            come first, then this, then estimates.
        priors_dir: folder to read from (docs/priors.md), or None.
        cache: where estimates are kept by content, or None.
        progress: told every task.

    Raises:
        InputError: a given file does not fit the clip, or a mask is given twice; says which.
    """
    given = read_priors(priors_dir, rewound) if priors_dir else {}
    estimate_or_load = _Memo(cache, rewound)
    masks = (
        given["masks"]["masks"]
        if "masks" in given
        else make_frames(rewound.clip.frames.shape[:3], fill=np.nan)
    )
    for number in corrections:
        if not np.isnan(masks[rewound.video(0)[number]]).any():
            raise InputError(
                f"{priors_dir} gives a mask of frame {number}, and so does --mask {number}=FILE.",
                "Give it once.",
            )
    masks = join_masks(masks, rewound, known)
    if rewound.masks is not None:
        masks = fill_unknown(masks, rewound.masks)
    if has_unknown(masks):
        rows, followed = _follow_masks(
            rewound, masks, first_mask, corrections, providers.masks, cache, progress
        )
        masks[rows] = followed

    def find_tracks(progress: Progress) -> dict[str, NDArray]:
        return estimate_or_load(
            "tracks",
            providers.tracks,
            (masks,),
            lambda: vars(providers.tracks.tracks(rewound, masks, progress)),
        )

    beside = "tracks" not in given and is_followed_beside(providers.tracks)
    following = progress.start_beside(find_tracks) if beside else None

    def cameras_arrays() -> dict[str, NDArray]:
        cameras = providers.cameras.cameras(rewound, masks, progress)
        return {
            "K": cameras.K,
            "w2c": cameras.w2c,
            "points": cameras.points,
            "kind": np.array(cameras.kind),
        }

    found = (
        given["cameras"]
        if "cameras" in given
        else estimate_or_load("cameras", providers.cameras, (masks,), cameras_arrays)
    )
    cameras = Cameras(found["K"], found["w2c"], str(found["kind"]), found["points"])
    if "cameras" not in given:
        cameras = join_cameras(cameras, rewound, known)
    depth = given["depth"]["depth"] if "depth" in given else make_frames(masks.shape, fill=np.nan)
    if has_unknown(depth):
        if cameras.kind == "moving" and not len(cameras.points):
            with progress.task(TaskId.BACKGROUND_POINTS, len(rewound)) as task:
                cameras = replace(
                    cameras, points=triangulate(follow(rewound, masks, task), cameras)
                )
        inputs = (masks, cameras.K, cameras.w2c, cameras.points)
        found = estimate_or_load(
            "depth",
            providers.depth,
            inputs,
            lambda: {"depth": providers.depth.depth(rewound, masks, cameras, progress)},
        )
        complete = _complete(depth, found["depth"], masks, rewound.seam)
        joined = join_depth(complete, masks, cameras, rewound, known)
        depth = fill_unknown(depth, joined)
    depth, cameras, metres_per_unit = align_world(rewound, masks, depth, cameras)
    if "tracks" in given:
        tracks = given["tracks"]
    elif following:
        with progress.task(TaskId.TRACKS):
            tracks = following.result()
    else:
        tracks = find_tracks(progress)
    tracks = Tracks(**tracks)
    if "tracks" not in given:
        tracks = join_tracks(tracks, cameras, rewound, known)
    return Priors(masks, depth, cameras, tracks, metres_per_unit)


class _Memo:
    """What was estimated for ``rewound``: from the cache, else estimated and put there."""

    def __init__(self, cache: Cache | None, rewound: Rewound) -> None:
        self._cache = cache
        self._about = (_hash_code(), rewound.clip.frames, rewound.parent, rewound.clip.fps)

    def __call__(
        self, name: str, provider: object, inputs: tuple, estimate: Callable[[], dict[str, NDArray]]
    ) -> dict[str, NDArray]:
        key = content_key(
            name, type(provider).__qualname__, vars(provider).get("config"), *self._about, *inputs
        )
        arrays = self._cache.get(key) if self._cache else None
        if arrays is None:
            arrays = estimate()
            if self._cache:
                self._cache.put(key, arrays)
        return arrays


def _follow_masks(
    rewound: Rewound,
    masks: F32,
    first_mask: NDArray,
    corrections: Mapping[int, NDArray[np.bool_]],
    provider: MaskProvider,
    cache: Cache | None,
    progress: Progress,
) -> tuple[NDArray[np.intp], F32]:
    """What is unknown of ``masks`` (T, H, W), followed from ``first_mask`` and anew from
    ``corrections``: frames (N,) and all masks of these (N, H, W).

    Driving videos whose masks are known are left out: they tell nothing of the base, and their
    painted background would mislead the clues that are learned from all frames.
    """
    rewound, rows = rewound.pick_videos(
        i for i in range(1, 1 + rewound.n_branches) if has_unknown_at(masks, rewound.video(i)[1:])
    )
    masks = take_frames(masks, rows)
    estimate_or_load = _Memo(cache, rewound)
    first = first_mask if np.isnan(masks[rewound.seam]).any() else masks[rewound.seam] > 0.5
    repaired = []  # first, as the tracks take the optical flow that the last masks needed
    for number in sorted(corrections):
        part = estimate_or_load(
            "masks from a keyframe",
            provider,
            (number, *sorted(corrections), corrections[number]),
            lambda number=number: dict(
                zip(
                    ("rows", "masks"),
                    follow_from_keyframe(rewound, number, corrections, provider, progress),
                    strict=True,
                )
            ),
        )
        repaired.append(part)
    found = estimate_or_load(
        "masks",
        provider,
        (first,),
        lambda: {"masks": provider.propagate(rewound, first, progress)},
    )
    followed = found["masks"]
    if repaired:
        followed = take_frames(followed, np.arange(len(masks)))
    for part in repaired:
        followed[part["rows"]] = part["masks"]
    given_rows = np.array([not np.isnan(mask).any() for mask in masks])
    given_rows[[rewound.seam, *rewound.video(0)[[*corrections]]]] = True
    masks = fill_unknown(masks, followed)
    whole = estimate_or_load(
        "lost parts of masks",
        provider,
        (masks, given_rows),
        lambda: {
            "masks": mark_lost_parts(
                rewound, compute_optical_flow(rewound, progress), masks, given_rows
            )
        },
    )["masks"]
    return rows, whole


def is_followed_beside(provider: TrackProvider) -> bool:
    """Whether tracks are found while cameras and depth are: structure from motion keeps one core
    busy, and so does following by flow; networks would share a GPU's memory."""
    return isinstance(provider, FlowTracks)


def _complete(given: NDArray, estimated: NDArray, masks: NDArray, seam: int) -> NDArray:
    """``given`` depth with its missing frames (NaN) from ``estimated``, scaled so that the subject
    agrees in b_0."""
    both = (masks[seam] > 0.5) & (given[seam] > 0) & (estimated[seam] > 0)
    scale = float(np.median(given[seam][both] / estimated[seam][both])) if both.any() else 1.0

    def choose(t: int) -> NDArray:
        return np.where(np.isnan(given[t]), estimated[t] * scale, given[t]).astype(np.float32)

    return stack_on_cores(choose, range(len(given)))


def has_unknown(maps: NDArray) -> bool:  # (T, H, W)
    """Whether any pixel is NaN."""
    return has_unknown_at(maps, np.arange(len(maps)))


def has_unknown_at(maps: NDArray, rows: NDArray[np.intp]) -> bool:  # (T, H, W), (N,)
    """Whether any pixel of the frames ``rows`` is NaN."""
    return any(np.isnan(maps[row]).any() for row in rows)


def fill_unknown(maps: NDArray, other: NDArray) -> NDArray:  # (T, H, W) x2 -> (T, H, W)
    """``np.where(np.isnan(maps), other, maps)``, frame by frame."""
    return stack_on_cores(
        lambda t: np.where(np.isnan(maps[t]), other[t], maps[t]), range(len(maps))
    )


@cache_once
def _hash_code() -> str:
    """Hash of the code that estimates, so that nothing cached outlives a change of it."""
    return content_key(
        __version__, *(path.read_bytes() for path in sorted(Path(__file__).parent.rglob("*.py")))
    )
