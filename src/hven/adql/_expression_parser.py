"""Values and conditions of ADQL: the part of the parser that queries and mapping expressions share.

Recursive descent without backtracking: one function per nesting level of the grammar, loops where the grammar repeats,
so that only parentheses, functions and subqueries nest, and these are counted.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Final, NoReturn

from hven.adql._foreign_functions import FOREIGN_FUNCTION_REMEDIES
from hven.adql._function_syntax import (
    AGGREGATE_NAMES,
    SQL_FUNCTION_NAMES,
    STANDARD_FUNCTION_NAMES,
    classify_syntax,
    find_call_fault,
    is_character_factor,
    name_value_kind,
)
from hven.adql._syntax_errors import FOREIGN_KEYWORDS, find_nearest_keyword
from hven.adql._token_stream import MAX_NESTING_DEPTH
from hven.adql._window_parser import WindowParser
from hven.adql.lexer import END, NAME, NUMBER, QUOTED, STRING
from hven.adql.syntax_tree import (
    ArrayElement,
    BetweenPredicate,
    BinaryOperation,
    Case,
    Cast,
    ColumnRef,
    Comparison,
    Conjunction,
    Disjunction,
    ExistsPredicate,
    Expr,
    FunctionCall,
    Ident,
    InPredicate,
    LikePredicate,
    Literal,
    LiteralList,
    Negation,
    NullPredicate,
    Query,
    Subquery,
    UnaryOperation,
)
from hven.model.errors import format_message, join_messages

Operand = tuple[Expr, bool, int]

CONDITION_NODES: Final = (
    Comparison,
    Conjunction,
    Disjunction,
    Negation,
    BetweenPredicate,
    InPredicate,
    LikePredicate,
    NullPredicate,
    ExistsPredicate,
)
_COMPARISON_OPERATORS: Final = frozenset(("=", "<>", "<", ">", "<=", ">="))
_PREDICATE_KEYWORDS: Final = frozenset(("BETWEEN", "IN", "LIKE", "ILIKE", "IS", "NOT"))
# How tightly a binary operator binds; `||` never meets the others without parentheses (BNF `concatenation`).
_OPERATOR_PRECEDENCE: Final = {"||": 1, "|": 2, "^": 3, "&": 4, "+": 5, "-": 5, "*": 6, "/": 6, "%": 6}
_EXTENSION_OPERATORS: Final = frozenset("|^&%~")
_QUERY_CONTINUATION_TOKENS: Final = frozenset(("UNION", "EXCEPT", "INTERSECT", "ORDER", "OFFSET"))
TYPE_NAMES: Final = frozenset(("SMALLINT", "INTEGER", "BIGINT", "REAL", "TIMESTAMP", "POINT", "CIRCLE", "POLYGON"))
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

    def parse_condition(self) -> Expr:
        """Read a search condition."""
        i = self.token_index
        node = self.parse_expression()
        if not isinstance(node, CONDITION_NODES):
            self.raise_not_condition(node, i)
        return node

    def raise_not_condition(self, node: Expr, token_index: int) -> NoReturn:
        """Refuse a value where a condition must stand; `token_index` is its first word."""
        if isinstance(node, FunctionCall) and node.name in {"CONTAINS", "INTERSECTS"}:
            self.raise_parse_error(
                format_message("{name} gives a number, not a condition", node.name),
                format_message("compare it: 1 = {name}(...)", node.name),
                text_offset=self.text_offsets[token_index],
            )
        tag = self.tags[self.token_index]
        if isinstance(node, FunctionCall) and node.name in FOREIGN_FUNCTION_REMEDIES and not self.is_mapping:
            self.raise_parse_error(
                format_message("no function {name}", node.name),
                FOREIGN_FUNCTION_REMEDIES[node.name],
                text_offset=self.text_offsets[token_index],
            )
        if tag == "~":
            self.raise_parse_error(
                "ADQL has no ~ operator between two values",
                "use LIKE or ILIKE, with % and _, or REGEXP_MATCH(s, pattern) = 1",
            )
        if tag in {NAME, QUOTED, NUMBER, STRING, END}:
            self.raise_unexpected_token(
                "a comparison (= <> < > <= >=, BETWEEN, IN, LIKE, IS NULL)",
                "BETWEEN",
                "IN",
                "LIKE",
                "ILIKE",
                "IS",
                "AND",
                "OR",
            )
        self.raise_parse_error(
            "expected a condition, found a value",
            "compare it with something (= <> < > <= >=, BETWEEN, IN, LIKE, IS NULL)",
            text_offset=self.text_offsets[token_index],
        )

    def parse_expression(self) -> Expr:
        """Read conditions joined by AND and OR, or a value where there are none: parentheses hold both."""
        first_i = self.token_index
        text_offset = self.text_offsets[first_i]
        tags = self.tags
        first = self.parse_predicate()
        tag = tags[self.token_index]
        if tag not in {"AND", "OR"}:
            return first
        if not isinstance(first, CONDITION_NODES):
            self.raise_not_condition(first, first_i)
        ands: list[Expr] = [first]
        ors: list[Expr] = []
        and_at = text_offset
        while True:
            if tag == "OR":
                ors.append(ands[0] if len(ands) == 1 else Conjunction(tuple(ands), text_offset=and_at))
                ands = []
            elif tag != "AND":
                break
            self.token_index += 1
            i = self.token_index
            if tag == "OR":
                and_at = self.text_offsets[i]
            part = self.parse_predicate()
            if not isinstance(part, CONDITION_NODES):
                self.raise_not_condition(part, i)
            ands.append(part)
            tag = tags[self.token_index]
        if len(ands) == 1:
            last = ands[0]
        else:
            last = Conjunction(tuple(ands), text_offset=and_at)
        if not ors:
            return last
        ors.append(last)
        return Disjunction(tuple(ors), text_offset=text_offset)

    def parse_negation(self) -> Expr:
        """Read ``NOT predicate``."""
        i = self.token_index
        self.add_depth()
        self.token_index += 1
        if self.tags[self.token_index] == "NOT":
            self.raise_parse_error("NOT stands twice", "leave both out, or use parentheses: NOT (NOT ...)")
        operand = self.parse_predicate()
        if not isinstance(operand, CONDITION_NODES):
            self.raise_not_condition(operand, i + 1)
        self.depth -= 1
        return Negation(operand, text_offset=self.text_offsets[i])

    def parse_predicate(self) -> Expr:
        """Read ``[NOT] predicate``, a value, or a condition in parentheses."""
        i = self.token_index
        text_offset = self.text_offsets[i]
        tags = self.tags
        if tags[i] == "NOT":
            return self.parse_negation()
        if tags[i] == "EXISTS":
            self.token_index += 1
            return ExistsPredicate(self.parse_subquery("EXISTS"), text_offset=text_offset)
        left_operand = self.parse_value()
        tag = tags[self.token_index]
        if tag not in _COMPARISON_OPERATORS and tag not in _PREDICATE_KEYWORDS:
            return left_operand
        self.check_is_value(left_operand, i)
        if tag in _COMPARISON_OPERATORS:
            return self._parse_comparison(left_operand, text_offset)
        if tag == "IS":
            return self._parse_null_test(left_operand, text_offset)
        return self._parse_keyword_predicate(left_operand, text_offset)

    def _parse_comparison(self, left_operand: Expr, text_offset: int) -> Expr:
        """Parse the operator and the right operand of a comparison."""
        tags = self.tags
        operator = tags[self.token_index]
        self.token_index += 1
        right_operand = self.parse_operand()
        if tags[self.token_index] in _COMPARISON_OPERATORS:
            if tags[self.token_index] == "=" and tags[self.token_index - 1] == "=":
                self.raise_unexpected_token("a value")
            is_concatenation = isinstance(right_operand, BinaryOperation) and right_operand.op == "||"
            remedy = "|| joins strings: write OR" if is_concatenation else "join two of them with AND"
            self.raise_parse_error("comparisons cannot be chained", remedy)
        return Comparison(operator, left_operand, right_operand, text_offset=text_offset)

    def _parse_null_test(self, left_operand: Expr, text_offset: int) -> Expr:
        """Parse ``IS [NOT] NULL`` after a value."""
        tags = self.tags
        self.token_index += 1
        negated = tags[self.token_index] == "NOT"
        if negated:
            self.token_index += 1
        if tags[self.token_index] in {"TRUE", "FALSE", "UNKNOWN"}:
            self.raise_parse_error(
                format_message("ADQL has no IS {word}", tags[self.token_index]),
                "only IS NULL and IS NOT NULL; compare with = instead",
            )
        if tags[self.token_index] == "DISTINCT":
            self.raise_parse_error("ADQL has no IS DISTINCT FROM", "compare with <>, and add OR x IS NULL")
        self.expect_token("NULL", "NULL or NOT NULL after IS")
        return NullPredicate(left_operand, negated, text_offset=text_offset)

    def _parse_keyword_predicate(self, left_operand: Expr, text_offset: int) -> Expr:
        """Parse ``[NOT] IN``, ``BETWEEN``, ``LIKE`` or ``ILIKE`` after a value."""
        tags = self.tags
        negated = tags[self.token_index] == "NOT"
        if negated:
            self.token_index += 1
        tag = tags[self.token_index]
        if tag == "IN":
            self.token_index += 1
            return InPredicate(left_operand, self.parse_in_choices(), negated, text_offset=text_offset)
        if tag == "BETWEEN":
            self.token_index += 1
            low = self.parse_operand()
            self.expect_token("AND", "AND and the upper limit of BETWEEN")
            return BetweenPredicate(left_operand, low, self.parse_operand(), negated, text_offset=text_offset)
        if tag == "LIKE" or (tag == "ILIKE" and not self.is_adql_2_0):
            self.token_index += 1
            self.check_text_operand(left_operand, text_offset, tag)
            pattern_at = self.text_offsets[self.token_index]
            pattern = self.parse_operand()
            self.check_text_operand(pattern, pattern_at, tag)
            if tags[self.token_index] == "ESCAPE":
                self.raise_parse_error(*FOREIGN_KEYWORDS["ESCAPE"])
            return LikePredicate(left_operand, pattern, negated, tag == "ILIKE", text_offset=text_offset)
        return self.raise_unexpected_token("BETWEEN, IN, LIKE or ILIKE after NOT", "BETWEEN", "IN", "LIKE", "ILIKE")

    def check_text_operand(self, node: Expr, text_offset: int, operator: str) -> None:
        """Refuse what can never be a string beside LIKE."""
        letter = classify_syntax(node)
        if letter and letter != "s" and not (isinstance(node, Literal) or node is self.last_parenthesized):
            self.raise_parse_error(
                format_message("{word} needs a string here, found {said}", operator, name_value_kind(letter)),
                "turn it into a string with CAST(x AS VARCHAR)",
                text_offset=text_offset,
            )

    def check_is_value(self, node: Expr, token_index: int) -> None:
        """Refuse a condition where a value must stand."""
        if isinstance(node, CONDITION_NODES):
            self.raise_parse_error(
                "a condition cannot be used as a value",
                "combine conditions with AND, OR and NOT, or write CASE WHEN ... END",
                text_offset=self.text_offsets[token_index],
            )

    def parse_in_choices(self) -> tuple[Expr, ...] | LiteralList | Subquery:
        """Read the right side of IN."""
        text_offset = self.text_offsets[self.token_index]
        if self.is_mapping and str(self.values[self.token_index]).lower() == "groups":  # of a policy: 'spica' in groups
            return (self.parse_operand(),)
        self.expect_token("(", "a list in parentheses or a subquery after IN")
        self.add_depth()
        tags = self.tags
        values = self.values
        if tags[self.token_index] in {"SELECT", "WITH"}:
            query = self.parse_nested_query(None)
            self.expect_token(")", "a closing parenthesis")
            self.depth -= 1
            return Subquery(query, text_offset=text_offset)
        if tags[self.token_index] == ")":
            self.raise_parse_error("the list of IN is empty", "write at least one value")
        value = values[self.token_index]
        if isinstance(value, LiteralList):
            self.token_index += 2  # the lexer has seen the closing parenthesis
            self.depth -= 1
            return value
        items: list[Expr] = []
        while True:
            i = self.token_index
            value = values[i]
            if isinstance(value, Literal) and tags[i + 1] in {",", ")"}:  # lists can be long
                items.append(value)
                self.token_index = i + 1
            else:
                items.append(self.parse_operand())
            tag = tags[self.token_index]
            if tag == ",":
                self.token_index += 1
                continue
            single_item = items[0]
            if (
                len(items) == 1
                and isinstance(single_item, Subquery)
                and single_item is self.last_parenthesized
                and (tag == ")" or tag in _QUERY_CONTINUATION_TOKENS)
            ):
                if tag != ")":
                    query = self.parse_nested_query(single_item.query)
                else:
                    query = single_item.query
                self.expect_token(")", "a closing parenthesis")
                self.depth -= 1
                return Subquery(query, text_offset=text_offset)
            if tag != ")":
                self.raise_unexpected_token("a comma or a closing parenthesis in the list of IN")
            self.token_index += 1
            self.depth -= 1
            return tuple(items)

    # --- values ----------------------------------------------------------------------------------------------

    def parse_operand(self) -> Expr:
        """Read a value that is no condition."""
        i = self.token_index
        node = self.parse_value()
        if isinstance(node, CONDITION_NODES):
            self.check_is_value(node, i)
        return node

    def parse_value(self) -> Expr:
        """Read a value expression; operators by their binding, all left-associative, in one loop."""
        tags = self.tags
        i = self.token_index
        left_operand = self.parse_primary()
        op = tags[self.token_index]
        if op not in _OPERATOR_PRECEDENCE:
            return left_operand
        current_operand = (
            left_operand,
            left_operand is self.last_parenthesized,
            i,
        )  # value, whether in parentheses, its first word
        pending: list[tuple[Operand, str]] = []  # left operands that wait, with their operators
        while True:
            precedence = _OPERATOR_PRECEDENCE.get(op, 0)
            while pending and _OPERATOR_PRECEDENCE[pending[-1][1]] >= precedence:
                earlier_operand, earlier_operator = pending.pop()
                binary = self.build_binary(earlier_operator, earlier_operand, current_operand)
                current_operand = (
                    binary,
                    False,
                    earlier_operand[2],
                )
            if not precedence:
                return current_operand[0]
            if op in _EXTENSION_OPERATORS and self.is_adql_2_0:
                self.raise_unexpected_token("another operator (ADQL 2.0)")
            pending.append((current_operand, op))
            self.token_index += 1
            i = self.token_index
            right = self.parse_primary()
            current_operand = (right, right is self.last_parenthesized, i)
            op = tags[self.token_index]

    def build_binary(self, operator: str, left_operand: Operand, right_operand: Operand) -> Expr:
        """Make the node of a binary operator, if its operands can be right."""
        for node, is_parenthesized, i in (left_operand, right_operand):
            self.check_is_value(node, i)
            letter = classify_syntax(node)
            if operator == "||":
                is_concatenation = node is left_operand[0] and isinstance(node, BinaryOperation) and node.op == "||"
                if not (is_parenthesized or is_concatenation or is_character_factor(node)):
                    self.raise_parse_error(
                        format_message("|| joins strings; this is {said}", name_value_kind(letter))
                        if letter
                        else "|| joins strings",
                        "turn it into a string with CAST(x AS VARCHAR)" if letter == "n" else "",
                        text_offset=self.text_offsets[i],
                    )
            elif letter and letter != "n":
                if letter == "s" and operator == "+":
                    remedy = "strings are joined with ||"
                else:
                    remedy = ""
                self.raise_parse_error(
                    format_message("{op} needs numbers; this is {said}", operator, name_value_kind(letter)),
                    remedy,
                    text_offset=self.text_offsets[i],
                )
        return BinaryOperation(
            operator, left_operand[0], right_operand[0], text_offset=self.text_offsets[left_operand[2]]
        )

    def parse_primary(self) -> Expr:
        """Read a literal, a column, a call, something in parentheses, or one of these with a sign."""
        i = self.token_index
        if i > self.next_clock_check:
            self.check_clock()
        tag = self.tags[i]
        if tag in {NAME, QUOTED}:
            if self.tags[i + 1] == "(" and tag == NAME:
                node = self.parse_call()
            else:
                node = self.parse_column()
            return self._parse_optional_element(node, i)
        value = self.values[i]
        if isinstance(value, Literal):
            self.token_index = i + 1
            return value
        if tag == "(":
            return self._parse_optional_element(self.parse_parenthesis(), i)
        if tag in STANDARD_FUNCTION_NAMES and self.tags[i + 1] == "(":
            return self._parse_optional_element(self.parse_call(), i)
        return self._parse_keyword_value(tag)

    def _parse_optional_element(self, node: Expr, token_index: int) -> Expr:
        """Parse the brackets that may follow an array, whose first word is `token_index`."""
        if self.tags[self.token_index] == "[":
            return self.parse_element(node, token_index)
        return node

    # each production of the grammar has its return
    def _parse_keyword_value(self, tag: str) -> Expr:  # noqa: PLR0911
        """Parse a value that begins with a sign or a reserved word."""
        i = self.token_index
        if tag in {"-", "+", "~"}:
            return self.parse_signed()
        keyword_literals: dict[str, bool | None] = {"NULL": None}
        if not self.is_adql_2_0:
            if tag == "CAST":
                return self.parse_cast()
            if tag == "CASE":
                return self.parse_case()
            keyword_literals |= {"TRUE": True, "FALSE": False}
        if tag in keyword_literals:
            self.token_index = i + 1
            return Literal(keyword_literals[tag], text_offset=self.text_offsets[i])
        if self.is_mapping:
            if tag in SQL_FUNCTION_NAMES and self.tags[i + 1] == "(":
                return self.parse_call()
            if tag == "PI":  # the principal investigator of the observation
                return self.parse_column()
        return self._raise_not_value(tag)

    def _raise_not_value(self, tag: str) -> NoReturn:
        """Refuse a word that cannot begin a value."""
        i = self.token_index
        if tag == "SELECT":
            self.raise_parse_error("a subquery must stand in parentheses", "write (SELECT ...)")
        if tag in {"EXISTS", "NOT"}:
            self.raise_parse_error(
                "a condition cannot be used as a value",
                "combine conditions with AND, OR and NOT, or write CASE WHEN ... END",
            )
        if tag in STANDARD_FUNCTION_NAMES:
            self.raise_parse_error(
                format_message(
                    "{word} is the name of a function of ADQL: its arguments in parentheses are missing", self.values[i]
                ),
                format_message('write {word}(...); a column of that name is written "{name}"', tag, self.values[i]),
            )
        if tag == "*" and i and self.tags[i - 1] == "(":
            self.raise_parse_error("only COUNT can have * as its argument", "write a column or an expression")
        self.raise_unexpected_token("a value")

    def parse_element(self, node: Expr, token_index: int) -> Expr:
        """Read ``[n]`` or ``[i, j]`` behind an array, whose first word is `token_index`."""
        self.check_is_value(node, token_index)
        if self.is_adql_2_0:
            self.raise_parse_error("ADQL 2.0 has no elements of arrays", "ask for version 2.1")
        self.add_depth()
        self.token_index += 1
        indexes = [self.parse_operand()]
        while self.tags[self.token_index] == ",":
            self.token_index += 1
            indexes.append(self.parse_operand())
        if self.tags[self.token_index] != "]":
            self.raise_unexpected_token("a closing bracket")
        self.token_index += 1
        if self.tags[self.token_index] == "[":
            self.raise_parse_error(
                "an element of an array has no elements", "the axes of an array stand in one pair of brackets: a[i, j]"
            )
        self.depth -= 1
        return ArrayElement(node, tuple(indexes), text_offset=self.text_offsets[token_index])

    def parse_signed(self) -> Expr:
        """Read ``-x``, ``+x``, ``~x``; two signs in a row need parentheses, as in the grammar."""
        self.add_depth()
        signs: list[tuple[str, int]] = []
        while (tag := self.tags[self.token_index]) in {"-", "+", "~"}:
            if tag != "~" and signs and signs[-1][0] != "~":
                self.raise_parse_error("two signs in a row", "put the inner one into parentheses: -(-x)")
            if tag == "~" and self.is_adql_2_0:
                self.raise_unexpected_token("a value (ADQL 2.0)")
            signs.append((tag, self.text_offsets[self.token_index]))
            if len(signs) > MAX_NESTING_DEPTH:
                self.raise_parse_error("too many operators in a row", "write ~~x as x")
            self.token_index += 1
        i = self.token_index
        node = self.parse_primary()
        self.check_is_value(node, i)
        letter = classify_syntax(node)
        if letter and letter != "n":
            self.raise_parse_error(
                format_message("{op} needs a number; this is {said}", signs[-1][0], name_value_kind(letter)),
                text_offset=self.text_offsets[i],
            )
        for sign, text_offset in reversed(signs):
            node = UnaryOperation(sign, node, text_offset=text_offset)
        self.depth -= 1
        return node

    def parse_parenthesis(self) -> Expr:
        """Read what stands in parentheses: a value, a condition or a subquery."""
        text_offset = self.text_offsets[self.token_index]
        self.add_depth()
        self.token_index += 1
        tag = self.tags[self.token_index]
        node: Expr
        if tag in {"SELECT", "WITH"}:
            if self.is_adql_2_0:
                self.raise_parse_error("a subquery cannot be used as a value", "join its table instead")
            node = Subquery(self.parse_nested_query(None), text_offset=text_offset)
        else:
            node = self.parse_expression()
            if (
                isinstance(node, Subquery)
                and node is self.last_parenthesized
                and self.tags[self.token_index] in _QUERY_CONTINUATION_TOKENS
            ):
                nested_query = self.parse_nested_query(node.query)
                node = Subquery(nested_query, text_offset=text_offset)
        if self.tags[self.token_index] == ",":
            self.raise_parse_error("ADQL has no rows of values (a, b)", "compare the parts one by one, joined with AND")
        self.expect_token(")", "a closing parenthesis")
        self.depth -= 1
        self.last_parenthesized = node
        return node

    def parse_column(self) -> ColumnRef:
        """Read a column name with its qualifiers."""
        i = self.token_index
        text_offset = self.text_offsets[i]
        tags = self.tags
        if tags[i + 1] != ".":
            self.token_index = i + 1
            return ColumnRef(Ident(str(self.values[i]), tags[i] == QUOTED), text_offset=text_offset)
        *qualifier, name = self.parse_dotted_name()
        if len(qualifier) > 3:
            self.raise_parse_error(
                "a column name has at most four parts", "write [[catalog.]schema.]table.column", text_offset=text_offset
            )
        if tags[self.token_index] == "(":
            self.raise_parse_error(
                "a function name cannot have a dot", "write the name of the function alone", text_offset=text_offset
            )
        return ColumnRef(name, tuple(qualifier), text_offset=text_offset)

    def parse_call(self) -> Expr:
        """Read a function call; the current word is its name, the next one the parenthesis."""
        i = self.token_index
        text_offset = self.text_offsets[i]
        word = str(self.values[i])
        name = word.upper()
        self.add_depth()
        self.token_index = i + 2
        tags = self.tags
        distinct = False
        if name in AGGREGATE_NAMES:
            if name == "COUNT" and tags[self.token_index] == "*":
                self.token_index += 1
                self.expect_token(")", "a closing parenthesis")
                self.depth -= 1
                return self.parse_over(FunctionCall(name, star=True, text_offset=text_offset))
            if tags[self.token_index] in {"DISTINCT", "ALL"}:
                distinct = tags[self.token_index] == "DISTINCT"
                self.token_index += 1
        elif tags[self.token_index] in {"DISTINCT", "ALL"}:
            self.raise_parse_error(
                format_message(
                    "{word} can only stand in {names}", tags[self.token_index], ", ".join(sorted(AGGREGATE_NAMES))
                ),
                "leave it out",
            )
        args: list[Expr] = []
        if tags[self.token_index] != ")":
            args.append(self.parse_operand())
            while tags[self.token_index] == ",":
                self.token_index += 1
                args.append(self.parse_operand())
            if tags[self.token_index] != ")":
                self.raise_unexpected_token(format_message("a comma or a closing parenthesis in {word}(...)", word))
        self.token_index += 1
        self.depth -= 1
        arguments = tuple(args)
        if name in STANDARD_FUNCTION_NAMES:
            if name in AGGREGATE_NAMES:
                if len(args) != 1:
                    self.raise_parse_error(
                        format_message("{name} takes 1 argument, not {count}", name, len(args)),
                        format_message("write {name}(expression)", name),
                        text_offset=text_offset,
                    )
            elif call_fault := find_call_fault(name, arguments, "2.0" if self.is_adql_2_0 else "2.1"):
                message, arg, remedy = call_fault
                self.raise_parse_error(message, remedy, text_offset=text_offset if arg is None else arg.text_offset)
        return self.parse_over(FunctionCall(name, arguments, distinct, text_offset=text_offset))

    def parse_cast(self) -> Expr:
        """Read ``CAST(x AS type)``."""
        text_offset = self.text_offsets[self.token_index]
        self.add_depth()
        self.token_index += 1
        self.expect_token("(", "an opening parenthesis after CAST")
        node = self.parse_operand()
        self.expect_token("AS", "AS and a type")
        i = self.token_index
        tag = self.tags[i]
        word = str(self.values[i]).upper()
        length = None
        if tag in TYPE_NAMES:
            self.token_index += 1
            target = tag
        elif tag in {"CHAR", "VARCHAR"}:
            self.token_index += 1
            target = tag
            if self.tags[self.token_index] == "(":
                self.token_index += 1
                length = self.parse_integer("a length")
                self.expect_token(")", "a closing parenthesis")
        elif tag == "DOUBLE" and self.tags[i + 1] == "PRECISION":
            self.token_index += 2
            target = "DOUBLE PRECISION"
        else:
            hint = _TYPE_REMEDIES.get(word) or find_nearest_keyword(word, (*TYPE_NAMES, "CHAR", "VARCHAR"))
            self.raise_parse_error(
                format_message(
                    "expected a type (SMALLINT, INTEGER, BIGINT, REAL, DOUBLE PRECISION, CHAR, VARCHAR, "
                    "TIMESTAMP, POINT, CIRCLE or POLYGON), found {found}",
                    self.describe_token(i),
                ),
                format_message("write {type}", join_messages("{one} or {other}", hint.split(" or "))) if hint else "",
            )
        self.expect_token(")", "a closing parenthesis after the type")
        self.depth -= 1
        return Cast(node, target, length, text_offset=text_offset)

    def parse_case(self) -> Expr:
        """Read ``CASE [operand] WHEN .. THEN .. [ELSE ..] END``."""
        text_offset = self.text_offsets[self.token_index]
        self.add_depth(2)
        self.token_index += 1
        tags = self.tags
        if tags[self.token_index] == "WHEN":
            operand = None
        else:
            operand = self.parse_operand()
        whens: list[tuple[Expr, Expr]] = []
        while tags[self.token_index] == "WHEN":
            self.token_index += 1
            if operand is None:
                when = self.parse_condition()
            else:
                when = self.parse_operand()
            self.expect_token("THEN")
            whens.append((when, self.parse_operand()))
        if not whens:
            self.raise_unexpected_token("WHEN", "WHEN")
        otherwise = None
        if tags[self.token_index] == "ELSE":
            self.token_index += 1
            otherwise = self.parse_operand()
        self.expect_token("END", "WHEN, ELSE or END")
        self.depth -= 2
        return Case(operand, tuple(whens), otherwise, text_offset=text_offset)

    # --- what the query parser adds --------------------------------------------------------------------------

    @abstractmethod
    def parse_subquery(self, keyword: str) -> Query:
        """Read a subquery in parentheses."""

    @abstractmethod
    def parse_nested_query(self, first_operand: Query | None) -> Query:
        """Read a subquery up to its closing parenthesis.

        `first_operand` is its first operand, if it was read already.
        """
