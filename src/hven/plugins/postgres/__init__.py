"""PostgreSQL: collections whose rows a database keeps, tables that are read in place, and foreign tables."""
