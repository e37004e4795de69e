"""Load and faults for the service: prints every figure it must reach and ends with 1 where one
falls short.

    .venv/bin/python scripts/stress_backend.py [--json OUT] [--short] [--only transfer,load]

Everything runs against services of its own in temporary folders. The long form takes about an hour
on two quiet cores; the short one (three minutes) does the same with fewer repetitions and is what
CI runs. Needs the extras "backend" and "dev".
"""

import argparse
import json
import os
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from stress import age, farm, faults, load, malice, speed, strangers  # noqa: E402
from stress.run import Run  # noqa: E402

SECTIONS = {
    "security": malice.security,
    "strangers": strangers.strangers,
    "readers": strangers.readers,
    "age": age.age,
    "databases": age.databases,
    "clocks": age.clocks,
    "farm": farm.farm,
    "transfer": speed.transfer,
    "cancel": speed.cancel,
    "fuzz": malice.fuzz,
    "network": faults.network,
    "load": load.load,
    "disk": faults.disk,
    "services": faults.services,
    "workers": faults.workers,
    "clients": faults.clients,
    "checkpoints": faults.checkpoints,
}


def main() -> int:
    parser = argparse.ArgumentParser(description="Load and faults for the service.")
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--short", action="store_true", help="fewer repetitions, three minutes")
    parser.add_argument(
        "--only",
        default=",".join(SECTIONS),
        help="sections, with commas between (default: %(default)s)",
    )
    options = parser.parse_args()
    names = options.only.split(",")
    if unknown := set(names) - SECTIONS.keys():
        parser.error(f"there is no section {', '.join(sorted(unknown))}")
    seconds = {}
    with tempfile.TemporaryDirectory(
        prefix="restage4d_stress_", ignore_cleanup_errors=True
    ) as place:
        run = Run(Path(place), options.short)
        for name in names:
            print(f"{name}:", flush=True)
            began = time.perf_counter()
            try:
                SECTIONS[name](run)
            except Exception as error:
                run.add(f"{name} broke off: {type(error).__name__}: {error}", 1, "", 0)
            seconds[name] = round(time.perf_counter() - began, 1)
            print(f"  ({seconds[name]:.0f} s)", flush=True)
    if options.json:
        report = {
            "short": options.short,
            "cores": os.cpu_count(),
            "seconds": seconds,
            "figures": [asdict(f) | {"good": f.good} for f in run.figures],
        }
        options.json.write_text(json.dumps(report, indent=2) + "\n")
    missed = [f.name for f in run.figures if not f.good]
    print("\nAll figures are reached." if not missed else f"\nNot reached: {', '.join(missed)}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
