"""Schemas of Felis, in which other servers describe their tables."""
