"""Measuring: rendered stages and real pairs run, compared with the truth, and tabulated."""
