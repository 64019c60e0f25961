"""Positions of objects by their names: see README.md."""
