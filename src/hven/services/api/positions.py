"""Positions of tables."""

from __future__ import annotations

from hven.services._icrs_positions import has_icrs_position

__all__ = ["has_icrs_position"]
