"""Splats of one frame as binary glTF with KHR_gaussian_splatting.

https://github.com/KhronosGroup/glTF/tree/main/extensions/2.0/Khronos/KHR_gaussian_splatting: points
with σ linear, opacity 0..1, rotation xyzw, SH by degree; ``COLOR_0`` is what programs without the
extension show.
"""

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np

from restage4d.io.atomic import replacing
from restage4d.puppet import Gaussians, sh_to_rgb
from restage4d.srgb import srgb_to_linear

_EXTENSION = "KHR_gaussian_splatting"
_FLOAT, _POINTS, _ARRAY_BUFFER = 5126, 0, 34962
_JSON, _BIN = 0x4E4F534A, 0x004E4942


def write_glb(path: str | Path, gaussians: Gaussians) -> None:
    """Writes one GLB; coordinates are glTF's (y up, metres): give them so. Raises `InputError`
    where it cannot be written."""
    g = gaussians
    colour = srgb_to_linear(sh_to_rgb(g.sh[:, 0]).clip(0, 1))
    attributes = {
        "POSITION": g.means,
        "COLOR_0": np.concatenate([colour, g.opacities[:, None]], axis=1),
        f"{_EXTENSION}:ROTATION": g.quats[:, [1, 2, 3, 0]],
        f"{_EXTENSION}:SCALE": g.scales,
        f"{_EXTENSION}:OPACITY": g.opacities,
    }
    for degree in range(int(g.sh.shape[1] ** 0.5)):
        for i in range(2 * degree + 1):
            name = f"{_EXTENSION}:SH_DEGREE_{degree}_COEF_{i}"
            attributes[name] = g.sh[:, degree * degree + i]
    extension = {
        "kernel": "ellipse",
        "colorSpace": "srgb_rec709_display",
        "projection": "perspective",
        "sortingMethod": "cameraDistance",
    }
    primitive = {
        "attributes": {name: i for i, name in enumerate(attributes)},
        "mode": _POINTS,
        "extensions": {_EXTENSION: extension},
    }
    blocks = [np.ascontiguousarray(a, "<f4") for a in attributes.values()]
    offsets = np.cumsum([0, *(block.nbytes for block in blocks)])
    document: dict[str, Any] = {
        "asset": {"version": "2.0", "generator": "Restage4D"},
        "extensionsUsed": [_EXTENSION],
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0}],
        "meshes": [{"primitives": [primitive]}],
        "buffers": [{"byteLength": int(offsets[-1])}],
        "bufferViews": [
            {"buffer": 0, "byteOffset": int(o), "byteLength": b.nbytes, "target": _ARRAY_BUFFER}
            for o, b in zip(offsets, blocks, strict=False)
        ],
        "accessors": [_describe_accessor(i, block) for i, block in enumerate(blocks)],
    }
    limits = {"min": g.means.min(0).tolist(), "max": g.means.max(0).tolist()}
    document["accessors"][0] |= limits
    text = json.dumps(document, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 4)
    size = int(offsets[-1])
    with replacing(path) as temporary, temporary.open("wb") as file:
        file.write(struct.pack("<4sII", b"glTF", 2, 12 + 8 + len(text) + 8 + size))
        file.write(struct.pack("<II", len(text), _JSON) + text)
        file.write(struct.pack("<II", size, _BIN))
        for block in blocks:
            file.write(block.data)


def _describe_accessor(view: int, block: np.ndarray) -> dict[str, Any]:
    kind = "SCALAR" if block.ndim == 1 else f"VEC{block.shape[1]}"
    return {"bufferView": view, "componentType": _FLOAT, "count": len(block), "type": kind}
