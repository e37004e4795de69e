"""Motion initialisation: tracks lifted to 3D, and motion bases fitted to them."""
