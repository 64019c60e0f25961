"""What the tests of rights must know of this package (`tests/package_rights.py`)."""

from urllib.parse import urlencode

QUERIES = ("SELECT * FROM obs.main", "SELECT ident, note FROM obs.main")
QUERY_STRINGS = {
    "/notebook": [urlencode({"QUERY": query}) for query in QUERIES],
    "/collections/{name}/{table}/notebook": ["", "_all=1"],
}
