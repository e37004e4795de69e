"""The subject in the first frame."""
