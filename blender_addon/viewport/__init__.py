# SPDX-License-Identifier: GPL-3.0-or-later
"""What the extension itself draws in the 3D views; it may import puppet/, session/ and `compat`."""
