"""Detect the layout of a delimited text file from its beginning: delimiter, header, comments.

An ECSV header is read as well.
"""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from dataclasses import dataclass, field
from itertools import accumulate
from typing import TYPE_CHECKING, Any, cast

from hven.model import units as units_
from hven.model.errors import SourceError, TextPlace
from hven.model.table import Column
from hven.model.types import ColumnType, parse_type
from hven.sources._reading import catalogue_headers, format_detection
from hven.sources._reading.cells import NULL_WORDS
from hven.sources._reading.repeated_names import list_renamed_names, rename_repeated_names
from hven.sources._reading.text_units import NON_UNITS, parse_units, strip_unit_brackets

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import yaml

WHITESPACE = "whitespace"
MAX_COLUMNS = 10_000  # columns
MAX_RECORD_CHARACTERS = 50_000  # characters of one record in the sample
DELIMITERS_BY_WORD = {
    "tab": "\t",
    "comma": ",",
    "semicolon": ";",
    "pipe": "|",
    "space": " ",
    "\\t": "\t",
    WHITESPACE: WHITESPACE,
}
_CANDIDATE_DELIMITERS = ("\t", ";", "|", ",")
_NUMBER_PATTERN = re.compile(r"\s*[+-]?(?:\d+[.,]?\d*|[.,]\d+)(?:[eEdD][+-]?\d+)?\s*")
# a number or a time is no column's name
matches_value = re.compile(rf"{_NUMBER_PATTERN.pattern}|\s*\d{{4}}-\d\d-\d\d.*|\s*\d\d?:\d\d.*").fullmatch
# the first line of a CSV file for Excel can state the delimiter
_SPREADSHEET_DELIMITER_PATTERN = re.compile(r"\"?sep=(.)\"?\s*", re.IGNORECASE)
_BLANK_RUN_PATTERN = re.compile(r"[ \t]+")
RULE_LINE_PATTERN = re.compile(r"[-=+\s,;|:\"]*(?:-{3}|={3})[-=+\s,;|:\"]*")  # a line below a head
_TABLE_BORDER_PATTERN = re.compile(r"\s*\+[-+=]+\+\s*")  # around a table
# an ECSV header has at most this many characters, and is nested (and indented) at most this deep
_MAX_ECSV_HEADER_CHARACTERS = 1 << 19
_MAX_ECSV_DEPTH = 200
_TOP_RECORD_COUNT = 4  # rule lines are looked for among this many records at the top
_NUMBERED_COMMENT_PATTERN = re.compile(r"\s*(?:column|col\.?)?\s*(\d{1,3})\s*[:.)=-]\s+(\S.*)", re.IGNORECASE)
# the NASA Exoplanet Archive names each column in a comment
_COLUMN_COMMENT_PATTERN = re.compile(r"\s*COLUMN\s+(\w+)\s*:\s*(\S.*)")
_ECSV_DATATYPES = {
    "bool": "boolean",
    "int8": "short",
    "uint8": "unsignedByte",
    "int16": "short",
    "uint16": "int",
    "int32": "int",
    "uint32": "long",
    "int64": "long",
    "uint64": "long",
    "float16": "float",
    "float32": "float",
    "float64": "double",
    "float128": "double",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class TextDialect:
    """The layout of a delimited text file, as its beginning shows it.

    Attributes
    ----------
    offset
        Bytes before the first data row.
    title, authors, description
        What the file says about itself.
    columns_by_name
        Columns with metadata, if the file carries any (ECSV, numbered comments).
    is_typed
        True if these columns carry types, too.
    json_columns
        Columns of JSON strings.
    has_header
        True if the names were read from the file.
    has_units
        True if the record below the names holds units.
    types, null_words
        Types and null words that the header of a known format declares for single columns
        (`catalogue_headers.CatalogueTextHeader`).
    ranges, counts_bytes, has_continuation_lines
        How the records of the file are cut.
    is_barred
        True if each line begins and ends with a bar, which bounds no further column.
    renamed_columns
        Names that occurred twice in the header, each with its new one.
    uint64_columns
        Columns that the header declares as unsigned 64-bit integers, which may not fit in int64.
    masks
        Columns with the mask of another column, by the name of that column (ECSV).
    """

    names: list[str]
    delimiter: str
    comment: str | None
    offset: int
    has_header: bool
    columns_by_name: dict[str, Column]
    title: str | None = None
    authors: Sequence[str] = ()
    description: str | None = None
    is_typed: bool = False
    json_columns: frozenset[str] = frozenset()
    has_units: bool = False
    types: Mapping[str, ColumnType] = field(default_factory=dict)
    null_words: Mapping[str, Sequence[str]] = field(default_factory=dict)
    ranges: Sequence[tuple[int, int]] = ()
    counts_bytes: bool = False
    has_continuation_lines: bool = False
    is_barred: bool = False
    renamed_columns: Sequence[tuple[str, str]] = ()
    uint64_columns: frozenset[str] = frozenset()
    masks: Mapping[str, str] = field(default_factory=dict)

    def list_column_names(self) -> list[str]:
        """List the columns without those that mask others."""
        return [name for name in self.names if name not in self.masks.values()]

    def split_records(self, lines: Sequence[str], quote: str | None = None) -> list[list[str]]:
        """Split lines into the values of records."""
        if self.has_continuation_lines:
            text = "\n".join(lines)
            joined_bytes = catalogue_headers.join_daophot_lines(text.encode())
            lines = joined_bytes.decode().split("\n")
        if self.ranges:
            return [self._cut_line_by_ranges(line) for line in lines]
        if self.is_barred:
            lines = [strip_bars(line) for line in lines]
        filled_lines = [line for line in lines if line.strip()]
        return split_fields(filled_lines, self.delimiter, quote)

    def _cut_line_by_ranges(self, line: str) -> list[str]:
        return [line[start:end].strip() for start, end in self.ranges]


def strip_bars(line: str) -> str:
    """Strip the bars that stand at both ends of a line."""
    return line.strip().removeprefix("|").removesuffix("|")


def _are_lines_between_bars(lines: Sequence[str]) -> bool:
    bare_lines = [line.strip() for line in lines]
    return bool(bare_lines) and all(map(_is_between_bars, bare_lines))


def _has_outer_bars(sample: Sequence[str], names: Sequence[str] | None) -> bool:
    """Check whether bars stand around the records, and are not the ends of columns that `names` names."""
    if not _are_lines_between_bars(sample):
        return False
    return names is None or len(names) < sample[0].count("|") + 1


def _is_between_bars(line: str) -> bool:
    return len(line) > 2 and line[0] == line[-1] == "|"


def split_fields(lines: Sequence[str], delimiter: str, quote: str | None) -> list[list[str]]:
    """Split records into fields, and strip the blanks around each field."""
    if delimiter == WHITESPACE:
        lines = [_BLANK_RUN_PATTERN.sub(" ", line.strip()) for line in lines]
        delimiter = " "
    return [_split_record(line, delimiter, quote) for line in lines]


def _split_record(line: str, delimiter: str, quote: str | None) -> list[str]:
    if quote and quote in line:
        fields = _split_quoted(line, delimiter, quote)
    else:
        fields = line.split(delimiter)
    return [*map(str.strip, fields)]


def _split_quoted(line: str, delimiter: str, quote: str) -> list[str]:
    reader = csv.reader([line], delimiter=delimiter, quotechar=quote)
    try:
        return next(reader, [])
    except csv.Error:  # quotes that mean nothing with this delimiter
        return line.split(delimiter)


def guess_delimiter(lines: Sequence[str], quote: str | None, place: TextPlace) -> str:
    """Find the delimiter that cuts all lines into the same number of fields.

    Tab, semicolon, bar and comma are tried, then blanks. If several fit, the first in this order that gives at
    least half as many fields as the best one wins: commas stand inside values more often than semicolons.

    Raises
    ------
    SourceError
        Most lines have a delimiter, but their numbers of fields differ.
    """
    lines = [line for line in lines if line.strip()]
    scores: dict[str, int] = {}
    spread: dict[str, Counter[int]] = {}
    for delimiter in (*_CANDIDATE_DELIMITERS, WHITESPACE):
        counts = Counter(map(len, split_fields(lines, delimiter, quote)))
        if not counts:
            break
        spread[delimiter] = counts
        number, times = counts.most_common(1)[0]
        if number > 1 and times >= 0.9 * len(lines):
            scores[delimiter] = number
    best = max(scores.get(delimiter, 0) for delimiter in _CANDIDATE_DELIMITERS)
    for delimiter in _CANDIDATE_DELIMITERS:
        if best and scores.get(delimiter, 0) * 2 >= best:
            return delimiter
    if WHITESPACE in scores:
        return WHITESPACE
    for delimiter, counts in spread.items():
        # fields of uneven number: a wrong guess would refuse nearly every row
        least_fields = 1
        if delimiter == WHITESPACE:
            least_fields = 3
        divided_count = sum(times for number, times in counts.items() if number > least_fields)
        if divided_count > 0.5 * len(lines):
            word = next(word for word, value in DELIMITERS_BY_WORD.items() if value == delimiter)
            raise SourceError(
                "no delimiter splits all lines into the same number of fields; with the delimiter "
                f"{word}, the lines have {min(counts)} to {max(counts)} fields",
                place=place,
                remedy=f"if this is the delimiter, write `delimiter: {word}`, and `skip:` with the number of lines "
                "above the table; if the columns are at fixed byte positions, run `hven new ... --kind fixed`, or "
                f"write `{{kind: fixed, files: ..., fields: {{name: 1-9, mag: 11-16}}}}` with bytes counted from 1",
            )
    return ","


def is_header_record(first_record: Sequence[str], records: Sequence[Sequence[str]]) -> bool:
    """Guess whether the first record names the columns."""
    if any(map(matches_value, first_record)) or not any(first_record):
        return False
    columns = [_list_filled_cells(records, index) for index in range(len(first_record))]
    is_numeric = [bool(column) and _count_matches(matches_value, column) >= 0.5 * len(column) for column in columns]
    filled_cells = [cell for cell in first_record if cell]
    names = {cell.lower() for cell in filled_cells}
    are_names = len(names) == len(filled_cells) and all(map(_is_plain_name, filled_cells))
    empty_count = sum(
        not cell and bool(column or not records) for cell, column in zip(first_record, columns, strict=True)
    )
    if empty_count > 1 + len(first_record) // 10:  # values are missing, or a name stands above several columns
        named_numbers = [cell for cell, numeric in zip(first_record, is_numeric, strict=True) if cell and numeric]
        return are_names and len(named_numbers) > 1 and names.isdisjoint(map(str.lower, NULL_WORDS))
    if not records or any(is_numeric):  # a word above numbers
        return True
    return are_names and not _has_header_cell_repeated(first_record, records)


def _list_filled_cells(records: Sequence[Sequence[str]], index: int) -> list[str]:
    """List the cells of one column that are not empty."""
    return [row[index] for row in records if index < len(row) and row[index]]


def _is_plain_name(cell: str) -> bool:
    return re.fullmatch(r"[^\W\d][\w .:/()\[\]%+*#-]{0,60}", cell) is not None


def _has_header_cell_repeated(first_record: Sequence[str], records: Sequence[Sequence[str]]) -> bool:
    """Check whether a cell of the first record occurs again in its column."""
    return any(cell and cell in _list_filled_cells(records, index) for index, cell in enumerate(first_record))


def _count_matches(matcher: Callable[[str], object], cells: Sequence[str]) -> int:
    return sum(map(bool, map(matcher, cells)))


def detect_dialect(
    first_bytes: bytes,
    *,
    file: str,
    delimiter: str | None = None,
    quote: str | None = '"',
    comment: str | None = None,
    has_header: bool | None = None,
    names: Sequence[str] | None = None,
    skipped_lines: int = 0,
    has_units: bool | None = None,
) -> TextDialect:
    """Detect the layout of a file (UTF-8) from its beginning.

    Raises
    ------
    SourceError
        A name occurs twice, or a delimiter cuts nothing.
    """
    lines = _LineCursor(first_bytes)
    lines.skip_and_return_last_line(skipped_lines)
    spreadsheet_line = _SPREADSHEET_DELIMITER_PATTERN.fullmatch(lines.peek_line())
    if spreadsheet_line:
        lines.skip_and_return_last_line(1)
        delimiter = delimiter or spreadsheet_line.group(1)
    if delimiter is None:
        format_detection.refuse_other_text_format(*lines.peek_filled_line(file))
    if lines.peek_line().startswith("# %ECSV"):
        return _read_ecsv_header(lines, file)
    is_undeclared = delimiter is None and has_header is None and has_units is None
    if is_undeclared and comment in {None, "#", "\\"}:
        text_header = catalogue_headers.recognize_catalogue_header(first_bytes, lines.offset, file)
        if text_header is not None:
            return _build_header_dialect(text_header, names, file)
    return _detect_layout(
        lines,
        file,
        delimiter=delimiter,
        quote=quote,
        comment=comment,
        has_header=has_header,
        names=names,
        has_units=has_units,
    )


def _detect_layout(
    lines: _LineCursor,
    file: str,
    *,
    delimiter: str | None,
    quote: str | None,
    comment: str | None,
    has_header: bool | None,
    names: Sequence[str] | None,
    has_units: bool | None,
) -> TextDialect:
    """Detect the layout of a file that has no header of a known format."""
    comment_sign = comment
    if comment is None and lines.peek_line().startswith("#"):
        comment_sign = "#"
    head_comments = _read_head_comments(lines, comment_sign)
    start = lines.offset
    sample_place = TextPlace(file=file, line=lines.line)
    sample = _sample_records(lines, comment_sign)
    if delimiter is None:
        cut = guess_delimiter(sample, quote, sample_place)
    else:
        cut = DELIMITERS_BY_WORD.get(delimiter, delimiter)
    is_barred = cut == "|" and _has_outer_bars(sample, names)
    if is_barred:
        sample = [strip_bars(line) for line in sample]
    rows = split_fields(sample, cut, quote)
    width = _find_usual_record_width(rows, cut, sample_place)
    if width == 1 and delimiter is None and names is None and has_header is None:
        divided_count = sum(len(row) > 1 for row in rows)
        format_detection.refuse_prose_lines(sample, divided_count, sample_place)
    if delimiter is not None and width == 1:
        _check_stated_delimiter(sample, delimiter, quote, sample_place)
    header_cells: list[str] | None = None
    if has_header is not False and rows:
        comment_cells = head_comments.split_names(width, cut, quote)
        header_cells = _find_header_cells(rows, comment_cells, width=width, has_header=has_header, names=names)
        if header_cells is rows[0] or (has_header is None and _are_stated_names(rows[0], names)):
            lines.skip_record(comment_sign, quote)
            start = lines.offset
            rows = rows[1:]
    has_names = header_cells is not None or names is not None
    unit_cells: Sequence[str] = ()
    if rows and _has_unit_record(rows, has_units, has_names=has_names, place=TextPlace(file=file, line=lines.line)):
        lines.skip_record(comment_sign, quote)
        unit_cells = rows[0]
        start = lines.offset
        rows = rows[1:]
    if has_names:
        start = lines.skip_to_next_record(comment_sign)
    final_names, renamed_columns = _resolve_column_names(names, header_cells, width, rows, file=file)
    columns_by_name = _describe_columns(final_names, head_comments.texts_by_number, unit_cells)
    columns_by_name |= _describe_commented_columns(final_names, head_comments.texts_by_name)
    return TextDialect(
        names=final_names,
        delimiter=cut,
        comment=comment_sign,
        offset=start,
        has_header=header_cells is not None,
        columns_by_name=columns_by_name,
        has_units=bool(unit_cells),
        is_barred=is_barred,
        renamed_columns=renamed_columns,
    )


@dataclass(slots=True)
class _HeadComments:
    """The comments above the first record.

    Attributes
    ----------
    last
        Text of the last comment that holds more than a rule, without its sign.
    is_ruled
        True if a rule is drawn below the last comment.
    texts_by_number, texts_by_name
        Descriptions of columns, by the number or the name that their comment gives.
    """

    last: str = ""
    is_ruled: bool = False
    texts_by_number: dict[int, str] = field(default_factory=dict)
    texts_by_name: dict[str, str] = field(default_factory=dict)

    def add_line(self, line: str, sign: str) -> None:
        if not line.strip(sign + " \t\r-=_*~"):
            self.is_ruled = self.is_ruled or "---" in line
            return
        self.last = line.lstrip()[len(sign) :]
        self.is_ruled = False
        match = _NUMBERED_COMMENT_PATTERN.fullmatch(self.last)
        if match:
            number = int(match.group(1))
            self.texts_by_number[number] = match.group(2).strip()
            return
        match = _COLUMN_COMMENT_PATTERN.fullmatch(self.last)
        if match:
            self.texts_by_name[match.group(1)] = match.group(2).strip()
            self.last = ""

    def split_names(self, width: int, delimiter: str, quote: str | None) -> list[str]:
        """Split the last comment into the names of columns that it may hold."""
        if not self.last:
            return []
        cells = split_fields([self.last], delimiter, quote)[0]
        if self.is_ruled and len(cells) == 1:  # names between blanks above values between tabs
            cells = self.last.split()
        if len(cells) > width:  # tabs that make names stand above their values
            cells = [cell for cell in cells if cell]
        return cells


def _is_comment(line: str, sign: str | None) -> bool:
    if not sign:
        return False
    return line.lstrip().startswith(sign)


def _read_head_comments(lines: _LineCursor, sign: str | None) -> _HeadComments:
    """Read the comments and blank lines above the first record."""
    comments = _HeadComments()
    while lines.has_more():
        line = lines.peek_line()
        if line.strip() and not _is_comment(line, sign):
            break
        lines.skip_and_return_last_line(1)
        if sign:
            comments.add_line(line, sign)
    return comments


def _sample_records(lines: _LineCursor, sign: str | None) -> list[str]:
    """Sample the records of the file, without comments, borders of tables and rules near the top."""
    sample: list[str] = []
    filled_count = 0
    for line in lines.sample_lines(400, 100):
        if not line.strip() or _is_comment(line, sign):
            continue
        is_at_top = filled_count <= _TOP_RECORD_COUNT
        filled_count += 1
        is_rule = is_at_top and RULE_LINE_PATTERN.fullmatch(line)
        if not is_rule and not _TABLE_BORDER_PATTERN.fullmatch(line):
            sample.append(line)
    return sample


def _find_usual_record_width(rows: Sequence[Sequence[str]], delimiter: str, place: TextPlace) -> int:
    """Find the most frequent number of fields in a record; 0 without a record."""
    if not rows:
        return 0
    if len(rows[0]) > MAX_COLUMNS:
        raise SourceError(
            f"a record has {len(rows[0]):,} fields; at most {MAX_COLUMNS:,} are allowed",
            place=place,
            remedy=f"check whether this is a table, and whether its delimiter is {delimiter!r}",
        )
    return Counter(map(len, rows)).most_common(1)[0][0]


def _check_stated_delimiter(sample: Sequence[str], delimiter: str, quote: str | None, place: TextPlace) -> None:
    """Refuse a stated delimiter that finds one column where another delimiter finds more than two."""
    cut = DELIMITERS_BY_WORD.get(delimiter, delimiter)
    try:
        other = guess_delimiter(sample, quote, place)
    except SourceError:
        other = cut
    parts = len(split_fields(sample[-1:], other, quote)[0])
    if other in {cut, WHITESPACE} or parts <= 2:
        return
    word = next((word for word, value in DELIMITERS_BY_WORD.items() if value == other), other)
    raise SourceError(
        f"the delimiter {delimiter!r} gives a single column",
        place=place,
        remedy=f"write `delimiter: {word}`, which gives {parts} columns",
    )


def _find_header_cells(
    rows: Sequence[list[str]],
    comment_cells: list[str],
    *,
    width: int,
    has_header: bool | None,
    names: Sequence[str] | None,
) -> list[str] | None:
    """Find the cells that name the columns: those of the last comment, or the first record."""
    if has_header is not True and len(comment_cells) == width > 1 and not any(map(matches_value, comment_cells)):
        return comment_cells
    if has_header or (has_header is None and names is None and is_header_record(rows[0], rows[1:200])):
        return rows[0]
    return None


def _are_stated_names(cells: Sequence[str], names: Sequence[str] | None) -> bool:
    if names is None:
        return False
    return [cell.lower() for cell in cells] == [name.lower() for name in names]


def _has_unit_record(
    rows: Sequence[Sequence[str]], has_units: bool | None, *, has_names: bool, place: TextPlace
) -> bool:
    """Check whether the first record holds units; refuse one that holds values where `units: true` promises units."""
    if has_units is None:
        return has_names and is_unit_record(rows[0], rows[1:])
    value = next(filter(matches_value, rows[0]), None)
    if has_units and value:
        raise SourceError(
            f"`units: true` says that the record below the names contains units, but {value!r} is not a unit",
            place=place,
            remedy="leave out `units` so that Hven looks for units in each file",
        )
    return has_units


def _resolve_column_names(
    names: Sequence[str] | None,
    header_cells: list[str] | None,
    width: int,
    rows: Sequence[Sequence[str]],
    *,
    file: str,
) -> tuple[list[str], Sequence[tuple[str, str]]]:
    """Return the names of the columns, and each name of the header that had to change with its new one."""
    if names is None:
        stated_names = _choose_column_names(header_cells, width, rows)
        distinct_names = rename_repeated_names(stated_names)
        return distinct_names, list_renamed_names(stated_names, distinct_names)
    if header_cells is not None and len(header_cells) != len(names):
        raise SourceError(
            f"`names` contains {len(names)} names, but the header has {len(header_cells)} fields",
            place=TextPlace(file=file),
            remedy="give one name for each field",
        )
    return list(names), ()


def _build_header_dialect(
    text_header: catalogue_headers.CatalogueTextHeader, names: Sequence[str] | None, file: str
) -> TextDialect:
    if names is not None:
        text_header = catalogue_headers.rename_columns(text_header, names, file)
    return TextDialect(
        names=text_header.names,
        delimiter=text_header.delimiter,
        comment=text_header.comment,
        offset=text_header.offset,
        has_header=True,
        columns_by_name=dict(text_header.columns),
        title=text_header.title,
        authors=text_header.authors,
        renamed_columns=text_header.renamed,
        types=text_header.types,
        null_words=text_header.nulls,
        ranges=text_header.ranges,
        counts_bytes=text_header.counts_bytes,
        has_continuation_lines=text_header.has_continuation_lines,
    )


def is_unit_record(first_record: Sequence[str], records: Sequence[Sequence[str]]) -> bool:
    """Guess whether the record below the names holds units.

    It does if it holds no value, and most of its cells above numbers are units.
    """
    known_count = 0
    strange_count = 0
    for index, cell in enumerate(first_record):
        column = [value for value in _list_filled_cells(records, index) if value not in NULL_WORDS]
        number_count = _count_matches(_NUMBER_PATTERN.fullmatch, column)
        if matches_value(cell) or (cell and cell in column):
            return False
        is_known_unit = strip_unit_brackets(cell) != cell or units_.is_unit_like(cell)
        # words, as notes on how a date is written
        if len(cell) > 20 and not is_known_unit:
            return False
        is_above_numbers = bool(column) and number_count >= 0.95 * len(column)
        if is_above_numbers and cell and cell not in NON_UNITS:
            known_count += is_known_unit
            strange_count += not is_known_unit
    return known_count > 0 and known_count >= strange_count


def _describe_columns(
    names: Sequence[str], descriptions_by_number: dict[int, str], unit_cells: Sequence[str]
) -> dict[str, Column]:
    """Describe columns by the comments that number them, and by the units in the record below the names.

    Such a comment is ``#  3: Planetary mass [Jupiter masses]``.
    """
    descriptions: dict[int, str] = {}
    if set(descriptions_by_number) == set(range(1, len(names) + 1)):
        descriptions = descriptions_by_number
    units = parse_units(names, unit_cells)
    columns_by_name: dict[str, Column] = {}
    for number, name in enumerate(names, 1):
        unit = units.get(name)
        if descriptions or unit:
            description = descriptions.get(number)
            columns_by_name[name] = Column(name=name, type=ColumnType("char", "*"), description=description, unit=unit)
    return columns_by_name


def _describe_commented_columns(names: Sequence[str], texts: Mapping[str, str]) -> dict[str, Column]:
    """Read comments ``COLUMN name: text [unit]``; brackets without a unit (``[sexagesimal]``) stay in the text."""
    return {name: _parse_column_comment(name, texts[name]) for name in names if name in texts}


def _parse_column_comment(name: str, text: str) -> Column:
    match = re.fullmatch(r"(.*\S)\s*\[([^\[\]]+)\]", text)
    unit = None
    description = text
    if match is not None:
        unit = units_.normalize_unit(match.group(2))
    if match is not None and unit is not None:
        description = match.group(1)
    return Column(name=name, type=ColumnType("char", "*"), description=description, unit=unit)


def _choose_column_names(header_cells: list[str] | None, width: int, records: Sequence[Sequence[str]]) -> list[str]:
    if header_cells is None:
        return [f"column_{number}" for number in range(1, width + 1)]
    names = [cell or f"column_{number}" for number, cell in enumerate(header_cells, 1)]
    names[0] = names[0].lstrip("#").strip() or "column_1"
    if records and width == len(names) + 1:  # R writes no name above the row names
        names = ["row_name", *names]
    return names


def _has_open_quote(line: str, quote: str) -> bool:
    """Check whether a quoted value begins in this line and goes on in the next one.

    A quote within a word, as in ``Sep (")``, begins no value.
    """
    if not quote or quote not in line:
        return False
    sign = re.escape(quote)
    begin = rf"(?<![\w(\[{{.'\"°)\]]){sign}"
    closed_value = rf"{begin}(?:[^{sign}]|{sign}{sign})*{sign}(?!{sign})"
    rest_of_line = re.sub(closed_value, "", line)
    return re.search(begin, rest_of_line) is not None


class _LineCursor:
    """Lines of the head, with the byte offset of the next one."""

    def __init__(self, head: bytes) -> None:
        self.head = head
        self.offset = 0
        self.line = 1

    def has_more(self) -> bool:
        return self.offset < len(self.head)

    def _find_line_end(self, offset: int) -> int:
        end = self.head.find(b"\n", offset)
        if end < 0:
            return len(self.head)
        return end + 1

    def peek_line(self) -> str:
        line_bytes = self.head[self.offset : self._find_line_end(self.offset)]
        return line_bytes.decode(errors="replace").rstrip("\r\n")

    def peek_filled_line(self, file: str) -> tuple[str, TextPlace]:
        """Peek at the first line that is not blank, and return its place, too."""
        remaining_bytes = self.head[self.offset :]
        blank_count = len(remaining_bytes) - len(remaining_bytes.lstrip())
        line_number = self.line + remaining_bytes.count(b"\n", 0, blank_count)
        record_bytes = remaining_bytes[blank_count : blank_count + MAX_RECORD_CHARACTERS]
        line = record_bytes.decode(errors="replace").partition("\n")[0]
        return line.rstrip("\r"), TextPlace(file=file, line=line_number)

    def skip_and_return_last_line(self, line_count: int) -> str:
        text = ""
        for _ in range(line_count):
            text = self.peek_line()
            self.offset = self._find_line_end(self.offset)
            self.line += 1
        return text

    def skip_record(self, comment: str | None, quote: str | None) -> None:
        """Skip one record, whose quoted values may hold line ends, and the lines above it that hold no record."""
        self.skip_to_next_record(comment)
        inside = False
        while self.has_more():
            text = self.skip_and_return_last_line(1)
            inside = quote is not None and _has_open_quote(quote * inside + text, quote)
            if not inside:
                break

    def skip_to_next_record(self, comment: str | None) -> int:
        """Skip blank lines, comments and rules below a head; return the offset of the next record."""
        while self.has_more():
            line = self.peek_line()
            if line.strip() and not _is_comment(line, comment) and not RULE_LINE_PATTERN.fullmatch(line):
                break
            self.skip_and_return_last_line(1)
        return self.offset

    def sample_lines(self, line_count: int, tail_count: int) -> list[str]:
        """Peek at the next lines, and at the last ones of the head; lines within a quoted value are joined roughly."""
        sample_end = self.offset + 400_000
        text = self.head[self.offset : sample_end].decode(errors="replace")
        lines = [line.rstrip("\r") for line in text.split("\n")]
        if len(self.head) > sample_end and len(lines) > 1:
            lines.pop()
        joined: list[str] = []
        inside = False  # of a quoted value
        for line in lines:
            if inside and len(joined[-1]) < MAX_RECORD_CHARACTERS:
                joined[-1] += "\n" + line
            elif len(joined) >= line_count:
                break
            else:
                joined.append(line)
                inside = False
            inside = (inside or '"' in line) and _has_open_quote('"' * inside + line, '"')
        tail_start = max(sample_end, len(self.head) - 100_000)
        tail_text = self.head[tail_start:].decode(errors="replace")
        last_lines = tail_text.split("\n")[1:-1]
        unquoted_lines = [line.rstrip("\r") for line in last_lines[-tail_count:] if '"' not in line]
        return joined + unquoted_lines


def _read_ecsv_header(lines: _LineCursor, file: str) -> TextDialect:
    """Read the header of an Enhanced CSV file (APE 6): names, types, units, descriptions, delimiter."""
    import yaml  # noqa: PLC0415  (for descriptors alone)

    place = TextPlace(file=file, line=lines.line)
    text = _read_ecsv_comments(lines)
    if len(text) > _MAX_ECSV_HEADER_CHARACTERS:
        message = f"the ECSV header has more than {_MAX_ECSV_HEADER_CHARACTERS >> 10} KiB"
        raise SourceError(message, place=place, remedy="check the file with astropy")
    if _estimate_yaml_depth(text) > _MAX_ECSV_DEPTH:
        message = f"the ECSV header is nested more than {_MAX_ECSV_DEPTH} levels deep"
        raise SourceError(message, place=place, remedy="check the file with astropy")
    try:
        head = yaml.load(text, _TolerantYamlLoader)  # noqa: S506  (a SafeLoader)
        cut = str(head.get("delimiter", " "))
        items = head["datatype"]
        columns_by_name = {str(item["name"]): _build_ecsv_column(item) for item in items}
        json_columns = frozenset(str(item["name"]) for item in items if item.get("subtype"))
        uint64_columns = frozenset(str(item["name"]) for item in items if item.get("datatype") == "uint64")
    except (yaml.YAMLError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise SourceError(
            f"the ECSV header cannot be read: {error}",
            place=place,
            remedy="check the file with astropy",
        ) from error
    if cut == " ":
        cut = WHITESPACE
    names = split_fields([lines.skip_and_return_last_line(1)], cut, '"')[0]
    meta = head.get("meta")
    if isinstance(meta, list):  # !!omap
        meta = _merge_mappings(meta)
    description = None
    masks = {}
    if isinstance(meta, dict):
        description = _to_text(meta.get("description"))
        masks = _find_ecsv_masks(meta, columns_by_name)
    return TextDialect(
        names=names,
        delimiter=cut,
        comment="#",
        offset=lines.offset,
        has_header=True,
        columns_by_name=columns_by_name,
        is_typed=True,
        json_columns=json_columns,
        description=description,
        uint64_columns=uint64_columns,
        masks=masks,
    )


def _find_ecsv_masks(meta: Mapping[str, Any], columns_by_name: Mapping[str, Column]) -> dict[str, str]:
    """Find the columns in which astropy marks the missing values of another column (`data_mask`)."""
    masks = {}
    serialized_columns = meta.get("__serialized_columns__")
    if isinstance(serialized_columns, dict):
        for name, parts in serialized_columns.items():
            if isinstance(parts, dict) and parts.get("data") == {"name": name} and isinstance(parts.get("mask"), dict):
                mask = columns_by_name.get(str(parts["mask"].get("name")))
                if name in columns_by_name and mask is not None and mask.type == ColumnType("boolean"):
                    masks[name] = mask.name
    return masks


def _read_ecsv_comments(lines: _LineCursor) -> str:
    """Read the YAML text that the comments of an ECSV header hold."""
    text = io.StringIO()
    lines.skip_and_return_last_line(1)
    while lines.has_more() and lines.peek_line().startswith("#"):
        line = lines.skip_and_return_last_line(1).removeprefix("#")
        text.write(line.removeprefix(" ") + "\n")
    return text.getvalue()


def _merge_mappings(items: Sequence[object]) -> dict[Any, Any]:
    merged: dict[Any, Any] = {}
    for item in items:
        if isinstance(item, dict):
            merged.update(item)
    return merged


def _to_text(value: object) -> str | None:
    if value:
        return str(value)
    return None


def _estimate_yaml_depth(text: str) -> int:
    """Estimate how deep YAML can be nested at most.

    Brackets nest, and so do lists and keys that stand further to the right.
    """
    opening_count = sum(text.count(sign) for sign in "[{")
    running_depths = accumulate((char in "[{") - (char in "]}") for char in text)
    bracket_depth = min(opening_count, max(running_depths, default=0))
    indentations = (len(line) - len(line.lstrip(" -?")) for line in text.split("\n"))
    return bracket_depth + max(indentations, default=0)


def _build_ecsv_column(item: dict[str, Any]) -> Column:
    datatype = str(item.get("datatype", "string"))
    subtype = str(item.get("subtype", ""))
    kind = _parse_ecsv_array_type(subtype)
    if kind is None:
        if datatype == "string" or subtype or datatype not in _ECSV_DATATYPES:
            kind = ColumnType("char", "*")
        else:
            kind = ColumnType(_ECSV_DATATYPES[datatype])
    meta = item.get("meta")
    if not isinstance(meta, dict):
        meta = {}
    return Column(
        name=str(item["name"]),
        type=kind,
        unit=_to_text(item.get("unit")),
        description=_to_text(item.get("description")),
        ucd=_to_text(meta.get("ucd")),
    )


def _parse_ecsv_array_type(subtype: str) -> ColumnType | None:
    """Parse the type of a column that has a shape: ``float64[3]``, ``int32[2,4]``, ``float64[null]``.

    Such a column is read as JSON text. Return None for other subtypes.
    The last number changes fastest in ECSV, the first one in VOTable.
    """
    match = re.fullmatch(r"(\w+)\[\s*(\d+(?:\s*,\s*\d+)*|null)\s*\]", subtype)
    if match is None:
        return None
    sizes = re.split(r"\s*,\s*", match.group(2))
    if sizes == ["null"]:
        shape = "*"
    else:
        shape = "x".join(reversed(sizes))
    if match.group(1) == "string":
        if len(sizes) == 1:
            return parse_type("string[*x*]")
        return None
    if match.group(1) in _ECSV_DATATYPES:
        return ColumnType(_ECSV_DATATYPES[match.group(1)], shape)
    return None


def _build_yaml_loader() -> Any:
    import yaml  # noqa: PLC0415  (for descriptors alone)

    # that of C is ten times as fast
    class TolerantLoader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
        """Reads !astropy... tags as plain mappings: nothing is built from them."""

    def build_plain_value(loader: Any, _suffix: str, node: Any) -> object:
        if isinstance(node, yaml.MappingNode):
            return loader.construct_mapping(node, deep=True)
        if isinstance(node, yaml.SequenceNode):
            return loader.construct_sequence(node, deep=True)
        return loader.construct_scalar(node)

    TolerantLoader.add_multi_constructor("!", build_plain_value)

    def build_ordered_mapping(loader: Any, node: Any) -> list[Any]:
        return list(loader.construct_sequence(cast("yaml.SequenceNode", node), deep=True))

    TolerantLoader.add_constructor("tag:yaml.org,2002:omap", build_ordered_mapping)
    return TolerantLoader


_TolerantYamlLoader = _build_yaml_loader()
