"""Servers that keep files, which are asked for facts and bytes: by http, ftp, and the protocols of fsspec."""
