"""Tables of the system state: what is known of cited results, and who wants to be told."""

from __future__ import annotations

from hven.site.api.store_tables import PackageTableSet

TABLES = PackageTableSet()
citation_findings = TABLES.define_table(
    "citation_findings",
    """
    id          text key  -- of the cited result
    made        text index
    collections text  -- JSON: names
    snapshots   text index  -- JSON: the states of its tables that were looked at last
    work        text index  -- none, count or run: what is to be done in the background
    verdict     text  -- same, changed or unknown: the answer, compared with that of the paper
    how         text  -- keys or run
    at          float
    cited_rows  int
    row_count   int  -- of the answer now
    counts      text  -- JSON: numbers of new, changed and gone rows; empty: not known
    columns     text  -- JSON: the columns of changed rows with other values
    error       text
    shown_names text  -- JSON: columns that the answer shows
    shows_key   int  -- 1: it shows columns alone, and all of the key
    definition  text  -- JSON of a RowDefinition: which rows it finds; empty: only the query itself can tell
    """,
)
citation_readers = TABLES.define_table(
    "citation_readers",
    """
    wish    text key  -- result and account
    result  text index
    account text index
    """,
)
citation_rests = TABLES.define_table(
    "citation_rests",
    """
    id    int key
    until float  -- no query is repeated before this time
    """,
)
