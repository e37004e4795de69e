"""The puppet: Gaussians, their influences, performances; and the ``.puppet`` file
(docs/puppet_format.md).

In memory and in the file: scales are standard deviations in world units, opacities are in 0..1,
colours are SH coefficients (degree 0: ``rgb = 0.5 + 0.28209479 * sh[:, 0]``, sRGB-encoded as the
video), quaternions wxyz.
"""

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save

from restage4d import se3, sh
from restage4d.errors import InputError
from restage4d.finding import Finding
from restage4d.io.atomic import replacing
from restage4d.puppet_check import check
from restage4d.puppet_header import FORMAT_VERSION, read_metadata
from restage4d.skeleton.body_parts import BodyPart

F32 = NDArray[np.float32]
SH_C0 = 0.28209479177387814


def rgb_to_sh(rgb: F32) -> F32:  # (..., 3) in 0..1 -> (..., 3)
    """Degree-0 SH coefficient of a colour (3DGS convention)."""
    return (rgb - 0.5) / SH_C0


def sh_to_rgb(sh: F32) -> F32:  # (..., 3) -> (..., 3)
    """Colour of a degree-0 SH coefficient (3DGS convention), not clipped."""
    return sh * SH_C0 + 0.5


@dataclass
class Gaussians:
    """N 3D Gaussians: means (N, 3), quats (N, 4) wxyz, scales (N, 3) σ, opacities (N,) 0..1, sh (N,
    C, 3), C in 1, 4, 9, 16."""

    means: F32
    quats: F32
    scales: F32
    opacities: F32
    sh: F32

    def __len__(self) -> int:
        return len(self.means)

    def __repr__(self) -> str:
        return f"<Gaussians: {len(self)}, {self.sh.shape[1]} SH coefficients>"


@dataclass(frozen=True, eq=False)
class Camera:
    """A pinhole camera.

    Attributes:
        K: (3, 3) intrinsics in pixels; pixel (column i, row j) has its centre at (i + 0.5, j +
            0.5).
        w2c: (4, 4) world to camera, OpenCV axes (x right, y down, z forward), world units.
        size: (width, height) in pixels.

    Raises:
        InputError: a wrong shape, or a size that is not positive.

    Example:
        >>> K = np.array([[300, 0, 160], [0, 300, 120], [0, 0, 1]], np.float32)
        >>> Camera(K, np.eye(4, dtype=np.float32), size=(320, 240))
    """

    K: F32
    w2c: F32
    size: tuple[int, int]

    def __post_init__(self) -> None:
        for name, shape in (("K", (3, 3)), ("w2c", (4, 4))):
            value = np.asarray(getattr(self, name), np.float32)
            if value.shape != shape:
                raise InputError(f"{name} of the camera has shape {value.shape}.", f"Give {shape}.")
            object.__setattr__(self, name, value)
        if len(self.size) != 2 or min(self.size) < 1:
            raise InputError(f"{self.size} is not a picture's size.", "Give (width, height).")

    @property
    def centre(self) -> F32:
        """(3,) where the camera stands, world."""
        return -self.w2c[:3, :3].T @ self.w2c[:3, 3]


@dataclass
class Performance:
    """One motion of the puppet with the camera that filmed it.

    Attributes:
        name: "base", or what the artist called it.
        bases: (K, T, 9) float32, see `restage4d.se3`; row k belongs to influence index k.
        fps: frames per second of the T frames, in playing order (frame 0 is b_0 for every
            performance).
        K: (T, 3, 3) intrinsics in pixels of ``size``.
        w2c: (T, 4, 4) OpenCV world-to-camera.
        size: (width, height) in pixels.
        prompt: what the artist asked for; empty for the base.
    """

    name: str
    bases: F32
    fps: float
    K: F32
    w2c: F32
    size: tuple[int, int]
    prompt: str = ""

    @property
    def n_frames(self) -> int:
        return self.bases.shape[1]

    def camera(self, frame: int) -> Camera:
        """The camera that filmed a frame. Raises `InputError` where there is no such frame."""
        self.check_frame(frame)
        return Camera(self.K[frame], self.w2c[frame], self.size)

    def check_frame(self, frame: int) -> None:
        """Raises `InputError` where there is no such frame; says which there are."""
        if not 0 <= frame < self.n_frames:
            raise InputError(
                f"{self.name!r} has {self.n_frames} frames; there is no frame {frame}.",
                f"Give 0 to {self.n_frames - 1}.",
            )

    def __repr__(self) -> str:
        return f"<Performance {self._outline()}, {self.bases.shape[0]} bases>"

    def _outline(self) -> str:
        width, height = self.size
        return f"{self.name!r}: {self.n_frames} frames at {self.fps:g} fps, {width}x{height}"


@dataclass
class Puppet:
    """A restaged subject.

    Attributes:
        subject: Gaussians in the canonical frame.
        index: (N, M) uint16, weight: (N, M) float32; M <= 8 influences per Gaussian, weights >= 0,
            rows sum to 1.
        performances: at least one; all share K bases.
        background: static Gaussians in the world, may be empty.
        metres_per_unit: size of one world unit.
        provenance: video hashes, prompt, providers, seed, package versions; JSON values only.
        metrics: figures of the fit.
        findings: what the checks found in the clips and in the puppet.
        body: where its head, tail and limbs are, as far as they were seen in the first frame.
    """

    subject: Gaussians
    index: NDArray[np.uint16]
    weight: F32
    performances: list[Performance]
    background: Gaussians
    metres_per_unit: float = 1.0
    provenance: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    body: list[BodyPart] = field(default_factory=list)

    @property
    def n_bases(self) -> int:
        return self.performances[0].bases.shape[0]

    def performance(self, name: str) -> Performance:
        """The performance of that name. Raises `InputError` with the names there are."""
        for p in self.performances:
            if p.name == name:
                return p
        names = ", ".join(repr(p.name) for p in self.performances)
        raise InputError(f"The puppet has no performance {name!r}.", f"There are: {names}.")

    def pose(self, performance: str | Performance | F32, frame: int = 0) -> Gaussians:
        """The subject's Gaussians in the world at a frame (Eq. 1); orientation and SH turn by the
        same rotation as the mean.

        Args:
            performance: its name; a `Performance` of these bases, of this puppet or not; or the
                bases (K, 9) themselves, as they are at one moment.
            frame: from 0, in playing order; bases have no frames.

        Raises:
            InputError: a name or a frame that is not there, or bases of another shape.

        Example:
            >>> puppet.pose("restaged", 20).means.mean(0)  # where the subject is, world
        """
        if isinstance(performance, str):
            performance = self.performance(performance)
        if isinstance(performance, Performance):
            performance.check_frame(frame)
            performance = performance.bases[:, frame]
        if performance.shape != (self.n_bases, 9):
            raise InputError(
                f"Bases of shape {performance.shape} do not move this puppet.",
                f"Give {(self.n_bases, 9)}.",
            )
        R, t = se3.blend(performance, self.index, self.weight)
        quats = se3.quat_multiply(se3.matrix_to_quat(R), self.subject.quats)
        means = se3.transform(R, t, self.subject.means)
        return replace(self.subject, means=means, quats=quats, sh=sh.rotate(self.subject.sh, R))

    def __repr__(self) -> str:
        performances = "; ".join(p._outline() for p in self.performances)
        return (
            f"<Puppet: {len(self.subject)} subject and {len(self.background)} background "
            f"Gaussians, {self.n_bases} bases; {performances}>"
        )

    def save(self, path: str | Path) -> None:
        """Writes a ``.puppet`` file, whole or not at all. Raises `InputError` if the puppet itself
        is invalid."""
        check(self, "this puppet")
        tensors = {f"subject.{k}": v for k, v in vars(self.subject).items()}
        tensors |= {f"background.{k}": v for k, v in vars(self.background).items()}
        tensors |= {"influences.index": self.index, "influences.weight": self.weight}
        for i, p in enumerate(self.performances):
            tensors |= {f"performance.{i}.{k}": getattr(p, k) for k in ("bases", "K", "w2c")}
        about = {
            "format_version": FORMAT_VERSION,
            "metres_per_unit": self.metres_per_unit,
            "performances": [
                {"name": p.name, "fps": p.fps, "size": list(p.size), "prompt": p.prompt}
                for p in self.performances
            ],
            "provenance": self.provenance,
            "metrics": self.metrics,
        }
        if self.findings:  # files of before had none
            about["findings"] = [finding.to_record() for finding in self.findings]
        if self.body:
            about["body"] = [part.to_record() for part in self.body]
        metadata = {"restage4d.puppet": json.dumps(about, allow_nan=False)}
        with replacing(path) as temporary:
            # Not save_file, which hides "disk full" in an error of its own.
            temporary.write_bytes(
                save({k: np.ascontiguousarray(v) for k, v in tensors.items()}, metadata)
            )

    @staticmethod
    def load(path: str | Path) -> "Puppet":
        """Reads a ``.puppet`` file and checks shapes, dtypes, finiteness and version.

        Raises:
            InputError: missing, truncated, foreign, newer or inconsistent file; says which.
        """
        path = Path(path)
        about = read_metadata(path)
        try:
            tensors = load_file(path)
        except Exception as error:
            raise InputError(
                f"{path} is damaged: {error}.", "Make the puppet again or take an older copy."
            ) from error
        try:
            puppet = Puppet(
                subject=_gaussians(tensors, "subject"),
                index=tensors["influences.index"],
                weight=tensors["influences.weight"],
                performances=[
                    Performance(
                        name=p["name"],
                        bases=tensors[f"performance.{i}.bases"],
                        fps=float(p["fps"]),
                        K=tensors[f"performance.{i}.K"],
                        w2c=tensors[f"performance.{i}.w2c"],
                        size=(int(p["size"][0]), int(p["size"][1])),
                        prompt=p["prompt"],
                    )
                    for i, p in enumerate(about["performances"])
                ],
                background=_gaussians(tensors, "background"),
                metres_per_unit=float(about["metres_per_unit"]),
                provenance=about["provenance"],
                metrics=about["metrics"],
                findings=[Finding.from_record(r) for r in about.get("findings", [])],
                body=[BodyPart.from_record(r) for r in about.get("body", [])],
            )
        except (KeyError, TypeError, ValueError, IndexError, OverflowError) as error:
            raise InputError(
                f"{path} lacks a part of a puppet: {error}.",
                "Make it again with this version of Restage4D.",
            ) from error
        check(puppet, str(path))
        return puppet


def _gaussians(tensors: dict[str, NDArray], name: str) -> Gaussians:
    return Gaussians(
        *(tensors[f"{name}.{k}"] for k in ("means", "quats", "scales", "opacities", "sh"))
    )
