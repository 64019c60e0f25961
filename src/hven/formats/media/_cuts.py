"""Cuts: a window of a product's arrays, or rows of a table, written as FITS; its header says the truth about it (WCS papers I to IV)."""

from __future__ import annotations

import math
import re
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from hven.formats.media._headers import grid, plain, table, told
from hven.formats.media._product import Array, Card, Rows
from hven.formats.media._tables import chosen, written
from hven.formats.media._windows import window
from hven.model.errors import SourceError, TooLarge, say

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from hven.formats.media._product import Product, Stored
    from hven.formats.media._windows import Selection

BLOCK = 2880  # bytes (FITS 4.0 section 3.1)
FITS = frozenset({"fits", "oifits"})  # media whose cards are those of FITS already
CHUNK = 4 << 20  # bytes that are read at a time
_BITPIX = {"u1": 8, "i2": 16, "i4": 32, "i8": 64, "f4": -32, "f8": -64}
_UNSIGNED = {"i1": ("u1", -128), "u2": ("i2", 2**15), "u4": ("i4", 2**31), "u8": ("i8", 2**63)}
# cards that say how the file stored the array, or are sums over it
_STALE = re.compile(
    r"SIMPLE|XTENSION|BITPIX|NAXIS\d*|EXTEND|PCOUNT|GCOUNT|GROUPS|CHECKSUM|DATASUM|END|Z[A-Z]*\d*IMAGE|ZCMPTYPE|ZBITPIX|ZNAXIS\d*|ZTILE\d+|ZNAME\d+|ZVAL\d+|ZQUANTIZ|ZDITHER0"
    r"|ZBLANK|ZSCALE|ZZERO|ZHECKSUM|ZDATASUM|ZPCOUNT|ZGCOUNT|ZSIMPLE|ZEXTEND|ZTENSION|DATAM(IN|AX)"
)
_PIXEL = re.compile(r"CRPIX(\d+)([A-Z]?)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """A file that is made while it is sent.

    Attributes
    ----------
    size
        Bytes; None: known at its end alone, as of VOTables.
    chunks
        Yields them, a few MB at a time; reads what it needs as it goes.
    media_type
        Of the file.
    """

    size: int | None
    chunks: Callable[[], Iterator[bytes]]
    media_type: str = "application/fits"


def cut(
    product: Product,
    wanted: Selection,
    *,
    part: str | None = None,
    history: Sequence[str] = (),
    most: int | None = None,
) -> Cut | None:
    """Cut a product.

    Parameters
    ----------
    product
        An open file; it stays open until the last chunk is read.
    wanted
        What of it.
    part
        Index or name of the part; None: the first array with data, and with it errors, flags and coverage of the same grid.
    history
        Lines for the header: where it comes from.
    most
        Bytes of the cut at most.

    Returns
    -------
    cut
        None: nothing of what is asked for is in it.

    Raises
    ------
    ParamError, SourceError
        It cannot be cut so.
    TooLarge
        It would be more than `most`.
    """
    main = product.part(part)
    if isinstance(main, Rows):
        rows = chosen(main, wanted, product.cards)
        return (
            None if rows is None else joined(alone(product.cards, product.medium), [written(rows, history, most)], most)
        )
    found = window(main, wanted)
    if found is None:
        return None
    arrays = (
        [main]
        if part is not None
        else [main, *(one for one in product.arrays if one is not main and _beside(one, main))]
    )
    first = main.index == 0 or product.medium not in FITS
    pieces = [
        Piece(
            one,
            _shared(one, main, found),
            first=first and one is main,
            history=history,
            number=number,
            more=product.cards if first and one is main else (),
        )
        for number, one in enumerate(arrays, 1)
    ]
    return joined(b"" if first else alone(product.cards, product.medium), pieces, most)


def joined(head: bytes, pieces: Sequence[Piece | Stored], most: int | None = None) -> Cut:
    """Join HDUs to a file.

    Parameters
    ----------
    head
        A first HDU; empty: the first of the pieces is one.
    pieces
        Further ones, each with its size.
    most
        Bytes of the file at most.

    Returns
    -------
    file
        Made while it is sent.

    Raises
    ------
    TooLarge
        It would be more than `most`.
    """
    size = len(head) + sum(piece.size for piece in pieces)
    if most is not None and size > most:
        raise TooLarge(
            say("the cut has {size} MB, and {most} MB at most are made at once", -(-size // 10**6), most // 10**6),
            remedy=say("ask for less of it"),
        )

    def chunks() -> Iterator[bytes]:
        if head:
            yield head
        for piece in pieces:
            yield from piece.chunks()

    return Cut(size=size, chunks=chunks)


def _beside(one: Array, main: Array) -> bool:
    """Tell whether an array belongs to the data of the main one: errors, flags, coverage of the same grid."""
    return (
        one.role not in {"data", "support"}
        and main.role == "data"
        and len(one.shape) <= len(main.shape)
        and one.shape == main.shape[len(main.shape) - len(one.shape) :]
    )


def _shared(one: Array, main: Array, found: tuple[slice, ...]) -> tuple[slice, ...]:
    return found[len(main.shape) - len(one.shape) :]


class Piece:
    """One HDU of a cut."""

    def __init__(
        self,
        array: Array,
        window: tuple[slice, ...],
        *,
        first: bool,
        history: Sequence[str],
        number: int = 1,
        more: Sequence[Card] = (),
    ) -> None:
        self.array, self.window, self.history = array, window, history
        self.said = self._said(number, more)
        self.shape = tuple(part.stop - part.start for part in window)
        raw = array.raw is not None
        kind = np.dtype(self._kind()) if raw else array.dtype
        self.shift = 0
        code = kind.str[1:]
        if not raw and code in _UNSIGNED:
            code, self.shift = _UNSIGNED[code]
        self.kind = np.dtype(f">{code}" if code != "u1" else "u1")
        if code not in _BITPIX:
            raise SourceError(say("values of the type {kind} are not cut", str(kind)))
        self.bytes = math.prod(self.shape) * self.kind.itemsize
        self.padded = -(-self.bytes // BLOCK) * BLOCK
        self.head = self.made(first=first)

    @property
    def size(self) -> int:
        """Bytes, with what belongs to it."""
        return len(self.head) + int(self.padded) + len(self.after)

    def chunks(self) -> Iterator[bytes]:
        """Yield it; the pixels are read meanwhile."""
        yield self.head
        yield from self.data()
        if self.after:
            yield self.after

    def _said(self, number: int, more: Sequence[Card]) -> list[Card]:
        """List the cards of its header, and make the table of coordinates that these speak of, if they do."""
        self.after = b""
        if self.array.raw is not None:
            return list(self.array.cards)
        said = grid(self.array, number)
        if said.columns:
            self.after = table(said.columns, number)
        named = [("EXTNAME", plain(self.array.name)[:60], ""), ("BUNIT", plain(self.array.unit or "")[:60], "")]
        found: dict[str, Card] = {}
        lines = []
        for keyword, value, comment in [*(one for one in named if one[1]), *said.cards, *told([*self.array.cards, *more])]:  # fmt: skip
            if keyword in {"COMMENT", "HISTORY"}:
                lines.append(Card(keyword, value, comment))
            else:
                found.setdefault(keyword, Card(keyword, value, comment))
        return [*found.values(), *lines]

    def _kind(self) -> str:
        bits = next((card.value for card in self.array.cards if card.keyword in {"ZBITPIX", "BITPIX"}), None)
        return {bits: code for code, bits in _BITPIX.items()}.get(int(bits or 0), "f8")

    def made(self, *, first: bool) -> bytes:
        """Write the header."""
        from astropy.io import fits  # noqa: PLC0415  (a second to load, asked by few)

        bits = _BITPIX[self.kind.str[1:]]
        cards: list[tuple[str, Any, str]] = (
            [("SIMPLE", True, "conforms to FITS standard")] if first else [("XTENSION", "IMAGE", "Image extension")]
        )
        cards += [("BITPIX", bits, "array data type"), ("NAXIS", len(self.shape), "number of array dimensions")]
        cards += [(f"NAXIS{at}", size, "") for at, size in enumerate(reversed(self.shape), 1)]
        cards += [("EXTEND", True, "")] if first else [("PCOUNT", 0, ""), ("GCOUNT", 1, "")]
        if self.shift:
            cards += [("BSCALE", 1, ""), ("BZERO", self.shift, "")]
        starts = [part.start for part in reversed(self.window)]
        header = fits.Header(cards)
        moved = set()
        for card in self.said:
            if _STALE.fullmatch(card.keyword) or (
                self.array.raw is None and card.keyword in {"BSCALE", "BZERO", "BLANK"}
            ):
                continue
            value = card.value
            pixel = _PIXEL.fullmatch(card.keyword)
            if pixel and isinstance(value, int | float) and int(pixel[1]) <= len(starts):
                moved.add((int(pixel[1]), pixel[2]))
                value = float(value) - starts[int(pixel[1]) - 1]
            elif card.keyword in {"CNPIX1", "CNPIX2"} and isinstance(value, int | float):
                value += starts[int(card.keyword[-1]) - 1]  # of a plate: the Digitized Sky Survey's own solution
            _append(header, (card.keyword, value, card.comment))
        # a reference pixel that is not said is 0 (FITS 4.0 section 8.2)
        for number, start in enumerate(starts, 1):
            if (
                start
                and (number, "") not in moved
                and any(f"{word}{number}" in header for word in ("CRVAL", "CDELT", "CTYPE"))
            ):
                header[f"CRPIX{number}"] = -float(start)
        for at, start in enumerate(starts, 1):
            if start:
                header[f"LTV{at}"] = (
                    float(header.get(f"LTV{at}", 0.0)) - start * float(header.get(f"LTM{at}_{at}", 1.0)),
                    "pixel here - pixel of the original",
                )
        whole = all(part.stop - part.start == size for part, size in zip(self.window, self.array.shape, strict=True))
        section = ",".join(f"{part.start + 1}:{part.stop}" for part in reversed(self.window))
        if not whole:
            header.add_history(
                f"cut: pixels [{section}] of [{','.join(str(size) for size in reversed(self.array.shape))}], HDU {self.array.index}"
            )
        for line in self.history:
            header.add_history(_ascii(line))
        return _text(header)

    def data(self) -> Iterator[bytes]:
        """Read the window, a few MB at a time."""
        row = math.prod(self.shape[1:]) * self.kind.itemsize if len(self.shape) > 1 else self.kind.itemsize
        for inner in (
            _split(self.window, self.kind.itemsize)
            if row > CHUNK
            else _rows_of(self.window, max(1, CHUNK // max(1, row)))
        ):
            yield self._written(inner)  # nothing else is held while its reader takes it
        if self.padded > self.bytes:
            yield bytes(self.padded - self.bytes)

    def _written(self, inner: tuple[slice, ...]) -> bytes:
        values = np.asarray((self.array.raw or self.array.read)(inner))
        if self.shift:
            values = values.astype(np.int64) - self.shift if self.shift < 2**62 else (values ^ values.dtype.type(1 << 63)).view(np.int64)  # fmt: skip
        return np.ascontiguousarray(values, self.kind).tobytes()


def _rows_of(found: tuple[slice, ...], step: int) -> Iterator[tuple[slice, ...]]:
    first, *rest = found
    for start in range(first.start, first.stop, step):
        yield (slice(start, min(first.stop, start + step)), *rest)


def _split(found: tuple[slice, ...], width: int) -> Iterator[tuple[slice, ...]]:
    """Take a window apart along its slowest axes, so that each piece is small."""
    if len(found) == 1:
        yield from _rows_of(found, CHUNK // width)
        return
    for at in range(found[0].start, found[0].stop):
        size = math.prod(part.stop - part.start for part in found[2:]) * width
        inner = _split(found[1:], width) if size > CHUNK else _rows_of(found[1:], max(1, CHUNK // size))
        for rest in inner:
            yield (slice(at, at + 1), *rest)


def alone(cards: Sequence[Card], medium: str = "fits") -> bytes:
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
    for keyword, value, comment in cards if medium in FITS else told(cards):
        if not _STALE.fullmatch(keyword) and keyword not in {"BSCALE", "BZERO", "BLANK"}:
            _append(header, (keyword, value, comment))
    return _text(header)


def _ascii(value: Any) -> Any:
    """Return a text in the characters that headers may have (FITS 4.0 section 4.1.1)."""
    return "".join(sign if " " <= sign <= "~" else "?" for sign in value) if isinstance(value, str) else value


def _append(header: Any, card: tuple[str, Any, str]) -> None:
    """Add a card; that its keyword is long, or its comment is cut, needs no warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        header.append(tuple(map(_ascii, card)), end=True)


def _text(header: Any) -> bytes:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return bytes(header.tostring().encode("ascii", "replace"))


__all__ = ["FITS", "Cut", "Piece", "alone", "cut", "joined"]
