"""What the tests of rights must know of this package (`tests/package_rights.py`)."""

from __future__ import annotations

QUERY_STRINGS = {"/joint-search/{name}": ["", "target=x"]}
REFUSED_WAYS = {
    "/joint-search/{name}": "no collection here has the key: test_joint_search_rights.py tries hidden rows and tables"
}
