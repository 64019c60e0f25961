"""Format the values of rows for pages.

Numbers follow the display of their column, times become dates, codes become words, addresses become links and pictures.
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
from hven.portal._explore.search_fields import build_unit_scale
from hven.services.file_rows import classify_column_display
from hven.services.scripts import PLACEHOLDER_PATTERN

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from hven.model.table import Column, Table
    from hven.portal._explore.column_labels import ColumnLabels
    from hven.portal._explore.row_pages import RowPage

MAX_SHOWN_DIGITS = 9  # of a number without a declared precision; the tooltip has all digits
MAX_CELL_CHARACTERS = 400  # of a cell; the row's own page has the rest
MAX_PANEL_CHARACTERS = 10_000  # of a cell on the row's own page
MAX_ADDRESS_CHARACTERS = 40  # a longer address is shortened to its file name
ADDRESS_PATTERN = re.compile(r"(?:https?|ftp)://[^\s<>\"']+", re.IGNORECASE)
KNOWN_SERVICES = {  # hosts of services with well-known names
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
    """One value on a page: its text, its link (`href`) and its tooltip (`title`).

    `picture`: the address is a small image. `corners`: the text is a polygon with this number of vertices, and pages
    show the number instead.
    """

    text: str
    href: str = ""
    title: str = ""
    picture: bool = False
    corners: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnHeading:
    """How a column is shown: its label, its unit and its kind.

    `unit` is the shown unit; `scale` converts the stored values to it.
    """

    column: Column
    label: str
    unit: str
    numeric: bool
    kind: str  # number, time, text, link, picture, code
    scale: UnitScale = field(default_factory=lambda: UnitScale(unit=""))
    usual_unit: str = ""  # the default unit
    is_rounded: bool = False  # numbers are rounded for reading; otherwise they have up to `MAX_SHOWN_DIGITS` digits
    title: str = ""  # the tooltip
    code_words: Mapping[str, str] = field(default_factory=dict)  # words of codes


def build_column_headings(
    page: RowPage, table: Table, chosen_units: Sequence[tuple[str, str]] = (), *, labels: ColumnLabels | None = None
) -> list[ColumnHeading]:
    """Build the headings of the columns of a page.

    Parameters
    ----------
    page
        The rows.
    table
        Their table.
    chosen_units
        Units that the reader chose, by the names of columns; those that do not fit are ignored.
    labels
        Labels of columns; None: columns have the names of the descriptor or the query.

    Returns
    -------
    headings
        A heading for each column.
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
    """Format the rows of a page; None where there is no value.

    Parameters
    ----------
    page
        The rows.
    table
        Their table.
    chosen_units
        Units that the reader chose, by the names of columns.
    is_full
        Whether texts and addresses have up to `MAX_PANEL_CHARACTERS` characters.
    labels
        Labels of columns; None: columns have the names of the descriptor or the query.

    Returns
    -------
    rows
        The cells of each row.
    """
    column_numbers = {}
    column_headings = build_column_headings(page, table, chosen_units, labels=labels)
    rows_table = page.rows.combine_chunks()
    columns = []
    for number, heading in enumerate(column_headings):
        column_numbers[heading.column.name] = number
        columns.append(_format_column(rows_table.column(number), heading, is_full=is_full))
    if columns:
        rows = [list(row) for row in zip(*columns, strict=True)]
    else:
        rows = []
    for number, heading in enumerate(column_headings):
        if heading.column.link:
            _fill_link_templates(rows, number, heading.column.link, column_numbers, rows_table)
        elif heading.column.type.is_string and "bibcode" in (heading.column.ucd or "").lower():
            _link_bibcodes(rows, number, heading.column, rows_table.column(number))
    return rows


def _build_heading(column: Column, table: Table, chosen_unit: str | None, labels: ColumnLabels | None) -> ColumnHeading:
    if labels is not None:
        code_words = labels.find_code_words(column)
        usual_scale = labels.find_unit_scale(column)
        title = labels.write_column_tooltip(column)
    else:
        code_words = table.enums.get(column.enum or "", {})
        usual_scale = UnitScale(unit=column.unit or "")
        title = column.description or ""
    scale = (build_unit_scale(column, chosen_unit) if chosen_unit else None) or usual_scale
    if labels is not None:
        label = labels.label_column(column, scale.unit)
    else:
        label = column.label or column.name
    numeric = column.type.is_numeric and not code_words
    if code_words:
        kind = "code"
    else:
        kind = classify_column_display(column, table)
    return ColumnHeading(
        column=column,
        label=label,
        unit=scale.unit,
        usual_unit=usual_scale.unit,
        numeric=numeric,
        kind=kind,
        scale=scale,
        is_rounded=labels is not None and not labels.is_raw,
        code_words=code_words,
        title=title,
    )


def format_days_since_epoch_as_date(value: object, epoch: float) -> str:
    """Return the day of a time that counts days from a Julian date; empty if the value is no such time."""
    first_day, last_day = JULIAN_DATE_RANGE
    if isinstance(value, int | float) and first_day <= value + epoch <= last_day:
        return _format_julian_date(value, epoch).text[:10]
    return ""


def _is_float_column(column: Column) -> bool:
    return column.type.is_numeric and not column.type.is_integer and not column.type.is_array


def _format_column(values: pa.ChunkedArray, heading: ColumnHeading, *, is_full: bool = False) -> list[TextCell | None]:
    format_value = _find_value_formatter(heading)
    if format_value is not None:
        return [None if value is None else format_value(value) for value in values.to_pylist()]
    column = heading.column
    if _has_unit_conversion(heading.scale):
        numbers = values.to_pylist()
        converted_numbers = [None if number is None else heading.scale.convert(number) for number in numbers]
        return _format_numbers(converted_numbers, numbers, column.unit or "")
    if isinstance(values, pa.ChunkedArray):
        array = values.combine_chunks()
    else:
        array = values
    storage_values = literal.cast_to_storage_type(array, column.type)
    texts = literal.format_dali_literals(storage_values, column.type, null_text="null").to_pylist()
    if _is_float_column(column) and heading.is_rounded:
        return _format_numbers(values.to_pylist(), texts)
    format_text = _choose_text_formatter(heading, is_full=is_full)
    valid = array.is_valid().to_pylist()
    return [
        format_text(text) if is_valid and text is not None else None
        for text, is_valid in zip(texts, valid, strict=True)
    ]


def _has_unit_conversion(scale: UnitScale) -> bool:
    return scale.is_inverse or scale.factor != 1.0


def _find_value_formatter(heading: ColumnHeading) -> Callable[[Any], TextCell] | None:
    """Return the function that formats a stored value; None if values are formatted together or from their text."""
    column = heading.column
    scale = heading.scale
    if heading.kind == "time" and not column.type.is_timestamp:
        epoch = column.epoch or 0.0
        return lambda value: _format_julian_date(value, epoch)
    if heading.code_words:
        return lambda value: _format_code(str(value), heading.code_words)
    if scale.is_sexagesimal:
        in_hours = heading.unit == "h:m:s"
        digits = _count_decimals(column.display, 240 if in_hours else 3600)
        return lambda value: _format_angle(value, digits, is_in_hours=in_hours)
    if _has_unit_conversion(scale) and (column.display or not heading.is_rounded):
        format_number = _build_number_formatter(_derive_display_format(column, scale))
        return lambda value: TextCell(text=format_number(scale.convert(value)))
    if _is_float_column(column) and column.display and not _has_unit_conversion(scale):
        format_number = _build_number_formatter(column.display)
        return lambda value: TextCell(text=format_number(value))
    return None


def _choose_text_formatter(heading: ColumnHeading, *, is_full: bool) -> Callable[[str], TextCell]:
    """Return the function that formats the text of a stored value."""
    column = heading.column
    if column.type.is_timestamp:
        return lambda text: TextCell(text=text.replace("T", " "))
    if _is_float_column(column):
        return _shorten_number
    if column.type.is_geometry or column.name.lower() == "s_region":
        return lambda text: _format_region_with_vertex_count(text, is_full=is_full)
    return lambda text: _format_text_or_link(text, heading.kind, is_full=is_full)


def _format_region_with_vertex_count(text: str, *, is_full: bool) -> TextCell:
    """Count the vertices of a polygon in DALI or STC-S notation; other regions are short enough to show."""
    words = text.split()
    if words and words[0].lower() == "polygon":  # STC-S names its frame before the numbers
        number_places = [at for at, word in enumerate(words) if word[0] in "+-.0123456789"]
        if number_places:
            words = words[number_places[0] :]
        else:
            words = []
    try:
        numbers = [float(word) for word in words]
    except ValueError:
        numbers = []
    if len(numbers) < 6 or len(numbers) % 2:
        return _format_text_or_link(text, "text", is_full=is_full)
    corners = len(numbers) // 2
    closed = corners > 3 and numbers[:2] == numbers[-2:]  # the first vertex is repeated at the end
    max_characters = MAX_PANEL_CHARACTERS if is_full else MAX_CELL_CHARACTERS
    if len(text) <= max_characters:
        shown_text = text
    else:
        shown_text = f"{text[:max_characters]}…"
    return TextCell(text=shown_text, corners=corners - closed)


def _format_text_or_link(text: str, kind: str, *, is_full: bool = False) -> TextCell:
    address = ADDRESS_PATTERN.fullmatch(text.strip())
    if address is not None:
        short = _find_service_name(text)
        if not short and not is_full and len(text) > MAX_ADDRESS_CHARACTERS:
            short = _shorten_url(text)
        short = short or text
        title = text if short != text else ""
        is_picture = kind == "picture" and address[0].lower().startswith("http")
        return TextCell(text=short, href=address[0], title=title, picture=is_picture)
    max_characters = MAX_PANEL_CHARACTERS if is_full else MAX_CELL_CHARACTERS
    if len(text) > max_characters:
        return TextCell(text=f"{text[:max_characters]}…", title=f"{len(text):,}")
    return TextCell(text=text)


def _find_service_name(address: str) -> str:
    """Return the name of a well-known service that an address queries; empty for other addresses.

    The name tells a reader more than the address.
    """
    base, query, _ = address.partition("?")
    host = base.partition("//")[2].partition("/")[0].lower()
    if query:
        return KNOWN_SERVICES.get(host, "")
    return ""


def _shorten_url(address: str) -> str:
    """Shorten a long address to its file name, or to the host if it has a query."""
    base, query, _ = address.partition("?")
    if query:
        host = base.partition("//")[2].partition("/")[0]
        return f"{host}/…"[:60]
    return base.rstrip("/").rpartition("/")[2][:60] or address[:60]


def _shorten_number(text: str) -> TextCell:
    """Shorten a number without a declared precision."""
    if len(text) <= MAX_SHOWN_DIGITS + 1:
        return TextCell(text=text)
    short = f"{float(text):.{MAX_SHOWN_DIGITS}g}"
    if len(text) <= len(short):
        return TextCell(text=text)
    return TextCell(text=short, title=text)


def _format_code(value: str, code_words: Mapping[str, str]) -> TextCell:
    word = code_words.get(value)
    if not word:
        items = value.split("#")  # EPN-TAP's lists
        word = ", ".join(code_words.get(item, item) for item in items)
    if word == value:
        return TextCell(text=value)
    return TextCell(text=word, title=value)


def _format_julian_date(value: float, epoch: float) -> TextCell:
    """Format days since a Julian date as a date, to the millisecond; the tooltip has the number."""
    if not JULIAN_DATE_RANGE[0] <= value + epoch <= JULIAN_DATE_RANGE[1]:
        return TextCell(text=repr(value))
    # a double of days is accurate to 40 microseconds: rounding restores whole milliseconds
    milliseconds = round((value + (epoch - 2_440_587.5)) * 86_400_000)
    when = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=milliseconds)
    if not when.microsecond:
        text = when.strftime("%Y-%m-%d %H:%M:%S")
    else:
        text = when.strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]
    epoch_label = EPOCH_LABELS.get(epoch, f"JD {epoch:.10g} +")
    return TextCell(text=text.rjust(19, "0"), title=f"{epoch_label} {value!r}")


def _format_numbers(
    values: Sequence[float | None], full_values: Sequence[object], unit: str = ""
) -> list[TextCell | None]:
    """Round numbers for reading. The tooltip has the full value in `unit` where the shown one says less."""
    cells: list[TextCell | None] = []
    for text, full_value in zip(format_numbers(values), full_values, strict=True):
        if text is None:
            cells.append(None)
        elif unit or str(full_value) != text:
            cells.append(TextCell(text=text, title=f"{full_value} {unit}".rstrip()))
        else:
            cells.append(TextCell(text=text))
    return cells


def _derive_display_format(column: Column, scale: UnitScale) -> str:
    """Return the display format of converted values, with as many digits as before."""
    display_match = DISPLAY_PATTERN.fullmatch(column.display or "")
    if display_match is not None and not scale.is_inverse and _get_display_letter(display_match) == "f":
        digits = _count_decimals(column.display, scale.factor)
        if digits <= 12:
            return f".{digits}f"
        return ".6e"
    if column.type.datatype == "float":
        return ".7g"
    return ".10g"


def _count_decimals(display: str | None, factor: float) -> int:
    """Return the decimals of a display format that remain when values become `factor` times as large.

    Return two if there is no format.
    """
    display_match = DISPLAY_PATTERN.fullmatch(display or "")
    if display_match is None or _get_display_letter(display_match) != "f":
        return 2
    lost_digits = math.floor(math.log10(factor) + 0.5)
    return max(0, int(display_match[2] or display_match[6]) - lost_digits)


def _get_display_letter(display_match: re.Match[str]) -> str:
    """Return the lower-case letter of a display format: ``e``, ``f`` or ``g``."""
    return (display_match[3] or display_match[4]).lower()


def _format_angle(value: float, digits: int, *, is_in_hours: bool) -> TextCell:
    """Format an angle in degrees as ``hh:mm:ss.ss`` or ``+dd:mm:ss.s``; the tooltip has the degrees."""
    if not math.isfinite(value):
        return TextCell(text=repr(value))
    scale = 10**digits
    if is_in_hours:
        fractions = round(value % 360 * 240 * scale) % (86_400 * scale)
    else:
        fractions = round(abs(value) * 3600 * scale)
    seconds, fraction = divmod(fractions, scale)
    minutes, seconds = divmod(seconds, 60)
    degrees, minutes = divmod(minutes, 60)
    if is_in_hours:
        sign = ""
    elif value < 0:
        sign = "-"
    else:
        sign = "+"
    text = f"{sign}{degrees:02d}:{minutes:02d}:{seconds:02d}"
    if digits:
        text += f".{fraction:0{digits}d}"
    return TextCell(text=text, title=f"{value!r} deg")


def _build_number_formatter(display: str | None) -> Callable[[float], str]:
    display_match = DISPLAY_PATTERN.fullmatch(display or "")
    if display_match is None:
        return lambda value: f"{value:.9g}"
    digits = int(display_match[2] or display_match[6])
    letter = _get_display_letter(display_match)
    return lambda value: f"{value:.{digits}{letter}}"


def _link_bibcodes(rows: list[list[TextCell | None]], column_number: int, column: Column, texts: pa.Array) -> None:
    """Link bibcodes to their papers."""
    for row, text in zip(rows, texts.to_pylist(), strict=True):
        cell = row[column_number]
        address = ""
        if cell is not None:
            address = build_bibcode_address(column, text)
        if cell is not None and address:
            row[column_number] = replace(cell, href=address)


def _fill_link_templates(
    rows: list[list[TextCell | None]],
    column_number: int,
    template: str,
    column_numbers: Mapping[str, int],
    table: pa.Table,
) -> None:
    """Fill the link template of a column; a placeholder without a value on the page makes no link."""
    names = PLACEHOLDER_PATTERN.findall(template)
    if any(name not in column_numbers for name in names):
        return
    template_values: dict[str, list[Any]] = {name: table.column(name).to_pylist() for name in names}
    for row_number, row in enumerate(rows):
        cell = row[column_number]
        values = {name: template_values[name][row_number] for name in names}
        if cell is None or any(value is None for value in values.values()):
            continue
        address = PLACEHOLDER_PATTERN.sub(
            lambda placeholder, values=values: quote(str(values[placeholder[1]]), safe=""),  # type: ignore[misc]
            template,
        )
        if ADDRESS_PATTERN.fullmatch(address):
            row[column_number] = TextCell(text=cell.text, href=address, title=cell.title)
