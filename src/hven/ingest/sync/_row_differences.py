"""Find the differences between two snapshots of a table: keys that were added, removed or have other values.

For changed rows, also find the columns whose values differ.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from hven.ingest._fingerprints import compute_row_fingerprints
from hven.ingest._key_lookup import to_nullable_schema
from hven.ingest._report import MAX_SAMPLES
from hven.ingest.sync._line_index import LedgerLineIndex

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import numpy.typing as npt

    from hven.engines import Snapshot, StorageEngine
    from hven.ingest._report import TableChangeSummary

    Words = npt.NDArray[np.uint64]
    Flags = npt.NDArray[np.bool_]

ADDED_CHANGE, CHANGED_CHANGE, REMOVED_CHANGE = "added", "changed", "removed"
CHANGE_COLUMN, CHANGED_COLUMNS_COLUMN = "hven:change", "hven:columns"


@dataclass(frozen=True, slots=True, kw_only=True)
class RowDifferences:
    """The rows that differ between two snapshots.

    Attributes
    ----------
    before, after
        Removed and changed rows of the old snapshot; added and changed rows of the new one. The changed rows stand last
        in both tables, in the same order.
    changed_count
        Number of changed rows.
    columns
        For each column with other values, a mask over the changed rows.
    """

    before: pa.Table
    after: pa.Table
    changed_count: int
    columns: Mapping[str, Flags] = field(default_factory=dict)

    @property
    def has_differences(self) -> bool:
        """True if any row differs."""
        return bool(self.before.num_rows or self.after.num_rows)


def compare_snapshots(
    old_snapshot: tuple[StorageEngine, Snapshot],
    new_snapshot: tuple[StorageEngine, Snapshot],
    primary: Sequence[str],
    schema: pa.Schema,
) -> RowDifferences:
    """Compare two snapshots that have the same columns.

    Parameters
    ----------
    old_snapshot, new_snapshot
        Each snapshot with the engine that stores it.
    primary
        Columns of the key; without a key, rows are the same if all their values are.
    schema
        The columns.
    """
    columns = schema.names
    key = list(primary) or list(columns)
    old_rows, new_rows = _read_both_snapshots(old_snapshot, new_snapshot, columns)
    old_keys, old_values = _hash_rows(old_rows, key, columns)
    new_keys, new_values = _hash_rows(new_rows, key, columns)
    new_positions = LedgerLineIndex(new_keys, new_keys).claim_lines(old_keys, old_keys)
    is_matched = new_positions >= 0
    is_equal = is_matched.copy()
    is_equal[is_matched] = old_values[is_matched] == new_values[new_positions[is_matched]]
    is_unchanged = np.zeros(len(new_keys), bool)
    is_unchanged[new_positions[is_equal]] = True
    # the second reading keeps only the rows that differ in memory
    old_rows, new_rows = _read_both_snapshots(old_snapshot, new_snapshot, columns)
    before = _select_masked_rows(old_rows, schema, ~is_equal)
    after = _select_masked_rows(new_rows, schema, ~is_unchanged)
    return match_rows_by_key(before, after, primary)


def _read_both_snapshots(
    old_snapshot: tuple[StorageEngine, Snapshot], new_snapshot: tuple[StorageEngine, Snapshot], columns: Sequence[str]
) -> tuple[Iterator[pa.RecordBatch], Iterator[pa.RecordBatch]]:
    """Read the rows of two snapshots, without the parts that they share in storage, if the engine can tell."""
    old_engine, old = old_snapshot
    new_engine, new = new_snapshot
    if old_engine is new_engine:
        return old_engine.read_differing_rows(old, new, list(columns))
    old_rows = old_engine.read_rows(old, list(columns))
    return old_rows, new_engine.read_rows(new, list(columns))


def match_rows_by_key(before: pa.Table, after: pa.Table, primary: Sequence[str]) -> RowDifferences:
    """Pair the rows that have the same key, and drop the pairs that are equal."""
    if not primary:
        return RowDifferences(before=before, after=after, changed_count=0)
    key = list(primary)
    old_hashes = compute_row_fingerprints(before.select(key).columns, before.num_rows)[0]
    new_hashes = compute_row_fingerprints(after.select(key).columns, after.num_rows)[0]
    new_positions = LedgerLineIndex(new_hashes, new_hashes).claim_lines(old_hashes, old_hashes)
    matched_old = np.flatnonzero(new_positions >= 0)
    matched_new = new_positions[matched_old]
    old_rows = before.take(pa.array(matched_old))
    new_rows = after.take(pa.array(matched_new))
    difference_masks = {
        name: _find_different_values(old_rows.column(name), new_rows.column(name)) for name in after.column_names
    }
    differs_mask: Flags = np.logical_or.reduce([np.zeros(len(matched_old), bool), *difference_masks.values()])
    changed_mask = pa.array(differs_mask)
    removed_positions = np.flatnonzero(new_positions < 0)
    removed_rows = before.take(pa.array(removed_positions))
    unmatched_mask = np.ones(after.num_rows, bool)
    unmatched_mask[matched_new] = False
    added_rows = after.filter(pa.array(unmatched_mask))
    changed_columns = {name: mask[differs_mask] for name, mask in difference_masks.items() if mask.any()}
    return RowDifferences(
        before=pa.concat_tables([removed_rows, old_rows.filter(changed_mask)]),
        after=pa.concat_tables([added_rows, new_rows.filter(changed_mask)]),
        changed_count=int(differs_mask.sum()),
        columns=changed_columns,
    )


def _find_different_values(old_values: pa.ChunkedArray, new_values: pa.ChunkedArray) -> Flags:
    """Return the mask of the rows in which two columns have different values; null equals null."""
    old_words = compute_row_fingerprints([old_values], len(old_values))
    new_words = compute_row_fingerprints([new_values], len(new_values))
    differs_mask: Flags = (old_words[0] != new_words[0]) | (old_words[1] != new_words[1])
    return differs_mask


def _to_readable_rows(rows: pa.Table) -> list[dict[str, Any]]:
    """Return rows for people: a single-precision 9.22 stays 9.22, and is not written as the double next to it."""
    for column_number, schema_field in enumerate(rows.schema):
        if pa.types.is_float32(schema_field.type):
            shortest_text = rows.column(column_number).cast(pa.string())
            rows = rows.set_column(column_number, schema_field.name, shortest_text.cast(pa.float64()))
    row_dicts: list[dict[str, Any]] = rows.to_pylist()
    return row_dicts


def build_change_set_and_summary(
    differences: RowDifferences, change: TableChangeSummary, primary: Sequence[str]
) -> pa.Table:
    """Return the change set of some differences: key, kind and changed columns of every row that differs.

    Also add the counts and samples of the differences to `change`.
    """
    changed = differences.changed_count
    removed = differences.before.num_rows - changed
    added = differences.after.num_rows - changed
    change.added = added
    change.removed = removed
    change.changed = changed
    change.columns.update({name: int(flags.sum()) for name, flags in differences.columns.items()})
    added_rows = differences.after.slice(0, added)
    removed_rows = differences.before.slice(0, removed)
    for kind, rows in ((ADDED_CHANGE, added_rows), (REMOVED_CHANGE, removed_rows)):
        for row in _to_readable_rows(rows.slice(0, MAX_SAMPLES)):
            change.samples.append({"change": kind, "key": {name: row[name] for name in primary}, "row": row})
    _add_samples_of_changes(differences, change, primary)
    key = list(primary or differences.after.column_names)
    keys = pa.concat_tables([differences.after.select(key), removed_rows.select(key)])
    change_kinds = np.repeat([ADDED_CHANGE, CHANGED_CHANGE, REMOVED_CHANGE], [added, changed, removed])
    kind_column = pa.array(change_kinds, pa.string()).dictionary_encode()
    # a row of masks for each changed row; np.stack needs at least one column
    masks = np.stack([np.zeros(changed, bool), *differences.columns.values()], axis=1)[:, 1:]
    counts = np.zeros(keys.num_rows, np.int64)
    counts[added : added + changed] = masks.sum(axis=1)
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
    column_numbers = np.nonzero(masks)[1].astype(np.int32)
    column_names = pa.array(list(differences.columns), pa.string())
    changed_names = pa.DictionaryArray.from_arrays(pa.array(column_numbers), column_names)
    name_lists = pa.ListArray.from_arrays(pa.array(offsets), changed_names)
    return keys.append_column(CHANGE_COLUMN, kind_column).append_column(CHANGED_COLUMNS_COLUMN, name_lists)


def _add_samples_of_changes(differences: RowDifferences, change: TableChangeSummary, primary: Sequence[str]) -> None:
    """Add the first changed rows to the samples of a change, with the old and new values that differ."""
    changed = differences.changed_count
    sample_count = min(MAX_SAMPLES, changed)
    first_changed_before = differences.before.num_rows - changed
    first_changed_after = differences.after.num_rows - changed
    for number in range(sample_count):
        old_row = _to_readable_rows(differences.before.slice(first_changed_before + number, 1))[0]
        new_row = _to_readable_rows(differences.after.slice(first_changed_after + number, 1))[0]
        changed_names = [name for name, flags in differences.columns.items() if flags[number]]
        sample = {
            "change": CHANGED_CHANGE,
            "key": {name: new_row[name] for name in primary},
            "before": {name: old_row[name] for name in changed_names},
            "after": {name: new_row[name] for name in changed_names},
        }
        change.samples.append(sample)


def _hash_rows(rows: Iterator[pa.RecordBatch], key: Sequence[str], columns: Sequence[str]) -> tuple[Words, Words]:
    """Return the hashes of the keys and of the values of all rows."""
    key_parts: list[Words] = [np.zeros(0, np.uint64)]
    value_parts: list[Words] = [np.zeros(0, np.uint64)]
    for batch in rows:
        key_words = compute_row_fingerprints([batch.column(name) for name in key], batch.num_rows)
        value_words = compute_row_fingerprints([batch.column(name) for name in columns], batch.num_rows)
        key_parts.append(key_words[0])
        value_parts.append(value_words[1])
    return np.concatenate(key_parts), np.concatenate(value_parts)


def _select_masked_rows(rows: Iterator[pa.RecordBatch], schema: pa.Schema, mask: Flags) -> pa.Table:
    """Return the rows of a mask."""
    selected_batches: list[pa.RecordBatch] = []
    begin = 0
    nullable_schema = to_nullable_schema(schema)
    for batch in rows if mask.any() else ():
        part = mask[begin : begin + batch.num_rows]
        begin += batch.num_rows
        if part.any():
            selected_rows = batch.take(pa.array(np.flatnonzero(part)))
            selected_batches.append(selected_rows.select(schema.names).cast(nullable_schema))
        if not mask[begin:].any():
            break
    return pa.Table.from_batches(selected_batches, schema=nullable_schema)
