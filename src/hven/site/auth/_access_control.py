"""`apply_access_control`: the one place where a query is cut down to what its reader may see.

A :class:`AccessPolicy` answers two questions about a table: may this reader know of it, and which rows may they see?
Whatever is derived from data is keyed by the :class:`AccessScope` it was computed under, so that one reader's answer
never reaches another. Row filters are ADQL conditions; they are bound here and put into `TableRef.where`.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass, field, fields, is_dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from hven.adql import Delegation, normalize_name
from hven.adql.syntax_tree import (
    BoundQuery,
    ColumnRef,
    Comparison,
    Expr,
    Literal,
    TableRef,
    ValueMetadata,
    join_conditions,
    transform_tree,
    walk_tree,
)
from hven.model.errors import ServiceError
from hven.model.types import BOOLEAN, INT32

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hven.model.settings import Settings
    from hven.model.table import Table
    from hven.site.store import GrantStore


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
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
    impersonator
        The account that looks as this reader; empty: nobody but themself. It changes nothing of what is seen.
    proved_groups
        Those of the groups that their proof said (an account, a provider's token), not the site's settings, tables and
        grants; None: all.
    """

    name: str | None = None
    groups: frozenset[str] = frozenset()
    aliases: frozenset[str] = frozenset()
    delegations: frozenset[Delegation] = frozenset()
    impersonator: str = field(default="", compare=False)
    proved_groups: frozenset[str] | None = field(default=None, compare=False)

    @property
    def owner_ids(self) -> frozenset[str]:
        """Whose things are theirs: those of the account, and those of the invitation that they show."""
        invitations = {group for group in self.groups if group.startswith(INVITATION_PREFIX)}
        return frozenset(invitations if self.name is None else {self.name, *invitations})

    @property
    def owner_id(self) -> str | None:
        """Who owns what they make: the account, else the invitation by which they came.

        None: whoever asks, without any right of their own.
        """
        return self.name or min(self.owner_ids, default=None)

    @property
    def log_name(self) -> str:
        """Who looks, for logs: an account, or a referee's invitation; empty: somebody."""
        return (
            self.impersonator
            or self.name
            or next((group for group in self.groups if group.startswith(INVITATION_PREFIX)), "")
        )

    @property
    def names(self) -> frozenset[str]:
        """All their names, without case."""
        if self.name is None:
            return frozenset()
        return frozenset(map(normalize_name, (self.name, *self.aliases)))

    @property
    def has_public_view(self) -> bool:
        """True for who sees of private tables what everybody does: nothing."""
        return not any(group == "owner" or group.startswith(REFEREE_GROUP_PREFIX) for group in self.groups)

    @property
    def is_anonymous(self) -> bool:
        """True if nobody is logged in."""
        return self.name is None


ANONYMOUS_PRINCIPAL = Principal()


# what serialize_tree writes for classes of nodes that have another name there: clients keep digests of it (`since` of a
# change feed)
DIGEST_WORDS = {
    "ValueMetadata": "Meta",
    "UnaryOperation": "Unary",
    "BinaryOperation": "Binary",
    "FunctionCall": "Function",
    "ArrayElement": "Element",
    "FrameBound": "Edge",
    "WindowFrame": "Frame",
    "WindowExpression": "Window",
    "Comparison": "Compare",
    "Conjunction": "And",
    "Disjunction": "Or",
    "Negation": "Not",
    "BetweenPredicate": "Between",
    "InPredicate": "In",
    "LikePredicate": "Like",
    "NullPredicate": "IsNull",
    "ExistsPredicate": "Exists",
    "DerivedTable": "Derived",
}
People = Callable[[str], tuple[frozenset[str], frozenset[str]]]
# groups of who judges a collection that is not public, and shall not know whose it is
REFEREE_GROUP_PREFIX, BLIND_REVIEW_GROUP_PREFIX, INVITATION_PREFIX = "referee:", "blind:", "invitation:"
PROJECT_ROLES = ("reader", "contributor", "curator", "owner")  # of a project; each may what those before it may


def can_see_whole_collection(principal: Principal, collection: str) -> bool:
    """Return whether a reader sees a collection as its owner does: all tables, rows and files.

    Parameters
    ----------
    principal
        The reader.
    collection
        Its name.
    """
    return "owner" in principal.groups or REFEREE_GROUP_PREFIX + collection in principal.groups


def add_known_groups(
    principal: Principal, settings: Settings, grants: GrantStore, find_people: People | None = None
) -> Principal:
    """Return a reader with the groups, other names and delegations that the site knows now.

    Groups that an identity provider said stay.

    A member of a project is in the group ``project:NAME`` and, for their role and each below it, in
    ``project:NAME:ROLE``.

    Parameters
    ----------
    principal
        As an identity provider found them.
    settings
        Of the site, as they are now.
    grants
        Of the site.
    find_people
        Returns what tables of the site say of an account: its groups and other names
        (`hven.site.find_groups_and_aliases`).
    """
    if principal.name is None:
        return principal
    people_settings = settings.people
    grants_of_account = grants.list_grants(subject=principal.name)
    if find_people is not None:
        table_groups, aliases = find_people(principal.name)
    else:
        table_groups, aliases = (frozenset(), frozenset())
    if not (people_settings.groups or people_settings.aliases or grants_of_account or table_groups or aliases):
        return replace(principal, proved_groups=principal.groups)
    groups = {name for name, members in people_settings.groups.items() if principal.name in members} | table_groups
    roles: dict[str, int] = {}
    for grant in grants_of_account:
        if grant.kind == "member" and grant.role in PROJECT_ROLES:  # of two roles, the one that may less
            roles[grant.object] = min(roles.get(grant.object, len(PROJECT_ROLES)), PROJECT_ROLES.index(grant.role))
    for project, role in roles.items():
        groups |= {f"project:{project}", *(f"project:{project}:{name}" for name in PROJECT_ROLES[: role + 1])}
    delegations = frozenset(
        Delegation(
            normalize_name(grant.object),
            str(grant.facts.get("column", "")),
            str(grant.facts.get("value", "")),
            math.inf if grant.until is None else grant.until * 1e6,
        )
        for grant in grants_of_account
        if grant.kind == "delegation"
    )
    return replace(
        principal,
        groups=frozenset({name for name in principal.groups if name not in people_settings.groups} | groups),
        aliases=aliases | {*people_settings.aliases.get(principal.name, ())},
        delegations=delegations,
        proved_groups=principal.groups,
    )


@dataclass(frozen=True, slots=True)
class AccessScope:
    """What a reader sees, as a key: readers with equal scopes get equal answers."""

    key: str

    @property
    def is_public(self) -> bool:
        """True if an answer computed under this scope may be kept by shared caches."""
        return self.key == "public"


PUBLIC_SCOPE = AccessScope("public")


class AccessPolicy:
    """A rule about tables and rows: this one says nothing of any. Built-in.

    `DescriptorAccessPolicy`, and what descriptors say.

    Answers are remembered for each reader as long as nothing else changes: a policy whose answers change comes as a new
    object.
    """

    # the contract's signature
    def decide_visibility(self, table: Table, principal: Principal) -> bool | None:  # noqa: ARG002
        """Return whether a reader may know that a table exists; None: no opinion.

        Parameters
        ----------
        table
            Any of the site.
        principal
            The reader.
        """
        return None

    # the contract's signature
    def find_row_condition(self, table: Table, principal: Principal) -> Expr | None:  # noqa: ARG002
        """Return the condition that a reader's rows of a table meet, bound over the table alone.

        Asked of stored tables alone: a view shows the rows that its tables do, whatever is said of its own name.

        Parameters
        ----------
        table
            A stored one.
        principal
            The reader.

        Returns
        -------
        condition
            None: every row.
        """
        return None


class DescriptorAccessPolicy(AccessPolicy):
    """``access: public | members | private`` of the descriptor: a private table is for the site's owner alone."""

    def decide_visibility(self, table: Table, principal: Principal) -> bool | None:
        """Return whether a reader may know of a table.

        Private ones need the group ``owner`` (the command line has it), those of members their project's.

        Parameters
        ----------
        table
            Any.
        principal
            The reader.
        """
        if table.access == "members" and f"project:{table.project}" in principal.groups:
            return True
        if table.access == "public" or can_see_whole_collection(principal, table.schema):
            return True
        return None


# of who sees every row, but not every column: all that is made of a table knows it as one that is seen in part
EVERY_ROW_CONDITION = Comparison(
    "=",
    Literal(1, meta=ValueMetadata(INT32)),
    Literal(1, meta=ValueMetadata(INT32)),
    meta=ValueMetadata(BOOLEAN, nullable=False),
)


def find_descriptor_condition(table: Table, principal: Principal) -> Expr | None:
    """Return what ``access:`` of the descriptor, as a condition (`hven.adql.RowPolicy`), is for a reader now.

    The site's owner sees every row.

    Parameters
    ----------
    table
        Any.
    principal
        The reader.

    Raises
    ------
    ServiceError
        The table has a policy that nobody has bound to its rows.
    """
    if table.policy is None or can_see_whole_collection(principal, table.schema):
        return None
    if table.rights is None:
        message = f"the policy of {table.qualified_name} is not bound to its rows"
        raise ServiceError(message)
    condition: Expr | None = table.rights.find_row_condition(principal)[0]
    if condition is None and table.rights.build_column_masks(principal):
        return EVERY_ROW_CONDITION
    return condition


class OwnerPolicy(AccessPolicy):
    """A table that belongs to a reader is theirs alone: not even the site's owner sees it through the service."""

    def decide_visibility(self, table: Table, principal: Principal) -> bool | None:
        """Return no opinion on the site's own tables."""
        if table.owner is None:
            return None
        return principal.name == table.owner


class ServicePolicy(AccessPolicy):
    """``services:`` of the descriptor: a face knows only the tables that are offered by it."""

    def __init__(self, service: str) -> None:
        self.service = service

    # the contract's signature
    def decide_visibility(self, table: Table, principal: Principal) -> bool | None:  # noqa: ARG002
        """Return no opinion on tables that are offered."""
        if table.is_served_by(self.service):
            return None
        return False


@lru_cache(maxsize=256)
def add_service_policies(
    policies: tuple[AccessPolicy, ...], service: str = "", collections: frozenset[str] = frozenset()
) -> tuple[AccessPolicy, ...]:
    """Add to a site's policies that only what a service offers is known, and only what a portal has.

    Equal arguments make the same object.

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
    return (
        *policies,
        *([ServicePolicy(service)] if service else ()),
        *([PortalPolicy(collections)] if collections else ()),
    )


class PortalPolicy(AccessPolicy):
    """``collections`` of a portal: its services know no others.

    What is over all collections (ObsCore) has those rows alone; a reader's own tables are theirs everywhere.
    """

    def __init__(self, collections: frozenset[str]) -> None:
        self.collections = collections

    # the contract's signature
    def decide_visibility(self, table: Table, principal: Principal) -> bool | None:  # noqa: ARG002
        """Return no opinion on the tables of the portal."""
        if table.schema in self.collections or table.schema == "ivoa" or table.owner is not None:
            return None
        return False


class SingleTablePolicy(AccessPolicy):
    """Of a view over several tables the rows of one."""

    def __init__(self, table_name: str) -> None:
        self.table_name = table_name

    # the contract's signature
    def decide_visibility(self, table: Table, principal: Principal) -> bool | None:  # noqa: ARG002
        """Return no opinion on tables that are not of the view."""
        if table.qualified_name == self.table_name or not table.observed:
            return None
        return False


@lru_cache(maxsize=4096)
def _add_cached_single_table_policy(policies: tuple[AccessPolicy, ...], table_name: str) -> tuple[AccessPolicy, ...]:
    return (*policies, SingleTablePolicy(table_name))


def add_single_table_policy(policies: Sequence[AccessPolicy], table_name: str | None) -> Sequence[AccessPolicy]:
    """Add to a site's policies that views are of one of their tables alone; equal arguments make the same object.

    Parameters
    ----------
    policies
        Of the site.
    table_name
        Its name; None, or that of the view itself: of all.

    Returns
    -------
    policies
        Those of the site themselves where nothing is to be added.
    """
    if table_name is None or table_name.startswith("ivoa."):
        return policies
    return _add_cached_single_table_policy(tuple(policies), table_name)


MANDATORY_POLICIES: tuple[AccessPolicy, ...] = (OwnerPolicy(),)  # whatever a site's own policies are
OWNER_PRINCIPAL = Principal(name="owner", groups=frozenset({"owner"}))
DEFAULT_POLICIES: tuple[AccessPolicy, ...] = (DescriptorAccessPolicy(),)


def is_table_visible(table: Table, principal: Principal, policies: Sequence[AccessPolicy] = DEFAULT_POLICIES) -> bool:
    """Return whether a reader may know of a table. The first policy with an opinion that is no stops it.

    Somebody must say yes.

    Parameters
    ----------
    table
        Any.
    principal
        The reader.
    policies
        What readers may see.
    """
    opinions = [policy.decide_visibility(table, principal) for policy in (*MANDATORY_POLICIES, *policies)]
    return False not in opinions and True in opinions


def collect_row_filters(
    tables: Sequence[Table], principal: Principal, policies: Sequence[AccessPolicy] = DEFAULT_POLICIES
) -> dict[str, Expr]:
    """Collect the row conditions of a reader.

    Parameters
    ----------
    tables
        Those of a query.
    principal
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
        descriptor_condition = find_descriptor_condition(table, principal)
        condition = join_conditions(
            *(policy.find_row_condition(table, principal) for policy in policies),
            descriptor_condition,
        )
        if condition is not None:
            filters[table.qualified_name] = remove_literal_slots(condition)
    return filters


def has_public_access(table: Table, principal: Principal, policies: Sequence[AccessPolicy] = DEFAULT_POLICIES) -> bool:
    """Return whether a reader is shown of a table what everybody is, and given its files as everybody.

    Parameters
    ----------
    table
        One that they may know of.
    principal
        The reader.
    policies
        What readers may see.
    """
    own_filters, public_filters = (
        collect_row_filters([table], compared_principal, policies)
        for compared_principal in (principal, ANONYMOUS_PRINCIPAL)
    )
    has_file_policy = table.policy is not None and (table.policy.files is not None or table.policy.take is not None)
    return (
        own_filters == public_filters and not has_file_policy and is_table_visible(table, ANONYMOUS_PRINCIPAL, policies)
    )


def apply_access_control(
    bound: BoundQuery, principal: Principal, policies: Sequence[AccessPolicy] = DEFAULT_POLICIES
) -> tuple[BoundQuery, AccessScope]:
    """Filter every table reference of `bound` to what `principal` may see.

    Parameters
    ----------
    bound
        What is asked.
    principal
        Who asks.
    policies
        What readers may see.

    Returns
    -------
    tuple
        The query to run, and the scope under which its answer may be remembered.
    """
    filters = collect_row_filters(bound.tables, principal, policies)
    private_names = [
        table.qualified_name
        for table in bound.tables
        if table.policy is not None
        or not is_table_visible(table, ANONYMOUS_PRINCIPAL, policies)  # which others may see in part
    ]
    if not filters:
        return bound, build_access_scope(filters, private_names)
    bound_names = {table.qualified_name for table in bound.tables}
    query = transform_tree(bound.query, _build_filtering(filters, bound_names))
    column_masks = collect_column_masks(bound.tables, principal)
    if column_masks:
        query = transform_tree(query, _build_masking(query, column_masks))
    return replace(bound, query=query), build_access_scope(filters, private_names, column_masks)


def collect_column_masks(tables: Sequence[Table], principal: Principal) -> dict[str, Mapping[str, Expr]]:
    """Collect what a reader sees instead of columns that tell of files which they may not know of.

    The site's owner sees what there is.

    Parameters
    ----------
    tables
        Those of a query.
    principal
        The reader.

    Returns
    -------
    masks
        By qualified name and column: trees bound over the table alone.
    """
    masks_by_table = {
        table.qualified_name: table.rights.build_column_masks(principal)
        for table in tables
        if table.rights is not None and not can_see_whole_collection(principal, table.schema)
    }
    return {name: table_masks for name, table_masks in masks_by_table.items() if table_masks}


def build_access_scope(
    filters: dict[str, Expr], private_names: Sequence[str], column_masks: Mapping[str, Mapping[str, Expr]] | None = None
) -> AccessScope:
    """Return the scope of an answer.

    ``public``, or a digest of the filters and of the private tables that are involved.

    Parameters
    ----------
    filters
        As `collect_row_filters` returned them.
    private_names
        Names of tables that not everybody may know of.
    column_masks
        As `collect_column_masks` returned them.
    """
    if not filters and not private_names:
        return PUBLIC_SCOPE
    text = repr(sorted((name, serialize_tree(expr)) for name, expr in filters.items())) + repr(sorted(private_names))
    for name, table_masks in sorted((column_masks or {}).items()):
        text += name + repr(sorted((column, serialize_tree(expr)) for column, expr in table_masks.items()))
    return AccessScope(hashlib.sha256(text.encode()).hexdigest()[:16])


def serialize_tree(node: object) -> str:
    """Write a tree as text that is the same in every process: what ``==`` compares, and nothing else."""
    if isinstance(node, tuple):
        return f"({','.join(serialize_tree(part) for part in node)})"
    if is_dataclass(node) and not isinstance(node, type):
        word = DIGEST_WORDS.get(type(node).__name__, type(node).__name__)
        return f"{word}({','.join(serialize_tree(getattr(node, item.name)) for item in fields(node) if item.compare)})"
    return repr(node)


def remove_literal_slots(condition: Expr) -> Expr:
    """Remove the slots of a condition's literals.

    Those of the *query* are numbered, and a reused plan replaces them.
    """
    return transform_tree(
        condition, lambda node: replace(node, slot=-1) if isinstance(node, Literal) and node.slot >= 0 else node
    )


def _build_masking(query: Any, column_masks: Mapping[str, Mapping[str, Expr]]) -> Callable[[Any], Any]:
    """Put what is seen instead of columns into every clause: no face can forget it."""
    masks_by_source = {
        node.number: column_masks[node.table.qualified_name]
        for node in walk_tree(query)
        if isinstance(node, TableRef)
        and not node.cte
        and node.table is not None
        and node.table.qualified_name in column_masks
    }

    def mask_node(node: Any) -> Any:
        if isinstance(node, TableRef):
            # its filter is over what there is
            if node.where is not None:
                return replace(node)
            return node
        if not isinstance(node, ColumnRef) or node.source not in masks_by_source or node.column is None:
            return node
        instead = masks_by_source[node.source].get(node.column.name)
        if instead is None:
            return node
        return transform_tree(
            instead, lambda part: replace(part, source=node.source) if isinstance(part, ColumnRef) else part
        )

    return mask_node


def _build_filtering(filters: dict[str, Expr], bound_names: set[str]) -> Callable[[Any], Any]:
    def filter_table_ref(ref: Any) -> Any:
        if not isinstance(ref, TableRef) or ref.cte:
            return ref
        if ref.table is None or ref.table.qualified_name not in bound_names:
            # nobody was asked about it: better no answer than too much of one
            name = ".".join(part.name for part in ref.parts)
            message = f"the table {name} is read without having been bound"
            raise ServiceError(message)
        if ref.table.qualified_name in filters:
            return replace(ref, where=filters[ref.table.qualified_name])
        return ref

    return filter_table_ref
