# SPDX-License-Identifier: GPL-3.0-or-later
"""Operators: splats of others as scenery, still puppets and sequences."""
