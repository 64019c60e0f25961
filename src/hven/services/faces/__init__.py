"""Thin faces: a protocol in one file each."""
