"""Tables of the system state: entries with their steps, comments on rows, and titles of cited works."""

from __future__ import annotations

import sqlalchemy as sa

from hven.site.api.store_tables import PackageTableSet

TABLES = PackageTableSet({1: lambda _: None})  # format 2 adds the table `cited_works`
entries = TABLES.define_table(  # proposals of rows; the rows that were accepted are those of `push`
    "entries",
    """
    number      big key
    table_name  text
    row_key     text  -- JSON list, as in addresses of rows; empty: a new row that has no key yet
    version     int   -- number of this version of the row; 0: not accepted yet
    state       text
    revision    int   -- grows with each step
    author      text index
    created     text
    changed     text
    row_values  text  -- JSON: column -> value
    base_values text  -- JSON: the values that the entry changes; empty for a new row
    base_state  text  -- state of the row that the entry changes
    row_state   text  -- state of the row after the entry was accepted
    warnings    text  -- JSON: list of messages
    token       text  -- of the request that made the entry
    """,
    sa.Index("ix_entries_tables", "table_name", "state"),
)
entry_events = TABLES.define_table(
    "entry_events",
    """
    number big key
    entry  big index
    at     text
    by     text
    action text
    state  text
    reason text
    digest text  -- of the request, which may come twice
    """,
)
row_comments = TABLES.define_table(
    "row_comments",
    """
    number     big key
    table_name text
    row_key    text  -- JSON list, as in addresses of rows
    kind       text
    column     text  -- of a report on a value; empty: the whole row
    value      text  -- the value that the author saw
    text       text
    author     text index
    at         text
    state      text
    by         text  -- who decided; empty: nobody yet
    decided    text
    reason     text
    """,
    sa.Index("ix_row_comments_rows", "table_name", "row_key"),
)
cited_works = TABLES.define_table(
    "cited_works",
    """
    id       text key
    title    text  -- empty: unknown
    author   text
    year     text
    next_try text  -- when ADS may be asked again; ISO, UTC
    """,
)
