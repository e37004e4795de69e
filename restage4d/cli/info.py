"""``restage4d info``: what is in a .puppet file, or in a splat file of any kind."""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from restage4d.errors import InputError
from restage4d.puppet import Gaussians, Puppet

_STRAY = 50  # usual distances from the middle, from which on a splat is astray


def add(commands: Any) -> None:
    """Adds the command to the parser."""
    parser = commands.add_parser(
        "info", help="what is in a .puppet, .ply, .spz, .splat, or folder of .ply"
    )
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

    files = sorted(p for p in path.glob("*.ply")) if path.is_dir() else [path]
    if not files:
        raise InputError(f"{path} has no .ply files.", "Give a file, or a folder of frames.")
    gaussians = read_splats(files[0])
    kind = "sequence" if path.is_dir() else path.suffix.lower().lstrip(".")
    about = {"kind": kind, "frames": len(files), **describe_gaussians(gaussians)}
    about["wrong"] = find_faults(gaussians)
    if arguments.json:
        print(json.dumps(about, indent=1))
        return
    low, high = about["bounds"]
    frames = f"{len(files)} frames, the first with " if len(files) > 1 else ""
    print(f"{frames}{about['points']} Gaussians, SH degree {about['sh_degree']}")
    for name, a, b in zip("xyz", low, high, strict=True):
        print(f"  {name}: {a:.4g} to {b:.4g}")
    for fault in about["wrong"]:
        print(f"  {fault}")


def find_faults(gaussians: Gaussians) -> list[str]:
    """What others' splats often suffer from, a sentence each."""
    n, found = len(gaussians), []
    distance = np.linalg.norm(gaussians.means - np.median(gaussians.means, 0), axis=1)
    usual = float(np.median(distance))
    for count, says in (
        (int((gaussians.opacities < 1 / 255).sum()), "are clear: their opacity is below 1/255"),
        (int((distance > _STRAY * usual).sum()), f"are {_STRAY} times farther off than is usual"),
        (int((gaussians.scales.max(1) > max(usual, 1e-9)).sum()), "are larger than all of it"),
    ):
        if count and n > 1:
            found.append(f"{count} of {n} {says}.")
    return found


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
