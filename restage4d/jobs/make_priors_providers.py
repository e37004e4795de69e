"""Providers of priors by name (`restage4d.providers.registry`): checked, announced and loaded
before any work starts."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from restage4d.errors import InputError
from restage4d.priors.estimate import Providers
from restage4d.providers.registry import announcement, entry
from restage4d.providers.settings import read_settings
from restage4d.providers.weights import Weights, fingerprint, need_modules


def choose_priors(
    *,
    masks: str = "grabcut",
    cameras: str = "sfm",
    depth: str = "relief",
    tracks: str = "flow",
    weights: Weights,
    announce: Callable[[str], None] = print,
) -> Providers:
    """The providers of those names; ``cameras`` and ``depth`` may also be a path that `CameraFiles`
    reads.

    Args:
        weights: where weights may come from.
        announce: told what a person must know, such as a licence that is not for commercial use.

    Raises:
        InputError: a name is unknown, or a module, checkpoint or checkout is missing or damaged;
            says how to get it.
    """
    told: set[str] = set()
    made: dict[tuple[str, str], Any] = {}  # one object where cameras and depth come from the same
    chosen = {"masks": masks, "cameras": cameras, "depth": depth, "tracks": tracks}
    for kind, name in chosen.items():
        if kind in ("cameras", "depth") and _is_path(name):
            key = ("file", name)
        else:
            found = entry(kind, name)
            need_modules(found)
            said = announcement(found)
            if said and found.repo + name not in told:
                announce(said)
                told.add(found.repo + name)
            key = ("depth-anything-3", "") if name == "depth-anything-3" else (kind, name)
        made[key] = made.get(key) or _make(kind, name, weights)
        chosen[kind] = made[key]
    return Providers(**chosen)  # type: ignore[arg-type]


def _make(kind: str, name: str, weights: Weights) -> Any:
    if kind in ("cameras", "depth") and _is_path(name):
        from restage4d.priors.cameras.camera_files import CameraFiles

        return CameraFiles(Path(name))
    found = entry(kind, name)
    if name == "grabcut":
        from restage4d.priors.masks.grabcut import GrabCutMasks

        return GrabCutMasks()
    if name == "sfm":
        from restage4d.priors.cameras.sfm import SfmCameras

        return SfmCameras()
    if name == "relief":
        from restage4d.priors.depth.relief import ReliefDepth

        return ReliefDepth()
    if name == "flow":
        from restage4d.priors.tracks.flow_tracks import FlowTracks

        return FlowTracks()
    if name == "cotracker3" and weights.download and weights.local(found) is None:
        from restage4d.priors.tracks.point_trackers import CoTrackerTracks, PointTrackerConfig

        return CoTrackerTracks(name, None, PointTrackerConfig("torch.hub"))
    folder = weights.find(found)
    state = fingerprint(folder)
    if kind == "masks":
        from restage4d.priors.masks.sam import SamConfig, SamMasks

        return SamMasks(name, folder, SamConfig(name.split("-")[0], state))
    if kind == "tracks":
        from restage4d.priors.tracks import point_trackers as p

        return {
            "bootstapir": p.TapirTracks,
            "tapnext": p.TapNextTracks,
            "cotracker3": p.CoTrackerTracks,
        }[name](name, folder, p.PointTrackerConfig(state))
    if name == "depth-anything-3":
        from restage4d.priors.depth.depth_anything3 import DepthAnything3, DepthAnything3Config

        python = Path(read_settings().da3_python)
        if not python.is_file():
            raise InputError(
                "Depth Anything 3 needs a Python of its own, and RESTAGE4D_DA3_PYTHON names none.",
                f"{found.get}.",
            )
        return DepthAnything3(python, folder, DepthAnything3Config(state))
    from restage4d.priors.depth.depth_anything import DepthAnythingConfig, DepthAnythingDepth

    return DepthAnythingDepth(name, folder, DepthAnythingConfig(state))


def _is_path(name: str) -> bool:
    return name.endswith(".npz") or "/" in name or "\\" in name
