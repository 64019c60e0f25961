"""Read FITS headers quickly and tolerantly (FITS 4.0 section 4): cards, CONTINUE, HIERARCH.

Only headers are read.
"""

from __future__ import annotations

import contextlib
import gzip
import io
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hven.model.errors import SourceError, TextPlace

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator
    from pathlib import Path

BLOCK_BYTES = 2880
MAX_HEADER_BYTES = 1000 * BLOCK_BYTES  # of one header
_MAX_ROW_BYTES = 256 << 20  # bytes of a row of a table
_SIZE_KEYWORD_PATTERN = re.compile(r"NAXIS\d*|BITPIX|PCOUNT|GCOUNT|TFIELDS|THEAP|TBCOL\d+")
_STRING_VALUE_PATTERN = re.compile(r"\s*'((?:[^']|'')*)'?\s*(?:/\s?(.*))?$", re.DOTALL)
_INTEGER_PATTERN = re.compile(r"[+-]?\d+$")
Value = str | int | float | bool | None


@dataclass(slots=True)
class HduHeader:
    """The cards of one HDU; the first of repeated keywords counts. `commentary` are the lines of COMMENT and HISTORY.

    Attributes
    ----------
    index
        Index of the HDU, from 0.
    card_values
        Card values by keyword.
    comments
        Comments by keyword.
    """

    index: int
    card_values: dict[str, Value] = field(default_factory=dict)
    comments: dict[str, str] = field(default_factory=dict)
    commentary: list[tuple[str, str]] = field(default_factory=list)

    def read_integer(self, key: str, default: int = 0) -> int:
        """Return the whole number of a key.

        Parameters
        ----------
        key
            As the card has it.
        default
            Where there is none, or no number.
        """
        value = self.card_values.get(key)
        if isinstance(value, (int, float)):
            return int(value)
        return default

    def read_text(self, key: str) -> str | None:
        """Return the text of a key; a number is written out, an empty text is None.

        Parameters
        ----------
        key
            As the card has it.
        """
        value = self.card_values.get(key)
        if value is not None:
            return str(value).strip() or None
        return None

    def is_named(self, name: int | str) -> bool:
        """Return whether a descriptor's word for an HDU is the name of this one, in any case.

        Parameters
        ----------
        name
            Name, or number; no number is a name.

        Returns
        -------
        bool
            Whether it is.
        """
        return isinstance(name, str) and name.lower() == self.name.lower()

    @property
    def name(self) -> str:
        """EXTNAME, or the usual word for the first HDU."""
        return self.read_text("EXTNAME") or ("PRIMARY" if self.index == 0 else "")

    @property
    def hdu_kind(self) -> str:
        """The kind of the HDU: image, BINTABLE, TABLE; a tile-compressed image is an image."""
        kind = self.read_text("XTENSION") or "image"
        if self.card_values.get("ZIMAGE") is True:
            return "image"
        return kind

    @property
    def data_bytes(self) -> int:
        """Size of the data that follow, padding included."""
        axes = [self.read_integer(f"NAXIS{n}") for n in range(1, self.read_integer("NAXIS") + 1)]
        if not axes:
            return 0
        if axes[0] == 0 and self.card_values.get("GROUPS") is True:  # random groups
            axes = axes[1:]
        count = 1
        for axis in axes:
            count *= axis
        integer = self.read_integer("BITPIX")
        size = abs(integer) // 8 * self.read_integer("GCOUNT", 1) * (self.read_integer("PCOUNT") + count)
        return -(-size // BLOCK_BYTES) * BLOCK_BYTES


def iterate_cards(header: HduHeader) -> Iterator[tuple[str, Value, str]]:
    """Write the cards of a header: keyword, value, comment.

    Repeated keywords once, lines of COMMENT and HISTORY at the end.

    Parameters
    ----------
    header
        Header of an HDU.

    Yields
    ------
    lines
        Lines in the order of the header.
    """
    yield from ((keyword, value, header.comments.get(keyword, "")) for keyword, value in header.card_values.items())
    yield from ((keyword, text, "") for keyword, text in header.commentary)


def format_value(value: Value) -> str | None:
    """Write a value as in a card; None: it has none.

    Parameters
    ----------
    value
        Value of a card.

    Returns
    -------
    text
        Without quotes.
    """
    if value is None:
        return None
    if isinstance(value, bool):
        return {True: "T", False: "F"}[value]
    return str(value)


def read_headers(path: Path, *, hdu_limit: int = 40, skip_byte_limit: int = 256 << 20) -> list[HduHeader]:
    """Read the headers of a file, compressed by gzip or not; their data are skipped.

    Parameters
    ----------
    path
        Path of the file.
    hdu_limit
        HDUs that are looked at.
    skip_byte_limit
        Bytes of data of a compressed file that are unpacked to get to the next header.

    Returns
    -------
    headers
        One for each HDU.

    Raises
    ------
    SourceError
        It is not FITS, or ends within a header.
    OSError
        It cannot be read.
    """
    headers_found: list[HduHeader] = []
    with path.open("rb") as plain:
        packed = plain.read(2) == b"\x1f\x8b"
        plain.seek(0)
        with gzip.open(plain) if packed else contextlib.nullcontext(plain) as file:
            while (
                len(headers_found) < hdu_limit
                and (header := read_next_hdu_header(file.read, len(headers_found), path.name)) is not None
            ):
                headers_found.append(header)
                skip_byte_limit -= header.data_bytes if packed else 0
                if skip_byte_limit < 0:
                    break
                file.seek(header.data_bytes, io.SEEK_CUR)
    return headers_found


def read_next_hdu_header(read_bytes: Callable[[int], bytes], hdu_index: int, file: str) -> HduHeader | None:
    """Read the next header (FITS 4.0, 4.4).

    Parameters
    ----------
    read_bytes
        Reads a number of bytes.
    hdu_index
        Index of the HDU, from 0.
    file
        Name of the file, for messages.

    Returns
    -------
    header
        None at the end of the file.

    Raises
    ------
    SourceError
        This is not FITS, the file ends within a header, or the header has no end or declares an impossible size.
    """
    cards: list[str] = []
    while True:
        block = read_bytes(BLOCK_BYTES)
        if not block.strip(b"\0 ") and not cards:
            return None
        if not cards and hdu_index == 0 and not block.startswith(b"SIMPLE  ="):
            raise SourceError(
                "the file is not a FITS file: it does not begin with SIMPLE",
                place=TextPlace(file=file),
                remedy="check the file, or add it to `ignore`",
            )
        if not cards and hdu_index > 0 and not block.startswith(b"XTENSION"):
            return None  # special records after the last HDU
        if len(block) < BLOCK_BYTES and b"END     " not in block and not block.rstrip(b" \0\n").endswith(b"END"):
            raise SourceError(
                f"the file ends within the header of HDU {hdu_index}",
                place=TextPlace(file=file),
                remedy="download the file again",
            )
        if len(cards) * 80 >= MAX_HEADER_BYTES:
            raise SourceError(
                f"the header of HDU {hdu_index} has more than {MAX_HEADER_BYTES:,} bytes without an END card",
                place=TextPlace(file=file),
                remedy="download the file again",
            )
        text = block.decode("latin-1")
        for at in range(0, len(text), 80):
            card = text[at : at + 80]
            if card.rstrip() == "END":
                return _refuse_absurd_sizes(_parse_hdu_header(cards, hdu_index), file)
            cards.append(card)


def _refuse_absurd_sizes(header: HduHeader, file: str) -> HduHeader:
    """Refuse sizes that no file has, before they are used."""
    for key, value in header.card_values.items():
        if not (_SIZE_KEYWORD_PATTERN.fullmatch(key) and isinstance(value, int | float)) or isinstance(value, bool):
            continue
        if key in {"NAXIS", "TFIELDS"}:
            max_value = 999
        elif key == "NAXIS1" and header.hdu_kind in {"TABLE", "BINTABLE"}:
            max_value = _MAX_ROW_BYTES
        else:
            max_value = 1 << 48
        if not -64 <= value <= max_value or (value < 0 and key != "BITPIX"):  # NaN is neither
            raise SourceError(
                f"HDU {header.index} has {key} = {value:.6g}, which is impossible",
                place=TextPlace(file=file),
                remedy="download the file again",
            )
    if header.data_bytes > 1 << 56:
        raise SourceError(
            f"HDU {header.index} declares more bytes of data than any file can have",
            place=TextPlace(file=file),
            remedy="download the file again",
        )
    return header


def parse_cards(cards: list[str], keywords: Collection[str] | None = None) -> HduHeader:
    """Parse the cards of one header.

    Parameters
    ----------
    cards
        Without END.
    keywords
        Keywords, those of HIERARCH without that word; None: all. Others are passed over.

    Returns
    -------
    header
        As of the first HDU.
    """
    return _parse_hdu_header(cards, 0, keywords)


def _parse_hdu_header(cards: list[str], index: int, keywords: Collection[str] | None = None) -> HduHeader:
    header = HduHeader(index)
    last: str | None = None
    for card in cards:
        key = card[:8].rstrip()
        if key == "CONTINUE" and last is not None:
            value, comment = _parse_card_value(card[8:])
            before = header.card_values[last]
            if isinstance(before, str) and before.endswith("&") and isinstance(value, str):
                header.card_values[last] = before[:-1] + value
                header.comments[last] = (header.comments.get(last, "") + " " + comment).strip()
            continue
        if key == "HIERARCH" and "=" in card:
            key, _, value_text = card[9:].partition("=")
            key = " ".join(key.split())
        elif card[8:9] == "=":
            value_text = card[9:]
        else:
            if key in {"COMMENT", "HISTORY"}:
                header.commentary.append((key, card[8:].rstrip()))
            continue
        if key in header.card_values or (keywords is not None and key not in keywords):
            last = None
            continue
        header.card_values[key], header.comments[key] = _parse_card_value(value_text)
        last = key
    return header


def _parse_card_value(text: str) -> tuple[Value, str]:
    if text.lstrip().startswith("'"):
        match = _STRING_VALUE_PATTERN.match(text)
        if match:
            return match.group(1).replace("''", "'").rstrip(), (match.group(2) or "").strip()
    word, _, comment = text.partition("/")
    word = word.strip()
    comment = comment.strip()
    if not word:
        return None, comment
    if word in {"T", "F"}:
        return word == "T", comment
    if _INTEGER_PATTERN.match(word):
        return int(word), comment
    try:
        return float(word.replace("D", "E").replace("d", "e")), comment
    except ValueError:
        return word, comment  # complex numbers and what people write without quotes
