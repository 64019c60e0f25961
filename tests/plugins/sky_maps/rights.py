"""What the tests of rights must know of this package (`tests/package_rights.py`)."""

from __future__ import annotations

from rights_matrix import SEARCHES, TABLE_ROUTE

REGIONS = ("_in=CIRCLE 60 -40 9", "_in=POLYGON 50 -45 70 -45 60 -30&note=*zq*", "_polygon=1 2, 3 4, 5 9")
QUERY_STRINGS = {f"{TABLE_ROUTE}/places": [*SEARCHES, *REGIONS], f"{TABLE_ROUTE}/forms": ["", *REGIONS]}
