"""OVER of ADQL's window functions (declared extension).

Partitions, order, frames, and the WINDOW clause that names them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Final, TypeVar

from hven.adql._syntax_errors import FOREIGN_KEYWORDS
from hven.adql._token_stream import TokenStream
from hven.adql.lexer import NAME, QUOTED
from hven.adql.syntax_tree import (
    Expr,
    FrameBound,
    FunctionCall,
    Ident,
    Literal,
    NamedWindow,
    OrderItem,
    WindowExpression,
    WindowFrame,
)
from hven.model.errors import format_message

if TYPE_CHECKING:
    from collections.abc import Callable

Part = TypeVar("Part")
WindowParts = tuple[tuple[Expr, ...], tuple[OrderItem, ...], WindowFrame | None]

_FRAME_UNITS: Final = ("ROWS", "RANGE", "GROUPS")
_FRAME_BOUND_ORDER: Final = {
    "UNBOUNDED PRECEDING": 0,
    "PRECEDING": 1,
    "CURRENT ROW": 2,
    "FOLLOWING": 3,
    "UNBOUNDED FOLLOWING": 4,
}
_FRAME_BOUND_FORMS: Final = "UNBOUNDED PRECEDING, n PRECEDING, CURRENT ROW, n FOLLOWING or UNBOUNDED FOLLOWING"


class WindowParser(TokenStream, ABC):
    """Reads what stands behind a window function, and the WINDOW clause."""

    __slots__ = ()

    def parse_over(self, call: FunctionCall) -> Expr:
        """Read ``OVER ([PARTITION BY ..] [ORDER BY ..] [frame])`` or ``OVER name`` behind a call, if it is there."""
        i = self.token_index
        if self.tags[i] != NAME or str(self.values[i]).upper() != "OVER" or self.tags[i + 1] not in {"(", NAME, QUOTED}:
            return call
        if self.is_adql_2_0 or self.is_mapping:
            self.raise_parse_error(*FOREIGN_KEYWORDS["OVER"])
        self.token_index += 1
        if self.tags[self.token_index] != "(":
            identifier = self.parse_identifier("the name of a window")
            return WindowExpression(call, name=identifier, text_offset=call.text_offset)
        partition, order, frame = self.parse_window()
        return WindowExpression(call, partition, order, frame, text_offset=call.text_offset)

    def parse_window_clause(self) -> tuple[NamedWindow, ...]:
        """Read ``WINDOW name AS (..), ..``, if it is there."""
        if not self.is_window_clause():
            return ()
        if self.is_adql_2_0:
            self.raise_parse_error(*FOREIGN_KEYWORDS["OVER"])
        windows: list[NamedWindow] = []
        while True:
            self.token_index += 1
            text_offset = self.text_offsets[self.token_index]
            name = self.parse_identifier("a name after WINDOW")
            if any(
                _normalize_identifier(name) == _normalize_identifier(earlier_window.name) for earlier_window in windows
            ):
                self.raise_parse_error(
                    format_message("WINDOW names {name!r} twice", name.name), text_offset=text_offset
                )
            self.expect_token("AS", "AS and the window in parentheses")
            if self.tags[self.token_index] != "(":
                self.raise_unexpected_token("an opening parenthesis")
            windows.append(NamedWindow(name, *self.parse_window(), text_offset=text_offset))
            if self.tags[self.token_index] != ",":
                return tuple(windows)

    def is_window_clause(self) -> bool:
        """Return whether the WINDOW clause begins here; WINDOW is no reserved word, and may be an alias."""
        i = self.token_index
        return (
            self.tags[i] == NAME
            and str(self.values[i]).upper() == "WINDOW"
            and self.tags[i + 1] in {NAME, QUOTED}
            and self.tags[i + 2 : i + 4] == ["AS", "("]
        )

    def parse_window(self) -> WindowParts:
        """Read a window in parentheses."""
        self.add_depth()
        self.token_index += 1
        partition: list[Expr] = []
        order: list[OrderItem] = []
        if self.peek_keyword() == "PARTITION":
            self.token_index += 1
            partition = self.parse_by_list(self.parse_operand, "PARTITION")
        if self.tags[self.token_index] == "ORDER":
            self.token_index += 1
            order = self.parse_by_list(self.parse_order_item, "ORDER")
        if self.peek_keyword() in _FRAME_UNITS:
            frame = self.parse_frame()
        else:
            frame = None
        if self.peek_keyword() == "EXCLUDE":
            self.raise_parse_error("windows have no EXCLUDE here", "leave it out")
        self.expect_token(")", "PARTITION BY, ORDER BY, a frame or a closing parenthesis")
        self.depth -= 1
        return tuple(partition), tuple(order), frame

    def parse_frame(self) -> WindowFrame:
        """Read ``ROWS|RANGE|GROUPS BETWEEN edge AND edge``, or one edge: up to the current row, then."""
        text_offset = self.text_offsets[self.token_index]
        unit = self.peek_keyword()
        self.token_index += 1
        between = self.tags[self.token_index] == "BETWEEN"
        self.token_index += between
        i = self.token_index
        start = self.parse_frame_bound(unit)
        end = FrameBound("CURRENT ROW")
        if between:
            self.expect_token("AND", "AND and the other end of the frame")
            end = self.parse_frame_bound(unit)
        start_rank = _FRAME_BOUND_ORDER[start.side]
        end_rank = _FRAME_BOUND_ORDER[end.side]
        if start_rank == 4 or end_rank == 0 or start_rank > end_rank:
            self.raise_parse_error(
                "this frame ends before it begins",
                "write the earlier end first: BETWEEN 1 PRECEDING AND CURRENT ROW",
                text_offset=self.text_offsets[i],
            )
        return WindowFrame(unit, start, end, text_offset=text_offset)

    def parse_frame_bound(self, frame_unit: str) -> FrameBound:
        """Read one end of a frame."""
        i = self.token_index
        text_offset = self.text_offsets[i]
        word = self.peek_keyword()
        next_keyword = str(self.values[i + 1]).upper() if i + 1 < len(self.values) else ""
        if word == "UNBOUNDED" and next_keyword in {"PRECEDING", "FOLLOWING"}:
            self.token_index += 2
            return FrameBound(f"UNBOUNDED {next_keyword}", text_offset=text_offset)
        if word == "CURRENT" and next_keyword == "ROW":
            self.token_index += 2
            return FrameBound("CURRENT ROW", text_offset=text_offset)
        literal = self.values[i]
        if not isinstance(literal, Literal) or next_keyword not in {"PRECEDING", "FOLLOWING"}:
            self.raise_unexpected_token(format_message("an end of the frame ({edges})", _FRAME_BOUND_FORMS))
        if isinstance(literal.value, str):
            self.raise_parse_error("the end of a frame is a number", "write it without quotes")
        if frame_unit != "RANGE" and not isinstance(literal.value, int):
            self.raise_parse_error(
                format_message("{unit} counts whole numbers, found {found}", frame_unit, self.describe_token(i)),
                "write RANGE for distances of values",
            )
        self.token_index += 2
        return FrameBound(next_keyword, literal, text_offset=text_offset)

    def peek_keyword(self) -> str:
        """Return the current word in upper case."""
        return str(self.values[self.token_index]).upper()

    def parse_by_list(self, parse_item: Callable[[], Part], keyword: str) -> list[Part]:
        """Read ``BY a, b``."""
        self.expect_token("BY", format_message("BY after {word}", keyword))
        items = [parse_item()]
        while self.tags[self.token_index] == ",":
            self.token_index += 1
            items.append(parse_item())
        return items

    @abstractmethod
    def parse_operand(self) -> Expr:
        """Read a value that is no condition."""

    @abstractmethod
    def parse_order_item(self) -> OrderItem:
        """Read one term of ORDER BY."""


def _normalize_identifier(identifier: Ident) -> str:
    if identifier.quoted:
        return identifier.name
    return identifier.name.lower()
