"""Promote collections from a test site to a public site: rows, metadata, rights and files in one publication."""
