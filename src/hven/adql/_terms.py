"""Values and conditions of ADQL: the part of the parser that queries and mapping expressions share.

Recursive descent without backtracking: one function per nesting level of the grammar, loops where the grammar repeats,
so that only parentheses, functions and subqueries nest, and these are counted.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Final, NoReturn

from hven.adql._calls import AGGREGATES, CALLABLE, SQL_FUNCTIONS, called, fault, kind, stands_alone
from hven.adql._foreign_functions import ELSEWHERE
from hven.adql._syntax_faults import FOREIGN, nearest
from hven.adql._token_stream import DEEPEST
from hven.adql._windows import WindowParser
from hven.adql.lexer import END, NAME, NUMBER, QUOTED, STRING
from hven.adql.tree import (
    And,
    Between,
    Binary,
    Case,
    Cast,
    ColumnRef,
    Compare,
    Element,
    Exists,
    Expr,
    Function,
    Ident,
    In,
    IsNull,
    Like,
    Literal,
    LiteralList,
    Not,
    Or,
    Query,
    Subquery,
    Unary,
)
from hven.model.errors import joined, say

Operand = tuple[Expr, bool, int]

CONDITIONS: Final = (Compare, And, Or, Not, Between, In, Like, IsNull, Exists)
_COMPARE: Final = frozenset(("=", "<>", "<", ">", "<=", ">="))
_PREDICATES: Final = frozenset(("BETWEEN", "IN", "LIKE", "ILIKE", "IS", "NOT"))
# How tightly a binary operator binds; `||` never meets the others without parentheses (BNF `concatenation`).
_BINDS: Final = {"||": 1, "|": 2, "^": 3, "&": 4, "+": 5, "-": 5, "*": 6, "/": 6, "%": 6}
_EXTENSIONS: Final = frozenset("|^&%~")
_NEXT_QUERY: Final = frozenset(("UNION", "EXCEPT", "INTERSECT", "ORDER", "OFFSET"))
TYPES: Final = frozenset(("SMALLINT", "INTEGER", "BIGINT", "REAL", "TIMESTAMP", "POINT", "CIRCLE", "POLYGON"))
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


class ExpressionParser(WindowParser, ABC):
    """Reads values and conditions from the words of one text."""

    __slots__ = ()

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
            self.refuse(
                say("{name} gives a number, not a condition", node.name),
                say("compare it: 1 = {name}(...)", node.name),
                at=self.ats[i],
            )
        tag = self.tags[self.i]
        if isinstance(node, Function) and node.name in ELSEWHERE and not self.mapping:
            self.refuse(say("no function {name}", node.name), ELSEWHERE[node.name], at=self.ats[i])
        if tag == "~":
            self.refuse(
                "ADQL has no ~ operator between two values",
                "use LIKE or ILIKE, with % and _, or REGEXP_MATCH(s, pattern) = 1",
            )
        if tag in {NAME, QUOTED, NUMBER, STRING, END}:
            self.unexpected(
                "a comparison (= <> < > <= >=, BETWEEN, IN, LIKE, IS NULL)",
                "BETWEEN",
                "IN",
                "LIKE",
                "ILIKE",
                "IS",
                "AND",
                "OR",
            )
        self.refuse(
            "expected a condition, found a value",
            "compare it with something (= <> < > <= >=, BETWEEN, IN, LIKE, IS NULL)",
            at=self.ats[i],
        )

    def expression(self) -> Expr:
        """Read conditions joined by AND and OR, or a value where there are none: parentheses hold both."""
        first_i = self.i
        at = self.ats[first_i]
        tags = self.tags
        first = self.predicate()
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
            part = self.predicate()
            if not isinstance(part, CONDITIONS):
                self.no_condition(part, i)
            ands.append(part)
            tag = tags[self.i]
        last = ands[0] if len(ands) == 1 else And(tuple(ands), at=and_at)
        if not ors:
            return last
        ors.append(last)
        return Or(tuple(ors), at=at)

    def negation(self) -> Expr:
        """Read ``NOT predicate``."""
        i = self.i
        self.deeper()
        self.i += 1
        if self.tags[self.i] == "NOT":
            self.refuse("NOT stands twice", "leave both out, or use parentheses: NOT (NOT ...)")
        operand = self.predicate()
        if not isinstance(operand, CONDITIONS):
            self.no_condition(operand, i + 1)
        self.depth -= 1
        return Not(operand, at=self.ats[i])

    def predicate(self) -> Expr:
        """Read ``[NOT] predicate``, a value, or a condition in parentheses."""
        i = self.i
        at = self.ats[i]
        tags = self.tags
        if tags[i] == "NOT":
            return self.negation()
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
                joined = isinstance(right, Binary) and right.op == "||"
                self.refuse(
                    "comparisons cannot be chained",
                    "|| joins strings: write OR" if joined else "join two of them with AND",
                )
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
                self.refuse(
                    say("ADQL has no IS {word}", tags[self.i]), "only IS NULL and IS NOT NULL; compare with = instead"
                )
            if tags[self.i] == "DISTINCT":
                self.refuse("ADQL has no IS DISTINCT FROM", "compare with <>, and add OR x IS NULL")
            self.expect("NULL", "NULL or NOT NULL after IS")
            return IsNull(left, negated, at=at)
        return self.unexpected("BETWEEN, IN, LIKE or ILIKE after NOT", "BETWEEN", "IN", "LIKE", "ILIKE")

    def text_operand(self, node: Expr, at: int, word: str) -> None:
        """Refuse what can never be a string beside LIKE."""
        said = kind(node)
        if said and said != "s" and not (isinstance(node, Literal) or node is self.wrapped):
            self.refuse(
                say("{word} needs a string here, found {said}", word, called(said)),
                "turn it into a string with CAST(x AS VARCHAR)",
                at=at,
            )

    def no_conditions(self, node: Expr, i: int) -> None:
        """Refuse a condition where a value must stand."""
        if isinstance(node, CONDITIONS):
            self.refuse(
                "a condition cannot be used as a value",
                "combine conditions with AND, OR and NOT, or write CASE WHEN ... END",
                at=self.ats[i],
            )

    def choices(self) -> tuple[Expr, ...] | LiteralList | Subquery:
        """Read the right side of IN."""
        at = self.ats[self.i]
        if self.mapping and str(self.values[self.i]).lower() == "groups":  # of a policy: 'spica' in groups
            return (self.operand(),)
        self.expect("(", "a list in parentheses or a subquery after IN")
        self.deeper()
        tags, values = self.tags, self.values
        if tags[self.i] in {"SELECT", "WITH"}:
            query = self.nested_query(None)
            self.expect(")", "a closing parenthesis")
            self.depth -= 1
            return Subquery(query, at=at)
        if tags[self.i] == ")":
            self.refuse("the list of IN is empty", "write at least one value")
        value = values[self.i]
        if isinstance(value, LiteralList):
            self.i += 2  # the lexer has seen the closing parenthesis
            self.depth -= 1
            return value
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
            if (
                len(items) == 1
                and isinstance(only, Subquery)
                and only is self.wrapped
                and (tag == ")" or tag in _NEXT_QUERY)
            ):
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
        here = (left, left is self.wrapped, i)  # value, whether in parentheses, its first word
        pending: list[tuple[Operand, str]] = []  # left operands that wait, with their operators
        while True:
            binds = _BINDS.get(op, 0)
            while pending and _BINDS[pending[-1][1]] >= binds:
                before, before_op = pending.pop()
                here = (self.combine(before_op, before, here), False, before[2])
            if not binds:
                return here[0]
            if op in _EXTENSIONS and self.old:
                self.unexpected("another operator (ADQL 2.0)")
            pending.append((here, op))
            self.i += 1
            i = self.i
            right = self.primary()
            here = (right, right is self.wrapped, i)
            op = tags[self.i]

    def combine(self, op: str, left: Operand, right: Operand) -> Expr:
        """Make the node of a binary operator, if its operands can be right."""
        for node, wrapped, i in (left, right):
            self.no_conditions(node, i)
            said = kind(node)
            if op == "||":
                joined = node is left[0] and isinstance(node, Binary) and node.op == "||"
                if not (wrapped or joined or stands_alone(node)):
                    self.refuse(
                        say("|| joins strings; this is {said}", called(said)) if said else "|| joins strings",
                        "turn it into a string with CAST(x AS VARCHAR)" if said == "n" else "",
                        at=self.ats[i],
                    )
            elif said and said != "n":
                remedy = "strings are joined with ||" if said == "s" and op == "+" else ""
                self.refuse(say("{op} needs numbers; this is {said}", op, called(said)), remedy, at=self.ats[i])
        return Binary(op, left[0], right[0], at=self.ats[left[2]])

    def primary(self) -> Expr:
        """Read a literal, a column, a call, something in parentheses, or one of these with a sign."""
        i = self.i
        if i > self.look:
            self.on_time()
        tag = self.tags[i]
        if tag in {NAME, QUOTED}:
            node = self.call() if self.tags[i + 1] == "(" and tag == NAME else self.column()
            return self.element(node, i) if self.tags[self.i] == "[" else node
        value = self.values[i]
        if isinstance(value, Literal):
            self.i = i + 1
            return value
        if tag == "(":
            node = self.parenthesis()
            return self.element(node, i) if self.tags[self.i] == "[" else node
        if tag in CALLABLE and self.tags[i + 1] == "(":
            node = self.call()
            return self.element(node, i) if self.tags[self.i] == "[" else node
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
            self.refuse(
                "a condition cannot be used as a value",
                "combine conditions with AND, OR and NOT, or write CASE WHEN ... END",
            )
        if tag == "PI" and self.mapping:  # who led the observation
            return self.column()
        if tag in CALLABLE:
            self.refuse(
                say(
                    "{word} is the name of a function of ADQL: its arguments in parentheses are missing", self.values[i]
                ),
                say('write {word}(...); a column of that name is written "{name}"', tag, self.values[i]),
            )
        if tag == "*" and i and self.tags[i - 1] == "(":
            self.refuse("only COUNT can have * as its argument", "write a column or an expression")
        return self.unexpected("a value")

    def element(self, node: Expr, i: int) -> Expr:
        """Read ``[n]`` or ``[i, j]`` behind an array, whose first word is `i`."""
        self.no_conditions(node, i)
        if self.old:
            self.refuse("ADQL 2.0 has no elements of arrays", "ask for version 2.1")
        self.deeper()
        self.i += 1
        indexes = [self.operand()]
        while self.tags[self.i] == ",":
            self.i += 1
            indexes.append(self.operand())
        if self.tags[self.i] != "]":
            self.unexpected("a closing bracket")
        self.i += 1
        if self.tags[self.i] == "[":
            self.refuse(
                "an element of an array has no elements", "the axes of an array stand in one pair of brackets: a[i, j]"
            )
        self.depth -= 1
        return Element(node, tuple(indexes), at=self.ats[i])

    def signed(self) -> Expr:
        """Read ``-x``, ``+x``, ``~x``; two signs in a row need parentheses, as in the grammar."""
        self.deeper()
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
            self.refuse(say("{op} needs a number; this is {said}", signs[-1][0], called(said)), at=self.ats[i])
        for sign, at in reversed(signs):
            node = Unary(sign, node, at=at)
        self.depth -= 1
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
                return self.over(Function(name, star=True, at=at))
            if tags[self.i] in {"DISTINCT", "ALL"}:
                distinct = tags[self.i] == "DISTINCT"
                self.i += 1
        elif tags[self.i] in {"DISTINCT", "ALL"}:
            self.refuse(
                say("{word} can only stand in {names}", tags[self.i], ", ".join(sorted(AGGREGATES))), "leave it out"
            )
        args: list[Expr] = []
        if tags[self.i] != ")":
            args.append(self.operand())
            while tags[self.i] == ",":
                self.i += 1
                args.append(self.operand())
            if tags[self.i] != ")":
                self.unexpected(say("a comma or a closing parenthesis in {word}(...)", word))
        self.i += 1
        self.depth -= 1
        arguments = tuple(args)
        if name in CALLABLE:
            if name in AGGREGATES:
                if len(args) != 1:
                    self.refuse(
                        say("{name} takes 1 argument, not {count}", name, len(args)),
                        say("write {name}(expression)", name),
                        at=at,
                    )
            elif wrong := fault(name, arguments, "2.0" if self.old else "2.1"):
                message, arg, remedy = wrong
                self.refuse(message, remedy, at=at if arg is None else arg.at)
        return self.over(Function(name, arguments, distinct, at=at))

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
        if tag in TYPES:
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
            hint = _TYPE_REMEDIES.get(word) or nearest(word, (*TYPES, "CHAR", "VARCHAR"))
            self.refuse(
                say(
                    "expected a type (SMALLINT, INTEGER, BIGINT, REAL, DOUBLE PRECISION, CHAR, VARCHAR, TIMESTAMP, POINT, CIRCLE or POLYGON), found {found}",
                    self.found(i),
                ),
                say("write {type}", joined("{one} or {other}", hint.split(" or "))) if hint else "",
            )
        self.expect(")", "a closing parenthesis after the type")
        self.depth -= 1
        return Cast(node, target, length, at=at)

    def case(self) -> Expr:
        """Read ``CASE [operand] WHEN .. THEN .. [ELSE ..] END``."""
        at = self.ats[self.i]
        self.deeper(2)
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
        self.depth -= 2
        return Case(operand, tuple(whens), otherwise, at=at)

    # --- what the query parser adds --------------------------------------------------------------------------

    @abstractmethod
    def subquery(self, what: str) -> Query:
        """Read a subquery in parentheses."""

    @abstractmethod
    def nested_query(self, first: Query | None) -> Query:
        """Read a subquery up to its closing parenthesis; `first` is its first operand, if it was read already."""
