"""One row for each step of time: the nearest to every hour, of each wavelength, ...; a choice of rows that every count and plot follows."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from hven.adql import tree
from hven.model.errors import UserError, say
from hven.model.table import MJD, SECONDS

if TYPE_CHECKING:
    from collections.abc import Collection

    from hven.model.table import Column, Table

LENGTHS = (
    "12 s",
    "1 min",
    "2 min",
    "10 min",
    "30 min",
    "1 h",
    "2 h",
    "6 h",
    "12 h",
    "1 d",
)  # that are offered: those of MEDOC's SDO
UNITS = {"s": 1.0, "min": 60.0, "h": 3600.0, "d": 86_400.0}
_LENGTH = re.compile(r"(\d+(?:\.\d*)?|\.\d+)\s*(s|min|h|d)", re.IGNORECASE)
REMEDY = "write a length of time in s, min, h or d, and after a comma of what each has its own row: 1 h,wavelength"
# seconds: distances that differ by less are equal; a Julian date of a whole hour may lie 40 microseconds before it
ALIKE = 0.001


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
        """The length of a step."""
        return self.length * UNITS[self.unit]


def timed(table: Table) -> Column | None:
    """Find the time of a table's rows: where they begin, as a rule."""
    found = []
    for column in table.columns:
        ucd = (column.ucd or "").lower()
        if (
            column.hidden
            or column.type.is_array
            or not (column.type.is_timestamp or (column.type.is_numeric and ucd.startswith("time.")))
        ):
            continue
        if not column.type.is_timestamp and (column.unit or "") not in SECONDS:
            continue
        place = next(
            (at for at, start in enumerate(("time.start", "time.epoch", "time")) if ucd.startswith(start)), None
        )
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
        raise UserError(say("{text!r} is no length of time", length[:40]), remedy=REMEDY)
    known = {column.name.lower(): column.name for column in table.columns if not column.hidden}
    if lacking := [name for name in each if name.lower() not in known]:
        raise UserError(say("there is no column {name}", lacking[0][:60]), remedy=REMEDY)
    if timed(table) is None or len(table.primary) != 1:
        raise UserError(
            "rows of this table cannot be thinned: that needs a time, and a key of one column",
            remedy="leave the cadence out",
        )
    return Every(
        length=float(found[1]), unit=found[2].lower(), each=tuple(dict.fromkeys(known[name.lower()] for name in each))
    )


def thinned(table: Table, every: Every, where: tree.Expr | None) -> tree.Expr:
    """Return the condition that a row is the nearest to its step, of those that `where` leaves; of two as near the earlier one.

    Steps are counted from where `where` begins in time, else from whole multiples in UTC, and end where it ends. A row belongs to the
    step that is no more than half a step away; one between two of them to the earlier.
    """
    column = timed(table)
    if column is None or len(table.primary) != 1:
        raise UserError("rows of this table cannot be thinned", remedy="leave the cadence out")
    key, when = _ref(table.primary[0]), _ref(column.name)
    time: tree.Expr = tree.Function("IVO_TO_MJD", (when,)) if column.type.is_timestamp else when
    scale = (86_400.0 if column.type.is_timestamp else SECONDS.get(column.unit or "", 86_400.0)) / every.seconds
    slack = ALIKE / 2 / every.seconds
    names = {column.name.lower(), re.sub(r"min$", "max", column.name.lower())}
    begin, end = _bound(where, names, upper=False), _bound(where, names, upper=True)
    origin = 0.0 if column.epoch is None else MJD - column.epoch  # days of Julian dates begin at noon
    if begin is not None:
        origin = begin[0]
    since = tree.Binary("-", time, tree.Literal(origin)) if origin else time
    steps = tree.Binary("*", since, tree.Literal(scale))
    step = tree.Function("CEILING", (tree.Binary("-", steps, tree.Literal(0.5 + slack)),))
    tests = [where, tree.IsNull(when, negated=True)]
    if begin is not None:
        tests.append(tree.Compare(">=", step, tree.Literal(0)))
    if end is not None:
        last = (end[0] - origin) * scale
        tests.append(
            tree.Compare("<=", step, tree.Literal(math.floor(last + slack) if end[1] else math.ceil(last - slack) - 1))
        )
    away = tree.Binary("*", tree.Function("ABS", (tree.Binary("-", steps, step),)), tree.Literal(every.seconds / ALIKE))
    # the window is over columns alone: the first of each then comes of one grouping, and no row is sorted
    each = {f"of{at}": _ref(name) for at, name in enumerate(every.each)}
    named = {"k": key, "t": when, "step": step, "away": tree.Function("ROUND", (away,)), **each}
    source = tree.TableRef((_ident(table.schema), _ident(table.name)))
    items = tuple(tree.SelectItem(expr, tree.Ident(name)) for name, expr in named.items())
    stepped = tree.Derived(
        tree.Query(tree.Select(items, source, where=tree.conjunction(*tests))), tree.Ident("stepped")
    )
    order = tuple(tree.OrderItem(_ref(name)) for name in ("away", "t", "k"))
    number = tree.Window(tree.Function("ROW_NUMBER"), tuple(_ref(name) for name in (*each, "step")), order)
    chosen_of = (tree.SelectItem(_ref("k")), tree.SelectItem(number, tree.Ident("nth")))
    inner = tree.Select(chosen_of, stepped)
    first = tree.Compare("=", _ref("nth"), tree.Literal(1))
    chosen = tree.Select(
        (tree.SelectItem(_ref("k")),), tree.Derived(tree.Query(inner), tree.Ident("steps")), where=first
    )
    return tree.In(key, tree.Subquery(tree.Query(chosen)))


def _bound(test: tree.Expr | None, names: Collection[str], *, upper: bool) -> tuple[float, bool] | None:
    """Find the least, or the greatest, time that a condition leaves to the columns of these names, and whether it leaves that one itself."""
    if isinstance(test, tree.And | tree.Or):
        found = [_bound(part, names, upper=upper) for part in test.parts]
        ends = [one for one in found if one is not None]
        if isinstance(test, tree.Or) and len(ends) < len(found):
            return None
        return (min if upper == isinstance(test, tree.And) else max)(ends, default=None)
    if isinstance(test, tree.Between) and not test.negated:
        value, limit, closed = test.operand, test.high if upper else test.low, True
    elif isinstance(test, tree.Compare) and test.op[0] in ("=<" if upper else "=>") and test.op != "<>":
        value, limit, closed = test.left, test.right, "=" in test.op
    else:
        return None
    if not (isinstance(value, tree.ColumnRef) and value.name.name.lower() in names and isinstance(limit, tree.Literal)):
        return None
    if isinstance(limit.value, str):  # of timestamps
        return (datetime.fromisoformat(limit.value) - datetime(1858, 11, 17)) / timedelta(days=1), closed  # noqa: DTZ001  (UTC throughout)
    return (float(limit.value), closed) if isinstance(limit.value, int | float) else None


def _ident(name: str) -> tree.Ident:
    return tree.Ident(name, quoted=name != name.lower())


def _ref(name: str) -> tree.ColumnRef:
    return tree.ColumnRef(_ident(name))
