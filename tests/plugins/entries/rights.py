"""What the tests of rights must know of this package (`tests/package_rights.py`)."""

from urllib.parse import urlencode

ROWS = [urlencode({"row": f'["id{word}"]'}) for word in ("zqembargo", "zqcalib", "zqcarl", "nothing")]
QUERY_STRINGS = {
    "/entries": [""],
    "/entries/{table}": ["", *ROWS],
    "/entries/{table}/history": ["", *ROWS],
    "/entries/{table}/new": ["", *ROWS],
    "/entries/{table}/{number:int}": [""],
    "/entries/{table}/feed.atom": [""],
    "/entries/{table}/feed.rss": [""],
    "/comments/{table}": ["", *ROWS],
    "/comments/{table}/feed.atom": [""],
    "/comments/{table}/feed.rss": [""],
}
PATH_VALUES = {"number:int": "1"}
TABLE_KEYS = {"comments": "    comments: {}\n"}
STORE = {
    "entries": "proposals, for their authors and moderators: plugins/entries/test_entry_rights.py",
    "entry_events": "steps of the proposals, with the same rights: plugins/entries/test_entry_rights.py",
    "row_comments": "shown to those who see the row: plugins/entries/test_comments.py",
    "cited_works": "titles of publications, which are public: plugins/entries/test_work_titles.py",
}
ROUTE_CHOICES = {path: ("table", ("obs.entered", "obs.main")) for path in QUERY_STRINGS if path.startswith("/entries/")}
TABLES = {
    "entered": """\
  entered:
    title: Rows that people enter
    source: {kind: push, columns: {ident: string, pi: string}, ids: ident, writers: [bob]}
    entries: {submitters: [bob], history: public}
    primary: ident
    access: {rows: "reader in (pi)"}
    columns:
      ident: {type: string, ucd: meta.id;meta.main, description: Name}
      pi: {type: string, description: Who may see it}
"""
}
REFUSED_WAYS = {
    "/entries/{table}/history": "the site of the tests has no entries: test_row_history.py, test_entry_rights.py",
    "/entries/{table}/{number:int}": "an entry, for its author and the moderators: test_entry_rights.py",
}
