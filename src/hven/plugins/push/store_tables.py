"""Tables of the system state: what clients wrote, and the rows."""

from __future__ import annotations

import sqlalchemy as sa

from hven.site.api.store_tables import PackageTableSet

TABLES = PackageTableSet()
pushes = TABLES.define_table(  # every write by a client into a table that accepts them: see `push_store`
    "pushes",
    """
    number     big key
    run        text
    table_name text
    collection text
    at         text
    by         text
    action     text
    rows       big
    removed    big
    token      text
    digest     text
    top        big
    answer     text  -- JSON
    """,
    sa.Index("ix_pushes_numbers", "table_name", "number"),
    sa.Index("ix_pushes_digests", "table_name", "digest"),
)
pushed = TABLES.define_table(  # their rows, which are stored nowhere else
    "pushed",
    """
    table_name text key
    last       big key
    first      big
    rows       big
    body       text  -- an Arrow stream in base64
    """,
)
