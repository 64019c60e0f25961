"""Checksums of blocks of keys where they are, in PostgreSQL and MariaDB: what is asked, and which rows a block has.

A block's name says how it was cut: ``6:17`` are the whole-number keys whose bits above the last 6 are 17; ``h:17`` the
keys whose hash ends in 17; ``6:null``, ``h:null`` those without a key.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hven.model.errors import SourceError
from hven.plugins.databases.database_rows import quote_name

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

MIN_HASH_VERSION = 110_000  # the first version with 64-bit hashes
MIN_RECORD_HASH_VERSION = 140_000  # ... with hashes of whole rows, twice as quick as those of their text
MIN_BLOCK_BITS = 6  # bits: the smallest block has 64 keys
MAX_INTEGER_BLOCKS = 1 << 16  # blocks of whole-number keys
HASHED_BLOCKS = 1 << 14  # blocks of other keys
MAX_KEY_SPARSITY = 16  # times as many possible keys as rows: then they are hashed, too
MAX_KEY_RANGES = 64  # ranges of keys that are asked for one by one, with an index
_BLOCK_ID_PATTERN = re.compile(r"(\d+|h):(-?\d+|null)")


def choose_block_bits(min_key: int | None, max_key: int | None, row_count: int) -> str:
    """Choose how whole-number keys are cut: by how many bits, or ``h``. It changes only when a table grows a lot."""
    if min_key is None or max_key is None:
        key_span = 0
    else:
        key_span = max_key - min_key + 1
    if key_span > MAX_KEY_SPARSITY * max(row_count, MAX_INTEGER_BLOCKS):
        return "h"
    return str(max(MIN_BLOCK_BITS, (key_span // MAX_INTEGER_BLOCKS).bit_length()))


def write_block_number_sql(block_bits: str, key_columns: Sequence[str]) -> str:
    """Write the number of the block of a row."""
    if block_bits != "h":
        return f"{quote_name(key_columns[0])}::bigint >> {block_bits}"
    # of the text, so that it is of the values alone and not of their types
    if len(key_columns) == 1:
        values = f"{quote_name(key_columns[0])}::text"
    else:
        values = f"ROW({', '.join(quote_name(name) for name in key_columns)})::text"
    return f'hashtextextended({values} COLLATE "C", 0) & {HASHED_BLOCKS - 1}'


def write_row_hash_sql(columns: Sequence[str], hashable_columns: Collection[str], version: int) -> str:
    """Write a hash of a row; columns without a hash of their own (not in `hashable_columns`) are hashed as text."""
    if version < MIN_RECORD_HASH_VERSION:
        names = ", ".join(map(quote_name, columns))
        return f'hashtextextended(ROW({names})::text COLLATE "C", 0)'
    values: list[str] = []
    for name in columns:
        if name in hashable_columns:
            values.append(quote_name(name))
        else:
            values.append(f"{quote_name(name)}::text")
    return f"hash_record_extended(ROW({', '.join(values)}), 0)"


def _write_number_set_sql(numbers: Sequence[int]) -> str:
    return f"(SELECT unnest('{{{','.join(map(str, numbers))}}}'::bigint[]))"


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockChecksumDialect:
    """The SQL for blocks of one database.

    Attributes
    ----------
    quote_name
        A name.
    write_block_number
        The number of a row's block: how keys are cut, and the key.
    write_row_hash
        A hash of a row: of expressions.
    total_template
        The sum of ``{}``, as text.
    write_number_set
        What stands behind IN.
    """

    quote_name: Callable[[str], str]
    write_block_number: Callable[[str, Sequence[str]], str]
    write_row_hash: Callable[[Sequence[str]], str]
    total_template: str
    write_number_set: Callable[[Sequence[int]], str]


POSTGRESQL_CHECKSUMS = BlockChecksumDialect(
    quote_name=quote_name,
    write_block_number=write_block_number_sql,
    write_row_hash=lambda row: f'hashtextextended(ROW({", ".join(row)})::text COLLATE "C", 0)',
    total_template="sum({})::text",
    write_number_set=_write_number_set_sql,
)


def _quote_with_backticks(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"


def _write_md5_sql(row: Iterable[str]) -> str:
    """Write MariaDB's hash of values: all of its versions have MD5."""
    return f"MD5(CONCAT_WS(',', {', '.join(f'QUOTE(CAST({cell_value} AS BINARY))' for cell_value in row)}))"


def _write_mariadb_block_number_sql(block_bits: str, key_columns: Sequence[str]) -> str:
    if (
        block_bits != "h"
    ):  # whole at each step: a quotient there is rounded to four decimals, and >> knows no negative numbers
        name = f"CAST({_quote_with_backticks(key_columns[0])} AS SIGNED)"
        size = 1 << int(block_bits)
        return f"({name} - ((({name} MOD {size}) + {size}) MOD {size})) DIV {size}"
    return (
        f"CAST(CONV(RIGHT({_write_md5_sql(map(_quote_with_backticks, key_columns))}, 8), 16, 10) AS UNSIGNED) & "
        f"{HASHED_BLOCKS - 1}"
    )


MARIADB_CHECKSUMS = BlockChecksumDialect(
    quote_name=_quote_with_backticks,
    write_block_number=_write_mariadb_block_number_sql,
    write_row_hash=lambda row: f"CAST(CONV(LEFT({_write_md5_sql(row)}, 16), 16, 10) AS UNSIGNED)",
    total_template="CAST(SUM({}) AS CHAR)",
    write_number_set=lambda numbers: f"({', '.join(map(str, numbers))})",
)


def write_block_conditions_sql(
    key_columns: Sequence[str], block_ids: Sequence[str], dialect: BlockChecksumDialect = POSTGRESQL_CHECKSUMS
) -> Iterator[str]:
    """Write the conditions for blocks: ranges of keys for a few, whose rows an index finds.

    One pass over the table for many.

    Raises
    ------
    SourceError
        It is no name of a block.
    """
    numbers: dict[str, list[int]] = {}
    name = dialect.quote_name(key_columns[0])
    for block in block_ids:
        match = _BLOCK_ID_PATTERN.fullmatch(block)
        if match is None:
            raise SourceError(
                f"{block!r} is not a block of this source",
                remedy="run `hven sync --full`, which reads all rows",
            )
        if match[2] == "null":
            yield f"{name} IS NULL"
        else:
            numbers.setdefault(match[1], []).append(int(match[2]))
    for cutting, block_numbers in numbers.items():
        ranges = _join_numbers_to_ranges(sorted(set(block_numbers)))
        if cutting != "h" and len(ranges) <= MAX_KEY_RANGES:
            width = int(cutting)
            conditions = [f"({name} >= {low << width} AND {name} < {(high + 1) << width})" for low, high in ranges]
            yield f"({' OR '.join(conditions)})"
        else:
            yield f"({dialect.write_block_number(cutting, key_columns)}) IN {dialect.write_number_set(block_numbers)}"


def _join_numbers_to_ranges(numbers: Sequence[int]) -> list[tuple[int, int]]:
    """Join neighbouring numbers to ranges."""
    ranges: list[tuple[int, int]] = []
    for number in numbers:
        if ranges and number == ranges[-1][1] + 1:
            ranges[-1] = (ranges[-1][0], number)
        else:
            ranges.append((number, number))
    return ranges
