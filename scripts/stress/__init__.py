"""Sections of scripts/stress_backend.py."""
