"""Rows in the order of a key, so that an interrupted run resumes behind its last row."""

from __future__ import annotations

from hven.sources._reading.key_paging import KeyOrderedPager, PagingKey

__all__ = ["KeyOrderedPager", "PagingKey"]
