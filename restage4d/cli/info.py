"""``restage4d info``: what is in a .puppet file."""

import argparse
from pathlib import Path
from typing import Any

from restage4d.puppet import Puppet


def add(commands: Any) -> None:
    """Adds the command to the parser."""
    parser = commands.add_parser("info", help="what is in a .puppet file")
    parser.add_argument("puppet", type=Path)
    parser.set_defaults(do=_info)


def _info(arguments: argparse.Namespace) -> None:
    puppet = Puppet.load(arguments.puppet)
    print(
        f"{len(puppet.subject)} subject and {len(puppet.background)} background Gaussians, "
        f"{puppet.n_bases} bases"
    )
    for p in puppet.performances:
        print(
            f"  {p.name}: {p.n_frames} frames at {p.fps:g} fps, {p.size[0]}x{p.size[1]}"
            + (f', "{p.prompt}"' if p.prompt else "")
        )
    for name, value in puppet.metrics.items():
        print(f"  {name}: {value:.4g}")
    for finding in puppet.findings:
        print(f"  {finding}")
