"""Cut a window of the arrays of a product, or rows of a table, and write it as FITS.

The header describes the cut itself (WCS papers I to IV).
"""

from __future__ import annotations

import math
import re
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from hven.formats.media import ArrayPart, HeaderCard, TablePart
from hven.model import plugins
from hven.model.errors import SourceError, TooLargeError, format_message
from hven.plugins.cutouts.fits_header_cards import (
    convert_to_fits_cards,
    to_fits_header_text,
    write_coordinate_table,
    write_grid_cards,
)
from hven.plugins.cutouts.pixel_windows import find_window
from hven.plugins.cutouts.table_selection import select_rows_or_elements, write_table_hdu

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from hven.formats.media import OpenProductFile
    from hven.formats.media.api import StoredHdu
    from hven.plugins.cutouts.pixel_windows import CutoutSelection

BLOCK_BYTES = 2880  # bytes (FITS 4.0 section 3.1)
FITS_MEDIUM = "fits"
CHUNK_BYTES = 4 << 20  # bytes that are read at a time
_BITPIX = {"u1": 8, "i2": 16, "i4": 32, "i8": 64, "f4": -32, "f8": -64}
_UNSIGNED_OFFSETS = {"i1": ("u1", -128), "u2": ("i2", 2**15), "u4": ("i4", 2**31), "u8": ("i8", 2**63)}
# cards that describe how the file stored the array, or are sums over it
_STALE_KEYWORDS = re.compile(
    r"SIMPLE|XTENSION|BITPIX|NAXIS\d*|EXTEND|PCOUNT|GCOUNT|GROUPS|CHECKSUM|DATASUM|END"
    r"|Z[A-Z]*\d*IMAGE|ZCMPTYPE|ZBITPIX|ZNAXIS\d*|ZTILE\d+|ZNAME\d+|ZVAL\d+|ZQUANTIZ|ZDITHER0"
    r"|ZBLANK|ZSCALE|ZZERO|ZHECKSUM|ZDATASUM|ZPCOUNT|ZGCOUNT|ZSIMPLE|ZEXTEND|ZTENSION|DATAM(IN|AX)"
)
_REFERENCE_PIXEL_KEYWORD = re.compile(r"CRPIX(\d+)([A-Z]?)")


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamedFile:
    """A file that is created while it is sent.

    Attributes
    ----------
    size
        Size in bytes; None if it is only known at the end, as for VOTables.
    read_chunks
        Yield the bytes, a few MB at a time; the function reads what it needs as it goes.
    media_type
        Media type of the file.
    """

    size: int | None
    read_chunks: Callable[[], Iterator[bytes]]
    media_type: str = "application/fits"


def cut_product(
    product: OpenProductFile,
    selection: CutoutSelection,
    *,
    part_name: str | None = None,
    history: Sequence[str] = (),
    byte_limit: int | None = None,
) -> StreamedFile | None:
    """Cut a part out of a product.

    Parameters
    ----------
    product
        An open file, which stays open until the last chunk is read.
    selection
        What to cut.
    part_name
        Index or name of the part; None: the first array with data, and the errors, flags and coverage of the same grid.
    history
        Lines about the origin of the file, for the header.
    byte_limit
        Maximum size of the cut in bytes.

    Returns
    -------
    cut
        The file, or None if it contains nothing of the selection.

    Raises
    ------
    ParamError, SourceError
        The product cannot be cut in this way.
    TooLargeError
        The cut would have more than `byte_limit` bytes.
    """
    main_part = product.find_part(part_name)
    if isinstance(main_part, TablePart):
        selected_rows = select_rows_or_elements(main_part, selection, product.cards)
        if selected_rows is None:
            return None
        primary_hdu = write_primary_hdu(product.cards, product.medium)
        table_hdu = write_table_hdu(selected_rows, history, byte_limit)
        return join_hdus(primary_hdu, [table_hdu], byte_limit)
    window_slices = find_window(main_part, selection)
    if window_slices is None:
        return None
    arrays = [main_part]
    if part_name is None:
        other_arrays = [array for array in product.arrays if array is not main_part]
        arrays += [array for array in other_arrays if _is_companion_array(array, main_part)]
    first = main_part.index == 0 or not has_fits_cards(product.medium)
    pieces = []
    for number, array in enumerate(arrays, 1):
        is_primary = first and array is main_part
        piece = CutoutHdu(
            array,
            _select_shared_axes(array, main_part, window_slices),
            first=is_primary,
            history=history,
            number=number,
            further_cards=product.cards if is_primary else (),
        )
        pieces.append(piece)
    primary_hdu = b""
    if not first:
        primary_hdu = write_primary_hdu(product.cards, product.medium)
    return join_hdus(primary_hdu, pieces, byte_limit)


def join_hdus(primary_hdu: bytes, hdus: Sequence[CutoutHdu | StoredHdu], byte_limit: int | None = None) -> StreamedFile:
    """Join HDUs to a file.

    Parameters
    ----------
    primary_hdu
        The first HDU; empty if the first of `hdus` is one.
    hdus
        Further HDUs, each with its size.
    byte_limit
        Maximum size of the file in bytes.

    Returns
    -------
    file
        File that is created while it is sent.

    Raises
    ------
    TooLargeError
        The file would have more than `byte_limit` bytes.
    """
    size = len(primary_hdu) + sum(hdu.size for hdu in hdus)
    if byte_limit is not None and size > byte_limit:
        message = format_message(
            "the size of the cut-out would be {size} MB; the limit is {most} MB", -(-size // 10**6), byte_limit // 10**6
        )
        raise TooLargeError(message, remedy=format_message("request a smaller part"))

    def read_chunks() -> Iterator[bytes]:
        if primary_hdu:
            yield primary_hdu
        for hdu in hdus:
            yield from hdu.read_chunks()

    return StreamedFile(size=size, read_chunks=read_chunks)


def _is_companion_array(array: ArrayPart, main: ArrayPart) -> bool:
    """Return whether an array belongs to the data of the main one: errors, flags, coverage of the same grid."""
    is_companion_role = array.role not in {"data", "support"} and main.role == "data"
    if not is_companion_role or len(array.shape) > len(main.shape):
        return False
    missing_axes = len(main.shape) - len(array.shape)
    return array.shape == main.shape[missing_axes:]


def _select_shared_axes(array: ArrayPart, main: ArrayPart, window_slices: tuple[slice, ...]) -> tuple[slice, ...]:
    return window_slices[len(main.shape) - len(array.shape) :]


class CutoutHdu:
    """One HDU of a cut."""

    def __init__(
        self,
        array: ArrayPart,
        window: tuple[slice, ...],
        *,
        first: bool,
        history: Sequence[str],
        number: int = 1,
        further_cards: Sequence[HeaderCard] = (),
    ) -> None:
        self.array = array
        self.window = window
        self.history = history
        self.cards = self._collect_cards_and_coordinate_table(number, further_cards)
        self.shape = tuple(part.stop - part.start for part in window)
        raw = array.read_raw is not None
        if raw:
            kind = np.dtype(self._find_stored_dtype())
        else:
            kind = array.dtype
        self.offset = 0
        code = kind.str[1:]
        if not raw and code in _UNSIGNED_OFFSETS:
            code, self.offset = _UNSIGNED_OFFSETS[code]
        self.dtype = np.dtype("u1" if code == "u1" else f">{code}")
        if code not in _BITPIX:
            raise SourceError(format_message("Hven cannot cut out values of the type {kind}", str(kind)))
        self.data_bytes = math.prod(self.shape) * self.dtype.itemsize
        self.padded_bytes = -(-self.data_bytes // BLOCK_BYTES) * BLOCK_BYTES
        self.header = self.write_header(is_first_hdu=first)

    @property
    def size(self) -> int:
        """Bytes of the HDU and of the table of coordinates that belongs to it."""
        return len(self.header) + int(self.padded_bytes) + len(self.coordinate_table)

    def read_chunks(self) -> Iterator[bytes]:
        """Yield the bytes of the HDU; the pixels are read meanwhile."""
        yield self.header
        yield from self.read_data()
        if self.coordinate_table:
            yield self.coordinate_table

    def _collect_cards_and_coordinate_table(self, number: int, further_cards: Sequence[HeaderCard]) -> list[HeaderCard]:
        """List the cards of the header, and create the table of coordinates if they refer to one."""
        self.coordinate_table = b""
        if self.array.read_raw is not None:
            return list(self.array.cards)
        grid_header = write_grid_cards(self.array, number)
        if grid_header.columns:
            self.coordinate_table = write_coordinate_table(grid_header.columns, number)
        part_cards: list[tuple[str, Any, str]] = []
        for keyword, text in (("EXTNAME", self.array.name), ("BUNIT", self.array.unit or "")):
            header_text = to_fits_header_text(text)[:60]
            if header_text:
                part_cards.append((keyword, header_text, ""))
        file_cards = convert_to_fits_cards([*self.array.cards, *further_cards])
        cards_by_keyword: dict[str, HeaderCard] = {}
        lines = []
        for keyword, value, comment in [*part_cards, *grid_header.cards, *file_cards]:
            card = HeaderCard(keyword, value, comment)
            if keyword in {"COMMENT", "HISTORY"}:
                lines.append(card)
            else:
                cards_by_keyword.setdefault(keyword, card)
        return [*cards_by_keyword.values(), *lines]

    def _find_stored_dtype(self) -> str:
        file_bits = 0
        for card in self.array.cards:
            if card.keyword in {"ZBITPIX", "BITPIX"}:
                file_bits = int(card.value or 0)
                break
        codes = {bits: code for code, bits in _BITPIX.items()}
        return codes.get(file_bits, "f8")

    def write_header(self, *, is_first_hdu: bool) -> bytes:
        """Write the header."""
        from astropy.io import fits  # noqa: PLC0415  (takes a second to load, and few requests need it)

        header = fits.Header(self._list_structural_cards(is_first_hdu=is_first_hdu))
        self._append_shifted_wcs_cards(header)
        starts = [part.start for part in reversed(self.window)]
        for axis_number, start in enumerate(starts, 1):
            if start:
                offset = float(header.get(f"LTV{axis_number}", 0.0))
                scale = float(header.get(f"LTM{axis_number}_{axis_number}", 1.0))
                header[f"LTV{axis_number}"] = (offset - start * scale, "pixel here - pixel of the original")
        if self.shape != tuple(self.array.shape):
            section = ",".join(f"{part.start + 1}:{part.stop}" for part in reversed(self.window))
            original_sizes = ",".join(str(size) for size in reversed(self.array.shape))
            header.add_history(f"cut: pixels [{section}] of [{original_sizes}], HDU {self.array.index}")
        for line in self.history:
            header.add_history(_replace_non_ascii(line))
        return _write_header_text(header)

    def _list_structural_cards(self, *, is_first_hdu: bool) -> list[tuple[str, Any, str]]:
        """List the cards that every HDU begins with (FITS 4.0 section 4.4.1)."""
        bits = _BITPIX[self.dtype.str[1:]]
        cards: list[tuple[str, Any, str]] = []
        if is_first_hdu:
            cards.append(("SIMPLE", True, "conforms to FITS standard"))
        else:
            cards.append(("XTENSION", "IMAGE", "Image extension"))
        cards.append(("BITPIX", bits, "array data type"))
        cards.append(("NAXIS", len(self.shape), "number of array dimensions"))
        for axis_number, size in enumerate(reversed(self.shape), 1):
            cards.append((f"NAXIS{axis_number}", size, ""))
        if is_first_hdu:
            cards.append(("EXTEND", True, ""))
        else:
            cards += [("PCOUNT", 0, ""), ("GCOUNT", 1, "")]
        if self.offset:
            cards += [("BSCALE", 1, ""), ("BZERO", self.offset, "")]
        return cards

    def _append_shifted_wcs_cards(self, header: Any) -> None:
        """Append the cards of the array, with reference pixels that count from the corner of the window."""
        starts = [part.start for part in reversed(self.window)]
        moved_pixels = set()
        for card in self.cards:
            is_unscaled = self.array.read_raw is None and card.keyword in {"BSCALE", "BZERO", "BLANK"}
            if is_unscaled or _STALE_KEYWORDS.fullmatch(card.keyword):
                continue
            value = card.value
            pixel = _REFERENCE_PIXEL_KEYWORD.fullmatch(card.keyword)
            if pixel and isinstance(value, int | float) and int(pixel[1]) <= len(starts):
                moved_pixels.add((int(pixel[1]), pixel[2]))
                value = float(value) - starts[int(pixel[1]) - 1]
            elif card.keyword in {"CNPIX1", "CNPIX2"} and isinstance(value, int | float):
                value += starts[int(card.keyword[-1]) - 1]  # the Digitized Sky Survey's own solution for plates
            _append_card(header, (card.keyword, value, card.comment))
        # a missing reference pixel is 0 (FITS 4.0 section 8.2)
        for number, start in enumerate(starts, 1):
            has_axis = any(f"{word}{number}" in header for word in ("CRVAL", "CDELT", "CTYPE"))
            if start and has_axis and (number, "") not in moved_pixels:
                header[f"CRPIX{number}"] = -float(start)

    def read_data(self) -> Iterator[bytes]:
        """Read the window, a few MB at a time."""
        if len(self.shape) > 1:
            row = math.prod(self.shape[1:]) * self.dtype.itemsize
        else:
            row = self.dtype.itemsize
        if row > CHUNK_BYTES:
            pieces = _split_window(self.window, self.dtype.itemsize)
        else:
            pieces = _split_first_axis(self.window, max(1, CHUNK_BYTES // max(1, row)))
        for inner in pieces:
            yield self._read_and_encode_values(inner)  # nothing else is held while the client takes it
        if self.padded_bytes > self.data_bytes:
            yield bytes(self.padded_bytes - self.data_bytes)

    def _read_and_encode_values(self, window_slices: tuple[slice, ...]) -> bytes:
        read = self.array.read_raw or self.array.read
        values = np.asarray(read(window_slices))
        if self.offset:
            if self.offset < 2**62:
                values = values.astype(np.int64) - self.offset
            else:
                sign_bit = values.dtype.type(1 << 63)
                values = (values ^ sign_bit).view(np.int64)
        return np.ascontiguousarray(values, self.dtype).tobytes()


def _split_first_axis(window_slices: tuple[slice, ...], step: int) -> Iterator[tuple[slice, ...]]:
    first, *further_slices = window_slices
    for start in range(first.start, first.stop, step):
        yield (slice(start, min(first.stop, start + step)), *further_slices)


def _split_window(window_slices: tuple[slice, ...], item_bytes: int) -> Iterator[tuple[slice, ...]]:
    """Split a window along its slowest axes, so that each piece is small."""
    if len(window_slices) == 1:
        yield from _split_first_axis(window_slices, CHUNK_BYTES // item_bytes)
        return
    for index in range(window_slices[0].start, window_slices[0].stop):
        item_count = math.prod(part.stop - part.start for part in window_slices[2:])
        size = item_count * item_bytes
        if size > CHUNK_BYTES:
            inner = _split_window(window_slices[1:], item_bytes)
        else:
            inner = _split_first_axis(window_slices[1:], max(1, CHUNK_BYTES // size))
        for further_slices in inner:
            yield (slice(index, index + 1), *further_slices)


def has_fits_cards(medium: str) -> bool:
    """Check whether the cards of a medium are those of FITS already.

    Parameters
    ----------
    medium
        Name of the medium.

    Returns
    -------
    result
        True for FITS and for the media that refine it.
    """
    if medium == FITS_MEDIUM or medium not in plugins.list_plugins("media"):
        return medium == FITS_MEDIUM
    refinement: tuple[str, object] | None = plugins.load_plugin("media", medium).MEDIUM.refinement
    return refinement is not None and refinement[0] == FITS_MEDIUM


def write_primary_hdu(cards: Sequence[HeaderCard], medium: str = "fits") -> bytes:
    """Write a first HDU without data.

    Parameters
    ----------
    cards
        Cards of the original file.
    medium
        Medium of the original file.

    Returns
    -------
    hdu
        Bytes of the header.
    """
    from astropy.io import fits  # noqa: PLC0415  (loaded already)

    header = fits.Header()
    header.append(("SIMPLE", True, "conforms to FITS standard"))
    header.append(("BITPIX", 8, ""))
    header.append(("NAXIS", 0, ""))
    header.append(("EXTEND", True, ""))
    fits_cards = cards if has_fits_cards(medium) else convert_to_fits_cards(cards)
    for keyword, value, comment in fits_cards:
        if not _STALE_KEYWORDS.fullmatch(keyword) and keyword not in {"BSCALE", "BZERO", "BLANK"}:
            _append_card(header, (keyword, value, comment))
    return _write_header_text(header)


def _replace_non_ascii(value: Any) -> Any:
    """Replace the characters that headers cannot hold (FITS 4.0 section 4.1.1)."""
    if isinstance(value, str):
        return re.sub(r"[^ -~]", "?", value)
    return value


def _append_card(header: Any, card: tuple[str, Any, str]) -> None:
    """Append a card without warnings about long keywords and comments that are cut."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        header.append(tuple(map(_replace_non_ascii, card)), end=True)


def _write_header_text(header: Any) -> bytes:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return bytes(header.tostring().encode("ascii", "replace"))
