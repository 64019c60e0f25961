"""FROM of ADQL: tables, subqueries, joins of every kind, parentheses."""

from __future__ import annotations

from typing import Final, NoReturn

from hven.adql._expression_parser import ExpressionParser
from hven.adql._syntax_errors import FOREIGN_KEYWORDS
from hven.adql.lexer import NAME, QUOTED
from hven.adql.reserved_words import RESERVED_WORDS
from hven.adql.syntax_tree import DerivedTable, Expr, FromItem, Ident, Join, Query, Select, Star, TableRef
from hven.model.errors import format_message

JOIN_KEYWORDS: Final = frozenset(("JOIN", "INNER", "LEFT", "RIGHT", "FULL", "NATURAL", "CROSS"))
SET_KEYWORDS: Final = frozenset(("UNION", "EXCEPT", "INTERSECT"))

JoinHead = tuple[str, bool, FromItem]  # kind, natural, the table on the right
Condition = tuple[Expr | None, tuple[Ident, ...]]  # ON, or USING


class FromParser(ExpressionParser):
    """Reads what stands in FROM."""

    __slots__ = ()

    def parse_from_list(self) -> FromItem:
        """Read the tables of FROM; a comma is a CROSS join."""
        left_item = self.parse_joins(None)
        while self.tags[self.token_index] == ",":
            self.token_index += 1
            joins = self.parse_joins(None)
            left_item = Join(left_item, joins, "CROSS", text_offset=left_item.text_offset)
        return left_item

    def parse_joins(self, first_item: FromItem | None) -> FromItem:
        """Read a table and what is joined to it; `first_item` is the first operand, if it was read already.

        The condition may follow its join, or several may follow several joins: ``a JOIN b JOIN c ON .. ON ..``.
        """
        tags = self.tags
        first_item = first_item or self.parse_table()
        if tags[self.token_index] not in JOIN_KEYWORDS and tags[self.token_index] not in {"ON", "USING"}:
            return first_item
        joins: list[JoinHead] = []
        conditions: list[list[Condition]] = []
        required_conditions = condition_count = 0
        while (tag := tags[self.token_index]) in JOIN_KEYWORDS or tag in {"ON", "USING"}:
            if tag in JOIN_KEYWORDS:
                kind, natural = self.parse_join_kind()
                joins.append((kind, natural, self.parse_table()))
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
        if joins and joins[-1][1]:
            self.raise_parse_error(
                format_message("a NATURAL join takes no {word}", tag),
                format_message("leave NATURAL or {word} out", tag),
            )
        if joins and joins[-1][0] == "CROSS":
            self.raise_parse_error(
                format_message("a CROSS JOIN takes no {word}", tag), "write JOIN in place of CROSS JOIN"
            )
        self.raise_parse_error(
            format_message("there is no JOIN for this {word}", tag),
            "write JOIN in place of the comma, or move the condition to WHERE",
        )

    def parse_join_kind(self) -> tuple[str, bool]:
        """Read ``[NATURAL] [INNER|LEFT|RIGHT|FULL [OUTER]] JOIN``."""
        tags = self.tags
        natural = tags[self.token_index] == "NATURAL"
        if natural:
            self.token_index += 1
        kind = "INNER"
        tag = tags[self.token_index]
        if tag in {"INNER", "LEFT", "RIGHT", "FULL"} or (tag == "CROSS" and not natural and not self.is_adql_2_0):
            kind = tag
            self.token_index += 1
            if tags[self.token_index] == "OUTER":
                if tag in {"INNER", "CROSS"}:
                    self.raise_parse_error(
                        format_message("{word} OUTER is a contradiction", tag), "leave one of them out"
                    )
                self.token_index += 1
        self.expect_token("JOIN")
        return kind, natural

    def parse_join_condition(self) -> Condition:
        """Read ``ON condition`` or ``USING (a, b)``."""
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
            self.raise_parse_error("USING takes column names without the table", "write the name alone, or use ON")
        self.expect_token(")", "a comma or a closing parenthesis")
        return None, tuple(names)

    def parse_table(self) -> FromItem:
        """Read one table, subquery, or joined tables in parentheses."""
        i = self.token_index
        text_offset = self.text_offsets[i]
        tag = self.tags[i]
        if tag == "(":
            inner = self.parse_from_parenthesis()
            if not isinstance(inner, FromItem):
                return self.parse_derived_table(inner, text_offset)
            return self.parse_optional_alias(inner, text_offset)
        if tag not in {NAME, QUOTED}:
            if tag == "SELECT":
                self.raise_parse_error("a subquery in FROM must stand in parentheses", "write (SELECT ...) AS t")
            self.raise_unexpected_token("a name of a table" if tag in RESERVED_WORDS else "a table")
        parts = self.parse_dotted_name()
        if len(parts) > 3:
            self.raise_parse_error(
                "a table name has at most three parts", "write [[catalog.]schema.]table", text_offset=text_offset
            )
        if self.tags[self.token_index] == "(":
            self.raise_parse_error("ADQL has no functions in FROM", "name a table", text_offset=text_offset)
        alias = self.parse_alias()
        if self.tags[self.token_index] == "(":
            if alias is not None and alias.name.upper() in FOREIGN_KEYWORDS:
                self.raise_parse_error(
                    *FOREIGN_KEYWORDS[alias.name.upper()], text_offset=self.text_offsets[self.token_index - 1]
                )
            self.raise_parse_error("ADQL has no list of column names here", "name the columns in a subquery, with AS")
        return TableRef(tuple(parts), alias, text_offset=text_offset)

    def parse_alias(self) -> Ident | None:
        """Read ``[AS] alias``."""
        tag = self.tags[self.token_index]
        if tag == "AS":
            self.token_index += 1
            return self.parse_identifier("a name after AS")
        if tag in {NAME, QUOTED} and not self.is_window_clause():
            return self.parse_identifier()
        return None

    def parse_derived_table(self, query: Query, text_offset: int) -> DerivedTable:
        """Read the alias that a subquery in FROM must have."""
        alias = self.parse_alias()
        if alias is None:
            self.raise_parse_error("a subquery in FROM needs a name", "write AS and a name after it: (SELECT ...) AS t")
        if self.tags[self.token_index] == "(":
            self.raise_parse_error(
                "ADQL has no list of column names here", "name the columns inside the subquery, with AS"
            )
        return DerivedTable(query, alias, text_offset=text_offset)

    def parse_optional_alias(self, item: FromItem, text_offset: int) -> FromItem:
        """Parse the alias that joined tables in parentheses may have (BNF: a `subquery` may be a `joined_table`)."""
        alias = self.parse_alias()
        if alias is None:
            return item
        return DerivedTable(
            Query(Select((Star(text_offset=text_offset),), item, text_offset=text_offset), text_offset=text_offset),
            alias,
            text_offset=text_offset,
        )

    def parse_from_parenthesis(self) -> FromItem | Query:
        """Read a parenthesis in FROM: a query, or joined tables."""
        text_offset = self.text_offsets[self.token_index]
        self.add_depth(2)
        self.token_index += 1
        tag = self.tags[self.token_index]
        result: FromItem | Query
        if tag in {"SELECT", "WITH"}:
            result = self.parse_nested_query(None)
        elif tag == "(":
            inner_at = self.text_offsets[self.token_index]
            inner = self.parse_from_parenthesis()
            if isinstance(inner, FromItem):
                result = self.parse_joins(self.parse_optional_alias(inner, inner_at))
            elif self.tags[self.token_index] in {")", "ORDER", "OFFSET", *SET_KEYWORDS}:
                result = self.parse_nested_query(inner)
            else:
                result = self.parse_joins(self.parse_derived_table(inner, inner_at))
        else:
            result = self.parse_joins(None)
            if isinstance(result, TableRef) and self.tags[self.token_index] == ")":
                self.raise_parse_error(
                    "a single table does not stand in parentheses", "leave the parentheses out", text_offset=text_offset
                )
        self.expect_token(")", "a closing parenthesis")
        self.depth -= 2
        return result

    def parse_joined_query(self) -> Query:
        """Read a query, or joined tables as one (all their columns), in parentheses."""
        text_offset = self.text_offsets[self.token_index]
        from_item = self.parse_from_parenthesis()
        if isinstance(from_item, FromItem):
            return Query(
                Select((Star(text_offset=text_offset),), from_item, text_offset=text_offset), text_offset=text_offset
            )
        return from_item


def build_join_tree(
    first_item: FromItem, joins: list[JoinHead], conditions: list[list[Condition]], *, lacks_conditions: bool
) -> FromItem:
    """Make the tree of joins that stand one behind the other.

    Parameters
    ----------
    conditions
        What was read behind the table of each join.
    lacks_conditions
        Some joins have no condition, as the grammar permits: then they go from left to right, if that is possible.
    """
    has_nested_conditions = any(len(join_conditions) > 1 for join_conditions in conditions) or any(
        join_conditions and (natural or kind == "CROSS")
        for (kind, natural, _), join_conditions in zip(joins, conditions, strict=True)
    )
    joined_item = first_item
    if lacks_conditions and not has_nested_conditions:
        for (kind, natural, right), join_conditions in zip(joins, conditions, strict=True):
            if join_conditions:
                on, using = join_conditions[0]
            else:
                on, using = (None, ())
            joined_item = Join(joined_item, right, kind, natural, on, using, text_offset=joined_item.text_offset)
        return joined_item
    pending_joins: list[tuple[FromItem, str]] = []
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
