"""What tests of the core need to try what this package adds (`tests/plugin_needs.py`)."""

from __future__ import annotations

# modules whose messages pages show, in the reader's language
TRANSLATED_MODULES = {"plugins/query_pages": "the pages at /adql and /jobs"}
# pages that others link to
LINKED_PAGES = {"/adql": "the menu of all pages", "/jobs": "the menu of all pages"}
# pages for everybody, and what they show when they are ready
BROWSER_PAGES = {
    "/jobs": "h1",
    "/adql?QUERY=SELECT+TOP+5+name,ra,dec,simbad+FROM+sz.clusters": "[data-answer] tbody tr",
}
_QUERY = b"LANG=ADQL&QUERY=SELECT+TOP+9+*+FROM+odd.main"
# what an address needs to answer with more than a fault
VALID_QUERIES = {
    "/adql": _QUERY,
    **{f"/adql/{word}": _QUERY for word in ("answer", "check", "explain", "histogram", "points", "rows")},
}
