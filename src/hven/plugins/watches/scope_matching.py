"""Match the changed rows of a table with all watches of accounts that see the same rows.

A pair of a definition and a row is one number: the index of the definition times the number of rows, plus that of the
row. Definitions are matched in parts, so that the pairs of a part fit into memory, however many rows they find.
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
from hven.model.table import Column, Table
from hven.model.types import INT64
from hven.plugins.watches.near_targets import find_rows_near_targets
from hven.plugins.watches.numeric_bounds import NumericColumns
from hven.plugins.watches.watch_definitions import build_key_rows
from hven.plugins.watches.watch_store import (
    ALL,
    CHANGED,
    GONE,
    KEPT,
    NEW,
    NO_CHANNEL,
    WAITING,
    WatchMatch,
    compute_match_id,
)
from hven.portal.api.table_rows import format_keys
from hven.services.api.positions import has_icrs_position

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from hven.plugins.watches.numeric_bounds import NumericBounds
    from hven.plugins.watches.watch_definitions import WatchDefinition
    from hven.plugins.watches.watch_store import Watch
    from hven.site import PublishedState, Site
    from hven.site.auth import Principal

log = logging.getLogger("hven.watches")
MIN_LISTED_ROWS, MAX_LISTED_ROWS = 10, 1_000  # of a match; the others are counted
MAX_ALL_LISTED_ROWS = 2_000_000  # of all matches of a scope: the closer they come, the fewer rows each lists
MAX_PAIRS = 8_000_000  # of a part
UNLIMITED_ROWS = 2**62
QUERY_TIMEOUT_SECONDS = 120.0
MAX_CONDITIONS_PER_QUERY = 50
UPLOAD_TABLE = "TAP_UPLOAD.changes"
NUMBER_COLUMN, OWNER_COLUMN = "hven_number", "hven_condition"
ROW_CHANGES = (NEW, CHANGED, GONE)  # by their codes
NO_PAIRS = np.empty(0, np.int64)


@dataclass(frozen=True, slots=True, kw_only=True)
class TableChanges:
    """The changed rows of a table between two states.

    Attributes
    ----------
    table
        The table in the later state.
    since, version
        Ids of the two states.
    keys
        The columns of the key, and `NUMBER_COLUMN`.
    existed_before, exists_after
        Masks of the rows in the two states.
    state_before, state_after
        What was published then; None: no longer kept.
    """

    table: Table
    since: str
    version: str
    keys: pa.Table
    existed_before: np.ndarray
    exists_after: np.ndarray
    state_before: PublishedState | None
    state_after: PublishedState


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


class ScopeMatcher:
    """Match the changed rows of a table with the watches of accounts that see the same rows.

    Parameters
    ----------
    site
        The site.
    changes
        The changed rows.
    principal
        One of the accounts.
    scope_watches
        The watches of the accounts; equal definitions are matched once.
    """

    def __init__(self, site: Site, changes: TableChanges, principal: Principal, scope_watches: Sequence[Watch]) -> None:
        self._site = site
        self._changes = changes
        self._principal = principal
        self._row_count = changes.keys.num_rows
        self._watches_by_definition: defaultdict[str, list[Watch]] = defaultdict(list)
        for watch in scope_watches:
            self._watches_by_definition[watch.definition_text].append(watch)
        self._definitions = [group[0].definition for group in self._watches_by_definition.values()]
        self._position = _find_visible_position(changes.table)
        self._listable_rows = MAX_ALL_LISTED_ROWS

    def match_watches(self) -> Iterator[WatchMatch]:
        """Yield what each watch finds."""
        if not self._row_count:
            return
        changes = self._changes
        after = self._fetch_rows(changes.state_after, changes.exists_after)
        before = None
        if changes.state_before is not None:
            before = self._fetch_rows(changes.state_before, changes.existed_before)
        groups = list(self._watches_by_definition.values())
        for part in self._divide_definitions(after):
            definitions = [self._definitions[index] for index in part]
            pairs_after = self._find_pairs(definitions, after)
            pairs_before = NO_PAIRS if before is None else self._find_pairs(definitions, before)
            pairs = np.union1d(pairs_after, pairs_before)
            is_after, is_before = np.isin(pairs, pairs_after), np.isin(pairs, pairs_before)
            codes = np.where(is_after, np.where(is_before, 1, 0), 2)
            positions = after.positions
            if before is not None:
                positions = np.where(np.isfinite(positions), positions, before.positions)
            yield from self._build_matches([groups[index] for index in part], pairs, codes, positions)

    def list_visible_numbers(self) -> list[int]:
        """List the numbers of the rows that the accounts see in the later state."""
        numbers: list[int] = self._fetch_rows(self._changes.state_after, self._changes.exists_after).numbers.tolist()
        return numbers

    def _divide_definitions(self, state_rows: StateRows) -> Iterator[list[int]]:
        """Yield parts of the definitions whose pairs fit into memory together."""
        counts = np.array([self._estimate_pair_count(definition) for definition in self._definitions])
        bounded = [
            index
            for index, item in enumerate(self._definitions)
            if item.bounds
            and not item.targets
            and not item.keys
            and state_rows.numeric_columns.has_columns(item.bounds)
        ]
        if bounded:
            bounds = [self._definitions[index].bounds for index in bounded]
            counts[bounded] = state_rows.numeric_columns.count_candidates(bounds)
        part_numbers = np.cumsum(counts) // MAX_PAIRS
        for part_number in np.unique(part_numbers):
            yield np.flatnonzero(part_numbers == part_number).tolist()

    def _estimate_pair_count(self, definition: WatchDefinition) -> int:
        if definition.keys:
            return len(definition.keys)
        if definition.targets:
            share = (1 - np.cos(np.radians(definition.radius))) / 2 * len(definition.positions)
            return int(min(float(share), 1.0) * self._row_count) + 1
        return int(self._row_count)

    def _build_matches(
        self, groups: Sequence[Sequence[Watch]], pairs: np.ndarray, codes: np.ndarray, positions: np.ndarray
    ) -> Iterator[WatchMatch]:
        """Yield the matches of a part: of each watch of a definition, the rows that it tells of."""
        indexes, row_numbers = np.divmod(pairs, self._row_count)
        starts = np.flatnonzero(np.diff(indexes, prepend=-1))
        listings: list[tuple[list[Watch], dict[str, int], np.ndarray]] = []
        for start, stop in zip(starts.tolist(), [*starts[1:].tolist(), len(indexes)], strict=True):
            group = groups[int(indexes[start])]
            for tells in (NEW, ALL):
                listeners = [watch for watch in group if watch.tells == tells]
                places = np.arange(start, stop)
                if tells == NEW:
                    places = places[codes[start:stop] == 0]
                if listeners and len(places):
                    counts = np.bincount(codes[places], minlength=len(ROW_CHANGES)).tolist()
                    named_counts = {name: count for name, count in zip(ROW_CHANGES, counts, strict=True) if count}
                    listings.append((listeners, named_counts, places[:MAX_LISTED_ROWS]))
        if not listings:
            return
        used_rows = np.unique(row_numbers[np.concatenate([places for _, _, places in listings])])
        keys = format_keys(self._changes.keys.take(pa.array(used_rows)), self._changes.table.primary)
        sky_positions = [_round_position(lon, lat) for lon, lat in positions[used_rows].tolist()]
        for listeners, counts_by_change, places in listings:
            used_indexes = np.searchsorted(used_rows, row_numbers[places]).tolist()
            rows = [
                [keys[index], ROW_CHANGES[code], *sky_positions[index]]
                for index, code in zip(used_indexes, codes[places].tolist(), strict=True)
            ]
            for watch in listeners:
                limit = max(MIN_LISTED_ROWS, min(MAX_LISTED_ROWS, self._listable_rows // 100))
                self._listable_rows -= min(len(rows), limit)
                yield build_match(watch, self._changes.since, self._changes.version, rows[:limit], counts_by_change)

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

    def _find_pairs(self, definitions: Sequence[WatchDefinition], state_rows: StateRows) -> np.ndarray:
        """Find what definitions find of the changed rows in a state; sorted."""
        near_pairs = self._find_pairs_near_targets(definitions, state_rows.positions)
        key_pairs = self._find_pairs_by_key(definitions, state_rows.numbers)
        is_restricted_twice = np.array([bool(item.targets and item.keys) for item in definitions], bool)
        pairs = np.union1d(near_pairs, key_pairs)
        is_in_both = np.isin(pairs, near_pairs) & np.isin(pairs, key_pairs)
        pairs = pairs[is_in_both | ~is_restricted_twice[pairs // self._row_count]]
        return self._apply_conditions(definitions, pairs, state_rows)

    def _find_pairs_near_targets(self, definitions: Sequence[WatchDefinition], positions: np.ndarray) -> np.ndarray:
        owners = [index for index, definition in enumerate(definitions) if definition.targets]
        if not owners or self._position is None:
            return NO_PAIRS
        target_lists = [definitions[index].positions for index in owners]
        counts = [len(targets) for targets in target_lists]
        radii = np.repeat([definitions[index].radius for index in owners], counts)
        row_indexes, target_indexes = find_rows_near_targets(positions, np.concatenate(target_lists), radii)
        return np.unique(np.repeat(np.array(owners), counts)[target_indexes] * self._row_count + row_indexes)

    def _find_pairs_by_key(self, definitions: Sequence[WatchDefinition], numbers: np.ndarray) -> np.ndarray:
        key_lists = {index: definition.keys for index, definition in enumerate(definitions) if definition.keys}
        if not key_lists:
            return NO_PAIRS
        watched_keys = self._build_watched_keys(key_lists)
        visible_keys = self._changes.keys.take(pa.array(np.sort(numbers)))
        found = watched_keys.join(visible_keys, keys=list(self._changes.table.primary), join_type="inner")
        owners = np.asarray(found.column(OWNER_COLUMN))
        return np.unique(owners * self._row_count + np.asarray(found.column(NUMBER_COLUMN)))

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
        self, definitions: Sequence[WatchDefinition], pairs: np.ndarray, state_rows: StateRows
    ) -> np.ndarray:
        """Apply conditions to sorted pairs; a definition with nothing but a condition begins with all rows."""
        starts = np.searchsorted(pairs, np.arange(len(definitions) + 1) * self._row_count).tolist()
        owners_by_condition: defaultdict[str, list[int]] = defaultdict(list)
        parts = [NO_PAIRS]
        for index, definition in enumerate(definitions):
            is_free = not (definition.targets or definition.keys)
            if definition.condition and (is_free or starts[index] < starts[index + 1]):
                owners_by_condition[definition.condition].append(index)
            elif not definition.condition and is_free:
                parts.append(index * self._row_count + state_rows.numbers)
            elif not definition.condition:
                parts.append(pairs[starts[index] : starts[index + 1]])
        bounds_by_condition = {item.condition: item.bounds for item in definitions if item.bounds}
        for text, found_numbers in self._evaluate_conditions(owners_by_condition, bounds_by_condition, state_rows):
            for index in owners_by_condition[text]:
                found_pairs = index * self._row_count + found_numbers
                if definitions[index].targets or definitions[index].keys:
                    found_pairs = np.intersect1d(pairs[starts[index] : starts[index + 1]], found_pairs)
                parts.append(found_pairs)
        return np.unique(np.concatenate(parts))

    def _evaluate_conditions(
        self, texts: Collection[str], all_bounds: Mapping[str, NumericBounds], state_rows: StateRows
    ) -> Iterator[tuple[str, np.ndarray]]:
        """Yield the numbers of the rows that meet each condition."""
        numeric_columns = state_rows.numeric_columns
        bounded_texts = [text for text in texts if text in all_bounds and numeric_columns.has_columns(all_bounds[text])]
        yield from _evaluate_bounds(state_rows, bounded_texts, all_bounds)
        other_texts = sorted(set(texts) - set(bounded_texts))
        conditions = [(text, self._parsed_conditions.get(text) or _parse_condition(text)) for text in other_texts]
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
                log.warning("a watch of %s cannot be evaluated: %s", self._changes.table.qualified_name, error)
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
            body = select if body is None else syntax_tree.SetOperation("UNION", body, select, all=True)
        assert body is not None  # noqa: S101  (there is a condition)
        found = self._run_query(syntax_tree.Query(body), columns, rows, self._changes.state_after)
        owners = np.asarray(found.column(1)).astype(np.int64)
        order = np.argsort(owners, kind="stable")
        run_ends = np.searchsorted(owners[order], np.arange(1, len(conditions)))
        return np.split(np.asarray(found.column(0))[order], run_ends)


def _evaluate_bounds(
    state_rows: StateRows, texts: Sequence[str], all_bounds: Mapping[str, NumericBounds]
) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the numbers of the rows within the bounds of each condition."""
    if not texts:
        return
    parts = list(state_rows.numeric_columns.find_rows([all_bounds[text] for text in texts]))
    indexes = np.concatenate([NO_PAIRS, *(part for part, _ in parts)])
    row_indexes = np.concatenate([NO_PAIRS, *(part for _, part in parts)])
    order = np.argsort(indexes, kind="stable")
    run_ends = np.searchsorted(indexes[order], np.arange(1, len(texts)))
    yield from zip(texts, np.split(state_rows.numbers[row_indexes[order]], run_ends), strict=True)


def build_match(
    watch: Watch, since: str, version: str, rows: Sequence[Sequence[object]], counts: Mapping[str, int]
) -> WatchMatch:
    """Build what a watch has found between two states.

    Parameters
    ----------
    watch
        The watch.
    since, version
        Ids of the two states.
    rows, counts
        As in `WatchMatch`.
    """
    is_delivered = watch.channel != NO_CHANNEL and not watch.problem
    return WatchMatch(
        id=compute_match_id(watch.name, since, version),
        watch=watch.name,
        since=since,
        version=version,
        rows=rows,
        counts=counts,
        state=WAITING if is_delivered else KEPT,
    )


def _parse_condition(text: str) -> syntax_tree.Expr:
    """Return the condition of a query."""
    body = adql.parse_query(text).body
    assert isinstance(body, syntax_tree.Select)  # noqa: S101  (as `parse_watched_query` wrote it)
    assert body.where is not None  # noqa: S101  (likewise)
    return body.where


def _find_visible_position(table: Table) -> tuple[str, str] | None:
    """Return the columns of right ascension and declination; None: the table has none, or hides them."""
    if not has_icrs_position(table) or table.position is None:
        return None
    is_hidden = any(table.find_column(name).hidden for name in table.position)
    return None if is_hidden else table.position


def _round_position(longitude: float, latitude: float) -> tuple[float | None, float | None]:
    if np.isnan(longitude) or np.isnan(latitude):
        return None, None
    return round(longitude, 7), round(latitude, 7)
