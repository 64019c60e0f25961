"""Search in an area of a plot: a range of its columns, or a polygon over two of them."""
