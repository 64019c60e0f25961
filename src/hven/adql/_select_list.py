"""The output of a SELECT: its columns, with names that are unique and valid."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from hven.adql import value_kinds
from hven.adql._output_names import build_output_name
from hven.adql.scope import ColumnLookup
from hven.adql.syntax_tree import ColumnRef, Expr, Ident, Literal, SelectItem, SetOperation, ValueMetadata
from hven.adql.value_kinds import classify_value, require_meta
from hven.model.errors import format_message
from hven.model.table import Column
from hven.model.types import INT32

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hven.adql._type_checker import TypeChecker

LINK_COLUMN_PATTERN = re.compile(r"\{\{|\}\}|\{([^{}]*)\}")  # a column within the template of a link (`Column.link`)


class SelectList:
    """The items of a SELECT in order.

    `output_names` are their names before these are made unique, `named_literals` the literals in these names.
    """

    def __init__(self) -> None:
        self.items: list[SelectItem] = []
        self.output_names: list[Ident] = []
        self.named_literals: list[Literal] = []
        self.aliases: list[tuple[Ident, Expr]] = []
        self._used_names: set[str] = set()
        self._next_suffixes: dict[str, int] = {}  # number that the next column of a name tries

    @property
    def columns(self) -> tuple[Column, ...]:
        """The output columns; their links name the columns as this output calls them."""
        return tuple([self._rewrite_link(item, item.column) for item in self.items if item.column is not None])

    @property
    def renamed_columns(self) -> tuple[tuple[str, str], ...]:
        """Columns that the output calls otherwise: name in the table, name in the output."""
        return tuple(
            [
                (item.expr.name.name if item.expr.column is None else item.expr.column.name, item.column.name)
                for item in self.items
                if isinstance(item.expr, ColumnRef)
                and item.column is not None
                and item.expr.column is not None
                and item.expr.column.name != item.column.name
            ]
        )

    def _rewrite_link(self, item: SelectItem, column: Column) -> Column:
        """Rewrite the template of a link to the names of the output.

        Without one of its columns it cannot be filled in, and is dropped.
        """
        if column.link is None:
            return column
        if not isinstance(item.expr, ColumnRef):
            return column.copy_with(link=None)
        source = item.expr.source
        names = {
            sibling.expr.column.name: sibling.column.name
            for sibling in reversed(self.items)
            if isinstance(sibling.expr, ColumnRef)
            and sibling.expr.source == source
            and sibling.expr.column is not None
            and sibling.column is not None
        }
        link_columns = [match for match in LINK_COLUMN_PATTERN.findall(column.link) if match]
        if not all(name in names for name in link_columns):
            return column.copy_with(link=None)
        link = LINK_COLUMN_PATTERN.sub(lambda match: f"{{{names[match[1]]}}}" if match[1] else match[0], column.link)
        if link == column.link:
            return column
        return column.copy_with(link=link)

    def add_item(self, expr: Expr, alias: Ident | None, text_offset: int) -> None:
        """Add an expression and describe its column."""
        value_meta = require_meta(expr)
        base = value_meta.column
        if alias is not None:
            name = alias
            self.aliases.append((alias, expr))
        elif base is not None:
            name = Ident(base.name, quoted=True)
        else:
            generated_name, named_literals = build_output_name(expr)
            name = Ident(generated_name)
            self.named_literals += named_literals
        unique = name.name
        lower = unique.lower()
        if lower in self._used_names:
            count = self._next_suffixes.get(lower, 2)
            while f"{lower}_{count}" in self._used_names:
                count += 1
            self._next_suffixes[lower] = count + 1
            unique = f"{name.name}_{count}"
            lower = unique.lower()
        self._used_names.add(lower)
        if base is None:
            column = Column(
                name=unique,
                type=value_meta.type,
                unit=value_meta.unit,
                ucd=value_meta.ucd,
                utype=value_meta.utype,
                description=value_meta.description,
                origins=tuple(sorted(value_meta.origins)),
            )
        elif base.name == unique and (not base.required or not value_meta.nullable):
            column = base
        else:
            required = base.required and not value_meta.nullable
            column = base.copy_with(name=unique, required=required)
        self.output_names.append(name)
        self.items.append(SelectItem(expr, alias, text_offset=text_offset, column=column))

    def find_columns(self, ident: Ident) -> list[int]:
        """Return the indexes of the output columns that a name means (ORDER BY)."""
        lower = ident.name.lower()
        return [
            index
            for index, output_name in enumerate(self.output_names)
            if output_name.name.lower() == lower
            and (not ident.quoted or ident.name == output_name.name or (not output_name.quoted and ident.name == lower))
        ]

    def find_expression(self, position: int, binder: TypeChecker, node: Expr) -> Expr:
        """Return the expression at a position from 1."""
        if not 1 <= position <= len(self.items):
            binder.raise_bind_error(
                format_message("there is no output column {position}", position),
                node.text_offset,
                format_message("the positions are 1 to {most}", len(self.items)),
            )
        return self.items[position - 1].expr

    def build_position_literal(self, position: int, text_offset: int) -> Literal:
        """Write a position as the literal that OrderItem has."""
        meta = ValueMetadata(INT32, constant=True, nullable=False)
        return Literal(position, text_offset=text_offset, meta=meta)

    def build_lookup(self, documented_columns: Sequence[Column] = ()) -> ColumnLookup:
        """Return the columns as a derived table shows them.

        `documented_columns` lends metadata by name (a view's own words).
        """
        documented_by_name = {column.name.lower(): column for column in documented_columns}
        columns = []
        metas = []
        for item in self.items:
            column = item.column
            value_meta = require_meta(item.expr)
            if column is None:
                continue
            column = self._rewrite_link(item, column)
            documented_column = documented_by_name.get(column.name.lower())
            if documented_column is not None:
                # a view's own words say what type it would have if it is always null, and that a text is a region
                has_documented_type = classify_value(item.expr) == "null" or (
                    column.type.is_string
                    and documented_column.type.is_geometry
                    and documented_column.type.arrow == column.type.arrow
                )
                column = documented_column.copy_with(
                    name=column.name,
                    type=documented_column.type if has_documented_type else column.type,
                    required=column.required,
                )
            columns.append(column)
            metas.append(
                ValueMetadata(
                    column.type,
                    column.unit,
                    column.ucd,
                    column.utype,
                    column.description,
                    column,
                    value_meta.nullable,
                    origins=value_meta.origins,
                )
            )
        return ColumnLookup(columns, [ident.name for ident in self.output_names], metas)

    def merge_set_operation(self, right_list: SelectList, binder: TypeChecker, node: SetOperation) -> SelectList:
        """Return the output of a set operation.

        Metadata of the left side, types that hold both (ADQL 2.1 section 4.6).
        """
        result = SelectList()
        for index, (left_item, right_item) in enumerate(zip(self.items, right_list.items, strict=True), 1):
            left_kind = classify_value(left_item.expr)
            right_kind = classify_value(right_item.expr)
            left_column = left_item.column
            right_column = right_item.column
            if left_column is None or right_column is None:
                continue
            # a view may combine regions that are stored as such with regions that it writes as text
            region_type = None
            if "region" in {left_kind, right_kind}:
                region_type = left_column.type if left_kind == "region" else right_column.type
            if binder.inline_depth == 0 or left_column.type.arrow != right_column.type.arrow:
                region_type = None
            if left_kind != right_kind and "null" not in {left_kind, right_kind} and region_type is None:
                binder.raise_bind_error(
                    format_message(
                        "{op}: column {number} is {kind} ({name}) on the left and {other} ({its_name}) on the right",
                        node.op,
                        index,
                        value_kinds.KIND_PHRASES[left_kind],
                        left_column.name,
                        value_kinds.KIND_PHRASES[right_kind],
                        right_column.name,
                    ),
                    right_item.text_offset,
                    "CAST one of them",
                )
            if right_kind == "null":
                type_ = left_column.type
            elif left_kind == "null":
                type_ = right_column.type
            elif region_type is not None:
                type_ = region_type
            else:
                type_ = value_kinds.find_common_type((left_column.type, right_column.type))
            if type_ == left_column.type and left_column.required == right_column.required:
                column = left_column
            else:
                required = left_column.required and right_column.required
                column = left_column.copy_with(type=type_, required=required)
            left_meta = require_meta(left_item.expr)
            right_meta = require_meta(right_item.expr)
            result_meta = ValueMetadata(
                type_,
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
            ref: Expr = ColumnRef(
                Ident(column.name, quoted=True), text_offset=left_item.text_offset, meta=result_meta, column=column
            )
            if left_kind == right_kind == "null":
                ref = left_item.expr  # nobody has said a type yet
            result.items.append(SelectItem(ref, left_item.alias, text_offset=left_item.text_offset, column=column))
        result.output_names = list(self.output_names)
        return result
