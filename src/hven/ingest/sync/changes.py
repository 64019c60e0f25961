"""What each publication changed, kept as a file: key, kind and columns of every row that became another one. Also over several of them.

A change set is an Arrow table: the columns of the primary key, `CHANGE` (``added``, ``changed``, ``removed``) and `COLUMNS` (a list of
names for changed rows; null: any column may be another one).

Common
------
site
    That keeps them.
table
    ``schema.table``.
since, until
    Ids of snapshots; no `until`: the published one.
before, after
    Ids of snapshots.
run
    Id of the run.
at
    When, as ISO 8601.
rows
    A change set; of a `ChangeSet`, how many rows are other ones.
old, new
    Records of two snapshots.
steps
    Change sets, the oldest first.
collection
    Its name.
returns : pa.Table, Change
    A change set, and what it counts.
"""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hven.ingest._picking import nullable
from hven.ingest._report import Change
from hven.ingest.sync._differing import ADDED, CHANGE, CHANGED, COLUMNS, REMOVED, compare, tell
from hven.model.errors import NotFound, StorageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from hven.site import Site
    from hven.site.store import Record

META = b"hven"
NUMBER = "hven:number"
DAY = 86_400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeSet:
    """What one publication made of a table.

    Attributes
    ----------
    before, after
        Ids of the snapshots.
    at
        When it was published, or nearly.
    rows
        How many rows are other ones; `load` gives them.
    run
        Id of the run that published it.
    path
        The file.
    """

    table: str
    before: str
    after: str
    run: str
    at: str
    rows: int
    path: Path

    def load(self) -> pa.Table:
        """Return the rows.

        Raises
        ------
        NotFound
            The file is gone.
        """
        try:
            with pa.OSFile(str(self.path), "rb") as source:
                return pa.ipc.open_file(source).read_all()
        except (OSError, pa.ArrowInvalid) as error:
            raise NotFound(f"what changed in {self.table} up to {self.after} is not kept any more") from error


def keep(site: Site, table: str, rows: pa.Table, *, before: str, after: str, run: str, at: str) -> None:
    """Write down what a publication changes, before it is published.

    Raises
    ------
    StorageError
        The disk.
    """
    place = _place(site, table)
    said = {"before": before, "after": after, "run": run, "at": at}
    path = place / f"{after}.arrow"
    beside = path.with_suffix(".writing")
    try:
        place.mkdir(parents=True, exist_ok=True)
        plain = rows.replace_schema_metadata({META: json.dumps(said).encode()})
        with pa.OSFile(str(beside), "wb") as sink, pa.ipc.new_file(sink, plain.schema) as writer:
            writer.write_table(plain)
        with beside.open("rb+") as file:
            os.fsync(file.fileno())
        beside.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            beside.unlink(missing_ok=True)
        raise StorageError(
            f"{path} cannot be written: {error.strerror or error}", remedy="make room on the disk of var/"
        ) from error


def sets(site: Site, table: str) -> list[ChangeSet]:
    """Return the change sets of a table that are kept, the newest first. Some may be of snapshots that were never published: follow `before`."""
    found = []
    place = _place(site, table)
    for path in sorted(place.glob("*.arrow"), reverse=True) if place.is_dir() else ():
        try:
            with pa.OSFile(str(path), "rb") as source:
                reader = pa.ipc.open_file(source)
                said = json.loads((reader.schema.metadata or {})[META])
                rows = sum(reader.get_batch(number).num_rows for number in range(reader.num_record_batches))
        except (OSError, pa.ArrowInvalid, KeyError, ValueError):
            continue
        found.append(ChangeSet(table=table, rows=rows, path=path, **said))
    return found


def chain(site: Site, table: str, since: str, until: str | None = None) -> list[ChangeSet] | None:
    """Return the change sets that lead from one snapshot to another, the oldest first; None if there is no unbroken way.

    Parameters
    ----------
    until
        None: the published snapshot.
    """
    now = until or site.store.pointers()[1].get(table)
    known = {one.after: one for one in sets(site, table)}
    way: list[ChangeSet] = []
    while now is not None and now != since:
        step = known.pop(now, None)
        if step is None:
            return None
        way.append(step)
        now = step.before
    return way[::-1] if now == since else None


def between(site: Site, table: str, since: str, until: str | None = None) -> pa.Table:
    """Return what is different in one snapshot of a table from another one: from what was kept, or by comparing them.

    Raises
    ------
    NotFound
        Neither the change sets nor the two snapshots are kept any more; or there is no such table.
    """
    way = chain(site, table, since, until)
    if way is not None and way:
        return joined([step.load() for step in way])
    target = until or site.store.pointers()[1].get(table)
    if target is None:
        raise NotFound(f"there is no table {table!r}")
    try:
        old, new = site.store.record(since), site.store.record(target)
    except NotFound as error:
        message = f"what changed in {table} since {since} is not kept any more"
        raise NotFound(message, remedy="read the whole table, and begin anew from its present snapshot") from error
    return compared(site, old, new)[0]


def compared(site: Site, old: Record, new: Record) -> tuple[pa.Table, Change]:
    """Compare two snapshots that are kept.

    Raises
    ------
    NotFound
        They are not of one table, or have other columns or keys.
    """
    if old.table.qualified != new.table.qualified:
        raise NotFound(f"{old.id} is of {old.table.qualified}, {new.id} of {new.table.qualified}")
    change = Change(table=new.table.qualified, rows=new.snapshot.rows)
    schema = nullable(new.table.arrow)
    if nullable(old.table.arrow) != schema or old.table.primary != new.table.primary:
        raise NotFound(
            f"{old.id} and {new.id} of {new.table.qualified} have other columns or keys",
            remedy="compare what was published since",
        )
    primary = new.table.primary
    if old.id == new.id:
        empty = schema.empty_table().select(list(primary) or schema.names)
        lists = pa.array([], pa.list_(pa.string()))
        return empty.append_column(CHANGE, pa.array([], pa.string())).append_column(COLUMNS, lists), change
    found = compare(
        (site.engines.of(old.snapshot), old.snapshot), (site.engines.of(new.snapshot), new.snapshot), primary, schema
    )
    return tell(found, change, primary), change


def joined(steps: Sequence[pa.Table]) -> pa.Table:
    """Join change sets that follow each other into one."""
    if len(steps) == 1:
        return steps[0].replace_schema_metadata(None)
    plain = [
        step.replace_schema_metadata(None).set_column(
            step.num_columns - 2, CHANGE, step.column(CHANGE).cast(pa.string())
        )
        for step in steps
    ]
    plain = [
        step.set_column(step.num_columns - 1, COLUMNS, step.column(COLUMNS).cast(pa.list_(pa.string())))
        for step in plain
    ]
    rows = pa.concat_tables(plain).combine_chunks()
    key = [name for name in rows.column_names if name not in {CHANGE, COLUMNS}]
    rows = rows.append_column(NUMBER, pa.array(np.arange(rows.num_rows)))
    ends = rows.group_by(key, use_threads=False).aggregate(
        [(CHANGE, "first"), (CHANGE, "last"), (NUMBER, "min"), (NUMBER, "max"), (NUMBER, "count")]
    )
    was = pc.not_equal(ends.column(f"{CHANGE}_first"), ADDED)
    stays = pc.not_equal(ends.column(f"{CHANGE}_last"), REMOVED)
    kind = pc.if_else(was, pc.if_else(stays, CHANGED, REMOVED), ADDED)
    ends = ends.append_column(CHANGE, kind).filter(pc.or_(was, stays))
    return ends.select([*key, CHANGE]).append_column(COLUMNS, _columns(rows, ends, key))


def _columns(rows: pa.Table, ends: pa.Table, key: Sequence[str]) -> pa.Array:
    """Collect the columns that changed; null where a row went and came back."""
    changed = rows.filter(pc.equal(rows.column(CHANGE), CHANGED))
    lists = changed.column(COLUMNS)
    numbers = pc.list_parent_indices(lists)
    flat = changed.select(list(key)).take(numbers).append_column(COLUMNS, pc.list_flatten(lists))
    places = ends.select([*key, CHANGE, f"{CHANGE}_first", f"{CHANGE}_last"]).append_column(
        "hven:place", pa.array(np.arange(ends.num_rows))
    )
    both = flat.group_by([*key, COLUMNS]).aggregate([]).join(places, keys=list(key), join_type="inner")
    both = both.filter(pc.equal(both.column(CHANGE), CHANGED)).sort_by(
        [("hven:place", "ascending"), (COLUMNS, "ascending")]
    )
    counts = np.bincount(np.asarray(both.column("hven:place")), minlength=ends.num_rows)
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
    again = pc.and_(
        pc.equal(ends.column(CHANGE), CHANGED),
        pc.or_(pc.equal(ends.column(f"{CHANGE}_first"), REMOVED), pc.equal(ends.column(f"{CHANGE}_last"), ADDED)),
    )
    names = both.column(COLUMNS).combine_chunks()
    names = pa.concat_arrays(names.chunks) if isinstance(names, pa.ChunkedArray) else names
    return pa.ListArray.from_arrays(pa.array(offsets), names, mask=pa.array(np.asarray(again)))


def sweep(site: Site, collection: str) -> None:
    """Remove what is older than `keep_changes`; called by who holds the collection's lease."""
    limit = datetime.fromisoformat(site.store.times.believed()).timestamp() - site.settings.keep_changes * DAY
    for path in _files(site, collection):
        with contextlib.suppress(OSError):
            if path.stat().st_mtime < limit:
                path.unlink()


def _files(site: Site, collection: str) -> Iterator[Path]:
    top = site.settings.kept / "sync" / "changes"
    for place in top.glob(f"{collection}.*") if top.is_dir() else ():
        yield from place.iterdir()


def _place(site: Site, table: str) -> Path:
    return site.settings.kept / "sync" / "changes" / table


__all__ = ["ADDED", "CHANGE", "COLUMNS", "ChangeSet", "between", "chain", "compared", "joined", "keep", "sets", "sweep"]
