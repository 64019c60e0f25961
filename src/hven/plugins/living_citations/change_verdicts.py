"""Decide from the keys of changed rows whether the answers of cited queries have changed.

This works for queries that return rows of one table, whatever their condition: a row that no query finds, neither
before nor after, changes no answer. Other queries (with aggregates, joins, TOP ..) are repeated.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hven import adql
from hven.adql import syntax_tree
from hven.model.errors import HvenError
from hven.model.sky.api.ragged_arrays import sort_distinct
from hven.plugins.changes.row_definitions import definition_from_json
from hven.plugins.changes.row_matching import ChangedRowMatcher
from hven.plugins.changes.table_changes import load_table_changes
from hven.plugins.watches.watch_definitions import parse_watched_query
from hven.site.auth import ANONYMOUS_PRINCIPAL, collect_column_masks, collect_row_filters, is_table_visible

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from hven.model.table import Table
    from hven.plugins.changes.row_matching import ChangedRowPairs
    from hven.plugins.changes.table_changes import TableChanges
    from hven.site import Catalogue, PublishedState, Site

CODE_NAMES = ("new", "changed", "gone")  # by the codes of `ChangedRowPairs`
MAX_PAIRS_AT_ONCE = 200_000


@dataclass(frozen=True, kw_only=True)
class AnswerChange:
    """How an answer differs between two states.

    Attributes
    ----------
    counts
        Numbers of new, changed and gone rows; without zeros.
    columns
        Columns of changed rows with other values.
    """

    counts: Mapping[str, int]
    columns: Sequence[str]


class RowQuery(NamedTuple):
    """A cited query that returns rows of one table.

    Attributes
    ----------
    definition
        The rows that it finds, as JSON of a `RowDefinition`; empty: it is another query.
    shown_names
        Names of the columns that the answer shows, in lower case.
    shows_key
        Whether it shows columns alone, and all of the key: then other rows or values are another answer for sure.
    """

    definition: str
    shown_names: tuple[str, ...]
    shows_key: bool


NO_ROW_QUERY = RowQuery("", (), shows_key=False)


def read_row_query(body: Mapping[str, Any], catalogue: Catalogue) -> RowQuery:
    """Read a cited query.

    Parameters
    ----------
    body
        Body of the cited result.
    catalogue
        The public tables.
    """
    try:
        table, definition = parse_watched_query(body["text"], catalogue)
        query_body = adql.parse_query(body["text"]).body
    except HvenError:
        return NO_ROW_QUERY
    if list(body["snapshots"]) != [table.qualified_name] or not isinstance(query_body, syntax_tree.Select):
        return NO_ROW_QUERY
    expressions = [item.expr if isinstance(item, syntax_tree.SelectItem) else item for item in query_body.items]
    nodes = [node for expression in expressions for node in syntax_tree.walk_tree(expression)]
    names = {node.name.name.lower() for node in nodes if isinstance(node, syntax_tree.ColumnRef)}
    if any(isinstance(node, syntax_tree.SelectStar) for node in nodes):
        names |= {column.name.lower() for column in table.columns if not column.hidden}
    shows_columns = all(isinstance(item, syntax_tree.ColumnRef | syntax_tree.SelectStar) for item in expressions)
    shows_key = shows_columns and {name.lower() for name in table.primary} <= names
    return RowQuery(definition.to_json(), tuple(sorted(names)), shows_key)


def decide_by_keys(
    site: Site, published_state: PublishedState, table_name: str, since: str, queries: Sequence[RowQuery]
) -> list[AnswerChange | None]:
    """Decide how the answers of queries differ between an earlier state of a table and the published one.

    Parameters
    ----------
    site
        The site.
    published_state
        The published tables.
    table_name
        The table.
    since
        Id of the earlier state.
    queries
        The queries, each once.

    Returns
    -------
    changes
        None: the keys do not tell.
    """
    undecided: list[AnswerChange | None] = [None] * len(queries)
    published_table = published_state.tables_by_name.get(table_name)
    if published_table is None or not _is_wholly_public(published_table.table):
        return undecided
    try:
        changes = load_table_changes(site, published_state, table_name, since)
    except HvenError:
        return undecided
    state_before = changes.state_before
    if state_before is None or _describe_columns(state_before, table_name) != _describe_columns(
        published_state, table_name
    ):
        return undecided
    definitions = [definition_from_json(row_query.definition) for row_query in queries]
    counter = _ChangeCounter(changes, [row_query.shown_names for row_query in queries])
    matcher = ChangedRowMatcher(site, changes, ANONYMOUS_PRINCIPAL, definitions)
    for found in matcher.iterate_pairs():
        counter.add_pairs(found)
    decided: list[AnswerChange | None] = []
    for row_query, definition, change in zip(queries, definitions, counter.iterate_changes(), strict=True):
        is_failed = definition.condition in matcher.failed_conditions
        decided.append(None if is_failed or not _is_certain(row_query, change) else change)
    return decided


def _is_certain(row_query: RowQuery, change: AnswerChange | None) -> bool:
    """Return whether an answer with such a change is another one: other rows may have equal values in it."""
    if change is None or not change.counts or row_query.shows_key:
        return True
    return change.counts.get("new", 0) != change.counts.get("gone", 0)


def _is_wholly_public(table: Table) -> bool:
    """Return whether everybody sees all rows: an embargo that ends changes answers, and no row."""
    return (
        is_table_visible(table, ANONYMOUS_PRINCIPAL)
        and not collect_row_filters([table], ANONYMOUS_PRINCIPAL)
        and not collect_column_masks([table], ANONYMOUS_PRINCIPAL)
    )


def _describe_columns(state: PublishedState, table_name: str) -> list[tuple[str, str, bool]]:
    table = state.tables_by_name[table_name].table
    return [(column.name, str(column.type), column.hidden) for column in table.columns]


class _ChangeCounter:
    """Count the rows by which answers differ.

    Parameters
    ----------
    changes
        The changed rows.
    shown_names
        Names of the columns that each answer shows, in lower case.
    """

    def __init__(self, changes: TableChanges, shown_names: Sequence[Sequence[str]]) -> None:
        self._names = [column.name for column in changes.table.columns]
        indexes = {name.lower(): index for index, name in enumerate(self._names)}
        self._is_shown = np.zeros((len(shown_names), len(self._names)), bool)
        for index, names in enumerate(shown_names):
            self._is_shown[index, [indexes[name] for name in names if name in indexes]] = True
        self._has_changed, self._is_unknown = _read_changed_columns(changes, self._names)
        self._counts = np.zeros((len(shown_names), len(CODE_NAMES)), np.int64)
        self._columns = np.zeros_like(self._is_shown)
        self._is_undecided = np.zeros(len(shown_names), bool)

    def add_pairs(self, found: ChangedRowPairs) -> None:
        """Add what the queries find of the changed rows."""
        for start in range(0, len(found.codes), MAX_PAIRS_AT_ONCE):
            part = slice(start, start + MAX_PAIRS_AT_ONCE)
            queries, rows, codes = found.definition_indexes[part], found.row_numbers[part], found.codes[part]
            is_in_both = codes == 1
            values_changed = self._has_changed[rows] & self._is_shown[queries] & is_in_both[:, np.newaxis]
            self._is_undecided[queries[is_in_both & self._is_unknown[rows]]] = True
            counts = ~is_in_both | values_changed.any(axis=1)
            np.add.at(self._counts, (queries[counts], codes[counts]), 1)
            pair_indexes, columns = np.nonzero(values_changed)
            distinct = sort_distinct(queries[pair_indexes] * len(self._names) + columns)
            self._columns[np.divmod(distinct, len(self._names))] = True

    def iterate_changes(self) -> Iterator[AnswerChange | None]:
        """Yield the change of each answer; None: not known, because of a row any column of which may have changed."""
        for counts, columns, is_undecided in zip(self._counts, self._columns, self._is_undecided, strict=True):
            if is_undecided:
                yield None
                continue
            named_counts = dict(zip(CODE_NAMES, counts.tolist(), strict=True))
            yield AnswerChange(
                counts={name: count for name, count in named_counts.items() if count},
                columns=[self._names[index] for index in np.flatnonzero(columns)],
            )


def _read_changed_columns(changes: TableChanges, names: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Return a mask of changed columns of each row, and a mask of rows any column of which may have changed."""
    assert changes.changed_columns is not None  # noqa: S101  (`load_table_changes` reads them)
    lists = None
    if changes.changed_columns.num_chunks:
        lists = pa.concat_arrays(changes.changed_columns.chunks)
    has_changed = np.zeros((changes.keys.num_rows, len(names)), bool)
    if lists is None:
        return has_changed, np.zeros(0, bool)
    columns = pc.index_in(pc.list_flatten(lists), value_set=pa.array(names, pa.string()))
    is_known = np.asarray(pc.is_valid(columns))
    has_changed[np.asarray(pc.list_parent_indices(lists))[is_known], np.asarray(columns.drop_null())] = True
    return has_changed, np.asarray(pc.is_null(lists))
