"""Parse OVER and the WINDOW clause of window functions (declared extension): partitions, order and frames."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Final

from hven.adql._syntax_errors import FOREIGN_KEYWORDS
from hven.adql._token_stream import TokenStream
from hven.adql.lexer import NAME, QUOTED
from hven.adql.syntax_tree import (
    Expr,
    FrameBound,
    FunctionCall,
    Literal,
    NamedWindow,
    OrderItem,
    WindowExpression,
    WindowFrame,
)
from hven.model.errors import format_message

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
    """Parses what follows a window function, and the WINDOW clause."""

    __slots__ = ()

    def parse_over_clause(self, call: FunctionCall) -> Expr:
        """Parse ``OVER ([PARTITION BY ..] [ORDER BY ..] [frame])`` or ``OVER name`` after a call, if it is there."""
        i = self.token_index
        if self.tags[i] != NAME or str(self.values[i]).upper() != "OVER":
            return call
        if self.tags[i + 1] not in {"(", NAME, QUOTED}:
            return call
        if self.is_adql_2_0 or self.is_mapping:
            self.raise_parse_error(*FOREIGN_KEYWORDS["OVER"])
        self.token_index += 1
        if self.tags[self.token_index] != "(":
            identifier = self.parse_identifier("the name of a window")
            return WindowExpression(call, name=identifier, text_offset=call.text_offset)
        partition, order, frame = self.parse_window_specification()
        return WindowExpression(call, partition, order, frame, text_offset=call.text_offset)

    def parse_window_clause(self) -> tuple[NamedWindow, ...]:
        """Parse ``WINDOW name AS (..), ..``, if it is there."""
        if not self.is_window_clause_next():
            return ()
        if self.is_adql_2_0:
            self.raise_parse_error(*FOREIGN_KEYWORDS["OVER"])
        windows: list[NamedWindow] = []
        normalized_names: set[str] = set()
        while True:
            self.token_index += 1
            text_offset = self.text_offsets[self.token_index]
            name = self.parse_identifier("a name after WINDOW")
            if name.normalized_name in normalized_names:
                message = format_message("WINDOW defines {name!r} twice", name.name)
                self.raise_parse_error(message, text_offset=text_offset)
            normalized_names.add(name.normalized_name)
            self.expect_token("AS", "AS and the window in parentheses")
            if self.tags[self.token_index] != "(":
                self.raise_unexpected_token("an opening parenthesis")
            partition, order, frame = self.parse_window_specification()
            windows.append(NamedWindow(name, partition, order, frame, text_offset=text_offset))
            if self.tags[self.token_index] != ",":
                return tuple(windows)

    def is_window_clause_next(self) -> bool:
        """Return whether the WINDOW clause begins here; WINDOW is not a reserved word and may be an alias."""
        i = self.token_index
        if self.tags[i] != NAME or str(self.values[i]).upper() != "WINDOW":
            return False
        return self.tags[i + 1] in {NAME, QUOTED} and self.tags[i + 2 : i + 4] == ["AS", "("]

    def parse_window_specification(self) -> WindowParts:
        """Parse a window in parentheses."""
        self.add_and_limit_nesting_depth()
        self.token_index += 1
        partition: list[Expr] = []
        order: list[OrderItem] = []
        if self.peek_keyword() == "PARTITION":
            self.token_index += 1
            partition = self.parse_by_clause(self.parse_operand, "PARTITION")
        if self.tags[self.token_index] == "ORDER":
            self.token_index += 1
            order = self.parse_by_clause(self.parse_order_item, "ORDER")
        frame = None
        if self.peek_keyword() in _FRAME_UNITS:
            frame = self.parse_frame()
        if self.peek_keyword() == "EXCLUDE":
            self.raise_parse_error("EXCLUDE is not supported in windows", "leave it out")
        self.expect_token(")", "PARTITION BY, ORDER BY, a frame or a closing parenthesis")
        self.depth -= 1
        return tuple(partition), tuple(order), frame

    def parse_frame(self) -> WindowFrame:
        """Parse ``ROWS|RANGE|GROUPS BETWEEN start AND end``, or only a start: the frame ends at the current row."""
        text_offset = self.text_offsets[self.token_index]
        unit = self.peek_keyword()
        self.token_index += 1
        has_end = self.tags[self.token_index] == "BETWEEN"
        if has_end:
            self.token_index += 1
        start_offset = self.text_offsets[self.token_index]
        start = self.parse_frame_bound(unit)
        end = FrameBound("CURRENT ROW")
        if has_end:
            self.expect_token("AND", "AND and the other end of the frame")
            end = self.parse_frame_bound(unit)
        start_rank = _FRAME_BOUND_ORDER[start.side]
        end_rank = _FRAME_BOUND_ORDER[end.side]
        if start_rank == 4 or end_rank == 0 or start_rank > end_rank:
            self.raise_parse_error(
                "this frame ends before it begins",
                "write the earlier bound first: BETWEEN 1 PRECEDING AND CURRENT ROW",
                text_offset=start_offset,
            )
        return WindowFrame(unit, start, end, text_offset=text_offset)

    def parse_frame_bound(self, frame_unit: str) -> FrameBound:
        """Parse one end of a frame."""
        i = self.token_index
        text_offset = self.text_offsets[i]
        word = self.peek_keyword()
        next_keyword = ""
        if i + 1 < len(self.values):
            next_keyword = str(self.values[i + 1]).upper()
        if word == "UNBOUNDED" and next_keyword in {"PRECEDING", "FOLLOWING"}:
            self.token_index += 2
            return FrameBound(f"UNBOUNDED {next_keyword}", text_offset=text_offset)
        if word == "CURRENT" and next_keyword == "ROW":
            self.token_index += 2
            return FrameBound("CURRENT ROW", text_offset=text_offset)
        literal = self.values[i]
        if not isinstance(literal, Literal) or next_keyword not in {"PRECEDING", "FOLLOWING"}:
            self.raise_unexpected_token(format_message("a bound of the frame ({edges})", _FRAME_BOUND_FORMS))
        if isinstance(literal.value, str):
            self.raise_parse_error("the bound of a frame must be a number", "write it without quotes")
        if frame_unit != "RANGE" and not isinstance(literal.value, int):
            literal_phrase = self.describe_token(i)
            message = format_message("{unit} needs a whole number, not {found}", frame_unit, literal_phrase)
            self.raise_parse_error(message, "use RANGE for distances between values")
        self.token_index += 2
        return FrameBound(next_keyword, literal, text_offset=text_offset)

    def peek_keyword(self) -> str:
        """Return the current word in upper case."""
        return str(self.values[self.token_index]).upper()

    @abstractmethod
    def parse_operand(self) -> Expr:
        """Parse a value; refuse a condition."""

    @abstractmethod
    def parse_order_item(self) -> OrderItem:
        """Parse one term of ORDER BY."""
