"""What the tests of rights must know of this package (`tests/package_rights.py`)."""

QUERY_STRINGS = {"/push/{table}": [""], "/push/{table}/{key:path}": [""]}
PATH_VALUES = {"key:path": "idzqembargo"}
STORE = {
    "pushed": "rows of tables: told by the policies of these",
    "pushes": "who wrote them, for the writers: plugins/push/test_service.py",
}
