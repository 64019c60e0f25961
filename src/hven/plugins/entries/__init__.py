"""Entries: rows that users propose and moderators accept, and comments on rows."""
