"""Restage4D: restage a filmed subject as a 3D Gaussian puppet.

``import restage4d`` needs numpy only. torch is imported below ``reconstruct/``, ``render/`` and the learned providers.
"""

__version__ = "0.1.0"
