"""Rules about the values of a table, judged over all rows by the service's own SQL if it can, else over the rows that were fetched."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hven.lint.findings import Looked
from hven.lint.service import Refused, example_key, written
from hven.model.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from hven.lint.findings import Notes
    from hven.lint.service import Service, Table
    from hven.lint.votable import Field

Record = dict[str, Any]
TOGETHER = 12  # conditions in one question: is there any row that fails any of them?
DISTINCT = 500
ENDLESS = 1e17  # a limit from here on is none


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """What must hold in each row.

    Attributes
    ----------
    fails
        True for a row at fault; a row is a mapping of lower-case column names.
    where
        The same in ADQL; empty: SQL cannot say it.
    distinct
        The rule is about one column that has few values: they may be asked for one by one.
    number
        The rule is about numbers: no text is held against it.
    """

    code: str
    columns: tuple[str, ...]
    fails: Callable[[Record], bool]
    where: str = ""
    distinct: bool = False
    number: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """Rows of a table: all of them if `whole`."""

    table: Table
    fields: tuple[Field, ...]
    records: tuple[Record, ...]
    total: int | None
    whole: bool


def sample(service: Service, table: Table) -> Sample:
    """Fetch the rows of a table, up to the limit; kept.

    Raises
    ------
    UserError
        The service does not give them.
    """
    if table.key not in service.samples:
        limit = service.limits.rows
        while True:
            try:
                found = service.query(f"SELECT TOP {limit} * FROM {table.name}", limit)
                break
            except UserError as error:
                if "bytes" not in error.message or limit < 10:
                    raise
                limit //= 8
        total: int | None = len(found.rows)
        if len(found.rows) >= limit or found.overflow:
            total = service.number(f"SELECT COUNT(*) AS n FROM {table.name}")
        service.samples[table.key] = Sample(
            table=table,
            fields=tuple(found.fields),
            records=tuple(found.records()),
            total=total,
            whole=total == len(found.rows),
        )
    known: Sample = service.samples[table.key]
    return known


def judge(service: Service, notes: Notes, table: Table, rules: Sequence[Rule], keys: Sequence[str]) -> None:
    """Report how many rows break each rule, with the first as an example."""
    rows = sample(service, table)
    present = {one.name.lower() for one in rows.fields}
    texts = {one.name.lower() for one in rows.fields if one.is_text}
    rules = [
        rule
        for rule in rules
        if present.issuperset(rule.columns) and not (rule.number and texts.intersection(rule.columns))
    ]
    key = next((name for name in keys if name in present), "")
    aggregates = False
    done = _ask(service, notes, rows, [rule for rule in rules if rule.where], key)
    if not rows.whole:
        done += _ask_each(service, notes, rows, [rule for rule in rules if rule.distinct], key)
        aggregates = bool(done)
        rules = [rule for rule in rules if rule not in done]
    for rule in rules:
        bad = [record for record in rows.records if rule.fails(record)]
        if bad:
            _tell(notes, rows, rule, bad[0], len(bad), keys, sampled=not rows.whole)
    if all(one.table != table.name for one in service.looked):
        service.looked.append(Looked(table=table.name, rows=len(rows.records), total=rows.total, aggregates=aggregates))


def _tell(
    notes: Notes, rows: Sample, rule: Rule, record: Record, count: int, keys: Sequence[str], *, sampled: bool
) -> None:
    shown = (
        ", ".join(f"{name} = {record.get(name)}" for name in rule.columns)
        if len(rule.columns) > 1
        else record.get(rule.columns[0])
    )
    notes.tell(
        rule.code, table=rows.table.name, column=rule.columns[0], key=example_key(record, keys),
        value="NULL" if shown is None else shown, count=count, of=len(rows.records) if sampled else rows.total, sampled=sampled,
    )  # fmt: skip


def _ask(service: Service, notes: Notes, rows: Sample, rules: list[Rule], key: str) -> list[Rule]:
    """Judge by conditions over the whole table; return the rules that were judged.

    Where all rows are known already the conditions are asked all the same: a service that cannot answer them is at fault.
    """
    done: list[Rule] = []
    for start in range(0, len(rules), TOGETHER):
        part = rules[start : start + TOGETHER]
        whole = " OR ".join(f"({rule.where})" for rule in part)
        try:
            found = service.query(
                f"SELECT TOP 1 {written(key or part[0].columns[0])} FROM {rows.table.name} WHERE {whole}", 1
            ).rows
        except Refused:  # one of them may be beyond it: ask one by one
            found = None
        if found is not None and (rows.whole or not found):
            done += part
            continue
        for rule in part:
            columns = ", ".join(dict.fromkeys(written(name) for name in (key, *rule.columns) if name))
            try:
                records = service.query(
                    f"SELECT TOP 1 {columns} FROM {rows.table.name} WHERE {rule.where}", 1
                ).records()
            except Refused as error:
                notes.tell(
                    f"{notes.group}.condition",
                    error.message,
                    table=rows.table.name,
                    column=rule.columns[0],
                    value=rule.where,
                )
                continue
            done.append(rule)
            if records and not rows.whole:
                count = service.number(f"SELECT COUNT(*) AS n FROM {rows.table.name} WHERE {rule.where}") or 1
                _tell(notes, rows, rule, records[0], count, [key], sampled=False)
    return done


def _ask_each(service: Service, notes: Notes, rows: Sample, rules: list[Rule], key: str) -> list[Rule]:
    """Judge columns of few values by these; return the rules that were judged over the whole table."""
    done = []
    values: dict[str, list[Record] | None] = {}
    for rule in rules:
        name = rule.columns[0]
        if name not in values:
            try:
                quoted = written(name)
                found = service.query(
                    f"SELECT TOP {DISTINCT} {quoted}, COUNT(*) AS n FROM {rows.table.name} GROUP BY {quoted}", DISTINCT
                )
                values[name] = found.records() if len(found.rows) < DISTINCT else None
            except UserError:
                values[name] = None
        records = values[name]
        if records is None:
            continue
        done.append(rule)
        bad = [record for record in records if rule.fails(record)]
        if bad:
            example = dict(bad[0])
            first = next((record for record in rows.records if record.get(name) == example.get(name)), None)
            _tell(
                notes, rows, rule, first or example, sum(int(record.get("n") or 1) for record in bad), [key], sampled=False
            )  # fmt: skip
    return done


# --- kinds of rules ------------------------------------------------------------------------------------------------


def filled(code: str, name: str) -> Rule:
    """Demand a column without NULL; an empty string is NULL in a VOTable."""
    return Rule(
        code=code, columns=(name,), fails=lambda row: row.get(name) in {None, ""}, where=f"{written(name)} IS NULL"
    )


def between(code: str, name: str, low: float, high: float) -> Rule:
    """Demand a number within limits, or NULL."""

    def fails(row: Record) -> bool:
        value = row.get(name)
        return isinstance(value, int | float) and not low <= value <= high

    where = f"{written(name)} < {low:.12g}" + (f" OR {written(name)} > {high:.12g}" if high < ENDLESS else "")
    return Rule(code=code, columns=(name,), fails=fails, where=where, number=True)


def ordered(code: str, low: str, high: str) -> Rule:
    """Demand two numbers (or two ISO times) in order."""

    def fails(row: Record) -> bool:
        a, b = row.get(low), row.get(high)
        return a is not None and b is not None and isinstance(a, str) == isinstance(b, str) and a > b

    return Rule(code=code, columns=(low, high), fails=fails, where=f"{written(low)} > {written(high)}")


def together(code: str, a: str, b: str) -> Rule:
    """Demand both filled or both NULL."""
    x, y = written(a), written(b)
    where = f"({x} IS NULL AND {y} IS NOT NULL) OR ({x} IS NOT NULL AND {y} IS NULL)"
    return Rule(code=code, columns=(a, b), fails=lambda row: (row.get(a) is None) != (row.get(b) is None), where=where)


def needs(code: str, a: str, b: str) -> Rule:
    """Demand: where `a` has a value, `b` has one too."""
    where = f"{written(a)} IS NOT NULL AND {written(b)} IS NULL"
    return Rule(code=code, columns=(b, a), fails=lambda row: row.get(a) is not None and row.get(b) is None, where=where)


def among(code: str, name: str, values: Collection[str]) -> Rule:
    """Demand one of some values, or NULL."""
    listed = ", ".join("'" + value.replace("'", "''") + "'" for value in sorted(values))
    known = frozenset(values)
    where = f"{written(name)} NOT IN ({listed})"
    return Rule(
        code=code,
        columns=(name,),
        fails=lambda row: row.get(name) is not None and str(row[name]) not in known,
        where=where,
    )


def items(code: str, name: str, values: Collection[str]) -> Rule:
    """Demand a list, separated by #, of some values; or NULL."""
    known = frozenset(values)

    def fails(row: Record) -> bool:
        said = row.get(name)
        return said is not None and not known.issuperset(str(said).split("#"))

    return Rule(code=code, columns=(name,), fails=fails, distinct=True)


def matches(code: str, name: str, pattern: str, *, distinct: bool = False) -> Rule:
    """Demand a text of a form, or NULL."""
    expression = re.compile(pattern)

    def fails(row: Record) -> bool:
        said = row.get(name)
        return said is not None and expression.fullmatch(str(said)) is None

    return Rule(code=code, columns=(name,), fails=fails, distinct=distinct)


def says(code: str, name: str, fails: Callable[[Any], bool], *, distinct: bool = False) -> Rule:
    """Demand anything of one value that is not NULL."""
    return Rule(
        code=code, columns=(name,), fails=lambda row: row.get(name) is not None and fails(row[name]), distinct=distinct
    )


def unique(service: Service, notes: Notes, table: Table, code: str, name: str) -> None:
    """Report values that occur twice in a key column."""
    rows = sample(service, table)
    if name not in {one.name.lower() for one in rows.fields}:
        return
    if not rows.whole:
        column = written(name)
        try:
            found = service.query(
                f"SELECT TOP 1 {column}, COUNT(*) AS n FROM {table.name} GROUP BY {column} HAVING COUNT(*) > 1", 1
            ).rows
        except UserError:
            found = []
        if found:
            notes.tell(
                code, table=table.name, column=name, value=found[0][0], count=int(found[0][1] or 2), of=rows.total
            )
            return
    seen: set[object] = set()
    for record in rows.records:
        value = record.get(name)
        if value is not None and value in seen:
            notes.tell(
                code,
                table=table.name,
                column=name,
                key=f"{name} = {value}",
                value=value,
                of=rows.total,
                sampled=not rows.whole,
            )
        seen.add(value)
