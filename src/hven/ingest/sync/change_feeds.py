"""What changed in a table as one reader sees it.

Change sets, cut down to the rows and columns that this reader may know of.

A row is *added* if the reader sees it in the later state and did not in the earlier one, *removed* the other way round,
whatever became of the row itself: what a policy hides is named in neither direction. Who sees whole tables is answered
from what each publication left (`hven.ingest.sync.change_sets`); for others both states must still be kept, for only
their rows tell who may see them.
"""

from __future__ import annotations

import re
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hven import adql, query
from hven.engines import Snapshot
from hven.ingest.sync._row_differences import ADDED_CHANGE, CHANGED_CHANGE, REMOVED_CHANGE
from hven.ingest.sync._row_differences import CHANGE_COLUMN as KIND
from hven.ingest.sync._row_differences import CHANGED_COLUMNS_COLUMN as NAMES
from hven.ingest.sync.change_sets import find_change_chain, find_changes_between
from hven.model import Cache
from hven.model.errors import GoneError, NotFoundError, ParamError
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
    from hven.site import PublishedState, Site
    from hven.site.auth import AccessPolicy, AccessScope, Principal

CHANGE_COLUMN, CHANGED_COLUMNS_COLUMN = "change", "columns"
NUMBER_COLUMN = "hven_number"
UPLOAD_SCHEMA = "TAP_UPLOAD"
UNLIMITED_ROWS = 2**62  # rows: a feed is as long as what changed
MAX_CACHE_BYTES = 64 * 1024**2  # bytes of feeds that are remembered
MAX_COMPARED_ROWS = (
    20_000_000  # rows of two snapshots that are compared for a reader: 16 bytes each, and as much again to sort them
)
PRINCIPAL_SEPARATOR = "~"  # in the name of a state: behind it, which rows this reader saw
SNAPSHOT_ID_PATTERN = re.compile(r"\d{8}T\d{6,}-[0-9a-f]+")
READ_ALL_REMEDY = "read the whole table, and ask without `since` for the state to go on from"


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeFeedRequest:
    """A table and two states of it, as one reader names them.

    Attributes
    ----------
    since, until
        Snapshots; `since` None: nothing is asked but the name of the state.
    ends_at_published
        The later state is what is published.
    scope
        What the reader sees of the table.
    is_filtered
        The reader sees some rows only.
    principal
        The reader.
    policies
        What readers may see.
    published_state
        What is published.
    """

    table: Table
    since: str | None
    until: str
    ends_at_published: bool
    scope: AccessScope
    is_filtered: bool
    principal: Principal
    policies: Sequence[AccessPolicy]
    published_state: PublishedState

    def format_state_name(self, snapshot: str) -> str:
        """Name a state so that this reader can go on from it. Who sees some rows only may see others under other rules.

        The name says which.

        Parameters
        ----------
        snapshot
            Its id.

        Returns
        -------
        state
            Opaque text.
        """
        if self.is_filtered:
            return f"{snapshot}{PRINCIPAL_SEPARATOR}{self.scope.key}"
        return snapshot

    @property
    def cache_key(self) -> tuple[str, str | None, str, str]:
        """Equal keys, equal feeds."""
        return self.table.qualified_name, self.since, self.until, self.scope.key


def create_feed_request(
    site: Site,
    table: Table,
    since: str | None,
    until: str | None,
    *,
    principal: Principal,
    policies: Sequence[AccessPolicy],
    published_state: PublishedState,
) -> ChangeFeedRequest:
    """Find the states that are meant.

    Parameters
    ----------
    site
        Where.
    table
        One that this reader may know of.
    since, until
        Names of states as the feed gives them, snapshots, runs, or times (ISO 8601; a day means its end). `until` None:
        what is published.
    principal
        The reader.
    policies
        What readers may see.
    published_state
        What is published.

    Returns
    -------
    asked
        Two states of the table, and who asks.

    Raises
    ------
    NotFoundError
        The table is a view, has no primary key, or is read in place: its changes are not known.
    GoneError
        No such state was published, or not as this reader sees the table now.
    ParamError
        Neither a state nor a time.
    """
    published = published_state.tables_by_name.get(table.qualified_name)
    relation = None if published is None else published.relation
    if not isinstance(relation, Snapshot):
        raise NotFoundError(
            f"what changes in {table.qualified_name} is not known: it is no stored table", remedy="ask it by TAP"
        )
    if not table.primary or {CHANGE_COLUMN, CHANGED_COLUMNS_COLUMN} & set(table.primary):
        raise NotFoundError(
            f"what changes in {table.qualified_name} cannot be told row by row: its rows have no key",
            remedy="ask it by TAP",
        )
    row_conditions = collect_row_filters([table], principal, policies)
    if is_table_visible(table, ANONYMOUS_PRINCIPAL, policies):
        private_tables = []
    else:
        private_tables = [table.qualified_name]
    column_masks = collect_column_masks([table], principal)
    scope = build_access_scope(row_conditions, private_tables, column_masks)
    states = _TableStates(site, table.qualified_name, scope, filtered=bool(row_conditions))
    return ChangeFeedRequest(
        table=table,
        since=None if since is None else states.find_snapshot("since", since, relation.id),
        until=relation.id if until is None else states.find_snapshot("until", until, relation.id),
        ends_at_published=until is None,
        scope=scope,
        is_filtered=bool(row_conditions),
        principal=principal,
        policies=policies,
        published_state=published_state,
    )


class _TableStates:
    """The states of one table that were ever published."""

    def __init__(self, site: Site, table: str, scope: AccessScope, *, filtered: bool) -> None:
        self._site = site
        self._table = table
        self._scope = scope
        self._filtered = filtered

    def find_snapshot(self, param_name: str, state_name: str, current_snapshot: str) -> str:
        """Find the snapshot that a reader means."""
        name, separator, scope = state_name.strip().partition(PRINCIPAL_SEPARATOR)
        known_snapshots = {current_snapshot}
        events = self._site.store.list_events(
            self._site.store.get_record(current_snapshot).collection
        )  # the newest first
        known_snapshots |= {event.state[self._table] for event in events if self._table in event.state}
        if name in known_snapshots:
            if (scope != self._scope.key) if self._filtered else separator:
                raise GoneError(
                    f"{param_name}={state_name}: which rows of {self._table} you may see was not said, or has changed",
                    remedy=READ_ALL_REMEDY,
                )
            return name
        run_snapshot = next(
            (event.state[self._table] for event in events if event.run == name and self._table in event.state), None
        )
        if run_snapshot is not None:
            return run_snapshot
        if SNAPSHOT_ID_PATTERN.fullmatch(name):
            time_instant = None
        else:
            time_instant = parse_instant(name)
        if time_instant is None:
            if SNAPSHOT_ID_PATTERN.fullmatch(name):
                raise GoneError(
                    f"{param_name}={state_name[:80]}: {self._table} is not known to have had that state",
                    remedy=READ_ALL_REMEDY,
                )
            raise ParamError(
                f"{param_name}={state_name[:80]!r} is neither a state nor a time",
                name=param_name,
                remedy="a time as 2026-11-20T08:00:00, or a state's name",
            )
        state = next((event.state for event in events if event.at <= time_instant), {})
        if self._table not in state:
            raise GoneError(f"{param_name}={state_name}: {self._table} was not published then", remedy=READ_ALL_REMEDY)
        return state[self._table]


class ChangeFeeds:
    """What changed between states, remembered as long as there is room.

    A reader pages, and many readers follow one table.
    """

    def __init__(self, site: Site, byte_limit: int = MAX_CACHE_BYTES) -> None:
        self._site = site
        self._cache = Cache[pa.Table](byte_limit)
        self._comparison_lock = threading.Lock()  # comparing snapshots reads them whole: one at a time

    def find_changed_rows(self, request: ChangeFeedRequest) -> pa.Table:
        """Return what changed.

        Parameters
        ----------
        request
            As `create_feed_request` returned it.

        Returns
        -------
        rows
            The columns of the key, `CHANGE_COLUMN` and `CHANGED_COLUMNS_COLUMN` (names with commas between; null: any),
            in the order of the key.

        Raises
        ------
        GoneError
            It is not kept any more.
        """
        key = request.cache_key
        changed_rows = self._cache.find(key)
        if changed_rows is None:
            with self._comparison_lock:
                changed_rows = self._cache.find(key)
                if changed_rows is None:
                    changed_rows = _find_changed_rows(self._site, request)
                    self._cache.store(key, changed_rows, changed_rows.nbytes)
        return changed_rows

    def query_changes(
        self, request: ChangeFeedRequest, *, offset: int = 0, maxrec: int | None = None, include_values: bool = False
    ) -> QueryResult:
        """Answer with what changed, or a part of it.

        Parameters
        ----------
        request
            As `create_feed_request` returned it.
        offset
            Rows to leave out.
        maxrec
            Rows at most.
        include_values
            True: the other columns of rows that are there, too.

        Returns
        -------
        result
            As of a query.

        Raises
        ------
        GoneError
            It is not kept any more.
        ParamError
            `include_values` are asked for, and a column has a name of the feed.
        """
        table = request.table
        if include_values:
            value_columns = [
                column for column in table.columns if not column.hidden and column.name not in table.primary
            ]
        else:
            value_columns = []
        conflicting_name = next(
            (
                column.name
                for column in value_columns
                if column.name.lower() in {CHANGE_COLUMN, CHANGED_COLUMNS_COLUMN, NUMBER_COLUMN}
            ),
            None,
        )
        if conflicting_name is not None:
            raise ParamError(
                f"{table.qualified_name} has a column {conflicting_name!r} itself",
                name="ROWS",
                remedy="ask without ROWS=values",
            )
        rows = self.find_changed_rows(request)
        rows = rows.slice(min(offset, rows.num_rows), None if maxrec is None else min(maxrec, rows.num_rows) + 1)
        name, upload = _build_upload(table, [*_list_key_columns(table), *FEED_COLUMNS], rows)
        quoted = [adql.quote_name(item) for item in table.primary]
        select_list = ", ".join(
            [
                *(f"c.{item}" for item in quoted),
                f"c.{CHANGE_COLUMN}",
                f"c.{CHANGED_COLUMNS_COLUMN}",
                *(f"t.{adql.quote_name(item.name)}" for item in value_columns),
            ]
        )
        text = f"SELECT {select_list} FROM {name} AS c"
        if value_columns:
            text += (
                f" LEFT JOIN {_quote_table_name(table)} AS t ON "
                f"{' AND '.join(f'c.{item} = t.{item}' for item in quoted)}"
            )
        published_state = _find_published_state(
            self._site, request, request.until, is_current=request.ends_at_published
        )
        query_result = query.run_query(
            f"{text} ORDER BY c.{NUMBER_COLUMN}",
            request.principal,
            site=self._site,
            maxrec=UNLIMITED_ROWS if maxrec is None else maxrec,
            hard_row_limit=UNLIMITED_ROWS,
            uploads=upload,
            policies=request.policies,
            published_state=published_state,
        )
        query_result.origins = query.describe_origins([table], published_state, self._site)
        if query_result.scope.is_public:
            query_result.scope = request.scope
        return query_result


FEED_COLUMNS = (
    Column(
        name=CHANGE_COLUMN, type=STRING, ucd="meta.code", description="what became of the row: added, changed, removed"
    ),
    Column(
        name=CHANGED_COLUMNS_COLUMN,
        type=STRING,
        ucd="meta.note",
        description="of a changed row: the columns with other values; null: any may be another one",
    ),
)


def _list_key_columns(table: Table) -> list[Column]:
    return [column for name in table.primary if (column := table.find_column(name)) is not None]


def _quote_table_name(table: Table) -> str:
    return f"{adql.quote_name(table.schema)}.{adql.quote_name(table.name)}"


def _build_upload(
    table: Table, columns: Sequence[Column], rows: pa.Table
) -> tuple[str, dict[str, tuple[Table, pa.Table]]]:
    """Make rows a table that a query may join, with a number for each."""
    numbered = rows.append_column(NUMBER_COLUMN, pa.array(np.arange(rows.num_rows, dtype=np.int64)))
    upload_table = Table(
        schema=UPLOAD_SCHEMA,
        name="changes",
        columns=(*columns, Column(name=NUMBER_COLUMN, type=INT64)),
        enums=table.enums,
        frames=table.frames,
    )
    return f"{UPLOAD_SCHEMA}.changes", {upload_table.qualified_name: (upload_table, numbered)}


def _find_published_state(
    site: Site, request: ChangeFeedRequest, snapshot: str, *, is_current: bool = False
) -> PublishedState:
    """Return the holdings of a state.

    Raises
    ------
    GoneError
        Its rows are not kept.
    """
    name = request.table.qualified_name
    if not is_current:
        state_at_snapshot = site.find_past_state(snapshot).published_state
        published_table = state_at_snapshot.tables_by_name.get(name)
        if (
            published_table is None
            or not isinstance(published_table.relation, Snapshot)
            or published_table.relation.id != snapshot
        ):
            raise GoneError(f"{name} as it was with {snapshot} is not kept any more", remedy=READ_ALL_REMEDY)
        return state_at_snapshot
    return request.published_state


def _find_changed_rows(site: Site, request: ChangeFeedRequest) -> pa.Table:
    """Find what changed for this reader."""
    table = request.table
    primary = list(table.primary)
    schema = pa.schema([pa.field(column.name, column.type.arrow) for column in _list_key_columns(table)])
    empty = pa.schema(
        [*schema, pa.field(CHANGE_COLUMN, pa.string()), pa.field(CHANGED_COLUMNS_COLUMN, pa.string())]
    ).empty_table()
    if request.since is None or request.since == request.until:
        return empty
    _check_comparable(site, request)
    try:
        change_set = find_changes_between(site, table.qualified_name, request.since, request.until)
    except NotFoundError as error:
        raise GoneError(error.message, remedy=READ_ALL_REMEDY) from error
    if not set(primary) <= set(change_set.column_names):
        raise GoneError(f"{table.qualified_name} had another key then", remedy=READ_ALL_REMEDY)
    change_kinds = change_set.column(KIND).cast(pa.string())
    masked_columns = {
        name for mask_columns in collect_column_masks([table], request.principal).values() for name in mask_columns
    }
    names, is_reported = _format_changed_columns(table, change_set.column(NAMES), change_kinds, masked_columns)
    keys = pa.table({name: change_set.column(name).cast(schema.field(name).type) for name in primary}, schema=schema)
    rows = (
        keys.append_column(CHANGE_COLUMN, change_kinds).append_column(CHANGED_COLUMNS_COLUMN, names).filter(is_reported)
    )
    if request.is_filtered:
        rows = _classify_for_principal(site, request, rows)
    if rows.num_rows:
        return rows.sort_by([(name, "ascending") for name in primary]).combine_chunks()
    return empty


def _check_comparable(site: Site, request: ChangeFeedRequest) -> None:
    """Refuse to compare what is too big for that.

    Raises
    ------
    GoneError
        Nothing leads from one state to the other but comparing two big snapshots.
    """
    assert request.since is not None  # noqa: S101  (there is nothing to compare)
    name = request.table.qualified_name
    if find_change_chain(site, name, request.since, request.until) is not None:
        return
    try:
        rows = sum(site.store.get_record(snapshot_id).snapshot.rows for snapshot_id in (request.since, request.until))
    except NotFoundError:
        return  # which is told by who looks for them
    if rows > MAX_COMPARED_ROWS:
        raise GoneError(
            f"what changed in {name} since {request.since} was not kept, and two big tables are not compared for it",
            remedy=READ_ALL_REMEDY,
        )


def _format_changed_columns(
    table: Table, lists: pa.ChunkedArray, change_kinds: pa.ChunkedArray, masked_columns: Collection[str]
) -> tuple[pa.Array, pa.Array]:
    """Write the changed columns as text, without hidden ones; tell also which rows are told at all.

    Not those that changed in hidden columns alone.

    Columns that the reader sees in some rows only are hidden in all: that a file which they may not know of was
    replaced is not told.
    """
    lists = lists.cast(pa.list_(pa.string())).combine_chunks()
    if isinstance(lists, pa.ChunkedArray):
        lists = pa.concat_arrays(lists.chunks)
    change_kinds = change_kinds.combine_chunks()
    if isinstance(change_kinds, pa.ChunkedArray):
        change_kinds = pa.concat_arrays(change_kinds.chunks)
    hidden = pa.array(
        [column.name for column in table.columns if column.hidden or column.name in masked_columns], pa.string()
    )
    changed = pc.equal(change_kinds, CHANGED_CHANGE)
    has_columns = pc.and_(changed, pc.is_valid(lists))
    is_reported = pa.array(np.ones(len(lists), bool))
    if len(hidden):
        flat = pc.list_flatten(lists)
        parents = pc.list_parent_indices(lists)
        is_visible = pc.invert(pc.is_in(flat, value_set=hidden))
        counts = np.bincount(np.asarray(parents.filter(is_visible)), minlength=len(lists))
        original_counts = np.bincount(np.asarray(parents), minlength=len(lists))
        is_reported = pc.or_(pc.invert(has_columns), pa.array((counts > 0) | (original_counts == 0)))
        offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
        lists = pa.ListArray.from_arrays(pa.array(offsets), flat.filter(is_visible))
    text = pc.binary_join(lists, ",")
    return pc.if_else(has_columns, text, pa.scalar(None, pa.string())), is_reported


def _classify_for_principal(site: Site, request: ChangeFeedRequest, rows: pa.Table) -> pa.Table:
    """Classify changes by what the reader sees in either state: nothing else is named."""
    change_kinds = rows.column(CHANGE_COLUMN)
    assert request.since is not None  # noqa: S101  (there would be no rows)
    visible_before = _find_visible_rows(site, request, request.since, rows, pc.not_equal(change_kinds, ADDED_CHANGE))
    visible_after = _find_visible_rows(
        site,
        request,
        request.until,
        rows,
        pc.not_equal(change_kinds, REMOVED_CHANGE),
        is_current=request.ends_at_published,
    )
    words = np.where(
        visible_before & visible_after, CHANGED_CHANGE, np.where(visible_after, ADDED_CHANGE, REMOVED_CHANGE)
    )
    is_visible_in_both = pa.array(visible_before & visible_after)
    names = pc.if_else(is_visible_in_both, rows.column(CHANGED_COLUMNS_COLUMN), pa.scalar(None, pa.string()))
    keys = rows.drop_columns([CHANGE_COLUMN, CHANGED_COLUMNS_COLUMN])
    return (
        keys.append_column(CHANGE_COLUMN, pa.array(words, pa.string()))
        .append_column(CHANGED_COLUMNS_COLUMN, names)
        .filter(pa.array(visible_before | visible_after))
    )


def _find_visible_rows(
    site: Site,
    request: ChangeFeedRequest,
    snapshot: str,
    rows: pa.Table,
    existence_mask: pa.ChunkedArray,
    *,
    is_current: bool = False,
) -> np.ndarray:
    """Ask which of these rows the reader sees in a state."""
    flags = np.zeros(rows.num_rows, bool)
    row_positions = np.flatnonzero(np.asarray(existence_mask))
    if not len(row_positions):
        return flags
    holdings = _find_published_state(site, request, snapshot, is_current=is_current)
    table = request.table
    name, upload = _build_upload(
        table, _list_key_columns(table), rows.select(list(table.primary)).take(pa.array(row_positions))
    )
    join_condition = " AND ".join(
        f"c.{adql.quote_name(column_name)} = t.{adql.quote_name(column_name)}" for column_name in table.primary
    )
    text = f"SELECT c.{NUMBER_COLUMN} FROM {name} AS c JOIN {_quote_table_name(table)} AS t ON {join_condition}"
    with query.run_query(
        text,
        request.principal,
        site=site,
        maxrec=UNLIMITED_ROWS,
        hard_row_limit=UNLIMITED_ROWS,
        uploads=upload,
        policies=request.policies,
        published_state=holdings,
    ) as result:
        for batch in result.iterate_batches():
            flags[row_positions[np.asarray(batch.column(0))]] = True
    return flags


__all__ = [
    "CHANGED_COLUMNS_COLUMN",
    "CHANGE_COLUMN",
    "FEED_COLUMNS",
    "READ_ALL_REMEDY",
    "ChangeFeedRequest",
    "ChangeFeeds",
    "create_feed_request",
]
