"""Servers that keep files, asked for facts and for bytes: by http, by ftp, and what fsspec speaks."""
