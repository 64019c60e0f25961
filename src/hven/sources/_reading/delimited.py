"""Blocks of delimited text -> Arrow batches on all cores, in order.

A row that does not fit is kept aside and the rest goes on.
"""

from __future__ import annotations

import os
import re
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from hven.model import Deviation, DeviationKind
from hven.model.errors import Place, SourceError
from hven.model.literal import TIME_SYNTAX_HELP, can_lose_digits, find_rounded_integers
from hven.model.types import type_from_arrow
from hven.sources import RejectedRow
from hven.sources._reading.array_cells import is_list_type, parse_arrays
from hven.sources._reading.cells import (
    MINUS_SIGN,
    NULL_WORDS,
    RESPELT_NUMBER_PATTERN,
    decode_json_strings,
    is_number,
    parse_cells,
    replace_nan,
    replace_null_numbers,
    replace_null_words,
    strip_blanks,
)
from hven.sources._reading.text_blocks import check_utf8

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
    from concurrent.futures import Future

    from hven.sources._reading.text_blocks import TextBlock

_COLUMN_NUMBER_PATTERN = re.compile(r"CSV column #(\d+)")
NUL_REASON = "holds a NUL byte"
TOO_LARGE_REASON = "too large for {}"
_PADDED_EMPTY_CELLS = tuple(" " * n for n in range(1, 33))


@dataclass(kw_only=True)
class RecordLayout:
    """How a file's records are to be read.

    Attributes
    ----------
    names, column_types
        All columns of the file in order, and what each becomes.
    null_words
        Null words of the user, by column name; ``*`` holds those of all.
    transform
        Makes a block delimited before it is parsed (runs of blanks, fixed columns), or None.
    text_first_columns
        Columns that the quick parser can't read (padded null words, plus signs); learnt on the way.
    json_columns
        Columns whose text is JSON strings (ECSV).
    reject_limit
        Rows and values at fault that are told of each block and column, at least; None: all
        (`hven.sources.SourceContext`).
    """

    names: list[str]
    column_types: dict[str, pa.DataType]
    delimiter: str = ","
    quote: str | None = '"'
    decimal: str = "."
    thousands: str | None = None
    null_words: Mapping[str, Sequence[str]] = field(default_factory=dict)
    transform: Callable[[bytes], bytes] | None = None
    text_first_columns: set[str] = field(default_factory=set)
    json_columns: frozenset[str] = frozenset()
    reject_limit: int | None = None

    def list_null_words(self, name: str) -> tuple[str, ...]:
        """List null words that hold for a column."""
        return (*self.null_words.get("*", ()), *self.null_words.get(name, ()))


@dataclass(slots=True)
class ParsedBlock:
    """A block's rows: `positions` are 0-based among all rows of the block (None = all are good)."""

    arrays: dict[str, pa.Array]
    good_count: int
    total_count: int
    positions: np.ndarray | None = None
    rejects: list[tuple[int, str | None, str | None, str, str | None]] = field(default_factory=list)
    rounded: dict[str, tuple[int, int, str]] = field(
        default_factory=dict
    )  # column -> count, first position, first text
    respelt: dict[str, tuple[int, int, str]] = field(default_factory=dict)  # the same


def parse_block(block: TextBlock, layout: RecordLayout, column_names: Sequence[str], file: str) -> ParsedBlock:
    """Parse one block (thread-safe).

    Raises
    ------
    SourceError
        The text is not UTF-8.
    """
    if layout.transform:
        data = layout.transform(block.data)
    else:
        data = block.data
    column_names = list(column_names) or layout.names[:1]  # somebody must count the rows
    texts = {name for name in column_names if name in layout.text_first_columns}
    if b"\0" in data:
        texts = set(column_names)
    newly_as_text: set[str] = set()
    while True:
        ragged: list[csv.InvalidRow] = []
        try:
            table = _read_csv(data, layout, column_names, texts, ragged)
            large = {name for name in column_names if name not in texts and _can_lose_digits(table.column(name))}
            if not large:
                break
            # their texts are looked at
            texts = {*texts, *large}
            newly_as_text = {*newly_as_text, *large}
        except pa.ArrowInvalid as error:
            if _has_enough_rejects(ragged, layout):
                return ParsedBlock({}, 0, ragged[-1].number, None, [_describe_ragged_row(row) for row in ragged])
            check_utf8(block, file)
            match = _COLUMN_NUMBER_PATTERN.search(str(error))
            if match:
                name = layout.names[int(match.group(1))]
            else:
                name = None
            if name is None or name in texts:
                if texts >= set(column_names):
                    raise SourceError(
                        f"this block of text cannot be parsed: {error}", place=Place(file=file, line=block.line)
                    ) from error
                texts = set(column_names)
            else:
                newly_as_text.add(name)
                if len(newly_as_text) <= 3:
                    texts = {*texts, name}
                else:
                    texts = set(column_names)
    total = table.num_rows + len(ragged)
    padded = b" " in data or b"\t" in data or (layout.quote is not None and layout.quote.encode() in data)
    arrays: dict[str, pa.Array] = {}
    faults: dict[str, tuple[pa.Array, pa.Array, str]] = {}
    rounded: dict[str, tuple[int, int, str]] = {}
    respelt: dict[str, tuple[int, int, str]] = {}
    may_be_respelt = MINUS_SIGN.encode() in data or b"D" in data or b"d" in data
    for name in column_names:
        cells = _combine_chunks(table.column(name))
        kind = layout.column_types[name]
        words = layout.list_null_words(name)
        if is_list_type(kind):
            arrays[name], bad = parse_arrays(cells, kind)
            if bad is not None:
                faults[name] = (bad, cells, explain_unparsed(kind))
        elif name in texts:
            values, bad = parse_cells(cells, kind, null_words=words, decimal=layout.decimal, thousands=layout.thousands)
            if b"\0" in data:
                nul = pc.fill_null(pc.match_substring(cells, "\0"), False)
                if bad is None:
                    bad = nul
                else:
                    bad = pc.or_(bad, nul)
                if not pc.any(bad).as_py():
                    bad = None
            if bad is not None:
                faults[name] = (bad, cells, explain_unparsed(kind))
            elif name in newly_as_text:
                layout.text_first_columns.add(name)
            arrays[name] = values
            if may_be_respelt and (pa.types.is_floating(kind) or pa.types.is_integer(kind)):
                changed = np.asarray(
                    pc.and_(
                        pc.fill_null(pc.match_substring_regex(cells, RESPELT_NUMBER_PATTERN), False),
                        pc.is_valid(values),
                    )
                )
                if changed.any():
                    first = int(np.argmax(changed))
                    respelt[name] = (int(changed.sum()), first, cells[first].as_py())
            if (
                pa.types.is_float64(kind)
                and (flags := find_rounded_integers(_remove_thousands(cells, layout), values)) is not None
            ):
                first = int(np.argmax(flags))
                rounded[name] = (int(flags.sum()), first, cells[first].as_py())
        elif pa.types.is_string(kind):
            cells = strip_blanks(cells) if padded else cells
            arrays[name] = replace_null_words(
                decode_json_strings(cells) if name in layout.json_columns else cells, words
            )
        else:
            if words:
                arrays[name] = replace_null_numbers(cells, words)
            else:
                arrays[name] = cells
            arrays[name] = replace_nan(arrays[name])
    if not ragged and not faults:
        return ParsedBlock(arrays, total, total, rounded=rounded, respelt=respelt)
    parsed = _split_off_rejects(arrays, ragged, faults, total, data, layout, len(table))
    places = np.delete(np.arange(total), [row.number - 1 for row in ragged])
    parsed.rounded = {name: (count, int(places[first]), text) for name, (count, first, text) in rounded.items()}
    parsed.respelt = {name: (count, int(places[first]), text) for name, (count, first, text) in respelt.items()}
    return parsed


def _can_lose_digits(column: pa.ChunkedArray) -> bool:
    return pa.types.is_floating(column.type) and any(map(can_lose_digits, column.chunks))


def _remove_thousands(cells: pa.Array, layout: RecordLayout) -> pa.Array:
    """Write numbers without their thousands separators."""
    if layout.thousands:
        return pc.replace_substring(cells, layout.thousands, "")
    return cells


def _read_csv(
    data: bytes, layout: RecordLayout, column_names: Sequence[str], texts: set[str], ragged: list[csv.InvalidRow]
) -> pa.Table:
    def collect_invalid_row(row: csv.InvalidRow) -> str:
        ragged.append(row)  # the parser asks row by row, and nobody else has the interpreter meanwhile
        return "error" if _has_enough_rejects(ragged, layout) else "skip"

    quoted = layout.quote is not None and layout.quote.encode() in data
    return csv.read_csv(
        pa.BufferReader(data),
        read_options=csv.ReadOptions(column_names=layout.names, use_threads=False, block_size=max(len(data), 1) + 1),
        parse_options=csv.ParseOptions(
            delimiter=layout.delimiter,
            quote_char=layout.quote if quoted else False,
            double_quote=quoted,
            newlines_in_values=quoted,
            invalid_row_handler=collect_invalid_row,
        ),
        convert_options=csv.ConvertOptions(
            column_types={
                name: pa.string()
                if name in texts or is_list_type(layout.column_types[name])
                else layout.column_types[name]
                for name in column_names
            },
            include_columns=list(column_names),
            null_values=[*NULL_WORDS, *_PADDED_EMPTY_CELLS, *layout.null_words.get("*", ())],
            true_values=["true", "True", "TRUE", "T", "t", "1"],
            false_values=["false", "False", "FALSE", "F", "f", "0"],
            strings_can_be_null=False,
            decimal_point=layout.decimal,
        ),
    )


def _has_enough_rejects(ragged: list[csv.InvalidRow], layout: RecordLayout) -> bool:
    return layout.reject_limit is not None and len(ragged) >= layout.reject_limit


def _describe_ragged_row(row: csv.InvalidRow) -> tuple[int, str | None, str | None, str, str | None]:
    return (
        row.number - 1,
        None,
        None,
        f"{row.actual_columns} fields where {row.expected_columns} are expected",
        row.text,
    )


def _combine_chunks(column: pa.ChunkedArray) -> pa.Array:
    if column.num_chunks == 1:
        return column.chunk(0)
    if column.num_chunks:
        return pa.concat_arrays(column.chunks)
    return pa.array([], column.type)


def explain_unparsed(arrow_type: pa.DataType) -> str:
    """Phrase why text is no value of a type."""
    if pa.types.is_integer(arrow_type):
        return f"not a whole number that fits {arrow_type}"
    if pa.types.is_floating(arrow_type):
        return "not a number"
    if pa.types.is_boolean(arrow_type):
        return "neither true nor false"
    if is_list_type(arrow_type):
        return f"no JSON array of {type_from_arrow(arrow_type)}"
    if pa.types.is_timestamp(arrow_type):
        return f"not a time of the form {TIME_SYNTAX_HELP}"
    return NUL_REASON


def explain_value(value: str | None, arrow_type: pa.DataType, reason: str) -> str:
    """Phrase why a text is no value of a type; a number may be too large for it."""
    if value is not None and pa.types.is_floating(arrow_type) and is_number(value):
        return TOO_LARGE_REASON.format(type_from_arrow(arrow_type))
    return reason


def build_rounding_deviation(column: str, count: int, file: str, row: int | None, value: str) -> Deviation:
    """Describe whole numbers that a floating-point column does not hold exactly.

    Parameters
    ----------
    column, file
        Names.
    count, row, value
        How many; the data row of the first one, and its text.
    """
    return Deviation(
        kind=DeviationKind.PRECISION,
        column=column,
        count=count,
        file=file,
        row=row,
        value=value,
        message="whole numbers beyond 2^53 are rounded in a floating-point column",
        remedy=f"declare {column} as int64 or string",
    )


def report_rounded_numbers(
    parsed_block: ParsedBlock, first_row: int, file: str, report: Callable[[Deviation], None]
) -> None:
    """Report the whole numbers of a block that a floating-point column does not hold exactly.

    Parameters
    ----------
    first_row
        Number of the first row of the block.
    report
        Takes the deviations.
    """
    for name, (count, position, value) in parsed_block.rounded.items():
        rounding_deviation = build_rounding_deviation(name, count, file, first_row + position, value)
        report(rounding_deviation)


def report_respelt_numbers(
    parsed_block: ParsedBlock, first_row: int, file: str, declared: Collection[str], report: Callable[[Deviation], None]
) -> None:
    """Report the numbers of a block that are written with Unicode's minus sign, or with an exponent of Fortran.

    Parameters
    ----------
    first_row
        Number of the first row of the block.
    declared
        Columns whose type the file or the descriptor's source says: that they are numbers is no guess.
    report
        Takes the deviations.
    """
    for name, (count, position, value) in parsed_block.respelt.items():
        if name not in declared:
            message = "numbers with a Unicode minus sign, or an exponent of Fortran (1.5D+03), are read as numbers"
            report(
                Deviation(
                    kind=DeviationKind.TYPE,
                    column=name,
                    count=count,
                    file=file,
                    row=first_row + position,
                    value=value,
                    message=message,
                )
            )


def _split_off_rejects(
    arrays: dict[str, pa.Array],
    ragged: list[csv.InvalidRow],
    bad_cells: dict[str, tuple[pa.Array, pa.Array, str]],
    total: int,
    data: bytes,
    layout: RecordLayout,
    parsed_count: int,
) -> ParsedBlock:
    """Separate the rows at fault, each with its number, column, value and text."""
    if layout.quote and layout.quote.encode() in data:
        lines = None
    else:
        lines = [line for line in data.splitlines() if line.strip()]
    if lines is not None and len(lines) != total:
        lines = None
    positions = np.ones(total, bool)
    rejects: list[tuple[int, str | None, str | None, str, str | None]] = []
    for row in ragged:
        positions[row.number - 1] = False
        rejects.append(_describe_ragged_row(row))
    places = np.flatnonzero(positions)  # of the rows that were parsed
    is_rejected = np.zeros(parsed_count, bool)
    for name, (bad, cells, reason) in bad_cells.items():
        mask = np.asarray(bad) & ~is_rejected
        is_rejected |= mask
        for at in np.flatnonzero(mask)[: layout.reject_limit]:
            place = int(places[at])
            if lines is not None:
                text = lines[place].decode(errors="replace")
            else:
                text = None
            value = cells[int(at)].as_py()
            rejects.append((place, name, value, explain_value(value, layout.column_types[name], reason), text))
    keep = pa.array(~is_rejected)
    rejects.sort(key=lambda item: item[0])
    return ParsedBlock(
        {name: array.filter(keep) for name, array in arrays.items()},
        int((~is_rejected).sum()),
        total,
        places[~is_rejected],
        rejects,
    )


def parse_blocks(
    blocks: Iterator[TextBlock], layout: RecordLayout, column_names: Sequence[str], file: str
) -> Iterator[ParsedBlock]:
    """Parse blocks on all cores, in order, with few of them in memory."""
    workers = max(1, min(os.cpu_count() or 1, 8))
    queue: deque[Future[ParsedBlock]] = deque()
    with ThreadPoolExecutor(workers, thread_name_prefix="hven-csv") as pool:
        try:
            for block in blocks:
                queue.append(pool.submit(parse_block, block, layout, column_names, file))
                while len(queue) > workers:
                    yield queue.popleft().result()
            while queue:
                yield queue.popleft().result()
        finally:
            for future in queue:
                future.cancel()


def iterate_rejects(
    parsed_block: ParsedBlock, first_row: int, file: str, declared: Mapping[str, pa.DataType]
) -> Iterator[RejectedRow]:
    """Yield each fault with its row number in the file, and the remedy where the type was only guessed."""
    for at, column, value, reason, text in parsed_block.rejects:
        guessed = column is not None and column not in declared and reason != NUL_REASON
        if guessed:
            hint = f"; the type was guessed from a sample: if this value is right, declare {column} as string"
        else:
            hint = ""
        yield RejectedRow(file=file, row=first_row + at, column=column, value=value, reason=reason + hint, text=text)
