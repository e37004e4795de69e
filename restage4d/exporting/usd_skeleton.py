"""A puppet as a UsdSkel rig: points with eight weights each, one joint per motion basis.

UsdSkel blends the joints' matrices (classic linear), Eq. 1 their rotations' columns, made
orthonormal again: between joints that turn far apart the points differ (docs/formats.md says by how
much). Points only: neither rotation nor σ of a Gaussian is skinned by UsdSkel.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from pxr import Gf, Sdf, Usd, UsdGeom, UsdSkel, Vt

from restage4d import se3
from restage4d.exporting.shot import Shot
from restage4d.exporting.usd_stage import ROOT, find_extent, writing_stage
from restage4d.puppet import sh_to_rgb
from restage4d.srgb import srgb_to_linear

RIG = f"{ROOT}/Rig"
_IDENTITY = Gf.Matrix4d(1)


def write_usd_skeleton(path: Path, shot: Shot) -> Iterator[int]:
    """Writes ``path`` in place, yielding each frame when it is in. Raises as
    `usd_stage.writing_stage`.

    The rest pose is the canonical frame in the file's axes and units; joint k carries basis k.
    """
    puppet, bases = shot.puppet, shot.performance.bases
    names = [f"basis_{k:02d}" for k in range(puppet.n_bases)]
    turn, factor = shot.axes.turn, shot.factor
    with writing_stage(path, shot) as writer:
        stage = writer.stage
        UsdSkel.Root.Define(stage, RIG)
        skeleton = UsdSkel.Skeleton.Define(stage, f"{RIG}/Skeleton")
        skeleton.CreateJointsAttr(names)
        skeleton.CreateBindTransformsAttr([_IDENTITY] * len(names))
        skeleton.CreateRestTransformsAttr([_IDENTITY] * len(names))
        animation = UsdSkel.Animation.Define(stage, f"{RIG}/Skeleton/{_name(shot)}")
        animation.CreateJointsAttr(names)
        animation.CreateScalesAttr(Vt.Vec3hArray.FromNumpy(np.ones((len(names), 3), np.float16)))
        binding = UsdSkel.BindingAPI.Apply(skeleton.GetPrim())
        binding.CreateAnimationSourceRel().SetTargets([animation.GetPath()])
        _define_points(stage, shot)
        for frame in shot.frames:
            R = turn @ se3.gram_schmidt(bases[:, frame, :6]) @ turn.T
            quats = np.ascontiguousarray(se3.matrix_to_quat(R)[:, [1, 2, 3, 0]].astype(np.float32))
            moved = np.ascontiguousarray(bases[:, frame, 6:] @ turn.T * np.float32(factor))
            time = Usd.TimeCode(frame + 1)
            animation.GetRotationsAttr().Set(Vt.QuatfArray.FromNumpy(quats), time)
            animation.GetTranslationsAttr().Set(Vt.Vec3fArray.FromNumpy(moved), time)
            writer.end_frame(frame)
            yield frame


def _define_points(stage: Usd.Stage, shot: Shot) -> None:
    puppet = shot.puppet
    rest = shot.get_rest()
    points = UsdGeom.Points.Define(stage, f"{RIG}/Subject")
    points.CreatePointsAttr(Vt.Vec3fArray.FromNumpy(rest.means))
    points.CreateWidthsAttr(Vt.FloatArray.FromNumpy(2 * rest.scales.mean(1)))
    points.SetWidthsInterpolation(UsdGeom.Tokens.vertex)
    points.CreateExtentAttr(find_extent(rest))
    api, vertex = UsdGeom.PrimvarsAPI(points.GetPrim()), UsdGeom.Tokens.vertex
    colour = np.ascontiguousarray(srgb_to_linear(sh_to_rgb(rest.sh[:, 0]).clip(0, 1)))
    colours = api.CreatePrimvar("displayColor", Sdf.ValueTypeNames.Color3fArray, vertex)
    colours.Set(Vt.Vec3fArray.FromNumpy(colour))
    opacities = api.CreatePrimvar("displayOpacity", Sdf.ValueTypeNames.FloatArray, vertex)
    opacities.Set(Vt.FloatArray.FromNumpy(rest.opacities))
    influences = puppet.index.shape[1]
    binding = UsdSkel.BindingAPI.Apply(points.GetPrim())
    binding.CreateSkeletonRel().SetTargets([Sdf.Path(f"{RIG}/Skeleton")])
    binding.CreateJointIndicesPrimvar(False, influences).Set(
        Vt.IntArray.FromNumpy(puppet.index.astype(np.int32).ravel())
    )
    binding.CreateJointWeightsPrimvar(False, influences).Set(
        Vt.FloatArray.FromNumpy(np.ascontiguousarray(puppet.weight).ravel())
    )
    binding.CreateGeomBindTransformAttr(_IDENTITY)


def _name(shot: Shot) -> str:
    """The performance's name as USD allows names: ASCII letters, digits and "_", no digit first."""
    return re.sub(r"^(?=\d)|[^A-Za-z0-9_]", "_", shot.performance.name)
