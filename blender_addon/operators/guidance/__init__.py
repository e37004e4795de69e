# SPDX-License-Identifier: GPL-3.0-or-later
"""Buttons that help to begin: presets, and the pages of the quick tour."""
