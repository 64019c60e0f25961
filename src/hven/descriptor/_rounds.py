"""The values of all columns of a table, for one granule: what sets each, conversions inserted, metadata completed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hven.adql.tree import And, Binary, Cast, ColumnRef, Compare, Expr, Function, Ident, IsNull, Literal, Meta, Not
from hven.descriptor import _filled_regions as regions
from hven.descriptor import _value_trees as trees
from hven.descriptor._column_expressions import Hole, holes, inner
from hven.descriptor._constants import constant
from hven.descriptor._conversions import twice
from hven.descriptor._embargo import released
from hven.descriptor._expression_names import Names, header_unit, is_made_of_run_time, some, written
from hven.descriptor._lookups import joined_keys
from hven.descriptor.outcome import Broken
from hven.model import units
from hven.model.errors import nearest
from hven.model.resource import Setting
from hven.model.sky import frames
from hven.model.table import Column, is_time_format
from hven.model.types import FLOAT64, STRING
from hven.model.units import modern_ucd

if TYPE_CHECKING:
    from hven.descriptor._lookups import Lookups
    from hven.descriptor.written import Written
    from hven.model.errors import Place
    from hven.model.resource import Granule

INHERITED = ("ucd", "utype", "description", "label", "display", "link", "minimum", "maximum")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """Text that is read as something else: rows where something was `given` and nothing `made` of it are told."""

    name: str
    message: str
    severity: str
    given: Expr
    made: Expr
    source: str
    place: Place
    region: bool = False  # not any text, and so never an empty one

    def failed(self) -> Expr:
        """Build the condition of those rows."""
        words = () if self.region else (Not(Compare("=", self.given, Literal(""))),)
        return And((IsNull(self.given, negated=True), *words, IsNull(self.made)))


class Round:
    """The values of all target columns for one granule (or for the table, if it has none)."""

    def __init__(self, names: Names, lookups: Lookups, granule: Granule | None, lead: Round | None = None) -> None:
        self.names, self.lookups = names, lookups
        self.lead = lead  # the first granule, which decides on types
        self.spec = names.spec
        self.granule = granule
        self.settings: dict[str, Setting] = {setting.column: setting for setting in names.spec.settings}
        self.defaults = names.spec.defaults
        self.declared = {column.name: column for column in self.spec.table.columns}
        if granule is not None:
            self.settings |= {setting.column: setting for setting in granule.settings}
            if "granule_gid" in self.declared and "granule_gid" not in self.settings:
                self.settings["granule_gid"] = Setting(
                    column="granule_gid", how="set", value=written(granule.gid, granule.place), place=granule.place
                )
        self.order = self._order()
        self.trees: dict[str, Expr | None] = {}
        self.described: dict[str, Column] = {}
        self.origins: dict[str, frozenset[str]] = {}
        self.copies: dict[str, str] = {}
        self.conversions: dict[str, str] = {}
        self.condition: Expr | None = None
        self.chain: list[str] = []
        self.readings: list[Reading] = []
        self.contour: tuple[Expr, str] | None = None  # that s_region is made of, and which of its parts

    def _order(self) -> list[str]:
        """Order the columns: those of the source, if they are followed (refined ones stay where they are), then the others."""
        said = {name.lower(): name for name in (*self.settings, *self.declared)}
        followed = (
            [said.get(column.name.lower(), column.name) for column in self.names.real] if self.spec.follow else []
        )
        return list(dict.fromkeys([*followed, *self.declared, *self.settings]))

    def evaluate(self) -> None:
        """Compile every column; faults are collected."""
        for name in self.order:
            try:
                self.value(name, None, "")
            except Broken:
                continue
        if self.granule is not None and self.granule.condition is not None:
            what = f"{self.names.what}.granules[{self.granule.gid}].if"
            self.condition = self.names.condition(*self.granule.condition, what, self)

    def items(self) -> list[tuple[str, Expr]]:
        """List name and tree of every column, in order."""
        return [(name, tree) for name in self.order if (tree := self.trees.get(name)) is not None]

    def filled(self) -> set[str]:
        """List the columns that are empty where the contour of `s_region` has no region, as they are made of it."""
        return {name for name, tree in self.items() if self.contour is not None and regions.ask_contours(tree)}

    def dates_of_run(self) -> set[str]:
        """List the columns that are made of the time of this run and of nothing else that could differ between rows."""
        return {name for name, tree in self.items() if is_made_of_run_time(tree)}

    def value(self, name: str, asked: Place | None, what: str) -> Expr:
        """Compile the final tree of a target column, once."""
        if name in self.trees:
            tree = self.trees[name]
            if tree is None:
                raise Broken
            return tree
        faults = self.names.faults
        if name in self.chain:
            cycle = [*self.chain[self.chain.index(name) :], name]
            if asked is not None:
                faults.error(f"{what}: {' needs '.join('target.' + step for step in cycle)}: a cycle", asked)
            raise Broken
        if (
            asked is not None
            and self.spec.flags is not None
            and not self.spec.flags.given
            and name == self.spec.flags.column
        ):
            faults.error(
                f"{what}: {name} is not known before all other columns are: rules set it",
                asked,
                "say the condition itself",
            )
            raise Broken
        if name not in self.order:
            if asked is not None:
                faults.error(f"{what}: the table has no column {name!r}", asked, nearest(name, self.order))
            raise Broken
        self.chain.append(name)
        self.trees[name] = None
        try:
            del self.trees[name]
            tree = self._make(name)
        except Broken:
            self.trees[name] = None
            raise
        finally:
            self.chain.pop()
        self.trees[name] = tree
        return tree

    def _make(self, name: str) -> Expr:
        names = self.names
        setting = self.settings.get(name)
        if setting is None and name in self.defaults and self.names.find(Ident(name)) is None:
            setting = self.defaults[name]
        column = self.declared.get(name)
        inside = (
            f".granules[{self.granule.gid}]" if self.granule is not None and setting in self.granule.settings else ""
        )
        where = f"{names.what}{inside}.{setting.how}.{name}" if setting is not None else f"{names.what}.columns.{name}"
        place = setting.place if setting is not None else self.spec.places.get(name, self.spec.place)
        tree, meta, copy = self._raw(name, setting, column, where, place)
        if self.spec.embargo is not None and self.spec.embargo.column == name:
            tree, meta = released(self.spec.embargo, names, self, tree, meta)
        column = self._described(name, column, meta, copy)
        self.described[name] = column
        self.origins[name] = names.origins(meta)
        converted = self._converted(tree, meta, column, where, place)
        self._note(name, tree, converted, meta, column, place)
        return converted

    def _raw(
        self, name: str, setting: Setting | None, column: Column | None, where: str, place: Place
    ) -> tuple[Expr, Meta, Column | None]:
        """Find the value before conversion, its metadata, and the source column if it is one unchanged."""
        names = self.names
        if setting is None or (setting is self.defaults.get(name) and name in regions.FILLED):
            source = names.find(Ident(name))
            if source is None and name in regions.FILLED and self._of_contour():
                made = regions.follows(name, *self.contour)  # type: ignore[misc]
                return made, names.typed(made, written("", place), where), None
        if setting is None:
            if source is None:
                return self._absent(name, column, where, place)
            tree: Expr = trees.name(source.name)
            return tree, names.typed(tree, written("", place), where), source
        if setting.how == "set":
            tree = self._constant(setting, column, where)
        elif setting.how == "text":
            tree = self._template(written(setting.value, setting.place), where)
        elif setting.how == "lookup":
            tree = self._lookup(setting, column, where)
        else:
            tree, meta = names.bound(written(setting.value, setting.place), where, self)
            if name == regions.OUTLINE:
                self.contour = regions.asked(tree, meta)
            if (asked := regions.drawn(tree, meta, column.type if column is not None else None)) is not None:
                return asked, names.typed(asked, written("", place), where), None
            return tree, meta, meta.column if isinstance(tree, ColumnRef) else None
        return tree, names.typed(tree, written("", place), where), None

    def _of_contour(self) -> bool:
        """Check whether the table's outline is made of a contour."""
        if regions.OUTLINE in self.order and regions.OUTLINE not in self.chain and self.contour is None:
            self.value(regions.OUTLINE, None, "")
        return self.contour is not None

    def _absent(self, name: str, column: Column | None, where: str, place: Place) -> tuple[Expr, Meta, None]:
        embargo = self.spec.embargo  # makes a date for rows that have none themselves
        if column is not None and (
            (column.std and not column.required) or (embargo is not None and embargo.column == name)
        ):
            return trees.NULL, Meta(column.type, constant=True), None
        names = self.names
        known = [item.name for item in names.real]
        remedy = nearest(name, known)
        remedy = (
            f"write under 'map': {name}: {remedy[14:-2]}"
            if remedy
            else f"set it under set, text, map or lookup; the source has: {some(known)}"
        )
        names.faults.error(
            f"{where}: nothing gives this column a value, and the source has no column {name!r}", place, remedy
        )
        raise Broken

    def _constant(self, setting: Setting, column: Column | None, where: str) -> Expr:
        value = written(setting.value, setting.place)
        if column is None or "type" not in self.spec.given.get(column.name, ()):
            source = self.names.find(Ident(setting.column))
            column = Column(name=setting.column, type=source.type if source is not None else STRING)
        tree = constant(value, column, where, self.names.faults)
        if tree is None:
            raise Broken
        return tree

    def _lookup(self, setting: Setting, column: Column | None, where: str) -> Expr:
        names = self.names
        if "from" not in setting.value:
            raise Broken
        keys = [names.bound(written(text, setting.place), f"{where}.from", self) for text in setting.value["from"]]
        key, meta = keys[0]
        origins = names.origins(meta)
        if len(keys) > 1:
            for _, one in keys:
                if not (one.type.is_string or one.type.is_integer):
                    names.faults.error(
                        f"{where}.from: one of several keys is text or a whole number, not {one.type}", setting.place
                    )
                    raise Broken
            origins = frozenset().union(*(names.origins(one) for _, one in keys))
            key = joined_keys([trees.text(tree, one) for tree, one in keys])
            meta = Meta(STRING)
        names.used |= origins
        typed = column if column is not None and "type" in self.spec.given.get(column.name, ()) else None
        tree = self.lookups.tree(setting, key, meta, origins, typed, where)
        if tree is None:
            raise Broken
        return tree

    def _template(self, template: Written, where: str) -> Expr:
        names = self.names
        parts: list[Expr] = []
        for part in holes(template, where, names.faults):
            if isinstance(part, str):
                parts.append(Literal(part))
                continue
            tree = self._hole(part, template, where)
            meta = names.typed(tree, template, where, part.offset)
            if part.spec and is_time_format(part.spec):
                if not meta.type.is_timestamp:
                    names.faults.error(
                        f"{where}: {{{part.text}:{part.spec}}} needs a timestamp, not {meta.type}",
                        template.at(part.offset),
                        f"write {{FROM_JD({part.text}):{part.spec}}}, FROM_MJD or parse_time, as the value is",
                    )
                    raise Broken
                parts.append(trees.formatted_time(tree, part.spec))
            elif part.spec:
                if not meta.type.is_numeric:
                    names.faults.error(
                        f"{where}: {{{part.text}:{part.spec}}} needs a number, not {meta.type}",
                        template.at(part.offset),
                        f"write {{CAST({part.text} AS BIGINT):{part.spec}}}" if part.spec.endswith("d") else "",
                    )
                    raise Broken
                parts.append(trees.formatted(tree, part.spec))
            else:
                parts.append(trees.text(tree, meta))
        return trees.joined(parts) if parts else Literal("")

    def _hole(self, part: Hole, template: Written, where: str) -> Expr:
        names = self.names
        if part.name is not None:
            exact = names.find(Ident(part.name, quoted=True))  # DATE-OBS, file.path
            if exact is not None:
                return trees.name(exact.name, 0)
        tree = inner(template, part, where, names.faults)
        if tree is None:
            raise Broken
        return names.expanded(tree, template, where, self, part.offset)

    def _described(self, name: str, column: Column | None, meta: Meta, copy: Column | None) -> Column:
        """Complete what the descriptor says by what the value brings along."""
        if column is None:
            column = Column(name=name)
        given = self.spec.given.get(name, frozenset())
        changes: dict[str, Any] = {}
        others = self.spec.types.get(name)
        if others is not None and self.lead is not None:
            changes["type"] = self.lead.described[name].type
        elif "type" not in given or (others is not None and meta.type.xtype in others):
            changes["type"] = meta.type
        if "unit" not in given and others is None:
            changes["unit"] = _vounit(meta.unit)
        if copy is not None:
            for key in INHERITED:
                # roles of a standard's columns are the standard's
                if key not in given and getattr(column, key) is None and not (key == "utype" and column.std):
                    changes[key] = getattr(copy, key)
            if changes.get("ucd"):
                changes["ucd"] = (
                    modern_ucd(changes["ucd"]) or changes["ucd"]
                )  # UCD1 of old tables; what is none stays as the source says, and is told
        elif "ucd" not in given and column.ucd is None and meta.column is not None:
            changes["ucd"] = meta.ucd
        return column.having(**changes)

    def _converted(self, tree: Expr, meta: Meta, column: Column, where: str, place: Place) -> Expr:
        """Insert the conversion of unit and type."""
        faults = self.names.faults
        if meta.unit and column.unit and meta.type.is_numeric and not units.same(meta.unit, column.unit):
            if not units.convertible(meta.unit, column.unit):
                faults.error(
                    f"{where}: a value in {meta.unit} cannot be converted to {column.unit}",
                    place,
                    f"correct the unit, or convert it in an expression; where a formula's factor does that: without_unit(x), {column.unit} is then taken as said",
                )
                raise Broken
            self._warn_of_two_conversions(tree, meta.unit, column.unit, where, place)
            # a descriptor may write m.s-1, a query may not
            tree = Function("IN_UNIT", (tree, Literal(units.check(column.unit))))
            meta = self.names.typed(tree, written("", place), where)
        elif column.unit and meta.unit is None and isinstance(tree, ColumnRef):
            said = header_unit(tree.name.name)
            if said is not None and units.convertible(said, column.unit) and not units.same(said, column.unit):
                tree = Binary("*", trees.cast(tree, meta, FLOAT64), Literal(units.factor(said, column.unit)))
                meta = self.names.typed(tree, written("", place), where)
        try:
            return trees.cast(tree, meta, column.type, self._frame(column))
        except trees.Unfit as error:
            faults.error(f"{where}: {error.message}", place, error.remedy)
            raise Broken from None

    def _frame(self, column: Column) -> str:
        """Name the celestial frame of a column as STC-S does; empty for others, which it has no word for."""
        system = next((frame.system for frame in self.spec.table.frames if frame.id == column.frame), None)
        return system if system in frames.CELESTIAL else ""

    def _warn_of_two_conversions(self, tree: Expr, said: str, wanted: str, where: str, place: Place) -> None:
        """Warn of ``x / 3600`` where x is in arcsec and the column in deg: the value would be divided twice."""
        node = twice(tree, said, wanted)
        if node is not None:
            number = node.right.value if isinstance(node.right, Literal) else ""
            self.names.faults.warning(
                f"{where}: the value is in {said} and becomes {wanted} by itself; {node.op} {number} does it once more",
                place,
                f"leave {node.op} {number} out",
            )

    def _note(self, name: str, tree: Expr, converted: Expr, meta: Meta, column: Column, place: Place) -> None:
        """Remember plain copies and single conversions; everything else reads its columns in the query."""
        source = meta.column.name if isinstance(tree, ColumnRef) and meta.column is not None else None
        if isinstance(converted, Function) and converted.name == "POLYGON_OF" and converted.args[0] is tree:
            message = f"{name}: this is not one polygon in the column's frame; with columns: {{{name}: {{type: 'adql:REGION'}}}} all regions are kept as text"
            asked = source or min(self.origins[name], default=name)
            self.readings.append(
                Reading(
                    name=f"read.{name}",
                    message=message,
                    severity="error",
                    given=tree,
                    made=converted,
                    source=asked,
                    place=place,
                    region=meta.type.xtype is not None,
                )
            )
            self.names.used |= self.origins[name]
            return
        simple = (meta.type.is_numeric or meta.type.is_string) and (column.type.is_numeric or column.type.is_string)
        if source is None or source in self.names.call_origins:
            self.names.used |= self.origins[name]
        elif converted is tree or (simple and isinstance(converted, Cast) and converted.operand is tree):
            self.copies[name] = source
        else:
            self.conversions[name] = source
            self.names.used.add(source)
            if meta.type.is_string:
                message = f"{name}: the text cannot be read as {column.type}"
                self.readings.append(
                    Reading(
                        name=f"read.{name}",
                        message=message,
                        severity="error",
                        given=tree,
                        made=converted,
                        source=source,
                        place=place,
                    )
                )


def _vounit(unit: str | None) -> str | None:
    if unit is None:
        return None
    try:
        return units.check(unit) or None
    except ValueError:
        return unit
