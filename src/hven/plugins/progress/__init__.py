"""Show how far the rows of tables are: stages, a sky by stage, and a calendar."""
