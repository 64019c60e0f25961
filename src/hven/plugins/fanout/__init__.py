"""Job lists: run job types for each row of a table, and join the results."""
