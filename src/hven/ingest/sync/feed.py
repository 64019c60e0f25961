"""What changed in a table as one reader sees it: change sets, cut down to the rows and columns that this reader may know of.

A row is *added* if the reader sees it in the later state and did not in the earlier one, *removed* the other way round, whatever became of the
row itself: what a policy hides is named in neither direction. Who sees whole tables is answered from what each publication left
(`hven.ingest.sync.changes`); for others both states must still be kept, for only their rows tell who may see them.
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
from hven.ingest.sync._differing import ADDED, CHANGED, REMOVED
from hven.ingest.sync._differing import CHANGE as KIND
from hven.ingest.sync._differing import COLUMNS as NAMES
from hven.ingest.sync.changes import between, chain
from hven.model import Cache
from hven.model.errors import Gone, NotFound, ParamError
from hven.model.table import Column, Table
from hven.model.types import INT64, STRING
from hven.site.auth import ANONYMOUS, masks, row_filters, scope_of, visible
from hven.site.past import instant

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from hven.query import Result
    from hven.site import Holdings, Site
    from hven.site.auth import Policy, Reader, Scope

CHANGE, COLUMNS = "change", "columns"
NUMBER = "hven_number"
UPLOAD = "TAP_UPLOAD"
ALL = 2**62  # rows: a feed is as long as what changed
BUDGET = 64 * 1024**2  # bytes of feeds that are remembered
MOST = 20_000_000  # rows of two snapshots that are compared for a reader: 16 bytes each, and as much again to sort them
READER = "~"  # in the name of a state: behind it, which rows this reader saw
ID = re.compile(r"\d{8}T\d{6,}-[0-9a-f]+")
WHOLE = "read the whole table, and ask without `since` for the state to go on from"


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A table and two states of it, as one reader names them.

    Attributes
    ----------
    since, until
        Snapshots; `since` None: nothing is asked but the name of the state.
    now
        The later state is what is published.
    scope
        What the reader sees of the table.
    filtered
        The reader sees some rows only.
    who
        The reader.
    policies
        What readers may see.
    holdings
        What is published.
    """

    table: Table
    since: str | None
    until: str
    now: bool
    scope: Scope
    filtered: bool
    who: Reader
    policies: Sequence[Policy]
    holdings: Holdings

    def state(self, snapshot: str) -> str:
        """Name a state so that this reader can go on from it. Who sees some rows only may see others under other rules: the name says which.

        Parameters
        ----------
        snapshot
            Its id.

        Returns
        -------
        state
            Opaque text.
        """
        return f"{snapshot}{READER}{self.scope.key}" if self.filtered else snapshot

    @property
    def key(self) -> tuple[str, str | None, str, str]:
        """Equal keys, equal feeds."""
        return self.table.qualified, self.since, self.until, self.scope.key


def asked(
    site: Site,
    table: Table,
    since: str | None,
    until: str | None,
    *,
    who: Reader,
    policies: Sequence[Policy],
    holdings: Holdings,
) -> Asked:
    """Find the states that are meant.

    Parameters
    ----------
    site
        Where.
    table
        One that this reader may know of.
    since, until
        Names of states as the feed gives them, snapshots, runs, or times (ISO 8601; a day means its end). `until` None: what is published.
    who
        The reader.
    policies
        What readers may see.
    holdings
        What is published.

    Returns
    -------
    asked
        Two states of the table, and who asks.

    Raises
    ------
    NotFound
        The table is a view, has no primary key, or is read in place: its changes are not known.
    Gone
        No such state was published, or not as this reader sees the table now.
    ParamError
        Neither a state nor a time.
    """
    published = holdings.published.get(table.qualified)
    relation = None if published is None else published.relation
    if not isinstance(relation, Snapshot):
        raise NotFound(f"what changes in {table.qualified} is not known: it is no stored table", remedy="ask it by TAP")
    if not table.primary or {CHANGE, COLUMNS} & set(table.primary):
        raise NotFound(
            f"what changes in {table.qualified} cannot be told row by row: its rows have no key", remedy="ask it by TAP"
        )
    filters = row_filters([table], who, policies)
    private = [] if visible(table, ANONYMOUS, policies) else [table.qualified]
    scope = scope_of(filters, private, masks([table], who))
    states = _States(site, table.qualified, scope, filtered=bool(filters))
    return Asked(
        table=table,
        since=None if since is None else states.named("since", since, relation.id),
        until=relation.id if until is None else states.named("until", until, relation.id),
        now=until is None,
        scope=scope,
        filtered=bool(filters),
        who=who,
        policies=policies,
        holdings=holdings,
    )


class _States:
    """The states of one table that were ever published."""

    def __init__(self, site: Site, table: str, scope: Scope, *, filtered: bool) -> None:
        self._site = site
        self._table = table
        self._scope = scope
        self._filtered = filtered

    def named(self, param: str, wanted: str, present: str) -> str:
        """Find the snapshot that a reader means."""
        name, mark, scope = wanted.strip().partition(READER)
        known = {present}
        events = self._site.store.history(self._site.store.record(present).collection)  # the newest first
        known |= {event.state[self._table] for event in events if self._table in event.state}
        if name in known:
            if (scope != self._scope.key) if self._filtered else mark:
                raise Gone(
                    f"{param}={wanted}: which rows of {self._table} you may see was not said, or has changed",
                    remedy=WHOLE,
                )
            return name
        run = next(
            (event.state[self._table] for event in events if event.run == name and self._table in event.state), None
        )
        if run is not None:
            return run
        moment = None if ID.fullmatch(name) else instant(name)
        if moment is None:
            if ID.fullmatch(name):
                raise Gone(f"{param}={wanted[:80]}: {self._table} is not known to have had that state", remedy=WHOLE)
            raise ParamError(
                f"{param}={wanted[:80]!r} is neither a state nor a time",
                name=param,
                remedy="a time as 2026-11-20T08:00:00, or a state's name",
            )
        state = next((event.state for event in events if event.at <= moment), {})
        if self._table not in state:
            raise Gone(f"{param}={wanted}: {self._table} was not published then", remedy=WHOLE)
        return state[self._table]


class Feeds:
    """What changed between states, remembered as long as there is room: a reader pages, and many readers follow one table."""

    def __init__(self, site: Site, budget: int = BUDGET) -> None:
        self._site = site
        self._kept = Cache[pa.Table](budget)
        self._turn = threading.Lock()  # comparing snapshots reads them whole: one at a time

    def rows(self, wanted: Asked) -> pa.Table:
        """Return what changed.

        Parameters
        ----------
        wanted
            As `asked` returned it.

        Returns
        -------
        rows
            The columns of the key, `CHANGE` and `COLUMNS` (names with commas between; null: any), in the order of the key.

        Raises
        ------
        Gone
            It is not kept any more.
        """
        key = wanted.key
        found = self._kept.find(key)
        if found is None:
            with self._turn:
                found = self._kept.find(key)
                if found is None:
                    found = _changed(self._site, wanted)
                    self._kept.keep(key, found, found.nbytes)
        return found

    def result(self, wanted: Asked, *, offset: int = 0, maxrec: int | None = None, values: bool = False) -> Result:
        """Answer with what changed, or a part of it.

        Parameters
        ----------
        wanted
            As `asked` returned it.
        offset
            Rows to leave out.
        maxrec
            Rows at most.
        values
            True: the other columns of rows that are there, too.

        Returns
        -------
        result
            As of a query.

        Raises
        ------
        Gone
            It is not kept any more.
        ParamError
            `values` are asked for, and a column has a name of the feed.
        """
        table = wanted.table
        others = (
            [column for column in table.columns if not column.hidden and column.name not in table.primary]
            if values
            else []
        )
        clash = next((column.name for column in others if column.name.lower() in {CHANGE, COLUMNS, NUMBER}), None)
        if clash is not None:
            raise ParamError(
                f"{table.qualified} has a column {clash!r} itself", name="ROWS", remedy="ask without ROWS=values"
            )
        rows = self.rows(wanted)
        rows = rows.slice(min(offset, rows.num_rows), None if maxrec is None else min(maxrec, rows.num_rows) + 1)
        name, upload = _upload(table, [*_keys(table), *FEED], rows)
        quoted = [adql.quote(one) for one in table.primary]
        shown = ", ".join(
            [
                *(f"c.{one}" for one in quoted),
                f"c.{CHANGE}",
                f"c.{COLUMNS}",
                *(f"t.{adql.quote(one.name)}" for one in others),
            ]
        )
        text = f"SELECT {shown} FROM {name} AS c"
        if others:
            text += f" LEFT JOIN {_named(table)} AS t ON {' AND '.join(f'c.{one} = t.{one}' for one in quoted)}"
        then = _then(self._site, wanted, wanted.until, now=wanted.now)
        found = query.run(
            f"{text} ORDER BY c.{NUMBER}",
            wanted.who,
            site=self._site,
            maxrec=ALL if maxrec is None else maxrec,
            most=ALL,
            uploads=upload,
            policies=wanted.policies,
            holdings=then,
        )
        found.origins = query.origins([table], then, self._site)
        found.scope = wanted.scope if found.scope.public else found.scope
        return found


FEED = (
    Column(name=CHANGE, type=STRING, ucd="meta.code", description="what became of the row: added, changed, removed"),
    Column(
        name=COLUMNS,
        type=STRING,
        ucd="meta.note",
        description="of a changed row: the columns with other values; null: any may be another one",
    ),
)


def _keys(table: Table) -> list[Column]:
    return [column for name in table.primary if (column := table.column(name)) is not None]


def _named(table: Table) -> str:
    return f"{adql.quote(table.schema)}.{adql.quote(table.name)}"


def _upload(table: Table, columns: Sequence[Column], rows: pa.Table) -> tuple[str, dict[str, tuple[Table, pa.Table]]]:
    """Make rows a table that a query may join, with a number for each."""
    numbered = rows.append_column(NUMBER, pa.array(np.arange(rows.num_rows, dtype=np.int64)))
    made = Table(
        schema=UPLOAD,
        name="changes",
        columns=(*columns, Column(name=NUMBER, type=INT64)),
        enums=table.enums,
        frames=table.frames,
    )
    return f"{UPLOAD}.changes", {made.qualified: (made, numbered)}


def _then(site: Site, wanted: Asked, snapshot: str, *, now: bool = False) -> Holdings:
    """Return the holdings of a state.

    Raises
    ------
    Gone
        Its rows are not kept.
    """
    name = wanted.table.qualified
    if not now:
        found = site.as_of(snapshot).holdings
        item = found.published.get(name)
        if item is None or not isinstance(item.relation, Snapshot) or item.relation.id != snapshot:
            raise Gone(f"{name} as it was with {snapshot} is not kept any more", remedy=WHOLE)
        return found
    return wanted.holdings


def _changed(site: Site, wanted: Asked) -> pa.Table:
    """Find what changed for this reader."""
    table = wanted.table
    primary = list(table.primary)
    schema = pa.schema([pa.field(column.name, column.type.arrow) for column in _keys(table)])
    empty = pa.schema([*schema, pa.field(CHANGE, pa.string()), pa.field(COLUMNS, pa.string())]).empty_table()
    if wanted.since is None or wanted.since == wanted.until:
        return empty
    _feasible(site, wanted)
    try:
        found = between(site, table.qualified, wanted.since, wanted.until)
    except NotFound as error:
        raise Gone(error.message, remedy=WHOLE) from error
    if not set(primary) <= set(found.column_names):
        raise Gone(f"{table.qualified} had another key then", remedy=WHOLE)
    kinds = found.column(KIND).cast(pa.string())
    masked = {name for some in masks([table], wanted.who).values() for name in some}
    names, told = _names(table, found.column(NAMES), kinds, masked)
    keys = pa.table({name: found.column(name).cast(schema.field(name).type) for name in primary}, schema=schema)
    rows = keys.append_column(CHANGE, kinds).append_column(COLUMNS, names).filter(told)
    if wanted.filtered:
        rows = _seen(site, wanted, rows)
    return rows.sort_by([(name, "ascending") for name in primary]).combine_chunks() if rows.num_rows else empty


def _feasible(site: Site, wanted: Asked) -> None:
    """Refuse to compare what is too big for that.

    Raises
    ------
    Gone
        Nothing leads from one state to the other but comparing two big snapshots.
    """
    assert wanted.since is not None  # noqa: S101  (there is nothing to compare)
    name = wanted.table.qualified
    if chain(site, name, wanted.since, wanted.until) is not None:
        return
    try:
        rows = sum(site.store.record(one).snapshot.rows for one in (wanted.since, wanted.until))
    except NotFound:
        return  # which is told by who looks for them
    if rows > MOST:
        raise Gone(
            f"what changed in {name} since {wanted.since} was not kept, and two big tables are not compared for it",
            remedy=WHOLE,
        )


def _names(
    table: Table, lists: pa.ChunkedArray, kinds: pa.ChunkedArray, masked: Collection[str]
) -> tuple[pa.Array, pa.Array]:
    """Write the changed columns as text, without hidden ones; tell also which rows are told at all: not those that changed in hidden columns alone.

    Columns that the reader sees in some rows only are hidden in all: that a file which they may not know of was replaced is not told.
    """
    lists = lists.cast(pa.list_(pa.string())).combine_chunks()
    lists = pa.concat_arrays(lists.chunks) if isinstance(lists, pa.ChunkedArray) else lists
    kinds = kinds.combine_chunks()
    kinds = pa.concat_arrays(kinds.chunks) if isinstance(kinds, pa.ChunkedArray) else kinds
    hidden = pa.array([column.name for column in table.columns if column.hidden or column.name in masked], pa.string())
    changed = pc.equal(kinds, CHANGED)
    known = pc.and_(changed, pc.is_valid(lists))
    told = pa.array(np.ones(len(lists), bool))
    if len(hidden):
        flat, parents = pc.list_flatten(lists), pc.list_parent_indices(lists)
        kept = pc.invert(pc.is_in(flat, value_set=hidden))
        counts = np.bincount(np.asarray(parents.filter(kept)), minlength=len(lists))
        was = np.bincount(np.asarray(parents), minlength=len(lists))
        told = pc.or_(pc.invert(known), pa.array((counts > 0) | (was == 0)))
        offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
        lists = pa.ListArray.from_arrays(pa.array(offsets), flat.filter(kept))
    text = pc.binary_join(lists, ",")
    return pc.if_else(known, text, pa.scalar(None, pa.string())), told


def _seen(site: Site, wanted: Asked, rows: pa.Table) -> pa.Table:
    """Classify changes by what the reader sees in either state: nothing else is named."""
    kinds = rows.column(CHANGE)
    assert wanted.since is not None  # noqa: S101  (there would be no rows)
    before = _visible(site, wanted, wanted.since, rows, pc.not_equal(kinds, ADDED))
    after = _visible(site, wanted, wanted.until, rows, pc.not_equal(kinds, REMOVED), now=wanted.now)
    words = np.where(before & after, CHANGED, np.where(after, ADDED, REMOVED))
    stays = pa.array(before & after)
    names = pc.if_else(stays, rows.column(COLUMNS), pa.scalar(None, pa.string()))
    keys = rows.drop_columns([CHANGE, COLUMNS])
    return (
        keys.append_column(CHANGE, pa.array(words, pa.string()))
        .append_column(COLUMNS, names)
        .filter(pa.array(before | after))
    )


def _visible(
    site: Site, wanted: Asked, snapshot: str, rows: pa.Table, there: pa.ChunkedArray, *, now: bool = False
) -> np.ndarray:
    """Ask which of these rows the reader sees in a state."""
    flags = np.zeros(rows.num_rows, bool)
    places = np.flatnonzero(np.asarray(there))
    if not len(places):
        return flags
    holdings = _then(site, wanted, snapshot, now=now)
    table = wanted.table
    name, upload = _upload(table, _keys(table), rows.select(list(table.primary)).take(pa.array(places)))
    same = " AND ".join(f"c.{adql.quote(one)} = t.{adql.quote(one)}" for one in table.primary)
    text = f"SELECT c.{NUMBER} FROM {name} AS c JOIN {_named(table)} AS t ON {same}"
    with query.run(
        text, wanted.who, site=site, maxrec=ALL, most=ALL, uploads=upload, policies=wanted.policies, holdings=holdings
    ) as result:
        for batch in result.batches():
            flags[places[np.asarray(batch.column(0))]] = True
    return flags


__all__ = ["CHANGE", "COLUMNS", "FEED", "WHOLE", "Asked", "Feeds", "asked"]
