"""The draft driver: directions in words, a body plan, and a relief that acts them out; no model."""
