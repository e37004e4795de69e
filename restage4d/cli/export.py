"""``restage4d export``: a performance of a .puppet, or splats of others, in a format that other
programs read."""

import argparse
import re
from pathlib import Path
from typing import Any

from restage4d.errors import InputError
from restage4d.puppet import Performance, Puppet


def add(commands: Any) -> None:
    """Adds the command to the parser."""
    from restage4d.exporting.formats import FORMATS, Axes

    parser = commands.add_parser(
        "export",
        help="a performance for other programs: splats, USD, glTF, pictures, cameras",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="formats:\n" + "\n".join(f"  {n:15} {f.about}" for n, f in FORMATS.items()),
    )
    parser.add_argument(
        "puppet", type=Path, help="a .puppet, or splats that stand still: .ply, .spz, .splat"
    )
    parser.add_argument(
        "--from-axes",
        choices=[axes.value for axes in Axes],
        help="where up is in such splats (default: y-up in .spz, else y-down)",
    )
    parser.add_argument("--format", required=True, choices=FORMATS, metavar="FORMAT")
    parser.add_argument(
        "--out", type=Path, required=True, metavar="PATH", help="a file, or a folder for a sequence"
    )
    parser.add_argument("--performance", metavar="NAME", help="which (default: the last one)")
    parser.add_argument(
        "--frames", metavar="A:B", help="from A to B inclusive, counted from 1 (default: all)"
    )
    parser.add_argument("--background", action="store_true", help="the static background too")
    parser.add_argument(
        "--axes",
        choices=[axes.value for axes in Axes],
        help="where up is (default: what the format's programs expect)",
    )
    parser.add_argument(
        "--scale", type=float, default=1.0, help="file units per metre (default: 1)"
    )
    parser.add_argument(
        "--camera",
        type=Path,
        metavar="FILE",
        help="pictures and films through these cameras, as cameras-json writes them: one, or one a "
        "frame (default: the shot's)",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace what is there")
    parser.set_defaults(do=_export)


def _export(arguments: argparse.Namespace) -> None:
    from restage4d.cli.console import console_progress
    from restage4d.exporting.cameras import film_with, read_camera_json
    from restage4d.exporting.formats import FORMATS, PICTURES, Axes, check_place
    from restage4d.exporting.shot import Shot
    from restage4d.exporting.writing import export_performance, list_side_files

    puppet = load_stage(arguments.puppet, arguments.from_axes)
    chosen = arguments.performance
    performance = puppet.performance(chosen) if chosen else puppet.performances[-1]
    axes = Axes(arguments.axes) if arguments.axes else FORMATS[arguments.format].axes
    frames = read_frames(arguments.frames, performance)
    if arguments.camera is not None:
        if arguments.format not in PICTURES:
            raise InputError(
                f"{arguments.format} is not drawn through a camera.",
                f"Leave --camera out, or give --format {', '.join(PICTURES)}.",
            )
        cameras = read_camera_json(arguments.camera, puppet.metres_per_unit)
        performance = film_with(performance, frames, cameras)
    shot = Shot(
        puppet,
        performance,
        frames,
        arguments.background,
        axes,
        arguments.scale,
    )
    check_place(arguments.format, arguments.out, shot.frames)
    out = arguments.out
    in_use = [p for p in (out, *list_side_files(shot, arguments.format, out)) if p.is_file()]
    if out.is_dir() and any(out.iterdir()):
        in_use.append(out)
    if in_use and not arguments.overwrite:
        raise InputError(f"{in_use[0]} is there already.", "Give another --out, or --overwrite.")
    paths = export_performance(shot, arguments.format, arguments.out, console_progress())
    size = sum(path.stat().st_size for path in paths) / 1e6
    also = f" to {paths[-1].name}" if len(paths) > 1 else ""
    print(f"wrote {paths[0]}{also}: {len(shot.frames)} frames, {size:.1f} MB")


def load_stage(path: Path, from_axes: str | None = None) -> Puppet:
    """A .puppet, or a puppet that stands still of any other splat file. Raises `InputError` where
    it is neither, or where a puppet's axes are to be told."""
    from restage4d.exporting.formats import Axes
    from restage4d.exporting.still import guess_axes, make_still_puppet, stand_upright

    if path.suffix.lower() == ".puppet":
        if from_axes is not None:
            raise InputError("A puppet knows where up is.", "Leave --from-axes out.")
        return Puppet.load(path)
    from restage4d.io.splat_files import read_splats  # numba: a second

    axes = Axes(from_axes) if from_axes else guess_axes(path)
    return make_still_puppet(stand_upright(read_splats(path), axes))


def read_frames(text: str | None, performance: Performance) -> range:
    """``A:B``, ``A`` or None to frames from 0. Raises `InputError` where it is none, or is not in
    the performance."""
    if text is None:
        return range(performance.n_frames)
    match = re.fullmatch(r"(\d{1,9})(?::(\d{1,9}))?", text)
    first, last = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
    if not 1 <= first <= last <= performance.n_frames:
        raise InputError(
            f"{text!r} are no frames of {performance.name!r}.",
            f"Give A:B within 1:{performance.n_frames}.",
        )
    return range(first - 1, last)
