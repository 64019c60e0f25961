"""Recognise the headers of astronomers' text formats.

These are VizieR's TSV, IPAC, SExtractor, DAOPHOT, RDB, MRT, and columns under a ruled line.

Each of them describes the columns in its own way, and a reader of plain delimited text would lose it: names, units,
types, null words, or the places of the columns.
"""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from hven.model.errors import SourceError, TextPlace
from hven.model.table import Column
from hven.model.types import ColumnType
from hven.sources._reading import readme
from hven.sources._reading.fixed_width_splitter import UNIT_SEPARATOR
from hven.sources._reading.repeated_names import list_renamed_names, rename_repeated_names
from hven.sources._reading.text_units import parse_units

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

_VIZIER_COLUMN_PATTERN = re.compile(r"#Column\t([^\t]+)\t\(([^\t]*)\)\t([^\t]*)(?:\t\[ucd=([^\]\t]*)\])?")
_SEXTRACTOR_COLUMN_PATTERN = re.compile(r"#\s*(\d+)\s+([^\s\[]\S*)(?:\s+(?!\[)(.*?))?(?:\s*\[([^\[\]]*)\])?\s*")
_RDB_FORMAT_PATTERN = re.compile(r"\d*[SNM]")
_RULE_PATTERN = re.compile(r"[ \t]*(?:(?:=+ +)*={2,}(?: +=+)*|(?:-+ +)*-{2,}(?: +-+)*)[ \t]*")
_DAOPHOT_LINE_CHARACTERS = 80  # characters of a line of DAOPHOT
_RULE_RUN_PATTERN = re.compile(r"[-=]+")
_SECTION_END_PATTERN = re.compile(r"(?:-{6,}|={6,})\s*")  # ends a section of a ReadMe
_TEXT_TYPE, _INTEGER_TYPE, _NUMBER_TYPE = ColumnType("char", "*"), ColumnType("long"), ColumnType("double")
_IPAC_TYPES = {
    "char": _TEXT_TYPE,
    "c": _TEXT_TYPE,
    "int": _INTEGER_TYPE,
    "i": _INTEGER_TYPE,
    "long": _INTEGER_TYPE,
    "l": _INTEGER_TYPE,
    "double": _NUMBER_TYPE,
    "d": _NUMBER_TYPE,
    "float": _NUMBER_TYPE,
    "f": _NUMBER_TYPE,
    "real": _NUMBER_TYPE,
    "r": _NUMBER_TYPE,
}

_IPAC_TYPE_WORDS = {"", "date", *_IPAC_TYPES}


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogueTextHeader:
    """What the header of a known format states.

    Attributes
    ----------
    offset
        Bytes before the first row.
    columns
        Descriptions, units and UCDs, by name.
    types
        Types that the header declares, by name; the others are guessed.
    nulls
        Words that stand for a missing value, by column name (``*`` holds those of all).
    ranges
        First and last place (exclusive, from 0) of each column in a line, if the columns stand at fixed places.
    counts_bytes
        True if these places are bytes, not characters.
    has_continuation_lines
        True if a backslash at the end of a line continues the record in the next one.
    title, authors
        Title and authors of the paper.
    renamed
        Names that occurred twice, each with its new one.
    """

    names: list[str]
    offset: int
    delimiter: str
    comment: str | None = None
    columns: Mapping[str, Column] = field(default_factory=dict)
    types: Mapping[str, ColumnType] = field(default_factory=dict)
    nulls: Mapping[str, Sequence[str]] = field(default_factory=dict)
    ranges: Sequence[tuple[int, int]] = ()
    counts_bytes: bool = False
    has_continuation_lines: bool = False
    has_units: bool = False
    title: str | None = None
    authors: Sequence[str] = ()
    renamed: Sequence[tuple[str, str]] = ()


@dataclass(frozen=True, slots=True)
class _FileBeginning:
    """The beginning of a file as lines, each with the byte at which it starts."""

    file: str
    lines: list[str]
    starts: list[int]

    def list_data_lines(self, first_line: int, comment: str | None, line_limit: int = 400) -> list[str]:
        """List lines from `first_line` on that are neither blank nor comments."""
        data_lines: list[str] = []
        for line in self.lines[first_line:]:
            is_comment = comment is not None and line.lstrip().startswith(comment)
            if line.strip() and not is_comment:
                data_lines.append(line)
                if len(data_lines) == line_limit:
                    break
        return data_lines

    def find_line_after_skipped(self, first_line: int, is_skipped: Callable[[str], bool]) -> int:
        """Find the first line from `first_line` on that is neither blank nor to be skipped."""
        line_number = first_line
        while line_number < len(self.lines):
            line = self.lines[line_number]
            if line.strip() and not is_skipped(line):
                break
            line_number += 1
        return line_number


def recognize_catalogue_header(first_bytes: bytes, start: int, file: str) -> CatalogueTextHeader | None:
    """Recognise the header of a known format.

    Parameters
    ----------
    first_bytes
        The beginning of the file, in UTF-8.
    start
        The byte at which to begin.
    file
        Name of the file, for messages.

    Returns
    -------
    header
        None: the file has none of them, and its lines decide.

    Raises
    ------
    SourceError
        Several tables in one file.
    """
    parts = first_bytes[start:].splitlines(keepends=True)
    starts = [start]
    for part in parts:
        starts.append(starts[-1] + len(part))
    texts = [part.decode(errors="replace").rstrip("\r\n") for part in parts]
    lines = _FileBeginning(file, texts, starts)
    first = next((number for number, text in enumerate(texts) if text.strip()), None)
    if first is None:
        return None
    for recognise in _HEADER_RECOGNIZERS:
        header = recognise(lines, first)
        if header is not None:
            return _rename_repeated_columns(header)
    return None


def _rename_repeated_columns(header: CatalogueTextHeader) -> CatalogueTextHeader:
    """Give each column that shares its name with another one a number.

    Where a format describes them by name, all get the description of that name.
    """
    names = rename_repeated_names(header.names)
    renamed = list_renamed_names(header.names, names)
    if not renamed:
        return header
    columns = dict(header.columns)
    types = dict(header.types)
    nulls = dict(header.nulls)
    for name, new in renamed:
        if name in columns:
            columns[new] = columns[name].copy_with(name=new)
        if name in types:
            types[new] = types[name]
        if name in nulls:
            nulls[new] = nulls[name]
    all_renamed = [*header.renamed, *renamed]
    return replace(header, names=names, columns=columns, types=types, nulls=nulls, renamed=all_renamed)


def _build_column(
    name: str, *, unit: str | None = None, description: str | None = None, ucd: str | None = None
) -> Column:
    parsed_unit = None
    if unit:
        parsed_unit = parse_units([name], [unit])[name]
    return Column(name=name, type=_TEXT_TYPE, unit=parsed_unit, description=description or None, ucd=ucd or None)


def _split_tabs(line: str) -> list[str]:
    return [cell.strip() for cell in line.split("\t")]


@dataclass(frozen=True, slots=True)
class _VizierColumn:
    """A column as VizieR describes it."""

    format: str = ""
    description: str = ""
    ucd: str | None = None


def _read_vizier_header(beginning: _FileBeginning, first_line: int) -> CatalogueTextHeader | None:
    """Read VizieR's TSV: comments ``#Column name (format) text [ucd=...]``, then names, units and a ruled line."""
    line_number = beginning.find_line_after_skipped(first_line, lambda line: line.startswith("#"))
    described = _read_vizier_comments(beginning.lines[first_line:line_number])
    if not described or line_number >= len(beginning.lines):
        return None
    names = _split_tabs(beginning.lines[line_number])
    if not set(names) & set(described):
        return None
    row = line_number + 1
    units: list[str] = []
    following = [*beginning.lines[row : row + 2], "", ""]
    if _is_dashes(following[1]) and not _is_dashes(following[0]):
        units = _split_tabs(following[0])
        row += 1
    if row < len(beginning.lines) and _is_dashes(beginning.lines[row]):
        row += 1
    _refuse_second_vizier_table(beginning, row)
    units += [""] * (len(names) - len(units))
    columns: dict[str, Column] = {}
    types: dict[str, ColumnType] = {}
    for name, unit in zip(names, units, strict=False):
        vizier_column = described.get(name, _VizierColumn())
        columns[name] = _build_column(name, unit=unit, description=vizier_column.description, ucd=vizier_column.ucd)
        if re.match(r"a?\d*A", vizier_column.format):
            types[name] = _TEXT_TYPE
    return CatalogueTextHeader(
        names=names,
        offset=beginning.starts[row],
        delimiter="\t",
        comment="#",
        columns=columns,
        types=types,
        has_units=any(units),
    )


def _read_vizier_comments(lines: Sequence[str]) -> dict[str, _VizierColumn]:
    """Read the comments that describe columns, by name."""
    described: dict[str, _VizierColumn] = {}
    for line in lines:
        match = _VIZIER_COLUMN_PATTERN.match(line)
        if match:
            name = match.group(1).strip()
            described[name] = _VizierColumn(match.group(2), match.group(3).strip(), match.group(4))
    return described


def _refuse_second_vizier_table(beginning: _FileBeginning, first_row: int) -> None:
    for line_number, line in enumerate(beginning.lines[first_row:], first_row + 1):
        if line.startswith("#Column\t"):
            raise SourceError(
                "another table begins here, because the response from VizieR contains several tables",
                place=TextPlace(file=beginning.file, line=line_number),
                remedy="ask VizieR for one table (`-source=II/246/out`), or split the file so that each table has "
                "its own file",
            )


def _is_dashes(line: str) -> bool:
    return re.fullmatch(r"[-\s]*-[-\s]*", line) is not None


def _read_ipac_header(beginning: _FileBeginning, first_line: int) -> CatalogueTextHeader | None:
    r"""Read IPAC's table format.

    It has keywords ``\key = value``, and up to four lines of names, types, units and null words between bars, under
    which the values stand.
    """
    header_start = beginning.find_line_after_skipped(first_line, lambda line: line.startswith("\\"))
    rows: list[str] = []
    for line in beginning.lines[header_start : header_start + 5]:
        if not line.startswith("|"):
            break
        rows.append(line.rstrip())
    line_number = header_start + len(rows)
    if not 1 <= len(rows) <= 4 or not rows[0].endswith("|") or len(rows[0]) < 3:
        return None
    bars = _find_bars(rows[0])
    body = beginning.list_data_lines(line_number, "\\")
    if any(_find_bars(row) != bars for row in rows) or any(line.startswith("|") for line in body):
        return None
    _refuse_values_under_bars(beginning, line_number, bars)
    ranges = [(range_start + 1, right) for range_start, right in itertools.pairwise(bars)]
    cells = [_cut_ipac_cells(row, ranges) for row in rows]
    kinds_are_known = len(rows) > 1 and all(_strip_dashes(cell).lower() in _IPAC_TYPE_WORDS for cell in cells[1])
    if not kinds_are_known and not body:
        return None  # rows between bars, without a header
    stated_names = [_strip_dashes(cell) or f"column_{number}" for number, cell in enumerate(cells[0], 1)]
    names = rename_repeated_names(stated_names)
    cells += [[""] * len(names)] * (4 - len(cells))
    columns: dict[str, Column] = {}
    types: dict[str, ColumnType] = {}
    nulls: dict[str, Sequence[str]] = {}
    for name, kind, unit, null in zip(names, cells[1], cells[2], cells[3], strict=True):
        columns[name] = _build_column(name, unit=_strip_dashes(unit))
        type_word = _strip_dashes(kind).lower()
        if type_word in _IPAC_TYPES:
            types[name] = _IPAC_TYPES[type_word]
        if null:
            nulls[name] = [null]
    return CatalogueTextHeader(
        names=names,
        offset=beginning.starts[line_number],
        delimiter=UNIT_SEPARATOR,
        comment="\\",
        columns=columns,
        types=types,
        nulls=nulls,
        ranges=ranges,
        has_units=len(rows) > 2,
        renamed=list_renamed_names(stated_names, names),
    )


def _find_bars(row: str) -> list[int]:
    return [place for place, sign in enumerate(row) if sign == "|"]


def _strip_dashes(cell: str) -> str:
    return cell.strip("-").strip()


def _cut_ipac_cells(row: str, ranges: Sequence[tuple[int, int]]) -> list[str]:
    return [row[start:end].strip() for start, end in ranges]


def _refuse_values_under_bars(beginning: _FileBeginning, first_line: int, bars: Sequence[int]) -> None:
    """Refuse values that stand under a bar between two columns."""
    for line_number, line in enumerate(beginning.lines[first_line:], first_line + 1):
        if line.startswith("\\"):
            continue
        for bar in bars[1:-1]:
            if line[bar : bar + 1].strip():
                raise SourceError(
                    f"a value is directly below the `|` at character {bar + 1}, so it does not belong to any column",
                    place=TextPlace(file=beginning.file, line=line_number),
                    remedy="move each value into the space between two `|` of the header, or describe the columns with "
                    "`kind: fixed` and `fields:`",
                )


@dataclass(frozen=True, slots=True)
class _SextractorColumn:
    """A column as SExtractor describes it; `number` is that of its first value in a row."""

    number: int
    name: str
    description: str
    unit: str


def _read_sextractor_header(beginning: _FileBeginning, first_line: int) -> CatalogueTextHeader | None:
    """Read SExtractor's catalogue: comments ``#  3 NAME  text  [unit]``.

    Numbers that are left out belong to the elements of an array.
    """
    described = _read_sextractor_comments(beginning, first_line)
    if not described or described[0].number != 1 or re.search(r"[:.)=,;]$", described[0].name):
        return None
    line_number = first_line + len(described)
    body = [line.split() for line in beginning.list_data_lines(line_number, "#")]
    last_number = described[-1].number
    if body:
        width = len(body[0])
    else:
        width = last_number
    # the first row may be a header of its own, which the comments only explain
    has_header_row = bool(body) and described[0].name in body[0]
    if last_number > width or width > 10_000 or has_header_row:
        return None
    if len(described) == 1 and width > 1 and not body:
        return None
    columns: dict[str, Column] = {}
    names: list[str] = []
    ends = [column.number for column in described[1:]]
    ends.append(width + 1)
    for described_column, end in zip(described, ends, strict=True):
        for element in range(end - described_column.number):
            label = described_column.name
            if element:
                label = f"{label}_{element}"
            names.append(label)
            columns[label] = _build_column(
                label, unit=described_column.unit, description=described_column.description.strip()
            )
    return CatalogueTextHeader(
        names=names,
        offset=beginning.starts[line_number],
        delimiter="whitespace",
        comment="#",
        columns=columns,
        has_units=any(column.unit for column in described),
    )


def _read_sextractor_comments(beginning: _FileBeginning, first_line: int) -> list[_SextractorColumn]:
    """Read the comments that describe columns; empty: one of them does not, or their numbers do not grow."""
    described: list[_SextractorColumn] = []
    last_number = 0
    for line in beginning.lines[first_line:]:
        if not line.startswith("#"):
            break
        match = _SEXTRACTOR_COLUMN_PATTERN.fullmatch(line)
        if match is None or int(match.group(1)) <= last_number:
            return []
        last_number = int(match.group(1))
        description = match.group(3) or ""
        described.append(_SextractorColumn(last_number, match.group(2), description, match.group(4) or ""))
    return described


def _read_daophot_header(beginning: _FileBeginning, first_line: int) -> CatalogueTextHeader | None:
    """Read DAOPHOT's and APPHOT's text: ``#N`` names, ``#U`` units, ``#F`` formats.

    A record goes on over lines that end with a backslash.
    """
    if not beginning.lines[first_line].startswith("#"):
        return None
    line_number = beginning.find_line_after_skipped(first_line, lambda line: line.startswith("#"))
    groups = _read_daophot_comments(beginning.lines[first_line:line_number])
    if not groups:
        return None
    lines = beginning.list_data_lines(line_number, "#", 4000)
    joined_bytes = join_daophot_lines("\n".join(lines).encode())
    first_record = joined_bytes.decode().split("\n")[0]
    aperture_count = _count_apertures(lines, len(groups))
    groups += [groups[-1]] * (aperture_count - 1)
    names: list[str] = []
    columns: dict[str, Column] = {}
    for number, group in enumerate(groups):
        aperture = number - len(groups) + aperture_count + 1
        units = [*group["U"], *["##"] * len(group["N"])]
        for name, unit in zip(group["N"], units, strict=False):
            label = name
            if aperture_count > 1 and aperture > 0:
                label = f"{name}{aperture}"
            names.append(label)
            if unit == "##":
                columns[label] = _build_column(label)
            else:
                columns[label] = _build_column(label, unit=unit)
    ranges = _compute_daophot_ranges(groups)
    delimiter = UNIT_SEPARATOR
    if not ranges or any(map(_has_misplaced_daophot_continuation, lines)):
        ranges = []
        delimiter = "whitespace"
    value_count = len(first_record.split())
    if not ranges and value_count and value_count != len(names):
        raise SourceError(
            f"the header has {len(names)} names, but the first record has {value_count} values",
            place=TextPlace(file=beginning.file, line=line_number + 1),
            remedy="restore the file as DAOPHOT wrote it, with lines of 80 characters and with `#F` lines, or read it "
            "with `kind: python`",
        )
    return CatalogueTextHeader(
        names=names,
        offset=beginning.starts[line_number],
        delimiter=delimiter,
        comment="#",
        columns=columns,
        nulls={"*": ["INDEF"]},
        ranges=ranges,
        has_continuation_lines=True,
        has_units=any(column.unit for column in columns.values()),
    )


def _read_daophot_comments(lines: Sequence[str]) -> list[dict[str, list[str]]]:
    """Read names (N), units (U) and formats (F) of each line of a record."""
    groups: list[dict[str, list[str]]] = []
    for line in lines:
        if line.startswith("#N "):
            groups.append({"N": [], "U": [], "F": []})
        if line[1:2] in {"N", "U", "F"} and line[2:3] == " " and groups:
            words = line[2:].rstrip().rstrip("\\")
            groups[-1][line[1]] += words.split()
    return groups


def _count_apertures(lines: Sequence[str], group_count: int) -> int:
    """Count the apertures of a record: its last line is repeated for each."""
    for line_count, line in enumerate(lines, 1):
        if not line.rstrip().endswith("\\"):
            return max(line_count - group_count + 1, 1)
    return 1


def _has_misplaced_daophot_continuation(line: str) -> bool:
    """Check whether a line of DAOPHOT goes on in the next one, but not from its 80th character."""
    text = line.rstrip()
    return text.endswith("\\") and len(text) != _DAOPHOT_LINE_CHARACTERS


def _compute_daophot_ranges(groups: Sequence[Mapping[str, Sequence[str]]]) -> list[tuple[int, int]]:
    """Compute where the fields of DAOPHOT's formats (``%-10.3f``) stand in the joined lines.

    Empty if a width is missing.
    """
    ranges: list[tuple[int, int]] = []
    for number, group in enumerate(groups):
        widths = [re.fullmatch(r"%-?(\d+).*", form) for form in group["F"]]
        start = _DAOPHOT_LINE_CHARACTERS * number
        line_end = start + _DAOPHOT_LINE_CHARACTERS
        if len(widths) != len(group["N"]):
            return []
        for width in widths:
            if width is None:
                return []
            end = min(start + int(width.group(1)), line_end)
            ranges.append((start, end))
            start = end
        last_start, _ = ranges[-1]
        ranges[-1] = (last_start, line_end)
    return ranges


def join_daophot_lines(data: bytes) -> bytes:
    """Join DAOPHOT's records that go on in the next line.

    An asterisk in the last place but one marks a line that is repeated.
    """
    data = re.sub(rb"(?m)^([^\n]{78})\*", rb"\1 ", data)
    return re.sub(rb"\\[ \t]*\r?\n", b" ", data)


def _read_rdb_header(beginning: _FileBeginning, first_line: int) -> CatalogueTextHeader | None:
    """Read RDB (starbase): names between tabs, and below them formats as ``10N`` or ``S``, which are no units."""
    line_number = beginning.find_line_after_skipped(first_line, lambda line: line.lstrip().startswith("#"))
    if line_number + 1 >= len(beginning.lines) or "\t" not in beginning.lines[line_number]:
        return None
    stated_names = _split_tabs(beginning.lines[line_number])
    names = rename_repeated_names(stated_names)
    formats = _split_tabs(beginning.lines[line_number + 1])
    if len(names) != len(formats) or not all(names) or not all(map(_RDB_FORMAT_PATTERN.fullmatch, formats)):
        return None
    text_names = [name for name, form in zip(names, formats, strict=True) if form.endswith("S")]
    types = dict.fromkeys(text_names, _TEXT_TYPE)
    renamed = list_renamed_names(stated_names, names)
    return CatalogueTextHeader(
        names=names,
        offset=beginning.starts[line_number + 2],
        delimiter="\t",
        comment="#",
        types=types,
        renamed=renamed,
    )


def _read_mrt_header(beginning: _FileBeginning, first_line: int) -> CatalogueTextHeader | None:
    """Read the AAS journals' machine-readable tables: a byte-by-byte description and the rows in one file."""
    if not any(readme.is_byte_description_start(line) for line in beginning.lines[first_line:]):
        return None
    end = first_line + 1
    for line_number, line in enumerate(beginning.lines):
        if _SECTION_END_PATTERN.fullmatch(line):
            end = line_number + 1
    body = beginning.list_data_lines(end, None)
    if not body or body[0].lstrip().startswith("(End)"):
        return None  # the ReadMe of a catalogue
    described = readme.parse_readme(beginning.lines[:end])
    if len({id(fields) for fields in described.fields_by_table.values()}) != 1:
        raise SourceError(
            f"the file contains {len(described.fields_by_table)} tables",
            place=TextPlace(file=beginning.file),
            remedy="split the file so that each table has its own file, then write `kind: fixed`, and set `readme:` to "
            "the file that describes the columns byte by byte",
        )
    fields = next(iter(described.fields_by_table.values()))
    columns_by_name = {item.column.name: item.column for item in fields}
    types = {item.column.name: item.column.type for item in fields}
    nulls = {item.column.name: readme.list_null_words(item) for item in fields if item.null}
    return CatalogueTextHeader(
        names=[item.column.name for item in fields],
        offset=beginning.starts[end],
        delimiter=UNIT_SEPARATOR,
        columns=columns_by_name,
        types=types,
        nulls=nulls,
        ranges=[(item.start, item.end) for item in fields],
        counts_bytes=True,
        has_units=any(item.column.unit for item in fields),
        title=described.title,
        authors=described.authors,
    )


def _read_ruled_header(beginning: _FileBeginning, first_line: int) -> CatalogueTextHeader | None:
    """Read columns whose places a rule below the names shows, where blanks alone do not cut them.

    Examples are reStructuredText and headers of two lines.
    """
    line_number = first_line
    if _RULE_PATTERN.fullmatch(beginning.lines[first_line]):
        line_number = first_line + 1
    if line_number + 1 >= len(beginning.lines):
        return None
    head = beginning.lines[line_number]
    rule = beginning.lines[line_number + 1].expandtabs(1)
    comment = None
    if line_number > first_line:
        comment = rule.strip()
    if not _RULE_PATTERN.fullmatch(rule) or (comment and beginning.lines[first_line].strip() != comment):
        return None
    runs = [match.span() for match in _RULE_RUN_PATTERN.finditer(rule)]
    body = [line for line in beginning.list_data_lines(line_number + 2, None) if line.strip() != rule.strip()]
    if not body or not _should_cut_by_ruled_line(head, body, runs):
        return None
    run_ends = [end for _, end in runs]
    last_end = max(len(line) for line in body)
    ends = [*run_ends[:-1], max(run_ends[-1], last_end)]
    ranges = list(zip([0, *run_ends[:-1]], ends, strict=True))
    names = [head[start:end].strip() for start, end in ranges]
    if not all(names):
        return None
    return CatalogueTextHeader(
        names=names,
        offset=beginning.starts[line_number + 2],
        delimiter=UNIT_SEPARATOR,
        comment=comment,
        ranges=ranges,
    )


def _should_cut_by_ruled_line(head: str, body: Sequence[str], runs: Sequence[tuple[int, int]]) -> bool:
    """Check whether the lines keep to the columns of a rule, and blanks alone do not cut them as well."""
    lines = [head, *body]
    if len(runs) < 2 or any("\t" in line for line in lines):
        return False
    if all(len(line.split()) == len(runs) for line in lines):
        return False  # blanks cut them as well, also where values are longer than the rule
    gaps = [(end, next_start) for (_, end), (next_start, _) in itertools.pairwise(runs)]
    return not any(line[end:next_start].strip() for line in lines for end, next_start in gaps)


_HEADER_RECOGNIZERS: tuple[Callable[[_FileBeginning, int], CatalogueTextHeader | None], ...] = (
    _read_ipac_header,
    _read_vizier_header,
    _read_daophot_header,
    _read_sextractor_header,
    _read_mrt_header,
    _read_rdb_header,
    _read_ruled_header,
)


def rename_columns(header: CatalogueTextHeader, names: Sequence[str], file: str) -> CatalogueTextHeader:
    """Give the columns the names that the descriptor states.

    Raises
    ------
    SourceError
        The number of names differs from the number of columns.
    """
    if len(names) != len(header.names):
        raise SourceError(
            f"`names` contains {len(names)} names, but the header has {len(header.names)} fields",
            place=TextPlace(file=file),
            remedy="give one name for each field",
        )
    new = dict(zip(header.names, names, strict=True))
    columns = {new[name]: column.copy_with(name=new[name]) for name, column in header.columns.items()}
    types = {new[name]: kind for name, kind in header.types.items()}
    nulls = {new.get(name, name): words for name, words in header.nulls.items()}
    return replace(header, names=list(names), columns=columns, types=types, nulls=nulls)
