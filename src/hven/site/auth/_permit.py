"""`permit`: the one place where a query is cut down to what its reader may see.

A :class:`Policy` answers two questions about a table: may this reader know of it, and which rows may they see? Whatever
is derived from data is keyed by the :class:`Scope` it was computed under, so that one reader's answer never reaches
another. Row filters are ADQL conditions; they are bound here and put into `TableRef.where`.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, fields, is_dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Protocol

from hven.adql import normal
from hven.adql.tree import Bound, Expr, Literal, TableRef, conjunction, transform
from hven.model.errors import ServiceError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from hven.model.settings import Settings
    from hven.model.table import Table


@dataclass(frozen=True, slots=True, kw_only=True)
class Reader:
    """Somebody who asks. The anonymous reader has no name and no groups.

    Attributes
    ----------
    name
        Of the account.
    groups
        Those they are in.
    aliases
        Other names of theirs: e-mail addresses, names as they stand in tables.
    """

    name: str | None = None
    groups: frozenset[str] = frozenset()
    aliases: frozenset[str] = frozenset()

    @property
    def names(self) -> frozenset[str]:
        """All their names, without case."""
        return frozenset() if self.name is None else frozenset(map(normal, (self.name, *self.aliases)))

    @property
    def anonymous(self) -> bool:
        """True if nobody is logged in."""
        return self.name is None


ANONYMOUS = Reader()


def recognised(who: Reader, settings: Settings) -> Reader:
    """Return a reader with the groups and other names that the site knows now; groups that an identity provider said stay.

    Parameters
    ----------
    who
        As an identity provider found them.
    settings
        Of the site, as they are now.
    """
    people = settings.people
    if not (people.groups or people.aliases):
        return who
    groups = {name for name, members in people.groups.items() if who.name in members}
    return replace(
        who,
        groups=frozenset(who.groups - people.groups.keys() | groups),
        aliases=frozenset(people.aliases.get(who.name or "", ())),
    )


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
    """A rule about tables and rows. Built-in: `Access`, and what descriptors say.

    Answers are remembered for each reader as long as nothing else changes: a policy whose answers change comes as a new object.
    """

    def sees(self, table: Table, who: Reader) -> bool | None:
        """Return whether a reader may know that a table exists; None: no opinion.

        Parameters
        ----------
        table
            Any of the site.
        who
            The reader.
        """

    def rows(self, table: Table, who: Reader) -> Expr | None:
        """Return the condition that a reader's rows of a table meet, bound over the table alone.

        Asked of stored tables alone: a view shows the rows that its tables do, whatever is said of its own name.

        Parameters
        ----------
        table
            A stored one.
        who
            The reader.

        Returns
        -------
        condition
            None: every row.
        """


class Access:
    """``access: public | private`` of the descriptor: a private table is for the site's owner alone."""

    def sees(self, table: Table, who: Reader) -> bool | None:
        """Return whether a reader may know of a table: private ones need the group ``owner`` (the command line has it).

        Parameters
        ----------
        table
            Any.
        who
            The reader.
        """
        return True if table.access == "public" or "owner" in who.groups else None

    def rows(self, table: Table, who: Reader) -> Expr | None:  # noqa: ARG002  (the contract's signature)
        """Return no condition: access is not about single rows.

        Parameters
        ----------
        table
            Any.
        who
            Anybody.
        """
        return None


def described(table: Table, who: Reader) -> Expr | None:
    """Return what ``access:`` of the descriptor, as a condition (`hven.adql.RowPolicy`), is for a reader now. The site's owner sees every row.

    Parameters
    ----------
    table
        Any.
    who
        The reader.

    Raises
    ------
    ServiceError
        The table has a policy that nobody has bound to its rows.
    """
    if table.policy is None or "owner" in who.groups:
        return None
    if table.rights is None:
        message = f"the policy of {table.qualified} is not bound to its rows"
        raise ServiceError(message)
    condition: Expr | None = table.rights.condition(who)[0]
    return condition


class Owned:
    """A table that belongs to a reader is theirs alone: not even the site's owner sees it through the service."""

    def sees(self, table: Table, who: Reader) -> bool | None:
        """Return no opinion on the site's own tables."""
        return None if table.owner is None else who.name == table.owner

    def rows(self, table: Table, who: Reader) -> Expr | None:  # noqa: ARG002  (the contract's signature)
        """Return no filter: whose it is, sees all of it."""
        return None


class Offered:
    """``services:`` of the descriptor: a face knows only the tables that are offered by it."""

    def __init__(self, service: str) -> None:
        self.service = service

    def sees(self, table: Table, who: Reader) -> bool | None:  # noqa: ARG002  (the contract's signature)
        """Return no opinion on tables that are offered."""
        return None if table.offers(self.service) else False

    def rows(self, table: Table, who: Reader) -> Expr | None:  # noqa: ARG002  (the contract's signature)
        """Return no condition: a table is offered whole."""
        return None


@lru_cache(maxsize=256)
def offered(policies: tuple[Policy, ...], service: str) -> tuple[Policy, ...]:
    """Add to a site's policies that only what a service offers is known; equal arguments make the same object.

    Parameters
    ----------
    policies
        Of the site.
    service
        Name of the face.

    Returns
    -------
    policies
        One more.
    """
    return (*policies, Offered(service))


ALWAYS: tuple[Policy, ...] = (Owned(),)  # whatever a site's own policies are
OWNER = Reader(name="owner", groups=frozenset({"owner"}))
DEFAULT: tuple[Policy, ...] = (Access(),)


def visible(table: Table, who: Reader, policies: Sequence[Policy] = DEFAULT) -> bool:
    """Return whether a reader may know of a table. The first policy with an opinion that is no stops it; somebody must say yes.

    Parameters
    ----------
    table
        Any.
    who
        The reader.
    policies
        What readers may see.
    """
    opinions = [policy.sees(table, who) for policy in (*ALWAYS, *policies)]
    return False not in opinions and True in opinions


def row_filters(tables: Sequence[Table], who: Reader, policies: Sequence[Policy] = DEFAULT) -> dict[str, Expr]:
    """Collect the row conditions of a reader.

    Parameters
    ----------
    tables
        Those of a query.
    who
        The reader.
    policies
        What readers may see.

    Returns
    -------
    filters
        Bound conditions by qualified name; tables seen whole are left out.
    """
    filters: dict[str, Expr] = {}
    for table in tables:
        condition = conjunction(*(policy.rows(table, who) for policy in policies), described(table, who))
        if condition is not None:
            filters[table.qualified] = settled(condition)
    return filters


def permit(bound: Bound, who: Reader, policies: Sequence[Policy] = DEFAULT) -> tuple[Bound, Scope]:
    """Filter every table reference of `bound` to what `who` may see.

    Parameters
    ----------
    bound
        What is asked.
    who
        Who asks.
    policies
        What readers may see.

    Returns
    -------
    tuple
        The query to run, and the scope under which its answer may be remembered.
    """
    filters = row_filters(bound.tables, who, policies)
    private = [table.qualified for table in bound.tables if not visible(table, ANONYMOUS, policies)]
    if not filters:
        return bound, scope_of(filters, private)
    known = {table.qualified for table in bound.tables}
    return replace(bound, query=transform(bound.query, _filtering(filters, known))), scope_of(filters, private)


def scope_of(filters: dict[str, Expr], private: Sequence[str]) -> Scope:
    """Return the scope of an answer: ``public``, or a digest of the filters and of the private tables that are involved.

    Parameters
    ----------
    filters
        As `row_filters` returned them.
    private
        Names of tables that not everybody may know of.
    """
    if not filters and not private:
        return PUBLIC
    text = repr(sorted((name, spell(expr)) for name, expr in filters.items())) + repr(sorted(private))
    return Scope(hashlib.sha256(text.encode()).hexdigest()[:16])


def spell(node: object) -> str:
    """Write a tree as text that is the same in every process: what ``==`` compares, and nothing else."""
    if isinstance(node, tuple):
        return f"({','.join(spell(part) for part in node)})"
    if is_dataclass(node) and not isinstance(node, type):
        return f"{type(node).__name__}({','.join(spell(getattr(node, item.name)) for item in fields(node) if item.compare)})"
    return repr(node)


def settled(condition: Expr) -> Expr:
    """Remove the slots of a condition's literals: those of the *query* are numbered, and a reused plan replaces them."""
    return transform(
        condition, lambda node: replace(node, slot=-1) if isinstance(node, Literal) and node.slot >= 0 else node
    )


def _filtering(filters: dict[str, Expr], known: set[str]) -> Callable[[Any], Any]:
    def one(ref: Any) -> Any:
        if not isinstance(ref, TableRef) or ref.cte:
            return ref
        if ref.table is None or ref.table.qualified not in known:
            # nobody was asked about it: better no answer than too much of one
            name = ".".join(part.name for part in ref.parts)
            message = f"the table {name} is read without having been bound"
            raise ServiceError(message)
        return replace(ref, where=filters[ref.table.qualified]) if ref.table.qualified in filters else ref

    return one
