"""Everything published here: an immutable picture, and TAP_SCHEMA made from it."""
