"""Count flagged rows with one query over a table as it will be published, and sum the counts by group and by bit."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hven.ingest.quality import MAX_GROUPS, QualityFlagGroup, QualityFlagStatistics

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hven.ingest._staged_site import StagedSite
    from hven.model.resource import QualityFlagColumn
    from hven.model.table import Table


def count_flagged_rows(staged_site: StagedSite, table: Table, flags: QualityFlagColumn) -> QualityFlagStatistics:
    """Count the rows of a table as it will be published, by the values of its column of flags."""
    expressions = [text for text, _ in flags.group_expressions.values()]
    keys = [f"k{number}" for number in range(len(expressions))]
    # an expression may end with a comment, hence the line break
    select_items = [f"({text}\n) AS {key}" for key, text in zip(keys, expressions, strict=True)]
    select_items.append(f"{_quote_identifier(flags.column)} AS f")
    table_name = f"{_quote_identifier(table.schema)}.{_quote_identifier(table.name)}"
    row_query = f"SELECT {', '.join(select_items)} FROM {table_name} AS target"
    group_columns = ", ".join([*keys, "f"])
    count_query = f"SELECT {group_columns}, COUNT(*) AS n FROM ({row_query}) AS q GROUP BY {group_columns}"
    with ExitStack() as stack:
        batches = list(staged_site.answer_query_and_record_inputs(count_query, {}, stack))
    return _sum_flag_counts(batches, keys, flags)


def _sum_flag_counts(batches: list[pa.RecordBatch], keys: list[str], flags: QualityFlagColumn) -> QualityFlagStatistics:
    """Sum the counts of each combination of group and flags, by group and by bit."""
    quality = QualityFlagStatistics(
        column=flags.column, bits=dict(flags.bits), rules=dict.fromkeys(flags.bits, 0), by=list(flags.group_expressions)
    )
    if not batches:
        return quality
    counts_table = pa.Table.from_batches(batches)
    row_counts = np.asarray(counts_table.column("n").combine_chunks()).astype(np.int64)
    flag_column = counts_table.column("f").combine_chunks().cast(pa.int64())
    flag_values = np.asarray(pc.fill_null(flag_column, 0))
    # a rule with the severity info describes a row, and does not make it faulty
    faulty_rules = [name for name in flags.bits if name not in flags.informative_rules]
    faulty_bits = np.int64(sum(1 << flags.bits[name] for name in faulty_rules))
    flagged_counts = np.where(flag_values & faulty_bits, row_counts, 0)
    counts_by_rule = {name: np.where(flag_values & (1 << bit), row_counts, 0) for name, bit in flags.bits.items()}
    quality.rows = int(row_counts.sum())
    quality.flagged = int(flagged_counts.sum())
    quality.rules = {name: int(rule_counts.sum()) for name, rule_counts in counts_by_rule.items()}
    if keys:
        columns = {"rows": row_counts, "flagged": flagged_counts}
        for number, rule_counts in enumerate(counts_by_rule.values()):
            columns[f"r{number}"] = rule_counts
        group_columns = {key: _format_group_values(counts_table.column(key)) for key in keys}
        counts_by_group = pa.table({**group_columns, **columns}).group_by(keys)
        group_sums = counts_by_group.aggregate([(name, "sum") for name in columns])
        _set_quality_groups(quality, group_sums, keys)
    return quality


def _set_quality_groups(quality: QualityFlagStatistics, group_sums: pa.Table, keys: list[str]) -> None:
    """Set the groups with the most flagged rows one by one, and the others together."""
    rules = list(quality.rules)
    order = np.argsort(-np.asarray(group_sums.column("flagged_sum")), kind="stable")
    first_groups = group_sums.take(pa.array(order[:MAX_GROUPS]))
    first_groups = first_groups.sort_by([(key, "ascending") for key in keys])
    quality.groups = [_build_quality_group(row, keys, rules) for row in first_groups.to_pylist()]
    if len(order) > MAX_GROUPS:
        other_groups = group_sums.take(pa.array(order[MAX_GROUPS:]))
        total: dict[str, Any] = dict.fromkeys(keys)
        for name in other_groups.column_names:
            if name not in keys:
                total[name] = pc.sum(other_groups.column(name)).as_py()
        quality.others = _build_quality_group(total, keys, rules)


def _build_quality_group(row: Mapping[str, Any], keys: list[str], names: list[str]) -> QualityFlagGroup:
    rules = {}
    for number, name in enumerate(names):
        row_count = row[f"r{number}_sum"]
        if row_count:
            rules[name] = row_count
    key_values = [row[key] for key in keys]
    return QualityFlagGroup(of=key_values, rows=row["rows_sum"], flagged=row["flagged_sum"], rules=rules)


def _format_group_values(values: pa.ChunkedArray) -> pa.ChunkedArray:
    """Convert the values of a group to text: 2024, not 2024.0."""
    if pa.types.is_floating(values.type):
        is_whole = pc.equal(values, pc.floor(values))
        if pc.all(is_whole, min_count=0).as_py():
            values = values.cast(pa.int64(), safe=False)
    return values.cast(pa.string())


def _quote_identifier(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
