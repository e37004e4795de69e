# SPDX-License-Identifier: GPL-3.0-or-later
"""Operators: all that the artist can do; they may import anything of the extension but `sync`."""
