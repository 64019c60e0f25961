"""Baskets: rows of several tables by their keys, and searches by their addresses.

As a text, as a token of an address, as a search of a table.

A basket holds no rows and no rights: whoever opens it is told of what they may see, and of all else nothing but a
number.
"""

from __future__ import annotations

import base64
import hashlib
import zlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import orjson

from hven.adql import syntax_tree
from hven.model.errors import NotFoundError, ParamError, format_message
from hven.portal._explore import row_files
from hven.portal._explore.row_pages import MAX_KEY_CHARACTERS
from hven.portal._explore.search import TableSearch

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from hven.model.table import Table

MAX_BASKET_BYTES = 1024**2  # of a basket's text
MAX_BASKET_TABLES = 50
MAX_TABLE_SEARCHES = 20  # of one table
MAX_SEARCH_CHARACTERS = 4_000  # characters of one
MAX_INLINE_CHARACTERS = (
    1_500  # characters of a token that is the basket itself; longer ones no mail and no cookie takes
)
INLINE_PREFIX = "~"  # what such a token begins with


@dataclass(frozen=True, slots=True, kw_only=True)
class BasketPart:
    """What a basket has of one table.

    Attributes
    ----------
    table_path
        The table, as addresses name it below ``/collections/``.
    row_keys
        Keys of rows, as `rows.Page.keys` writes them: of one, or of all files of an observation, the line's own first.
    searches
        As the query of an address has them; empty: all rows.
    """

    table_path: str
    row_keys: tuple[tuple[str, ...], ...] = ()
    searches: tuple[str, ...] = ()

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys of all rows."""
        return tuple(dict.fromkeys(key for line in self.row_keys for key in line))


@dataclass(frozen=True, slots=True, kw_only=True)
class Basket:
    """Parts, each of another table, in the order in which they were begun."""

    parts: tuple[BasketPart, ...] = ()

    @property
    def entry_count(self) -> int:
        """How many lines and searches there are."""
        return sum(len(part.row_keys) + len(part.searches) for part in self.parts)

    def find_part(self, table_path: str) -> BasketPart:
        """Return what there is of a table."""
        return next((part for part in self.parts if part.table_path == table_path), BasketPart(table_path=table_path))

    def replace_part(self, part: BasketPart) -> Basket:
        """Return the basket with another part of that table; an empty one is none."""
        parts = [part if basket_part.table_path == part.table_path else basket_part for basket_part in self.parts]
        if all(basket_part.table_path != part.table_path for basket_part in parts):
            parts.append(part)
        return Basket(parts=tuple(basket_part for basket_part in parts if basket_part.row_keys or basket_part.searches))

    def merge(self, added_basket: Basket) -> Basket:
        """Return the basket with all of another one.

        Raises
        ------
        ParamError
            It is more than a basket holds.
        """
        merged = self
        for added_part in added_basket.parts:
            part = merged.find_part(added_part.table_path)
            lines = {line[0]: line for line in part.row_keys}
            known_keys = set(part.keys)
            for line in added_part.row_keys:
                new = tuple(key for key in dict.fromkeys(line) if key not in known_keys)
                if line[0] in lines:
                    lines[line[0]] += new
                elif new:
                    lines[new[0]] = new
                known_keys.update(new)
            searches = dict.fromkeys((*part.searches, *added_part.searches))
            row_keys = tuple(lines.values())
            merged = merged.replace_part(replace(part, row_keys=row_keys, searches=tuple(searches)))
        return check_limits(merged)

    def remove_parts(self, removed_basket: Basket) -> Basket:
        """Return the basket without the rows and searches of another one."""
        remaining = self
        for removed_part in removed_basket.parts:
            part = remaining.find_part(removed_part.table_path)
            removed_keys = set(removed_part.keys)
            lines = (tuple(key for key in line if key not in removed_keys) for line in part.row_keys)
            searches = tuple(search for search in part.searches if search not in removed_part.searches)
            row_keys = tuple(line for line in lines if line)
            remaining = remaining.replace_part(replace(part, row_keys=row_keys, searches=searches))
        return remaining

    def to_text(self) -> str:
        """Write the basket; equal ones are written alike."""
        parts = [{"of": part.table_path, "lines": part.row_keys, "searches": part.searches} for part in self.parts]
        return orjson.dumps({"parts": parts}).decode()

    def to_inline_token(self) -> str:
        """Return the token that is the basket itself; empty: it would be too long."""
        packed = base64.urlsafe_b64encode(zlib.compress(self.to_text().encode(), 9)).decode().rstrip("=")
        if len(packed) < MAX_INLINE_CHARACTERS:
            return f"{INLINE_PREFIX}{packed}"
        return ""

    def compute_token(self) -> str:
        """Return the token by which it is kept."""
        return hashlib.sha256(self.to_text().encode()).hexdigest()[:40]


def parse_basket(text: str | bytes) -> Basket:
    """Read the text of a basket, as browsers send it.

    Raises
    ------
    ParamError
        It is none, or more than a basket holds.
    """
    if len(text) > MAX_BASKET_BYTES:
        raise _build_limit_error(
            format_message("{count:,} bytes: a basket has {most:,} at most", len(text), MAX_BASKET_BYTES)
        )
    try:
        basket_data = orjson.loads(text)
        parts = [
            BasketPart(
                table_path=_require_text(part_data["of"]),
                row_keys=_parse_row_keys(part_data.get("lines", ())),
                searches=_parse_searches(part_data.get("searches", ())),
            )
            for part_data in basket_data["parts"]
        ]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ParamError(
            "this is no basket", name="BASKET", remedy="tick rows in a table, or open the link of a basket"
        ) from error
    basket = Basket()
    for part in parts:
        basket = basket.merge(Basket(parts=(part,)))
    return basket


def open_inline_token(token: str) -> Basket:
    """Read a token that is the basket itself.

    Raises
    ------
    NotFoundError
        It is none.
    """
    packed = token.removeprefix(INLINE_PREFIX)
    decompressor = zlib.decompressobj()
    try:
        text = decompressor.decompress(base64.urlsafe_b64decode(packed + "=" * (-len(packed) % 4)), MAX_BASKET_BYTES)
        basket = parse_basket(text)
    except (ValueError, zlib.error, ParamError) as error:
        raise build_not_found_error() from error
    if len(token) > MAX_INLINE_CHARACTERS or not decompressor.eof:
        raise build_not_found_error()
    return basket


def build_not_found_error() -> NotFoundError:
    """Return what is said of a token that leads nowhere."""
    return NotFoundError(
        "there is no basket of this address, or it was not read for a year", remedy="ask whoever shared it for another"
    )


def check_limits(basket: Basket) -> Basket:
    """Return the basket, if it is no more than one holds.

    Raises
    ------
    ParamError
        It is more.
    """
    if len(basket.parts) > MAX_BASKET_TABLES:
        raise _build_limit_error(
            format_message("{count:,} tables: a basket has {most:,} at most", len(basket.parts), MAX_BASKET_TABLES)
        )
    for part in basket.parts:
        count = sum(map(len, part.row_keys))
        if count > row_files.MAX_ROW_KEYS:
            raise _build_limit_error(
                format_message(
                    "{count:,} rows of one table: a basket has {most:,} at most", count, row_files.MAX_ROW_KEYS
                )
            )
        if len(part.searches) > MAX_TABLE_SEARCHES:
            raise _build_limit_error(
                format_message(
                    "{count:,} searches of one table: a basket has {most:,} at most",
                    len(part.searches),
                    MAX_TABLE_SEARCHES,
                )
            )
    size = len(basket.to_text())
    if size > MAX_BASKET_BYTES:
        raise _build_limit_error(
            format_message("{count:,} bytes: a basket has {most:,} at most", size, MAX_BASKET_BYTES)
        )
    return basket


def search_row_keys(part: BasketPart, table: Table) -> TableSearch:
    """Return the search of the rows that were ticked."""
    return row_files.select_row_keys(TableSearch(table=table), part.keys)


def search_any(table: Table, searches: Iterable[TableSearch]) -> TableSearch:
    """Return the search of all rows that any of some searches finds."""
    everything = syntax_tree.Comparison("=", syntax_tree.Literal(1), syntax_tree.Literal(1))
    tests = tuple(search.build_condition() or everything for search in searches)
    nothing = syntax_tree.Comparison("=", syntax_tree.Literal(1), syntax_tree.Literal(0))
    test = syntax_tree.Disjunction(tests) if len(tests) > 1 else tests[0] if tests else nothing
    return TableSearch(table=table, conditions=(("", ()),), tests=(test,))


def _parse_row_keys(row_keys: Sequence[Sequence[str]]) -> tuple[tuple[str, ...], ...]:
    lines = tuple(tuple(map(_require_text, [line] if isinstance(line, str) else line)) for line in row_keys)
    return tuple(line for line in lines if line)


def _parse_searches(search_texts: Sequence[str]) -> tuple[str, ...]:
    if any(len(search_text) > MAX_SEARCH_CHARACTERS for search_text in search_texts):
        longest = max(map(len, search_texts))
        raise _build_limit_error(
            format_message(
                "a search of {count:,} characters: a basket takes {most:,} at most", longest, MAX_SEARCH_CHARACTERS
            )
        )
    return tuple(
        search_text if isinstance(search_text, str) else _require_text(search_text) for search_text in search_texts
    )


def _require_text(value: object) -> str:
    """Return a text that says something."""
    if not isinstance(value, str) or not 0 < len(value) <= MAX_KEY_CHARACTERS:
        raise TypeError
    return value


def _build_limit_error(message: str) -> ParamError:
    return ParamError(message, name="BASKET", remedy="put in a search instead of its rows")
