# SPDX-License-Identifier: GPL-3.0-or-later
"""What leaves Blender: point caches, .puppet files and pictures. Imports the puppet room."""
