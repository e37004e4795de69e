"""Animated points in USD for programs without splats: `UsdGeomPoints` with colour, opacity, width
and velocity.

What else a Gaussian has lies beside them under the names that Houdini gives them:
``primvars:orient`` (quaternions) and ``primvars:scale`` (σ).
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from pxr import Sdf, Usd, UsdGeom, Vt

from restage4d.exporting.shot import Shot
from restage4d.exporting.usd_stage import ROOT, find_extent, writing_stage
from restage4d.puppet import F32, Gaussians, sh_to_rgb
from restage4d.srgb import srgb_to_linear

_WIDTH = 2.0  # σ that a point is wide
SUBJECT, BACKGROUND = f"{ROOT}/Subject", f"{ROOT}/Background"


def write_usd_points(path: Path, shot: Shot) -> Iterator[int]:
    """Writes ``path`` (.usdc, .usd or .usda) in place, yielding each frame when it is in.

    Velocities are differences to the next frame (of the last one, to the frame before it), in
    units a second. Raises as `usd_stage.writing_stage`.
    """
    rate = shot.performance.fps
    with writing_stage(path, shot) as writer:
        if shot.background:
            still = shot.get_background()
            _Points(writer.stage, BACKGROUND, still).write(still, Usd.TimeCode.Default())
        poses = shot.pose_subjects()
        posed = next(poses)
        subject, velocity = _Points(writer.stage, SUBJECT, posed), np.zeros_like(posed.means)
        for frame in shot.frames:
            following = next(poses, None)
            if following is not None:
                velocity = (following.means - posed.means) * np.float32(rate)
            subject.write(posed, Usd.TimeCode(frame + 1), velocity)
            writer.end_frame(frame)
            yield frame
            posed = following or posed


class _Points:
    """One prim; what never changes is written when it is made. Colours are linear, 0..1."""

    def __init__(self, stage: Usd.Stage, path: str, g: Gaussians) -> None:
        self.points = UsdGeom.Points.Define(stage, path)
        api = UsdGeom.PrimvarsAPI(self.points.GetPrim())
        T, vertex = Sdf.ValueTypeNames, UsdGeom.Tokens.vertex
        colour = np.ascontiguousarray(srgb_to_linear(sh_to_rgb(g.sh[:, 0]).clip(0, 1)))
        colours = api.CreatePrimvar("displayColor", T.Color3fArray, vertex)
        colours.Set(Vt.Vec3fArray.FromNumpy(colour))
        opacities = api.CreatePrimvar("displayOpacity", T.FloatArray, vertex)
        opacities.Set(Vt.FloatArray.FromNumpy(g.opacities))
        api.CreatePrimvar("scale", T.Float3Array, vertex).Set(Vt.Vec3fArray.FromNumpy(g.scales))
        widths = np.ascontiguousarray(_WIDTH * g.scales.mean(1), np.float32)
        self.points.CreateWidthsAttr(Vt.FloatArray.FromNumpy(widths))
        self.points.SetWidthsInterpolation(vertex)
        self._orient = api.CreatePrimvar("orient", T.QuathArray, vertex)

    def write(self, g: Gaussians, time: Usd.TimeCode, velocity: F32 | None = None) -> None:
        self.points.GetPointsAttr().Set(Vt.Vec3fArray.FromNumpy(g.means), time)
        turned = np.ascontiguousarray(g.quats[:, [1, 2, 3, 0]].astype(np.float16))
        self._orient.Set(Vt.QuathArray.FromNumpy(turned), time)
        self.points.GetExtentAttr().Set(find_extent(g), time)
        if velocity is not None:
            self.points.GetVelocitiesAttr().Set(
                Vt.Vec3fArray.FromNumpy(np.ascontiguousarray(velocity)), time
            )
