"""One row for each step of time.

The nearest to every hour, of each wavelength, ...; a choice of rows that every count and plot follows.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from hven.adql import syntax_tree
from hven.model.errors import UserError, format_message
from hven.model.table import MJD_EPOCH, SECONDS_PER_UNIT

if TYPE_CHECKING:
    from collections.abc import Collection

    from hven.model.table import Column, Table

OFFERED_STEPS = (
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
UNIT_SECONDS = {"s": 1.0, "min": 60.0, "h": 3600.0, "d": 86_400.0}
_STEP_PATTERN = re.compile(r"(\d+(?:\.\d*)?|\.\d+)\s*(s|min|h|d)", re.IGNORECASE)
CADENCE_REMEDY = (
    "write a length of time in s, min, h or d, and after a comma of what each has its own row: 1 h,wavelength"
)
# seconds: distances that differ by less are equal; a Julian date of a whole hour may lie 40 microseconds before it
TIME_TOLERANCE_SECONDS = 0.001


@dataclass(frozen=True, slots=True, kw_only=True)
class Cadence:
    """How often a row is wanted: `step` in `unit`, and the columns each of whose values has its own row."""

    step: float
    unit: str
    group_columns: tuple[str, ...] = ()

    def __str__(self) -> str:
        return ",".join([f"{self.step:g} {self.unit}", *self.group_columns])

    @property
    def step_seconds(self) -> float:
        """The length of a step."""
        return self.step * UNIT_SECONDS[self.unit]


def find_time_column(table: Table) -> Column | None:
    """Find the time of a table's rows: where they begin, as a rule."""
    candidates = []
    for column in table.columns:
        ucd = (column.ucd or "").lower()
        if (
            column.hidden
            or column.type.is_array
            or not (column.type.is_timestamp or (column.type.is_numeric and ucd.startswith("time.")))
        ):
            continue
        if not column.type.is_timestamp and (column.unit or "") not in SECONDS_PER_UNIT:
            continue
        rank = next(
            (at for at, start in enumerate(("time.start", "time.epoch", "time")) if ucd.startswith(start)), None
        )
        if (
            rank is not None
            and "time.duration" not in ucd
            and "interval" not in ucd
            and not ucd.startswith(("time.creation", "time.release", "time.processing"))
        ):
            candidates.append((rank, column.rank, column))
    if candidates:
        return min(candidates, key=lambda candidate: candidate[:2])[2]
    return None


def parse_cadence(text: str, table: Table) -> Cadence:
    """Read ``1 h`` or ``1 h,wavelength``.

    Raises
    ------
    UserError
        It is no length of time, or the table has no such column, no time, or no key of one column.
    """
    length, *each = (part.strip() for part in text.split(","))
    step_match = _STEP_PATTERN.fullmatch(length)
    if step_match is None or not 0 < float(step_match[1]) * UNIT_SECONDS[step_match[2].lower()] <= 1e10:
        raise UserError(format_message("{text!r} is no length of time", length[:40]), remedy=CADENCE_REMEDY)
    column_names = {column.name.lower(): column.name for column in table.columns if not column.hidden}
    lacking = [name for name in each if name.lower() not in column_names]
    if lacking:
        raise UserError(format_message("there is no column {name}", lacking[0][:60]), remedy=CADENCE_REMEDY)
    if find_time_column(table) is None or len(table.primary) != 1:
        raise UserError(
            "rows of this table cannot be thinned: that needs a time, and a key of one column",
            remedy="leave the cadence out",
        )
    step = float(step_match[1])
    unit = step_match[2].lower()
    group_columns = tuple(dict.fromkeys(column_names[name.lower()] for name in each))
    return Cadence(
        step=step,
        unit=unit,
        group_columns=group_columns,
    )


def build_cadence_condition(table: Table, cadence: Cadence, condition: syntax_tree.Expr | None) -> syntax_tree.Expr:
    """Return the condition that a row is the nearest to its step, of those that `condition` leaves.

    Of two as near the earlier one.

    Steps are counted from where `condition` begins in time, else from whole multiples in UTC, and end where it ends. A
    row belongs to the step that is no more than half a step away; one between two of them to the earlier.
    """
    column = find_time_column(table)
    if column is None or len(table.primary) != 1:
        raise UserError("rows of this table cannot be thinned", remedy="leave the cadence out")
    key = _build_column_ref(table.primary[0])
    time_column = _build_column_ref(column.name)
    time: syntax_tree.Expr = (
        syntax_tree.FunctionCall("IVO_TO_MJD", (time_column,)) if column.type.is_timestamp else time_column
    )
    scale = (
        86_400.0 if column.type.is_timestamp else SECONDS_PER_UNIT.get(column.unit or "", 86_400.0)
    ) / cadence.step_seconds
    slack = TIME_TOLERANCE_SECONDS / 2 / cadence.step_seconds
    names = {column.name.lower(), re.sub(r"min$", "max", column.name.lower())}
    begin = _find_time_bound(condition, names, is_upper=False)
    end = _find_time_bound(condition, names, is_upper=True)
    # days of Julian dates begin at noon
    if column.epoch is None:
        origin = 0.0
    else:
        origin = MJD_EPOCH - column.epoch
    if begin is not None:
        origin = begin[0]
    since = syntax_tree.BinaryOperation("-", time, syntax_tree.Literal(origin)) if origin else time
    steps = syntax_tree.BinaryOperation("*", since, syntax_tree.Literal(scale))
    step = syntax_tree.FunctionCall(
        "CEILING", (syntax_tree.BinaryOperation("-", steps, syntax_tree.Literal(0.5 + slack)),)
    )
    tests = [condition, syntax_tree.NullPredicate(time_column, negated=True)]
    if begin is not None:
        tests.append(syntax_tree.Comparison(">=", step, syntax_tree.Literal(0)))
    if end is not None:
        last = (end[0] - origin) * scale
        tests.append(
            syntax_tree.Comparison(
                "<=", step, syntax_tree.Literal(math.floor(last + slack) if end[1] else math.ceil(last - slack) - 1)
            )
        )
    distance = syntax_tree.BinaryOperation(
        "*",
        syntax_tree.FunctionCall("ABS", (syntax_tree.BinaryOperation("-", steps, step),)),
        syntax_tree.Literal(cadence.step_seconds / TIME_TOLERANCE_SECONDS),
    )
    # the window is over columns alone: the first of each then comes of one grouping, and no row is sorted
    each = {f"of{at}": _build_column_ref(name) for at, name in enumerate(cadence.group_columns)}
    selected = {
        "k": key,
        "t": time_column,
        "step": step,
        "away": syntax_tree.FunctionCall("ROUND", (distance,)),
        **each,
    }
    identifier = _build_identifier(table.schema)
    source = syntax_tree.TableRef((identifier, _build_identifier(table.name)))
    items = tuple(syntax_tree.SelectItem(expr, syntax_tree.Ident(name)) for name, expr in selected.items())
    where = syntax_tree.join_conditions(*tests)
    stepped = syntax_tree.DerivedTable(
        syntax_tree.Query(syntax_tree.Select(items, source, where=where)),
        syntax_tree.Ident("stepped"),
    )
    order = tuple(syntax_tree.OrderItem(_build_column_ref(name)) for name in ("away", "t", "k"))
    number = syntax_tree.WindowExpression(
        syntax_tree.FunctionCall("ROW_NUMBER"), tuple(_build_column_ref(name) for name in (*each, "step")), order
    )
    chosen_of = (
        syntax_tree.SelectItem(_build_column_ref("k")),
        syntax_tree.SelectItem(number, syntax_tree.Ident("nth")),
    )
    inner = syntax_tree.Select(chosen_of, stepped)
    first = syntax_tree.Comparison("=", _build_column_ref("nth"), syntax_tree.Literal(1))
    chosen = syntax_tree.Select(
        (syntax_tree.SelectItem(_build_column_ref("k")),),
        syntax_tree.DerivedTable(syntax_tree.Query(inner), syntax_tree.Ident("steps")),
        where=first,
    )
    return syntax_tree.InPredicate(key, syntax_tree.Subquery(syntax_tree.Query(chosen)))


def _find_time_bound(
    condition: syntax_tree.Expr | None, column_names: Collection[str], *, is_upper: bool
) -> tuple[float, bool] | None:
    """Find the least, or the greatest, time that a condition leaves to the columns of these names, and whether it leaves that one itself."""
    if isinstance(condition, syntax_tree.Conjunction | syntax_tree.Disjunction):
        bounds = [_find_time_bound(part, column_names, is_upper=is_upper) for part in condition.parts]
        ends = [bound for bound in bounds if bound is not None]
        if isinstance(condition, syntax_tree.Disjunction) and len(ends) < len(bounds):
            return None
        return (min if is_upper == isinstance(condition, syntax_tree.Conjunction) else max)(ends, default=None)
    if isinstance(condition, syntax_tree.BetweenPredicate) and not condition.negated:
        value = condition.operand
        limit = condition.high if is_upper else condition.low
        closed = True
    elif (
        isinstance(condition, syntax_tree.Comparison)
        and condition.op[0] in ("=<" if is_upper else "=>")
        and condition.op != "<>"
    ):
        value = condition.left
        limit = condition.right
        closed = "=" in condition.op
    else:
        return None
    if not (
        isinstance(value, syntax_tree.ColumnRef)
        and value.name.name.lower() in column_names
        and isinstance(limit, syntax_tree.Literal)
    ):
        return None
    if isinstance(limit.value, str):  # of timestamps
        # UTC throughout
        return (datetime.fromisoformat(limit.value) - datetime(1858, 11, 17)) / timedelta(days=1), closed  # noqa: DTZ001
    if isinstance(limit.value, int | float):
        return (float(limit.value), closed)
    return None


def _build_identifier(name: str) -> syntax_tree.Ident:
    quoted = name != name.lower()
    return syntax_tree.Ident(name, quoted=quoted)


def _build_column_ref(name: str) -> syntax_tree.ColumnRef:
    return syntax_tree.ColumnRef(_build_identifier(name))
