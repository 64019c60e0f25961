"""What the tests of rights must know of this package (`tests/package_rights.py`)."""

QUERY_STRINGS = {
    "/stac/search": ["", "limit=1000"],
    "/stac/collections/{collection}/items": ["limit=1000"],
}
PATH_VALUES = {"collection": "ivoa.obscore", "item:path": "idzqembargo"}
