"""What the tests of rights must know of this package (`tests/package_rights.py`)."""

QUERY_STRINGS = {
    path: [""] for path in ("/edit", "/edit/home", "/edit/news/{name}", "/edit/collections/{name}")
}  # fmt: skip
ROUTE_VALUES = {"/edit/news/{name}": {"name": "2026-01-01-hello"}}
STORE = {
    "drafts": "texts that a curator wrote, for themself: plugins/curating/test_edit.py asks for the role each time"
}
