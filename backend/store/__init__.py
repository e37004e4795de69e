"""Bytes that clients send and fetch, under the name of their SHA-256, and uploads under way."""
