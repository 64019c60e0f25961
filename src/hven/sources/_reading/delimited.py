"""Blocks of delimited text -> Arrow batches on all cores, in order; a row that does not fit is kept aside and the rest goes on."""

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
from hven.model.literal import TIME_FORM, find_rounded, may_lose_digits
from hven.model.types import from_arrow
from hven.sources import Reject
from hven.sources._reading.array_cells import is_list, read_arrays
from hven.sources._reading.cells import (
    MINUS,
    NULL_WORDS,
    RESPELT,
    convert,
    decoded,
    is_number,
    no_nan,
    nulled,
    trimmed,
    without,
)
from hven.sources._reading.text import check_utf8

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
    from concurrent.futures import Future

    from hven.sources._reading.text import Block

_COLUMN = re.compile(r"CSV column #(\d+)")
NUL = "holds a NUL byte"
TOO_LARGE = "too large for {}"
_PADDED = tuple(" " * n for n in range(1, 33))


@dataclass(kw_only=True)
class Shape:
    """How a file's records are to be read.

    Attributes
    ----------
    names, kinds
        All columns of the file in order, and what each becomes.
    nulls
        Null words of the user, by column name; ``*`` holds those of all.
    transform
        Makes a block delimited before it is parsed (runs of blanks, fixed columns), or None.
    as_text
        Columns that the quick parser can't read (padded null words, plus signs); learnt on the way.
    encoded
        Columns whose text is JSON strings (ECSV).
    faults
        Rows and values at fault that are told of each block and column, at least; None: all (`hven.sources.Context`).
    """

    names: list[str]
    kinds: dict[str, pa.DataType]
    delimiter: str = ","
    quote: str | None = '"'
    decimal: str = "."
    thousands: str | None = None
    nulls: Mapping[str, Sequence[str]] = field(default_factory=dict)
    transform: Callable[[bytes], bytes] | None = None
    as_text: set[str] = field(default_factory=set)
    encoded: frozenset[str] = frozenset()
    faults: int | None = None

    def words(self, name: str) -> tuple[str, ...]:
        """List null words that hold for a column."""
        return (*self.nulls.get("*", ()), *self.nulls.get(name, ()))


@dataclass(slots=True)
class Parsed:
    """A block's rows: `positions` are 0-based among all rows of the block (None = all are good)."""

    arrays: dict[str, pa.Array]
    good: int
    total: int
    positions: np.ndarray | None = None
    rejects: list[tuple[int, str | None, str | None, str, str | None]] = field(default_factory=list)
    rounded: dict[str, tuple[int, int, str]] = field(
        default_factory=dict
    )  # column -> count, first position, first text
    respelt: dict[str, tuple[int, int, str]] = field(default_factory=dict)  # the same


def parse(block: Block, shape: Shape, wanted: Sequence[str], file: str) -> Parsed:
    """Parse one block (thread-safe).

    Raises
    ------
    SourceError
        The text is not UTF-8.
    """
    data = shape.transform(block.data) if shape.transform else block.data
    wanted = list(wanted) or shape.names[:1]  # somebody must count the rows
    texts = {name for name in wanted if name in shape.as_text}
    if b"\0" in data:
        texts = set(wanted)
    learnt: set[str] = set()
    while True:
        ragged: list[csv.InvalidRow] = []
        try:
            table = _read(data, shape, wanted, texts, ragged)
            large = {name for name in wanted if name not in texts and _may_lose_digits(table.column(name))}
            if not large:
                break
            texts, learnt = {*texts, *large}, {*learnt, *large}  # their texts are looked at
        except pa.ArrowInvalid as error:
            if _enough(ragged, shape):
                return Parsed({}, 0, ragged[-1].number, None, [_ragged(row) for row in ragged])
            check_utf8(block, file)
            match = _COLUMN.search(str(error))
            name = shape.names[int(match.group(1))] if match else None
            if name is None or name in texts:
                if texts >= set(wanted):
                    raise SourceError(
                        f"this block of text cannot be parsed: {error}", place=Place(file=file, line=block.line)
                    ) from error
                texts = set(wanted)
            else:
                learnt.add(name)
                texts = {*texts, name} if len(learnt) <= 3 else set(wanted)
    total = table.num_rows + len(ragged)
    padded = b" " in data or b"\t" in data or (shape.quote is not None and shape.quote.encode() in data)
    arrays: dict[str, pa.Array] = {}
    faults: dict[str, tuple[pa.Array, pa.Array, str]] = {}
    rounded: dict[str, tuple[int, int, str]] = {}
    respelt: dict[str, tuple[int, int, str]] = {}
    may_be_respelt = MINUS.encode() in data or b"D" in data or b"d" in data
    for name in wanted:
        cells, kind, words = _whole(table.column(name)), shape.kinds[name], shape.words(name)
        if is_list(kind):
            arrays[name], bad = read_arrays(cells, kind)
            if bad is not None:
                faults[name] = (bad, cells, reason_of(kind))
        elif name in texts:
            values, bad = convert(cells, kind, nulls=words, decimal=shape.decimal, thousands=shape.thousands)
            if b"\0" in data:
                nul = pc.fill_null(pc.match_substring(cells, "\0"), False)
                bad = nul if bad is None else pc.or_(bad, nul)
                bad = bad if pc.any(bad).as_py() else None
            if bad is not None:
                faults[name] = (bad, cells, reason_of(kind))
            elif name in learnt:
                shape.as_text.add(name)
            arrays[name] = values
            if may_be_respelt and (pa.types.is_floating(kind) or pa.types.is_integer(kind)):
                changed = np.asarray(
                    pc.and_(pc.fill_null(pc.match_substring_regex(cells, RESPELT), False), pc.is_valid(values))
                )
                if changed.any():
                    first = int(np.argmax(changed))
                    respelt[name] = (int(changed.sum()), first, cells[first].as_py())
            if pa.types.is_float64(kind) and (flags := find_rounded(_plain(cells, shape), values)) is not None:
                first = int(np.argmax(flags))
                rounded[name] = (int(flags.sum()), first, cells[first].as_py())
        elif pa.types.is_string(kind):
            cells = trimmed(cells) if padded else cells
            arrays[name] = nulled(decoded(cells) if name in shape.encoded else cells, words)
        else:
            arrays[name] = without(cells, words) if words else cells
            arrays[name] = no_nan(arrays[name])
    if not ragged and not faults:
        return Parsed(arrays, total, total, rounded=rounded, respelt=respelt)
    parsed = _sorted_out(arrays, ragged, faults, total, data, shape, len(table))
    places = np.delete(np.arange(total), [row.number - 1 for row in ragged])
    parsed.rounded = {name: (count, int(places[first]), text) for name, (count, first, text) in rounded.items()}
    parsed.respelt = {name: (count, int(places[first]), text) for name, (count, first, text) in respelt.items()}
    return parsed


def _may_lose_digits(column: pa.ChunkedArray) -> bool:
    return pa.types.is_floating(column.type) and any(map(may_lose_digits, column.chunks))


def _plain(cells: pa.Array, shape: Shape) -> pa.Array:
    """Write numbers without their thousands separators."""
    return pc.replace_substring(cells, shape.thousands, "") if shape.thousands else cells


def _read(data: bytes, shape: Shape, wanted: Sequence[str], texts: set[str], ragged: list[csv.InvalidRow]) -> pa.Table:
    def keep(row: csv.InvalidRow) -> str:
        ragged.append(row)  # the parser asks row by row, and nobody else has the interpreter meanwhile
        return "error" if _enough(ragged, shape) else "skip"

    quoted = shape.quote is not None and shape.quote.encode() in data
    return csv.read_csv(
        pa.BufferReader(data),
        read_options=csv.ReadOptions(column_names=shape.names, use_threads=False, block_size=max(len(data), 1) + 1),
        parse_options=csv.ParseOptions(
            delimiter=shape.delimiter,
            quote_char=shape.quote if quoted else False,
            double_quote=quoted,
            newlines_in_values=quoted,
            invalid_row_handler=keep,
        ),
        convert_options=csv.ConvertOptions(
            column_types={
                name: pa.string() if name in texts or is_list(shape.kinds[name]) else shape.kinds[name]
                for name in wanted
            },
            include_columns=list(wanted),
            null_values=[*NULL_WORDS, *_PADDED, *shape.nulls.get("*", ())],
            true_values=["true", "True", "TRUE", "T", "t", "1"],
            false_values=["false", "False", "FALSE", "F", "f", "0"],
            strings_can_be_null=False,
            decimal_point=shape.decimal,
        ),
    )


def _enough(ragged: list[csv.InvalidRow], shape: Shape) -> bool:
    return shape.faults is not None and len(ragged) >= shape.faults


def _ragged(row: csv.InvalidRow) -> tuple[int, str | None, str | None, str, str | None]:
    return (
        row.number - 1,
        None,
        None,
        f"{row.actual_columns} fields where {row.expected_columns} are expected",
        row.text,
    )


def _whole(column: pa.ChunkedArray) -> pa.Array:
    return (
        column.chunk(0)
        if column.num_chunks == 1
        else pa.concat_arrays(column.chunks)
        if column.num_chunks
        else pa.array([], column.type)
    )


def reason_of(kind: pa.DataType) -> str:
    """Phrase why text is no value of a type."""
    if pa.types.is_integer(kind):
        return f"not a whole number that fits {kind}"
    if pa.types.is_floating(kind):
        return "not a number"
    if pa.types.is_boolean(kind):
        return "neither true nor false"
    if is_list(kind):
        return f"no JSON array of {from_arrow(kind)}"
    if pa.types.is_timestamp(kind):
        return f"not a time of the form {TIME_FORM}"
    return NUL


def reason_for(value: str | None, kind: pa.DataType, reason: str) -> str:
    """Phrase why a text is no value of a type; a number may be too large for it."""
    if value is not None and pa.types.is_floating(kind) and is_number(value):
        return TOO_LARGE.format(from_arrow(kind))
    return reason


def rounded_deviation(column: str, count: int, file: str, row: int | None, value: str) -> Deviation:
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


def report_rounded(parsed: Parsed, first: int, file: str, report: Callable[[Deviation], None]) -> None:
    """Report the whole numbers of a block that a floating-point column does not hold exactly.

    Parameters
    ----------
    first
        Number of the first row of the block.
    report
        Takes the deviations.
    """
    for name, (count, position, value) in parsed.rounded.items():
        report(rounded_deviation(name, count, file, first + position, value))


def report_respelt(
    parsed: Parsed, first: int, file: str, declared: Collection[str], report: Callable[[Deviation], None]
) -> None:
    """Report the numbers of a block that are written with Unicode's minus sign, or with an exponent of Fortran.

    Parameters
    ----------
    first
        Number of the first row of the block.
    declared
        Columns whose type the file or the descriptor's source says: that they are numbers is no guess.
    report
        Takes the deviations.
    """
    for name, (count, position, value) in parsed.respelt.items():
        if name not in declared:
            message = "numbers with a Unicode minus sign, or an exponent of Fortran (1.5D+03), are read as numbers"
            report(
                Deviation(
                    kind=DeviationKind.TYPE,
                    column=name,
                    count=count,
                    file=file,
                    row=first + position,
                    value=value,
                    message=message,
                )
            )


def _sorted_out(
    arrays: dict[str, pa.Array],
    ragged: list[csv.InvalidRow],
    faults: dict[str, tuple[pa.Array, pa.Array, str]],
    total: int,
    data: bytes,
    shape: Shape,
    parsed: int,
) -> Parsed:
    """Separate the rows at fault, each with its number, column, value and text."""
    lines = (
        None if shape.quote and shape.quote.encode() in data else [line for line in data.splitlines() if line.strip()]
    )
    if lines is not None and len(lines) != total:
        lines = None
    positions = np.ones(total, bool)
    rejects: list[tuple[int, str | None, str | None, str, str | None]] = []
    for row in ragged:
        positions[row.number - 1] = False
        rejects.append(_ragged(row))
    places = np.flatnonzero(positions)  # of the rows that were parsed
    out = np.zeros(parsed, bool)
    for name, (bad, cells, reason) in faults.items():
        mask = np.asarray(bad) & ~out
        out |= mask
        for at in np.flatnonzero(mask)[: shape.faults]:
            place = int(places[at])
            text = lines[place].decode(errors="replace") if lines is not None else None
            value = cells[int(at)].as_py()
            rejects.append((place, name, value, reason_for(value, shape.kinds[name], reason), text))
    keep = pa.array(~out)
    rejects.sort(key=lambda item: item[0])
    return Parsed(
        {name: array.filter(keep) for name, array in arrays.items()}, int((~out).sum()), total, places[~out], rejects
    )


def run(blocks: Iterator[Block], shape: Shape, wanted: Sequence[str], file: str) -> Iterator[Parsed]:
    """Parse blocks on all cores, in order, with few of them in memory."""
    workers = max(1, min(os.cpu_count() or 1, 8))
    queue: deque[Future[Parsed]] = deque()
    with ThreadPoolExecutor(workers, thread_name_prefix="hven-csv") as pool:
        try:
            for block in blocks:
                queue.append(pool.submit(parse, block, shape, wanted, file))
                while len(queue) > workers:
                    yield queue.popleft().result()
            while queue:
                yield queue.popleft().result()
        finally:
            for future in queue:
                future.cancel()


def rejects_of(parsed: Parsed, first: int, file: str, declared: Mapping[str, pa.DataType]) -> Iterator[Reject]:
    """Yield each fault with its row number in the file, and the remedy where the type was only guessed."""
    for at, column, value, reason, text in parsed.rejects:
        guessed = column is not None and column not in declared and reason != NUL
        hint = (
            f"; the type was guessed from a sample: if this value is right, declare {column} as string"
            if guessed
            else ""
        )
        yield Reject(file=file, row=first + at, column=column, value=value, reason=reason + hint, text=text)
