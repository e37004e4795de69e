"""Load a puppet, pose it, draw a frame as filmed and from behind.

    python examples/01_load_pose_render.py [PUPPET] [--out FOLDER]

Writes filmed.png and behind.png.
"""

import numpy as np
from inputs import puppet_and_out
from PIL import Image

import restage4d as r4

puppet, out = puppet_and_out(__doc__)
print(puppet)

performance = puppet.performances[-1]  # the newest restaging
frame = performance.n_frames // 2
gaussians = puppet.pose(performance, frame)  # plain numpy arrays, in the world
print(f"{len(gaussians)} Gaussians around {gaussians.means.mean(0).round(2)} at frame {frame}")

filmed = r4.render(puppet, performance, frame)
behind = r4.orbit(puppet, performance, frame, degrees=180)
alone = r4.render(puppet, performance, frame, behind, background=False)
for name, rgba in (("filmed", filmed), ("behind", alone)):
    on_grey = rgba[..., :3] + (1 - rgba[..., 3:]) * 0.8  # colours are premultiplied by alpha
    Image.fromarray((255 * on_grey).round().astype(np.uint8)).save(out / f"{name}.png")
    print("wrote", out / f"{name}.png")
