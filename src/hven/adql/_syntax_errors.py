"""Messages and remedies for a text that is not ADQL: foreign keywords, operators and characters, and misspellings."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NoReturn

from hven.adql.reserved_words import RESERVED_WORDS
from hven.model.errors import ParseError, find_close_match, format_message

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Keyword of another dialect of SQL -> message, remedy.
FOREIGN_KEYWORDS: Final[dict[str, tuple[str, str]]] = {
    "LIMIT": ("ADQL has no LIMIT", "write SELECT TOP n ... instead"),
    "FETCH": ("ADQL has no FETCH FIRST", "write SELECT TOP n ... instead"),
    "ROWNUM": ("ADQL has no ROWNUM", "write SELECT TOP n ... instead"),
    "MINUS": ("ADQL has no MINUS between queries", "write EXCEPT"),
    "OVER": (
        "window functions (OVER) are an extension that needs ADQL 2.1",
        "use GROUP BY in a subquery, and join the subquery",
    ),
    "WINDOW": (
        "WINDOW defines named windows: WINDOW w AS (...)",
        "write WINDOW after FROM, WHERE, GROUP BY and HAVING, and use the window with OVER w",
    ),
    "QUALIFY": ("ADQL has no QUALIFY", "move the query to a subquery, and filter the subquery with WHERE"),
    "REGEXP": ("ADQL has no REGEXP operator", "use LIKE or ILIKE (with % and _), or REGEXP_MATCH(s, pattern) = 1"),
    "RLIKE": ("ADQL has no RLIKE operator", "use LIKE or ILIKE (with % and _), or REGEXP_MATCH(s, pattern) = 1"),
    "SIMILAR": ("ADQL has no SIMILAR TO", "use LIKE or ILIKE, with % and _"),
    "NULLS": (
        "ADQL has no NULLS FIRST or NULLS LAST",
        "leave it out, or begin with ORDER BY CASE WHEN x IS NULL THEN 1 ELSE 0 END",
    ),
    "ESCAPE": ("ADQL's LIKE has no ESCAPE", "leave it out"),
    "LATERAL": ("ADQL has no LATERAL", "join with ON"),
    "SEMI": ("ADQL has no SEMI JOIN", "write WHERE EXISTS (SELECT ...)"),
    "ANTI": ("ADQL has no ANTI JOIN", "write WHERE NOT EXISTS (SELECT ...)"),
    "TABLESAMPLE": ("ADQL has no TABLESAMPLE", "use TOP, or a condition on RAND()"),
    "ASCENDING": ("ADQL has no ASCENDING", "write ASC, or leave it out"),
    "DESCENDING": ("ADQL has no DESCENDING", "write DESC"),
    "CURRENT_TIMESTAMP": ("ADQL has no CURRENT_TIMESTAMP", "write the time as a string: '2000-01-01T12:00:00'"),
    "CURRENT_DATE": ("ADQL has no CURRENT_DATE", "write the time as a string: '2000-01-01T12:00:00'"),
    "DIV": ("ADQL has no DIV operator", "write FLOOR(a / b)"),
    "WITHIN": (
        "ADQL has no WITHIN GROUP",
        "use MEDIAN(x) for the middle value; for other quantiles, number the rows with NTILE(n) OVER (ORDER BY x)",
    ),
}

#: Two adjacent signs that are an operator in another language -> remedy.
FOREIGN_OPERATORS: Final[dict[tuple[str, str], str]] = {
    ("=", "="): "write a single =",
    ("=", ">"): "write >=",
    ("=", "<"): "write <=",
    ("&", "&"): "write AND",
    ("|", "||"): "write OR",
    ("-", ">"): "remove it; ADQL values have no parts",
    ("*", "*"): "write POWER(a, b)",
    ("<", "<"): "write a * POWER(2, n)",
    (">", ">"): "write FLOOR(a / POWER(2, n))",
    ("/", "/"): "write FLOOR(a / b), or begin a comment with two hyphens: --",
}

_STATEMENT_KEYWORDS: Final = frozenset(
    (
        "INSERT",
        "UPDATE",
        "DELETE",
        "DROP",
        "CREATE",
        "ALTER",
        "GRANT",
        "REVOKE",
        "COMMIT",
        "ROLLBACK",
        "SET",
        "EXEC",
        "EXECUTE",
        "DECLARE",
        "BEGIN",
        "CALL",
        "MERGE",
        "TRUNCATE",
        "PRAGMA",
        "ATTACH",
        "COPY",
        "INSTALL",
        "LOAD",
        "EXPLAIN",
        "SHOW",
        "DESCRIBE",
        "USE",
        "VALUES",
    )
)

#: Message and remedy for square brackets that do not follow an array.
BRACKET_FAULT: Final = (
    "square brackets are not allowed here",
    'write special names in double quotes: "name", and array elements as a[1]',
)

_FOREIGN_CHARACTERS: Final[dict[str, tuple[str, str]]] = {
    "`": ("a backtick is not allowed in ADQL", 'write special names in double quotes: "name"'),
    ":": ("a colon is not allowed in ADQL", "write a cast as CAST(x AS type); replace :parameters with values"),
    "?": ("a question mark is not allowed in ADQL", "write the value itself"),
    "$": ("a dollar sign is not allowed in ADQL", "write the value itself, with strings in single quotes"),
    "@": ("an at sign is not allowed in ADQL", 'write special names in double quotes: "name"'),
    "#": ("a number sign is not allowed in ADQL", "begin comments with two hyphens: --"),
    "!": ("an exclamation mark alone is not allowed in ADQL", "write NOT, or <> for 'not equal'"),
    "\\": ("a backslash is not allowed in ADQL", "double a quote inside a string: 'it''s'"),
    "{": ("braces are not allowed in ADQL", "in a descriptor, write templates with {names} under `text:`"),
    "}": ("braces are not allowed in ADQL", "in a descriptor, write templates with {names} under `text:`"),
    "\0": ("the text contains a NUL character", "remove it"),
}
_TYPOGRAPHIC_CHARACTERS: Final[dict[str, tuple[str, str]]] = {
    **dict.fromkeys(
        "\u2018\u2019\u201a\u201b\u2032\u00b4", ("a typographic quote", "write a straight single quote: '")
    ),
    **dict.fromkeys(
        "\u201c\u201d\u201e\u201f\u2033\u00ab\u00bb",
        ("a typographic double quote", "write a straight quote: ' for strings, \" for names"),
    ),
    **dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2015\u2212", ("a typographic dash", "write a plain hyphen: -")),
    **dict.fromkeys(
        "\u00a0\u2002\u2003\u2007\u2009\u200a\u202f\u3000",
        ("a special space", "write a plain space (special ones come from web pages and PDFs)"),
    ),
    **dict.fromkeys(
        "\u200b\u200c\u200d\u2060\ufeff",
        ("an invisible character", "delete it (invisible characters come from web pages and PDFs)"),
    ),
    "\u00d7": ("a multiplication sign", "write *"),
    "\u2264": ("a 'less or equal' sign", "write <="),
    "\u2265": ("a 'greater or equal' sign", "write >="),
    "\u2260": ("a 'not equal' sign", "write <>"),
    "\uff0c": ("a full-width comma", "write a plain comma"),
    "\uff08": ("a full-width parenthesis", "write a plain parenthesis"),
    "\uff09": ("a full-width parenthesis", "write a plain parenthesis"),
}


def check_query_characters(query_text: str) -> None:
    """Refuse NUL and half surrogates anywhere in a text, in strings and comments too."""
    text_offset = query_text.find("\0")
    if text_offset >= 0:
        raise ParseError("the text contains a NUL character", text=query_text, offset=text_offset, remedy="remove it")
    try:
        query_text.encode()
    except UnicodeEncodeError as fault:
        raise ParseError(
            "the text contains an unpaired surrogate, which is not valid Unicode",
            text=query_text,
            offset=fault.start,
            remedy="send the query as UTF-8",
        ) from None


def raise_lexical_error(query_text: str, text_offset: int) -> NoReturn:
    """Report why no token can begin at this offset.

    Raises
    ------
    ParseError
        Always.
    """
    char = query_text[text_offset]
    if char == "'":
        message = "this string is not closed"
        remedy = "close it with a single quote; double a quote inside a string: 'it''s'"
    elif query_text.startswith('""', text_offset):
        message, remedy = "an empty name", "write a name between the double quotes; the empty string is ''"
    elif char == '"':
        message = "this name in double quotes is not closed"
        remedy = "close it with a double quote (strings take single quotes)"
    elif char.isascii() and (char.isdigit() or char == "."):
        number_text = _quote_matched_text(query_text, text_offset, r"[\w.]*")
        message, remedy = _explain_invalid_number(number_text)
    elif char == "_":
        name = _quote_matched_text(query_text, text_offset, r"\w*")
        message = format_message("a name without quotes cannot begin with an underscore: {found}", name)
        remedy = format_message('write it in double quotes: "{found}"', name)
    elif query_text.startswith("::", text_offset):
        message, remedy = "ADQL has no :: casts", "write CAST(x AS type)"
    else:
        message, remedy = _explain_invalid_character(char)
    raise ParseError(message, text=query_text, offset=text_offset, remedy=remedy)


def _quote_matched_text(query_text: str, text_offset: int, pattern: str) -> str:
    """Return the text that a pattern matches at an offset, shortened for a message."""
    match = re.compile(pattern).match(query_text, text_offset)
    if match is None:
        return query_text[text_offset]
    return shorten_and_escape_text(match[0])


def _explain_invalid_number(number_text: str) -> tuple[str, str]:
    """Return message and remedy for a text that begins with a digit or a point but is not a number."""
    if re.fullmatch(r"0[xX][0-9a-fA-F]+", number_text):
        message = format_message("ADQL 2.0 has no hexadecimal numbers: {found}", number_text)
        return message, format_message("write {number}", int(number_text, 16))
    if re.fullmatch(r"[0-9.]*([eE][0-9]*)?\.*", number_text):
        message = format_message("the number {found} is too large or too long", number_text)
        return message, "write a number up to 1.8E308, with at most 400 digits"
    message = format_message("'{found}' is neither a number nor a name", number_text)
    return message, format_message('if it is a name, write it in double quotes: "{found}"', number_text)


def _explain_invalid_character(char: str) -> tuple[str, str]:
    """Return message and remedy for a character that is not in ADQL."""
    if char in _FOREIGN_CHARACTERS:
        return _FOREIGN_CHARACTERS[char]
    if char in _TYPOGRAPHIC_CHARACTERS:
        character_name, remedy = _TYPOGRAPHIC_CHARACTERS[char]
        message = format_message(
            "{what} ({char!r}, U+{number:04X}) is not allowed in ADQL", format_message(character_name), char, ord(char)
        )
        return message, remedy
    if char.isalpha():
        message = format_message("the letter '{char}' is not allowed in a name without quotes", char)
        return message, "write the name in double quotes, or use only A-Z, a-z, 0-9 and _"
    message = format_message("the character {char!r} (U+{number:04X}) is not allowed in ADQL", char, ord(char))
    return message, "remove it, or put it in quotes"


def shorten_and_escape_text(quoted: str, max_characters: int = 40) -> str:
    """Shorten a quotation for a message, and escape control characters: messages go into XML and HTTP headers."""
    if len(quoted) > max_characters:
        quoted = quoted[: max_characters - 3] + "..."
    if quoted.isprintable():
        return quoted
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in quoted)


def find_nearest_keyword(word: str, choices: Sequence[str]) -> str | None:
    """Find the keyword that the user probably meant by a misspelt word; None if no keyword is similar."""
    if len(word) > 30:
        return None
    word = word.upper()
    letters = sorted(word)
    for choice in choices:
        if sorted(choice) == letters:  # swapped letters: ADN, FORM
            return choice
    return find_close_match(word, choices, 0.7)


def is_statement_keyword(word: str) -> bool:
    """Return whether a word begins a statement of SQL that is not a query."""
    return word.upper() in _STATEMENT_KEYWORDS


def is_reserved_word(word: str) -> bool:
    """Return whether a word is reserved in ADQL 2.1."""
    return word.upper() in RESERVED_WORDS
