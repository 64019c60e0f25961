"""Rules about the values of a table, judged over all rows by the service's own SQL if it can, else over the rows that were fetched."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hven.lint.findings import TableCoverage
from hven.lint.tap_service import QueryRefusedError, format_example_key, quote_column_name
from hven.model.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from hven.lint.findings import FindingCollector
    from hven.lint.tap_service import DeclaredTable, ExaminedTapService
    from hven.lint.votable import VOTableField

Record = dict[str, Any]
MAX_CONDITIONS_PER_QUERY = 12  # conditions in one question: is there any row that fails any of them?
MAX_DISTINCT_VALUES = 500
UNBOUNDED_LIMIT = 1e17  # a limit from here on is none


@dataclass(frozen=True, slots=True, kw_only=True)
class RowRule:
    """What must hold in each row.

    Attributes
    ----------
    is_broken
        True for a row at fault; a row is a mapping of lower-case column names.
    broken_condition
        The same in ADQL; empty: SQL cannot say it.
    is_by_distinct_value
        The rule is about one column that has few values: they may be asked for one by one.
    is_numeric
        The rule is about numbers: no text is held against it.
    """

    code: str
    columns: tuple[str, ...]
    is_broken: Callable[[Record], bool]
    broken_condition: str = ""
    is_by_distinct_value: bool = False
    is_numeric: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RowSample:
    """Rows of a table: all of them if `is_complete`."""

    table: DeclaredTable
    fields: tuple[VOTableField, ...]
    records: tuple[Record, ...]
    total_rows: int | None
    is_complete: bool


def fetch_sample(service: ExaminedTapService, table: DeclaredTable) -> RowSample:
    """Fetch the rows of a table, up to the limit; kept.

    Raises
    ------
    UserError
        The service does not give them.
    """
    if table.comparison_name not in service.samples_by_table:
        limit = service.limits.row_limit
        while True:
            try:
                result = service.run_query(f"SELECT TOP {limit} * FROM {table.name}", limit)
                break
            except UserError as error:
                if "bytes" not in error.message or limit < 10:
                    raise
                limit //= 8
        total: int | None = len(result.rows)
        if len(result.rows) >= limit or result.has_overflow:
            total = service.query_number(f"SELECT COUNT(*) AS n FROM {table.name}")
        fields = tuple(result.fields)
        records = tuple(result.list_records())
        is_complete = total == len(result.rows)
        service.samples_by_table[table.comparison_name] = RowSample(
            table=table,
            fields=fields,
            records=records,
            total_rows=total,
            is_complete=is_complete,
        )
    stored_sample: RowSample = service.samples_by_table[table.comparison_name]
    return stored_sample


def judge_rules(
    service: ExaminedTapService,
    collector: FindingCollector,
    table: DeclaredTable,
    rules: Sequence[RowRule],
    keys: Sequence[str],
) -> None:
    """Report how many rows break each rule, with the first as an example."""
    row_sample = fetch_sample(service, table)
    field_names = {sample_field.name.lower() for sample_field in row_sample.fields}
    texts = {sample_field.name.lower() for sample_field in row_sample.fields if sample_field.is_text}
    rules = [
        rule
        for rule in rules
        if field_names.issuperset(rule.columns) and not (rule.is_numeric and texts.intersection(rule.columns))
    ]
    key = next((name for name in keys if name in field_names), "")
    aggregates = False
    judged_rules = _judge_by_conditions(
        service, collector, row_sample, [rule for rule in rules if rule.broken_condition], key
    )
    if not row_sample.is_complete:
        judged_rules += _judge_by_distinct_values(
            service, collector, row_sample, [rule for rule in rules if rule.is_by_distinct_value], key
        )
        aggregates = bool(judged_rules)
        rules = [rule for rule in rules if rule not in judged_rules]
    for rule in rules:
        broken_records = [record for record in row_sample.records if rule.is_broken(record)]
        if broken_records:
            _add_rule_finding(
                collector,
                row_sample,
                rule,
                broken_records[0],
                len(broken_records),
                keys,
                is_sampled=not row_sample.is_complete,
            )
    if all(sample_field.table != table.name for sample_field in service.table_coverages):
        row_count = len(row_sample.records)
        service.table_coverages.append(
            TableCoverage(
                table=table.name,
                row_count=row_count,
                total_rows=row_sample.total_rows,
                used_aggregates=aggregates,
            )
        )


def _add_rule_finding(
    collector: FindingCollector,
    row_sample: RowSample,
    rule: RowRule,
    record: Record,
    count: int,
    keys: Sequence[str],
    *,
    is_sampled: bool,
) -> None:
    shown_value = (
        ", ".join(f"{name} = {record.get(name)}" for name in rule.columns)
        if len(rule.columns) > 1
        else record.get(rule.columns[0])
    )
    collector.add_finding(
        rule.code,
        table=row_sample.table.name,
        column=rule.columns[0],
        key=format_example_key(record, keys),
        value="NULL" if shown_value is None else shown_value,
        count=count,
        row_count=len(row_sample.records) if is_sampled else row_sample.total_rows,
        sampled=is_sampled,
    )


def _judge_by_conditions(
    service: ExaminedTapService, collector: FindingCollector, row_sample: RowSample, rules: list[RowRule], key: str
) -> list[RowRule]:
    """Judge by conditions over the whole table; return the rules that were judged.

    Where all rows are known already the conditions are asked all the same: a service that cannot answer them is at
    fault.
    """
    judged_rules: list[RowRule] = []
    for start in range(0, len(rules), MAX_CONDITIONS_PER_QUERY):
        rule_chunk = rules[start : start + MAX_CONDITIONS_PER_QUERY]
        combined_condition = " OR ".join(f"({rule.broken_condition})" for rule in rule_chunk)
        try:
            failing_rows = service.run_query(
                f"SELECT TOP 1 {quote_column_name(key or rule_chunk[0].columns[0])} FROM "
                f"{row_sample.table.name} WHERE {combined_condition}",
                1,
            ).rows
        except QueryRefusedError:  # one of them may be beyond it: ask one by one
            failing_rows = None
        if failing_rows is not None and (row_sample.is_complete or not failing_rows):
            judged_rules += rule_chunk
            continue
        for rule in rule_chunk:
            columns = ", ".join(dict.fromkeys(quote_column_name(name) for name in (key, *rule.columns) if name))
            try:
                records = service.run_query(
                    f"SELECT TOP 1 {columns} FROM {row_sample.table.name} WHERE {rule.broken_condition}", 1
                ).list_records()
            except QueryRefusedError as error:
                collector.add_finding(
                    f"{collector.group}.condition",
                    error.message,
                    table=row_sample.table.name,
                    column=rule.columns[0],
                    value=rule.broken_condition,
                )
                continue
            judged_rules.append(rule)
            if records and not row_sample.is_complete:
                count = (
                    service.query_number(
                        f"SELECT COUNT(*) AS n FROM {row_sample.table.name} WHERE {rule.broken_condition}"
                    )
                    or 1
                )
                _add_rule_finding(collector, row_sample, rule, records[0], count, [key], is_sampled=False)
    return judged_rules


def _judge_by_distinct_values(
    service: ExaminedTapService, collector: FindingCollector, row_sample: RowSample, rules: list[RowRule], key: str
) -> list[RowRule]:
    """Judge columns of few values by these; return the rules that were judged over the whole table."""
    judged_rules = []
    values: dict[str, list[Record] | None] = {}
    for rule in rules:
        name = rule.columns[0]
        if name not in values:
            try:
                quoted = quote_column_name(name)
                distinct_values = service.run_query(
                    f"SELECT TOP {MAX_DISTINCT_VALUES} {quoted}, COUNT(*) AS n FROM {row_sample.table.name} "
                    f"GROUP BY {quoted}",
                    MAX_DISTINCT_VALUES,
                )
                if len(distinct_values.rows) < MAX_DISTINCT_VALUES:
                    values[name] = distinct_values.list_records()
                else:
                    values[name] = None
            except UserError:
                values[name] = None
        records = values[name]
        if records is None:
            continue
        judged_rules.append(rule)
        broken_records = [record for record in records if rule.is_broken(record)]
        if broken_records:
            example = dict(broken_records[0])
            first_broken = next(
                (record for record in row_sample.records if record.get(name) == example.get(name)), None
            )
            _add_rule_finding(
                collector,
                row_sample,
                rule,
                first_broken or example,
                sum(int(record.get("n") or 1) for record in broken_records),
                [key],
                is_sampled=False,
            )
    return judged_rules


# --- kinds of rules ------------------------------------------------------------------------------------------------


def require_filled(code: str, name: str) -> RowRule:
    """Demand a column without NULL; an empty string is NULL in a VOTable."""
    return RowRule(
        code=code,
        columns=(name,),
        is_broken=lambda row: row.get(name) in {None, ""},
        broken_condition=f"{quote_column_name(name)} IS NULL",
    )


def require_between(code: str, name: str, low: float, high: float) -> RowRule:
    """Demand a number within limits, or NULL."""

    def is_out_of_range(row: Record) -> bool:
        value = row.get(name)
        return isinstance(value, int | float) and not low <= value <= high

    where = f"{quote_column_name(name)} < {low:.12g}" + (
        f" OR {quote_column_name(name)} > {high:.12g}" if high < UNBOUNDED_LIMIT else ""
    )
    return RowRule(code=code, columns=(name,), is_broken=is_out_of_range, broken_condition=where, is_numeric=True)


def require_order(code: str, low: str, high: str) -> RowRule:
    """Demand two numbers (or two ISO times) in order."""

    def is_out_of_order(row: Record) -> bool:
        low_value, high_value = row.get(low), row.get(high)
        return (
            low_value is not None
            and high_value is not None
            and isinstance(low_value, str) == isinstance(high_value, str)
            and low_value > high_value
        )

    return RowRule(
        code=code,
        columns=(low, high),
        is_broken=is_out_of_order,
        broken_condition=f"{quote_column_name(low)} > {quote_column_name(high)}",
    )


def require_together(code: str, first_name: str, second_name: str) -> RowRule:
    """Demand both filled or both NULL."""
    first_quoted = quote_column_name(first_name)
    second_quoted = quote_column_name(second_name)
    where = (
        f"({first_quoted} IS NULL AND {second_quoted} IS NOT NULL) OR ({first_quoted} IS NOT NULL AND "
        f"{second_quoted} IS NULL)"
    )
    return RowRule(
        code=code,
        columns=(first_name, second_name),
        is_broken=lambda row: (row.get(first_name) is None) != (row.get(second_name) is None),
        broken_condition=where,
    )


def require_companion(code: str, name: str, companion_name: str) -> RowRule:
    """Demand: where `name` has a value, `companion_name` has one too."""
    where = f"{quote_column_name(name)} IS NOT NULL AND {quote_column_name(companion_name)} IS NULL"
    return RowRule(
        code=code,
        columns=(companion_name, name),
        is_broken=lambda row: row.get(name) is not None and row.get(companion_name) is None,
        broken_condition=where,
    )


def require_one_of(code: str, name: str, values: Collection[str]) -> RowRule:
    """Demand one of some values, or NULL."""
    listed = ", ".join("'" + value.replace("'", "''") + "'" for value in sorted(values))
    allowed_values = frozenset(values)
    where = f"{quote_column_name(name)} NOT IN ({listed})"
    return RowRule(
        code=code,
        columns=(name,),
        is_broken=lambda row: row.get(name) is not None and str(row[name]) not in allowed_values,
        broken_condition=where,
    )


def require_list_items(code: str, name: str, values: Collection[str]) -> RowRule:
    """Demand a list, separated by #, of some values; or NULL."""
    allowed_values = frozenset(values)

    def has_unknown_item(row: Record) -> bool:
        list_text = row.get(name)
        return list_text is not None and not allowed_values.issuperset(str(list_text).split("#"))

    return RowRule(code=code, columns=(name,), is_broken=has_unknown_item, is_by_distinct_value=True)


def require_pattern(code: str, name: str, pattern: str, *, distinct: bool = False) -> RowRule:
    """Demand a text of a form, or NULL."""
    expression = re.compile(pattern)

    def is_mismatch(row: Record) -> bool:
        cell_value = row.get(name)
        return cell_value is not None and expression.fullmatch(str(cell_value)) is None

    return RowRule(code=code, columns=(name,), is_broken=is_mismatch, is_by_distinct_value=distinct)


def require_value_check(code: str, name: str, fails: Callable[[Any], bool], *, distinct: bool = False) -> RowRule:
    """Demand anything of one value that is not NULL."""
    return RowRule(
        code=code,
        columns=(name,),
        is_broken=lambda row: row.get(name) is not None and fails(row[name]),
        is_by_distinct_value=distinct,
    )


def check_unique(
    service: ExaminedTapService, collector: FindingCollector, table: DeclaredTable, code: str, name: str
) -> None:
    """Report values that occur twice in a key column."""
    row_sample = fetch_sample(service, table)
    if name not in {sample_field.name.lower() for sample_field in row_sample.fields}:
        return
    if not row_sample.is_complete:
        column = quote_column_name(name)
        try:
            duplicate_rows = service.run_query(
                f"SELECT TOP 1 {column}, COUNT(*) AS n FROM {table.name} GROUP BY {column} HAVING COUNT(*) > 1", 1
            ).rows
        except UserError:
            duplicate_rows = []
        if duplicate_rows:
            collector.add_finding(
                code,
                table=table.name,
                column=name,
                value=duplicate_rows[0][0],
                count=int(duplicate_rows[0][1] or 2),
                row_count=row_sample.total_rows,
            )
            return
    seen_values: set[object] = set()
    for record in row_sample.records:
        value = record.get(name)
        if value is not None and value in seen_values:
            collector.add_finding(
                code,
                table=table.name,
                column=name,
                key=f"{name} = {value}",
                value=value,
                row_count=row_sample.total_rows,
                sampled=not row_sample.is_complete,
            )
        seen_values.add(value)
