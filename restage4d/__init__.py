"""Restage4D: restage a filmed subject as a 3D Gaussian puppet.

``import restage4d`` needs numpy only. torch is imported below ``reconstruct/``, ``render/`` and the
learned providers.
"""

import os

__version__ = "0.1.0"

# Threads that wait must sleep, not spin: beside a busy Blender a spinning fit runs five times
# slower (measured with two cores and a load of 7: 8 s against 47 s). OpenMP reads this once, when
# torch or numba loads it.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
