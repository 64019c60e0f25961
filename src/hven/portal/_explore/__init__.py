"""What a portal asks of data: the state of a search, counts of choices, histograms, trees, pages of rows.

No HTTP, no HTML.
"""

from __future__ import annotations

from hven.portal._explore.search import SearchCircle, SearchFault, TableSearch, parse_search

__all__ = ["SearchCircle", "SearchFault", "TableSearch", "parse_search"]
