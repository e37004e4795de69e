"""Every format that a performance leaves in: names, suffixes, axes."""

import re
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path

import numpy as np

from restage4d import se3, sh
from restage4d.errors import InputError
from restage4d.puppet import F32, Gaussians


class Axes(Enum):
    """Where up is in a file.

    Attributes:
        Z_UP: as in Blender and in the puppet: x right, y away, z up.
        Y_UP: as in glTF and most engines: x right, y up, z towards the viewer.
        Y_DOWN: as 3DGS trainers write and SuperSplat expects: x right, y down, z away.
    """

    Z_UP = "z-up"
    Y_UP = "y-up"
    Y_DOWN = "y-down"

    @property
    def turn(self) -> F32:
        """(3, 3) rotation from the puppet's world to the file's axes."""
        return _TURNS[self]


_TURNS = {
    Axes.Z_UP: np.eye(3, dtype=np.float32),
    Axes.Y_UP: np.array([[1, 0, 0], [0, 0, 1], [0, -1, 0]], np.float32),
    Axes.Y_DOWN: np.array([[1, 0, 0], [0, 0, -1], [0, 1, 0]], np.float32),
}


def make_file_stem(name: str) -> str:
    """A performance's name without what file systems dislike."""
    return re.sub(r"[^\w-]+", "_", name).strip("_") or "performance"


@dataclass(frozen=True)
class Format:
    """One format.

    Attributes:
        suffix: of its files; "" for a folder of files of its own.
        axes: unless told otherwise.
        about: what it is, in a line.
        by_frame: whether each frame is a file of its own.
        suffixes: others that its files may have.
    """

    suffix: str
    axes: Axes
    about: str
    by_frame: bool = False
    suffixes: tuple[str, ...] = ()


_USD = (".usd", ".usda")
FORMATS = {
    "ply": Format(".ply", Axes.Y_DOWN, "3DGS splats", by_frame=True),
    "compressed-ply": Format(
        ".compressed.ply", Axes.Y_DOWN, "SuperSplat's packed splats", by_frame=True
    ),
    "spz": Format(".spz", Axes.Y_UP, "packed splats, version 3", by_frame=True),
    "glb": Format(".glb", Axes.Y_UP, "glTF with KHR_gaussian_splatting", by_frame=True),
    "npz": Format(".npz", Axes.Z_UP, "numpy arrays", by_frame=True),
    "png": Format(".png", Axes.Z_UP, "pictures with alpha", by_frame=True),
    "exr": Format(".exr", Axes.Z_UP, "linear pictures with alpha and depth", by_frame=True),
    "mp4": Format(".mp4", Axes.Z_UP, "H.264 film"),
    "prores": Format(".mov", Axes.Z_UP, "ProRes 4444 with alpha"),
    "usd-splats": Format(".usdc", Axes.Z_UP, "animated ParticleField3DGaussianSplat", False, _USD),
    "usd-points": Format(".usdc", Axes.Z_UP, "animated points, coloured, sized", False, _USD),
    "usd-skeleton": Format(".usdc", Axes.Z_UP, "UsdSkel: points on motion bases", False, _USD),
    "usd-mesh": Format(".usdc", Axes.Z_UP, "UsdSkel: the proxy mesh, skinned", False, _USD),
    "glb-mesh": Format(".glb", Axes.Y_UP, "glTF: the proxy mesh, skinned and animated"),
    "alembic": Format(".abc", Axes.Y_UP, "animated points, coloured, sized (needs alembic3d)"),
    "cameras-json": Format(".json", Axes.Z_UP, "the shot's cameras"),
    "cameras-colmap": Format("", Axes.Y_DOWN, "the shot's cameras as COLMAP's text files"),
}
PICTURES = ("png", "exr", "mp4", "prores")  # what is drawn through a camera


def check_place(format_name: str, path: Path, frames: range) -> None:
    """Raises `InputError` where ``path`` does not fit the format: a wrong or missing suffix, one
    file for many frames."""
    form = FORMATS[format_name]
    if not form.suffix:
        if path.suffix:
            raise InputError(f"{path} is not a folder's name.", "Give one without a suffix.")
        return
    if form.by_frame and not path.suffix:
        return  # a folder for the sequence
    if not path.name.lower().endswith((form.suffix, *form.suffixes)):
        also = " or a folder" if form.by_frame else ""
        raise InputError(
            f"{path.name} does not name a file of {format_name}.",
            f"Give a name that ends in {form.suffix}{also}.",
        )
    if form.by_frame and len(frames) > 1:
        raise InputError(
            f"{path.name} holds one frame, and {len(frames)} were asked for.",
            "Give a folder, or one frame with --frames N.",
        )


def convert_gaussians(gaussians: Gaussians, turn: F32, factor: float) -> Gaussians:
    """Gaussians turned by ``turn`` (3, 3) about the origin and scaled by ``factor``; σ follow."""
    if factor != 1:
        gaussians = replace(
            gaussians,
            means=gaussians.means * np.float32(factor),
            scales=gaussians.scales * np.float32(factor),
        )
    if np.array_equal(turn, np.eye(3)):
        return gaussians
    quat = se3.matrix_to_quat(turn)
    quats = se3.quat_multiply(np.broadcast_to(quat, gaussians.quats.shape), gaussians.quats)
    turns = np.broadcast_to(turn, (len(gaussians), 3, 3))
    return replace(
        gaussians,
        means=gaussians.means @ turn.T,
        quats=quats.astype(np.float32),
        sh=sh.rotate(gaussians.sh, turns),
    )
