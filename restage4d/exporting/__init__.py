"""Performances as files that other programs read (docs/formats.md): splats, points, pictures,
cameras.

`restage4d.exporting.writing.export_performance` is the way in; `Shot` says what leaves and in which
axes and units.
"""
