"""`apply_access_control`: the one place where a query is restricted to what its user may see.

A :class:`AccessPolicy` answers two questions about a table: may this user know of it, and which rows may they see?
Whatever is derived from data is keyed by the :class:`AccessScope` it was computed under, so that one user's answer
never reaches another. Row filters are ADQL conditions; they are bound here and put into `TableRef.where`.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass, field, fields, is_dataclass, replace
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any

from hven.adql import RowDelegation, normalize_person_name
from hven.adql.syntax_tree import (
    BoundQuery,
    ColumnRef,
    Comparison,
    Expr,
    Literal,
    TableRef,
    ValueMetadata,
    join_conditions_with_and,
    transform_tree,
    walk_tree,
)
from hven.model.errors import ServiceError
from hven.model.types import BOOLEAN, INT32

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hven.model.settings import Settings
    from hven.model.table import Table
    from hven.site.store import AccessGrant, AccessGrantStore


@dataclass(frozen=True, kw_only=True)
class Principal:
    """A user. The anonymous user has no name and no groups.

    Attributes
    ----------
    name
        Name of the account.
    groups
        Groups in which the user is.
    aliases
        The user's other names: e-mail addresses, names as they stand in tables.
    delegations
        Persons whose rows the user also sees for a time.
    impersonator
        The account that sees the site as this user; empty: none. It changes nothing of what is seen.
    proved_groups
        Those of the groups that the proof of the request states (an account, a provider's token), without those of the
        site's settings, tables and grants; None: all.
    """

    name: str | None = None
    groups: frozenset[str] = frozenset()
    aliases: frozenset[str] = frozenset()
    delegations: frozenset[RowDelegation] = frozenset()
    impersonator: str = field(default="", compare=False)
    proved_groups: frozenset[str] | None = field(default=None, compare=False)

    @property
    def owner_ids(self) -> frozenset[str]:
        """The owners whose things are theirs: the account, and the invitation that they show."""
        owner_ids = {group for group in self.groups if group.startswith(INVITATION_PREFIX)}
        if self.name is not None:
            owner_ids.add(self.name)
        return frozenset(owner_ids)

    @property
    def owner_id(self) -> str | None:
        """The owner of what they make: the account, else the invitation by which they came.

        None: a user without any right of their own.
        """
        return self.name or min(self.owner_ids, default=None)

    @property
    def log_name(self) -> str:
        """The name in logs: of an account, or of a referee's invitation; empty: an anonymous user."""
        if self.impersonator or self.name:
            return self.impersonator or self.name or ""
        for group in self.groups:
            if group.startswith(INVITATION_PREFIX):
                return group
        return ""

    @property
    def names(self) -> frozenset[str]:
        """All their names, without case."""
        if self.name is None:
            return frozenset()
        return frozenset(map(normalize_person_name, (self.name, *self.aliases)))

    @cached_property
    def has_public_view(self) -> bool:
        """Whether they see of private tables what everybody does: nothing."""
        return not any(group == "owner" or group.startswith(REFEREE_GROUP_PREFIX) for group in self.groups)

    @property
    def is_anonymous(self) -> bool:
        """Whether nobody is logged in."""
        return self.name is None


ANONYMOUS_PRINCIPAL = Principal()


# names that serialize_tree writes for node classes that have another name now: clients keep digests of its result
# (`since` of a change feed)
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
# groups of referees of a collection that is not public, and of those who must not know whose it is
REFEREE_GROUP_PREFIX, BLIND_REVIEW_GROUP_PREFIX, INVITATION_PREFIX = "referee:", "blind:", "invitation:"
PROJECT_ROLES = ("reader", "contributor", "curator", "owner")  # each role may do what the roles before it may


def can_see_whole_collection(principal: Principal, collection: str) -> bool:
    """Return whether a user sees a collection as its owner does: all tables, rows and files.

    Parameters
    ----------
    principal
        The user.
    collection
        Name of the collection.
    """
    return "owner" in principal.groups or REFEREE_GROUP_PREFIX + collection in principal.groups


def with_known_groups_and_names(
    principal: Principal, settings: Settings, grants: AccessGrantStore, find_people: People | None = None
) -> Principal:
    """Return a user with the groups, other names and delegations that the site knows now.

    Groups that an identity provider states stay. A member of a project is in the group ``project:NAME`` and, for their
    role and each below it, in ``project:NAME:ROLE``.

    Parameters
    ----------
    principal
        The user, as an identity provider returned them.
    settings
        Present settings of the site.
    grants
        Grants of the site.
    find_people
        Returns the groups and other names of an account in tables of the site (`hven.site.find_groups_and_aliases`).
    """
    if principal.name is None:
        return principal
    people_settings = settings.people
    account_grants = grants.list_grants(subject=principal.name)
    table_groups, aliases = frozenset[str](), frozenset[str]()
    if find_people is not None:
        table_groups, aliases = find_people(principal.name)
    if not (people_settings.groups or people_settings.aliases or account_grants or table_groups or aliases):
        return replace(principal, proved_groups=principal.groups)
    proved_groups = {name for name in principal.groups if name not in people_settings.groups}
    settings_groups = {name for name, members in people_settings.groups.items() if principal.name in members}
    groups = proved_groups | settings_groups | table_groups | _list_project_groups(account_grants)
    delegations = [_build_delegation(grant) for grant in account_grants if grant.kind == "delegation"]
    return replace(
        principal,
        groups=frozenset(groups),
        aliases=aliases | {*people_settings.aliases.get(principal.name, ())},
        delegations=frozenset(delegations),
        proved_groups=principal.groups,
    )


def _list_project_groups(account_grants: Sequence[AccessGrant]) -> set[str]:
    """Return the groups of the projects of which an account is a member."""
    roles: dict[str, int] = {}
    for grant in account_grants:
        if grant.kind == "member" and grant.role in PROJECT_ROLES:
            # of two roles in one project, the lower one counts
            role_number = PROJECT_ROLES.index(grant.role)
            roles[grant.object] = min(roles.get(grant.object, role_number), role_number)
    groups: set[str] = set()
    for project, role_number in roles.items():
        groups.add(f"project:{project}")
        groups.update(f"project:{project}:{role}" for role in PROJECT_ROLES[: role_number + 1])
    return groups


def _build_delegation(grant: AccessGrant) -> RowDelegation:
    column, column_value = str(grant.facts.get("column", "")), str(grant.facts.get("value", ""))
    expiry_microseconds = math.inf
    if grant.until is not None:
        expiry_microseconds = grant.until * 1e6
    return RowDelegation(normalize_person_name(grant.object), column, column_value, expiry_microseconds)


@dataclass(frozen=True, slots=True)
class AccessScope:
    """What a user sees, as a key: users with equal scopes get equal answers.

    Attributes
    ----------
    is_public
        Whether shared caches may keep an answer that was computed under this scope.
    """

    key: str
    is_public: bool = field(init=False, compare=False)

    def __post_init__(self) -> None:
        """Derive `is_public` from the key."""
        object.__setattr__(self, "is_public", self.key == "public")


PUBLIC_SCOPE = AccessScope("public")


class AccessPolicy:
    """A rule about tables and rows; this base class has no opinion on any.

    `DescriptorAccessPolicy`, the rule of the descriptors, is built in.

    Answers are cached for each user as long as nothing else changes: a policy whose decisions change comes as a new
    object.
    """

    # the contract's signature
    def decide_visibility(self, table: Table, principal: Principal) -> bool | None:  # noqa: ARG002
        """Return whether a user may know that a table exists; None: no opinion.

        Parameters
        ----------
        table
            Any table of the site.
        principal
            The user.
        """
        return None

    # the contract's signature
    def find_row_condition(self, table: Table, principal: Principal) -> Expr | None:  # noqa: ARG002
        """Return the condition of the rows of a table that a user sees, bound over this table alone.

        It is called only for stored tables: a view shows the rows that its tables show.

        Parameters
        ----------
        table
            A stored table.
        principal
            The user.

        Returns
        -------
        condition
            None: every row.
        """
        return None


class DescriptorAccessPolicy(AccessPolicy):
    """``access: public | members | private`` of the descriptor: only the site's owner sees a private table."""

    def decide_visibility(self, table: Table, principal: Principal) -> bool | None:
        """Return whether a user may know of a table.

        Private tables need the group ``owner`` (the command line has it), tables of members that of their project.

        Parameters
        ----------
        table
            Any table.
        principal
            The user.
        """
        if table.access == "members" and f"project:{table.project}" in principal.groups:
            return True
        if table.access == "public" or can_see_whole_collection(principal, table.schema):
            return True
        return None


# condition of a user who sees every row, but not every column: what is derived of the table counts it as seen in part
EVERY_ROW_CONDITION = Comparison(
    "=",
    Literal(1, meta=ValueMetadata(INT32)),
    Literal(1, meta=ValueMetadata(INT32)),
    meta=ValueMetadata(BOOLEAN, nullable=False),
)


def find_descriptor_row_condition(table: Table, principal: Principal) -> Expr | None:
    """Return the condition that the descriptor's ``access:`` (`hven.adql.RowPolicy`) means for a user now.

    The site's owner sees every row.

    Parameters
    ----------
    table
        Any table.
    principal
        The user.

    Raises
    ------
    ServiceError
        The table has a policy that is not bound to its rows.
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


class UserTablePolicy(AccessPolicy):
    """The rule that only its owner sees a user's table: the service does not show it even to the site's owner."""

    def decide_visibility(self, table: Table, principal: Principal) -> bool | None:
        """Return no opinion on the site's own tables."""
        if table.owner is None:
            return None
        return principal.name == table.owner


class ServicePolicy(AccessPolicy):
    """``services:`` of the descriptor: a service knows only the tables that the descriptor offers by it."""

    def __init__(self, service: str) -> None:
        self.service = service

    # the contract's signature
    def decide_visibility(self, table: Table, principal: Principal) -> bool | None:  # noqa: ARG002
        """Return no opinion on tables that the service offers."""
        if table.is_served_by(self.service):
            return None
        return False


@lru_cache(maxsize=256)
def with_service_and_portal_policies(
    policies: tuple[AccessPolicy, ...], service: str = "", collections: frozenset[str] = frozenset()
) -> tuple[AccessPolicy, ...]:
    """Add policies that restrict a site to what one service offers, and to the collections of one portal.

    Equal arguments give the same object.

    Parameters
    ----------
    policies
        Policies of the site.
    service
        Name of the service; empty: any.
    collections
        Collections of a portal; empty: all.

    Returns
    -------
    policies
        The policies, with one or two more.
    """
    if service:
        policies = (*policies, ServicePolicy(service))
    if collections:
        policies = (*policies, PortalPolicy(collections))
    return policies


class PortalPolicy(AccessPolicy):
    """``collections`` of a portal: its services know no other collections.

    A view over all collections (ObsCore) shows only rows of these; users see their own tables everywhere.
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
    """The rule that a view over several tables shows the rows of only one of them."""

    def __init__(self, table_name: str) -> None:
        self.table_name = table_name

    # the contract's signature
    def decide_visibility(self, table: Table, principal: Principal) -> bool | None:  # noqa: ARG002
        """Return no opinion on tables that are not part of such views."""
        if table.qualified_name == self.table_name or not table.observed:
            return None
        return False


@lru_cache(maxsize=4096)
def _with_cached_single_table_policy(policies: tuple[AccessPolicy, ...], table_name: str) -> tuple[AccessPolicy, ...]:
    return (*policies, SingleTablePolicy(table_name))


def with_single_table_policy(policies: Sequence[AccessPolicy], table_name: str | None) -> Sequence[AccessPolicy]:
    """Add a policy that restricts views to one of their tables; equal arguments give the same object.

    Parameters
    ----------
    policies
        Policies of the site.
    table_name
        Name of the table; None, or the name of the view itself: all tables.

    Returns
    -------
    policies
        The same object if nothing is to be added.
    """
    if table_name is None or table_name.startswith("ivoa."):
        return policies
    return _with_cached_single_table_policy(tuple(policies), table_name)


MANDATORY_POLICIES: tuple[AccessPolicy, ...] = (UserTablePolicy(),)  # whatever a site's own policies are
OWNER_PRINCIPAL = Principal(name="owner", groups=frozenset({"owner"}))
DEFAULT_POLICIES: tuple[AccessPolicy, ...] = (DescriptorAccessPolicy(),)


def is_table_visible(table: Table, principal: Principal, policies: Sequence[AccessPolicy] = DEFAULT_POLICIES) -> bool:
    """Return whether a user may know of a table: no policy says no, and at least one says yes.

    Parameters
    ----------
    table
        Any table.
    principal
        The user.
    policies
        The site's policies.
    """
    opinions = [policy.decide_visibility(table, principal) for policy in (*MANDATORY_POLICIES, *policies)]
    return False not in opinions and True in opinions


def collect_row_filters(
    tables: Sequence[Table], principal: Principal, policies: Sequence[AccessPolicy] = DEFAULT_POLICIES
) -> dict[str, Expr]:
    """Collect the row conditions of a user.

    Parameters
    ----------
    tables
        Tables of a query.
    principal
        The user.
    policies
        The site's policies.

    Returns
    -------
    filters
        Bound conditions by qualified name; tables that the user sees whole are left out.
    """
    filters: dict[str, Expr] = {}
    for table in tables:
        conditions = [policy.find_row_condition(table, principal) for policy in policies]
        conditions.append(find_descriptor_row_condition(table, principal))
        condition = None
        if conditions.count(None) < len(conditions):
            condition = join_conditions_with_and(*conditions)
        if condition is not None:
            filters[table.qualified_name] = remove_literal_slots(condition)
    return filters


def has_same_access_as_public(
    table: Table, principal: Principal, policies: Sequence[AccessPolicy] = DEFAULT_POLICIES
) -> bool:
    """Return whether a user sees of a table what everybody sees, and gets its files as everybody does.

    Parameters
    ----------
    table
        A table of which the user may know.
    principal
        The user.
    policies
        The site's policies.
    """
    own_filters = collect_row_filters([table], principal, policies)
    public_filters = collect_row_filters([table], ANONYMOUS_PRINCIPAL, policies)
    if own_filters != public_filters:
        return False
    if table.policy is not None and (table.policy.files is not None or table.policy.take is not None):
        return False
    return is_table_visible(table, ANONYMOUS_PRINCIPAL, policies)


def apply_access_control(
    bound: BoundQuery, principal: Principal, policies: Sequence[AccessPolicy] = DEFAULT_POLICIES
) -> tuple[BoundQuery, AccessScope]:
    """Filter every table reference of `bound` to what `principal` may see.

    Parameters
    ----------
    bound
        The query.
    principal
        The user.
    policies
        The site's policies.

    Returns
    -------
    tuple
        The query to run, and the scope under which its answer may be cached.
    """
    filters = collect_row_filters(bound.tables, principal, policies)
    # other users may see a table with a policy in part
    private_names = [
        table.qualified_name
        for table in bound.tables
        if table.policy is not None or not is_table_visible(table, ANONYMOUS_PRINCIPAL, policies)
    ]
    if not filters:
        return bound, build_access_scope(filters, private_names)
    bound_names = {table.qualified_name for table in bound.tables}
    query = transform_tree(bound.query, _create_row_filtering(filters, bound_names))
    column_masks = collect_column_masks(bound.tables, principal)
    if column_masks:
        query = transform_tree(query, _create_column_masking(query, column_masks))
    return replace(bound, query=query), build_access_scope(filters, private_names, column_masks)


def collect_column_masks(tables: Sequence[Table], principal: Principal) -> dict[str, Mapping[str, Expr]]:
    """Collect the expressions that a user sees instead of columns about files of which they must not know.

    The site's owner sees the columns themselves.

    Parameters
    ----------
    tables
        Tables of a query.
    principal
        The user.

    Returns
    -------
    masks
        Masks by qualified name and column: trees bound over the table alone.
    """
    masks_by_table: dict[str, Mapping[str, Expr]] = {}
    for table in tables:
        if table.rights is None or can_see_whole_collection(principal, table.schema):
            continue
        table_masks = table.rights.build_column_masks(principal)
        if table_masks:
            masks_by_table[table.qualified_name] = table_masks
    return masks_by_table


def build_access_scope(
    filters: dict[str, Expr], private_names: Sequence[str], column_masks: Mapping[str, Mapping[str, Expr]] | None = None
) -> AccessScope:
    """Return the scope of an answer: ``public``, or a digest of the filters and of the private tables involved.

    Parameters
    ----------
    filters
        Result of `collect_row_filters`.
    private_names
        Names of tables that not everybody may know of.
    column_masks
        Result of `collect_column_masks`.
    """
    if not filters and not private_names:
        return PUBLIC_SCOPE
    text = _serialize_expressions(filters) + repr(sorted(private_names))
    for name, table_masks in sorted((column_masks or {}).items()):
        text += name + _serialize_expressions(table_masks)
    return AccessScope(hashlib.sha256(text.encode()).hexdigest()[:16])


def _serialize_expressions(expressions: Mapping[str, Expr]) -> str:
    return repr(sorted((name, serialize_tree(expr)) for name, expr in expressions.items()))


def serialize_tree(node: object) -> str:
    """Return a tree as text that is the same in every process: what ``==`` compares, and nothing else."""
    if isinstance(node, tuple):
        return f"({','.join(serialize_tree(part) for part in node)})"
    if is_dataclass(node) and not isinstance(node, type):
        class_name = type(node).__name__
        part_texts = [serialize_tree(getattr(node, part.name)) for part in fields(node) if part.compare]
        return f"{DIGEST_WORDS.get(class_name, class_name)}({','.join(part_texts)})"
    return repr(node)


def remove_literal_slots(condition: Expr) -> Expr:
    """Remove the slots of a condition's literals.

    The slots number the literals of a *query*, which another query with the same plan replaces.
    """

    def remove_slot(node: Any) -> Any:
        if isinstance(node, Literal) and node.slot >= 0:
            return replace(node, slot=-1)
        return node

    return transform_tree(condition, remove_slot)


def _create_column_masking(query: Any, column_masks: Mapping[str, Mapping[str, Expr]]) -> Callable[[Any], Any]:
    """Build the function that masks columns in every clause of a query, so that no service can forget it."""
    masks_by_source: dict[int, Mapping[str, Expr]] = {}
    for ref in walk_tree(query):
        if not isinstance(ref, TableRef) or ref.cte or ref.table is None:
            continue
        table_masks = column_masks.get(ref.table.qualified_name)
        if table_masks is not None:
            masks_by_source[ref.number] = table_masks

    def mask_node(node: Any) -> Any:
        if isinstance(node, TableRef):
            # its filter applies to the rows as they are
            if node.where is not None:
                return replace(node)
            return node
        if not isinstance(node, ColumnRef) or node.source not in masks_by_source or node.column is None:
            return node
        mask = masks_by_source[node.source].get(node.column.name)
        if mask is None:
            return node
        source = node.source

        def set_source(part: Any) -> Any:
            if isinstance(part, ColumnRef):
                return replace(part, source=source)
            return part

        return transform_tree(mask, set_source)

    return mask_node


def _create_row_filtering(filters: dict[str, Expr], bound_names: set[str]) -> Callable[[Any], Any]:
    def filter_table_ref(ref: Any) -> Any:
        if not isinstance(ref, TableRef) or ref.cte:
            return ref
        if ref.table is None or ref.table.qualified_name not in bound_names:
            # no policy was consulted about it: no answer is better than too much of one
            name = ".".join(part.name for part in ref.parts)
            message = f"the query reads the table {name}, which has not been bound"
            raise ServiceError(message)
        if ref.table.qualified_name in filters:
            return replace(ref, where=filters[ref.table.qualified_name])
        return ref

    return filter_table_ref
