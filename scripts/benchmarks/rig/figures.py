"""What the benchmarks of a rig are given, and how they tell their figures."""

import argparse
import json
from pathlib import Path
from typing import Any


def read_arguments(description: str, *, synthetic: bool = False) -> argparse.Namespace:
    """``puppets``, which may be none where there is a ``synthetic`` one, and ``json``."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("puppets", type=Path, nargs="*" if synthetic else "+")
    parser.add_argument("--json", type=Path, help="file for the figures")
    return parser.parse_args()


def write_figures(rows: list[dict[str, Any]], path: Path | None) -> None:
    """Prints a line each, and writes them to ``path``, if given."""
    for row in rows:
        print("  ".join(f"{key} {value}" for key, value in row.items()), flush=True)
    if path:
        path.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")
