"""The conditions that policies put at the tables of a bound query, for engines that find once which rows meet them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hven.adql.sql import Writer
from hven.adql.tree import ColumnRef, TableRef, walk

if TYPE_CHECKING:
    from hven.adql.sql import Dialect
    from hven.adql.tree import Bound


def conditions(bound: Bound, dialect: Dialect) -> dict[str, tuple[str, tuple[str, ...]]]:
    """Return the conditions of policies as SQL over ``t0``, and which columns they read, by the names of their tables; none if a table has two."""
    found: dict[str, tuple[str, tuple[str, ...]]] = {}
    dialect.most = bound.longest
    for node in walk(bound.query):
        if filtered(node):
            read = {one.column.name for one in walk(node.where) if isinstance(one, ColumnRef) and one.column}
            made = Writer(dialect, {}, frozenset()).expr(node.where), tuple(sorted(read))
            if found.setdefault(node.table.qualified, made) != made:
                return {}
    return found


def filtered(node: Any) -> bool:
    """Return whether rows of a table are hidden, and its columns tell which."""
    return isinstance(node, TableRef) and any(isinstance(one, ColumnRef) for one in walk(node.where))


__all__ = ["conditions", "filtered"]
