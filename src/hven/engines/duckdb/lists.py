"""Long lists of constants (``x IN (1, 2, 3 ..)``, ``x = 1 AND y = 2 OR x = 3 AND y = 4 ..``): a relation in DuckDB's SQL, a set in Arrow.

DuckDB plans every value of a list by itself, which takes seconds for a hundred thousand; a list is one value here.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hven.adql.tree import (
    And,
    ColumnRef,
    Compare,
    Function,
    Ident,
    In,
    Literal,
    LiteralList,
    Meta,
    Or,
    Query,
    Select,
    SelectItem,
    Subquery,
    TableRef,
    Unary,
    transform,
)
from hven.engines._bound.constants import listed
from hven.model.table import Column, Table
from hven.model.types import FLOAT32, FLOAT64, INT32, INT64, STRING

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from hven.adql.tree import Bound, Expr
    from hven.engines._bound.constants import Listed
    from hven.engines.duckdb.keys import KeyIndex
    from hven.model.types import Type

    Values = Sequence[float | str | None]
    Rows = npt.NDArray[np.int64]

ROW = "ROW"  # in trees made here alone: (a, b) IN (SELECT ..)
LONG = 64  # values; a shorter list is written as it stands
SEARCHED = 20_000  # texts that are searched in an index at once; looking at every row is quicker for more
FEW = 8  # texts that are found sooner one by one
_NUMBER = 1_000_000  # of the first list in FROM: the binder's own numbers are small


# --- DuckDB ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ListTable:
    """A list as a relation: a column for each value that is compared."""

    table: Table
    values: tuple[Listed, ...]

    def rows(self, values: Values) -> pa.Table:
        """Return its rows."""
        arrays = [
            pa.array(column(values), known.type.arrow)
            for column, known in zip(self.values, self.table.columns, strict=True)
        ]
        if len(arrays) == 1:
            return pa.table(arrays, schema=self.table.arrow)
        # DuckDB finds rows equal whose NULLs stand at the same places, and -0.0 is made 0.0 on the other side
        arrays = [pc.add(array, 0.0) if pa.types.is_floating(array.type) else array for array in arrays]
        return pa.table(arrays, schema=self.table.arrow).drop_null()


def gathered(bound: Bound) -> Bound:
    """Rewrite long chains ``x = 1 OR x = 2 ..`` of a query as ``x IN (1, 2 ..)``."""

    def change(node: Any) -> Any:
        if not isinstance(node, Or) or len(node.parts) <= LONG:
            return node
        parts: list[Expr] = []
        among: dict[tuple[int, str], tuple[int, list[Compare]]] = {}
        for part in node.parts:
            sides = _equality(part)
            if sides is None:
                parts.append(part)
                continue
            _, found = among.setdefault(_key(sides[0]), (len(parts), []))
            if not found:
                parts.append(part)
            found.append(part)  # type: ignore[arg-type]
        for place, found in among.values():
            if len(found) > 1:
                sides_ = [sides for one in found if (sides := _equality(one)) is not None]
                parts[place] = In(sides_[0][0], tuple([value for _, value in sides_]), at=node.at, meta=node.meta)
        return (
            parts[0]
            if len(parts) == 1
            else node
            if len(parts) == len(node.parts)
            else replace(node, parts=tuple(parts))
        )

    query = transform(bound.query, change)
    return bound if query is bound.query else replace(bound, query=query)


def _equality(node: Expr) -> tuple[ColumnRef, Expr] | None:
    """Recognise ``column = number or text``, and give both."""
    if not isinstance(node, Compare) or node.op != "=":
        return None
    for one, two in ((node.left, node.right), (node.right, node.left)):
        if isinstance(one, ColumnRef) and _plain(two) is not None:
            return one, two
    return None


def _plain(node: Expr) -> Literal | None:
    """Return the literal of a literal, or of one with a sign."""
    inner = node.operand if isinstance(node, Unary) and node.op in "+-" else node
    return inner if type(inner) is Literal else None


def _key(ref: ColumnRef) -> tuple[int, str]:
    return ref.source, ref.column.name if ref.column is not None else ref.name.name


class _Lists:
    """Takes long lists out of a query. No closures that know each other: they would keep the query until the collector finds them."""

    def __init__(self, free: frozenset[int]) -> None:
        self.found: list[ListTable] = []
        self._free = free

    def _relation(self, types: Sequence[Type], values: Sequence[Listed]) -> tuple[TableRef, list[ColumnRef]]:
        columns = tuple([Column(name=f"v{number}", type=type_) for number, type_ in enumerate(types)])
        table = Table(schema="hven", name=f"list{len(self.found)}", columns=columns)
        source = TableRef((Ident("hven"), Ident(table.name)), number=_NUMBER + len(self.found), table=table)
        self.found.append(ListTable(table, tuple(values)))
        return source, [
            ColumnRef(Ident(column.name), source=source.number, column=column, meta=Meta(column.type, column=column))
            for column in columns
        ]

    def _either(self, node: Expr) -> Expr:
        """Combine many ``a = 1 AND b = 2`` in one test; where a condition that is NULL drops the row as one that is false does."""
        if isinstance(node, And):
            return replace(node, parts=tuple([self._either(part) for part in node.parts]))
        if not isinstance(node, Or) or len(node.parts) <= LONG:
            return node
        rest: list[Expr] = []
        alike: dict[tuple[tuple[int, str], ...], list[dict[tuple[int, str], tuple[ColumnRef, Expr]]]] = {}
        for part in node.parts:
            tests = [_equality(one) for one in part.parts] if isinstance(part, And) else []
            pairs = {_key(test[0]): test for test in tests if test is not None}
            if len(pairs) > 1 and len(pairs) == len(tests):
                alike.setdefault(tuple(sorted(pairs)), []).append(pairs)
            else:
                rest.append(part)
        for keys, rows in alike.items():
            test = self._rows_test(node, keys, rows) if len(rows) > LONG else None
            if test is None:
                return node
            rest.append(test)
        return rest[0] if len(rest) == 1 else replace(node, parts=tuple(rest))

    def _rows_test(
        self, node: Or, keys: Sequence[tuple[int, str]], rows: Sequence[dict[tuple[int, str], tuple[ColumnRef, Expr]]]
    ) -> Expr | None:
        refs = [rows[0][key][0] for key in keys]
        choices = [[row[key][1] for row in rows] for key in keys]
        types = [_type(ref, values) for ref, values in zip(refs, choices, strict=True)]
        values = [listed(each, self._free) for each in choices]
        known, given = [type_ for type_ in types if type_ is not None], [one for one in values if one is not None]
        if len(known) < len(keys) or len(given) < len(keys):
            return None
        source, columns = self._relation(known, given)
        query = Query(Select(tuple([SelectItem(column, column=column.column) for column in columns]), source))
        return In(
            Function(ROW, tuple(refs), meta=node.meta),
            Subquery(query, at=node.at, meta=node.meta),
            at=node.at,
            meta=node.meta,
        )

    def outside(self, node: Any) -> Any:
        if not isinstance(node, Select) or node.where is None:
            return node
        where = transform(self._either(node.where), self._inside)
        rest = {
            name: transform(getattr(node, name), self.outside) for name in ("items", "source", "group_by", "having")
        }
        if where is node.where and all(new is getattr(node, name) for name, new in rest.items()):
            return node
        return replace(node, where=where, **rest)

    def _inside(self, node: Any) -> Any:
        if isinstance(node, Query):
            return transform(node, self.outside)
        if not isinstance(node, In) or isinstance(node.choices, Subquery) or len(node.choices) <= LONG:
            return node
        type_, values = _type(node.operand, node.choices), listed(node.choices, self._free)
        if type_ is None or values is None:
            return node
        source, (value,) = self._relation([type_], [values])
        query = Query(Select((SelectItem(value, column=value.column),), source))
        return replace(
            node, operand=transform(node.operand, self._inside), choices=Subquery(query, at=node.at, meta=Meta(type_))
        )


def with_lists(bound: Bound) -> tuple[Bound, tuple[ListTable, ...]]:
    """Rewrite the long lists of a query's WHERE conditions as subqueries over relations, and return both."""
    lists = _Lists(bound.free)
    query = transform(bound.query, lists.outside)
    if not lists.found:
        return bound, ()
    return replace(bound, query=query, tables=(*bound.tables, *(item.table for item in lists.found))), tuple(
        lists.found
    )


def _type(operand: Expr, choices: Sequence[Expr]) -> Type | None:
    """Return the one type that holds all values of a list, and in which they are compared as they would be one by one; None: there is none."""
    if operand.meta is None:
        return None
    literals = [_plain(choice) for choice in (choices.samples if isinstance(choices, LiteralList) else choices)]
    if any(one is None for one in literals):
        return None
    types = {one.meta.type for one in literals if one is not None and one.meta is not None and one.value is not None}
    if operand.meta.type.is_string and all(type_.is_string for type_ in types):
        return STRING
    if operand.meta.type.is_integer and types <= {INT32, INT64}:
        return INT64
    return FLOAT64 if operand.meta.type in {INT32, FLOAT32, FLOAT64} and types <= {INT32, FLOAT64} else None


# --- Arrow -----------------------------------------------------------------------------------------------------------


def is_among(column: pa.Array, values: list[Any]) -> pa.Array | None:
    """Test whole numbers or text for being in a list; null stays null; None if values and column do not go together."""
    if pa.types.is_integer(column.type):
        if any(type(value) is not int or not -(2**63) <= value < 2**63 for value in values):
            return None
        column, wanted = column.cast(pa.int64()), pa.array(values, pa.int64())
    elif pa.types.is_string(column.type) and all(type(value) is str for value in values):
        wanted = pa.array(values, pa.string())
    else:
        return None
    found = pc.is_in(column, value_set=wanted)
    return found if column.null_count == 0 else pc.if_else(column.is_valid(), found, pa.scalar(None, pa.bool_()))


# --- indexes ---------------------------------------------------------------------------------------------------------


def places(index: KeyIndex, values: list[Any]) -> Rows | None:
    """Find many values in an index at once.

    Returns
    -------
    numpy.ndarray or None
        Ranges of places, shape (n, 2); None if they cannot be found like this: too many texts, or values that the index does not take.
    """
    wanted = [value for value in values if value is not None]  # x = NULL is never true
    if not all(index.takes(value) for value in wanted):
        return None
    if index.values is None and len(wanted) <= FEW:
        return np.array([index.span(value, value) for value in dict.fromkeys(wanted)], np.int64).reshape(-1, 2)
    if index.values is None:
        return _places_of_text(index, pa.array(wanted, pa.string()).unique()) if len(wanted) <= SEARCHED else None
    kind = index.values.dtype
    if pa.types.is_timestamp(index.kind):
        return np.array([index.span(value, value) for value in wanted], np.int64).reshape(-1, 2)
    if kind == np.float32:  # as `KeyIndex.span`: one rounding more on either side
        with np.errstate(over="ignore"):
            numbers = np.unique(np.array([float(value) for value in wanted], np.float64).astype(np.float32))
        low, high = (np.nextafter(numbers, np.float32(to)) for to in (-np.inf, np.inf))
        return np.stack(
            [index.values.searchsorted(low, side="left"), index.values.searchsorted(high, side="right")], axis=1
        ).astype(np.int64)
    if kind.kind == "f":
        numbers = np.unique(np.array([float(value) for value in wanted], np.float64))
    else:
        limits = np.iinfo(kind)
        numbers = np.unique(
            np.array(
                [int(value) for value in wanted if value == int(value) and limits.min <= value <= limits.max], kind
            )
        )
    return np.stack(
        [index.values.searchsorted(numbers, side="left"), index.values.searchsorted(numbers, side="right")], axis=1
    ).astype(np.int64)


def _places_of_text(index: KeyIndex, wanted: pa.Array) -> Rows:
    """Search all texts in step: a look at the index gives the middle of every range that is left."""
    found = []
    for less in (pc.less, pc.less_equal):
        low, high = np.zeros(len(wanted), np.int64), np.full(len(wanted), index.count, np.int64)
        while len(left := np.flatnonzero(low < high)):
            middle = (low[left] + high[left]) // 2
            rows = middle if index.rows is None else index.rows[middle].astype(np.int64)
            after = np.asarray(less(index.texts(rows), wanted.take(pa.array(left))))
            low[left[after]] = middle[after] + 1
            high[left[~after]] = middle[~after]
        found.append(low)
    return np.stack(found, axis=1)
