"""What this package adds to the pages of time series: rows of other tables at the same time."""
