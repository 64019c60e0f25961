"""`permit`: the one place where a query is cut down to what its reader may see.

A :class:`Policy` answers two questions about a table: may this reader know of it, and which rows may they see? Whatever
is derived from data is keyed by the :class:`Scope` it was computed under, so that one reader's answer never reaches
another. Row filters are ADQL conditions; they are bound here and put into `TableRef.where`.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass, field, fields, is_dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from hven.adql import Delegation, normal
from hven.adql.tree import Bound, ColumnRef, Compare, Expr, Literal, Meta, TableRef, conjunction, transform, walk
from hven.model.errors import ServiceError
from hven.model.types import BOOLEAN, INT32

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hven.model.settings import Settings
    from hven.model.table import Table
    from hven.site.store import Grants


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
    delegations
        Whose rows they have besides, for a while.
    by
        The account that looks as this reader; empty: nobody but themself. It changes nothing of what is seen.
    proved_groups
        Those of the groups that their proof said (an account, a provider's token), not the site's settings, tables and grants; None: all.
    """

    name: str | None = None
    groups: frozenset[str] = frozenset()
    aliases: frozenset[str] = frozenset()
    delegations: frozenset[Delegation] = frozenset()
    by: str = field(default="", compare=False)
    proved_groups: frozenset[str] | None = field(default=None, compare=False)

    @property
    def principals(self) -> frozenset[str]:
        """Whose things are theirs: those of the account, and those of the invitation that they show."""
        invitations = {one for one in self.groups if one.startswith(INVITED)}
        return frozenset(invitations if self.name is None else {self.name, *invitations})

    @property
    def principal(self) -> str | None:
        """Who owns what they make: the account, else the invitation by which they came; None: whoever asks, without any right of their own."""
        return self.name or min(self.principals, default=None)

    @property
    def person(self) -> str:
        """Who looks, for logs: an account, or a referee's invitation; empty: somebody."""
        return self.by or self.name or next((one for one in self.groups if one.startswith(INVITED)), "")

    @property
    def names(self) -> frozenset[str]:
        """All their names, without case."""
        return frozenset() if self.name is None else frozenset(map(normal, (self.name, *self.aliases)))

    @property
    def usual(self) -> bool:
        """True for who sees of private tables what everybody does: nothing."""
        return not any(group == "owner" or group.startswith(REFEREE) for group in self.groups)

    @property
    def anonymous(self) -> bool:
        """True if nobody is logged in."""
        return self.name is None


ANONYMOUS = Reader()


People = Callable[[str], tuple[frozenset[str], frozenset[str]]]
# groups of who judges a collection that is not public, and shall not know whose it is
REFEREE, BLIND, INVITED = "referee:", "blind:", "invitation:"
ROLES = ("reader", "contributor", "curator", "owner")  # of a project; each may what those before it may


def whole(who: Reader, collection: str) -> bool:
    """Return whether a reader sees a collection as its owner does: all tables, rows and files.

    Parameters
    ----------
    who
        The reader.
    collection
        Its name.
    """
    return "owner" in who.groups or REFEREE + collection in who.groups


def recognised(who: Reader, settings: Settings, grants: Grants, people: People | None = None) -> Reader:
    """Return a reader with the groups, other names and delegations that the site knows now; groups that an identity provider said stay.

    A member of a project is in the group ``project:NAME`` and, for their role and each below it, in ``project:NAME:ROLE``.

    Parameters
    ----------
    who
        As an identity provider found them.
    settings
        Of the site, as they are now.
    grants
        Of the site.
    people
        Returns what tables of the site say of an account: its groups and other names (`hven.site.people_of`).
    """
    if who.name is None:
        return who
    said, given = settings.people, grants.all(subject=who.name)
    told, aliases = people(who.name) if people is not None else (frozenset(), frozenset())
    if not (said.groups or said.aliases or given or told or aliases):
        return replace(who, proved_groups=who.groups)
    groups = {name for name, members in said.groups.items() if who.name in members} | told
    roles: dict[str, int] = {}
    for one in given:
        if one.kind == "member" and one.role in ROLES:  # of two roles, the one that may less
            roles[one.object] = min(roles.get(one.object, len(ROLES)), ROLES.index(one.role))
    for project, role in roles.items():
        groups |= {f"project:{project}", *(f"project:{project}:{name}" for name in ROLES[: role + 1])}
    delegations = frozenset(
        Delegation(
            normal(one.object),
            str(one.facts.get("column", "")),
            str(one.facts.get("value", "")),
            math.inf if one.until is None else one.until * 1e6,
        )
        for one in given
        if one.kind == "delegation"
    )
    return replace(
        who,
        groups=frozenset({name for name in who.groups if name not in said.groups} | groups),
        aliases=aliases | {*said.aliases.get(who.name, ())},
        delegations=delegations,
        proved_groups=who.groups,
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


class Policy:
    """A rule about tables and rows: this one says nothing of any. Built-in: `Access`, and what descriptors say.

    Answers are remembered for each reader as long as nothing else changes: a policy whose answers change comes as a new object.
    """

    def sees(self, table: Table, who: Reader) -> bool | None:  # noqa: ARG002  (the contract's signature)
        """Return whether a reader may know that a table exists; None: no opinion.

        Parameters
        ----------
        table
            Any of the site.
        who
            The reader.
        """
        return None

    def rows(self, table: Table, who: Reader) -> Expr | None:  # noqa: ARG002  (the contract's signature)
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
        return None


class Access(Policy):
    """``access: public | members | private`` of the descriptor: a private table is for the site's owner alone."""

    def sees(self, table: Table, who: Reader) -> bool | None:
        """Return whether a reader may know of a table: private ones need the group ``owner`` (the command line has it), those of members their project's.

        Parameters
        ----------
        table
            Any.
        who
            The reader.
        """
        if table.access == "members" and f"project:{table.project}" in who.groups:
            return True
        return True if table.access == "public" or whole(who, table.schema) else None


# of who sees every row, but not every column: all that is made of a table knows it as one that is seen in part
EVERY = Compare("=", Literal(1, meta=Meta(INT32)), Literal(1, meta=Meta(INT32)), meta=Meta(BOOLEAN, nullable=False))


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
    if table.policy is None or whole(who, table.schema):
        return None
    if table.rights is None:
        message = f"the policy of {table.qualified} is not bound to its rows"
        raise ServiceError(message)
    condition: Expr | None = table.rights.condition(who)[0]
    return EVERY if condition is None and table.rights.masks(who) else condition


class Owned(Policy):
    """A table that belongs to a reader is theirs alone: not even the site's owner sees it through the service."""

    def sees(self, table: Table, who: Reader) -> bool | None:
        """Return no opinion on the site's own tables."""
        return None if table.owner is None else who.name == table.owner


class Offered(Policy):
    """``services:`` of the descriptor: a face knows only the tables that are offered by it."""

    def __init__(self, service: str) -> None:
        self.service = service

    def sees(self, table: Table, who: Reader) -> bool | None:  # noqa: ARG002  (the contract's signature)
        """Return no opinion on tables that are offered."""
        return None if table.offers(self.service) else False


@lru_cache(maxsize=256)
def offered(
    policies: tuple[Policy, ...], service: str = "", collections: frozenset[str] = frozenset()
) -> tuple[Policy, ...]:
    """Add to a site's policies that only what a service offers is known, and only what a portal has; equal arguments make the same object.

    Parameters
    ----------
    policies
        Of the site.
    service
        Name of the face; empty: any.
    collections
        Of a portal; empty: all.

    Returns
    -------
    policies
        One more, or two.
    """
    return (*policies, *([Offered(service)] if service else ()), *([OfPortal(collections)] if collections else ()))


class OfPortal(Policy):
    """``collections`` of a portal: its services know no others. What is over all collections (ObsCore) has those rows alone; a reader's own tables are theirs everywhere."""

    def __init__(self, collections: frozenset[str]) -> None:
        self.collections = collections

    def sees(self, table: Table, who: Reader) -> bool | None:  # noqa: ARG002  (the contract's signature)
        """Return no opinion on the tables of the portal."""
        return None if table.schema in self.collections or table.schema == "ivoa" or table.owner is not None else False


class Alone(Policy):
    """Of a view over several tables the rows of one."""

    def __init__(self, table: str) -> None:
        self.table = table

    def sees(self, table: Table, who: Reader) -> bool | None:  # noqa: ARG002  (the contract's signature)
        """Return no opinion on tables that are not of the view."""
        return None if table.qualified == self.table or not table.observed else False


@lru_cache(maxsize=4096)
def _alone(policies: tuple[Policy, ...], table: str) -> tuple[Policy, ...]:
    return (*policies, Alone(table))


def alone(policies: Sequence[Policy], table: str | None) -> Sequence[Policy]:
    """Add to a site's policies that views are of one of their tables alone; equal arguments make the same object.

    Parameters
    ----------
    policies
        Of the site.
    table
        Its name; None, or that of the view itself: of all.

    Returns
    -------
    policies
        Those of the site themselves where nothing is to be added.
    """
    return policies if table is None or table.startswith("ivoa.") else _alone(tuple(policies), table)


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


def alike(table: Table, who: Reader, policies: Sequence[Policy] = DEFAULT) -> bool:
    """Return whether a reader is shown of a table what everybody is, and given its files as everybody.

    Parameters
    ----------
    table
        One that they may know of.
    who
        The reader.
    policies
        What readers may see.
    """
    mine, everybodys = (row_filters([table], one, policies) for one in (who, ANONYMOUS))
    leveled = table.policy is not None and (table.policy.files is not None or table.policy.take is not None)
    return mine == everybodys and not leveled and visible(table, ANONYMOUS, policies)


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
    private = [
        table.qualified
        for table in bound.tables
        if table.policy is not None or not visible(table, ANONYMOUS, policies)  # which others may see in part
    ]
    if not filters:
        return bound, scope_of(filters, private)
    known = {table.qualified for table in bound.tables}
    query = transform(bound.query, _filtering(filters, known))
    hidden = masks(bound.tables, who)
    if hidden:
        query = transform(query, _masking(query, hidden))
    return replace(bound, query=query), scope_of(filters, private, hidden)


def masks(tables: Sequence[Table], who: Reader) -> dict[str, Mapping[str, Expr]]:
    """Collect what a reader sees instead of columns that tell of files which they may not know of. The site's owner sees what there is.

    Parameters
    ----------
    tables
        Those of a query.
    who
        The reader.

    Returns
    -------
    masks
        By qualified name and column: trees bound over the table alone.
    """
    found = {
        table.qualified: table.rights.masks(who)
        for table in tables
        if table.rights is not None and not whole(who, table.schema)
    }
    return {name: some for name, some in found.items() if some}


def scope_of(
    filters: dict[str, Expr], private: Sequence[str], hidden: Mapping[str, Mapping[str, Expr]] | None = None
) -> Scope:
    """Return the scope of an answer: ``public``, or a digest of the filters and of the private tables that are involved.

    Parameters
    ----------
    filters
        As `row_filters` returned them.
    private
        Names of tables that not everybody may know of.
    hidden
        As `masks` returned them.
    """
    if not filters and not private:
        return PUBLIC
    text = repr(sorted((name, spell(expr)) for name, expr in filters.items())) + repr(sorted(private))
    for name, some in sorted((hidden or {}).items()):
        text += name + repr(sorted((column, spell(expr)) for column, expr in some.items()))
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


def _masking(query: Any, hidden: Mapping[str, Mapping[str, Expr]]) -> Callable[[Any], Any]:
    """Put what is seen instead of columns into every clause: no face can forget it."""
    there = {
        node.number: hidden[node.table.qualified]
        for node in walk(query)
        if isinstance(node, TableRef) and not node.cte and node.table is not None and node.table.qualified in hidden
    }

    def one(node: Any) -> Any:
        if isinstance(node, TableRef):
            return replace(node) if node.where is not None else node  # its filter is over what there is
        if not isinstance(node, ColumnRef) or node.source not in there or node.column is None:
            return node
        instead = there[node.source].get(node.column.name)
        if instead is None:
            return node
        return transform(
            instead, lambda part: replace(part, source=node.source) if isinstance(part, ColumnRef) else part
        )

    return one


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
