"""Bind window functions: the call before OVER, and the partition, order and frame of the window."""

from __future__ import annotations

from abc import ABC
from dataclasses import replace
from typing import TYPE_CHECKING

from hven.adql._function_binder import FunctionBinder
from hven.adql.functions import FRAME_FUNCTION_NAMES, WINDOW_AGGREGATE_NAMES, WINDOW_FUNCTIONS
from hven.adql.scope import NameScope, is_same_name
from hven.adql.syntax_tree import (
    CastExpression,
    Expr,
    FunctionCall,
    Ident,
    Literal,
    NamedWindow,
    OrderItem,
    ValueMetadata,
    WindowExpression,
    WindowFrame,
)
from hven.adql.value_kinds import build_literal_meta, classify_value, derive_meta, require_meta
from hven.model.errors import format_message, suggest_spelling
from hven.model.types import BOOLEAN, FLOAT64

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hven.adql.signatures import FunctionDefinition


class WindowBinder(FunctionBinder, ABC):
    """Binds function calls, with and without OVER."""

    def bind_window(self, node: WindowExpression, scope: NameScope) -> Expr:
        """Bind ``function OVER (..)``.

        Engines compute windows after groups. So a window may contain aggregates, but not another window.
        """
        call = node.function
        window_definition: WindowExpression | NamedWindow = node
        if node.name is not None:
            window_definition = self.find_named_window(node.name, scope, node.text_offset)
        name = call.name.upper()
        entry = self._find_window_function(call, name)
        if self.clause not in {"SELECT", "ORDER BY"}:
            message = format_message("a window function is not allowed in {clause}", self.clause)
            self.raise_bind_error(
                message, node.text_offset, "compute it in a subquery in FROM, and use the resulting column"
            )
        if entry.group == "window":
            self.check_no_distinct_or_star(call, name)
        clause = self.clause
        self.clause = format_message("a window")
        args = [self.bind_expression(arg, scope) for arg in call.args]
        partition, order, frame = self.bind_window_parts(window_definition, scope)
        self.clause = clause
        if name in {"NTILE", "NTH_VALUE"} and args:
            self._check_positive_argument(name, args[-1])
        if frame is not None and entry.group == "window" and name not in FRAME_FUNCTION_NAMES:
            message = format_message("{name} uses the whole partition and cannot have a frame", name)
            remedy = format_message("leave out the frame ({unit} ..)", frame.unit)
            self.raise_bind_error(message, window_definition.text_offset, remedy)
        if call.star:
            bound_call = self.bind_aggregate(call, entry, scope)
        else:
            bound_call = self.bind_call_signature(call, entry, args)
        if not isinstance(bound_call, FunctionCall):
            raise TypeError(name)
        order_expressions = [order_item.expr for order_item in order]
        part_metas = [require_meta(part) for part in (*args, *partition, *order_expressions)]
        combined_meta = derive_meta(part_metas, BOOLEAN, None, None)
        call_meta = require_meta(bound_call)
        # an aggregate over a window gives a value for each row, so the call's own `aggregate` does not count
        meta = ValueMetadata(
            call_meta.type,
            call_meta.unit,
            call_meta.ucd,
            nullable=call_meta.nullable or name in {"LAG", "LEAD"},
            aggregate=combined_meta.aggregate,
            origins=combined_meta.origins,
        )
        varying_partition = tuple(key for key in partition if not require_meta(key).constant)
        varying_order = tuple(order_item for order_item in order if not require_meta(order_item.expr).constant)
        if not varying_order and frame is not None and frame.unit == "GROUPS":
            varying_order = order[:1]  # GROUPS needs an order: a constant makes one group of all rows
        return WindowExpression(
            bound_call, varying_partition, varying_order, frame, text_offset=node.text_offset, meta=meta
        )

    def _find_window_function(self, call: FunctionCall, name: str) -> FunctionDefinition:
        """Return the window function or aggregate of a call before OVER; refuse other functions."""
        entry = WINDOW_FUNCTIONS.get(name)
        if entry is None and name in WINDOW_AGGREGATE_NAMES:
            entry = self.functions.find_function(name)
        if entry is None:
            window_names = (*WINDOW_FUNCTIONS, *sorted(WINDOW_AGGREGATE_NAMES))
            remedy = suggest_spelling(name, (*WINDOW_FUNCTIONS, *WINDOW_AGGREGATE_NAMES))
            remedy = remedy or format_message("use one of {names}", ", ".join(window_names))
            message = format_message("{name} is not allowed before OVER", name)
            self.raise_bind_error(message, call.text_offset, remedy)
        return entry

    def _check_positive_argument(self, function_name: str, arg: Expr) -> None:
        """Refuse a literal below 1 as the number of NTILE or NTH_VALUE."""
        if isinstance(arg, Literal) and isinstance(arg.value, int) and arg.value < 1:
            message = format_message("{name}({value}) has no meaning", function_name, arg.value)
            self.raise_bind_error(message, arg.text_offset, "use a number that is at least 1")

    def find_named_window(self, ident: Ident, scope: NameScope, text_offset: int) -> NamedWindow:
        """Find a window of the WINDOW clause; refuse an unknown name."""
        for window in scope.windows:
            if is_same_name(ident, window.name.normalized_name):
                return window
        message = format_message("no window {name!r}", ident.name)
        remedy = suggest_spelling(ident.name, [window.name.name for window in scope.windows])
        remedy = remedy or format_message("write WINDOW {name} AS (..) after FROM, WHERE and GROUP BY", ident.name)
        raise self.build_bind_error(message, text_offset, remedy)

    def bind_window_parts(
        self, node: WindowExpression | NamedWindow, scope: NameScope
    ) -> tuple[tuple[Expr, ...], tuple[OrderItem, ...], WindowFrame | None]:
        """Bind the partition, order and frame of a window."""
        self.check_clause_key_count(node.partition, "PARTITION BY")
        self.check_clause_key_count(node.order_by, "ORDER BY")
        partition = tuple([self.bind_expression(key, scope) for key in node.partition])
        order_items: list[OrderItem] = []
        for order_item in node.order_by:
            key = self.bind_expression(order_item.expr, scope)
            order_items.append(OrderItem(key, order_item.descending, text_offset=order_item.text_offset))
        frame = node.frame
        if frame is not None:
            order_items = self._check_and_convert_order_for_frame(frame, order_items)
        return partition, tuple(order_items), frame

    def _check_and_convert_order_for_frame(self, frame: WindowFrame, order_items: list[OrderItem]) -> list[OrderItem]:
        """Check that a frame fits the order of its window; return the order with a key that fits the distances."""
        distances = [bound.offset for bound in (frame.start, frame.end) if bound.offset is not None]
        for distance in distances:
            self.mark_literal_fixed(distance)
        if frame.unit == "GROUPS" and not order_items:
            self.raise_bind_error(
                "GROUPS counts groups of rows with equal ORDER BY values, but the window has no ORDER BY",
                frame.text_offset,
                "add ORDER BY to the window",
            )
        if frame.unit == "RANGE" and distances and not _has_numeric_order(order_items):
            self.raise_bind_error(
                "RANGE with distances needs an ORDER BY with exactly one numeric column",
                frame.text_offset,
                "order the window by one numeric column, or write ROWS instead of RANGE",
            )
        for distance in distances:
            if build_literal_meta(distance.value).type.is_integer:
                continue
            if frame.unit != "RANGE":
                self.raise_bind_error(
                    "the number of rows is out of the range of BIGINT", distance.text_offset, "write UNBOUNDED"
                )
            key = order_items[0].expr  # an integer key accepts only integer distances
            key_meta = require_meta(key)
            double_meta = derive_meta((key_meta,), FLOAT64, key_meta.unit, None)
            double_key = CastExpression(key, "DOUBLE PRECISION", meta=double_meta)
            order_items = [replace(order_items[0], expr=double_key)]
        return order_items

    def check_named_windows(self, windows: Sequence[NamedWindow], scope: NameScope) -> None:
        """Bind the windows of the WINDOW clause to check them: the query may use none of them."""
        clause = self.clause
        self.clause = format_message("a window")
        for window in windows:
            self.bind_window_parts(window, scope)
        self.clause = clause


def _has_numeric_order(order_items: Sequence[OrderItem]) -> bool:
    """Return whether a window is ordered by one number that varies from row to row."""
    if len(order_items) != 1:
        return False
    key = order_items[0].expr
    return classify_value(key) == "number" and not require_meta(key).constant
