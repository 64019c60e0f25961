"""Match the changed rows of a table with all its watches at once.

A row is *new* in a watch if the watch finds it in the later state of the table and did not find it in the earlier one,
whatever happened to the row itself; so it is with the rights of the watch's account. Accounts that see the same rows
share the queries; if everybody sees the whole table, there is one query for each state.
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
from hven.engines import Snapshot
from hven.ingest.sync import change_sets
from hven.model.errors import HvenError, NotFoundError
from hven.model.table import Column, Table
from hven.model.types import INT64
from hven.plugins.changes.change_feeds import find_changes_between
from hven.plugins.notifications.recipients import RecipientRights
from hven.plugins.watches.near_targets import find_rows_near_targets
from hven.plugins.watches.numeric_bounds import (
    NumericBounds,
    collect_numeric_columns,
    find_rows_within_bounds,
)
from hven.plugins.watches.store_tables import watches
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
    WatchStore,
    compute_match_id,
)
from hven.portal.api.table_rows import format_keys
from hven.services.api.positions import has_icrs_position
from hven.site.auth import (
    ANONYMOUS_PRINCIPAL,
    build_access_scope,
    collect_column_masks,
    collect_row_filters,
    is_table_visible,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from hven.plugins.watches.watch_store import Watch
    from hven.site import PublishedState, Site
    from hven.site.auth import Principal

log = logging.getLogger("hven.watches")
MAX_LISTED_ROWS = 1_000  # of a match; the others are counted
UNLIMITED_ROWS = 2**62
QUERY_TIMEOUT_SECONDS = 120.0
MAX_CONDITIONS_PER_QUERY = 50
UPLOAD_TABLE = "TAP_UPLOAD.changes"
NUMBER_COLUMN, CONDITION_COLUMN = "hven_number", "hven_condition"
ROW_CHANGES = (NEW, CHANGED, GONE)  # by their codes in pairs


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


class ChangeMatcher:
    """Match what has changed on a site with its watches."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._store = site.store.get_or_create(WatchStore)
        self._rights = RecipientRights(site)

    def match_all_changes(self) -> None:
        """Match the changes of all tables that have watches, and store what they found."""
        tables_by_name = self._site.get_published_state().tables_by_name
        for table_name, since in self._store.list_watched_states():
            published_table = tables_by_name.get(table_name)
            relation = None if published_table is None else published_table.relation
            if isinstance(relation, Snapshot) and relation.id != since:
                try:
                    self._match_table(table_name, since, relation.id)
                except HvenError:  # a later round tries again; the watches of other tables do not wait
                    log.exception("the changes of %s could not be matched with its watches", table_name)

    def _match_table(self, table_name: str, since: str, version: str) -> None:
        table_watches = self._store.list_watches(watches.c.table_name == table_name, watches.c.snapshot == since)
        if not table_watches:
            return
        try:
            changes = self._load_changes(table_name, since, version)
        except NotFoundError as error:
            log.warning("watches of %s cannot tell what changed: %s", table_name, error)
            matches = [_build_match(watch, since, version, [], {}) for watch in table_watches]
        else:
            matches = list(self._match_watches(changes, table_watches))
        self._store.record_matches(table_watches, since, version, matches)

    def _load_changes(self, table_name: str, since: str, version: str) -> TableChanges:
        """Load the changed rows of a table.

        Raises
        ------
        NotFoundError
            They are not known any more, or the key has changed.
        """
        state_after = self._site.get_published_state()
        table = state_after.tables_by_name[table_name].table
        change_set = find_changes_between(self._site, table_name, since, version)
        if not table.primary or not set(table.primary) <= set(change_set.column_names):
            raise NotFoundError(f"the primary key of {table_name} has changed")
        kinds = change_set.column(change_sets.CHANGE_COLUMN).cast(pa.string())
        key_schema = pa.schema([pa.field(name, table.find_column(name).type.arrow) for name in table.primary])
        numbers = pa.array(np.arange(change_set.num_rows, dtype=np.int64))
        keys = change_set.select(list(table.primary)).cast(key_schema).append_column(NUMBER_COLUMN, numbers)
        return TableChanges(
            table=table,
            since=since,
            version=version,
            keys=keys.combine_chunks(),
            existed_before=np.asarray(pc.not_equal(kinds, change_sets.ADDED_CHANGE)),
            exists_after=np.asarray(pc.not_equal(kinds, change_sets.REMOVED_CHANGE)),
            state_before=self._find_earlier_state(table_name, since),
            state_after=state_after,
        )

    def _find_earlier_state(self, table_name: str, snapshot: str) -> PublishedState | None:
        try:
            published_state = self._site.find_past_state(snapshot).published_state
        except HvenError:
            return None
        published_table = published_state.tables_by_name.get(table_name)
        relation = None if published_table is None else published_table.relation
        return published_state if isinstance(relation, Snapshot) and relation.id == snapshot else None

    def _match_watches(self, changes: TableChanges, table_watches: Sequence[Watch]) -> Iterator[WatchMatch]:
        for principal, scope_watches in self._group_by_scope(changes.table, table_watches):
            yield from ScopeMatcher(self._site, changes, principal, scope_watches).match_watches()

    def _group_by_scope(
        self, table: Table, table_watches: Sequence[Watch]
    ) -> Iterator[tuple[Principal, Sequence[Watch]]]:
        """Yield groups of watches whose accounts see the same rows of a table; accounts that do not see it have none."""
        if (
            is_table_visible(table, ANONYMOUS_PRINCIPAL)
            and not collect_row_filters([table], ANONYMOUS_PRINCIPAL)
            and not collect_column_masks([table], ANONYMOUS_PRINCIPAL)
        ):
            yield ANONYMOUS_PRINCIPAL, table_watches
            return
        groups: defaultdict[str, list[Watch]] = defaultdict(list)
        principals: dict[str, Principal] = {}
        watches_by_account: defaultdict[str, list[Watch]] = defaultdict(list)
        for watch in table_watches:
            watches_by_account[watch.account].append(watch)
        for account, account_watches in watches_by_account.items():
            principal = self._rights.find_principal(account)
            if principal is None or not is_table_visible(table, principal):
                continue
            column_masks = collect_column_masks([table], principal)
            scope = build_access_scope(collect_row_filters([table], principal), [table.qualified_name], column_masks)
            key = account if column_masks else scope.key
            principals.setdefault(key, principal)
            groups[key] += account_watches
        for key, scope_watches in groups.items():
            yield principals[key], scope_watches


class ScopeMatcher:
    """Match the changed rows of a table with the watches of accounts that see the same rows.

    A pair of a watch and a row is one number: the index of the watch times the number of rows, plus that of the row.
    """

    def __init__(
        self, site: Site, changes: TableChanges, principal: Principal, scope_watches: Sequence[Watch]
    ) -> None:
        self._site = site
        self._changes = changes
        self._principal = principal
        self._watches = scope_watches
        self._row_count = changes.keys.num_rows
        self._definitions = [watch.definition for watch in scope_watches]
        self._positions = _find_visible_position(changes.table)

    def match_watches(self) -> Iterator[WatchMatch]:
        """Yield what each watch finds."""
        if not self._row_count:
            return
        changes = self._changes
        after, positions = self._find_pairs(changes.state_after, changes.exists_after)
        before, positions_before = np.empty(0, np.int64), positions
        if changes.state_before is not None:
            before, positions_before = self._find_pairs(changes.state_before, changes.existed_before)
        pairs = np.union1d(after, before)
        codes = np.where(np.isin(pairs, after), np.where(np.isin(pairs, before), 1, 0), 2)
        tells_all = np.array([watch.tells == ALL for watch in self._watches])
        watch_indexes, row_numbers = np.divmod(pairs, self._row_count)
        is_told = (codes == 0) | tells_all[watch_indexes]
        watch_indexes, row_numbers, codes = watch_indexes[is_told], row_numbers[is_told], codes[is_told]
        row_positions = np.where(np.isfinite(positions), positions, positions_before)
        yield from self._build_matches(watch_indexes, row_numbers, codes, row_positions)

    def _build_matches(
        self, watch_indexes: np.ndarray, row_numbers: np.ndarray, codes: np.ndarray, positions: np.ndarray
    ) -> Iterator[WatchMatch]:
        """Yield a match for each run of equal watches; the pairs are sorted."""
        used_rows, used_indexes = np.unique(row_numbers, return_inverse=True)
        keys = format_keys(self._changes.keys.take(pa.array(used_rows)), self._changes.table.primary)
        places = [_round_position(lon, lat) for lon, lat in positions[used_rows].tolist()]
        starts = np.flatnonzero(np.diff(watch_indexes, prepend=-1))
        for start, stop in zip(starts, [*starts[1:], len(watch_indexes)], strict=True):
            counts = np.bincount(codes[start:stop], minlength=3).tolist()
            listed = slice(start, min(stop, start + MAX_LISTED_ROWS))
            rows = [
                [keys[index], ROW_CHANGES[code], *places[index]]
                for index, code in zip(used_indexes[listed].tolist(), codes[listed].tolist(), strict=True)
            ]
            named_counts = {name: count for name, count in zip(ROW_CHANGES, counts, strict=True) if count}
            watch = self._watches[int(watch_indexes[start])]
            yield _build_match(watch, self._changes.since, self._changes.version, rows, named_counts)

    def _find_pairs(self, state: PublishedState, existence_mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Find what each watch finds of the changed rows in a state, and the positions of the rows (nan: none).

        Returns
        -------
        pairs, positions
            Sorted pairs; longitude and latitude of each changed row.
        """
        rows = self._fetch_rows(state, existence_mask)
        numbers = np.asarray(rows.column(NUMBER_COLUMN))
        positions = np.full((self._row_count, 2), np.nan)
        if self._positions is not None:
            coordinates = [
                pc.fill_null(rows.column(name).cast(pa.float64()), float("nan")) for name in self._positions
            ]
            positions[numbers] = np.stack([np.asarray(coordinate) for coordinate in coordinates], axis=1)
        pairs = self._find_first_pairs(numbers, positions)
        return self._apply_conditions(pairs, rows, numbers), positions

    def _fetch_rows(self, state: PublishedState, existence_mask: np.ndarray) -> pa.Table:
        """Fetch the changed rows that the accounts see in a state: numbers, positions and columns of conditions."""
        table = state.tables_by_name[self._changes.table.qualified_name].table
        names = dict.fromkeys(self._positions or ())
        read_names = {name for bounds in self._bounds_by_condition.values() for name in bounds}
        for condition in self._parsed_conditions.values():
            nodes = syntax_tree.walk_tree(condition)
            read_names |= {node.name.name.lower() for node in nodes if isinstance(node, syntax_tree.ColumnRef)}
        names |= dict.fromkeys(column.name for column in table.columns if not column.hidden and column.name.lower() in read_names)
        key_names = [adql.quote_adql_name(name) for name in table.primary]
        items = [f"c.{NUMBER_COLUMN}", *(f"t.{adql.quote_adql_name(name)}" for name in names)]
        join = " AND ".join(f"c.{name} = t.{name}" for name in key_names)
        text = f"SELECT {', '.join(items)} FROM {UPLOAD_TABLE} AS c JOIN {adql.quote_table_name(table)} AS t ON {join}"
        keys = self._changes.keys.filter(pa.array(existence_mask))
        columns = [column for column in table.columns if column.name in table.primary]
        return self._run_query(adql.parse_query(text), columns, keys, state)

    def _run_query(
        self, tree: syntax_tree.Query, columns: Sequence[Column], rows: pa.Table, state: PublishedState
    ) -> pa.Table:
        """Run a query with the rights of the accounts; `rows` are the table `UPLOAD_TABLE`."""
        table = self._changes.table
        number_column = Column(name=NUMBER_COLUMN, type=INT64)
        upload_table = Table(
            schema="TAP_UPLOAD",
            name="changes",
            columns=(*columns, number_column),
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

    def list_visible_numbers(self) -> list[int]:
        """List the numbers of the rows that the accounts see in the later state."""
        rows = self._fetch_rows(self._changes.state_after, self._changes.exists_after)
        numbers: list[int] = rows.column(NUMBER_COLUMN).to_pylist()
        return numbers

    # --- targets and keys -------------------------------------------------------------------------------------

    def _find_first_pairs(self, numbers: np.ndarray, positions: np.ndarray) -> np.ndarray:
        """Find the rows near the targets of each watch, and those with its keys; sorted."""
        near_pairs = self._find_pairs_near_targets(positions)
        key_pairs = self._find_pairs_by_key(numbers)
        is_restricted_twice = np.array([bool(item.targets and item.keys) for item in self._definitions], bool)
        pairs = np.union1d(near_pairs, key_pairs)
        is_in_both = np.isin(pairs, near_pairs) & np.isin(pairs, key_pairs)
        return pairs[is_in_both | ~is_restricted_twice[pairs // self._row_count]]  # type: ignore[no-any-return]

    def _find_pairs_near_targets(self, positions: np.ndarray) -> np.ndarray:
        owners = [index for index, definition in enumerate(self._definitions) if definition.targets]
        if not owners or self._positions is None:
            return np.empty(0, np.int64)
        target_lists = [self._definitions[index].positions for index in owners]
        counts = [len(targets) for targets in target_lists]
        radii = np.repeat([self._definitions[index].radius for index in owners], counts)
        row_indexes, target_indexes = find_rows_near_targets(positions, np.concatenate(target_lists), radii)
        return np.unique(np.repeat(np.array(owners), counts)[target_indexes] * self._row_count + row_indexes)

    def _find_pairs_by_key(self, numbers: np.ndarray) -> np.ndarray:
        table = self._changes.table
        owners = [index for index, definition in enumerate(self._definitions) if definition.keys]
        if not owners:
            return np.empty(0, np.int64)
        key_lists = [self._definitions[index].keys for index in owners]
        indexes = np.repeat(np.array(owners), [len(keys) for keys in key_lists])
        watched_keys = build_key_rows([key for keys in key_lists for key in keys], table)
        watched_keys = watched_keys.append_column(CONDITION_COLUMN, pa.array(indexes))
        visible_keys = self._changes.keys.take(pa.array(np.sort(numbers)))
        found = watched_keys.join(visible_keys, keys=list(table.primary), join_type="inner")
        watch_indexes = np.asarray(found.column(CONDITION_COLUMN))
        return np.unique(watch_indexes * self._row_count + np.asarray(found.column(NUMBER_COLUMN)))

    # --- conditions -------------------------------------------------------------------------------------------

    @cached_property
    def _bounds_by_condition(self) -> Mapping[str, NumericBounds]:
        """The conditions that only bound numbers, by their queries."""
        return {item.condition: item.bounds for item in self._definitions if item.bounds}

    @cached_property
    def _parsed_conditions(self) -> Mapping[str, syntax_tree.Expr]:
        """The other conditions by their queries."""
        texts = {item.condition for item in self._definitions if item.condition and not item.bounds}
        return {text: _parse_condition(text) for text in sorted(texts)}

    def _apply_conditions(self, pairs: np.ndarray, rows: pa.Table, numbers: np.ndarray) -> np.ndarray:
        """Apply the conditions of the watches; a watch with nothing but a condition begins with all rows."""
        is_free = [not (item.targets or item.keys) for item in self._definitions]
        starts = np.searchsorted(pairs, np.arange(len(self._definitions) + 1) * self._row_count)
        watches_by_condition: defaultdict[str, list[int]] = defaultdict(list)
        for index, definition in enumerate(self._definitions):
            if is_free[index] or starts[index] < starts[index + 1]:
                watches_by_condition[definition.condition].append(index)
        sorted_numbers = np.sort(numbers)
        unconditional = watches_by_condition.pop("", [])
        parts = [np.empty(0, np.int64)]
        for index in unconditional:
            parts.append(index * self._row_count + sorted_numbers if is_free[index] else pairs[starts[index] : starts[index + 1]])
        for text, found_numbers in self._evaluate_conditions(rows, watches_by_condition):
            for index in watches_by_condition[text]:
                found_pairs = index * self._row_count + found_numbers
                own_pairs = pairs[starts[index] : starts[index + 1]]
                parts.append(found_pairs if is_free[index] else np.intersect1d(own_pairs, found_pairs))
        return np.unique(np.concatenate(parts))

    def _evaluate_conditions(self, rows: pa.Table, texts: Collection[str]) -> Iterator[tuple[str, np.ndarray]]:
        """Yield the numbers of the rows that meet each condition."""
        columns = collect_numeric_columns(rows)
        bounds = {
            text: bounds
            for text, bounds in self._bounds_by_condition.items()
            if text in texts and bounds.keys() <= columns.keys()
        }
        yield from self._evaluate_bounds(rows, columns, list(bounds.items()))
        other_texts = sorted(set(texts) - bounds.keys())
        conditions = [(text, self._parsed_conditions.get(text) or _parse_condition(text)) for text in other_texts]
        for start in range(0, len(conditions), MAX_CONDITIONS_PER_QUERY):
            part = conditions[start : start + MAX_CONDITIONS_PER_QUERY]
            try:
                found = self._query_conditions(rows, [tree for _, tree in part])
            except HvenError:
                yield from self._evaluate_each_condition(rows, part)
                continue
            yield from ((text, numbers) for (text, _), numbers in zip(part, found, strict=True))

    def _evaluate_bounds(
        self, rows: pa.Table, columns: Mapping[str, np.ndarray], bounded: Sequence[tuple[str, NumericBounds]]
    ) -> Iterator[tuple[str, np.ndarray]]:
        """Yield the numbers of the rows within the bounds of each condition, without the engine."""
        numbers = np.asarray(rows.column(NUMBER_COLUMN))
        parts = list(find_rows_within_bounds(columns, [bounds for _, bounds in bounded]))
        indexes = np.concatenate([np.empty(0, np.int64), *(part for part, _ in parts)])
        row_indexes = np.concatenate([np.empty(0, np.int64), *(part for _, part in parts)])
        order = np.argsort(indexes, kind="stable")
        bounds_of_runs = np.searchsorted(indexes[order], np.arange(len(bounded) + 1))
        for index, (text, _) in enumerate(bounded):
            run = order[bounds_of_runs[index] : bounds_of_runs[index + 1]]
            yield text, numbers[row_indexes[run]]

    def _evaluate_each_condition(
        self, rows: pa.Table, conditions: Sequence[tuple[str, syntax_tree.Expr]]
    ) -> Iterator[tuple[str, np.ndarray]]:
        """Evaluate conditions one by one: an error of one (a division by zero, a column that is gone) is its own."""
        for text, tree in conditions:
            try:
                (numbers,) = self._query_conditions(rows, [tree])
            except HvenError as error:
                log.warning("a watch of %s cannot be evaluated: %s", self._changes.table.qualified_name, error)
            else:
                yield text, numbers

    def _query_conditions(self, rows: pa.Table, conditions: Sequence[syntax_tree.Expr]) -> list[np.ndarray]:
        """Return the numbers of the rows that meet each of some conditions, in one query of the fetched rows."""
        table = self._changes.table
        columns = [column for column in table.columns if column.name in rows.column_names]
        source = adql.parse_query(f"SELECT 1 FROM {UPLOAD_TABLE}").body.source  # type: ignore[union-attr]
        body: syntax_tree.Select | syntax_tree.SetOperation | None = None
        for index, condition in enumerate(conditions):
            items = (
                syntax_tree.SelectItem(syntax_tree.build_column_ref(NUMBER_COLUMN)),
                syntax_tree.SelectItem(syntax_tree.Literal(index), syntax_tree.Ident(CONDITION_COLUMN)),
            )
            select = syntax_tree.Select(items, source, where=condition)
            body = select if body is None else syntax_tree.SetOperation("UNION", body, select, all=True)
        assert body is not None  # noqa: S101  (there is a condition)
        found = self._run_query(syntax_tree.Query(body), columns, rows, self._changes.state_after)
        indexes = np.asarray(found.column(1)).astype(np.int64)
        numbers = np.asarray(found.column(0))
        order = np.lexsort((numbers, indexes))
        bounds = np.searchsorted(indexes[order], np.arange(1, len(conditions)))
        return np.split(numbers[order], bounds)


def _build_match(
    watch: Watch, since: str, version: str, rows: Sequence[Sequence[object]], counts: Mapping[str, int]
) -> WatchMatch:
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
