"""Tokenize a query with one compiled regular expression, and extract its literals for the plan cache."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from hven.adql._query_limits import CLOCK_CHECK_INTERVAL, MAX_QUERY_TOKENS
from hven.adql._syntax_errors import check_query_characters, raise_lexical_error
from hven.adql.reserved_words import RESERVED_WORDS, RESERVED_WORDS_2_0
from hven.adql.syntax_tree import Literal, LiteralList
from hven.model.deadlines import check_deadline
from hven.model.errors import ParseError, format_message

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

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
# strings with only blanks or comments between them are one literal (SQL-92 section 5.3)
_STRING_PATTERN = rf"{_QUOTED_TEXT_PATTERN}(?:{_GAP_PATTERN}++{_QUOTED_TEXT_PATTERN})*+"
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

# A list in IN of at least this number of literals of one kind becomes one token. Any other list becomes a token for
# each literal.
MIN_LITERAL_LIST_LENGTH: Final = 128
_SPACE_PATTERN = r"[ \t\r\n\f\v]*+"
_INTEGER_ITEM_PATTERN = rf"[-+]?+{_SPACE_PATTERN}[0-9]{{1,18}}+"
_FLOAT_ITEM_PATTERN = (
    rf"[-+]?+{_SPACE_PATTERN}(?:[0-9]{{1,40}}+\.[0-9]{{0,40}}+|\.[0-9]{{1,40}}+)(?:[eE][+-]?+[0-9]{{1,9}}+)?+"
)


def _compile_literal_list_pattern(item_pattern: str) -> re.Pattern[str]:
    """Compile the pattern of a list of such items that ends before a closing parenthesis."""
    separator_pattern = rf"{_SPACE_PATTERN},{_SPACE_PATTERN}"
    return re.compile(
        rf"{_SPACE_PATTERN}(?:{item_pattern}{separator_pattern}){{{MIN_LITERAL_LIST_LENGTH},}}+"
        rf"{item_pattern}{_SPACE_PATTERN}(?=\))"
    )


# pairs: the pattern of a list, the class of its numbers (None: strings)
_LITERAL_LIST_FORMS: Final[list[tuple[re.Pattern[str], Callable[[str], float] | None]]] = [
    (_compile_literal_list_pattern(_INTEGER_ITEM_PATTERN), int),
    (_compile_literal_list_pattern(_FLOAT_ITEM_PATTERN), float),
    (_compile_literal_list_pattern(_QUOTED_TEXT_PATTERN), None),
]
_SPACE_DELETIONS = dict.fromkeys(map(ord, " \t\r\n\f\v"))
_STRING_CONTENT_REGEX = re.compile(r"'([^']*+(?:''[^']*+)*+)'")


def _map_reserved_spellings(words: Iterable[str]) -> dict[str, str]:
    """Return spelling -> word for the usual spellings of reserved words, so that most need no conversion of case."""
    forms: dict[str, str] = {}
    for word in words:
        forms[word] = forms[word.lower()] = forms[word.capitalize()] = word
    return forms


_RESERVED_FORMS = _map_reserved_spellings(RESERVED_WORDS)
_RESERVED_FORMS_2_0 = _map_reserved_spellings(RESERVED_WORDS_2_0)
_MAX_NUMBER_DIGITS = 400  # no measured number is longer, and int() takes quadratic time


@dataclass(slots=True)
class QueryTokens:
    """The tokens of a text in parallel lists; the last token is the end.

    Attributes
    ----------
    tags
        The kind of the token: a reserved word in upper case, an operator, or one of `NAME`, `QUOTED`, `NUMBER`,
        `STRING`, `LITERAL_LIST` and `END`.
    values
        A name without quotes, a `Literal`, a `LiteralList`, or the text of the token.
    text_offsets
        The offset of the token in the text, in characters.
    """

    tags: list[str]
    values: list[Literal | LiteralList | str]
    text_offsets: list[int]


def parse_number_literal(digits: str) -> int | float:
    """Parse an unsigned numeric literal; it is an int if it has neither a point nor an exponent.

    Hexadecimal numbers are a declared extension.

    Parameters
    ----------
    digits
        The text of the literal.

    Returns
    -------
    value
        The number, dimensionless.

    Raises
    ------
    ValueError
        The number is too long or too large for a double.
    """
    # Python's float() also accepts underscores and digits of other scripts
    if len(digits) > _MAX_NUMBER_DIGITS or "_" in digits or not digits.isascii():
        raise ValueError(digits)
    if digits.isdigit():
        return int(digits)
    if digits[1:2] in {"x", "X"}:
        return int(digits, 16)
    number = float(digits)
    if math.isinf(number):
        raise ValueError(digits)
    return number


def parse_string_literal(quoted: str) -> str:
    """Parse a string literal: join its parts, and replace doubled quotes by single ones.

    Parameters
    ----------
    quoted
        The text of the literal.

    Returns
    -------
    value
        The string.
    """
    content = quoted[1:-1]
    if "'" not in content:
        return content
    quoted_parts = [match[1] for match in _STRING_PART_REGEX.finditer(quoted) if match[1]]
    return "".join(part[1:-1].replace("''", "'") for part in quoted_parts)


def tokenize(query_text: str, *, version: str = "2.1") -> QueryTokens:
    """Tokenize a query.

    Parameters
    ----------
    query_text
        The text of the query.
    version
        The version of ADQL, ``2.0`` or ``2.1``; they have different reserved words.

    Returns
    -------
    tokens
        The tokens with their values and offsets.

    Raises
    ------
    ParseError
        The text has a character that ADQL does not have, a string, name or number that does not end properly, or too
        many tokens.
    """
    if "\0" in query_text or not query_text.isascii():
        check_query_characters(query_text)
    reserved_forms = _RESERVED_FORMS_2_0 if version == "2.0" else _RESERVED_FORMS
    tokens = QueryTokens([], [], [])
    text_offset = slot = 0
    while text_offset >= 0:
        text_offset, slot = _scan_tokens(query_text, text_offset, slot, tokens, reserved_forms)
    return tokens


def scan_literal_list(query_text: str, text_offset: int) -> LiteralList | None:
    """Parse a long list of literals of one kind that begins at an offset and ends at a parenthesis.

    Parameters
    ----------
    query_text
        The text of the query.
    text_offset
        The offset of the first literal, in characters.

    Returns
    -------
    list
        The list; None if there is no such list.
    """
    for pattern, number_class in _LITERAL_LIST_FORMS:
        match = pattern.match(query_text, text_offset)
        if match is None:
            continue
        if number_class is None:
            strings = _STRING_CONTENT_REGEX.findall(query_text, text_offset, match.end())
            if "''" in match[0]:
                strings = [content.replace("''", "'") for content in strings]
            return LiteralList(tuple(strings), query_text, text_offset, match.end())
        number_texts = match[0].translate(_SPACE_DELETIONS).split(",")
        numbers = tuple(map(number_class, number_texts))
        if math.inf in numbers or -math.inf in numbers:
            return None
        return LiteralList(numbers, query_text, text_offset, match.end())
    return None


# one loop with a branch for each kind of token is the fastest lexer
def _scan_tokens(  # noqa: C901, PLR0912
    query_text: str, start_offset: int, slot: int, tokens: QueryTokens, reserved_forms: dict[str, str]
) -> tuple[int, int]:
    """Scan the tokens of a text up to its end, or up to the end of a long list.

    Return the offset at which to continue (-1: the end), and the next slot.
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
            _check_token_limits(query_text, text_offset, len(text_offsets))
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
                number = parse_number_literal(piece)
            except ValueError:
                raise_lexical_error(query_text, text_offset)
            values.append(Literal(number, text_offset=text_offset, slot=slot))
            tags.append(NUMBER)
            slot += 1
        elif kind == 3:
            values.append(Literal(parse_string_literal(piece), text_offset=text_offset, slot=slot))
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


def _check_token_limits(query_text: str, text_offset: int, token_count: int) -> None:
    """Check the deadline, and the number of tokens of a query."""
    check_deadline()
    if token_count > MAX_QUERY_TOKENS:
        message = format_message("a query may have at most {most:,} words and symbols", MAX_QUERY_TOKENS)
        remedy = "upload a long list as a table and join it"
        raise ParseError(message, text=query_text, offset=text_offset, remedy=remedy)


def separate_literals_from_query(query_text: str) -> tuple[tuple[str, ...], tuple[int | float | str, ...]]:
    """Separate the literals from a query; the rest is the key under which the plan cache keeps its plan.

    Parameters
    ----------
    query_text
        Any text. The key of a text that does not parse differs from that of every text that parses.

    Returns
    -------
    key
        The query without its literals.
    values
        The values of the literals, dimensionless; value n belongs to the literal with `slot` n in the tree.
    """
    if "\0" in query_text or not (query_text.isascii() or _is_valid_unicode(query_text)):
        return (query_text,), ()
    values: list[int | float | str] = []
    key: list[str] = []
    for piece in _PIECE_REGEX.findall(query_text):
        if not piece:
            break
        first = piece[0]
        if first > "9":  # words and most signs, which are the most frequent pieces
            key.append(piece)
        elif first == "'" and not piece.count("'") % 2:  # an odd number: a string without end
            key.append("'s")
            values.append(parse_string_literal(piece))
        elif first >= "0" or (first == "." and len(piece) > 1):
            try:
                number = parse_number_literal(piece)
            except ValueError:
                key.append(piece)
                continue
            values.append(number)
            key.append("'d" if isinstance(number, float) else _classify_integer_width(number))
        else:
            key.append(piece)
    return tuple(key), tuple(values)


def _classify_integer_width(value: int) -> str:
    """Return the mark for an integer in the key of a plan: 32 bits, 64 bits, or more."""
    if value < 2**31:
        return "'i"
    if value < 2**63:
        return "'l"
    return "'n"


def _is_valid_unicode(text: str) -> bool:
    """Return whether a text has no half of a surrogate pair."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
