"""The subject's shape from its outline: how it stands before the camera, and its surface."""
