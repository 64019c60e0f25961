"""What the tests of rights must know of this package (`tests/package_rights.py`)."""

QUERY_STRINGS = {"/push/{table}": [""], "/push/{table}/{key:path}": [""]}
PATH_VALUES = {"key:path": "idzqembargo"}
STORE = {
    "pushed": "rows of tables: told by the policies of these",
    "pushes": "who wrote them, for the writers: plugins/push/test_service.py",
}
ROUTE_CHOICES = dict.fromkeys(QUERY_STRINGS, ("table", ("obs.written", "obs.main")))
TABLES = {
    "written": """\
  written:
    title: Rows that clients write
    source: {kind: push, columns: {ident: string, pi: string}, ids: ident, writers: [bob]}
    primary: ident
    access: {rows: "reader in (pi)"}
    columns:
      ident: {type: string, ucd: meta.id;meta.main, description: Name}
      pi: {type: string, description: Who may see it}
"""
}
REFUSED_WAYS = {"/push/{table}/{key:path}": "rows that clients wrote, for their writers: test_service.py"}
ACCOUNT_ROUTES = dict.fromkeys(("/push/{table}", "/push/{table}/{key:path}"), "it needs a token of the account")
