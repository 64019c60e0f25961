"""The state of a search as an address has it: conditions, place, words, order, columns -> an ADQL tree, and the address again.

A condition is ``column=value`` in the language of EPN-TAP parameters (`hven.portal.conditions`); names that begin with ``_`` are the portal's
own. Whatever cannot be understood becomes a `Fault` of its field: the rest of the search still runs.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from hven.adql import tree
from hven.adql.text import write
from hven.model.errors import HvenError, UserError, say
from hven.portal import conditions as epn
from hven.portal._condition_words import nearest
from hven.portal._explore import cadence, notation
from hven.portal._explore.column_labels import NAMES
from hven.portal._explore.fields import choices, chosen, paired

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from hven.model.table import Column, Table

OWN = "_"  # what a name begins with that is no column
WORDS, NEAR, INSIDE, SORT, COLUMNS, ROW, UNIT, EVERY, FILES = (
    "_q",
    "_near",
    "_in",
    "_sort",
    "_cols",
    "_row",
    "_unit.",
    "_every",
    "_files",
)
COUNTED = tree.SelectItem(tree.Function("COUNT", star=True), tree.Ident("n"))
SEARCHED = 8  # columns of text that free words are looked for in
MOST_WORDS = 30  # of free text
MOST_LISTED = 500  # columns named in one parameter, conditions on one column
PORTALS = frozenset(
    {WORDS, NEAR, INSIDE, SORT, COLUMNS, ROW, EVERY, NAMES, FILES, "_look", "_view", "_map", "_plot", "_compare"}
)  # a column of such a name stands in quotes: "_row"=..
_NAMES = re.compile(r'(?:[^,"]|"(?:[^"]|"")*"?)+')
OPERATORS = ("!=", "<>", "<=", ">=", "<", ">", "!", "=")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What of a search could not be understood: the field's name, why, and what helps."""

    field: str
    message: str
    remedy: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Near:
    """A circle on the sphere of the table's positions: degrees; `name` if a resolver gave the centre, `said` a radius that was written as a length."""

    lon: float
    lat: float
    radius: float
    name: str = ""
    said: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """What is asked of one table.

    Attributes
    ----------
    conditions
        Name of a column, or of a pair ``x_min``/``x_max`` -> values as they were written; all must hold, of the values of one name any.
    tests
        The same as conditions of the query, in the same order; those with faults are left out.
    near, inside
        A circle, and a region as DALI writes it (``POLYGON 1 2 ..``).
    every
        One row for each step of time, of those that all else leaves.
    order
        Column and whether it descends.
    columns
        Which are shown, in this order; empty: the principal ones, and those that are searched.
    each
        Each file of an observation has its own line.
    rest
        Parameters of the panes: carried along, never looked at.
    wrong
        What was written into fields that have faults: a form shows it again, nothing else looks at it.
    """

    table: Table
    conditions: tuple[tuple[str, tuple[str, ...]], ...] = ()
    tests: tuple[tree.Expr, ...] = ()
    words: str = ""
    near: Near | None = None
    inside: str = ""
    every: cadence.Every | None = None
    order: tuple[tuple[str, bool], ...] = ()
    columns: tuple[str, ...] = ()
    units: tuple[tuple[str, str], ...] = ()
    row: str = ""
    each: bool = False
    rest: tuple[tuple[str, str], ...] = ()
    faults: tuple[Fault, ...] = field(default=(), compare=False)
    wrong: tuple[tuple[str, str], ...] = field(default=(), compare=False)

    def shown(self) -> tuple[Column, ...]:
        """Return the columns of an answer."""
        if self.columns:
            return tuple(self.table.column(name) for name in self.columns)
        asked = {name.lower() for name, _ in self.conditions}
        columns = [column for column in self.table.columns if not column.hidden]
        if asked - {one.name.lower() for one in columns}:
            pairs = paired(columns)
            asked |= {one.name.lower() for stem, *ends in pairs if stem in asked for one in ends}
        found = [one for one in columns if one.principal]
        if not found:
            return self.table.columns
        return tuple(one for one in columns if one.principal or one.name.lower() in asked)

    def where(self, *, without: str | None = None) -> tree.Expr | None:
        """Return the condition of the search; `without` leaves out those of one name, as the counts of its own choices want it."""
        parts = [test for (name, _), test in zip(self.conditions, self.tests, strict=True) if name != without]
        if self.words:
            parts += [_anywhere(self.table, word) for word in self.words.split()]
        if self.near is not None:
            parts.append(_within(self.table, self.near))
        if self.inside:
            parts.append(_inside(self.table, self.inside))
        test = tree.conjunction(*parts)
        return test if self.every is None else cadence.thinned(self.table, self.every, test)

    def query(
        self, *, columns: Sequence[str] | None = None, limit: int | None = None, offset: int | None = None
    ) -> tree.Query:
        """Return the query of the rows: `columns`, or those that are shown."""
        names = [column.name for column in self.shown()] if columns is None else list(columns)
        items = tuple(tree.SelectItem(ref(name)) for name in names)
        order = tuple(tree.OrderItem(ref(name), descending=down) for name, down in self.order)
        return tree.Query(
            tree.Select(items, self.source(), where=self.where(), top=_number(limit)),
            order_by=order,
            offset=_number(offset),
        )

    def count(self) -> tree.Query:
        """Return the query of the number of rows."""
        return self.counting(self.where())

    def counting(self, where: tree.Expr | None) -> tree.Query:
        """Return the query of the number of rows under another condition."""
        return tree.Query(tree.Select((COUNTED,), self.source(), where=where))

    def source(self) -> tree.FromItem:
        """Return the table as FROM has it."""
        return tree.TableRef((_ident(self.table.schema), _ident(self.table.name)))

    def adql(self) -> str:
        """Write the query that the search stands for."""
        return write(self.query())

    def pairs(self) -> list[tuple[str, str]]:
        """Return the parameters of the address, in a settled order."""
        found = [
            (f'"{name}"' if name in PORTALS else name, value) for name, values in self.conditions for value in values
        ]
        found += [(WORDS, self.words)] if self.words else []
        if self.near is not None:
            centre = self.near.name or f"{self.near.lon!r},{self.near.lat!r}"
            found.append((NEAR, f"{centre},{self.near.said or repr(self.near.radius)}"))
        found += [(INSIDE, self.inside)] if self.inside else []
        found += [(EVERY, str(self.every))] if self.every is not None else []
        found += [(FILES, "each")] if self.each else []
        found += [(SORT, ",".join("-" * down + listed(name) for name, down in self.order))] if self.order else []
        found += [(COLUMNS, ",".join(map(listed, self.columns)))] if self.columns else []
        found += [(UNIT + name, unit) for name, unit in self.units]
        found += [(ROW, self.row)] if self.row else []
        return [*found, *self.rest]

    def address(self) -> str:
        """Write the search as the query of an address."""
        return urlencode(self.pairs())

    def having(self, **changes: object) -> Search:
        """Return the search with other attributes."""
        return replace(self, **changes)  # type: ignore[arg-type]


def read(
    pairs: Iterable[tuple[str, str]],
    table: Table,
    *,
    locate: Callable[[str], tuple[float, float]] | None = None,
    girth: Callable[[], float | None] | None = None,
) -> Search:
    """Read the parameters of an address.

    Parameters
    ----------
    pairs
        Names and values, in their order; an empty value says nothing, as fields of forms do that were left empty.
    locate
        Gives the position of a name, in degrees; it may raise a `UserError`.
    girth
        Gives the radius in km of the body that the table's places are on, for radii that are lengths.
    """
    reading = _Reading(table, locate, girth)
    for name, value in pairs:
        if value.strip():
            reading.take(name, value.strip())
    return reading.done()


def ref(name: str) -> tree.ColumnRef:
    """Name a column; capitals are meant as they stand, and what is in small letters reads better without quotes."""
    return tree.ColumnRef(_ident(name))


def _ident(name: str) -> tree.Ident:
    return tree.Ident(name, quoted=name != name.lower())


class _Reading:
    """Reads one address."""

    def __init__(
        self,
        table: Table,
        locate: Callable[[str], tuple[float, float]] | None,
        girth: Callable[[], float | None] | None,
    ) -> None:
        self.table, self.locate, self.girth = table, locate, girth
        self.known = {column.name.lower(): column.name for column in table.columns if not column.hidden}
        self.faults: list[Fault] = []
        self.wrong: list[tuple[str, str]] = []
        self.values: dict[str, list[str]] = {}
        self.search = Search(table=table)

    def take(self, name: str, value: str) -> None:
        """Read one parameter."""
        try:
            if name not in PORTALS and (not name.startswith(OWN) or unquoted(name).lower() in self.known):
                self.values.setdefault(self.known.get(unquoted(name).lower(), name), []).append(value)
            elif name == WORDS:
                words = value.split()
                self.search = self.search.having(words=" ".join(words[:MOST_WORDS]))
                if len(words) > MOST_WORDS:
                    self.faults.append(
                        Fault(
                            field=name,
                            message=say("{count:,} words", len(words)),
                            remedy=say("the first {most} are looked for", MOST_WORDS),
                        )
                    )
            elif name == NEAR:
                self.search = self.search.having(near=self._near(value))
            elif name == INSIDE:
                _inside(self.table, value)
                self.search = self.search.having(inside=value)
            elif name == EVERY:
                self.search = self.search.having(every=cadence.read(value, self.table))
            elif name == SORT:
                order = [
                    (self._column(SORT, one.removeprefix("-").removeprefix("+")), one.startswith("-"))
                    for one in _listed(value)
                ]
                once: dict[str, bool] = {}
                for one, down in order:  # the first mention of a column is the one that counts
                    once.setdefault(one, down)
                self.search = self.search.having(order=tuple((one, down) for one, down in once.items() if one))
            elif name == COLUMNS:
                more = [one for one in (self._column(COLUMNS, one) for one in _listed(value)) if one]
                self.search = self.search.having(columns=tuple(dict.fromkeys([*self.search.columns, *more])))
            elif name.startswith(UNIT):
                self._unit(name, value)
            elif name == FILES:
                self.search = self.search.having(each=_each(value))
            elif name == ROW:
                self.search = self.search.having(row=value)
            elif name in PORTALS:
                self.search = self.search.having(rest=(*self.search.rest, (name, value)))
            else:
                self.faults.append(
                    Fault(
                        field=name[:80],
                        message=say("no parameter {name}", name[:80]),
                        remedy=nearest(name[:80], sorted(PORTALS)),
                    )
                )
        except (UserError, HvenError) as error:
            self.faults.append(_fault(name, error))
            self.wrong.append((name, value))

    def done(self) -> Search:
        """Return what was read."""
        conditions, tests = [], []
        visible = self.table
        # a column that is not listed is not found by guessing its name
        if any(column.hidden for column in visible.columns):
            visible = replace(visible, columns=tuple(column for column in visible.columns if not column.hidden))
        for name, values in self.values.items():
            if len(values) > MOST_LISTED:
                remedy = say("{most} at most; many values stand in one condition, with commas", MOST_LISTED)
                self.faults.append(
                    Fault(
                        field=name[:80], message=say("{count:,} conditions on one column", len(values)), remedy=remedy
                    )
                )
                continue
            try:
                test = _any([epn.condition(visible, name, *_operated(value)) for value in values])
            except (UserError, HvenError) as error:
                self.faults.append(_fault(name, error))
                self.wrong += [(name, value) for value in values]
                continue
            conditions.append((name, tuple(values)))
            tests.append(test)
        return self.search.having(
            conditions=tuple(conditions), tests=tuple(tests), faults=tuple(self.faults), wrong=tuple(self.wrong)
        )

    def _column(self, field_: str, name: str) -> str:
        found = self.known.get(unquoted(name).lower())
        if found is None:
            self.faults.append(
                Fault(
                    field=field_,
                    message=say("there is no column {name}", name[:80]),
                    remedy=nearest(name[:80], sorted(self.known)),
                )
            )
            return ""
        return found

    def _unit(self, field_: str, unit: str) -> None:
        """Read the unit that a column is shown in."""
        name = self._column(field_, field_.removeprefix(UNIT))
        if not name:
            return
        if unit != (self.table.column(name).unit or "") and chosen(self.table.column(name), unit) is None:
            raise UserError(
                say("{name} cannot be shown in {unit!r}", name, unit[:80]),
                remedy=", ".join(choices(self.table.column(name))),
            )
        self.search = self.search.having(units=(*self.search.units, (name, unit)))

    def _near(self, value: str) -> Near:
        name, comma, radius = (part.strip() for part in value.rpartition(","))
        if not comma:
            name, radius = value, "1"  # degree, as in the form
        size, said = notation.angle(radius, self.girth), radius if notation.ground(radius) else ""
        if sphere(self.table) is None and footprint(self.table) is None:
            raise UserError("this table has no positions", remedy="leave the place out")
        place = notation.position(name)
        if place is not None:
            return Near(lon=place[0], lat=place[1], radius=size, said=said)
        if not name or self.locate is None:
            raise UserError(say("{name!r} is no position", name), remedy="write longitude,latitude,radius in degrees")
        lon, lat = self.locate(name)
        return Near(lon=lon, lat=lat, radius=size, name=name, said=said)


def _each(value: str) -> bool:
    """Read which lines there are: with `each`, one for each file of an observation."""
    if value != "each":
        raise UserError(say("{name}={value!r} is unknown", FILES, value[:40]), remedy="_files=each")
    return True


def _number(value: int | None) -> tree.Literal | None:
    return None if value is None else tree.Literal(value)


def listed(name: str) -> str:
    """Write a column's name as one of a list: in quotes, if it would be read as another one or as several."""
    plain = not set(name) & set(',"') and not name.startswith(("-", "+")) and name == name.strip()
    return name if plain else '"' + name.replace('"', '""') + '"'


def unquoted(name: str) -> str:
    """Read a column's name, in quotes or not."""
    name = name.strip()
    return name[1:-1].replace('""', '"') if len(name) > 2 and name[0] == name[-1] == '"' else name


def _listed(value: str) -> list[str]:
    return [one.strip() for one in _NAMES.findall(value) if one.strip()][:MOST_LISTED]


def _operated(value: str) -> tuple[str, str]:
    """Cut the operator off a value."""
    for operator in OPERATORS:
        if value.startswith(operator):
            return {"!": "!=", "<>": "!="}.get(operator, operator), value.removeprefix(operator).strip()
    return "=", value


def _any(tests: list[tree.Expr]) -> tree.Expr:
    return tests[0] if len(tests) == 1 else tree.Or(tuple(tests))


def _fault(name: str, error: Exception) -> Fault:
    message, remedy = (error.message, error.remedy) if isinstance(error, HvenError) else (str(error), "")
    return Fault(field=name, message=message, remedy=remedy)


def _anywhere(table: Table, word: str) -> tree.Expr:
    """Look for a word in the columns of text that matter most."""
    texts = sorted(
        (column for column in table.columns if column.type.is_string and not column.hidden),
        key=lambda column: column.rank,
    )[:SEARCHED]
    pattern = tree.Literal("%" + word.replace("%", "_") + "%")
    found: list[tree.Expr] = [tree.Like(ref(column.name), pattern, ignore_case=True) for column in texts]
    return _any(found) if found else tree.Compare("=", tree.Literal(1), tree.Literal(0))


def footprint(table: Table) -> Column | None:
    """Return the column of what rows cover."""
    return next((column for column in table.columns if column.name.lower() == "s_region" and not column.hidden), None)


def sphere(table: Table) -> tuple[str, str] | None:
    """Return the columns of longitude and latitude: the table's position on the sky, else points on a body (UCDs ``pos.bodyrc``)."""
    if table.position is not None:
        return table.position
    found = []
    for word in ("lon", "lat"):
        ucd = re.compile(rf"pos\.bodyrc\.{word}(?:;meta\.main)?", re.IGNORECASE)
        columns = (
            column for column in table.columns if column.type.is_numeric and not column.hidden and column.unit == "deg"
        )
        found.append(next((column.name for column in columns if ucd.fullmatch(column.ucd or "")), None))
    return (found[0], found[1]) if found[0] is not None and found[1] is not None else None


def _within(table: Table, near: Near) -> tree.Expr:
    centre = tree.Function("POINT", (tree.Literal(near.lon), tree.Literal(near.lat)))
    return _meets(table, tree.Function("CIRCLE", (centre, tree.Literal(near.radius))))


def _inside(table: Table, text: str) -> tree.Expr:
    """Read ``CIRCLE lon lat r``, ``POLYGON lon lat ..`` (DALI 1.1 section 3.3); ``POINT lon lat``: rows whose footprint holds it."""
    kind, _, rest = text.strip().partition(" ")
    try:
        numbers = [float(word) for word in rest.split()]
    except ValueError:
        numbers = []
    if not all(map(math.isfinite, numbers)) or (
        kind.upper() == "CIRCLE" and len(numbers) == 3 and not 0 <= numbers[2] <= 180
    ):
        raise UserError(
            say("{text!r} is no region: its numbers are too large", text[:60]),
            remedy="degrees; the radius of a circle is 0 to 180",
        )
    literals = tuple(tree.Literal(number) for number in numbers)
    if kind.upper() == "CIRCLE" and len(numbers) == 3:
        return _meets(table, tree.Function("CIRCLE", (tree.Function("POINT", literals[:2]), literals[2])))
    if kind.upper() == "POLYGON" and len(numbers) >= 6 and len(numbers) % 2 == 0:
        return _meets(table, tree.Function("POLYGON", literals))
    if kind.upper() == "POINT" and len(numbers) == 2:
        region = footprint(table)
        if region is None:
            raise UserError("rows of this table have no footprints", remedy="CIRCLE lon lat radius, in degrees")
        return tree.Compare(
            "=", tree.Literal(1), tree.Function("CONTAINS", (tree.Function("POINT", literals), ref(region.name)))
        )
    raise UserError(
        say("{text!r} is no region", text[:60]),
        remedy="CIRCLE lon lat radius, or POLYGON lon lat lon lat lon lat .., in degrees",
    )


def _meets(table: Table, shape: tree.Function) -> tree.Expr:
    region, point = footprint(table), sphere(table)
    if point is not None and (table.position is not None or region is None):
        lon, lat = point
        return tree.Compare(
            "=", tree.Literal(1), tree.Function("CONTAINS", (tree.Function("POINT", (ref(lon), ref(lat))), shape))
        )
    if region is None:
        raise UserError("this table has no positions", remedy="leave the place out")
    return tree.Compare("=", tree.Literal(1), tree.Function("INTERSECTS", (ref(region.name), shape)))
