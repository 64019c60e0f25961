"""Queries that need no DuckDB: columns of one table and what is put together of them, simple conditions, TOP, ORDER BY over few rows, COUNT(*).

DuckDB takes a millisecond to plan a query over however few rows; here a cone over candidates takes a tenth of one. The
rules of values are DuckDB's, so that nobody can tell the roads apart: NaN equals itself and is greater than all numbers,
null is neither true nor false.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hven.adql.kinds import is_null
from hven.adql.tree import (
    And,
    Between,
    Binary,
    ColumnRef,
    Compare,
    Expr,
    Function,
    In,
    IsNull,
    Like,
    Literal,
    Not,
    Or,
    Query,
    Select,
    SelectItem,
    Subquery,
    TableRef,
)
from hven.engines._bound.constants import constant, is_text, listed, microseconds
from hven.engines._bound.geometry import (
    column_pair,
    constant_shape,
    contained,
    coordinates,
    distance_points,
    sides,
    touching,
)
from hven.engines._bound.touching import compared
from hven.engines._regions import numbers_of
from hven.engines.duckdb.composed import MOST, NotDirect, base_of, composed
from hven.engines.duckdb.functions import called
from hven.engines.duckdb.lists import LONG, is_among
from hven.model.sky import Circle, Point, Polygon, distance

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from hven.adql.tree import Bound
    from hven.engines._bound.constants import Constant
    from hven.engines.duckdb.layout import Projection, Readable, Rows
    from hven.model.types import Type

    Values = Sequence[float | str | None]
    Evaluate: TypeAlias = Callable[[pa.RecordBatch, Values], Any]

_DOUBLE = pa.float64()
STEP = 65_536  # rows that are tested at a time
SORTED = 200_000  # rows that are sorted here; more are DuckDB's
_REGIONS = frozenset({"CIRCLE", "POLYGON", "REGION"})


@dataclass(slots=True)
class Names:
    """The columns that expressions read, by the place each gets in the frame."""

    number: int
    wanted: dict[str, int]

    def place(self, expr: Expr) -> tuple[int, Type] | None:
        """Return place and type of a column of the table, None if `expr` is something else."""
        if not isinstance(expr, ColumnRef) or expr.source != self.number or expr.column is None:
            return None
        return self.wanted.setdefault(expr.column.name, len(self.wanted)), expr.column.type


@dataclass(frozen=True, slots=True)
class Order:
    """One item of ORDER BY: the value of each row, and the column's name if it is one."""

    value: Evaluate
    descending: bool
    column: str | None


@dataclass(frozen=True, slots=True)
class Direct:
    """A query that runs without DuckDB.

    Attributes
    ----------
    output
        One for each column of the answer: the name of a stored column, or a function of the row.
    tested
        Columns that the condition reads.
    computed
        Columns that computed outputs and ORDER BY read.
    most
        Rows that are looked at here at most; None: as many as anywhere.
    """

    leaf: TableRef
    condition: Evaluate | None
    tested: tuple[str, ...]
    output: tuple[str | Evaluate, ...]
    computed: tuple[str, ...]
    orders: tuple[Order, ...]
    top: Constant | None
    offset: Constant | None
    count: bool
    schema: pa.Schema
    most: int | None = None

    def reads(self, schema: pa.Schema) -> bool:
        """Return whether rows have every column that is read, under exactly its name."""
        plain = [item for item in self.output if isinstance(item, str)]
        return all(schema.get_field_index(name) >= 0 for name in (*self.tested, *self.computed, *plain))

    def whole(self, stored: Readable, values: Values, limit: int | None, size: int) -> Iterator[pa.RecordBatch]:
        """Answer without candidates: there is no condition and no order."""
        begin, end = self._window(values, limit, 1 if self.count else stored.rows)
        if self.count:
            yield from _counted(stored.rows, self.schema, begin, end)
            return
        if all(isinstance(item, str) for item in self.output):
            columns = stored.projection(tuple(str(item) for item in self.output))
            for batch in columns.span(begin, end):
                for at in range(0, batch.num_rows, size):
                    yield self._named(batch.slice(at, size).columns)
            return
        for at in range(begin, end, size):
            yield self._computed(stored, np.arange(at, min(at + size, end)), values)

    def some(self, stored: Readable, rows: Rows, values: Values, limit: int | None) -> Iterator[pa.RecordBatch]:
        """Answer from candidates (ascending, or in index order if that is the order wanted)."""
        if self.count or self.orders:
            kept = np.concatenate(list(self.passing(stored, rows, values)) or [np.empty(0, np.int64)])
            begin, end = self._window(values, limit, 1 if self.count else len(kept))
            if self.count:
                yield from _counted(len(kept), self.schema, begin, end)
            else:
                yield self._computed(stored, self._sorted(stored, kept, values)[begin:end], values)
            return
        begin, end = self._window(values, limit, len(rows))
        seen = 0
        for part in self.passing(stored, rows, values):
            low, high = max(begin - seen, 0), end - seen
            seen += len(part)
            if high <= 0:
                return
            if len(part := part[low:high]):
                yield self._computed(stored, part, values)

    def ordered(self, stored: Readable, rows: Rows, values: Values, limit: int | None) -> Iterator[pa.RecordBatch]:
        """Answer from rows that are in the wanted order already, without a condition."""
        begin, end = self._window(values, limit, len(rows))
        if end > begin:
            yield self._computed(stored, rows[begin:end], values)

    def window(self, values: Values, limit: int | None) -> tuple[int, int | None]:
        """Return the numbers of the first row wanted and of the one after the last, None = all."""
        begin = _whole(self.offset, values) or 0
        ends = [n for n in (_whole(self.top, values), limit) if n is not None]
        return begin, begin + min(ends) if ends else None

    def _window(self, values: Values, limit: int | None, rows: int) -> tuple[int, int]:
        begin, end = self.window(values, limit)
        return min(begin, rows), rows if end is None else min(end, rows)

    def passing(self, stored: Readable, rows: Rows, values: Values) -> Iterator[Rows]:
        """Yield the rows that meet the condition, piece by piece, in the order given."""
        if self.condition is None:
            yield rows
            return
        columns = stored.projection(self.tested)
        for begin in range(0, len(rows), STEP):
            part = rows[begin : begin + STEP]
            mask = self.condition(_frame(columns, part), values)
            kept = part[_truth(mask, len(part))]
            if len(kept):
                yield kept

    def _sorted(self, stored: Readable, rows: Rows, values: Values) -> Rows:
        if len(rows) < 2:
            return rows
        frame = _frame(stored.projection(self.computed), rows)
        keys = {}
        for number, order in enumerate(self.orders):
            key = order.value(frame, values)
            if pa.types.is_floating(key.type) and pc.any(pc.is_nan(key)).as_py():
                raise NotDirect
            keys[str(number)] = key
        order_of = [
            (str(number), "descending" if order.descending else "ascending") for number, order in enumerate(self.orders)
        ]
        ordered: Rows = rows[np.asarray(pc.sort_indices(pa.table(keys), sort_keys=order_of))]
        return ordered

    def _computed(self, stored: Readable, rows: Rows, values: Values) -> pa.RecordBatch:
        plain = tuple(item for item in self.output if isinstance(item, str))
        copied = iter(_frame(stored.projection(plain), rows).columns) if plain else iter(())
        frame = None
        if self.computed and len(plain) < len(self.output):
            frame = _frame(stored.projection(self.computed), rows)
        elif len(plain) < len(self.output):  # constants alone: a frame without columns would have no rows
            frame = pa.RecordBatch.from_arrays([pa.nulls(len(rows))], names=[""])
        return self._named([next(copied) if isinstance(item, str) else item(frame, values) for item in self.output])

    def _named(self, columns: Sequence[pa.Array]) -> pa.RecordBatch:
        try:
            fitting = [
                column if column.type.equals(item.type) else column.cast(item.type)
                for column, item in zip(columns, self.schema, strict=True)
            ]
        except pa.ArrowInvalid:
            raise NotDirect from None
        return pa.RecordBatch.from_arrays(fitting, schema=self.schema)


def _counted(rows: int, schema: pa.Schema, begin: int, end: int) -> Iterator[pa.RecordBatch]:
    if begin == 0 and end > 0:
        yield pa.RecordBatch.from_arrays([pa.array([rows], schema.field(0).type)], schema=schema)


def _frame(columns: Projection, rows: Rows) -> pa.RecordBatch:
    """Read rows, without a copy where they are neighbours."""
    n = len(rows)
    if n > 1 and rows[-1] - rows[0] == n - 1:
        if n < 3 or bool((rows[1:] > rows[:-1]).all()):
            pieces = list(columns.span(int(rows[0]), int(rows[-1]) + 1))
            return pieces[0] if len(pieces) == 1 else pa.concat_batches(pieces)
        return columns.take_any(rows)
    if n > 1 and not bool((rows[1:] > rows[:-1]).all()):
        return columns.take_any(rows)
    return columns.take(rows)


def _truth(mask: Any, rows: int) -> Any:
    if isinstance(mask, np.ndarray):
        return mask
    if isinstance(mask, pa.Scalar):
        return np.full(rows, mask.as_py() is True)
    known = pc.fill_null(mask, False) if mask.null_count else mask
    return np.asarray(known.to_numpy(zero_copy_only=False))


def _whole(number: Constant | None, values: Values) -> int | None:
    if number is None:
        return None
    found = number(values)
    if not isinstance(found, int | float):
        raise NotDirect
    return int(found)


# --- recognising -----------------------------------------------------------------------------------------------------


def recognise(bound: Bound, schema: pa.Schema) -> Direct | None:
    """Recognise a query that can run without DuckDB; None for others."""
    try:
        return _recognise(bound, schema)
    except (NotDirect, RecursionError):  # a value of a thousand parts is DuckDB's as well
        return None


def _recognise(bound: Bound, schema: pa.Schema) -> Direct:
    query = bound.query
    while isinstance(query.body, Query) and not (query.order_by or query.offset or query.ctes):
        query = query.body
    select = query.body
    if query.ctes or not isinstance(select, Select) or select.group_by or select.having is not None or select.distinct:
        raise NotDirect
    leaf = select.source
    if not isinstance(leaf, TableRef) or leaf.table is None or leaf.cte:
        raise NotDirect
    free = bound.free
    tested = Names(leaf.number, {})
    permitted = Names(0, tested.wanted)  # a row filter is bound over the table alone, as number 0
    filters = ((leaf.where, permitted), (select.where, tested))
    conditions = [_truth_of(expr, names, free) for expr, names in filters if expr is not None]
    computed = Names(leaf.number, {})
    items = [item for item in select.items if isinstance(item, SelectItem)]
    count = len(items) == 1 and _is_count(items[0].expr)
    output = () if count else tuple(_output(item.expr, computed, free) for item in items)
    plain = all(isinstance(one, str) or distance_points(item.expr) for one, item in zip(output, items, strict=False))
    if count and query.order_by:
        raise NotDirect
    orders = tuple(_order(item.expr, item.descending, items, computed, free) for item in query.order_by)
    return Direct(
        leaf=leaf,
        condition=_all(conditions),
        tested=tuple(tested.wanted),
        output=output,
        computed=tuple(computed.wanted),
        orders=orders,
        top=_constant(select.top, free),
        offset=_constant(query.offset, free),
        count=count,
        schema=schema,
        most=None if plain else MOST,
    )


def _constant(expr: Literal | None, free: frozenset[int]) -> Constant | None:
    return None if expr is None else constant(expr, free)


def _is_count(expr: Expr) -> bool:
    return isinstance(expr, Function) and expr.name == "COUNT" and expr.star


def _output(expr: Expr, names: Names, free: frozenset[int]) -> str | Evaluate:
    if isinstance(expr, ColumnRef) and expr.source == names.number and expr.column is not None:
        return expr.column.name
    if distance_points(expr) is not None:
        return _distance(expr, names, free)

    def truth(condition: Expr) -> Evaluate:
        holds = _truth_of(condition, names, free)
        return lambda frame, values: _truth(holds(frame, values), frame.num_rows)

    return composed(expr, names.place, free, truth)


def _order(expr: Expr, descending: bool, items: Sequence[SelectItem], names: Names, free: frozenset[int]) -> Order:
    if isinstance(expr, Literal):  # a position in the select list
        if not isinstance(expr.value, int) or expr.slot in free or not 1 <= expr.value <= len(items):
            raise NotDirect
        expr = items[expr.value - 1].expr
    if isinstance(expr, ColumnRef) and expr.source != names.number:  # an output column by its name
        named = [
            item.expr
            for item in items
            if item.column is not None and expr.column is not None and item.column.name == expr.column.name
        ]
        if len(named) != 1 or expr.source >= 0:
            raise NotDirect
        expr = named[0]
    place = names.place(expr)
    column = expr.column.name if place is not None and isinstance(expr, ColumnRef) and expr.column is not None else None
    if (
        column is not None
        and isinstance(expr, ColumnRef)
        and expr.column is not None
        and not _orderable(expr.column.type)
    ):
        raise NotDirect
    return Order(_value(expr, names, free), descending, column)


def _orderable(kind: Type) -> bool:
    return kind.is_numeric or kind.is_string or kind.is_timestamp


def _value(expr: Expr, names: Names, free: frozenset[int]) -> Evaluate:
    """Compile a column or a distance."""
    place = names.place(expr)
    if place is not None:
        at = place[0]
        return lambda frame, _: frame.column(at)
    return _distance(expr, names, free)


def _distance(expr: Expr, names: Names, free: frozenset[int]) -> Evaluate:
    points = distance_points(expr)
    for here, there in (points, points[::-1]) if points is not None else ():
        columns = column_pair(here)
        lon, lat = constant(there[0], free), constant(there[1], free)
        if columns is None or lon is None or lat is None:
            continue
        at = [names.place(column) for column in columns]
        if at[0] is None or at[1] is None or not (at[0][1].is_numeric and at[1][1].is_numeric):
            continue
        x, y = at[0][0], at[1][0]

        def evaluate(
            frame: pa.RecordBatch, values: Values, lon: Constant = lon, lat: Constant = lat, x: int = x, y: int = y
        ) -> pa.Array:
            centre = (lon(values), lat(values))
            if not all(isinstance(number, int | float) for number in centre):
                raise NotDirect
            one, two = frame.column(x), frame.column(y)
            found = distance(_floats(one), _floats(two), *centre)  # type: ignore[arg-type]
            missing = (
                None if one.null_count == two.null_count == 0 else np.asarray(pc.or_(one.is_null(), two.is_null()))
            )
            return pa.array(np.atleast_1d(found), mask=missing)

        return evaluate
    raise NotDirect


def _floats(column: pa.Array) -> Any:
    return (column if column.type == _DOUBLE else column.cast(_DOUBLE)).to_numpy(zero_copy_only=False)


def _truth_of(expr: Expr, names: Names, free: frozenset[int]) -> Evaluate:
    """Compile a condition to a function that gives an Arrow array of true, false, null."""
    if isinstance(expr, And | Or):
        join = pc.and_kleene if isinstance(expr, And) else pc.or_kleene
        parts = [_truth_of(part, names, free) for part in expr.parts]

        def joined(frame: pa.RecordBatch, values: Values) -> Any:
            found = parts[0](frame, values)
            for part in parts[1:]:
                found = join(found, part(frame, values))
            return found

        return joined
    if isinstance(expr, Not):
        inner = _truth_of(expr.operand, names, free)
        return lambda frame, values: pc.invert(inner(frame, values))
    if isinstance(expr, IsNull):
        place, test = names.place(base_of(expr.operand, free)), pc.is_valid if expr.negated else pc.is_null
        if place is None and is_null(expr.operand):
            return lambda _, __: pa.scalar(not expr.negated, pa.bool_())
        if place is None:
            raise NotDirect
        at = place[0]
        return lambda frame, _: test(frame.column(at))
    if isinstance(expr, Like):
        return _like(expr, names, free)
    return _inside(expr, names, free) or _comparison(expr, names, free)


def _all(conditions: list[Evaluate]) -> Evaluate | None:
    if len(conditions) < 2:
        return conditions[0] if conditions else None
    first, second = conditions
    return lambda frame, values: pc.and_kleene(first(frame, values), second(frame, values))


def _touches(expr: Expr, names: Names, free: frozenset[int]) -> Evaluate | None:
    """Compile CONTAINS or INTERSECTS of a column of regions and another shape, by the functions that DuckDB would call."""
    found = touching(expr)
    if found is None or not isinstance(expr, Compare) or not any(isinstance(side, ColumnRef) for side in found[:2]):
        return None
    call = next(side for side in (expr.left, expr.right) if isinstance(side, Function))
    one, two = (_shapes(side, names, free) for side in found[:2])
    wanted, points = constant(found[2], free), [coordinates(side) is not None for side in found[:2]]
    if one is None or two is None or wanted is None:
        return None
    in_point = points[1] and call.name == "CONTAINS"
    name = f"hven_{call.name.lower()}"

    def evaluate(frame: pa.RecordBatch, values: Values) -> pa.Array:
        if wanted(values) != 1 or in_point:
            raise NotDirect
        sides = [one(frame, values), two(frame, values)]
        texts, in_text = any(map(_is_written, sides)), name
        if texts and any(points):
            place = sides.pop(points.index(True))
            sides, in_text = [pc.list_element(place, 0), pc.list_element(place, 1), *sides], "hven_in_text"
        elif texts:
            sides = [side if _is_written(side) else called("hven_text", side) for side in sides]
            in_text = f"{name}_text"
        rows = np.zeros(frame.num_rows, np.int64)
        found = called(in_text, *(side if len(side) == len(rows) else side.take(pa.array(rows)) for side in sides))
        return found.cast(pa.bool_())  # of rows without a region it has no type

    return evaluate


def _is_written(shapes: pa.Array) -> bool:
    return bool(pa.types.is_string(shapes.type))


def _shapes(expr: Expr, names: Names, free: frozenset[int]) -> Evaluate | None:
    """Compile a column of regions (lists of numbers, or texts), positions in two columns, or a shape of constants, which is one row."""
    place, pair, kind = names.place(expr), column_pair(coordinates(expr)), pa.list_(pa.float64())
    if place is not None:
        at, stored = place
        if stored.special is None or stored.special.adql not in _REGIONS:
            return None
        return lambda frame, _: frame.column(at) if stored.is_string else frame.column(at).cast(kind)
    if pair is not None:
        places = [found for column in pair if (found := names.place(column)) is not None and found[1].is_numeric]
        if len(places) < 2:
            return None

        def positions(frame: pa.RecordBatch, _: Values) -> pa.Array:
            lon, lat = (frame.column(at) for at, _ in places)
            return pa.ListArray.from_arrays(
                pa.array(np.arange(frame.num_rows + 1, dtype=np.int32) * 2),
                pa.array(np.stack([_floats(lon), _floats(lat)], axis=1).ravel()),
                mask=pc.or_(lon.is_null(), lat.is_null()),
            )

        return positions
    shape = compared(expr, free)
    if shape is None or shape.kind == "MOC":
        return None

    def one(_: pa.RecordBatch, values: Values) -> pa.Array:
        made = shape.make(values)
        if not isinstance(made, Point | Circle | Polygon):
            raise NotDirect
        return pa.array([numbers_of(made)], kind)

    return one


def _inside(expr: Expr, names: Names, free: frozenset[int]) -> Evaluate | None:
    regions = _touches(expr, names, free)
    if regions is not None:
        return regions
    inside = contained(expr)
    if inside is None:
        return None
    point, shape, one = inside
    found, columns, wanted = constant_shape(shape, free), column_pair(coordinates(point)), constant(one, free)
    if found is None or columns is None or wanted is None:
        raise NotDirect
    lon, lat = names.place(columns[0]), names.place(columns[1])
    if lon is None or lat is None:
        raise NotDirect
    x, y = lon[0], lat[0]

    def evaluate(frame: pa.RecordBatch, values: Values) -> pa.Array:
        made = found.make(values)
        if made is None or wanted(values) != 1:
            raise NotDirect
        one, two = frame.column(x), frame.column(y)
        mask = made.contains(_floats(one), _floats(two))
        missing = None if one.null_count == two.null_count == 0 else np.asarray(pc.or_(one.is_null(), two.is_null()))
        return pa.array(np.atleast_1d(mask), mask=missing)

    return evaluate


def _comparison(expr: Expr, names: Names, free: frozenset[int]) -> Evaluate:
    fixed = _of_literals(expr, free)
    if fixed is not None:
        return fixed
    if isinstance(expr, Compare):
        for side, op, other in sides(expr):
            value = constant(other, free)
            if value is not None and constant(side, free) is None:
                return _compare(side, op, value, names, free)
    elif isinstance(expr, Between):
        low, high = constant(expr.low, free), constant(expr.high, free)
        if low is not None and high is not None:
            above, below = (
                _compare(expr.operand, ">=", low, names, free),
                _compare(expr.operand, "<=", high, names, free),
            )
            if expr.negated:
                return lambda frame, values: pc.invert(pc.and_kleene(above(frame, values), below(frame, values)))
            return lambda frame, values: pc.and_kleene(above(frame, values), below(frame, values))
    elif isinstance(expr, In) and not isinstance(expr.choices, Subquery):
        if len(expr.choices) > LONG:
            return _among(expr, expr.choices, names, free)
        among = [constant(choice, free) for choice in expr.choices]
        tests = [_compare(expr.operand, "=", value, names, free) for value in among if value is not None]
        if len(tests) == len(among):
            return _any(tests, negated=expr.negated)
    raise NotDirect


def _of_literals(expr: Expr, free: frozenset[int]) -> Evaluate | None:
    """Compile a comparison of literals alone, as views have them (``'image' IN ('image', 'cube')``); None if it is something else."""
    sides: tuple[Expr, ...] = ()
    if isinstance(expr, Compare) and expr.op in {"=", "<>"}:
        sides = (expr.left, expr.right)
    elif isinstance(expr, In) and not isinstance(expr.choices, Subquery) and len(expr.choices) <= LONG:
        sides = (expr.operand, *expr.choices)
    known = [constant(side, free) for side in sides if isinstance(side, Literal)]
    if not sides or len(known) < len(sides):
        return None
    negated = expr.op == "<>" if isinstance(expr, Compare) else isinstance(expr, In) and expr.negated

    def evaluate(_: pa.RecordBatch, values: Values) -> pa.Scalar:
        operand, *others = (one(values) for one in known if one is not None)
        if len({isinstance(one, str) for one in (operand, *others)}) > 1 or None in {operand, *others}:
            raise NotDirect
        return pa.scalar((operand in others) != negated, pa.bool_())

    return evaluate


def _like(expr: Like, names: Names, free: frozenset[int]) -> Evaluate:
    """Compile LIKE: ``%`` is any text, ``_`` any character, nothing quotes them."""
    text, pattern = _texts(expr.operand, names), constant(expr.pattern, free)
    if text is None or pattern is None:
        raise NotDirect
    ignore_case, negated = expr.ignore_case, expr.negated

    def evaluate(frame: pa.RecordBatch, values: Values) -> Any:
        wanted, column = pattern(values), text(frame, values)
        if not isinstance(wanted, str) or "\0" in wanted:
            raise NotDirect
        if ignore_case and not (wanted.isascii() and _is_ascii(column)):
            raise NotDirect
        said = "".join(_WILD.get(letter) or re.escape(letter) for letter in wanted)
        found = pc.match_substring_regex(column, rf"(?s)\A{said}\z", ignore_case=ignore_case)
        return pc.invert(found) if negated else found

    return evaluate


_WILD = {"%": ".*", "_": "."}
_CASES: dict[str, Callable[[Any], Any]] = {"LOWER": pc.ascii_lower, "UPPER": pc.ascii_upper}


def _texts(expr: Expr, names: Names) -> Evaluate | None:
    """Compile a column of text, maybe in LOWER or UPPER; None if it is something else."""
    change = None
    if isinstance(expr, Function) and expr.name in _CASES and len(expr.args) == 1:
        change, expr = _CASES[expr.name], expr.args[0]
    place = names.place(expr)
    if place is None or not place[1].is_string:
        return None
    at = place[0]

    def evaluate(frame: pa.RecordBatch, _: Values) -> Any:
        column = frame.column(at)
        if change is None:
            return column
        if not _is_ascii(column):  # the engines know different editions of Unicode
            raise NotDirect
        return change(column)

    return evaluate


def _is_ascii(column: pa.Array) -> bool:
    return bool(pc.all(pc.string_is_ascii(column), min_count=0).as_py())


def _among(expr: In, choices: Sequence[Expr], names: Names, free: frozenset[int]) -> Evaluate:
    place, wanted, negated = names.place(expr.operand), listed(choices, free), expr.negated
    if place is None or wanted is None or not (place[1].is_integer or place[1].is_string):
        raise NotDirect
    at = place[0]

    def evaluate(frame: pa.RecordBatch, values: Values) -> Any:
        found = is_among(frame.column(at), wanted(values))
        if found is None:
            raise NotDirect
        return pc.invert(found) if negated else found

    return evaluate


def _any(tests: list[Evaluate], *, negated: bool) -> Evaluate:
    def evaluate(frame: pa.RecordBatch, values: Values) -> Any:
        found = tests[0](frame, values)
        for test in tests[1:]:
            found = pc.or_kleene(found, test(frame, values))
        return pc.invert(found) if negated else found

    return evaluate


_OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    "=": pc.equal, "<>": pc.not_equal, "<": pc.less, "<=": pc.less_equal, ">": pc.greater, ">=": pc.greater_equal,
}  # fmt: skip


def _compare(side: Expr, op: str, value: Constant, names: Names, free: frozenset[int]) -> Evaluate:
    if is_text(side):
        raise NotDirect
    changed = _texts(side, names) if isinstance(side, Function) else None
    if changed is not None:
        return lambda frame, values: _OPERATORS[op](changed(frame, values), _text(value(values)))
    rest = _remainder(side, names, free)
    if rest is not None:
        return lambda frame, values: _compare_whole(rest(frame, values), op, _number(value(values)))
    place = names.place(side)
    if place is None:
        distance = _distance(side, names, free)
        return lambda frame, values: _compare_floats(distance(frame, values), op, _number(value(values)))
    at, kind = place
    if kind.is_timestamp:
        return lambda frame, values: _OPERATORS[op](frame.column(at), _moment(value(values)))
    if kind.is_string:
        return lambda frame, values: _OPERATORS[op](frame.column(at), _text(value(values)))
    if kind.is_integer:
        return lambda frame, values: _compare_whole(frame.column(at), op, _number(value(values)))
    if kind.is_numeric:
        return lambda frame, values: _compare_floats(frame.column(at), op, _number(value(values)))
    raise NotDirect


def _remainder(expr: Expr, names: Names, free: frozenset[int]) -> Evaluate | None:
    """Compile ``MOD(column, 2)`` or ``column % 2`` of whole numbers; None if it is something else."""
    if isinstance(expr, Function) and expr.name == "MOD":
        one, two = expr.args
    elif isinstance(expr, Binary) and expr.op == "%":
        one, two = expr.left, expr.right
    else:
        return None
    place, by = names.place(one), constant(two, free)
    if place is None or by is None or not place[1].is_integer:
        raise NotDirect
    at = place[0]

    def evaluate(frame: pa.RecordBatch, values: Values) -> pa.Array:
        column, divisor = frame.column(at), _number(by(values))
        if not 0 < divisor < 2**53 or divisor != int(divisor):
            raise NotDirect
        numbers = pc.fill_null(column.cast(pa.int64()), 0).to_numpy(zero_copy_only=False)
        # the sign of the column's value
        return pa.array(np.fmod(numbers, np.int64(int(divisor))), mask=np.asarray(column.is_null()))

    return evaluate


def _number(value: float | str | None) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise NotDirect
    return value


def _text(value: float | str | None) -> pa.Scalar:
    if not isinstance(value, str):
        raise NotDirect
    return pa.scalar(value, pa.string())  # without the type Arrow looks for pandas, each time


def _moment(value: float | str | None) -> pa.Scalar:
    found = microseconds(value)
    if found is None:
        raise NotDirect
    return pa.scalar(found, pa.timestamp("us"))


def _compare_floats(column: pa.Array, op: str, value: float) -> Any:
    if isinstance(value, int) and abs(value) > 2**53:
        raise NotDirect  # no double
    found = _OPERATORS[op](column, pa.scalar(float(value), pa.float64()))  # a double: so is a float32 column then
    return pc.or_(found, pc.is_nan(column)) if op in {">", ">="} else found


def _compare_whole(column: pa.Array, op: str, value: float) -> Any:
    if isinstance(value, float):
        if not math.isfinite(value) or abs(value) >= 2**53:
            raise NotDirect
        if value != int(value):  # between two whole numbers
            if op in {"=", "<>"}:
                raise NotDirect
            op, value = (">=", math.ceil(value)) if op in {">", ">="} else ("<=", math.floor(value))
        value = int(value)
    if not -(2**63) <= value < 2**63:
        raise NotDirect
    return _OPERATORS[op](column, pa.scalar(int(value), pa.int64()))
