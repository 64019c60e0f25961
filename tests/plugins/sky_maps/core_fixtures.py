"""What tests of the core need to try what this package adds (`tests/plugin_needs.py`)."""

from __future__ import annotations

# addresses below the page of a table that answer its scripts with JSON
TABLE_DATA = {"places": "where the rows are"}
# modules whose messages pages show, in the reader's language
TRANSLATED_MODULES = {"plugins/sky_maps": "the maps of tables"}
# modules with times after which a page goes without something
PAGE_TIMEOUT_MODULES = {"hven.plugins.sky_maps.row_places": "a map without rows"}
