"""What the tests of rights must know of this package (`tests/package_rights.py`)."""

QUERY_STRINGS = {
    "/changes/{table}": [
        "",
        "RESPONSEFORMAT=csv",
        "SINCE={first}&RESPONSEFORMAT=csv",
        "SINCE={first}&ROWS=values&RESPONSEFORMAT=csv",
    ],
    "/changes/{table}/capabilities": [""],
    "/collections/{name}/changes.atom": [""],
    "/collections/{name}/changes.rss": [""],
}
