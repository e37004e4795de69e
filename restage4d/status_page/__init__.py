"""A read-only page of a service's jobs for a browser on the same machine (docs/protocol.md)."""
