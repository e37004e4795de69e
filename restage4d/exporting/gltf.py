"""Binary glTF: splats of one frame with KHR_gaussian_splatting, and a skinned mesh that moves.

https://github.com/KhronosGroup/glTF/tree/main/extensions/2.0/Khronos/KHR_gaussian_splatting: points
with σ linear, opacity 0..1, rotation xyzw, SH by degree; ``COLOR_0`` is what programs without the
extension show.
"""

import json
import struct
from collections.abc import Iterator, Sequence, Set
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from restage4d import se3
from restage4d.exporting.shot import Shot
from restage4d.exporting.skinned_mesh import make_skinned_mesh
from restage4d.io.atomic import replacing
from restage4d.puppet import Gaussians, sh_to_rgb
from restage4d.srgb import srgb_to_linear

_EXTENSION = "KHR_gaussian_splatting"
_SHORT, _INT, _FLOAT, _POINTS = 5123, 5125, 5126, 0
_ARRAY_BUFFER, _ELEMENT_BUFFER = 34962, 34963
_KINDS = {3: "VEC3", 4: "VEC4", 16: "MAT4"}
_TIMES = 9  # the accessor of a skinned mesh's keys
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
    document: dict[str, Any] = {
        "extensionsUsed": [_EXTENSION],
        "nodes": [{"mesh": 0}],
        "scenes": [{"nodes": [0]}],
        "meshes": [{"primitives": [primitive]}],
    }
    with replacing(path) as temporary:
        _write(temporary, document, [(a, _ARRAY_BUFFER) for a in attributes.values()], {0})


def write_skinned_glb(path: Path, shot: Shot) -> Iterator[int]:
    """Writes the proxy mesh of a shot, skinned by a joint a basis, with the performance as its
    animation, in place; yields each frame when it is in. Give the shot glTF's axes.

    Joints blend as matrices (glTF 2.0, 3.7.3): between those that turn far apart the mesh differs
    from Eq. 1. Eight influences are two sets of ``JOINTS`` and ``WEIGHTS``. Raises `InputError`
    where hardly a Gaussian is dense, OSError where it cannot be written.
    """
    mesh, bases, names = make_skinned_mesh(shot), shot.performance.bases, range(shot.puppet.n_bases)
    turn = shot.axes.turn
    turns, moves = [], []
    for frame in shot.frames:
        R = turn @ se3.gram_schmidt(bases[:, frame, :6]) @ turn.T
        turns.append(se3.matrix_to_quat(R)[:, [1, 2, 3, 0]])
        moves.append(bases[:, frame, 6:] @ turn.T * np.float32(shot.factor))
        yield frame
    for before, after in pairwise(turns):  # the short way round
        after[(before * after).sum(1) < 0] *= -1
    triangles = mesh.quads[:, [0, 1, 2, 0, 2, 3]].reshape(-1)
    joints = mesh.index.astype("<u2")
    blocks: list[tuple[np.ndarray, int | None]] = [
        (mesh.vertices, _ARRAY_BUFFER),
        (mesh.normals, _ARRAY_BUFFER),
        (mesh.colours, _ARRAY_BUFFER),
        (joints[:, :4], _ARRAY_BUFFER),
        (mesh.weight[:, :4], _ARRAY_BUFFER),
        (joints[:, 4:], _ARRAY_BUFFER),
        (mesh.weight[:, 4:], _ARRAY_BUFFER),
        (triangles.astype("<u4"), _ELEMENT_BUFFER),
        (np.tile(np.eye(4, dtype=np.float32).ravel(), (len(names), 1)), None),
        (np.arange(len(shot.frames), dtype=np.float32) / np.float32(shot.performance.fps), None),
    ]
    kinds = ("POSITION", "NORMAL", "COLOR_0", "JOINTS_0", "WEIGHTS_0", "JOINTS_1", "WEIGHTS_1")
    channels, samplers = [], []
    for k in names:
        for path_name, values in (("rotation", turns), ("translation", moves)):
            channels.append(
                {"sampler": len(samplers), "target": {"node": 2 + k, "path": path_name}}
            )
            samplers.append({"input": _TIMES, "output": len(blocks)})
            blocks.append((np.stack([v[k] for v in values]), None))
    primitive = {
        "attributes": {kind: i for i, kind in enumerate(kinds)},
        "indices": len(kinds),
        "material": 0,
    }
    skin = {"joints": [2 + k for k in names], "skeleton": 1, "inverseBindMatrices": 8}
    document = {
        "scenes": [{"nodes": [0, 1]}],
        "nodes": [
            {"name": "Proxy", "mesh": 0, "skin": 0},
            {"name": "Bases", "children": skin["joints"]},
            *({"name": f"basis_{k:02d}"} for k in names),
        ],
        "materials": [{"pbrMetallicRoughness": {"metallicFactor": 0, "roughnessFactor": 1}}],
        "meshes": [{"primitives": [primitive]}],
        "skins": [skin],
        "animations": [{"name": shot.performance.name, "channels": channels, "samplers": samplers}],
    }
    _write(path, document, blocks, {0, _TIMES})


def _write(
    path: Path,
    document: dict[str, Any],
    arrays: Sequence[tuple[np.ndarray, int | None]],
    limited: Set[int],
) -> None:
    """One file in place: a view and an accessor an array, each beside the target it is for;
    ``limited`` are those that say their least and largest values."""
    blocks = [np.ascontiguousarray(a, "<f4" if a.dtype.kind == "f" else None) for a, _ in arrays]
    offsets = np.cumsum([0, *(block.nbytes + -block.nbytes % 4 for block in blocks)])
    size = int(offsets[-1])
    views = [
        {"buffer": 0, "byteOffset": int(o), "byteLength": b.nbytes}
        | ({} if target is None else {"target": target})
        for o, b, (_, target) in zip(offsets, blocks, arrays, strict=False)
    ]
    accessors = [_describe_accessor(i, block) for i, block in enumerate(blocks)]
    for i in limited:
        for name, end in (("min", blocks[i].min(0)), ("max", blocks[i].max(0))):
            accessors[i][name] = np.atleast_1d(end).tolist()
    document |= {
        "asset": {"version": "2.0", "generator": "Restage4D"},
        "scene": 0,
        "buffers": [{"byteLength": size}],
        "bufferViews": views,
        "accessors": accessors,
    }
    text = json.dumps(document, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 4)
    with path.open("wb") as file:
        file.write(struct.pack("<4sII", b"glTF", 2, 12 + 8 + len(text) + 8 + size))
        file.write(struct.pack("<II", len(text), _JSON) + text)
        file.write(struct.pack("<II", size, _BIN))
        for block in blocks:
            file.write(block.tobytes() + bytes(-block.nbytes % 4))


def _describe_accessor(view: int, block: np.ndarray) -> dict[str, Any]:
    kind = "SCALAR" if block.ndim == 1 else _KINDS[block.shape[1]]
    component = {"f4": _FLOAT, "u2": _SHORT, "u4": _INT}[block.dtype.str[1:]]
    return {"bufferView": view, "componentType": component, "count": len(block), "type": kind}
