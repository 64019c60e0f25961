"""Show what collections contain: rows by year and instrument, and where and when they are."""
