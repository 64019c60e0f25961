"""GetStar: all properties of stars by their names."""
