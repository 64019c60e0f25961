"""Hven: describe a collection once, and it is served."""

from hven import _ast_lock as _ast_lock

__version__ = "0.1.0"
