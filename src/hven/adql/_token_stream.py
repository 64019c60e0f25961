"""The tokens of a text and the parser's position in them.

The class here reads tokens and names, limits the depth of nesting, and reports unexpected tokens with a remedy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NoReturn, TypeVar

from hven.adql._foreign_functions import FOREIGN_FUNCTION_REMEDIES
from hven.adql._query_limits import CLOCK_CHECK_INTERVAL
from hven.adql._syntax_errors import (
    BRACKET_FAULT,
    FOREIGN_KEYWORDS,
    FOREIGN_OPERATORS,
    find_nearest_keyword,
    is_reserved_word,
    is_statement_keyword,
    shorten_and_escape_text,
)
from hven.adql.lexer import END, NAME, NUMBER, QUOTED, STRING, QueryTokens, tokenize
from hven.adql.reserved_words import RESERVED_WORDS
from hven.adql.syntax_tree import Expr, Ident, Literal
from hven.model.deadlines import check_deadline
from hven.model.errors import ParseError, TextPlace, format_message

if TYPE_CHECKING:
    from collections.abc import Callable

Part = TypeVar("Part")

#: The maximum depth of nesting. A parenthesis, function, sign or NOT counts one, CASE two, a subquery three. In a valid
#: query each count takes at most five Python frames, so the parser leaves half of the usual 1,000 frames to its caller.
MAX_NESTING_DEPTH: Final = 100

_REMEDIES_BY_EXPECTED: Final = {
    "AND and the upper limit of BETWEEN": "write BETWEEN low AND high",
    "AND and the other end of the frame": "write ROWS BETWEEN 1 PRECEDING AND CURRENT ROW, or ROWS 1 PRECEDING",
    "AS and a type": "write CAST(x AS type)",
    "a subquery in parentheses after EXISTS": "write EXISTS (SELECT ...)",
    "a closing parenthesis": "close the open parenthesis here, or remove it",
    "a closing bracket": "close the open bracket, as in a[1]",
    "a list in parentheses or a subquery after IN": "write IN (1, 2, 3)",
}
_SHAPE_REMEDY: Final = {"a list in parentheses or a subquery after IN": "write CONTAINS(point, shape) = 1"}
_REMEDIES_BY_TOKEN: Final[dict[str, dict[str, str]]] = {
    "TOP": {"": "TOP stands after SELECT: SELECT TOP 10 ..."},
    "WITH": {"a comma, JOIN, WHERE, GROUP BY, ORDER BY or the end": "leave it out; ADQL has no table hints"},
    "EXCEPT": {"a comma or FROM": "list the columns that you want; ADQL has no * EXCEPT"},
    **dict.fromkeys(("CIRCLE", "POLYGON", "BOX", "REGION"), _SHAPE_REMEDY),
}
_FOREIGN_RESERVED: Final = frozenset(FOREIGN_KEYWORDS) & RESERVED_WORDS


class TokenStream:
    """The tokens of one text, and the parser's position in them.

    Parameters
    ----------
    text
        The whole text.
    version
        ``2.1`` for ADQL 2.1 with the declared extensions, or ``2.0`` for the grammar of ADQL 2.0.
    is_mapping
        Whether the text is a mapping expression of a descriptor. Then any word after a dot is a name (``file.size``,
        ``source.date``), and the text may call functions of SQL-92.
    place
        Where the text begins in a descriptor.
    """

    __slots__ = (
        "depth",
        "is_adql_2_0",
        "is_mapping",
        "last_parenthesized",
        "next_clock_check",
        "place",
        "tags",
        "text",
        "text_offsets",
        "token_index",
        "values",
    )

    def __init__(
        self, text: str, *, version: str = "2.1", is_mapping: bool = False, place: TextPlace | None = None
    ) -> None:
        self.text = text
        tokens: QueryTokens = tokenize(text, version=version)
        self.tags = tokens.tags
        self.values = tokens.values
        self.text_offsets = tokens.text_offsets
        self.token_index = 0
        self.next_clock_check = CLOCK_CHECK_INTERVAL  # the index of the token at which the parser checks the deadline
        self.depth = 0
        self.is_adql_2_0 = version == "2.0"
        self.is_mapping = is_mapping
        self.place = place
        self.last_parenthesized: Expr | None = None  # the value in the parentheses that were closed last

    # --- errors ----------------------------------------------------------------------------------------------

    def raise_parse_error(self, message: str, remedy: str = "", *, text_offset: int | None = None) -> NoReturn:
        """Raise a ParseError at an offset (default: the current token)."""
        if text_offset is None:
            text_offset = self.text_offsets[self.token_index]
        raise ParseError(message, text=self.text, offset=text_offset, remedy=remedy)

    def describe_token(self, index: int) -> str:
        """Describe the token at an index as messages name it."""
        tag = self.tags[index]
        if tag == END:
            return format_message("the end of the text")
        token_text = str(self.values[index])
        if tag in {NUMBER, STRING, QUOTED}:
            token_text = self._quote_token(index)
        if tag == NUMBER:
            return format_message("the number {raw}", token_text)
        if tag == STRING:
            return format_message("the string {raw}", token_text)
        if tag == QUOTED:
            return format_message("the name {raw}", token_text)
        if tag in RESERVED_WORDS:
            return shorten_and_escape_text(token_text)
        return f"'{shorten_and_escape_text(token_text)}'"

    def _quote_token(self, index: int) -> str:
        """Return the text of a token as it is written, shortened for a message."""
        start = self.text_offsets[index]
        end = len(self.text)
        if index + 1 < len(self.text_offsets):
            end = self.text_offsets[index + 1]
        written_text, _, _ = self.text[start:end].partition("--")  # a comment may follow the token
        return shorten_and_escape_text(written_text.strip())

    def raise_unexpected_token(self, expected: str, *keywords: str) -> NoReturn:
        """Refuse the current token: say what was expected, and what the user probably meant."""
        self.check_foreign_function_call()
        self.check_mistyped_keyword(expected, keywords)
        message, remedy = self.explain_unexpected_token(expected)
        self.raise_parse_error(message, remedy)

    def check_foreign_function_call(self) -> None:
        """Refuse a function of another database if the current token stands among its arguments.

        The foreign form of such arguments is the probable reason why the parser does not understand the token.
        """
        if self.is_mapping:
            return
        depth = 0
        for i in range(self.token_index - 1, 0, -1):
            tag = self.tags[i]
            depth += (tag == ")") - (tag == "(")
            if depth < 0:
                name = str(self.values[i - 1]).upper()
                if self.tags[i - 1] == NAME and name in FOREIGN_FUNCTION_REMEDIES:
                    message = format_message("no function {name}", name)
                    name_offset = self.text_offsets[i - 1]
                    self.raise_parse_error(message, FOREIGN_FUNCTION_REMEDIES[name], text_offset=name_offset)
                return

    def check_mistyped_keyword(self, expected: str, keywords: tuple[str, ...]) -> None:
        """Refuse a foreign or mistyped keyword: the current token, or the one before it.

        The parser may have taken the token before for an alias.
        """
        current_index = self.token_index
        for i in (current_index, current_index - 1):
            if i < 0 or self.tags[i] not in {NAME, *_FOREIGN_RESERVED}:
                continue
            is_name_for_certain = 0 < i < current_index and self.tags[i - 1] in {"AS", "."}
            if is_name_for_certain:
                continue
            word = str(self.values[i]).upper()
            text_offset = self.text_offsets[i]
            if word in FOREIGN_KEYWORDS:
                message, remedy = FOREIGN_KEYWORDS[word]
                self.raise_parse_error(message, remedy, text_offset=text_offset)
            nearest_keyword = find_nearest_keyword(word, keywords)
            if nearest_keyword and nearest_keyword != word:
                message = self._format_expected_message(expected, i)
                remedy = format_message("did you mean {word}?", nearest_keyword)
                self.raise_parse_error(message, remedy, text_offset=text_offset)

    def _format_expected_message(self, expected: str, index: int) -> str:
        """Return the message about a token that should be something else."""
        return format_message(
            "expected {expected}, found {found}", format_message(expected), self.describe_token(index)
        )

    # each kind of mistake has its return
    def explain_unexpected_token(self, expected: str) -> tuple[str, str]:  # noqa: PLR0911
        """Return message and remedy for the current token, which should be something else."""
        i = self.token_index
        tag = self.tags[i]
        previous_tag = ""
        if i:
            previous_tag = self.tags[i - 1]
        message = self._format_expected_message(expected, i)
        if (previous_tag, tag) in FOREIGN_OPERATORS and self.text_offsets[i] == self.text_offsets[i - 1] + 1:
            message = format_message("ADQL has no {before}{sign} operator", previous_tag, tag)
            return message, FOREIGN_OPERATORS[previous_tag, tag]
        if (tag == "*" and previous_tag == "/") or (tag == "/" and self.tags[i + 1] == "*"):
            remedy = "begin each comment with two hyphens (--); it ends at the end of the line"
            return "ADQL has no /* comments */", remedy
        if tag in {"[", "]"}:
            return BRACKET_FAULT
        if ";" in {tag, previous_tag}:
            return "only one query is accepted at a time", "send each query separately"
        remedy = self._suggest_comma_remedy(expected, tag, previous_tag)
        if not remedy:
            remedy = self._suggest_remedy_by_expected(expected, tag, previous_tag)
        if remedy:
            return message, remedy
        if tag in RESERVED_WORDS:
            reserved_message, remedy = self._suggest_for_reserved_word(expected, tag, self.values[i])
            return reserved_message or message, remedy
        if tag == STRING and ("name" in expected or expected == "a table"):
            remedy = "write names without quotes or in double quotes; single quotes are for strings"
        elif tag == QUOTED and ("string" in expected or "number" in expected):
            remedy = "write strings in single quotes; double quotes are for names"
        return message, remedy

    def _suggest_comma_remedy(self, expected: str, tag: str, previous_tag: str) -> str:
        """Return the remedy for a comma too many; empty if no comma is at fault."""
        i = self.token_index
        if previous_tag == "," and tag in {"FROM", "WHERE", "GROUP", "ORDER", "HAVING", ")", END, "UNION"}:
            return format_message(
                "leave out the comma before {found}, or add the missing item after the comma", self.describe_token(i)
            )
        if tag != ",":
            return ""
        if previous_tag == ",":
            return "remove one of the two commas"
        is_adjacent_number = self.tags[i + 1] == NUMBER and self.text_offsets[i + 1] == self.text_offsets[i] + 1
        if previous_tag == NUMBER and is_adjacent_number and "BETWEEN" not in expected:
            return "write decimals with a point: 1.5"
        return ""

    def _suggest_remedy_by_expected(self, expected: str, tag: str, previous_tag: str) -> str:
        """Return the remedy that follows from what should stand here; empty if none does."""
        remedies = _REMEDIES_BY_TOKEN.get(tag, {})
        if expected in remedies or "" in remedies:
            return remedies.get(expected) or remedies[""]
        if expected in _REMEDIES_BY_EXPECTED:
            return _REMEDIES_BY_EXPECTED[expected]
        remedy = ""
        if expected == "a comma or FROM" and tag in {NAME, QUOTED, NUMBER, STRING}:
            remedy = "separate columns with commas"
        elif expected == "a comma or FROM" and tag == END:
            remedy = "add FROM and a table"
        elif expected.startswith("a comparison"):
            remedy = "compare the value with something; a value alone is not a condition"
        elif tag == END:
            remedy = "complete the query"
        elif expected.startswith("BY after"):
            remedy = format_message("write {before} BY", previous_tag)
        elif expected.startswith("NULL or NOT NULL"):
            remedy = "write IS NULL or IS NOT NULL; compare other values with ="
        elif tag == ")" and expected.startswith("the end"):
            remedy = "remove it, or add the opening parenthesis"
        return remedy

    def _suggest_for_reserved_word(self, expected: str, tag: str, value: object) -> tuple[str, str]:
        """Return message and remedy for a reserved word; an empty message means the usual one."""
        next_tag = self.tags[self.token_index + 1]
        if expected.startswith("a name"):
            message = format_message("{value} is a reserved word of ADQL and cannot be a name", value)
            return message, format_message('write it in double quotes: "{value}"', value)
        if tag in {"DATE", "TIMESTAMP", "TIME", "INTERVAL"} and next_tag == STRING:
            remedy = "write CAST('...' AS TIMESTAMP), or the string alone"
            if tag == "INTERVAL":
                remedy = FOREIGN_FUNCTION_REMEDIES["DATEADD"]
            return format_message("ADQL has no {word} '...' literals", tag), remedy
        if "value" not in expected:
            return "", ""
        if next_tag == "(":
            default_remedy = "see the functions of this service in /tap/capabilities"
            remedy = FOREIGN_FUNCTION_REMEDIES.get(str(value).upper(), default_remedy)
            return format_message("ADQL has no function {value}", value), remedy
        return "", format_message(
            'to use the reserved word {value} as a name, write it in double quotes: "{value}"', value
        )

    def expect_token(self, tag: str, expected: str = "") -> None:
        """Skip a token that must stand here."""
        if self.tags[self.token_index] != tag:
            keywords = (tag,) if tag.isalpha() else ()
            self.raise_unexpected_token(expected or tag, *keywords)
        self.token_index += 1

    def check_query_deadline(self) -> None:
        """Check the deadline of the query; the parser calls it when it is past the token `next_clock_check`."""
        self.next_clock_check = self.token_index + CLOCK_CHECK_INTERVAL
        check_deadline()

    def add_and_limit_nesting_depth(self, levels: int = 1) -> None:
        """Enter levels of nesting; refuse a text that nests too deeply."""
        self.depth += levels
        if self.depth > MAX_NESTING_DEPTH:
            message = format_message(
                "the query is nested too deeply: more than {most} levels of parentheses", MAX_NESTING_DEPTH
            )
            self.raise_parse_error(message, "reduce the nesting, for example by moving subqueries into a WITH clause")

    def parse_dotted_name(self) -> list[Ident]:
        """Parse names separated by dots."""
        parts = [self.parse_identifier()]
        while self.tags[self.token_index] == "." and self.tags[self.token_index + 1] != "*":
            self.token_index += 1
            if self.is_mapping and self.tags[self.token_index] in RESERVED_WORDS:
                parts.append(Ident(str(self.values[self.token_index])))
                self.token_index += 1
            else:
                parts.append(self.parse_identifier())
        return parts

    def parse_identifier(self, expected: str = "a name") -> Ident:
        """Parse one identifier."""
        i = self.token_index
        if i > self.next_clock_check:
            self.check_query_deadline()
        tag = self.tags[i]
        if tag not in {NAME, QUOTED}:
            self.raise_unexpected_token(expected)
        self.token_index = i + 1
        return Ident(str(self.values[i]), tag == QUOTED)

    def parse_by_clause(self, parse_item: Callable[[], Part], keyword: str) -> list[Part]:
        """Parse ``BY a, b``."""
        if self.tags[self.token_index] != "BY":
            self.raise_unexpected_token(format_message("BY after {word}", keyword), "BY")
        self.token_index += 1
        items = [parse_item()]
        while self.tags[self.token_index] == ",":
            self.token_index += 1
            items.append(parse_item())
        return items

    def parse_integer(self, expected: str) -> int:
        """Parse an unsigned integer."""
        number = self.parse_integer_literal(expected).value
        if isinstance(number, int):
            return number
        return 0

    def parse_integer_literal(self, expected: str) -> Literal:
        """Parse an unsigned integer as a Literal."""
        literal = self.values[self.token_index]
        if not isinstance(literal, Literal) or not isinstance(literal.value, int):
            message = format_message(
                "{what} must be a whole number without a sign, not {found}",
                format_message(expected),
                self.describe_token(self.token_index),
            )
            self.raise_parse_error(message, "write a number such as 100")
        self.token_index += 1
        return literal

    def expect_end(self) -> None:
        """Check that the text ends here."""
        if self.tags[self.token_index] == END:
            return
        word = str(self.values[self.token_index])
        if is_statement_keyword(word) and not is_reserved_word(word):
            self.raise_parse_error("only queries are accepted", "write SELECT; ADQL has no other statement")
        self.raise_unexpected_token("the end of the text", "AND", "OR")
