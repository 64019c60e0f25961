"""Parse values and conditions of ADQL: the part of the parser that queries and mapping expressions share.

The parser is a recursive descent without backtracking. It has one function for each nesting level of the grammar, and
loops where the grammar repeats. So only parentheses, functions and subqueries nest, and the parser limits their depth.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Final, NoReturn

from hven.adql._foreign_functions import FOREIGN_FUNCTION_REMEDIES
from hven.adql._function_syntax import (
    AGGREGATE_NAMES,
    SQL_FUNCTION_NAMES,
    STANDARD_FUNCTION_NAMES,
    describe_kind_letter,
    find_call_fault,
    infer_kind_letter,
    is_concatenation_operand,
)
from hven.adql._syntax_errors import FOREIGN_KEYWORDS, find_nearest_keyword
from hven.adql._token_stream import MAX_NESTING_DEPTH
from hven.adql._window_parser import WindowParser
from hven.adql.lexer import END, NAME, NUMBER, QUOTED, STRING
from hven.adql.syntax_tree import (
    ArrayElement,
    BetweenPredicate,
    BinaryOperation,
    CaseExpression,
    CastExpression,
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

Operand = tuple[Expr, bool, int]  # a value, whether it stands in parentheses, the index of its first token

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
# `||` never stands beside other operators without parentheses (BNF `concatenation`)
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
    """Parses values and conditions from the tokens of one text."""

    __slots__ = ()

    # --- conditions ------------------------------------------------------------------------------------------

    def parse_condition(self) -> Expr:
        """Parse a search condition."""
        first_index = self.token_index
        node = self.parse_expression()
        if not isinstance(node, CONDITION_NODES):
            self.raise_not_a_condition(node, first_index)
        return node

    def raise_not_a_condition(self, node: Expr, token_index: int) -> NoReturn:
        """Refuse a value where a condition must stand; `token_index` is its first token."""
        text_offset = self.text_offsets[token_index]
        if isinstance(node, FunctionCall) and node.name in {"CONTAINS", "INTERSECTS"}:
            message = format_message("{name} returns a number, not a condition", node.name)
            remedy = format_message("write 1 = {name}(...)", node.name)
            self.raise_parse_error(message, remedy, text_offset=text_offset)
        tag = self.tags[self.token_index]
        if isinstance(node, FunctionCall) and node.name in FOREIGN_FUNCTION_REMEDIES and not self.is_mapping:
            message = format_message("no function {name}", node.name)
            self.raise_parse_error(message, FOREIGN_FUNCTION_REMEDIES[node.name], text_offset=text_offset)
        if tag == "~":
            self.raise_parse_error(
                "ADQL has no ~ operator between two values",
                "use LIKE or ILIKE (with % and _), or REGEXP_MATCH(s, pattern) = 1",
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
            "compare the value with something (= <> < > <= >=, BETWEEN, IN, LIKE, IS NULL)",
            text_offset=text_offset,
        )

    def parse_expression(self) -> Expr:
        """Parse conditions joined with AND and OR, or a value if there is none: parentheses may hold either."""
        first_index = self.token_index
        first = self.parse_predicate_or_value()
        if self.tags[self.token_index] not in {"AND", "OR"}:
            return first
        if not isinstance(first, CONDITION_NODES):
            self.raise_not_a_condition(first, first_index)
        text_offset = self.text_offsets[first_index]
        alternatives: list[Expr] = []
        conjuncts: list[Expr] = [first]
        conjunction_offset = text_offset
        while (operator := self.tags[self.token_index]) in {"AND", "OR"}:
            self.token_index += 1
            predicate_index = self.token_index
            if operator == "OR":
                alternatives.append(_build_conjunction(conjuncts, conjunction_offset))
                conjuncts = []
                conjunction_offset = self.text_offsets[predicate_index]
            predicate = self.parse_predicate_or_value()
            if not isinstance(predicate, CONDITION_NODES):
                self.raise_not_a_condition(predicate, predicate_index)
            conjuncts.append(predicate)
        alternatives.append(_build_conjunction(conjuncts, conjunction_offset))
        if len(alternatives) == 1:
            return alternatives[0]
        return Disjunction(tuple(alternatives), text_offset=text_offset)

    def parse_negation(self) -> Expr:
        """Parse ``NOT predicate``."""
        text_offset = self.text_offsets[self.token_index]
        self.add_and_limit_nesting_depth()
        self.token_index += 1
        if self.tags[self.token_index] == "NOT":
            self.raise_parse_error("NOT is written twice", "leave out both, or use parentheses: NOT (NOT ...)")
        operand_index = self.token_index
        operand = self.parse_predicate_or_value()
        if not isinstance(operand, CONDITION_NODES):
            self.raise_not_a_condition(operand, operand_index)
        self.depth -= 1
        return Negation(operand, text_offset=text_offset)

    def parse_predicate_or_value(self) -> Expr:
        """Parse ``[NOT] predicate``, a value, or a condition in parentheses."""
        first_index = self.token_index
        text_offset = self.text_offsets[first_index]
        tags = self.tags
        if tags[first_index] == "NOT":
            return self.parse_negation()
        if tags[first_index] == "EXISTS":
            self.token_index += 1
            return ExistsPredicate(self.parse_subquery("EXISTS"), text_offset=text_offset)
        left_operand = self.parse_value()
        tag = tags[self.token_index]
        if tag not in _COMPARISON_OPERATORS and tag not in _PREDICATE_KEYWORDS:
            return left_operand
        self.check_is_value(left_operand, first_index)
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
            remedy = (
                "write OR; || joins strings" if is_concatenation else "write two comparisons, and join them with AND"
            )
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
                "use =, IS NULL or IS NOT NULL",
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
            pattern_offset = self.text_offsets[self.token_index]
            pattern = self.parse_operand()
            self.check_text_operand(pattern, pattern_offset, tag)
            if tags[self.token_index] == "ESCAPE":
                self.raise_parse_error(*FOREIGN_KEYWORDS["ESCAPE"])
            return LikePredicate(left_operand, pattern, negated, tag == "ILIKE", text_offset=text_offset)
        return self.raise_unexpected_token("BETWEEN, IN, LIKE or ILIKE after NOT", "BETWEEN", "IN", "LIKE", "ILIKE")

    def check_text_operand(self, node: Expr, text_offset: int, operator: str) -> None:
        """Refuse an operand of LIKE that can never be a string."""
        letter = infer_kind_letter(node)
        if isinstance(node, Literal) or node is self.last_parenthesized:
            return
        if letter and letter != "s":
            message = format_message("{word} needs a string here, not {said}", operator, describe_kind_letter(letter))
            self.raise_parse_error(message, "turn it into a string with CAST(x AS VARCHAR)", text_offset=text_offset)

    def check_is_value(self, node: Expr, token_index: int) -> None:
        """Refuse a condition where a value must stand."""
        if isinstance(node, CONDITION_NODES):
            self.raise_parse_error(
                "a condition cannot be used as a value",
                "combine conditions with AND, OR and NOT, or write CASE WHEN ... END",
                text_offset=self.text_offsets[token_index],
            )

    def parse_in_choices(self) -> tuple[Expr, ...] | LiteralList | Subquery:
        """Parse the right side of IN."""
        text_offset = self.text_offsets[self.token_index]
        word = str(self.values[self.token_index]).lower()
        if self.is_mapping and word == "groups":  # a row policy: 'spica' in groups
            return (self.parse_operand(),)
        self.expect_token("(", "a list in parentheses or a subquery after IN")
        self.add_and_limit_nesting_depth()
        tags = self.tags
        values = self.values
        if tags[self.token_index] in {"SELECT", "WITH"}:
            query = self.parse_nested_query(None)
            self.expect_token(")", "a closing parenthesis")
            self.depth -= 1
            return Subquery(query, text_offset=text_offset)
        if tags[self.token_index] == ")":
            self.raise_parse_error("the list after IN is empty", "write at least one value")
        literal_list = values[self.token_index]
        if isinstance(literal_list, LiteralList):
            self.token_index += 2  # the lexer has checked the closing parenthesis
            self.depth -= 1
            return literal_list
        choices = [self._parse_in_choice()]
        while tags[self.token_index] == ",":
            self.token_index += 1
            choices.append(self._parse_in_choice())
        tag = tags[self.token_index]
        first_choice = choices[0]
        if (
            len(choices) == 1
            and isinstance(first_choice, Subquery)
            and first_choice is self.last_parenthesized
            and (tag == ")" or tag in _QUERY_CONTINUATION_TOKENS)
        ):
            query = first_choice.query
            if tag != ")":
                query = self.parse_nested_query(query)
            self.expect_token(")", "a closing parenthesis")
            self.depth -= 1
            return Subquery(query, text_offset=text_offset)
        if tag != ")":
            self.raise_unexpected_token("a comma or a closing parenthesis in the list of IN")
        self.token_index += 1
        self.depth -= 1
        return tuple(choices)

    def _parse_in_choice(self) -> Expr:
        """Parse one choice of IN; take a plain literal as it is, because lists can be long."""
        value = self.values[self.token_index]
        if isinstance(value, Literal) and self.tags[self.token_index + 1] in {",", ")"}:
            self.token_index += 1
            return value
        return self.parse_operand()

    # --- values ----------------------------------------------------------------------------------------------

    def parse_operand(self) -> Expr:
        """Parse a value; refuse a condition."""
        first_index = self.token_index
        node = self.parse_value()
        if isinstance(node, CONDITION_NODES):
            self.check_is_value(node, first_index)
        return node

    def parse_value(self) -> Expr:
        """Parse a value expression in one loop over its operators, which are all left-associative."""
        tags = self.tags
        first_index = self.token_index
        node = self.parse_primary()
        operator = tags[self.token_index]
        if operator not in _OPERATOR_PRECEDENCE:
            return node
        operand: Operand = (node, node is self.last_parenthesized, first_index)
        pending: list[tuple[Operand, str]] = []  # left operands with their operators, of rising precedence
        while True:
            precedence = _OPERATOR_PRECEDENCE.get(operator, 0)
            while pending and _OPERATOR_PRECEDENCE[pending[-1][1]] >= precedence:
                left_operand, left_operator = pending.pop()
                binary = self.build_binary_operation(left_operator, left_operand, operand)
                operand = (binary, False, left_operand[2])
            if not precedence:
                return operand[0]
            if operator in _EXTENSION_OPERATORS and self.is_adql_2_0:
                self.raise_unexpected_token("another operator (ADQL 2.0)")
            pending.append((operand, operator))
            self.token_index += 1
            first_index = self.token_index
            node = self.parse_primary()
            operand = (node, node is self.last_parenthesized, first_index)
            operator = tags[self.token_index]

    def build_binary_operation(self, operator: str, left_operand: Operand, right_operand: Operand) -> Expr:
        """Build the node of a binary operator; refuse operands that can never fit it."""
        left_node, left_is_parenthesized, first_index = left_operand
        right_node, right_is_parenthesized, right_index = right_operand
        text_offset = self.text_offsets[first_index]
        self.check_is_value(left_node, first_index)
        is_concatenation = isinstance(left_node, BinaryOperation) and left_node.op == "||"
        self._check_binary_operand(
            operator, left_node, text_offset, is_string_operand=left_is_parenthesized or is_concatenation
        )
        self.check_is_value(right_node, right_index)
        right_offset = self.text_offsets[right_index]
        self._check_binary_operand(operator, right_node, right_offset, is_string_operand=right_is_parenthesized)
        return BinaryOperation(operator, left_node, right_node, text_offset=text_offset)

    def _check_binary_operand(self, operator: str, node: Expr, text_offset: int, *, is_string_operand: bool) -> None:
        """Refuse an operand of a kind that the operator can never take.

        `is_string_operand` says that the grammar allows the operand beside ``||``, whatever its kind.
        """
        letter = infer_kind_letter(node)
        if operator == "||":
            if is_string_operand or is_concatenation_operand(node):
                return
            message = "|| joins strings"
            if letter:
                message = format_message("|| joins strings, but this operand is {said}", describe_kind_letter(letter))
            remedy = "turn it into a string with CAST(x AS VARCHAR)" if letter == "n" else ""
            self.raise_parse_error(message, remedy, text_offset=text_offset)
        if letter and letter != "n":
            message = format_message(
                "{op} needs numbers, but this operand is {said}", operator, describe_kind_letter(letter)
            )
            remedy = ""
            if letter == "s" and operator == "+":
                remedy = "join strings with ||"
            self.raise_parse_error(message, remedy, text_offset=text_offset)

    def parse_primary(self) -> Expr:
        """Parse a literal, a column, a call, an expression in parentheses, or one of these with a sign."""
        first_index = self.token_index
        if first_index > self.next_clock_check:
            self.check_query_deadline()
        tag = self.tags[first_index]
        if tag in {NAME, QUOTED}:
            if self.tags[first_index + 1] == "(" and tag == NAME:
                node = self.parse_function_call()
            else:
                node = self.parse_column()
            return self._parse_optional_subscript(node, first_index)
        literal = self.values[first_index]
        if isinstance(literal, Literal):
            self.token_index = first_index + 1
            return literal
        if tag == "(":
            return self._parse_optional_subscript(self.parse_parenthesized_expression(), first_index)
        if tag in STANDARD_FUNCTION_NAMES and self.tags[first_index + 1] == "(":
            return self._parse_optional_subscript(self.parse_function_call(), first_index)
        return self._parse_keyword_value(tag)

    def _parse_optional_subscript(self, node: Expr, token_index: int) -> Expr:
        """Parse the brackets that may follow an array, whose first token is `token_index`."""
        if self.tags[self.token_index] == "[":
            return self.parse_array_subscript(node, token_index)
        return node

    # each production of the grammar has its return
    def _parse_keyword_value(self, tag: str) -> Expr:  # noqa: PLR0911
        """Parse a value that begins with a sign or a reserved word."""
        i = self.token_index
        if tag in {"-", "+", "~"}:
            return self.parse_signed_value()
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
                return self.parse_function_call()
            if tag == "PI":  # the principal investigator of the observation
                return self.parse_column()
        return self._raise_not_a_value(tag)

    def _raise_not_a_value(self, tag: str) -> NoReturn:
        """Refuse a token that cannot begin a value."""
        if tag == "SELECT":
            self.raise_parse_error("a subquery must be in parentheses", "write (SELECT ...)")
        if tag in {"EXISTS", "NOT"}:
            self.raise_parse_error(
                "a condition cannot be used as a value",
                "combine conditions with AND, OR and NOT, or write CASE WHEN ... END",
            )
        if tag in STANDARD_FUNCTION_NAMES:
            word = self.values[self.token_index]
            message = format_message("{word} is an ADQL function and needs arguments in parentheses", word)
            remedy = format_message('write {word}(...), or "{name}" if you mean a column of that name', tag, word)
            self.raise_parse_error(message, remedy)
        if tag == "*" and self.token_index and self.tags[self.token_index - 1] == "(":
            self.raise_parse_error("only COUNT can have * as its argument", "write a column or an expression")
        self.raise_unexpected_token("a value")

    def parse_array_subscript(self, node: Expr, token_index: int) -> Expr:
        """Parse ``[n]`` or ``[i, j]`` after an array, whose first token is `token_index`."""
        self.check_is_value(node, token_index)
        if self.is_adql_2_0:
            self.raise_parse_error("ADQL 2.0 has no array elements", "use ADQL 2.1")
        self.add_and_limit_nesting_depth()
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
                "an array element cannot be indexed again",
                "write all indices of an array in one pair of brackets: a[i, j]",
            )
        self.depth -= 1
        return ArrayElement(node, tuple(indexes), text_offset=self.text_offsets[token_index])

    def parse_signed_value(self) -> Expr:
        """Parse ``-x``, ``+x``, ``~x``; two signs in a row need parentheses, as in the grammar."""
        self.add_and_limit_nesting_depth()
        signs: list[tuple[str, int]] = []
        while (tag := self.tags[self.token_index]) in {"-", "+", "~"}:
            if tag != "~" and signs and signs[-1][0] != "~":
                self.raise_parse_error(
                    "a sign cannot directly follow another sign", "put the inner sign in parentheses: -(-x)"
                )
            if tag == "~" and self.is_adql_2_0:
                self.raise_unexpected_token("a value (ADQL 2.0)")
            signs.append((tag, self.text_offsets[self.token_index]))
            if len(signs) > MAX_NESTING_DEPTH:
                self.raise_parse_error("there are too many consecutive operators", "write x in place of ~~x")
            self.token_index += 1
        operand_index = self.token_index
        node = self.parse_primary()
        self.check_is_value(node, operand_index)
        letter = infer_kind_letter(node)
        if letter and letter != "n":
            last_sign, _ = signs[-1]
            message = format_message(
                "{op} needs a number, but this operand is {said}", last_sign, describe_kind_letter(letter)
            )
            self.raise_parse_error(message, text_offset=self.text_offsets[operand_index])
        for sign, text_offset in reversed(signs):
            node = UnaryOperation(sign, node, text_offset=text_offset)
        self.depth -= 1
        return node

    def parse_parenthesized_expression(self) -> Expr:
        """Parse a value, a condition or a subquery in parentheses."""
        text_offset = self.text_offsets[self.token_index]
        self.add_and_limit_nesting_depth()
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
            self.raise_parse_error(
                "ADQL has no row values such as (a, b)",
                "compare the parts one by one, and join the comparisons with AND",
            )
        self.expect_token(")", "a closing parenthesis")
        self.depth -= 1
        self.last_parenthesized = node
        return node

    def parse_column(self) -> ColumnRef:
        """Parse a column name with its qualifiers."""
        i = self.token_index
        text_offset = self.text_offsets[i]
        tags = self.tags
        if tags[i + 1] != ".":
            self.token_index = i + 1
            identifier = Ident(str(self.values[i]), tags[i] == QUOTED)
            return ColumnRef(identifier, text_offset=text_offset)
        *qualifier, name = self.parse_dotted_name()
        if len(qualifier) > 3:
            self.raise_parse_error(
                "a column name has at most four parts", "write [[catalog.]schema.]table.column", text_offset=text_offset
            )
        if tags[self.token_index] == "(":
            self.raise_parse_error(
                "a function name cannot contain a dot", "write only the function name", text_offset=text_offset
            )
        return ColumnRef(name, tuple(qualifier), text_offset=text_offset)

    def parse_function_call(self) -> Expr:
        """Parse a function call; the current token is its name, the next one the parenthesis."""
        i = self.token_index
        text_offset = self.text_offsets[i]
        word = str(self.values[i])
        name = word.upper()
        self.add_and_limit_nesting_depth()
        self.token_index = i + 2
        tags = self.tags
        if name == "COUNT" and tags[self.token_index] == "*":
            self.token_index += 1
            self.expect_token(")", "a closing parenthesis")
            self.depth -= 1
            return self.parse_over_clause(FunctionCall(name, star=True, text_offset=text_offset))
        quantifier = tags[self.token_index]
        if quantifier in {"DISTINCT", "ALL"}:
            if name not in AGGREGATE_NAMES:
                aggregate_list = ", ".join(sorted(AGGREGATE_NAMES))
                message = format_message("{word} is allowed only in {names}", quantifier, aggregate_list)
                self.raise_parse_error(message, "leave it out")
            self.token_index += 1
        arguments = self._parse_arguments(word)
        self.depth -= 1
        self._check_call_syntax(name, arguments, text_offset)
        is_distinct = quantifier == "DISTINCT"
        return self.parse_over_clause(FunctionCall(name, arguments, is_distinct, text_offset=text_offset))

    def _parse_arguments(self, function_word: str) -> tuple[Expr, ...]:
        """Parse the arguments of a call and the closing parenthesis."""
        tags = self.tags
        args: list[Expr] = []
        if tags[self.token_index] != ")":
            args.append(self.parse_operand())
            while tags[self.token_index] == ",":
                self.token_index += 1
                args.append(self.parse_operand())
            if tags[self.token_index] != ")":
                expected = format_message("a comma or a closing parenthesis in {word}(...)", function_word)
                self.raise_unexpected_token(expected)
        self.token_index += 1
        return tuple(args)

    def _check_call_syntax(self, name: str, arguments: tuple[Expr, ...], text_offset: int) -> None:
        """Refuse arguments that a function of ADQL can never take."""
        if name not in STANDARD_FUNCTION_NAMES:
            return
        if name in AGGREGATE_NAMES:
            if len(arguments) != 1:
                message = format_message("{name} takes 1 argument, not {count}", name, len(arguments))
                remedy = format_message("write {name}(expression)", name)
                self.raise_parse_error(message, remedy, text_offset=text_offset)
            return
        version = "2.0" if self.is_adql_2_0 else "2.1"
        call_fault = find_call_fault(name, arguments, version)
        if call_fault is not None:
            fault_message, argument, fault_remedy = call_fault
            fault_offset = text_offset if argument is None else argument.text_offset
            self.raise_parse_error(fault_message, fault_remedy, text_offset=fault_offset)

    def parse_cast(self) -> Expr:
        """Parse ``CAST(x AS type)``."""
        text_offset = self.text_offsets[self.token_index]
        self.add_and_limit_nesting_depth()
        self.token_index += 1
        self.expect_token("(", "an opening parenthesis after CAST")
        node = self.parse_operand()
        self.expect_token("AS", "AS and a type")
        target, length = self._parse_cast_type()
        self.expect_token(")", "a closing parenthesis after the type")
        self.depth -= 1
        return CastExpression(node, target, length, text_offset=text_offset)

    def _parse_cast_type(self) -> tuple[str, int | None]:
        """Parse the type of a CAST; return its name and its length, if there is one."""
        i = self.token_index
        tag = self.tags[i]
        if tag in TYPE_NAMES:
            self.token_index += 1
            return tag, None
        if tag == "DOUBLE" and self.tags[i + 1] == "PRECISION":
            self.token_index += 2
            return "DOUBLE PRECISION", None
        if tag not in {"CHAR", "VARCHAR"}:
            self._raise_not_a_type()
        self.token_index += 1
        if self.tags[self.token_index] != "(":
            return tag, None
        self.token_index += 1
        length = self.parse_integer("a length")
        self.expect_token(")", "a closing parenthesis")
        return tag, length

    def _raise_not_a_type(self) -> NoReturn:
        """Refuse what is not the name of a type."""
        message = format_message(
            "expected a type (SMALLINT, INTEGER, BIGINT, REAL, DOUBLE PRECISION, CHAR, VARCHAR, "
            "TIMESTAMP, POINT, CIRCLE or POLYGON), found {found}",
            self.describe_token(self.token_index),
        )
        word = str(self.values[self.token_index]).upper()
        type_names = _TYPE_REMEDIES.get(word) or find_nearest_keyword(word, (*TYPE_NAMES, "CHAR", "VARCHAR"))
        remedy = ""
        if type_names:
            type_list = join_messages("{one} or {other}", type_names.split(" or "))
            remedy = format_message("write {type}", type_list)
        self.raise_parse_error(message, remedy)

    def parse_case(self) -> Expr:
        """Parse ``CASE [operand] WHEN .. THEN .. [ELSE ..] END``."""
        text_offset = self.text_offsets[self.token_index]
        self.add_and_limit_nesting_depth(2)
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
        return CaseExpression(operand, tuple(whens), otherwise, text_offset=text_offset)

    # --- defined by the parser of queries --------------------------------------------------------------------

    @abstractmethod
    def parse_subquery(self, keyword: str) -> Query:
        """Parse a subquery in parentheses."""

    @abstractmethod
    def parse_nested_query(self, first_operand: Query | None) -> Query:
        """Parse a subquery up to its closing parenthesis.

        `first_operand` is the first operand of UNION and the like, if it was parsed already.
        """


def _build_conjunction(conditions: list[Expr], text_offset: int) -> Expr:
    """Join conditions with AND; return a single one as it is."""
    if len(conditions) == 1:
        return conditions[0]
    return Conjunction(tuple(conditions), text_offset=text_offset)
