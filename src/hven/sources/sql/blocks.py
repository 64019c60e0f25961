"""Checksums of blocks of keys where they are, in PostgreSQL and MariaDB: what is asked, and which rows a block has.

A block's name says how it was cut: ``6:17`` are the whole-number keys whose bits above the last 6 are 17; ``h:17`` the keys whose hash ends in 17;
``6:null``, ``h:null`` those without a key.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hven.model.errors import SourceError
from hven.sources.sql.rows import quoted

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

OLDEST = 110_000  # the first version with 64-bit hashes
RECORDS = 140_000  # ... with hashes of whole rows, twice as quick as those of their text
WIDTH = 6  # bits: the smallest block has 64 keys
MOST = 1 << 16  # blocks of whole-number keys
HASHED = 1 << 14  # blocks of other keys
SPARSE = 16  # times as many possible keys as rows: then they are hashed, too
FEW = 64  # ranges of keys that are asked for one by one, with an index
_BLOCK = re.compile(r"(\d+|h):(-?\d+|null)")


def cut(low: int | None, high: int | None, rows: int) -> str:
    """Choose how whole-number keys are cut: by how many bits, or ``h``. It changes only when a table grows a lot."""
    reach = 0 if low is None or high is None else high - low + 1
    return "h" if reach > SPARSE * max(rows, MOST) else str(max(WIDTH, (reach // MOST).bit_length()))


def number(how: str, key: Sequence[str]) -> str:
    """Write the number of a row's block."""
    if how != "h":
        return f"{quoted(key[0])}::bigint >> {how}"
    # of the text, so that it is of the values alone and not of their types
    values = f"{quoted(key[0])}::text" if len(key) == 1 else f"ROW({', '.join(quoted(name) for name in key)})::text"
    return f'hashtextextended({values} COLLATE "C", 0) & {HASHED - 1}'


def checksum(columns: Sequence[str], hashable: Collection[str], version: int) -> str:
    """Write a hash of a row; `hashable`: columns of types that have one of their own."""
    if version < RECORDS:
        return f'hashtextextended(ROW({", ".join(quoted(name) for name in columns)})::text COLLATE "C", 0)'
    return f"hash_record_extended(ROW({', '.join(quoted(name) if name in hashable else f'{quoted(name)}::text' for name in columns)}), 0)"


def _among(numbers: Sequence[int]) -> str:
    return f"(SELECT unnest('{{{','.join(map(str, numbers))}}}'::bigint[]))"


@dataclass(frozen=True, slots=True, kw_only=True)
class Summing:
    """How a database writes what is asked of blocks.

    Attributes
    ----------
    quoted
        A name.
    number
        The number of a row's block: how keys are cut, and the key.
    checksum
        A hash of a row: of expressions.
    total
        The sum of ``{}``, as text.
    among
        What stands behind IN.
    """

    quoted: Callable[[str], str]
    number: Callable[[str, Sequence[str]], str]
    checksum: Callable[[Sequence[str]], str]
    total: str
    among: Callable[[Sequence[int]], str]


POSTGRESQL = Summing(
    quoted=quoted,
    number=number,
    checksum=lambda row: f'hashtextextended(ROW({", ".join(row)})::text COLLATE "C", 0)',
    total="sum({})::text",
    among=_among,
)


def _backquoted(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"


def _digest(row: Iterable[str]) -> str:
    """Write MariaDB's hash of values: MD5 is what all of its versions have."""
    return f"MD5(CONCAT_WS(',', {', '.join(f'QUOTE(CAST({one} AS BINARY))' for one in row)}))"


def _maria_number(how: str, key: Sequence[str]) -> str:
    if how != "h":  # whole at each step: a quotient there is rounded to four decimals, and >> knows no negative numbers
        name, size = f"CAST({_backquoted(key[0])} AS SIGNED)", 1 << int(how)
        return f"({name} - ((({name} MOD {size}) + {size}) MOD {size})) DIV {size}"
    return f"CAST(CONV(RIGHT({_digest(map(_backquoted, key))}, 8), 16, 10) AS UNSIGNED) & {HASHED - 1}"


MARIADB = Summing(
    quoted=_backquoted,
    number=_maria_number,
    checksum=lambda row: f"CAST(CONV(LEFT({_digest(row)}, 16), 16, 10) AS UNSIGNED)",
    total="CAST(SUM({}) AS CHAR)",
    among=lambda numbers: f"({', '.join(map(str, numbers))})",
)


def conditions(key: Sequence[str], blocks: Sequence[str], how: Summing = POSTGRESQL) -> Iterator[str]:
    """Write the conditions for blocks: ranges of keys for a few, whose rows an index finds; one pass over the table for many.

    Raises
    ------
    SourceError
        It is no name of a block.
    """
    numbers: dict[str, list[int]] = {}
    name = how.quoted(key[0])
    for block in blocks:
        found = _BLOCK.fullmatch(block)
        if found is None:
            raise SourceError(f"{block!r} is no block of this source", remedy="sync with --full: everything is read")
        if found[2] == "null":
            yield f"{name} IS NULL"
        else:
            numbers.setdefault(found[1], []).append(int(found[2]))
    for cutting, some in numbers.items():
        ranges = _ranges(sorted(set(some)))
        if cutting != "h" and len(ranges) <= FEW:
            width = int(cutting)
            yield f"({' OR '.join(f'({name} >= {low << width} AND {name} < {(high + 1) << width})' for low, high in ranges)})"
        else:
            yield f"({how.number(cutting, key)}) IN {how.among(some)}"


def _ranges(numbers: Sequence[int]) -> list[tuple[int, int]]:
    """Join neighbours."""
    found: list[tuple[int, int]] = []
    for one in numbers:
        if found and one == found[-1][1] + 1:
            found[-1] = (found[-1][0], one)
        else:
            found.append((one, one))
    return found
