"""Parse blocks of delimited text into Arrow batches, on all cores and in order.

A row that does not fit is set aside as a reject, and the other rows go on.
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

from hven.model import DeviationKind, ReadDeviation
from hven.model.errors import SourceError, TextPlace
from hven.model.literal import (
    TIME_SYNTAX_HELP,
    can_lose_digits,
    combine_chunks,
    find_rounded_integers,
    replace_nan_with_null,
)
from hven.model.types import build_type_from_arrow
from hven.sources import RejectedRow
from hven.sources._reading.array_cells import is_list_type, parse_json_arrays
from hven.sources._reading.cells import (
    MINUS_SIGN,
    NULL_WORDS,
    RESPELT_NUMBER_PATTERN,
    decode_json_strings,
    is_number,
    parse_cells,
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
NUL_REASON = "text with a NUL byte"
TOO_LARGE_REASON = "too large for {}"
_PADDED_EMPTY_CELLS = tuple(" " * n for n in range(1, 33))


@dataclass(kw_only=True)
class DelimitedLayout:
    """How a file's records are to be read.

    Attributes
    ----------
    names, column_types
        All columns of the file in order, and what each becomes.
    null_words
        Null words of the user, by column name; ``*`` holds those of all.
    transform
        Function that makes a block delimited before it is parsed (runs of blanks, fixed columns), or None.
    text_first_columns
        Columns that the quick parser can't read (padded null words, plus signs). The set grows as files are read.
    json_columns
        Columns whose text is JSON strings (ECSV).
    masks
        Columns with the mask of another column, by the name of that column.
    reject_limit
        Rejected rows and values that are reported for each block and column, at least; None: all
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
    masks: Mapping[str, str] = field(default_factory=dict)
    reject_limit: int | None = None

    def list_null_words(self, name: str) -> tuple[str, ...]:
        """List the null words that hold for a column."""
        common_words = self.null_words.get("*", ())
        return (*common_words, *self.null_words.get(name, ()))


_Reject = tuple[int, str | None, str | None, str, str | None]  # position, column, value, reason, text of the row
_Occurrence = tuple[int, int, str]  # count, first position, first text


@dataclass(slots=True)
class ParsedBlock:
    """The rows of a block.

    Attributes
    ----------
    positions
        0-based numbers of the good rows among all rows of the block; None: all are good.
    rounded, respelt
        Columns with rounded or respelt numbers: their count, the first position and the first text.
    """

    arrays: dict[str, pa.Array]
    good_count: int
    total_count: int
    positions: np.ndarray | None = None
    rejects: list[_Reject] = field(default_factory=list)
    rounded: dict[str, _Occurrence] = field(default_factory=dict)
    respelt: dict[str, _Occurrence] = field(default_factory=dict)


def parse_delimited_block(
    block: TextBlock, layout: DelimitedLayout, column_names: Sequence[str], file: str
) -> ParsedBlock:
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
    column_names = list(column_names) or layout.names[:1]  # one column must count the rows
    masks = {name: layout.masks[name] for name in column_names if name in layout.masks}
    column_names += masks.values()
    table_reader = _DelimitedBlockReader(block, data, layout, column_names, file)
    table = table_reader.read_table_within_reject_limit()
    ragged = table_reader.ragged
    if table is None:
        rejects = [_describe_ragged_row(row) for row in ragged]
        return ParsedBlock({}, 0, ragged[-1].number, None, rejects)
    total = table.num_rows + len(ragged)
    converter = _ColumnConverter(data, layout, table_reader)
    for name in column_names:
        cells = combine_chunks(table.column(name))
        converter.convert_column(name, cells)
    for name, mask_name in masks.items():
        values, mask = converter.arrays[name], converter.arrays.pop(mask_name)
        converter.arrays[name] = pc.if_else(pc.fill_null(mask, False), pa.scalar(None, values.type), values)
    if not ragged and not converter.faults:
        return ParsedBlock(converter.arrays, total, total, rounded=converter.rounded, respelt=converter.respelt)
    parsed = _split_off_rejects(converter, ragged, total, len(table))
    ragged_positions = [row.number - 1 for row in ragged]
    positions = np.delete(np.arange(total), ragged_positions)
    parsed.rounded = _map_to_block_positions(converter.rounded, positions)
    parsed.respelt = _map_to_block_positions(converter.respelt, positions)
    return parsed


def _map_to_block_positions(occurrences: Mapping[str, _Occurrence], positions: np.ndarray) -> dict[str, _Occurrence]:
    """Replace positions among the parsed rows by positions among all rows of the block."""
    return {name: (count, int(positions[first]), text) for name, (count, first, text) in occurrences.items()}


class _DelimitedBlockReader:
    """Reads the table of a block; columns that the quick parser cannot read become texts.

    Attributes
    ----------
    text_columns
        Columns that are read as texts.
    newly_as_text
        Those that are read as texts because this block needs it.
    ragged
        Rows with a wrong number of fields.
    """

    def __init__(
        self, block: TextBlock, data: bytes, layout: DelimitedLayout, column_names: Sequence[str], file: str
    ) -> None:
        self.block = block
        self.data = data
        self.layout = layout
        self.column_names = column_names
        self.file = file
        self.text_columns = {name for name in column_names if name in layout.text_first_columns}
        if b"\0" in data:
            self.text_columns = set(column_names)
        self.newly_as_text: set[str] = set()
        self.ragged: list[csv.InvalidRow] = []

    def read_table_within_reject_limit(self) -> pa.Table | None:
        """Read the table; None: the block has enough rejects."""
        while True:
            self.ragged = []
            try:
                table = _read_csv(self.data, self.layout, self.column_names, self.text_columns, self.ragged)
            except pa.ArrowInvalid as error:
                if _has_enough_rejects(self.ragged, self.layout):
                    return None
                check_utf8(self.block, self.file)
                self._choose_more_text_columns(error)
                continue
            inexact_columns = {name for name in self.column_names if self._can_lose_digits(table, name)}
            if not inexact_columns:
                return table
            # the texts of these numbers show whether digits are lost
            self.text_columns = self.text_columns | inexact_columns
            self.newly_as_text |= inexact_columns

    def _can_lose_digits(self, table: pa.Table, name: str) -> bool:
        column = table.column(name)
        if name in self.text_columns or not pa.types.is_floating(column.type):
            return False
        return any(map(can_lose_digits, column.chunks))

    def _choose_more_text_columns(self, error: pa.ArrowInvalid) -> None:
        """Choose the columns that are read as texts in the next attempt, after an error of the parser."""
        match = _COLUMN_NUMBER_PATTERN.search(str(error))
        name = None
        if match:
            name = self.layout.names[int(match.group(1))]
        all_columns = set(self.column_names)
        if name is None or name in self.text_columns:
            if self.text_columns >= all_columns:
                raise SourceError(
                    f"this block of text cannot be parsed: {error}",
                    place=TextPlace(file=self.file, line=self.block.line),
                ) from error
            self.text_columns = all_columns
            return
        self.newly_as_text.add(name)
        if len(self.newly_as_text) <= 3:
            self.text_columns = {*self.text_columns, name}
        else:
            self.text_columns = all_columns


class _ColumnConverter:
    """Converts the columns of a block, and collects what is wrong or noteworthy in them.

    Attributes
    ----------
    faults
        Columns with values that do not fit: the mask of these, all cells as texts, and the reason.
    """

    def __init__(self, data: bytes, layout: DelimitedLayout, reader: _DelimitedBlockReader) -> None:
        self.data = data
        self.layout = layout
        self.reader = reader
        self.arrays: dict[str, pa.Array] = {}
        self.faults: dict[str, tuple[pa.Array, pa.Array, str]] = {}
        self.rounded: dict[str, _Occurrence] = {}
        self.respelt: dict[str, _Occurrence] = {}
        has_quotes = layout.quote is not None and layout.quote.encode() in data
        self.may_be_padded = has_quotes or b" " in data or b"\t" in data
        self.may_be_respelt = MINUS_SIGN.encode() in data or b"D" in data or b"d" in data

    def convert_column(self, name: str, cells: pa.Array) -> None:
        kind = self.layout.column_types[name]
        if is_list_type(kind):
            self.arrays[name], bad = parse_json_arrays(cells, kind)
            if bad is not None:
                self.faults[name] = (bad, cells, explain_unparsable_text(kind))
        elif name in self.reader.text_columns:
            self._parse_texts(name, cells, kind)
            self._record_number_oddities(name, cells, kind)
        elif pa.types.is_string(kind):
            if self.may_be_padded:
                cells = strip_blanks(cells)
            if name in self.layout.json_columns:
                cells = decode_json_strings(cells)
            self.arrays[name] = replace_null_words(cells, self.layout.list_null_words(name))
        else:
            words = self.layout.list_null_words(name)
            if words:
                cells = replace_null_numbers(cells, words)
            self.arrays[name] = replace_nan_with_null(cells)

    def _parse_texts(self, name: str, cells: pa.Array, kind: pa.DataType) -> None:
        layout = self.layout
        words = layout.list_null_words(name)
        values, bad = parse_cells(cells, kind, null_words=words, decimal=layout.decimal, thousands=layout.thousands)
        if b"\0" in self.data:
            bad = _add_nul_cells_to_mask(cells, bad)
        if bad is not None:
            self.faults[name] = (bad, cells, explain_unparsable_text(kind))
        elif name in self.reader.newly_as_text:
            layout.text_first_columns.add(name)
        self.arrays[name] = values

    def _record_number_oddities(self, name: str, cells: pa.Array, kind: pa.DataType) -> None:
        """Record the parsed numbers that are respelt, or rounded because they are integers beyond 2**53."""
        layout = self.layout
        values = self.arrays[name]
        is_number_type = pa.types.is_floating(kind) or pa.types.is_integer(kind)
        if self.may_be_respelt and is_number_type:
            matches_respelt = pc.match_substring_regex(cells, RESPELT_NUMBER_PATTERN)
            is_respelt = pc.and_(pc.fill_null(matches_respelt, False), pc.is_valid(values))
            flags = np.asarray(is_respelt)
            if flags.any():
                self.respelt[name] = _summarize_flagged_cells(flags, cells)
        if pa.types.is_float64(kind):
            is_rounded = find_rounded_integers(_remove_thousands(cells, layout), values)
            if is_rounded is not None:
                self.rounded[name] = _summarize_flagged_cells(is_rounded, cells)


def _add_nul_cells_to_mask(cells: pa.Array, bad: pa.Array | None) -> pa.Array | None:
    """Mark the cells that hold a NUL byte, too; None: no cell is marked."""
    has_nul = pc.fill_null(pc.match_substring(cells, "\0"), False)
    if bad is not None:
        has_nul = pc.or_(bad, has_nul)
    if pc.any(has_nul).as_py():
        return has_nul
    return None


def _summarize_flagged_cells(flags: np.ndarray, cells: pa.Array) -> _Occurrence:
    first = int(np.argmax(flags))
    first_text = cells[first].as_py()
    return int(flags.sum()), first, first_text


def _remove_thousands(cells: pa.Array, layout: DelimitedLayout) -> pa.Array:
    """Remove the thousands separators of numbers."""
    if layout.thousands:
        return pc.replace_substring(cells, layout.thousands, "")
    return cells


def _read_csv(
    data: bytes, layout: DelimitedLayout, column_names: Sequence[str], texts: set[str], ragged: list[csv.InvalidRow]
) -> pa.Table:
    def collect_invalid_row(row: csv.InvalidRow) -> str:
        ragged.append(row)  # the parser calls this row by row while it holds the interpreter
        if _has_enough_rejects(ragged, layout):
            return "error"
        return "skip"

    quote = layout.quote
    quote_character: str | bool = False
    if quote is not None and quote.encode() in data:
        quote_character = quote
    is_quoted = quote_character is not False
    column_types: dict[str, pa.DataType] = {}
    for name in column_names:
        kind = layout.column_types[name]
        if name in texts or is_list_type(kind):
            kind = pa.string()
        column_types[name] = kind
    block_bytes = max(len(data), 1) + 1
    read_options = csv.ReadOptions(column_names=layout.names, use_threads=False, block_size=block_bytes)
    parse_options = csv.ParseOptions(
        delimiter=layout.delimiter,
        quote_char=quote_character,
        double_quote=is_quoted,
        newlines_in_values=is_quoted,
        invalid_row_handler=collect_invalid_row,
    )
    null_words = [*NULL_WORDS, *_PADDED_EMPTY_CELLS, *layout.null_words.get("*", ())]
    convert_options = csv.ConvertOptions(
        column_types=column_types,
        include_columns=list(column_names),
        null_values=null_words,
        true_values=["true", "True", "TRUE", "T", "t", "1"],
        false_values=["false", "False", "FALSE", "F", "f", "0"],
        strings_can_be_null=False,
        decimal_point=layout.decimal,
    )
    return csv.read_csv(
        pa.BufferReader(data),
        read_options=read_options,
        parse_options=parse_options,
        convert_options=convert_options,
    )


def _has_enough_rejects(ragged: list[csv.InvalidRow], layout: DelimitedLayout) -> bool:
    return layout.reject_limit is not None and len(ragged) >= layout.reject_limit


def _describe_ragged_row(row: csv.InvalidRow) -> _Reject:
    return (
        row.number - 1,
        None,
        None,
        f"{row.actual_columns} fields instead of {row.expected_columns}",
        row.text,
    )


def explain_unparsable_text(arrow_type: pa.DataType) -> str:
    """Return the reason why text is no value of a type.

    Parameters
    ----------
    arrow_type
        The type.
    """
    if pa.types.is_integer(arrow_type):
        return f"not a whole number that fits in {arrow_type}"
    if pa.types.is_floating(arrow_type):
        return "not a number"
    if pa.types.is_boolean(arrow_type):
        return "neither true nor false"
    if is_list_type(arrow_type):
        return f"not a JSON array of {build_type_from_arrow(arrow_type)}"
    if pa.types.is_timestamp(arrow_type):
        return f"not a time of the form {TIME_SYNTAX_HELP}"
    return NUL_REASON


def explain_unparsable_value(value: str | None, arrow_type: pa.DataType, reason: str) -> str:
    """Phrase why a text is no value of a type, or that a number is too large for it.

    Parameters
    ----------
    value
        The text.
    arrow_type
        The type.
    reason
        Why a text is no value of the type, if it is not a number that is too large.

    Returns
    -------
    reason
        The words.
    """
    if value is not None and pa.types.is_floating(arrow_type) and is_number(value):
        return TOO_LARGE_REASON.format(build_type_from_arrow(arrow_type))
    return reason


def build_rounding_deviation(column: str, count: int, file: str, row: int | None, value: str) -> ReadDeviation:
    """Describe whole numbers that a floating-point column does not hold exactly.

    Parameters
    ----------
    column, file
        The column and the file.
    count, row, value
        Count of the rounded numbers; data row and text of the first one.

    Returns
    -------
    deviation
        The report, with a remedy.
    """
    return ReadDeviation(
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
    parsed_block: ParsedBlock, first_row: int, file: str, report: Callable[[ReadDeviation], None]
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


def report_unusual_number_spellings(
    parsed_block: ParsedBlock,
    first_row: int,
    file: str,
    declared_columns: Collection[str],
    report: Callable[[ReadDeviation], None],
) -> None:
    """Report the numbers of a block that are written with Unicode's minus sign, or with an exponent of Fortran.

    Parameters
    ----------
    first_row
        Number of the first row of the block.
    declared_columns
        Columns whose type the file or the descriptor states. That these hold numbers is no guess.
    report
        Takes the deviations.
    """
    message = "texts with a Unicode minus sign or a Fortran exponent (1.5D+03) are read as numbers"
    for name, (count, position, value) in parsed_block.respelt.items():
        if name in declared_columns:
            continue
        deviation = ReadDeviation(
            kind=DeviationKind.TYPE,
            column=name,
            count=count,
            file=file,
            row=first_row + position,
            value=value,
            message=message,
        )
        report(deviation)


def _split_off_rejects(
    converter: _ColumnConverter, ragged: Sequence[csv.InvalidRow], total: int, parsed_count: int
) -> ParsedBlock:
    """Separate the rejected rows, each with its number, column, value and text."""
    layout = converter.layout
    lines = _split_unquoted_lines(converter.data, layout, total)
    is_parsed = np.ones(total, bool)
    rejects: list[_Reject] = []
    for row in ragged:
        is_parsed[row.number - 1] = False
        rejects.append(_describe_ragged_row(row))
    positions = np.flatnonzero(is_parsed)
    is_rejected = np.zeros(parsed_count, bool)
    for name, (bad, cells, reason) in converter.faults.items():
        mask = np.asarray(bad) & ~is_rejected
        is_rejected |= mask
        for at in np.flatnonzero(mask)[: layout.reject_limit]:
            position = int(positions[at])
            text = None
            if lines is not None:
                text = lines[position].decode(errors="replace")
            value = cells[int(at)].as_py()
            explanation = explain_unparsable_value(value, layout.column_types[name], reason)
            rejects.append((position, name, value, explanation, text))
    rejects.sort(key=lambda reject: reject[0])
    keep = pa.array(~is_rejected)
    kept_arrays = {name: array.filter(keep) for name, array in converter.arrays.items()}
    kept_positions = positions[~is_rejected]
    return ParsedBlock(kept_arrays, len(kept_positions), total, kept_positions, rejects)


def _split_unquoted_lines(data: bytes, layout: DelimitedLayout, total: int) -> list[bytes] | None:
    """Split a block into the texts of its rows; None where quotes may hide line ends."""
    if layout.quote and layout.quote.encode() in data:
        return None
    lines = [line for line in data.splitlines() if line.strip()]
    if len(lines) != total:
        return None
    return lines


def parse_delimited_blocks(
    blocks: Iterator[TextBlock], layout: DelimitedLayout, column_names: Sequence[str], file: str
) -> Iterator[ParsedBlock]:
    """Parse blocks on all cores, in order, with few of them in memory."""
    workers = max(1, min(os.cpu_count() or 1, 8))
    queue: deque[Future[ParsedBlock]] = deque()
    with ThreadPoolExecutor(workers, thread_name_prefix="hven-csv") as pool:
        try:
            for block in blocks:
                queue.append(pool.submit(parse_delimited_block, block, layout, column_names, file))
                while len(queue) > workers:
                    yield queue.popleft().result()
            while queue:
                yield queue.popleft().result()
        finally:
            for future in queue:
                future.cancel()


def iterate_rejects(
    parsed_block: ParsedBlock, first_row: int, file: str, declared_types: Mapping[str, pa.DataType]
) -> Iterator[RejectedRow]:
    """Yield each reject with its row number in the file, and with the remedy where the type was only guessed."""
    for at, column, value, reason, text in parsed_block.rejects:
        guessed = column is not None and column not in declared_types and reason != NUL_REASON
        if guessed:
            hint = f"; Hven guessed the type from a sample: if this value is right, declare {column} as string"
        else:
            hint = ""
        full_reason = reason + hint
        yield RejectedRow(file=file, row=first_row + at, column=column, value=value, reason=full_reason, text=text)
