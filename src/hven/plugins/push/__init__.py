"""Rows and files that clients send: see README.md."""
