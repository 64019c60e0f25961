"""Analyse bound queries for the indexes of engines: constants, shapes, narrowable tables, covers.

All engines share this package, which uses no database driver.
"""
