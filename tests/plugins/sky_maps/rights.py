"""What the tests of rights must know of this package (`tests/package_rights.py`)."""

from __future__ import annotations

from rights_matrix import SEARCHES, TABLE_ROUTE

QUERY_STRINGS = {f"{TABLE_ROUTE}/places": SEARCHES}
