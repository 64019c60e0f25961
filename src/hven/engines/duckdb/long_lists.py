"""Long lists of constants (``x IN (1, 2, 3 ..)``, ``x = 1 AND y = 2 OR x = 3 AND y = 4 ..``).

A relation in DuckDB's SQL, a set in Arrow.

DuckDB plans every value of a list by itself, which takes seconds for a hundred thousand; a list is one value here.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hven.adql.syntax_tree import (
    ColumnRef,
    Comparison,
    Conjunction,
    Disjunction,
    FunctionCall,
    Ident,
    InPredicate,
    Literal,
    LiteralList,
    Query,
    Select,
    SelectItem,
    Subquery,
    TableRef,
    UnaryOperation,
    ValueMetadata,
    transform_tree,
)
from hven.engines._query_analysis.constants import compile_constant_list
from hven.model.table import Column, Table
from hven.model.types import FLOAT32, FLOAT64, INT32, INT64, STRING

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from hven.adql.syntax_tree import BoundQuery, Expr
    from hven.engines._query_analysis.constants import Listed
    from hven.engines.duckdb.key_index import KeyIndex
    from hven.model.types import Type

    Values = Sequence[float | str | None]
    Rows = npt.NDArray[np.int64]

ROW_FUNCTION = "ROW"  # in trees made here alone: (a, b) IN (SELECT ..)
MAX_INLINE_VALUES = 64  # values; a shorter list is written as it stands
MAX_SEARCHED_TEXTS = 20_000  # texts that are searched in an index at once; looking at every row is quicker for more
MAX_SINGLE_SEARCHES = 8  # texts that are found sooner one by one
_FIRST_LIST_NUMBER = 1_000_000  # of the first list in FROM: the binder's own numbers are small


# --- DuckDB ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ListTable:
    """A list as a relation: a column for each value that is compared."""

    table: Table
    value_functions: tuple[Listed, ...]

    def build_rows(self, literal_values: Values) -> pa.Table:
        """Return its rows."""
        arrays = [
            pa.array(column(literal_values), table_column.type.arrow)
            for column, table_column in zip(self.value_functions, self.table.columns, strict=True)
        ]
        if len(arrays) == 1:
            return pa.table(arrays, schema=self.table.arrow_schema)
        # DuckDB finds rows equal whose NULLs stand at the same places, and -0.0 is made 0.0 on the other side
        arrays = [pc.add(array, 0.0) if pa.types.is_floating(array.type) else array for array in arrays]
        return pa.table(arrays, schema=self.table.arrow_schema).drop_null()


def merge_equalities(bound_query: BoundQuery) -> BoundQuery:
    """Rewrite long chains ``x = 1 OR x = 2 ..`` of a query as ``x IN (1, 2 ..)``."""

    def change_node(node: Any) -> Any:
        if not isinstance(node, Disjunction) or len(node.parts) <= MAX_INLINE_VALUES:
            return node
        parts: list[Expr] = []
        equalities_by_column: dict[tuple[int, str], tuple[int, list[Comparison]]] = {}
        for part in node.parts:
            sides = _match_equality(part)
            if sides is None:
                parts.append(part)
                continue
            column_key = _build_column_key(sides[0])
            _, equalities = equalities_by_column.setdefault(column_key, (len(parts), []))
            if not equalities:
                parts.append(part)
            equalities.append(part)  # type: ignore[arg-type]
        for part_number, equalities in equalities_by_column.values():
            if len(equalities) > 1:
                sides_ = [sides for equality in equalities if (sides := _match_equality(equality)) is not None]
                parts[part_number] = InPredicate(
                    sides_[0][0], tuple([value for _, value in sides_]), text_offset=node.text_offset, meta=node.meta
                )
        if len(parts) == 1:
            return parts[0]
        if len(parts) == len(node.parts):
            return node
        return replace(node, parts=tuple(parts))

    query = transform_tree(bound_query.query, change_node)
    if query is bound_query.query:
        return bound_query
    return replace(bound_query, query=query)


def _match_equality(node: Expr) -> tuple[ColumnRef, Expr] | None:
    """Recognise ``column = number or text``, and give both."""
    if not isinstance(node, Comparison) or node.op != "=":
        return None
    for column_side, value_side in ((node.left, node.right), (node.right, node.left)):
        if isinstance(column_side, ColumnRef) and _find_literal(value_side) is not None:
            return column_side, value_side
    return None


def _find_literal(node: Expr) -> Literal | None:
    """Return the literal of a literal, or of one with a sign."""
    if isinstance(node, UnaryOperation) and node.op in "+-":
        inner = node.operand
    else:
        inner = node
    return inner if type(inner) is Literal else None


def _build_column_key(ref: ColumnRef) -> tuple[int, str]:
    return ref.source, ref.column.name if ref.column is not None else ref.name.name


class _ListExtractor:
    """Takes long lists out of a query. No closures that know each other.

    They would keep the query until the collector finds them.
    """

    def __init__(self, free_slots: frozenset[int]) -> None:
        self.list_tables: list[ListTable] = []
        self._free_slots = free_slots

    def _add_list_table(self, types: Sequence[Type], values: Sequence[Listed]) -> tuple[TableRef, list[ColumnRef]]:
        columns = tuple([Column(name=f"v{number}", type=type_) for number, type_ in enumerate(types)])
        table = Table(schema="hven", name=f"list{len(self.list_tables)}", columns=columns)
        source = TableRef(
            (Ident("hven"), Ident(table.name)), number=_FIRST_LIST_NUMBER + len(self.list_tables), table=table
        )
        self.list_tables.append(ListTable(table, tuple(values)))
        return source, [
            ColumnRef(
                Ident(column.name), source=source.number, column=column, meta=ValueMetadata(column.type, column=column)
            )
            for column in columns
        ]

    def _combine_equalities(self, node: Expr) -> Expr:
        """Combine many ``a = 1 AND b = 2`` in one test.

        Where a condition that is NULL drops the row as one that is false does.
        """
        if isinstance(node, Conjunction):
            return replace(node, parts=tuple([self._combine_equalities(part) for part in node.parts]))
        if not isinstance(node, Disjunction) or len(node.parts) <= MAX_INLINE_VALUES:
            return node
        other_parts: list[Expr] = []
        rows_by_columns: dict[tuple[tuple[int, str], ...], list[dict[tuple[int, str], tuple[ColumnRef, Expr]]]] = {}
        for part in node.parts:
            if isinstance(part, Conjunction):
                tests = [_match_equality(part_test) for part_test in part.parts]
            else:
                tests = []
            pairs = {_build_column_key(test[0]): test for test in tests if test is not None}
            if len(pairs) > 1 and len(pairs) == len(tests):
                rows_by_columns.setdefault(tuple(sorted(pairs)), []).append(pairs)
            else:
                other_parts.append(part)
        for column_keys, rows in rows_by_columns.items():
            if len(rows) > MAX_INLINE_VALUES:
                test = self._build_row_test(node, column_keys, rows)
            else:
                test = None
            if test is None:
                return node
            other_parts.append(test)
        if len(other_parts) == 1:
            return other_parts[0]
        return replace(node, parts=tuple(other_parts))

    def _build_row_test(
        self,
        node: Disjunction,
        column_keys: Sequence[tuple[int, str]],
        rows: Sequence[dict[tuple[int, str], tuple[ColumnRef, Expr]]],
    ) -> Expr | None:
        refs = [rows[0][key][0] for key in column_keys]
        choices = [[row[key][1] for row in rows] for key in column_keys]
        types = [_find_common_type(ref, values) for ref, values in zip(refs, choices, strict=True)]
        values = [compile_constant_list(column_choices, self._free_slots) for column_choices in choices]
        known_types = [type_ for type_ in types if type_ is not None]
        known_values = [value_function for value_function in values if value_function is not None]
        if len(known_types) < len(column_keys) or len(known_values) < len(column_keys):
            return None
        source, columns = self._add_list_table(known_types, known_values)
        query = Query(Select(tuple([SelectItem(column, column=column.column) for column in columns]), source))
        return InPredicate(
            FunctionCall(ROW_FUNCTION, tuple(refs), meta=node.meta),
            Subquery(query, text_offset=node.text_offset, meta=node.meta),
            text_offset=node.text_offset,
            meta=node.meta,
        )

    def rewrite_select(self, node: Any) -> Any:
        if not isinstance(node, Select) or node.where is None:
            return node
        where = transform_tree(self._combine_equalities(node.where), self._rewrite_condition)
        other_parts = {
            name: transform_tree(getattr(node, name), self.rewrite_select)
            for name in ("items", "source", "group_by", "having")
        }
        if where is node.where and all(new is getattr(node, name) for name, new in other_parts.items()):
            return node
        return replace(node, where=where, **other_parts)

    def _rewrite_condition(self, node: Any) -> Any:
        if isinstance(node, Query):
            return transform_tree(node, self.rewrite_select)
        if (
            not isinstance(node, InPredicate)
            or isinstance(node.choices, Subquery)
            or len(node.choices) <= MAX_INLINE_VALUES
        ):
            return node
        type_ = _find_common_type(node.operand, node.choices)
        values = compile_constant_list(node.choices, self._free_slots)
        if type_ is None or values is None:
            return node
        source, (value,) = self._add_list_table([type_], [values])
        query = Query(Select((SelectItem(value, column=value.column),), source))
        operand = transform_tree(node.operand, self._rewrite_condition)
        choices = Subquery(query, text_offset=node.text_offset, meta=ValueMetadata(type_))
        return replace(
            node,
            operand=operand,
            choices=choices,
        )


def extract_lists(bound_query: BoundQuery) -> tuple[BoundQuery, tuple[ListTable, ...]]:
    """Rewrite the long lists of a query's WHERE conditions as subqueries over relations, and return both."""
    lists = _ListExtractor(bound_query.free_slots)
    query = transform_tree(bound_query.query, lists.rewrite_select)
    if not lists.list_tables:
        return bound_query, ()
    return replace(
        bound_query, query=query, tables=(*bound_query.tables, *(item.table for item in lists.list_tables))
    ), tuple(lists.list_tables)


def _find_common_type(operand: Expr, choices: Sequence[Expr]) -> Type | None:
    """Return the one type that holds all values of a list, and in which they are compared as they would be one by one.

    None: there is none.
    """
    if operand.meta is None:
        return None
    literals = [
        _find_literal(choice) for choice in (choices.sample_literals if isinstance(choices, LiteralList) else choices)
    ]
    if any(literal is None for literal in literals):
        return None
    types = {
        literal.meta.type
        for literal in literals
        if literal is not None and literal.meta is not None and literal.value is not None
    }
    if operand.meta.type.is_string and all(type_.is_string for type_ in types):
        return STRING
    if operand.meta.type.is_integer and types <= {INT32, INT64}:
        return INT64
    if operand.meta.type in {INT32, FLOAT32, FLOAT64} and types <= {INT32, FLOAT64}:
        return FLOAT64
    return None


# --- Arrow -----------------------------------------------------------------------------------------------------------


def test_membership(column: pa.Array, values: list[Any]) -> pa.Array | None:
    """Test whole numbers or text for being in a list; null stays null; None if values and column do not go together."""
    if pa.types.is_integer(column.type):
        if any(type(value) is not int or not -(2**63) <= value < 2**63 for value in values):
            return None
        column = column.cast(pa.int64())
        value_set = pa.array(values, pa.int64())
    elif pa.types.is_string(column.type) and all(type(value) is str for value in values):
        value_set = pa.array(values, pa.string())
    else:
        return None
    mask = pc.is_in(column, value_set=value_set)
    if column.null_count == 0:
        return mask
    return pc.if_else(column.is_valid(), mask, pa.scalar(None, pa.bool_()))


# --- indexes ---------------------------------------------------------------------------------------------------------


def find_places(index: KeyIndex, values: list[Any]) -> Rows | None:
    """Find many values in an index at once.

    Returns
    -------
    numpy.ndarray or None
        Ranges of places, shape (n, 2); None if they cannot be found like this: too many texts, or values that the index
        does not take.
    """
    non_null_values = [value for value in values if value is not None]  # x = NULL is never true
    if not all(index.can_look_up(value) for value in non_null_values):
        return None
    if index.values is None and len(non_null_values) <= MAX_SINGLE_SEARCHES:
        return np.array([index.find_range(value, value) for value in dict.fromkeys(non_null_values)], np.int64).reshape(
            -1, 2
        )
    if index.values is None:
        if len(non_null_values) <= MAX_SEARCHED_TEXTS:
            return _find_text_places(index, pa.array(non_null_values, pa.string()).unique())
        return None
    dtype = index.values.dtype
    if pa.types.is_timestamp(index.arrow_type):
        return np.array([index.find_range(value, value) for value in non_null_values], np.int64).reshape(-1, 2)
    if dtype == np.float32:  # as `KeyIndex.find_range`: one rounding more on either side
        with np.errstate(over="ignore"):
            numbers = np.unique(np.array([float(value) for value in non_null_values], np.float64).astype(np.float32))
        low, high = (np.nextafter(numbers, np.float32(to)) for to in (-np.inf, np.inf))
        return np.stack(
            [index.values.searchsorted(low, side="left"), index.values.searchsorted(high, side="right")], axis=1
        ).astype(np.int64)
    if dtype.kind == "f":
        numbers = np.unique(np.array([float(value) for value in non_null_values], np.float64))
    else:
        limits = np.iinfo(dtype)
        numbers = np.unique(
            np.array(
                [int(value) for value in non_null_values if value == int(value) and limits.min <= value <= limits.max],
                dtype,
            )
        )
    return np.stack(
        [index.values.searchsorted(numbers, side="left"), index.values.searchsorted(numbers, side="right")], axis=1
    ).astype(np.int64)


def _find_text_places(index: KeyIndex, texts: pa.Array) -> Rows:
    """Search all texts in step: a look at the index gives the middle of every range that is left."""
    bounds = []
    for compare in (pc.less, pc.less_equal):
        low = np.zeros(len(texts), np.int64)
        high = np.full(len(texts), index.count, np.int64)
        while len(open_numbers := np.flatnonzero(low < high)):
            midpoints = (low[open_numbers] + high[open_numbers]) // 2
            if index.rows is None:
                rows = midpoints
            else:
                rows = index.rows[midpoints].astype(np.int64)
            is_after = np.asarray(compare(index.get_texts(rows), texts.take(pa.array(open_numbers))))
            low[open_numbers[is_after]] = midpoints[is_after] + 1
            high[open_numbers[~is_after]] = midpoints[~is_after]
        bounds.append(low)
    return np.stack(bounds, axis=1)
