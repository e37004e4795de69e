# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether what Blender's own exporters wrote is whole: they report success over a file that a full
disk cut short."""

import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

_END_OF_PNG = b"IEND\xaeB`\x82"
_END_OF_ZSTD = b"\xb1\xea\x92\x8f"  # of the seekable format's table, which Blender writes last
_CRATE_PARTS = {b"TOKENS", b"STRINGS", b"FIELDS", b"FIELDSETS", b"PATHS", b"SPECS"}


def find_alembic_damage(path: Path) -> str:
    """What is wrong with an Alembic file; empty for nothing. Ogawa marks a file whole, and says
    where its root is, when it is closed (its header: magic, mark, version, root)."""
    with path.open("rb") as file:
        head = file.read(16)
    if len(head) < 16 or head[:5] != b"Ogawa":
        return "it is no Alembic file"
    (root,) = struct.unpack("<Q", head[8:])
    if head[5] != 0xFF or not 16 <= root < path.stat().st_size:
        return "its end is missing"
    return ""


def find_usd_damage(path: Path, frames: Sequence[int], n_points: int) -> str:
    """What is wrong with a USD file of moving points; empty for nothing. What it holds is looked at
    where this Blender has OpenUSD's Python modules."""
    with path.open("rb") as file:
        start = file.read(8)
    damage = _find_crate_damage(path) if start == b"PXR-USDC" else _find_text_damage(path)
    if damage:
        return damage
    try:
        # heavy, and not in every Blender
        from pxr import Tf, Usd, UsdGeom  # pyright: ignore[reportMissingImports]
    except ImportError:
        return ""
    try:
        stage = Usd.Stage.Open(str(path))
        span = int(stage.GetStartTimeCode()), int(stage.GetEndTimeCode())
        kind: Any = UsdGeom.Points
        clouds = [kind(p) for p in stage.Traverse() if p.IsA(kind)]
        counts = {
            sum(len(cloud.GetPointsAttr().Get(frame) or ()) for cloud in clouds) for frame in frames
        }
    except Tf.ErrorException:
        return "it cannot be opened"
    if span != (frames[0], frames[-1]):
        return f"it has frames {span[0]} to {span[1]} instead of {frames[0]} to {frames[-1]}"
    if counts != {n_points}:
        return f"it has {sorted(counts)} points instead of {n_points}"
    return ""


def _find_text_damage(path: Path) -> str:
    with path.open("rb") as file:
        start = file.read(5)
    if start != b"#usda":
        return "it is no USD file"
    return "" if _read_end(path, 64).rstrip().endswith(b"}") else "its end is missing"


def _find_crate_damage(path: Path) -> str:
    """A binary USD file begins with the place of its table of contents, which lists its sections
    (pxr/usd/sdf/crateFile.h)."""
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(24)
        (place,) = struct.unpack("<q", head[16:24]) if len(head) == 24 else (0,)
        if not 24 <= place <= size - 8:
            return "its end is missing"
        file.seek(place)
        (count,) = struct.unpack("<Q", file.read(8))
        table = file.read(32 * min(count, 64))
    parts = [struct.unpack("<16sqq", table[i : i + 32]) for i in range(0, len(table) - 31, 32)]
    if len(parts) != count or any(start + length > size for _, start, length in parts):
        return "its end is missing"
    missing = _CRATE_PARTS - {name.rstrip(b"\0") for name, _, _ in parts}
    return f"its {min(missing).decode()} are missing" if missing else ""


def is_whole_png(path: Path) -> bool:
    """Whether a PNG has its last chunk."""
    return _read_end(path, len(_END_OF_PNG)) == _END_OF_PNG


def is_whole_blend(path: Path) -> bool:
    """Whether a compressed .blend has its end."""
    return _read_end(path, len(_END_OF_ZSTD)) == _END_OF_ZSTD


def _read_end(path: Path, size: int) -> bytes:
    if not path.is_file():
        return b""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - size))
        return file.read()
