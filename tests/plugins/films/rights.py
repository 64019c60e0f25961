"""What the tests of rights must know of this package (`tests/package_rights.py`)."""

QUERY_STRINGS = {
    "/collections/{name}/{table}/film": ["", "_difference=running"],
    "/collections/{name}/{table}/film.mp4": ["", "_width=256"],
}
