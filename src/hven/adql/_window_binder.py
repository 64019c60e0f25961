"""Window functions: what may stand before OVER, and the partition, order and frame of a window."""

from __future__ import annotations

from abc import ABC
from dataclasses import replace
from typing import TYPE_CHECKING

from hven.adql._function_binder import FunctionBinder
from hven.adql.functions import FRAME_FUNCTION_NAMES, WINDOW_AGGREGATE_NAMES, WINDOW_FUNCTIONS
from hven.adql.scope import NameScope, is_same_name
from hven.adql.syntax_tree import (
    Cast,
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


class WindowBinder(FunctionBinder, ABC):
    """Binds calls, those with OVER too."""

    def bind_window(self, node: WindowExpression, scope: NameScope) -> Expr:
        """Bind ``function OVER (..)``.

        Computed after groups, so that it may hold aggregates, but no window inside another.
        """
        function = node.function
        window_definition: WindowExpression | NamedWindow = (
            node if node.name is None else self.find_named_window(node.name, scope, node.text_offset)
        )
        name = function.name.upper()
        entry = WINDOW_FUNCTIONS.get(name) or (
            self.functions.find_function(name) if name in WINDOW_AGGREGATE_NAMES else None
        )
        if entry is None:
            near = suggest_spelling(name, (*WINDOW_FUNCTIONS, *WINDOW_AGGREGATE_NAMES))
            self.raise_bind_error(
                format_message("{name} cannot stand before OVER", name),
                function.text_offset,
                near
                or format_message(
                    "those that can: {names}", ", ".join((*WINDOW_FUNCTIONS, *sorted(WINDOW_AGGREGATE_NAMES)))
                ),
            )
        if self.clause not in {"SELECT", "ORDER BY"}:
            self.raise_bind_error(
                format_message("a window function cannot stand in {clause}", self.clause),
                node.text_offset,
                "put its query into FROM, and use its column there",
            )
        if entry.group == "window" and (function.distinct or function.star):
            self.raise_bind_error(
                format_message(
                    "{what} belongs to aggregate functions, and {name} is none",
                    "DISTINCT" if function.distinct else "*",
                    name,
                ),
                function.text_offset,
            )
        clause = self.clause
        self.clause = format_message("a window")
        args = [self.bind_expression(arg, scope) for arg in function.args]
        partition, order, frame = self.bind_window_parts(window_definition, scope)
        self.clause = clause
        for arg in args:
            if (
                name in {"NTILE", "NTH_VALUE"}
                and isinstance(arg, Literal)
                and isinstance(arg.value, int)
                and arg.value < 1
                and arg is args[-1]
            ):
                self.raise_bind_error(
                    format_message("{name}({value}) means nothing", name, arg.value),
                    arg.text_offset,
                    "it counts from 1",
                )
        if frame is not None and entry.group == "window" and name not in FRAME_FUNCTION_NAMES:
            self.raise_bind_error(
                format_message("{name} looks at the whole partition and takes no frame", name),
                window_definition.text_offset,
                format_message("leave {unit} .. out", frame.unit),
            )
        if function.star:
            bound_call = self.bind_aggregate(function, entry, scope)
        else:
            bound_call = self.bind_call(function, entry, args)
        if not isinstance(bound_call, FunctionCall):
            raise TypeError(name)
        parts = [require_meta(item) for item in (*args, *partition, *(item.expr for item in order))]
        # it gives one value for each row, whatever it is made of
        combined_meta = derive_meta(parts, BOOLEAN, None, None)
        call_meta = require_meta(bound_call)
        result_meta = ValueMetadata(
            call_meta.type,
            call_meta.unit,
            call_meta.ucd,
            nullable=call_meta.nullable or name in {"LAG", "LEAD"},
            aggregate=combined_meta.aggregate,
            origins=combined_meta.origins,
        )
        varying_order = tuple(item for item in order if not require_meta(item.expr).constant)
        # all rows are one group then
        order = varying_order or (order[:1] if frame is not None and frame.unit == "GROUPS" else ())
        return WindowExpression(
            bound_call,
            tuple(item for item in partition if not require_meta(item).constant),
            order,
            frame,
            text_offset=node.text_offset,
            meta=result_meta,
        )

    def find_named_window(self, ident: Ident, scope: NameScope, text_offset: int) -> NamedWindow:
        """Find a window of the WINDOW clause."""
        for window in scope.windows:
            if is_same_name(ident, window.name.name if window.name.quoted else window.name.name.lower()):
                return window
        near = suggest_spelling(ident.name, [window.name.name for window in scope.windows])
        raise self.build_bind_error(
            format_message("no window {name!r}", ident.name),
            text_offset,
            near or format_message("write WINDOW {name} AS (..) behind FROM, WHERE and GROUP BY", ident.name),
        )

    def bind_window_parts(
        self, node: WindowExpression | NamedWindow, scope: NameScope
    ) -> tuple[tuple[Expr, ...], tuple[OrderItem, ...], WindowFrame | None]:
        """Bind partition, order and frame."""
        self.check_key_count(node.partition, "PARTITION BY")
        self.check_key_count(node.order_by, "ORDER BY")
        partition = tuple([self.bind_expression(item, scope) for item in node.partition])
        order = tuple(
            [
                OrderItem(self.bind_expression(item.expr, scope), item.descending, text_offset=item.text_offset)
                for item in node.order_by
            ]
        )
        frame = node.frame
        if frame is None:
            return partition, order, None
        offsets = [edge.offset for edge in (frame.start, frame.end) if edge.offset is not None]
        for offset in offsets:
            self.mark_literal_fixed(offset)
        if frame.unit == "GROUPS" and not order:
            self.raise_bind_error(
                "GROUPS counts groups of equal rows, and nothing says which are",
                frame.text_offset,
                "add ORDER BY to the window",
            )
        if (
            frame.unit == "RANGE"
            and offsets
            and (len(order) != 1 or classify_value(order[0].expr) != "number" or require_meta(order[0].expr).constant)
        ):
            self.raise_bind_error(
                "RANGE with distances needs one number to order by",
                frame.text_offset,
                "order the window by one numeric column, or write ROWS",
            )
        for distance in offsets:
            if not build_literal_meta(distance.value).type.is_integer:
                if frame.unit != "RANGE":
                    self.raise_bind_error(
                        "the number of rows is out of the range of BIGINT", distance.text_offset, "write UNBOUNDED"
                    )
                key_meta = require_meta(order[0].expr)  # whole numbers have whole distances
                order = (
                    replace(
                        order[0],
                        expr=Cast(
                            order[0].expr,
                            "DOUBLE PRECISION",
                            meta=derive_meta((key_meta,), FLOAT64, key_meta.unit, None),
                        ),
                    ),
                )
        return partition, order, frame

    def check_named_windows(self, windows: Sequence[NamedWindow], scope: NameScope) -> None:
        """Check the windows that are named, whether something uses them or not."""
        clause = self.clause
        self.clause = format_message("a window")
        for window in windows:
            self.bind_window_parts(window, scope)
        self.clause = clause
