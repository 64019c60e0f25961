"""The look of a delimited text file, guessed from its beginning.

Delimiter, header, comments, and what an ECSV header tells.
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
from hven.model.errors import Place, SourceError
from hven.model.table import Column
from hven.model.types import Type, parse_type
from hven.sources._reading import catalogue_headers, format_detection
from hven.sources._reading.cells import NULL_WORDS
from hven.sources._reading.repeated_names import deduplicate_names, list_renamed
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
_BLANK_RUN_PATTERN = re.compile(r"[ \t]+")
RULE_LINE_PATTERN = re.compile(r"[-=+\s,;|:\"]*(?:-{3}|={3})[-=+\s,;|:\"]*")  # a line below a head
_TABLE_BORDER_PATTERN = re.compile(r"\s*\+[-+=]+\+\s*")  # around a table
_MAX_ECSV_HEADER_CHARACTERS, _MAX_ECSV_DEPTH = (
    1 << 19,
    200,
)  # of an ECSV header: characters, and depth (of indentation, too)
_TOP_RECORD_COUNT = 4  # records at the top among which such lines are looked for
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
    """What the beginning of a file says.

    Attributes
    ----------
    offset
        Bytes before the first data row.
    title, authors, description
        What the file says of itself.
    columns_by_name
        Columns with metadata, if the file carries any (ECSV, numbered comments).
    is_typed
        True if these say types, too.
    json_columns
        Columns of JSON strings.
    has_header
        True if the names were read from the file.
    has_units
        True if the record below the names holds units.
    types, null_words
        What the header of a known format declares for single columns (`catalogue_headers.TextHeader`).
    ranges, counts_bytes, has_continuation_lines
        How its records are cut.
    is_barred
        True if each line begins and ends with a bar, which bounds no further column.
    renamed_columns
        Names that occurred twice in the header, each with its new one.
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
    types: Mapping[str, Type] = field(default_factory=dict)
    null_words: Mapping[str, Sequence[str]] = field(default_factory=dict)
    ranges: Sequence[tuple[int, int]] = ()
    counts_bytes: bool = False
    has_continuation_lines: bool = False
    is_barred: bool = False
    renamed_columns: Sequence[tuple[str, str]] = ()

    def split_records(self, lines: Sequence[str], quote: str | None = None) -> list[list[str]]:
        """Split lines into the values of records."""
        if self.has_continuation_lines:
            lines = catalogue_headers.join_continuation_lines("\n".join(lines).encode()).decode().split("\n")
        if self.ranges:
            return [[line[start:end].strip() for start, end in self.ranges] for line in lines]
        if self.is_barred:
            lines = [strip_bars(line) for line in lines]
        return split_fields([line for line in lines if line.strip()], self.delimiter, quote)


def strip_bars(line: str) -> str:
    """Strip the bars that stand at both ends of a line."""
    return line.strip().removeprefix("|").removesuffix("|")


def _is_barred(lines: Sequence[str]) -> bool:
    bare = [line.strip() for line in lines]
    return bool(bare) and all(len(line) > 2 and line[0] == line[-1] == "|" for line in bare)


def split_fields(lines: Sequence[str], delimiter: str, quote: str | None) -> list[list[str]]:
    """Split records, blanks around fields taken off."""
    if delimiter == WHITESPACE:
        lines = [_BLANK_RUN_PATTERN.sub(" ", line.strip()) for line in lines]
        delimiter = " "
    return [
        [*map(str.strip, _split_quoted(line, delimiter, quote) if quote and quote in line else line.split(delimiter))]
        for line in lines
    ]


def _split_quoted(line: str, delimiter: str, quote: str) -> list[str]:
    try:
        return next(csv.reader([line], delimiter=delimiter, quotechar=quote), [])
    except csv.Error:  # quotes that mean nothing with this delimiter
        return line.split(delimiter)


def guess_delimiter(lines: Sequence[str], quote: str | None, place: Place) -> str:
    """Find the delimiter that cuts all lines into the same number of fields.

    Tab, semicolon, bar and comma are tried, then blanks. Of several that fit, one that gives at least half
    as many fields as the best comes first in this order: commas stand inside values more often than semicolons.

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
    best = max((scores.get(delimiter, 0) for delimiter in _CANDIDATE_DELIMITERS), default=0)
    for delimiter in _CANDIDATE_DELIMITERS:
        if best and scores.get(delimiter, 0) * 2 >= best:
            return delimiter
    if WHITESPACE in scores:
        return WHITESPACE
    for delimiter, counts in spread.items():
        # fields of uneven number: a wrong guess would refuse nearly every row
        if sum(times for number, times in counts.items() if number > (3 if delimiter == WHITESPACE else 1)) > 0.5 * len(
            lines
        ):
            word = next(word for word, value in DELIMITERS_BY_WORD.items() if value == delimiter)
            raise SourceError(
                f"no delimiter cuts the lines into equal numbers of fields ({word}: {min(counts)} to {max(counts)})",
                place=place,
                remedy=f"say `delimiter: {word}` if that is right, `skip:` what stands above the table; "
                "columns at fixed bytes: `{kind: fixed, files: ..., fields: {name: 1-9, mag: 11-16}}`, bytes counted from 1 (`hven new ... --kind fixed` drafts them)",
            )
    return ","


def is_header_record(first_record: Sequence[str], records: Sequence[Sequence[str]]) -> bool:
    """Guess whether the first record names the columns."""
    if (
        any(map(matches_value, first_record))
        or not any(first_record)
        or first_record.count("") > 1 + len(first_record) // 10
    ):
        return False
    if not records:
        return True
    for index in range(len(first_record)):
        column = [row[index] for row in records if index < len(row) and row[index]]
        if column and _count_matches(matches_value, column) >= 0.5 * len(column):
            return True  # a word above numbers
    names = [cell.lower() for cell in first_record if cell]
    plain = all(re.fullmatch(r"[^\W\d][\w .:/()\[\]%+*#-]{0,60}", cell) for cell in first_record if cell)
    again = any(cell in {row[i] for row in records if i < len(row)} for i, cell in enumerate(first_record) if cell)
    return plain and len(set(names)) == len(names) and not again


def _count_matches(matcher: Callable[[str], object], cells: Sequence[str]) -> int:
    return sum(map(bool, map(matcher, cells)))


def detect_dialect(
    first_bytes: bytes,
    *,
    file: str,
    delimiter: str | None = None,
    quote: str | None = '"',
    comment: str | None = None,
    header: bool | None = None,
    names: Sequence[str] | None = None,
    skip: int = 0,
    units: bool | None = None,
) -> TextDialect:
    """Read the beginning of a file (UTF-8).

    Raises
    ------
    SourceError
        Names that occur twice, a delimiter that cuts nothing.
    """
    lines = _LineCursor(first_bytes)
    lines.take_lines(skip)
    if delimiter is None:
        format_detection.check_text(*lines.peek_filled_line(file))
    if lines.peek_line().startswith("# %ECSV"):
        return _read_ecsv_header(lines, file)
    if delimiter is None and header is None and units is None and comment in {None, "#", "\\"}:
        text_header = catalogue_headers.read_text_header(first_bytes, lines.offset, file)
        if text_header is not None:
            return _build_header_dialect(text_header, names, file)
    if comment is not None:
        sign = comment
    elif lines.peek_line().startswith("#"):
        sign = "#"
    else:
        sign = None
    last_comment, ruled = "", False  # whether a line is drawn below it
    numbered: dict[int, str] = {}
    by_name: dict[str, str] = {}
    while lines.has_more() and (not (line := lines.peek_line()).strip() or (sign and line.lstrip().startswith(sign))):
        lines.take_lines(1)
        if sign and line.strip(sign + " \t\r-=_*~"):
            last_comment = line.lstrip()[len(sign) :]
            ruled = False
            match = _NUMBERED_COMMENT_PATTERN.fullmatch(last_comment)
            if match:
                numbered[int(match.group(1))] = match.group(2).strip()
            elif match := _COLUMN_COMMENT_PATTERN.fullmatch(last_comment):
                by_name[match.group(1)], last_comment = match.group(2).strip(), ""
        elif sign:
            ruled = ruled or "---" in line
    start = lines.offset
    sample = [
        line for line in lines.sample_lines(400, 100) if line.strip() and not (sign and line.lstrip().startswith(sign))
    ]
    sample = [
        line
        for number, line in enumerate(sample)
        if not (
            _TABLE_BORDER_PATTERN.fullmatch(line) or (number <= _TOP_RECORD_COUNT and RULE_LINE_PATTERN.fullmatch(line))
        )
    ]
    if delimiter is not None:
        cut = DELIMITERS_BY_WORD.get(delimiter, delimiter)
    else:
        cut = guess_delimiter(sample, quote, Place(file=file, line=lines.line))
    barred = cut == "|" and _is_barred(sample) and (names is None or len(names) < sample[0].count("|") + 1)
    if barred:
        sample = [strip_bars(line) for line in sample]
    rows = split_fields(sample, cut, quote)
    if rows and len(rows[0]) > MAX_COLUMNS:
        raise SourceError(
            f"a record of {len(rows[0]):,} fields",
            place=Place(file=file, line=lines.line),
            remedy=f"this is no table, or the delimiter is not {cut!r}",
        )
    if rows:
        width = Counter(map(len, rows)).most_common(1)[0][0]
    else:
        width = 0
    if width == 1 and delimiter is None and names is None and header is None:
        format_detection.check_lines(sample, sum(len(row) > 1 for row in rows), Place(file=file, line=lines.line))
    if delimiter is not None and width == 1:
        try:
            other = guess_delimiter(sample, quote, Place(file=file))
        except SourceError:
            other = cut
        parts = len(split_fields(sample[-1:], other, quote)[0])
        if other not in {cut, WHITESPACE} and parts > 2:
            word = next((word for word, value in DELIMITERS_BY_WORD.items() if value == other), other)
            raise SourceError(
                f"the delimiter {delimiter!r} finds a single column",
                place=Place(file=file, line=lines.line),
                remedy=f"{word} would give {parts}: `delimiter: {word}`",
            )
    header_cells: list[str] | None = None
    if header is not False and rows:
        if last_comment:
            comment_cells = split_fields([last_comment], cut, quote)[0]
        else:
            comment_cells = []
        if ruled and len(comment_cells) == 1:  # names between blanks above values between tabs
            comment_cells = last_comment.split()
        if len(comment_cells) > width:  # tabs that make names stand above their values
            comment_cells = [cell for cell in comment_cells if cell]
        if header is not True and len(comment_cells) == width > 1 and not any(map(matches_value, comment_cells)):
            header_cells = comment_cells
        elif header or (header is None and names is None and is_header_record(rows[0], rows[1:200])):
            header_cells = rows[0]
        named = header_cells is rows[0] or (
            header is None
            and names is not None
            and [cell.lower() for cell in rows[0]] == [name.lower() for name in names]
        )
        if named:
            lines.skip_record(sign, quote)
            start = lines.offset
            rows = rows[1:]
    line_number = lines.line
    top = header_cells is not None or names is not None
    unit_cells: Sequence[str] = ()
    if units and rows and (value := next(filter(matches_value, rows[0]), None)):
        raise SourceError(
            f"the record below the names holds {value!r}, and `units: true` says that it holds units",
            place=Place(file=file, line=line_number),
            remedy="leave `units` out: then each file is looked at",
        )
    if rows and (units or (units is None and top and is_unit_record(rows[0], rows[1:]))):
        lines.skip_record(sign, quote)
        unit_cells = rows[0]
        start = lines.offset
        rows = rows[1:]
    if top:
        start = lines.skip_blank_lines(sign)
    renamed: Sequence[tuple[str, str]] = ()
    if names is not None:
        final = list(names)
        if header_cells is not None and len(header_cells) != len(final):
            raise SourceError(
                f"`names` has {len(final)} names, but the header has {len(header_cells)} fields",
                place=Place(file=file),
                remedy="give one name per field",
            )
    else:
        final = deduplicate_names(stated_names := _choose_names(header_cells, width, rows))
        renamed = list_renamed(stated_names, final)
    described = _describe_columns(final, numbered, unit_cells) | _describe_commented_columns(final, by_name)
    return TextDialect(
        names=final,
        delimiter=cut,
        comment=sign,
        offset=start,
        has_header=header_cells is not None,
        columns_by_name=described,
        has_units=bool(unit_cells),
        is_barred=barred,
        renamed_columns=renamed,
    )


def _build_header_dialect(
    text_header: catalogue_headers.TextHeader, names: Sequence[str] | None, file: str
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

    No value, and above numbers, which would all be text with it, mostly units.
    """
    known_count = strange = 0
    for index, cell in enumerate(first_record):
        column = [row[index] for row in records if index < len(row) and row[index] and row[index] not in NULL_WORDS]
        numbers = _count_matches(_NUMBER_PATTERN.fullmatch, column)
        if matches_value(cell) or (cell and cell in column):
            return False
        # words, as notes on how a date is written
        if len(cell) > 20 and strip_unit_brackets(cell) == cell and not units_.is_unit_like(cell):
            return False
        if column and numbers >= 0.95 * len(column) and cell and cell not in NON_UNITS:
            is_known_unit = strip_unit_brackets(cell) != cell or units_.is_unit_like(cell)
            known_count = known_count + is_known_unit
            strange = strange + (not is_known_unit)
    return known_count > 0 and known_count >= strange


def _describe_columns(names: Sequence[str], numbered: dict[int, str], unit_cells: Sequence[str]) -> dict[str, Column]:
    """Read descriptions from comments that number the columns (``#  3: Planetary mass [Jupiter masses]``), and units from the record below the names."""
    if set(numbered) == set(range(1, len(names) + 1)):
        about = numbered
    else:
        about = {}
    units = parse_units(names, unit_cells)
    return {
        name: Column(name=name, type=Type("char", "*"), description=about.get(number), unit=units.get(name))
        for number, name in enumerate(names, 1)
        if about or units.get(name)
    }


def _describe_commented_columns(names: Sequence[str], texts: Mapping[str, str]) -> dict[str, Column]:
    """Read comments ``COLUMN name: text [unit]``; what no unit is, such as ``[sexagesimal]``, stays in the text."""
    return {name: _parse_column_comment(name, texts[name]) for name in names if name in texts}


def _parse_column_comment(name: str, text: str) -> Column:
    match = re.fullmatch(r"(.*\S)\s*\[([^\[\]]+)\]", text)
    if match is not None:
        unit = units_.normalize_unit(match.group(2))
    else:
        unit = None
    if match is not None and unit is not None:
        about = match.group(1)
    else:
        about = text
    return Column(name=name, type=Type("char", "*"), description=about, unit=unit)


def _choose_names(header_cells: list[str] | None, width: int, records: Sequence[Sequence[str]]) -> list[str]:
    if header_cells is None:
        return [f"column_{number}" for number in range(1, width + 1)]
    names = [cell or f"column_{number}" for number, cell in enumerate(header_cells, 1)]
    names[0] = names[0].lstrip("#").strip() or "column_1"
    if records and width == len(names) + 1:  # R writes no name above the row names
        names = ["row_name", *names]
    return names


def _has_open_quote(line: str, quote: str) -> bool:
    """Check whether a quoted value begins here and goes on in the next line.

    A quote within a word, as in ``Sep (")``, begins none.
    """
    sign = re.escape(quote)
    begin = rf"(?<![\w(\[{{.'\"°)\]]){sign}"
    return (
        bool(quote)
        and quote in line
        and re.search(begin, re.sub(rf"{begin}(?:[^{sign}]|{sign}{sign})*{sign}(?!{sign})", "", line)) is not None
    )


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
        return self.head[self.offset : self._find_line_end(self.offset)].decode(errors="replace").rstrip("\r\n")

    def peek_filled_line(self, file: str) -> tuple[str, Place]:
        """Peek at the first line that holds anything, and where it stands."""
        remaining_bytes = self.head[self.offset :]
        blank = len(remaining_bytes) - len(remaining_bytes.lstrip())
        line = self.line + remaining_bytes.count(b"\n", 0, blank)
        return remaining_bytes[blank : blank + MAX_RECORD_CHARACTERS].decode(errors="replace").partition("\n")[
            0
        ].rstrip("\r"), Place(file=file, line=line)

    def take_lines(self, line_count: int) -> str:
        text = ""
        for _ in range(line_count):
            text = self.peek_line()
            self.offset = self._find_line_end(self.offset)
            self.line += 1
        return text

    def skip_record(self, comment: str | None, quote: str | None) -> None:
        """Skip one record, whose quoted values may hold line ends, and what is none above it."""
        self.skip_blank_lines(comment)
        inside = False
        while self.has_more():
            text = self.take_lines(1)
            inside = quote is not None and _has_open_quote(quote * inside + text, quote)
            if not inside:
                break

    def skip_blank_lines(self, comment: str | None) -> int:
        """Skip lines that are blank, comments, or drawn below a head; return the place of the next record."""
        while self.has_more() and (
            not (line := self.peek_line()).strip()
            or (comment and line.lstrip().startswith(comment))
            or RULE_LINE_PATTERN.fullmatch(line)
        ):
            self.take_lines(1)
        return self.offset

    def sample_lines(self, line_count: int, tail_count: int) -> list[str]:
        """Peek at the next lines; those inside quoted values are joined roughly."""
        text = self.head[self.offset : self.offset + 400_000].decode(errors="replace")
        lines = [line.rstrip("\r") for line in text.split("\n")]
        if len(self.head) > self.offset + 400_000 and len(lines) > 1:
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
        last_lines = (
            self.head[max(self.offset + 400_000, len(self.head) - 100_000) :].decode(errors="replace").split("\n")[1:-1]
        )
        return joined + [line.rstrip("\r") for line in last_lines[-tail_count:] if '"' not in line]


def _read_ecsv_header(lines: _LineCursor, file: str) -> TextDialect:
    """Read the header of an Enhanced CSV file (APE 6): names, types, units, descriptions, delimiter."""
    import yaml  # noqa: PLC0415  (for descriptors alone)

    line = lines.line
    text = io.StringIO()
    lines.take_lines(1)
    while lines.has_more() and lines.peek_line().startswith("#"):
        text.write(lines.take_lines(1).removeprefix("#").removeprefix(" ") + "\n")
    if text.tell() > _MAX_ECSV_HEADER_CHARACTERS or _estimate_depth(text.getvalue()) > _MAX_ECSV_DEPTH:
        if text.tell() > _MAX_ECSV_HEADER_CHARACTERS:
            message = f"the ECSV header has more than {_MAX_ECSV_HEADER_CHARACTERS >> 10} KiB"
        else:
            message = f"the ECSV header is nested more than {_MAX_ECSV_DEPTH} deep"
        raise SourceError(message, place=Place(file=file, line=line), remedy="check it with astropy")
    try:
        head = yaml.load(text.getvalue(), _TolerantYamlLoader)  # noqa: S506  (a SafeLoader)
        cut = str(head.get("delimiter", " "))
        described = {str(item["name"]): _build_ecsv_column(item) for item in head["datatype"]}
        encoded = frozenset(str(item["name"]) for item in head["datatype"] if item.get("subtype"))
    except (yaml.YAMLError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise SourceError(
            f"the ECSV header cannot be read: {error}",
            place=Place(file=file, line=line),
            remedy="check it with astropy",
        ) from error
    cut = cut if cut != " " else WHITESPACE
    names = split_fields([lines.take_lines(1)], cut, '"')[0]
    meta = head.get("meta")
    if isinstance(meta, list):  # !!omap
        meta = {key: value for item in meta if isinstance(item, dict) for key, value in item.items()}
    if isinstance(meta, dict):
        described_as = meta.get("description")
    else:
        described_as = None
    description = str(described_as) if described_as else None
    return TextDialect(
        names=names,
        delimiter=cut,
        comment="#",
        offset=lines.offset,
        has_header=True,
        columns_by_name=described,
        is_typed=True,
        json_columns=encoded,
        description=description,
    )


def _estimate_depth(text: str) -> int:
    """Estimate how deep YAML can be nested at most.

    By brackets, and by lists and keys that stand further to the right.
    """
    brackets = sum(text.count(sign) for sign in "[{")
    return min(brackets, max(accumulate((char in "[{") - (char in "]}") for char in text), default=0)) + max(
        (len(line) - len(line.lstrip(" -?")) for line in text.split("\n")), default=0
    )


def _build_ecsv_column(item: dict[str, Any]) -> Column:
    datatype = str(item.get("datatype", "string"))
    subtype = str(item.get("subtype", ""))
    kind = _parse_ecsv_shape(subtype)
    if kind is None:
        if datatype == "string" or subtype:
            kind = Type("char", "*")
        else:
            kind = Type(_ECSV_DATATYPES.get(datatype, "char"), None if datatype in _ECSV_DATATYPES else "*")
    meta = item.get("meta")
    if not isinstance(meta, dict):
        meta = {}
    unit = item.get("unit")
    about = item.get("description")
    ucd = meta.get("ucd")
    return Column(
        name=str(item["name"]),
        type=kind,
        unit=str(unit) if unit else None,
        description=str(about) if about else None,
        ucd=str(ucd) if ucd else None,
    )


def _parse_ecsv_shape(subtype: str) -> Type | None:
    """Read the type of a column that has a shape: ``float64[3]``, ``int32[2,4]``, ``float64[null]``; None.

    It is read as JSON text.

    The last number changes fastest there, the first one in VOTable.
    """
    match = re.fullmatch(r"(\w+)\[\s*(\d+(?:\s*,\s*\d+)*|null)\s*\]", subtype)
    if match is None:
        return None
    sizes = [size.strip() for size in match.group(2).split(",")]
    if sizes == ["null"]:
        shape = "*"
    else:
        shape = "x".join(reversed(sizes))
    if match.group(1) == "string":
        if len(sizes) == 1:
            return parse_type("string[*x*]")
        return None
    if match.group(1) in _ECSV_DATATYPES:
        return Type(_ECSV_DATATYPES[match.group(1)], shape)
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
    TolerantLoader.add_constructor(
        "tag:yaml.org,2002:omap",
        lambda loader, node: list(loader.construct_sequence(cast("yaml.SequenceNode", node), deep=True)),
    )
    return TolerantLoader


_TolerantYamlLoader = _build_yaml_loader()
