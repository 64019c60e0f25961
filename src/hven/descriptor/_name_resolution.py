"""Resolve the names in the expressions of one table, and derive the types of the expressions."""

from __future__ import annotations

import re
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

from hven.adql.binder import bind_condition, bind_expression, bind_query
from hven.adql.functions import MAPPING_FUNCTIONS
from hven.adql.scope import ColumnLookup, StaticTableCatalogue, is_same_name
from hven.adql.syntax_tree import (
    BinaryOperation,
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
from hven.descriptor._column_expressions import parse_expression_with_depth_limit
from hven.descriptor._manual_conversions import find_manual_argument_conversions
from hven.descriptor._row_groups import MAPPING_AGGREGATES, MAX_ARGUMENTS_BY_AGGREGATE, RowGrouping
from hven.descriptor.compiled_mapping import SOURCE_RELATION, FaultReportedError, PythonFunctionCall
from hven.descriptor.value_schema import FaultCollector
from hven.descriptor.written_yaml import LocatedYamlScalar, YamlFileText
from hven.model import plugins, units
from hven.model.errors import BindError, ParseError, suggest_spelling
from hven.model.resource import ExpressionFunction
from hven.model.table import Column, Table
from hven.model.types import CONTOUR, INT64, STRING, TIMESTAMP
from hven.sources import FILE_FACT_COLUMNS, ROW_NUMBER_COLUMN
from hven.sources.kind_traits import find_source_kind_traits

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hven.model.errors import TextPlace
    from hven.model.resource import CollectionSpec, TableSpec

# collection.x in expressions
COLLECTION_KEYS = ("name", "title", "created", "publisher", "bibcode", "doi", "licence", "reference_url")
REMOTE_SIZE_FUNCTION = "PRODUCT_SIZE"  # size of a file, or of an http resource, whose server is asked at ingest
MAX_LISTED_NAMES = 12
PRODUCT_FUNCTIONS = frozenset({"PRODUCT_SIZE", "PRODUCT_MD5"})
_FACT_TYPES = {"file.size": INT64, "file.mtime": TIMESTAMP, "file.footprint": CONTOUR}


class IngestTimeText(str):
    """The time of a run, in an expression for which the descriptor has no date; its type tells it from other texts."""

    __slots__ = ()


class TargetColumns(Protocol):
    """The table's own columns, for ``target.x``."""

    @property
    def settings_by_column(self) -> Mapping[str, Any]:
        """The settings of the columns, by name."""

    def compile_column(self, name: str, reference_place: TextPlace | None, key_path: str) -> Expr:
        """Return the final tree of a target column; raises `FaultReportedError` after a fault."""


def with_place(text: str, place: TextPlace) -> LocatedYamlScalar:
    """Give a place to a text that a program made, so that its faults have one."""
    if isinstance(text, LocatedYamlScalar):
        return text
    page = YamlFileText(place.file or "", "\n" * ((place.line or 1) - 1) + " " * ((place.column or 1) - 1) + text)
    return LocatedYamlScalar(text, page, len(page.text) - len(text), len(page.text), "made")


@dataclass(frozen=True, slots=True)
class _CallContext:
    """The table in whose expression a function is called, for `FunctionDefinition.expand_call`."""

    resolver: ExpressionNameResolver
    call: FunctionCall
    text: LocatedYamlScalar
    key_path: str
    target_columns: TargetColumns | None
    offset: int

    @property
    def directory(self) -> str:
        return str(self.resolver.resource.path.parent)

    @property
    def has_header_columns(self) -> bool:
        return all(
            source.options.get("mode") in find_source_kind_traits(source.kind).header_modes
            for source in self.resolver.spec.sources
        )

    @property
    def has_selected_cards(self) -> bool:
        return any("cards" in source.options for source in self.resolver.spec.sources)

    @property
    def is_table_on_body(self) -> bool:
        return self.resolver.spec.frame == "body"

    def find_source_column(self, name: str) -> Expr | None:
        column = self.resolver.find_column(Ident(name))
        if column is None:
            return None
        return expression_trees.build_column_ref(column.name, self.call.text_offset)

    def expand_arguments(self) -> tuple[Expr, ...]:
        return tuple(
            self.resolver.expand_names(arg, self.text, self.key_path, self.target_columns, self.offset)
            for arg in self.call.args
        )

    def raise_call_error(self, message: str, remedy: str) -> NoReturn:
        place = self.text.locate_character(self.call.text_offset + self.offset)
        self.resolver.faults.add_error(f"{self.key_path}: {message}", place, remedy)
        raise FaultReportedError


class ExpressionNameResolver:
    """Resolves the names of expressions: columns of the source, ``let``, constants, Python functions.

    Attributes
    ----------
    source_columns
        Columns of the source.
    columns
        All columns that expressions may read: those of the source, file facts, the row number, results of Python
        calls, lookups.
    used
        Columns that anything but a plain copy reads.
    """

    def __init__(self, spec: TableSpec, source_columns: Sequence[Column], resource: CollectionSpec) -> None:
        self.spec = spec
        self.resource = resource
        self.faults = FaultCollector()
        self.key_path = f"tables.{spec.table.name}"
        self.source_columns = list(source_columns)
        facts = [Column(name=name, type=_FACT_TYPES.get(name, STRING)) for name in FILE_FACT_COLUMNS]
        self.columns = [*self.source_columns, *facts, Column(name=ROW_NUMBER_COLUMN, type=INT64, required=True)]
        self._column_lookup = ColumnLookup(self.columns)
        self.python_functions = {function.name.lower(): function for function in resource.functions}
        self.calls: dict[FunctionCall, PythonFunctionCall] = {}
        self.call_origins: dict[str, frozenset[str]] = {}
        self.let_expressions: dict[str, Expr | None] = {}
        self.used: set[str] = set()
        self.grouping = RowGrouping(self) if spec.group_by else None
        self.run_time = IngestTimeText(datetime.fromtimestamp(time.time(), UTC).strftime("%Y-%m-%dT%H:%M:%S"))

    def has_errors(self) -> bool:
        """Return whether there are errors."""
        return any(fault.severity == "error" for fault in self.faults.faults)

    def bind_let_expression(self, name: str, text: LocatedYamlScalar) -> None:
        """Bind one ``let``, after those that it needs."""
        if self.find_column(Ident(name)) is not None:
            message = f"{self.key_path}.let: {name} is already a column of the source"
            self.faults.add_error(message, text.place, "choose another name")
        self.let_expressions[name] = None
        with suppress(FaultReportedError):
            self.let_expressions[name], _ = self.bind_expression_text(text, f"{self.key_path}.let.{name}", None)

    def find_column(self, ident: Ident) -> Column | None:
        """Find a column of the source by a name as written; an exact match goes before one in another case."""
        exact_indexes = self.column_lookup.find_column_indexes(Ident(ident.name, quoted=True))
        if exact_indexes:
            return self.columns[exact_indexes[0]]
        if ident.quoted:
            return None
        indexes = self.column_lookup.find_column_indexes(ident)
        if len(indexes) == 1:
            return self.columns[indexes[0]]
        return None

    @property
    def column_lookup(self) -> ColumnLookup:
        """The columns by name; the lookup is built again when a column was added.

        So an expression is bound in the same time, however many columns there are.
        """
        if len(self._column_lookup.columns) != len(self.columns):
            self._column_lookup = ColumnLookup(self.columns)
        return self._column_lookup

    def bind_expression_text(
        self, text: LocatedYamlScalar, key_path: str, target_columns: TargetColumns | None
    ) -> tuple[Expr, ValueMetadata]:
        """Parse an expression, replace its names, and derive its type.

        Return the tree over the source alone, and the metadata of its value.
        """
        try:
            tree = parse_expression_with_depth_limit(str(text))
        except ParseError as error:
            self.faults.add_error(f"{key_path}: {error.message}", text.locate_character(error.offset), error.remedy)
            raise FaultReportedError from None
        tree = self.expand_names(tree, text, key_path, target_columns)
        value_meta = self.derive_expression_meta(tree, text, key_path)

        def find_unit(arg: Expr) -> str | None:
            return self.derive_expression_meta(arg, text, key_path).unit

        for name, node, converted_unit, expected_unit in find_manual_argument_conversions(tree, find_unit):
            operation = node.op
            if isinstance(node.right, Literal):
                operation = f"{node.op} {node.right.value}"
            message = (
                f"{key_path}: {name} already converts {converted_unit} to {expected_unit}; "
                f"`{operation}` would convert the value twice"
            )
            self.faults.add_warning(message, text.locate_character(node.text_offset), f"remove `{operation}`")
        return tree, value_meta

    def bind_condition_text(
        self, text: str, place: TextPlace, key_path: str, target_columns: TargetColumns | None
    ) -> Expr | None:
        """Parse and type a condition over the source; None after a fault."""
        value = with_place(text, place)
        try:
            tree = parse_expression_with_depth_limit(str(value), is_condition=True)
            tree = self.expand_names(tree, value, key_path, target_columns)
            bound = bind_condition(tree, self.column_lookup, text=str(value))
        except (ParseError, BindError) as error:
            self.report_adql_error(error, value, key_path)
            return None
        except FaultReportedError:
            return None
        self.used |= list_column_names(bound)
        return tree

    def report_adql_error(self, error: ParseError | BindError, text: LocatedYamlScalar, key_path: str) -> None:
        """Report a fault of ADQL with its place in the YAML file."""
        self.faults.add_error(
            f"{key_path}: {error.message.removesuffix(' in the subquery')}",
            text.locate_character(error.offset),
            error.remedy,
        )

    def derive_expression_meta(
        self, tree: Expr, text: LocatedYamlScalar, key_path: str, offset: int = 0
    ) -> ValueMetadata:
        """Bind an expression, and return type, unit and origins of its value."""
        try:
            bound = bind_expression(tree, self.column_lookup, text=str(text))
        except BindError as error:
            self.faults.add_error(
                f"{key_path}: {error.message.removesuffix(' in the subquery')}",
                text.locate_character(error.offset + offset),
                error.remedy,
            )
            raise FaultReportedError from None
        if bound.meta is None:
            raise AssertionError
        return bound.meta

    def expand_names(
        self, tree: Expr, text: LocatedYamlScalar, key_path: str, target_columns: TargetColumns | None, offset: int = 0
    ) -> Expr:
        """Replace let names, constants, target columns, header cards and Python calls by what they stand for."""

        def expand_node(node: Any) -> Any:
            if isinstance(node, ColumnRef):
                return self.resolve_name(node, text, key_path, target_columns, offset)
            if isinstance(node, Literal):
                return Literal(node.value, text_offset=node.text_offset)
            if isinstance(node, FunctionCall):
                return self._expand_call(node, text, key_path, target_columns, offset)
            return node

        tree = transform_tree(tree, expand_node)
        if sum(1 for _ in walk_tree(tree)) > expression_trees.MAX_EXPRESSION_NODES:
            self.faults.add_error(
                f"{key_path}: after Hven has replaced all names, the expression has more than "
                f"{expression_trees.MAX_EXPRESSION_NODES:,} parts",
                text.place,
                "simplify the expressions under 'let'",
            )
            raise FaultReportedError
        if self.grouping is None:
            return tree
        return self.grouping.replace_keys_by_columns(tree)

    # the dispatch over the functions that only mappings have: one branch and one return for each of them
    def _expand_call(
        self,
        node: FunctionCall,
        text: LocatedYamlScalar,
        key_path: str,
        target_columns: TargetColumns | None,
        offset: int,
    ) -> Expr:
        """Replace a call of a function that only mappings have; check the name of any other function."""
        place = text.locate_character(node.text_offset + offset)
        if self.grouping is not None and node.name in MAX_ARGUMENTS_BY_AGGREGATE:
            return self.grouping.replace_aggregate(node, text, key_path, offset)
        if node.name in MAPPING_AGGREGATES:
            message = f"{key_path}: {node.name.lower()} needs grouped rows"
            self.faults.add_error(message, place, "write `group_by: [key]` in the table")
            raise FaultReportedError
        if node.name == "HEADER":
            return self.resolve_header_card(node, text, key_path, offset)
        if node.name in PRODUCT_FUNCTIONS and len(node.args) == 1:
            path = self.expand_names(node.args[0], text, key_path, target_columns, offset)
            return self._expand_file_function_call(node, path, text, key_path, offset)
        if node.name.lower() in self.python_functions:
            return self.replace_python_call_by_column(node, text, key_path, target_columns, offset)
        function = MAPPING_FUNCTIONS.find_function(node.name)
        if function is None:
            function_names = [*(name.lower() for name in MAPPING_FUNCTIONS.names), *self.python_functions]
            message = f"{key_path}: there is no function {node.name.lower()}"
            unused_error = plugins.find_disabled_plugin_error("function_definitions", node.name.lower())
            if unused_error is not None:
                self.faults.add_error(f"{key_path}: {unused_error.message}", place, unused_error.remedy)
            else:
                self.faults.add_error(message, place, suggest_spelling(node.name, function_names))
            raise FaultReportedError
        if function.expand_call is None:
            return node
        return function.expand_call(_CallContext(self, node, text, key_path, target_columns, offset)) or node

    def _expand_file_function_call(
        self, node: FunctionCall, path: Expr, text: LocatedYamlScalar, key_path: str, offset: int
    ) -> Expr:
        """Add the directory of relative paths to a call over a file; the size of a web address is asked at ingest."""
        local_call = FunctionCall(node.name, (path, self.build_directory_literal(node)), text_offset=node.text_offset)
        if node.name != REMOTE_SIZE_FUNCTION or not _can_be_web_address(path):
            return local_call
        self.derive_expression_meta(local_call, text, key_path, offset)
        remote_function = ExpressionFunction(
            name=REMOTE_SIZE_FUNCTION,
            path=None,
            type=INT64,
            unit="byte",
            ucd="phys.size;meta.file",
            place=text.place,
        )
        remote_size = self.add_python_call_column(
            remote_function, (path,), text, key_path, text_offset=node.text_offset, offset=offset
        )
        return FunctionCall("COALESCE", (remote_size, local_call), text_offset=node.text_offset)

    def build_directory_literal(self, node: FunctionCall) -> Literal:
        """Return the directory from which relative paths start."""
        return Literal(str(self.resource.path.parent), text_offset=node.text_offset)

    def resolve_name(
        self, node: ColumnRef, text: LocatedYamlScalar, key_path: str, target_columns: TargetColumns | None, offset: int
    ) -> Expr:
        """Resolve a name: a source column, then a let name, then a constant; or ``target.x``, ``site.x``."""
        if node.qualifier:
            return self._resolve_qualified_name(node, text, key_path, target_columns, offset)
        column = self.find_column(node.name)
        if column is not None:
            return expression_trees.build_column_ref(column.name, node.text_offset)
        for name, tree in self.let_expressions.items():
            if is_same_name(node.name, name):
                if tree is None:
                    raise FaultReportedError
                return expression_trees.set_tree_text_offset(tree, node.text_offset)
        for name, value in self.resource.let.items():
            if is_same_name(node.name, name):
                return Literal(value, text_offset=node.text_offset)
        message, remedy = self._describe_unknown_name(node.name.name)
        self.faults.add_error(f"{key_path}: {message}", text.locate_character(node.text_offset + offset), remedy)
        raise FaultReportedError

    def _describe_unknown_name(self, name: str) -> tuple[str, str]:
        """Return message and remedy for a name that stands for nothing, or for several columns."""
        source_names = [column.name for column in self.source_columns]
        similar_names = [source_name for source_name in source_names if source_name.lower() == name.lower()]
        if len(similar_names) > 1:
            choices = ", ".join(f'"{similar_name}"' for similar_name in similar_names)
            return f"{name} matches several columns", f"write one of {choices}"
        known_names = [*source_names, *self.spec.let, *self.resource.let]
        remedy = suggest_spelling(name, known_names)
        if not remedy and name in {column.name for column in self.spec.table.columns}:
            remedy = f"write target.{name} for the table's own column"
        remedy = remedy or f"use one of {format_name_list(known_names)}"
        return f"the source has no column {name!r}, and 'let' has no such name", remedy

    def _resolve_qualified_name(
        self, node: ColumnRef, text: LocatedYamlScalar, key_path: str, target_columns: TargetColumns | None, offset: int
    ) -> Expr:
        """Resolve a name with a prefix: of the table, the site, the collection, or a source column with a dot."""
        place = text.locate_character(node.text_offset + offset)
        prefix = ".".join(part.name for part in node.qualifier)
        name = node.name.name
        lower_prefix = prefix.lower()
        if lower_prefix == "target" and target_columns is None:
            message = f"{key_path}: target.{name} is not yet known here"
            self.faults.add_error(message, place, "use the source's columns")
            raise FaultReportedError
        if lower_prefix == "target" and target_columns is not None:
            tree = target_columns.compile_column(name, place, key_path)
            return expression_trees.set_tree_text_offset(tree, node.text_offset)
        if lower_prefix == "site" and name in self.resource.site:
            return Literal(self.resource.site[name], text_offset=node.text_offset)
        if lower_prefix == "collection" and name in COLLECTION_KEYS:
            return Literal(self.find_collection_key_value(name), text_offset=node.text_offset)
        for dotted_name in (f"{prefix}.{name}", f"{lower_prefix}.{name.lower()}"):
            column = self.find_column(Ident(dotted_name, quoted=True))
            if column is not None:
                return expression_trees.build_column_ref(column.name, node.text_offset)
        known_names = [known_column.name for known_column in self.columns]
        if target_columns:
            known_names += [f"target.{target_name}" for target_name in target_columns.settings_by_column]
        hint = suggest_spelling(f"{prefix}.{name}", known_names)
        self.faults.add_error(f"{key_path}: there is no '{prefix}.{name}'", place, hint)
        raise FaultReportedError

    def find_collection_key_value(self, key: str) -> str | None:
        """Return the value of a collection's key; the date of creation is the time of the run if there is none."""
        value: str | None = getattr(self.resource, key)
        if key == "created" and not value:
            return self.run_time
        return value

    def resolve_header_card(self, node: FunctionCall, text: LocatedYamlScalar, key_path: str, offset: int) -> Expr:
        """Replace ``header('DATE-OBS')`` by the source column that the card became."""
        place = text.locate_character(node.text_offset + offset)
        card = None
        if len(node.args) == 1 and isinstance(node.args[0], Literal):
            card = node.args[0].value
        if not isinstance(card, str):
            self.faults.add_error(f"{key_path}: header() needs the name of a card: header('DATE-OBS')", place)
            raise FaultReportedError
        source_names = [column.name for column in self.source_columns]
        similar_names = [name for name in source_names if _normalize_card_name(name) == _normalize_card_name(card)]
        if card in source_names:
            return expression_trees.build_column_ref(card, node.text_offset)
        if similar_names:
            return expression_trees.build_column_ref(similar_names[0], node.text_offset)
        message = f"{key_path}: the source has no header card {card!r}"
        self.faults.add_error(message, place, suggest_spelling(card, source_names))
        raise FaultReportedError

    def replace_python_call_by_column(
        self,
        node: FunctionCall,
        text: LocatedYamlScalar,
        key_path: str,
        target_columns: TargetColumns | None,
        offset: int,
    ) -> Expr:
        """Replace a call of a Python function by the column that it will fill."""
        function = self.python_functions[node.name.lower()]
        args = tuple(self.expand_names(arg, text, key_path, target_columns, offset) for arg in node.args)
        place = text.locate_character(node.text_offset + offset)
        if function.argument_count is not None and len(args) != function.argument_count:
            message = f"{key_path}: {function.name} takes {function.argument_count} arguments, not {len(args)}"
            self.faults.add_error(message, place)
            raise FaultReportedError
        if not args:
            message = f"{key_path}: {function.name} needs at least one argument"
            self.faults.add_error(
                message, place, "pass at least one column so that the function knows the number of rows"
            )
            raise FaultReportedError
        return self.add_python_call_column(function, args, text, key_path, text_offset=node.text_offset, offset=offset)

    def add_python_call_column(
        self,
        function: ExpressionFunction,
        args: tuple[Expr, ...],
        text: LocatedYamlScalar,
        key_path: str,
        *,
        text_offset: int,
        offset: int,
    ) -> Expr:
        """Plan a function's call before the mapping runs; return the column that it fills."""
        key = FunctionCall(function.name, args)
        if key not in self.calls:
            origins: set[str] = set()
            for arg in args:
                origins |= self.find_source_origins(self.derive_expression_meta(arg, text, key_path, offset))
            output = f"call.{len(self.calls) + 1}"
            source = Table(schema="", name=SOURCE_RELATION, columns=tuple(self.columns))
            items = tuple(SelectItem(arg, Ident(f"arg{number}")) for number, arg in enumerate(args, 1))
            query = Query(Select(items, TableRef((Ident(SOURCE_RELATION),))))
            self.calls[key] = PythonFunctionCall(
                name=function.name,
                path=function.path,
                argument_query=bind_query(query, StaticTableCatalogue([source]), functions=MAPPING_FUNCTIONS),
                output_column=output,
                type=function.type,
                place=text.locate_character(text_offset + offset),
            )
            self.call_origins[output] = frozenset(origins)
            self.columns.append(Column(name=output, type=function.type, unit=function.unit, ucd=function.ucd))
            self.used |= origins
        return expression_trees.build_column_ref(self.calls[key].output_column, text_offset)

    def find_source_origins(self, meta: ValueMetadata) -> frozenset[str]:
        """Find the source columns behind a value, through Python calls."""
        source_names: set[str] = set()
        for name in meta.origins:
            source_names |= self.call_origins.get(name, {name})
        return frozenset(source_names)


def _normalize_card_name(name: str) -> str:
    return name.lower().replace("-", "_").replace(" ", "_")


def _can_be_web_address(tree: Expr) -> bool:
    """Return whether a text may begin with http, as far as its first constant tells; a file's facts never do."""
    while isinstance(tree, BinaryOperation) and tree.op == "||":
        tree = tree.left
    if isinstance(tree, Literal):
        return isinstance(tree.value, str) and "http".startswith(tree.value[:4].lower())
    return not (isinstance(tree, ColumnRef) and tree.name.name in FILE_FACT_COLUMNS)


def list_column_names(tree: Any) -> set[str]:
    """List the names of all columns in a tree."""
    return {node.name.name for node in walk_tree(tree) if isinstance(node, ColumnRef)}


def is_ingest_time_value(tree: Expr) -> bool:
    """Return whether a value is made from the time of the run, and from no column."""
    literals = [node.value for node in walk_tree(tree) if isinstance(node, Literal)]
    return not list_column_names(tree) and any(isinstance(value, IngestTimeText) for value in literals)


def format_name_list(names: Sequence[str]) -> str:
    """List the first names."""
    name_list = ", ".join(names[:MAX_LISTED_NAMES])
    if len(names) > MAX_LISTED_NAMES:
        return f"{name_list} ..."
    return name_list or "no columns"


_BRACKETED_UNIT_PATTERN = re.compile(r".*\S\s*(?:\[([^\]]+)\]|\(([^)]+)\))\s*")


def parse_column_header_unit(name: str) -> str | None:
    """Parse the unit in a header such as ``sep (arcmin)``.

    It counts only if the target's unit is of the same kind.
    """
    match = _BRACKETED_UNIT_PATTERN.fullmatch(name)
    if match is None:
        return None
    with suppress(ValueError):
        return units.canonicalize_unit(match[1] or match[2]) or None
    return None
