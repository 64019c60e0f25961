"""What differs between two snapshots of a table, by primary key: keys that came, went, or have other values; and in which columns."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from hven.ingest._fingerprints import fingerprints
from hven.ingest._picking import nullable
from hven.ingest._report import SAMPLES
from hven.ingest.sync._known import Known

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import numpy.typing as npt

    from hven.engines import Engine, Snapshot
    from hven.ingest._report import Change

    Words = npt.NDArray[np.uint64]
    Flags = npt.NDArray[np.bool_]

ADDED, CHANGED, REMOVED = "added", "changed", "removed"
CHANGE, COLUMNS = "hven:change", "hven:columns"


@dataclass(frozen=True, slots=True, kw_only=True)
class Differences:
    """Rows by key.

    Attributes
    ----------
    before, after
        Rows of the old snapshot that went or changed; of the new one that came or changed. The changed ones stand last in both, in the same order.
    changed
        How many of them changed.
    columns
        Column name -> True for those of the changed rows that have another value there, for the columns that have any.
    """

    before: pa.Table
    after: pa.Table
    changed: int
    columns: Mapping[str, Flags] = field(default_factory=dict)

    @property
    def any(self) -> bool:
        """True if there are any."""
        return bool(self.before.num_rows or self.after.num_rows)


def compare(
    old: tuple[Engine, Snapshot], new: tuple[Engine, Snapshot], primary: Sequence[str], schema: pa.Schema
) -> Differences:
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
    left, right = (_hashed(part, key, columns) for part in _parts(old, new, columns))
    at = Known(right[0], right[0]).claim(left[0], left[0])
    there = at >= 0
    same = there.copy()
    same[there] = left[1][there] == right[1][at[there]]
    known = np.zeros(len(right[0]), bool)
    known[at[same]] = True
    before, after = _parts(old, new, columns)
    return paired(_taken(before, schema, ~same), _taken(after, schema, ~known), primary)


def _parts(
    old: tuple[Engine, Snapshot], new: tuple[Engine, Snapshot], columns: Sequence[str]
) -> tuple[Iterator[pa.RecordBatch], Iterator[pa.RecordBatch]]:
    """Read both; what they share in storage is left out, if the engine can tell."""
    if old[0] is new[0]:
        return old[0].apart(old[1], new[1], list(columns))
    return old[0].read(old[1], list(columns)), new[0].read(new[1], list(columns))


def paired(before: pa.Table, after: pa.Table, primary: Sequence[str]) -> Differences:
    """Pair rows of one key: last on both sides, in one order; rows that are equal on both sides are left out."""
    if not primary:
        return Differences(before=before, after=after, changed=0)
    left, right = (fingerprints(table.select(list(primary)).columns, table.num_rows)[0] for table in (before, after))
    at = Known(right, right).claim(left, left)
    both = np.flatnonzero(at >= 0)
    mate = at[both]
    one, two = before.take(pa.array(both)), after.take(pa.array(mate))
    others = {name: _unlike(one.column(name), two.column(name)) for name in after.column_names}
    unlike: Flags = np.logical_or.reduce([np.zeros(len(both), bool), *others.values()])
    rest = np.ones(after.num_rows, bool)
    rest[mate] = False
    chosen = pa.array(unlike)
    return Differences(
        before=pa.concat_tables([before.take(pa.array(np.flatnonzero(at < 0))), one.filter(chosen)]),
        after=pa.concat_tables([after.filter(pa.array(rest)), two.filter(chosen)]),
        changed=int(unlike.sum()),
        columns={name: flags[unlike] for name, flags in others.items() if flags.any()},
    )


def _unlike(one: pa.ChunkedArray, two: pa.ChunkedArray) -> Flags:
    """Return in which rows two columns have different values; null equals null."""
    words = [fingerprints([column], len(column)) for column in (one, two)]
    unlike: Flags = (words[0][0] != words[1][0]) | (words[0][1] != words[1][1])
    return unlike


def _shown(rows: pa.Table) -> list[dict[str, Any]]:
    """Return rows as people read them: 9.22, not the double that is next to it."""
    for at, one in enumerate(rows.schema):
        if pa.types.is_float32(one.type):
            rows = rows.set_column(at, one.name, rows.column(at).cast(pa.string()).cast(pa.float64()))
    shown: list[dict[str, Any]] = rows.to_pylist()
    return shown


def tell(found: Differences, change: Change, primary: Sequence[str]) -> pa.Table:
    """Count differences, take samples; return the change set: key, kind and changed columns of every row that differs."""
    changed = found.changed
    removed, added = found.before.num_rows - changed, found.after.num_rows - changed
    change.added, change.removed, change.changed = added, removed, changed
    before, after = found.before.slice(removed), found.after.slice(added)
    change.columns.update({name: int(flags.sum()) for name, flags in found.columns.items()})
    for kind, table, base in ((ADDED, found.after, 0), (REMOVED, found.before, 0)):
        for row in _shown(table.slice(base, min(SAMPLES, added if kind == ADDED else removed))):
            change.samples.append({"change": kind, "key": {key: row[key] for key in primary}, "row": row})
    for number in range(min(SAMPLES, changed)):
        one, two = _shown(before.slice(number, 1))[0], _shown(after.slice(number, 1))[0]
        other = [name for name, flags in found.columns.items() if flags[number]]
        change.samples.append(
            {
                "change": CHANGED,
                "key": {key: two[key] for key in primary},
                "before": {name: one[name] for name in other},
                "after": {name: two[name] for name in other},
            }
        )
    key = primary or found.after.column_names
    keys = pa.concat_tables([found.after.select(list(key)), found.before.slice(0, removed).select(list(key))])
    kinds = np.repeat([ADDED, CHANGED, REMOVED], [added, changed, removed])
    counts = np.zeros(keys.num_rows, np.int64)
    masks = np.stack([np.zeros(changed, bool), *found.columns.values()], axis=1)[:, 1:]
    counts[added : added + changed] = masks.sum(axis=1)
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
    words = pa.DictionaryArray.from_arrays(
        pa.array(np.nonzero(masks)[1].astype(np.int32)), pa.array(list(found.columns), pa.string())
    )
    lists = pa.ListArray.from_arrays(pa.array(offsets), words)
    return keys.append_column(CHANGE, pa.array(kinds, pa.string()).dictionary_encode()).append_column(COLUMNS, lists)


def _hashed(rows: Iterator[pa.RecordBatch], key: Sequence[str], columns: Sequence[str]) -> tuple[Words, Words]:
    keys: list[Words] = [np.zeros(0, np.uint64)]
    values: list[Words] = [np.zeros(0, np.uint64)]
    for batch in rows:
        keys.append(fingerprints([batch.column(name) for name in key], batch.num_rows)[0])
        values.append(fingerprints([batch.column(name) for name in columns], batch.num_rows)[1])
    return np.concatenate(keys), np.concatenate(values)


def _taken(rows: Iterator[pa.RecordBatch], schema: pa.Schema, mask: Flags) -> pa.Table:
    """Select the rows of a mask."""
    found: list[pa.RecordBatch] = []
    begin = 0
    plain = nullable(schema)
    for batch in rows if mask.any() else ():
        part = mask[begin : begin + batch.num_rows]
        begin += batch.num_rows
        if part.any():
            found.append(batch.take(pa.array(np.flatnonzero(part))).select(schema.names).cast(plain))
        if not mask[begin:].any():
            break
    return pa.Table.from_batches(found, schema=plain)
