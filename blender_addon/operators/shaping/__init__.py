# SPDX-License-Identifier: GPL-3.0-or-later
"""Operators on the puppet's own shape: its proxy mesh and its splats."""
