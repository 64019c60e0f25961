"""The work behind `mapping.compile`: names resolved, trees put together, bound, and every fault placed in the YAML file."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from hven.adql import parse_condition, parse_expression
from hven.adql.bind import bind, bind_condition, bind_expression
from hven.adql.functions import MAPPING, Extra
from hven.adql.scope import Tables, same
from hven.adql.tree import ColumnRef, Expr, Function, Ident, Join, Literal, Meta, Not, Query, Select, SelectItem, TableRef
from hven.descriptor import mapping as m
from hven.descriptor import trees
from hven.descriptor.constants import constant
from hven.descriptor.expressions import Hole, holes, inner
from hven.descriptor.lookups import Lookup, lookup
from hven.descriptor.shapes import Faults, nearest
from hven.descriptor.tables import find_position
from hven.descriptor.written import Page, Written
from hven.errors import BindError, ParseError
from hven.model import units
from hven.model.resource import Setting
from hven.model.table import Column, Table
from hven.model.types import INT64, STRING, TIMESTAMP
from hven.sources import FILE_FACTS, ROW

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from hven.adql.tree import Bound, FromItem
    from hven.errors import Fault, Place
    from hven.model.resource import Granule, Resource, TableSpec

_FACT_TYPES = {"file.size": INT64, "file.mtime": TIMESTAMP}
INHERITED = ("unit", "ucd", "utype", "description", "label", "display", "link", "minimum", "maximum")


class _Broken(Exception):  # noqa: N818
    """A fault was noted already; what depends on it says nothing more."""


def written(text: str, place: Place) -> Written:
    """Give text its place, if a program made it."""
    if isinstance(text, Written):
        return text
    page = Page(place.file or "", "\n" * ((place.line or 1) - 1) + " " * ((place.column or 1) - 1) + text)
    return Written(text, page, len(page.text) - len(text), len(page.text), "made")


class Compiler:
    """One table's settings over one source."""

    def __init__(self, spec: TableSpec, source_columns: Sequence[Column], resource: Resource) -> None:
        self.spec, self.resource = spec, resource
        self.faults = Faults()
        self.what = f"tables.{spec.table.name}"
        self.real = list(source_columns)
        facts = [Column(name=name, type=_FACT_TYPES.get(name, STRING)) for name in FILE_FACTS]
        self.columns = [*self.real, *facts, Column(name=ROW, type=INT64, required=True)]
        self.python = {function.name.lower(): function for function in resource.functions}
        self.functions = MAPPING
        for function in resource.functions:
            try:
                self.functions = self.functions.extended([Extra(name=function.name, args=(), result=function.type)])
            except ValueError as error:
                self.faults.error(f"functions.{function.name}: {error}", function.place, "give it another name")
        self.calls: dict[Function, m.Call] = {}
        self.call_origins: dict[str, frozenset[str]] = {}
        self.lets: dict[str, Expr | None] = {}
        self.lookups: dict[str, Lookup] = {}
        self.used: set[str] = set()  # source columns that anything but a copy reads

    # --- the whole -------------------------------------------------------------------------------------------

    def run(self) -> tuple[m.Mapping | None, list[Fault]]:
        """Compile everything; None if there are faults."""
        for name, (text, place) in self.spec.let.items():
            self.let(name, written(text, place))
        where = None
        if self.spec.where is not None:
            where = self.condition(*self.spec.where, f"{self.what}.where", None)
        rounds = [_Round(self, granule) for granule in (self.spec.granules or (None,))]
        for one in rounds:
            one.evaluate()
        if self._failed():
            return None, self.faults.sorted()
        table = self._table(rounds)
        source = Table(schema="", name=m.SOURCE, columns=tuple(self.columns))
        try:
            queries = tuple(self._query(one.items(), source, [where, one.condition]) for one in rounds)
            alone = None if where is None else self._query([], source, [where])
            checks = (*self._lookup_checks(source, where), *self._rules(table))
        except BindError as error:
            self.faults.error(f"{self.what}: {error.message}", self.spec.place, error.remedy)
            return None, self.faults.sorted()
        if self._failed():
            return None, self.faults.sorted()
        copies, conversions = self._copies(rounds)
        needed = self._needed(queries, checks)
        return m.Mapping(
            table=table,
            queries=queries,
            where=alone,
            checks=checks,
            needed=needed,
            wanted=self._wanted(table, copies),
            copies=copies,
            conversions=conversions,
            lookups={item.name: item.rows for item in self.lookups.values() if item.rows is not None},
            calls=tuple(self.calls.values()),
            source=source,
            warnings=tuple(fault for fault in self.faults.sorted() if fault.severity == "warning"),
        ), self.faults.sorted()

    def _failed(self) -> bool:
        return any(fault.severity == "error" for fault in self.faults.found)

    # --- expressions -----------------------------------------------------------------------------------------

    def let(self, name: str, text: Written) -> None:
        """Bind one ``let``; those it needs came before."""
        if self.find(Ident(name)) is not None:
            self.faults.error(f"{self.what}.let: {name} is a column of the source already", text.place, "choose another name")
        try:
            tree, _ = self.bound(text, f"{self.what}.let.{name}", None)
            self.lets[name] = tree
        except _Broken:
            self.lets[name] = None

    def find(self, ident: Ident) -> Column | None:
        """Find a column of the source by a name as written; exact before case-blind."""
        exact = [column for column in self.columns if column.name == ident.name]
        if exact or ident.quoted:
            return exact[0] if exact else None
        found = [column for column in self.columns if same(ident, column.name)]
        return found[0] if len(found) == 1 else None

    def bound(self, text: Written, what: str, targets: _Round | None) -> tuple[Expr, Meta]:
        """Parse an expression, replace its names, type it: gives the tree over the source alone, and what its value is."""
        try:
            tree = parse_expression(str(text))
        except ParseError as error:
            self.faults.error(f"{what}: {error.message}", text.at(error.offset), error.remedy)
            raise _Broken from None
        tree = self.expanded(tree, text, what, targets)
        return tree, self.typed(tree, text, what)

    def condition(self, text: str, place: Place, what: str, targets: _Round | None) -> Expr | None:
        """Parse and type a condition over the source; None after a fault."""
        value = written(text, place)
        try:
            tree = parse_condition(str(value))
            tree = self.expanded(tree, value, what, targets)
            bound = bind_condition(tree, self.columns, functions=self.functions, text=str(value))
        except (ParseError, BindError) as error:
            self.say(error, value, what)
            return None
        except _Broken:
            return None
        self.used |= _origins(bound)
        return tree

    def say(self, error: ParseError | BindError, text: Written, what: str) -> None:
        """Place a fault of ADQL in the YAML file."""
        self.faults.error(f"{what}: {error.message.removesuffix(' in the subquery')}", text.at(error.offset), error.remedy)

    def typed(self, tree: Expr, text: Written, what: str, offset: int = 0) -> Meta:
        """Bind for the type, unit and origins."""
        try:
            bound = bind_expression(tree, self.columns, functions=self.functions, text=str(text))
        except BindError as error:
            self.faults.error(f"{what}: {error.message.removesuffix(' in the subquery')}", text.at(error.offset + offset), self.remedy(error))
            raise _Broken from None
        if bound.meta is None:
            raise AssertionError
        return bound.meta

    def remedy(self, error: BindError) -> str:
        """Offer ``let`` names, too, where the binder knows of columns only."""
        return error.remedy

    def expanded(self, tree: Expr, text: Written, what: str, targets: _Round | None, offset: int = 0) -> Expr:
        """Replace let names, constants, target columns, header cards and Python calls by what they stand for."""

        def change(node: Expr) -> Expr | None:
            if isinstance(node, ColumnRef):
                return self.name(node, text, what, targets, offset)
            if isinstance(node, Function):
                if node.name == "HEADER":
                    return self.header(node, text, what, offset)
                if node.name.lower() in self.python:
                    return self.call(node, text, what, targets, offset)
            return None

        tree = trees.rewrite(tree, change)
        if trees.size(tree) > trees.LARGEST:
            self.faults.error(f"{what}: with all names replaced, the expression has more than {trees.LARGEST:,} parts", text.place, "simplify the 'let' names")
            raise _Broken
        return tree

    def name(self, node: ColumnRef, text: Written, what: str, targets: _Round | None, offset: int) -> Expr:
        """Give what one name stands for: a source column, then a let name, then a constant; ``target.x``, ``site.x``."""
        prefix = ".".join(part.name for part in node.qualifier)
        word = node.name.name
        if prefix.lower() == "target":
            if targets is None:
                self.faults.error(f"{what}: target.{word} does not exist yet here", text.at(node.at + offset), "use the source's columns")
                raise _Broken
            value = targets.value(word, text.at(node.at + offset), what)
            return trees.moved(value, node.at)
        if prefix.lower() == "site" and word in self.resource.site:
            return Literal(self.resource.site[word], at=node.at)
        if prefix:
            dotted = self.find(Ident(f"{prefix}.{word}", quoted=True)) or self.find(Ident(f"{prefix.lower()}.{word.lower()}", quoted=True))
            if dotted is not None:
                return trees.name(dotted.name, node.at)
            known = [column.name for column in self.columns] + [f"target.{name}" for name in (targets.settings if targets else ())]
            self.faults.error(f"{what}: no {prefix}.{word}", text.at(node.at + offset), nearest(f"{prefix}.{word}", known))
            raise _Broken
        column = self.find(node.name)
        if column is not None:
            return trees.name(column.name, node.at)
        for name, tree in self.lets.items():
            if same(node.name, name):
                if tree is None:
                    raise _Broken
                return trees.moved(tree, node.at)
        for name, value in self.resource.let.items():
            if same(node.name, name):
                return Literal(value, at=node.at)
        known = [*(column.name for column in self.real), *self.spec.let, *self.resource.let]
        ambiguous = [column.name for column in self.real if column.name.lower() == word.lower()]
        remedy = f'write one of {", ".join(chr(34) + name + chr(34) for name in ambiguous)}' if len(ambiguous) > 1 else nearest(word, known)
        if not remedy and word in {column.name for column in self.spec.table.columns}:
            remedy = f"write target.{word} for the table's own column"
        message = f"{word} may be several columns" if len(ambiguous) > 1 else f"the source has no column {word!r}, and no 'let' is called so"
        self.faults.error(f"{what}: {message}", text.at(node.at + offset), remedy or f"the source has: {_some(known)}")
        raise _Broken

    def header(self, node: Function, text: Written, what: str, offset: int) -> Expr:
        """Replace ``header('DATE-OBS')`` by the source column that the card became."""
        card = node.args[0].value if len(node.args) == 1 and isinstance(node.args[0], Literal) else None
        if not isinstance(card, str):
            self.faults.error(f"{what}: header takes the name of a card: header('DATE-OBS')", text.at(node.at + offset))
            raise _Broken
        folded = card.lower().replace("-", "_").replace(" ", "_")
        for column in self.real:
            if column.name == card or column.name.lower().replace("-", "_").replace(" ", "_") == folded:
                return trees.name(column.name, node.at)
        self.faults.error(f"{what}: the source has no header card {card!r}", text.at(node.at + offset), nearest(card, [column.name for column in self.real]))
        raise _Broken

    def call(self, node: Function, text: Written, what: str, targets: _Round | None, offset: int) -> Expr:
        """Replace a call of a Python function by the column that it will fill."""
        function = self.python[node.name.lower()]
        args = tuple(self.expanded(arg, text, what, targets, offset) for arg in node.args)
        if function.arguments is not None and len(args) != function.arguments:
            self.faults.error(f"{what}: {function.name} takes {function.arguments} arguments, not {len(args)}", text.at(node.at + offset))
            raise _Broken
        if not args:
            self.faults.error(f"{what}: {function.name} needs at least one argument", text.at(node.at + offset), "without one it cannot know how many rows there are")
            raise _Broken
        key = Function(function.name, args)
        if key not in self.calls:
            origins: set[str] = set()
            for arg in args:
                origins |= self.origins(self.typed(arg, text, what, offset))
            output = f"call.{len(self.calls) + 1}"
            source = Table(schema="", name=m.SOURCE, columns=tuple(self.columns))
            items = tuple(SelectItem(arg, Ident(f"arg{number}")) for number, arg in enumerate(args, 1))
            query = bind(Query(Select(items, TableRef((Ident(m.SOURCE),)))), Tables([source]), functions=self.functions)
            self.calls[key] = m.Call(name=function.name, path=function.path, args=query, output=output, type=function.type, place=text.at(node.at + offset))
            self.call_origins[output] = frozenset(origins)
            self.columns.append(Column(name=output, type=function.type, unit=function.unit, ucd=function.ucd))
            self.used |= origins
        return trees.name(self.calls[key].output, node.at)

    def origins(self, meta: Meta) -> frozenset[str]:
        """Names of the source columns behind a value, through Python calls."""
        found: set[str] = set()
        for name in meta.origins:
            found |= self.call_origins.get(name, {name})
        return frozenset(found)

    # --- queries ---------------------------------------------------------------------------------------------

    def _query(self, items: list[tuple[str, Expr]], source: Table, conditions: Sequence[Expr | None]) -> Bound:
        from_item: FromItem = TableRef((Ident(m.SOURCE),))
        tables = [source]
        for one in self.lookups.values():
            if one.rows is not None and any(_mentions(tree, one.name) for tree in [*(tree for _, tree in items), *conditions]):
                from_item = Join(from_item, TableRef((Ident(one.name),)), "LEFT", on=one.on())
                tables.append(one.table())
        given = [item for item in conditions if item is not None]
        select = Select(
            (*(SelectItem(tree, Ident(name, quoted=True)) for name, tree in items), SelectItem(trees.name(ROW), Ident(ROW, quoted=True))),
            from_item,
            where=None if not given else given[0] if len(given) == 1 else _both(given),
        )
        return bind(Query(select), Tables(tables), functions=self.functions)

    def _lookup_checks(self, source: Table, where: Expr | None) -> Iterator[m.Check]:
        for one in self.lookups.values():
            if one.missing == "error":
                bound = self._query([], source, [where, one.unmatched()])
                message = f"{one.column}: {one.label} has no such key"
                yield m.Check(
                    name=f"lookup.{one.column}", message=message, severity="error", bound=bound, over="source", columns=tuple(sorted(one.origins)), place=one.place
                )

    def _rules(self, table: Table) -> Iterator[m.Check]:
        target = Table(schema="", name=m.TARGET, columns=(*table.columns, Column(name=ROW, type=INT64, required=True)))
        for rule in self.spec.rules:
            text = written(rule.condition, rule.place)
            what = f"{self.what}.rules.{rule.name}"
            try:
                tree = trees.rewrite(parse_condition(str(text)), _without_prefix)
                bound = bind_condition(tree, table.columns, functions=self.functions, text=str(text))
            except (ParseError, BindError) as error:
                self.say(error, text, what)
                continue
            select = Select((SelectItem(trees.name(ROW), Ident(ROW, quoted=True)),), TableRef((Ident(m.TARGET),)), where=Not(tree))
            query = bind(Query(select), Tables([target]), functions=self.functions)
            yield m.Check(
                name=rule.name, message=rule.message or f"not {text}", severity=rule.severity, bound=query, over=m.TARGET, columns=tuple(sorted(_origins(bound))),
                place=rule.place,
            )  # fmt: skip

    # --- the table -------------------------------------------------------------------------------------------

    def _table(self, rounds: list[_Round]) -> Table:
        columns = []
        for name in rounds[0].order:
            column = rounds[0].described[name]
            origins = frozenset().union(*(one.origins[name] for one in rounds))
            columns.append(column.having(origins=tuple(sorted(origins))))
        old = self.spec.table
        table = old.having(columns=tuple(columns), position=old.position or find_position(tuple(columns)))
        names = {column.name for column in columns}
        for key, wanted in (("primary", table.primary), ("position", table.position or ())):
            for name in wanted:
                if name not in names:
                    self.faults.error(f"{self.what}.{key}: the table has no column {name!r}", self.spec.place, nearest(name, names))
        return table

    def _copies(self, rounds: list[_Round]) -> tuple[dict[str, str], dict[str, str]]:
        copies, conversions = dict(rounds[0].copies), dict(rounds[0].conversions)
        for one in rounds[1:]:
            copies = {name: source for name, source in copies.items() if one.copies.get(name) == source}
            conversions = {name: source for name, source in conversions.items() if one.conversions.get(name) == source}
        return copies, conversions

    def _needed(self, queries: tuple[Bound, ...], checks: tuple[m.Check, ...]) -> tuple[str, ...]:
        found: set[str] = {ROW}
        bounds = [*queries, *(check.bound for check in checks if check.over == m.SOURCE), *(call.args for call in self.calls.values())]
        for bound in bounds:
            found |= _origins(bound.query)
        return tuple(column.name for column in self.columns if column.name in found and column.name not in self.call_origins)

    def _wanted(self, table: Table, copies: dict[str, str]) -> dict[str, Any]:
        """Types for columns that are copied once and read by nothing else."""
        times: dict[str, int] = {}
        for source in copies.values():
            times[source] = times.get(source, 0) + 1
        types = {column.name: column.type for column in table.columns}
        kinds = {column.name: column.type for column in self.real}
        wanted = {}
        for target, source in copies.items():
            simple = all(kind.is_numeric or kind.is_string for kind in (types[target], kinds.get(source, TIMESTAMP)))
            if simple and times[source] == 1 and source not in self.used:
                wanted[source] = types[target].arrow
        return wanted


class _Round:
    """The values of all target columns for one granule (or for the table, if it has none)."""

    def __init__(self, compiler: Compiler, granule: Granule | None) -> None:
        self.compiler = compiler
        self.spec = compiler.spec
        self.granule = granule
        self.settings: dict[str, Setting] = {setting.column: setting for setting in compiler.spec.settings}
        self.declared = {column.name: column for column in self.spec.table.columns}
        if granule is not None:
            self.settings |= {setting.column: setting for setting in granule.settings}
            if "granule_gid" in self.declared and "granule_gid" not in self.settings:
                self.settings["granule_gid"] = Setting(column="granule_gid", how="set", value=written(granule.gid, granule.place), place=granule.place)
        self.order = self._order()
        self.trees: dict[str, Expr | None] = {}
        self.described: dict[str, Column] = {}
        self.origins: dict[str, frozenset[str]] = {}
        self.copies: dict[str, str] = {}
        self.conversions: dict[str, str] = {}
        self.condition: Expr | None = None
        self.chain: list[str] = []

    def _order(self) -> list[str]:
        names = list(self.declared)
        if self.spec.follow:
            taken = {name.lower() for name in (*names, *self.settings)}
            names = [column.name for column in self.compiler.real if column.name.lower() not in taken]
            own = {column.name.lower(): column.name for column in self.compiler.real}
            placed: list[str] = []
            for lower, name in own.items():  # refined columns stay where the source has them
                mine = next((known for known in (*self.declared, *self.settings) if known.lower() == lower), None)
                placed.append(mine if mine is not None else name)
            names = [*dict.fromkeys([*placed, *self.declared])]
        return [*names, *(name for name in self.settings if name not in names)]

    def evaluate(self) -> None:
        """Work out every column; faults are collected."""
        for name in self.order:
            try:
                self.value(name, None, "")
            except _Broken:
                continue
        if self.granule is not None and self.granule.condition is not None:
            what = f"{self.compiler.what}.granules[{self.granule.gid}].if"
            self.condition = self.compiler.condition(*self.granule.condition, what, self)

    def items(self) -> list[tuple[str, Expr]]:
        """Name and tree of every column, in order."""
        return [(name, tree) for name in self.order if (tree := self.trees.get(name)) is not None]

    def value(self, name: str, asked: Place | None, what: str) -> Expr:
        """Give the final tree of a target column."""
        if name in self.trees:
            tree = self.trees[name]
            if tree is None:
                raise _Broken
            return tree
        faults = self.compiler.faults
        if name in self.chain:
            cycle = [*self.chain[self.chain.index(name) :], name]
            if asked is not None:
                faults.error(f"{what}: {' needs '.join('target.' + step for step in cycle)}: a cycle", asked)
            raise _Broken
        if name not in self.order:
            if asked is not None:
                faults.error(f"{what}: the table has no column {name!r}", asked, nearest(name, self.order))
            raise _Broken
        self.chain.append(name)
        self.trees[name] = None
        try:
            del self.trees[name]
            tree = self._make(name)
        except _Broken:
            self.trees[name] = None
            raise
        finally:
            self.chain.pop()
        self.trees[name] = tree
        return tree

    def _make(self, name: str) -> Expr:
        compiler = self.compiler
        setting = self.settings.get(name)
        column = self.declared.get(name)
        where = f"{compiler.what}.{setting.how}.{name}" if setting is not None else f"{compiler.what}.columns.{name}"
        place = setting.place if setting is not None else self.spec.places.get(name, self.spec.place)
        tree, meta, copy = self._raw(name, setting, column, where, place)
        column = self._described(name, column, meta, copy)
        self.described[name] = column
        self.origins[name] = compiler.origins(meta)
        converted = self._converted(tree, meta, column, where, place)
        self._note(name, tree, converted, meta, column, setting)
        return converted

    def _raw(self, name: str, setting: Setting | None, column: Column | None, where: str, place: Place) -> tuple[Expr, Meta, Column | None]:
        """Give the value before conversion, what it is, and the source column if it is one unchanged."""
        compiler = self.compiler
        if setting is None:
            source = compiler.find(Ident(name))
            if source is None:
                return self._absent(name, column, where, place)
            tree: Expr = trees.name(source.name)
            return tree, compiler.typed(tree, written("", place), where), source
        if setting.how == "set":
            tree = self._constant(setting, column, where)
        elif setting.how == "text":
            tree = self._template(written(setting.value, setting.place), where)
        elif setting.how == "lookup":
            tree = lookup(compiler, self, setting, column, where)
        else:
            tree, meta = compiler.bound(written(setting.value, setting.place), where, self)
            return tree, meta, meta.column if isinstance(tree, ColumnRef) else None
        return tree, compiler.typed(tree, written("", place), where), None

    def _absent(self, name: str, column: Column | None, where: str, place: Place) -> tuple[Expr, Meta, None]:
        if column is not None and column.std and not column.required:
            return trees.NULL, Meta(column.type, constant=True), None
        compiler = self.compiler
        known = [item.name for item in compiler.real]
        remedy = nearest(name, known)
        remedy = f"write under 'map': {name}: {remedy[14:-2]}" if remedy else f"set it under set, text, map or lookup; the source has: {_some(known)}"
        compiler.faults.error(f"{where}: nothing gives this column a value, and the source has no column {name!r}", place, remedy)
        raise _Broken

    def _constant(self, setting: Setting, column: Column | None, where: str) -> Expr:
        value = written(setting.value, setting.place)
        if column is None or "type" not in self.spec.given.get(column.name, ()):
            source = self.compiler.find(Ident(setting.column))
            column = Column(name=setting.column, type=source.type if source is not None else STRING)
        tree = constant(value, column, where, self.compiler.faults)
        if tree is None:
            raise _Broken
        return tree

    def _template(self, template: Written, where: str) -> Expr:
        compiler = self.compiler
        parts: list[Expr] = []
        for part in holes(template, where, compiler.faults):
            if isinstance(part, str):
                parts.append(Literal(part))
                continue
            tree = self._hole(part, template, where)
            meta = compiler.typed(tree, template, where, part.offset)
            if part.spec:
                if not meta.type.is_numeric:
                    compiler.faults.error(f"{where}: {{{part.text}:{part.spec}}} needs a number, not {meta.type}", template.at(part.offset))
                    raise _Broken
                parts.append(trees.formatted(tree, part.spec))
            else:
                parts.append(trees.text(tree, meta))
        return trees.joined(parts) if parts else Literal("")

    def _hole(self, part: Hole, template: Written, where: str) -> Expr:
        compiler = self.compiler
        if part.name is not None:
            exact = compiler.find(Ident(part.name, quoted=True))  # DATE-OBS, file.path
            if exact is not None:
                return trees.name(exact.name, 0)
        tree = inner(template, part, where, compiler.faults)
        if tree is None:
            raise _Broken
        return compiler.expanded(tree, template, where, self, part.offset)

    def _described(self, name: str, column: Column | None, meta: Meta, copy: Column | None) -> Column:
        """Complete what the descriptor says by what the value brings along."""
        if column is None:
            column = Column(name=name)
        given = self.spec.given.get(name, frozenset())
        changes: dict[str, Any] = {}
        if "type" not in given:
            changes["type"] = meta.type
        if "unit" not in given:
            changes["unit"] = _vounit(meta.unit)
        if copy is not None:
            for key in INHERITED:
                if key not in given and key != "unit" and getattr(column, key) is None:
                    changes[key] = getattr(copy, key)
        elif "ucd" not in given and column.ucd is None and meta.column is not None:
            changes["ucd"] = meta.ucd
        return column.having(**changes)

    def _converted(self, tree: Expr, meta: Meta, column: Column, where: str, place: Place) -> Expr:
        """Insert the conversion of unit and type."""
        faults = self.compiler.faults
        if meta.unit and column.unit and meta.type.is_numeric and not units.same(meta.unit, column.unit):
            if not units.convertible(meta.unit, column.unit):
                faults.error(f"{where}: a value in {meta.unit} cannot be converted to {column.unit}", place, "correct the unit, or convert it in an expression")
                raise _Broken
            tree = Function("IN_UNIT", (tree, Literal(column.unit)))
            meta = self.compiler.typed(tree, written("", place), where)
        try:
            return trees.cast(tree, meta, column.type)
        except trees.Unfit as error:
            faults.error(f"{where}: {error.message}", place, error.remedy)
            raise _Broken from None

    def _note(self, name: str, tree: Expr, converted: Expr, meta: Meta, column: Column, setting: Setting | None) -> None:
        """Remember plain copies and single conversions; everything else reads its columns in the query."""
        source = meta.column.name if isinstance(tree, ColumnRef) and meta.column is not None else None
        simple = (meta.type.is_numeric or meta.type.is_string) and (column.type.is_numeric or column.type.is_string)
        if source is None or source in self.compiler.call_origins:
            self.compiler.used |= self.origins[name]
        elif (converted is tree or simple) and not (isinstance(converted, Function) and converted.name == "IN_UNIT") and _no_unit(converted):
            self.copies[name] = source
        else:
            self.conversions[name] = source
            self.compiler.used.add(source)


def _no_unit(tree: Expr) -> bool:
    from hven.descriptor.expressions import walk

    return not any(isinstance(node, Function) and node.name == "IN_UNIT" for node in walk(tree))


def _vounit(unit: str | None) -> str | None:
    if unit is None:
        return None
    try:
        return units.check(unit) or None
    except ValueError:
        return unit


def _both(conditions: list[Expr]) -> Expr:
    from hven.adql.tree import And

    return And(tuple(conditions))


def _without_prefix(node: Expr) -> Expr | None:
    if isinstance(node, ColumnRef) and len(node.qualifier) == 1 and node.qualifier[0].name.lower() == m.TARGET:
        return replace(node, qualifier=())
    return None


def _origins(tree: Any) -> set[str]:
    from hven.descriptor.expressions import walk

    return {node.name.name for node in walk(tree) if isinstance(node, ColumnRef)}


def _mentions(tree: Expr | None, relation: str) -> bool:
    return tree is not None and any(name.startswith(f"{relation}.") for name in _origins(tree))


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(names[:12])
    return f"{shown} ..." if len(names) > 12 else shown or "no columns"
