# SPDX-License-Identifier: GPL-3.0-or-later
"""A .puppet to a .blend without a window: ``python -m blender_addon.headless PUPPET OUT.blend``
(bpy from PyPI).

Exit codes: 0 done, 1 the work failed, 2 something given cannot be used.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from restage4d.errors import InputError
from restage4d.io.atomic import replacing
from restage4d.puppet import Puppet


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="blender_addon.headless", description="Make a .blend of a .puppet."
    )
    parser.add_argument("puppet", type=Path)
    parser.add_argument("blend", type=Path)
    parser.add_argument(
        "--name", help="of the puppet in the .blend; the .puppet file's name by default"
    )
    parser.add_argument(
        "--footage",
        action="append",
        default=[],
        metavar="PERFORMANCE=PATH",
        help=(
            "movie or folder of numbered frames in playing order, shown behind the camera; may be "
            "given several times"
        ),
    )
    parser.add_argument(
        "--still", type=Path, metavar="PNG", help="render one frame of the performance that plays"
    )
    parser.add_argument(
        "--engine",
        choices=("WORKBENCH", "CYCLES"),
        default="WORKBENCH",
        help="of the still: ellipsoids or soft splats",
    )
    parser.add_argument("--frame", type=int, help="of the still, from 0; the middle one by default")
    given = parser.parse_args(arguments)
    try:
        for path, suffix in ((given.blend, ".blend"), (given.still, ".png")):
            if path and path.suffix != suffix:
                raise InputError(f"{path} does not end in {suffix}.", "Name the file so.")
        make_blend(given.puppet, given.blend, name=given.name, footage=_footage(given.footage))
        print(f"wrote {given.blend}")
        if given.still:
            render_still(given.still, given.engine, given.frame)
            print(f"wrote {given.still}")
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except (OSError, RuntimeError) as error:  # RuntimeError: Blender's operators
        print(f"error: {given.blend} could not be made: {str(error).strip()}", file=sys.stderr)
        return 1
    return 0


def make_blend(puppet: Path, blend: Path, *, name: str | None, footage: dict[str, Path]) -> None:
    """Writes ``blend``, whole or not at all, from an empty scene; footage is named relative to it.
    The scene stays loaded."""
    loaded = Puppet.load(puppet)
    import bpy

    from .puppet import camera, importer
    from .puppet.output.verify import is_whole_blend

    bpy.ops.wm.read_factory_settings(use_empty=True)
    bpy.context.preferences.filepaths.save_version = 0  # no backup copies of the temporary file
    bpy.context.scene.world = bpy.data.worlds.new(
        "World"
    )  # without one, pictures have a white or a clear background
    imported = importer.import_puppet(loaded, name=name or puppet.stem, footage=footage)
    camera.relative_to(
        blend.parent, [p.footage for p in imported.performances if p.footage is not None]
    )
    for screen in bpy.data.screens:
        for area in screen.areas:
            if area.type == "VIEW_3D":
                camera.look_through(area.spaces.active, loaded.subject.means)
    with replacing(blend) as temporary:
        with suppress(RuntimeError):  # told of the temporary file, and not always
            bpy.ops.wm.save_as_mainfile(
                filepath=str(temporary), compress=True, relative_remap=False, check_existing=False
            )
        _check_whole(temporary.is_file() and is_whole_blend(temporary), blend)


def render_still(path: Path, engine: str, frame: int | None) -> None:
    """Renders a frame of the loaded scene as PNG: Workbench shows ellipsoids, Cycles the splats
    themselves."""
    import bpy

    from . import compat
    from .puppet import actions, importer
    from .puppet.output.verify import is_whole_png

    scene = bpy.context.scene
    count = scene.frame_end - scene.frame_start + 1
    frame = count // 2 if frame is None else frame
    if not 0 <= frame < count:
        raise InputError(
            f"There is no frame {frame}: the performance has {count}.", f"Give 0 to {count - 1}."
        )
    if engine == "WORKBENCH":
        for imported in importer.find_puppets(scene):
            for obj in (imported.splats, imported.background_splats):
                if obj is not None:
                    compat.set_input(obj.modifiers["Render"], "Mode", "Ellipsoids")
        scene.render.engine = "BLENDER_WORKBENCH"  # pyright: ignore[reportAttributeAccessIssue]
    else:
        scene.render.engine = "CYCLES"  # pyright: ignore[reportAttributeAccessIssue]
        scene.cycles.samples, scene.cycles.use_denoising = 8, False
    scene.render.image_settings.file_format = "PNG"
    scene.frame_set(actions.FIRST_FRAME + frame)
    with replacing(path) as temporary:
        scene.render.filepath = str(temporary)
        bpy.ops.render.render(write_still=True)
        _check_whole(is_whole_png(temporary), path)


def _check_whole(whole: bool, path: Path) -> None:
    """Blender says that it saved what a full disk cut short."""
    if not whole:
        raise InputError(
            f"Blender could not write {path} whole.", "Free some space, or write elsewhere."
        )


def _footage(pairs: list[str]) -> dict[str, Path]:
    footage = {}
    for pair in pairs:
        name, equals, path = pair.partition("=")
        if not (name and equals and path):
            raise InputError(
                f"--footage {pair!r} is not PERFORMANCE=PATH.",
                "For example --footage base=clip.mp4.",
            )
        footage[name] = Path(path)
    return footage


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # bpy may hang or crash while Python takes it apart
