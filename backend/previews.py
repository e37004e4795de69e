"""Before there is a job: a first look at a video with the subject in it, and what a provider of
driving videos would be asked for."""

import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from backend.jobs.inputs import footage, read_selection
from backend.jobs.job_folder import Folder
from backend.store.content_store import Store
from restage4d.driving.prompt_refinement import RefinedPromptDriving
from restage4d.errors import InputError
from restage4d.io import video
from restage4d.io.content_cache import Cache
from restage4d.jobs.footage import decode_part, select_in_detail, take_alpha
from restage4d.jobs.provider_choice import DriverChoice
from restage4d.jobs.provider_factory import make_driving_provider
from restage4d.priors.masks.grabcut import GrabCutMasks
from restage4d.progress import Progress
from restage4d.protocol.messages import (
    Look,
    Looked,
    Prepare,
    Prepared,
)
from restage4d.providers.weights import Weights

_LOOKAHEAD = 16  # frames: as many as selecting looks at


def look_at_video(store: Store, request: Look) -> tuple[Looked, list[NDArray]]:
    """Frame and mask, see `Looked`.

    Raises:
        WireError: the content is not here or damaged.
        InputError: it is no video, has no such frame, or nothing can be found at the selection.
    """
    with tempfile.TemporaryDirectory(prefix="restage4d_look_") as place:
        folder = Folder(Path(place))
        path = footage(request.content, store, folder, "base", request.first, _LOOKAHEAD)
        info = video.probe(path)
        if info.frames and request.first >= info.frames - 1:
            raise InputError(
                f"The video has {info.frames} frames; nothing follows frame {request.first + 1}.",
                "Begin earlier.",
            )
        clip = decode_part(path, info.fps, request.longer_side, request.first, _LOOKAHEAD)
        where = request.selection
        pointed = where.point or where.box or where.mask
        mask = np.zeros((0, 0), np.uint8)
        if pointed or request.find:
            given = read_selection(where, store, folder)
            clip, _ = take_alpha(clip, given)
            provider = GrabCutMasks()
            selection = select_in_detail(
                path, info, clip, request.first, given, provider, Progress()
            )
            selected = provider.select(clip, selection, Progress())
            mask = np.where(selected, 255, 0).astype(np.uint8)
    frame = np.ascontiguousarray(clip.frames[0])
    answer = Looked(width=info.width, height=info.height, fps=info.fps, frames=info.frames)
    return answer, [frame, mask]


def prepare_prompt(store: Store, request: Prepare) -> Prepared:
    """The refined prompt and the terms, see `Prepared`.

    Raises:
        WireError: the content is not here or damaged.
        InputError: it is no video, the prompt cannot be used, the provider lacks something, or
            nobody refines the prompt.
    """
    announced: list[str] = []
    choice = DriverChoice(driver=request.driving, candidates=request.candidates)
    weights = Weights.from_settings(None, False)
    driver = make_driving_provider(choice, weights, cache=Cache(), announce=announced.append)
    # the draft driver reads the artist's own words
    if not isinstance(driver, RefinedPromptDriving):
        return Prepared(prompt=request.prompt)
    with tempfile.TemporaryDirectory(prefix="restage4d_prepare_") as place:
        folder = Folder(Path(place))
        path = footage(request.content, store, folder, "base", request.first, request.frames)
        base = decode_part(path, video.probe(path).fps, request.longer_side, request.first, 2)
    prompt = driver.refine_prompt(base, request.prompt, Progress())
    return Prepared(prompt=prompt, terms=[*announced, *driver.terms()])
