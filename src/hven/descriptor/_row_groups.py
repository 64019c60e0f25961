"""`group_by`: several source rows become one.

What stands in aggregates is worked out row by row, the rest is one value for each group.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

import pyarrow as pa

from hven.adql.binder import bind_query
from hven.adql.functions import MAPPING_FUNCTIONS
from hven.adql.scope import StaticCatalogue
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
from hven.descriptor.compiled_mapping import SOURCE_RELATION, FaultReportedError, GroupAggregate, GroupPlan
from hven.model.table import Column, Table
from hven.model.types import FLOAT64, INT64, STRING, Type, parse_type, type_from_arrow
from hven.sources import ROW_NUMBER_COLUMN

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hven.descriptor.value_schema import FaultCollector
    from hven.descriptor.written_yaml import WrittenScalar

# name -> most arguments; all take DISTINCT or not as SQL has it
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
MAPPING_AGGREGATES = frozenset(MAX_ARGUMENTS_BY_AGGREGATE) - set(
    MAPPING_FUNCTIONS.names
)  # those that queries do not have


class ExpressionResolver(Protocol):
    """What is needed of the names of a table: `hven.descriptor._name_resolution.ExpressionNames`."""

    faults: FaultCollector
    columns: list[Column]
    call_origins: dict[str, frozenset[str]]
    used: set[str]

    def bind_expression_text(self, text: WrittenScalar, key_path: str, targets: Any) -> tuple[Expr, ValueMetadata]:
        """Parse an expression, replace its names, type it."""

    def expand_names(self, tree: Expr, text: WrittenScalar, key_path: str, targets: Any, offset: int = 0) -> Expr:
        """Replace names by what they stand for."""

    def derive_expression_meta(self, tree: Expr, text: WrittenScalar, key_path: str, offset: int = 0) -> ValueMetadata:
        """Infer type, unit and origins."""

    def find_source_origins(self, meta: ValueMetadata) -> frozenset[str]:
        """Find the source columns behind a value."""


class RowGrouping:
    """The keys of a table's groups and the aggregates in its expressions, as they are found."""

    def __init__(self, expression_resolver: ExpressionResolver) -> None:
        self.expression_resolver = expression_resolver
        self.key_columns: dict[Expr, str] = {}
        self.simple_key_columns: list[str] = []
        self.aggregates: dict[FunctionCall, GroupAggregate] = {}
        self.argument_columns: dict[Expr, str] = {}
        self.is_inside_rows = False

    @contextmanager
    def mark_as_single_rows(self) -> Iterator[None]:
        """Treat expressions within as about single rows: aggregates are faults there."""
        was_inside = self.is_inside_rows
        self.is_inside_rows = True
        try:
            yield
        finally:
            self.is_inside_rows = was_inside

    def add_key(self, text: WrittenScalar, key_path: str) -> None:
        """Add an entry of ``group_by``: a column of the source, a ``let`` name, an expression."""
        with self.mark_as_single_rows():
            try:
                tree, meta = self.expression_resolver.bind_expression_text(text, key_path, None)
            except FaultReportedError:
                return
        if self._has_computed_column(tree):
            self.expression_resolver.faults.add_error(
                f"{key_path}: groups cannot be made by what only groups have", text.place
            )
        elif isinstance(tree, ColumnRef):
            self.simple_key_columns.append(tree.name.name)
        else:
            self.key_columns[tree] = self._add_column(
                f"key.{len(self.key_columns) + 1}", meta.type, meta, self.expression_resolver.find_source_origins(meta)
            )

    def replace_keys(self, tree: Expr) -> Expr:
        """Replace expressions that are keys by the keys."""
        if self.is_inside_rows or not self.key_columns:
            return tree
        return transform_tree(
            tree,
            lambda node: (
                expression_trees.build_column_ref(self.key_columns[node], node.text_offset)
                if node in self.key_columns
                else node
            ),
        )

    def replace_aggregate(self, node: FunctionCall, text: WrittenScalar, key_path: str, offset: int) -> Expr:
        """Replace an aggregate by the column that holds its result."""
        faults = self.expression_resolver.faults
        place = text.locate_character(node.text_offset + offset)
        name = node.name.lower()
        if self.is_inside_rows:
            faults.add_error(f"{key_path}: {name} cannot stand here, where single rows are meant", place)
            raise FaultReportedError
        if node.star:
            min_argument_count = 0
        elif "STRING_AGG" in node.name:
            min_argument_count = 2
        else:
            min_argument_count = 1
        if not min_argument_count <= len(node.args) <= MAX_ARGUMENTS_BY_AGGREGATE[node.name]:
            if min_argument_count == 2:
                argument_help = "name, separator [, order]"
            elif MAX_ARGUMENTS_BY_AGGREGATE[node.name] == 2:
                argument_help = "value [, order]"
            else:
                argument_help = "value"
            faults.add_error(f"{key_path}: {name} is written {name}({argument_help})", place)
            raise FaultReportedError
        separator = None
        args = list(node.args)
        if min_argument_count == 2:
            separator_literal = args.pop(1)
            if not isinstance(separator_literal, Literal) or not isinstance(separator_literal.value, str):
                faults.add_error(f"{key_path}: the separator of {name} is a text: {name}(x, '#')", place)
                raise FaultReportedError
            separator = separator_literal.value
        with self.mark_as_single_rows():
            expanded = [self.expression_resolver.expand_names(arg, text, key_path, None, offset) for arg in args]
        key = FunctionCall(node.name, (*expanded, Literal(separator)), distinct=node.distinct, star=node.star)
        if key not in self.aggregates:
            metas = [self.expression_resolver.derive_expression_meta(arg, text, key_path, offset) for arg in expanded]
            if any(self._has_computed_column(arg) for arg in expanded):
                faults.add_error(
                    f"{key_path}: {name} cannot hold what only groups have, nor a Python function's result",
                    place,
                    "make it in a source of its own",
                )
                raise FaultReportedError
            origins: set[str] = (
                set().union(*(self.expression_resolver.find_source_origins(meta) for meta in metas)) if metas else set()
            )
            result_type = _derive_aggregate_type(node.name, metas)
            if metas and node.name not in {"COUNT", "STRING_AGG", "IVO_STRING_AGG"}:
                unit = metas[0]
            else:
                unit = None
            output = self._add_column(f"group.{len(self.aggregates) + 1}", result_type, unit, frozenset(origins))
            names = tuple(
                self.argument_columns.setdefault(arg, f"arg.{len(self.argument_columns) + 1}") for arg in expanded
            )
            self.aggregates[key] = GroupAggregate(
                output=output,
                function=node.name,
                argument_columns=names,
                is_distinct=node.distinct,
                separator=separator,
                type=result_type,
            )
        return expression_trees.build_column_ref(self.aggregates[key].output, node.text_offset)

    def _has_computed_column(self, tree: Expr) -> bool:
        return any(
            isinstance(node, ColumnRef) and node.name.name in self.expression_resolver.call_origins
            for node in walk_tree(tree)
        )

    def _add_column(self, name: str, column_type: Type, meta: ValueMetadata | None, origins: frozenset[str]) -> str:
        self.expression_resolver.call_origins[name] = origins
        unit = meta.unit if meta else None
        ucd = meta.ucd if meta else None
        self.expression_resolver.columns.append(Column(name=name, type=column_type, unit=unit, ucd=ucd))
        self.expression_resolver.used |= origins
        return name

    def build_group_plan(self, source: Table, where: Expr | None, plain_columns: tuple[str, ...]) -> GroupPlan:
        """Plan what is computed for each row, before rows are grouped.

        Raises
        ------
        BindError
            Of the condition or of an argument.
        """
        items = [
            SelectItem(tree, Ident(name, quoted=True))
            for tree, name in (*self.key_columns.items(), *self.argument_columns.items())
        ]
        column_ref = expression_trees.build_column_ref(ROW_NUMBER_COLUMN)
        items.append(SelectItem(column_ref, Ident(ROW_NUMBER_COLUMN, quoted=True)))
        columns = tuple(column for column in source.columns if column.name not in self.expression_resolver.call_origins)
        source_table = source.copy_with(columns=columns)
        bound = bind_query(
            Query(Select(tuple(items), TableRef((Ident(SOURCE_RELATION),)), where=where)),
            StaticCatalogue([source_table]),
            functions=MAPPING_FUNCTIONS,
        )
        key_columns = tuple(self.key_columns.values())
        simple_key_columns = tuple(dict.fromkeys(self.simple_key_columns))
        aggregates = tuple(self.aggregates.values())
        return GroupPlan(
            bound=bound,
            key_columns=key_columns,
            simple_key_columns=simple_key_columns,
            aggregates=aggregates,
            plain_columns=tuple(
                name for name in plain_columns if name not in self.simple_key_columns and name != ROW_NUMBER_COLUMN
            ),
        )


def _derive_aggregate_type(function: str, metas: list[ValueMetadata]) -> Type:
    if function == "COUNT":
        return INT64
    if function in {"STRING_AGG", "IVO_STRING_AGG"}:
        return STRING
    if function == "UNION_OF":
        return parse_type("multishape")
    argument_type = metas[0].type
    if function == "AVG":
        return FLOAT64
    if function == "SUM":
        return INT64 if argument_type.is_integer else FLOAT64
    if function == "ARRAY_AGG":
        return type_from_arrow(pa.list_(argument_type.arrow))
    return argument_type
