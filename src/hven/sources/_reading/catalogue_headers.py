"""Recognise the headers of astronomers' text formats: VizieR's TSV, IPAC, SExtractor, DAOPHOT, RDB, MRT, and columns under a ruled line.

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
from hven.sources._reading.cutter import UNIT
from hven.sources._reading.repeated_names import find_renamed, number_names
from hven.sources._reading.unit_words import units_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

_VIZIER = re.compile(r"#Column\t([^\t]+)\t\(([^\t]*)\)\t([^\t]*)(?:\t\[ucd=([^\]\t]*)\])?")
_SEXTRACTOR = re.compile(r"#\s*(\d+)\s+([^\s\[]\S*)(?:\s+(?!\[)(.*?))?(?:\s*\[([^\[\]]*)\])?\s*")
_RDB = re.compile(r"\d*[SNM]")
_RULE = re.compile(r"[ \t]*(?:(?:=+ +)*={2,}(?: +=+)*|(?:-+ +)*-{2,}(?: +-+)*)[ \t]*")
_LINE = 80  # characters of a line of DAOPHOT
_RUN = re.compile(r"[-=]+")
_SECTION = re.compile(r"(?:-{6,}|={6,})\s*")  # ends a section of a ReadMe
_TEXT, _INTEGER, _NUMBER = Type("char", "*"), Type("long"), Type("double")
_IPAC_TYPES = {"char": _TEXT, "c": _TEXT, "int": _INTEGER, "i": _INTEGER, "long": _INTEGER, "l": _INTEGER, "double": _NUMBER, "d": _NUMBER, "float": _NUMBER, "f": _NUMBER, "real": _NUMBER, "r": _NUMBER}  # fmt: skip

_IPAC_WORDS = {"", "date", *_IPAC_TYPES}


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
    continued
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
    continued: bool = False
    units: bool = False
    title: str | None = None
    authors: Sequence[str] = ()
    renamed: Sequence[tuple[str, str]] = ()


@dataclass(frozen=True, slots=True)
class _Head:
    """The beginning of a file as lines, each with the byte at which it starts."""

    file: str
    lines: list[str]
    starts: list[int]

    def end_of(self, line: int) -> int:
        return self.starts[line + 1]

    def data(self, first: int, comment: str | None, limit: int = 400) -> list[str]:
        """List lines from `first` on that are neither blank nor comments."""
        return [
            line for line in self.lines[first:] if line.strip() and not (comment and line.lstrip().startswith(comment))
        ][:limit]


def read_text_header(head: bytes, start: int, file: str) -> TextHeader | None:
    """Recognise the header of a known format.

    Parameters
    ----------
    head
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
    parts = head[start:].splitlines(keepends=True)
    starts = [start]
    for part in parts:
        starts.append(starts[-1] + len(part))
    lines = _Head(file, [part.decode(errors="replace").rstrip("\r\n") for part in parts], starts)
    first = next((number for number, line in enumerate(lines.lines) if line.strip()), None)
    if first is None:
        return None
    for recognise in _FORMATS:
        if (found := recognise(lines, first)) is not None:
            return _number_columns(found)
    return None


def _number_columns(header: TextHeader) -> TextHeader:
    """Give columns of one name numbers; where a format describes them by name, all have the description of that name."""
    names = number_names(header.names)
    renamed = find_renamed(header.names, names)
    if not renamed:
        return header
    columns, types, nulls = dict(header.columns), dict(header.types), dict(header.nulls)
    for name, new in renamed:
        if name in columns:
            columns[new] = columns[name].having(name=new)
        if name in types:
            types[new] = types[name]
        if name in nulls:
            nulls[new] = nulls[name]
    return replace(header, names=names, columns=columns, types=types, nulls=nulls, renamed=[*header.renamed, *renamed])


def _described(name: str, *, unit: str | None = None, description: str | None = None, ucd: str | None = None) -> Column:
    return Column(
        name=name,
        type=_TEXT,
        unit=units_of([name], [unit])[name] if unit else None,
        description=description or None,
        ucd=ucd or None,
    )


def _vizier(head: _Head, first: int) -> TextHeader | None:
    """Read VizieR's TSV: comments ``#Column name (format) text [ucd=...]``, then names, units and a ruled line."""
    described: dict[str, tuple[str, str, str | None]] = {}
    at = first
    while at < len(head.lines) and (not head.lines[at].strip() or head.lines[at].startswith("#")):
        if match := _VIZIER.match(head.lines[at]):
            described[match.group(1).strip()] = (match.group(2), match.group(3).strip(), match.group(4))
        at += 1
    if not described or at >= len(head.lines):
        return None
    names = [cell.strip() for cell in head.lines[at].split("\t")]
    if not set(names) & set(described):
        return None
    row = at + 1
    units: list[str] = []
    if row + 1 < len(head.lines) and _is_dashes(head.lines[row + 1]) and not _is_dashes(head.lines[row]):
        units = [cell.strip() for cell in head.lines[row].split("\t")]
        row += 1
    if row < len(head.lines) and _is_dashes(head.lines[row]):
        row += 1
    if another := next((n for n, line in enumerate(head.lines[row:], row) if line.startswith("#Column\t")), None):
        raise SourceError(
            "another table begins here: the answer of VizieR holds several",
            place=Place(file=head.file, line=another + 1),
            remedy="ask VizieR for one table (`-source=II/246/out`), or cut the file into one for each table",
        )
    units += [""] * (len(names) - len(units))
    columns = {
        name: _described(name, unit=unit, description=described.get(name, ("", "", None))[1], ucd=described.get(name, ("", "", None))[2])
        for name, unit in zip(names, units, strict=False)
    }  # fmt: skip
    types = {name: _TEXT for name in names if name in described and re.match(r"a?\d*A", described[name][0])}
    return TextHeader(
        names=names,
        offset=head.starts[row],
        delimiter="\t",
        comment="#",
        columns=columns,
        types=types,
        units=any(units),
    )


def _is_dashes(line: str) -> bool:
    return re.fullmatch(r"[-\s]*-[-\s]*", line) is not None


def _ipac(head: _Head, first: int) -> TextHeader | None:
    r"""Read IPAC's table format: keywords ``\key = value``, and up to four lines of names, types, units and null words between bars, under which the values stand."""
    at = first
    while at < len(head.lines) and (head.lines[at].startswith("\\") or not head.lines[at].strip()):
        at += 1
    rows: list[str] = []
    while at < len(head.lines) and head.lines[at].startswith("|") and len(rows) < 5:
        rows.append(head.lines[at].rstrip())
        at += 1
    if not 1 <= len(rows) <= 4 or not rows[0].endswith("|") or len(rows[0]) < 3:
        return None
    bars = [place for place, sign in enumerate(rows[0]) if sign == "|"]
    if any([place for place, sign in enumerate(row) if sign == "|"] != bars for row in rows):
        return None
    body = head.data(at, "\\")
    if any(line.startswith("|") for line in body):
        return None
    ranges = [(left + 1, right) for left, right in itertools.pairwise(bars)]
    for number, line in enumerate(head.lines[at:], at + 1):
        if line.startswith("\\"):
            continue
        under = next((bar for bar in bars[1:-1] if line[bar : bar + 1].strip()), None)
        if under is not None:
            raise SourceError(
                f"a value stands under the bar at character {under + 1}, so it belongs to no column",
                place=Place(file=head.file, line=number),
                remedy="values stand between the bars of the header; else give the columns with `kind: fixed` and `fields:`",
            )
    cells = [[row[left:right].strip() for left, right in ranges] for row in rows]
    kinds_are_known = len(rows) > 1 and all(cell.strip("-").strip().lower() in _IPAC_WORDS for cell in cells[1])
    if not kinds_are_known and not body:
        return None  # rows between bars, without a header
    own = [cell.strip("-").strip() or f"column_{number}" for number, cell in enumerate(cells[0], 1)]
    names = number_names(own)
    kinds, units, nulls = (cells[row] if len(cells) > row else [""] * len(names) for row in (1, 2, 3))
    return TextHeader(
        names=names,
        offset=head.starts[at],
        delimiter=UNIT,
        comment="\\",
        columns={name: _described(name, unit=unit.strip("-").strip()) for name, unit in zip(names, units, strict=True)},
        types={
            name: _IPAC_TYPES[word]
            for name, kind in zip(names, kinds, strict=True)
            if (word := kind.strip("-").strip().lower()) in _IPAC_TYPES
        },
        nulls={name: [null] for name, null in zip(names, nulls, strict=True) if null},
        ranges=ranges,
        units=len(rows) > 2,
        renamed=find_renamed(own, names),
    )


def _sextractor(head: _Head, first: int) -> TextHeader | None:
    """Read SExtractor's catalogue: comments ``#  3 NAME  text  [unit]``; a number that is left out belongs to an array."""
    found: list[tuple[int, str, str, str]] = []
    at = first
    while at < len(head.lines) and head.lines[at].startswith("#"):
        match = _SEXTRACTOR.fullmatch(head.lines[at])
        if match is None or int(match.group(1)) <= (found[-1][0] if found else 0):
            return None
        found.append((int(match.group(1)), match.group(2), match.group(3) or "", match.group(4) or ""))
        at += 1
    body = [line.split() for line in head.data(at, "#")]
    if not found or found[0][0] != 1 or re.search(r"[:.)=,;]$", found[0][1]):
        return None
    width = len(body[0]) if body else found[-1][0]
    # the first row may be a header of its own, which the comments only explain
    if found[-1][0] > width or width > 10_000 or any(cell == found[0][1] for cell in (body[0] if body else ())):
        return None
    if len(found) == 1 and width > 1 and not body:
        return None
    columns: dict[str, Column] = {}
    names: list[str] = []
    ends = [*(number for number, *_ in found[1:]), width + 1]
    for (number, name, text, unit), end in zip(found, ends, strict=True):
        for element in range(end - number):
            label = f"{name}_{element}" if element else name
            names.append(label)
            columns[label] = _described(label, unit=unit, description=text.strip())
    return TextHeader(
        names=names, offset=head.starts[at], delimiter="whitespace", comment="#", columns=columns, units=any(unit for *_, unit in found)
    )  # fmt: skip


def _daophot(head: _Head, first: int) -> TextHeader | None:
    """Read DAOPHOT's and APPHOT's text: ``#N`` names, ``#U`` units, ``#F`` formats; a record goes on over lines that end with a backslash."""
    if not head.lines[first].startswith("#"):
        return None
    groups: list[dict[str, list[str]]] = []  # one for each line of a record
    at = first
    while at < len(head.lines) and (not head.lines[at].strip() or head.lines[at].startswith("#")):
        line = head.lines[at]
        if line.startswith("#N "):
            groups.append({"N": [], "U": [], "F": []})
        if line[1:2] in {"N", "U", "F"} and line[2:3] == " " and groups:
            groups[-1][line[1]] += line[2:].rstrip().rstrip("\\").split()
        at += 1
    if not groups:
        return None
    lines = head.data(at, "#", 4000)
    body = join_continued("\n".join(lines).encode()).decode().split("\n")
    record = next((number for number, line in enumerate(lines, 1) if not line.rstrip().endswith("\\")), 0)
    apertures = max(record - len(groups) + 1, 1)  # the last line is repeated for each
    groups += [groups[-1]] * (apertures - 1)
    names: list[str] = []
    columns: dict[str, Column] = {}
    for number, group in enumerate(groups):
        aperture = number - len(groups) + apertures + 1
        for place, name in enumerate(group["N"]):
            label = f"{name}{aperture}" if apertures > 1 and aperture > 0 else name
            unit = group["U"][place] if place < len(group["U"]) else "##"
            names.append(label)
            columns[label] = _described(label, unit=None if unit == "##" else unit)
    ranges = _places_in_record(groups)
    if any(line.rstrip().endswith("\\") and len(line.rstrip()) != _LINE for line in lines):
        ranges = []  # the lines have lost their places
    if not ranges and body[0].strip() and len(body[0].split()) != len(names):
        raise SourceError(
            f"the header has {len(names)} names, but the first record has {len(body[0].split())} values",
            place=Place(file=head.file, line=at + 1),
            remedy="restore the lines of 80 characters and the `#F` lines that DAOPHOT wrote, or read the file with `kind: python`",
        )
    return TextHeader(
        names=names,
        offset=head.starts[at],
        delimiter=UNIT if ranges else "whitespace",
        comment="#",
        columns=columns,
        nulls={"*": ["INDEF"]},
        ranges=ranges,
        continued=True,
        units=any(column.unit for column in columns.values()),
    )


def _places_in_record(groups: Sequence[Mapping[str, Sequence[str]]]) -> list[tuple[int, int]]:
    """Compute where the fields of DAOPHOT's formats (``%-10.3f``) stand in the joined lines; empty if a width is missing."""
    ranges: list[tuple[int, int]] = []
    for number, group in enumerate(groups):
        widths = [re.fullmatch(r"%-?(\d+).*", form) for form in group["F"]]
        start = _LINE * number
        if len(widths) != len(group["N"]):
            return []
        for width in widths:
            if width is None:
                return []
            end = min(start + int(width.group(1)), _LINE * (number + 1))
            ranges.append((start, end))
            start = end
        ranges[-1] = (ranges[-1][0], _LINE * (number + 1))
    return ranges


def join_continued(data: bytes) -> bytes:
    """Join DAOPHOT's records that go on in the next line; an asterisk in the last place but one marks lines that are repeated."""
    data = re.sub(rb"(?m)^([^\n]{78})\*", rb"\1 ", data)
    return re.sub(rb"\\[ \t]*\r?\n", b" ", data)


def _rdb(head: _Head, first: int) -> TextHeader | None:
    """Read RDB (starbase): names between tabs, and below them formats as ``10N`` or ``S``, which are no units."""
    at = first
    while at < len(head.lines) and (not head.lines[at].strip() or head.lines[at].lstrip().startswith("#")):
        at += 1
    if at + 1 >= len(head.lines) or "\t" not in head.lines[at]:
        return None
    own = [cell.strip() for cell in head.lines[at].split("\t")]
    names = number_names(own)
    formats = [cell.strip() for cell in head.lines[at + 1].split("\t")]
    if len(names) != len(formats) or not all(names) or not all(map(_RDB.fullmatch, formats)):
        return None
    return TextHeader(
        names=names,
        offset=head.starts[at + 2],
        delimiter="\t",
        comment="#",
        types={name: _TEXT for name, form in zip(names, formats, strict=True) if form.endswith("S")},
        renamed=find_renamed(own, names),
    )


def _machine_readable(head: _Head, first: int) -> TextHeader | None:
    """Read the AAS journals' machine-readable tables: a byte-by-byte description and the rows in one file."""
    if not any(readme.is_description(line) for line in head.lines[first:]):
        return None
    rules = [number for number, line in enumerate(head.lines) if _SECTION.fullmatch(line)]
    end = (rules[-1] if rules else first) + 1
    body = head.data(end, None)
    if not body or body[0].lstrip().startswith("(End)"):
        return None  # the ReadMe of a catalogue
    described = readme.parse(head.lines[:end])
    if len({id(fields) for fields in described.tables.values()}) != 1:
        raise SourceError(
            f"{len(described.tables)} tables are described in one file",
            place=Place(file=head.file),
            remedy="cut it into one file for each table, and name the description with `kind: fixed` and `readme:`",
        )
    fields = next(iter(described.tables.values()))
    return TextHeader(
        names=[item.column.name for item in fields],
        offset=head.starts[end],
        delimiter=UNIT,
        columns={item.column.name: item.column for item in fields},
        types={item.column.name: item.column.type for item in fields},
        nulls={item.column.name: readme.null_words(item) for item in fields if item.null},
        ranges=[(item.start, item.end) for item in fields],
        counts_bytes=True,
        units=any(item.column.unit for item in fields),
        title=described.title,
        authors=described.authors,
    )


def _ruled(head: _Head, first: int) -> TextHeader | None:
    """Read columns whose places a ruled line below the names tells, where blanks alone do not cut them (reStructuredText, two-line headers)."""
    at = first + 1 if _RULE.fullmatch(head.lines[first]) else first
    if at + 1 >= len(head.lines) or not _RULE.fullmatch(rule := head.lines[at + 1].expandtabs(1)):
        return None
    if at > first and head.lines[first].strip() != rule.strip():
        return None
    runs = [(match.start(), match.end()) for match in _RUN.finditer(rule)]
    body = [line for line in head.data(at + 2, None) if line.strip() != rule.strip()]
    if len(runs) < 2 or "\t" in head.lines[at] or not body or any("\t" in line for line in body):
        return None
    if all(len(line.split()) == len(runs) for line in body) and len(head.lines[at].split()) == len(runs):
        return None  # blanks cut it as well, also where values are longer than the rule
    gaps = [place for (_, left), (right, _) in itertools.pairwise(runs) for place in range(left, right)]
    if any(line[place : place + 1].strip() for line in (head.lines[at], *body) for place in gaps):
        return None
    ranges = [
        (start, end) for start, end in zip([0, *(end for _, end in runs[:-1])], [end for _, end in runs], strict=True)
    ]
    ranges[-1] = (ranges[-1][0], max(ranges[-1][1], *(len(line) for line in body)))
    names = [head.lines[at][start:end].strip() for start, end in ranges]
    if not all(names):
        return None
    return TextHeader(
        names=names,
        offset=head.starts[at + 2],
        delimiter=UNIT,
        comment=rule.strip() if at > first else None,
        ranges=ranges,
    )


_FORMATS: tuple[Callable[[_Head, int], TextHeader | None], ...] = (
    _ipac,
    _vizier,
    _daophot,
    _sextractor,
    _machine_readable,
    _rdb,
    _ruled,
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
        columns={new[name]: column.having(name=new[name]) for name, column in header.columns.items()},
        types={new[name]: kind for name, kind in header.types.items()},
        nulls={new.get(name, name): words for name, words in header.nulls.items()},
    )
