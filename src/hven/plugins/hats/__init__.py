"""Partitioned sky catalogues (HATS): tables kept as such files, catalogues of others, and tables read as files."""
