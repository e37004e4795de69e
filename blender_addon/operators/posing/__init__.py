# SPDX-License-Identifier: GPL-3.0-or-later
"""Tools of the 3D view that pose the puppet by hand."""
