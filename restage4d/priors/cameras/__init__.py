"""Where the camera was in every frame: found, or read from another program's files."""
