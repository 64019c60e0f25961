"""What the tests of rights must know of this package (`tests/package_rights.py`)."""

QUERY_STRINGS = {"/tap/user_tables/{table}": [""], "/tap/load": [""]}
