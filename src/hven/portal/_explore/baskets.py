"""Baskets: rows of several tables by their keys, and searches by their addresses; as a text, as a token of an address, as a search of a table.

A basket holds no rows and no rights: whoever opens it is told of what they may see, and of all else nothing but a number.
"""

from __future__ import annotations

import base64
import hashlib
import zlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import orjson

from hven.adql import tree
from hven.model.errors import NotFound, ParamError, say
from hven.portal._explore import cart
from hven.portal._explore.rows import LONGEST
from hven.portal._explore.search import Search

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from hven.model.table import Table

BYTES = 1024**2  # of a basket's text
TABLES = 50
SEARCHES = 20  # of one table
ADDRESS = 4_000  # characters of one
INLINE = 1_500  # characters of a token that is the basket itself; longer ones no mail and no cookie takes
OWN = "~"  # what such a token begins with


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """What a basket has of one table.

    Attributes
    ----------
    of
        The table, as addresses name it below ``/collections/``.
    lines
        Keys of rows, as `rows.Page.keys` writes them: of one, or of all files of an observation, the line's own first.
    searches
        As the query of an address has them; empty: all rows.
    """

    of: str
    lines: tuple[tuple[str, ...], ...] = ()
    searches: tuple[str, ...] = ()

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys of all rows."""
        return tuple(dict.fromkeys(key for line in self.lines for key in line))


@dataclass(frozen=True, slots=True, kw_only=True)
class Basket:
    """Parts, each of another table, in the order in which they were begun."""

    parts: tuple[Part, ...] = ()

    @property
    def entries(self) -> int:
        """How many lines and searches there are."""
        return sum(len(part.lines) + len(part.searches) for part in self.parts)

    def part(self, of: str) -> Part:
        """Return what there is of a table."""
        return next((part for part in self.parts if part.of == of), Part(of=of))

    def put(self, part: Part) -> Basket:
        """Return the basket with another part of that table; an empty one is none."""
        parts = [part if one.of == part.of else one for one in self.parts]
        if all(one.of != part.of for one in parts):
            parts.append(part)
        return Basket(parts=tuple(one for one in parts if one.lines or one.searches))

    def added(self, other: Basket) -> Basket:
        """Return the basket with all of another one.

        Raises
        ------
        ParamError
            It is more than a basket holds.
        """
        made = self
        for more in other.parts:
            part = made.part(more.of)
            lines = {line[0]: line for line in part.lines}
            known = set(part.keys)
            for line in more.lines:
                new = tuple(key for key in dict.fromkeys(line) if key not in known)
                if line[0] in lines:
                    lines[line[0]] += new
                elif new:
                    lines[new[0]] = new
                known.update(new)
            searches = dict.fromkeys((*part.searches, *more.searches))
            made = made.put(replace(part, lines=tuple(lines.values()), searches=tuple(searches)))
        return bounded(made)

    def removed(self, other: Basket) -> Basket:
        """Return the basket without the rows and searches of another one."""
        made = self
        for less in other.parts:
            part, gone = made.part(less.of), set(less.keys)
            lines = (tuple(key for key in line if key not in gone) for line in part.lines)
            searches = tuple(one for one in part.searches if one not in less.searches)
            made = made.put(replace(part, lines=tuple(line for line in lines if line), searches=searches))
        return made

    def text(self) -> str:
        """Write the basket; equal ones are written alike."""
        parts = [{"of": one.of, "lines": one.lines, "searches": one.searches} for one in self.parts]
        return orjson.dumps({"parts": parts}).decode()

    def inline(self) -> str:
        """Return the token that is the basket itself; empty: it would be too long."""
        packed = base64.urlsafe_b64encode(zlib.compress(self.text().encode(), 9)).decode().rstrip("=")
        return f"{OWN}{packed}" if len(packed) < INLINE else ""

    def digest(self) -> str:
        """Return the token by which it is kept."""
        return hashlib.sha256(self.text().encode()).hexdigest()[:40]


def read(text: str | bytes) -> Basket:
    """Read the text of a basket, as browsers send it.

    Raises
    ------
    ParamError
        It is none, or more than a basket holds.
    """
    if len(text) > BYTES:
        raise _much(say("{count:,} bytes: a basket has {most:,} at most", len(text), BYTES))
    try:
        given = orjson.loads(text)
        parts = [
            Part(of=_said(one["of"]), lines=_lines(one.get("lines", ())), searches=_searches(one.get("searches", ())))
            for one in given["parts"]
        ]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ParamError(
            "this is no basket", name="BASKET", remedy="tick rows in a table, or open the link of a basket"
        ) from error
    made = Basket()
    for part in parts:
        made = made.added(Basket(parts=(part,)))
    return made


def opened(token: str) -> Basket:
    """Read a token that is the basket itself.

    Raises
    ------
    NotFound
        It is none.
    """
    packed = token.removeprefix(OWN)
    reading = zlib.decompressobj()
    try:
        text = reading.decompress(base64.urlsafe_b64decode(packed + "=" * (-len(packed) % 4)), BYTES)
        found = read(text)
    except (ValueError, zlib.error, ParamError) as error:
        raise gone() from error
    if len(token) > INLINE or not reading.eof:
        raise gone()
    return found


def gone() -> NotFound:
    """Return what is said of a token that leads nowhere."""
    return NotFound(
        "there is no basket of this address, or it was not read for a year", remedy="ask whoever shared it for another"
    )


def bounded(basket: Basket) -> Basket:
    """Return the basket, if it is no more than one holds.

    Raises
    ------
    ParamError
        It is more.
    """
    if len(basket.parts) > TABLES:
        raise _much(say("{count:,} tables: a basket has {most:,} at most", len(basket.parts), TABLES))
    for part in basket.parts:
        if (count := sum(map(len, part.lines))) > cart.KEYS:
            raise _much(say("{count:,} rows of one table: a basket has {most:,} at most", count, cart.KEYS))
        if len(part.searches) > SEARCHES:
            raise _much(
                say("{count:,} searches of one table: a basket has {most:,} at most", len(part.searches), SEARCHES)
            )
    if (size := len(basket.text())) > BYTES:
        raise _much(say("{count:,} bytes: a basket has {most:,} at most", size, BYTES))
    return basket


def keyed(part: Part, table: Table) -> Search:
    """Return the search of the rows that were ticked."""
    return cart.marked(Search(table=table), part.keys)


def whole(table: Table, searches: Iterable[Search]) -> Search:
    """Return the search of all rows that any of some searches finds."""
    everything = tree.Compare("=", tree.Literal(1), tree.Literal(1))
    tests = tuple(search.where() or everything for search in searches)
    nothing = tree.Compare("=", tree.Literal(1), tree.Literal(0))
    test = tree.Or(tests) if len(tests) > 1 else tests[0] if tests else nothing
    return Search(table=table, conditions=(("", ()),), tests=(test,))


def _lines(given: Sequence[Sequence[str]]) -> tuple[tuple[str, ...], ...]:
    lines = tuple(tuple(map(_said, [line] if isinstance(line, str) else line)) for line in given)
    return tuple(line for line in lines if line)


def _searches(given: Sequence[str]) -> tuple[str, ...]:
    if any(len(one) > ADDRESS for one in given):
        longest = max(map(len, given))
        raise _much(say("a search of {count:,} characters: a basket takes {most:,} at most", longest, ADDRESS))
    return tuple(one if isinstance(one, str) else _said(one) for one in given)


def _said(value: object) -> str:
    """Return a text that says something."""
    if not isinstance(value, str) or not 0 < len(value) <= LONGEST:
        raise TypeError
    return value


def _much(message: str) -> ParamError:
    return ParamError(message, name="BASKET", remedy="put in a search instead of its rows")
