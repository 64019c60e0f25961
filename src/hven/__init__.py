"""Hven: describe a collection once, and it is served."""

__version__ = "0.1.0"
