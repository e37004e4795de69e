"""Writes OpenEXR pictures, with numpy alone: Blender's Python has no library for it, and its own
images need the main thread.

Single-part scan lines of 32-bit floats, ZIP compression
(https://openexr.com/en/latest/OpenEXRFileLayout.html).
"""

import struct
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from restage4d.io.atomic import replacing

_MAGIC, _VERSION, _FLOAT, _ZIP, _BLOCK = 20000630, 2, 2, 3, 16  # ZIP packs 16 lines at a time


def write_exr(path: Path, channels: dict[str, NDArray[np.float32]]) -> None:  # name -> (H, W)
    """One picture, whole or not at all; the first row is on top. Channels are stored by name, as
    the format asks."""
    names = sorted(channels)
    height, width = channels[names[0]].shape
    box = struct.pack("<4i", 0, 0, width - 1, height - 1)
    listed = (
        b"".join(name.encode() + b"\0" + struct.pack("<iB3xii", _FLOAT, 0, 1, 1) for name in names)
        + b"\0"
    )
    attributes = [
        ("channels", "chlist", listed),
        ("compression", "compression", struct.pack("<B", _ZIP)),
        ("dataWindow", "box2i", box),
        ("displayWindow", "box2i", box),
        ("lineOrder", "lineOrder", b"\0"),
        ("pixelAspectRatio", "float", struct.pack("<f", 1)),
        ("screenWindowCenter", "v2f", struct.pack("<2f", 0, 0)),
        ("screenWindowWidth", "float", struct.pack("<f", 1)),
    ]
    head = struct.pack("<2i", _MAGIC, _VERSION)
    head += (
        b"".join(
            n.encode() + b"\0" + kind.encode() + b"\0" + struct.pack("<i", len(v)) + v
            for n, kind, v in attributes
        )
        + b"\0"
    )
    table = np.stack([np.asarray(channels[name], "<f4") for name in names], 1)  # (H, C, W)
    blocks = []
    for top in range(0, height, _BLOCK):
        packed = _zipped(table[top : top + _BLOCK].tobytes())
        blocks.append(struct.pack("<2i", top, len(packed)) + packed)
    start = len(head) + 8 * len(blocks)
    offsets = np.cumsum([start, *(len(b) for b in blocks[:-1])], dtype="<u8")
    with replacing(path) as temporary:
        temporary.write_bytes(b"".join([head, offsets.tobytes(), *blocks]))


def _zipped(raw: bytes) -> bytes:
    """Even bytes before odd ones, each as the difference to the one before, deflated; as it was
    where that is no shorter."""
    data = np.frombuffer(raw, np.uint8)
    split = np.concatenate([data[::2], data[1::2]]).astype(np.int16)
    split[1:] = split[1:] - split[:-1] + 128
    packed = zlib.compress(split.astype(np.uint8).tobytes(), 4)
    return packed if len(packed) < len(raw) else raw
