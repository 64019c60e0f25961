"""What differs between two snapshots of a table, by primary key: keys that came, went, or have other values.

And in which columns.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from hven.ingest._fingerprints import compute_fingerprints
from hven.ingest._key_lookup import to_nullable_schema
from hven.ingest._report import MAX_SAMPLES
from hven.ingest.sync._line_index import LineIndex

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import numpy.typing as npt

    from hven.engines import Snapshot, StorageEngine
    from hven.ingest._report import TableChange

    Words = npt.NDArray[np.uint64]
    Flags = npt.NDArray[np.bool_]

ADDED_CHANGE, CHANGED_CHANGE, REMOVED_CHANGE = "added", "changed", "removed"
CHANGE_COLUMN, CHANGED_COLUMNS_COLUMN = "hven:change", "hven:columns"


@dataclass(frozen=True, slots=True, kw_only=True)
class RowDifferences:
    """Rows by key.

    Attributes
    ----------
    before, after
        Rows of the old snapshot that went or changed; of the new one that came or changed. The changed ones stand last
        in both, in the same order.
    changed_count
        How many of them changed.
    columns
        Column name -> True for those of the changed rows that have another value there, for the columns that have any.
    """

    before: pa.Table
    after: pa.Table
    changed_count: int
    columns: Mapping[str, Flags] = field(default_factory=dict)

    @property
    def has_differences(self) -> bool:
        """True if there are any."""
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
    primary
        Columns that name a row; empty: rows are the same if all their values are.
    schema
        The columns.
    """
    columns = schema.names
    key = list(primary) or list(columns)
    old_hashes, new_hashes = (
        _hash_rows(part, key, columns) for part in _read_both(old_snapshot, new_snapshot, columns)
    )
    new_positions = LineIndex(new_hashes[0], new_hashes[0]).claim_lines(old_hashes[0], old_hashes[0])
    is_matched = new_positions >= 0
    is_equal = is_matched.copy()
    is_equal[is_matched] = old_hashes[1][is_matched] == new_hashes[1][new_positions[is_matched]]
    is_unchanged = np.zeros(len(new_hashes[0]), bool)
    is_unchanged[new_positions[is_equal]] = True
    before, after = _read_both(old_snapshot, new_snapshot, columns)
    rows = _select_rows(before, schema, ~is_equal)
    return match_rows(rows, _select_rows(after, schema, ~is_unchanged), primary)


def _read_both(
    old: tuple[StorageEngine, Snapshot], new: tuple[StorageEngine, Snapshot], columns: Sequence[str]
) -> tuple[Iterator[pa.RecordBatch], Iterator[pa.RecordBatch]]:
    """Read both; what they share in storage is left out, if the engine can tell."""
    if old[0] is new[0]:
        return old[0].read_differing_rows(old[1], new[1], list(columns))
    rows = old[0].read_rows(old[1], list(columns))
    return rows, new[0].read_rows(new[1], list(columns))


def match_rows(before: pa.Table, after: pa.Table, primary: Sequence[str]) -> RowDifferences:
    """Pair rows of one key: last on both sides, in one order; rows that are equal on both sides are left out."""
    if not primary:
        return RowDifferences(before=before, after=after, changed_count=0)
    old_hashes, new_hashes = (
        compute_fingerprints(table.select(list(primary)).columns, table.num_rows)[0] for table in (before, after)
    )
    new_positions = LineIndex(new_hashes, new_hashes).claim_lines(old_hashes, old_hashes)
    matched_old = np.flatnonzero(new_positions >= 0)
    matched_new = new_positions[matched_old]
    old_rows = before.take(pa.array(matched_old))
    new_rows = after.take(pa.array(matched_new))
    difference_masks = {
        name: _find_different_values(old_rows.column(name), new_rows.column(name)) for name in after.column_names
    }
    differs_mask: Flags = np.logical_or.reduce([np.zeros(len(matched_old), bool), *difference_masks.values()])
    unmatched_mask = np.ones(after.num_rows, bool)
    unmatched_mask[matched_new] = False
    changed_mask = pa.array(differs_mask)
    return RowDifferences(
        before=pa.concat_tables(
            [before.take(pa.array(np.flatnonzero(new_positions < 0))), old_rows.filter(changed_mask)]
        ),
        after=pa.concat_tables([after.filter(pa.array(unmatched_mask)), new_rows.filter(changed_mask)]),
        changed_count=int(differs_mask.sum()),
        columns={name: flags[differs_mask] for name, flags in difference_masks.items() if flags.any()},
    )


def _find_different_values(old_values: pa.ChunkedArray, new_values: pa.ChunkedArray) -> Flags:
    """Return in which rows two columns have different values; null equals null."""
    words = [compute_fingerprints([column], len(column)) for column in (old_values, new_values)]
    differs_mask: Flags = (words[0][0] != words[1][0]) | (words[0][1] != words[1][1])
    return differs_mask


def _to_readable_rows(rows: pa.Table) -> list[dict[str, Any]]:
    """Return rows as people read them: 9.22, not the double that is next to it."""
    for column_number, schema_field in enumerate(rows.schema):
        if pa.types.is_float32(schema_field.type):
            rows = rows.set_column(
                column_number, schema_field.name, rows.column(column_number).cast(pa.string()).cast(pa.float64())
            )
    row_dicts: list[dict[str, Any]] = rows.to_pylist()
    return row_dicts


def build_change_set(differences: RowDifferences, change: TableChange, primary: Sequence[str]) -> pa.Table:
    """Count differences, take samples; return the change set.

    Key, kind and changed columns of every row that differs.
    """
    changed = differences.changed_count
    removed = differences.before.num_rows - changed
    added = differences.after.num_rows - changed
    change.added = added
    change.removed = removed
    change.changed = changed
    before = differences.before.slice(removed)
    after = differences.after.slice(added)
    change.columns.update({name: int(flags.sum()) for name, flags in differences.columns.items()})
    for kind, table, first_row in ((ADDED_CHANGE, differences.after, 0), (REMOVED_CHANGE, differences.before, 0)):
        for row in _to_readable_rows(
            table.slice(first_row, min(MAX_SAMPLES, added if kind == ADDED_CHANGE else removed))
        ):
            change.samples.append({"change": kind, "key": {key: row[key] for key in primary}, "row": row})
    for number in range(min(MAX_SAMPLES, changed)):
        old_row = _to_readable_rows(before.slice(number, 1))[0]
        new_row = _to_readable_rows(after.slice(number, 1))[0]
        changed_names = [name for name, flags in differences.columns.items() if flags[number]]
        change.samples.append(
            {
                "change": CHANGED_CHANGE,
                "key": {key: new_row[key] for key in primary},
                "before": {name: old_row[name] for name in changed_names},
                "after": {name: new_row[name] for name in changed_names},
            }
        )
    key = primary or differences.after.column_names
    keys = pa.concat_tables(
        [differences.after.select(list(key)), differences.before.slice(0, removed).select(list(key))]
    )
    change_kinds = np.repeat([ADDED_CHANGE, CHANGED_CHANGE, REMOVED_CHANGE], [added, changed, removed])
    counts = np.zeros(keys.num_rows, np.int64)
    masks = np.stack([np.zeros(changed, bool), *differences.columns.values()], axis=1)[:, 1:]
    counts[added : added + changed] = masks.sum(axis=1)
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
    words = pa.DictionaryArray.from_arrays(
        pa.array(np.nonzero(masks)[1].astype(np.int32)), pa.array(list(differences.columns), pa.string())
    )
    lists = pa.ListArray.from_arrays(pa.array(offsets), words)
    return keys.append_column(CHANGE_COLUMN, pa.array(change_kinds, pa.string()).dictionary_encode()).append_column(
        CHANGED_COLUMNS_COLUMN, lists
    )


def _hash_rows(rows: Iterator[pa.RecordBatch], key: Sequence[str], columns: Sequence[str]) -> tuple[Words, Words]:
    keys: list[Words] = [np.zeros(0, np.uint64)]
    values: list[Words] = [np.zeros(0, np.uint64)]
    for batch in rows:
        fingerprints = compute_fingerprints([batch.column(name) for name in key], batch.num_rows)
        keys.append(fingerprints[0])
        values.append(compute_fingerprints([batch.column(name) for name in columns], batch.num_rows)[1])
    return np.concatenate(keys), np.concatenate(values)


def _select_rows(rows: Iterator[pa.RecordBatch], schema: pa.Schema, mask: Flags) -> pa.Table:
    """Select the rows of a mask."""
    selected_batches: list[pa.RecordBatch] = []
    begin = 0
    nullable_schema = to_nullable_schema(schema)
    for batch in rows if mask.any() else ():
        part = mask[begin : begin + batch.num_rows]
        begin += batch.num_rows
        if part.any():
            selected_batches.append(
                batch.take(pa.array(np.flatnonzero(part))).select(schema.names).cast(nullable_schema)
            )
        if not mask[begin:].any():
            break
    return pa.Table.from_batches(selected_batches, schema=nullable_schema)
