"""Quality against time: the demo clip with fewer and more visits of a frame, two at once or not.

    python scripts/benchmarks/schedules.py OUT [--visits N ...] [--longer-side PIXELS]

Restages the demo clip for each schedule (``fusion.steps_per_frame``, ``fusion.at_once``; the priors
come from the cache after the first), prints a table of fusion's seconds and dB, and draws
OUT/schedules.png. Results of one schedule stay in OUT and are not run again.
"""

import argparse
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

DEMO = Path(__file__).parents[1] / "demo_clip" / "base.mp4"
PROMPT = "it crouches, then jumps and nods"
LABELS = {"psnr_base": "base", "psnr_subject": "subject", "psnr_driving": "driving"}
NAMES = {1: "one at a time", 2: "two at once"}


@dataclass(frozen=True)
class Outcome:
    """Of one schedule: seconds of fusion, and dB by the names of report.json."""

    seconds: float
    psnr: dict[str, float]


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path)
    parser.add_argument("--visits", type=int, nargs="+", default=[4, 8, 14, 22, 36], metavar="N")
    parser.add_argument("--longer-side", type=int, default=192, metavar="PIXELS")
    arguments = parser.parse_args()
    found = {
        at_once: [
            (n, restage(arguments.out, n, at_once, arguments.longer_side)) for n in arguments.visits
        ]
        for at_once in NAMES
    }
    print(make_table(found))
    plot(found, arguments.out / "schedules.png")
    return 0


def restage(out: Path, visits: int, at_once: int, longer_side: int) -> Outcome:
    """The demo clip by that schedule, in a process of its own with all cores."""
    folder = out / f"{visits}_visits_{at_once}_at_once"
    if not (folder / "report.json").exists():
        command = [sys.executable, "-m", "restage4d.cli", "run", str(DEMO), PROMPT]
        command += ["--out", str(folder), "--longer-side", str(longer_side)]
        command += ["--set", f"fusion.steps_per_frame={visits}"]
        command += ["--set", f"fusion.at_once={at_once}"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    report = json.loads((folder / "report.json").read_text())
    return Outcome(report["seconds"]["photometric fusion"], {k: report[k] for k in LABELS})


def make_table(found: dict[int, list[tuple[int, Outcome]]]) -> str:
    lines = ["| visits of a frame | | fusion, s | base / subject / driving, dB |"]
    lines.append("|---|---|---|---|")
    for at_once, outcomes in found.items():
        for visits, outcome in outcomes:
            psnr = " / ".join(f"{value:.2f}" for value in outcome.psnr.values())
            lines.append(f"| {visits} | {NAMES[at_once]} | {outcome.seconds:.0f} | {psnr} |")
    return "\n".join(lines)


def plot(found: dict[int, list[tuple[int, Outcome]]], path: Path) -> None:
    """One panel a figure, a line for each way of visiting."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, len(LABELS), figsize=(10, 3))
    for axis, (key, label) in zip(axes, LABELS.items(), strict=True):
        for at_once, outcomes in found.items():
            seconds = [outcome.seconds for _, outcome in outcomes]
            axis.plot(seconds, [o.psnr[key] for _, o in outcomes], "o-", label=NAMES[at_once])
        axis.set(title=label, xlabel="seconds of fusion", ylabel="dB")
    axes[0].legend()
    figure.tight_layout()
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    sys.exit(main())
