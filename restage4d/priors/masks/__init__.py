"""The subject in every frame: chosen in the first one, followed through the clip."""
