"""Columns from row documents: see README.md."""
