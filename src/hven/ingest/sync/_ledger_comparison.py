"""One table, row by row: source rows that the ledger knows are left alone, the others are mapped.

What differs is merged into the snapshot.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hven.ingest._fingerprints import compute_fingerprints
from hven.ingest._key_lookup import find_rows_by_key, replace_nan_with_null, to_nullable_schema
from hven.ingest._ledger import KEYS_COLUMN, compute_row_words
from hven.ingest.sync._line_index import LineIndex
from hven.ingest.sync._row_differences import RowDifferences, match_rows
from hven.model.errors import UnmergeableSnapshotError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hven.engines import Snapshot, StorageEngine
    from hven.ingest._ledger import LedgerWriter
    from hven.model.table import Table

MIN_MAPPED_ROWS_LIMIT = 200_000  # rows that may always be mapped one by one in memory ..
MAX_MAPPED_SHARE = 0.3  # .. and of bigger tables so much: with more, everything is computed anew, with flat memory


class RecomputeNeededError(Exception):
    """What became of the rows depends on more than themselves, or they are too many: everything must be computed.

    The text says why.
    """


class LedgerComparison:
    """A ledger against a source that is being read.

    Parameters
    ----------
    ledger
        Of the published snapshot.
    file_names
        What the numbers of its column ``file`` mean: entry and name.
    ledger_writer
        Takes the lines of rows that are not in it.
    """

    def __init__(self, ledger: pa.Table, file_names: Sequence[Sequence[Any]], ledger_writer: LedgerWriter) -> None:
        self.ledger = ledger
        self.ledger_writer = ledger_writer
        self._file_names = file_names
        self._old_file_numbers = np.asarray(ledger.column("file")).astype(np.int64)
        # the file in which a row was seen this time: it may have another name
        self._new_file_numbers = np.full(ledger.num_rows, -1, np.int64)
        self.line_index = LineIndex(*(np.asarray(ledger.column(name)) for name in ("first", "second")))
        self.read_count = 0
        self.unknown_count = 0  # source rows that were not known
        self._max_unknown_rows = max(MIN_MAPPED_ROWS_LIMIT, int(MAX_MAPPED_SHARE * ledger.num_rows))

    def select_unknown_rows(self, entry: int, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Drop the rows that are known (for `TableLoader`)."""
        self.read_count += batch.num_rows
        first, second = compute_row_words(batch, entry, self.ledger_writer.hashed_columns[entry])
        claimed_lines = self.line_index.claim_lines(first, second)
        is_known = claimed_lines >= 0
        self._new_file_numbers[claimed_lines[is_known]] = self.ledger_writer.get_row_file_numbers(entry, batch)[
            is_known
        ]
        unknown_positions = np.flatnonzero(~is_known)
        self.unknown_count += len(unknown_positions)
        if self.unknown_count > self._max_unknown_rows:
            raise RecomputeNeededError(f"more than {self._max_unknown_rows:,} source rows are new or changed")
        if not len(unknown_positions):
            return batch.slice(0, 0)
        if len(unknown_positions) == batch.num_rows:
            return batch
        return batch.take(pa.array(unknown_positions))

    def is_unchanged(self) -> bool:
        """Return whether the ledger is as it was: every line is there, in its file, and no other."""
        if self.unknown_count or not self.line_index.claimed_mask.all():
            return False
        old_numbers = {(entry, name): number for number, (entry, name) in enumerate(self._file_names)}
        numbers = np.array([old_numbers.get(name, -1) for name in self.ledger_writer.files] or [-1], np.int64)
        seen_mask = self._new_file_numbers >= 0
        return bool(np.array_equal(numbers[self._new_file_numbers[seen_mask]], self._old_file_numbers[seen_mask]))

    def write_kept_lines(self, kept_mask: Any) -> None:
        """Write the lines that stay into the new ledger."""
        files = self._new_file_numbers.copy()
        unseen_mask = kept_mask & (files < 0)
        used = np.unique(self._old_file_numbers[unseen_mask])
        numbers = np.full(int(used.max()) + 1 if len(used) else 1, -1, np.int64)
        numbers[used] = self.ledger_writer.get_file_numbers(
            [tuple(self._file_names[number]) for number in used.tolist()]
        )
        files[unseen_mask] = numbers[self._old_file_numbers[unseen_mask]]
        if kept_mask.all():
            kept_lines = self.ledger
        else:
            kept_lines = self.ledger.filter(pa.array(kept_mask))
        column_number = kept_lines.column_names.index("file")
        item = self.ledger_writer.schema.field("file")
        for batch in kept_lines.set_column(
            column_number, item, pa.array(files[kept_mask].astype(np.int32))
        ).to_batches():
            self.ledger_writer.write_lines(pa.RecordBatch.from_arrays(batch.columns, schema=self.ledger_writer.schema))


class RowMerge:
    """What unknown rows became, beside what is published.

    Parameters
    ----------
    removed_mask
        Which lines of the ledger are there no more.
    new_rows
        Rows of the table that the unknown source rows gave.
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
        went = ledger.column(KEYS_COLUMN).filter(pa.array(removed_mask))
        self.removed_keys = flatten_keys(went, self.primary, table)

    def find_differences(self) -> RowDifferences:
        """Find what is another row than before.

        Raises
        ------
        RecomputeNeededError
            Two rows have one key: an ingest of everything says what is to be done.
        """
        new_keys = self.new_rows.select(self.primary)
        new_hashes = _hash_keys(new_keys)
        if len(np.unique(new_hashes)) < len(new_hashes):
            raise RecomputeNeededError("two source rows have one primary key")
        if any(new_keys.column(name).null_count for name in self.primary):
            raise RecomputeNeededError("a row has no primary key")
        removed_hashes = _hash_keys(self.removed_keys)
        if len(np.unique(removed_hashes)) < len(removed_hashes):
            raise RecomputeNeededError("the ledger has a key twice")
        is_additional = ~np.isin(new_hashes, removed_hashes)
        affected_keys = pa.concat_tables([self.removed_keys, new_keys.filter(pa.array(is_additional))])
        if affected_keys.num_rows:
            old_rows = find_rows_by_key(self.storage_engine, self.table, self.base_snapshot, affected_keys)
        else:
            old_rows = self.new_rows.slice(0, 0)
        old_hashes = _hash_keys(old_rows.select(self.primary))
        if old_rows.num_rows and np.isin(old_hashes, new_hashes[is_additional]).any():
            raise RecomputeNeededError("a new row has the primary key of another one")
        if int(np.isin(old_hashes, removed_hashes).sum()) != len(removed_hashes):
            raise RecomputeNeededError("the ledger and what is published do not agree")
        return match_rows(old_rows, self.new_rows.select(old_rows.column_names), self.primary)


def merge_snapshot(
    keeper: StorageEngine, table: Table, base: Snapshot, ident: str, differences: RowDifferences
) -> Snapshot:
    """Merge an old snapshot and what differs into a new one.

    Raises
    ------
    RecomputeNeededError
        The old one is written in another way than the table wants it now.
    """
    removed = differences.before.slice(0, differences.before.num_rows - differences.changed_count).select(
        list(table.primary)
    )
    try:
        deleted_keys = removed if removed.num_rows else None
        staging = keeper.stage_merge(table, ident, base, deleted_keys=deleted_keys)
    except UnmergeableSnapshotError as error:
        raise RecomputeNeededError(error.message) from error
    try:
        for batch in differences.after.select(table.arrow_schema.names).cast(table.arrow_schema).to_batches():
            staging.write(batch)
        return replace(staging.finish(), engine=keeper.name)
    except BaseException:
        staging.abandon()
        raise


def flatten_keys(lists: pa.ChunkedArray, primary: Sequence[str], table: Table) -> pa.Table:
    """Return the keys that stand in lines, one under the other."""
    flat = pc.list_flatten(lists)
    if isinstance(flat, pa.ChunkedArray):
        key_structs = flat.combine_chunks()
    else:
        key_structs = flat
    schema = to_nullable_schema(pa.schema([table.arrow_schema.field(name) for name in primary]))
    return pa.table([pc.struct_field(key_structs, name) for name in primary], schema=schema)


def _hash_keys(keys: pa.Table) -> Any:
    return compute_fingerprints(keys.columns, keys.num_rows)[0]
