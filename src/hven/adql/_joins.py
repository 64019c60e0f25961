"""Joins: ON, USING and NATURAL become plain conditions; merged columns are found once (SQL-92 7.5)."""

from __future__ import annotations

from abc import ABC, abstractmethod

from hven.adql._bounds import JOINED, TABLES
from hven.adql._expressions import Expressions
from hven.adql.kinds import derived, meta, wider
from hven.adql.scope import Item, Scope, Source, View, nearest_name
from hven.adql.tree import And, Compare, Expr, FromItem, Function, Ident, Join, Meta
from hven.model.errors import say
from hven.model.types import BOOLEAN


class Joins(Expressions, ABC):
    """Binds joins."""

    @abstractmethod
    def from_item(self, node: FromItem, outer: Scope | None) -> tuple[FromItem, View]:
        """Bind one item of FROM."""

    def join(self, node: Join, outer: Scope | None) -> tuple[FromItem, View]:
        """Bind a join and return what it puts into view."""
        before = self.reads
        left, one = self.from_item(node.left, outer)
        right, two = self.from_item(node.right, outer)
        kind = node.kind.upper()
        if kind in {"LEFT", "FULL"}:
            _optional(two)
        if kind in {"RIGHT", "FULL"}:
            _optional(one)
        view = View([*one.sources, *two.sources], {**one.merged, **two.merged}, one.shadowed | two.shadowed)
        remedy = "join in steps, each of them a job of its own"
        self.at_most(len(view.sources), TABLES, "tables in one FROM", node.right.at, remedy)
        self.at_most(
            self.reads - before,
            JOINED,
            "tables in one FROM, those in its queries and of WITH counted",
            node.right.at,
            remedy,
        )
        condition: Expr | None = None
        if node.on is not None:
            clause, self.clause = self.clause, "ON"
            condition = self.condition(node.on, Scope(view, outer))
            self.clause = clause
        elif node.using or node.natural:
            names = list(node.using) if node.using else _shared(one, two)
            condition = self._merge(node, names, kind, one, two, view)
        if condition is None:
            if kind not in {"INNER", "CROSS"}:
                self.fail(
                    say("a {kind} JOIN needs ON or USING", kind),
                    node.at,
                    "write ON a.id = b.id, or USING (id), behind the table on the right",
                )
            kind = "CROSS"
        return Join(left, right, kind, on=condition, at=node.at), view

    def _merge(self, node: Join, names: list[Ident], kind: str, one: View, two: View, view: View) -> Expr | None:
        """Compare the columns of both sides and merge them in view; return the condition."""
        parts: list[Expr] = []
        merged: dict[str, Item] = {}
        for name in names:
            left, right = self._only(node, name, one, say("left")), self._only(node, name, two, say("right"))
            first, second = left.read(node.at), right.read(node.at)
            first, second = self.comparable(first, second, f"USING ({name.name})", node.at)
            parts.append(
                Compare("=", first, second, at=node.at, meta=derived((meta(first), meta(second)), BOOLEAN, None, None))
            )
            for item in (left, right):
                view.shadowed.add((item.source.number, item.index))
            if kind == "FULL":
                base = meta(first)
                got = Meta(
                    wider((base.type, meta(second).type)), base.unit, base.ucd, base.utype, base.description, base.column, nullable=True,
                    origins=base.origins | meta(second).origins,
                )  # fmt: skip
                both = Function("COALESCE", (first, second), at=node.at, meta=got)
                merged[name.name.lower()] = Item(left.name, left.source, left.index, both)
            else:
                kept = right if kind == "RIGHT" else left
                merged[name.name.lower()] = Item(kept.name, kept.source, kept.index, kept.expr)
            view.merged.pop(name.name.lower(), None)
        view.merged = {**merged, **view.merged}
        if not parts:
            return None
        return parts[0] if len(parts) == 1 else And(tuple(parts), at=node.at, meta=Meta(BOOLEAN))

    def _only(self, node: Join, name: Ident, view: View, side: str) -> Item:
        found = view.find(name)
        if len(found) > 1:
            self.fail(
                say("USING ({name}): the {side} side has {count} columns of that name", name.name, side, len(found)),
                node.at,
                "use ON",
            )
        if not found:
            known = [column.name for source in view.sources for column in source.names.columns]
            self.fail(
                say("USING ({name}): no such column on the {side} side", name.name, side),
                node.at,
                nearest_name(name.name, known),
            )
        item = found[0]
        return Item(_name(item.source, item.index), item.source, item.index, item.expr)


def _optional(view: View) -> None:
    """Mark the side of an outer join whose rows may be missing: its columns may be NULL."""
    for source in view.sources:
        source.optional = True
    for item in view.merged.values():
        if item.expr is None:
            item.source.optional = True


def _shared(one: View, two: View) -> list[Ident]:
    """Return the names that both sides of a NATURAL JOIN show."""
    mine = [item.name for item in one.star()]
    theirs = {item.name.lower() for item in two.star()}
    return [Ident(name) for name in dict.fromkeys(mine) if name.lower() in theirs]


def _name(source: Source, index: int) -> str:
    return source.names.columns[index].name
