"""What each publication changed, kept as a file: key, kind and columns of every row that became another one.

Also over several of them.

A change set is an Arrow table: the columns of the primary key, `CHANGE_COLUMN` (``added``, ``changed``, ``removed``)
and `CHANGED_COLUMNS_COLUMN` (a list of names for changed rows; null: any column may be another one).

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
old_record, new_record
    Records of two snapshots.
change_sets
    Change sets, the oldest first.
collection
    Its name.
returns : pa.Table, TableChange
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

from hven.ingest._key_lookup import to_nullable_schema
from hven.ingest._report import TableChange
from hven.ingest.sync._row_differences import (
    ADDED_CHANGE,
    CHANGE_COLUMN,
    CHANGED_CHANGE,
    CHANGED_COLUMNS_COLUMN,
    REMOVED_CHANGE,
    build_change_set,
    compare_snapshots,
)
from hven.model.errors import NotFoundError, StorageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from hven.site import Site
    from hven.site.store import SnapshotRecord

METADATA_KEY = b"hven"
NUMBER_COLUMN = "hven:number"
DAY_SECONDS = 86_400.0


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
        How many rows are other ones; `load_rows` gives them.
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

    def load_rows(self) -> pa.Table:
        """Return the rows.

        Raises
        ------
        NotFoundError
            The file is gone.
        """
        try:
            with pa.OSFile(str(self.path), "rb") as source:
                return pa.ipc.open_file(source).read_all()
        except (OSError, pa.ArrowInvalid) as error:
            raise NotFoundError(f"what changed in {self.table} up to {self.after} is not kept any more") from error


def store_change_set(site: Site, table: str, rows: pa.Table, *, before: str, after: str, run: str, at: str) -> None:
    """Write down what a publication changes, before it is published.

    Raises
    ------
    StorageError
        The disk.
    """
    table_directory = _find_table_directory(site, table)
    metadata = {"before": before, "after": after, "run": run, "at": at}
    path = table_directory / f"{after}.arrow"
    temporary_path = path.with_suffix(".writing")
    try:
        table_directory.mkdir(parents=True, exist_ok=True)
        plain_rows = rows.replace_schema_metadata({METADATA_KEY: json.dumps(metadata).encode()})
        with pa.OSFile(str(temporary_path), "wb") as sink, pa.ipc.new_file(sink, plain_rows.schema) as writer:
            writer.write_table(plain_rows)
        with temporary_path.open("rb+") as file:
            os.fsync(file.fileno())
        temporary_path.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary_path.unlink(missing_ok=True)
        raise StorageError(
            f"{path} cannot be written: {error.strerror or error}", remedy="make room on the disk of var/"
        ) from error


def list_change_sets(site: Site, table: str) -> list[ChangeSet]:
    """Return the change sets of a table that are kept, the newest first.

    Some may be of snapshots that were never published: follow `before`.
    """
    change_sets = []
    table_directory = _find_table_directory(site, table)
    for path in sorted(table_directory.glob("*.arrow"), reverse=True) if table_directory.is_dir() else ():
        try:
            with pa.OSFile(str(path), "rb") as source:
                reader = pa.ipc.open_file(source)
                metadata = json.loads((reader.schema.metadata or {})[METADATA_KEY])
                rows = sum(reader.get_batch(number).num_rows for number in range(reader.num_record_batches))
        except (OSError, pa.ArrowInvalid, KeyError, ValueError):
            continue
        change_sets.append(ChangeSet(table=table, rows=rows, path=path, **metadata))
    return change_sets


def find_change_chain(site: Site, table: str, since: str, until: str | None = None) -> list[ChangeSet] | None:
    """Return the change sets that lead from one snapshot to another, the oldest first.

    None if there is no unbroken way.

    Parameters
    ----------
    until
        None: the published snapshot.
    """
    current_snapshot = until or site.store.read_pointers()[1].get(table)
    sets_by_snapshot = {change_set.after: change_set for change_set in list_change_sets(site, table)}
    change_chain: list[ChangeSet] = []
    while current_snapshot is not None and current_snapshot != since:
        step = sets_by_snapshot.pop(current_snapshot, None)
        if step is None:
            return None
        change_chain.append(step)
        current_snapshot = step.before
    if current_snapshot == since:
        return change_chain[::-1]
    return None


def find_changes_between(site: Site, table: str, since: str, until: str | None = None) -> pa.Table:
    """Return what is different in one snapshot of a table from another one: from what was kept, or by comparing them.

    Raises
    ------
    NotFoundError
        Neither the change sets nor the two snapshots are kept any more; or there is no such table.
    """
    change_chain = find_change_chain(site, table, since, until)
    if change_chain is not None and change_chain:
        return join_change_sets([step.load_rows() for step in change_chain])
    target = until or site.store.read_pointers()[1].get(table)
    if target is None:
        raise NotFoundError(f"there is no table {table!r}")
    try:
        old_record = site.store.get_record(since)
        new_record = site.store.get_record(target)
    except NotFoundError as error:
        message = f"what changed in {table} since {since} is not kept any more"
        raise NotFoundError(message, remedy="read the whole table, and begin anew from its present snapshot") from error
    return compare_records(site, old_record, new_record)[0]


def compare_records(site: Site, old_record: SnapshotRecord, new_record: SnapshotRecord) -> tuple[pa.Table, TableChange]:
    """Compare two snapshots that are kept.

    Raises
    ------
    NotFoundError
        They are not of one table, or have other columns or keys.
    """
    if old_record.table.qualified_name != new_record.table.qualified_name:
        raise NotFoundError(
            f"{old_record.id} is of {old_record.table.qualified_name}, {new_record.id} of "
            f"{new_record.table.qualified_name}"
        )
    change = TableChange(table=new_record.table.qualified_name, rows=new_record.snapshot.rows)
    schema = to_nullable_schema(new_record.table.arrow_schema)
    if (
        to_nullable_schema(old_record.table.arrow_schema) != schema
        or old_record.table.primary != new_record.table.primary
    ):
        raise NotFoundError(
            f"{old_record.id} and {new_record.id} of {new_record.table.qualified_name} have other columns or keys",
            remedy="compare what was published since",
        )
    primary = new_record.table.primary
    if old_record.id == new_record.id:
        empty = schema.empty_table().select(list(primary) or schema.names)
        lists = pa.array([], pa.list_(pa.string()))
        return empty.append_column(CHANGE_COLUMN, pa.array([], pa.string())).append_column(
            CHANGED_COLUMNS_COLUMN, lists
        ), change
    engine = site.engines.find_engine(old_record.snapshot)
    differences = compare_snapshots(
        (engine, old_record.snapshot),
        (site.engines.find_engine(new_record.snapshot), new_record.snapshot),
        primary,
        schema,
    )
    return build_change_set(differences, change, primary), change


def join_change_sets(change_sets: Sequence[pa.Table]) -> pa.Table:
    """Join change sets that follow each other into one."""
    if len(change_sets) == 1:
        return change_sets[0].replace_schema_metadata(None)
    plain_sets = [
        step.replace_schema_metadata(None).set_column(
            step.num_columns - 2, CHANGE_COLUMN, step.column(CHANGE_COLUMN).cast(pa.string())
        )
        for step in change_sets
    ]
    plain_sets = [
        step.set_column(
            step.num_columns - 1,
            CHANGED_COLUMNS_COLUMN,
            step.column(CHANGED_COLUMNS_COLUMN).cast(pa.list_(pa.string())),
        )
        for step in plain_sets
    ]
    rows = pa.concat_tables(plain_sets).combine_chunks()
    key = [name for name in rows.column_names if name not in {CHANGE_COLUMN, CHANGED_COLUMNS_COLUMN}]
    rows = rows.append_column(NUMBER_COLUMN, pa.array(np.arange(rows.num_rows)))
    first_and_last = rows.group_by(key, use_threads=False).aggregate(
        [
            (CHANGE_COLUMN, "first"),
            (CHANGE_COLUMN, "last"),
            (NUMBER_COLUMN, "min"),
            (NUMBER_COLUMN, "max"),
            (NUMBER_COLUMN, "count"),
        ]
    )
    existed_before = pc.not_equal(first_and_last.column(f"{CHANGE_COLUMN}_first"), ADDED_CHANGE)
    exists_after = pc.not_equal(first_and_last.column(f"{CHANGE_COLUMN}_last"), REMOVED_CHANGE)
    change_kind = pc.if_else(existed_before, pc.if_else(exists_after, CHANGED_CHANGE, REMOVED_CHANGE), ADDED_CHANGE)
    first_and_last = first_and_last.append_column(CHANGE_COLUMN, change_kind).filter(
        pc.or_(existed_before, exists_after)
    )
    return first_and_last.select([*key, CHANGE_COLUMN]).append_column(
        CHANGED_COLUMNS_COLUMN, _collect_changed_columns(rows, first_and_last, key)
    )


def _collect_changed_columns(rows: pa.Table, first_and_last: pa.Table, key: Sequence[str]) -> pa.Array:
    """Collect the columns that changed; null where a row went and came back."""
    changed = rows.filter(pc.equal(rows.column(CHANGE_COLUMN), CHANGED_CHANGE))
    lists = changed.column(CHANGED_COLUMNS_COLUMN)
    numbers = pc.list_parent_indices(lists)
    flat_columns = changed.select(list(key)).take(numbers).append_column(CHANGED_COLUMNS_COLUMN, pc.list_flatten(lists))
    row_places = first_and_last.select(
        [*key, CHANGE_COLUMN, f"{CHANGE_COLUMN}_first", f"{CHANGE_COLUMN}_last"]
    ).append_column("hven:place", pa.array(np.arange(first_and_last.num_rows)))
    column_places = (
        flat_columns.group_by([*key, CHANGED_COLUMNS_COLUMN])
        .aggregate([])
        .join(row_places, keys=list(key), join_type="inner")
    )
    column_places = column_places.filter(pc.equal(column_places.column(CHANGE_COLUMN), CHANGED_CHANGE)).sort_by(
        [("hven:place", "ascending"), (CHANGED_COLUMNS_COLUMN, "ascending")]
    )
    counts = np.bincount(np.asarray(column_places.column("hven:place")), minlength=first_and_last.num_rows)
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
    is_reappeared = pc.and_(
        pc.equal(first_and_last.column(CHANGE_COLUMN), CHANGED_CHANGE),
        pc.or_(
            pc.equal(first_and_last.column(f"{CHANGE_COLUMN}_first"), REMOVED_CHANGE),
            pc.equal(first_and_last.column(f"{CHANGE_COLUMN}_last"), ADDED_CHANGE),
        ),
    )
    names = column_places.column(CHANGED_COLUMNS_COLUMN).combine_chunks()
    if isinstance(names, pa.ChunkedArray):
        names = pa.concat_arrays(names.chunks)
    return pa.ListArray.from_arrays(pa.array(offsets), names, mask=pa.array(np.asarray(is_reappeared)))


def delete_old_change_sets(site: Site, collection: str) -> None:
    """Remove what is older than `keep_changes`; called by who holds the collection's lease."""
    trusted_time = site.store.deletion_clock.get_trusted_time()
    oldest_time = datetime.fromisoformat(trusted_time).timestamp() - site.settings.keep_changes * DAY_SECONDS
    for path in _iterate_change_files(site, collection):
        with contextlib.suppress(OSError):
            if path.stat().st_mtime < oldest_time:
                path.unlink()


def _iterate_change_files(site: Site, collection: str) -> Iterator[Path]:
    changes_directory = site.settings.data_directory / "sync" / "changes"
    for table_directory in changes_directory.glob(f"{collection}.*") if changes_directory.is_dir() else ():
        yield from table_directory.iterdir()


def _find_table_directory(site: Site, table: str) -> Path:
    return site.settings.data_directory / "sync" / "changes" / table


__all__ = [
    "ADDED_CHANGE",
    "CHANGED_COLUMNS_COLUMN",
    "CHANGE_COLUMN",
    "ChangeSet",
    "compare_records",
    "delete_old_change_sets",
    "find_change_chain",
    "find_changes_between",
    "join_change_sets",
    "list_change_sets",
    "store_change_set",
]
