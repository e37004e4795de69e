# SPDX-License-Identifier: GPL-3.0-or-later
"""The puppet's own shape: a mesh that stands for its points, and points that are taken away or
given to other bones."""
