"""What changed: rows between two states of a table, and the publications of a collection as news."""
