"""Tracks by learned point trackers: BootsTAPIR and BootsTAPNext (a checkout of tapnet) and
CoTracker3 (a checkout or torch.hub).

None of them is on a package index; docs/providers.md says where checkout and checkpoint go. Every
driving video is tracked as one continuous clip with the base; a point picked in one driving video
is unknown (confidence 0) in the others.
"""

import importlib
import sys
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from restage4d.clips import Rewound, Tracks
from restage4d.errors import InputError
from restage4d.priors.tracks.flow_tracks import choose_query_frames, extrapolate_occluded, pick
from restage4d.progress import Progress, Task, TaskId
from restage4d.providers.devices import devices, until_it_fits
from restage4d.providers.weights import fetch_file, load_into, load_state

F32 = NDArray[np.float32]
Bool = NDArray[np.bool_]

_SIDE = 256  # pixels of the square that TAPIR and TAPNext were trained on
_CHUNKS = (512, 128, 32)  # points at once, fewer while they do not fit


@dataclass(frozen=True)
class PointTrackerConfig:
    """``points`` and ``query_frames`` as in `restage4d.priors.tracks.flow_tracks.FlowTracksConfig`;
    ``weights``: for the cache."""

    weights: str
    points: int = 3000
    query_frames: int = 12


class PointTracks(ABC):
    """A `restage4d.priors.protocols.TrackProvider` around one of the trackers.

    Args:
        name: as in the catalogue.
        folder: checkout and checkpoint; None lets torch.hub fetch both (CoTracker3 only).
        config: see `PointTrackerConfig`.
    """

    def __init__(self, name: str, folder: Path | None, config: PointTrackerConfig) -> None:
        self.name, self.config = name, config
        self._model: Any = self._load(folder)

    @abstractmethod
    def _load(self, folder: Path | None) -> Any:
        """The model in evaluation mode. Raises `InputError` where checkout or checkpoint cannot be
        used."""

    @abstractmethod
    def _track(
        self, frames: NDArray[np.uint8], time: NDArray[np.intp], xy: F32, device: torch.device
    ) -> tuple[F32, Bool, F32]:
        """xy (P, T, 2), visible (P, T), confidence (P, T) of the points ``xy`` (P, 2) of the frames
        ``time`` (P,)."""

    def tracks(self, rewound: Rewound, masks: F32, progress: Progress) -> Tracks:
        """Tracks of the subject in ``masks`` (T, H, W). Raises `InputError` where no frame shows a
        subject."""
        queries = choose_query_frames(rewound, masks, self.config.query_frames)
        grey = [cv2.cvtColor(rewound.clip.frames[q], cv2.COLOR_RGB2GRAY) for q in queries]
        picked = [
            pick(g, masks[q] > 0.5, self.config.points // len(queries))
            for q, g in zip(queries, grey, strict=True)
        ]
        start = np.concatenate(picked)
        query = np.concatenate(
            [np.full(len(p), q, np.int32) for p, q in zip(picked, queries, strict=True)]
        )
        total = len(rewound)
        tracks = Tracks(
            np.zeros((len(start), total, 2), np.float32),
            np.zeros((len(start), total), bool),
            np.zeros((len(start), total), np.float32),
            query,
        )
        paths = rewound.paths()
        with progress.task(TaskId.TRACKS, len(start) * len(paths)) as task:
            for number, path in enumerate(paths):
                self._track_along(rewound, path, tracks, start, number, task)
        tracks.xy[np.arange(len(start)), query] = start
        tracks.visible[np.arange(len(start)), query] = True
        tracks.confidence[np.arange(len(start)), query] = 1.0
        known = np.isfinite(tracks.xy).all(-1) & (tracks.confidence > 0)
        tracks.visible &= known & (tracks.xy >= 0).all(-1) & (tracks.xy < rewound.clip.size).all(-1)
        xy, confidence = tracks.xy.copy(), np.where(known, tracks.confidence, 0).astype(np.float32)
        tracks.xy[~known] = 0
        extrapolate_occluded(rewound, tracks)
        tracks.xy[known], tracks.confidence[:] = (
            xy[known],
            confidence,
        )  # the tracker's own word where it has one
        return tracks

    def _track_along(
        self,
        rewound: Rewound,
        path: NDArray[np.intp],
        tracks: Tracks,
        start: F32,
        number: int,
        task: Task,
    ) -> None:
        """Fills in the frames of one path for the points that were picked in it."""
        place = np.full(len(rewound), -1)
        place[path] = np.arange(len(path))
        mine = np.flatnonzero(place[tracks.query] >= 0)
        fresh = (
            path if number == 0 else path[rewound.source[path] > 0]
        )  # the base's frames are known from the first path
        frames = rewound.clip.frames[path]
        attempts = [(device, chunk) for device in devices() for chunk in _CHUNKS]
        done = task.step

        def run(attempt: tuple[torch.device, int]) -> None:
            device, chunk = attempt
            task.step = done
            self._model.to(device)
            for i in range(0, len(mine), chunk):
                rows = mine[i : i + chunk]
                with torch.inference_mode():
                    xy, visible, confidence = self._track(
                        frames, place[tracks.query[rows]], start[rows], device
                    )
                # of a point picked in another path's base frames only this path's own frames are
                # new
                new = np.where(
                    rewound.source[tracks.query[rows]][:, None] > 0,
                    True,
                    np.isin(path, fresh)[None],
                )
                for values, found in (
                    (tracks.xy, xy),
                    (tracks.visible, visible),
                    (tracks.confidence, confidence),
                ):
                    block = values[np.ix_(rows, path)]
                    block[new] = found[new]
                    values[np.ix_(rows, path)] = block
                task.advance(len(rows))

        until_it_fits(attempts, run, self.name)


class TapirTracks(PointTracks):
    """BootsTAPIR: ``bootstapir_checkpoint_v2.pt`` and ``tapnet/``, a checkout of
    github.com/google-deepmind/tapnet."""

    def _load(self, folder: Path | None) -> Any:
        assert folder is not None
        module = _import_from_checkout(folder / "tapnet", "tapnet.torch.tapir_model")
        path = folder / "bootstapir_checkpoint_v2.pt"
        model = module.TAPIR(pyramid_level=1)
        load_into(model, load_state(path), path)
        return model.eval()

    def _track(
        self, frames: NDArray[np.uint8], time: NDArray[np.intp], xy: F32, device: torch.device
    ) -> tuple[F32, Bool, F32]:
        video, scale = _resize_to_square(frames, device)
        queries = np.concatenate([time[:, None], (xy * scale)[:, ::-1]], 1).astype(
            np.float32
        )  # t, y, x
        out = self._model(video, torch.from_numpy(queries)[None].to(device))
        near = 1 - torch.sigmoid(out["expected_dist"][0].float()).cpu().numpy()
        seen = 1 - torch.sigmoid(out["occlusion"][0].float()).cpu().numpy()
        visible, hidden = (
            seen * near > 0.5,
            (1 - seen) * near > 0.5,
        )  # as Shape-of-Motion takes them
        confidence = np.where(visible, seen * near, np.where(hidden, (1 - seen) * near, 0))
        return (
            (out["tracks"][0].float().cpu().numpy() / scale).astype(np.float32),
            visible,
            confidence.astype(np.float32),
        )


class TapNextTracks(PointTracks):
    """BootsTAPNext: ``bootstapnext_ckpt.npz`` and ``tapnet/``. It looks ahead in time only, so the
    clip is tracked both ways."""

    def _load(self, folder: Path | None) -> Any:
        assert folder is not None
        module = _import_from_checkout(folder / "tapnet", "tapnet.tapnext.tapnext_torch")
        restore = _import_from_checkout(
            folder / "tapnet", "tapnet.tapnext.tapnext_torch_utils"
        ).restore_model_from_jax_checkpoint
        path = folder / "bootstapnext_ckpt.npz"
        try:
            with np.load(path, allow_pickle=False) as file:
                file.files  # noqa: B018  a damaged archive ends here
            return restore(module.TAPNext(image_size=(_SIDE, _SIDE)), str(path)).eval()
        except Exception as error:
            raise InputError(
                f"{path} cannot be loaded: {error}.",
                "It is damaged or another checkpoint: get it again.",
            ) from error

    def _track(
        self, frames: NDArray[np.uint8], time: NDArray[np.intp], xy: F32, device: torch.device
    ) -> tuple[F32, Bool, F32]:
        video, scale = _resize_to_square(frames, device)
        last = len(frames) - 1
        parts = []
        for clip, at in ((video, time), (video.flip(1), last - time)):
            queries = np.concatenate([at[:, None], (xy * scale)[:, ::-1]], 1).astype(
                np.float32
            )  # t, y, x
            found, _, logits, _ = self._model(clip, torch.from_numpy(queries)[None].to(device))
            parts.append(
                (
                    found[0].transpose(0, 1).float().cpu().numpy(),
                    logits[0, ..., 0].T.float().cpu().numpy(),
                )
            )
        before = np.arange(len(frames)) < time[:, None]
        yx = np.where(before[..., None], parts[1][0][:, ::-1], parts[0][0])
        seen = 1 / (1 + np.exp(-np.where(before, parts[1][1][:, ::-1], parts[0][1])))
        return (
            (yx[..., ::-1] / scale).astype(np.float32),
            seen > 0.5,
            np.maximum(seen, 1 - seen).astype(np.float32),
        )


class CoTrackerTracks(PointTracks):
    """CoTracker3 offline: ``scaled_offline.pth`` and ``co-tracker/``, a checkout of
    github.com/facebookresearch/co-tracker."""

    def _load(self, folder: Path | None) -> Any:
        checkout = "facebookresearch/co-tracker" if folder is None else str(folder / "co-tracker")
        try:
            # without its own way of loading weights, which would run whatever is pickled in them
            source = "github" if folder is None else "local"
            predictor: Any = torch.hub.load(
                checkout,
                "cotracker3_offline",
                source=source,
                trust_repo=True,  # type: ignore[arg-type]
                pretrained=False,
            )
        except Exception as error:  # torch.hub and the code of a checkout raise what they like
            raise InputError(
                f"{checkout} cannot be used: {error}.",
                "Give a checkout of co-tracker (docs/providers.md).",
            ) from error
        path = (
            fetch_file("facebook/cotracker3", "scaled_offline.pth")
            if folder is None
            else folder / "scaled_offline.pth"
        )
        load_into(predictor.model, load_state(path), path)
        return predictor.eval()

    def _track(
        self, frames: NDArray[np.uint8], time: NDArray[np.intp], xy: F32, device: torch.device
    ) -> tuple[F32, Bool, F32]:
        video = (
            torch.from_numpy(np.ascontiguousarray(frames))
            .permute(0, 3, 1, 2)[None]
            .float()
            .to(device)
        )
        queries = np.concatenate([time[:, None], xy - 0.5], 1).astype(
            np.float32
        )  # t, x, y with whole centres
        found, seen = self._model(
            video, queries=torch.from_numpy(queries)[None].to(device), backward_tracking=True
        )
        visible = seen[0].T.cpu().numpy() > 0.5
        return (
            found[0].transpose(0, 1).float().cpu().numpy() + np.float32(0.5),
            visible,
            np.full(visible.shape, 0.9, np.float32),
        )


def _import_from_checkout(folder: Path, module: str) -> Any:
    """A module of a checkout that is not installed. Raises `InputError` where it cannot be
    imported."""
    sys.path.insert(0, str(folder))
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise InputError(
            f"{module} cannot be imported from {folder}: {error}.",
            "docs/providers.md says what it needs.",
        ) from error
    finally:
        sys.path.remove(str(folder))


def _resize_to_square(frames: NDArray[np.uint8], device: torch.device) -> tuple[torch.Tensor, F32]:
    """(1, T, 256, 256, 3) in -1..1, and what pixels are multiplied by on the way there (2,)."""
    picture = torch.from_numpy(np.ascontiguousarray(frames)).permute(0, 3, 1, 2).float().to(device)
    picture = F.interpolate(
        picture, (_SIDE, _SIDE), mode="bilinear", align_corners=False, antialias=True
    )
    scale = np.array([_SIDE / frames.shape[2], _SIDE / frames.shape[1]], np.float32)
    return (picture / 127.5 - 1).permute(0, 2, 3, 1)[None], scale
