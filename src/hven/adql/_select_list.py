"""The output columns of a SELECT, with unique and valid names."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from hven.adql import value_kinds
from hven.adql._output_names import build_output_name
from hven.adql.grouping import build_expression_key
from hven.adql.scope import ColumnLookup
from hven.adql.syntax_tree import ColumnRef, Expr, Ident, Literal, SelectItem, SetOperation, ValueMetadata
from hven.adql.value_kinds import classify_value, require_meta
from hven.model.errors import format_message
from hven.model.table import Column

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hven.adql._type_checker import TypeChecker
    from hven.model.types import ColumnType

LINK_COLUMN_PATTERN = re.compile(r"\{\{|\}\}|\{([^{}]*)\}")  # a column in the template of a link (`Column.link`)


class SelectList:
    """The items of a SELECT in order.

    `output_names` are the names of the items before they are made unique. `named_literals` are the literals whose
    values these names contain.
    """

    def __init__(self) -> None:
        self.items: list[SelectItem] = []
        self.output_names: list[Ident] = []
        self.named_literals: list[Literal] = []
        self.aliases: list[tuple[Ident, Expr]] = []
        self._used_names: set[str] = set()
        self._next_suffixes: dict[str, int] = {}  # by name: the number that the next column of this name tries

    @property
    def columns(self) -> tuple[Column, ...]:
        """The output columns; the templates of their links use the names of this output."""
        columns = []
        for item in self.items:
            if item.column is not None and item.column.link is not None:
                columns.append(self._rewrite_link_template(item, item.column))
            elif item.column is not None:
                columns.append(item.column)
        return tuple(columns)

    @property
    def renamed_columns(self) -> tuple[tuple[str, str], ...]:
        """Columns with another name in the output: pairs of name in the table, name in the output."""
        name_pairs: list[tuple[str, str]] = []
        for item in self.items:
            if not isinstance(item.expr, ColumnRef) or item.expr.column is None or item.column is None:
                continue
            if item.expr.column.name != item.column.name:
                name_pairs.append((item.expr.column.name, item.column.name))
        return tuple(name_pairs)

    def _rewrite_link_template(self, item: SelectItem, column: Column) -> Column:
        """Rewrite the template of a link with the names of the output.

        If the output lacks a column of the template, nobody can fill the template in, so the link is removed.
        """
        if column.link is None:
            return column
        if not isinstance(item.expr, ColumnRef):
            return column.copy_with(link=None)
        output_names = self._map_output_names(item.expr.source)
        link_columns = [name for name in LINK_COLUMN_PATTERN.findall(column.link) if name]
        if not all(name in output_names for name in link_columns):
            return column.copy_with(link=None)

        def write_output_name(match: re.Match[str]) -> str:
            table_name = match[1]
            if table_name:
                return f"{{{output_names[table_name]}}}"
            return match[0]

        link = LINK_COLUMN_PATTERN.sub(write_output_name, column.link)
        if link == column.link:
            return column
        return column.copy_with(link=link)

    def _map_output_names(self, source_number: int) -> dict[str, str]:
        """Return name in the table -> name in the output for the columns of a source; the first output wins."""
        output_names: dict[str, str] = {}
        for item in self.items:
            column_ref = item.expr
            if not isinstance(column_ref, ColumnRef) or column_ref.source != source_number:
                continue
            if column_ref.column is not None and item.column is not None:
                output_names.setdefault(column_ref.column.name, item.column.name)
        return output_names

    def add_item(self, expr: Expr, alias: Ident | None, text_offset: int) -> None:
        """Add an expression and describe its column."""
        meta = require_meta(expr)
        base_column = meta.column
        if alias is not None:
            name = alias
            self.aliases.append((alias, expr))
        elif base_column is not None:
            name = Ident(base_column.name, quoted=True)
        else:
            generated_name, named_literals = build_output_name(expr)
            name = Ident(generated_name)
            self.named_literals += named_literals
        unique_name = self._make_unique_name(name.name)
        if base_column is None:
            column = Column(
                name=unique_name,
                type=meta.type,
                unit=meta.unit,
                ucd=meta.ucd,
                utype=meta.utype,
                description=meta.description,
                origins=tuple(sorted(meta.origins)),
            )
        else:
            column = base_column
            required = base_column.required and not meta.nullable
            if base_column.name != unique_name or base_column.required != required:
                column = base_column.copy_with(name=unique_name, required=required)
        self.output_names.append(name)
        self.items.append(SelectItem(expr, alias, text_offset=text_offset, column=column))

    def _make_unique_name(self, name: str) -> str:
        """Return a name that no earlier column has, whatever its case: the name itself, or the name with a number."""
        lower_name = name.lower()
        unique_name = name
        if lower_name in self._used_names:
            suffix = self._next_suffixes.get(lower_name, 2)
            while f"{lower_name}_{suffix}" in self._used_names:
                suffix += 1
            self._next_suffixes[lower_name] = suffix + 1
            unique_name = f"{name}_{suffix}"
        self._used_names.add(unique_name.lower())
        return unique_name

    def find_column_indexes(self, ident: Ident) -> list[int]:
        """Return the indexes of the output columns that an identifier means (in ORDER BY)."""
        lower_name = ident.name.lower()
        indexes: list[int] = []
        for index, output_name in enumerate(self.output_names):
            if output_name.name.lower() != lower_name:
                continue
            is_written_alike = ident.name == output_name.name
            is_regular = not output_name.quoted and ident.name == lower_name  # a regular name means its lower case
            if not ident.quoted or is_written_alike or is_regular:
                indexes.append(index)
        return indexes

    def has_different_expressions(self, column_indexes: Sequence[int]) -> bool:
        """Return whether some of these output columns have another expression than the others."""
        return len({build_expression_key(self.items[index].expr) for index in column_indexes}) > 1

    def get_expression_at_position(self, position: int, binder: TypeChecker, node: Expr) -> Expr:
        """Return the expression at a position, which counts from 1."""
        if not 1 <= position <= len(self.items):
            message = format_message("there is no output column {position}", position)
            remedy = format_message("use a position from 1 to {most}", len(self.items))
            binder.raise_bind_error(message, node.text_offset, remedy)
        return self.items[position - 1].expr

    def build_column_lookup(self, documented_columns: Sequence[Column] = ()) -> ColumnLookup:
        """Return the columns as a derived table shows them.

        `documented_columns` (the descriptor of a view) give their metadata to the columns of the same name.
        """
        documented_by_name = {column.name.lower(): column for column in documented_columns}
        columns = []
        metas = []
        for item in self.items:
            if item.column is None:
                continue
            column = self._rewrite_link_template(item, item.column)
            documented_column = documented_by_name.get(column.name.lower())
            if documented_column is not None:
                column = _apply_column_documentation(column, documented_column, item.expr)
            columns.append(column)
            expression_meta = require_meta(item.expr)
            column_meta = ValueMetadata(
                column.type,
                column.unit,
                column.ucd,
                column.utype,
                column.description,
                column,
                expression_meta.nullable,
                origins=expression_meta.origins,
            )
            metas.append(column_meta)
        return ColumnLookup(columns, [ident.name for ident in self.output_names], metas)

    def merge_set_operands(self, right_list: SelectList, binder: TypeChecker, node: SetOperation) -> SelectList:
        """Return the output of a set operation.

        The columns have the metadata of the left side, and types that hold the values of both sides (ADQL 2.1
        section 4.6).
        """
        result = SelectList()
        for number, (left_item, right_item) in enumerate(zip(self.items, right_list.items, strict=True), 1):
            left_column = left_item.column
            right_column = right_item.column
            if left_column is None or right_column is None:
                continue
            left_kind = classify_value(left_item.expr)
            right_kind = classify_value(right_item.expr)
            is_in_view = binder.inline_depth > 0
            type_ = _find_set_column_type(
                left_column.type, left_kind, right_column.type, right_kind, is_in_view=is_in_view
            )
            if type_ is None:
                message = format_message(
                    "{op}: column {number} is {kind} ({name}) on the left, but {other} ({its_name}) on the right",
                    node.op,
                    number,
                    value_kinds.KIND_PHRASES[left_kind],
                    left_column.name,
                    value_kinds.KIND_PHRASES[right_kind],
                    right_column.name,
                )
                binder.raise_bind_error(message, right_item.text_offset, "convert one of the two with CAST")
            column = left_column
            if type_ != left_column.type or left_column.required != right_column.required:
                required = left_column.required and right_column.required
                column = left_column.copy_with(type=type_, required=required)
            merged_expression = _build_set_column_reference(left_item, right_item, column)
            merged_item = SelectItem(
                merged_expression, left_item.alias, text_offset=left_item.text_offset, column=column
            )
            result.items.append(merged_item)
        result.output_names = list(self.output_names)
        return result


def _apply_column_documentation(column: Column, documented_column: Column, expr: Expr) -> Column:
    """Return the documented column of a view, with the name and type that its expression has.

    The documentation decides the type of a column that is always NULL, and it can say that a text is a region.
    """
    documented_type = documented_column.type
    is_documented_region = (
        column.type.is_string and documented_type.is_geometry and documented_type.arrow == column.type.arrow
    )
    type_ = column.type
    if is_documented_region or classify_value(expr) == "null":
        type_ = documented_type
    return documented_column.copy_with(name=column.name, type=type_, required=column.required)


def _find_set_column_type(
    left_type: ColumnType, left_kind: str, right_type: ColumnType, right_kind: str, *, is_in_view: bool
) -> ColumnType | None:
    """Return the type of a column of a set operation; None if its two sides do not fit each other.

    A view may combine regions that are stored as such with regions that it writes as text.
    """
    if right_kind == "null":
        return left_type
    if left_kind == "null":
        return right_type
    has_same_storage = left_type.arrow == right_type.arrow
    if is_in_view and has_same_storage and "region" in {left_kind, right_kind}:
        if left_kind == "region":
            return left_type
        return right_type
    if left_kind != right_kind:
        return None
    return value_kinds.find_common_type((left_type, right_type))


def _build_set_column_reference(left_item: SelectItem, right_item: SelectItem, column: Column) -> Expr:
    """Return a reference to a column of a set operation; NULL on both sides stays NULL, which fits every type."""
    if classify_value(left_item.expr) == "null" and classify_value(right_item.expr) == "null":
        return left_item.expr
    left_meta = require_meta(left_item.expr)
    right_meta = require_meta(right_item.expr)
    meta = ValueMetadata(
        column.type,
        column.unit,
        column.ucd,
        column.utype,
        column.description,
        column,
        left_meta.nullable or right_meta.nullable,
        left_meta.constant and right_meta.constant,
        left_meta.aggregate,
        left_meta.origins | right_meta.origins,
    )
    name = Ident(column.name, quoted=True)
    return ColumnRef(name, text_offset=left_item.text_offset, meta=meta, column=column)
