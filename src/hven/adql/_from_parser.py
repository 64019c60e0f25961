"""Parse the FROM clause of ADQL: tables, subqueries, joins and parentheses."""

from __future__ import annotations

from typing import Final, NoReturn

from hven.adql._expression_parser import ExpressionParser
from hven.adql._syntax_errors import FOREIGN_KEYWORDS
from hven.adql.lexer import NAME, QUOTED
from hven.adql.reserved_words import RESERVED_WORDS
from hven.adql.syntax_tree import DerivedTable, Expr, FromItem, Ident, Join, Query, Select, SelectStar, TableRef
from hven.model.errors import format_message

JOIN_KEYWORDS: Final = frozenset(("JOIN", "INNER", "LEFT", "RIGHT", "FULL", "NATURAL", "CROSS"))
SET_KEYWORDS: Final = frozenset(("UNION", "EXCEPT", "INTERSECT"))

JoinHead = tuple[str, bool, FromItem]  # kind, natural, the table on the right
Condition = tuple[Expr | None, tuple[Ident, ...]]  # the condition of ON, the names of USING


class FromParser(ExpressionParser):
    """Parses the FROM clause."""

    __slots__ = ()

    def parse_from_list(self) -> FromItem:
        """Parse the tables of FROM; a comma is a CROSS join."""
        left_item = self.parse_joined_tables(None)
        while self.tags[self.token_index] == ",":
            self.token_index += 1
            right_item = self.parse_joined_tables(None)
            left_item = Join(left_item, right_item, "CROSS", text_offset=left_item.text_offset)
        return left_item

    def parse_joined_tables(self, first_item: FromItem | None) -> FromItem:
        """Parse a table and its joins; `first_item` is the first table, if it was parsed already.

        A condition may stand directly after its join, or after several joins: ``a JOIN b JOIN c ON .. ON ..``.
        """
        tags = self.tags
        first_item = first_item or self.parse_table_reference()
        if tags[self.token_index] not in JOIN_KEYWORDS and tags[self.token_index] not in {"ON", "USING"}:
            return first_item
        joins: list[JoinHead] = []
        conditions: list[list[Condition]] = []
        required_conditions = condition_count = 0
        while (tag := tags[self.token_index]) in JOIN_KEYWORDS or tag in {"ON", "USING"}:
            if tag in JOIN_KEYWORDS:
                kind, natural = self.parse_join_kind()
                joins.append((kind, natural, self.parse_table_reference()))
                conditions.append([])
                required_conditions += not natural and kind != "CROSS"
                continue
            if condition_count >= required_conditions:
                self.raise_condition_without_join(joins)
            condition_count += 1
            conditions[-1].append(self.parse_join_condition())
        return build_join_tree(first_item, joins, conditions, lacks_conditions=condition_count < required_conditions)

    def raise_condition_without_join(self, joins: list[JoinHead]) -> NoReturn:
        """Refuse a condition that has no join."""
        tag = self.tags[self.token_index]
        if joins:
            last_kind, last_is_natural, _ = joins[-1]
            if last_is_natural:
                message = format_message("a NATURAL join cannot have {word}", tag)
                self.raise_parse_error(message, format_message("leave out NATURAL or {word}", tag))
            if last_kind == "CROSS":
                message = format_message("a CROSS JOIN cannot have {word}", tag)
                self.raise_parse_error(message, "write JOIN in place of CROSS JOIN")
        message = format_message("there is no JOIN for this {word}", tag)
        self.raise_parse_error(message, "write JOIN in place of the comma, or move the condition to WHERE")

    def parse_join_kind(self) -> tuple[str, bool]:
        """Parse ``[NATURAL] [INNER|LEFT|RIGHT|FULL [OUTER]|CROSS] JOIN``; return the kind, and True if NATURAL."""
        tags = self.tags
        natural = tags[self.token_index] == "NATURAL"
        if natural:
            self.token_index += 1
        kind = "INNER"
        tag = tags[self.token_index]
        is_cross_allowed = not natural and not self.is_adql_2_0
        if tag in {"INNER", "LEFT", "RIGHT", "FULL"} or (tag == "CROSS" and is_cross_allowed):
            kind = tag
            self.token_index += 1
            if tags[self.token_index] == "OUTER":
                if tag in {"INNER", "CROSS"}:
                    message = format_message("{word} OUTER is a contradiction", tag)
                    self.raise_parse_error(message, "leave out one of the two words")
                self.token_index += 1
        self.expect_token("JOIN")
        return kind, natural

    def parse_join_condition(self) -> Condition:
        """Parse ``ON condition`` or ``USING (a, b)``."""
        tags = self.tags
        self.token_index += 1
        if tags[self.token_index - 1] == "ON":
            return self.parse_condition(), ()
        self.expect_token("(", "column names in parentheses after USING")
        names = [self.parse_identifier("a name of a column in both tables")]
        while tags[self.token_index] == ",":
            self.token_index += 1
            names.append(self.parse_identifier("a name of a column in both tables"))
        if tags[self.token_index] == ".":
            self.raise_parse_error(
                "a column name in USING cannot be preceded by a table name", "write only the column name, or use ON"
            )
        self.expect_token(")", "a comma or a closing parenthesis")
        return None, tuple(names)

    def parse_table_reference(self) -> FromItem:
        """Parse one table, one subquery, or joined tables in parentheses."""
        text_offset = self.text_offsets[self.token_index]
        tag = self.tags[self.token_index]
        if tag == "(":
            inner = self.parse_parenthesized_from()
            if not isinstance(inner, FromItem):
                return self.parse_derived_table_alias(inner, text_offset)
            return self.parse_joined_table_alias(inner, text_offset)
        if tag not in {NAME, QUOTED}:
            if tag == "SELECT":
                self.raise_parse_error("a subquery in FROM must be in parentheses", "write (SELECT ...) AS t")
            self.raise_unexpected_token("a name of a table" if tag in RESERVED_WORDS else "a table")
        parts = self.parse_dotted_name()
        if len(parts) > 3:
            self.raise_parse_error(
                "a table name has at most three parts", "write [[catalog.]schema.]table", text_offset=text_offset
            )
        if self.tags[self.token_index] == "(":
            self.raise_parse_error(
                "ADQL has no functions in FROM", "write the name of a table", text_offset=text_offset
            )
        alias = self.parse_alias()
        if self.tags[self.token_index] == "(":
            alias_word = ""
            if alias is not None:
                alias_word = alias.name.upper()
            if alias_word in FOREIGN_KEYWORDS:
                message, remedy = FOREIGN_KEYWORDS[alias_word]
                self.raise_parse_error(message, remedy, text_offset=self.text_offsets[self.token_index - 1])
            self.raise_parse_error(
                "ADQL does not allow a list of column names here", "use AS in a subquery to name the columns"
            )
        return TableRef(tuple(parts), alias, text_offset=text_offset)

    def parse_alias(self) -> Ident | None:
        """Parse ``[AS] alias``."""
        tag = self.tags[self.token_index]
        if tag == "AS":
            self.token_index += 1
            return self.parse_identifier("a name after AS")
        if tag in {NAME, QUOTED} and not self.is_window_clause_next():
            return self.parse_identifier()
        return None

    def parse_derived_table_alias(self, query: Query, text_offset: int) -> DerivedTable:
        """Parse the alias that a subquery in FROM must have."""
        alias = self.parse_alias()
        if alias is None:
            self.raise_parse_error(
                "a subquery in FROM needs a name", "write AS and a name after the subquery: (SELECT ...) AS t"
            )
        if self.tags[self.token_index] == "(":
            self.raise_parse_error(
                "ADQL does not allow a list of column names here", "use AS inside the subquery to name the columns"
            )
        return DerivedTable(query, alias, text_offset=text_offset)

    def parse_joined_table_alias(self, item: FromItem, text_offset: int) -> FromItem:
        """Parse the alias that joined tables in parentheses may have (BNF: a `subquery` may be a `joined_table`)."""
        alias = self.parse_alias()
        if alias is None:
            return item
        query = _build_select_all_query(item, text_offset)
        return DerivedTable(query, alias, text_offset=text_offset)

    def parse_parenthesized_from(self) -> FromItem | Query:
        """Parse a parenthesis in FROM: a query, or joined tables."""
        text_offset = self.text_offsets[self.token_index]
        self.add_and_limit_nesting_depth(2)
        self.token_index += 1
        tag = self.tags[self.token_index]
        result: FromItem | Query
        if tag in {"SELECT", "WITH"}:
            result = self.parse_nested_query(None)
        elif tag == "(":
            result = self._parse_nested_parenthesized_from()
        else:
            result = self.parse_joined_tables(None)
            if isinstance(result, TableRef) and self.tags[self.token_index] == ")":
                self.raise_parse_error(
                    "a single table must not be in parentheses", "leave out the parentheses", text_offset=text_offset
                )
        self.expect_token(")", "a closing parenthesis")
        self.depth -= 2
        return result

    def _parse_nested_parenthesized_from(self) -> FromItem | Query:
        """Parse what begins with a second parenthesis: joins, or a query that continues after the parenthesis."""
        inner_offset = self.text_offsets[self.token_index]
        inner = self.parse_parenthesized_from()
        if isinstance(inner, FromItem):
            first_item = self.parse_joined_table_alias(inner, inner_offset)
            return self.parse_joined_tables(first_item)
        if self.tags[self.token_index] in {")", "ORDER", "OFFSET", *SET_KEYWORDS}:
            return self.parse_nested_query(inner)
        derived_table = self.parse_derived_table_alias(inner, inner_offset)
        return self.parse_joined_tables(derived_table)

    def parse_query_or_joined_tables(self) -> Query:
        """Parse a query in parentheses; joined tables become a query of all their columns."""
        text_offset = self.text_offsets[self.token_index]
        content = self.parse_parenthesized_from()
        if isinstance(content, FromItem):
            return _build_select_all_query(content, text_offset)
        return content


def _build_select_all_query(item: FromItem, text_offset: int) -> Query:
    """Build ``SELECT * FROM item``."""
    star = SelectStar(text_offset=text_offset)
    select = Select((star,), item, text_offset=text_offset)
    return Query(select, text_offset=text_offset)


def build_join_tree(
    first_item: FromItem, joins: list[JoinHead], conditions: list[list[Condition]], *, lacks_conditions: bool
) -> FromItem:
    """Build the tree of a sequence of joins.

    Parameters
    ----------
    first_item
        The table before the first join.
    joins
        The joins in text order.
    conditions
        The conditions that stand after the table of each join.
    lacks_conditions
        Whether some joins have no condition, as the grammar permits. Then the joins go from left to right, if possible.
    """
    joined_item = first_item
    if lacks_conditions and not _has_nested_join_conditions(joins, conditions):
        for (kind, natural, right), join_conditions in zip(joins, conditions, strict=True):
            on, using = join_conditions[0] if join_conditions else (None, ())
            joined_item = Join(joined_item, right, kind, natural, on, using, text_offset=joined_item.text_offset)
        return joined_item
    pending_joins: list[tuple[FromItem, str]] = []  # joins whose condition comes later: the left item and the kind
    for (kind, natural, right), join_conditions in zip(joins, conditions, strict=True):
        if natural or kind == "CROSS":
            joined_item = Join(joined_item, right, kind, natural, text_offset=joined_item.text_offset)
        else:
            pending_joins.append((joined_item, kind))
            joined_item = right
        for on, using in join_conditions:
            left_item, pending_kind = pending_joins.pop()
            joined_item = Join(
                left_item, joined_item, pending_kind, on=on, using=using, text_offset=left_item.text_offset
            )
    for left_item, pending_kind in reversed(pending_joins):
        joined_item = Join(left_item, joined_item, pending_kind, text_offset=left_item.text_offset)
    return joined_item


def _has_nested_join_conditions(joins: list[JoinHead], conditions: list[list[Condition]]) -> bool:
    """Return whether a condition belongs to another join than the one directly before it."""
    for (kind, natural, _), join_conditions in zip(joins, conditions, strict=True):
        if len(join_conditions) > 1:
            return True
        if join_conditions and (natural or kind == "CROSS"):
            return True
    return False
