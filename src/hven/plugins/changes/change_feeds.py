"""The changes of a table as one reader sees them: change sets, limited to the visible rows and columns.

A row is *added* if the reader sees it in the later state and did not see it in the earlier one, and *removed* the other
way round, whatever happened to the row itself. A row that a policy hides is never named. For readers who see whole
tables, the change sets of the publications give the answer (`hven.ingest.sync.change_sets`). For other readers both
states must still exist, because only their rows tell who may see them.
"""

from __future__ import annotations

import re
import threading
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hven import adql, query
from hven.engines import Snapshot
from hven.ingest.sync import change_sets
from hven.ingest.sync.change_sets import ADDED_CHANGE, CHANGED_CHANGE, REMOVED_CHANGE
from hven.model import LruCache
from hven.model.errors import GoneError, NotFoundError, ParamError
from hven.model.literal import combine_chunks
from hven.model.table import Column, Table
from hven.model.types import INT64, STRING
from hven.site.auth import (
    ANONYMOUS_PRINCIPAL,
    build_access_scope,
    collect_column_masks,
    collect_row_filters,
    is_table_visible,
)
from hven.site.history import parse_instant

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from hven.query import QueryResult
    from hven.services.face import ServiceContext
    from hven.site import PublishedState, Site
    from hven.site.auth import AccessScope, Principal

CHANGE_COLUMN, CHANGED_COLUMNS_COLUMN = "change", "columns"
NUMBER_COLUMN = "hven_number"
UPLOAD_TABLE = "TAP_UPLOAD.changes"
UNLIMITED_ROWS = 2**62  # a feed has as many rows as have changed
MAX_CACHE_BYTES = 64 * 1024**2  # bytes of cached feeds
# two snapshots with more rows together are not compared: a row takes 16 bytes, and the same again for sorting
MAX_COMPARED_ROWS = 20_000_000
PRINCIPAL_SEPARATOR = "~"  # in the name of a state, before the key of the rows that its reader saw
SNAPSHOT_ID_PATTERN = re.compile(r"\d{8}T\d{6,}-[0-9a-f]+")
READ_ALL_REMEDY = (
    "read the whole table; to get the value of `since` for your next request, request the feed without `since`"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeFeedRequest:
    """The request of one reader for the changes of a table between two states.

    Attributes
    ----------
    table
        The table.
    since, until
        Ids of snapshots. If `since` is None, the reader only asks for the name of the state.
    ends_at_published
        True if `until` is the published state.
    scope
        What the reader sees of the table.
    is_filtered
        True if the reader sees only some rows.
    principal
        The reader.
    context
        Service context of the site.
    published_state
        The published tables.
    """

    table: Table
    since: str | None
    until: str
    ends_at_published: bool
    scope: AccessScope
    is_filtered: bool
    principal: Principal
    context: ServiceContext
    published_state: PublishedState

    def format_state_name(self, snapshot: str) -> str:
        """Format the name of a state, from which this reader can continue.

        For a reader who sees only some rows, the name also says which rows: other rules may show others.

        Parameters
        ----------
        snapshot
            Id of the snapshot.

        Returns
        -------
        state
            An opaque text.
        """
        if self.is_filtered:
            return f"{snapshot}{PRINCIPAL_SEPARATOR}{self.scope.key}"
        return snapshot

    @property
    def cache_key(self) -> tuple[str, str | None, str, str]:
        """Requests with equal keys have equal feeds."""
        return self.table.qualified_name, self.since, self.until, self.scope.key


def create_change_feed_request(
    context: ServiceContext,
    principal: Principal,
    table: Table,
    since: str | None,
    until: str | None,
    *,
    published_state: PublishedState,
) -> ChangeFeedRequest:
    """Resolve the two states that a reader names.

    Parameters
    ----------
    context
        Service context of the site.
    principal
        The reader.
    table
        A table that the reader can see.
    since, until
        Names of states from the feed, snapshots, runs, or times (ISO 8601; a day means its end). For `until`, None
        means the published state.
    published_state
        The published tables.

    Returns
    -------
    request
        The table, its two states and the reader.

    Raises
    ------
    NotFoundError
        The changes of the table are not known: it is a view, has no primary key, or is read in place.
    GoneError
        The state was never published, or the reader saw other rows then.
    ParamError
        The name is neither a state nor a time.
    """
    name = table.qualified_name
    published_table = published_state.tables_by_name.get(name)
    relation = None if published_table is None else published_table.relation
    if not isinstance(relation, Snapshot):
        raise NotFoundError(
            f"Hven does not record changes to {name}, because Hven does not store this table",
            remedy="query the table with TAP",
        )
    if not table.primary or {CHANGE_COLUMN, CHANGED_COLUMNS_COLUMN} & set(table.primary):
        raise NotFoundError(
            f"changes to {name} cannot be listed row by row, because the table has no primary key",
            remedy="query the table with TAP",
        )
    row_conditions = collect_row_filters([table], principal, context.policies)
    is_public = is_table_visible(table, ANONYMOUS_PRINCIPAL, context.policies)
    private_tables = [] if is_public else [name]
    column_masks = collect_column_masks([table], principal)
    scope = build_access_scope(row_conditions, private_tables, column_masks)
    is_filtered = bool(row_conditions)
    resolve_state_name = partial(
        _resolve_state_name,
        site=context.site,
        table_name=name,
        current_snapshot=relation.id,
        scope_key=scope.key if is_filtered else "",
    )
    return ChangeFeedRequest(
        table=table,
        since=None if since is None else resolve_state_name("since", since),
        until=relation.id if until is None else resolve_state_name("until", until),
        ends_at_published=until is None,
        scope=scope,
        is_filtered=is_filtered,
        principal=principal,
        context=context,
        published_state=published_state,
    )


def _resolve_state_name(
    param_name: str, state_name: str, *, site: Site, table_name: str, current_snapshot: str, scope_key: str
) -> str:
    """Return the snapshot of a table that a reader names; `scope_key` is that of the rows which the reader sees now."""
    name, _, state_scope_key = state_name.strip().partition(PRINCIPAL_SEPARATOR)
    collection = site.store.get_record(current_snapshot).collection
    all_events = site.store.list_publication_events(collection)  # the newest first
    events = [event for event in all_events if table_name in event.state]
    if name in {current_snapshot, *(event.state[table_name] for event in events)}:
        if state_scope_key != scope_key:
            raise GoneError(
                f"{param_name}={state_name}: this state may contain rows of {table_name} to which you have no access",
                remedy=READ_ALL_REMEDY,
            )
        return name
    run_snapshot = next((event.state[table_name] for event in events if event.run == name), None)
    if run_snapshot is not None:
        return run_snapshot
    if SNAPSHOT_ID_PATTERN.fullmatch(name):
        raise GoneError(
            f"{param_name}={state_name[:80]}: Hven has no record of this state of {table_name}", remedy=READ_ALL_REMEDY
        )
    instant = parse_instant(name)
    if instant is None:
        raise ParamError(
            f"{param_name}={state_name[:80]!r} is neither a state nor a time",
            name=param_name,
            remedy="use a time such as 2026-11-20T08:00:00, or the name of a state",
        )
    state = next((event.state for event in all_events if event.at <= instant), {})
    if table_name not in state:
        raise GoneError(
            f"{param_name}={state_name}: {table_name} was not yet published at that time", remedy=READ_ALL_REMEDY
        )
    return state[table_name]


class CachedChangeFeeds:
    """Find the changes between states, with a cache: a reader pages, and many readers follow one table."""

    def __init__(self) -> None:
        self._cache = LruCache[pa.Table](MAX_CACHE_BYTES)
        self._comparison_lock = threading.Lock()  # a comparison reads whole snapshots, so one runs at a time

    def _find_changed_rows(self, request: ChangeFeedRequest) -> pa.Table:
        """Return the changed rows of a table.

        They have the columns of the key, `CHANGE_COLUMN` and `CHANGED_COLUMNS_COLUMN` (names with commas between; null:
        any), in the order of the key.
        """
        key = request.cache_key
        changed_rows = self._cache.find(key)
        if changed_rows is None:
            with self._comparison_lock:
                changed_rows = self._cache.find(key)
                if changed_rows is None:
                    changed_rows = _find_changed_rows(request)
                    self._cache.store(key, changed_rows, changed_rows.nbytes)
        return changed_rows

    def query_changes(
        self, request: ChangeFeedRequest, *, offset: int, maxrec: int | None, include_values: bool
    ) -> tuple[QueryResult, int]:
        """Return the changed rows, or a part of them, as the result of a query.

        Parameters
        ----------
        request
            A result of `create_change_feed_request`.
        offset
            Number of rows to skip.
        maxrec
            Largest number of rows; None: all.
        include_values
            True: with the other columns of the rows that exist in the later state.

        Returns
        -------
        result, row_count
            The result of the query, and the number of all changed rows.

        Raises
        ------
        GoneError
            The changes are not kept any more.
        ParamError
            `include_values` is set, and a column has the name of a column of the feed.
        """
        table = request.table
        value_columns: list[Column] = []
        if include_values:
            value_columns += [
                column for column in table.columns if not column.hidden and column.name not in table.primary
            ]
        feed_names = {CHANGE_COLUMN, CHANGED_COLUMNS_COLUMN, NUMBER_COLUMN}
        conflicting_names = [column.name for column in value_columns if column.name.lower() in feed_names]
        if conflicting_names:
            raise ParamError(
                f"{table.qualified_name} already has a column {conflicting_names[0]!r}",
                name="ROWS",
                remedy="leave out ROWS=values",
            )
        all_rows = self._find_changed_rows(request)
        row_count = all_rows.num_rows
        # one row more than MAXREC, so that the query knows of the overflow
        length = None
        if maxrec is not None:
            length = min(maxrec, row_count) + 1
        rows = all_rows.slice(min(offset, row_count), length)
        key_names = [adql.quote_adql_name(name) for name in table.primary]
        select_items = [f"c.{name}" for name in (*key_names, CHANGE_COLUMN, CHANGED_COLUMNS_COLUMN)]
        select_items += [f"t.{adql.quote_adql_name(column.name)}" for column in value_columns]
        text = f"SELECT {', '.join(select_items)} FROM {UPLOAD_TABLE} AS c"
        if value_columns:
            text += f" LEFT {_write_key_join(table)}"
        result = _run_query_on_changes(
            request,
            request.until,
            f"{text} ORDER BY c.{NUMBER_COLUMN}",
            [*_list_key_columns(table), *FEED_COLUMNS],
            rows,
            row_limit=UNLIMITED_ROWS if maxrec is None else maxrec,
        )
        if result.scope.is_public:
            result.scope = request.scope
        return result, row_count


FEED_COLUMNS = (
    Column(
        name=CHANGE_COLUMN,
        type=STRING,
        ucd="meta.code",
        description="what happened to the row: added, changed, removed",
    ),
    Column(
        name=CHANGED_COLUMNS_COLUMN,
        type=STRING,
        ucd="meta.note",
        description="for a changed row, the columns with new values; null: any column may have changed",
    ),
)


def _list_key_columns(table: Table) -> list[Column]:
    columns = (table.find_column(name) for name in table.primary)
    return [column for column in columns if column is not None]


def _write_key_join(table: Table) -> str:
    """Write the join of a table, ``t``, with changes, ``c``, by the key."""
    key_names = map(adql.quote_adql_name, table.primary)
    condition = " AND ".join(f"c.{name} = t.{name}" for name in key_names)
    return f"JOIN {adql.quote_adql_name(table.schema)}.{adql.quote_adql_name(table.name)} AS t ON {condition}"


def _run_query_on_changes(
    request: ChangeFeedRequest,
    snapshot: str,
    text: str,
    columns: Sequence[Column],
    rows: pa.Table,
    *,
    row_limit: int = UNLIMITED_ROWS,
) -> QueryResult:
    """Query changed rows, as `UPLOAD_TABLE` with a number for each row, in the state in which the table has a snapshot.

    Raises
    ------
    GoneError
        The rows of the snapshot are not kept any more.
    """
    table = request.table
    upload_table = Table(
        schema="TAP_UPLOAD",
        name="changes",
        columns=(*columns, Column(name=NUMBER_COLUMN, type=INT64)),
        enums=table.enums,
        frames=table.frames,
    )
    numbers = pa.array(np.arange(rows.num_rows, dtype=np.int64))
    published_state = _find_state_of_snapshot(request, snapshot)
    result = query.run_query(
        text,
        request.principal,
        site=request.context.site,
        maxrec=row_limit,
        hard_row_limit=UNLIMITED_ROWS,
        uploads={UPLOAD_TABLE: (upload_table, rows.append_column(NUMBER_COLUMN, numbers))},
        policies=request.context.policies,
        published_state=published_state,
    )
    result.origins = query.build_data_origin_infos([table], published_state, request.context.site)
    return result


def _find_state_of_snapshot(request: ChangeFeedRequest, snapshot: str) -> PublishedState:
    """Return the published state in which the table has a snapshot.

    Raises
    ------
    GoneError
        The rows of the snapshot are not kept any more.
    """
    if snapshot == request.until and request.ends_at_published:
        return request.published_state
    name = request.table.qualified_name
    past_state = request.context.site.find_past_state(snapshot).published_state
    published_table = past_state.tables_by_name.get(name)
    relation = None if published_table is None else published_table.relation
    if not isinstance(relation, Snapshot) or relation.id != snapshot:
        raise GoneError(f"the state {snapshot} of {name} is no longer kept", remedy=READ_ALL_REMEDY)
    return past_state


def _find_changed_rows(request: ChangeFeedRequest) -> pa.Table:
    """Find the changed rows that this reader may know of."""
    table = request.table
    schema = pa.schema([pa.field(column.name, column.type.arrow) for column in _list_key_columns(table)])
    text_fields = [pa.field(name, pa.string()) for name in (CHANGE_COLUMN, CHANGED_COLUMNS_COLUMN)]
    empty_feed = pa.schema([*schema, *text_fields]).empty_table()
    if request.since is None or request.since == request.until:
        return empty_feed
    try:
        change_set = find_changes_between(request.context.site, table.qualified_name, request.since, request.until)
    except NotFoundError as error:
        raise GoneError(error.message, remedy=READ_ALL_REMEDY) from error
    if not set(table.primary) <= set(change_set.column_names):
        raise GoneError(f"{table.qualified_name} had a different primary key at that time", remedy=READ_ALL_REMEDY)
    change_kinds = change_set.column(change_sets.CHANGE_COLUMN).cast(pa.string())
    masked_columns: set[str] = set().union(*collect_column_masks([table], request.principal).values())
    name_lists = change_set.column(change_sets.CHANGED_COLUMNS_COLUMN)
    changed_names, is_reported = _format_changed_columns(table, name_lists, change_kinds, masked_columns)
    rows = change_set.select(list(table.primary)).cast(schema)
    rows = rows.append_column(CHANGE_COLUMN, change_kinds).append_column(CHANGED_COLUMNS_COLUMN, changed_names)
    rows = rows.filter(is_reported)
    if request.is_filtered:
        rows = _classify_visible_changes(request, rows)
    if rows.num_rows:
        return rows.sort_by([(name, "ascending") for name in table.primary]).combine_chunks()
    return empty_feed


def find_changes_between(site: Site, table_name: str, since: str, until: str) -> pa.Table:
    """Return the changes between two snapshots of a table, from stored change sets or by a comparison.

    Raises
    ------
    NotFoundError
        Neither the change sets nor the two snapshots are kept any more; or the snapshots are too large to compare, or
        have other columns or keys.
    """
    change_chain = change_sets.find_change_chain(site, table_name, since, until)
    if change_chain:
        return change_sets.join_change_sets([change_set.load_rows() for change_set in change_chain])
    try:
        old_record = site.store.get_record(since)
        new_record = site.store.get_record(until)
    except NotFoundError as error:
        raise NotFoundError(f"the changes to {table_name} since {since} are no longer kept") from error
    if old_record.snapshot.rows + new_record.snapshot.rows > MAX_COMPARED_ROWS:
        raise NotFoundError(
            f"the changes to {table_name} since {since} were not kept, and the two states are too large to compare"
        )
    return change_sets.compare_snapshot_records(site, old_record, new_record)[0]


def _format_changed_columns(
    table: Table, lists: pa.ChunkedArray, change_kinds: pa.ChunkedArray, masked_columns: Collection[str]
) -> tuple[pa.Array, pa.Array]:
    """Format the names of changed columns as text, without hidden columns.

    A column that the reader sees only in some rows counts as hidden in all rows. So the feed does not tell that a file
    was replaced which the reader may not know of.

    Returns
    -------
    texts, reported_mask
        The texts; and a mask without the rows that changed only in hidden columns.
    """
    lists = combine_chunks(lists.cast(pa.list_(pa.string())))
    change_kinds = combine_chunks(change_kinds)
    hidden_names = [column.name for column in table.columns if column.hidden or column.name in masked_columns]
    is_changed = pc.equal(change_kinds, CHANGED_CHANGE)
    has_columns = pc.and_(is_changed, pc.is_valid(lists))
    reported_mask = pa.array(np.ones(len(lists), bool))
    if hidden_names:
        names = pc.list_flatten(lists)
        parents = pc.list_parent_indices(lists)
        is_visible = pc.invert(pc.is_in(names, value_set=pa.array(hidden_names, pa.string())))
        visible_counts = np.bincount(np.asarray(parents.filter(is_visible)), minlength=len(lists))
        all_counts = np.bincount(np.asarray(parents), minlength=len(lists))
        has_visible_change = pa.array((visible_counts > 0) | (all_counts == 0))
        reported_mask = pc.or_(pc.invert(has_columns), has_visible_change)
        offsets = np.concatenate([[0], np.cumsum(visible_counts)]).astype(np.int32)
        lists = pa.ListArray.from_arrays(pa.array(offsets), names.filter(is_visible))
    texts = pc.binary_join(lists, ",")
    return pc.if_else(has_columns, texts, pa.scalar(None, pa.string())), reported_mask


def _classify_visible_changes(request: ChangeFeedRequest, rows: pa.Table) -> pa.Table:
    """Classify changes by the rows that the reader sees in each state, and drop the rows that are in neither."""
    assert request.since is not None  # noqa: S101  (otherwise there are no rows)
    change_kinds = rows.column(CHANGE_COLUMN)
    existed_before = pc.not_equal(change_kinds, ADDED_CHANGE)
    exists_after = pc.not_equal(change_kinds, REMOVED_CHANGE)
    visible_before = _find_visible_rows(request, request.since, rows, existed_before)
    visible_after = _find_visible_rows(request, request.until, rows, exists_after)
    visible_in_both = visible_before & visible_after
    visible_kinds = np.where(visible_after, ADDED_CHANGE, REMOVED_CHANGE)
    visible_kinds = np.where(visible_in_both, CHANGED_CHANGE, visible_kinds)
    changed_names = rows.column(CHANGED_COLUMNS_COLUMN)
    visible_names = pc.if_else(pa.array(visible_in_both), changed_names, pa.scalar(None, pa.string()))
    classified_rows = rows.drop_columns([CHANGE_COLUMN, CHANGED_COLUMNS_COLUMN])
    classified_rows = classified_rows.append_column(CHANGE_COLUMN, pa.array(visible_kinds, pa.string()))
    classified_rows = classified_rows.append_column(CHANGED_COLUMNS_COLUMN, visible_names)
    return classified_rows.filter(pa.array(visible_before | visible_after))


def _find_visible_rows(
    request: ChangeFeedRequest, snapshot: str, rows: pa.Table, existence_mask: pa.ChunkedArray
) -> np.ndarray:
    """Return the mask of the rows that the reader sees in a state."""
    visible_mask = np.zeros(rows.num_rows, bool)
    row_positions = np.flatnonzero(np.asarray(existence_mask))
    if not len(row_positions):
        return visible_mask
    table = request.table
    keys = rows.select(list(table.primary)).take(pa.array(row_positions))
    text = f"SELECT c.{NUMBER_COLUMN} FROM {UPLOAD_TABLE} AS c {_write_key_join(table)}"
    with _run_query_on_changes(request, snapshot, text, _list_key_columns(table), keys) as result:
        for batch in result.iterate_batches():
            visible_rows = np.asarray(batch.column(0))
            visible_mask[row_positions[visible_rows]] = True
    return visible_mask
