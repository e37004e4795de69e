"""What a puppet consists of: Gaussians, cameras, performances.

Scales are standard deviations in world units, opacities are in 0..1, colours are SH coefficients
(degree 0: ``rgb = 0.5 + 0.28209479 * sh[:, 0]``, sRGB-encoded as the video), quaternions wxyz.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from restage4d.errors import InputError
from restage4d.finding import Finding
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
class PuppetValues:
    """A restaged subject, as values.

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
