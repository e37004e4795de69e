"""Export for other programs: splat PLY, one frame or a sequence, numpy arrays, the whole puppet.

    python examples/04_export.py [PUPPET] [--out FOLDER]

The PLY files open in SuperSplat, Houdini, Unreal and others that read 3D Gaussian Splatting.
"""

import numpy as np
from inputs import puppet_and_out

import restage4d as r4

puppet, out = puppet_and_out(__doc__)
performance = puppet.performances[-1]

paths = r4.export(puppet, out / "splats", performance)
print(f"wrote {len(paths)} files, {paths[0].name} to {paths[-1].name}")
print("wrote", *r4.export(puppet, out / "scene.ply", performance, frame=0, background=True))
print("wrote", *r4.export(puppet, out / "copy.puppet"))

# Gaussians are plain arrays: means, quats (wxyz), scales, opacities, sh; here of every frame.
posed = [puppet.pose(performance, t) for t in range(performance.n_frames)]
arrays = {k: np.stack([vars(g)[k] for g in posed]) for k in vars(posed[0])}
np.savez(out / "frames.npz", fps=performance.fps, **arrays)
print("wrote", out / "frames.npz", {k: v.shape for k, v in arrays.items()})
