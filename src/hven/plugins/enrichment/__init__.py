"""Columns from the documents of rows: see README.md."""
