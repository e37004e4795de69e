"""A .puppet into a .blend without a window, with keyframes on a basis bone.

    .venv-blender/bin/python examples/06_headless_blender.py [PUPPET] [--out FOLDER]

Runs in a Python that has bpy (scripts/run.sh makes .venv-blender). PUPPET is out/puppet.puppet by
default, which the demo leaves there. Writes keyed.blend.
"""

import argparse
import os
import sys
from pathlib import Path

import bpy

sys.path.insert(0, str(Path(__file__).parents[1]))  # the add-on of this checkout
from blender_addon.headless import make_blend

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("puppet", nargs="?", type=Path, default=Path("out/puppet.puppet"))
parser.add_argument("--out", type=Path, default=Path("out/examples"))
arguments = parser.parse_args()
blend = arguments.out.resolve() / "keyed.blend"

make_blend(arguments.puppet, blend, name="puppet", footage={})  # the scene stays loaded
scene = bpy.context.scene
armature = next(o for o in bpy.data.objects if o.type == "ARMATURE")
bone = next(b for b in armature.pose.bones if b.name.startswith("basis_"))
frames = range(scene.frame_start, scene.frame_end + 1)
for frame in frames:
    scene.frame_set(frame)  # where the performance has the bone
    bone.location.z += 0.2 * (frame - frames[0]) / len(frames)
    bone.keyframe_insert("location", frame=frame)
bpy.ops.wm.save_as_mainfile(filepath=str(blend), compress=True)
print(f"wrote {blend}: {len(frames)} keys on {bone.name}")
sys.stdout.flush()
os._exit(0)  # bpy may hang or crash while Python takes it apart
