"""Long lists of constants (``x IN (1, 2, 3 ..)``, ``x = 1 AND y = 2 OR x = 3 AND y = 4 ..``).

A list is a relation in DuckDB's SQL and a set in Arrow, so it is one value. DuckDB would plan every value of a written
list by itself, which takes seconds for a hundred thousand.
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
    from hven.engines.duckdb.snapshot_files import KeyIndex
    from hven.model.types import ColumnType

    Values = Sequence[float | str | None]
    Rows = npt.NDArray[np.int64]

ROW_FUNCTION = "ROW"  # only in trees that this module makes: (a, b) IN (SELECT ..)
MAX_INLINE_VALUES = 64  # a list of up to this many values is written as it is
MAX_SEARCHED_TEXTS = 20_000  # texts that an index looks up at once; for more, reading every row is quicker
MAX_SINGLE_SEARCHES = 8  # up to this many texts are found sooner one by one
_FIRST_LIST_NUMBER = 1_000_000  # number of the first list in FROM; the binder's own numbers are smaller


# --- DuckDB ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ConstantListTable:
    """A list as a relation: a column for each value that is compared."""

    table: Table
    value_functions: tuple[Listed, ...]

    def build_rows(self, literal_values: Values) -> pa.Table:
        """Return the rows of the relation for these values."""
        arrays = []
        for compute_values, column in zip(self.value_functions, self.table.columns, strict=True):
            arrays.append(pa.array(compute_values(literal_values), column.type.arrow))
        if len(arrays) == 1:
            return pa.table(arrays, schema=self.table.arrow_schema)
        # DuckDB takes rows with NULLs at the same places as equal; -0.0 is made 0.0, as on the other side
        arrays = [pc.add(array, 0.0) if pa.types.is_floating(array.type) else array for array in arrays]
        return pa.table(arrays, schema=self.table.arrow_schema).drop_null()


def rewrite_long_or_chains_as_in(bound_query: BoundQuery) -> BoundQuery:
    """Rewrite long chains ``x = 1 OR x = 2 ..`` of a query as ``x IN (1, 2 ..)``."""

    def change_node(node: Any) -> Any:
        if not isinstance(node, Disjunction) or len(node.parts) <= MAX_INLINE_VALUES:
            return node
        parts = _merge_equality_parts(node)
        if len(parts) == 1:
            return parts[0]
        if len(parts) == len(node.parts):
            return node
        return replace(node, parts=tuple(parts))

    query = transform_tree(bound_query.query, change_node)
    if query is bound_query.query:
        return bound_query
    return replace(bound_query, query=query)


def _merge_equality_parts(disjunction: Disjunction) -> list[Expr]:
    """Return the parts of a disjunction, with the equalities of each column merged into one IN."""
    parts: list[Expr] = []
    part_numbers: dict[tuple[int, str], int] = {}
    equalities_by_column: dict[tuple[int, str], list[tuple[ColumnRef, Expr]]] = {}
    for part in disjunction.parts:
        equality = _match_equality(part)
        if equality is None:
            parts.append(part)
            continue
        column_key = _build_column_key(equality[0])
        if column_key not in equalities_by_column:
            part_numbers[column_key] = len(parts)
            equalities_by_column[column_key] = []
            parts.append(part)
        equalities_by_column[column_key].append(equality)
    for column_key, equalities in equalities_by_column.items():
        if len(equalities) > 1:
            column_ref = equalities[0][0]
            values = tuple([value for _, value in equalities])
            parts[part_numbers[column_key]] = InPredicate(
                column_ref, values, text_offset=disjunction.text_offset, meta=disjunction.meta
            )
    return parts


def _match_equality(node: Expr) -> tuple[ColumnRef, Expr] | None:
    """Match ``column = number or text``; return both sides."""
    if not isinstance(node, Comparison) or node.op != "=":
        return None
    for column_side, value_side in ((node.left, node.right), (node.right, node.left)):
        if isinstance(column_side, ColumnRef) and _match_signed_literal(value_side) is not None:
            return column_side, value_side
    return None


def _match_signed_literal(node: Expr) -> Literal | None:
    """Return the literal that an expression is, with or without a sign; None if it is none."""
    inner = node
    if isinstance(node, UnaryOperation) and node.op in "+-":
        inner = node.operand
    if type(inner) is Literal:
        return inner
    return None


def _build_column_key(column_ref: ColumnRef) -> tuple[int, str]:
    if column_ref.column is None:
        name = column_ref.name.name
    else:
        name = column_ref.column.name
    return column_ref.source, name


class _LongListExtractor:
    """Replaces long lists in a query.

    Its methods are no nested functions, because closures that refer to each other would keep the query in memory until
    the garbage collector runs.
    """

    def __init__(self, free_slots: frozenset[int]) -> None:
        self.list_tables: list[ConstantListTable] = []
        self._free_slots = free_slots

    def _add_list_table(
        self, types: Sequence[ColumnType], values: Sequence[Listed]
    ) -> tuple[TableRef, list[ColumnRef]]:
        list_number = len(self.list_tables)
        columns = tuple([Column(name=f"v{number}", type=type_) for number, type_ in enumerate(types)])
        table = Table(schema="hven", name=f"list{list_number}", columns=columns)
        table_name = (Ident("hven"), Ident(table.name))
        source = TableRef(table_name, number=_FIRST_LIST_NUMBER + list_number, table=table)
        self.list_tables.append(ConstantListTable(table, tuple(values)))
        column_refs = []
        for column in columns:
            meta = ValueMetadata(column.type, column=column)
            column_refs.append(ColumnRef(Ident(column.name), source=source.number, column=column, meta=meta))
        return source, column_refs

    def _combine_equality_alternatives(self, node: Expr) -> Expr:
        """Combine many ``a = 1 AND b = 2`` into one test.

        It is valid where a condition that is NULL drops the row, as one that is false does.
        """
        if isinstance(node, Conjunction):
            return replace(node, parts=tuple([self._combine_equality_alternatives(part) for part in node.parts]))
        if not isinstance(node, Disjunction) or len(node.parts) <= MAX_INLINE_VALUES:
            return node
        parts: list[Expr] = []
        rows_by_columns: dict[tuple[tuple[int, str], ...], list[dict[tuple[int, str], tuple[ColumnRef, Expr]]]] = {}
        for part in node.parts:
            equalities = _match_equalities(part)
            if len(equalities) > 1:
                rows_by_columns.setdefault(tuple(sorted(equalities)), []).append(equalities)
            else:
                parts.append(part)
        for column_keys, rows in rows_by_columns.items():
            if len(rows) <= MAX_INLINE_VALUES:
                return node
            row_test = self._build_row_in_predicate(node, column_keys, rows)
            if row_test is None:
                return node
            parts.append(row_test)
        if len(parts) == 1:
            return parts[0]
        return replace(node, parts=tuple(parts))

    def _build_row_in_predicate(
        self,
        node: Disjunction,
        column_keys: Sequence[tuple[int, str]],
        rows: Sequence[dict[tuple[int, str], tuple[ColumnRef, Expr]]],
    ) -> Expr | None:
        column_refs = [rows[0][key][0] for key in column_keys]
        types = []
        value_functions = []
        for column_key, column_ref in zip(column_keys, column_refs, strict=True):
            choices = [row[column_key][1] for row in rows]
            common_type = _find_common_type(column_ref, choices)
            compute_values = compile_constant_list(choices, self._free_slots)
            if common_type is None or compute_values is None:
                return None
            types.append(common_type)
            value_functions.append(compute_values)
        source, columns = self._add_list_table(types, value_functions)
        items = tuple([SelectItem(column, column=column.column) for column in columns])
        return InPredicate(
            FunctionCall(ROW_FUNCTION, tuple(column_refs), meta=node.meta),
            Subquery(Query(Select(items, source)), text_offset=node.text_offset, meta=node.meta),
            text_offset=node.text_offset,
            meta=node.meta,
        )

    def replace_long_lists_in_select(self, node: Any) -> Any:
        if not isinstance(node, Select) or node.where is None:
            return node
        parts: dict[str, Any] = {
            "where": transform_tree(
                self._combine_equality_alternatives(node.where), self._replace_long_list_in_condition
            )
        }
        for name in ("items", "source", "group_by", "having"):
            parts[name] = transform_tree(getattr(node, name), self.replace_long_lists_in_select)
        if all(part is getattr(node, name) for name, part in parts.items()):
            return node
        return replace(node, **parts)

    def _replace_long_list_in_condition(self, node: Any) -> Any:
        if isinstance(node, Query):
            return transform_tree(node, self.replace_long_lists_in_select)
        if not isinstance(node, InPredicate) or isinstance(node.choices, Subquery):
            return node
        if len(node.choices) <= MAX_INLINE_VALUES:
            return node
        common_type = _find_common_type(node.operand, node.choices)
        compute_values = compile_constant_list(node.choices, self._free_slots)
        if common_type is None or compute_values is None:
            return node
        source, (column_ref,) = self._add_list_table([common_type], [compute_values])
        query = Query(Select((SelectItem(column_ref, column=column_ref.column),), source))
        operand = transform_tree(node.operand, self._replace_long_list_in_condition)
        subquery = Subquery(query, text_offset=node.text_offset, meta=ValueMetadata(common_type))
        return replace(node, operand=operand, choices=subquery)


def _match_equalities(node: Expr) -> dict[tuple[int, str], tuple[ColumnRef, Expr]]:
    """Return the equalities of a conjunction by their columns; empty if a part is none or a column occurs twice."""
    equalities: dict[tuple[int, str], tuple[ColumnRef, Expr]] = {}
    for part in node.parts if isinstance(node, Conjunction) else ():
        equality = _match_equality(part)
        if equality is None:
            return {}
        column_key = _build_column_key(equality[0])
        if column_key in equalities:
            return {}
        equalities[column_key] = equality
    return equalities


def extract_long_lists(bound_query: BoundQuery) -> tuple[BoundQuery, tuple[ConstantListTable, ...]]:
    """Rewrite the long lists in a query's WHERE conditions as subqueries over relations; return the query and these."""
    extractor = _LongListExtractor(bound_query.free_slots)
    query = transform_tree(bound_query.query, extractor.replace_long_lists_in_select)
    if not extractor.list_tables:
        return bound_query, ()
    tables = (*bound_query.tables, *(list_table.table for list_table in extractor.list_tables))
    return replace(bound_query, query=query, tables=tables), tuple(extractor.list_tables)


def _find_common_type(operand: Expr, choices: Sequence[Expr]) -> ColumnType | None:
    """Return the type that holds all values of a list and compares them as comparing one by one would.

    Return None if there is none.
    """
    if operand.meta is None:
        return None
    types = set()
    for choice in choices.type_determining_literals if isinstance(choices, LiteralList) else choices:
        literal = _match_signed_literal(choice)
        if literal is None:
            return None
        if literal.meta is not None and literal.value is not None:
            types.add(literal.meta.type)
    operand_type = operand.meta.type
    if operand_type.is_string and all(type_.is_string for type_ in types):
        return STRING
    if operand_type.is_integer and types <= {INT32, INT64}:
        return INT64
    if operand_type in {INT32, FLOAT32, FLOAT64} and types <= {INT32, FLOAT64}:
        return FLOAT64
    return None


# --- Arrow -----------------------------------------------------------------------------------------------------------


def test_membership(column: pa.Array, values: list[Any]) -> pa.Array | None:
    """Test which integers or texts are in a list; null stays null. Return None if values and column do not match."""
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


def find_place_ranges_of_values(index: KeyIndex, values: list[Any]) -> Rows | None:
    """Find the places of many values in an index at once.

    Returns
    -------
    numpy.ndarray or None
        Ranges of places, shape (n, 2). None if there are too many texts, or the index cannot look a value up.
    """
    non_null_values = [value for value in values if value is not None]  # x = NULL is never true
    if not all(index.can_look_up(value) for value in non_null_values):
        return None
    if index.values is None:
        return _find_places_of_texts(index, non_null_values)
    if pa.types.is_timestamp(index.arrow_type):
        return _find_places_one_by_one(index, non_null_values)
    number_type = index.values.dtype
    if number_type.kind == "f":
        numbers = np.unique(np.array([float(value) for value in non_null_values], np.float64))
    else:
        limits = np.iinfo(number_type)
        possible_values = [
            int(value) for value in non_null_values if value == int(value) and limits.min <= value <= limits.max
        ]
        numbers = np.unique(np.array(possible_values, number_type))
    low = high = numbers
    if number_type == np.float32:  # as in `KeyIndex.find_range`: one more rounding on either side
        with np.errstate(over="ignore"):
            numbers = np.unique(numbers.astype(np.float32))
        low = np.nextafter(numbers, np.float32(-np.inf))
        high = np.nextafter(numbers, np.float32(np.inf))
    begin = index.values.searchsorted(low, side="left")
    end = index.values.searchsorted(high, side="right")
    return np.stack([begin, end], axis=1).astype(np.int64)


def _find_places_one_by_one(index: KeyIndex, values: Sequence[Any]) -> Rows:
    ranges = [index.find_range(value, value) for value in values]
    return np.array(ranges, np.int64).reshape(-1, 2)


def _find_places_of_texts(index: KeyIndex, texts: Sequence[Any]) -> Rows | None:
    if len(texts) <= MAX_SINGLE_SEARCHES:
        return _find_places_one_by_one(index, list(dict.fromkeys(texts)))
    if len(texts) <= MAX_SEARCHED_TEXTS:
        return _find_text_ranges_by_bisection(index, pa.array(texts, pa.string()).unique())
    return None


def _find_text_ranges_by_bisection(index: KeyIndex, texts: pa.Array) -> Rows:
    """Search all texts at once by bisection: one look at the index gives the middle of every remaining range."""
    bounds = []
    for compare in (pc.less, pc.less_equal):
        low = np.zeros(len(texts), np.int64)
        high = np.full(len(texts), index.count, np.int64)
        while len(open_numbers := np.flatnonzero(low < high)):
            midpoints = (low[open_numbers] + high[open_numbers]) // 2
            rows = midpoints
            if index.rows is not None:
                rows = index.rows[midpoints].astype(np.int64)
            middle_texts = index.get_texts(rows)
            is_after = np.asarray(compare(middle_texts, texts.take(pa.array(open_numbers))))
            low[open_numbers[is_after]] = midpoints[is_after] + 1
            high[open_numbers[~is_after]] = midpoints[~is_after]
        bounds.append(low)
    return np.stack(bounds, axis=1)
