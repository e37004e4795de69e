# SPDX-License-Identifier: GPL-3.0-or-later
"""Node trees of a puppet: exact skinning, display and materials. Imports bpy and compat only."""
