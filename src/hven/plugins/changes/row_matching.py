"""Match the changed rows of a table with all definitions of accounts that see the same rows.

A pair of a definition and a row is one number: the index of the definition times the number of rows, plus that of the
row. If definitions find more pairs than fit into memory, each half of them is matched by itself.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hven import adql, query
from hven.adql import syntax_tree
from hven.model.errors import QueryError
from hven.model.sky.api.ragged_arrays import sort_distinct
from hven.model.table import Column, Table
from hven.model.types import INT64
from hven.plugins.changes.near_targets import iterate_rows_near_targets
from hven.plugins.changes.numeric_bounds import NumericColumns
from hven.plugins.changes.row_definitions import build_key_rows
from hven.plugins.changes.table_changes import NUMBER_COLUMN
from hven.services.api.positions import has_icrs_position

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from hven.plugins.changes.numeric_bounds import NumericBounds
    from hven.plugins.changes.row_definitions import RowDefinition
    from hven.plugins.changes.table_changes import TableChanges
    from hven.site import PublishedState, Site
    from hven.site.auth import Principal

log = logging.getLogger("hven.changes")
MAX_PAIRS = 8_000_000  # of several definitions
UNLIMITED_ROWS = 2**62
QUERY_TIMEOUT_SECONDS = 120.0
MAX_CONDITIONS_PER_QUERY = 50
UPLOAD_TABLE = "TAP_UPLOAD.changes"
OWNER_COLUMN = "hven_condition"
NO_PAIRS = np.empty(0, np.int64)


@dataclass(frozen=True, slots=True, kw_only=True)
class StateRows:
    """The changed rows that some accounts see in one state.

    Attributes
    ----------
    rows
        `NUMBER_COLUMN`, and the columns that watches need.
    numbers
        Their numbers.
    positions
        Longitude and latitude of all changed rows; nan: not visible or unknown.
    numeric_columns
        The columns with numbers.
    """

    rows: pa.Table
    numbers: np.ndarray
    positions: np.ndarray
    numeric_columns: NumericColumns


class PairLimitError(Exception):
    """Several definitions find more pairs than fit into memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangedRowPairs:
    """What some definitions find: pairs of a definition and a changed row, in order.

    Attributes
    ----------
    definition_indexes, row_numbers
        The pairs.
    codes
        0: found in the later state alone; 1: in both; 2: in the earlier state alone.
    positions
        Longitude and latitude of all changed rows.
    """

    definition_indexes: np.ndarray
    row_numbers: np.ndarray
    codes: np.ndarray
    positions: np.ndarray


class ChangedRowMatcher:
    """Match the changed rows of a table with the definitions of accounts that see the same rows.

    Parameters
    ----------
    site
        The site.
    changes
        The changed rows.
    principal
        One of the accounts.
    definitions
        The definitions, each once.

    Attributes
    ----------
    failed_conditions
        Conditions that could not be evaluated, and why: they find nothing.
    tried_conditions
        All conditions that rows were compared with.
    """

    def __init__(
        self, site: Site, changes: TableChanges, principal: Principal, definitions: Sequence[RowDefinition]
    ) -> None:
        self._site = site
        self._changes = changes
        self._principal = principal
        self._row_count = changes.keys.num_rows
        self._definitions = definitions
        self._position = find_visible_position(changes.table)
        self.failed_conditions: dict[str, str] = {}
        self.tried_conditions: set[str] = set()

    def iterate_pairs(self) -> Iterator[ChangedRowPairs]:
        """Yield what the definitions find, in parts that fit into memory."""
        if not self._row_count:
            return
        changes = self._changes
        after = self._fetch_rows(changes.state_after, changes.exists_after)
        if changes.state_before is None:
            before = self._fetch_rows(changes.state_after, np.zeros_like(changes.exists_after))
        else:
            before = self._fetch_rows(changes.state_before, changes.existed_before)
        positions = np.where(np.isfinite(after.positions), after.positions, before.positions)
        for start, found_after, found_before in self._match_definitions(0, len(self._definitions), after, before):
            pairs = sort_distinct(np.concatenate([found_after, found_before]))
            is_after, is_before = (np.isin(pairs, found, assume_unique=True) for found in (found_after, found_before))
            indexes, row_numbers = np.divmod(pairs, self._row_count)
            yield ChangedRowPairs(
                definition_indexes=start + indexes,
                row_numbers=row_numbers,
                codes=np.where(is_after, np.where(is_before, 1, 0), 2),
                positions=positions,
            )

    def _match_definitions(
        self, start: int, stop: int, after: StateRows, before: StateRows
    ) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
        """Yield parts of the definitions: the first of each, and the pairs that it finds in the two states."""
        definitions = self._definitions[start:stop]
        if len(definitions) > 1:
            limit = MAX_PAIRS
        else:
            limit = self._row_count
        try:
            near_after, near_before = self._find_pairs_near_targets(definitions, after, before, limit)
            found_after = self._find_pairs(definitions, near_after, after, limit)
            found_before = self._find_pairs(definitions, near_before, before, limit)
        except PairLimitError:
            middle = (start + stop) // 2
            yield from self._match_definitions(start, middle, after, before)
            yield from self._match_definitions(middle, stop, after, before)
        else:
            yield start, found_after, found_before

    def fetch_visible_rows(self) -> StateRows:
        """Fetch the rows that the accounts see in the later state."""
        return self._fetch_rows(self._changes.state_after, self._changes.exists_after)

    # --- rows -------------------------------------------------------------------------------------------------

    @cached_property
    def _parsed_conditions(self) -> Mapping[str, syntax_tree.Expr]:
        """The conditions that the engine evaluates, by their queries."""
        texts = {item.condition for item in self._definitions if item.condition and not item.bounds}
        return {text: _parse_condition(text) for text in sorted(texts)}

    def _fetch_rows(self, state: PublishedState, existence_mask: np.ndarray) -> StateRows:
        """Fetch the changed rows that the accounts see in a state."""
        table = state.tables_by_name[self._changes.table.qualified_name].table
        read_names = {name for item in self._definitions for name in item.bounds}
        for condition in self._parsed_conditions.values():
            nodes = syntax_tree.walk_tree(condition)
            read_names |= {node.name.name.lower() for node in nodes if isinstance(node, syntax_tree.ColumnRef)}
        visible_names = [column.name for column in table.columns if not column.hidden]
        position = [name for name in self._position or () if name in visible_names]
        names = dict.fromkeys([*position, *(name for name in visible_names if name.lower() in read_names)])
        key_names = [adql.quote_adql_name(name) for name in table.primary]
        items = [f"c.{NUMBER_COLUMN}", *(f"t.{adql.quote_adql_name(name)}" for name in names)]
        join = " AND ".join(f"c.{name} = t.{name}" for name in key_names)
        text = f"SELECT {', '.join(items)} FROM {UPLOAD_TABLE} AS c JOIN {adql.quote_table_name(table)} AS t ON {join}"
        keys = self._changes.keys.filter(pa.array(existence_mask))
        key_columns = [column for column in table.columns if column.name in table.primary]
        rows = self._run_query(adql.parse_query(text), key_columns, keys, state)
        numbers = np.asarray(rows.column(NUMBER_COLUMN))
        positions = np.full((self._row_count, 2), np.nan)
        if len(position) == 2:
            coordinates = [pc.fill_null(rows.column(name).cast(pa.float64()), float("nan")) for name in position]
            positions[numbers] = np.stack([np.asarray(coordinate) for coordinate in coordinates], axis=1)
        numeric_columns = NumericColumns(rows)
        return StateRows(rows=rows, numbers=numbers, positions=positions, numeric_columns=numeric_columns)

    def _run_query(
        self, tree: syntax_tree.Query, columns: Sequence[Column], rows: pa.Table, state: PublishedState
    ) -> pa.Table:
        """Run a query with the rights of the accounts; `rows` are the table `UPLOAD_TABLE`."""
        table = self._changes.table
        upload_table = Table(
            schema="TAP_UPLOAD",
            name="changes",
            columns=(*columns, Column(name=NUMBER_COLUMN, type=INT64)),
            enums=table.enums,
            frames=table.frames,
        )
        with query.run_query(
            tree,
            self._principal,
            site=self._site,
            maxrec=UNLIMITED_ROWS,
            hard_row_limit=UNLIMITED_ROWS,
            timeout_seconds=QUERY_TIMEOUT_SECONDS,
            uploads={UPLOAD_TABLE: (upload_table, rows.select(upload_table.arrow_schema.names))},
            published_state=state,
        ) as result:
            schema = pa.schema([pa.field(column.name, column.type.arrow) for column in result.columns])
            batches = [pa.Table.from_batches([batch]).cast(schema) for batch in result.iterate_batches()]
            return pa.concat_tables([schema.empty_table(), *batches]).combine_chunks()

    # --- pairs ------------------------------------------------------------------------------------------------

    def _find_pairs_near_targets(
        self, definitions: Sequence[RowDefinition], after: StateRows, before: StateRows, limit: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Find the rows near targets in both states. A row that has not moved is looked up once."""
        owners = [index for index, definition in enumerate(definitions) if definition.targets]
        if not owners or self._position is None:
            return NO_PAIRS, NO_PAIRS
        target_lists = [definitions[index].positions for index in owners]
        radii = np.array([definitions[index].radius for index in owners])
        is_same = (after.positions == before.positions).all(axis=1)
        positions = np.concatenate([after.positions, np.where(is_same[:, np.newaxis], np.nan, before.positions)])
        near = iterate_rows_near_targets(positions, target_lists, radii)
        all_pairs = _collect_pairs((np.take(owners, lists) * len(positions) + rows for rows, lists in near), 2 * limit)
        indexes, rows = np.divmod(all_pairs, len(positions))
        is_after, rows = rows < self._row_count, rows % self._row_count
        pairs = indexes * self._row_count + rows
        return pairs[is_after], np.sort(pairs[~is_after | is_same[rows]])

    def _find_pairs(
        self, definitions: Sequence[RowDefinition], near_pairs: np.ndarray, state_rows: StateRows, limit: int
    ) -> np.ndarray:
        """Find what definitions find of the changed rows in a state; sorted."""
        key_pairs = self._find_pairs_by_key(definitions, state_rows.numbers)
        is_restricted_twice = np.array([bool(item.targets and item.keys) for item in definitions], bool)
        pairs = sort_distinct(np.concatenate([near_pairs, key_pairs]))
        if is_restricted_twice.any():
            is_in_both = np.isin(pairs, near_pairs) & np.isin(pairs, key_pairs)
            pairs = pairs[is_in_both | ~is_restricted_twice[pairs // self._row_count]]
        return _collect_pairs(self._apply_conditions(definitions, pairs, state_rows), limit)

    def _find_pairs_by_key(self, definitions: Sequence[RowDefinition], numbers: np.ndarray) -> np.ndarray:
        key_lists = {index: definition.keys for index, definition in enumerate(definitions) if definition.keys}
        if not key_lists:
            return NO_PAIRS
        watched_keys = self._build_watched_keys(key_lists)
        visible_keys = self._changes.keys.take(pa.array(np.sort(numbers)))
        found = watched_keys.join(visible_keys, keys=list(self._changes.table.primary), join_type="inner")
        owners = np.asarray(found.column(OWNER_COLUMN))
        return sort_distinct(owners * self._row_count + np.asarray(found.column(NUMBER_COLUMN)))

    def _build_watched_keys(self, key_lists: Mapping[int, Sequence[str]]) -> pa.Table:
        """Return keys as columns, with the indexes of their definitions; keys of an earlier table are left out."""
        owners = np.repeat(np.array(list(key_lists)), [len(keys) for keys in key_lists.values()])
        try:
            rows = build_key_rows([key for keys in key_lists.values() for key in keys], self._changes.table)
        except (ValueError, TypeError, NotImplementedError):  # those of pyarrow, too
            if len(key_lists) == 1:
                return build_key_rows([], self._changes.table).append_column(OWNER_COLUMN, pa.array([], pa.int64()))
            return pa.concat_tables([self._build_watched_keys({index: keys}) for index, keys in key_lists.items()])
        return rows.append_column(OWNER_COLUMN, pa.array(owners, pa.int64()))

    def _apply_conditions(
        self, definitions: Sequence[RowDefinition], pairs: np.ndarray, state_rows: StateRows
    ) -> Iterator[np.ndarray]:
        """Yield the pairs that meet conditions; a definition with nothing but a condition begins with all rows."""
        is_plain = np.array([not item.condition and bool(item.targets or item.keys) for item in definitions], bool)
        yield pairs[is_plain[pairs // self._row_count]]
        starts = np.searchsorted(pairs, np.arange(len(definitions) + 1) * self._row_count).tolist()
        owners_by_condition: defaultdict[str, list[int]] = defaultdict(list)
        for index in np.flatnonzero(~is_plain).tolist():
            definition = definitions[index]
            is_free = not (definition.targets or definition.keys)
            if not definition.condition:
                yield index * self._row_count + state_rows.numbers
            elif is_free or starts[index] < starts[index + 1]:
                owners_by_condition[definition.condition].append(index)
        self.tried_conditions.update(owners_by_condition)
        bounds_by_condition = {item.condition: item.bounds for item in definitions if item.bounds}
        for text, found_numbers in self._evaluate_conditions(owners_by_condition, bounds_by_condition, state_rows):
            is_met: np.ndarray | None = None
            for index in owners_by_condition[text]:
                if not (definitions[index].targets or definitions[index].keys):
                    yield index * self._row_count + found_numbers
                    continue
                if is_met is None:
                    is_met = np.zeros(self._row_count, bool)
                    is_met[found_numbers] = True
                own_pairs = pairs[starts[index] : starts[index + 1]]
                yield own_pairs[is_met[own_pairs % self._row_count]]

    def _evaluate_conditions(
        self, texts: Collection[str], all_bounds: Mapping[str, NumericBounds], state_rows: StateRows
    ) -> Iterator[tuple[str, np.ndarray]]:
        """Yield the numbers of the rows that meet each condition."""
        numeric_columns = state_rows.numeric_columns
        bounded_texts = {text for text in texts if text in all_bounds and numeric_columns.has_columns(all_bounds[text])}
        for text in bounded_texts:
            yield text, state_rows.numbers[numeric_columns.find_rows(all_bounds[text])]
        conditions = [
            (text, self._parsed_conditions.get(text) or _parse_condition(text))
            for text in sorted(set(texts) - bounded_texts)
        ]
        for start in range(0, len(conditions), MAX_CONDITIONS_PER_QUERY):
            part = conditions[start : start + MAX_CONDITIONS_PER_QUERY]
            try:
                found = self._query_conditions(state_rows.rows, [tree for _, tree in part])
            except QueryError:
                yield from self._evaluate_each_condition(state_rows.rows, part)
                continue
            yield from ((text, numbers) for (text, _), numbers in zip(part, found, strict=True))

    def _evaluate_each_condition(
        self, rows: pa.Table, conditions: Sequence[tuple[str, syntax_tree.Expr]]
    ) -> Iterator[tuple[str, np.ndarray]]:
        """Evaluate conditions one by one: an error of one (a division by zero, a column that is gone) is its own."""
        for text, tree in conditions:
            try:
                (numbers,) = self._query_conditions(rows, [tree])
            except QueryError as error:
                table_name = self._changes.table.qualified_name
                self.failed_conditions[text] = error.message.replace(UPLOAD_TABLE, table_name)
                log.warning("a condition on rows of %s cannot be evaluated: %s", table_name, error)
            else:
                yield text, numbers

    def _query_conditions(self, rows: pa.Table, conditions: Sequence[syntax_tree.Expr]) -> list[np.ndarray]:
        """Return the numbers of the rows that meet each of some conditions, in one query of the fetched rows."""
        columns = [column for column in self._changes.table.columns if column.name in rows.column_names]
        source = syntax_tree.TableRef(tuple(syntax_tree.Ident(part) for part in UPLOAD_TABLE.split(".")))
        body: syntax_tree.Select | syntax_tree.SetOperation | None = None
        for index, condition in enumerate(conditions):
            items = (
                syntax_tree.SelectItem(syntax_tree.build_column_ref(NUMBER_COLUMN)),
                syntax_tree.SelectItem(syntax_tree.Literal(index), syntax_tree.Ident(OWNER_COLUMN)),
            )
            select = syntax_tree.Select(items, source, where=condition)
            if body is None:
                body = select
            else:
                body = syntax_tree.SetOperation("UNION", body, select, all=True)
        assert body is not None  # noqa: S101  (there is a condition)
        found = self._run_query(syntax_tree.Query(body), columns, rows, self._changes.state_after)
        owners = np.asarray(found.column(1)).astype(np.int64)
        order = np.argsort(owners, kind="stable")
        run_ends = np.searchsorted(owners[order], np.arange(1, len(conditions)))
        return np.split(np.asarray(found.column(0))[order], run_ends)


def _collect_pairs(parts: Iterable[np.ndarray], limit: int) -> np.ndarray:
    """Join parts into distinct pairs, sorted.

    Raises
    ------
    PairLimitError
        There are more than `limit`.
    """
    waiting, count = [NO_PAIRS], 0
    for part in parts:
        waiting.append(part)
        count += len(part)
        if count > limit:
            waiting = [sort_distinct(np.concatenate(waiting))]
            count = 0
            if len(waiting[0]) > limit:
                raise PairLimitError
    return sort_distinct(np.concatenate(waiting))


def _parse_condition(text: str) -> syntax_tree.Expr:
    """Return the condition of a query."""
    body = adql.parse_query(text).body
    assert isinstance(body, syntax_tree.Select)  # noqa: S101  (as `parse_watched_query` wrote it)
    assert body.where is not None  # noqa: S101  (likewise)
    return body.where


def find_visible_position(table: Table) -> tuple[str, str] | None:
    """Return the columns of right ascension and declination; None: the table has none, or hides them.

    Parameters
    ----------
    table
        The table.
    """
    if not has_icrs_position(table) or table.position is None:
        return None
    is_hidden = any(table.find_column(name).hidden for name in table.position)
    if is_hidden:
        return None
    return table.position
