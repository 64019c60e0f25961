"""What the tests of rights must know of this package (`tests/package_rights.py`)."""

QUERY_STRINGS = {"/compare": ["", "group=ucd", "show=all"], "/compare/differences": ["", "RESPONSEFORMAT=votable"]}
