"""Joins: ON, USING and NATURAL become plain conditions; merged columns are found once (SQL-92 7.5)."""

from __future__ import annotations

from abc import ABC, abstractmethod

from hven.adql._expression_binder import ExpressionBinder
from hven.adql._query_limits import MAX_EXPANDED_FROM_TABLES, MAX_FROM_TABLES
from hven.adql.scope import FromSource, NameScope, VisibleColumn, VisibleColumns, suggest_nearest_name
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
        """Bind a join and return what it puts into view."""
        reads_before = self.table_read_count
        left_item, left_columns = self.bind_from_item(node.left, outer_scope)
        right_item, right_columns = self.bind_from_item(node.right, outer_scope)
        kind = node.kind.upper()
        if kind in {"LEFT", "FULL"}:
            _mark_optional(right_columns)
        if kind in {"RIGHT", "FULL"}:
            _mark_optional(left_columns)
        visible_columns = VisibleColumns(
            [*left_columns.sources, *right_columns.sources],
            {**left_columns.merged_columns, **right_columns.merged_columns},
            left_columns.shadowed_columns | right_columns.shadowed_columns,
        )
        remedy = "join in steps, each of them a job of its own"
        self.check_count(
            len(visible_columns.sources), MAX_FROM_TABLES, "tables in one FROM", node.right.text_offset, remedy
        )
        self.check_count(
            self.table_read_count - reads_before,
            MAX_EXPANDED_FROM_TABLES,
            "tables in one FROM, those in its queries and of WITH counted",
            node.right.text_offset,
            remedy,
        )
        condition: Expr | None = None
        if node.on is not None:
            clause = self.clause
            self.clause = "ON"
            condition = self.bind_condition(node.on, NameScope(visible_columns, outer_scope))
            self.clause = clause
        elif node.using or node.natural:
            if node.using:
                names = list(node.using)
            else:
                names = _list_shared_names(left_columns, right_columns)
            condition = self._merge_columns(
                node,
                names,
                join_kind=kind,
                left_columns=left_columns,
                right_columns=right_columns,
                visible_columns=visible_columns,
            )
        if condition is None:
            if kind not in {"INNER", "CROSS"}:
                self.raise_bind_error(
                    format_message("a {kind} JOIN needs ON or USING", kind),
                    node.text_offset,
                    "write ON a.id = b.id, or USING (id), behind the table on the right",
                )
            kind = "CROSS"
        return Join(left_item, right_item, kind, on=condition, text_offset=node.text_offset), visible_columns

    def _merge_columns(
        self,
        node: Join,
        names: list[Ident],
        *,
        join_kind: str,
        left_columns: VisibleColumns,
        right_columns: VisibleColumns,
        visible_columns: VisibleColumns,
    ) -> Expr | None:
        """Compare the columns of both sides and merge them in view; return the condition."""
        parts: list[Expr] = []
        merged: dict[str, VisibleColumn] = {}
        for name in names:
            left_column = self._find_join_column(node, name, left_columns, format_message("left"))
            right_column = self._find_join_column(node, name, right_columns, format_message("right"))
            first = left_column.build_expression(node.text_offset)
            second = right_column.build_expression(node.text_offset)
            first, second = self.make_comparable(first, second, f"USING ({name.name})", node.text_offset)
            meta = derive_meta((require_meta(first), require_meta(second)), BOOLEAN, None, None)
            parts.append(
                Comparison(
                    "=",
                    first,
                    second,
                    text_offset=node.text_offset,
                    meta=meta,
                )
            )
            for item in (left_column, right_column):
                visible_columns.shadowed_columns.add((item.source.number, item.index))
            if join_kind == "FULL":
                base = require_meta(first)
                common_type = find_common_type((base.type, require_meta(second).type))
                merged_meta = ValueMetadata(
                    common_type,
                    base.unit,
                    base.ucd,
                    base.utype,
                    base.description,
                    base.column,
                    nullable=True,
                    origins=base.origins | require_meta(second).origins,
                )
                merged_expression = FunctionCall(
                    "COALESCE", (first, second), text_offset=node.text_offset, meta=merged_meta
                )
                merged[name.name.lower()] = VisibleColumn(
                    left_column.name, left_column.source, left_column.index, merged_expression
                )
            else:
                preserved_column = right_column if join_kind == "RIGHT" else left_column
                merged[name.name.lower()] = VisibleColumn(
                    preserved_column.name, preserved_column.source, preserved_column.index, preserved_column.expr
                )
            visible_columns.merged_columns.pop(name.name.lower(), None)
        visible_columns.merged_columns = {**merged, **visible_columns.merged_columns}
        if not parts:
            return None
        if len(parts) == 1:
            return parts[0]
        return Conjunction(tuple(parts), text_offset=node.text_offset, meta=ValueMetadata(BOOLEAN))

    def _find_join_column(self, node: Join, name: Ident, visible_columns: VisibleColumns, side: str) -> VisibleColumn:
        candidates = visible_columns.find_columns(name)
        if len(candidates) > 1:
            self.raise_bind_error(
                format_message(
                    "USING ({name}): the {side} side has {count} columns of that name", name.name, side, len(candidates)
                ),
                node.text_offset,
                "use ON",
            )
        if not candidates:
            column_names = [
                column.name for source in visible_columns.sources for column in source.column_lookup.columns
            ]
            self.raise_bind_error(
                format_message("USING ({name}): no such column on the {side} side", name.name, side),
                node.text_offset,
                suggest_nearest_name(name.name, column_names),
            )
        item = candidates[0]
        column_name = _get_column_name(item.source, item.index)
        return VisibleColumn(column_name, item.source, item.index, item.expr)


def _mark_optional(visible_columns: VisibleColumns) -> None:
    """Mark the side of an outer join whose rows may be missing: its columns may be NULL."""
    for source in visible_columns.sources:
        source.is_optional = True
    for item in visible_columns.merged_columns.values():
        if item.expr is None:
            item.source.is_optional = True


def _list_shared_names(left_columns: VisibleColumns, right_columns: VisibleColumns) -> list[Ident]:
    """Return the names that both sides of a NATURAL JOIN show."""
    left_names = [item.name for item in left_columns.list_star_columns()]
    right_names = {item.name.lower() for item in right_columns.list_star_columns()}
    return [Ident(name) for name in dict.fromkeys(left_names) if name.lower() in right_names]


def _get_column_name(source: FromSource, index: int) -> str:
    return source.column_lookup.columns[index].name
