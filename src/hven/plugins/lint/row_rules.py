"""Check rules about the values of a table by the service's own SQL, or over the rows that were fetched."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hven.model.errors import UserError
from hven.plugins.lint.facts import load_standard_columns
from hven.plugins.lint.findings import CheckedRowCoverage
from hven.plugins.lint.tap_service import QueryRefusedError, format_first_key_value, quote_column_name

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from hven.plugins.lint.findings import FindingCollector
    from hven.plugins.lint.tap_service import DeclaredTable, ExaminedTapService
    from hven.plugins.lint.votable import VOTableField

Record = dict[str, Any]
MAX_CONDITIONS_PER_QUERY = 12  # conditions that one query joins by OR
MAX_DISTINCT_VALUES = 500
UNBOUNDED_LIMIT = 1e17  # a limit of this size or more counts as none


@dataclass(frozen=True, slots=True, kw_only=True)
class RowRule:
    """A rule that each row must meet.

    Attributes
    ----------
    is_broken
        Returns True for a row at fault; a row is a mapping with column names in lower case.
    broken_condition
        The same as a condition of ADQL; empty: ADQL cannot express it.
    is_by_distinct_value
        Whether the rule is about one column with few values, which can be asked for one by one.
    is_numeric
        Whether the rule is about numbers, so that it does not apply to text.
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


def fetch_row_sample(service: ExaminedTapService, table: DeclaredTable) -> RowSample:
    """Fetch the rows of a table, up to the limit; the sample is cached.

    Raises
    ------
    UserError
        The service does not return them.
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
        service.samples_by_table[table.comparison_name] = RowSample(
            table=table,
            fields=tuple(result.fields),
            records=tuple(result.list_records()),
            total_rows=total,
            is_complete=total == len(result.rows),
        )
    stored_sample: RowSample = service.samples_by_table[table.comparison_name]
    return stored_sample


def check_row_rules(
    service: ExaminedTapService,
    collector: FindingCollector,
    table: DeclaredTable,
    rules: Sequence[RowRule],
    key_columns: Sequence[str],
) -> None:
    """Report how many rows break each rule, with the first of them as an example."""
    row_sample = fetch_row_sample(service, table)
    rules = _select_applicable_rules(rules, row_sample)
    field_names = {field.name.lower() for field in row_sample.fields}
    key = next((name for name in key_columns if name in field_names), "")
    used_aggregates = False
    condition_rules = [rule for rule in rules if rule.broken_condition]
    judged_rules = _select_rules_judged_by_sql(service, collector, row_sample, condition_rules, key)
    if not row_sample.is_complete:
        distinct_rules = [rule for rule in rules if rule.is_by_distinct_value]
        judged_rules += _select_rules_judged_by_distinct_values(service, collector, row_sample, distinct_rules, key)
        used_aggregates = bool(judged_rules)
        rules = [rule for rule in rules if rule not in judged_rules]
    for rule in rules:
        broken_records = [record for record in row_sample.records if rule.is_broken(record)]
        if broken_records:
            _add_rule_finding(
                collector,
                row_sample,
                rule,
                broken_records[0],
                count=len(broken_records),
                keys=key_columns,
                is_sampled=not row_sample.is_complete,
            )
    if all(coverage.table != table.name for coverage in service.table_coverages):
        coverage = CheckedRowCoverage(
            table=table.name,
            row_count=len(row_sample.records),
            total_rows=row_sample.total_rows,
            used_aggregates=used_aggregates,
        )
        service.table_coverages.append(coverage)


def _select_applicable_rules(rules: Sequence[RowRule], row_sample: RowSample) -> list[RowRule]:
    """Select the rules whose columns the table has, with numbers where the rule is about numbers."""
    field_names = {field.name.lower() for field in row_sample.fields}
    text_names = {field.name.lower() for field in row_sample.fields if field.is_text}
    applicable_rules = []
    for rule in rules:
        has_text = rule.is_numeric and not text_names.isdisjoint(rule.columns)
        if field_names.issuperset(rule.columns) and not has_text:
            applicable_rules.append(rule)
    return applicable_rules


def _add_rule_finding(
    collector: FindingCollector,
    row_sample: RowSample,
    rule: RowRule,
    record: Record,
    *,
    count: int,
    keys: Sequence[str],
    is_sampled: bool,
) -> None:
    shown_value = record.get(rule.columns[0])
    if len(rule.columns) > 1:
        shown_value = ", ".join(f"{name} = {record.get(name)}" for name in rule.columns)
    if shown_value is None:
        shown_value = "NULL"
    row_count = row_sample.total_rows
    if is_sampled:
        row_count = len(row_sample.records)
    collector.add_finding(
        rule.code,
        table=row_sample.table.name,
        column=rule.columns[0],
        key=format_first_key_value(record, keys),
        value=shown_value,
        count=count,
        row_count=row_count,
        sampled=is_sampled,
    )


def _select_rules_judged_by_sql(
    service: ExaminedTapService, collector: FindingCollector, row_sample: RowSample, rules: list[RowRule], key: str
) -> list[RowRule]:
    """Judge by conditions over the whole table; return the rules that were judged.

    The service is asked even if all rows are known already: one that cannot answer the conditions is at fault.
    """
    judged_rules: list[RowRule] = []
    for start in range(0, len(rules), MAX_CONDITIONS_PER_QUERY):
        rule_chunk = rules[start : start + MAX_CONDITIONS_PER_QUERY]
        has_failing_rows = _has_failing_rows(service, row_sample, rule_chunk, key)
        if has_failing_rows is False or (has_failing_rows and row_sample.is_complete):
            judged_rules += rule_chunk
            continue
        for rule in rule_chunk:
            try:
                _check_rule_by_sql(service, collector, row_sample, rule, key)
                judged_rules.append(rule)
            except QueryRefusedError as error:
                collector.add_finding(
                    f"{collector.group}.condition",
                    error.message,
                    table=row_sample.table.name,
                    column=rule.columns[0],
                    value=rule.broken_condition,
                )
    return judged_rules


def _has_failing_rows(
    service: ExaminedTapService, row_sample: RowSample, rules: list[RowRule], key: str
) -> bool | None:
    """Return whether any row breaks any of the rules; None if the service refuses one of the conditions."""
    column = quote_column_name(key or rules[0].columns[0])
    condition = " OR ".join(f"({rule.broken_condition})" for rule in rules)
    try:
        result = service.run_query(f"SELECT TOP 1 {column} FROM {row_sample.table.name} WHERE {condition}", 1)
    except QueryRefusedError:
        return None
    return bool(result.rows)


def _check_rule_by_sql(
    service: ExaminedTapService, collector: FindingCollector, row_sample: RowSample, rule: RowRule, key: str
) -> None:
    """Report the rows that break a rule; raise if the service refuses its condition."""
    table_name, condition = row_sample.table.name, rule.broken_condition
    names = [name for name in dict.fromkeys((key, *rule.columns)) if name]
    columns = ", ".join(dict.fromkeys(map(quote_column_name, names)))
    records = service.run_query(f"SELECT TOP 1 {columns} FROM {table_name} WHERE {condition}", 1).list_records()
    if records and not row_sample.is_complete:
        count = service.query_number(f"SELECT COUNT(*) AS n FROM {table_name} WHERE {condition}") or 1
        _add_rule_finding(collector, row_sample, rule, records[0], count=count, keys=[key], is_sampled=False)


def _select_rules_judged_by_distinct_values(
    service: ExaminedTapService, collector: FindingCollector, row_sample: RowSample, rules: list[RowRule], key: str
) -> list[RowRule]:
    """Judge columns of few values by these values; return the rules that were judged over the whole table."""
    judged_rules = []
    records_by_column: dict[str, list[Record] | None] = {}
    for rule in rules:
        name = rule.columns[0]
        if name not in records_by_column:
            records_by_column[name] = _fetch_distinct_values(service, row_sample, name)
        records = records_by_column[name]
        if records is None:
            continue
        judged_rules.append(rule)
        broken_records = [record for record in records if rule.is_broken(record)]
        if not broken_records:
            continue
        example = dict(broken_records[0])
        sampled_examples = [record for record in row_sample.records if record.get(name) == example.get(name)]
        if sampled_examples and sampled_examples[0]:
            example = sampled_examples[0]
        count = sum(int(record.get("n") or 1) for record in broken_records)
        _add_rule_finding(collector, row_sample, rule, example, count=count, keys=[key], is_sampled=False)
    return judged_rules


def _fetch_distinct_values(service: ExaminedTapService, row_sample: RowSample, name: str) -> list[Record] | None:
    """Fetch the values of a column with their counts; None: there are too many, or the service does not respond."""
    column = quote_column_name(name)
    columns = f"{column}, COUNT(*) AS n"
    query = f"SELECT TOP {MAX_DISTINCT_VALUES} {columns} FROM {row_sample.table.name} GROUP BY {column}"
    try:
        distinct_values = service.run_query(query, MAX_DISTINCT_VALUES)
    except UserError:
        return None
    if len(distinct_values.rows) >= MAX_DISTINCT_VALUES:
        return None
    return distinct_values.list_records()


# --- kinds of rules ------------------------------------------------------------------------------------------------


def build_not_null_rules(code: str, standard_name: str) -> list[RowRule]:
    """Require the columns that a standard wants filled to have no NULL."""
    filled_columns = [fact.name for fact in load_standard_columns(standard_name).values() if fact.is_filled]
    return [build_not_null_rule(code, name) for name in filled_columns]


def build_not_null_rule(code: str, column_name: str) -> RowRule:
    """Require a column without NULL; an empty string is NULL in a VOTable."""
    return RowRule(
        code=code,
        columns=(column_name,),
        is_broken=lambda row: row.get(column_name) in {None, ""},
        broken_condition=f"{quote_column_name(column_name)} IS NULL",
    )


def build_range_rule(code: str, column_name: str, low: float, high: float) -> RowRule:
    """Require a number within limits, or NULL."""

    def is_out_of_range(row: Record) -> bool:
        value = row.get(column_name)
        return isinstance(value, int | float) and not low <= value <= high

    column = quote_column_name(column_name)
    condition = f"{column} < {low:.12g}"
    if high < UNBOUNDED_LIMIT:
        condition += f" OR {column} > {high:.12g}"
    return RowRule(
        code=code, columns=(column_name,), is_broken=is_out_of_range, broken_condition=condition, is_numeric=True
    )


def build_order_rule(code: str, low: str, high: str) -> RowRule:
    """Require two numbers, or two ISO times, in ascending order."""

    def is_out_of_order(row: Record) -> bool:
        low_value = row.get(low)
        high_value = row.get(high)
        if low_value is None or high_value is None:
            return False
        if isinstance(low_value, str) != isinstance(high_value, str):
            return False
        return bool(low_value > high_value)

    return RowRule(
        code=code,
        columns=(low, high),
        is_broken=is_out_of_order,
        broken_condition=f"{quote_column_name(low)} > {quote_column_name(high)}",
    )


def build_both_or_neither_rule(code: str, first_name: str, second_name: str) -> RowRule:
    """Require that two columns have values in the same rows."""

    def is_one_missing(row: Record) -> bool:
        return (row.get(first_name) is None) != (row.get(second_name) is None)

    first_column = quote_column_name(first_name)
    second_column = quote_column_name(second_name)
    condition = (
        f"({first_column} IS NULL AND {second_column} IS NOT NULL) OR ({first_column} IS NOT NULL AND "
        f"{second_column} IS NULL)"
    )
    return RowRule(code=code, columns=(first_name, second_name), is_broken=is_one_missing, broken_condition=condition)


def build_companion_rule(code: str, column_name: str, companion_name: str) -> RowRule:
    """Require that `companion_name` has a value where `column_name` has one."""

    def is_companion_missing(row: Record) -> bool:
        return row.get(column_name) is not None and row.get(companion_name) is None

    condition = f"{quote_column_name(column_name)} IS NOT NULL AND {quote_column_name(companion_name)} IS NULL"
    return RowRule(
        code=code, columns=(companion_name, column_name), is_broken=is_companion_missing, broken_condition=condition
    )


def build_allowed_values_rule(code: str, column_name: str, values: Collection[str]) -> RowRule:
    """Require one of some values, or NULL."""
    allowed_values = frozenset(values)

    def is_other_value(row: Record) -> bool:
        value = row.get(column_name)
        return value is not None and str(value) not in allowed_values

    literals = ["'" + value.replace("'", "''") + "'" for value in sorted(values)]
    condition = f"{quote_column_name(column_name)} NOT IN ({', '.join(literals)})"
    return RowRule(code=code, columns=(column_name,), is_broken=is_other_value, broken_condition=condition)


def build_list_items_rule(code: str, column_name: str, values: Collection[str]) -> RowRule:
    """Require a list of some values with the separator #, or NULL."""
    allowed_values = frozenset(values)

    def has_unknown_item(row: Record) -> bool:
        list_text = row.get(column_name)
        return list_text is not None and not allowed_values.issuperset(str(list_text).split("#"))

    return RowRule(code=code, columns=(column_name,), is_broken=has_unknown_item, is_by_distinct_value=True)


def build_pattern_rule(code: str, column_name: str, pattern: str, *, distinct: bool = False) -> RowRule:
    """Require a text that matches a pattern, or NULL."""
    expression = re.compile(pattern)

    def is_mismatch(row: Record) -> bool:
        cell_value = row.get(column_name)
        return cell_value is not None and expression.fullmatch(str(cell_value)) is None

    return RowRule(code=code, columns=(column_name,), is_broken=is_mismatch, is_by_distinct_value=distinct)


def build_value_check_rule(
    code: str, column_name: str, fails: Callable[[Any], bool], *, distinct: bool = False
) -> RowRule:
    """Require that a value does not fail a check, or is NULL."""

    def is_failing(row: Record) -> bool:
        value = row.get(column_name)
        return value is not None and fails(value)

    return RowRule(code=code, columns=(column_name,), is_broken=is_failing, is_by_distinct_value=distinct)


def check_unique_values(
    service: ExaminedTapService, collector: FindingCollector, table: DeclaredTable, code: str, column_name: str
) -> None:
    """Report values that occur twice in a key column."""
    row_sample = fetch_row_sample(service, table)
    if column_name not in {field.name.lower() for field in row_sample.fields}:
        return
    if not row_sample.is_complete:
        duplicate_row = _query_duplicate_value(service, table, column_name)
        if duplicate_row is not None:
            value, count = duplicate_row
            collector.add_finding(
                code,
                table=table.name,
                column=column_name,
                value=value,
                count=int(count or 2),
                row_count=row_sample.total_rows,
            )
            return
    seen_values: set[object] = set()
    for record in row_sample.records:
        value = record.get(column_name)
        if value is not None and value in seen_values:
            collector.add_finding(
                code,
                table=table.name,
                column=column_name,
                key=f"{column_name} = {value}",
                value=value,
                row_count=row_sample.total_rows,
                sampled=not row_sample.is_complete,
            )
        seen_values.add(value)


def _query_duplicate_value(
    service: ExaminedTapService, table: DeclaredTable, column_name: str
) -> tuple[Any, Any] | None:
    """Let the service find a value that occurs more than once, and return it with its count; None if there is none."""
    column = quote_column_name(column_name)
    query = f"SELECT TOP 1 {column}, COUNT(*) AS n FROM {table.name} GROUP BY {column} HAVING COUNT(*) > 1"
    try:
        rows = service.run_query(query, 1).rows
    except UserError:
        return None
    if not rows:
        return None
    value, count = rows[0]
    return value, count
