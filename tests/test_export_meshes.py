"""The skinned proxy mesh as glTF and USD, as their own rules move it, and as their validators judge
it."""

import importlib
import json
import os
import shutil
import struct
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pxr import Usd, UsdGeom, UsdSkel
from samples import box_puppet

from restage4d import se3
from restage4d.errors import Cancelled
from restage4d.exporting.formats import Axes
from restage4d.exporting.shot import Shot
from restage4d.exporting.skinned_mesh import make_skinned_mesh
from restage4d.exporting.writing import export_performance
from restage4d.progress import Progress
from restage4d.puppet import Puppet

BASES, FRAMES = 12, 4


def make_puppet() -> Puppet:
    """The box on twelve bases along its length, which bend it more and more."""
    puppet = box_puppet(frames=FRAMES)
    x = puppet.subject.means[:, 1] / 0.35  # -1..1
    middles = np.linspace(-1, 1, BASES)
    share = np.exp(-(((x[:, None] - middles) / 0.3) ** 2))
    puppet.index = np.argsort(-share, axis=1)[:, :8].astype(np.uint16)
    weight = np.take_along_axis(share, puppet.index.astype(int), 1)
    puppet.weight = (weight / weight.sum(1, keepdims=True)).astype(np.float32)
    angle = middles[:, None] * np.linspace(0, 0.8, FRAMES)  # (K, T)
    angle = angle + np.linspace(2.9, 3.3, FRAMES)  # beyond half a circle, where w changes sign
    quats = np.stack([np.cos(angle / 2), 0 * angle, np.sin(angle / 2), 0 * angle], -1)
    moves = np.stack([0 * angle, 0.1 * angle, 0.2 * np.abs(middles[:, None] + 0 * angle)], -1)
    for performance in puppet.performances:
        performance.bases = se3.pack(se3.quat_to_matrix(quats), moves).astype(np.float32)
    puppet.metres_per_unit = 0.5
    return puppet


def make_shot(**options) -> Shot:
    puppet = make_puppet()
    return Shot(puppet, puppet.performances[0], range(FRAMES), **options)


def blend(shot: Shot, mesh, frame: int) -> np.ndarray:
    """Vertices under blended matrices."""
    bases, turn = shot.performance.bases[:, frame], shot.axes.turn
    R = turn @ se3.gram_schmidt(bases[:, :6]) @ turn.T
    t = bases[:, 6:] @ turn.T * shot.factor
    each = np.einsum("kij,vj->vki", R, mesh.vertices) + t
    return (
        np.take_along_axis(each, mesh.index[..., None].astype(int), 1) * mesh.weight[..., None]
    ).sum(1)


def test_the_mesh_wraps_the_points_and_moves_as_they_do() -> None:
    shot = make_shot()
    mesh = make_skinned_mesh(shot)
    assert len(mesh.quads) > 500
    low, high = mesh.vertices.min(0), mesh.vertices.max(0)
    rest = shot.get_rest().means
    assert np.allclose(low, rest.min(0), atol=0.03)
    assert np.allclose(high, rest.max(0), atol=0.03)
    assert np.allclose(mesh.weight.sum(1), 1, atol=1e-5)
    assert all(
        len(set(i[w > 0])) == (w > 0).sum() for i, w in zip(mesh.index, mesh.weight, strict=True)
    )
    middle = (low + high) / 2
    assert (((mesh.vertices - middle) * mesh.normals).sum(1) > 0).mean() > 0.95  # they point out
    front = mesh.vertices[:, 1] < low[1] + 0.01
    assert mesh.colours[front][:, 0].mean() > 3 * mesh.colours[front][:, 2].mean()  # it is red
    posed = shot.pose_subject(FRAMES - 1).means
    moved = blend(shot, mesh, FRAMES - 1)
    near = np.linalg.norm(mesh.vertices[:, None] - rest[None, ::20], axis=2).argmin(1)
    before = np.linalg.norm(mesh.vertices - rest[::20][near], axis=1)
    after = np.linalg.norm(moved - posed[::20][near], axis=1)
    assert np.quantile(np.abs(after - before), 0.9) < 0.015  # as far from their points as at rest


def read_glb(path: Path) -> tuple[dict[str, Any], list[np.ndarray]]:
    data = path.read_bytes()
    length = struct.unpack_from("<I", data, 12)[0]
    document, buffer = json.loads(data[20 : 20 + length]), data[28 + length :]
    arrays = []
    for about in document["accessors"]:
        view = document["bufferViews"][about["bufferView"]]
        kind = {5123: "<u2", 5125: "<u4", 5126: "<f4"}[about["componentType"]]
        part = buffer[view["byteOffset"] :][: view["byteLength"]]
        arrays.append(np.frombuffer(part, kind).reshape(about["count"], -1))
    return document, arrays


def test_gltf_moves_it(tmp_path: Path) -> None:
    shot = make_shot(axes=Axes.Y_UP, scale=2.0)
    assert export_performance(shot, "glb-mesh", tmp_path / "ä b.glb") == [tmp_path / "ä b.glb"]
    document, arrays = read_glb(tmp_path / "ä b.glb")
    at = document["meshes"][0]["primitives"][0]["attributes"]
    index = np.concatenate([arrays[at["JOINTS_0"]], arrays[at["JOINTS_1"]]], 1)
    weight = np.concatenate([arrays[at["WEIGHTS_0"]], arrays[at["WEIGHTS_1"]]], 1)
    animation = document["animations"][0]
    skin = document["skins"][0]
    moves: dict[tuple[int, str], np.ndarray] = {}
    for channel in animation["channels"]:
        sampler = animation["samplers"][channel["sampler"]]
        key = (skin["joints"].index(channel["target"]["node"]), channel["target"]["path"])
        moves[key] = arrays[sampler["output"]]
        assert np.allclose(arrays[sampler["input"]][:, 0], np.arange(FRAMES) / 12)
    mesh = make_skinned_mesh(shot)
    for frame in range(FRAMES):
        each = []
        for k in range(BASES):
            quat = moves[k, "rotation"][frame][[3, 0, 1, 2]]
            each.append(
                arrays[at["POSITION"]] @ se3.quat_to_matrix(quat).T + moves[k, "translation"][frame]
            )
        rows = np.arange(len(index))
        seen = sum(weight[:, j, None] * np.stack(each)[index[:, j], rows] for j in range(8))
        assert np.abs(seen - blend(shot, mesh, frame)).max() < 1e-5
    for k in range(BASES):
        quats = moves[k, "rotation"]
        assert ((quats[1:] * quats[:-1]).sum(1) > 0.9).all()
    corners = document["accessors"][at["POSITION"]]
    assert np.allclose(corners["min"], mesh.vertices.min(0))
    triangles = arrays[document["meshes"][0]["primitives"][0]["indices"]].reshape(-1, 3)
    a, b, c = (mesh.vertices[triangles[:, i]] for i in range(3))
    outward = (np.cross(b - a, c - a) * mesh.normals[triangles[:, 0]]).sum(1)
    assert (outward > 0).mean() > 0.98


def test_usd_moves_it(tmp_path: Path) -> None:
    shot = make_shot(axes=Axes.Y_UP)
    export_performance(shot, "usd-mesh", tmp_path / "a.usdc")
    UsdValidation: Any = importlib.import_module("pxr.UsdValidation")  # younger than its types
    registry = UsdValidation.ValidationRegistry()
    stage = Usd.Stage.Open(str(tmp_path / "a.usdc"))
    context = UsdValidation.ValidationContext(registry.GetOrLoadAllValidators())
    assert [e.GetMessage() for e in context.Validate(stage)] == []
    cache, root = UsdSkel.Cache(), UsdSkel.Root(stage.GetPrimAtPath("/Puppet/Rig"))
    cache.Populate(root, Usd.PrimDefaultPredicate)
    (binding,) = cache.ComputeSkelBindings(root, Usd.PrimDefaultPredicate)
    query = cache.GetSkelQuery(binding.GetSkeleton())
    (target,) = binding.GetSkinningTargets()
    mesh = make_skinned_mesh(shot)
    for frame in (0, FRAMES - 1):
        points = UsdGeom.Mesh(target.GetPrim()).GetPointsAttr().Get()
        target.ComputeSkinnedPoints(query.ComputeSkinningTransforms(frame + 1), points, frame + 1)
        assert np.abs(np.array(points) - blend(shot, mesh, frame)).max() < 1e-4


@pytest.mark.parametrize("name", ["usd-mesh", "glb-mesh"])
def test_cancelled_it_leaves_nothing(tmp_path: Path, name: str) -> None:
    asked = iter([False] * 2 + [True] * 100)
    path = tmp_path / {"usd-mesh": "a.usdc", "glb-mesh": "a.glb"}[name]
    with pytest.raises(Cancelled):
        export_performance(make_shot(), name, path, Progress(cancelled=lambda: next(asked)))
    assert list(tmp_path.iterdir()) == []


_VALIDATE = """
const v = require("gltf-validator"), fs = require("fs");
v.validateBytes(new Uint8Array(fs.readFileSync(process.argv[1]))).then(r =>
  console.log(JSON.stringify(r.issues.messages)));
"""


def find_node() -> str:
    """Node.js with gltf-validator: beside splat-transform, or where NODE_PATH says."""
    node, other = shutil.which("node"), shutil.which("splat-transform")
    places = [os.environ.get("NODE_PATH", ""), str(Path(other).parents[1]) if other else ""]
    found = [p for p in places if p and (Path(p) / "gltf-validator").is_dir()]
    return found[0] if node and found else ""


@pytest.mark.skipif(not find_node(), reason="gltf-validator (npm) is not there")
@pytest.mark.parametrize("name", ["glb-mesh", "glb"])
def test_gltf_validator(tmp_path: Path, name: str) -> None:
    path = tmp_path / "a.glb"
    shot = make_shot(axes=Axes.Y_UP)
    if name == "glb":
        shot = Shot(shot.puppet, shot.performance, range(1), axes=Axes.Y_UP)
    export_performance(shot, name, path)
    done = subprocess.run(
        ["node", "-e", _VALIDATE, str(path)],
        check=True, capture_output=True, text=True, timeout=120,
        env={**os.environ, "NODE_PATH": find_node()},
    )  # fmt: skip
    known = {"UNSUPPORTED_EXTENSION", "MESH_PRIMITIVE_INVALID_ATTRIBUTE", "UNUSED_OBJECT"}
    found = [m for m in json.loads(done.stdout) if name != "glb" or m["code"] not in known]
    assert found == []
