"""Snapshots that share one table.

Each row has the number of the state in which it came and of the one in which it went.

The table ``b_..`` is made by the first merge of a table. Each snapshot of it is a view ``s_..`` of the rows that came
by its number and had not gone; what a later merge adds or ends, no earlier view can see. Two small indexes have only
the rows that came later or went: by these the changes between two states are found, and what no view shows any more is
removed. All who change a table hold one advisory lock; readers wait for nobody.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

from hven.engines.postgres.position_search import CELL_COLUMN
from hven.engines.postgres.schema_installation import quote_identifier, quote_literal
from hven.engines.postgres.table_records import SharedState, TableRecord, parse_table_comment

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from hven.model.table import Table

BORN_COLUMN, DIED_COLUMN = "hven:born", "hven:died"
ALIVE_STATE = 2_147_483_647  # the state in which rows go that have not gone
FIRST_STATE = 1


def build_shared_table_name(snapshot_name: str) -> str:
    """Name the shared table that a snapshot's merge makes: as the snapshot, with another letter."""
    return f"b{snapshot_name[1:]}"


def write_state_columns() -> str:
    """Write the two columns that a shared table has more."""
    return (
        f"{quote_identifier(BORN_COLUMN)} int NOT NULL DEFAULT {FIRST_STATE}, {quote_identifier(DIED_COLUMN)} int "
        f"NOT NULL DEFAULT {ALIVE_STATE}"
    )


def write_shared_indexes(index_texts: Sequence[str]) -> list[str]:
    """Write what follows ``CREATE INDEX ON table``; `index_texts` is what it would be for a table of its own.

    Indexes of columns have the two numbers, too, so that rows can be counted without a look at the table. Two more are
    of the rows that came later, and of those that went.
    """
    state_columns = f"{quote_identifier(BORN_COLUMN)}, {quote_identifier(DIED_COLUMN)}"
    shared_texts = [
        f"{text[:-1]}, {state_columns})"
        if text.startswith('("') and quote_identifier(CELL_COLUMN) not in text
        else text
        for text in index_texts
    ]
    return [
        *shared_texts,
        f"({quote_identifier(BORN_COLUMN)}) WHERE {quote_identifier(BORN_COLUMN)} > {FIRST_STATE}",
        f"({quote_identifier(DIED_COLUMN)}) WHERE {quote_identifier(DIED_COLUMN)} < {ALIVE_STATE}",
    ]


def compute_index_digest(table: Table, index_texts: Sequence[str]) -> str:
    """Digest how a table is to be keyed and indexed: a shared one that is so otherwise is not merged into."""
    return hashlib.sha256(repr((table.primary, table.position, sorted(index_texts))).encode()).hexdigest()[:16]


def write_view_statement(schema: str, view_name: str, shared_state: SharedState, column_names: Sequence[str]) -> str:
    """Write the statement that makes a snapshot of a shared table. The two numbers are seen, too.

    `write_difference_condition` asks for them.
    """
    column_list = ", ".join(map(quote_identifier, (*column_names, BORN_COLUMN, DIED_COLUMN)))
    return (
        f"CREATE VIEW {quote_identifier(schema)}.{quote_identifier(view_name)} AS SELECT {column_list} FROM {quote_identifier(schema)}.{quote_identifier(shared_state.base_table)} "
        f"WHERE {write_state_condition(shared_state)}"
    )


def write_state_condition(shared_state: SharedState) -> str:
    """Write which rows of a shared table a snapshot has."""
    return (
        f"{quote_identifier(BORN_COLUMN)} <= {shared_state.state_number} AND {quote_identifier(DIED_COLUMN)} > "
        f"{shared_state.state_number}"
    )


def write_difference_condition(first_record: TableRecord, second_record: TableRecord) -> str | None:
    """Write which rows of one snapshot's view the other one has not; None if they share nothing."""
    if (
        first_record.share is None
        or second_record.share is None
        or first_record.share.base_table != second_record.share.base_table
    ):
        return None
    if first_record.share.state_number < second_record.share.state_number:
        return f"{quote_identifier(DIED_COLUMN)} <= {second_record.share.state_number}"
    return f"{quote_identifier(BORN_COLUMN)} > {second_record.share.state_number}"


def write_lock_statement(schema: str, base_table: str) -> str:
    """Write the statement that waits until nobody else changes a shared table, until the end of the transaction."""
    return (
        f"SELECT 1 FROM pg_advisory_xact_lock(hashtextextended({quote_literal(f'hven base {schema}.{base_table}')}, 0))"
    )


def write_shares_query(schema: str) -> str:
    """Write the query for the views and their comments; see `parse_shared_states`."""
    return (
        "SELECT c.relname, obj_description(c.oid, 'pg_class') FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
        f"WHERE n.nspname = {quote_literal(schema)} AND c.relkind = 'v' AND c.relname LIKE 's\\_%'"
    )


def parse_shared_states(comment_rows: Collection[Sequence[Any]]) -> dict[str, SharedState]:
    """Return view -> what it is of a shared table; views of others are left out."""
    states_by_view = {}
    for name, comment in comment_rows:
        try:
            share = parse_table_comment(str(comment)).share
        except (json.JSONDecodeError, AttributeError, KeyError):
            continue  # nobody of ours made it
        if share is not None:
            states_by_view[str(name)] = share
    return states_by_view


def drop_snapshot(connection: Any, schema: str, snapshot_name: str) -> None:
    """Remove a snapshot, in a transaction of the caller's, with what only it had.

    A table goes. A view goes with the rows that no other view shows, and the last one with its table. What a merge has
    begun under this name goes as well.
    """
    relation_kinds = dict(
        connection.execute(
            "SELECT c.relname, c.relkind::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
            "WHERE n.nspname = $1 AND c.relname = ANY($2::text[])",
            [schema, [snapshot_name, f"o{snapshot_name[1:]}", build_shared_table_name(snapshot_name)]],
        ).fetchall()
    )
    if relation_kinds.get(snapshot_name) == "v":
        states_by_view = parse_shared_states(connection.execute(write_shares_query(schema)).fetchall())
        shared_state = states_by_view.pop(snapshot_name, None)
        if shared_state is not None:
            connection.execute(write_lock_statement(schema, shared_state.base_table))
            connection.execute(f"DROP VIEW IF EXISTS {quote_identifier(schema)}.{quote_identifier(snapshot_name)}")
            states_by_view = parse_shared_states(connection.execute(write_shares_query(schema)).fetchall())
            other_numbers = sorted(
                other_name.state_number
                for other_name in states_by_view.values()
                if other_name.base_table == shared_state.base_table
            )
            for text in write_removal_statements(schema, shared_state, other_numbers):
                connection.execute(text)
            relation_kinds.pop(shared_state.base_table, None)
    elif snapshot_name in relation_kinds:
        connection.execute(f"DROP TABLE IF EXISTS {quote_identifier(schema)}.{quote_identifier(snapshot_name)}")
    leftover_names = [other_name for other_name in relation_kinds if other_name != snapshot_name]
    if leftover_names:
        base_tables = {
            shared_state.base_table
            for shared_state in parse_shared_states(connection.execute(write_shares_query(schema)).fetchall()).values()
        }
        for other_name in leftover_names:
            if other_name not in base_tables:
                connection.execute(f"DROP TABLE IF EXISTS {quote_identifier(schema)}.{quote_identifier(other_name)}")


def write_removal_statements(schema: str, shared_state: SharedState, other_numbers: Sequence[int]) -> list[str]:
    """Write the statements that remove the rows which only one state showed.

    `other_numbers` are the numbers of the others, ascending.

    If it was the last state, its changes are taken back, so that the one before is again a state that can be merged
    into.
    """
    quoted_base = f"{quote_identifier(schema)}.{quote_identifier(shared_state.base_table)}"
    born = quote_identifier(BORN_COLUMN)
    died = quote_identifier(DIED_COLUMN)
    if not other_numbers:
        return [f"DROP TABLE IF EXISTS {quoted_base}"]
    previous_number = max((number for number in other_numbers if number < shared_state.state_number), default=0)
    next_number = min((number for number in other_numbers if number > shared_state.state_number), default=None)
    if next_number is None:
        return [
            f"DELETE FROM {quoted_base} WHERE {born} > {previous_number} AND {born} > {FIRST_STATE}",
            (
                f"UPDATE {quoted_base} SET {died} = {ALIVE_STATE} WHERE {died} > {previous_number} AND {died} < "
                f"{ALIVE_STATE}"
            ),
        ]
    return [
        (
            f"DELETE FROM {quoted_base} WHERE {died} > {shared_state.state_number} AND {died} <= {next_number} AND "
            f"{died} < {ALIVE_STATE} AND {born} > {previous_number}"
        )
    ]
