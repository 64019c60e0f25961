"""`permit`: the one place where a query is cut down to what its reader may see.

A :class:`Policy` answers two questions about a table: may this reader know of it, and which rows may they see? Whatever
is derived from data is keyed by the :class:`Scope` it was computed under, so that one reader's answer never reaches
another. Row filters are ADQL conditions; they are bound here and put into `TableRef.where`.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import TYPE_CHECKING, Protocol, TypeVar

from hven.adql.tree import Bound, Expr, TableRef

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from hven.model.table import Table

N = TypeVar("N")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reader:
    """Somebody who asks. The anonymous reader has no name and no groups."""

    name: str | None = None
    groups: frozenset[str] = frozenset()

    @property
    def anonymous(self) -> bool:
        """True if nobody is logged in."""
        return self.name is None


ANONYMOUS = Reader()


@dataclass(frozen=True, slots=True)
class Scope:
    """What a reader sees, as a key: readers with equal scopes get equal answers."""

    key: str

    @property
    def public(self) -> bool:
        """True if an answer computed under this scope may be kept by shared caches."""
        return self.key == "public"


PUBLIC = Scope("public")


class Policy(Protocol):
    """A rule about tables and rows. Built-in: `Access`; a site's own come with *Rights*."""

    def sees(self, table: Table, who: Reader) -> bool | None:
        """May `who` know that `table` exists? None: no opinion."""

    def rows(self, table: Table, who: Reader) -> Expr | None:
        """Give a condition that `who`'s rows of `table` meet, bound over the table alone; None: every row."""


class Access:
    """``access: public | private`` of the descriptor: a private table is for the site's owner alone."""

    def sees(self, table: Table, who: Reader) -> bool | None:
        """Private tables need the group ``owner`` (the command line has it)."""
        return True if table.access == "public" or "owner" in who.groups else None

    def rows(self, table: Table, who: Reader) -> Expr | None:  # noqa: ARG002  (the contract's signature)
        """Access says nothing of single rows."""
        return None


OWNER = Reader(name="owner", groups=frozenset({"owner"}))
DEFAULT: tuple[Policy, ...] = (Access(),)


def visible(table: Table, who: Reader, policies: Sequence[Policy] = DEFAULT) -> bool:
    """May `who` know of `table`? The first policy with an opinion that is no stops it; somebody must say yes."""
    opinions = [policy.sees(table, who) for policy in policies]
    return False not in opinions and True in opinions


def row_filters(tables: Sequence[Table], who: Reader, policies: Sequence[Policy] = DEFAULT) -> dict[str, Expr]:
    """Give the row conditions of `who` by qualified table name; tables seen whole are left out."""
    filters: dict[str, Expr] = {}
    for table in tables:
        conditions = [found for policy in policies if (found := policy.rows(table, who)) is not None]
        if conditions:
            filters[table.qualified] = _conjunction(conditions)
    return filters


def permit(bound: Bound, who: Reader, policies: Sequence[Policy] = DEFAULT) -> tuple[Bound, Scope]:
    """Filter every table reference of `bound` to what `who` may see.

    Returns
    -------
    tuple
        The query to run, and the scope under which its answer may be remembered.
    """
    filters = row_filters(bound.tables, who, policies)
    private = [table.qualified for table in bound.tables if not visible(table, ANONYMOUS, policies)]
    if not filters:
        return bound, scope_of(filters, private)
    return replace(bound, query=_rewrite(bound.query, _filtering(filters))), scope_of(filters, private)


def scope_of(filters: dict[str, Expr], private: Sequence[str]) -> Scope:
    """Name the scope: ``public``, or a digest of the filters and of the private tables that are involved."""
    if not filters and not private:
        return PUBLIC
    text = repr(sorted((name, repr(expr)) for name, expr in filters.items())) + repr(sorted(private))
    return Scope(hashlib.sha256(text.encode()).hexdigest()[:16])


def _conjunction(conditions: list[Expr]) -> Expr:
    from hven.adql.tree import And

    return conditions[0] if len(conditions) == 1 else And(tuple(conditions))


def _filtering(filters: dict[str, Expr]) -> Callable[[TableRef], TableRef]:
    def one(ref: TableRef) -> TableRef:
        if ref.table is None or ref.table.qualified not in filters:
            return ref
        return replace(ref, where=filters[ref.table.qualified])

    return one


def _rewrite(node: N, change: Callable[[TableRef], TableRef]) -> N:
    """Copy a tree, with every TableRef changed; parts without one are shared."""
    if isinstance(node, TableRef):
        return change(node)  # type: ignore[return-value]
    if isinstance(node, tuple):
        parts = tuple(_rewrite(part, change) for part in node)
        return node if all(a is b for a, b in zip(parts, node, strict=True)) else parts  # type: ignore[return-value]
    if not is_dataclass(node) or type(node).__module__ != "hven.adql.tree":
        return node
    changes = {}
    for item in fields(node):
        old = getattr(node, item.name)
        new = _rewrite(old, change)
        if new is not old:
            changes[item.name] = new
    return replace(node, **changes) if changes else node  # type: ignore[type-var]
