"""Queries of ADQL: SELECT, FROM with its joins, set operations, WITH; and the entrances of the parser."""

from __future__ import annotations

from typing import Final, NoReturn
from typing import Literal as OneOf

from hven.adql._from_clause import JOIN_WORDS, SET_WORDS, FromParser
from hven.adql._syntax_faults import is_statement, nearest
from hven.adql._terms import CONDITIONS
from hven.adql._token_stream import DEEPEST
from hven.adql.lexer import END, NAME, NUMBER, QUOTED
from hven.adql.tree import (
    ColumnRef,
    CommonTable,
    Expr,
    Literal,
    OrderItem,
    Query,
    Select,
    SelectItem,
    SetOperation,
    Star,
)
from hven.model.errors import ParseError, Place, say

Body = Select | SetOperation | Query

_ENDS: Final = frozenset((END, ")", ";", "ORDER", "OFFSET", *SET_WORDS))
_AFTER_FROM: Final = (
    "WHERE", "GROUP", "HAVING", "ORDER", "OFFSET", "UNION", "EXCEPT", "INTERSECT", "JOIN", "INNER", "LEFT", "RIGHT", "FULL", "NATURAL", "AS", "ON", "USING",
)  # fmt: skip
_CLAUSES: Final = ("WHERE", "GROUP", "HAVING", "ORDER", "OFFSET")


class QueryParser(FromParser):
    """Reads whole queries."""

    __slots__ = ()

    def query(self) -> Query:
        """Read the whole text as one query."""
        tags = self.tags
        at = self.ats[0]
        if tags[0] == END:
            self.refuse("the query is empty", "write SELECT ... FROM ...", at=0)
        ctes: tuple[CommonTable, ...] = ()
        if tags[0] == "WITH" and not self.old:
            ctes = self.common_tables()
        query = self.select_expression(None)
        if tags[self.i] == ";":
            self.i += 1
        if tags[self.i] != END:
            self.after_query()
        return Query(query.body, query.order_by, query.offset, ctes, text=self.text, at=at)

    def after_query(self) -> NoReturn:
        """Refuse what follows a whole query."""
        tag = self.tags[self.i]
        if tag in _CLAUSES or tag in JOIN_WORDS:
            self.refuse(
                say("{word} cannot stand here", tag),
                "the order is: SELECT, FROM, WHERE, GROUP BY, HAVING, ORDER BY, OFFSET",
            )
        if tag == "WITH":
            self.refuse("WITH cannot stand here", "it begins the query")
        self.unexpected("the end of the query", "AND", "OR", *_AFTER_FROM, "ASC", "DESC")

    def common_tables(self) -> tuple[CommonTable, ...]:
        """Read ``WITH name AS (SELECT ..), ..``."""
        tables: list[CommonTable] = []
        self.i += 1
        recursive = str(self.values[self.i]).upper() == "RECURSIVE" and self.tags[self.i + 1] in {NAME, QUOTED}
        self.i += recursive
        while True:
            at = self.ats[self.i]
            name = self.ident("a name after WITH")
            if self.tags[self.i] == "(":
                self.refuse("ADQL's WITH has no list of column names", "name the columns inside, with AS")
            self.expect("AS", "AS (SELECT ...)")
            if self.tags[self.i] != "(":
                self.unexpected("an opening parenthesis and SELECT")
            tables.append(CommonTable(name, self.subquery("WITH"), recursive, at=at))
            if self.tags[self.i] != ",":
                return tuple(tables)
            self.i += 1

    # --- set operations --------------------------------------------------------------------------------------

    def select_expression(self, first: Body | None) -> Query:
        """Read ``set [ORDER BY ..] [OFFSET n]``; `first` is the first operand, if it was read already."""
        tags = self.tags
        at = self.ats[self.i]
        body = self.set_expression(first)
        order_by: list[OrderItem] = []
        offset = None
        if tags[self.i] == "ORDER":
            self.i += 1
            self.expect("BY", "BY after ORDER")
            order_by.append(self.order_item())
            while tags[self.i] == ",":
                self.i += 1
                order_by.append(self.order_item())
        if tags[self.i] == "OFFSET" and not self.old:
            self.i += 1
            offset = self.whole_literal("OFFSET")
        if tags[self.i] in SET_WORDS and (order_by or offset):
            self.refuse(
                say("ORDER BY and OFFSET cannot stand before {word}", tags[self.i]),
                "put them at the end, or that query into parentheses",
            )
        if not order_by and offset is None and isinstance(body, Query):
            return body
        return Query(body, tuple(order_by), offset, at=at)

    def set_expression(self, first: Body | None) -> Body:
        """Read operands joined by UNION and EXCEPT; INTERSECT binds tighter."""
        at = self.ats[self.i] if first is None else first.at
        left = self.set_term(first)
        while (op := self.tags[self.i]) in {"UNION", "EXCEPT"}:
            repeat = self.set_all()
            left = SetOperation(op, left, self.set_term(None), repeat, at=at)
        return left

    def set_term(self, first: Body | None) -> Body:
        """Read operands joined by INTERSECT."""
        at = self.ats[self.i] if first is None else first.at
        left = self.set_primary() if first is None else first
        while self.tags[self.i] == "INTERSECT":
            repeat = self.set_all()
            left = SetOperation("INTERSECT", left, self.set_primary(), repeat, at=at)
        return left

    def set_all(self) -> bool:
        """Read a set operator and its ALL."""
        op = self.tags[self.i]
        if self.old:
            self.refuse(say("ADQL 2.0 has no {op}", op), "ask for version 2.1")
        self.i += 1
        if self.tags[self.i] == "DISTINCT":
            self.refuse(
                say("ADQL has no {op} DISTINCT", op), "leave DISTINCT out: duplicates are removed unless ALL is written"
            )
        if self.tags[self.i] == "ALL":
            self.i += 1
            return True
        return False

    def set_primary(self) -> Body:
        """Read a SELECT, or a query in parentheses."""
        tag = self.tags[self.i]
        if tag == "SELECT":
            return self.select()
        if tag == "(":
            self.deeper(2)
            self.i += 1
            if self.tags[self.i] == "WITH":
                self.with_inside()
            query = self.select_expression(None)
            self.expect(")", "a closing parenthesis")
            self.depth -= 2
            return bare(query)
        word = str(self.values[self.i])
        if is_statement(word):
            self.refuse(
                say("{word} cannot be sent: only queries can", word.upper()), "ADQL has SELECT and no other statement"
            )
        if tag == "WITH":
            self.with_inside()
        if tag == NAME and (near := nearest(word, ("SELECT", "WITH"))):
            self.refuse(say("expected SELECT, found '{word}'", word), say("did you mean {word}?", near))
        return self.unexpected("SELECT", "SELECT", "WITH")

    def with_inside(self) -> NoReturn:
        """Refuse WITH in a subquery."""
        if self.old:
            self.refuse("ADQL 2.0 has no WITH", "ask for version 2.1")
        self.refuse(
            "WITH can only stand at the beginning of the whole query",
            "move it there; its tables can be used in every subquery",
        )

    def subquery(self, what: str) -> Query:
        """Read a subquery in parentheses."""
        if self.tags[self.i] != "(":
            self.unexpected(say("a subquery in parentheses after {what}", say(what)))
        after = self.tags[self.i + 1]
        if (
            what == "EXISTS"
            and after != "SELECT"
            and not (after == NAME and nearest(str(self.values[self.i + 1]), ("SELECT",)))
        ):
            return self.joined_query()
        self.deeper()
        self.i += 1
        query = self.nested_query(None)
        self.expect(")", "a closing parenthesis")
        self.depth -= 1
        return query

    def nested_query(self, first: Query | None) -> Query:
        """Read a subquery up to its closing parenthesis; `first` is its first operand, if it was read already."""
        self.deeper(2)
        if self.tags[self.i] == "WITH":
            self.with_inside()
        query = self.select_expression(None if first is None else bare(first))
        self.depth -= 2
        return query

    # --- SELECT ----------------------------------------------------------------------------------------------

    def select(self) -> Select:
        """Read one SELECT with its clauses."""
        tags = self.tags
        at = self.ats[self.i]
        self.i += 1
        distinct = tags[self.i] == "DISTINCT"
        if distinct or tags[self.i] == "ALL":
            self.i += 1
            if tags[self.i] == "ON":
                self.refuse("ADQL has no DISTINCT ON", "use GROUP BY")
        top = None
        if tags[self.i] == "TOP":
            self.i += 1
            if tags[self.i] == "(" and tags[self.i + 1] == NUMBER and tags[self.i + 2] == ")":
                self.refuse(
                    "TOP takes a number without parentheses",
                    say("write TOP {found}", self.found(self.i + 1).split()[-1]),
                )
            top = self.whole_literal("TOP")
            if (
                str(self.values[self.i]).upper() == "PERCENT"
                and tags[self.i] == NAME
                and tags[self.i + 1] in {NAME, QUOTED, "*"}
            ):
                self.refuse("ADQL has no TOP n PERCENT", "write the number of rows")
            if tags[self.i] in {"DISTINCT", "ALL"}:
                self.refuse(
                    say("{word} stands before TOP", tags[self.i]),
                    say("write SELECT {word} TOP {value}", tags[self.i], top.value),
                )
            if tags[self.i] == ",":
                self.refuse(
                    "there is no comma after TOP and its number", say("write TOP {value} and the columns", top.value)
                )
        items = [self.select_item()]
        while tags[self.i] == ",":
            self.i += 1
            items.append(self.select_item())
        if tags[self.i] == "INTO":
            self.refuse("ADQL has no SELECT INTO", "upload tables and read results through TAP")
        source = None
        if tags[self.i] == "FROM":
            self.i += 1
            source = self.from_list()
        elif (
            self.old or tags[self.i] not in _ENDS or any(isinstance(item, Star) for item in items)
        ):  # a query of constants needs no table: an extension
            self.unexpected("a comma or FROM", "FROM", "AS")
        where = having = None
        group_by: list[Expr] = []
        if tags[self.i] == "WHERE":
            self.i += 1
            where = self.condition()
        if tags[self.i] == "GROUP":
            self.i += 1
            self.expect("BY", "BY after GROUP")
            group_by.append(self.group_item())
            while tags[self.i] == ",":
                self.i += 1
                group_by.append(self.group_item())
        if tags[self.i] == "HAVING":
            self.i += 1
            having = self.condition()
        windows = self.windows() if tags[self.i] == NAME else ()
        if tags[self.i] not in _ENDS:
            self.after_clause(where is not None, bool(group_by), having is not None)
        return Select(tuple(items), source, where, tuple(group_by), having, distinct, top, windows, at=at)

    def after_clause(self, where: bool, group_by: bool, having: bool) -> NoReturn:
        """Refuse what follows the clauses of a SELECT."""
        if self.tags[self.i] in _CLAUSES or self.tags[self.i] in JOIN_WORDS:
            self.after_query()
        if having or (where and not group_by):
            self.unexpected(
                "an operator, AND, OR or the next clause",
                "AND",
                "OR",
                "GROUP",
                "ORDER",
                "HAVING",
                "OFFSET",
                "UNION",
                "LIKE",
                "ILIKE",
            )
        if group_by:
            self.unexpected("a comma, HAVING or ORDER BY", "HAVING", "ORDER", "OFFSET", "UNION")
        self.unexpected("a comma, JOIN, WHERE, GROUP BY, ORDER BY or the end", *_AFTER_FROM)

    def select_item(self) -> SelectItem | Star:
        """Read ``*``, ``table.*`` or ``value [[AS] name]``."""
        tags = self.tags
        i = self.i
        at = self.ats[i]
        tag = tags[i]
        if tag == "*":
            self.i = i + 1
            return Star(at=at)
        if tag in {NAME, QUOTED} and tags[i + 1] == ".":
            j = i + 2
            while tags[j] in {NAME, QUOTED} and tags[j + 1] == ".":
                j += 2
            if tags[j] == "*":
                parts = tuple(self.names())
                self.i += 2
                if len(parts) > 3:
                    self.refuse("a table name has at most three parts", "write [[catalog.]schema.]table.*", at=at)
                return Star(parts, at=at)
        expr = self.expression()
        self.no_conditions(expr, i)
        tag = tags[self.i]
        alias = None
        if tag == "AS":
            self.i += 1
            alias = self.ident("a name after AS")
        elif tag in {NAME, QUOTED} and not self.at_windows():
            alias = self.ident()
        return SelectItem(expr, alias, at=at)

    def group_item(self) -> Expr:
        """Read one term of GROUP BY."""
        i = self.i
        expr = self.operand()
        if self.old and not isinstance(expr, ColumnRef):
            self.refuse("GROUP BY takes only columns in ADQL 2.0", "ask for version 2.1", at=self.ats[i])
        return expr

    def order_item(self) -> OrderItem:
        """Read one term of ORDER BY."""
        tags = self.tags
        i = self.i
        at = self.ats[i]
        expr = self.operand()
        if (
            self.old
            and not (isinstance(expr, ColumnRef) and not expr.qualifier)
            and not (isinstance(expr, Literal) and isinstance(expr.value, int))
        ):
            self.refuse("ORDER BY takes only column names and positions in ADQL 2.0", "ask for version 2.1", at=at)
        descending = tags[self.i] == "DESC"
        if descending or tags[self.i] == "ASC":
            self.i += 1
        return OrderItem(expr, descending, at=at)


def bare(query: Query) -> Body:
    """Remove the parentheses where they mean nothing."""
    return query if query.order_by or query.offset is not None else query.body


def parse(text: str, version: OneOf["2.0", "2.1"] = "2.1") -> Query:
    """Read a query.

    Parameters
    ----------
    text
        ADQL, as one statement; one semicolon at its end is ignored.
    version
        ``2.1``: the whole SELECT of ADQL 2.1 and the declared extensions; ``2.0``: that standard's grammar without them.

    Returns
    -------
    Query
        The tree with positions; literals are numbered in text order.

    Raises
    ------
    ParseError
        The text is not in the grammar; with `line`, `column` and a remedy.
    """
    try:
        return QueryParser(text, version=version).query()
    except RecursionError:
        raise _too_deep(text, None) from None


def parse_expression(text: str, place: Place | None = None) -> Expr:
    """Parse a value expression of a descriptor: the same grammar; after a dot any word is a name (``file.size``).

    Parameters
    ----------
    text
        One value; a condition is refused.
    place
        Where the text begins in the descriptor; the error's place is then that of the character at fault.

    Returns
    -------
    tree
        Not bound.

    Raises
    ------
    ParseError
        The text is not a value expression.
    """
    return _parse_part(text, place, condition=False)


def parse_condition(text: str, place: Place | None = None) -> Expr:
    """Parse a search condition of a descriptor: as `parse_expression`, but comparisons, AND, OR, NOT.

    Parameters
    ----------
    text
        One condition; a value is refused.
    place
        Where the text begins in the descriptor; the error's place is then that of the character at fault.

    Returns
    -------
    tree
        Not bound.

    Raises
    ------
    ParseError
        The text is not a search condition.
    """
    return _parse_part(text, place, condition=True)


def _parse_part(text: str, place: Place | None, *, condition: bool) -> Expr:
    try:
        parser = QueryParser(text, mapping=True)
        if parser.tags[0] == END:
            parser.refuse("the expression is empty", "write a value, for instance NULL")
        node = parser.condition() if condition else parser.expression()
        parser.finish()
        if not condition and isinstance(node, CONDITIONS):
            parser.refuse(
                "expected a value, found a condition",
                "write CASE WHEN condition THEN value ELSE value END",
                at=parser.ats[0],
            )
    except RecursionError:
        raise _too_deep(text, place) from None
    except ParseError as fault:
        if place is None:
            raise
        raise ParseError(
            fault.message, text=text, offset=fault.offset, remedy=fault.remedy, place=moved(fault, place)
        ) from None
    return node


def moved(fault: ParseError, start: Place) -> Place:
    """Return the place in a descriptor of a fault in an expression that begins at `start`."""
    if start.line is None:
        return start
    if fault.line > 1:
        return Place(file=start.file, line=start.line + fault.line - 1, column=fault.column)
    column = None if start.column is None else start.column + fault.column - 1
    return Place(file=start.file, line=start.line, column=column)


def _too_deep(text: str, place: Place | None) -> ParseError:
    return ParseError(
        say("nested too deeply: more than {most} levels of parentheses", DEEPEST),
        text=text,
        place=place,
        remedy="write it flatter",
    )
