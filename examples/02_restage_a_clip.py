"""Make a puppet of a filmed subject: `restage4d run` from Python.

    python examples/02_restage_a_clip.py [VIDEO] [PROMPT] [--out FOLDER]

Small and rough as it stands; take out the four options marked below for a puppet to work with.
"""

import argparse
from pathlib import Path

from inputs import DEMO, OUT, QUICK

import restage4d as r4


def show(event) -> None:
    """One line when a stage begins."""
    if event.step == 0:
        print(event.task.label, "...", flush=True)


parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("video", nargs="?", type=Path, default=DEMO)
parser.add_argument("prompt", nargs="?", default="it nods")
parser.add_argument("--out", type=Path, default=OUT / "restaged")
arguments = parser.parse_args()

puppet = r4.restage(
    arguments.video,
    arguments.prompt,
    out=arguments.out,
    frames=8,  # only the clip's first ones
    longer_side=160,  # pixels
    quality="draft",
    set=QUICK,  # few steps
    progress=r4.Progress(show),
)
print(puppet)
print(f"{puppet.metrics['psnr_base']:.1f} dB against the base video")
