"""The filmed shot as a job takes it: a part of the video at working size, and what the artist
pointed at in its first frame."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from restage4d.checks.findings import Finding
from restage4d.clips import Clip, Selection
from restage4d.errors import InputError
from restage4d.io import video
from restage4d.io.arrays import mask_picture
from restage4d.io.video_frames import is_cut_out
from restage4d.priors.estimate import NO_CORRECTIONS
from restage4d.priors.motion.revealed_background import LOOKAHEAD
from restage4d.priors.protocols import MaskProvider
from restage4d.progress import Progress

SELECT_SIDE = 384  # pixels of the longer side at which a subject is selected, at least
_FEWEST = 64  # pixels that a subject must have
_FINER = 2.0  # times the working size at which the subject is fitted at last, at most
_WORTH = 1.25  # and at least, or it is not worth while
_MOST = 80e6  # pixels of the finer frames together


def decode_part(path: Path, fps: float, longer_side: int, first: int, frames: int | None) -> Clip:
    """``frames`` frames from number ``first`` on; None: to the end. Raises `InputError` as
    `video.decode` does."""
    stop = None if frames is None else (first + frames) / fps
    return video.decode(path, longer_side=longer_side, start=first / fps, stop=stop)


def decode_finer(path: Path, info: video.VideoInfo, base: Clip, first: int) -> Clip | None:
    """The frames of ``base`` as they were filmed, or as finely as `_FINER` and `_MOST` allow; None
    where that is hardly finer. ``first``: see `decode_part`."""
    longer, source = max(base.size), max(info.width, info.height)
    scale = min(_FINER, source / longer, (_MOST / max(base.frames[..., 0].size, 1)) ** 0.5)
    if scale < _WORTH:
        return None
    finer = decode_part(path, info.fps, round(scale * longer), first, len(base))
    return finer if len(finer) == len(base) else None


def take_alpha(
    base: Clip,
    selection: Selection,
    corrections: Mapping[int, NDArray[np.bool_]] = NO_CORRECTIONS,
) -> tuple[Clip, list[Finding]]:
    """The base with the alpha that is its masks, and what a person should know of it.

    The file's alpha is the subject's mask in every frame, unless something is selected in the first
    frame, or all of that is opaque: then it is None. ``corrections`` (H, W), by their frames, stand
    in its place.

    Raises:
        InputError: nothing is selected, and the first frame is transparent all but everywhere.
    """
    if base.alpha is None:
        return base, []
    without = replace(base, alpha=None)
    opaque = base.alpha[0] > 127
    if not selection.is_empty:
        text = "The footage has a mask of its own (alpha), but a selection is given: that counts."
        return without, [_tell(base, "alpha-unused", text)]
    if opaque.all():
        text = "The first frame is opaque: the footage's transparency is not taken for the mask."
        return without, [_tell(base, "alpha-unused", text)]
    if opaque.sum() < _FEWEST:
        raise InputError(
            f"The footage is transparent, and only {int(opaque.sum())} pixels of its first frame "
            "are opaque.",
            "Begin at a frame that shows the subject (--first), or select the subject.",
        )
    alpha = base.alpha.copy()
    for number, mask in corrections.items():
        alpha[number] = np.where(mask, 255, 0)
    text = "The footage's own mask of every frame is the subject's."
    if is_cut_out(base.frames, base.alpha):
        text = (
            "The footage's transparency is the subject's mask in every frame; the puppet gets no "
            "background."
        )
    return replace(base, alpha=alpha), [_tell(base, "alpha-mask", text)]


def list_notes(notes: Iterable[str], frames: int, video: str = "base") -> list[Finding]:
    """What the decoder did to a video of ``frames`` frames (`Clip.notes`), as findings."""
    return [Finding("decoded", "note", note, "", 0, frames - 1, video) for note in notes]


def _tell(base: Clip, code: str, text: str) -> Finding:
    return Finding(code, "note", text, "", 0, len(base) - 1)


def select_in_detail(
    path: Path,
    info: video.VideoInfo,
    base: Clip,
    first: int,
    selection: Selection,
    masks: MaskProvider,
    progress: Progress,
) -> Selection:
    """The selection for a job that works at ``base.size``: where that is small, the mask of what is
    selected in the same frames at `SELECT_SIDE`, since a small picture shows too little to tell a
    subject from its surroundings. Where nothing is selected, the base's alpha (`take_alpha`).

    Args:
        path, info: the video.
        base: what the job decoded of it, from frame ``first`` on.
        first: see `decode_part`.
        selection: in the video's own pixels.
        masks: who selects.
        progress: told what it tells.

    Raises:
        InputError: as `scale_selection` and `MaskProvider.select` do.
    """
    source = (info.width, info.height)
    if selection.is_empty and base.alpha is not None:
        return Selection(mask=base.alpha[0] > 127)
    if max(base.size) >= SELECT_SIDE or max(base.size) >= max(source) or selection.mask is not None:
        return scale_selection(selection, source, base.size)
    frames = min(len(base), LOOKAHEAD)
    detailed = decode_part(path, info.fps, SELECT_SIDE, first, frames)
    mask = masks.select(detailed, scale_selection(selection, source, detailed.size), progress)
    small = resize_mask(mask, detailed.size, base.size, "The mask")
    if not small.any():
        raise InputError(
            f"The subject is too small to be seen at {base.size[0]} x {base.size[1]} pixels.",
            "Use a larger --longer-side.",
        )
    return Selection(mask=small)


def resize_corrections(
    corrections: Mapping[int, NDArray[np.bool_]], source_size: tuple[int, int], base: Clip
) -> dict[int, NDArray[np.bool_]]:
    """Masks of later frames at the working size. Raises `InputError` for a frame that is not used,
    or a mask of another size or without a subject."""
    found = {}
    for number, mask in corrections.items():
        if not 0 < number < len(base):
            raise InputError(
                f"There is no frame {number} for a corrected mask: {len(base)} frames of the video "
                f"are used, 0 to {len(base) - 1}.",
                "Number the frames from the first one that is used.",
            )
        found[number] = resize_mask(mask, source_size, base.size, f"The mask of frame {number}")
        if not 0 < found[number].mean() < 1:
            raise InputError(
                f"The mask of frame {number} is {'full' if found[number].all() else 'empty'}.",
                "Mark the subject white and everything else black.",
            )
    return found


def scale_selection(
    selection: Selection, source_size: tuple[int, int], size: tuple[int, int]
) -> Selection:
    """A selection in the video's own pixels, in pixels of the working size.

    Args:
        selection: of the first frame.
        source_size: (width, height) of the video.
        size: (width, height) that the job works at.

    Raises:
        InputError: it lies outside the frame, is empty, or the mask has another size.
    """
    point, box, mask = selection.point, selection.box, selection.mask
    sx, sy = size[0] / source_size[0], size[1] / source_size[1]
    where = "the video's first frame, which is {} x {} pixels".format(*source_size)
    for name, xy in (("point", point), ("box", box)):
        if xy and not all(0 <= v <= source_size[i % 2] for i, v in enumerate(xy)):
            raise InputError(
                f"The {name} {','.join(f'{v:g}' for v in xy)} lies outside {where}.",
                "Give pixels of that frame.",
            )
    if box and (box[2] - box[0] < 4 or box[3] - box[1] < 4):
        raise InputError("The box is empty.", "Give left, top, right, bottom in pixels.")
    return Selection(
        point=(point[0] * sx, point[1] * sy) if point else None,
        box=(box[0] * sx, box[1] * sy, box[2] * sx, box[3] * sy) if box else None,
        mask=None if mask is None else resize_mask(mask, source_size, size, "The mask"),
        text=selection.text,
    )


def locate_head(path: Path, head: tuple[float, float]) -> tuple[float, float]:
    """A point in a video's own pixels as shares (0..1) of its width and height. Raises `InputError`
    where it lies outside."""
    info = video.probe(path)
    share = head[0] / info.width, head[1] / info.height
    if not all(0 <= v < 1 for v in share):
        raise InputError(
            f"The head {head[0]:g},{head[1]:g} lies outside the video's first frame, which is "
            f"{info.width} x {info.height} pixels.",
            "Give pixels of that frame.",
        )
    return share


def read_mask(path: Path) -> NDArray[np.bool_]:  # -> (H, W)
    """A mask's picture, white on the subject. Raises `InputError` where it cannot be read."""
    return mask_picture(path) > 127


def resize_mask(
    mask: NDArray[np.bool_], source_size: tuple[int, int], size: tuple[int, int], name: str
) -> NDArray[np.bool_]:  # (H, W) -> (H', W')
    """A mask of the video's size, or of the working ``size``, at the working size. Raises
    `InputError` naming ``name`` for one of neither."""
    if (mask.shape[1], mask.shape[0]) not in (size, source_size):
        raise InputError(
            f"{name} is {mask.shape[1]} x {mask.shape[0]} pixels, the video "
            f"{source_size[0]} x {source_size[1]}.",
            "Give a mask of the video's size.",
        )
    return cv2.resize(mask.astype(np.float32), size, interpolation=cv2.INTER_AREA) > 0.5


def read_true_masks(folder: Path, base: Clip) -> list[NDArray[np.bool_]]:
    """The true masks of the base's frames at the working size. Raises `InputError` where there are
    too few, or one has another size."""
    files = sorted(p for p in folder.iterdir() if p.suffix.lower() == ".png")
    if len(files) < len(base):
        raise InputError(
            f"--true-masks {folder} has {len(files)} PNG files, the base {len(base)} frames.",
            "Give one per frame.",
        )
    masks = [read_mask(file) for file in files[: len(base)]]
    height, width = masks[0].shape
    return [
        resize_mask(mask, (width, height), base.size, str(file))
        for mask, file in zip(masks, files, strict=False)
    ]
