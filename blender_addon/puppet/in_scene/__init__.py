# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a puppet stands in a scene: the root of its shot, which armatures are puppets, copies of
one, and room beside another. Below `importer` are `shot_root` and `index`, above it the others."""
