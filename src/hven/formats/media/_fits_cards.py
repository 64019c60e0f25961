"""Headers of FITS for what is no FITS.

Axes as WCS, irregular ones as a table of coordinates (-TAB), all else as HIERARCH cards.
"""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from hven.formats.media._spectral_axes import STOKES_WORDS
from hven.model.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy.typing as npt

    from hven.formats.media._product import ArrayPart, Axis, HeaderCard

    Said = tuple[str, Any, str]

MAX_SPACING_ERROR_PIXELS = 1e-6  # of a pixel: what is off by less is evenly spaced
MAX_COMMENT_LINES = 20  # of COMMENT for one value
_STANDARD_KEYWORD = re.compile(r"[A-Z0-9_-]{1,8}")
_RESERVED_KEYWORDS = re.compile(
    r"SIMPLE|XTENSION|BITPIX|NAXIS\d*|EXTEND|PCOUNT|GCOUNT|BSCALE|BZERO|BLANK|EXTNAME|EXTVER|EXTLEVEL|END|CONTINUE|HIERARCH|T[A-Z]{4}\d+|TFIELDS|THEAP|CHECKSUM|DATASUM"
)


class GridHeader(NamedTuple):
    """What a header says of an array's axes.

    Attributes
    ----------
    cards
        WCS.
    columns
        Of the table of coordinates, by their names: values of uneven axes.
    """

    cards: list[Said]
    columns: dict[str, npt.NDArray[np.float64]]


def describe_grid(array: ArrayPart, table_number: int) -> GridHeader:
    """Say what the pixels of an array stand for.

    Parameters
    ----------
    array
        Its cards may say it for some axes (CTYPEn).
    table_number
        Of its table of coordinates, from 1: EXTVER.

    Returns
    -------
    grid
        Axes that nobody says anything of have no cards.
    """
    known_keywords = {card.keyword for card in array.cards}
    cards: list[Said] = []
    columns: dict[str, npt.NDArray[np.float64]] = {}
    for axis_number, axis in enumerate(reversed(array.axes), 1):
        if axis.read_values is None or f"CTYPE{axis_number}" in known_keywords:
            if axis.name and f"CTYPE{axis_number}" not in known_keywords:
                cards.append((f"CNAME{axis_number}", to_header_text(axis.name)[:60], ""))
            continue
        ctype, unit, values = _describe_axis(axis)
        if values is None:
            cards.append((f"CNAME{axis_number}", to_header_text(axis.name)[:60], ""))
            continue
        if axis.kind == "time":
            if np.isfinite(values).any():
                zero_mjd = float(np.floor(np.nanmin(values)))
            else:
                zero_mjd = 0.0
            values = values - zero_mjd
            cards += [
                card_tuple
                for card_tuple in (("MJDREF", zero_mjd, "zero of times, MJD"), ("TIMEUNIT", "d", ""))
                if card_tuple[0] not in known_keywords
            ]
        start = float(values[0])
        step = float(values[-1] - values[0]) / max(1, len(values) - 1)
        is_evenly_spaced = np.isfinite(values).all() and np.abs(
            values - (start + step * np.arange(len(values)))
        ).max() <= MAX_SPACING_ERROR_PIXELS * abs(step)
        if is_evenly_spaced or (len(values) == 1 and np.isfinite(start)):
            cards += [
                (f"CTYPE{axis_number}", ctype[:8], to_header_text(axis.name)[:40]),
                (f"CUNIT{axis_number}", unit, ""),
                (f"CRPIX{axis_number}", 1.0, ""),
            ]
            cards += [(f"CRVAL{axis_number}", start, ""), (f"CDELT{axis_number}", step or 1.0, "")]
        else:
            column = f"axis{axis_number}"
            columns[column] = values
            cards += [
                (f"CTYPE{axis_number}", f"{ctype[:4]:-<4}-TAB", to_header_text(axis.name)[:40]),
                (f"CUNIT{axis_number}", unit, ""),
            ]
            cards += [
                (f"CRPIX{axis_number}", 1.0, ""),
                (f"CRVAL{axis_number}", 1.0, ""),
                (f"CDELT{axis_number}", 1.0, ""),
            ]
            cards += [
                (f"PS{axis_number}_0", "WCS-TAB", "extension with the coordinates"),
                (f"PS{axis_number}_1", column, ""),
            ]
            cards += [
                (f"PV{axis_number}_1", table_number, "EXTVER"),
                (f"PV{axis_number}_2", 1, "EXTLEVEL"),
                (f"PV{axis_number}_3", 1, ""),
            ]
    return GridHeader([card_tuple for card_tuple in cards if card_tuple[1] != ""], columns)


def _describe_axis(axis: Axis) -> tuple[str, str, npt.NDArray[np.float64] | None]:
    """Return CTYPE, unit and values of an axis; None where they are no numbers."""
    if axis.read_values is None:
        return "", "", None
    try:
        values = np.asarray(axis.read_values())
    except SourceError:  # a unit that nobody knows: the axis has a name, and no values
        return "", "", None
    if axis.kind == "polarization":
        codes = {ctype: code for code, ctype in STOKES_WORDS.items()}
        return "STOKES", "", np.array([codes.get(str(ctype), np.nan) for ctype in values], np.float64)
    if values.dtype.kind not in "iuf" or not len(values):
        return "", "", None
    ctype, unit = {"spectral": ("WAVE", "m"), "time": ("TIME", "d")}.get(axis.kind, ("", ""))
    # words of the standard would say more than is known: energies of particles are no light
    name = re.sub(r"[^A-Z0-9_]", "", to_header_text(axis.name).upper())[:8] or "PIXEL"
    if not ctype and re.match(
        r"RA|DEC|[GE]L(ON|AT)|..L[NT]|FREQ|ENER|WAV|AWAV|VRAD|VOPT|VELO|ZOPT|BETA|TIME|STOKES", name
    ):
        name = f"X{name}"[:8]
    return ctype or name, unit or to_header_text(axis.unit or "")[:30], values.astype(np.float64)


def write_coordinate_table(columns: dict[str, npt.NDArray[np.float64]], table_number: int) -> bytes:
    """Write a table of coordinates (FITS WCS III, section 6): one row.

    Parameters
    ----------
    columns
        Values by name, shape (n,) each.
    table_number
        EXTVER.

    Returns
    -------
    extension
        A whole HDU.
    """
    from astropy.io import fits  # noqa: PLC0415  (loaded already)

    fits_columns = [
        fits.Column(name, f"{len(values)}D", dim=f"(1,{len(values)})", array=values.reshape(1, -1, 1))
        for name, values in columns.items()
    ]
    hdu = fits.BinTableHDU.from_columns(fits_columns, name="WCS-TAB", ver=table_number)
    header = bytes(hdu.header.tostring().encode("ascii"))
    data = b"".join(np.ascontiguousarray(values, ">f8").tobytes() for values in columns.values())
    return header + data + bytes(-len(data) % 2880)


def convert_to_fits_cards(cards: Iterable[HeaderCard]) -> list[Said]:
    """Write what is said under other names than FITS's as cards of FITS: HIERARCH, and COMMENT where that is too short.

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
        keyword = to_header_text(card.keyword).upper().strip()
        value = card.value
        if value is None or not keyword or _RESERVED_KEYWORDS.fullmatch(keyword):
            continue
        if isinstance(value, float) and not np.isfinite(value):
            value = str(value)
        if isinstance(value, str):
            value = " ".join(to_header_text(value).split())
        comment = to_header_text(card.comment)
        if keyword in {"COMMENT", "HISTORY"}:
            fits_cards += [(keyword, line, "") for line in _split_comment(str(value))]
            continue
        is_short = _STANDARD_KEYWORD.fullmatch(keyword) is not None
        size = len(str(value)) + (str(value).count("'") + 2 if isinstance(value, str) else 4)
        if is_short:
            name = keyword
        else:
            name = "HIERARCH " + " ".join(re.sub(r"[^A-Z0-9_-]+", " ", keyword).split())
        if (is_short and size <= 70) or (not is_short and len(name) + 3 + size <= 80):
            # a comment that is too long is cut, with a warning
            comment_characters = 80 - (10 + max(20, size) if is_short else len(name) + 3 + size) - 3
            fits_cards.append((name, value, comment[: max(0, comment_characters)]))
        else:
            fits_cards += [("COMMENT", line, "") for line in _split_comment(f"{keyword} = {value}")]
    return fits_cards


def _split_comment(text: str) -> list[str]:
    pieces = [text[start : start + 72] for start in range(0, len(text), 72)]
    return [*pieces[:MAX_COMMENT_LINES], *(("..",) if len(pieces) > MAX_COMMENT_LINES else ())]


def to_header_text(text: str) -> str:
    """Write a text in the characters that headers of FITS have.

    Parameters
    ----------
    text
        Any.

    Returns
    -------
    text
        Letters without accents; what is no ASCII is ``?``.
    """
    decomposed_text = unicodedata.normalize("NFKD", text.replace("µ", "u").replace("μ", "u"))
    return "".join(
        mark if " " <= mark <= "~" else " " if mark.isspace() else "" if unicodedata.combining(mark) else "?"
        for mark in decomposed_text
    )


__all__ = ["GridHeader", "convert_to_fits_cards", "describe_grid", "to_header_text", "write_coordinate_table"]
