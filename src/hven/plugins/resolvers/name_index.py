"""An index of the names of objects in a table: all spellings, sorted, so that a look-up is a binary search.

The rows stay in Arrow.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hven import adql
from hven.engines import ExecutionLimits
from hven.model.deadlines import Deadline
from hven.model.errors import ServiceError, format_message
from hven.model.sky.api.ragged_arrays import map_in_threads
from hven.query.resolver import normalize_object_names
from hven.site.auth import ANONYMOUS_PRINCIPAL, apply_access_control

if TYPE_CHECKING:
    from hven.adql.syntax_tree import Query
    from hven.model.table import Column
    from hven.query.resolver import NameRequest

READ_TIMEOUT_SECONDS = 60.0
# parts are sorted on several cores, and a small part takes less time for each of its rows
ROWS_PER_PART = 250_000
ALIAS_SEPARATOR_PATTERN = "[#|;]"  # between the names in one text


@dataclass(frozen=True, slots=True)
class NameIndex:
    """An index of names.

    Attributes
    ----------
    table
        The rows: ``name``, ``aliases`` and further columns by their roles.
    key_tables
        For each part of the rows: the keys of names in their order, the row of each key, and whether it is the main
        name.
    """

    table: pa.Table
    key_tables: list[pa.Table]

    def find_rows(self, name_key: str) -> list[tuple[int, bool]]:
        """Find the rows that have a name.

        Parameters
        ----------
        name_key
            The normalized name.

        Returns
        -------
        rows
            Number of each row in ascending order, and whether the name is the row's main name.
        """
        found_keys = pa.concat_tables([_find_key_rows(key_table, name_key) for key_table in self.key_tables])
        matches = found_keys.group_by("row").aggregate([("own", "any")]).sort_by("row")
        return [(match["row"], match["own_any"]) for match in matches.to_pylist()]

    def read_value(self, role: str, row_number: int) -> Any:
        """Read a value; None if the table has no such column.

        Parameters
        ----------
        role
            Name of the column.
        row_number
            Number of the row.
        """
        if role in self.table.column_names:
            return self.table[role][row_number].as_py()
        return None

    def list_aliases(self, row_number: int) -> tuple[str, ...]:
        """List the aliases of a row, each once.

        Parameters
        ----------
        row_number
            Number of the row.
        """
        return tuple(dict.fromkeys(filter(None, self.read_value("aliases", row_number) or ())))


def build_name_index(columns_by_role: dict[str, pa.ChunkedArray], alias_lists: list[pa.ChunkedArray]) -> NameIndex:
    """Build an index.

    Parameters
    ----------
    columns_by_role
        Columns of the table, with ``name``.
    alias_lists
        Columns with lists of aliases.
    """
    names = columns_by_role["name"].combine_chunks()
    combined_lists = [alias_list.combine_chunks() for alias_list in alias_lists]

    def build_part(first_row: int) -> pa.Table:
        parts = [column.slice(first_row, ROWS_PER_PART) for column in (names, *combined_lists)]
        return _build_key_table(first_row, *parts)

    key_tables = map_in_threads(build_part, range(0, max(len(names), 1), ROWS_PER_PART))
    if combined_lists:
        columns_by_role["aliases"] = pa.chunked_array([_concat_alias_lists(combined_lists)])
    return NameIndex(table=pa.table(columns_by_role), key_tables=key_tables)


def split_aliases(values: pa.ChunkedArray, column: Column) -> pa.ChunkedArray:
    """Return lists of names, from lists or from texts with several names.

    Parameters
    ----------
    values
        Values of a column.
    column
        The column.

    Raises
    ------
    ServiceError
        The column contains no texts.
    """
    if pa.types.is_list(values.type) or pa.types.is_large_list(values.type):
        return values.cast(pa.list_(pa.string()))
    if not column.type.is_string:
        raise ServiceError(format_message("the column {name!r} contains no names", column.name))
    return pc.split_pattern_regex(values.cast(pa.string()), ALIAS_SEPARATOR_PATTERN).cast(pa.list_(pa.string()))


def read_public_rows(request: NameRequest, query: Query, row_limit: int) -> pa.Table:
    """Read public rows, one more than `row_limit` at most.

    Parameters
    ----------
    request
        The request, with the site and the policies.
    query
        The query.
    row_limit
        Number of rows.
    """
    published_state = request.site.get_published_state()
    catalogue = published_state.get_catalogue(ANONYMOUS_PRINCIPAL, request.policies)
    bound_query = adql.bind_query(query, catalogue)
    permitted_query, _ = apply_access_control(bound_query, ANONYMOUS_PRINCIPAL, request.policies)
    access_key = published_state.find_access_key(ANONYMOUS_PRINCIPAL, request.policies)
    relations = {
        read_table.qualified_name: published_state.find_relation(read_table, access_key)
        for read_table in permitted_query.tables
    }
    limits = ExecutionLimits(row_limit=row_limit, deadline=Deadline(READ_TIMEOUT_SECONDS))
    execution = request.site.embedded_engine.plan_query(permitted_query).execute((), relations, limits)
    try:
        batches = list(execution)
    finally:
        execution.close()
    return pa.Table.from_batches(batches, schema=execution.schema)


def _build_key_table(first_row: int, names: pa.Array, *alias_lists: pa.Array) -> pa.Table:
    """Build the keys of a part of the rows, in their order."""
    key_tables = [_build_key_rows(names, np.arange(len(names)), is_main_name=True)]
    for alias_list in alias_lists:
        row_numbers = pc.list_parent_indices(alias_list)
        key_tables.append(_build_key_rows(pc.list_flatten(alias_list), row_numbers, is_main_name=False))
    key_table = pa.concat_tables(key_tables)
    has_key = pc.and_kleene(pc.is_valid(key_table["key"]), pc.not_equal(key_table["key"], ""))
    key_table = key_table.filter(has_key).combine_chunks().sort_by("key")
    row_numbers = pc.add(key_table["row"], first_row)
    return key_table.set_column(1, "row", row_numbers).combine_chunks()


def _build_key_rows(names: Any, row_numbers: Any, *, is_main_name: bool) -> pa.Table:
    """Build the rows of some names: their keys, and the rows that have them."""
    columns = {
        "key": normalize_object_names(names),
        "row": pa.array(row_numbers).cast(pa.int64()),
        "own": np.full(len(names), is_main_name),
    }
    return pa.table(columns)


def _find_key_rows(key_table: pa.Table, name_key: str) -> pa.Table:
    """Find the rows of a table of keys that have a key, by a binary search."""
    keys = key_table["key"]

    def read_key(position: int) -> str:
        return str(keys[position].as_py())

    start = bisect_left(range(len(keys)), name_key, key=read_key)
    end = bisect_right(range(len(keys)), name_key, lo=start, key=read_key)
    return key_table.slice(start, end - start)


def _concat_alias_lists(lists: list[pa.Array]) -> pa.Array:
    """Join several lists of names per row into one, without blanks at the ends of names."""
    row_count = len(lists[0])
    row_numbers = pa.concat_arrays([pc.list_parent_indices(item).cast(pa.int64()) for item in lists])
    names = pc.utf8_trim_whitespace(pa.concat_arrays([pc.list_flatten(item) for item in lists]))
    order = pc.sort_indices(pa.table({"row": row_numbers}), sort_keys=[("row", "ascending")])
    list_sizes = np.bincount(row_numbers.to_numpy(zero_copy_only=False), minlength=row_count)
    offsets = np.concatenate([[0], np.cumsum(list_sizes)]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), names.take(order))
