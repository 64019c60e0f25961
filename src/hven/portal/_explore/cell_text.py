"""How values are shown to people: numbers as their column says, times as dates, codes as words, addresses as links and small pictures."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pyarrow as pa

from hven.model import literal
from hven.model.table import WORDS
from hven.portal._explore.fields import chosen
from hven.portal._explore.number_text import Scale, written
from hven.portal._explore.reference_links import bibcode_address
from hven.services.file_rows import kind_of
from hven.services.scripts import HOLE

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from hven.model.table import Column, Table
    from hven.portal._explore.column_labels import Labels
    from hven.portal._explore.rows import Page

DIGITS_SHOWN = 9  # of a number of which nobody says how many it has; all of them are told when one points at it
LONG = 400  # characters of a cell; the row's own page has the rest
WHOLE = 10_000  # characters of a cell of the row's own page
READ = 40  # characters of an address that one reads whole in a cell; of a longer one its file
ADDRESS = re.compile(r"(?:https?|ftp)://[^\s<>\"']+", re.IGNORECASE)
SERVICES = {  # hosts of services that people know by their names
    "simbad.cds.unistra.fr": "SIMBAD", "simbad.u-strasbg.fr": "SIMBAD", "vizier.cds.unistra.fr": "VizieR", "ned.ipac.caltech.edu": "NED",
    "aladin.cds.unistra.fr": "Aladin", "ssd.jpl.nasa.gov": "JPL", "ssp.imcce.fr": "IMCCE", "irsa.ipac.caltech.edu": "IRSA",
}  # fmt: skip
DIGITS = re.compile(r"%?(\d*)\.(\d+)([feg])|([FE])(\d+)\.(\d+)")
JULIAN = 1_721_426, 5_373_484  # days in which a number can be a Julian date of the years 1 to 9999


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One value on a page: what is read, where it leads, what is told when one points at it; `picture`: the address is a small image.

    `corners`: the text is a polygon of so many, which people would rather be told than read.
    """

    text: str
    href: str = ""
    title: str = ""
    picture: bool = False
    corners: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Heading:
    """How a column is shown: `unit` as shown, perhaps another than the stored one; `scale` leads from that one to it."""

    column: Column
    label: str
    unit: str
    numeric: bool
    kind: str  # number, time, text, link, picture, code
    scale: Scale = field(default_factory=lambda: Scale(unit=""))
    usual: str = ""  # the unit if nobody chooses one
    read: bool = False  # numbers are written to be read, else with all their digits up to `DIGITS_SHOWN`
    title: str = ""  # what is told when one points at it
    words: Mapping[str, str] = field(default_factory=dict)  # of codes


def headings(
    page: Page, table: Table, wanted: Sequence[tuple[str, str]] = (), *, labels: Labels | None = None
) -> list[Heading]:
    """Return how the columns of a page are shown; `wanted` names units that the reader chose: those that do not fit are left out.

    Without `labels` columns are called as the descriptor, or a query, calls them.
    """
    chosen = dict(wanted)
    return [_heading(column, table, chosen.get(column.name), labels) for column in page.columns]


def cells(
    page: Page,
    table: Table,
    wanted: Sequence[tuple[str, str]] = (),
    *,
    whole: bool = False,
    labels: Labels | None = None,
) -> list[list[Cell | None]]:
    """Write the rows of a page; None where there is no value. `whole`: texts and addresses in full, up to `WHOLE` characters."""
    found = headings(page, table, wanted, labels=labels)
    given = page.rows.combine_chunks()
    columns = [_column(given.column(number), heading, whole=whole) for number, heading in enumerate(found)]
    rows = [list(row) for row in zip(*columns, strict=True)] if columns else []
    for number, heading in enumerate(found):
        if heading.column.link:
            _linked(rows, number, heading.column.link, {one.column.name: at for at, one in enumerate(found)}, given)
        elif heading.column.type.is_string and "bibcode" in (heading.column.ucd or "").lower():
            _link_bibcodes(rows, number, heading.column, given.column(number))
    return rows


def _heading(column: Column, table: Table, wanted: str | None, labels: Labels | None) -> Heading:
    words = labels.words(column) if labels is not None else table.enums.get(column.enum or "", {})
    usual = labels.scale(column) if labels is not None else Scale(unit=column.unit or "")
    scale = (chosen(column, wanted) if wanted else None) or usual
    return Heading(
        column=column,
        label=labels.column(column, scale.unit) if labels is not None else column.label or column.name,
        unit=scale.unit,
        usual=usual.unit,
        numeric=column.type.is_numeric and not words,
        kind="code" if words else kind_of(column, table),
        scale=scale,
        read=labels is not None and not labels.raw,
        words=words,
        title=labels.told(column) if labels is not None else column.description or "",
    )


def day_of(value: object, epoch: float) -> str:
    """Return the day of a time that counts days from a Julian date; empty: it is none."""
    return (
        _date(value, epoch).text[:10]
        if isinstance(value, int | float) and JULIAN[0] <= value + epoch <= JULIAN[1]
        else ""
    )


def _real(column: Column) -> bool:
    return column.type.is_numeric and not column.type.is_integer and not column.type.is_array


def _column(values: pa.ChunkedArray, heading: Heading, *, whole: bool = False) -> list[Cell | None]:
    column = heading.column
    if heading.kind == "time" and not column.type.is_timestamp:
        return [None if value is None else _date(value, column.epoch or 0.0) for value in values.to_pylist()]
    if heading.words:
        return [None if value is None else _coded(str(value), heading.words) for value in values.to_pylist()]
    scale = heading.scale
    if scale.sexagesimal:
        digits = _decimals(column.display, 240 if heading.unit == "h:m:s" else 3600)
        return [
            None if value is None else _angle(value, digits, hours=heading.unit == "h:m:s")
            for value in values.to_pylist()
        ]
    if scale.inverse or scale.factor != 1.0:
        given = values.to_pylist()
        if heading.read and not column.display:
            return _numbers([None if one is None else scale.of(one) for one in given], given, column.unit or "")
        write = _writer(_converted(column, scale))
        return [None if value is None else Cell(text=write(scale.of(value))) for value in given]
    if _real(column) and column.display:
        write = _writer(column.display)
        return [None if value is None else Cell(text=write(value)) for value in values.to_pylist()]
    array = values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
    texts = literal.text(literal.storage(array, column.type), column.type).to_pylist()
    valid = array.is_valid().to_pylist()
    if column.type.is_timestamp:
        return [
            Cell(text=text.replace("T", " ")) if there and text is not None else None
            for text, there in zip(texts, valid, strict=True)
        ]
    if _real(column) and heading.read:
        return _numbers(values.to_pylist(), texts)
    if _real(column):
        return [_plain(text) if there and text is not None else None for text, there in zip(texts, valid, strict=True)]
    if column.type.is_geometry or column.name.lower() == "s_region":
        return [
            _region(text, whole=whole) if there and text is not None else None
            for text, there in zip(texts, valid, strict=True)
        ]
    return [
        _text(text, heading.kind, whole=whole) if there and text is not None else None
        for text, there in zip(texts, valid, strict=True)
    ]


def _region(text: str, *, whole: bool) -> Cell:
    """Count the corners of a polygon, DALI's or STC-S; other regions are short enough."""
    words = text.split()
    if words and words[0].lower() == "polygon":  # STC-S names its frame before the numbers
        words = words[next((at for at, word in enumerate(words) if word[0] in "+-.0123456789"), len(words)) :]
    try:
        numbers = [float(word) for word in words]
    except ValueError:
        numbers = []
    if len(numbers) < 6 or len(numbers) % 2:
        return _text(text, "text", whole=whole)
    corners = len(numbers) // 2
    closed = corners > 3 and numbers[:2] == numbers[-2:]  # the first corner stands at the end once more
    most = WHOLE if whole else LONG
    return Cell(text=text if len(text) <= most else f"{text[:most]}…", corners=corners - closed)


def _text(text: str, kind: str, *, whole: bool = False) -> Cell:
    address = ADDRESS.fullmatch(text.strip())
    if address is not None:
        short = _service(text) or (text if whole or len(text) <= READ else _short(text))
        return Cell(
            text=short,
            href=address[0],
            title=text if short != text else "",
            picture=kind == "picture" and address[0].lower().startswith("http"),
        )
    most = WHOLE if whole else LONG
    if len(text) > most:
        return Cell(text=f"{text[:most]}…", title=f"{len(text):,}")
    return Cell(text=text)


def _service(address: str) -> str:
    """Return the name of a service that everybody knows, which is asked about something: its address tells a reader less."""
    whole, asked, _ = address.partition("?")
    host = whole.partition("//")[2].partition("/")[0].lower()
    return SERVICES.get(host, "") if asked else ""


def _short(address: str) -> str:
    """Return what one reads of a long address: the name of its file; of a service that is asked, whose it is."""
    whole, asked, _ = address.partition("?")
    if asked:
        host = whole.partition("//")[2].partition("/")[0]
        return f"{host}/…"[:60]
    return whole.rstrip("/").rpartition("/")[2][:60] or address[:60]


def _plain(text: str) -> Cell:
    """Shorten a number of which nobody says how many digits it has."""
    if len(text) <= DIGITS_SHOWN + 1:
        return Cell(text=text)
    short = f"{float(text):.{DIGITS_SHOWN}g}"
    return Cell(text=text) if len(text) <= len(short) else Cell(text=short, title=text)


def _coded(value: str, words: Mapping[str, str]) -> Cell:
    word = words.get(value) or ", ".join(words.get(one, one) for one in value.split("#"))  # EPN-TAP's lists
    return Cell(text=value) if word == value else Cell(text=word, title=value)


def _date(value: float, epoch: float) -> Cell:
    """Write days since a Julian date as a date, to the millisecond; the number itself is told when one points at it."""
    if not JULIAN[0] <= value + epoch <= JULIAN[1]:
        return Cell(text=repr(value))
    # a double of days is good to 40 microseconds: what was meant as a whole millisecond is shown as one
    when = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(
        milliseconds=round((value + (epoch - 2_440_587.5)) * 86_400_000)
    )
    text = when.strftime("%Y-%m-%d %H:%M:%S") if not when.microsecond else when.strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]
    return Cell(text=text.rjust(19, "0"), title=f"{WORDS.get(epoch, f'JD {epoch:.10g} +')} {value!r}")


def _numbers(values: Sequence[float | None], given: Sequence[object], unit: str = "") -> list[Cell | None]:
    """Write numbers to be read; what they were `given` as, in `unit`, is told when one points at one that says less."""
    return [
        None if text is None else Cell(text=text, title=f"{full} {unit}".rstrip() if unit or str(full) != text else "")
        for text, full in zip(written(values), given, strict=True)
    ]


def _converted(column: Column, scale: Scale) -> str:
    """Return the display of converted values: as many digits as before, no more."""
    found = DIGITS.fullmatch(column.display or "")
    if found is not None and not scale.inverse and (found[3] or found[4]).lower() == "f":
        digits = _decimals(column.display, scale.factor)
        return f".{digits}f" if digits <= 12 else ".6e"
    return ".7g" if column.type.datatype == "float" else ".10g"


def _decimals(display: str | None, factor: float) -> int:
    """Return the decimals that are left of `display` when values become `factor` times as great; two where nobody says how many there are."""
    found = DIGITS.fullmatch(display or "")
    if found is None or (found[3] or found[4]).lower() != "f":
        return 2
    return max(0, int(found[2] or found[6]) - math.floor(math.log10(factor) + 0.5))


def _angle(value: float, digits: int, *, hours: bool) -> Cell:
    """Write an angle in degrees as ``hh:mm:ss.ss`` or ``+dd:mm:ss.s``; the degrees are told when one points at it."""
    if not math.isfinite(value):
        return Cell(text=repr(value))
    scale = 10**digits
    parts = round(value % 360 * 240 * scale) % (86_400 * scale) if hours else round(abs(value) * 3600 * scale)
    seconds, part = divmod(parts, scale)
    minutes, seconds = divmod(seconds, 60)
    whole, minutes = divmod(minutes, 60)
    sign = "" if hours else "-" if value < 0 else "+"
    return Cell(
        text=f"{sign}{whole:02d}:{minutes:02d}:{seconds:02d}" + (f".{part:0{digits}d}" if digits else ""),
        title=f"{value!r} deg",
    )


def _writer(display: str | None) -> Callable[[float], str]:
    found = DIGITS.fullmatch(display or "")
    if found is None:
        return lambda value: f"{value:.9g}"
    digits, letter = int(found[2] or found[6]), (found[3] or found[4]).lower()
    return lambda value: f"{value:.{digits}{letter}}"


def _link_bibcodes(rows: list[list[Cell | None]], number: int, column: Column, texts: pa.Array) -> None:
    """Lead bibcodes to their papers."""
    for row, text in zip(rows, texts.to_pylist(), strict=True):
        cell = row[number]
        if cell is not None and (address := bibcode_address(column, text)):
            row[number] = replace(cell, href=address)


def _linked(rows: list[list[Cell | None]], number: int, template: str, at: Mapping[str, int], whole: pa.Table) -> None:
    """Make links of a column's template; a hole whose value is not on the page, or null, makes none."""
    names = HOLE.findall(template)
    if any(name not in at for name in names):
        return
    given: dict[str, list[Any]] = {name: whole.column(name).to_pylist() for name in names}
    for place, row in enumerate(rows):
        cell = row[number]
        values = {name: given[name][place] for name in names}
        if cell is None or any(value is None for value in values.values()):
            continue
        address = HOLE.sub(lambda hole, values=values: quote(str(values[hole[1]]), safe=""), template)  # type: ignore[misc]
        if ADDRESS.fullmatch(address):
            row[number] = Cell(text=cell.text, href=address, title=cell.title)
