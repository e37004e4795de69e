"""What the fit minimises: pure functions, and references for the fast ones."""
