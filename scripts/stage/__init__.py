"""Ground truth rendered with Blender: the project's own creature, the set, cameras, animation and
exact truth.

Runs with the Python of ``.venv-blender`` (bpy); `shape`, `skeleton` and `gait` need numpy alone.
World: +Z up, the subject looks along +X, its extent is about 1, and it stands on z = 0.
"""
