"""Photometric fusion: Gaussians seeded, fitted to every frame, and cleaned up."""
