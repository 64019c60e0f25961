"""Words of a query: one compiled expression cuts the text.

`extract_literals` takes its literals out for the plan cache.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from hven.adql._query_limits import CLOCK_CHECK_INTERVAL, MAX_QUERY_TOKENS
from hven.adql._syntax_errors import check_characters, raise_lexical_error
from hven.adql.reserved_words import RESERVED_WORDS, RESERVED_WORDS_2_0
from hven.adql.syntax_tree import Literal, LiteralList
from hven.model.deadlines import check_deadline
from hven.model.errors import ParseError, format_message

if TYPE_CHECKING:
    from collections.abc import Callable

NAME: Final = "name"
QUOTED: Final = "quoted"
NUMBER: Final = "number"
STRING: Final = "string"
LITERAL_LIST: Final = "list"
END: Final = "end"

_GAP_PATTERN = r"(?:[ \t\r\n\f\v]++|--[^\r\n]*+)"
_QUOTED_TEXT_PATTERN = r"'[^']*+(?:''[^']*+)*+'"
_WORD_PATTERN = r"[A-Za-z][A-Za-z0-9_]*+"
_NUMBER_PATTERN = r"(?:0[xX][0-9A-Fa-f]++|(?:[0-9]++(?:\.[0-9]*+)?+|\.[0-9]++)(?:[eE][+-]?[0-9]++)?+)(?![A-Za-z0-9_])"
_STRING_PATTERN = (
    rf"{_QUOTED_TEXT_PATTERN}(?:{_GAP_PATTERN}++{_QUOTED_TEXT_PATTERN})*+"  # neighbours are one literal (SQL-92 5.3)
)
_DELIMITED_NAME_PATTERN = r'"[^"]*+(?:""[^"]*+)*+"'
_OPERATOR_PATTERN = r"<=|>=|<>|!=|\|\||[-+*/%(),.=<>;&|^~\[\]]"

_TOKEN_REGEX = re.compile(
    rf"{_GAP_PATTERN}*+(?:({_WORD_PATTERN})|({_NUMBER_PATTERN})|({_STRING_PATTERN})"
    rf"|({_DELIMITED_NAME_PATTERN})|({_OPERATOR_PATTERN})|(\Z)|(.++))",
    re.DOTALL,
)
_PIECE_REGEX = re.compile(
    rf"{_GAP_PATTERN}*+({_WORD_PATTERN}|{_NUMBER_PATTERN}|{_STRING_PATTERN}"
    rf"|{_DELIMITED_NAME_PATTERN}|{_OPERATOR_PATTERN}|\Z|.++)",
    re.DOTALL,
)
_STRING_PART_REGEX = re.compile(rf"{_GAP_PATTERN}|({_QUOTED_TEXT_PATTERN})")

# Lists of one kind between the parentheses of IN, longer than `MIN_LITERAL_LIST_LENGTH`; what has anything else in it
# is cut word by word.
MIN_LITERAL_LIST_LENGTH: Final = 128
_SPACE_PATTERN = r"[ \t\r\n\f\v]*+"
_LITERAL_LIST_FORMS: Final[list[tuple[re.Pattern[str], Callable[[str], float] | None]]] = [
    (
        re.compile(
            rf"{_SPACE_PATTERN}(?:{one}{_SPACE_PATTERN},{_SPACE_PATTERN}){{{MIN_LITERAL_LIST_LENGTH},}}+"
            rf"{one}{_SPACE_PATTERN}(?=\))"
        ),
        number_of,
    )
    for one, number_of in (
        (rf"[-+]?+{_SPACE_PATTERN}[0-9]{{1,18}}+", int),
        (
            rf"[-+]?+{_SPACE_PATTERN}(?:[0-9]{{1,40}}+\.[0-9]{{0,40}}+|\.[0-9]{{1,40}}+)(?:[eE][+-]?+[0-9]{{1,9}}+)?+",
            float,
        ),
        (_QUOTED_TEXT_PATTERN, None),
    )
]
_SPACE_DELETIONS = dict.fromkeys(map(ord, " \t\r\n\f\v"))
_STRING_CONTENT_REGEX = re.compile(r"'([^']*+(?:''[^']*+)*+)'")

_RESERVED_FORMS = {form: word for word in RESERVED_WORDS for form in (word, word.lower(), word.capitalize())}
_RESERVED_FORMS_2_0 = {form: word for word in RESERVED_WORDS_2_0 for form in (word, word.lower(), word.capitalize())}
_MAX_NUMBER_DIGITS = 400  # digits; what is longer is no measured number, and int() would take quadratic time


@dataclass(slots=True)
class Tokens:
    """The words of a text, in parallel lists; the last one is the end.

    Attributes
    ----------
    tags
        What the word is: a reserved word in upper case, an operator, or one of `NAME`, `QUOTED`, `NUMBER`, `STRING`,
        `LITERAL_LIST`, `END`.
    values
        A name without quotes, a `Literal`, a `LiteralList`, or the text of the word.
    text_offsets
        Offsets in the text.
    """

    tags: list[str]
    values: list[Literal | LiteralList | str]
    text_offsets: list[int]


def parse_number(figures: str) -> int | float:
    """Parse an unsigned numeric literal; int only if it has neither point nor exponent.

    Hexadecimal ones are a declared extension.

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
    if len(figures) > _MAX_NUMBER_DIGITS or "_" in figures or not figures.isascii():  # float() reads more than ADQL has
        raise ValueError(figures)
    if figures.isdigit():
        return int(figures)
    if figures[1:2] in {"x", "X"}:
        return int(figures, 16)
    value = float(figures)
    if math.isinf(value):
        raise ValueError(figures)
    return value


def parse_string(quoted: str) -> str:
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
    return "".join(part[1][1:-1].replace("''", "'") for part in _STRING_PART_REGEX.finditer(quoted) if part[1])


def tokenize(query_text: str, *, version: str = "2.1") -> Tokens:
    """Tokenize a query.

    Parameters
    ----------
    query_text
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
    if "\0" in query_text or not query_text.isascii():
        check_characters(query_text)
    words = _RESERVED_FORMS_2_0 if version == "2.0" else _RESERVED_FORMS
    tokens = Tokens([], [], [])
    text_offset = slot = 0
    while text_offset >= 0:
        text_offset, slot = _scan_tokens(query_text, text_offset, slot, tokens, words)
    return tokens


def scan_literal_list(query_text: str, text_offset: int) -> LiteralList | None:
    """Parse a long list of literals of one kind that begins here and ends at a parenthesis.

    Parameters
    ----------
    query_text
        Of the query.
    text_offset
        Offset of the first literal, in characters.

    Returns
    -------
    list
        None if there is none.
    """
    for pattern, number_of in _LITERAL_LIST_FORMS:
        match = pattern.match(query_text, text_offset)
        if match is None:
            continue
        if number_of is None:
            contents = _STRING_CONTENT_REGEX.findall(query_text, text_offset, match.end())
            return LiteralList(
                tuple([content.replace("''", "'") for content in contents] if "''" in match[0] else contents),
                query_text,
                text_offset,
                match.end(),
            )
        numbers = tuple(map(number_of, match[0].translate(_SPACE_DELETIONS).split(",")))
        if math.inf in numbers or -math.inf in numbers:
            return None
        return LiteralList(numbers, query_text, text_offset, match.end())
    return None


# one loop with a branch for each kind of token is the fastest lexer
def _scan_tokens(  # noqa: C901, PLR0912
    query_text: str, start_offset: int, slot: int, tokens: Tokens, reserved_forms: dict[str, str]
) -> tuple[int, int]:
    """Cut a text into words up to its end, or up to the end of a long list.

    Give where to go on (-1: the end) and the next slot.
    """
    tags = tokens.tags
    values = tokens.values
    text_offsets = tokens.text_offsets
    may_have_lists = len(query_text) - start_offset > 2 * MIN_LITERAL_LIST_LENGTH
    next_clock_check = len(tags) + CLOCK_CHECK_INTERVAL
    for match in _TOKEN_REGEX.finditer(query_text, start_offset):
        kind = match.lastindex or 0
        piece = match[kind]
        text_offset = match.start(kind)
        text_offsets.append(text_offset)
        if len(text_offsets) > next_clock_check:
            next_clock_check += CLOCK_CHECK_INTERVAL
            _check_limits(query_text, text_offset, len(text_offsets))
        if kind == 5:
            tags.append("<>" if piece == "!=" else piece)
            values.append(piece)
            if may_have_lists and piece == "(" and len(tags) > 1 and tags[-2] == "IN":
                scanned_list = scan_literal_list(query_text, match.end())
                if scanned_list is not None:
                    tags.append(LITERAL_LIST)
                    values.append(scanned_list)
                    text_offsets.append(match.end())
                    return scanned_list.end_offset, slot + len(scanned_list)
        elif kind == 1:
            tags.append(reserved_forms.get(piece) or reserved_forms.get(piece.upper(), NAME))
            values.append(piece)
        elif kind == 2:
            if reserved_forms is _RESERVED_FORMS_2_0 and piece[1:2] in {"x", "X"}:
                raise_lexical_error(query_text, text_offset)
            try:
                number = parse_number(piece)
            except ValueError:
                raise_lexical_error(query_text, text_offset)
            values.append(Literal(number, text_offset=text_offset, slot=slot))
            tags.append(NUMBER)
            slot += 1
        elif kind == 3:
            values.append(Literal(parse_string(piece), text_offset=text_offset, slot=slot))
            tags.append(STRING)
            slot += 1
        elif kind == 4:
            if len(piece) == 2:
                raise_lexical_error(query_text, text_offset)
            tags.append(QUOTED)
            values.append(piece[1:-1].replace('""', '"'))
        elif kind == 6:
            tags.append(END)
            values.append("")
            break
        else:
            raise_lexical_error(query_text, text_offset)
    return -1, slot


def _check_limits(query_text: str, text_offset: int, token_count: int) -> None:
    """Check the deadline, and the number of words of a query."""
    check_deadline()
    if token_count > MAX_QUERY_TOKENS:
        raise ParseError(
            format_message("a query has at most {most:,} words and signs", MAX_QUERY_TOKENS),
            text=query_text,
            offset=text_offset,
            remedy="upload long lists as a table and join it",
        )


def extract_literals(query_text: str) -> tuple[tuple[str, ...], tuple[int | float | str, ...]]:
    """Separate the literals from a query: what is left is the key under which its plan can be used again.

    Parameters
    ----------
    query_text
        Any text; of one that does not parse, the key equals that of no text that parses.

    Returns
    -------
    values
        The values of the literals (dimensionless): the n-th is that of the literal with `slot` n in the tree.
    """
    if "\0" in query_text or not (query_text.isascii() or _is_unicode(query_text)):
        return (query_text,), ()
    values: list[int | float | str] = []
    key: list[str] = []
    for piece in _PIECE_REGEX.findall(query_text):
        if not piece:
            break
        first = piece[0]
        if first > "9":  # words, and the signs above the digits: most pieces
            key.append(piece)
        elif first == "'" and not piece.count("'") % 2:  # odd: a string without end
            key.append("'s")
            values.append(parse_string(piece))
        elif first >= "0" or (first == "." and len(piece) > 1):
            try:
                value = parse_number(piece)
            except ValueError:
                key.append(piece)
                continue
            values.append(value)
            key.append("'d" if isinstance(value, float) else _classify_integer(value))
        else:
            key.append(piece)
    return tuple(key), tuple(values)


def _classify_integer(value: int) -> str:
    """Return the mark for a whole number in the key of a plan: of 32 bits, of 64 bits, or longer."""
    if value < 2**31:
        return "'i"
    if value < 2**63:
        return "'l"
    return "'n"


def _is_unicode(text: str) -> bool:
    """Return whether a text has no half of a surrogate pair."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
