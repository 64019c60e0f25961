"""Baskets: rows of several tables by their keys, and searches by their addresses.

A basket can be written as a text, as a token of an address, and as searches of tables.

It holds no rows and no rights: whoever opens it sees only what they may see, and the number of all other entries.
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
from hven.portal.api.table_rows import MAX_KEY_CHARACTERS, MAX_ROW_KEYS, TableSearch, build_search_by_row_keys_alone

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Any

    from hven.model.table import Table

MAX_BASKET_BYTES = 1024**2  # of a basket's text
MAX_BASKET_TABLES = 50
MAX_TABLE_SEARCHES = 20  # of one table
MAX_SEARCH_CHARACTERS = 4_000  # of one search
MAX_INLINE_CHARACTERS = 1_500  # of a token that is the basket itself: cookies take no longer ones
MAX_ADDRESS_CHARACTERS = 255  # of such a token in an address: the server takes no longer part of a path
INLINE_PREFIX = "~"  # of such a token


@dataclass(frozen=True, slots=True, kw_only=True)
class BasketTablePart:
    """The part of a basket that is of one table.

    Attributes
    ----------
    table_path
        The table, as in addresses below ``/collections/``.
    row_keys
        Keys of rows (`RowPage.keys`), grouped by line: of one row, or of all files of an observation, the line's own
        first.
    searches
        Query strings of addresses; an empty one finds all rows.
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
    """Parts of different tables, in the order in which they were added."""

    parts: tuple[BasketTablePart, ...] = ()

    @property
    def entry_count(self) -> int:
        """The number of lines and searches."""
        entry_counts = [len(part.row_keys) + len(part.searches) for part in self.parts]
        return sum(entry_counts)

    def find_part(self, table_path: str) -> BasketTablePart:
        """Return the part of a table."""
        for part in self.parts:
            if part.table_path == table_path:
                return part
        return BasketTablePart(table_path=table_path)

    def replace_part(self, part: BasketTablePart) -> Basket:
        """Return the basket with the part of one table replaced; an empty part is removed."""
        parts_by_path = {basket_part.table_path: basket_part for basket_part in self.parts}
        parts_by_path[part.table_path] = part
        kept_parts = [kept_part for kept_part in parts_by_path.values() if kept_part.row_keys or kept_part.searches]
        return Basket(parts=tuple(kept_parts))

    def merge(self, added_basket: Basket) -> Basket:
        """Return the basket with all entries of another one added.

        Raises
        ------
        ParamError
            The result is larger than a basket may be.
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

    def remove_entries(self, removed_basket: Basket) -> Basket:
        """Return the basket without the entries of another one."""
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
        """Write the basket as a text; equal baskets have equal texts."""
        parts = [{"of": part.table_path, "lines": part.row_keys, "searches": part.searches} for part in self.parts]
        return orjson.dumps({"parts": parts}).decode()

    def to_inline_token(self, max_characters: int = MAX_INLINE_CHARACTERS) -> str:
        """Return the token that is the basket itself; empty if it would be too long."""
        compressed_text = zlib.compress(self.to_text().encode(), 9)
        packed = base64.urlsafe_b64encode(compressed_text).decode().rstrip("=")
        token = f"{INLINE_PREFIX}{packed}"
        if len(token) <= max_characters:
            return token
        return ""

    def compute_token(self) -> str:
        """Return the token by which the basket is stored."""
        digest = hashlib.sha256(self.to_text().encode())
        return digest.hexdigest()[:40]


def parse_basket(text: str | bytes) -> Basket:
    """Parse the text of a basket that a browser sends.

    Raises
    ------
    ParamError
        The text is no basket, or too large.
    """
    if len(text) > MAX_BASKET_BYTES:
        message = format_message(
            "the basket takes up {count:,} bytes; the limit is {most:,} bytes", len(text), MAX_BASKET_BYTES
        )
        raise _build_basket_limit_error(message)
    try:
        basket_data = orjson.loads(text)
        parts = list(map(_parse_basket_part, basket_data["parts"]))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ParamError(
            "the request does not contain a valid basket",
            name="BASKET",
            remedy="tick rows in a table, or open a link to a basket",
        ) from error
    basket = Basket()
    for part in parts:
        basket = basket.merge(Basket(parts=(part,)))
    return basket


def decode_inline_basket(token: str) -> Basket:
    """Parse a token that is the basket itself.

    Raises
    ------
    NotFoundError
        The token is no basket.
    """
    packed = token.removeprefix(INLINE_PREFIX)
    decompressor = zlib.decompressobj()
    try:
        compressed_text = base64.urlsafe_b64decode(packed + "=" * (-len(packed) % 4))
        text = decompressor.decompress(compressed_text, MAX_BASKET_BYTES)
        basket = parse_basket(text)
    except (ValueError, zlib.error, ParamError) as error:
        raise build_basket_not_found_error() from error
    if len(token) > MAX_INLINE_CHARACTERS or not decompressor.eof:
        raise build_basket_not_found_error()
    return basket


def build_basket_not_found_error() -> NotFoundError:
    """Build the error of an unknown token."""
    return NotFoundError(
        "there is no basket at this address; a shared basket is deleted a year after it was last opened",
        remedy="ask the person who shared the basket to share it again",
    )


def check_limits(basket: Basket) -> Basket:
    """Return the basket if it is not too large.

    Raises
    ------
    ParamError
        The basket is too large.
    """
    if len(basket.parts) > MAX_BASKET_TABLES:
        table_count = len(basket.parts)
        message = format_message(
            "the basket has {count:,} tables; at most {most:,} are allowed", table_count, MAX_BASKET_TABLES
        )
        raise _build_basket_limit_error(message)
    for part in basket.parts:
        count = sum(map(len, part.row_keys))
        if count > MAX_ROW_KEYS:
            message = format_message(
                "the basket has {count:,} rows of one table; at most {most:,} per table are allowed",
                count,
                MAX_ROW_KEYS,
            )
            raise _build_basket_limit_error(message)
        if len(part.searches) > MAX_TABLE_SEARCHES:
            message = format_message(
                "the basket has {count:,} searches of one table; at most {most:,} per table are allowed",
                len(part.searches),
                MAX_TABLE_SEARCHES,
            )
            raise _build_basket_limit_error(message)
    size = len(basket.to_text())
    if size > MAX_BASKET_BYTES:
        message = format_message(
            "the basket takes up {count:,} bytes; the limit is {most:,} bytes", size, MAX_BASKET_BYTES
        )
        raise _build_basket_limit_error(message)
    return basket


def build_row_key_search(part: BasketTablePart, table: Table) -> TableSearch:
    """Return the search for the ticked rows."""
    return build_search_by_row_keys_alone(TableSearch(table=table), part.keys)


def build_union_search(table: Table, searches: Iterable[TableSearch]) -> TableSearch:
    """Return the search for all rows that any of some searches finds."""
    everything = syntax_tree.Comparison("=", syntax_tree.Literal(1), syntax_tree.Literal(1))
    nothing = syntax_tree.Comparison("=", syntax_tree.Literal(1), syntax_tree.Literal(0))
    tests = tuple(search.build_condition() or everything for search in searches)
    test: syntax_tree.Expr = nothing
    if len(tests) == 1:
        test = tests[0]
    elif tests:
        test = syntax_tree.Disjunction(tests)
    return TableSearch(table=table, conditions=(("", ()),), tests=(test,))


def _parse_basket_part(part_data: Mapping[str, Any]) -> BasketTablePart:
    return BasketTablePart(
        table_path=_require_nonempty_text(part_data["of"]),
        row_keys=_normalize_row_keys(part_data.get("lines", ())),
        searches=_validate_search_texts(part_data.get("searches", ())),
    )


def _normalize_row_keys(row_keys: Sequence[Sequence[str]]) -> tuple[tuple[str, ...], ...]:
    lines = []
    for line in row_keys:
        keys = line
        if isinstance(line, str):
            keys = [line]
        lines.append(tuple(map(_require_nonempty_text, keys)))
    return tuple(line for line in lines if line)


def _validate_search_texts(search_texts: Sequence[str]) -> tuple[str, ...]:
    if any(len(search_text) > MAX_SEARCH_CHARACTERS for search_text in search_texts):
        longest = max(map(len, search_texts))
        message = format_message(
            "a search in the basket has {count:,} characters; at most {most:,} are allowed",
            longest,
            MAX_SEARCH_CHARACTERS,
        )
        raise _build_basket_limit_error(message)
    return tuple(text if isinstance(text, str) else _require_nonempty_text(text) for text in search_texts)


def _require_nonempty_text(value: object) -> str:
    """Return a value that is a text and not empty; raise TypeError for others."""
    if not isinstance(value, str) or not 0 < len(value) <= MAX_KEY_CHARACTERS:
        raise TypeError
    return value


def _build_basket_limit_error(message: str) -> ParamError:
    remedy = "add a search to the basket instead of the rows that the search finds"
    return ParamError(message, name="BASKET", remedy=remedy)
