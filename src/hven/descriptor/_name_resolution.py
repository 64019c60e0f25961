"""Names in the expressions of one table.

What each stands for, what type it has, and where the fault is if it is none.
"""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Protocol

from hven.adql.binder import bind_condition, bind_expression, bind_query
from hven.adql.functions import MAPPING_FUNCTIONS
from hven.adql.scope import ColumnLookup, StaticCatalogue, is_same_name
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
from hven.descriptor import _image_functions as image_functions
from hven.descriptor._column_expressions import parse_bounded_expression
from hven.descriptor._manual_conversions import find_argument_conversions
from hven.descriptor._row_groups import MAPPING_AGGREGATES, MAX_ARGUMENTS_BY_AGGREGATE, RowGrouping
from hven.descriptor.compiled_mapping import SOURCE_RELATION, FaultReportedError, PythonCall
from hven.descriptor.value_schema import FaultCollector
from hven.descriptor.written_yaml import WrittenScalar, YamlPage
from hven.model import units
from hven.model.errors import BindError, ParseError, suggest_spelling
from hven.model.resource import PythonFunction
from hven.model.table import Column, Table
from hven.model.types import CONTOUR, INT64, STRING, TIMESTAMP
from hven.sources import FILE_FACT_COLUMNS, ROW_NUMBER_COLUMN

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hven.model.errors import Place
    from hven.model.resource import Resource, TableSpec

# collection.x in expressions
COLLECTION_KEYS = ("name", "title", "created", "publisher", "bibcode", "doi", "licence", "reference_url")
REMOTE_SIZE_FUNCTION = "PRODUCT_SIZE"  # of a file, or of what an http address leads to: its server is asked at ingest
_FACT_TYPES = {"file.size": INT64, "file.mtime": TIMESTAMP, image_functions.FOOTPRINT_COLUMN: CONTOUR}


class RunTimeText(str):
    """The time of a run, where an expression has it for want of a date of the descriptor.

    A text that can be told from others.
    """

    __slots__ = ()


class TargetColumns(Protocol):
    """The table's own columns, for ``target.x``."""

    @property
    def settings(self) -> Mapping[str, Any]:
        """What sets each column, by name."""

    def compile_column(self, name: str, reference_place: Place | None, key_path: str) -> Expr:
        """Return the final tree of a target column; raises `FaultReportedError` after a fault."""


def add_place(text: str, place: Place) -> WrittenScalar:
    """Place text that a program made, so that faults in it say where."""
    if isinstance(text, WrittenScalar):
        return text
    page = YamlPage(place.file or "", "\n" * ((place.line or 1) - 1) + " " * ((place.column or 1) - 1) + text)
    return WrittenScalar(text, page, len(page.text) - len(text), len(page.text), "made")


class ExpressionNames:
    """The source's columns, ``let``, constants, Python functions; resolves and types expressions over them.

    Attributes
    ----------
    source_columns
        Columns of the source.
    columns
        All that expressions may read: real ones, file facts, the row number, results of Python calls, lookups.
    used
        Columns that anything but a plain copy reads.
    """

    def __init__(self, spec: TableSpec, source_columns: Sequence[Column], resource: Resource) -> None:
        self.spec = spec
        self.resource = resource
        self.faults = FaultCollector()
        self.key_path = f"tables.{spec.table.name}"
        self.source_columns = list(source_columns)
        facts = [Column(name=name, type=_FACT_TYPES.get(name, STRING)) for name in FILE_FACT_COLUMNS]
        self.columns = [*self.source_columns, *facts, Column(name=ROW_NUMBER_COLUMN, type=INT64, required=True)]
        self._column_lookup = ColumnLookup(self.columns)
        self.python_functions = {function.name.lower(): function for function in resource.functions}
        self.calls: dict[FunctionCall, PythonCall] = {}
        self.call_origins: dict[str, frozenset[str]] = {}
        self.let_expressions: dict[str, Expr | None] = {}
        self.used: set[str] = set()
        self.grouping = RowGrouping(self) if spec.group_by else None
        self.run_time = RunTimeText(datetime.fromtimestamp(time.time(), UTC).strftime("%Y-%m-%dT%H:%M:%S"))

    def has_errors(self) -> bool:
        """Check whether there are errors."""
        return any(fault.severity == "error" for fault in self.faults.faults)

    def bind_let(self, name: str, text: WrittenScalar) -> None:
        """Bind one ``let``; those it needs came before."""
        if self.find_column(Ident(name)) is not None:
            self.faults.add_error(
                f"{self.key_path}.let: {name} is a column of the source already", text.place, "choose another name"
            )
        try:
            tree, _ = self.bind_expression_text(text, f"{self.key_path}.let.{name}", None)
            self.let_expressions[name] = tree
        except FaultReportedError:
            self.let_expressions[name] = None

    def find_column(self, ident: Ident) -> Column | None:
        """Find a column of the source by a name as written; exact before case-blind."""
        exact = self.column_lookup.find_indexes(Ident(ident.name, quoted=True))
        if exact or ident.quoted:
            if exact:
                return self.columns[exact[0]]
            return None
        matches = self.column_lookup.find_indexes(ident)
        if len(matches) == 1:
            return self.columns[matches[0]]
        return None

    @property
    def column_lookup(self) -> ColumnLookup:
        """The columns by name, made anew when one was added.

        To bind an expression takes a moment, however many there are.
        """
        if len(self._column_lookup.columns) != len(self.columns):
            self._column_lookup = ColumnLookup(self.columns)
        return self._column_lookup

    def bind_expression_text(
        self, text: WrittenScalar, key_path: str, target_columns: TargetColumns | None
    ) -> tuple[Expr, ValueMetadata]:
        """Parse an expression, replace its names, type it.

        Return the tree over the source alone, and what its value is.
        """
        try:
            tree = parse_bounded_expression(str(text))
        except ParseError as error:
            self.faults.add_error(f"{key_path}: {error.message}", text.locate_character(error.offset), error.remedy)
            raise FaultReportedError from None
        tree = self.expand_names(tree, text, key_path, target_columns)
        value_meta = self.derive_expression_meta(tree, text, key_path)
        for name, node, converted_unit, expected_unit in find_argument_conversions(
            tree, lambda arg: self.derive_expression_meta(arg, text, key_path).unit
        ):
            if isinstance(node.right, Literal):
                number = node.right.value
            else:
                number = ""
            message = (
                f"{key_path}: {name} takes {expected_unit}, and converts {converted_unit} by itself; {node.op} "
                f"{number} does it once more"
            )
            self.faults.add_warning(message, text.locate_character(node.text_offset), f"leave {node.op} {number} out")
        return tree, value_meta

    def bind_condition_text(
        self, text: str, place: Place, key_path: str, target_columns: TargetColumns | None
    ) -> Expr | None:
        """Parse and type a condition over the source; None after a fault."""
        value = add_place(text, place)
        try:
            tree = parse_bounded_expression(str(value), condition=True)
            tree = self.expand_names(tree, value, key_path, target_columns)
            bound = bind_condition(tree, self.column_lookup, text=str(value))
        except (ParseError, BindError) as error:
            self.report_adql_error(error, value, key_path)
            return None
        except FaultReportedError:
            return None
        self.used |= list_column_names(bound)
        return tree

    def report_adql_error(self, error: ParseError | BindError, text: WrittenScalar, key_path: str) -> None:
        """Report a fault of ADQL in the YAML file."""
        self.faults.add_error(
            f"{key_path}: {error.message.removesuffix(' in the subquery')}",
            text.locate_character(error.offset),
            error.remedy,
        )

    def derive_expression_meta(self, tree: Expr, text: WrittenScalar, key_path: str, offset: int = 0) -> ValueMetadata:
        """Bind for the type, unit and origins."""
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
        self, tree: Expr, text: WrittenScalar, key_path: str, target_columns: TargetColumns | None, offset: int = 0
    ) -> Expr:
        """Replace let names, constants, target columns, header cards and Python calls by what they stand for."""

        def expand_node(node: Any) -> Any:
            if isinstance(node, ColumnRef):
                return self.resolve_name(node, text, key_path, target_columns, offset)
            if isinstance(node, Literal):
                return Literal(node.value, text_offset=node.text_offset)
            if isinstance(node, FunctionCall):
                if self.grouping is not None and node.name in MAX_ARGUMENTS_BY_AGGREGATE:
                    return self.grouping.replace_aggregate(node, text, key_path, offset)
                if node.name in MAPPING_AGGREGATES:
                    self.faults.add_error(
                        f"{key_path}: {node.name.lower()} needs groups",
                        text.locate_character(node.text_offset + offset),
                        "say group_by: [key] for the table",
                    )
                    raise FaultReportedError
                if node.name == "HEADER":
                    return self.resolve_header_card(node, text, key_path, offset)
                if node.name == "WCS_FOOTPRINT" and not node.args:
                    return image_functions.expand_footprint_call(self, node, text, key_path, offset)
                if node.name == image_functions.MASK_FUNCTION and not (
                    len(node.args) > 2 and isinstance(node.args[-1], Literal)
                ):
                    args = [self.expand_names(arg, text, key_path, target_columns, offset) for arg in node.args]
                    return FunctionCall(
                        node.name, (*args, self.build_directory_literal(node)), text_offset=node.text_offset
                    )
                if node.name in image_functions.PRODUCT_FUNCTIONS and len(node.args) == 1:
                    path = self.expand_names(node.args[0], text, key_path, target_columns, offset)
                    local = FunctionCall(
                        node.name, (path, self.build_directory_literal(node)), text_offset=node.text_offset
                    )
                    if node.name != REMOTE_SIZE_FUNCTION or not _can_be_web_address(path):
                        return local
                    self.derive_expression_meta(local, text, key_path, offset)
                    asked = PythonFunction(
                        name=REMOTE_SIZE_FUNCTION,
                        path=None,
                        type=INT64,
                        unit="byte",
                        ucd="phys.size;meta.file",
                        place=text.place,
                    )
                    return FunctionCall(
                        "COALESCE",
                        (self.add_call_column(asked, (path,), text, key_path, node.text_offset, offset), local),
                        text_offset=node.text_offset,
                    )
                if node.name.lower() in self.python_functions:
                    return self.plan_python_call(node, text, key_path, target_columns, offset)
                if MAPPING_FUNCTIONS.find_function(node.name) is None:
                    function_names = [name.lower() for name in MAPPING_FUNCTIONS.names] + list(self.python_functions)
                    self.faults.add_error(
                        f"{key_path}: no function {node.name.lower()}",
                        text.locate_character(node.text_offset + offset),
                        suggest_spelling(node.name, function_names),
                    )
                    raise FaultReportedError
            return node

        tree = transform_tree(tree, expand_node)
        if sum(1 for _ in walk_tree(tree)) > expression_trees.MAX_EXPRESSION_NODES:
            self.faults.add_error(
                f"{key_path}: with all names replaced, the expression has more than "
                f"{expression_trees.MAX_EXPRESSION_NODES:,} parts",
                text.place,
                "simplify the 'let' names",
            )
            raise FaultReportedError
        return tree if self.grouping is None else self.grouping.replace_keys(tree)

    def build_directory_literal(self, node: FunctionCall) -> Literal:
        """Name the directory that relative paths start from."""
        return Literal(str(self.resource.path.parent), text_offset=node.text_offset)

    def resolve_name(
        self, node: ColumnRef, text: WrittenScalar, key_path: str, target_columns: TargetColumns | None, offset: int
    ) -> Expr:
        """Resolve a name: a source column, then a let name, then a constant; ``target.x``, ``site.x``."""
        prefix = ".".join(part.name for part in node.qualifier)
        column_name = node.name.name
        if prefix.lower() == "target":
            if target_columns is None:
                self.faults.add_error(
                    f"{key_path}: target.{column_name} does not exist yet here",
                    text.locate_character(node.text_offset + offset),
                    "use the source's columns",
                )
                raise FaultReportedError
            value = target_columns.compile_column(
                column_name, text.locate_character(node.text_offset + offset), key_path
            )
            return expression_trees.move_to_offset(value, node.text_offset)
        if prefix.lower() == "site" and column_name in self.resource.site:
            return Literal(self.resource.site[column_name], text_offset=node.text_offset)
        if prefix.lower() == "collection" and column_name in COLLECTION_KEYS:
            return Literal(self.find_collection_value(column_name), text_offset=node.text_offset)
        if prefix:
            dotted = self.find_column(Ident(f"{prefix}.{column_name}", quoted=True)) or self.find_column(
                Ident(f"{prefix.lower()}.{column_name.lower()}", quoted=True)
            )
            if dotted is not None:
                return expression_trees.build_column_ref(dotted.name, node.text_offset)
            known_names = [column.name for column in self.columns] + [
                f"target.{name}" for name in (target_columns.settings if target_columns else ())
            ]
            self.faults.add_error(
                f"{key_path}: no {prefix}.{column_name}",
                text.locate_character(node.text_offset + offset),
                suggest_spelling(f"{prefix}.{column_name}", known_names),
            )
            raise FaultReportedError
        column = self.find_column(node.name)
        if column is not None:
            return expression_trees.build_column_ref(column.name, node.text_offset)
        for name, tree in self.let_expressions.items():
            if is_same_name(node.name, name):
                if tree is None:
                    raise FaultReportedError
                return expression_trees.move_to_offset(tree, node.text_offset)
        for name, value in self.resource.let.items():
            if is_same_name(node.name, name):
                return Literal(value, text_offset=node.text_offset)
        known_names = [*(column.name for column in self.source_columns), *self.spec.let, *self.resource.let]
        ambiguous = [column.name for column in self.source_columns if column.name.lower() == column_name.lower()]
        if len(ambiguous) > 1:
            remedy = f"write one of {', '.join(chr(34) + name + chr(34) for name in ambiguous)}"
        else:
            remedy = suggest_spelling(column_name, known_names)
        if not remedy and column_name in {column.name for column in self.spec.table.columns}:
            remedy = f"write target.{column_name} for the table's own column"
        if len(ambiguous) > 1:
            message = f"{column_name} may be several columns"
        else:
            message = f"the source has no column {column_name!r}, and no 'let' is called so"
        self.faults.add_error(
            f"{key_path}: {message}",
            text.locate_character(node.text_offset + offset),
            remedy or f"the source has: {format_name_list(known_names)}",
        )
        raise FaultReportedError

    def find_collection_value(self, key: str) -> str | None:
        """Look up a key of the collection; without a date of creation, its rows are created as they come."""
        value: str | None = getattr(self.resource, key)
        if key == "created" and not value:
            return self.run_time
        return value

    def resolve_header_card(self, node: FunctionCall, text: WrittenScalar, key_path: str, offset: int) -> Expr:
        """Replace ``header('DATE-OBS')`` by the source column that the card became."""
        if len(node.args) == 1 and isinstance(node.args[0], Literal):
            card = node.args[0].value
        else:
            card = None
        if not isinstance(card, str):
            self.faults.add_error(
                f"{key_path}: header takes the name of a card: header('DATE-OBS')",
                text.locate_character(node.text_offset + offset),
            )
            raise FaultReportedError
        exact_columns = [column for column in self.source_columns if column.name == card]
        normalized_card = card.lower().replace("-", "_").replace(" ", "_")
        similar_columns = [
            column
            for column in self.source_columns
            if column.name.lower().replace("-", "_").replace(" ", "_") == normalized_card
        ]
        if exact_columns or similar_columns:
            return expression_trees.build_column_ref((exact_columns or similar_columns)[0].name, node.text_offset)
        self.faults.add_error(
            f"{key_path}: the source has no header card {card!r}",
            text.locate_character(node.text_offset + offset),
            suggest_spelling(card, [column.name for column in self.source_columns]),
        )
        raise FaultReportedError

    def plan_python_call(
        self, node: FunctionCall, text: WrittenScalar, key_path: str, target_columns: TargetColumns | None, offset: int
    ) -> Expr:
        """Replace a call of a Python function by the column that it will fill."""
        function = self.python_functions[node.name.lower()]
        args = tuple(self.expand_names(arg, text, key_path, target_columns, offset) for arg in node.args)
        if function.argument_count is not None and len(args) != function.argument_count:
            self.faults.add_error(
                f"{key_path}: {function.name} takes {function.argument_count} arguments, not {len(args)}",
                text.locate_character(node.text_offset + offset),
            )
            raise FaultReportedError
        if not args:
            self.faults.add_error(
                f"{key_path}: {function.name} needs at least one argument",
                text.locate_character(node.text_offset + offset),
                "without one it cannot know how many rows there are",
            )
            raise FaultReportedError
        return self.add_call_column(function, args, text, key_path, node.text_offset, offset)

    def add_call_column(
        self,
        function: PythonFunction,
        args: tuple[Expr, ...],
        text: WrittenScalar,
        key_path: str,
        text_offset: int,
        offset: int,
    ) -> Expr:
        """Plan a function's call before the mapping is run; return the column that it fills."""
        key = FunctionCall(function.name, args)
        if key not in self.calls:
            origins: set[str] = set()
            for arg in args:
                origins |= self.find_source_origins(self.derive_expression_meta(arg, text, key_path, offset))
            output = f"call.{len(self.calls) + 1}"
            columns = tuple(self.columns)
            source = Table(schema="", name=SOURCE_RELATION, columns=columns)
            items = tuple(SelectItem(arg, Ident(f"arg{number}")) for number, arg in enumerate(args, 1))
            query = bind_query(
                Query(Select(items, TableRef((Ident(SOURCE_RELATION),)))),
                StaticCatalogue([source]),
                functions=MAPPING_FUNCTIONS,
            )
            place = text.locate_character(text_offset + offset)
            self.calls[key] = PythonCall(
                name=function.name,
                path=function.path,
                argument_query=query,
                output_column=output,
                type=function.type,
                place=place,
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


def _can_be_web_address(tree: Expr) -> bool:
    """Check whether a text may begin with http, by its first constant; others may, but for a file's facts."""
    while isinstance(tree, BinaryOperation) and tree.op == "||":
        tree = tree.left
    if isinstance(tree, Literal):
        return isinstance(tree.value, str) and "http".startswith(tree.value[:4].lower())
    return not (isinstance(tree, ColumnRef) and tree.name.name in FILE_FACT_COLUMNS)


def list_column_names(tree: Any) -> set[str]:
    """List the names of all columns in a tree."""
    return {node.name.name for node in walk_tree(tree) if isinstance(node, ColumnRef)}


def is_run_time_value(tree: Expr) -> bool:
    """Tell whether a value is made of the time of the run, and of no column."""
    nodes = list(walk_tree(tree))
    return any(isinstance(node, Literal) and isinstance(node.value, RunTimeText) for node in nodes) and not any(
        isinstance(node, ColumnRef) for node in nodes
    )


def format_name_list(names: Sequence[str]) -> str:
    """List the first names."""
    name_list = ", ".join(names[:12])
    if len(names) > 12:
        return f"{name_list} ..."
    return name_list or "no columns"


_BRACKETED_UNIT_PATTERN = re.compile(r".*\S\s*(?:\[([^\]]+)\]|\(([^)]+)\))\s*")


def parse_heading_unit(name: str) -> str | None:
    """Read the unit in a header such as ``sep (arcmin)``.

    It counts only where the target's unit is of the same kind.
    """
    match = _BRACKETED_UNIT_PATTERN.fullmatch(name)
    if match is None:
        return None
    try:
        return units.validate_unit(match[1] or match[2]) or None
    except ValueError:
        return None
