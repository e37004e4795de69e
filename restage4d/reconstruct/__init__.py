"""The fit: from footage and priors to a puppet."""
