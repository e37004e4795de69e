# SPDX-License-Identifier: GPL-3.0-or-later
"""Operators that write what other programs read."""
