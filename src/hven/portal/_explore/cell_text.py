"""How values are shown to people.

Numbers as their column says, times as dates, codes as words, addresses as links and small pictures.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pyarrow as pa

from hven.model import literal
from hven.model.table import EPOCH_LABELS
from hven.portal._explore.number_formatting import UnitScale, format_numbers
from hven.portal._explore.reference_links import build_bibcode_address
from hven.portal._explore.search_fields import choose_scale
from hven.services.file_rows import classify_column
from hven.services.scripts import PLACEHOLDER_PATTERN

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from hven.model.table import Column, Table
    from hven.portal._explore.column_labels import ColumnLabels
    from hven.portal._explore.row_pages import RowPage

MAX_SHOWN_DIGITS = 9  # of a number of which nobody says how many it has; all of them are told when one points at it
MAX_CELL_CHARACTERS = 400  # characters of a cell; the row's own page has the rest
MAX_PANEL_CHARACTERS = 10_000  # characters of a cell of the row's own page
MAX_ADDRESS_CHARACTERS = 40  # characters of an address that one reads whole in a cell; of a longer one its file
ADDRESS_PATTERN = re.compile(r"(?:https?|ftp)://[^\s<>\"']+", re.IGNORECASE)
KNOWN_SERVICES = {  # hosts of services that people know by their names
    "simbad.cds.unistra.fr": "SIMBAD",
    "simbad.u-strasbg.fr": "SIMBAD",
    "vizier.cds.unistra.fr": "VizieR",
    "ned.ipac.caltech.edu": "NED",
    "aladin.cds.unistra.fr": "Aladin",
    "ssd.jpl.nasa.gov": "JPL",
    "ssp.imcce.fr": "IMCCE",
    "irsa.ipac.caltech.edu": "IRSA",
}
DISPLAY_PATTERN = re.compile(r"%?(\d*)\.(\d+)([feg])|([FE])(\d+)\.(\d+)")
JULIAN_DATE_RANGE = 1_721_426, 5_373_484  # days in which a number can be a Julian date of the years 1 to 9999


@dataclass(frozen=True, slots=True, kw_only=True)
class TextCell:
    """One value on a page: what is read, where it leads, what is told when one points at it; `picture`.

    The address is a small image.

    `corners`: the text is a polygon of so many, which people would rather be told than read.
    """

    text: str
    href: str = ""
    title: str = ""
    picture: bool = False
    corners: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnHeading:
    """How a column is shown: `unit` as shown, perhaps another than the stored one.

    `scale` leads from that one to it.
    """

    column: Column
    label: str
    unit: str
    numeric: bool
    kind: str  # number, time, text, link, picture, code
    scale: UnitScale = field(default_factory=lambda: UnitScale(unit=""))
    usual_unit: str = ""  # the unit if nobody chooses one
    is_rounded: bool = False  # numbers are written to be read, else with all their digits up to `MAX_SHOWN_DIGITS`
    title: str = ""  # what is told when one points at it
    code_words: Mapping[str, str] = field(default_factory=dict)  # of codes


def build_headings(
    page: RowPage, table: Table, chosen_units: Sequence[tuple[str, str]] = (), *, labels: ColumnLabels | None = None
) -> list[ColumnHeading]:
    """Return how the columns of a page are shown; `chosen_units` names units that the reader chose.

    Those that do not fit are left out.

    Without `labels` columns are called as the descriptor, or a query, calls them.
    """
    chosen = dict(chosen_units)
    return [_build_heading(column, table, chosen.get(column.name), labels) for column in page.columns]


def format_cells(
    page: RowPage,
    table: Table,
    chosen_units: Sequence[tuple[str, str]] = (),
    *,
    is_full: bool = False,
    labels: ColumnLabels | None = None,
) -> list[list[TextCell | None]]:
    """Write the rows of a page; None where there is no value. `is_full`.

    Texts and addresses in full, up to `MAX_PANEL_CHARACTERS` characters.
    """
    column_headings = build_headings(page, table, chosen_units, labels=labels)
    rows_table = page.rows.combine_chunks()
    columns = [
        _format_column(rows_table.column(number), heading, is_full=is_full)
        for number, heading in enumerate(column_headings)
    ]
    if columns:
        rows = [list(row) for row in zip(*columns, strict=True)]
    else:
        rows = []
    for number, heading in enumerate(column_headings):
        if heading.column.link:
            _fill_link_templates(
                rows,
                number,
                heading.column.link,
                {
                    column_heading.column.name: heading_number
                    for heading_number, column_heading in enumerate(column_headings)
                },
                rows_table,
            )
        elif heading.column.type.is_string and "bibcode" in (heading.column.ucd or "").lower():
            _link_bibcodes(rows, number, heading.column, rows_table.column(number))
    return rows


def _build_heading(column: Column, table: Table, chosen_unit: str | None, labels: ColumnLabels | None) -> ColumnHeading:
    if labels is not None:
        code_words = labels.find_code_words(column)
    else:
        code_words = table.enums.get(column.enum or "", {})
    if labels is not None:
        usual = labels.find_scale(column)
    else:
        usual = UnitScale(unit=column.unit or "")
    scale = (choose_scale(column, chosen_unit) if chosen_unit else None) or usual
    label = labels.label_column(column, scale.unit) if labels is not None else column.label or column.name
    numeric = column.type.is_numeric and not code_words
    kind = "code" if code_words else classify_column(column, table)
    return ColumnHeading(
        column=column,
        label=label,
        unit=scale.unit,
        usual_unit=usual.unit,
        numeric=numeric,
        kind=kind,
        scale=scale,
        is_rounded=labels is not None and not labels.is_raw,
        code_words=code_words,
        title=labels.describe_column(column) if labels is not None else column.description or "",
    )


def format_day(value: object, epoch: float) -> str:
    """Return the day of a time that counts days from a Julian date; empty: it is none."""
    if isinstance(value, int | float) and JULIAN_DATE_RANGE[0] <= value + epoch <= JULIAN_DATE_RANGE[1]:
        return _format_julian_date(value, epoch).text[:10]
    return ""


def _is_floating(column: Column) -> bool:
    return column.type.is_numeric and not column.type.is_integer and not column.type.is_array


def _format_column(values: pa.ChunkedArray, heading: ColumnHeading, *, is_full: bool = False) -> list[TextCell | None]:
    column = heading.column
    if heading.kind == "time" and not column.type.is_timestamp:
        return [
            None if value is None else _format_julian_date(value, column.epoch or 0.0) for value in values.to_pylist()
        ]
    if heading.code_words:
        return [None if value is None else _format_code(str(value), heading.code_words) for value in values.to_pylist()]
    scale = heading.scale
    if scale.is_sexagesimal:
        digits = _count_decimals(column.display, 240 if heading.unit == "h:m:s" else 3600)
        return [
            None if value is None else _format_angle(value, digits, in_hours=heading.unit == "h:m:s")
            for value in values.to_pylist()
        ]
    if scale.is_inverse or scale.factor != 1.0:
        numbers = values.to_pylist()
        if heading.is_rounded and not column.display:
            return _format_numbers(
                [None if number is None else scale.convert(number) for number in numbers], numbers, column.unit or ""
            )
        format_number = _build_number_formatter(_derive_display(column, scale))
        return [None if value is None else TextCell(text=format_number(scale.convert(value))) for value in numbers]
    if _is_floating(column) and column.display:
        format_number = _build_number_formatter(column.display)
        return [None if value is None else TextCell(text=format_number(value)) for value in values.to_pylist()]
    if isinstance(values, pa.ChunkedArray):
        array = values.combine_chunks()
    else:
        array = values
    texts = literal.format_column(literal.cast_to_storage(array, column.type), column.type).to_pylist()
    valid = array.is_valid().to_pylist()
    if column.type.is_timestamp:
        return [
            TextCell(text=text.replace("T", " ")) if is_valid and text is not None else None
            for text, is_valid in zip(texts, valid, strict=True)
        ]
    if _is_floating(column) and heading.is_rounded:
        return _format_numbers(values.to_pylist(), texts)
    if _is_floating(column):
        return [
            _shorten_number(text) if is_valid and text is not None else None
            for text, is_valid in zip(texts, valid, strict=True)
        ]
    if column.type.is_geometry or column.name.lower() == "s_region":
        return [
            _format_region(text, is_full=is_full) if is_valid and text is not None else None
            for text, is_valid in zip(texts, valid, strict=True)
        ]
    return [
        _format_text(text, heading.kind, is_full=is_full) if is_valid and text is not None else None
        for text, is_valid in zip(texts, valid, strict=True)
    ]


def _format_region(text: str, *, is_full: bool) -> TextCell:
    """Count the corners of a polygon, DALI's or STC-S; other regions are short enough."""
    words = text.split()
    if words and words[0].lower() == "polygon":  # STC-S names its frame before the numbers
        words = words[next((at for at, word in enumerate(words) if word[0] in "+-.0123456789"), len(words)) :]
    try:
        numbers = [float(word) for word in words]
    except ValueError:
        numbers = []
    if len(numbers) < 6 or len(numbers) % 2:
        return _format_text(text, "text", is_full=is_full)
    corners = len(numbers) // 2
    closed = corners > 3 and numbers[:2] == numbers[-2:]  # the first corner stands at the end once more
    max_characters = MAX_PANEL_CHARACTERS if is_full else MAX_CELL_CHARACTERS
    return TextCell(text=text if len(text) <= max_characters else f"{text[:max_characters]}…", corners=corners - closed)


def _format_text(text: str, kind: str, *, is_full: bool = False) -> TextCell:
    address = ADDRESS_PATTERN.fullmatch(text.strip())
    if address is not None:
        short = _find_service_name(text) or (
            text if is_full or len(text) <= MAX_ADDRESS_CHARACTERS else _shorten_address(text)
        )
        title = text if short != text else ""
        return TextCell(
            text=short,
            href=address[0],
            title=title,
            picture=kind == "picture" and address[0].lower().startswith("http"),
        )
    max_characters = MAX_PANEL_CHARACTERS if is_full else MAX_CELL_CHARACTERS
    if len(text) > max_characters:
        return TextCell(text=f"{text[:max_characters]}…", title=f"{len(text):,}")
    return TextCell(text=text)


def _find_service_name(address: str) -> str:
    """Return the name of a service that everybody knows, which is asked about something.

    Its address tells a reader less.
    """
    base, query, _ = address.partition("?")
    host = base.partition("//")[2].partition("/")[0].lower()
    if query:
        return KNOWN_SERVICES.get(host, "")
    return ""


def _shorten_address(address: str) -> str:
    """Return what one reads of a long address: the name of its file; of a service that is asked, whose it is."""
    base, query, _ = address.partition("?")
    if query:
        host = base.partition("//")[2].partition("/")[0]
        return f"{host}/…"[:60]
    return base.rstrip("/").rpartition("/")[2][:60] or address[:60]


def _shorten_number(text: str) -> TextCell:
    """Shorten a number of which nobody says how many digits it has."""
    if len(text) <= MAX_SHOWN_DIGITS + 1:
        return TextCell(text=text)
    short = f"{float(text):.{MAX_SHOWN_DIGITS}g}"
    if len(text) <= len(short):
        return TextCell(text=text)
    return TextCell(text=short, title=text)


def _format_code(value: str, code_words: Mapping[str, str]) -> TextCell:
    word = code_words.get(value) or ", ".join(
        code_words.get(item, item) for item in value.split("#")
    )  # EPN-TAP's lists
    if word == value:
        return TextCell(text=value)
    return TextCell(text=word, title=value)


def _format_julian_date(value: float, epoch: float) -> TextCell:
    """Write days since a Julian date as a date, to the millisecond; the number itself is told when one points at it."""
    if not JULIAN_DATE_RANGE[0] <= value + epoch <= JULIAN_DATE_RANGE[1]:
        return TextCell(text=repr(value))
    # a double of days is good to 40 microseconds: what was meant as a whole millisecond is shown as one
    when = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(
        milliseconds=round((value + (epoch - 2_440_587.5)) * 86_400_000)
    )
    if not when.microsecond:
        text = when.strftime("%Y-%m-%d %H:%M:%S")
    else:
        text = when.strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]
    return TextCell(text=text.rjust(19, "0"), title=f"{EPOCH_LABELS.get(epoch, f'JD {epoch:.10g} +')} {value!r}")


def _format_numbers(
    values: Sequence[float | None], full_values: Sequence[object], unit: str = ""
) -> list[TextCell | None]:
    """Write numbers to be read; what they were `full_values` as, in `unit`, is told when one points at one that says less."""
    return [
        None
        if text is None
        else TextCell(text=text, title=f"{full} {unit}".rstrip() if unit or str(full) != text else "")
        for text, full in zip(format_numbers(values), full_values, strict=True)
    ]


def _derive_display(column: Column, scale: UnitScale) -> str:
    """Return the display of converted values: as many digits as before, no more."""
    display_match = DISPLAY_PATTERN.fullmatch(column.display or "")
    if display_match is not None and not scale.is_inverse and (display_match[3] or display_match[4]).lower() == "f":
        digits = _count_decimals(column.display, scale.factor)
        if digits <= 12:
            return f".{digits}f"
        return ".6e"
    if column.type.datatype == "float":
        return ".7g"
    return ".10g"


def _count_decimals(display: str | None, factor: float) -> int:
    """Return the decimals that are left of `display` when values become `factor` times as great.

    Two where nobody says how many there are.
    """
    display_match = DISPLAY_PATTERN.fullmatch(display or "")
    if display_match is None or (display_match[3] or display_match[4]).lower() != "f":
        return 2
    return max(0, int(display_match[2] or display_match[6]) - math.floor(math.log10(factor) + 0.5))


def _format_angle(value: float, digits: int, *, in_hours: bool) -> TextCell:
    """Write an angle in degrees as ``hh:mm:ss.ss`` or ``+dd:mm:ss.s``; the degrees are told when one points at it."""
    if not math.isfinite(value):
        return TextCell(text=repr(value))
    scale = 10**digits
    if in_hours:
        fractions = round(value % 360 * 240 * scale) % (86_400 * scale)
    else:
        fractions = round(abs(value) * 3600 * scale)
    seconds, fraction = divmod(fractions, scale)
    minutes, seconds = divmod(seconds, 60)
    degrees, minutes = divmod(minutes, 60)
    if in_hours:
        sign = ""
    elif value < 0:
        sign = "-"
    else:
        sign = "+"
    return TextCell(
        text=f"{sign}{degrees:02d}:{minutes:02d}:{seconds:02d}" + (f".{fraction:0{digits}d}" if digits else ""),
        title=f"{value!r} deg",
    )


def _build_number_formatter(display: str | None) -> Callable[[float], str]:
    display_match = DISPLAY_PATTERN.fullmatch(display or "")
    if display_match is None:
        return lambda value: f"{value:.9g}"
    digits, letter = int(display_match[2] or display_match[6]), (display_match[3] or display_match[4]).lower()
    return lambda value: f"{value:.{digits}{letter}}"


def _link_bibcodes(rows: list[list[TextCell | None]], column_number: int, column: Column, texts: pa.Array) -> None:
    """Lead bibcodes to their papers."""
    for row, text in zip(rows, texts.to_pylist(), strict=True):
        cell = row[column_number]
        if cell is not None and (address := build_bibcode_address(column, text)):
            row[column_number] = replace(cell, href=address)


def _fill_link_templates(
    rows: list[list[TextCell | None]],
    column_number: int,
    template: str,
    column_numbers: Mapping[str, int],
    table: pa.Table,
) -> None:
    """Make links of a column's template; a hole whose value is not on the page, or null, makes none."""
    names = PLACEHOLDER_PATTERN.findall(template)
    if any(name not in column_numbers for name in names):
        return
    template_values: dict[str, list[Any]] = {name: table.column(name).to_pylist() for name in names}
    for row_number, row in enumerate(rows):
        cell = row[column_number]
        values = {name: template_values[name][row_number] for name in names}
        if cell is None or any(value is None for value in values.values()):
            continue
        address = PLACEHOLDER_PATTERN.sub(lambda hole, values=values: quote(str(values[hole[1]]), safe=""), template)  # type: ignore[misc]
        if ADDRESS_PATTERN.fullmatch(address):
            row[column_number] = TextCell(text=cell.text, href=address, title=cell.title)
