"""Metrics of pictures, shapes and tracks; each a function of arrays."""
