"""What others build on: load, draw, export and make puppets. ``import restage4d as r4`` gives all
of it.

Everything here is a front of the modules below that do the work; heavy ones (torch, numba, video)
are loaded by the functions that need them.
"""

from argparse import Namespace
from collections.abc import Iterable, Mapping
from pathlib import Path

from restage4d.defaults import (
    DRAFT_DRIVER,
    HOSTED_SECONDS,
    LONGER_SIDE,
    QUALITIES,
    QUALITY,
    PriorNames,
)
from restage4d.errors import InputError
from restage4d.io.ply import join_gaussians, write_ply, write_ply_sequence
from restage4d.progress import Progress
from restage4d.puppet import (
    F32,
    Camera,
    Performance,
    Puppet,
)


def load(path: str | Path) -> Puppet:
    """Reads a ``.puppet`` file (docs/puppet_format.md).

    Raises:
        InputError: missing, damaged, foreign or newer; says which.

    Example:
        >>> r4.load("dog.puppet")
        <Puppet: 12040 subject and 2320 background Gaussians, 30 bases; 'base': ...>
    """
    return Puppet.load(path)


def render(
    puppet: Puppet,
    performance: str | Performance | F32,
    frame: int = 0,
    camera: Camera | None = None,
    *,
    background: bool = True,
) -> F32:  # (H, W, 4)
    """Draws a puppet at one frame, on a GPU where gsplat can use one, else on the CPU.

    Args:
        puppet: what to draw.
        performance, frame: as `Puppet.pose` takes them.
        camera: None: the one that filmed the frame. See `orbit` and `Performance.camera`.
        background: whether the puppet's background stands behind the subject.

    Returns:
        float32 in 0..1: colour as the video encodes it (sRGB), premultiplied by alpha, and alpha.

    Raises:
        InputError: a name or frame that is not there; bases without a camera.

    Example:
        >>> rgba = r4.render(puppet, "restaged", 20, background=False)
        >>> on_white = rgba[..., :3] + 1 - rgba[..., 3:]
    """
    if isinstance(performance, str):
        performance = puppet.performance(performance)
    if camera is None:
        if not isinstance(performance, Performance):
            raise InputError("Bases alone have no camera.", "Give camera=.")
        camera = performance.camera(frame)
    sets = [puppet.pose(performance, frame)]
    if background and len(puppet.background):
        sets.append(puppet.background)
    from restage4d.splatting.gaussians import render_gaussians

    return render_gaussians(sets, camera)[0]


def orbit(
    puppet: Puppet, performance: str | Performance, frame: int = 0, degrees: float = 90.0
) -> Camera:
    """The camera of a frame moved around the subject, a little raised and with a focal length that
    keeps the subject in the picture for the whole performance.

    Args:
        puppet: whom to look at.
        performance, frame: when, as `Puppet.pose` takes them.
        degrees: turn about world +Z, counter-clockwise seen from above: 90 from beside, 180 from
            behind.

    Raises:
        InputError: a name or frame that is not there.

    Example:
        >>> behind = r4.orbit(puppet, "restaged", 20, degrees=180)
        >>> rgba = r4.render(puppet, "restaged", 20, behind, background=False)
    """
    from restage4d.splatting.orbit import orbit_cameras

    if isinstance(performance, str):
        performance = puppet.performance(performance)
    performance.check_frame(frame)
    return orbit_cameras(puppet, performance, degrees)[frame]


def export(
    puppet: Puppet,
    path: str | Path,
    performance: str | Performance | None = None,
    frame: int | None = None,
    *,
    background: bool = False,
) -> list[Path]:
    """Writes a puppet in the format that ``path`` names; returns the files written.

    * ``x.ply``: the Gaussians of one frame as splats (3DGS convention, world, +Z up).
    * a folder (no suffix): a performance as ``NAME_0001.ply`` ..., one file a frame.
    * ``x.puppet``: everything.

    Files of these names are replaced, a folder's all or none; frames that an earlier, longer export
    of the same performance left there go. No other file is touched.

    Args:
        puppet: what to write.
        path: where to; folders are made.
        performance: which; None: the last one.
        frame: of a ``.ply`` file, from 0.
        background: PLY only: whether the background's Gaussians come along.

    Raises:
        InputError: an unknown suffix, a name or frame that is not there, or a place that cannot be
            written to.

    Example:
        >>> r4.export(puppet, "dog.ply", performance="restaged", frame=20)
        >>> r4.export(puppet, "splats")  # splats/restaged_0001.ply ...
    """
    path = Path(path)
    suffix = "" if path.is_dir() else path.suffix.lower()
    chosen = performance or puppet.performances[-1]
    if isinstance(chosen, str):
        chosen = puppet.performance(chosen)
    if suffix == ".ply":
        if frame is None:
            raise InputError(
                f"{path} holds one frame.", "Give frame=, or a folder for the whole performance."
            )
        gaussians = puppet.pose(chosen, frame)
        write_ply(path, join_gaussians(gaussians, puppet.background) if background else gaussians)
        return [path]
    if suffix == "":
        if frame is not None:
            raise InputError(
                f"{path} is a folder, which takes a whole performance.",
                "Leave frame out, or give a path that ends in .ply.",
            )
        return write_ply_sequence(puppet, chosen, path, background=background)
    if suffix == ".puppet":
        if performance is not None or frame is not None:
            raise InputError(
                f"{path} takes every performance and frame.", "Leave performance and frame out."
            )
        puppet.save(path)
        return [path]
    raise InputError(
        f"{path.suffix} is no format that puppets are written in.",
        "Give .ply (one frame), a folder without a suffix (a PLY sequence) or .puppet.",
    )


def restage(
    video: str | Path,
    prompt: str,
    *,
    out: str | Path = "out",
    overwrite: bool = False,
    select: tuple[float, float] | None = None,
    box: tuple[float, float, float, float] | None = None,
    mask: str | Path | Mapping[int, str | Path] | None = None,
    select_text: str | None = None,
    head: tuple[float, float] | None = None,
    driving: Iterable[str | Path] = (),
    into: str | Path | None = None,
    priors: str | Path | None = None,
    true_masks: str | Path | None = None,
    longer_side: int = LONGER_SIDE,
    first: int = 0,
    frames: int | None = None,
    seed: int = 0,
    quality: str = QUALITY,
    set: Iterable[str] | Mapping[str, object] = (),
    blender_python: str | Path | None = None,
    masks: str = PriorNames.masks,
    cameras: str = PriorNames.cameras,
    depth: str = PriorNames.depth,
    tracks: str = PriorNames.tracks,
    weights: str | Path | None = None,
    download: bool = False,
    driver: str = DRAFT_DRIVER,
    driver_model: str | None = None,
    driver_seconds: int = HOSTED_SECONDS,
    driver_frames: int | None = None,
    driver_fps: float | None = None,
    candidates: int = 1,
    pick: int | None = None,
    auto: bool = False,
    refine_url: str = "",
    refine_model: str = "",
    refined_prompt: str = "",
    progress: Progress | None = None,
) -> Puppet:
    """Makes a puppet of a filmed subject: ``restage4d run`` as a function, with the same options
    and defaults.

    Minutes of work. The folder ``out`` then also holds the ``.puppet`` file, the ``.blend`` file,
    pictures, splats and ``report.json``; the same call goes on where an interrupted one stopped.

    Args:
        video: base video, or a folder of frames.
        prompt: what the subject shall do instead.
        out: folder for the results.
        overwrite: write over the results of another run in ``out``.
        select, box, mask, select_text: the subject in the first frame, in the video's pixels: a
            point (x, y), a box (x0, y0, x1, y1), a PNG mask, or words (``masks="sam3"``). At most
            one; without, the moving subject finds itself. ``mask`` may also be masks by the numbers
            of their frames: those of later frames correct where the subject was lost.
        head: a point (x, y) on the subject's head in the first frame, for the draft driver.
        driving: driving videos of your own, instead of ``driver``'s.
        into: a puppet file of the same video that performs this too, and stays as it is.
        priors: folder with masks, depth, cameras or tracks to read (docs/priors.md).
        true_masks: folder of true masks of the base, to report the IoU of ours.
        longer_side: working size, pixels.
        first: number of the frame to begin at; it is the first frame for all else.
        frames: use only so many frames.
        seed: of everything random.
        quality: "draft", "default" or "high".
        set: settings of the fit: ``{"fusion.steps": 500}``, or ``["fusion.steps=500"]``.
        blender_python: Python with bpy; None: ``.venv-blender`` of this checkout, if it is there.
        masks, cameras, depth, tracks, weights, download: who makes the priors (docs/providers.md).
        driver, driver_model, driver_seconds, driver_frames, driver_fps, candidates, pick, auto,
            refine_url, refine_model, refined_prompt: who makes the driving video
            (docs/driving.md).
        progress: told every step, and asked whether to stop.

    Raises:
        InputError: before any work, where an input cannot be used, or ``out`` holds the results of
            another run.
        FitError: there is nothing to fit, or the fit could not go on.
        Cancelled: ``progress`` said so; the last checkpoint is kept.

    Example:
        >>> puppet = r4.restage("dog.mp4", "the dog jumps", select=(410, 260), quality="draft")
        >>> puppet.metrics["psnr_base"]
    """
    options = dict(locals())
    del options["progress"]
    if quality not in QUALITIES:
        raise InputError(f"There is no quality {quality!r}.", f"Give {', '.join(QUALITIES)}.")
    if mask is not None:
        by_frame = mask if isinstance(mask, Mapping) else {0: mask}
        options["mask"] = [(frame, Path(file)) for frame, file in by_frame.items()] or None
    given = [name for name in ("select", "box", "select_text") if options[name] is not None]
    given += ["mask"] if any(frame == 0 for frame, _ in options["mask"] or ()) else []
    if len(given) > 1:
        raise InputError(f"{' and '.join(given)} both say where the subject is.", "Give one.")
    for name in ("video", "out", "into", "priors", "true_masks", "blender_python", "weights"):
        options[name] = None if options[name] is None else Path(options[name])
    files = [driving] if isinstance(driving, str | Path) else driving
    options["driving"] = [Path(file) for file in files]
    options["set"] = [f"{k}={v}" for k, v in set.items()] if isinstance(set, Mapping) else [*set]
    from restage4d.cli.run import run_with_options

    return Puppet.load(run_with_options(Namespace(**options), progress or Progress()))
