"""Films of the images that a search finds, with differences and with contours turned with the Sun."""
