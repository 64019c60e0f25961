"""`group_by`: make one row of several source rows.

The arguments of aggregates are computed row by row; everything else has one value for each group.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

import pyarrow as pa

from hven.adql.binder import bind_query
from hven.adql.functions import MAPPING_FUNCTIONS
from hven.adql.scope import StaticTableCatalogue
from hven.adql.syntax_tree import (
    ColumnRef,
    Expr,
    FunctionCall,
    Ident,
    Literal,
    Query,
    Select,
    SelectItem,
    TableRef,
    ValueMetadata,
    transform_tree,
    walk_tree,
)
from hven.descriptor import _expression_trees as expression_trees
from hven.descriptor.compiled_mapping import SOURCE_RELATION, FaultReportedError, GroupAggregate, RowGroupPlan
from hven.model.table import Column, Table
from hven.model.types import FLOAT64, INT64, STRING, ColumnType, build_type_from_arrow, parse_type
from hven.sources import ROW_NUMBER_COLUMN

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hven.adql.syntax_tree import SyntaxNode
    from hven.descriptor.value_schema import FaultCollector
    from hven.descriptor.written_yaml import LocatedYamlScalar
    from hven.model.errors import TextPlace

# aggregate -> largest number of arguments; all take DISTINCT or not, as in SQL
MAX_ARGUMENTS_BY_AGGREGATE = {
    "MIN": 1,
    "MAX": 1,
    "SUM": 1,
    "AVG": 1,
    "COUNT": 1,
    "STRING_AGG": 3,
    "IVO_STRING_AGG": 3,
    "FIRST_OF": 2,
    "LAST_OF": 2,
    "ARRAY_AGG": 2,
    "UNION_OF": 1,
}
TEXT_AGGREGATES = frozenset({"STRING_AGG", "IVO_STRING_AGG"})  # they take a separator, too
MAPPING_AGGREGATES = frozenset(MAX_ARGUMENTS_BY_AGGREGATE) - set(MAPPING_FUNCTIONS.names)  # queries do not have these


class ExpressionResolver(Protocol):
    """The part of `hven.descriptor._name_resolution.ExpressionNameResolver` that groups need."""

    faults: FaultCollector
    columns: list[Column]
    call_origins: dict[str, frozenset[str]]
    used: set[str]

    def bind_expression_text(self, text: LocatedYamlScalar, key_path: str, targets: Any) -> tuple[Expr, ValueMetadata]:
        """Parse an expression, replace its names, and derive its type."""

    def expand_names(self, tree: Expr, text: LocatedYamlScalar, key_path: str, targets: Any, offset: int = 0) -> Expr:
        """Replace names by the expressions that they stand for."""

    def derive_expression_meta(
        self, tree: Expr, text: LocatedYamlScalar, key_path: str, offset: int = 0
    ) -> ValueMetadata:
        """Derive type, unit and origins of an expression."""

    def find_source_origins(self, meta: ValueMetadata) -> frozenset[str]:
        """Find the source columns behind a value."""


class RowGrouping:
    """Collects the keys of a table's groups, and the aggregates in its expressions."""

    def __init__(self, expression_resolver: ExpressionResolver) -> None:
        self.expression_resolver = expression_resolver
        self.key_columns: dict[Expr, str] = {}
        self.simple_key_columns: list[str] = []
        self.aggregates: dict[FunctionCall, GroupAggregate] = {}
        self.argument_columns: dict[Expr, str] = {}
        self.is_inside_rows = False

    @contextmanager
    def refuse_aggregates(self) -> Iterator[None]:
        """Treat expressions within as expressions over single rows: aggregates are faults there."""
        was_inside = self.is_inside_rows
        self.is_inside_rows = True
        try:
            yield
        finally:
            self.is_inside_rows = was_inside

    def add_key(self, text: LocatedYamlScalar, key_path: str) -> None:
        """Add an entry of ``group_by``: a column of the source, a ``let`` name, or an expression."""
        with self.refuse_aggregates():
            try:
                tree, meta = self.expression_resolver.bind_expression_text(text, key_path, None)
            except FaultReportedError:
                return
        if self._has_python_call_column(tree):
            message = f"{key_path}: rows cannot be grouped by the result of an aggregate or of a Python function"
            self.expression_resolver.faults.add_error(message, text.place)
        elif isinstance(tree, ColumnRef):
            self.simple_key_columns.append(tree.name.name)
        else:
            name = f"key.{len(self.key_columns) + 1}"
            origins = self.expression_resolver.find_source_origins(meta)
            self.key_columns[tree] = self._add_column(name, meta.type, meta, origins)

    def replace_keys_by_columns(self, tree: Expr) -> Expr:
        """Replace expressions that are keys by the columns of the keys."""
        if self.is_inside_rows or not self.key_columns:
            return tree

        def replace_key(node: SyntaxNode) -> SyntaxNode:
            if node in self.key_columns:
                return expression_trees.build_column_ref(self.key_columns[node], node.text_offset)
            return node

        return transform_tree(tree, replace_key)

    def replace_aggregate(self, node: FunctionCall, text: LocatedYamlScalar, key_path: str, offset: int) -> Expr:
        """Replace an aggregate by the column that holds its result."""
        faults = self.expression_resolver.faults
        place = text.locate_character(node.text_offset + offset)
        name = node.name.lower()
        if self.is_inside_rows:
            faults.add_error(
                f"{key_path}: {name} is an aggregate and cannot be used where rows are read one at a time", place
            )
            raise FaultReportedError
        self._check_argument_count(node, key_path, place)
        separator = None
        args = list(node.args)
        if node.name in TEXT_AGGREGATES:
            separator_literal = args.pop(1)
            if not isinstance(separator_literal, Literal) or not isinstance(separator_literal.value, str):
                faults.add_error(f"{key_path}: the separator of {name} must be a string: {name}(x, '#')", place)
                raise FaultReportedError
            separator = separator_literal.value
        with self.refuse_aggregates():
            expanded = [self.expression_resolver.expand_names(arg, text, key_path, None, offset) for arg in args]
        key = FunctionCall(node.name, (*expanded, Literal(separator)), distinct=node.distinct, star=node.star)
        if key not in self.aggregates:
            metas = [self.expression_resolver.derive_expression_meta(arg, text, key_path, offset) for arg in expanded]
            if any(map(self._has_python_call_column, expanded)):
                message = f"{key_path}: {name} cannot contain another aggregate or the result of a Python function"
                faults.add_error(message, place, "compute the inner value in a separate source")
                raise FaultReportedError
            self.aggregates[key] = self._add_aggregate_columns(node, expanded, metas, separator)
        return expression_trees.build_column_ref(self.aggregates[key].output, node.text_offset)

    def _check_argument_count(self, node: FunctionCall, key_path: str, place: TextPlace) -> None:
        """Raise if an aggregate has too few or too many arguments."""
        max_argument_count = MAX_ARGUMENTS_BY_AGGREGATE[node.name]
        if node.star:
            min_argument_count = 0
        elif node.name in TEXT_AGGREGATES:
            min_argument_count = 2
        else:
            min_argument_count = 1
        if min_argument_count <= len(node.args) <= max_argument_count:
            return
        if min_argument_count == 2:
            argument_help = "name, separator [, order]"
        elif max_argument_count == 2:
            argument_help = "value [, order]"
        else:
            argument_help = "value"
        name = node.name.lower()
        message = f"{key_path}: {name} must be written as {name}({argument_help})"
        self.expression_resolver.faults.add_error(message, place)
        raise FaultReportedError

    def _add_aggregate_columns(
        self, node: FunctionCall, args: list[Expr], metas: list[ValueMetadata], separator: str | None
    ) -> GroupAggregate:
        """Add the column of an aggregate's result, and the columns of its arguments."""
        origins: set[str] = set()
        for meta in metas:
            origins |= self.expression_resolver.find_source_origins(meta)
        result_type = _derive_aggregate_type(node.name, metas)
        result_meta = None
        if metas and node.name != "COUNT" and node.name not in TEXT_AGGREGATES:
            result_meta = metas[0]
        column_name = f"group.{len(self.aggregates) + 1}"
        output = self._add_column(column_name, result_type, result_meta, frozenset(origins))
        argument_columns = tuple(
            self.argument_columns.setdefault(arg, f"arg.{len(self.argument_columns) + 1}") for arg in args
        )
        return GroupAggregate(
            output=output,
            function=node.name,
            argument_columns=argument_columns,
            is_distinct=node.distinct,
            separator=separator,
            type=result_type,
        )

    def _has_python_call_column(self, tree: Expr) -> bool:
        column_names = {node.name.name for node in walk_tree(tree) if isinstance(node, ColumnRef)}
        return not column_names.isdisjoint(self.expression_resolver.call_origins)

    def _add_column(
        self, name: str, column_type: ColumnType, meta: ValueMetadata | None, origins: frozenset[str]
    ) -> str:
        self.expression_resolver.call_origins[name] = origins
        unit = meta.unit if meta else None
        ucd = meta.ucd if meta else None
        self.expression_resolver.columns.append(Column(name=name, type=column_type, unit=unit, ucd=ucd))
        self.expression_resolver.used |= origins
        return name

    def build_group_plan(self, source: Table, where: Expr | None, plain_columns: tuple[str, ...]) -> RowGroupPlan:
        """Plan the values that are computed for each row, before rows are grouped.

        Raises
        ------
        BindError
            The condition or an argument cannot be bound.
        """
        trees_by_name = {name: tree for tree, name in (*self.key_columns.items(), *self.argument_columns.items())}
        trees_by_name[ROW_NUMBER_COLUMN] = expression_trees.build_column_ref(ROW_NUMBER_COLUMN)
        items = tuple(SelectItem(tree, Ident(name, quoted=True)) for name, tree in trees_by_name.items())
        call_origins = self.expression_resolver.call_origins
        source_columns = tuple(column for column in source.columns if column.name not in call_origins)
        catalogue = StaticTableCatalogue([source.copy_with(columns=source_columns)])
        select = Select(items, TableRef((Ident(SOURCE_RELATION),)), where=where)
        skipped_columns = {*self.simple_key_columns, ROW_NUMBER_COLUMN}
        return RowGroupPlan(
            bound=bind_query(Query(select), catalogue, functions=MAPPING_FUNCTIONS),
            key_columns=tuple(self.key_columns.values()),
            simple_key_columns=tuple(dict.fromkeys(self.simple_key_columns)),
            aggregates=tuple(self.aggregates.values()),
            plain_columns=tuple(name for name in plain_columns if name not in skipped_columns),
        )


def _derive_aggregate_type(function: str, metas: list[ValueMetadata]) -> ColumnType:
    if function == "COUNT":
        return INT64
    if function in TEXT_AGGREGATES:
        return STRING
    if function == "UNION_OF":
        return parse_type("multishape")
    argument_type = metas[0].type
    if function == "AVG" or (function == "SUM" and not argument_type.is_integer):
        return FLOAT64
    if function == "SUM":
        return INT64
    if function == "ARRAY_AGG":
        argument_type = build_type_from_arrow(pa.list_(argument_type.arrow))
    return argument_type
