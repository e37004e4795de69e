"""After the fit: the far side, which no frame shows, as the mirror image of the near side."""
