"""What tests of the core need to try what this package adds (`tests/plugin_needs.py`)."""

from __future__ import annotations

# addresses whose answers come from rows
ROW_ADDRESSES = {"/changes/stars.main": "the state of a table"}
# addresses that tell when and what was published
PUBLICATION_ADDRESSES = {
    "/changes/{table}?RESPONSEFORMAT=votable": "the state of a table",
    "/collections/{collection}/changes.atom": "publications of a collection",
}
