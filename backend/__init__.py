"""The service that runs jobs for Blender, scripts and a studio (docs/protocol.md)."""
