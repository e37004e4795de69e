"""``restage4d refine``: a performance that was changed in Blender, solved anew around the
changes."""

import argparse
from pathlib import Path
from typing import Any

from restage4d.errors import InputError
from restage4d.puppet import Puppet


def add(commands: Any) -> None:
    """Adds the command to the parser."""
    parser = commands.add_parser(
        "refine",
        help="smooth a performance around what an artist changed in it, as a new performance",
    )
    parser.add_argument("puppet", type=Path, help="the changed one, exported from Blender")
    parser.add_argument("--before", type=Path, required=True, help="the .puppet as it was")
    parser.add_argument("--performance", required=True, metavar="NAME", help="which one")
    parser.add_argument("--out", type=Path, required=True, help="the new .puppet file")
    parser.add_argument("--name", help="of the new performance (default: NAME refined)")
    parser.add_argument(
        "--blend", type=int, default=4, help="frames over which a change comes and goes"
    )
    parser.set_defaults(do=_refine)


def _refine(arguments: argparse.Namespace) -> None:
    from restage4d.reconstruct.refining import refine  # torch

    puppet, before = Puppet.load(arguments.puppet), Puppet.load(arguments.before)
    name = arguments.name or f"{arguments.performance} refined"
    if name in [p.name for p in puppet.performances]:
        raise InputError(f"There is a performance {name!r}.", "Give another --name.")
    if arguments.blend < 1:
        raise InputError("--blend is below 1.", "Give a number of frames.")
    if arguments.out.exists():
        raise InputError(f"{arguments.out} exists.", "Give another --out.")
    result = refine(
        puppet,
        puppet.performance(arguments.performance),
        before.performance(arguments.performance),
        name=name,
        blend=arguments.blend,
    )
    puppet.performances.append(result.performance)
    puppet.save(arguments.out)
    for key, value in result.figures.items():
        print(f"  {key}: {value:.4g}")
    print(f"{arguments.out}: {name!r} is beside the others")
