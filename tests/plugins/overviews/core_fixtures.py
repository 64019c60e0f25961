"""What tests of the core need to try what this package adds (`tests/plugin_needs.py`)."""

from __future__ import annotations

# addresses below the page of a table that answer its scripts with JSON
TABLE_DATA = {"strip": "counts in bins"}
# panes of the page of a table
TABLE_PANES = {"strip": "the strip above the rows"}
# modules with times after which a page goes without something
PAGE_TIMEOUT_MODULES = {"hven.plugins.overviews.overview_strip": "the strip comes later"}
