"""USD by `usd-core`: stages of splats, points and skeletons."""
