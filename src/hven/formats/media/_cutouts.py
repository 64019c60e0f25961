"""Cuts: a window of a product's arrays, or rows of a table, written as FITS.

Its header says the truth about it (WCS papers I to IV).
"""

from __future__ import annotations

import math
import re
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from hven.formats.media._fits_cards import convert_to_fits_cards, describe_grid, to_header_text, write_coordinate_table
from hven.formats.media._pixel_windows import find_window
from hven.formats.media._product import ArrayPart, HeaderCard, TablePart
from hven.formats.media._table_selection import select_rows, write_table_hdu
from hven.model.errors import SourceError, TooLargeError, format_message

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from hven.formats.media._pixel_windows import Selection
    from hven.formats.media._product import Product, StoredHdu

BLOCK_BYTES = 2880  # bytes (FITS 4.0 section 3.1)
FITS_MEDIA = frozenset({"fits", "oifits"})  # media whose cards are those of FITS already
CHUNK_BYTES = 4 << 20  # bytes that are read at a time
_BITPIX = {"u1": 8, "i2": 16, "i4": 32, "i8": 64, "f4": -32, "f8": -64}
_UNSIGNED_OFFSETS = {"i1": ("u1", -128), "u2": ("i2", 2**15), "u4": ("i4", 2**31), "u8": ("i8", 2**63)}
# cards that say how the file stored the array, or are sums over it
_STALE_KEYWORDS = re.compile(
    r"SIMPLE|XTENSION|BITPIX|NAXIS\d*|EXTEND|PCOUNT|GCOUNT|GROUPS|CHECKSUM|DATASUM|END|Z[A-Z]*\d*IMAGE|ZCMPTYPE|ZBITPIX|ZNAXIS\d*|ZTILE\d+|ZNAME\d+|ZVAL\d+|ZQUANTIZ|ZDITHER0"
    r"|ZBLANK|ZSCALE|ZZERO|ZHECKSUM|ZDATASUM|ZPCOUNT|ZGCOUNT|ZSIMPLE|ZEXTEND|ZTENSION|DATAM(IN|AX)"
)
_REFERENCE_PIXEL_KEYWORD = re.compile(r"CRPIX(\d+)([A-Z]?)")


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamedFile:
    """A file that is made while it is sent.

    Attributes
    ----------
    size
        Bytes; None: known at its end alone, as of VOTables.
    read_chunks
        Yields them, a few MB at a time; reads what it needs as it goes.
    media_type
        Of the file.
    """

    size: int | None
    read_chunks: Callable[[], Iterator[bytes]]
    media_type: str = "application/fits"


def cut_product(
    product: Product,
    selection: Selection,
    *,
    part: str | None = None,
    history: Sequence[str] = (),
    byte_limit: int | None = None,
) -> StreamedFile | None:
    """Cut a product.

    Parameters
    ----------
    product
        An open file; it stays open until the last chunk is read.
    selection
        What of it.
    part
        Index or name of the part; None: the first array with data, and with it errors, flags and coverage of the same
        grid.
    history
        Lines for the header: where it comes from.
    byte_limit
        Bytes of the cut at most.

    Returns
    -------
    cut
        None: nothing of what is asked for is in it.

    Raises
    ------
    ParamError, SourceError
        It cannot be cut so.
    TooLargeError
        It would be more than `byte_limit`.
    """
    main_part = product.find_part(part)
    if isinstance(main_part, TablePart):
        selected_rows = select_rows(main_part, selection, product.cards)
        if selected_rows is None:
            return None
        return join_hdus(
            write_primary_hdu(product.cards, product.medium),
            [write_table_hdu(selected_rows, history, byte_limit)],
            byte_limit,
        )
    window_slices = find_window(main_part, selection)
    if window_slices is None:
        return None
    if part is not None:
        arrays = [main_part]
    else:
        arrays = [
            main_part,
            *(array for array in product.arrays if array is not main_part and _is_companion_array(array, main_part)),
        ]
    first = main_part.index == 0 or product.medium not in FITS_MEDIA
    pieces = [
        CutoutHdu(
            array,
            _select_shared_axes(array, main_part, window_slices),
            first=first and array is main_part,
            history=history,
            number=number,
            further_cards=product.cards if first and array is main_part else (),
        )
        for number, array in enumerate(arrays, 1)
    ]
    return join_hdus(b"" if first else write_primary_hdu(product.cards, product.medium), pieces, byte_limit)


def join_hdus(primary_hdu: bytes, hdus: Sequence[CutoutHdu | StoredHdu], byte_limit: int | None = None) -> StreamedFile:
    """Join HDUs to a file.

    Parameters
    ----------
    primary_hdu
        A first HDU; empty: the first of the pieces is one.
    hdus
        Further ones, each with its size.
    byte_limit
        Bytes of the file at most.

    Returns
    -------
    file
        Made while it is sent.

    Raises
    ------
    TooLargeError
        It would be more than `byte_limit`.
    """
    size = len(primary_hdu) + sum(hdu.size for hdu in hdus)
    if byte_limit is not None and size > byte_limit:
        raise TooLargeError(
            format_message(
                "the cut has {size} MB, and {most} MB at most are made at once", -(-size // 10**6), byte_limit // 10**6
            ),
            remedy=format_message("ask for less of it"),
        )

    def read_chunks() -> Iterator[bytes]:
        if primary_hdu:
            yield primary_hdu
        for hdu in hdus:
            yield from hdu.read_chunks()

    return StreamedFile(size=size, read_chunks=read_chunks)


def _is_companion_array(array: ArrayPart, main: ArrayPart) -> bool:
    """Tell whether an array belongs to the data of the main one: errors, flags, coverage of the same grid."""
    return (
        array.role not in {"data", "support"}
        and main.role == "data"
        and len(array.shape) <= len(main.shape)
        and array.shape == main.shape[len(main.shape) - len(array.shape) :]
    )


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
        self.cards = self._collect_cards(number, further_cards)
        self.shape = tuple(part.stop - part.start for part in window)
        raw = array.read_raw is not None
        if raw:
            kind = np.dtype(self._find_raw_type())
        else:
            kind = array.dtype
        self.offset = 0
        code = kind.str[1:]
        if not raw and code in _UNSIGNED_OFFSETS:
            code, self.offset = _UNSIGNED_OFFSETS[code]
        self.dtype = np.dtype(f">{code}" if code != "u1" else "u1")
        if code not in _BITPIX:
            raise SourceError(format_message("values of the type {kind} are not cut", str(kind)))
        self.data_bytes = math.prod(self.shape) * self.dtype.itemsize
        self.padded_bytes = -(-self.data_bytes // BLOCK_BYTES) * BLOCK_BYTES
        self.header = self.write_header(first=first)

    @property
    def size(self) -> int:
        """Bytes, with what belongs to it."""
        return len(self.header) + int(self.padded_bytes) + len(self.coordinate_table)

    def read_chunks(self) -> Iterator[bytes]:
        """Yield it; the pixels are read meanwhile."""
        yield self.header
        yield from self.read_data()
        if self.coordinate_table:
            yield self.coordinate_table

    def _collect_cards(self, number: int, further_cards: Sequence[HeaderCard]) -> list[HeaderCard]:
        """List the cards of its header, and make the table of coordinates that these speak of, if they do."""
        self.coordinate_table = b""
        if self.array.read_raw is not None:
            return list(self.array.cards)
        grid_header = describe_grid(self.array, number)
        if grid_header.columns:
            self.coordinate_table = write_coordinate_table(grid_header.columns, number)
        part_cards = [
            ("EXTNAME", to_header_text(self.array.name)[:60], ""),
            ("BUNIT", to_header_text(self.array.unit or "")[:60], ""),
        ]
        cards_by_keyword: dict[str, HeaderCard] = {}
        lines = []
        for keyword, value, comment in [
            *(card for card in part_cards if card[1]),
            *grid_header.cards,
            *convert_to_fits_cards([*self.array.cards, *further_cards]),
        ]:
            if keyword in {"COMMENT", "HISTORY"}:
                lines.append(HeaderCard(keyword, value, comment))
            else:
                cards_by_keyword.setdefault(keyword, HeaderCard(keyword, value, comment))
        return [*cards_by_keyword.values(), *lines]

    def _find_raw_type(self) -> str:
        bits = next((card.value for card in self.array.cards if card.keyword in {"ZBITPIX", "BITPIX"}), None)
        return {bits: code for code, bits in _BITPIX.items()}.get(int(bits or 0), "f8")

    def write_header(self, *, first: bool) -> bytes:
        """Write the header."""
        from astropy.io import fits  # noqa: PLC0415  (a second to load, asked by few)

        bits = _BITPIX[self.dtype.str[1:]]
        cards: list[tuple[str, Any, str]] = (
            [("SIMPLE", True, "conforms to FITS standard")] if first else [("XTENSION", "IMAGE", "Image extension")]
        )
        cards += [("BITPIX", bits, "array data type"), ("NAXIS", len(self.shape), "number of array dimensions")]
        cards += [(f"NAXIS{axis_number}", size, "") for axis_number, size in enumerate(reversed(self.shape), 1)]
        cards += [("EXTEND", True, "")] if first else [("PCOUNT", 0, ""), ("GCOUNT", 1, "")]
        if self.offset:
            cards += [("BSCALE", 1, ""), ("BZERO", self.offset, "")]
        starts = [part.start for part in reversed(self.window)]
        header = fits.Header(cards)
        moved_pixels = set()
        for card in self.cards:
            if _STALE_KEYWORDS.fullmatch(card.keyword) or (
                self.array.read_raw is None and card.keyword in {"BSCALE", "BZERO", "BLANK"}
            ):
                continue
            value = card.value
            pixel = _REFERENCE_PIXEL_KEYWORD.fullmatch(card.keyword)
            if pixel and isinstance(value, int | float) and int(pixel[1]) <= len(starts):
                moved_pixels.add((int(pixel[1]), pixel[2]))
                value = float(value) - starts[int(pixel[1]) - 1]
            elif card.keyword in {"CNPIX1", "CNPIX2"} and isinstance(value, int | float):
                value += starts[int(card.keyword[-1]) - 1]  # of a plate: the Digitized Sky Survey's own solution
            _append_card(header, (card.keyword, value, card.comment))
        # a reference pixel that is not said is 0 (FITS 4.0 section 8.2)
        for number, start in enumerate(starts, 1):
            if (
                start
                and (number, "") not in moved_pixels
                and any(f"{word}{number}" in header for word in ("CRVAL", "CDELT", "CTYPE"))
            ):
                header[f"CRPIX{number}"] = -float(start)
        for axis_number, start in enumerate(starts, 1):
            if start:
                header[f"LTV{axis_number}"] = (
                    float(header.get(f"LTV{axis_number}", 0.0))
                    - start * float(header.get(f"LTM{axis_number}_{axis_number}", 1.0)),
                    "pixel here - pixel of the original",
                )
        is_complete = all(
            part.stop - part.start == size for part, size in zip(self.window, self.array.shape, strict=True)
        )
        section = ",".join(f"{part.start + 1}:{part.stop}" for part in reversed(self.window))
        if not is_complete:
            header.add_history(
                f"cut: pixels [{section}] of [{','.join(str(size) for size in reversed(self.array.shape))}], "
                f"HDU {self.array.index}"
            )
        for line in self.history:
            header.add_history(_replace_non_ascii(line))
        return _write_header_text(header)

    def read_data(self) -> Iterator[bytes]:
        """Read the window, a few MB at a time."""
        if len(self.shape) > 1:
            row = math.prod(self.shape[1:]) * self.dtype.itemsize
        else:
            row = self.dtype.itemsize
        for inner in (
            _split_window(self.window, self.dtype.itemsize)
            if row > CHUNK_BYTES
            else _split_rows(self.window, max(1, CHUNK_BYTES // max(1, row)))
        ):
            yield self._encode_values(inner)  # nothing else is held while its reader takes it
        if self.padded_bytes > self.data_bytes:
            yield bytes(self.padded_bytes - self.data_bytes)

    def _encode_values(self, inner: tuple[slice, ...]) -> bytes:
        values = np.asarray((self.array.read_raw or self.array.read)(inner))
        if self.offset:
            if self.offset < 2**62:
                values = values.astype(np.int64) - self.offset
            else:
                values = (values ^ values.dtype.type(1 << 63)).view(np.int64)
        return np.ascontiguousarray(values, self.dtype).tobytes()


def _split_rows(window_slices: tuple[slice, ...], step: int) -> Iterator[tuple[slice, ...]]:
    first, *further_slices = window_slices
    for start in range(first.start, first.stop, step):
        yield (slice(start, min(first.stop, start + step)), *further_slices)


def _split_window(window_slices: tuple[slice, ...], item_bytes: int) -> Iterator[tuple[slice, ...]]:
    """Take a window apart along its slowest axes, so that each piece is small."""
    if len(window_slices) == 1:
        yield from _split_rows(window_slices, CHUNK_BYTES // item_bytes)
        return
    for index in range(window_slices[0].start, window_slices[0].stop):
        size = math.prod(part.stop - part.start for part in window_slices[2:]) * item_bytes
        if size > CHUNK_BYTES:
            inner = _split_window(window_slices[1:], item_bytes)
        else:
            inner = _split_rows(window_slices[1:], max(1, CHUNK_BYTES // size))
        for further_slices in inner:
            yield (slice(index, index + 1), *further_slices)


def write_primary_hdu(cards: Sequence[HeaderCard], medium: str = "fits") -> bytes:
    """Write a first HDU without data.

    Parameters
    ----------
    cards
        Of the original's.
    medium
        What it is.

    Returns
    -------
    hdu
        A header.
    """
    from astropy.io import fits  # noqa: PLC0415  (loaded already)

    header = fits.Header(
        [("SIMPLE", True, "conforms to FITS standard"), ("BITPIX", 8, ""), ("NAXIS", 0, ""), ("EXTEND", True, "")]
    )
    for keyword, value, comment in cards if medium in FITS_MEDIA else convert_to_fits_cards(cards):
        if not _STALE_KEYWORDS.fullmatch(keyword) and keyword not in {"BSCALE", "BZERO", "BLANK"}:
            _append_card(header, (keyword, value, comment))
    return _write_header_text(header)


def _replace_non_ascii(value: Any) -> Any:
    """Return a text in the characters that headers may have (FITS 4.0 section 4.1.1)."""
    if isinstance(value, str):
        return "".join(sign if " " <= sign <= "~" else "?" for sign in value)
    return value


def _append_card(header: Any, card: tuple[str, Any, str]) -> None:
    """Add a card; that its keyword is long, or its comment is cut, needs no warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        header.append(tuple(map(_replace_non_ascii, card)), end=True)


def _write_header_text(header: Any) -> bytes:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return bytes(header.tostring().encode("ascii", "replace"))


__all__ = ["FITS_MEDIA", "CutoutHdu", "StreamedFile", "cut_product", "join_hdus", "write_primary_hdu"]
