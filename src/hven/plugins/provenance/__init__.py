"""Provenance: where collections, rows, values and results of jobs come from."""
