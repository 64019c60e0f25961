"""The words of a text as the parser goes along them: the next word, names, depth, and what is said when a word is wrong."""

from __future__ import annotations

from typing import Final, NoReturn

from hven.adql._bounds import LOOK
from hven.adql._foreign_functions import ELSEWHERE
from hven.adql._syntax_faults import BRACKETS, FOREIGN, PAIRS, is_reserved, is_statement, nearest, shorten
from hven.adql.lexer import END, NAME, NUMBER, QUOTED, STRING, Tokens, tokenize
from hven.adql.reserved import RESERVED
from hven.adql.tree import Expr, Ident, Literal
from hven.model.clock import check
from hven.model.errors import ParseError, Place, say

#: So deep may the text nest. A parenthesis, function, sign or NOT counts one, CASE two, a subquery three: at most five
#: Python frames each, so that half of the usual stack is left to the caller.
DEEPEST: Final = 100

_WANTED: Final = {
    "AND and the upper limit of BETWEEN": "write BETWEEN low AND high",
    "AND and the other end of the frame": "write ROWS BETWEEN 1 PRECEDING AND CURRENT ROW, or ROWS 1 PRECEDING",
    "AS and a type": "write CAST(x AS type)",
    "a subquery in parentheses after EXISTS": "write EXISTS (SELECT ...)",
    "a closing parenthesis": "a parenthesis stands open: close it here, or take it out",
    "a closing bracket": "a bracket stands open: a[1]",
    "a list in parentheses or a subquery after IN": "write IN (1, 2, 3)",
}
_SHAPE: Final = {"a list in parentheses or a subquery after IN": "write CONTAINS(point, shape) = 1"}
_REMEDIES: Final[dict[str, dict[str, str]]] = {
    "TOP": {"": "TOP stands behind SELECT: SELECT TOP 10 ..."},
    "WITH": {"a comma, JOIN, WHERE, GROUP BY, ORDER BY or the end": "leave it out: ADQL has no hints for tables"},
    "EXCEPT": {"a comma or FROM": "ADQL has no * EXCEPT: name the columns that are wanted"},
    **dict.fromkeys(("CIRCLE", "POLYGON", "BOX", "REGION"), _SHAPE),
}
_FOREIGN_RESERVED: Final = frozenset(FOREIGN) & RESERVED


class Words:
    """The words of one text, and the place among them.

    Parameters
    ----------
    text
        The whole text.
    version
        ``2.1`` with the declared extensions, or ``2.0`` as that standard has it.
    mapping
        A mapping expression of a descriptor: after a dot any word is a name (``file.size``, ``source.date``), and
        SQL-92's function names may be called.
    place
        Where the text begins in a descriptor.
    """

    __slots__ = ("ats", "depth", "i", "look", "mapping", "old", "place", "tags", "text", "values", "wrapped")

    def __init__(self, text: str, *, version: str = "2.1", mapping: bool = False, place: Place | None = None) -> None:
        self.text = text
        tokens: Tokens = tokenize(text, version=version)
        self.tags = tokens.tags
        self.values = tokens.values
        self.ats = tokens.ats
        self.i = 0
        self.look = LOOK  # the word at which the clock is looked at
        self.depth = 0
        self.old = version == "2.0"
        self.mapping = mapping
        self.place = place
        self.wrapped: Expr | None = None  # the value that the last parenthesis closed

    # --- faults ----------------------------------------------------------------------------------------------

    def refuse(self, message: str, remedy: str = "", *, at: int | None = None) -> NoReturn:
        """Raise a ParseError at an offset (default: the current word)."""
        raise ParseError(message, text=self.text, offset=self.ats[self.i] if at is None else at, remedy=remedy)

    def found(self, i: int) -> str:
        """Describe the word at index `i` as a message names it."""
        tag = self.tags[i]
        if tag == END:
            return say("the end of the text")
        end = self.ats[i + 1] if i + 1 < len(self.ats) else len(self.text)
        raw = (
            shorten(self.text[self.ats[i] : end].split("--", 1)[0].strip())
            if tag in {NUMBER, STRING, QUOTED}
            else str(self.values[i])
        )
        if tag == NUMBER:
            return say("the number {raw}", raw)
        if tag == STRING:
            return say("the string {raw}", raw)
        if tag == QUOTED:
            return say("the name {raw}", raw)
        return shorten(raw) if tag in RESERVED else f"'{shorten(raw)}'"

    def unexpected(self, expected: str, *keywords: str) -> NoReturn:
        """Refuse the current word: say what was expected, and what was probably meant."""
        self.foreign_call()
        self.mistyped(expected, keywords)
        self.refuse(*self.advice(expected))

    def foreign_call(self) -> None:
        """Refuse a function of another database, whose arguments are the reason why the current word cannot be read."""
        if self.mapping:
            return
        depth = 0
        for i in range(self.i - 1, 0, -1):
            tag = self.tags[i]
            depth += (tag == ")") - (tag == "(")
            if depth < 0:
                name = str(self.values[i - 1]).upper()
                if self.tags[i - 1] == NAME and name in ELSEWHERE:
                    self.refuse(say("no function {name}", name), ELSEWHERE[name], at=self.ats[i - 1])
                return

    def mistyped(self, expected: str, keywords: tuple[str, ...]) -> None:
        """Refuse a foreign or mistyped keyword: the current word, or the one before, which was perhaps just read as an alias."""
        i = self.i
        for j in (i, i - 1):
            if j < 0 or self.tags[j] not in {NAME, *_FOREIGN_RESERVED}:
                continue
            word = str(self.values[j]).upper()
            if j < i and i >= 2 and self.tags[j - 1] in {"AS", "."}:
                continue
            if word in FOREIGN:
                self.refuse(*FOREIGN[word], at=self.ats[j])
            near = nearest(word, keywords)
            if near and near != word:
                self.refuse(
                    say("expected {expected}, found {found}", say(expected), self.found(j)),
                    say("did you mean {word}?", near),
                    at=self.ats[j],
                )

    def advice(self, expected: str) -> tuple[str, str]:
        """Return message and remedy for the current word, which should be something else."""
        i = self.i
        tag, value = self.tags[i], self.values[i]
        before = self.tags[i - 1] if i else ""
        message: str = say("expected {expected}, found {found}", say(expected), self.found(i))
        remedy = ""
        if (before, tag) in PAIRS and self.ats[i] == self.ats[i - 1] + 1:
            message, remedy = say("ADQL has no {before}{sign} operator", before, tag), PAIRS[before, tag]
        elif (tag == "*" and before == "/") or (tag == "/" and self.tags[i + 1] == "*"):
            message, remedy = (
                "ADQL has no /* comments */",
                "comments begin with two hyphens and go to the end of the line: --",
            )
        elif tag in {"[", "]"}:
            message, remedy = BRACKETS
        elif tag == ";" or (before == ";" and i):
            message, remedy = "only one query at a time", "send each query by itself"
        elif before == "," and tag in {"FROM", "WHERE", "GROUP", "ORDER", "HAVING", ")", END, "UNION"}:
            remedy = say("leave the comma before {found} out, or write what should follow it", self.found(i))
        elif tag == "," and before == ",":
            remedy = "leave one comma out"
        elif (
            tag == ","
            and before == NUMBER
            and self.tags[i + 1] == NUMBER
            and self.ats[i + 1] == self.ats[i] + 1
            and "BETWEEN" not in expected
        ):
            remedy = "decimals take a point: 1.5"
        elif tag in _REMEDIES and (expected in _REMEDIES[tag] or "" in _REMEDIES[tag]):
            remedy = _REMEDIES[tag].get(expected) or _REMEDIES[tag][""]
        elif expected in _WANTED:
            remedy = _WANTED[expected]
        elif expected == "a comma or FROM" and tag in {NAME, QUOTED, NUMBER, STRING}:
            remedy = "separate columns with commas"
        elif expected == "a comma or FROM" and tag == END:
            remedy = "ADQL needs FROM and a table"
        elif expected.startswith("a comparison"):
            remedy = "a value alone is no condition"
        elif tag == END:
            remedy = "complete the text"
        elif expected.startswith("BY after"):
            remedy = say("write {before} BY", before)
        elif expected.startswith("NULL or NOT NULL"):
            remedy = "write IS NULL or IS NOT NULL; other values are compared with ="
        elif tag == ")" and expected.startswith("the end"):
            remedy = "there is no opening parenthesis for it"
        elif expected.startswith("a name") and tag in RESERVED:
            message = say("{value} is a reserved word of ADQL and cannot be a name", value)
            remedy = say('write it in double quotes: "{value}"', value)
        elif tag in RESERVED and tag in {"DATE", "TIMESTAMP", "TIME", "INTERVAL"} and self.tags[i + 1] == STRING:
            instead = (
                "compute with numbers of days or seconds"
                if tag == "INTERVAL"
                else "write CAST('...' AS TIMESTAMP), or the string alone"
            )
            message, remedy = say("ADQL has no {word} '...' literals", tag), instead
        elif tag in RESERVED and "value" in expected:
            if self.tags[i + 1] == "(":
                message = say("ADQL has no function {value}", value)
                remedy = ELSEWHERE.get(str(value).upper(), "see the functions of this service in /tap/capabilities")
            else:
                remedy = say('{value} is a reserved word: as a name, write it in double quotes: "{value}"', value)
        elif tag == STRING and ("name" in expected or expected == "a table"):
            remedy = "names take double quotes, or none; single quotes make a string"
        elif tag == QUOTED and ("string" in expected or "number" in expected):
            remedy = "strings take single quotes; double quotes make a name"
        return message, remedy

    def expect(self, tag: str, expected: str = "") -> None:
        """Skip a word that must stand here."""
        if self.tags[self.i] != tag:
            self.unexpected(expected or tag, *((tag,) if tag.isalpha() else ()))
        self.i += 1

    def on_time(self) -> None:
        """Look at the clock; called where the next word lies behind `look`."""
        self.look = self.i + LOOK
        check()

    def deeper(self, levels: int = 1) -> None:
        """Count a level of nesting."""
        self.depth += levels
        if self.depth > DEEPEST:
            self.refuse(
                say("nested too deeply: more than {most} levels of parentheses", DEEPEST),
                "write the query flatter, for instance with WITH",
            )

    def names(self) -> list[Ident]:
        """Read names separated by dots."""
        parts = [self.ident()]
        while self.tags[self.i] == "." and self.tags[self.i + 1] != "*":
            self.i += 1
            if self.mapping and self.tags[self.i] in RESERVED:
                parts.append(Ident(str(self.values[self.i])))
                self.i += 1
            else:
                parts.append(self.ident())
        return parts

    def ident(self, what: str = "a name") -> Ident:
        """Read one identifier."""
        i = self.i
        if i > self.look:
            self.on_time()
        tag = self.tags[i]
        if tag not in {NAME, QUOTED}:
            self.unexpected(what)
        self.i = i + 1
        return Ident(str(self.values[i]), tag == QUOTED)

    def whole(self, what: str) -> int:
        """Read an unsigned whole number."""
        value = self.whole_literal(what).value
        return value if isinstance(value, int) else 0

    def whole_literal(self, what: str) -> Literal:
        """Read an unsigned whole number as a Literal."""
        literal = self.values[self.i]
        if not isinstance(literal, Literal) or not isinstance(literal.value, int):
            self.refuse(
                say("{what} must be a whole number without a sign, found {found}", say(what), self.found(self.i)),
                "write a number such as 100",
            )
        self.i += 1
        return literal

    def finish(self) -> None:
        """Check that the text ends here."""
        if self.tags[self.i] == END:
            return
        if is_statement(str(self.values[self.i])) and not is_reserved(str(self.values[self.i])):
            self.refuse("only queries can be sent", "ADQL has SELECT and no other statement")
        self.unexpected("the end of the text", "AND", "OR")
