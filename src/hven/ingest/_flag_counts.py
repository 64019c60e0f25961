"""Counting flagged rows: one query over a table as it will be published, its answer summed by group and by bit."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hven.ingest.quality import MAX_GROUPS, FlagStatistics, QualityGroup

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hven.ingest._staged_site import StagedSite
    from hven.model.resource import QualityFlagColumn
    from hven.model.table import Table


def count_flagged_rows(trial: StagedSite, table: Table, flags: QualityFlagColumn) -> FlagStatistics:
    """Count the rows of a table as it will be published, by one query over its column of flags."""
    keys = [f"k{number}" for number in range(len(flags.group_expressions))]
    parts = [f"({text}\n) AS {key}" for key, (text, _) in zip(keys, flags.group_expressions.values(), strict=True)]
    rows = (
        f"SELECT {', '.join([*parts, f'{_quote_identifier(flags.column)} AS f'])} FROM "
        f"{_quote_identifier(table.schema)}.{_quote_identifier(table.name)} AS target"
    )
    grouped = ", ".join([*keys, "f"])
    with ExitStack() as stack:
        batches = list(
            trial.answer_query(f"SELECT {grouped}, COUNT(*) AS n FROM ({rows}) AS q GROUP BY {grouped}", {}, stack)
        )
    return _sum_flag_counts(batches, keys, flags)


def _sum_flag_counts(batches: list[pa.RecordBatch], keys: list[str], flags: QualityFlagColumn) -> FlagStatistics:
    """Sum counts of (group, flags) by group and by bit."""
    quality = FlagStatistics(
        column=flags.column, bits=dict(flags.bits), rules=dict.fromkeys(flags.bits, 0), by=list(flags.group_expressions)
    )
    if batches:
        counts_table = pa.Table.from_batches(batches)
    else:
        counts_table = None
    if counts_table is None:
        return quality
    rows = np.asarray(counts_table.column("n").combine_chunks()).astype(np.int64)
    values = np.asarray(pc.fill_null(counts_table.column("f").combine_chunks().cast(pa.int64()), 0))
    # a rule of severity info says something of a row, and does not make it wrong
    faulty_bits = np.int64(sum(1 << bit for name, bit in flags.bits.items() if name not in flags.informative_rules))
    flagged_counts = np.where(values & faulty_bits, rows, 0)
    counts_by_rule = {name: np.where(values & (1 << bit), rows, 0) for name, bit in flags.bits.items()}
    quality.rows = int(rows.sum())
    quality.flagged = int(flagged_counts.sum())
    quality.rules = {name: int(rule_counts.sum()) for name, rule_counts in counts_by_rule.items()}
    if not keys:
        return quality
    columns = {
        "rows": rows,
        "flagged": flagged_counts,
        **{f"r{number}": rule_counts for number, rule_counts in enumerate(counts_by_rule.values())},
    }
    texts = {key: _format_group_values(counts_table.column(key)) for key in keys}
    grouped_counts = pa.table({**texts, **columns}).group_by(keys).aggregate([(name, "sum") for name in columns])
    order = np.argsort(-np.asarray(grouped_counts.column("flagged_sum")), kind="stable")
    first_groups = grouped_counts.take(pa.array(order[:MAX_GROUPS])).sort_by([(key, "ascending") for key in keys])
    names = list(counts_by_rule)
    quality.groups = [_build_group(row, keys, names) for row in first_groups.to_pylist()]
    if len(order) > MAX_GROUPS:
        other_groups = grouped_counts.take(pa.array(order[MAX_GROUPS:]))
        total = {f"{name}_sum": pc.sum(other_groups.column(f"{name}_sum")).as_py() for name in columns}
        quality.others = _build_group({**dict.fromkeys(keys), **total}, keys, names)
    return quality


def _build_group(row: Mapping[str, Any], keys: list[str], names: list[str]) -> QualityGroup:
    rules = {name: row[f"r{number}_sum"] for number, name in enumerate(names) if row[f"r{number}_sum"]}
    return QualityGroup(of=[row[key] for key in keys], rows=row["rows_sum"], flagged=row["flagged_sum"], rules=rules)


def _format_group_values(values: pa.ChunkedArray) -> pa.ChunkedArray:
    """Write what rows are counted by, so that it can be kept as JSON: 2024, not 2024.0."""
    if pa.types.is_floating(values.type) and pc.all(pc.equal(values, pc.floor(values)), min_count=0).as_py():
        values = values.cast(pa.int64(), safe=False)
    return values.cast(pa.string())


def _quote_identifier(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
