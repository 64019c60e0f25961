"""What the tests of rights must know of this package (`tests/package_rights.py`)."""

QUERY_STRINGS = {"/usage": [""], "/usage/{file}": [""]}
PATH_VALUES = {"file": "usage.csv"}
DIFFERING_ROUTES = {"/usage": "what others have asked"}
STORE = {"uses": "sums, for whoever curates now: plugins/usage/test_usage.py"}
