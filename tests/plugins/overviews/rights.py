"""What the tests of rights must know of this package (`tests/package_rights.py`)."""

from __future__ import annotations

from rights_matrix import HIDDEN, SEARCHES, TABLE_ROUTE

QUERY_STRINGS = {
    f"{TABLE_ROUTE}/strip": [*SEARCHES, *(f"_only=row&_row=id{word}" for word in ("zqcalib", *HIDDEN, "nothing"))]
}
