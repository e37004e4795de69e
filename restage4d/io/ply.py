"""Splat PLY files in the 3DGS convention: one Gaussian set a file, and numbered sequences of a
performance.

Binary little-endian float32 in this order: ``x y z nx ny nz f_dc_0..2 f_rest_0..k opacity
scale_0..2 rot_0..3``. Opacity is a logit, scales are natural logarithms of σ, rotation is wxyz,
``f_rest`` is channel-major (all red, then green, then blue; 0, 9, 24 or 45 of them for SH degree 0
to 3), normals are zero. Coordinates are the puppet's world: +Z up.
"""

import itertools
import re
from contextlib import suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from restage4d.errors import InputError
from restage4d.io.atomic import replacing, replacing_files
from restage4d.progress import Progress, TaskId
from restage4d.puppet import Gaussians, Performance, Puppet

_OPAQUE = 1e-6  # logits are finite: opacities keep this distance from 0 and 1
_HEADER_LIMIT = 1 << 16


def _names(rest: int) -> list[str]:
    return [
        *("x", "y", "z", "nx", "ny", "nz"),
        *(f"f_dc_{i}" for i in range(3)),
        *(f"f_rest_{i}" for i in range(rest)),
        "opacity",
        *(f"scale_{i}" for i in range(3)),
        *(f"rot_{i}" for i in range(4)),
    ]


def write_ply(path: str | Path, gaussians: Gaussians) -> None:
    """Writes one splat PLY, whole or not at all. Raises `InputError` where it cannot be written."""
    with replacing(path) as temporary:
        _write(temporary, gaussians)


def _write(path: Path, gaussians: Gaussians, comment: str = "") -> None:
    """Writes the file in place; ``comment``, one line of ASCII, goes into its header. Raises
    OSError."""
    n = len(gaussians)
    rest = gaussians.sh[:, 1:].transpose(0, 2, 1).reshape(n, -1)
    names = _names(rest.shape[1])
    opacities = np.clip(gaussians.opacities.astype(np.float64), _OPAQUE, 1 - _OPAQUE)
    columns = [
        gaussians.means,
        np.float32(0),
        gaussians.sh[:, 0],
        rest,
        np.log(opacities / (1 - opacities))[:, None],
        np.log(gaussians.scales),
        gaussians.quats,
    ]
    table, first = np.empty((n, len(names)), "<f4"), 0
    for column, width in zip(columns, (3, 3, 3, rest.shape[1], 1, 3, 4), strict=True):
        table[:, first : first + width] = column
        first += width
    head = [
        "ply",
        "format binary_little_endian 1.0",
        *([f"comment {comment}"] if comment else []),
        f"element vertex {n}",
        *(f"property float {k}" for k in names),
        "end_header",
    ]
    with path.open("wb") as file:
        file.write(("\n".join(head) + "\n").encode("ascii"))
        file.write(table.data)


def read_ply(path: str | Path) -> Gaussians:
    """Reads a splat PLY in the 3DGS convention, binary little-endian; further properties are
    skipped.

    Raises:
        InputError: missing, damaged or another kind of PLY; says which.
    """
    path = Path(path)
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            count, dtype, offset = _header(path, file.read(_HEADER_LIMIT))
            if size - offset < count * dtype.itemsize:
                raise InputError(
                    f"{path} breaks off: it promises {count} splats.", "Copy or export it again."
                )
            file.seek(offset)
            table = np.fromfile(file, dtype, count)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.", "Check the path.") from error

    def block(*names: str) -> NDArray[np.float32]:
        return np.stack([table[k] for k in names], -1).astype(np.float32)

    names = dtype.names or ()
    rest = sum(k.startswith("f_rest_") for k in names)
    if rest not in (0, 9, 24, 45):
        raise InputError(
            f"{path} has {rest} f_rest properties, expected 0, 9, 24 or 45.", "Export it again."
        )
    higher = (
        block(*(f"f_rest_{i}" for i in range(rest))).reshape(count, 3, -1).transpose(0, 2, 1)
        if rest
        else None
    )
    base = block("f_dc_0", "f_dc_1", "f_dc_2")[:, None]
    quats = block("rot_0", "rot_1", "rot_2", "rot_3")
    with np.errstate(over="ignore", invalid="ignore"):  # found below
        length = np.linalg.norm(quats.astype(np.float64), axis=1, keepdims=True)
        result = Gaussians(
            means=block("x", "y", "z"),
            quats=np.where(length == 0, [1, 0, 0, 0], quats / np.maximum(length, 1e-38)).astype(
                np.float32
            ),
            scales=np.exp(block("scale_0", "scale_1", "scale_2")),
            opacities=np.asarray(1 / (1 + np.exp(-block("opacity")[:, 0])), np.float32),
            sh=base if higher is None else np.concatenate([base, higher], axis=1),
        )
    if not all(np.isfinite(v).all() for v in vars(result).values()):
        raise InputError(f"{path} has values that are not finite.", "Export it again.")
    return result


_TYPES = {
    **{
        "float": "<f4",
        "float32": "<f4",
        "double": "<f8",
        "float64": "<f8",
        "uchar": "u1",
        "uint8": "u1",
        "char": "i1",
    },
    **{
        "int8": "i1",
        "short": "<i2",
        "int16": "<i2",
        "ushort": "<u2",
        "uint16": "<u2",
        "int": "<i4",
        "int32": "<i4",
    },
    **{"uint": "<u4", "uint32": "<u4"},
}


def _header(path: Path, head: bytes) -> tuple[int, np.dtype, int]:
    """Number of splats, their row type and the header's length in bytes."""
    what = InputError(
        f"{path} is not a splat PLY.", "Give a binary little-endian PLY written by a 3DGS tool."
    )
    end = head.find(b"end_header\n")
    if not head.startswith(b"ply\n") or end < 0:
        raise what
    lines = [line.split() for line in head[:end].decode("latin-1").splitlines()[1:]]
    lines = [line for line in lines if line and line[0] not in ("comment", "obj_info")]
    vertex = r"format binary_little_endian 1\.0 element vertex (\d{1,9})"
    match = re.fullmatch(vertex, " ".join(word for line in lines[:2] for word in line))
    properties = list(itertools.takewhile(lambda line: line[0] == "property", lines[2:]))
    if not match or not all(len(line) == 3 and line[1] in _TYPES for line in properties):
        raise what
    names = [line[2] for line in properties]
    if len(set(names)) < len(names) or not set(_names(0)) - {"nx", "ny", "nz"} <= set(names):
        raise what
    dtype = np.dtype(
        [(name, _TYPES[line[1]]) for name, line in zip(names, properties, strict=True)]
    )
    return int(match[1]), dtype, end + len(b"end_header\n")


def join_gaussians(a: Gaussians, b: Gaussians) -> Gaussians:
    """Two sets as one, of the higher SH degree; missing coefficients are 0."""
    count = max(a.sh.shape[1], b.sh.shape[1])
    sh = [np.pad(g.sh, ((0, 0), (0, count - g.sh.shape[1]), (0, 0))) for g in (a, b)]
    parts = {
        k: np.concatenate([getattr(a, k), getattr(b, k)])
        for k in ("means", "quats", "scales", "opacities")
    }
    return Gaussians(**parts, sh=np.concatenate(sh))


def write_ply_sequence(
    puppet: Puppet,
    performance: Performance,
    folder: str | Path,
    progress: Progress | None = None,
    *,
    background: bool = False,
) -> list[Path]:
    """Writes a performance as ``NAME_0001.ply``, ``NAME_0002.ply`` ..., one file a frame, all or
    none; returns the paths.

    NAME is the performance's, with what file systems dislike replaced by "_". The subject's
    Gaussians stand in the world; ``background`` adds the background's behind them. Files of these
    names are replaced, and frames that an earlier, longer sequence of the performance left are
    removed: every frame carries a comment that tells whose it is. No other file is touched.

    Raises:
        InputError: the disk is full or the folder cannot be written to; then it is as it was.
    """
    folder = Path(folder)
    name = re.sub(r"[^\w-]+", "_", performance.name).strip("_") or "performance"
    paths = [folder / _frame_name(name, frame) for frame in range(performance.n_frames)]
    superseded = _find_later_frames(folder, name, performance.n_frames)
    with (
        (progress or Progress()).task(TaskId.WRITE_SPLATS, len(paths)) as task,
        replacing_files(folder, superseded) as temporary,
    ):
        for frame, path in enumerate(paths):
            gaussians = puppet.pose(performance, frame)
            if background:
                gaussians = join_gaussians(gaussians, puppet.background)
            _write(temporary / path.name, gaussians, _frame_comment(name, frame))
            task.advance()
    return paths


def _frame_name(name: str, frame: int) -> str:
    return f"{name}_{frame + 1:04d}.ply"


def _frame_comment(name: str, frame: int) -> str:
    return f"Restage4D sequence {name.encode('unicode_escape').decode()} frame {frame + 1}"


def _find_later_frames(folder: Path, name: str, n_frames: int) -> list[Path]:
    """Files of the sequence ``name`` beyond its first ``n_frames`` frames, by name and comment."""
    found = []
    for path in folder.glob("*.ply"):
        number = re.fullmatch(re.escape(name) + r"_(\d{4,9})\.ply", path.name, re.ASCII)
        frame = int(number[1]) - 1 if number else -1
        if frame < n_frames or path.name != _frame_name(name, frame):
            continue
        with suppress(OSError), path.open("rb") as file:
            head = file.read(_HEADER_LIMIT).split(b"end_header\n")[0].splitlines()
            if f"comment {_frame_comment(name, frame)}".encode() in head:
                found.append(path)
    return found
