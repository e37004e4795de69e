"""A first look at a video: one frame and the subject in it, before there is a job."""

import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from backend.jobs.inputs import footage, read_selection
from backend.jobs.job_folder import Folder
from backend.store.content_store import Store
from restage4d.errors import InputError
from restage4d.protocol.messages import Look, Looked

_AHEAD = 16  # frames: as many as selecting looks at


def looked(store: Store, request: Look) -> tuple[Looked, list[NDArray]]:
    """Frame and mask, see `Looked`.

    Raises:
        WireError: the content is not here or damaged.
        InputError: it is no video, has no such frame, or nothing can be found at the selection.
    """
    from restage4d.io import video
    from restage4d.jobs.footage import decode_part, scale_selection
    from restage4d.priors.masks.grabcut import GrabCutMasks
    from restage4d.progress import Progress

    with tempfile.TemporaryDirectory(prefix="restage4d_look_") as place:
        folder = Folder(Path(place))
        path = footage(request.content, store, folder, "base", request.first, _AHEAD)
        info = video.probe(path)
        if info.frames and request.first >= info.frames - 1:
            raise InputError(
                f"The video has {info.frames} frames; nothing follows frame {request.first + 1}.",
                "Begin earlier.",
            )
        clip = decode_part(path, info.fps, request.longer_side, request.first, _AHEAD)
        where = request.selection
        pointed = where.point or where.box or where.mask
        mask = np.zeros((0, 0), np.uint8)
        if pointed or request.find:
            selection = scale_selection(
                read_selection(where, store, folder), (info.width, info.height), clip.size
            )
            mask = np.where(GrabCutMasks().select(clip, selection, Progress()), 255, 0).astype(
                np.uint8
            )
    frame = np.ascontiguousarray(clip.frames[0])
    return Looked(width=info.width, height=info.height, fps=info.fps, frames=info.frames), [
        frame,
        mask,
    ]
