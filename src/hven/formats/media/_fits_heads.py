"""Headers of FITS files that keep to the plain forms of the standard, read without astropy (FITS 4.0, sections 3 and 4); all others are left to it."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any, NamedTuple

from hven.formats.media._product import Card

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

BLOCK = 2880  # bytes (section 3.1)
WIDE = 80  # characters of a card
MOST = 999  # axes (section 4.4.1.1)
LONGEST = 4 << 20  # bytes of a header that is read here: fifty thousand cards
NOTES = frozenset(["", "COMMENT", "HISTORY"])
_END = b"END".ljust(WIDE)
_WORD = re.compile(r"([A-Z0-9_-]{1,8}) *")
_LONG_WORD = re.compile(r"HIERARCH ([A-Z0-9_ -]*[A-Z0-9_-]) *=")
# text, truth, whole number, another one; comment. Complex numbers are left to astropy, as is what stands closer or wider than the standard has it
_VALUE = re.compile(
    r" *(?:'((?:[^']|'')*)'|([TF])|([+-]?[0-9]+)|([+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[EeDd][+-]?[0-9]+)?)|) *(?:/ *(.*))?"
)
_RECORD = re.compile(
    r"[a-zA-Z_][\w.]*: +[+-]?[0-9.]"
)  # a value that has a name of its own (distortion paper): one more keyword
_STRUCTURE = re.compile(r"SIMPLE|XTENSION|BITPIX|NAXIS[0-9]*|[PG]COUNT")
_BITS = frozenset([8, 16, 32, 64, -32, -64])


class Unusual(Exception):
    """Something that is not written in the plain form, or damaged."""


class Head(NamedTuple):
    """A header, and where its data are.

    Attributes
    ----------
    text
        The cards before END as they stand, `WIDE` characters each.
    cards, words
        The same, read; values by keyword, of several cards the first.
    sizes
        NAXISn.
    data, end
        The first byte of the data; of what comes behind them.
    image
        It is an image, or nothing; else a table, or what only astropy knows.
    """

    text: str
    cards: tuple[Card, ...]
    words: dict[str, Any]
    sizes: tuple[int, ...]
    data: int
    end: int
    image: bool


def first_of(cards: tuple[Card, ...]) -> dict[str, Any]:
    """Return the values of cards by their keywords: of several the first, of notes none."""
    return {card.keyword: card.value for card in reversed(cards) if card.keyword not in NOTES}


def heads(file: BinaryIO, size: int) -> Iterator[Head]:
    """Read the headers of a file, one after the other.

    Parameters
    ----------
    file
        An open one.
    size
        Its bytes.

    Yields
    ------
    head
        Of each HDU, until one is asked for no more, or the file ends.

    Raises
    ------
    Unusual
        The next one is not written in the plain form, or damaged.
    """
    at = 0
    while not at or at < size:
        text, data = _text(file, at)
        found = _head(text, data, first=not at)
        yield found
        at = found.end


def _text(file: BinaryIO, start: int) -> tuple[str, int]:
    """Read the cards of a header, and where it ends."""
    file.seek(start)
    found = b""
    while len(found) < LONGEST:
        block = file.read(BLOCK)
        if len(block) < BLOCK:
            break
        ends = [at for at in range(0, BLOCK, WIDE) if block.startswith(b"END ", at)]
        if ends:
            if block[ends[0] : ends[0] + WIDE] != _END or block[ends[0] + WIDE :].strip(b" "):
                break
            whole = found + block[: ends[0]]
            if not whole.isascii() or not (text := whole.decode("ascii")).isprintable():
                break
            return text, start + len(found) + BLOCK
        found += block
    raise Unusual


def _head(text: str, data: int, *, first: bool) -> Head:
    """Find out what a header is of (sections 4.4.1 and 7): the cards that say it stand in their order, and once."""
    cards = tuple(_cards(text))
    words, begin = first_of(cards), "SIMPLE" if first else "XTENSION"
    count, bits, kind = words.get("NAXIS"), words.get("BITPIX"), words.get(begin)
    if type(count) is not int or not 0 <= count <= MOST or type(bits) is not int or bits not in _BITS:
        raise Unusual
    axes = [f"NAXIS{number}" for number in range(1, count + 1)]
    order = [card.keyword for card in cards if _STRUCTURE.fullmatch(card.keyword)]
    if order[: count + 3] != [begin, "BITPIX", "NAXIS", *axes] or cards[count + 2].keyword != order[count + 2]:
        raise Unusual
    if sorted(order[count + 3 :]) not in ([], ["GCOUNT", "PCOUNT"], ["GCOUNT"], ["PCOUNT"]):
        raise Unusual
    said = [*map(words.get, axes), words.get("PCOUNT", 0), words.get("GCOUNT", 1)]
    sizes = [one for one in said if type(one) is int and 0 <= one < 1 << 60]
    if len(sizes) < len(said):
        raise Unusual
    *sizes, parameters, groups = sizes
    image = (first or kind == "IMAGE") and (parameters, groups) == (0, 1)
    if first and (kind is not True or not image or "GROUPS" in words):
        raise Unusual
    size = abs(bits) // 8 * groups * (parameters + (math.prod(sizes) if sizes else 0))
    return Head(text, cards, words, tuple(sizes), data, data + -(-size // BLOCK) * BLOCK, image)


def _cards(text: str) -> Iterator[Card]:
    """Read cards; long texts go on in those called CONTINUE (section 4.2.1.2)."""
    images = [text[at : at + WIDE] for at in range(0, len(text), WIDE)]
    at = 0
    while at < len(images):
        image = images[at]
        at += 1
        word = image[:8].rstrip()
        if word in NOTES:
            yield Card(word, image[8:].rstrip(), "")
            continue
        begin = 10
        if word == "HIERARCH":
            if (long := _LONG_WORD.match(image)) is None:
                raise Unusual
            word, begin = long[1].strip(), long.end()
        elif image[8:10] != "= " or _WORD.fullmatch(image, 0, 8) is None:
            raise Unusual
        value, comment = _value(image, begin)
        more = []
        while at < len(images) and images[at].startswith("CONTINUE"):
            more.append(images[at])
            at += 1
        if more:
            value, comment = _continued(value, comment, more)
        yield Card(word, value, comment)


def _continued(value: object, comment: str, more: list[str]) -> tuple[str, str]:
    """Put a text together that goes on in further cards."""
    pieces, comments = [value], [comment]
    for image in more:
        if image[8:10] != "  ":
            raise Unusual
        found, said = _value(image, 10)
        pieces.append(found)
        comments.append(said)
    texts = [one for one in pieces if isinstance(one, str)]
    # where a piece ends in a quote the whole would be read otherwise than its pieces
    if (
        len(texts) < len(pieces)
        or not all(one.endswith("&") for one in texts[:-1])
        or texts[-1].endswith("&")
        or any("'" in one for one in texts)
    ):
        raise Unusual
    return "".join([*(one[:-1] for one in texts[:-1]), texts[-1]]).rstrip(), " ".join(filter(None, comments))


def _value(image: str, begin: int) -> tuple[str | float | bool | None, str]:
    """Read value and comment of a card."""
    found = _VALUE.fullmatch(image, begin)
    if found is None:
        raise Unusual
    text, truth, whole, number, comment = found.groups()
    said = (comment or "").rstrip()
    if text is not None:
        if ": " in text and _RECORD.match(text):
            raise Unusual
        return text.replace("''", "'").rstrip(), said
    if truth is not None:
        return truth == "T", said
    if whole is not None:
        return int(whole), said
    return None if number is None else float(number.upper().replace("D", "E")), said


__all__ = ["BLOCK", "Head", "Unusual", "first_of", "heads"]
