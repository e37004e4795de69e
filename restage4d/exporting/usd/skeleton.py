"""A puppet as a UsdSkel rig: points, or the proxy mesh, with eight weights each, one joint per
motion basis.

UsdSkel blends the joints' matrices (classic linear), Eq. 1 their rotations' columns, made
orthonormal again: between joints that turn far apart the points differ (docs/formats.md says by how
much). Points only: neither rotation nor σ of a Gaussian is skinned by UsdSkel.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pxr import Gf, Sdf, Usd, UsdGeom, UsdSkel, Vt

from restage4d import se3
from restage4d.exporting.shot import Shot
from restage4d.exporting.skinned_mesh import make_skinned_mesh
from restage4d.exporting.usd_stage import ROOT, find_extent, writing_stage
from restage4d.puppet import F32, sh_to_rgb
from restage4d.srgb import srgb_to_linear

RIG = f"{ROOT}/Rig"
_IDENTITY = Gf.Matrix4d(1)


def write_usd_skeleton(path: Path, shot: Shot, *, as_mesh: bool = False) -> Iterator[int]:
    """Writes ``path`` in place, yielding each frame when it is in; the points, or ``as_mesh`` the
    proxy mesh. Raises as `usd_stage.writing_stage`, and `InputError` where the puppet is hardly
    dense anywhere.

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
        (_define_mesh if as_mesh else _define_points)(stage, shot)
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
    _bind(points.GetPrim(), puppet.index, puppet.weight)


def _define_mesh(stage: Usd.Stage, shot: Shot) -> None:
    skin = make_skinned_mesh(shot)
    mesh = UsdGeom.Mesh.Define(stage, f"{RIG}/Proxy")
    mesh.CreatePointsAttr(Vt.Vec3fArray.FromNumpy(skin.vertices))
    mesh.CreateFaceVertexCountsAttr(Vt.IntArray.FromNumpy(np.full(len(skin.quads), 4, np.int32)))
    mesh.CreateFaceVertexIndicesAttr(Vt.IntArray.FromNumpy(skin.quads.ravel()))
    mesh.CreateSubdivisionSchemeAttr(UsdGeom.Tokens.none)
    mesh.CreateNormalsAttr(Vt.Vec3fArray.FromNumpy(skin.normals))
    mesh.SetNormalsInterpolation(UsdGeom.Tokens.vertex)
    corners = np.stack([skin.vertices.min(0), skin.vertices.max(0)])
    mesh.CreateExtentAttr(Vt.Vec3fArray.FromNumpy(corners))
    colours = UsdGeom.PrimvarsAPI(mesh.GetPrim()).CreatePrimvar(
        "displayColor", Sdf.ValueTypeNames.Color3fArray, UsdGeom.Tokens.vertex
    )
    colours.Set(Vt.Vec3fArray.FromNumpy(skin.colours))
    _bind(mesh.GetPrim(), skin.index, skin.weight)


def _bind(prim: Usd.Prim, index: NDArray[np.uint16], weight: F32) -> None:  # (N, M), (N, M)
    influences = index.shape[1]
    binding = UsdSkel.BindingAPI.Apply(prim)
    binding.CreateSkeletonRel().SetTargets([Sdf.Path(f"{RIG}/Skeleton")])
    binding.CreateJointIndicesPrimvar(False, influences).Set(
        Vt.IntArray.FromNumpy(index.astype(np.int32).ravel())
    )
    binding.CreateJointWeightsPrimvar(False, influences).Set(
        Vt.FloatArray.FromNumpy(np.ascontiguousarray(weight).ravel())
    )
    binding.CreateGeomBindTransformAttr(_IDENTITY)


def _name(shot: Shot) -> str:
    """The performance's name as USD allows names: ASCII letters, digits and "_", no digit first."""
    return re.sub(r"^(?=\d)|[^A-Za-z0-9_]", "_", shot.performance.name)
