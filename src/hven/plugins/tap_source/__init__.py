"""A source that reads tables and queries of other TAP services."""
