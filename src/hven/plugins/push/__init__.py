"""Rows and files that clients send: see README.md."""

PUSH_SOURCE_KIND = "push"  # kind of source whose rows clients send
