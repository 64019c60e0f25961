"""Recognise the headers of astronomers' text formats.

VizieR's TSV, IPAC, SExtractor, DAOPHOT, RDB, MRT, and columns under a ruled line.

Each of them says what the columns are in its own way, and a reader of plain delimited text would lose it: names, units,
types, null words, or the places of the columns.
"""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from hven.model.errors import Place, SourceError
from hven.model.table import Column
from hven.model.types import Type
from hven.sources._reading import readme
from hven.sources._reading.fixed_width_splitter import UNIT_SEPARATOR
from hven.sources._reading.repeated_names import deduplicate_names, list_renamed
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
_TEXT_TYPE, _INTEGER_TYPE, _NUMBER_TYPE = Type("char", "*"), Type("long"), Type("double")
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
class TextHeader:
    """What the header of a known format says.

    Attributes
    ----------
    offset
        Bytes before the first row.
    columns
        Descriptions, units and UCDs, by name.
    types
        Types that the header declares, by name; the others are guessed.
    nulls
        Words that stand for no value, by column name (``*`` holds those of all).
    ranges
        First and last place (exclusive, from 0) of each column in a line, if the columns stand at fixed places.
    counts_bytes
        True if these places are bytes, not characters.
    has_continuation_lines
        True if a backslash at the end of a line continues the record in the next one.
    title, authors
        Of the paper.
    renamed
        Names that occurred twice, each with its new one.
    """

    names: list[str]
    offset: int
    delimiter: str
    comment: str | None = None
    columns: Mapping[str, Column] = field(default_factory=dict)
    types: Mapping[str, Type] = field(default_factory=dict)
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

    def find_line_end(self, line: int) -> int:
        return self.starts[line + 1]

    def list_data_lines(self, first_line: int, comment: str | None, line_limit: int = 400) -> list[str]:
        """List lines from `first_line` on that are neither blank nor comments."""
        return [
            line
            for line in self.lines[first_line:]
            if line.strip() and not (comment and line.lstrip().startswith(comment))
        ][:line_limit]


def read_text_header(first_bytes: bytes, start: int, file: str) -> TextHeader | None:
    """Recognise the header of a known format.

    Parameters
    ----------
    first_bytes
        The beginning of the file, in UTF-8.
    start
        The byte at which to begin.
    file
        Its name, for messages.

    Returns
    -------
    header
        Or None: it is none of them, and the look of its lines decides.

    Raises
    ------
    SourceError
        Several tables in one file.
    """
    parts = first_bytes[start:].splitlines(keepends=True)
    starts = [start]
    for part in parts:
        starts.append(starts[-1] + len(part))
    lines = _FileBeginning(file, [part.decode(errors="replace").rstrip("\r\n") for part in parts], starts)
    first = next((number for number, line in enumerate(lines.lines) if line.strip()), None)
    if first is None:
        return None
    for recognise in _HEADER_RECOGNIZERS:
        header = recognise(lines, first)
        if header is not None:
            return _rename_repeated_columns(header)
    return None


def _rename_repeated_columns(header: TextHeader) -> TextHeader:
    """Give columns of one name numbers.

    Where a format describes them by name, all have the description of that name.
    """
    names = deduplicate_names(header.names)
    renamed = list_renamed(header.names, names)
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
    return replace(header, names=names, columns=columns, types=types, nulls=nulls, renamed=[*header.renamed, *renamed])


def _build_column(
    name: str, *, unit: str | None = None, description: str | None = None, ucd: str | None = None
) -> Column:
    return Column(
        name=name,
        type=_TEXT_TYPE,
        unit=parse_units([name], [unit])[name] if unit else None,
        description=description or None,
        ucd=ucd or None,
    )


def _read_vizier_header(beginning: _FileBeginning, first_line: int) -> TextHeader | None:
    """Read VizieR's TSV: comments ``#Column name (format) text [ucd=...]``, then names, units and a ruled line."""
    described: dict[str, tuple[str, str, str | None]] = {}
    line_number = first_line
    while line_number < len(beginning.lines) and (
        not beginning.lines[line_number].strip() or beginning.lines[line_number].startswith("#")
    ):
        match = _VIZIER_COLUMN_PATTERN.match(beginning.lines[line_number])
        if match:
            described[match.group(1).strip()] = (match.group(2), match.group(3).strip(), match.group(4))
        line_number += 1
    if not described or line_number >= len(beginning.lines):
        return None
    names = [cell.strip() for cell in beginning.lines[line_number].split("\t")]
    if not set(names) & set(described):
        return None
    row = line_number + 1
    units: list[str] = []
    if row + 1 < len(beginning.lines) and _is_dashes(beginning.lines[row + 1]) and not _is_dashes(beginning.lines[row]):
        units = [cell.strip() for cell in beginning.lines[row].split("\t")]
        row += 1
    if row < len(beginning.lines) and _is_dashes(beginning.lines[row]):
        row += 1
    another = next((n for n, line in enumerate(beginning.lines[row:], row) if line.startswith("#Column\t")), None)
    if another:
        raise SourceError(
            "another table begins here: the answer of VizieR holds several",
            place=Place(file=beginning.file, line=another + 1),
            remedy="ask VizieR for one table (`-source=II/246/out`), or cut the file into one for each table",
        )
    units += [""] * (len(names) - len(units))
    columns = {
        name: _build_column(
            name,
            unit=unit,
            description=described.get(name, ("", "", None))[1],
            ucd=described.get(name, ("", "", None))[2],
        )
        for name, unit in zip(names, units, strict=False)
    }
    types = {name: _TEXT_TYPE for name in names if name in described and re.match(r"a?\d*A", described[name][0])}
    return TextHeader(
        names=names,
        offset=beginning.starts[row],
        delimiter="\t",
        comment="#",
        columns=columns,
        types=types,
        has_units=any(units),
    )


def _is_dashes(line: str) -> bool:
    return re.fullmatch(r"[-\s]*-[-\s]*", line) is not None


def _read_ipac_header(beginning: _FileBeginning, first_line: int) -> TextHeader | None:
    r"""Read IPAC's table format: keywords ``\key = value``, and up to four lines of names, types, units and null words between bars, under which the values stand."""
    line_number = first_line
    while line_number < len(beginning.lines) and (
        beginning.lines[line_number].startswith("\\") or not beginning.lines[line_number].strip()
    ):
        line_number += 1
    rows: list[str] = []
    while line_number < len(beginning.lines) and beginning.lines[line_number].startswith("|") and len(rows) < 5:
        rows.append(beginning.lines[line_number].rstrip())
        line_number += 1
    if not 1 <= len(rows) <= 4 or not rows[0].endswith("|") or len(rows[0]) < 3:
        return None
    bars = [place for place, sign in enumerate(rows[0]) if sign == "|"]
    if any([place for place, sign in enumerate(row) if sign == "|"] != bars for row in rows):
        return None
    body = beginning.list_data_lines(line_number, "\\")
    if any(line.startswith("|") for line in body):
        return None
    ranges = [(range_start + 1, right) for range_start, right in itertools.pairwise(bars)]
    for number, line in enumerate(beginning.lines[line_number:], line_number + 1):
        if line.startswith("\\"):
            continue
        under = next((bar for bar in bars[1:-1] if line[bar : bar + 1].strip()), None)
        if under is not None:
            raise SourceError(
                f"a value stands under the bar at character {under + 1}, so it belongs to no column",
                place=Place(file=beginning.file, line=number),
                remedy="values stand between the bars of the header; else give the columns with `kind: fixed` and "
                "`fields:`",
            )
    cells = [[row[range_start:right].strip() for range_start, right in ranges] for row in rows]
    kinds_are_known = len(rows) > 1 and all(cell.strip("-").strip().lower() in _IPAC_TYPE_WORDS for cell in cells[1])
    if not kinds_are_known and not body:
        return None  # rows between bars, without a header
    stated_names = [cell.strip("-").strip() or f"column_{number}" for number, cell in enumerate(cells[0], 1)]
    names = deduplicate_names(stated_names)
    kinds, units, nulls = (cells[row] if len(cells) > row else [""] * len(names) for row in (1, 2, 3))
    columns = {name: _build_column(name, unit=unit.strip("-").strip()) for name, unit in zip(names, units, strict=True)}
    types = {
        name: _IPAC_TYPES[word]
        for name, kind in zip(names, kinds, strict=True)
        if (word := kind.strip("-").strip().lower()) in _IPAC_TYPES
    }
    return TextHeader(
        names=names,
        offset=beginning.starts[line_number],
        delimiter=UNIT_SEPARATOR,
        comment="\\",
        columns=columns,
        types=types,
        nulls={name: [null] for name, null in zip(names, nulls, strict=True) if null},
        ranges=ranges,
        has_units=len(rows) > 2,
        renamed=list_renamed(stated_names, names),
    )


def _read_sextractor_header(beginning: _FileBeginning, first_line: int) -> TextHeader | None:
    """Read SExtractor's catalogue: comments ``#  3 NAME  text  [unit]``.

    A number that is left out belongs to an array.
    """
    numbered_columns: list[tuple[int, str, str, str]] = []
    line_number = first_line
    while line_number < len(beginning.lines) and beginning.lines[line_number].startswith("#"):
        match = _SEXTRACTOR_COLUMN_PATTERN.fullmatch(beginning.lines[line_number])
        if match is None or int(match.group(1)) <= (numbered_columns[-1][0] if numbered_columns else 0):
            return None
        numbered_columns.append((int(match.group(1)), match.group(2), match.group(3) or "", match.group(4) or ""))
        line_number += 1
    body = [line.split() for line in beginning.list_data_lines(line_number, "#")]
    if not numbered_columns or numbered_columns[0][0] != 1 or re.search(r"[:.)=,;]$", numbered_columns[0][1]):
        return None
    if body:
        width = len(body[0])
    else:
        width = numbered_columns[-1][0]
    # the first row may be a header of its own, which the comments only explain
    if (
        numbered_columns[-1][0] > width
        or width > 10_000
        or any(cell == numbered_columns[0][1] for cell in (body[0] if body else ()))
    ):
        return None
    if len(numbered_columns) == 1 and width > 1 and not body:
        return None
    columns: dict[str, Column] = {}
    names: list[str] = []
    ends = [*(number for number, *_ in numbered_columns[1:]), width + 1]
    for (number, name, text, unit), end in zip(numbered_columns, ends, strict=True):
        for element in range(end - number):
            if element:
                label = f"{name}_{element}"
            else:
                label = name
            names.append(label)
            columns[label] = _build_column(label, unit=unit, description=text.strip())
    has_units = any(unit for *_, unit in numbered_columns)
    return TextHeader(
        names=names,
        offset=beginning.starts[line_number],
        delimiter="whitespace",
        comment="#",
        columns=columns,
        has_units=has_units,
    )


def _read_daophot_header(beginning: _FileBeginning, first_line: int) -> TextHeader | None:
    """Read DAOPHOT's and APPHOT's text: ``#N`` names, ``#U`` units, ``#F`` formats.

    A record goes on over lines that end with a backslash.
    """
    if not beginning.lines[first_line].startswith("#"):
        return None
    groups: list[dict[str, list[str]]] = []  # one for each line of a record
    line_number = first_line
    while line_number < len(beginning.lines) and (
        not beginning.lines[line_number].strip() or beginning.lines[line_number].startswith("#")
    ):
        line = beginning.lines[line_number]
        if line.startswith("#N "):
            groups.append({"N": [], "U": [], "F": []})
        if line[1:2] in {"N", "U", "F"} and line[2:3] == " " and groups:
            groups[-1][line[1]] += line[2:].rstrip().rstrip("\\").split()
        line_number += 1
    if not groups:
        return None
    lines = beginning.list_data_lines(line_number, "#", 4000)
    body = join_continuation_lines("\n".join(lines).encode()).decode().split("\n")
    record = next((number for number, line in enumerate(lines, 1) if not line.rstrip().endswith("\\")), 0)
    apertures = max(record - len(groups) + 1, 1)  # the last line is repeated for each
    groups += [groups[-1]] * (apertures - 1)
    names: list[str] = []
    columns: dict[str, Column] = {}
    for number, group in enumerate(groups):
        aperture = number - len(groups) + apertures + 1
        for place, name in enumerate(group["N"]):
            if apertures > 1 and aperture > 0:
                label = f"{name}{aperture}"
            else:
                label = name
            if place < len(group["U"]):
                unit = group["U"][place]
            else:
                unit = "##"
            names.append(label)
            columns[label] = _build_column(label, unit=None if unit == "##" else unit)
    ranges = _compute_daophot_ranges(groups)
    if any(line.rstrip().endswith("\\") and len(line.rstrip()) != _DAOPHOT_LINE_CHARACTERS for line in lines):
        ranges = []  # the lines have lost their places
    if not ranges and body[0].strip() and len(body[0].split()) != len(names):
        raise SourceError(
            f"the header has {len(names)} names, but the first record has {len(body[0].split())} values",
            place=Place(file=beginning.file, line=line_number + 1),
            remedy="restore the lines of 80 characters and the `#F` lines that DAOPHOT wrote, or read the file with "
            "`kind: python`",
        )
    nulls = {"*": ["INDEF"]}
    has_units = any(column.unit for column in columns.values())
    return TextHeader(
        names=names,
        offset=beginning.starts[line_number],
        delimiter=UNIT_SEPARATOR if ranges else "whitespace",
        comment="#",
        columns=columns,
        nulls=nulls,
        ranges=ranges,
        has_continuation_lines=True,
        has_units=has_units,
    )


def _compute_daophot_ranges(groups: Sequence[Mapping[str, Sequence[str]]]) -> list[tuple[int, int]]:
    """Compute where the fields of DAOPHOT's formats (``%-10.3f``) stand in the joined lines.

    Empty if a width is missing.
    """
    ranges: list[tuple[int, int]] = []
    for number, group in enumerate(groups):
        widths = [re.fullmatch(r"%-?(\d+).*", form) for form in group["F"]]
        start = _DAOPHOT_LINE_CHARACTERS * number
        if len(widths) != len(group["N"]):
            return []
        for width in widths:
            if width is None:
                return []
            end = min(start + int(width.group(1)), _DAOPHOT_LINE_CHARACTERS * (number + 1))
            ranges.append((start, end))
            start = end
        ranges[-1] = (ranges[-1][0], _DAOPHOT_LINE_CHARACTERS * (number + 1))
    return ranges


def join_continuation_lines(data: bytes) -> bytes:
    """Join DAOPHOT's records that go on in the next line.

    An asterisk in the last place but one marks lines that are repeated.
    """
    data = re.sub(rb"(?m)^([^\n]{78})\*", rb"\1 ", data)
    return re.sub(rb"\\[ \t]*\r?\n", b" ", data)


def _read_rdb_header(beginning: _FileBeginning, first_line: int) -> TextHeader | None:
    """Read RDB (starbase): names between tabs, and below them formats as ``10N`` or ``S``, which are no units."""
    line_number = first_line
    while line_number < len(beginning.lines) and (
        not beginning.lines[line_number].strip() or beginning.lines[line_number].lstrip().startswith("#")
    ):
        line_number += 1
    if line_number + 1 >= len(beginning.lines) or "\t" not in beginning.lines[line_number]:
        return None
    stated_names = [cell.strip() for cell in beginning.lines[line_number].split("\t")]
    names = deduplicate_names(stated_names)
    formats = [cell.strip() for cell in beginning.lines[line_number + 1].split("\t")]
    if len(names) != len(formats) or not all(names) or not all(map(_RDB_FORMAT_PATTERN.fullmatch, formats)):
        return None
    types = {name: _TEXT_TYPE for name, form in zip(names, formats, strict=True) if form.endswith("S")}
    renamed = list_renamed(stated_names, names)
    return TextHeader(
        names=names,
        offset=beginning.starts[line_number + 2],
        delimiter="\t",
        comment="#",
        types=types,
        renamed=renamed,
    )


def _read_mrt_header(beginning: _FileBeginning, first_line: int) -> TextHeader | None:
    """Read the AAS journals' machine-readable tables: a byte-by-byte description and the rows in one file."""
    if not any(readme.is_description_start(line) for line in beginning.lines[first_line:]):
        return None
    rules = [number for number, line in enumerate(beginning.lines) if _SECTION_END_PATTERN.fullmatch(line)]
    end = (rules[-1] if rules else first_line) + 1
    body = beginning.list_data_lines(end, None)
    if not body or body[0].lstrip().startswith("(End)"):
        return None  # the ReadMe of a catalogue
    described = readme.parse_readme(beginning.lines[:end])
    if len({id(fields) for fields in described.fields_by_table.values()}) != 1:
        raise SourceError(
            f"{len(described.fields_by_table)} tables are described in one file",
            place=Place(file=beginning.file),
            remedy="cut it into one file for each table, and name the description with `kind: fixed` and `readme:`",
        )
    fields = next(iter(described.fields_by_table.values()))
    return TextHeader(
        names=[item.column.name for item in fields],
        offset=beginning.starts[end],
        delimiter=UNIT_SEPARATOR,
        columns={item.column.name: item.column for item in fields},
        types={item.column.name: item.column.type for item in fields},
        nulls={item.column.name: readme.list_null_words(item) for item in fields if item.null},
        ranges=[(item.start, item.end) for item in fields],
        counts_bytes=True,
        has_units=any(item.column.unit for item in fields),
        title=described.title,
        authors=described.authors,
    )


def _read_ruled_header(beginning: _FileBeginning, first_line: int) -> TextHeader | None:
    """Read columns whose places a ruled line below the names tells, where blanks alone do not cut them (reStructuredText, two-line headers)."""
    if _RULE_PATTERN.fullmatch(beginning.lines[first_line]):
        line_number = first_line + 1
    else:
        line_number = first_line
    if line_number + 1 >= len(beginning.lines) or not _RULE_PATTERN.fullmatch(
        rule := beginning.lines[line_number + 1].expandtabs(1)
    ):
        return None
    if line_number > first_line and beginning.lines[first_line].strip() != rule.strip():
        return None
    runs = [(match.start(), match.end()) for match in _RULE_RUN_PATTERN.finditer(rule)]
    body = [line for line in beginning.list_data_lines(line_number + 2, None) if line.strip() != rule.strip()]
    if len(runs) < 2 or "\t" in beginning.lines[line_number] or not body or any("\t" in line for line in body):
        return None
    if all(len(line.split()) == len(runs) for line in body) and len(beginning.lines[line_number].split()) == len(runs):
        return None  # blanks cut it as well, also where values are longer than the rule
    gaps = [place for (_, gap_start), (gap_end, _) in itertools.pairwise(runs) for place in range(gap_start, gap_end)]
    if any(line[place : place + 1].strip() for line in (beginning.lines[line_number], *body) for place in gaps):
        return None
    ranges = [
        (start, end) for start, end in zip([0, *(end for _, end in runs[:-1])], [end for _, end in runs], strict=True)
    ]
    ranges[-1] = (ranges[-1][0], max(ranges[-1][1], *(len(line) for line in body)))
    names = [beginning.lines[line_number][start:end].strip() for start, end in ranges]
    if not all(names):
        return None
    comment = rule.strip() if line_number > first_line else None
    return TextHeader(
        names=names,
        offset=beginning.starts[line_number + 2],
        delimiter=UNIT_SEPARATOR,
        comment=comment,
        ranges=ranges,
    )


_HEADER_RECOGNIZERS: tuple[Callable[[_FileBeginning, int], TextHeader | None], ...] = (
    _read_ipac_header,
    _read_vizier_header,
    _read_daophot_header,
    _read_sextractor_header,
    _read_mrt_header,
    _read_rdb_header,
    _read_ruled_header,
)


def rename_columns(header: TextHeader, names: Sequence[str], file: str) -> TextHeader:
    """Give the columns the names that the descriptor wants.

    Raises
    ------
    SourceError
        Their number is another.
    """
    if len(names) != len(header.names):
        raise SourceError(
            f"`names` has {len(names)} names, but the header has {len(header.names)} fields",
            place=Place(file=file),
            remedy="give one name per field",
        )
    new = dict(zip(header.names, names, strict=True))
    return replace(
        header,
        names=list(names),
        columns={new[name]: column.copy_with(name=new[name]) for name, column in header.columns.items()},
        types={new[name]: kind for name, kind in header.types.items()},
        nulls={new.get(name, name): words for name, words in header.nulls.items()},
    )
