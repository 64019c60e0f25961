"""The work behind `mapping.compile`: one table's settings over one source, put together into bound queries."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from hven.adql import parse_condition
from hven.adql.bind import bind, bind_condition
from hven.adql.functions import MAPPING
from hven.adql.reserved import RESERVED
from hven.adql.scope import Tables
from hven.adql.tree import And, ColumnRef, Expr, Ident, Join, Not, Query, Select, SelectItem, TableRef
from hven.descriptor import trees
from hven.descriptor.columns import REGULAR
from hven.descriptor.lookups import Lookups
from hven.descriptor.naming import Names, origins_of, written
from hven.descriptor.outcome import SOURCE, TARGET, Check, Mapping
from hven.descriptor.rounds import Round
from hven.descriptor.shapes import nearest
from hven.descriptor.tables import find_position
from hven.errors import BindError, ParseError
from hven.model.table import Column, Table
from hven.model.types import INT64, TIMESTAMP
from hven.sources import ROW

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from hven.adql.tree import Bound, FromItem
    from hven.errors import Fault
    from hven.model.resource import Resource, TableSpec


class Compiler:
    """One table's settings over one source."""

    def __init__(self, spec: TableSpec, source_columns: Sequence[Column], resource: Resource) -> None:
        self.spec = spec
        self.names = Names(spec, source_columns, resource)
        self.faults = self.names.faults
        self.lookups = Lookups(self.names, resource.path.parent)
        self.what = self.names.what

    def run(self) -> tuple[Mapping | None, list[Fault]]:
        """Compile everything; None if there are faults."""
        for name, (text, place) in self.spec.let.items():
            self.names.let(name, written(text, place))
        where = None
        if self.spec.where is not None:
            where = self.names.condition(*self.spec.where, f"{self.what}.where", None)
        rounds = [Round(self.names, self.lookups, granule) for granule in (self.spec.granules or (None,))]
        for one in rounds:
            one.evaluate()
        if self.names.failed():
            return None, self.faults.sorted()
        table = self._table(rounds)
        if self.names.failed():
            return None, self.faults.sorted()
        source = Table(schema="", name=SOURCE, columns=tuple(self.names.columns))
        try:
            queries = tuple(self._query(one.items(), source, [where, one.condition]) for one in rounds)
            alone = None if where is None else self._query([], source, [where])
            checks = (*self._lookup_checks(source, where), *self._readings(rounds, source, where), *self._rules(table))
        except BindError as error:
            self.faults.error(f"{self.what}: {error.message}", self.spec.place, error.remedy)
        if self.names.failed():
            return None, self.faults.sorted()
        copies, conversions = _common([one.copies for one in rounds]), _common([one.conversions for one in rounds])
        return Mapping(
            table=table,
            queries=queries,
            where=alone,
            checks=checks,
            needed=self._needed(queries, checks),
            wanted=self._wanted(table, copies),
            copies=copies,
            conversions=conversions,
            lookups=self.lookups.relations,
            calls=tuple(self.names.calls.values()),
            source=source,
            warnings=tuple(fault for fault in self.faults.sorted() if fault.severity == "warning"),
        ), self.faults.sorted()

    # --- queries ---------------------------------------------------------------------------------------------

    def _query(self, items: list[tuple[str, Expr]], source: Table, conditions: Sequence[Expr | None]) -> Bound:
        given = [item for item in conditions if item is not None]
        from_item: FromItem = TableRef((Ident(SOURCE),))
        # columns of a lookup are bound against the lookup's relation, not against the source's
        own = source.having(columns=tuple(column for column in source.columns if not self.lookups.owns(column.name)))
        tables = [own]
        for one in self.lookups.joined([*(tree for _, tree in items), *given]):
            from_item = Join(from_item, TableRef((Ident(one.name),)), "LEFT", on=one.on())
            tables.append(one.table())
        selected = [SelectItem(tree, Ident(name, quoted=True)) for name, tree in items]
        select = Select(
            (*selected, SelectItem(trees.name(ROW), Ident(ROW, quoted=True))),
            from_item,
            where=None if not given else given[0] if len(given) == 1 else And(tuple(given)),
        )
        return bind(Query(select), Tables(tables), functions=MAPPING)

    def _lookup_checks(self, source: Table, where: Expr | None) -> Iterator[Check]:
        for one in self.lookups:
            if one.missing == "error":
                yield Check(
                    name=f"lookup.{one.column}",
                    message=f"{one.column}: {one.label} has no such key",
                    severity="error",
                    bound=self._query([], source, [where, one.unmatched()]),
                    over=SOURCE,
                    columns=tuple(sorted(one.origins)),
                    place=one.place,
                )

    def _readings(self, rounds: list[Round], source: Table, where: Expr | None) -> Iterator[Check]:
        """Find rows whose text could not be read; several columns of one text are told once."""
        told: set[tuple[Expr, Expr]] = set()
        for reading in (reading for one in rounds for reading in one.readings):
            if (reading.given, reading.made) in told:
                continue
            told.add((reading.given, reading.made))
            yield Check(
                name=reading.name,
                message=reading.message,
                severity=reading.severity,
                bound=self._query([], source, [where, reading.failed()]),
                over=SOURCE,
                columns=(reading.source,),
                place=reading.place,
            )

    def _rules(self, table: Table) -> Iterator[Check]:
        target = Table(schema="", name=TARGET, columns=(*table.columns, Column(name=ROW, type=INT64, required=True)))
        for rule in self.spec.rules:
            text = written(rule.condition, rule.place)
            try:
                tree = trees.unslotted(trees.rewrite(parse_condition(str(text)), _without_prefix))
                bound = bind_condition(tree, table.columns, functions=MAPPING, text=str(text))
            except (ParseError, BindError) as error:
                self.names.say(error, text, f"{self.what}.rules.{rule.name}")
                continue
            select = Select((SelectItem(trees.name(ROW), Ident(ROW, quoted=True)),), TableRef((Ident(TARGET),)), where=Not(tree))
            yield Check(
                name=rule.name,
                message=rule.message or f"not {text}",
                severity=rule.severity,
                bound=bind(Query(select), Tables([target]), functions=MAPPING),
                over=TARGET,
                columns=tuple(sorted(origins_of(bound))),
                place=rule.place,
            )

    # --- the table -------------------------------------------------------------------------------------------

    def _table(self, rounds: list[Round]) -> Table:
        columns = []
        for name in rounds[0].order:
            origins: set[str] = set()
            for one in rounds:
                origins |= one.origins.get(name, frozenset())
            columns.append(rounds[0].described[name].having(origins=tuple(sorted(origins))))
        self._check_followed([column.name for column in columns])
        old = self.spec.table
        table = old.having(columns=tuple(columns), position=old.position or find_position(tuple(columns)))
        known = [column.name for column in columns]
        for key, wanted in (("primary", table.primary), ("position", table.position or ())):
            for name in wanted if self.spec.follow else ():  # else it was checked when the descriptor was read
                if name not in known:
                    self.faults.error(f"{self.what}.{key}: the table has no column {name!r}", self.spec.place, nearest(name, known))
        return table

    def _check_followed(self, names: list[str]) -> None:
        """Names that came from the source itself: no two that differ only in case, and a word about those that need quotes."""
        seen: dict[str, str] = {}
        for name in names:
            if name.lower() in seen:
                message = f"{self.what}: the source has columns {seen[name.lower()]!r} and {name!r}, which differ only in case"
                self.faults.error(message, self.spec.place, "list the table's columns under 'columns', and name one of the two otherwise")
            seen.setdefault(name.lower(), name)
            if name not in self.spec.given and (REGULAR.fullmatch(name) is None or name.upper() in RESERVED):
                message = f'{self.what}: queries must write "{name}" in double quotes'
                self.faults.warning(message, self.spec.place, "another name, under 'columns' and 'map', is easier for readers")

    def _needed(self, queries: tuple[Bound, ...], checks: tuple[Check, ...]) -> tuple[str, ...]:
        found: set[str] = {ROW}
        for bound in [
            *queries,
            *(check.bound for check in checks if check.over == SOURCE),
            *(call.args for call in self.names.calls.values()),
        ]:
            found |= origins_of(bound.query)
        made = self.names.call_origins
        return tuple(
            column.name
            for column in self.names.columns
            if column.name in found and column.name not in made and not self.lookups.owns(column.name)
        )

    def _wanted(self, table: Table, copies: dict[str, str]) -> dict[str, Any]:
        """Types for columns that are copied once and read by nothing else."""
        sources = list(copies.values())
        types = {column.name: column.type for column in table.columns}
        kinds = {column.name: column.type for column in self.names.real}
        wanted = {}
        for target, source in copies.items():
            simple = all(kind.is_numeric or kind.is_string for kind in (types[target], kinds.get(source, TIMESTAMP)))
            if simple and sources.count(source) == 1 and source not in self.names.used:
                wanted[source] = types[target].arrow
        return wanted


def _common(rounds: list[dict[str, str]]) -> dict[str, str]:
    """Give what is the same in all granules."""
    return {name: source for name, source in rounds[0].items() if all(one.get(name) == source for one in rounds[1:])}


def _without_prefix(node: Expr) -> Expr | None:
    if isinstance(node, ColumnRef) and len(node.qualifier) == 1 and node.qualifier[0].name.lower() == TARGET:
        return replace(node, qualifier=())
    return None
