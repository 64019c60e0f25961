"""Counting flagged rows: one query over a table as it will be published, its answer summed by group and by bit."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hven.ingest.quality import GROUPS, Group, Quality

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hven.ingest._trial import Trial
    from hven.model.resource import Flags
    from hven.model.table import Table


def count(trial: Trial, table: Table, flags: Flags) -> Quality:
    """Count the rows of a table as it will be published, by one query over its column of flags."""
    keys = [f"k{number}" for number in range(len(flags.by))]
    parts = [f"({text}\n) AS {key}" for key, (text, _) in zip(keys, flags.by.values(), strict=True)]
    rows = f"SELECT {', '.join([*parts, f'{_quoted(flags.column)} AS f'])} FROM {_quoted(table.schema)}.{_quoted(table.name)} AS target"
    grouped = ", ".join([*keys, "f"])
    with ExitStack() as stack:
        batches = list(trial.rows(f"SELECT {grouped}, COUNT(*) AS n FROM ({rows}) AS q GROUP BY {grouped}", {}, stack))
    return _summed(batches, keys, flags)


def _summed(batches: list[pa.RecordBatch], keys: list[str], flags: Flags) -> Quality:
    """Sum counts of (group, flags) by group and by bit."""
    quality = Quality(column=flags.column, bits=dict(flags.bits), rules=dict.fromkeys(flags.bits, 0), by=list(flags.by))
    found = pa.Table.from_batches(batches) if batches else None
    if found is None:
        return quality
    rows = np.asarray(found.column("n").combine_chunks()).astype(np.int64)
    values = np.asarray(pc.fill_null(found.column("f").combine_chunks().cast(pa.int64()), 0))
    # a rule of severity info says something of a row, and does not make it wrong
    faulty = np.int64(sum(1 << bit for name, bit in flags.bits.items() if name not in flags.informative))
    flagged = np.where(values & faulty, rows, 0)
    broken = {name: np.where(values & (1 << bit), rows, 0) for name, bit in flags.bits.items()}
    quality.rows, quality.flagged = int(rows.sum()), int(flagged.sum())
    quality.rules = {name: int(each.sum()) for name, each in broken.items()}
    if not keys:
        return quality
    columns = {"rows": rows, "flagged": flagged, **{f"r{number}": each for number, each in enumerate(broken.values())}}
    texts = {key: _text(found.column(key)) for key in keys}
    summed = pa.table({**texts, **columns}).group_by(keys).aggregate([(name, "sum") for name in columns])
    order = np.argsort(-np.asarray(summed.column("flagged_sum")), kind="stable")
    first = summed.take(pa.array(order[:GROUPS])).sort_by([(key, "ascending") for key in keys])
    names = list(broken)
    quality.groups = [_group(row, keys, names) for row in first.to_pylist()]
    if len(order) > GROUPS:
        rest = summed.take(pa.array(order[GROUPS:]))
        total = {f"{name}_sum": pc.sum(rest.column(f"{name}_sum")).as_py() for name in columns}
        quality.others = _group({**dict.fromkeys(keys), **total}, keys, names)
    return quality


def _group(row: Mapping[str, Any], keys: list[str], names: list[str]) -> Group:
    rules = {name: row[f"r{number}_sum"] for number, name in enumerate(names) if row[f"r{number}_sum"]}
    return Group(of=[row[key] for key in keys], rows=row["rows_sum"], flagged=row["flagged_sum"], rules=rules)


def _text(values: pa.ChunkedArray) -> pa.ChunkedArray:
    """Write what rows are counted by, so that it can be kept as JSON: 2024, not 2024.0."""
    if pa.types.is_floating(values.type) and pc.all(pc.equal(values, pc.floor(values)), min_count=0).as_py():
        values = values.cast(pa.int64(), safe=False)
    return values.cast(pa.string())


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
