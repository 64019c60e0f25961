"""The output of a SELECT: its columns, with names that are unique and valid."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from hven.adql import kinds
from hven.adql._output_names import made_name
from hven.adql.kinds import kind, meta
from hven.adql.scope import Names
from hven.adql.tree import ColumnRef, Expr, Ident, Literal, Meta, SelectItem, SetOperation
from hven.model.errors import say
from hven.model.table import Column
from hven.model.types import INT32

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hven.adql._fitting import Fitting

LINK_COLUMN = re.compile(r"\{\{|\}\}|\{([^{}]*)\}")  # a column within the template of a link (`Column.link`)


class Outputs:
    """Select items in order; `called` is what each is called before names are made unique, `told` the literals that names tell of."""

    def __init__(self) -> None:
        self.items: list[SelectItem] = []
        self.called: list[Ident] = []
        self.told: list[Literal] = []
        self.aliases: list[tuple[Ident, Expr]] = []
        self._used: set[str] = set()
        self._next: dict[str, int] = {}  # number that the next column of a name tries

    @property
    def columns(self) -> tuple[Column, ...]:
        """The output columns; their links name the columns as this output calls them."""
        return tuple([self._with_link(item, item.column) for item in self.items if item.column is not None])

    @property
    def renamed(self) -> tuple[tuple[str, str], ...]:
        """Columns that the output calls otherwise: name in the table, name in the output."""
        return tuple(
            [
                (item.expr.name.name if item.expr.column is None else item.expr.column.name, item.column.name)
                for item in self.items
                if isinstance(item.expr, ColumnRef)
                and item.column is not None
                and item.expr.column is not None
                and item.expr.column.name != item.column.name
            ]
        )

    def _with_link(self, item: SelectItem, column: Column) -> Column:
        """Rewrite the template of a link to the names of the output; without one of its columns it cannot be filled in, and is dropped."""
        if column.link is None:
            return column
        if not isinstance(item.expr, ColumnRef):
            return column.having(link=None)
        source = item.expr.source
        names = {
            other.expr.column.name: other.column.name
            for other in reversed(self.items)
            if isinstance(other.expr, ColumnRef)
            and other.expr.source == source
            and other.expr.column is not None
            and other.column is not None
        }
        wanted = [found for found in LINK_COLUMN.findall(column.link) if found]
        if not all(name in names for name in wanted):
            return column.having(link=None)
        link = LINK_COLUMN.sub(lambda found: f"{{{names[found[1]]}}}" if found[1] else found[0], column.link)
        return column if link == column.link else column.having(link=link)

    def add(self, expr: Expr, alias: Ident | None, at: int) -> None:
        """Add an expression and describe its column."""
        known = meta(expr)
        base = known.column
        if alias is not None:
            name = alias
            self.aliases.append((alias, expr))
        elif base is not None:
            name = Ident(base.name, quoted=True)
        else:
            made, told = made_name(expr)
            name = Ident(made)
            self.told += told
        unique = name.name
        lower = unique.lower()
        if lower in self._used:
            count = self._next.get(lower, 2)
            while f"{lower}_{count}" in self._used:
                count += 1
            self._next[lower] = count + 1
            unique = f"{name.name}_{count}"
            lower = unique.lower()
        self._used.add(lower)
        if base is None:
            column = Column(
                name=unique, type=known.type, unit=known.unit, ucd=known.ucd, utype=known.utype, description=known.description, origins=tuple(sorted(known.origins)),
            )  # fmt: skip
        elif base.name == unique and (not base.required or not known.nullable):
            column = base
        else:
            column = base.having(name=unique, required=base.required and not known.nullable)
        self.called.append(name)
        self.items.append(SelectItem(expr, alias, at=at, column=column))

    def find(self, ident: Ident) -> list[int]:
        """Return the indexes of the output columns that a name means (ORDER BY)."""
        lower = ident.name.lower()
        return [
            index for index, called in enumerate(self.called)
            if called.name.lower() == lower and (not ident.quoted or ident.name == called.name or (not called.quoted and ident.name == lower))
        ]  # fmt: skip

    def at(self, position: int, binder: Fitting, node: Expr) -> Expr:
        """Return the expression at a position from 1."""
        if not 1 <= position <= len(self.items):
            binder.fail(
                say("there is no output column {position}", position),
                node.at,
                say("the positions are 1 to {most}", len(self.items)),
            )
        return self.items[position - 1].expr

    def position(self, position: int, at: int) -> Literal:
        """Write a position as the literal that OrderItem has."""
        return Literal(position, at=at, meta=Meta(INT32, constant=True, nullable=False))

    def names(self, described: Sequence[Column] = ()) -> Names:
        """Return the columns as a derived table shows them; `described` lends metadata by name (a view's own words)."""
        own = {column.name.lower(): column for column in described}
        columns, metas = [], []
        for item in self.items:
            column, known = item.column, meta(item.expr)
            if column is None:
                continue
            column = self._with_link(item, column)
            words = own.get(column.name.lower())
            if words is not None:
                # a view's own words say what type it would have if it is always null, and that a text is a region
                said = kind(item.expr) == "null" or (
                    column.type.is_string and words.type.is_geometry and words.type.arrow == column.type.arrow
                )
                column = words.having(
                    name=column.name, type=words.type if said else column.type, required=column.required
                )
            columns.append(column)
            metas.append(
                Meta(
                    column.type,
                    column.unit,
                    column.ucd,
                    column.utype,
                    column.description,
                    column,
                    known.nullable,
                    origins=known.origins,
                )
            )
        return Names(columns, [ident.name for ident in self.called], metas)

    def united(self, other: Outputs, binder: Fitting, node: SetOperation) -> Outputs:
        """Return the output of a set operation: metadata of the left side, types that hold both (ADQL 2.1 section 4.6)."""
        result = Outputs()
        for index, (left, right) in enumerate(zip(self.items, other.items, strict=True), 1):
            one, two = kind(left.expr), kind(right.expr)
            mine, theirs = left.column, right.column
            if mine is None or theirs is None:
                continue
            # a view may put regions together that are stored as such and those that it makes as text
            region = mine.type if one == "region" else theirs.type if two == "region" else None
            texts = binder.inline > 0 and region is not None and mine.type.arrow == theirs.type.arrow
            if one != two and "null" not in {one, two} and not texts:
                binder.fail(
                    say("{op}: column {number} is {kind} ({name}) on the left and {other} ({its_name}) on the right", node.op, index, kinds.WORDS[one], mine.name, kinds.WORDS[two], theirs.name), right.at,
                    "CAST one of them",
                )  # fmt: skip
            if two == "null":
                type_ = mine.type
            elif one == "null":
                type_ = theirs.type
            else:
                type_ = region if texts and region is not None else kinds.wider((mine.type, theirs.type))
            column = (
                mine
                if type_ == mine.type and mine.required == theirs.required
                else mine.having(type=type_, required=mine.required and theirs.required)
            )
            known, more = meta(left.expr), meta(right.expr)
            got = Meta(
                type_, column.unit, column.ucd, column.utype, column.description, column, known.nullable or more.nullable,
                known.constant and more.constant, known.aggregate, known.origins | more.origins,
            )  # fmt: skip
            ref: Expr = ColumnRef(Ident(column.name, quoted=True), at=left.at, meta=got, column=column)
            if one == two == "null":
                ref = left.expr  # nobody has said a type yet
            result.items.append(SelectItem(ref, left.alias, at=left.at, column=column))
        result.called = list(self.called)
        return result
