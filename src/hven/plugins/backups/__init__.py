"""Backups: a whole site in one file, which `hven backup` writes and `hven restore` reads."""
