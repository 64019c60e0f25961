"""Snapshots that share one table.

Each row has the number of the state in which it was added, and of the state in which it was removed.

The first merge of a table creates the shared table ``b_..``. Each snapshot is a view ``s_..`` of the rows that were
added up to its state and not removed by then, so that a later merge does not change earlier views. Two small indexes
have only the rows that were added later or removed. They find the changes between two states, and the rows that no view
shows any more. A process that changes the table holds an advisory lock; queries never wait.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

from hven.plugins.postgres.engine.position_search import CELL_COLUMN
from hven.plugins.postgres.engine.schema_installation import quote_identifier, quote_literal
from hven.plugins.postgres.engine.table_records import SharedTableState, SnapshotTableComment, parse_table_comment

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from hven.model.table import Table

BORN_COLUMN, DIED_COLUMN = "hven:born", "hven:died"
ALIVE_STATE = 2_147_483_647  # removal state of the rows that are not removed
FIRST_STATE = 1


def build_shared_table_name(snapshot_name: str) -> str:
    """Name the shared table that the first merge of a snapshot creates: like the snapshot, with another letter."""
    return f"b{snapshot_name[1:]}"


def write_state_column_definitions() -> str:
    """Write the two additional columns of a shared table."""
    return (
        f"{quote_identifier(BORN_COLUMN)} int NOT NULL DEFAULT {FIRST_STATE}, {quote_identifier(DIED_COLUMN)} int "
        f"NOT NULL DEFAULT {ALIVE_STATE}"
    )


def write_shared_index_sql(index_texts: Sequence[str]) -> list[str]:
    """Write the parts after ``CREATE INDEX ON table``; `index_texts` are those for a table that is not shared.

    Indexes of columns contain the two state columns, so that rows can be counted without reading the table. Two more
    indexes are for the rows that were added later and for those that were removed.
    """
    born = quote_identifier(BORN_COLUMN)
    died = quote_identifier(DIED_COLUMN)
    shared_texts = []
    for text in index_texts:
        if text.startswith('("') and quote_identifier(CELL_COLUMN) not in text:
            shared_texts.append(f"{text[:-1]}, {born}, {died})")
        else:
            shared_texts.append(text)
    shared_texts.append(f"({born}) WHERE {born} > {FIRST_STATE}")
    shared_texts.append(f"({died}) WHERE {died} < {ALIVE_STATE}")
    return shared_texts


def compute_index_digest(table: Table, index_texts: Sequence[str]) -> str:
    """Compute a digest of the keys and indexes of a table; a merge needs a shared table with the same digest."""
    indexing = (table.primary, table.position, sorted(index_texts))
    return hashlib.sha256(repr(indexing).encode()).hexdigest()[:16]


def write_snapshot_view_statement(
    schema: str, view_name: str, shared_state: SharedTableState, column_names: Sequence[str]
) -> str:
    """Write the statement that creates the view of a snapshot.

    The view has the two state columns, too, for `write_missing_rows_condition`.
    """
    column_list = ", ".join(map(quote_identifier, (*column_names, BORN_COLUMN, DIED_COLUMN)))
    view = f"{quote_identifier(schema)}.{quote_identifier(view_name)}"
    base_table = f"{quote_identifier(schema)}.{quote_identifier(shared_state.base_table)}"
    condition = write_state_condition(shared_state)
    return f"CREATE VIEW {view} AS SELECT {column_list} FROM {base_table} WHERE {condition}"


def write_state_condition(shared_state: SharedTableState) -> str:
    """Write the condition of the rows of a snapshot in a shared table."""
    return (
        f"{quote_identifier(BORN_COLUMN)} <= {shared_state.state_number} AND {quote_identifier(DIED_COLUMN)} > "
        f"{shared_state.state_number}"
    )


def write_missing_rows_condition(first_record: SnapshotTableComment, second_record: SnapshotTableComment) -> str | None:
    """Write the condition of the rows of the first view that the second one does not have.

    None if the snapshots share no table.
    """
    first_state = first_record.share
    second_state = second_record.share
    if first_state is None or second_state is None or first_state.base_table != second_state.base_table:
        return None
    if first_state.state_number < second_state.state_number:
        return f"{quote_identifier(DIED_COLUMN)} <= {second_state.state_number}"
    return f"{quote_identifier(BORN_COLUMN)} > {second_state.state_number}"


def write_lock_statement(schema: str, base_table: str) -> str:
    """Write the statement that locks a shared table against other merges until the end of the transaction."""
    lock_key = quote_literal(f"hven base {schema}.{base_table}")
    return f"SELECT 1 FROM pg_advisory_xact_lock(hashtextextended({lock_key}, 0))"


def write_shared_views_query(schema: str) -> str:
    """Write the query for the views and their comments; see `parse_shared_states`."""
    return (
        "SELECT c.relname, obj_description(c.oid, 'pg_class') "
        "FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
        f"WHERE n.nspname = {quote_literal(schema)} AND c.relkind = 'v' AND c.relname LIKE 's\\_%'"
    )


def parse_shared_states(comment_rows: Collection[Sequence[Any]]) -> dict[str, SharedTableState]:
    """Return the state of each view of a shared table; other views are left out."""
    states_by_view = {}
    for name, comment in comment_rows:
        try:
            share = parse_table_comment(str(comment)).share
        except (json.JSONDecodeError, AttributeError, KeyError):
            continue  # the view is not Hven's
        if share is not None:
            states_by_view[str(name)] = share
    return states_by_view


def drop_snapshot_relations(connection: Any, schema: str, snapshot_name: str) -> None:
    """Remove a snapshot with what belongs to it alone, in a transaction of the caller.

    A table is dropped. A view is dropped with the rows that no other view shows, and the last view with its table. What
    an unfinished merge has created under this name is dropped as well.
    """
    related_names = [snapshot_name, f"o{snapshot_name[1:]}", build_shared_table_name(snapshot_name)]
    relation_rows = connection.execute(
        "SELECT c.relname, c.relkind::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
        "WHERE n.nspname = $1 AND c.relname = ANY($2::text[])",
        [schema, related_names],
    ).fetchall()
    relation_kinds = dict(relation_rows)
    if relation_kinds.get(snapshot_name) == "v":
        shared_state = _read_shared_states(connection, schema).get(snapshot_name)
        if shared_state is not None:
            _drop_state_view_and_rows(connection, schema, snapshot_name, shared_state)
            relation_kinds.pop(shared_state.base_table, None)
    elif snapshot_name in relation_kinds:
        connection.execute(f"DROP TABLE IF EXISTS {quote_identifier(schema)}.{quote_identifier(snapshot_name)}")
    leftover_names = [name for name in relation_kinds if name != snapshot_name]
    if leftover_names:
        base_tables = {state.base_table for state in _read_shared_states(connection, schema).values()}
        for name in leftover_names:
            if name not in base_tables:
                connection.execute(f"DROP TABLE IF EXISTS {quote_identifier(schema)}.{quote_identifier(name)}")


def _read_shared_states(connection: Any, schema: str) -> dict[str, SharedTableState]:
    return parse_shared_states(connection.execute(write_shared_views_query(schema)).fetchall())


def _drop_state_view_and_rows(connection: Any, schema: str, view_name: str, shared_state: SharedTableState) -> None:
    """Drop the view of a state, and remove the rows that no other view shows."""
    connection.execute(write_lock_statement(schema, shared_state.base_table))
    connection.execute(f"DROP VIEW IF EXISTS {quote_identifier(schema)}.{quote_identifier(view_name)}")
    other_states = _read_shared_states(connection, schema).values()
    other_numbers = sorted(state.state_number for state in other_states if state.base_table == shared_state.base_table)
    for statement in write_row_removal_statements(schema, shared_state, other_numbers):
        connection.execute(statement)


def write_row_removal_statements(
    schema: str, shared_state: SharedTableState, other_numbers: Sequence[int]
) -> list[str]:
    """Write the statements that remove the rows which only one state showed.

    `other_numbers` are the numbers of the other states, ascending. If the removed state was the last one, its changes
    are undone, so that changes can be merged into the state before it again.
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
