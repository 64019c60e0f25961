"""Write FITS headers for files that are not FITS.

Axes become WCS, uneven ones a table of coordinates (-TAB), and all else HIERARCH cards.
"""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from hven.formats.media.api import STOKES_WORDS
from hven.model.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy.typing as npt

    from hven.formats.media import ArrayPart, Axis, HeaderCard

    Said = tuple[str, Any, str]

MAX_SPACING_ERROR_PIXELS = 1e-6  # of a pixel, up to which an axis counts as evenly spaced
MAX_COMMENT_LINES = 20  # of COMMENT for one value
_STANDARD_KEYWORD = re.compile(r"[A-Z0-9_-]{1,8}")
_RESERVED_KEYWORDS = re.compile(
    r"SIMPLE|XTENSION|BITPIX|NAXIS\d*|EXTEND|PCOUNT|GCOUNT|BSCALE|BZERO|BLANK|EXTNAME|EXTVER|EXTLEVEL|END|CONTINUE"
    r"|HIERARCH|T[A-Z]{4}\d+|TFIELDS|THEAP|CHECKSUM|DATASUM"
)
# words with a meaning in WCS, which axes of other kinds must not begin with
_WCS_WORDS = re.compile(r"RA|DEC|[GE]L(ON|AT)|..L[NT]|FREQ|ENER|WAV|AWAV|VRAD|VOPT|VELO|ZOPT|BETA|TIME|STOKES")


class GridHeaderCards(NamedTuple):
    """The cards of a header about the axes of an array.

    Attributes
    ----------
    cards
        Cards of WCS.
    columns
        Columns of the table of coordinates by their names: values of uneven axes.
    """

    cards: list[Said]
    columns: dict[str, npt.NDArray[np.float64]]


def write_grid_cards(array: ArrayPart, coordinate_table_number: int) -> GridHeaderCards:
    """Describe what the pixels of an array stand for.

    Parameters
    ----------
    array
        The array; its cards may describe some axes already (CTYPEn).
    coordinate_table_number
        Number of its table of coordinates, from 1: EXTVER.

    Returns
    -------
    grid
        Cards and columns; axes without values have only a name.
    """
    known_keywords = {card.keyword for card in array.cards}
    cards: list[Said] = []
    columns: dict[str, npt.NDArray[np.float64]] = {}
    for axis_number, axis in enumerate(reversed(array.axes), 1):
        if axis.read_values is None or f"CTYPE{axis_number}" in known_keywords:
            if axis.name and f"CTYPE{axis_number}" not in known_keywords:
                cards.append((f"CNAME{axis_number}", to_fits_header_text(axis.name)[:60], ""))
            continue
        ctype, unit, values = _describe_wcs_axis(axis)
        if values is None:
            cards.append((f"CNAME{axis_number}", to_fits_header_text(axis.name)[:60], ""))
            continue
        if axis.kind == "time":
            if np.isfinite(values).any():
                zero_mjd = float(np.floor(np.nanmin(values)))
            else:
                zero_mjd = 0.0
            values = values - zero_mjd
            time_cards: list[Said] = [("MJDREF", zero_mjd, "zero of times, MJD"), ("TIMEUNIT", "d", "")]
            cards += [card for card in time_cards if card[0] not in known_keywords]
        start = float(values[0])
        step = float(values[-1] - values[0]) / max(1, len(values) - 1)
        axis_name = to_fits_header_text(axis.name)[:40]
        if _is_evenly_spaced(values, start, step):
            cards.append((f"CTYPE{axis_number}", ctype[:8], axis_name))
            cards.append((f"CUNIT{axis_number}", unit, ""))
            cards.append((f"CRPIX{axis_number}", 1.0, ""))
            cards.append((f"CRVAL{axis_number}", start, ""))
            cards.append((f"CDELT{axis_number}", step or 1.0, ""))
        else:
            column = f"axis{axis_number}"
            columns[column] = values
            cards.append((f"CTYPE{axis_number}", f"{ctype[:4]:-<4}-TAB", axis_name))
            cards.append((f"CUNIT{axis_number}", unit, ""))
            cards.append((f"CRPIX{axis_number}", 1.0, ""))
            cards.append((f"CRVAL{axis_number}", 1.0, ""))
            cards.append((f"CDELT{axis_number}", 1.0, ""))
            cards.append((f"PS{axis_number}_0", "WCS-TAB", "extension with the coordinates"))
            cards.append((f"PS{axis_number}_1", column, ""))
            cards.append((f"PV{axis_number}_1", coordinate_table_number, "EXTVER"))
            cards.append((f"PV{axis_number}_2", 1, "EXTLEVEL"))
            cards.append((f"PV{axis_number}_3", 1, ""))
    return GridHeaderCards([card_tuple for card_tuple in cards if card_tuple[1] != ""], columns)


def _is_evenly_spaced(values: npt.NDArray[np.float64], start: float, step: float) -> bool:
    if len(values) == 1:
        return bool(np.isfinite(start))
    if not np.isfinite(values).all():
        return False
    even_values = start + step * np.arange(len(values))
    max_error = np.abs(values - even_values).max()
    return bool(max_error <= MAX_SPACING_ERROR_PIXELS * abs(step))


def _describe_wcs_axis(axis: Axis) -> tuple[str, str, npt.NDArray[np.float64] | None]:
    """Return CTYPE, unit and values of an axis; the values are None if they are not numbers."""
    try:
        values = np.asarray(axis.read_values() if axis.read_values is not None else ())
    except SourceError:  # an unknown unit: the axis has a name, and no values
        return "", "", None
    if axis.kind == "polarization":
        codes = {ctype: code for code, ctype in STOKES_WORDS.items()}
        state_codes = [codes.get(str(word), np.nan) for word in values]
        return "STOKES", "", np.array(state_codes, np.float64)
    if values.dtype.kind not in "iuf" or not len(values):
        return "", "", None
    numbers = values.astype(np.float64)
    if axis.kind == "spectral":
        return "WAVE", "m", numbers
    if axis.kind == "time":
        return "TIME", "d", numbers
    # words of the standard would state more than is known: the energy of particles is not that of light
    letters = re.sub(r"[^A-Z0-9_]", "", to_fits_header_text(axis.name).upper())
    name = letters[:8] or "PIXEL"
    if _WCS_WORDS.match(name):
        name = f"X{name}"[:8]
    return name, to_fits_header_text(axis.unit or "")[:30], numbers


def write_coordinate_table(columns: dict[str, npt.NDArray[np.float64]], table_number: int) -> bytes:
    """Write a table of coordinates (FITS WCS III, section 6), which has one row.

    Parameters
    ----------
    columns
        Values by name, shape (n,) each.
    table_number
        EXTVER of the table.

    Returns
    -------
    extension
        A complete HDU.
    """
    from astropy.io import fits  # noqa: PLC0415  (loaded already)

    fits_columns = []
    for name, values in columns.items():
        column = fits.Column(name, f"{len(values)}D", dim=f"(1,{len(values)})", array=values.reshape(1, -1, 1))
        fits_columns.append(column)
    hdu = fits.BinTableHDU.from_columns(fits_columns, name="WCS-TAB", ver=table_number)
    header = bytes(hdu.header.tostring().encode("ascii"))
    data = b""
    for values in columns.values():
        data += np.ascontiguousarray(values, ">f8").tobytes()
    return header + data + bytes(-len(data) % 2880)


def convert_to_fits_cards(cards: Iterable[HeaderCard]) -> list[Said]:
    """Convert cards with any names to cards of FITS: as HIERARCH, and as COMMENT where a value is too long for that.

    Parameters
    ----------
    cards
        Attributes of a file, with names of any length.

    Returns
    -------
    cards
        Keyword, value and comment.
    """
    fits_cards: list[Said] = []
    for card in cards:
        keyword = to_fits_header_text(card.keyword).upper().strip()
        value = card.value
        if value is None or not keyword or _RESERVED_KEYWORDS.fullmatch(keyword):
            continue
        if isinstance(value, float) and not np.isfinite(value):
            value = str(value)
        if isinstance(value, str):
            value = " ".join(to_fits_header_text(value).split())
        comment = to_fits_header_text(card.comment)
        if keyword in {"COMMENT", "HISTORY"}:
            fits_cards += [(keyword, line, "") for line in _split_comment(str(value))]
            continue
        is_short = _STANDARD_KEYWORD.fullmatch(keyword) is not None
        value_text = str(value)
        size = len(value_text) + 4
        if isinstance(value, str):
            size = len(value_text) + value_text.count("'") + 2  # with quotes, of which those inside are doubled
        if is_short:
            name = keyword
            fits_in_card = size <= 70
            used_characters = 10 + max(20, size)
        else:
            name = "HIERARCH " + " ".join(re.sub(r"[^A-Z0-9_-]+", " ", keyword).split())
            used_characters = len(name) + 3 + size
            fits_in_card = used_characters <= 80
        if fits_in_card:
            # astropy would cut a comment that is too long with a warning
            comment_characters = 80 - used_characters - 3
            fits_cards.append((name, value, comment[: max(0, comment_characters)]))
        else:
            fits_cards += [("COMMENT", line, "") for line in _split_comment(f"{keyword} = {value}")]
    return fits_cards


def _split_comment(text: str) -> list[str]:
    starts = range(0, len(text), 72)
    lines = [text[start : start + 72] for start in starts[:MAX_COMMENT_LINES]]
    if len(starts) > MAX_COMMENT_LINES:
        lines.append("..")
    return lines


def to_fits_header_text(text: str) -> str:
    """Convert a text to the characters that FITS headers can hold.

    Parameters
    ----------
    text
        Any text.

    Returns
    -------
    text
        The text with letters without accents, and ``?`` for other characters that are not ASCII.
    """
    micro_as_u = text.replace("µ", "u").replace("μ", "u")
    header_text = ""
    for mark in unicodedata.normalize("NFKD", micro_as_u):
        if " " <= mark <= "~":
            header_text += mark
        elif mark.isspace():
            header_text += " "
        elif not unicodedata.combining(mark):
            header_text += "?"
    return header_text
