"""One row in each stretch of time: the first one of every hour, of each wavelength, ...; a choice of rows that every count and plot follows."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hven.adql import tree
from hven.errors import UserError
from hven.model.table import SECONDS
from hven.query.epn import JULIAN, MODIFIED

if TYPE_CHECKING:
    from hven.model.table import Column, Table

UNITS = {"s": 1.0, "min": 60.0, "h": 3600.0, "d": 86_400.0}
_LENGTH = re.compile(r"(\d+(?:\.\d*)?|\.\d+)\s*(s|min|h|d)", re.IGNORECASE)
REMEDY = "write a length of time in s, min, h or d, and after a comma of what each has its own row: 1 h,wavelength"
SLACK = 0.0005  # seconds: a Julian date of a whole hour may lie 40 microseconds before it


@dataclass(frozen=True, slots=True, kw_only=True)
class Every:
    """How often a row is wanted: `length` in `unit`, and the columns each of whose values has its own row."""

    length: float
    unit: str
    each: tuple[str, ...] = ()

    def __str__(self) -> str:
        return ",".join([f"{self.length:g} {self.unit}", *self.each])

    @property
    def seconds(self) -> float:
        """The length of a stretch."""
        return self.length * UNITS[self.unit]


def reckoned(column: Column) -> str:
    """Say how a column counts time: ``stamp``, ``JD`` (EPN-TAP's times), ``MJD`` (ObsCore's); nothing: it is no date that a person would write."""
    if column.type.is_timestamp:
        return "stamp"
    if not column.type.is_numeric or column.type.is_array or column.unit != "d":
        return ""
    return "JD" if column.name.lower() in JULIAN else "MJD" if column.name.lower() in MODIFIED else ""


def timed(table: Table) -> Column | None:
    """Find the time of a table's rows: where they begin, as a rule."""
    found = []
    for column in table.columns:
        ucd = (column.ucd or "").lower()
        if column.hidden or column.type.is_array or not (column.type.is_timestamp or (column.type.is_numeric and ucd.startswith("time."))):
            continue
        if not column.type.is_timestamp and (column.unit or "") not in SECONDS:
            continue
        place = next((at for at, start in enumerate(("time.start", "time.epoch", "time")) if ucd.startswith(start)), None)
        if (
            place is not None
            and "time.duration" not in ucd
            and "interval" not in ucd
            and not ucd.startswith(("time.creation", "time.release", "time.processing"))
        ):
            found.append((place, column.rank, column))
    return min(found, key=lambda one: one[:2])[2] if found else None


def read(text: str, table: Table) -> Every:
    """Read ``1 h`` or ``1 h,wavelength``.

    Raises
    ------
    UserError
        It is no length of time, or the table has no such column, no time, or no key of one column.
    """
    length, *each = (part.strip() for part in text.split(","))
    found = _LENGTH.fullmatch(length)
    if found is None or not 0 < float(found[1]) * UNITS[found[2].lower()] <= 1e10:
        raise UserError(f"{length[:40]!r} is no length of time", remedy=REMEDY)
    known = {column.name.lower(): column.name for column in table.columns if not column.hidden}
    if lacking := [name for name in each if name.lower() not in known]:
        raise UserError(f"there is no column {lacking[0][:60]}", remedy=REMEDY)
    if timed(table) is None or len(table.primary) != 1:
        raise UserError("rows of this table cannot be thinned: that needs a time, and a key of one column", remedy="leave the cadence out")
    return Every(length=float(found[1]), unit=found[2].lower(), each=tuple(dict.fromkeys(known[name.lower()] for name in each)))


def thinned(table: Table, every: Every, where: tree.Expr | None) -> tree.Expr:
    """Give the condition that a row is the first of its stretch, among those that `where` leaves; stretches begin at whole multiples in UTC."""
    column = timed(table)
    if column is None or len(table.primary) != 1:
        raise UserError("rows of this table cannot be thinned", remedy="leave the cadence out")
    key, when = _ref(table.primary[0]), _ref(column.name)
    days: tree.Expr = when
    scale = SECONDS.get(column.unit or "", 86_400.0)
    if column.type.is_timestamp:
        days, scale = tree.Function("IVO_TO_MJD", (when,)), 86_400.0
    elif reckoned(column) == "JD":
        days = tree.Binary("-", when, tree.Literal(0.5))  # days of Julian dates begin at noon
    stretches = tree.Binary("*", days, tree.Literal(scale / every.seconds))
    stretch = tree.Function("FLOOR", (tree.Binary("+", stretches, tree.Literal(SLACK / every.seconds)),))
    order = (tree.OrderItem(when), tree.OrderItem(key))
    number = tree.Window(tree.Function("ROW_NUMBER"), (*(_ref(name) for name in every.each), stretch), order)
    there = tree.IsNull(when, negated=True)
    test = tree.conjunction(where, there)
    source = tree.TableRef((_ident(table.schema), _ident(table.name)))
    inner = tree.Select((tree.SelectItem(key, tree.Ident("k")), tree.SelectItem(number, tree.Ident("nth"))), source, where=test)
    first = tree.Compare("=", _ref("nth"), tree.Literal(1))
    chosen = tree.Select((tree.SelectItem(_ref("k")),), tree.Derived(tree.Query(inner), tree.Ident("stretches")), where=first)
    return tree.In(key, tree.Subquery(tree.Query(chosen)))


def _ident(name: str) -> tree.Ident:
    return tree.Ident(name, quoted=name != name.lower())


def _ref(name: str) -> tree.ColumnRef:
    return tree.ColumnRef(_ident(name))
