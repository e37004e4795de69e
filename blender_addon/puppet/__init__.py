# SPDX-License-Identifier: GPL-3.0-or-later
"""The puppet as Blender data: made, read, changed, exported; may import session/ and `compat`."""
