"""What the examples work on when they are given nothing: the project's own clip, restaged small."""

import argparse
import tempfile
from pathlib import Path

import restage4d as r4

DEMO = Path(__file__).parents[1] / "scripts" / "demo_clip" / "base.mp4"
OUT = Path("out") / "examples"
# Small and rough, to be done within a minute; leave them out for a puppet to work with.
QUICK: dict[str, bool | int | float | str] = {"motion.steps": 80, "fusion.steps": 80}


def small_puppet() -> Path:
    """A rough puppet of 8 frames at 160 pixels, made once and kept in the temporary folder."""
    folder = Path(tempfile.gettempdir()) / "restage4d_examples"
    path = folder / "puppet.puppet"
    if not path.exists():
        print("Making a small puppet of the demo clip, about a minute ...")
        r4.restage(DEMO, "it nods", out=folder, frames=8, longer_side=160, set=QUICK)
    return path


def puppet_and_out(description: str | None) -> tuple[r4.Puppet, Path]:
    """The puppet and the output folder that the command line names."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument(
        "puppet", nargs="?", type=Path, help="a .puppet file (default: a small one)"
    )
    parser.add_argument("--out", type=Path, default=OUT, help=f"folder (default: {OUT})")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    return r4.load(arguments.puppet or small_puppet()), arguments.out
