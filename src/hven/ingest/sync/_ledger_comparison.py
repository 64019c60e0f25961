"""Compare the rows of a source with the ledger, and merge the differences into the published snapshot.

Rows that the ledger knows are not mapped again.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hven.ingest._fingerprints import compute_row_fingerprints
from hven.ingest._key_lookup import find_rows_by_key, replace_nan_with_null, to_nullable_schema
from hven.ingest._ledger import KEYS_COLUMN, hash_entry_rows
from hven.ingest.sync._line_index import LedgerLineIndex
from hven.ingest.sync._row_differences import RowDifferences, match_rows_by_key
from hven.model.errors import UnmergeableSnapshotError
from hven.model.sky.api.ragged_arrays import sort_distinct

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hven.engines import Snapshot, StorageEngine
    from hven.ingest._ledger import LedgerWriter
    from hven.model.table import Table

MIN_MAPPED_ROWS_LIMIT = 200_000  # this number of rows may always be mapped one by one in memory ..
MAX_MAPPED_SHARE = 0.3  # .. and this share of a bigger table; beyond it, all is computed anew, in constant memory


class RecomputeNeededError(Exception):
    """The changed rows cannot be merged, because they depend on others or are too many. The text says why."""


class LedgerComparison:
    """Compare a ledger with a source while the source is read.

    Parameters
    ----------
    ledger
        Lines of the ledger of the published snapshot.
    file_names
        Entry number and name for each number in its column ``file``.
    ledger_writer
        Receives the lines of the rows that the ledger lacks.
    """

    def __init__(self, ledger: pa.Table, file_names: Sequence[Sequence[Any]], ledger_writer: LedgerWriter) -> None:
        self.ledger = ledger
        self.ledger_writer = ledger_writer
        self._file_names = file_names
        self._old_file_numbers = np.asarray(ledger.column("file")).astype(np.int64)
        # the file in which a row was found this time: a file may have been renamed
        self._new_file_numbers = np.full(ledger.num_rows, -1, np.int64)
        first_words, second_words = (np.asarray(ledger.column(name)) for name in ("first", "second"))
        self.line_index = LedgerLineIndex(first_words, second_words)
        self.read_count = 0
        self.unknown_count = 0  # source rows that the ledger lacks
        max_share_of_rows = int(MAX_MAPPED_SHARE * ledger.num_rows)
        self._max_unknown_rows = max(MIN_MAPPED_ROWS_LIMIT, max_share_of_rows)

    def claim_known_and_select_unknown_rows(self, entry_number: int, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Return the rows that the ledger lacks (for `TableLoader`)."""
        self.read_count += batch.num_rows
        first, second = hash_entry_rows(batch, entry_number, self.ledger_writer.hashed_columns[entry_number])
        claimed_lines = self.line_index.claim_lines(first, second)
        is_known = claimed_lines >= 0
        file_numbers = self.ledger_writer.get_or_assign_row_file_numbers(entry_number, batch)
        self._new_file_numbers[claimed_lines[is_known]] = file_numbers[is_known]
        unknown_positions = np.flatnonzero(~is_known)
        self.unknown_count += len(unknown_positions)
        if self.unknown_count > self._max_unknown_rows:
            raise RecomputeNeededError(f"more than {self._max_unknown_rows:,} source rows are new or changed")
        if not len(unknown_positions):
            return batch.slice(0, 0)
        if len(unknown_positions) == batch.num_rows:
            return batch
        return batch.take(pa.array(unknown_positions))

    def is_ledger_unchanged(self) -> bool:
        """Return whether the ledger stays as it is: every line was found, in its file, and no unknown row."""
        if self.unknown_count or not self.line_index.claimed_mask.all():
            return False
        old_numbers = {(entry, name): number for number, (entry, name) in enumerate(self._file_names)}
        number_list = [old_numbers.get(name, -1) for name in self.ledger_writer.files]
        old_number_of_new = np.array(number_list or [-1], np.int64)
        seen_mask = self._new_file_numbers >= 0
        new_file_numbers = self._new_file_numbers[seen_mask]
        return bool(np.array_equal(old_number_of_new[new_file_numbers], self._old_file_numbers[seen_mask]))

    def write_kept_lines(self, kept_mask: Any) -> None:
        """Write the lines that stay to the new ledger."""
        file_numbers = self._new_file_numbers.copy()
        unseen_mask = kept_mask & (file_numbers < 0)
        used_numbers = np.unique(self._old_file_numbers[unseen_mask])
        used_names = [tuple(self._file_names[number]) for number in used_numbers.tolist()]
        size = 1
        if len(used_numbers):
            size = int(used_numbers.max()) + 1
        new_number_of_old = np.full(size, -1, np.int64)
        new_number_of_old[used_numbers] = self.ledger_writer.get_or_assign_file_numbers(used_names)
        file_numbers[unseen_mask] = new_number_of_old[self._old_file_numbers[unseen_mask]]
        kept_lines = self.ledger
        if not kept_mask.all():
            kept_lines = self.ledger.filter(pa.array(kept_mask))
        schema = self.ledger_writer.schema
        column_number = kept_lines.column_names.index("file")
        file_column = pa.array(file_numbers[kept_mask].astype(np.int32))
        renumbered_lines = kept_lines.set_column(column_number, schema.field("file"), file_column)
        for batch in renumbered_lines.to_batches():
            self.ledger_writer.write_lines(pa.RecordBatch.from_arrays(batch.columns, schema=schema))


class PublishedRowComparison:
    """Compare the table rows of unknown source rows with the published rows.

    Parameters
    ----------
    storage_engine
        The engine that stores the snapshot.
    table
        The table.
    base_snapshot
        The published snapshot.
    ledger
        Lines of its ledger.
    removed_mask
        The lines whose source rows are gone.
    new_rows
        Rows of the table that the unknown source rows became.
    """

    def __init__(
        self,
        storage_engine: StorageEngine,
        table: Table,
        base_snapshot: Snapshot,
        ledger: pa.Table,
        *,
        removed_mask: Any,
        new_rows: pa.Table,
    ) -> None:
        self.storage_engine = storage_engine
        self.table = table
        self.base_snapshot = base_snapshot
        self.new_rows = replace_nan_with_null(new_rows)
        self.primary = list(table.primary)
        key_lists = ledger.column(KEYS_COLUMN).filter(pa.array(removed_mask))
        self.removed_keys = flatten_line_keys(key_lists, self.primary, table)

    def find_differences(self) -> RowDifferences:
        """Find the rows that differ from the published ones.

        Raises
        ------
        RecomputeNeededError
            Two rows have the same key; only an ingest of all rows can decide between them.
        """
        new_keys = self.new_rows.select(self.primary)
        new_hashes = _hash_keys(new_keys)
        if len(sort_distinct(new_hashes)) < len(new_hashes):
            raise RecomputeNeededError("two source rows have the same primary key")
        if any(new_keys.column(name).null_count for name in self.primary):
            raise RecomputeNeededError("a row has no primary key")
        removed_hashes = _hash_keys(self.removed_keys)
        if len(sort_distinct(removed_hashes)) < len(removed_hashes):
            raise RecomputeNeededError("the ledger contains the same key twice")
        is_additional = ~np.isin(new_hashes, removed_hashes)
        affected_keys = pa.concat_tables([self.removed_keys, new_keys.filter(pa.array(is_additional))])
        if affected_keys.num_rows:
            old_rows = find_rows_by_key(self.storage_engine, self.table, self.base_snapshot, affected_keys)
        else:
            old_rows = self.new_rows.slice(0, 0)
        old_hashes = _hash_keys(old_rows.select(self.primary))
        if old_rows.num_rows and np.isin(old_hashes, new_hashes[is_additional]).any():
            raise RecomputeNeededError("a new row has the same primary key as another row")
        if int(np.isin(old_hashes, removed_hashes).sum()) != len(removed_hashes):
            raise RecomputeNeededError("the ledger does not match the published rows")
        return match_rows_by_key(old_rows, self.new_rows.select(old_rows.column_names), self.primary)


def merge_differences_into_snapshot(
    engine: StorageEngine, table: Table, base_snapshot: Snapshot, snapshot_id: str, differences: RowDifferences
) -> Snapshot:
    """Merge an old snapshot and some differences into a new snapshot.

    Raises
    ------
    RecomputeNeededError
        The old snapshot is stored in a way that the table does not want any more.
    """
    removed_count = differences.before.num_rows - differences.changed_count
    removed_keys = differences.before.slice(0, removed_count).select(list(table.primary))
    try:
        deleted_keys = removed_keys if removed_count else None
        staging = engine.stage_merge(table, snapshot_id, base_snapshot, deleted_keys=deleted_keys)
    except UnmergeableSnapshotError as error:
        raise RecomputeNeededError(error.message) from error
    schema = table.arrow_schema
    try:
        changed_rows = differences.after.select(schema.names).cast(schema)
        for batch in changed_rows.to_batches():
            staging.write(batch)
        return replace(staging.finish(), engine=engine.name)
    except BaseException:
        staging.abandon()
        raise


def flatten_line_keys(lists: pa.ChunkedArray, primary: Sequence[str], table: Table) -> pa.Table:
    """Return the keys of all lines, one row a key."""
    key_structs = pc.list_flatten(lists)
    if isinstance(key_structs, pa.ChunkedArray):
        key_structs = key_structs.combine_chunks()
    schema = to_nullable_schema(pa.schema([table.arrow_schema.field(name) for name in primary]))
    return pa.table([pc.struct_field(key_structs, name) for name in primary], schema=schema)


def _hash_keys(keys: pa.Table) -> Any:
    return compute_row_fingerprints(keys.columns, keys.num_rows)[0]
