"""Animated Gaussian splats in USD: `ParticleField3DGaussianSplat` of OpenUSD 26.3 and later.

https://openusd.org/release/user_guides/schemas/usdVol/ParticleField3DGaussianSplat.html: σ linear,
opacity 0..1, SH coefficient-major as 3DGS trains them. Positions, orientations and, above degree 0,
SH are time samples; what does not move is written once.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from pxr import Sdf, Usd, Vt

from restage4d.exporting.shot import Shot
from restage4d.exporting.usd_stage import ROOT, find_extent, writing_stage
from restage4d.puppet import Gaussians, sh_to_rgb
from restage4d.srgb import srgb_to_linear

_ALWAYS = Usd.TimeCode.Default()
_TYPE = "ParticleField3DGaussianSplat"
SUBJECT, BACKGROUND = f"{ROOT}/Subject", f"{ROOT}/Background"


def write_usd_splats(path: Path, shot: Shot) -> Iterator[int]:
    """Writes ``path`` (.usdc, .usd or .usda) in place, yielding each frame when it is in.

    Raises as `writing_stage`.
    """
    with writing_stage(path, shot) as writer:
        if shot.background:
            background = _SplatPrim(writer.stage, BACKGROUND, shot.get_background())
            background.write(shot.get_background(), _ALWAYS)
        subject = None
        for frame, gaussians in zip(shot.frames, shot.pose_subjects(), strict=True):
            subject = subject or _SplatPrim(writer.stage, SUBJECT, gaussians)
            subject.write(gaussians, Usd.TimeCode(frame + 1))
            writer.end_frame(frame)
            yield frame


class _SplatPrim:
    """One prim; what never changes is written when it is made."""

    def __init__(self, stage: Usd.Stage, path: str, g: Gaussians) -> None:
        self.prim = stage.DefinePrim(path, _TYPE)
        degree = round(g.sh.shape[1] ** 0.5) - 1
        T = Sdf.ValueTypeNames
        self._set("scales", T.Float3Array, Vt.Vec3fArray.FromNumpy(g.scales))
        self._set("opacities", T.FloatArray, Vt.FloatArray.FromNumpy(g.opacities))
        self._set("radiance:sphericalHarmonicsDegree", T.Int, degree, uniform=True)
        self._set("sortingModeHint", T.Token, "cameraDistance", uniform=True)
        colour = np.ascontiguousarray(srgb_to_linear(sh_to_rgb(g.sh[:, 0]).clip(0, 1)))
        self._set("primvars:displayColor", T.Color3fArray, Vt.Vec3fArray.FromNumpy(colour))
        self._set("primvars:displayOpacity", T.FloatArray, Vt.FloatArray.FromNumpy(g.opacities))
        for name in ("displayColor", "displayOpacity"):
            self.prim.GetAttribute(f"primvars:{name}").SetMetadata("interpolation", "vertex")
        self._moving_sh = degree > 0
        if not self._moving_sh:
            self._write_sh(g, _ALWAYS)

    def write(self, g: Gaussians, time: Usd.TimeCode) -> None:
        T = Sdf.ValueTypeNames
        self._set("positions", T.Point3fArray, Vt.Vec3fArray.FromNumpy(g.means), time)
        # numpy wxyz to USD's quaternions, whose arrays lie xyzw
        turned = np.ascontiguousarray(g.quats[:, [1, 2, 3, 0]].astype(np.float16))
        self._set("orientationsh", T.QuathArray, Vt.QuathArray.FromNumpy(turned), time)
        self._set("extent", T.Float3Array, find_extent(g), time)
        if self._moving_sh:
            self._write_sh(g, time)

    def _write_sh(self, g: Gaussians, time: Usd.TimeCode) -> None:
        flat = np.ascontiguousarray(g.sh.reshape(-1, 3))
        name = "radiance:sphericalHarmonicsCoefficients"
        self._set(name, Sdf.ValueTypeNames.Float3Array, Vt.Vec3fArray.FromNumpy(flat), time)

    def _set(self, name, kind, value, time=_ALWAYS, *, uniform=False) -> None:
        attribute = self.prim.GetAttribute(name)
        if not attribute:
            variability = Sdf.VariabilityUniform if uniform else Sdf.VariabilityVarying
            attribute = self.prim.CreateAttribute(name, kind, False, variability)
        attribute.Set(value, time)
