# SPDX-License-Identifier: GPL-3.0-or-later
"""What the artist points at in a frame of the video: the subject, its mask later on, the head."""
