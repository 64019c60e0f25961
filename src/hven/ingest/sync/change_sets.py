"""Store the changes of each publication in a file, and join the changes of several publications.

A change set is an Arrow table: the columns of the primary key, `CHANGE_COLUMN` (``added``, ``changed``, ``removed``)
and `CHANGED_COLUMNS_COLUMN` (a list of names for changed rows; null: any column may have changed).

Common
------
site
    The site that stores the change sets.
table
    ``schema.table``.
since, until
    Ids of snapshots; without `until`, the published one.
snapshot_before, snapshot_after
    Ids of snapshots.
run
    Id of the run.
publication_time
    Time of the publication, as ISO 8601.
rows
    A change set; in a `ChangeSet`, the number of its rows.
old_record, new_record
    Records of two snapshots.
change_sets
    Change sets, the oldest first.
collection
    Name of the collection.
returns : pa.Table, TableChangeSummary
    A change set, and its counts.
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
from hven.ingest._report import TableChangeSummary
from hven.ingest.sync._row_differences import (
    ADDED_CHANGE,
    CHANGE_COLUMN,
    CHANGED_CHANGE,
    CHANGED_COLUMNS_COLUMN,
    REMOVED_CHANGE,
    build_change_set_and_summary,
    compare_snapshots,
)
from hven.model.errors import NotFoundError, StorageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from hven.site import Site
    from hven.site.store import SnapshotRecord

METADATA_KEY = b"hven"
POSITION_COLUMN = "hven:place"
REMOVAL_COLUMN = "hven:removal"
DAY_SECONDS = 86_400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeSet:
    """The changes of a table by one publication.

    Attributes
    ----------
    table
        ``schema.table``.
    before, after
        Ids of the snapshots.
    at
        Approximate time of the publication.
    rows
        Number of rows that differ; `load_rows` returns them.
    run
        Id of the run that published the table.
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
            The file does not exist any more.
        """
        try:
            with pa.OSFile(str(self.path), "rb") as source:
                return pa.ipc.open_file(source).read_all()
        except (OSError, pa.ArrowInvalid) as error:
            raise NotFoundError(
                f"Hven no longer keeps the changes to {self.table} that led to the snapshot {self.after}"
            ) from error


def store_change_set(
    site: Site,
    table: str,
    rows: pa.Table,
    *,
    snapshot_before: str,
    snapshot_after: str,
    run: str,
    publication_time: str,
) -> None:
    """Write the changes of a table to a file, before they are published.

    Raises
    ------
    StorageError
        The disk failed.
    """
    table_directory = _get_changes_directory(site, table)
    metadata = {"before": snapshot_before, "after": snapshot_after, "run": run, "at": publication_time}
    path = table_directory / f"{snapshot_after}.arrow"
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
            f"{path} cannot be written: {error.strerror or error}",
            remedy="free some space on the disk that contains var/",
        ) from error


def list_change_sets(site: Site, table: str) -> list[ChangeSet]:
    """Return the change sets of a table whose files exist, the newest first.

    Some may belong to snapshots that were never published: follow `before`.
    """
    table_directory = _get_changes_directory(site, table)
    if not table_directory.is_dir():
        return []
    change_sets = []
    for path in sorted(table_directory.glob("*.arrow"), reverse=True):
        try:
            with pa.OSFile(str(path), "rb") as source:
                reader = pa.ipc.open_file(source)
                metadata = json.loads((reader.schema.metadata or {})[METADATA_KEY])
                row_count = sum(reader.get_batch(number).num_rows for number in range(reader.num_record_batches))
        except (OSError, pa.ArrowInvalid, KeyError, ValueError):
            continue
        change_sets.append(ChangeSet(table=table, rows=row_count, path=path, **metadata))
    return change_sets


def find_change_chain(site: Site, table: str, since: str, until: str | None = None) -> list[ChangeSet] | None:
    """Return the change sets that lead from one snapshot to another, the oldest first; None if one is missing.

    Parameters
    ----------
    until
        None: the published snapshot.
    """
    current_snapshot = until or site.store.read_published_snapshot_ids()[1].get(table)
    sets_by_snapshot = {change_set.after: change_set for change_set in list_change_sets(site, table)}
    change_chain: list[ChangeSet] = []
    while current_snapshot is not None and current_snapshot != since:
        change_set = sets_by_snapshot.pop(current_snapshot, None)
        if change_set is None:
            return None
        change_chain.append(change_set)
        current_snapshot = change_set.before
    if current_snapshot == since:
        return change_chain[::-1]
    return None


def compare_snapshot_records(
    site: Site, old_record: SnapshotRecord, new_record: SnapshotRecord
) -> tuple[pa.Table, TableChangeSummary]:
    """Compare two snapshots that still exist.

    Raises
    ------
    NotFoundError
        They belong to different tables, or have other columns or keys.
    """
    name = new_record.table.qualified_name
    old_name = old_record.table.qualified_name
    if old_name != name:
        message = f"the snapshot {old_record.id} belongs to {old_name}, but {new_record.id} belongs to {name}"
        raise NotFoundError(message)
    change = TableChangeSummary(table=name, rows=new_record.snapshot.rows)
    primary = new_record.table.primary
    schema = to_nullable_schema(new_record.table.arrow_schema)
    old_schema = to_nullable_schema(old_record.table.arrow_schema)
    if old_schema != schema or old_record.table.primary != primary:
        raise NotFoundError(
            f"the snapshots {old_record.id} and {new_record.id} of {name} have different columns or keys",
            remedy="compare later states",
        )
    if old_record.id == new_record.id:
        change_set = schema.empty_table().select(list(primary) or schema.names)
        change_set = change_set.append_column(CHANGE_COLUMN, pa.array([], pa.string()))
        change_set = change_set.append_column(CHANGED_COLUMNS_COLUMN, pa.array([], pa.list_(pa.string())))
        return change_set, change
    old_snapshot = (site.engines.find_engine(old_record.snapshot), old_record.snapshot)
    new_snapshot = (site.engines.find_engine(new_record.snapshot), new_record.snapshot)
    differences = compare_snapshots(old_snapshot, new_snapshot, primary, schema)
    return build_change_set_and_summary(differences, change, primary), change


def join_change_sets(change_sets: Sequence[pa.Table]) -> pa.Table:
    """Join change sets that follow each other into one."""
    if len(change_sets) == 1:
        return change_sets[0].replace_schema_metadata(None)
    rows = pa.concat_tables([_decode_dictionaries(change_set) for change_set in change_sets]).combine_chunks()
    key = [name for name in rows.column_names if name not in {CHANGE_COLUMN, CHANGED_COLUMNS_COLUMN}]
    # the first and the last change of a row tell whether it existed before and exists now
    aggregations = [(CHANGE_COLUMN, "first"), (CHANGE_COLUMN, "last"), (REMOVAL_COLUMN, "any")]
    removals = pc.equal(rows.column(CHANGE_COLUMN), REMOVED_CHANGE)
    row_changes = rows.append_column(REMOVAL_COLUMN, removals).group_by(key, use_threads=False).aggregate(aggregations)
    existed_before = pc.not_equal(row_changes.column(f"{CHANGE_COLUMN}_first"), ADDED_CHANGE)
    exists_after = pc.not_equal(row_changes.column(f"{CHANGE_COLUMN}_last"), REMOVED_CHANGE)
    kind_if_existed = pc.if_else(exists_after, CHANGED_CHANGE, REMOVED_CHANGE)
    change_kinds = pc.if_else(existed_before, kind_if_existed, ADDED_CHANGE)
    row_changes = row_changes.append_column(CHANGE_COLUMN, change_kinds)
    row_changes = row_changes.filter(pc.or_(existed_before, exists_after))
    changed_columns = _collect_changed_columns(rows, row_changes, key)
    return row_changes.select([*key, CHANGE_COLUMN]).append_column(CHANGED_COLUMNS_COLUMN, changed_columns)


def _decode_dictionaries(change_set: pa.Table) -> pa.Table:
    """Return a change set without dictionaries and metadata, so that it can be joined with others."""
    kind_position = change_set.num_columns - 2
    change_kinds = change_set.column(CHANGE_COLUMN).cast(pa.string())
    name_lists = change_set.column(CHANGED_COLUMNS_COLUMN).cast(pa.list_(pa.string()))
    plain_set = change_set.replace_schema_metadata(None)
    plain_set = plain_set.set_column(kind_position, CHANGE_COLUMN, change_kinds)
    return plain_set.set_column(kind_position + 1, CHANGED_COLUMNS_COLUMN, name_lists)


def _collect_changed_columns(rows: pa.Table, row_changes: pa.Table, key: Sequence[str]) -> pa.Array:
    """Collect the names of the changed columns of each row; null where a row was removed and added again."""
    changed_rows = rows.filter(pc.equal(rows.column(CHANGE_COLUMN), CHANGED_CHANGE))
    lists = changed_rows.column(CHANGED_COLUMNS_COLUMN)
    key_of_name = changed_rows.select(list(key)).take(pc.list_parent_indices(lists))
    row_names = key_of_name.append_column(CHANGED_COLUMNS_COLUMN, pc.list_flatten(lists))
    distinct_row_names = row_names.group_by([*key, CHANGED_COLUMNS_COLUMN]).aggregate([])
    is_changed = pc.equal(row_changes.column(CHANGE_COLUMN), CHANGED_CHANGE)
    row_positions = pa.array(np.arange(row_changes.num_rows))
    positions_by_key = row_changes.select(list(key)).append_column(POSITION_COLUMN, row_positions)
    located_names = distinct_row_names.join(positions_by_key.filter(is_changed), keys=list(key), join_type="inner")
    located_names = located_names.sort_by([(POSITION_COLUMN, "ascending"), (CHANGED_COLUMNS_COLUMN, "ascending")])
    counts = np.bincount(np.asarray(located_names.column(POSITION_COLUMN)), minlength=row_changes.num_rows)
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
    is_reappeared = pc.and_(is_changed, row_changes.column(f"{REMOVAL_COLUMN}_any"))
    names = located_names.column(CHANGED_COLUMNS_COLUMN).combine_chunks()
    if isinstance(names, pa.ChunkedArray):
        names = pa.concat_arrays(names.chunks)
    return pa.ListArray.from_arrays(pa.array(offsets), names, mask=pa.array(np.asarray(is_reappeared)))


def delete_old_change_sets(site: Site, collection: str) -> None:
    """Delete the change sets that are older than `keep_changes`; the caller holds the lease of the collection."""
    trusted_time = site.store.deletion_clock.compute_and_record_trusted_time()
    oldest_time = datetime.fromisoformat(trusted_time).timestamp() - site.settings.keep_changes * DAY_SECONDS
    for path in _iterate_change_files(site, collection):
        with contextlib.suppress(OSError):
            if path.stat().st_mtime < oldest_time:
                path.unlink()


def _iterate_change_files(site: Site, collection: str) -> Iterator[Path]:
    changes_directory = site.settings.data_directory / "sync" / "changes"
    if changes_directory.is_dir():
        for table_directory in changes_directory.glob(f"{collection}.*"):
            yield from table_directory.iterdir()


def _get_changes_directory(site: Site, table: str) -> Path:
    return site.settings.data_directory / "sync" / "changes" / table


__all__ = [
    "ADDED_CHANGE",
    "CHANGED_CHANGE",
    "CHANGED_COLUMNS_COLUMN",
    "CHANGE_COLUMN",
    "REMOVED_CHANGE",
    "ChangeSet",
    "compare_snapshot_records",
    "delete_old_change_sets",
    "find_change_chain",
    "join_change_sets",
    "list_change_sets",
    "store_change_set",
]
