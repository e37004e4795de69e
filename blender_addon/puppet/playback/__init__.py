# SPDX-License-Identifier: GPL-3.0-or-later
"""What plays: one performance alone, several in the NLA, and poses without keys."""
