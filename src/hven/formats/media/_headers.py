"""Headers of FITS for what is no FITS: axes as WCS, irregular ones as a table of coordinates (-TAB), all else as HIERARCH cards."""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from hven.formats.media._spectral import STOKES
from hven.model.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy.typing as npt

    from hven.formats.media._product import Array, Axis, Card

    Said = tuple[str, Any, str]

EVEN = 1e-6  # of a pixel: what is off by less is evenly spaced
LINES = 20  # of COMMENT for one value
_PLAIN = re.compile(r"[A-Z0-9_-]{1,8}")
_OWN = re.compile(r"SIMPLE|XTENSION|BITPIX|NAXIS\d*|EXTEND|PCOUNT|GCOUNT|BSCALE|BZERO|BLANK|EXTNAME|EXTVER|EXTLEVEL|END|CONTINUE|HIERARCH|T[A-Z]{4}\d+|TFIELDS|THEAP|CHECKSUM|DATASUM")  # fmt: skip


class Grid(NamedTuple):
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


def grid(array: Array, number: int) -> Grid:
    """Say what the pixels of an array stand for.

    Parameters
    ----------
    array
        Its cards may say it for some axes (CTYPEn).
    number
        Of its table of coordinates, from 1: EXTVER.

    Returns
    -------
    grid
        Axes that nobody says anything of have no cards.
    """
    known = {card.keyword for card in array.cards}
    cards: list[Said] = []
    columns: dict[str, npt.NDArray[np.float64]] = {}
    for at, axis in enumerate(reversed(array.axes), 1):
        if axis.values is None or f"CTYPE{at}" in known:
            if axis.name and f"CTYPE{at}" not in known:
                cards.append((f"CNAME{at}", plain(axis.name)[:60], ""))
            continue
        word, unit, values = _world(axis)
        if values is None:
            cards.append((f"CNAME{at}", plain(axis.name)[:60], ""))
            continue
        if axis.kind == "time":
            whole = float(np.floor(np.nanmin(values))) if np.isfinite(values).any() else 0.0
            values = values - whole
            cards += [one for one in (("MJDREF", whole, "zero of times, MJD"), ("TIMEUNIT", "d", "")) if one[0] not in known]  # fmt: skip
        start, step = float(values[0]), float(values[-1] - values[0]) / max(1, len(values) - 1)
        even = np.isfinite(values).all() and np.abs(values - (start + step * np.arange(len(values)))).max() <= EVEN * abs(step)  # fmt: skip
        if even or (len(values) == 1 and np.isfinite(start)):
            cards += [(f"CTYPE{at}", word[:8], plain(axis.name)[:40]), (f"CUNIT{at}", unit, ""), (f"CRPIX{at}", 1.0, "")]  # fmt: skip
            cards += [(f"CRVAL{at}", start, ""), (f"CDELT{at}", step or 1.0, "")]
        else:
            column = f"axis{at}"
            columns[column] = values
            cards += [(f"CTYPE{at}", f"{word[:4]:-<4}-TAB", plain(axis.name)[:40]), (f"CUNIT{at}", unit, "")]
            cards += [(f"CRPIX{at}", 1.0, ""), (f"CRVAL{at}", 1.0, ""), (f"CDELT{at}", 1.0, "")]
            cards += [(f"PS{at}_0", "WCS-TAB", "extension with the coordinates"), (f"PS{at}_1", column, "")]
            cards += [(f"PV{at}_1", number, "EXTVER"), (f"PV{at}_2", 1, "EXTLEVEL"), (f"PV{at}_3", 1, "")]
    return Grid([one for one in cards if one[1] != ""], columns)


def _world(axis: Axis) -> tuple[str, str, npt.NDArray[np.float64] | None]:
    """Return CTYPE, unit and values of an axis; None where they are no numbers."""
    if axis.values is None:
        return "", "", None
    try:
        values = np.asarray(axis.values())
    except SourceError:  # a unit that nobody knows: the axis has a name, and no values
        return "", "", None
    if axis.kind == "polarization":
        codes = {word: code for code, word in STOKES.items()}
        return "STOKES", "", np.array([codes.get(str(word), np.nan) for word in values], np.float64)
    if values.dtype.kind not in "iuf" or not len(values):
        return "", "", None
    word, unit = {"spectral": ("WAVE", "m"), "time": ("TIME", "d")}.get(axis.kind, ("", ""))
    # words of the standard would say more than is known: energies of particles are no light
    name = re.sub(r"[^A-Z0-9_]", "", plain(axis.name).upper())[:8] or "PIXEL"
    if not word and re.match(r"RA|DEC|[GE]L(ON|AT)|..L[NT]|FREQ|ENER|WAV|AWAV|VRAD|VOPT|VELO|ZOPT|BETA|TIME|STOKES", name):  # fmt: skip
        name = f"X{name}"[:8]
    return word or name, unit or plain(axis.unit or "")[:30], values.astype(np.float64)


def table(columns: dict[str, npt.NDArray[np.float64]], number: int) -> bytes:
    """Write a table of coordinates (FITS WCS III, section 6): one row.

    Parameters
    ----------
    columns
        Values by name, shape (n,) each.
    number
        EXTVER.

    Returns
    -------
    extension
        A whole HDU.
    """
    from astropy.io import fits  # noqa: PLC0415  (loaded already)

    kept = [fits.Column(name, f"{len(values)}D", dim=f"(1,{len(values)})", array=values.reshape(1, -1, 1)) for name, values in columns.items()]  # fmt: skip
    hdu = fits.BinTableHDU.from_columns(kept, name="WCS-TAB", ver=number)
    header = bytes(hdu.header.tostring().encode("ascii"))
    data = b"".join(np.ascontiguousarray(values, ">f8").tobytes() for values in columns.values())
    return header + data + bytes(-len(data) % 2880)


def told(cards: Iterable[Card]) -> list[Said]:
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
    found: list[Said] = []
    for card in cards:
        word, value = plain(card.keyword).upper().strip(), card.value
        if value is None or not word or _OWN.fullmatch(word):
            continue
        if isinstance(value, float) and not np.isfinite(value):
            value = str(value)
        if isinstance(value, str):
            value = " ".join(plain(value).split())
        comment = plain(card.comment)
        if word in {"COMMENT", "HISTORY"}:
            found += [(word, line, "") for line in _lines(str(value))]
            continue
        short = _PLAIN.fullmatch(word) is not None
        size = len(str(value)) + (str(value).count("'") + 2 if isinstance(value, str) else 4)
        name = word if short else "HIERARCH " + " ".join(re.sub(r"[^A-Z0-9_-]+", " ", word).split())
        if (short and size <= 70) or (not short and len(name) + 3 + size <= 80):
            # a comment that is too long is cut, with a warning
            room = 80 - (10 + max(20, size) if short else len(name) + 3 + size) - 3
            found.append((name, value, comment[: max(0, room)]))
        else:
            found += [("COMMENT", line, "") for line in _lines(f"{word} = {value}")]
    return found


def _lines(text: str) -> list[str]:
    cut = [text[at : at + 72] for at in range(0, len(text), 72)]
    return [*cut[:LINES], *(("..",) if len(cut) > LINES else ())]


def plain(text: str) -> str:
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
    known = unicodedata.normalize("NFKD", text.replace("µ", "u").replace("μ", "u"))
    return "".join(mark if " " <= mark <= "~" else " " if mark.isspace() else "" if unicodedata.combining(mark) else "?" for mark in known)  # fmt: skip


__all__ = ["Grid", "grid", "plain", "table", "told"]
