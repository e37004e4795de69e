"""All priors of a rewound clip: from files where given, else from the cache, else estimated."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from restage4d import __version__
from restage4d.priors.cache import Cache, content_key
from restage4d.priors.files import read_priors
from restage4d.priors.protocols import CameraProvider, DepthProvider, MaskProvider, TrackProvider
from restage4d.priors.world import align_world
from restage4d.progress import Progress
from restage4d.scene import Cameras, Priors, Rewound, Tracks


@dataclass
class Providers:
    """Who estimates what."""

    masks: MaskProvider
    cameras: CameraProvider
    depth: DepthProvider
    tracks: TrackProvider


def default_providers() -> Providers:
    """The weight-free ones."""
    from restage4d.priors.cameras import SfmCameras
    from restage4d.priors.depth import ReliefDepth
    from restage4d.priors.masks import GrabCutMasks
    from restage4d.priors.tracks import FlowTracks

    return Providers(GrabCutMasks(), SfmCameras(), ReliefDepth(), FlowTracks())


def estimate_priors(
    rewound: Rewound,
    first_mask: NDArray,  # (H, W) bool
    providers: Providers,
    *,
    priors_dir: Path | None,
    cache: Cache | None,
    progress: Progress,
) -> Priors:
    """Masks, cameras, depth, the world frame, tracks, in that order.

    Args:
        rewound: the clip.
        first_mask: the subject in b_0.
        providers: who estimates what the files do not give.
        priors_dir: folder to read from (docs/priors.md), or None.
        cache: where estimates are kept by content, or None.
        progress: told every stage.

    Raises:
        InputError: a given file does not fit the clip; says which.
    """
    given = read_priors(priors_dir, rewound) if priors_dir else {}
    about = (__version__, rewound.clip.frames, rewound.parent)

    def estimated(name: str, provider: object, inputs: tuple, estimate: Callable[[], dict[str, NDArray]]) -> dict[str, NDArray]:
        if name in given:
            return given[name]
        key = content_key(name, vars(provider).get("config"), type(provider).__name__, *about, *inputs)
        arrays = cache.get(key) if cache else None
        if arrays is None:
            arrays = estimate()
            if cache:
                cache.put(key, arrays)
        return arrays

    masks = estimated(
        "masks", providers.masks, (first_mask,), lambda: {"masks": providers.masks.propagate(rewound, first_mask, progress)}
    )["masks"]

    def cameras_arrays() -> dict[str, NDArray]:
        found = providers.cameras.cameras(rewound, masks, progress)
        return {"K": found.K, "w2c": found.w2c, "points": found.points, "kind": np.array(found.kind)}

    found = estimated("cameras", providers.cameras, (masks,), cameras_arrays)
    cameras = Cameras(found["K"], found["w2c"], str(found["kind"]), found["points"])
    depth = estimated(
        "depth",
        providers.depth,
        (masks, cameras.K, cameras.w2c, cameras.points),
        lambda: {"depth": providers.depth.depth(rewound, masks, cameras, progress)},
    )["depth"]
    depth, cameras, metres_per_unit = align_world(rewound, masks, depth, cameras)
    tracks = estimated("tracks", providers.tracks, (masks,), lambda: vars(providers.tracks.tracks(rewound, masks, progress)))
    return Priors(masks, depth, cameras, Tracks(**tracks), metres_per_unit)
