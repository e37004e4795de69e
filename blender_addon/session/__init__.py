# SPDX-License-Identifier: GPL-3.0-or-later
"""The link to the backend and what is known of its work, without Blender: imports neither bpy nor
anything else of the extension."""
