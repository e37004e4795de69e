# SPDX-License-Identifier: GPL-3.0-or-later
"""The body rig: a skeleton above the motion bases, its inverse kinematics and contacts."""
