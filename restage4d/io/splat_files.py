"""Splat files of every kind that others use: 3DGS PLY, plain and SuperSplat's compressed, SPZ and
.splat to read; the first three to write.

`gsply` knows the packed formats; plain PLY is `restage4d.io.ply`'s, which Blender uses too. Axes
are the file's own: PLY and .splat mostly y down, SPZ y up (its specification).
"""

from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path

import gsply
import numpy as np

from restage4d.errors import InputError
from restage4d.io.atomic import replacing
from restage4d.io.ply import read_ply
from restage4d.puppet import F32, Gaussians, rgb_to_sh

_OPAQUE = 1e-6  # logits are finite: opacities keep this distance from 0 and 1
_SPLAT_BYTES = 32  # of one Gaussian in a .splat file
_PACKED_MARK = b"element chunk"  # of SuperSplat's compressed PLY, in the header
_PACKED_SH = (0, 9, 24, 45)  # bytes of a Gaussian's SH above degree 0 there
_END_OF_HEADER = b"end_header\n"
_HEADER_LIMIT = 1 << 16


def write_packed_ply(path: str | Path, gaussians: Gaussians) -> None:
    """Writes SuperSplat's compressed PLY: 16 bytes a Gaussian, chunks of 256. Raises `InputError`
    where it cannot be written."""
    with replacing(path) as temporary:
        temporary.write_bytes(gsply.compress_to_bytes(_to_gsply(gaussians)))


def write_spz(path: str | Path, gaussians: Gaussians) -> None:
    """Writes SPZ version 3, which Blender 5.3 and SuperSplat read: about 20 bytes a Gaussian of
    degree 0. Raises `InputError` where it cannot be written, or positions leave its ±2047 units."""
    reach = float(np.abs(gaussians.means).max(initial=0))
    if reach >= 2047:  # 24 bits, 12 of them behind the point
        raise InputError(
            f"SPZ holds positions within 2047 units; these reach {reach:.0f}.",
            "Export at a smaller scale.",
        )
    with replacing(path) as temporary:
        gsply.write_spz(temporary, _to_gsply(gaussians))


def read_splats(path: str | Path) -> Gaussians:
    """Reads any splat file, by its suffix and content.

    Raises:
        InputError: missing, damaged, or of a kind that is not read; says which.

    Example:
        >>> scene = read_splats("biker.spz")
        >>> len(scene), scene.sh.shape[1]  # 1, 4, 9 or 16 SH coefficients
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path} does not exist.", "Check the path.")
    readers: dict[str, Callable[[Path], Gaussians]] = {
        ".ply": _read_any_ply,
        ".spz": _read_spz,
        ".splat": _read_splat,
    }
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise InputError(
            f"{path.suffix or 'A file without a suffix'} is no kind of splats that is read.",
            f"Give {', '.join(readers)}; other kinds convert with SuperSplat.",
        )
    gaussians = reader(path)
    if not len(gaussians):
        raise InputError(f"{path} holds no splats.", "Export it again.")
    if not all(np.isfinite(v).all() for v in vars(gaussians).values()):
        raise InputError(f"{path} has values that are not finite.", "Export it again.")
    return gaussians


def _read_any_ply(path: Path) -> Gaussians:
    with path.open("rb") as file:
        head, mark, _ = file.read(_HEADER_LIMIT).partition(_END_OF_HEADER)
    if _PACKED_MARK not in head:
        return read_ply(path)
    with _explaining(path):
        if not mark or not _is_whole_packed(head, path.stat().st_size - len(head + mark)):
            raise ValueError("gsply would wait for the header's end, or read past the chunks'")
        return _from_gsply(gsply.plyread(str(path)))


def _is_whole_packed(head: bytes, size: int) -> bool:
    """Whether a compressed PLY's header is one that gsply knows, and ``size`` bytes of data are
    what it promises: chunks of 18 floats for 256 Gaussians each, 16 bytes a Gaussian, SH."""
    counts: dict[str, int] = {}
    widths: dict[str, int] = {}
    for words in (line.split() for line in head.decode("ascii").splitlines()):
        if words[:1] == ["element"]:
            counts[words[1]], widths[words[1]] = int(words[2]), 0
        elif words[:1] == ["property"]:
            widths[list(counts)[-1]] += {"float": 4, "uint": 4, "uchar": 1}[words[1]]
    if list(counts) not in (["chunk", "vertex"], ["chunk", "vertex", "sh"]):
        return False
    n = counts["vertex"]
    fits = counts["chunk"] == -(-n // 256) and counts.get("sh", n) == n
    known = (widths["chunk"], widths["vertex"]) == (72, 16) and widths.get("sh", 0) in _PACKED_SH
    return fits and known and size == sum(counts[name] * widths[name] for name in counts)


def _read_spz(path: Path) -> Gaussians:
    with _explaining(path):
        return _from_gsply(gsply.read_spz(str(path)))


def _read_splat(path: Path) -> Gaussians:
    """.splat: rows of position and σ (3 + 3 float32), RGBA and rotation (4 + 4 uint8; wxyz, 128 is
    0). https://github.com/antimatter15/splat"""
    data = path.read_bytes()
    if not data or len(data) % _SPLAT_BYTES:
        raise InputError(f"{path} is not a whole .splat file.", "Copy or export it again.")
    numbers = np.frombuffer(data, "<f4").reshape(-1, 8)
    octets = np.frombuffer(data, np.uint8).reshape(-1, _SPLAT_BYTES)
    rgba: F32 = octets[:, 24:28].astype(np.float32) / np.float32(255)
    quats = octets[:, 28:32].astype(np.float32) / 128 - 1
    return Gaussians(
        means=numbers[:, :3].copy(),
        quats=_normalise(quats),
        scales=np.maximum(numbers[:, 3:6], np.float32(1e-9)),
        opacities=rgba[:, 3],
        sh=rgb_to_sh(rgba[:, None, :3]).astype(np.float32),
    )


@contextmanager
def _explaining(path: Path):
    """Whatever the library fails by becomes an `InputError`: it meets damaged files with errors of
    every kind."""
    try:
        yield
    except Exception as error:
        raise InputError(
            f"{path} cannot be read as splats: it is damaged or of an unknown version.",
            "Copy or export it again.",
        ) from error


def _normalise(quats: np.ndarray) -> np.ndarray:
    length = np.linalg.norm(quats, axis=1, keepdims=True)
    unit = np.where(length == 0, [1, 0, 0, 0], quats / np.maximum(length, 1e-12))
    return unit.astype(np.float32)


def _to_gsply(g: Gaussians) -> gsply.GSData:
    opacities = np.clip(g.opacities.astype(np.float64), _OPAQUE, 1 - _OPAQUE)
    return gsply.GSData(
        means=np.ascontiguousarray(g.means, np.float32),
        scales=np.log(g.scales).astype(np.float32),
        quats=np.ascontiguousarray(g.quats, np.float32),
        opacities=np.log(opacities / (1 - opacities)).astype(np.float32),
        sh0=np.ascontiguousarray(g.sh[:, 0], np.float32),
        shN=np.ascontiguousarray(g.sh[:, 1:], np.float32),
    )


def _from_gsply(data: gsply.GSData) -> Gaussians:
    base = np.asarray(data.sh0, np.float32)[:, None]
    rest = [] if data.shN is None or not data.shN.shape[1] else [np.asarray(data.shN, np.float32)]
    with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is refused
        return Gaussians(
            means=np.array(data.means, np.float32),
            quats=_normalise(np.asarray(data.quats, np.float32)),
            scales=np.exp(np.asarray(data.scales, np.float32)),
            opacities=(1 / (1 + np.exp(-np.asarray(data.opacities, np.float64)))).astype(
                np.float32
            ),
            sh=np.concatenate([base, *rest], axis=1),
        )
