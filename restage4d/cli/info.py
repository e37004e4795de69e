"""``restage4d info``: what is in a .puppet file, or in a splat file of any kind."""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from restage4d.puppet import Gaussians, Puppet


def add(commands: Any) -> None:
    """Adds the command to the parser."""
    parser = commands.add_parser("info", help="what is in a .puppet, .ply, .spz or .splat file")
    parser.add_argument("file", type=Path)
    parser.add_argument("--json", action="store_true", help="as JSON")
    parser.set_defaults(do=_info)


def _info(arguments: argparse.Namespace) -> None:
    path = arguments.file
    if path.suffix.lower() == ".puppet":
        puppet = Puppet.load(path)
        if arguments.json:
            print(json.dumps(describe_puppet(puppet), indent=1))
        else:
            _print_puppet(puppet)
        return
    from restage4d.io.splat_files import read_splats  # numba: a second

    about = {"kind": path.suffix.lower().lstrip("."), **describe_gaussians(read_splats(path))}
    if arguments.json:
        print(json.dumps(about, indent=1))
        return
    low, high = about["bounds"]
    print(f"{about['points']} Gaussians, SH degree {about['sh_degree']}")
    for name, a, b in zip("xyz", low, high, strict=True):
        print(f"  {name}: {a:.4g} to {b:.4g}")


def describe_gaussians(gaussians: Gaussians) -> dict[str, Any]:
    """Number, SH degree and the box of the means, for JSON."""
    corners = (gaussians.means.min(0), gaussians.means.max(0)) if len(gaussians) else ()
    return {
        "points": len(gaussians),
        "sh_degree": round(gaussians.sh.shape[1] ** 0.5) - 1,
        "bounds": [np.round(corner.astype(float), 6).tolist() for corner in corners],
    }


def describe_puppet(puppet: Puppet) -> dict[str, Any]:
    """The same of a puppet, with its performances, figures and findings."""
    return {
        "kind": "puppet",
        "subject": describe_gaussians(puppet.subject),
        "background": describe_gaussians(puppet.background),
        "bases": puppet.n_bases,
        "metres_per_unit": puppet.metres_per_unit,
        "performances": [
            {
                "name": p.name,
                "frames": p.n_frames,
                "fps": p.fps,
                "size": list(p.size),
                "prompt": p.prompt,
            }
            for p in puppet.performances
        ],
        "metrics": puppet.metrics,
        "findings": [finding.to_record() for finding in puppet.findings],
    }


def _print_puppet(puppet: Puppet) -> None:
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
