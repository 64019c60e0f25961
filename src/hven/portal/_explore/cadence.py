"""Select one row for each step of time: the nearest to every hour, for each wavelength, and so on.

Every count and plot uses the same selection of rows.
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
    from collections.abc import Collection, Mapping

    from hven.model.table import Column, Table

# the steps that the form offers: those of MEDOC's SDO archive
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
)
UNIT_SECONDS = {"s": 1.0, "min": 60.0, "h": 3600.0, "d": 86_400.0}
_STEP_PATTERN = re.compile(r"(\d+(?:\.\d*)?|\.\d+)\s*(s|min|h|d)", re.IGNORECASE)
CADENCE_REMEDY = (
    "write a duration in s, min, h or d; to thin the rows for each value of a column separately, add a comma and the "
    "column's name: 1 h,wavelength"
)
# smaller differences count as equal: a Julian date of a whole hour may be 40 microseconds early
TIME_TOLERANCE_SECONDS = 0.001


@dataclass(frozen=True, slots=True, kw_only=True)
class Cadence:
    """A cadence: one row for each `step` in `unit`, and for each value of the group columns."""

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
    """Find the time column of a table; usually it is the begin of the rows."""
    candidates = []
    for column in table.columns:
        ucd = (column.ucd or "").lower()
        is_numeric_time = column.type.is_numeric and ucd.startswith("time.")
        if column.hidden or column.type.is_array or not (column.type.is_timestamp or is_numeric_time):
            continue
        if not column.type.is_timestamp and (column.unit or "") not in SECONDS_PER_UNIT:
            continue
        is_duration = "time.duration" in ucd or "interval" in ucd
        if is_duration or ucd.startswith(("time.creation", "time.release", "time.processing")):
            continue
        for rank, prefix in enumerate(("time.start", "time.epoch", "time")):
            if ucd.startswith(prefix):
                candidates.append((rank, column.rank, column))
                break
    if candidates:
        return min(candidates, key=lambda candidate: candidate[:2])[2]
    return None


def parse_cadence(text: str, table: Table) -> Cadence:
    """Parse ``1 h`` or ``1 h,wavelength``.

    Raises
    ------
    UserError
        The text is no length of time, or the table lacks the column, a time, or a key of one column.
    """
    length, *each = (part.strip() for part in text.split(","))
    step_match = _STEP_PATTERN.fullmatch(length)
    step = unit = None
    if step_match is not None:
        step = float(step_match[1])
        unit = step_match[2].lower()
    if step is None or unit is None or not 0 < step * UNIT_SECONDS[unit] <= 1e10:
        raise UserError(format_message("{text!r} is not a duration", length[:40]), remedy=CADENCE_REMEDY)
    column_names = {column.name.lower(): column.name for column in table.columns if not column.hidden}
    lacking = [name for name in each if name.lower() not in column_names]
    if lacking:
        raise UserError(format_message("there is no column {name!r}", lacking[0][:60]), remedy=CADENCE_REMEDY)
    if find_time_column(table) is None or len(table.primary) != 1:
        raise UserError(
            "the rows of this table cannot be thinned: the table needs a time column and a single-column primary key",
            remedy="leave out the cadence",
        )
    group_columns = tuple(dict.fromkeys(column_names[name.lower()] for name in each))
    return Cadence(step=step, unit=unit, group_columns=group_columns)


def build_nearest_to_step_condition(
    table: Table, cadence: Cadence, condition: syntax_tree.Expr | None
) -> syntax_tree.Expr:
    """Build the condition that a row is the nearest to its step, among the rows that meet `condition`.

    Of two equally near rows, the earlier one is chosen.

    Steps are counted from the begin of `condition` in time, or from whole multiples in UTC, up to its end. A row
    belongs to the step that is at most half a step away; a row between two steps to the earlier one.
    """
    column = find_time_column(table)
    if column is None or len(table.primary) != 1:
        raise UserError(
            "the rows of this table cannot be thinned: the table needs a time column and a single-column primary key",
            remedy="leave out the cadence",
        )
    key = _build_column_ref(table.primary[0])
    time_column = _build_column_ref(column.name)
    if column.type.is_timestamp:
        time: syntax_tree.Expr = syntax_tree.FunctionCall("IVO_TO_MJD", (time_column,))
        unit_seconds = 86_400.0
    else:
        time = time_column
        unit_seconds = SECONDS_PER_UNIT.get(column.unit or "", 86_400.0)
    scale = unit_seconds / cadence.step_seconds
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
    since = time
    if origin:
        since = syntax_tree.BinaryOperation("-", time, syntax_tree.Literal(origin))
    steps = syntax_tree.BinaryOperation("*", since, syntax_tree.Literal(scale))
    shifted_steps = syntax_tree.BinaryOperation("-", steps, syntax_tree.Literal(0.5 + slack))
    step = syntax_tree.FunctionCall("CEILING", (shifted_steps,))
    tests = [condition, syntax_tree.NullPredicate(time_column, negated=True)]
    if begin is not None:
        tests.append(syntax_tree.Comparison(">=", step, syntax_tree.Literal(0)))
    if end is not None:
        end_time, is_closed = end
        end_position = (end_time - origin) * scale
        if is_closed:
            last_step = math.floor(end_position + slack)
        else:
            last_step = math.ceil(end_position - slack) - 1
        tests.append(syntax_tree.Comparison("<=", step, syntax_tree.Literal(last_step)))
    step_distance = syntax_tree.FunctionCall("ABS", (syntax_tree.BinaryOperation("-", steps, step),))
    tolerances_per_step = syntax_tree.Literal(cadence.step_seconds / TIME_TOLERANCE_SECONDS)
    distance = syntax_tree.BinaryOperation("*", step_distance, tolerances_per_step)
    selected = {"k": key, "t": time_column, "step": step, "away": syntax_tree.FunctionCall("ROUND", (distance,))}
    where = syntax_tree.join_conditions_with_and(*tests)
    chosen_keys = _build_nearest_key_query(table, cadence, selected, where)
    return syntax_tree.InPredicate(key, syntax_tree.Subquery(chosen_keys))


def _build_nearest_key_query(
    table: Table, cadence: Cadence, step_columns: Mapping[str, syntax_tree.Expr], where: syntax_tree.Expr | None
) -> syntax_tree.Query:
    """Return the query of the key of the nearest row to each step.

    `step_columns` are the key ``k``, the time ``t``, the ``step`` of a row and its distance ``away`` from the step.
    """
    # the window has only columns, so that the engine finds the first rows by grouping, without a sort
    group_items = {f"of{at}": _build_column_ref(name) for at, name in enumerate(cadence.group_columns)}
    selected = {**step_columns, **group_items}
    identifier = build_adql_identifier(table.schema)
    source = syntax_tree.TableRef((identifier, build_adql_identifier(table.name)))
    items = tuple(syntax_tree.SelectItem(expr, syntax_tree.Ident(name)) for name, expr in selected.items())
    stepped_query = syntax_tree.Query(syntax_tree.Select(items, source, where=where))
    stepped = syntax_tree.DerivedTable(stepped_query, syntax_tree.Ident("stepped"))
    order = tuple(syntax_tree.OrderItem(_build_column_ref(name)) for name in ("away", "t", "k"))
    partition = tuple(_build_column_ref(name) for name in (*group_items, "step"))
    number = syntax_tree.WindowExpression(syntax_tree.FunctionCall("ROW_NUMBER"), partition, order)
    key_item = syntax_tree.SelectItem(_build_column_ref("k"))
    number_item = syntax_tree.SelectItem(number, syntax_tree.Ident("nth"))
    inner = syntax_tree.Select((key_item, number_item), stepped)
    first = syntax_tree.Comparison("=", _build_column_ref("nth"), syntax_tree.Literal(1))
    numbered_rows = syntax_tree.DerivedTable(syntax_tree.Query(inner), syntax_tree.Ident("steps"))
    return syntax_tree.Query(syntax_tree.Select((key_item,), numbered_rows, where=first))


def _find_time_bound(
    condition: syntax_tree.Expr | None, column_names: Collection[str], *, is_upper: bool
) -> tuple[float, bool] | None:
    """Find the least or greatest time that a condition allows in some columns, and whether it includes that time."""
    if isinstance(condition, syntax_tree.Conjunction | syntax_tree.Disjunction):
        return _combine_time_bounds(condition, column_names, is_upper=is_upper)
    if isinstance(condition, syntax_tree.BetweenPredicate) and not condition.negated:
        value = condition.operand
        limit = condition.high if is_upper else condition.low
        closed = True
    elif isinstance(condition, syntax_tree.Comparison) and _is_bound_operator(condition.op, is_upper=is_upper):
        value = condition.left
        limit = condition.right
        closed = "=" in condition.op
    else:
        return None
    is_time = isinstance(value, syntax_tree.ColumnRef) and value.name.name.lower() in column_names
    if not is_time or not isinstance(limit, syntax_tree.Literal):
        return None
    bound = _to_modified_julian_date(limit.value)
    if bound is None:
        return None
    return (bound, closed)


def _is_bound_operator(operator: str, *, is_upper: bool) -> bool:
    return operator in ({"=", "<", "<="} if is_upper else {"=", ">", ">="})


def _combine_time_bounds(
    condition: syntax_tree.Conjunction | syntax_tree.Disjunction, column_names: Collection[str], *, is_upper: bool
) -> tuple[float, bool] | None:
    """Combine the bounds of the parts of a condition: the tightest of a conjunction, the widest of a disjunction."""
    bounds = [_find_time_bound(part, column_names, is_upper=is_upper) for part in condition.parts]
    ends = [bound for bound in bounds if bound is not None]
    is_conjunction = isinstance(condition, syntax_tree.Conjunction)
    if not is_conjunction and len(ends) < len(bounds):
        return None
    choose_end = min if is_upper == is_conjunction else max
    return choose_end(ends, default=None)


def _to_modified_julian_date(value: object) -> float | None:
    """Convert a timestamp (an ISO text in UTC) to a modified Julian date; numbers stay as they are."""
    if isinstance(value, str):
        return (datetime.fromisoformat(value) - datetime(1858, 11, 17)) / timedelta(days=1)  # noqa: DTZ001
    if isinstance(value, int | float):
        return float(value)
    return None


def build_adql_identifier(name: str) -> syntax_tree.Ident:
    """Build the identifier of a schema, table or column."""
    quoted = name != name.lower()
    return syntax_tree.Ident(name, quoted=quoted)


def _build_column_ref(name: str) -> syntax_tree.ColumnRef:
    return syntax_tree.ColumnRef(build_adql_identifier(name))
