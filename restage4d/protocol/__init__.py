"""The service's protocol and its client: numpy, pyzmq and msgspec only, so that both travel into
Blender (docs/protocol.md)."""
