"""Parse queries of ADQL (SELECT, set operations, WITH), and the public functions of the parser."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NoReturn
from typing import Literal as OneOf

from hven.adql._expression_parser import CONDITION_NODES
from hven.adql._from_parser import JOIN_KEYWORDS, SET_KEYWORDS, FromParser
from hven.adql._syntax_errors import find_nearest_keyword, is_statement_keyword
from hven.adql._token_stream import MAX_NESTING_DEPTH
from hven.adql.lexer import END, NAME, NUMBER, QUOTED
from hven.adql.syntax_tree import (
    ColumnRef,
    CommonTableExpression,
    Expr,
    FromItem,
    Literal,
    NamedWindow,
    OrderItem,
    Query,
    Select,
    SelectItem,
    SelectStar,
    SetOperation,
)
from hven.model.errors import ParseError, TextPlace, format_message

if TYPE_CHECKING:
    from collections.abc import Sequence

Body = Select | SetOperation | Query

_SELECT_END_TOKENS: Final = frozenset((END, ")", ";", "ORDER", "OFFSET", *SET_KEYWORDS))
_KEYWORDS_AFTER_FROM: Final = (
    "WHERE",
    "GROUP",
    "HAVING",
    "ORDER",
    "OFFSET",
    "UNION",
    "EXCEPT",
    "INTERSECT",
    "JOIN",
    "INNER",
    "LEFT",
    "RIGHT",
    "FULL",
    "NATURAL",
    "AS",
    "ON",
    "USING",
)
_KEYWORDS_AFTER_CONDITION: Final = ("AND", "OR", "GROUP", "ORDER", "HAVING", "OFFSET", "UNION", "LIKE", "ILIKE")
_CLAUSE_KEYWORDS: Final = ("WHERE", "GROUP", "HAVING", "ORDER", "OFFSET")


class QueryParser(FromParser):
    """Parses whole queries."""

    __slots__ = ()

    def parse_query(self) -> Query:
        """Parse the whole text as one query."""
        tags = self.tags
        text_offset = self.text_offsets[0]
        if tags[0] == END:
            self.raise_parse_error("the query is empty", "write SELECT ... FROM ...", text_offset=0)
        ctes: tuple[CommonTableExpression, ...] = ()
        if tags[0] == "WITH" and not self.is_adql_2_0:
            ctes = self.parse_common_tables()
        query = self.parse_query_expression(None)
        if tags[self.token_index] == ";":
            self.token_index += 1
        if tags[self.token_index] != END:
            self.raise_text_after_query()
        return Query(query.body, query.order_by, query.offset, ctes, text=self.text, text_offset=text_offset)

    def raise_text_after_query(self) -> NoReturn:
        """Refuse what follows a whole query."""
        tag = self.tags[self.token_index]
        if tag in _CLAUSE_KEYWORDS or tag in JOIN_KEYWORDS:
            message = format_message("{word} is not allowed here", tag)
            self.raise_parse_error(
                message, "write the clauses in this order: SELECT, FROM, WHERE, GROUP BY, HAVING, ORDER BY, OFFSET"
            )
        if tag == "WITH":
            self.raise_parse_error("WITH is not allowed here", "move it to the beginning of the query")
        self.raise_unexpected_token("the end of the query", "AND", "OR", *_KEYWORDS_AFTER_FROM, "ASC", "DESC")

    def parse_common_tables(self) -> tuple[CommonTableExpression, ...]:
        """Parse ``WITH [RECURSIVE] name AS (SELECT ..), ..``."""
        tables: list[CommonTableExpression] = []
        self.token_index += 1
        is_recursive = False
        if str(self.values[self.token_index]).upper() == "RECURSIVE":  # a table may be called recursive
            is_recursive = self.tags[self.token_index + 1] in {NAME, QUOTED}
        if is_recursive:
            self.token_index += 1
        while True:
            text_offset = self.text_offsets[self.token_index]
            name = self.parse_identifier("a name after WITH")
            if self.tags[self.token_index] == "(":
                self.raise_parse_error(
                    "WITH cannot have a list of column names in ADQL", "use AS inside the subquery to name the columns"
                )
            self.expect_token("AS", "AS (SELECT ...)")
            if self.tags[self.token_index] != "(":
                self.raise_unexpected_token("an opening parenthesis and SELECT")
            subquery = self.parse_subquery("WITH")
            tables.append(CommonTableExpression(name, subquery, is_recursive, text_offset=text_offset))
            if self.tags[self.token_index] != ",":
                return tuple(tables)
            self.token_index += 1

    # --- set operations --------------------------------------------------------------------------------------

    def parse_query_expression(self, first_operand: Body | None) -> Query:
        """Parse ``set [ORDER BY ..] [OFFSET n]``; `first_operand` is the first operand, if it was parsed already."""
        tags = self.tags
        text_offset = self.text_offsets[self.token_index]
        body = self.parse_set_expression(first_operand)
        order_by: list[OrderItem] = []
        offset = None
        if tags[self.token_index] == "ORDER":
            self.token_index += 1
            order_by = self.parse_by_clause(self.parse_order_item, "ORDER")
        if tags[self.token_index] == "OFFSET" and not self.is_adql_2_0:
            self.token_index += 1
            offset = self.parse_integer_literal("OFFSET")
        if tags[self.token_index] in SET_KEYWORDS and (order_by or offset):
            message = format_message("ORDER BY and OFFSET are not allowed before {word}", tags[self.token_index])
            remedy = format_message(
                "move them to the end, or enclose the query before {word} in parentheses", tags[self.token_index]
            )
            self.raise_parse_error(message, remedy)
        if not order_by and offset is None and isinstance(body, Query):
            return body
        return Query(body, tuple(order_by), offset, text_offset=text_offset)

    def parse_set_expression(self, first_operand: Body | None) -> Body:
        """Parse operands joined with UNION and EXCEPT; INTERSECT binds tighter."""
        if first_operand is None:
            text_offset = self.text_offsets[self.token_index]
        else:
            text_offset = first_operand.text_offset
        left_body = self.parse_set_term(first_operand)
        while (op := self.tags[self.token_index]) in {"UNION", "EXCEPT"}:
            keeps_duplicates = self.parse_set_operator_quantifier()
            set_term = self.parse_set_term(None)
            left_body = SetOperation(op, left_body, set_term, keeps_duplicates, text_offset=text_offset)
        return left_body

    def parse_set_term(self, first_operand: Body | None) -> Body:
        """Parse operands joined with INTERSECT."""
        if first_operand is None:
            text_offset = self.text_offsets[self.token_index]
            left_body = self.parse_set_primary()
        else:
            text_offset = first_operand.text_offset
            left_body = first_operand
        while self.tags[self.token_index] == "INTERSECT":
            keeps_duplicates = self.parse_set_operator_quantifier()
            right_body = self.parse_set_primary()
            left_body = SetOperation("INTERSECT", left_body, right_body, keeps_duplicates, text_offset=text_offset)
        return left_body

    def parse_set_operator_quantifier(self) -> bool:
        """Parse a set operator and its ALL; return whether it keeps duplicates."""
        op = self.tags[self.token_index]
        if self.is_adql_2_0:
            self.raise_parse_error(format_message("ADQL 2.0 has no {op}", op), "use ADQL 2.1")
        self.token_index += 1
        if self.tags[self.token_index] == "DISTINCT":
            message = format_message("ADQL has no {op} DISTINCT", op)
            self.raise_parse_error(message, "leave out DISTINCT; duplicates are removed unless you write ALL")
        if self.tags[self.token_index] == "ALL":
            self.token_index += 1
            return True
        return False

    def parse_set_primary(self) -> Body:
        """Parse a SELECT, or a query in parentheses."""
        tag = self.tags[self.token_index]
        if tag == "SELECT":
            return self.parse_select()
        if tag == "(":
            self.add_and_limit_nesting_depth(2)
            self.token_index += 1
            if self.tags[self.token_index] == "WITH":
                self.raise_nested_with()
            query = self.parse_query_expression(None)
            self.expect_token(")", "a closing parenthesis")
            self.depth -= 2
            return remove_parentheses(query)
        word = str(self.values[self.token_index])
        if is_statement_keyword(word):
            message = format_message("only queries are accepted, not {word}", word.upper())
            self.raise_parse_error(message, "write SELECT; ADQL has no other statement")
        if tag == "WITH":
            self.raise_nested_with()
        if tag == NAME:
            nearest_keyword = find_nearest_keyword(word, ("SELECT", "WITH"))
            if nearest_keyword:
                message = format_message("expected SELECT, found '{word}'", word)
                self.raise_parse_error(message, format_message("did you mean {word}?", nearest_keyword))
        return self.raise_unexpected_token("SELECT", "SELECT", "WITH")

    def raise_nested_with(self) -> NoReturn:
        """Refuse WITH in a subquery."""
        if self.is_adql_2_0:
            self.raise_parse_error("ADQL 2.0 has no WITH", "use ADQL 2.1")
        self.raise_parse_error(
            "WITH is allowed only at the beginning of the whole query",
            "move WITH to the beginning; its tables can be used in every subquery",
        )

    def parse_subquery(self, keyword: str) -> Query:
        """Parse a subquery in parentheses."""
        if self.tags[self.token_index] != "(":
            expected = format_message("a subquery in parentheses after {what}", format_message(keyword))
            self.raise_unexpected_token(expected)
        if keyword == "EXISTS" and not self._is_select_next():
            return self.parse_query_or_joined_tables()
        self.add_and_limit_nesting_depth()
        self.token_index += 1
        query = self.parse_nested_query(None)
        self.expect_token(")", "a closing parenthesis")
        self.depth -= 1
        return query

    def _is_select_next(self) -> bool:
        """Return whether SELECT, or a word that is probably a misspelt SELECT, follows the current token."""
        next_index = self.token_index + 1
        if self.tags[next_index] == NAME:
            return bool(find_nearest_keyword(str(self.values[next_index]), ("SELECT",)))
        return self.tags[next_index] == "SELECT"

    def parse_nested_query(self, first_operand: Query | None) -> Query:
        """Parse a subquery up to its closing parenthesis.

        `first_operand` is the first operand of UNION and the like, if it was parsed already.
        """
        self.add_and_limit_nesting_depth(2)
        if self.tags[self.token_index] == "WITH":
            self.raise_nested_with()
        first_body = None
        if first_operand is not None:
            first_body = remove_parentheses(first_operand)
        query = self.parse_query_expression(first_body)
        self.depth -= 2
        return query

    # --- SELECT ----------------------------------------------------------------------------------------------

    def parse_select(self) -> Select:
        """Parse one SELECT with its clauses."""
        tags = self.tags
        text_offset = self.text_offsets[self.token_index]
        self.token_index += 1
        distinct = tags[self.token_index] == "DISTINCT"
        if distinct or tags[self.token_index] == "ALL":
            self.token_index += 1
            if tags[self.token_index] == "ON":
                self.raise_parse_error("ADQL has no DISTINCT ON", "use GROUP BY")
        top = None
        if tags[self.token_index] == "TOP":
            top = self._parse_top()
        items = [self.parse_select_item()]
        while tags[self.token_index] == ",":
            self.token_index += 1
            items.append(self.parse_select_item())
        if tags[self.token_index] == "INTO":
            self.raise_parse_error(
                "ADQL has no SELECT INTO",
                "leave out INTO; to query the result again, upload it as a table through TAP",
            )
        source = self._parse_from_clause(items)
        where = having = None
        group_by: tuple[Expr, ...] = ()
        if tags[self.token_index] == "WHERE":
            self.token_index += 1
            where = self.parse_condition()
        if tags[self.token_index] == "GROUP":
            group_by = self._parse_group_by()
        if tags[self.token_index] == "HAVING":
            self.token_index += 1
            having = self.parse_condition()
        windows: tuple[NamedWindow, ...] = ()
        if tags[self.token_index] == NAME:
            windows = self.parse_window_clause()
        if tags[self.token_index] not in _SELECT_END_TOKENS:
            self.raise_text_after_clauses(where is not None, bool(group_by), having is not None)
        return Select(tuple(items), source, where, group_by, having, distinct, top, windows, text_offset=text_offset)

    def _parse_top(self) -> Literal:
        """Parse ``TOP n``."""
        tags = self.tags
        self.token_index += 1
        if tags[self.token_index : self.token_index + 3] == ["(", NUMBER, ")"]:
            number_text = self.describe_token(self.token_index + 1).split()[-1]
            remedy = format_message("write TOP {found}", number_text)
            self.raise_parse_error("TOP takes a number without parentheses", remedy)
        top = self.parse_integer_literal("TOP")
        tag = tags[self.token_index]
        is_percent = tag == NAME and str(self.values[self.token_index]).upper() == "PERCENT"
        if is_percent and tags[self.token_index + 1] in {NAME, QUOTED, "*"}:
            self.raise_parse_error("ADQL has no TOP n PERCENT", "write the number of rows")
        if tag in {"DISTINCT", "ALL"}:
            remedy = format_message("write SELECT {word} TOP {value}", tag, top.value)
            self.raise_parse_error(format_message("{word} must come before TOP", tag), remedy)
        if tag == ",":
            remedy = format_message("leave out the comma between TOP {value} and the columns", top.value)
            self.raise_parse_error("no comma is allowed after TOP and its number", remedy)
        return top

    def _parse_from_clause(self, items: Sequence[SelectItem | SelectStar]) -> FromItem | None:
        """Parse FROM, which a query of constants may leave out (declared extension)."""
        tag = self.tags[self.token_index]
        if tag == "FROM":
            self.token_index += 1
            return self.parse_from_list()
        has_star = any(isinstance(item, SelectStar) for item in items)
        if self.is_adql_2_0 or has_star or tag not in _SELECT_END_TOKENS:
            self.raise_unexpected_token("a comma or FROM", "FROM", "AS")
        return None

    def _parse_group_by(self) -> tuple[Expr, ...]:
        self.token_index += 1
        return tuple(self.parse_by_clause(self.parse_group_item, "GROUP"))

    def raise_text_after_clauses(self, has_where: bool, has_group_by: bool, has_having: bool) -> NoReturn:
        """Refuse what follows the clauses of a SELECT."""
        tag = self.tags[self.token_index]
        if tag in _CLAUSE_KEYWORDS or tag in JOIN_KEYWORDS:
            self.raise_text_after_query()
        if has_having or (has_where and not has_group_by):
            self.raise_unexpected_token("an operator, AND, OR or the next clause", *_KEYWORDS_AFTER_CONDITION)
        if has_group_by:
            self.raise_unexpected_token("a comma, HAVING or ORDER BY", "HAVING", "ORDER", "OFFSET", "UNION")
        self.raise_unexpected_token("a comma, JOIN, WHERE, GROUP BY, ORDER BY or the end", *_KEYWORDS_AFTER_FROM)

    def parse_select_item(self) -> SelectItem | SelectStar:
        """Parse ``*``, ``table.*`` or ``value [[AS] name]``."""
        tags = self.tags
        first_index = self.token_index
        text_offset = self.text_offsets[first_index]
        if tags[first_index] == "*":
            self.token_index += 1
            return SelectStar(text_offset=text_offset)
        if tags[first_index] in {NAME, QUOTED} and tags[first_index + 1] == "." and self._is_qualified_star():
            qualifier = tuple(self.parse_dotted_name())
            self.token_index += 2
            if len(qualifier) > 3:
                self.raise_parse_error(
                    "a table name has at most three parts",
                    "write [[catalog.]schema.]table.*",
                    text_offset=text_offset,
                )
            return SelectStar(qualifier, text_offset=text_offset)
        expr = self.parse_expression()
        self.check_is_value(expr, first_index)
        tag = tags[self.token_index]
        alias = None
        if tag == "AS":
            self.token_index += 1
            alias = self.parse_identifier("a name after AS")
        elif tag in {NAME, QUOTED} and not self.is_window_clause_next():
            alias = self.parse_identifier()
        return SelectItem(expr, alias, text_offset=text_offset)

    def _is_qualified_star(self) -> bool:
        """Return whether ``table.*`` begins at the current token, which is a name before a dot."""
        tags = self.tags
        i = self.token_index
        while tags[i] in {NAME, QUOTED} and tags[i + 1] == ".":
            i += 2
        return tags[i] == "*"

    def parse_group_item(self) -> Expr:
        """Parse one term of GROUP BY."""
        text_offset = self.text_offsets[self.token_index]
        expr = self.parse_operand()
        if self.is_adql_2_0 and not isinstance(expr, ColumnRef):
            self.raise_parse_error(
                "in ADQL 2.0, GROUP BY can contain only columns", "use ADQL 2.1", text_offset=text_offset
            )
        return expr

    def parse_order_item(self) -> OrderItem:
        """Parse one term of ORDER BY."""
        tags = self.tags
        text_offset = self.text_offsets[self.token_index]
        expr = self.parse_operand()
        is_column_name = isinstance(expr, ColumnRef) and not expr.qualifier
        is_position = isinstance(expr, Literal) and isinstance(expr.value, int)
        if self.is_adql_2_0 and not is_column_name and not is_position:
            self.raise_parse_error(
                "in ADQL 2.0, ORDER BY can contain only column names and positions",
                "use ADQL 2.1",
                text_offset=text_offset,
            )
        descending = tags[self.token_index] == "DESC"
        if descending or tags[self.token_index] == "ASC":
            self.token_index += 1
        return OrderItem(expr, descending, text_offset=text_offset)


def remove_parentheses(query: Query) -> Body:
    """Return the body of a query in parentheses, or the query if it has ORDER BY or OFFSET."""
    if query.order_by or query.offset is not None:
        return query
    return query.body


def parse_query(query_text: str, version: OneOf["2.0", "2.1"] = "2.1") -> Query:
    """Parse a query.

    Parameters
    ----------
    query_text
        One statement in ADQL; a semicolon at its end is ignored.
    version
        ``2.1`` means ADQL 2.1 and the declared extensions; ``2.0`` means the grammar of ADQL 2.0 without them.

    Returns
    -------
    Query
        The syntax tree with positions; its literals are numbered in text order.

    Raises
    ------
    ParseError
        The text does not follow the grammar. The error has `line`, `column` and a remedy.
    """
    try:
        return QueryParser(query_text, version=version).parse_query()
    except RecursionError:
        raise _build_depth_error(query_text, None) from None


def parse_expression(expression_text: str, place: TextPlace | None = None) -> Expr:
    """Parse a value expression of a descriptor.

    The grammar is that of values in queries, but any word after a dot is a name (``file.size``).

    Parameters
    ----------
    expression_text
        One value; a condition is refused.
    place
        Where the text begins in the descriptor. An error then has the place of the wrong character in the descriptor.

    Returns
    -------
    tree
        The tree, which is not bound.

    Raises
    ------
    ParseError
        The text is not a value expression.
    """
    return _parse_descriptor_expression(expression_text, place, is_condition=False)


def parse_condition(condition_text: str, place: TextPlace | None = None) -> Expr:
    """Parse a search condition of a descriptor: comparisons, AND, OR, NOT.

    Parameters
    ----------
    condition_text
        One condition; a value is refused.
    place
        Where the text begins in the descriptor. An error then has the place of the wrong character in the descriptor.

    Returns
    -------
    tree
        The tree, which is not bound.

    Raises
    ------
    ParseError
        The text is not a search condition.
    """
    return _parse_descriptor_expression(condition_text, place, is_condition=True)


def _parse_descriptor_expression(expression_text: str, place: TextPlace | None, *, is_condition: bool) -> Expr:
    """Parse a value or a condition, and locate its errors in the descriptor."""
    try:
        parser = QueryParser(expression_text, is_mapping=True)
        if parser.tags[0] == END:
            parser.raise_parse_error("the expression is empty", "write a value, for instance NULL")
        if is_condition:
            node = parser.parse_condition()
        else:
            node = parser.parse_expression()
        parser.expect_end()
        if not is_condition and isinstance(node, CONDITION_NODES):
            parser.raise_parse_error(
                "expected a value, found a condition",
                "write CASE WHEN condition THEN value ELSE value END",
                text_offset=parser.text_offsets[0],
            )
    except RecursionError:
        raise _build_depth_error(expression_text, place) from None
    except ParseError as error:
        if place is None:
            raise
        raise ParseError(
            error.message,
            text=expression_text,
            offset=error.offset,
            remedy=error.remedy,
            place=locate_parse_error(error, place),
        ) from None
    return node


def locate_parse_error(error: ParseError, start_place: TextPlace) -> TextPlace:
    """Return the place in a descriptor of an error in an expression that begins at `start_place`."""
    if start_place.line is None:
        return start_place
    if error.line > 1:
        line = start_place.line + error.line - 1
        return TextPlace(file=start_place.file, line=line, column=error.column)
    column = None
    if start_place.column is not None:
        column = start_place.column + error.column - 1
    return TextPlace(file=start_place.file, line=start_place.line, column=column)


def _build_depth_error(query_text: str, place: TextPlace | None) -> ParseError:
    message = format_message(
        "the query is nested too deeply: more than {most} levels of parentheses", MAX_NESTING_DEPTH
    )
    return ParseError(message, text=query_text, place=place, remedy="reduce the nesting")
