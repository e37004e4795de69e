# SPDX-License-Identifier: GPL-3.0-or-later
"""The puppet posed by hand: places that are pulled, and places that are held."""
