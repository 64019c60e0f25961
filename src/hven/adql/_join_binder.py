"""Bind joins: ON, USING and NATURAL become plain conditions, and merged columns appear once (SQL-92 section 7.5)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import replace

from hven.adql._expression_binder import ExpressionBinder
from hven.adql._query_limits import MAX_EXPANDED_FROM_TABLES, MAX_FROM_TABLES
from hven.adql.scope import NameScope, UnqualifiedColumn, VisibleColumns, suggest_nearest_name
from hven.adql.syntax_tree import Comparison, Conjunction, Expr, FromItem, FunctionCall, Ident, Join, ValueMetadata
from hven.adql.value_kinds import derive_meta, find_common_type, require_meta
from hven.model.errors import format_message
from hven.model.types import BOOLEAN


class JoinBinder(ExpressionBinder, ABC):
    """Binds joins."""

    @abstractmethod
    def bind_from_item(self, node: FromItem, outer_scope: NameScope | None) -> tuple[FromItem, VisibleColumns]:
        """Bind one item of FROM."""

    def bind_join(self, node: Join, outer_scope: NameScope | None) -> tuple[FromItem, VisibleColumns]:
        """Bind a join; return it with the columns that it makes visible."""
        previous_read_count = self.table_read_count
        left_item, left_columns = self.bind_from_item(node.left, outer_scope)
        right_item, right_columns = self.bind_from_item(node.right, outer_scope)
        kind = node.kind.upper()
        if kind in {"LEFT", "FULL"}:
            _mark_join_side_nullable(right_columns)
        if kind in {"RIGHT", "FULL"}:
            _mark_join_side_nullable(left_columns)
        visible_columns = VisibleColumns(
            [*left_columns.sources, *right_columns.sources],
            {**left_columns.merged_columns, **right_columns.merged_columns},
            left_columns.shadowed_columns | right_columns.shadowed_columns,
        )
        self._check_table_count(node, len(visible_columns.sources), self.table_read_count - previous_read_count)
        condition: Expr | None = None
        if node.on is not None:
            clause = self.clause
            self.clause = "ON"
            condition = self.bind_condition(node.on, NameScope(visible_columns, outer_scope))
            self.clause = clause
        elif node.using or node.natural:
            names = list(node.using) or _list_shared_column_names(left_columns, right_columns)
            condition = self._merge_join_columns_and_build_condition(
                node,
                names,
                join_kind=kind,
                left_columns=left_columns,
                right_columns=right_columns,
                visible_columns=visible_columns,
            )
        if condition is None:
            if kind not in {"INNER", "CROSS"}:
                message = format_message("a {kind} JOIN needs ON or USING", kind)
                remedy = "write ON a.id = b.id, or USING (id), after the table on the right"
                self.raise_bind_error(message, node.text_offset, remedy)
            kind = "CROSS"
        return Join(left_item, right_item, kind, on=condition, text_offset=node.text_offset), visible_columns

    def _check_table_count(self, node: Join, table_count: int, read_count: int) -> None:
        """Refuse a join of too many tables; `read_count` includes the tables of subqueries and of WITH."""
        text_offset = node.right.text_offset
        remedy = "join the tables in steps, each in a separate job"
        self.check_query_limit(table_count, MAX_FROM_TABLES, "tables in one FROM", text_offset, remedy)
        counted_items = "tables in one FROM, including those in its subqueries and in WITH"
        self.check_query_limit(read_count, MAX_EXPANDED_FROM_TABLES, counted_items, text_offset, remedy)

    def _merge_join_columns_and_build_condition(
        self,
        node: Join,
        names: list[Ident],
        *,
        join_kind: str,
        left_columns: VisibleColumns,
        right_columns: VisibleColumns,
        visible_columns: VisibleColumns,
    ) -> Expr | None:
        """Compare the columns of both sides and merge them in `visible_columns`; return the condition."""
        comparisons: list[Expr] = []
        merged_columns: dict[str, UnqualifiedColumn] = {}
        for name in names:
            left_column = self._find_join_column(node, name, left_columns, format_message("left"))
            right_column = self._find_join_column(node, name, right_columns, format_message("right"))
            left_operand, right_operand = self.make_comparable(
                left_column.build_expression(node.text_offset),
                right_column.build_expression(node.text_offset),
                f"USING ({name.name})",
                node.text_offset,
            )
            meta = derive_meta((require_meta(left_operand), require_meta(right_operand)), BOOLEAN, None, None)
            comparison = Comparison("=", left_operand, right_operand, text_offset=node.text_offset, meta=meta)
            comparisons.append(comparison)
            visible_columns.shadowed_columns.add((left_column.source.number, left_column.index))
            visible_columns.shadowed_columns.add((right_column.source.number, right_column.index))
            merged_column = right_column if join_kind == "RIGHT" else left_column
            if join_kind == "FULL":
                merged_expression = _build_coalesce(left_operand, right_operand, node.text_offset)
                merged_column = replace(left_column, expr=merged_expression)
            merged_columns[name.name.lower()] = merged_column
            visible_columns.merged_columns.pop(name.name.lower(), None)
        visible_columns.merged_columns = {**merged_columns, **visible_columns.merged_columns}
        if not comparisons:
            return None
        if len(comparisons) == 1:
            return comparisons[0]
        return Conjunction(tuple(comparisons), text_offset=node.text_offset, meta=ValueMetadata(BOOLEAN))

    def _find_join_column(
        self, node: Join, name: Ident, visible_columns: VisibleColumns, side: str
    ) -> UnqualifiedColumn:
        """Return the column of one side that a name of USING means; refuse an unknown or ambiguous name."""
        candidates = visible_columns.find_columns(name)
        if len(candidates) > 1:
            message = format_message(
                "USING ({name}): the {side} side has {count} columns with this name", name.name, side, len(candidates)
            )
            self.raise_bind_error(message, node.text_offset, "use ON")
        if not candidates:
            column_names: list[str] = []
            for source in visible_columns.sources:
                column_names += [column.name for column in source.column_lookup.columns]
            message = format_message("USING ({name}): there is no such column on the {side} side", name.name, side)
            remedy = suggest_nearest_name(name.name, column_names)
            self.raise_bind_error(message, node.text_offset, remedy)
        candidate = candidates[0]
        stored_column = candidate.source.column_lookup.columns[candidate.index]
        return replace(candidate, name=stored_column.name)


def _build_coalesce(left_operand: Expr, right_operand: Expr, text_offset: int) -> FunctionCall:
    """Build the value of a merged column of a FULL JOIN, in which the row of one side may be missing."""
    left_meta = require_meta(left_operand)
    right_meta = require_meta(right_operand)
    common_type = find_common_type((left_meta.type, right_meta.type))
    meta = ValueMetadata(
        common_type,
        left_meta.unit,
        left_meta.ucd,
        left_meta.utype,
        left_meta.description,
        left_meta.column,
        nullable=True,
        origins=left_meta.origins | right_meta.origins,
    )
    return FunctionCall("COALESCE", (left_operand, right_operand), text_offset=text_offset, meta=meta)


def _mark_join_side_nullable(visible_columns: VisibleColumns) -> None:
    """Mark the side of an outer join whose rows may be missing, so that its columns may be NULL."""
    for source in visible_columns.sources:
        source.is_optional = True
    for merged_column in visible_columns.merged_columns.values():
        if merged_column.expr is None:
            merged_column.source.is_optional = True


def _list_shared_column_names(left_columns: VisibleColumns, right_columns: VisibleColumns) -> list[Ident]:
    """Return the names of the columns that both sides of a NATURAL JOIN have."""
    left_names = [column.name for column in left_columns.list_star_columns()]
    right_names = {column.name.lower() for column in right_columns.list_star_columns()}
    return [Ident(name) for name in dict.fromkeys(left_names) if name.lower() in right_names]
