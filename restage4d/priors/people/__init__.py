"""A person's body in every frame, by MediaPipe in a Python of its own: masks and depth from it."""
