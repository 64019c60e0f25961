"""OVER of ADQL's window functions (declared extension): partitions, order, frames, and the WINDOW clause that names them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Final, TypeVar

from hven.adql._syntax_faults import FOREIGN
from hven.adql._token_stream import Words
from hven.adql.lexer import NAME, QUOTED
from hven.adql.tree import Edge, Expr, Frame, Function, Ident, Literal, NamedWindow, OrderItem, Window
from hven.model.errors import say

if TYPE_CHECKING:
    from collections.abc import Callable

Part = TypeVar("Part")
Inside = tuple[tuple[Expr, ...], tuple[OrderItem, ...], Frame | None]

_UNITS: Final = ("ROWS", "RANGE", "GROUPS")
_PLACES: Final = {"UNBOUNDED PRECEDING": 0, "PRECEDING": 1, "CURRENT ROW": 2, "FOLLOWING": 3, "UNBOUNDED FOLLOWING": 4}
_EDGES: Final = "UNBOUNDED PRECEDING, n PRECEDING, CURRENT ROW, n FOLLOWING or UNBOUNDED FOLLOWING"


class WindowParser(Words, ABC):
    """Reads what stands behind a window function, and the WINDOW clause."""

    __slots__ = ()

    def over(self, node: Function) -> Expr:
        """Read ``OVER ([PARTITION BY ..] [ORDER BY ..] [frame])`` or ``OVER name`` behind a call, if it is there."""
        i = self.i
        if self.tags[i] != NAME or str(self.values[i]).upper() != "OVER" or self.tags[i + 1] not in {"(", NAME, QUOTED}:
            return node
        if self.old or self.mapping:
            self.refuse(*FOREIGN["OVER"])
        self.i += 1
        if self.tags[self.i] != "(":
            return Window(node, name=self.ident("the name of a window"), at=node.at)
        partition, order, frame = self.window()
        return Window(node, partition, order, frame, at=node.at)

    def windows(self) -> tuple[NamedWindow, ...]:
        """Read ``WINDOW name AS (..), ..``, if it is there."""
        if not self.at_windows():
            return ()
        if self.old:
            self.refuse(*FOREIGN["OVER"])
        found: list[NamedWindow] = []
        while True:
            self.i += 1
            at = self.ats[self.i]
            name = self.ident("a name after WINDOW")
            if any(_key(name) == _key(other.name) for other in found):
                self.refuse(say("WINDOW names {name!r} twice", name.name), at=at)
            self.expect("AS", "AS and the window in parentheses")
            if self.tags[self.i] != "(":
                self.unexpected("an opening parenthesis")
            found.append(NamedWindow(name, *self.window(), at=at))
            if self.tags[self.i] != ",":
                return tuple(found)

    def at_windows(self) -> bool:
        """Return whether the WINDOW clause begins here; WINDOW is no reserved word, and may be an alias."""
        i = self.i
        return (
            self.tags[i] == NAME
            and str(self.values[i]).upper() == "WINDOW"
            and self.tags[i + 1] in {NAME, QUOTED}
            and self.tags[i + 2 : i + 4] == ["AS", "("]
        )

    def window(self) -> Inside:
        """Read a window in parentheses."""
        self.deeper()
        self.i += 1
        partition: list[Expr] = []
        order: list[OrderItem] = []
        if self.word() == "PARTITION":
            self.i += 1
            partition = self.listed(self.operand, "PARTITION")
        if self.tags[self.i] == "ORDER":
            self.i += 1
            order = self.listed(self.order_item, "ORDER")
        frame = self.frame() if self.word() in _UNITS else None
        if self.word() == "EXCLUDE":
            self.refuse("windows have no EXCLUDE here", "leave it out")
        self.expect(")", "PARTITION BY, ORDER BY, a frame or a closing parenthesis")
        self.depth -= 1
        return tuple(partition), tuple(order), frame

    def frame(self) -> Frame:
        """Read ``ROWS|RANGE|GROUPS BETWEEN edge AND edge``, or one edge: up to the current row, then."""
        at = self.ats[self.i]
        unit = self.word()
        self.i += 1
        between = self.tags[self.i] == "BETWEEN"
        self.i += between
        i = self.i
        start = self.edge(unit)
        end = Edge("CURRENT ROW")
        if between:
            self.expect("AND", "AND and the other end of the frame")
            end = self.edge(unit)
        first, last = _PLACES[start.side], _PLACES[end.side]
        if first == 4 or last == 0 or first > last:
            self.refuse(
                "this frame ends before it begins",
                "write the earlier end first: BETWEEN 1 PRECEDING AND CURRENT ROW",
                at=self.ats[i],
            )
        return Frame(unit, start, end, at=at)

    def edge(self, unit: str) -> Edge:
        """Read one end of a frame."""
        i = self.i
        at = self.ats[i]
        word, after = self.word(), str(self.values[i + 1]).upper() if i + 1 < len(self.values) else ""
        if word == "UNBOUNDED" and after in {"PRECEDING", "FOLLOWING"}:
            self.i += 2
            return Edge(f"UNBOUNDED {after}", at=at)
        if word == "CURRENT" and after == "ROW":
            self.i += 2
            return Edge("CURRENT ROW", at=at)
        literal = self.values[i]
        if not isinstance(literal, Literal) or after not in {"PRECEDING", "FOLLOWING"}:
            self.unexpected(say("an end of the frame ({edges})", _EDGES))
        if isinstance(literal.value, str):
            self.refuse("the end of a frame is a number", "write it without quotes")
        if unit != "RANGE" and not isinstance(literal.value, int):
            self.refuse(
                say("{unit} counts whole numbers, found {found}", unit, self.found(i)),
                "write RANGE for distances of values",
            )
        self.i += 2
        return Edge(after, literal, at=at)

    def word(self) -> str:
        """Return the current word in upper case."""
        return str(self.values[self.i]).upper()

    def listed(self, read: Callable[[], Part], word: str) -> list[Part]:
        """Read ``BY a, b``."""
        self.expect("BY", say("BY after {word}", word))
        items = [read()]
        while self.tags[self.i] == ",":
            self.i += 1
            items.append(read())
        return items

    @abstractmethod
    def operand(self) -> Expr:
        """Read a value that is no condition."""

    @abstractmethod
    def order_item(self) -> OrderItem:
        """Read one term of ORDER BY."""


def _key(name: Ident) -> str:
    return name.name if name.quoted else name.name.lower()
