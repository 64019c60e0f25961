"""What the tests of rights must know of this package (`tests/package_rights.py`)."""

from urllib.parse import urlencode

QUERIES = ("SELECT * FROM obs.main", "SELECT ident, note FROM obs.main", "SELECT url FROM obs.files")
QUERY_STRINGS = {
    "/archive": [urlencode({"QUERY": query, "FORMAT": kind}) for query in QUERIES for kind in ("zip", "tar", "links")]
}
FILE_ADDRESSES = {
    "archives of a query": "/archive?QUERY=SELECT+obs_id%2C+file+FROM+{collection}.main&FORMAT=tar",
    "archives of a row": "/archive?TABLE={collection}.main&ID=one&FORMAT=tar",
}
