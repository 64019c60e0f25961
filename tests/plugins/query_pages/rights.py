"""What the tests of rights must know of this package (`tests/package_rights.py`)."""

from __future__ import annotations

from urllib.parse import urlencode

from rights_matrix import ALL

_QUERIES = (ALL, "SELECT nope FROM obs.main")
QUERY_STRINGS = {
    "/adql": ["", urlencode({"QUERY": ALL})],
    **{
        f"/adql/{what}": [urlencode({"QUERY": query, "_wait": "1"}) for query in _QUERIES]
        for what in ("answer", "check", "explain", "rows")
    },
    "/adql/histogram": [urlencode({"QUERY": ALL, "_x": "mag"})],
    "/adql/points": [urlencode({"QUERY": ALL, "_x": "mag", "_y": "n"})],
    "/adql/words": ["", "q=zq"],
}
DIFFERING_ROUTES = {"/adql/explain": "it says that there is a policy"}
