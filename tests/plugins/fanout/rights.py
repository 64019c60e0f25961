"""What the tests of rights must know of this package (`tests/package_rights.py`); test_list_page.py tries a list."""

from __future__ import annotations

QUERY_STRINGS = {
    "/job-lists/{list}": ["", "from=50&phase=ERROR"],
    "/job-lists/{list}/rows": [""],
    "/job-lists/{list}/places": [""],
    "/job-lists/{list}/results.tar": [""],
}
PATH_VALUES = {"list": "nothing"}
REFUSED_WAYS = dict.fromkeys(QUERY_STRINGS, "a list has a name of its own: test_lists.py tries it as others")
