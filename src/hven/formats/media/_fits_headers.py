"""Read FITS headers in the plain forms of the standard without astropy (FITS 4.0, sections 3 and 4).

All other headers are left to astropy.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any, NamedTuple

from hven.formats.media._product import HeaderCard

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

BLOCK_BYTES = 2880  # section 3.1
CARD_CHARACTERS = 80  # of a card
MAX_AXES = 999  # section 4.4.1.1
MAX_HEADER_BYTES = 4 << 20  # of a header that is read here: fifty thousand cards
COMMENTARY_KEYWORDS = frozenset(["", "COMMENT", "HISTORY"])
_END_CARD = b"END".ljust(CARD_CHARACTERS)
_KEYWORD_PATTERN = re.compile(r"([A-Z0-9_-]{1,8}) *")
_HIERARCH_PATTERN = re.compile(r"HIERARCH ([A-Z0-9_ -]*[A-Z0-9_-]) *=")
# text, boolean, integer, real number; comment. Complex numbers and any other spacing than that of the standard are left
# to astropy
_VALUE_PATTERN = re.compile(
    r" *(?:'((?:[^']|'')*)'|([TF])|([+-]?[0-9]+)"
    r"|([+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[EeDd][+-]?[0-9]+)?)|) *(?:/ *(.*))?"
)
# a value that has a name of its own (distortion paper), which makes a further keyword
_RECORD_VALUE_PATTERN = re.compile(r"[a-zA-Z_][\w.]*: +[+-]?[0-9.]")
_STRUCTURAL_KEYWORDS = re.compile(r"SIMPLE|XTENSION|BITPIX|NAXIS[0-9]*|[PG]COUNT")
_BITPIX_VALUES = frozenset([8, 16, 32, 64, -32, -64])


class NonStandardHeaderError(Exception):
    """A header is damaged, or not written in the plain form."""


class FitsHeader(NamedTuple):
    """A header, and the place of its data.

    Attributes
    ----------
    text
        The cards before END as the file has them, `CARD_CHARACTERS` characters each.
    cards, values
        The same cards, parsed, and values by keyword; the first of several cards counts.
    sizes
        NAXISn.
    data_offset, end_offset
        The first byte of the data, and the first byte behind them.
    is_image
        Whether it is an image, or empty; otherwise it is a table, or something that only astropy reads.
    """

    text: str
    cards: tuple[HeaderCard, ...]
    values: dict[str, Any]
    sizes: tuple[int, ...]
    data_offset: int
    end_offset: int
    is_image: bool


def map_card_values(cards: tuple[HeaderCard, ...]) -> dict[str, Any]:
    """Return the values of cards by their keywords: the first of several cards, and none of commentary cards."""
    values = {}
    for card in reversed(cards):
        if card.keyword not in COMMENTARY_KEYWORDS:
            values[card.keyword] = card.value
    return values


def read_fits_headers(file: BinaryIO, size: int) -> Iterator[FitsHeader]:
    """Read the headers of a file, one after the other.

    Parameters
    ----------
    file
        The open file.
    size
        Size of the file in bytes.

    Yields
    ------
    head
        Header of each HDU, until the caller stops or the file ends.

    Raises
    ------
    NonStandardHeaderError
        The next header is damaged, or not written in the plain form.
    """
    offset = 0
    while not offset or offset < size:
        text, data = _read_header_text(file, offset)
        header = _parse_header(text, data, is_primary=not offset)
        yield header
        offset = header.end_offset


def _read_header_text(file: BinaryIO, start: int) -> tuple[str, int]:
    """Read the cards of a header; return them and the offset of its end."""
    file.seek(start)
    header_bytes = b""
    while len(header_bytes) < MAX_HEADER_BYTES:
        block = file.read(BLOCK_BYTES)
        if len(block) < BLOCK_BYTES:
            break
        offsets = range(0, BLOCK_BYTES, CARD_CHARACTERS)
        end_offsets = [offset for offset in offsets if block.startswith(b"END ", offset)]
        if end_offsets:
            end_card = block[end_offsets[0] :][:CARD_CHARACTERS]
            padding = block[end_offsets[0] + CARD_CHARACTERS :]
            complete_header = header_bytes + block[: end_offsets[0]]
            if end_card != _END_CARD or padding.strip(b" ") or not complete_header.isascii():
                break
            text = complete_header.decode("ascii")
            if not text.isprintable():
                break
            return text, start + len(header_bytes) + BLOCK_BYTES
        header_bytes += block
    raise NonStandardHeaderError


def _parse_header(text: str, data_offset: int, *, is_primary: bool) -> FitsHeader:
    """Check the structural cards, which stand in their order and once, and locate the data (sections 4.4.1 and 7)."""
    cards = tuple(_parse_cards(text))
    values = map_card_values(cards)
    begin = "SIMPLE" if is_primary else "XTENSION"
    count = values.get("NAXIS")
    bits = values.get("BITPIX")
    kind = values.get(begin)
    if type(count) is not int or not 0 <= count <= MAX_AXES or type(bits) is not int or bits not in _BITPIX_VALUES:
        raise NonStandardHeaderError
    axes = [f"NAXIS{number}" for number in range(1, count + 1)]
    order = [card.keyword for card in cards if _STRUCTURAL_KEYWORDS.fullmatch(card.keyword)]
    if order[: count + 3] != [begin, "BITPIX", "NAXIS", *axes] or cards[count + 2].keyword != order[count + 2]:
        raise NonStandardHeaderError
    if sorted(order[count + 3 :]) not in ([], ["GCOUNT", "PCOUNT"], ["GCOUNT"], ["PCOUNT"]):
        raise NonStandardHeaderError
    structural_values = [*map(values.get, axes), values.get("PCOUNT", 0), values.get("GCOUNT", 1)]
    sizes: list[int] = []
    for structural_value in structural_values:
        if type(structural_value) is not int or not 0 <= structural_value < 1 << 60:
            raise NonStandardHeaderError
        sizes.append(structural_value)
    *sizes, parameters, groups = sizes
    image = (is_primary or kind == "IMAGE") and (parameters, groups) == (0, 1)
    if is_primary and (kind is not True or not image or "GROUPS" in values):
        raise NonStandardHeaderError
    item_count = 0
    if sizes:
        item_count = math.prod(sizes)
    size = abs(bits) // 8 * groups * (parameters + item_count)
    end = data_offset + -(-size // BLOCK_BYTES) * BLOCK_BYTES
    return FitsHeader(text, cards, values, tuple(sizes), data_offset, end, image)


def _parse_cards(text: str) -> Iterator[HeaderCard]:
    """Parse cards; long texts continue in CONTINUE cards (section 4.2.1.2)."""
    starts = range(0, len(text), CARD_CHARACTERS)
    images = [text[start : start + CARD_CHARACTERS] for start in starts]
    position = 0
    while position < len(images):
        image = images[position]
        position += 1
        keyword = image[:8].rstrip()
        if keyword in COMMENTARY_KEYWORDS:
            yield HeaderCard(keyword, image[8:].rstrip(), "")
            continue
        begin = 10
        if keyword == "HIERARCH":
            long = _HIERARCH_PATTERN.match(image)
            if long is None:
                raise NonStandardHeaderError
            keyword = long[1].strip()
            begin = long.end()
        elif image[8:10] != "= " or _KEYWORD_PATTERN.fullmatch(image, 0, 8) is None:
            raise NonStandardHeaderError
        value, comment = _parse_card_value(image, begin)
        continue_cards = []
        while position < len(images) and images[position].startswith("CONTINUE"):
            continue_cards.append(images[position])
            position += 1
        if continue_cards:
            value, comment = _join_continued_text(value, comment, continue_cards)
        yield HeaderCard(keyword, value, comment)


def _join_continued_text(value: object, comment: str, continue_cards: list[str]) -> tuple[str, str]:
    """Join a text that continues in further cards."""
    pieces = [value]
    comments = [comment]
    for image in continue_cards:
        if image[8:10] != "  ":
            raise NonStandardHeaderError
        continued_text, continued_comment = _parse_card_value(image, 10)
        pieces.append(continued_text)
        comments.append(continued_comment)
    texts = [text_piece for text_piece in pieces if isinstance(text_piece, str)]
    # astropy reads a piece that ends in a quote otherwise than the whole text
    if len(texts) < len(pieces) or any("'" in text_piece for text_piece in texts):
        raise NonStandardHeaderError
    *continued_texts, last_text = texts
    if last_text.endswith("&") or not all(text_piece.endswith("&") for text_piece in continued_texts):
        raise NonStandardHeaderError
    joined_text = "".join(text_piece[:-1] for text_piece in continued_texts) + last_text
    return joined_text.rstrip(), " ".join(filter(None, comments))


def _parse_card_value(card_text: str, start: int) -> tuple[str | float | bool | None, str]:
    """Parse the value and the comment of a card."""
    match = _VALUE_PATTERN.fullmatch(card_text, start)
    if match is None:
        raise NonStandardHeaderError
    text, logical_text, integer_text, number, comment = match.groups()
    stripped_comment = (comment or "").rstrip()
    if text is not None:
        if ": " in text and _RECORD_VALUE_PATTERN.match(text):
            raise NonStandardHeaderError
        return text.replace("''", "'").rstrip(), stripped_comment
    if logical_text is not None:
        return logical_text == "T", stripped_comment
    if integer_text is not None:
        return int(integer_text), stripped_comment
    if number is None:
        return None, stripped_comment
    return float(number.upper().replace("D", "E")), stripped_comment
