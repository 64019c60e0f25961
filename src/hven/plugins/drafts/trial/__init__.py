"""The page on which curators try a file."""
