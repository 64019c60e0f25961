"""Words of a query: one compiled expression cuts the text; `shape` takes its literals out for the plan cache."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from hven.adql._bounds import LOOK, WORDS
from hven.adql._syntax_faults import lexical_fault, text_fault
from hven.adql.reserved import RESERVED, RESERVED_2_0
from hven.adql.tree import Literal, LiteralList
from hven.model.clock import check
from hven.model.errors import ParseError, say

if TYPE_CHECKING:
    from collections.abc import Callable

NAME: Final = "name"
QUOTED: Final = "quoted"
NUMBER: Final = "number"
STRING: Final = "string"
LIST: Final = "list"
END: Final = "end"

_GAP = r"(?:[ \t\r\n\f\v]++|--[^\r\n]*+)"
_TEXT = r"'[^']*+(?:''[^']*+)*+'"
_WORD = r"[A-Za-z][A-Za-z0-9_]*+"
_FIGURES = r"(?:0[xX][0-9A-Fa-f]++|(?:[0-9]++(?:\.[0-9]*+)?+|\.[0-9]++)(?:[eE][+-]?[0-9]++)?+)(?![A-Za-z0-9_])"
_STRINGS = rf"{_TEXT}(?:{_GAP}++{_TEXT})*+"  # neighbours are one literal (SQL-92 5.3)
_DELIMITED = r'"[^"]*+(?:""[^"]*+)*+"'
_SIGNS = r"<=|>=|<>|!=|\|\||[-+*/%(),.=<>;&|^~\[\]]"

_TOKENS = re.compile(
    rf"{_GAP}*+(?:({_WORD})|({_FIGURES})|({_STRINGS})|({_DELIMITED})|({_SIGNS})|(\Z)|(.++))", re.DOTALL
)
_PIECES = re.compile(rf"{_GAP}*+({_WORD}|{_FIGURES}|{_STRINGS}|{_DELIMITED}|{_SIGNS}|\Z|.++)", re.DOTALL)
_STRING_PARTS = re.compile(rf"{_GAP}|({_TEXT})")

# Lists of one kind between the parentheses of IN, longer than `MANY`; what has anything else in it is cut word by word.
MANY: Final = 128
_SPACE = r"[ \t\r\n\f\v]*+"
_LISTS: Final[list[tuple[re.Pattern[str], Callable[[str], float] | None]]] = [
    (re.compile(rf"{_SPACE}(?:{one}{_SPACE},{_SPACE}){{{MANY},}}+{one}{_SPACE}(?=\))"), number_of)
    for one, number_of in (
        (rf"[-+]?+{_SPACE}[0-9]{{1,18}}+", int),
        (rf"[-+]?+{_SPACE}(?:[0-9]{{1,40}}+\.[0-9]{{0,40}}+|\.[0-9]{{1,40}}+)(?:[eE][+-]?+[0-9]{{1,9}}+)?+", float),
        (_TEXT, None),
    )
]
_NO_SPACE = dict.fromkeys(map(ord, " \t\r\n\f\v"))
_INSIDE = re.compile(r"'([^']*+(?:''[^']*+)*+)'")

_WORDS = {form: word for word in RESERVED for form in (word, word.lower(), word.capitalize())}
_WORDS_2_0 = {form: word for word in RESERVED_2_0 for form in (word, word.lower(), word.capitalize())}
_LONGEST = 400  # digits; what is longer is no measured number, and int() would take quadratic time


@dataclass(slots=True)
class Tokens:
    """The words of a text, in parallel lists; the last one is the end.

    Attributes
    ----------
    tags
        What the word is: a reserved word in upper case, an operator, or one of `NAME`, `QUOTED`, `NUMBER`, `STRING`, `LIST`, `END`.
    values
        A name without quotes, a `Literal`, a `LiteralList`, or the text of the word.
    ats
        Offsets in the text.
    """

    tags: list[str]
    values: list[Literal | LiteralList | str]
    ats: list[int]


def number(figures: str) -> int | float:
    """Parse an unsigned numeric literal; int only if it has neither point nor exponent; hexadecimal ones are a declared extension.

    Parameters
    ----------
    figures
        As the query has it.

    Returns
    -------
    value
        Dimensionless.

    Raises
    ------
    ValueError
        The number is too long or too large for a double.
    """
    if len(figures) > _LONGEST or "_" in figures or not figures.isascii():  # float() reads more than ADQL has
        raise ValueError(figures)
    if figures.isdigit():
        return int(figures)
    if figures[1:2] in {"x", "X"}:
        return int(figures, 16)
    value = float(figures)
    if math.isinf(value):
        raise ValueError(figures)
    return value


def string(quoted: str) -> str:
    """Parse a character string literal: neighbours joined, doubled quotes single.

    Parameters
    ----------
    quoted
        As the query has it.

    Returns
    -------
    value
        The text.
    """
    if "'" not in (inner := quoted[1:-1]):
        return inner
    return "".join(part[1][1:-1].replace("''", "'") for part in _STRING_PARTS.finditer(quoted) if part[1])


def tokenize(text: str, *, version: str = "2.1") -> Tokens:
    """Tokenize a query.

    Parameters
    ----------
    text
        Of the query.
    version
        Of the language, ``2.0`` or ``2.1``: they reserve other words.

    Returns
    -------
    tokens
        Kinds, texts and offsets.

    Raises
    ------
    ParseError
        A character that ADQL does not have, a string, name or number that does not end properly; too many words.
    """
    if "\0" in text or not text.isascii():
        text_fault(text)
    words = _WORDS_2_0 if version == "2.0" else _WORDS
    tokens = Tokens([], [], [])
    at = slot = 0
    while at >= 0:
        at, slot = _cut(text, at, slot, tokens, words)
    return tokens


def literal_list(text: str, at: int) -> LiteralList | None:
    """Parse a long list of literals of one kind that begins here and ends at a parenthesis.

    Parameters
    ----------
    text
        Of the query.
    at
        Offset of the first literal, in characters.

    Returns
    -------
    list
        None if there is none.
    """
    for pattern, number_of in _LISTS:
        match = pattern.match(text, at)
        if match is None:
            continue
        if number_of is None:
            found = _INSIDE.findall(text, at, match.end())
            return LiteralList(
                tuple([one.replace("''", "'") for one in found] if "''" in match[0] else found), text, at, match.end()
            )
        numbers = tuple(map(number_of, match[0].translate(_NO_SPACE).split(",")))
        return None if math.inf in numbers or -math.inf in numbers else LiteralList(numbers, text, at, match.end())
    return None


def _cut(text: str, start: int, slot: int, tokens: Tokens, words: dict[str, str]) -> tuple[int, int]:
    """Cut a text into words up to its end, or up to the end of a long list; give where to go on (-1: the end) and the next slot."""
    tags, values, ats = tokens.tags, tokens.values, tokens.ats
    lists = len(text) - start > 2 * MANY
    look = len(tags) + LOOK
    for match in _TOKENS.finditer(text, start):
        kind = match.lastindex or 0
        piece = match[kind]
        at = match.start(kind)
        ats.append(at)
        if len(ats) > look:
            look += LOOK
            check()
            if len(ats) > WORDS:
                raise ParseError(
                    say("a query has at most {most:,} words and signs", WORDS),
                    text=text,
                    offset=at,
                    remedy="upload long lists as a table and join it",
                )
        if kind == 5:
            tags.append("<>" if piece == "!=" else piece)
            values.append(piece)
            if lists and piece == "(" and len(tags) > 1 and tags[-2] == "IN":
                found = literal_list(text, match.end())
                if found is not None:
                    tags.append(LIST)
                    values.append(found)
                    ats.append(match.end())
                    return found.end, slot + len(found)
        elif kind == 1:
            tags.append(words.get(piece) or words.get(piece.upper(), NAME))
            values.append(piece)
        elif kind == 2:
            if words is _WORDS_2_0 and piece[1:2] in {"x", "X"}:
                lexical_fault(text, at)
            try:
                values.append(Literal(number(piece), at=at, slot=slot))
            except ValueError:
                lexical_fault(text, at)
            tags.append(NUMBER)
            slot += 1
        elif kind == 3:
            values.append(Literal(string(piece), at=at, slot=slot))
            tags.append(STRING)
            slot += 1
        elif kind == 4:
            if len(piece) == 2:
                lexical_fault(text, at)
            tags.append(QUOTED)
            values.append(piece[1:-1].replace('""', '"'))
        elif kind == 6:
            tags.append(END)
            values.append("")
            break
        else:
            lexical_fault(text, at)
    return -1, slot


def shape(text: str) -> tuple[tuple[str, ...], tuple[int | float | str, ...]]:
    """Separate the literals from a query: what is left is the key under which its plan can be used again.

    Parameters
    ----------
    text
        Any text; of one that does not parse, the key equals that of no text that parses.

    Returns
    -------
    values
        The values of the literals (dimensionless): the n-th is that of the literal with `slot` n in the tree.
    """
    if "\0" in text or not (text.isascii() or _is_unicode(text)):
        return (text,), ()
    values: list[int | float | str] = []
    key: list[str] = []
    for piece in _PIECES.findall(text):
        if not piece:
            break
        first = piece[0]
        if first > "9":  # words, and the signs above the digits: most pieces
            key.append(piece)
        elif first == "'" and not piece.count("'") % 2:  # odd: a string without end
            key.append("'s")
            values.append(string(piece))
        elif first >= "0" or (first == "." and len(piece) > 1):
            try:
                value = number(piece)
            except ValueError:
                key.append(piece)
                continue
            values.append(value)
            key.append("'d" if isinstance(value, float) else "'i" if value < 2**31 else "'l" if value < 2**63 else "'n")
        else:
            key.append(piece)
    return tuple(key), tuple(values)


def _is_unicode(text: str) -> bool:
    """Return whether a text has no half of a surrogate pair."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
