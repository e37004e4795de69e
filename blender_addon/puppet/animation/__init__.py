# SPDX-License-Identifier: GPL-3.0-or-later
"""What an artist makes of performances: layers over them, curves with few keys, new performances
of old ones. `sampling`, `clips`, `transfer` and `curve_fitting` are numpy alone."""
