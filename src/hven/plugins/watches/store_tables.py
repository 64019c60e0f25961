"""Tables of the system state: watches, and what they have found."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hven.site.api.store_tables import PackageTableSet

if TYPE_CHECKING:
    import sqlalchemy as sa


def _add_fault_column(connection: sa.Connection) -> None:
    """Upgrade to format 2: add why a condition cannot be evaluated."""
    connection.exec_driver_sql("ALTER TABLE watches ADD COLUMN fault TEXT NOT NULL DEFAULT ''")


TABLES = PackageTableSet({1: _add_fault_column})
watches = TABLES.define_table(
    "watches",
    """
    number     big key
    name       text unique  -- in addresses
    account    text index
    table_name text index
    title      text
    tells      text  -- new, or all
    channel    text  -- none, mail or webhook
    webhook    text  -- empty: none
    problem    text  -- why Hven delivers nothing any more; empty: it does
    fault      text default ''  -- why its condition could not be evaluated the last time; empty: it could
    nonce      text  -- part of what signed links and the secret of the webhook are made from
    language   text
    created    float
    snapshot   text  -- the state of the table up to which changes have been matched
    definition text  -- JSON: see RowDefinition. It may be long: SQLite finds the columns before it without reading it
    """,
)
watch_matches = TABLES.define_table(
    "watch_matches",
    """
    number   big key
    id       text unique  -- of the watch and the two states: the same news is stored once
    watch    text index
    since    text
    version  text  -- the later state
    at       float
    rows     text  -- JSON: [key, new | changed | gone, longitude, latitude] of the first rows
    counts   text  -- JSON: numbers of all rows; empty: the changes were not kept
    state    text index
    attempts int
    due      float
    ended    float
    error    text
    """,
)
