"""Dialects: how types, functions and geometry are written in the SQL of a database."""

from __future__ import annotations

from hven.engines._dialect import (
    FUNCTION_TEMPLATES,
    MJD_RANGE_SQL,
    TOLERANCE_DEGREES,
    WHITESPACE_SQL,
    EngineDialect,
)

__all__ = [
    "FUNCTION_TEMPLATES",
    "MJD_RANGE_SQL",
    "TOLERANCE_DEGREES",
    "WHITESPACE_SQL",
    "EngineDialect",
]
