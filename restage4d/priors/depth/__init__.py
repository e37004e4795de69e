"""Z-depth of every frame: from the ground and the silhouette, or from learned models."""
