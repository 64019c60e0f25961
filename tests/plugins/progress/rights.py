"""What the tests of rights must know of this package (`tests/package_rights.py`)."""

from __future__ import annotations

QUERY_STRINGS = {"/progress/{name}": ["", "year=2004"]}
