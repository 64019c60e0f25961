"""Job types that a site declares: its own programs, and services elsewhere."""
