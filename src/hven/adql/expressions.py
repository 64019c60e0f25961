"""Values and conditions of ADQL: the part of the parser that queries and mapping expressions share.

Recursive descent without backtracking: one function per nesting level of the grammar, loops where the grammar repeats,
so that only parentheses, functions and subqueries nest, and these are counted.
"""

from __future__ import annotations

from typing import Final, NoReturn

from hven.adql.calls import AGGREGATES, CALLABLE, SQL_FUNCTIONS, called, fault, kind, typed
from hven.adql.faults import FOREIGN, is_reserved, is_statement, nearest, shorten
from hven.adql.lexer import END, NAME, NUMBER, QUOTED, STRING, Tokens, tokenize
from hven.adql.reserved import RESERVED
from hven.adql.tree import (
    And,
    Between,
    Binary,
    Case,
    Cast,
    ColumnRef,
    Compare,
    Exists,
    Expr,
    Function,
    Ident,
    In,
    IsNull,
    Like,
    Literal,
    Not,
    Or,
    Query,
    Subquery,
    Unary,
)
from hven.errors import ParseError, Place

#: Parentheses, functions, CASE and subqueries (which count twice) may nest so deep; five Python frames each.
DEEPEST: Final = 100

CONDITIONS: Final = (Compare, And, Or, Not, Between, In, Like, IsNull, Exists)
_COMPARE: Final = frozenset(("=", "<>", "<", ">", "<=", ">="))
_PREDICATES: Final = frozenset(("BETWEEN", "IN", "LIKE", "ILIKE", "IS", "NOT"))
# How tightly a binary operator binds; `||` never meets the others without parentheses (BNF `concatenation`).
_BINDS: Final = {"||": 1, "|": 2, "^": 3, "&": 4, "+": 5, "-": 5, "*": 6, "/": 6, "%": 6}
_EXTENSIONS: Final = frozenset("|^&%~")
_NEXT_QUERY: Final = frozenset(("UNION", "EXCEPT", "INTERSECT", "ORDER", "OFFSET"))
_TYPES: Final = frozenset(("SMALLINT", "INTEGER", "BIGINT", "REAL", "TIMESTAMP", "POINT", "CIRCLE", "POLYGON"))
_TYPE_REMEDIES: Final = {
    "FLOAT": "REAL or DOUBLE PRECISION",
    "INT": "INTEGER",
    "TEXT": "VARCHAR",
    "STRING": "VARCHAR",
    "NUMERIC": "DOUBLE PRECISION",
    "DECIMAL": "DOUBLE PRECISION",
    "DATE": "TIMESTAMP",
    "DATETIME": "TIMESTAMP",
    "CHARACTER": "CHAR",
    "DOUBLE": "DOUBLE PRECISION",
}


class ExpressionParser:
    """Reads values and conditions from the words of one text.

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

    __slots__ = ("ats", "depth", "i", "mapping", "old", "place", "tags", "text", "values", "wrapped")

    def __init__(self, text: str, *, version: str = "2.1", mapping: bool = False, place: Place | None = None) -> None:
        self.text = text
        tokens: Tokens = tokenize(text, version=version)
        self.tags = tokens.tags
        self.values = tokens.values
        self.ats = tokens.ats
        self.i = 0
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
            return "the end of the text"
        end = self.ats[i + 1] if i + 1 < len(self.ats) else len(self.text)
        raw = shorten(self.text[self.ats[i] : end].split("--", 1)[0].strip()) if tag in {NUMBER, STRING, QUOTED} else str(self.values[i])
        if tag == NUMBER:
            return f"the number {raw}"
        if tag == STRING:
            return f"the string {raw}"
        if tag == QUOTED:
            return f"the name {raw}"
        return shorten(raw) if tag in RESERVED else f"'{shorten(raw)}'"

    def unexpected(self, expected: str, *keywords: str) -> NoReturn:
        """Refuse the current word: say what was expected, and what was probably meant."""
        i = self.i
        tag, value = self.tags[i], self.values[i]
        before = self.tags[i - 1] if i else ""
        message = f"expected {expected}, found {self.found(i)}"
        # a foreign or mistyped keyword was perhaps just read as an alias
        for j in (i, i - 1):
            if j < 0 or self.tags[j] not in {NAME, "FETCH", "ESCAPE", "SUBSTRING"}:
                continue
            word = str(self.values[j]).upper()
            if j < i and i >= 2 and self.tags[j - 1] in {"AS", "."}:
                continue
            if word in FOREIGN:
                self.refuse(*FOREIGN[word], at=self.ats[j])
            near = nearest(word, keywords)
            if near and near != word:
                self.refuse(f"expected {expected}, found {self.found(j)}", f"did you mean {near}?", at=self.ats[j])
        remedy = ""
        if tag == "=" and before == "=":
            message, remedy = "ADQL has no == operator", "write a single ="
        elif tag == "*" and before == "/":
            message, remedy = "ADQL has no /* comments */", "comments begin with two hyphens and go to the end of the line: --"
        elif tag == ";" or (before == ";" and i):
            message, remedy = "only one query at a time", "send each query by itself"
        elif before == "," and tag in {"FROM", "WHERE", "GROUP", "ORDER", "HAVING", ")", END, "UNION"}:
            remedy = f"leave the comma before {self.found(i)} out, or write what should follow it"
        elif tag == END:
            remedy = "complete the text"
        elif tag == ")" and expected.startswith("the end"):
            remedy = "there is no opening parenthesis for it"
        elif expected.startswith("a name") and tag in RESERVED:
            message = f"{value} is a reserved word of ADQL and cannot be a name"
            remedy = f'write it in double quotes: "{value}"'
        elif tag in RESERVED and tag in {"DATE", "TIMESTAMP", "TIME", "INTERVAL"} and self.tags[i + 1] == STRING:
            message, remedy = f"ADQL has no {tag} '...' literals", "write CAST('...' AS TIMESTAMP), or the string alone"
        elif tag in RESERVED and "value" in expected:
            if self.tags[i + 1] == "(":
                message, remedy = f"ADQL has no function {value}", "see the functions of this service in /tap/capabilities"
            else:
                remedy = f'{value} is a reserved word: as a name, write it in double quotes: "{value}"'
        elif tag == STRING and "name" in expected:
            remedy = "names take double quotes, or none; single quotes make a string"
        elif tag == QUOTED and ("string" in expected or "number" in expected):
            remedy = "strings take single quotes; double quotes make a name"
        self.refuse(message, remedy)

    def expect(self, tag: str, expected: str = "") -> None:
        """Go past a word that must stand here."""
        if self.tags[self.i] != tag:
            self.unexpected(expected or tag, *((tag,) if tag.isalpha() else ()))
        self.i += 1

    def deeper(self, levels: int = 1) -> None:
        """Count a level of nesting."""
        self.depth += levels
        if self.depth > DEEPEST:
            self.refuse(f"nested too deeply: more than {DEEPEST} levels of parentheses", "write the query flatter, for instance with WITH")

    # --- conditions ------------------------------------------------------------------------------------------

    def condition(self) -> Expr:
        """Read a search condition."""
        i = self.i
        node = self.expression()
        if not isinstance(node, CONDITIONS):
            self.no_condition(node, i)
        return node

    def no_condition(self, node: Expr, i: int) -> NoReturn:
        """Refuse a value where a condition must stand; `i` is its first word."""
        if isinstance(node, Function) and node.name in {"CONTAINS", "INTERSECTS"}:
            self.refuse(f"{node.name} gives a number, not a condition", f"compare it: 1 = {node.name}(...)", at=self.ats[i])
        tag = self.tags[self.i]
        if tag in {NAME, QUOTED, NUMBER, STRING, END}:
            self.unexpected(
                "a comparison (= <> < > <= >=, BETWEEN, IN, LIKE, IS NULL)", "BETWEEN", "IN", "LIKE", "ILIKE", "IS", "AND", "OR"
            )
        self.refuse(
            "expected a condition, found a value", "compare it with something (= <> < > <= >=, BETWEEN, IN, LIKE, IS NULL)", at=self.ats[i]
        )

    def expression(self) -> Expr:
        """Read conditions joined by AND and OR, or a value where there are none: parentheses hold both."""
        first_i = self.i
        at = self.ats[first_i]
        tags = self.tags
        first = self.factor()
        tag = tags[self.i]
        if tag not in {"AND", "OR"}:
            return first
        if not isinstance(first, CONDITIONS):
            self.no_condition(first, first_i)
        ands: list[Expr] = [first]
        ors: list[Expr] = []
        and_at = at
        while True:
            if tag == "OR":
                ors.append(ands[0] if len(ands) == 1 else And(tuple(ands), at=and_at))
                ands = []
            elif tag != "AND":
                break
            self.i += 1
            i = self.i
            if tag == "OR":
                and_at = self.ats[i]
            part = self.factor()
            if not isinstance(part, CONDITIONS):
                self.no_condition(part, i)
            ands.append(part)
            tag = tags[self.i]
        last = ands[0] if len(ands) == 1 else And(tuple(ands), at=and_at)
        if not ors:
            return last
        ors.append(last)
        return Or(tuple(ors), at=at)

    def factor(self) -> Expr:
        """Read ``[NOT] predicate``, or a value."""
        i = self.i
        if self.tags[i] != "NOT":
            return self.predicate()
        self.i += 1
        if self.tags[self.i] == "NOT":
            self.refuse("NOT stands twice", "leave both out, or use parentheses: NOT (NOT ...)")
        operand = self.predicate()
        if not isinstance(operand, CONDITIONS):
            self.no_condition(operand, i + 1)
        return Not(operand, at=self.ats[i])

    def predicate(self) -> Expr:
        """Read one comparison or other predicate, a value, or a condition in parentheses."""
        i = self.i
        at = self.ats[i]
        tags = self.tags
        if tags[i] == "EXISTS":
            self.i += 1
            return Exists(self.subquery("EXISTS"), at=at)
        left = self.value()
        tag = tags[self.i]
        if tag in _COMPARE:
            self.no_conditions(left, i)
            self.i += 1
            right = self.operand()
            if tags[self.i] in _COMPARE:
                if tags[self.i] == "=" and tags[self.i - 1] == "=":
                    self.unexpected("a value")
                self.refuse("comparisons cannot be chained", "join two of them with AND")
            return Compare(tag, left, right, at=at)
        if tag not in _PREDICATES:
            return left
        self.no_conditions(left, i)
        negated = tag == "NOT"
        if negated:
            self.i += 1
            tag = tags[self.i]
        if tag == "IN":
            self.i += 1
            return In(left, self.choices(), negated, at=at)
        if tag == "BETWEEN":
            self.i += 1
            low = self.operand()
            self.expect("AND", "AND and the upper limit of BETWEEN")
            return Between(left, low, self.operand(), negated, at=at)
        if tag == "LIKE" or (tag == "ILIKE" and not self.old):
            self.i += 1
            self.text_operand(left, at, tag)
            pattern_at = self.ats[self.i]
            pattern = self.operand()
            self.text_operand(pattern, pattern_at, tag)
            if tags[self.i] == "ESCAPE":
                self.refuse(*FOREIGN["ESCAPE"])
            return Like(left, pattern, negated, tag == "ILIKE", at=at)
        if tag == "IS" and not negated:
            self.i += 1
            negated = tags[self.i] == "NOT"
            if negated:
                self.i += 1
            if tags[self.i] in {"TRUE", "FALSE", "UNKNOWN"}:
                self.refuse(f"ADQL has no IS {tags[self.i]}", "only IS NULL and IS NOT NULL; compare with = instead")
            if tags[self.i] == "DISTINCT":
                self.refuse("ADQL has no IS DISTINCT FROM", "compare with <>, and add OR x IS NULL")
            self.expect("NULL", "NULL or NOT NULL after IS")
            return IsNull(left, negated, at=at)
        self.unexpected("BETWEEN, IN, LIKE or ILIKE after NOT", "BETWEEN", "IN", "LIKE", "ILIKE")

    def text_operand(self, node: Expr, at: int, word: str) -> None:
        """Refuse what can never be a string beside LIKE."""
        said = kind(node)
        if said and said != "s" and not (isinstance(node, Literal) or node is self.wrapped):
            self.refuse(f"{word} needs a string here, found {called(said)}", "turn it into a string with CAST(x AS VARCHAR)", at=at)

    def no_conditions(self, node: Expr, i: int) -> None:
        """Refuse a condition where a value must stand."""
        if isinstance(node, CONDITIONS):
            self.refuse(
                "a condition cannot be used as a value",
                "combine conditions with AND, OR and NOT, or write CASE WHEN ... END",
                at=self.ats[i],
            )

    def choices(self) -> tuple[Expr, ...] | Subquery:
        """Read the right side of IN."""
        at = self.ats[self.i]
        self.expect("(", "a list in parentheses or a subquery after IN")
        self.deeper()
        tags, values = self.tags, self.values
        if tags[self.i] in {"SELECT", "WITH"}:
            query = self.nested_query(None)
            self.expect(")", "a closing parenthesis")
            self.depth -= 1
            return Subquery(query, at=at)
        items: list[Expr] = []
        while True:
            i = self.i
            value = values[i]
            if isinstance(value, Literal) and tags[i + 1] in {",", ")"}:  # lists can be long
                items.append(value)
                self.i = i + 1
            else:
                items.append(self.operand())
            tag = tags[self.i]
            if tag == ",":
                self.i += 1
                continue
            only = items[0]
            if len(items) == 1 and isinstance(only, Subquery) and only is self.wrapped and (tag == ")" or tag in _NEXT_QUERY):
                query = self.nested_query(only.query) if tag != ")" else only.query
                self.expect(")", "a closing parenthesis")
                self.depth -= 1
                return Subquery(query, at=at)
            if tag != ")":
                self.unexpected("a comma or a closing parenthesis in the list of IN")
            self.i += 1
            self.depth -= 1
            return tuple(items)

    # --- values ----------------------------------------------------------------------------------------------

    def operand(self) -> Expr:
        """Read a value that is no condition."""
        i = self.i
        node = self.value()
        if isinstance(node, CONDITIONS):
            self.no_conditions(node, i)
        return node

    def value(self) -> Expr:
        """Read a value expression; operators by their binding, all left-associative, in one loop."""
        tags = self.tags
        i = self.i
        left = self.primary()
        op = tags[self.i]
        if op not in _BINDS:
            return left
        pending: list[tuple[Expr, str, int, bool]] = []  # left operands that wait: value, operator, start, in parentheses
        start = i
        wrapped = left is self.wrapped
        while True:
            binds = _BINDS.get(op, 0)
            while pending and _BINDS[pending[-1][1]] >= binds:
                before, before_op, before_start, before_wrapped = pending.pop()
                left = self.combine(before_op, before, before_wrapped, before_start, left, wrapped, start)
                start = before_start
                wrapped = False
            if not binds:
                return left
            if op in _EXTENSIONS and self.old:
                self.unexpected("another operator (ADQL 2.0)")
            pending.append((left, op, start, wrapped))
            self.i += 1
            start = self.i
            left = self.primary()
            wrapped = left is self.wrapped
            op = tags[self.i]

    def combine(self, op: str, left: Expr, left_wrapped: bool, left_i: int, right: Expr, right_wrapped: bool, right_i: int) -> Expr:
        """Make the node of a binary operator, if its operands can be right."""
        for node, wrapped, i in ((left, left_wrapped, left_i), (right, right_wrapped, right_i)):
            self.no_conditions(node, i)
            if op == "||":
                if not (wrapped or typed(node) or (node is left and isinstance(node, Binary) and node.op == "||")):
                    said = kind(node)
                    self.refuse(
                        f"|| joins strings; this is {called(said)}" if said else "|| joins strings",
                        "turn it into a string with CAST(x AS VARCHAR)" if said == "n" else "",
                        at=self.ats[i],
                    )
            else:
                said = kind(node)
                if said and said != "n":
                    remedy = "strings are joined with ||" if said == "s" and op == "+" else ""
                    self.refuse(f"{op} needs numbers; this is {called(said)}", remedy, at=self.ats[i])
        return Binary(op, left, right, at=self.ats[left_i])

    def primary(self) -> Expr:
        """Read a literal, a column, a call, something in parentheses, or one of these with a sign."""
        i = self.i
        tag = self.tags[i]
        if tag in {NAME, QUOTED}:
            if self.tags[i + 1] == "(" and tag == NAME:
                return self.call()
            return self.column()
        value = self.values[i]
        if isinstance(value, Literal):
            self.i = i + 1
            return value
        if tag == "(":
            return self.parenthesis()
        if tag in CALLABLE and self.tags[i + 1] == "(":
            return self.call()
        if tag in {"-", "+", "~"}:
            return self.signed()
        at = self.ats[i]
        if tag == "NULL":
            self.i = i + 1
            return Literal(None, at=at)
        if tag == "CAST" and not self.old:
            return self.cast()
        if not self.old:
            if tag == "CASE":
                return self.case()
            if tag in {"TRUE", "FALSE"}:
                self.i = i + 1
                return Literal(tag == "TRUE", at=at)
        if tag in SQL_FUNCTIONS and self.mapping and self.tags[i + 1] == "(":
            return self.call()
        if tag == "SELECT":
            self.refuse("a subquery must stand in parentheses", "write (SELECT ...)")
        if tag in {"EXISTS", "NOT"}:
            self.refuse("a condition cannot be used as a value", "combine conditions with AND, OR and NOT, or write CASE WHEN ... END")
        if tag in CALLABLE:
            self.refuse(
                f"{self.values[i]} is the name of a function of ADQL: its arguments in parentheses are missing",
                f'write {tag}(...); a column of that name is written "{self.values[i]}"',
            )
        if tag == "*" and i and self.tags[i - 1] == "(":
            self.refuse("only COUNT can have * as its argument", "write a column or an expression")
        self.unexpected("a value")

    def signed(self) -> Expr:
        """Read ``-x``, ``+x``, ``~x``; two signs in a row need parentheses, as in the grammar."""
        signs: list[tuple[str, int]] = []
        while (tag := self.tags[self.i]) in {"-", "+", "~"}:
            if tag != "~" and signs and signs[-1][0] != "~":
                self.refuse("two signs in a row", "put the inner one into parentheses: -(-x)")
            if tag == "~" and self.old:
                self.unexpected("a value (ADQL 2.0)")
            signs.append((tag, self.ats[self.i]))
            if len(signs) > DEEPEST:
                self.refuse("too many operators in a row", "write ~~x as x")
            self.i += 1
        i = self.i
        node = self.primary()
        self.no_conditions(node, i)
        said = kind(node)
        if said and said != "n":
            self.refuse(f"{signs[-1][0]} needs a number; this is {called(said)}", at=self.ats[i])
        for sign, at in reversed(signs):
            node = Unary(sign, node, at=at)
        return node

    def parenthesis(self) -> Expr:
        """Read what stands in parentheses: a value, a condition or a subquery."""
        at = self.ats[self.i]
        self.deeper()
        self.i += 1
        tag = self.tags[self.i]
        node: Expr
        if tag in {"SELECT", "WITH"}:
            if self.old:
                self.refuse("a subquery cannot be used as a value", "join its table instead")
            node = Subquery(self.nested_query(None), at=at)
        else:
            node = self.expression()
            if isinstance(node, Subquery) and node is self.wrapped and self.tags[self.i] in _NEXT_QUERY:
                node = Subquery(self.nested_query(node.query), at=at)
        if self.tags[self.i] == ",":
            self.refuse("ADQL has no rows of values (a, b)", "compare the parts one by one, joined with AND")
        self.expect(")", "a closing parenthesis")
        self.depth -= 1
        self.wrapped = node
        return node

    def column(self) -> ColumnRef:
        """Read a column name with its qualifiers."""
        i = self.i
        at = self.ats[i]
        tags = self.tags
        if tags[i + 1] != ".":
            self.i = i + 1
            return ColumnRef(Ident(str(self.values[i]), tags[i] == QUOTED), at=at)
        *qualifier, name = self.names()
        if len(qualifier) > 3:
            self.refuse("a column name has at most four parts", "write [[catalog.]schema.]table.column", at=at)
        if tags[self.i] == "(":
            self.refuse("a function name cannot have a dot", "write the name of the function alone", at=at)
        return ColumnRef(name, tuple(qualifier), at=at)

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
        tag = self.tags[i]
        if tag not in {NAME, QUOTED}:
            self.unexpected(what)
        self.i = i + 1
        return Ident(str(self.values[i]), tag == QUOTED)

    def call(self) -> Expr:
        """Read a function call; the current word is its name, the next one the parenthesis."""
        i = self.i
        at = self.ats[i]
        word = str(self.values[i])
        name = word.upper()
        self.deeper()
        self.i = i + 2
        tags = self.tags
        distinct = False
        if name in AGGREGATES:
            if name == "COUNT" and tags[self.i] == "*":
                self.i += 1
                self.expect(")", "a closing parenthesis")
                self.depth -= 1
                return Function(name, star=True, at=at)
            if tags[self.i] in {"DISTINCT", "ALL"}:
                distinct = tags[self.i] == "DISTINCT"
                self.i += 1
        elif tags[self.i] in {"DISTINCT", "ALL"}:
            self.refuse(f"{tags[self.i]} can only stand in {', '.join(sorted(AGGREGATES))}", "leave it out")
        args: list[Expr] = []
        if tags[self.i] != ")":
            args.append(self.operand())
            while tags[self.i] == ",":
                self.i += 1
                args.append(self.operand())
            if tags[self.i] != ")":
                self.unexpected(f"a comma or a closing parenthesis in {word}(...)")
        self.i += 1
        self.depth -= 1
        arguments = tuple(args)
        if name in CALLABLE:
            if name in AGGREGATES:
                if len(args) != 1:
                    self.refuse(f"{name} takes 1 argument, not {len(args)}", f"write {name}(expression)", at=at)
            elif wrong := fault(name, arguments, "2.0" if self.old else "2.1"):
                message, arg, remedy = wrong
                self.refuse(message, remedy, at=at if arg is None else arg.at)
        if tags[self.i] == "OVER":
            self.refuse(*FOREIGN["OVER"])
        return Function(name, arguments, distinct, at=at)

    def cast(self) -> Expr:
        """Read ``CAST(x AS type)``."""
        at = self.ats[self.i]
        self.deeper()
        self.i += 1
        self.expect("(", "an opening parenthesis after CAST")
        node = self.operand()
        self.expect("AS", "AS and a type")
        i = self.i
        tag = self.tags[i]
        word = str(self.values[i]).upper()
        length = None
        if tag in _TYPES:
            self.i += 1
            target = tag
        elif tag in {"CHAR", "VARCHAR"}:
            self.i += 1
            target = tag
            if self.tags[self.i] == "(":
                self.i += 1
                length = self.whole("a length")
                self.expect(")", "a closing parenthesis")
        elif tag == "DOUBLE" and self.tags[i + 1] == "PRECISION":
            self.i += 2
            target = "DOUBLE PRECISION"
        else:
            types = "SMALLINT, INTEGER, BIGINT, REAL, DOUBLE PRECISION, CHAR, VARCHAR, TIMESTAMP, POINT, CIRCLE or POLYGON"
            hint = _TYPE_REMEDIES.get(word) or nearest(word, (*_TYPES, "CHAR", "VARCHAR"))
            self.refuse(f"expected a type ({types}), found {self.found(i)}", f"write {hint}" if hint else "")
        self.expect(")", "a closing parenthesis after the type")
        self.depth -= 1
        return Cast(node, target, length, at=at)

    def whole(self, what: str) -> int:
        """Read an unsigned whole number."""
        value = self.whole_literal(what).value
        return value if isinstance(value, int) else 0

    def whole_literal(self, what: str) -> Literal:
        """Read an unsigned whole number as a Literal."""
        literal = self.values[self.i]
        if not isinstance(literal, Literal) or not isinstance(literal.value, int):
            self.refuse(f"{what} must be a whole number without a sign, found {self.found(self.i)}", "write a number such as 100")
        self.i += 1
        return literal

    def case(self) -> Expr:
        """Read ``CASE [operand] WHEN .. THEN .. [ELSE ..] END``."""
        at = self.ats[self.i]
        self.deeper()
        self.i += 1
        tags = self.tags
        operand = None if tags[self.i] == "WHEN" else self.operand()
        whens: list[tuple[Expr, Expr]] = []
        while tags[self.i] == "WHEN":
            self.i += 1
            when = self.condition() if operand is None else self.operand()
            self.expect("THEN")
            whens.append((when, self.operand()))
        if not whens:
            self.unexpected("WHEN", "WHEN")
        otherwise = None
        if tags[self.i] == "ELSE":
            self.i += 1
            otherwise = self.operand()
        self.expect("END", "WHEN, ELSE or END")
        self.depth -= 1
        return Case(operand, tuple(whens), otherwise, at=at)

    # --- what the query parser adds --------------------------------------------------------------------------

    def subquery(self, what: str) -> Query:
        """Read a subquery in parentheses."""
        self.refuse(f"{what} needs a subquery, which cannot stand here")

    def nested_query(self, first: Query | None) -> Query:
        """Read a subquery up to its closing parenthesis; `first` is its first operand, if it was read already."""
        self.refuse("a subquery cannot stand here")

    def finish(self) -> None:
        """Check that the text ends here."""
        if self.tags[self.i] == END:
            return
        if is_statement(str(self.values[self.i])) and not is_reserved(str(self.values[self.i])):
            self.refuse("only queries can be sent", "ADQL has SELECT and no other statement")
        self.unexpected("the end of the text", "AND", "OR")
