"""The demo clip at a small size, and ``restage4d run`` as it refuses."""

from pathlib import Path

from restage4d.cli import main

ROOT = Path(__file__).resolve().parent.parent
DEMO = ROOT / "scripts" / "demo_clip"
SMALL = ["--longer-side", "128", "--frames", "10", "--seed", "3"]
SMALL += [
    f"--set={s}"
    for s in (
        "motion.steps=60",
        "motion.n_bases=20",
        "fusion.steps=80",
        "fusion.max_background=6000",
    )
]


def fails(capsys, *arguments: object) -> str:
    """Runs the command, expects exit code 1 and gives the one line it printed."""
    assert main.main(["run", *map(str, arguments)]) == 1
    message = capsys.readouterr().err.strip()
    assert message.startswith("restage4d: ")
    assert "Traceback" not in message
    assert len(message.splitlines()) == 1
    return message
