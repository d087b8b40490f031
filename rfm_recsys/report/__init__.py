"""Pages of results: one HTML file each, with figures in it, that loads nothing from elsewhere."""
