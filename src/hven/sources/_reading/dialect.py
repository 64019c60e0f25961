"""The look of a delimited text file, guessed from its beginning: delimiter, header, comments, and what an ECSV header tells."""

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
from hven.sources._reading import catalogue_headers, foreign
from hven.sources._reading.cells import NULL_WORDS
from hven.sources._reading.repeated_names import find_renamed, number_names
from hven.sources._reading.unit_words import NO_UNIT, bare_unit, units_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import yaml

WHITESPACE = "whitespace"
WIDEST = 10_000  # columns
LONGEST = 50_000  # characters of one record in the sample
WORDS = {"tab": "\t", "comma": ",", "semicolon": ";", "pipe": "|", "space": " ", "\\t": "\t", WHITESPACE: WHITESPACE}
_CANDIDATES = ("\t", ";", "|", ",")
_NUMBER = re.compile(r"\s*[+-]?(?:\d+[.,]?\d*|[.,]\d+)(?:[eEdD][+-]?\d+)?\s*")
# a number or a time is no column's name
is_value = re.compile(rf"{_NUMBER.pattern}|\s*\d{{4}}-\d\d-\d\d.*|\s*\d\d?:\d\d.*").fullmatch
_RUN = re.compile(r"[ \t]+")
DRAWN = re.compile(r"[-=+\s,;|:\"]*(?:-{3}|={3})[-=+\s,;|:\"]*")  # a line below a head
_FRAME = re.compile(r"\s*\+[-+=]+\+\s*")  # around a table
_HEADER, _DEEPEST = 1 << 19, 200  # of an ECSV header: characters, and depth (of indentation, too)
_HEAD = 4  # records at the top among which such lines are looked for
_NUMBERED = re.compile(r"\s*(?:column|col\.?)?\s*(\d{1,3})\s*[:.)=-]\s+(\S.*)", re.IGNORECASE)
# the NASA Exoplanet Archive names each column in a comment
_COLUMN_COMMENT = re.compile(r"\s*COLUMN\s+(\w+)\s*:\s*(\S.*)")
_ECSV = {"bool": "boolean", "int8": "short", "uint8": "unsignedByte", "int16": "short", "uint16": "int", "int32": "int", "uint32": "long",
         "int64": "long", "uint64": "long", "float16": "float", "float32": "float", "float64": "double", "float128": "double"}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What the beginning of a file says.

    Attributes
    ----------
    offset
        Bytes before the first data row.
    title, authors, description
        What the file says of itself.
    described
        Columns with metadata, if the file carries any (ECSV, numbered comments).
    typed
        True if these say types, too.
    encoded
        Columns of JSON strings.
    header
        True if the names were read from the file.
    units
        True if the record below the names holds units.
    types, nulls
        What the header of a known format declares for single columns (`catalogue_headers.TextHeader`).
    ranges, counts_bytes, continued
        How its records are cut.
    barred
        True if each line begins and ends with a bar, which bounds no further column.
    renamed
        Names that occurred twice in the header, each with its new one.
    """

    names: list[str]
    delimiter: str
    comment: str | None
    offset: int
    header: bool
    described: dict[str, Column]
    title: str | None = None
    authors: Sequence[str] = ()
    description: str | None = None
    typed: bool = False
    encoded: frozenset[str] = frozenset()
    units: bool = False
    types: Mapping[str, Type] = field(default_factory=dict)
    nulls: Mapping[str, Sequence[str]] = field(default_factory=dict)
    ranges: Sequence[tuple[int, int]] = ()
    counts_bytes: bool = False
    continued: bool = False
    barred: bool = False
    renamed: Sequence[tuple[str, str]] = ()

    def split(self, lines: Sequence[str], quote: str | None = None) -> list[list[str]]:
        """Split lines into the values of records."""
        if self.continued:
            lines = catalogue_headers.join_continued("\n".join(lines).encode()).decode().split("\n")
        if self.ranges:
            return [[line[start:end].strip() for start, end in self.ranges] for line in lines]
        if self.barred:
            lines = [strip_bars(line) for line in lines]
        return records([line for line in lines if line.strip()], self.delimiter, quote)


def strip_bars(line: str) -> str:
    """Strip the bars that stand at both ends of a line."""
    return line.strip().removeprefix("|").removesuffix("|")


def _is_barred(lines: Sequence[str]) -> bool:
    bare = [line.strip() for line in lines]
    return bool(bare) and all(len(line) > 2 and line[0] == line[-1] == "|" for line in bare)


def records(lines: Sequence[str], delimiter: str, quote: str | None) -> list[list[str]]:
    """Split records, blanks around fields taken off."""
    if delimiter == WHITESPACE:
        lines, delimiter = [_RUN.sub(" ", line.strip()) for line in lines], " "
    return [
        [*map(str.strip, _quoted(line, delimiter, quote) if quote and quote in line else line.split(delimiter))]
        for line in lines
    ]


def _quoted(line: str, delimiter: str, quote: str) -> list[str]:
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
    for delimiter in (*_CANDIDATES, WHITESPACE):
        counts = Counter(map(len, records(lines, delimiter, quote)))
        if not counts:
            break
        spread[delimiter] = counts
        number, times = counts.most_common(1)[0]
        if number > 1 and times >= 0.9 * len(lines):
            scores[delimiter] = number
    best = max((scores.get(delimiter, 0) for delimiter in _CANDIDATES), default=0)
    for delimiter in _CANDIDATES:
        if best and scores.get(delimiter, 0) * 2 >= best:
            return delimiter
    if WHITESPACE in scores:
        return WHITESPACE
    for delimiter, counts in spread.items():
        # fields of uneven number: a wrong guess would refuse nearly every row
        if sum(times for number, times in counts.items() if number > (3 if delimiter == WHITESPACE else 1)) > 0.5 * len(
            lines
        ):
            word = next(word for word, value in WORDS.items() if value == delimiter)
            raise SourceError(
                f"no delimiter cuts the lines into equal numbers of fields ({word}: {min(counts)} to {max(counts)})",
                place=place,
                remedy=f"say `delimiter: {word}` if that is right, `skip:` what stands above the table; "
                "columns at fixed bytes: `{kind: fixed, files: ..., fields: {name: 1-9, mag: 11-16}}`, bytes counted from 1 (`hven new ... --kind fixed` drafts them)",
            )
    return ","


def looks_like_header(first: Sequence[str], rest: Sequence[Sequence[str]]) -> bool:
    """Guess whether the first record names the columns."""
    if any(map(is_value, first)) or not any(first) or first.count("") > 1 + len(first) // 10:
        return False
    if not rest:
        return True
    for index in range(len(first)):
        column = [row[index] for row in rest if index < len(row) and row[index]]
        if column and _count(is_value, column) >= 0.5 * len(column):
            return True  # a word above numbers
    names = [cell.lower() for cell in first if cell]
    plain = all(re.fullmatch(r"[^\W\d][\w .:/()\[\]%+*#-]{0,60}", cell) for cell in first if cell)
    again = any(cell in {row[i] for row in rest if i < len(row)} for i, cell in enumerate(first) if cell)
    return plain and len(set(names)) == len(names) and not again


def _count(form: Callable[[str], object], cells: Sequence[str]) -> int:
    return sum(map(bool, map(form, cells)))


def look(
    head: bytes,
    *,
    file: str,
    delimiter: str | None = None,
    quote: str | None = '"',
    comment: str | None = None,
    header: bool | None = None,
    names: Sequence[str] | None = None,
    skip: int = 0,
    units: bool | None = None,
) -> Look:
    """Read the beginning of a file (UTF-8).

    Raises
    ------
    SourceError
        Names that occur twice, a delimiter that cuts nothing.
    """
    lines = _Lines(head)
    lines.take(skip)
    if delimiter is None:
        foreign.check_text(*lines.filled(file))
    if lines.peek().startswith("# %ECSV"):
        return _ecsv(lines, file)
    if delimiter is None and header is None and units is None and comment in {None, "#", "\\"}:
        known = catalogue_headers.read_text_header(head, lines.at, file)
        if known is not None:
            return _known_look(known, names, file)
    sign = comment if comment is not None else "#" if lines.peek().startswith("#") else None
    last_comment, ruled = "", False  # whether a line is drawn below it
    numbered: dict[int, str] = {}
    by_name: dict[str, str] = {}
    while lines.more() and (not (line := lines.peek()).strip() or (sign and line.lstrip().startswith(sign))):
        lines.take(1)
        if sign and line.strip(sign + " \t\r-=_*~"):
            last_comment, ruled = line.lstrip()[len(sign) :], False
            if match := _NUMBERED.fullmatch(last_comment):
                numbered[int(match.group(1))] = match.group(2).strip()
            elif match := _COLUMN_COMMENT.fullmatch(last_comment):
                by_name[match.group(1)], last_comment = match.group(2).strip(), ""
        elif sign:
            ruled = ruled or "---" in line
    start = lines.at
    sample = [line for line in lines.sample(400, 100) if line.strip() and not (sign and line.lstrip().startswith(sign))]
    sample = [
        line
        for number, line in enumerate(sample)
        if not (_FRAME.fullmatch(line) or (number <= _HEAD and DRAWN.fullmatch(line)))
    ]
    cut = (
        WORDS.get(delimiter, delimiter)
        if delimiter is not None
        else guess_delimiter(sample, quote, Place(file=file, line=lines.line))
    )
    barred = cut == "|" and _is_barred(sample) and (names is None or len(names) < sample[0].count("|") + 1)
    if barred:
        sample = [strip_bars(line) for line in sample]
    rows = records(sample, cut, quote)
    if rows and len(rows[0]) > WIDEST:
        raise SourceError(
            f"a record of {len(rows[0]):,} fields",
            place=Place(file=file, line=lines.line),
            remedy=f"this is no table, or the delimiter is not {cut!r}",
        )
    width = Counter(map(len, rows)).most_common(1)[0][0] if rows else 0
    if width == 1 and delimiter is None and names is None and header is None:
        foreign.check_lines(sample, sum(len(row) > 1 for row in rows), Place(file=file, line=lines.line))
    if delimiter is not None and width == 1:
        try:
            other = guess_delimiter(sample, quote, Place(file=file))
        except SourceError:
            other = cut
        parts = len(records(sample[-1:], other, quote)[0])
        if other not in {cut, WHITESPACE} and parts > 2:
            word = next((word for word, value in WORDS.items() if value == other), other)
            raise SourceError(
                f"the delimiter {delimiter!r} finds a single column",
                place=Place(file=file, line=lines.line),
                remedy=f"{word} would give {parts}: `delimiter: {word}`",
            )
    found: list[str] | None = None
    if header is not False and rows:
        above = records([last_comment], cut, quote)[0] if last_comment else []
        if ruled and len(above) == 1:  # names between blanks above values between tabs
            above = last_comment.split()
        if len(above) > width:  # tabs that make names stand above their values
            above = [cell for cell in above if cell]
        if header is not True and len(above) == width > 1 and not any(map(is_value, above)):
            found = above
        elif header or (header is None and names is None and looks_like_header(rows[0], rows[1:200])):
            found = rows[0]
        named = found is rows[0] or (
            header is None
            and names is not None
            and [cell.lower() for cell in rows[0]] == [name.lower() for name in names]
        )
        if named:
            lines.record(sign, quote)
            start, rows = lines.at, rows[1:]
    at = lines.line
    top = found is not None or names is not None
    told: Sequence[str] = ()
    if units and rows and (value := next(filter(is_value, rows[0]), None)):
        raise SourceError(
            f"the record below the names holds {value!r}, and `units: true` says that it holds units",
            place=Place(file=file, line=at),
            remedy="leave `units` out: then each file is looked at",
        )
    if rows and (units or (units is None and top and looks_like_units(rows[0], rows[1:]))):
        lines.record(sign, quote)
        told, start, rows = rows[0], lines.at, rows[1:]
    if top:
        start = lines.past(sign)
    renamed: Sequence[tuple[str, str]] = ()
    if names is not None:
        final = list(names)
        if found is not None and len(found) != len(final):
            raise SourceError(
                f"`names` has {len(final)} names, but the header has {len(found)} fields",
                place=Place(file=file),
                remedy="give one name per field",
            )
    else:
        final = number_names(own := _named(found, width, rows))
        renamed = find_renamed(own, final)
    described = _described(final, numbered, told) | _described_by_name(final, by_name)
    return Look(
        names=final,
        delimiter=cut,
        comment=sign,
        offset=start,
        header=found is not None,
        described=described,
        units=bool(told),
        barred=barred,
        renamed=renamed,
    )


def _known_look(known: catalogue_headers.TextHeader, names: Sequence[str] | None, file: str) -> Look:
    if names is not None:
        known = catalogue_headers.rename_columns(known, names, file)
    return Look(
        names=known.names,
        delimiter=known.delimiter,
        comment=known.comment,
        offset=known.offset,
        header=True,
        described=dict(known.columns),
        title=known.title,
        authors=known.authors,
        renamed=known.renamed,
        types=known.types,
        nulls=known.nulls,
        ranges=known.ranges,
        counts_bytes=known.counts_bytes,
        continued=known.continued,
    )


def looks_like_units(first: Sequence[str], rest: Sequence[Sequence[str]]) -> bool:
    """Guess whether the record below the names holds units: no value, and above numbers, which would all be text with it, mostly units."""
    found = strange = 0
    for index, cell in enumerate(first):
        column = [row[index] for row in rest if index < len(row) and row[index] and row[index] not in NULL_WORDS]
        numbers = _count(_NUMBER.fullmatch, column)
        if is_value(cell) or (cell and cell in column):
            return False
        # words, as notes on how a date is written
        if len(cell) > 20 and bare_unit(cell) == cell and not units_.written(cell):
            return False
        if column and numbers >= 0.95 * len(column) and cell and cell not in NO_UNIT:
            known = bare_unit(cell) != cell or units_.written(cell)
            found, strange = found + known, strange + (not known)
    return found > 0 and found >= strange


def _described(names: Sequence[str], numbered: dict[int, str], told: Sequence[str]) -> dict[str, Column]:
    """Read descriptions from comments that number the columns (``#  3: Planetary mass [Jupiter masses]``), and units from the record below the names."""
    about = numbered if set(numbered) == set(range(1, len(names) + 1)) else {}
    units = units_of(names, told)
    return {
        name: Column(name=name, type=Type("char", "*"), description=about.get(number), unit=units.get(name))
        for number, name in enumerate(names, 1)
        if about or units.get(name)
    }


def _described_by_name(names: Sequence[str], texts: Mapping[str, str]) -> dict[str, Column]:
    """Read comments ``COLUMN name: text [unit]``; what no unit is, such as ``[sexagesimal]``, stays in the text."""
    return {name: _column_of_comment(name, texts[name]) for name in names if name in texts}


def _column_of_comment(name: str, text: str) -> Column:
    match = re.fullmatch(r"(.*\S)\s*\[([^\[\]]+)\]", text)
    unit = units_.meant(match.group(2)) if match is not None else None
    about = match.group(1) if match is not None and unit is not None else text
    return Column(name=name, type=Type("char", "*"), description=about, unit=unit)


def _named(found: list[str] | None, width: int, records: Sequence[Sequence[str]]) -> list[str]:
    if found is None:
        return [f"column_{number}" for number in range(1, width + 1)]
    names = [cell or f"column_{number}" for number, cell in enumerate(found, 1)]
    names[0] = names[0].lstrip("#").strip() or "column_1"
    if records and width == len(names) + 1:  # R writes no name above the row names
        names = ["row_name", *names]
    return names


def _opens(line: str, quote: str) -> bool:
    """Check whether a quoted value begins here and goes on in the next line; a quote within a word, as in ``Sep (")``, begins none."""
    sign = re.escape(quote)
    begin = rf"(?<![\w(\[{{.'\"°)\]]){sign}"
    return (
        bool(quote)
        and quote in line
        and re.search(begin, re.sub(rf"{begin}(?:[^{sign}]|{sign}{sign})*{sign}(?!{sign})", "", line)) is not None
    )


class _Lines:
    """Lines of the head, with the byte offset of the next one."""

    def __init__(self, head: bytes) -> None:
        self.head = head
        self.at = 0
        self.line = 1

    def more(self) -> bool:
        return self.at < len(self.head)

    def _end(self, at: int) -> int:
        end = self.head.find(b"\n", at)
        return len(self.head) if end < 0 else end + 1

    def peek(self) -> str:
        return self.head[self.at : self._end(self.at)].decode(errors="replace").rstrip("\r\n")

    def filled(self, file: str) -> tuple[str, Place]:
        """Peek at the first line that holds anything, and where it stands."""
        rest = self.head[self.at :]
        blank = len(rest) - len(rest.lstrip())
        line = self.line + rest.count(b"\n", 0, blank)
        return rest[blank : blank + LONGEST].decode(errors="replace").partition("\n")[0].rstrip("\r"), Place(
            file=file, line=line
        )

    def take(self, number: int) -> str:
        text = ""
        for _ in range(number):
            text = self.peek()
            self.at = self._end(self.at)
            self.line += 1
        return text

    def record(self, comment: str | None, quote: str | None) -> None:
        """Skip one record, whose quoted values may hold line ends, and what is none above it."""
        self.past(comment)
        inside = False
        while self.more():
            text = self.take(1)
            inside = quote is not None and _opens(quote * inside + text, quote)
            if not inside:
                break

    def past(self, comment: str | None) -> int:
        """Skip lines that are blank, comments, or drawn below a head; return the place of the next record."""
        while self.more() and (
            not (line := self.peek()).strip()
            or (comment and line.lstrip().startswith(comment))
            or DRAWN.fullmatch(line)
        ):
            self.take(1)
        return self.at

    def sample(self, number: int, more: int) -> list[str]:
        """Peek at the next lines; those inside quoted values are joined roughly."""
        text = self.head[self.at : self.at + 400_000].decode(errors="replace")
        lines = [line.rstrip("\r") for line in text.split("\n")]
        if len(self.head) > self.at + 400_000 and len(lines) > 1:
            lines.pop()
        joined: list[str] = []
        inside = False  # of a quoted value
        for line in lines:
            if inside and len(joined[-1]) < LONGEST:
                joined[-1] += "\n" + line
            elif len(joined) >= number:
                break
            else:
                joined.append(line)
                inside = False
            inside = (inside or '"' in line) and _opens('"' * inside + line, '"')
        later = self.head[max(self.at + 400_000, len(self.head) - 100_000) :].decode(errors="replace").split("\n")[1:-1]
        return joined + [line.rstrip("\r") for line in later[-more:] if '"' not in line]


def _ecsv(lines: _Lines, file: str) -> Look:
    """Read the header of an Enhanced CSV file (APE 6): names, types, units, descriptions, delimiter."""
    import yaml  # noqa: PLC0415  (for descriptors alone)

    line = lines.line
    text = io.StringIO()
    lines.take(1)
    while lines.more() and lines.peek().startswith("#"):
        text.write(lines.take(1).removeprefix("#").removeprefix(" ") + "\n")
    if text.tell() > _HEADER or _nested(text.getvalue()) > _DEEPEST:
        message = (
            f"the ECSV header has more than {_HEADER >> 10} KiB"
            if text.tell() > _HEADER
            else f"the ECSV header is nested more than {_DEEPEST} deep"
        )
        raise SourceError(message, place=Place(file=file, line=line), remedy="check it with astropy")
    try:
        head = yaml.load(text.getvalue(), _Tolerant)  # noqa: S506  (a SafeLoader)
        cut = str(head.get("delimiter", " "))
        described = {str(item["name"]): _ecsv_column(item) for item in head["datatype"]}
        encoded = frozenset(str(item["name"]) for item in head["datatype"] if item.get("subtype"))
    except (yaml.YAMLError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise SourceError(
            f"the ECSV header cannot be read: {error}",
            place=Place(file=file, line=line),
            remedy="check it with astropy",
        ) from error
    cut = cut if cut != " " else WHITESPACE
    names = records([lines.take(1)], cut, '"')[0]
    meta = head.get("meta")
    if isinstance(meta, list):  # !!omap
        meta = {key: value for item in meta if isinstance(item, dict) for key, value in item.items()}
    described_as = meta.get("description") if isinstance(meta, dict) else None
    return Look(
        names=names, delimiter=cut, comment="#", offset=lines.at, header=True, described=described, typed=True, encoded=encoded,
        description=str(described_as) if described_as else None,
    )  # fmt: skip


def _nested(text: str) -> int:
    """Estimate how deep YAML can be nested at most: by brackets, and by lists and keys that stand further to the right."""
    brackets = sum(text.count(sign) for sign in "[{")
    return min(brackets, max(accumulate((char in "[{") - (char in "]}") for char in text), default=0)) + max(
        (len(line) - len(line.lstrip(" -?")) for line in text.split("\n")), default=0
    )


def _ecsv_column(item: dict[str, Any]) -> Column:
    datatype = str(item.get("datatype", "string"))
    subtype = str(item.get("subtype", ""))
    kind = _ecsv_array(subtype)
    if kind is None:
        kind = (
            Type("char", "*")
            if datatype == "string" or subtype
            else Type(_ECSV.get(datatype, "char"), None if datatype in _ECSV else "*")
        )
    meta = item.get("meta")
    meta = meta if isinstance(meta, dict) else {}
    unit, about, ucd = item.get("unit"), item.get("description"), meta.get("ucd")
    return Column(
        name=str(item["name"]), type=kind, unit=str(unit) if unit else None, description=str(about) if about else None, ucd=str(ucd) if ucd else None,
    )  # fmt: skip


def _ecsv_array(subtype: str) -> Type | None:
    """Read the type of a column that has a shape: ``float64[3]``, ``int32[2,4]``, ``float64[null]``; None: it is read as JSON text.

    The last number changes fastest there, the first one in VOTable.
    """
    match = re.fullmatch(r"(\w+)\[\s*(\d+(?:\s*,\s*\d+)*|null)\s*\]", subtype)
    if match is None:
        return None
    sizes = [size.strip() for size in match.group(2).split(",")]
    shape = "*" if sizes == ["null"] else "x".join(reversed(sizes))
    if match.group(1) == "string":
        return parse_type("string[*x*]") if len(sizes) == 1 else None
    return Type(_ECSV[match.group(1)], shape) if match.group(1) in _ECSV else None


def _loader() -> Any:
    import yaml  # noqa: PLC0415  (for descriptors alone)

    class Tolerant(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]  # that of C is ten times as fast
        """Reads !astropy... tags as plain mappings: nothing is built from them."""

    def plain(loader: Any, _suffix: str, node: Any) -> object:
        if isinstance(node, yaml.MappingNode):
            return loader.construct_mapping(node, deep=True)
        if isinstance(node, yaml.SequenceNode):
            return loader.construct_sequence(node, deep=True)
        return loader.construct_scalar(node)

    Tolerant.add_multi_constructor("!", plain)
    Tolerant.add_constructor(
        "tag:yaml.org,2002:omap",
        lambda loader, node: list(loader.construct_sequence(cast("yaml.SequenceNode", node), deep=True)),
    )
    return Tolerant


_Tolerant = _loader()
