"""Edit motion bases with numpy: the upper part turns by 20 degrees while the rest plays as before.

    python examples/03_edit_bases.py [PUPPET] [--out FOLDER]

Writes turned.puppet, which has the new performance "turned" beside the others.
"""

from dataclasses import replace

import numpy as np
from inputs import puppet_and_out

import restage4d as r4
from restage4d import se3

puppet, out = puppet_and_out(__doc__)
performance = puppet.performances[-1]
frames = range(performance.n_frames)

# The region: the fifth of the bases that carry most of the subject's upper fifth.
height = puppet.pose(performance, 0).means[:, 2]
upper = height > np.quantile(height, 0.8)
share = np.bincount(puppet.index[upper].ravel(), puppet.weight[upper].ravel(), puppet.n_bases)
whole = np.bincount(puppet.index.ravel(), puppet.weight.ravel(), puppet.n_bases)
region = np.argsort(share / np.maximum(whole, 1e-9))[-max(1, puppet.n_bases // 5) :]

# A turn about the vertical through the region's middle, growing over the frames.
pivot = np.stack([puppet.pose(performance, t).means[upper].mean(0) for t in frames])  # (T, 3)
half = np.radians(20) / 2 * np.linspace(0, 1, len(frames))
turn = se3.quat_to_matrix(np.stack([np.cos(half), 0 * half, 0 * half, np.sin(half)], -1))
bases = performance.bases.copy()  # (K, T, 9): two columns of a rotation, a translation
R, t = se3.gram_schmidt(bases[region, :, :6]), bases[region, :, 6:]
bases[region] = se3.pack(turn @ R, np.einsum("tij,ktj->kti", turn, t - pivot) + pivot)

puppet.performances.append(replace(performance, name="turned", bases=bases))
print("wrote", *r4.export(puppet, out / "turned.puppet"))
