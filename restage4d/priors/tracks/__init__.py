"""Points of the subject, followed through the clip."""
