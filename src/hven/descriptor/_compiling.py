"""The work behind `mapping.compile`: one table's settings over one source, put together into bound queries."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from hven.adql import check_policy, parse_condition, parse_expression
from hven.adql.bind import bind, bind_condition, bind_expression
from hven.adql.functions import MAPPING, QUERY
from hven.adql.reserved import RESERVED
from hven.adql.scope import Tables
from hven.adql.tree import (
    Case,
    ColumnRef,
    Compare,
    Expr,
    Ident,
    Join,
    Literal,
    Node,
    Not,
    Or,
    Query,
    Select,
    SelectItem,
    TableRef,
    conjunction,
    transform,
)
from hven.descriptor import _filled_regions as regions
from hven.descriptor import _value_trees as trees
from hven.descriptor._carried import relinked
from hven.descriptor._columns import REGULAR
from hven.descriptor._data_sets import check_data_sets, searched_by_time
from hven.descriptor._expression_names import Names, origins_of, some, written
from hven.descriptor._lookups import Lookups
from hven.descriptor._partitions import check_partition
from hven.descriptor._rounds import Round
from hven.descriptor.elements import INDEX, elements, index
from hven.descriptor.outcome import SOURCE, TARGET, WATERMARK, Broken, Check, Mapping
from hven.descriptor.tables import find_position
from hven.descriptor.value_schema import Faults
from hven.descriptor.written import Written
from hven.model import units
from hven.model.errors import BindError, ParseError, QueryError, nearest
from hven.model.table import FILES, Column, Levels, Table
from hven.model.types import INT64, TIMESTAMP
from hven.sources import ROW

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from hven.adql.tree import Bound, FromItem
    from hven.descriptor.outcome import Groups
    from hven.model.errors import Fault
    from hven.model.resource import Resource, Rule, TableSpec

LAST_CHANGE = "time.processing"  # first word of the UCD of a column that says when a row was changed last


class Compiler:
    """One table's settings over one source."""

    def __init__(self, spec: TableSpec, source_columns: Sequence[Column], resource: Resource) -> None:
        self.spec = spec
        faults = Faults()
        columns, self.each = elements(spec, source_columns, faults)
        self.names = Names(spec, columns, resource)
        self.faults = self.names.faults
        self.faults.found.extend(faults.found)
        if spec.for_each:
            self.names.columns.append(index())
        self.lookups = Lookups(self.names, resource.path.parent)
        self.what = self.names.what

    def run(self) -> tuple[Mapping | None, list[Fault]]:
        """Compile everything; None if there are faults."""
        for name, (text, place) in self.spec.let.items():
            self.names.let(name, written(text, place))
        grouping = self.names.grouping
        before, where = self._wheres()
        mark = self._watermark()
        first, *others = self.spec.granules or (None,)
        rounds = [Round(self.names, self.lookups, first)]
        rounds += [Round(self.names, self.lookups, granule, rounds[0]) for granule in others]
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
            rules, joint = self._rules(table)
            self._check_flags(table)
            checks = (*self._lookup_checks(source, where), *self._readings(rounds, source, where), *rules)
            needed = self._needed(queries, checks)
            groups = None if grouping is None else grouping.plan(source, before, needed)
            watermark = None if mark is None else self._query([(WATERMARK, mark)], source, [])
            contours = tuple(one.contour and self._query(regions.fault(one.contour[0]), source, []) for one in rounds)
        except BindError as error:
            self.faults.error(f"{self.what}: {error.message}", self.spec.place, error.remedy)
        if self.names.failed():
            return None, self.faults.sorted()
        self._check_regions(rounds, table)
        dates = set.intersection(*(one.dates_of_run() for one in rounds))
        changes = {column.name for column in table.columns if (column.ucd or "").split(";")[0] == LAST_CHANGE}
        copies, conversions = _common([one.copies for one in rounds]), _common([one.conversions for one in rounds])
        return Mapping(
            table=table,
            queries=queries,
            where=alone,
            checks=checks,
            needed=self._asked(needed, groups),
            wanted=self._wanted(table, copies) if groups is None else {},
            copies=copies,
            conversions=conversions,
            lookups=self.lookups.relations,
            calls=tuple(self.names.calls.values()),
            joint=joint,
            rules=self._column_rules(table),
            vocabularies=self.spec.vocabularies,
            flags=None if self.spec.flags is None or self.spec.flags.given else self.spec.flags.column,
            source=source,
            each=self.each,
            groups=groups,
            watermark=watermark,
            watched=() if watermark is None else self._needed((watermark,), ()),
            contours=contours if any(contours) else (),
            filled=frozenset().union(*(one.filled() for one in rounds)),
            first_dates=frozenset(dates - changes),
            change_dates=frozenset(dates & changes),
            warnings=tuple(fault for fault in self.faults.sorted() if fault.severity == "warning"),
        ), self.faults.sorted()

    def _wheres(self) -> tuple[Expr | None, Expr | None]:
        """Compile the condition on rows: before they are grouped, or in the mapping's own queries."""
        grouping = self.names.grouping
        if grouping is not None:
            for key in self.spec.group_by:
                grouping.key(written(key, self.spec.place), f"{self.what}.group_by")
        found = []
        with nullcontext() if grouping is None else grouping.rows():
            if self.spec.where is not None:
                found.append(self.names.condition(*self.spec.where, f"{self.what}.where", None))
            # such rows are read, and leave no trace
            if self.spec.sync is not None and self.spec.sync.deleted is not None:
                said = self.names.condition(*self.spec.sync.deleted, f"{self.what}.sync.deletions.column", None)
                found.append(said and Compare("=", Case(None, ((said, Literal(1)),), Literal(0)), Literal(0)))
        where = conjunction(*found)
        return (where, None) if grouping is not None else (None, where)

    def _watermark(self) -> Expr | None:
        """Read the watermark; rows that are grouped have none."""
        said = None if self.spec.sync is None else self.spec.sync.watermark
        if said is None or self.names.grouping is not None:
            return None
        try:
            tree = self.names.bound(written(*said), f"{self.what}.sync.watermark", None)[0]
        except Broken:
            return None
        if origins_of(tree) & self.names.call_origins.keys():
            self.faults.error(
                f"{self.what}.sync.watermark calls a Python function",
                said[1],
                "a column, or an expression over columns",
            )
        return tree

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
            where=conjunction(*given),
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

    def _column_rules(self, table: Table) -> tuple[Rule, ...]:
        known = [column.name for column in table.columns]
        found = tuple(rule for rule in self.spec.rules if rule.check is not None and rule.severity != "off")
        for rule in found if self.spec.follow else ():  # else it was checked when the descriptor was read
            for name in rule.columns:
                if name not in known:
                    self.faults.error(
                        f"{self.what}.rules.{rule.name}: the table has no column {name!r}",
                        rule.place,
                        nearest(name, known),
                    )
        return (*found, *regions.expected(table, self.spec.rules, self.spec.place))

    def _rules(self, table: Table) -> tuple[list[Check], Bound | None]:
        """Compile the rules over the table's own columns: each as a check, all as one query."""
        checks: list[Check] = []
        conditions: list[Expr] = []
        target = Table(schema="", name=TARGET, columns=(*table.columns, Column(name=ROW, type=INT64, required=True)))
        for rule in self.spec.rules:
            if rule.check is not None or rule.severity == "off":
                continue
            text = written(rule.condition, rule.place)
            try:
                tree = trees.unslotted(transform(parse_condition(str(text)), _without_prefix))
                bound = bind_condition(tree, table.columns, functions=MAPPING, text=str(text))
            except (ParseError, BindError) as error:
                self.names.say(error, text, f"{self.what}.rules.{rule.name}")
                continue
            select = Select(
                (SelectItem(trees.name(ROW), Ident(ROW, quoted=True)),), TableRef((Ident(TARGET),)), where=Not(tree)
            )
            check = Check(
                name=rule.name,
                message=rule.message or f"not {text}",
                severity=rule.severity,
                bound=bind(Query(select), Tables([target]), functions=MAPPING),
                over=TARGET,
                columns=tuple(sorted(origins_of(bound))),
                flag=rule.flag,
                place=rule.place,
            )
            if self.spec.flags is not None and not self.spec.flags.given and self.spec.flags.column in check.columns:
                self.faults.error(
                    f"{self.what}.rules.{rule.name}: {self.spec.flags.column} is made of what the rules say",
                    rule.place,
                    "say the condition itself",
                )
            checks.append(check)
            conditions.append(Not(tree))
        if not checks:
            return [], None
        flags = [
            SelectItem(Case(None, ((condition, Literal(1)),), Literal(0)), Ident(f"check{number}", quoted=True))
            for number, condition in enumerate(conditions)
        ]
        row = SelectItem(trees.name(ROW), Ident(ROW, quoted=True))
        where = conditions[0] if len(conditions) == 1 else Or(tuple(conditions))
        return checks, bind(
            Query(Select((row, *flags), TableRef((Ident(TARGET),)), where=where)), Tables([target]), functions=MAPPING
        )

    def _check_flags(self, table: Table) -> None:
        """Bind the expressions by which flagged rows are counted, as a query will."""
        flags = self.spec.flags
        if flags is None:
            return
        if (
            self.spec.follow
            and not flags.given
            and any(column.name.lower() == flags.column.lower() for column in self.names.real)
        ):
            self.faults.error(
                f"{self.what}.flags: the source has a column {flags.column!r} already",
                flags.place,
                "choose another name for this one",
            )
        for name, (text, place) in flags.by.items():
            where, said = f"{self.what}.flags.by.{name}", written(text, place)
            try:
                tree = transform(parse_expression(str(said)), _without_prefix)
                bound = bind_expression(tree, table.columns, functions=QUERY, text=str(said))
            except (ParseError, BindError) as error:
                self.names.say(error, said, where)
                continue
            kind = bound.meta.type if bound.meta is not None else None
            if kind is not None and not (
                kind.is_string or kind.is_numeric or kind.is_timestamp or kind.datatype == "boolean"
            ):
                self.faults.error(f"{where}: rows cannot be counted by {kind}", place, "text, a number or a time")

    # --- the table -------------------------------------------------------------------------------------------

    def _table(self, rounds: list[Round]) -> Table:
        columns = []
        for name in rounds[0].order:
            origins: set[str] = set()
            for one in rounds:
                origins |= one.origins.get(name, frozenset())
            columns.append(rounds[0].described[name].having(origins=tuple(sorted(origins))))
        columns = self._relinked(columns, _common([one.copies for one in rounds]))
        self._check_followed([column.name for column in columns])
        self._check_words(columns)
        old = self.spec.table
        table = old.having(columns=tuple(columns), position=old.position or find_position(tuple(columns)))
        if table.policy is not None:
            self._check_levels(table, table.policy)
        known = [column.name for column in columns]
        pieces = (table.partition.column,) if table.partition is not None and table.partition.column is not None else ()
        searched = tuple(name for index in table.indexes for name in index)
        for key, wanted in (
            ("primary", table.primary),
            ("position", table.position or ()),
            ("indexes", searched),
            ("partition", pieces),
        ):
            for name in wanted if self.spec.follow else ():  # else it was checked when the descriptor was read
                if name not in known:
                    self.faults.error(
                        f"{self.what}.{key}: the table has no column {name!r}", self.spec.place, nearest(name, known)
                    )
        if not self.names.failed():
            check_partition(self.what, table, self.spec.place, self.faults, follow=self.spec.follow)
            check_data_sets(self.what, table, self.faults)
        return searched_by_time(table)

    def _check_regions(self, rounds: list[Round], table: Table) -> None:
        """Warn of contours whose parts are lost: no column takes what a polygon does not say."""
        names = {column.name for column in table.columns}
        if any(one.contour for one in rounds) and "c1min" in names and not {regions.COVERAGE, regions.QUALITY} <= names:
            self.faults.warning(
                f"{self.what}: of a region of several parts, or with holes, s_region has one outline, and nothing tells which rows these are",
                self.spec.place,
                "optional: [region] adds coverage, which has all of it, and region_quality",
            )

    def _relinked(self, columns: list[Column], copies: dict[str, str]) -> list[Column]:
        """Rename the columns in links that came from the source as the table does."""
        names = {source: target for target, source in copies.items()}
        for number, column in enumerate(columns):
            if column.link is None or "link" in self.spec.given.get(column.name, ()):
                continue
            link, lost = relinked(column.link, names)
            if lost is not None:
                message = f"{self.what}.columns.{column.name}: the source's link names its column {lost!r}, which the table does not copy; it is left out"
                self.faults.warning(message, self.spec.place, f"write a link of your own: {column.name}: {{link: ..}}")
            columns[number] = column.having(link=None if lost is not None else link)
        return columns

    def _check_followed(self, names: list[str]) -> None:
        """Check names that came from the source: no two that differ only in case, and a word about those that need quotes."""
        seen: dict[str, str] = {}
        for name in names:
            if name.lower() in seen:
                message = f"{self.what}: the source has columns {seen[name.lower()]!r} and {name!r}, which differ only in case"
                self.faults.error(
                    message,
                    self.spec.place,
                    "list the table's columns under 'columns', and name one of the two otherwise",
                )
            seen.setdefault(name.lower(), name)
            if name not in self.spec.given and (REGULAR.fullmatch(name) is None or name.upper() in RESERVED):
                message = f'{self.what}: queries must write "{name}" in double quotes'
                self.faults.warning(
                    message, self.spec.place, "another name, under 'columns' and 'map', is easier for readers"
                )

    def _check_levels(self, table: Table, levels: Levels) -> None:
        """Check that policies fit the table, and that what they name is there."""
        names = [column.name for column in table.columns]
        for key, said in (("access", levels.rows), ("access.files", levels.files), ("access.take", levels.take)):
            try:
                if said is not None:
                    check_policy(parse_condition(said), table.columns, said)
            except QueryError as error:
                place = said.at(error.offset) if isinstance(said, Written) else self.spec.place
                self.faults.error(f"{self.what}.{key}: {error.message}", place, error.remedy)
        for one in (*(levels.columns or ()), *((levels.path,) if levels.path else ())):
            place = one.place if isinstance(one, Written) else self.spec.place
            if one not in names:
                message = f"{self.what}.access: the table has no column {str(one)!r}"
                self.faults.error(message, place, nearest(one, names))
            elif one in table.primary and table.utype != FILES:  # which is seen with its rows
                message = f"{self.what}.access: {str(one)!r} is the key of the rows, and cannot be hidden"
                self.faults.error(message, place, "take another key, or hide the rows")

    def _check_words(self, columns: list[Column]) -> None:
        """Check UCDs and units that came from the source: those that are none, in a line each."""
        for key, none in (("ucd", units.check_ucd), ("unit", _no_unit)):
            odd = [
                f"{one.name} ({getattr(one, key)})"
                for one in columns
                if getattr(one, key) and key not in self.spec.given.get(one.name, ()) and none(getattr(one, key))
            ]
            if odd:
                message = f"{self.what}: the source's {'UCDs' if key == 'ucd' else 'units'} are none: {some(odd)}"
                self.faults.warning(
                    message, self.spec.place, f"say `{key}` under 'columns'; `{key}: \"\"` leaves it out"
                )

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

    def _asked(self, needed: tuple[str, ...], groups: Groups | None) -> tuple[str, ...]:
        """Add what is read before the mapping: what groups are made from, arrays that are unrolled."""
        found = {*needed, *self.each}
        if groups is not None:
            found |= origins_of(groups.bound.query) | set(groups.simple)
        return tuple(column.name for column in self.names.columns if column.name in found and column.name != INDEX)

    def _wanted(self, table: Table, copies: dict[str, str]) -> dict[str, Any]:
        """Choose types to read for columns that are copied once and read by nothing else."""
        sources = list(copies.values())
        types = {column.name: column.type for column in table.columns}
        kinds = {column.name: column.type for column in self.names.real}
        wanted = {}
        for target, source in copies.items():
            simple = all(kind.is_numeric or kind.is_string for kind in (types[target], kinds.get(source, TIMESTAMP)))
            if simple and sources.count(source) == 1 and source not in {*self.names.used, *self.each}:
                wanted[source] = types[target].arrow
        return wanted


def _common(rounds: list[dict[str, str]]) -> dict[str, str]:
    """Find what is the same in all granules."""
    return {name: source for name, source in rounds[0].items() if all(one.get(name) == source for one in rounds[1:])}


def _without_prefix(node: Node) -> Node:
    if isinstance(node, ColumnRef) and len(node.qualifier) == 1 and node.qualifier[0].name.lower() == TARGET:
        return replace(node, qualifier=())
    return node


def _no_unit(text: str) -> bool:
    return units.meant(text) is None
