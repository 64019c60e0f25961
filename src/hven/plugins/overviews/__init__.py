"""Show how the rows of a table spread: histograms and a small map above the rows."""
