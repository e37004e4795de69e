"""From what a client submitted to what `restage4d.jobs.restaging` takes: contents become files,
looked at before they are decoded."""

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from backend.jobs.job_folder import Folder
from backend.settings import ServiceSettings
from backend.store.content_store import Store, read_packed_files
from restage4d.clips import Selection
from restage4d.defaults import DRAFT_DRIVER, PriorNames
from restage4d.errors import InputError
from restage4d.io import video
from restage4d.io.image_folders import PICTURES
from restage4d.jobs.footage import read_mask
from restage4d.protocol.messages import Limits, SubjectSelection, Submit

if TYPE_CHECKING:
    from restage4d.jobs.restaging import RestagingJob


def restaging_job(spec: Submit, store: Store, folder: Folder) -> "RestagingJob":
    """The job of a `Submit`.

    Raises:
        WireError: a content is not here or damaged.
        InputError: pictures too large or too many.
    """
    # and with it torch, which a first look at a video does without
    from restage4d.jobs.provider_choice import DriverChoice, ProviderChoice
    from restage4d.jobs.restaging import RestagingJob

    name, drivings = (
        (spec.driving, []) if isinstance(spec.driving, str) else (DRAFT_DRIVER, spec.driving)
    )
    driver = DriverChoice(
        driver=name, candidates=spec.candidates, refined_prompt=spec.refined_prompt
    )
    return RestagingJob(
        video=footage(spec.base, store, folder, "base", spec.first, spec.frames),
        prompt=spec.prompt,
        out=folder.work,
        selection=read_selection(spec.selection, store, folder),
        corrections={
            frame: _read_mask(content, store, folder, f"mask{frame}.png")
            for frame, content in spec.selection.corrections.items()
        },
        head=spec.head,
        driving=[
            footage(content, store, folder, f"driving{i + 1}") for i, content in enumerate(drivings)
        ],
        into=_file(spec.into, store, folder.path / "inputs" / "into.puppet") if spec.into else None,
        made_by=(spec.made_by, spec.refined_prompt),
        longer_side=spec.longer_side,
        first=spec.first,
        frames=spec.frames,
        seed=spec.seed,
        quality=spec.quality,
        settings=[f"{name}={value}" for name, value in spec.settings.items()],
        choice=ProviderChoice(priors=PriorNames(**spec.providers), driver=driver),
        splats=False,
        overwrite=True,  # the folder is this job's own
    )


def read_selection(where: SubjectSelection, store: Store, folder: Folder) -> Selection:
    """The selection of a message, in the video's own pixels, its mask's picture read. Raises
    `WireError`, `InputError`."""
    if not where.mask:
        return Selection(where.point, where.box)
    return Selection(mask=_read_mask(where.mask, store, folder, "mask.png"))


def _read_mask(content: str, store: Store, folder: Folder, name: str) -> NDArray[np.bool_]:
    path = _file(content, store, folder.path / "inputs" / name)
    check_picture(path, _limits(store).pixels)
    return read_mask(path)


def footage(
    content: str, store: Store, folder: Folder, name: str, first: int = 0, frames: int | None = None
) -> Path:
    """A video file, or a folder of frames where the content is a packed one.

    Args:
        content: of the video or the list of frames.
        store, folder: where it is, and where it is needed.
        name: what to call it there, and in errors.
        first, frames: the part of a video that will be decoded; None: to its end.

    Raises:
        WireError: a content is not here or damaged.
        InputError: too large, too long, or no pictures.
    """
    store.check(content)
    files, limits = read_packed_files(store, content), _limits(store)
    if files is None:
        path = _file(content, store, folder.path / "inputs" / name)
        info = video.probe(path)
        if info.width * info.height > limits.pixels:
            raise InputError(
                f"The {name} video is {info.width}x{info.height} pixels, which is too large.",
                "Make it smaller.",
            )
        used = min(max(info.frames - first, 0), frames or info.frames)
        if used > limits.frames:
            raise InputError(
                f"{used} frames of the {name} video are asked for.",
                f"Use at most {limits.frames} of them.",
            )
        return path
    if not 2 <= len(files) <= limits.frames:
        raise InputError(
            f"The {name} folder has {len(files)} frames.", f"Give 2 to {limits.frames}."
        )
    target = folder.path / "inputs" / name
    for i, file in enumerate(files):
        if file.suffix not in PICTURES:
            raise InputError(
                f"Frame {i} of the {name} folder is a {file.suffix[:10]!r} file.",
                f"Give {', '.join(PICTURES)}.",
            )
        check_picture(_file(file.content, store, target / f"{i:05d}{file.suffix}"), limits.pixels)
    return target


def _file(content: str, store: Store, path: Path) -> Path:
    """A content under a name of our own: a hard link where the disk can, else a copy."""
    store.check(content)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    try:
        os.link(store.path(content), path)
    except OSError:
        shutil.copyfile(store.path(content), path)
    return path


def check_picture(path: Path, pixels: int) -> None:
    """Looks at a picture's header alone, so that a small file cannot become a huge picture. Raises
    `InputError`."""
    Image.MAX_IMAGE_PIXELS = (
        None  # only the header is read here, and its size is told in our own words
    )
    try:
        with Image.open(path) as picture:
            width, height = picture.size
    except (UnidentifiedImageError, OSError, ValueError) as error:
        raise InputError(
            f"{path.name} is not a picture that can be read.", "Save it again as PNG or JPEG."
        ) from error
    if width * height > pixels:
        what = (
            f"{path.name} is {width}x{height} pixels; at most {pixels / 1e6:.1f} million are read."
        )
        raise InputError(what, "Make it smaller.")


def _limits(store: Store) -> Limits:
    """The service's own, where its folder is on this machine."""
    return ServiceSettings.load(store.folder.parent / "service.toml").limits
