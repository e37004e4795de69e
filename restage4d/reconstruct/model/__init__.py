"""The scene as tensors: Gaussians, motion bases, skinning and their optimiser."""
