"""FROM of ADQL: tables, subqueries, joins of every kind, parentheses."""

from __future__ import annotations

from typing import Final, NoReturn

from hven.adql._syntax_faults import FOREIGN
from hven.adql._terms import ExpressionParser
from hven.adql.lexer import NAME, QUOTED
from hven.adql.reserved import RESERVED
from hven.adql.tree import Derived, Expr, FromItem, Ident, Join, Query, Select, Star, TableRef
from hven.model.errors import say

JOIN_WORDS: Final = frozenset(("JOIN", "INNER", "LEFT", "RIGHT", "FULL", "NATURAL", "CROSS"))
SET_WORDS: Final = frozenset(("UNION", "EXCEPT", "INTERSECT"))

Joined = tuple[str, bool, FromItem]  # kind, natural, the table on the right
Condition = tuple[Expr | None, tuple[Ident, ...]]  # ON, or USING


class FromParser(ExpressionParser):
    """Reads what stands in FROM."""

    __slots__ = ()

    def from_list(self) -> FromItem:
        """Read the tables of FROM; a comma is a CROSS join."""
        left = self.joined(None)
        while self.tags[self.i] == ",":
            self.i += 1
            left = Join(left, self.joined(None), "CROSS", at=left.at)
        return left

    def joined(self, first: FromItem | None) -> FromItem:
        """Read a table and what is joined to it; `first` is the first operand, if it was read already.

        The condition may follow its join, or several may follow several joins: ``a JOIN b JOIN c ON .. ON ..``.
        """
        tags = self.tags
        first = first or self.table()
        if tags[self.i] not in JOIN_WORDS and tags[self.i] not in {"ON", "USING"}:
            return first
        joins: list[Joined] = []
        conditions: list[list[Condition]] = []
        wanting = given = 0
        while (tag := tags[self.i]) in JOIN_WORDS or tag in {"ON", "USING"}:
            if tag in JOIN_WORDS:
                kind, natural = self.join_kind()
                joins.append((kind, natural, self.table()))
                conditions.append([])
                wanting += not natural and kind != "CROSS"
                continue
            if given >= wanting:
                self.no_join(joins)
            given += 1
            conditions[-1].append(self.join_condition())
        return nested(first, joins, conditions, chained=given < wanting)

    def no_join(self, joins: list[Joined]) -> NoReturn:
        """Refuse a condition that has no join."""
        tag = self.tags[self.i]
        if joins and joins[-1][1]:
            self.refuse(say("a NATURAL join takes no {word}", tag), say("leave NATURAL or {word} out", tag))
        if joins and joins[-1][0] == "CROSS":
            self.refuse(say("a CROSS JOIN takes no {word}", tag), "write JOIN in place of CROSS JOIN")
        self.refuse(
            say("there is no JOIN for this {word}", tag),
            "write JOIN in place of the comma, or move the condition to WHERE",
        )

    def join_kind(self) -> tuple[str, bool]:
        """Read ``[NATURAL] [INNER|LEFT|RIGHT|FULL [OUTER]] JOIN``."""
        tags = self.tags
        natural = tags[self.i] == "NATURAL"
        if natural:
            self.i += 1
        kind = "INNER"
        tag = tags[self.i]
        if tag in {"INNER", "LEFT", "RIGHT", "FULL"} or (tag == "CROSS" and not natural and not self.old):
            kind = tag
            self.i += 1
            if tags[self.i] == "OUTER":
                if tag in {"INNER", "CROSS"}:
                    self.refuse(say("{word} OUTER is a contradiction", tag), "leave one of them out")
                self.i += 1
        self.expect("JOIN")
        return kind, natural

    def join_condition(self) -> Condition:
        """Read ``ON condition`` or ``USING (a, b)``."""
        tags = self.tags
        self.i += 1
        if tags[self.i - 1] == "ON":
            return self.condition(), ()
        self.expect("(", "column names in parentheses after USING")
        names = [self.ident("a name of a column in both tables")]
        while tags[self.i] == ",":
            self.i += 1
            names.append(self.ident("a name of a column in both tables"))
        if tags[self.i] == ".":
            self.refuse("USING takes column names without the table", "write the name alone, or use ON")
        self.expect(")", "a comma or a closing parenthesis")
        return None, tuple(names)

    def table(self) -> FromItem:
        """Read one table, subquery, or joined tables in parentheses."""
        i = self.i
        at = self.ats[i]
        tag = self.tags[i]
        if tag == "(":
            inner = self.in_parentheses()
            return self.derived(inner, at) if not isinstance(inner, FromItem) else self.maybe_named(inner, at)
        if tag not in {NAME, QUOTED}:
            if tag == "SELECT":
                self.refuse("a subquery in FROM must stand in parentheses", "write (SELECT ...) AS t")
            self.unexpected("a name of a table" if tag in RESERVED else "a table")
        parts = self.names()
        if len(parts) > 3:
            self.refuse("a table name has at most three parts", "write [[catalog.]schema.]table", at=at)
        if self.tags[self.i] == "(":
            self.refuse("ADQL has no functions in FROM", "name a table", at=at)
        alias = self.alias()
        if self.tags[self.i] == "(":
            if alias is not None and alias.name.upper() in FOREIGN:
                self.refuse(*FOREIGN[alias.name.upper()], at=self.ats[self.i - 1])
            self.refuse("ADQL has no list of column names here", "name the columns in a subquery, with AS")
        return TableRef(tuple(parts), alias, at=at)

    def alias(self) -> Ident | None:
        """Read ``[AS] alias``."""
        tag = self.tags[self.i]
        if tag == "AS":
            self.i += 1
            return self.ident("a name after AS")
        return self.ident() if tag in {NAME, QUOTED} and not self.at_windows() else None

    def derived(self, query: Query, at: int) -> Derived:
        """Read the alias that a subquery in FROM must have."""
        alias = self.alias()
        if alias is None:
            self.refuse("a subquery in FROM needs a name", "write AS and a name after it: (SELECT ...) AS t")
        if self.tags[self.i] == "(":
            self.refuse("ADQL has no list of column names here", "name the columns inside the subquery, with AS")
        return Derived(query, alias, at=at)

    def maybe_named(self, item: FromItem, at: int) -> FromItem:
        """Read the alias that joined tables in parentheses may have (BNF: a `subquery` may be a `joined_table`)."""
        alias = self.alias()
        if alias is None:
            return item
        return Derived(Query(Select((Star(at=at),), item, at=at), at=at), alias, at=at)

    def in_parentheses(self) -> FromItem | Query:
        """Read a parenthesis in FROM: a query, or joined tables."""
        at = self.ats[self.i]
        self.deeper(2)
        self.i += 1
        tag = self.tags[self.i]
        result: FromItem | Query
        if tag in {"SELECT", "WITH"}:
            result = self.nested_query(None)
        elif tag == "(":
            inner_at = self.ats[self.i]
            inner = self.in_parentheses()
            if isinstance(inner, FromItem):
                result = self.joined(self.maybe_named(inner, inner_at))
            elif self.tags[self.i] in {")", "ORDER", "OFFSET", *SET_WORDS}:
                result = self.nested_query(inner)
            else:
                result = self.joined(self.derived(inner, inner_at))
        else:
            result = self.joined(None)
            if isinstance(result, TableRef) and self.tags[self.i] == ")":
                self.refuse("a single table does not stand in parentheses", "leave the parentheses out", at=at)
        self.expect(")", "a closing parenthesis")
        self.depth -= 2
        return result

    def joined_query(self) -> Query:
        """Read a query, or joined tables as one (all their columns), in parentheses."""
        at = self.ats[self.i]
        found = self.in_parentheses()
        return Query(Select((Star(at=at),), found, at=at), at=at) if isinstance(found, FromItem) else found


def nested(first: FromItem, joins: list[Joined], conditions: list[list[Condition]], *, chained: bool) -> FromItem:
    """Make the tree of joins that stand one behind the other.

    Parameters
    ----------
    conditions
        What was read behind the table of each join.
    chained
        Some joins have no condition, as the grammar permits: then they go from left to right, if that is possible.
    """
    inside = any(len(given_here) > 1 for given_here in conditions) or any(
        given_here and (natural or kind == "CROSS")
        for (kind, natural, _), given_here in zip(joins, conditions, strict=True)
    )
    left = first
    if chained and not inside:
        for (kind, natural, right), given_here in zip(joins, conditions, strict=True):
            on, using = given_here[0] if given_here else (None, ())
            left = Join(left, right, kind, natural, on, using, at=left.at)
        return left
    waiting: list[tuple[FromItem, str]] = []
    for (kind, natural, right), given_here in zip(joins, conditions, strict=True):
        if natural or kind == "CROSS":
            left = Join(left, right, kind, natural, at=left.at)
        else:
            waiting.append((left, kind))
            left = right
        for on, using in given_here:
            before, kind_before = waiting.pop()
            left = Join(before, left, kind_before, on=on, using=using, at=before.at)
    for before, kind_before in reversed(waiting):
        left = Join(before, left, kind_before, at=before.at)
    return left
