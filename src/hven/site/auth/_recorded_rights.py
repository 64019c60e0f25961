"""The owner of what outlives a request, and the rights that it relies on.

A user can read it as long as they have all of these rights.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

from hven.adql import normalize_person_name
from hven.model.errors import ForbiddenError, NotFoundError, format_message
from hven.site.auth import _referee_invitations as invitations
from hven.site.auth._access_control import (
    DEFAULT_POLICIES,
    INVITATION_PREFIX,
    Principal,
    collect_row_filters,
    is_table_visible,
    with_known_groups_and_names,
)
from hven.site.auth.local import TOKEN_SCOPE_GROUPS, build_principal

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from hven.model.settings import Settings
    from hven.model.table import Table
    from hven.site.auth._access_control import AccessPolicy, People
    from hven.site.store import StateStore

# before a group that only the proof of a request stated (a provider's token): it cannot be looked up later
SAID_GROUP_PREFIX = "said:"
NON_RIGHT_PREFIXES = ("user:", "scope:", SAID_GROUP_PREFIX)  # beginnings of recorded texts that are no rights
MAX_NAMED_RIGHTS = 3  # rights that a message names


class AccessControlledTable(Protocol):
    """The part of a published table (`hven.site.PublishedTable`) that is needed here."""

    @property
    def table(self) -> Table:
        """The table, with the rules about who sees it."""

    @property
    def read_tables(self) -> Sequence[str]:
        """The tables that a view reads."""


def list_rights(principal: Principal) -> frozenset[str]:
    """Return the rights that a user has now, one text each: groups, other names, delegations.

    Parameters
    ----------
    principal
        The user.

    Returns
    -------
    rights
        Without what the account has as itself (its name, the scope of its token).
    """
    groups = {name for name in principal.groups if not name.startswith(NON_RIGHT_PREFIXES)}
    names = {f"name:{normalize_person_name(alias)}" for alias in principal.aliases}
    delegations: set[str] = set()
    for delegation in principal.delegations:
        parts_text = json.dumps((delegation.name, delegation.column, delegation.value))
        delegations.add(f"delegation:{parts_text}")
    return frozenset(groups | names | delegations)


def list_rights_to_record(principal: Principal, store: StateStore, settings: Settings) -> list[str]:
    """Record the rights of a user for work that begins now: `restore_principal` reads them when it is done.

    Parameters
    ----------
    principal
        The user.
    store, settings
        Store and settings of the site.

    Returns
    -------
    record
        The rights; the scope of the token; and, marked, the groups that only the proof of this request states.
    """
    said_groups: set[str] = set()
    if principal.name is not None:
        proved_groups = principal.groups
        if principal.proved_groups is not None:
            proved_groups = principal.proved_groups
        account_groups = build_principal(principal.name, store, settings).groups
        said_groups = {name for name in proved_groups - account_groups if not name.startswith(NON_RIGHT_PREFIXES)}
    scopes = principal.groups & {*TOKEN_SCOPE_GROUPS.values()}
    return sorted({*list_rights(principal), *scopes, *(f"{SAID_GROUP_PREFIX}{name}" for name in said_groups)})


def find_missing_rights(recorded_rights: Iterable[str], principal: Principal) -> list[str]:
    """List the rights that something relies on and a user does not have.

    Parameters
    ----------
    recorded_rights
        Result of `list_rights_to_record`.
    principal
        The user.

    Returns
    -------
    rights
        In order; empty: the user may read it, if they are its owner. The owner of the site lacks nothing.
    """
    needed_rights = {right for right in recorded_rights if not right.startswith(NON_RIGHT_PREFIXES)}
    if not needed_rights or "owner" in principal.groups:
        return []
    return sorted(needed_rights - list_rights(principal))


def check_access_to_stored_object(
    description: str,
    owner: str | None,
    recorded_rights: Collection[str],
    principal: Principal,
    store: StateStore,
    *,
    is_for_reading: bool = True,
) -> None:
    """Check that a user may read, or remove, what was stored.

    Parameters
    ----------
    description
        What it is, in words.
    owner
        Its owner (`Principal.owner_id`); None: it belongs to nobody, and is for everybody who knows where it is.
    recorded_rights
        The rights that it relies on: the result of `list_rights_to_record`.
    principal
        The user.
    store
        Store of the site.
    is_for_reading
        False: to remove it, for which ownership is enough.

    Raises
    ------
    NotFoundError
        Its owner is an invitation that has ended: it exists for nobody any more, and will be removed.
    ForbiddenError
        It belongs to another user, or relies on rights that the user does not have now.
    """
    if "owner" in principal.groups:
        return
    has_ended = False
    if owner is not None and owner.startswith(INVITATION_PREFIX):
        has_ended = invitations.find_invitation(store, owner) is None
    missing_rights = find_missing_rights(recorded_rights, principal)
    if has_ended or (owner is None and missing_rights):  # strangers do not even learn which rights these are
        message = format_message("{what} is no longer available", description)
        raise NotFoundError(message, remedy="run the query again; your earlier access has ended")
    if owner is not None and owner not in principal.owner_ids:
        message = format_message("{what} belongs to a different user", description)
        raise ForbiddenError(message, remedy="log in as its owner")
    if missing_rights and is_for_reading:
        rights_text = ", ".join(missing_rights[:MAX_NAMED_RIGHTS])
        if len(missing_rights) > MAX_NAMED_RIGHTS:
            rights_text += ", ..."
        raise ForbiddenError(
            format_message("{what} needs rights that you no longer have: {rights}", description, rights_text),
            remedy="run the query again; the new result will contain only rows to which you have access",
        )


def compute_access_rule_digests(names: Iterable[str], published: Mapping[str, AccessControlledTable]) -> dict[str, str]:
    """Return digests of what descriptors say about who sees tables.

    Stored beside a result, they show whether that has changed since.

    Parameters
    ----------
    names
        Qualified names; those of tables that are not published are left out.
    published
        What is published now.

    Returns
    -------
    rules
        Rules by qualified name, for the tables and those that views read.
    """
    table_names = [name for name in names if name in published]
    all_names = list(table_names)
    for name in table_names:
        all_names += [read_table for read_table in published[name].read_tables if read_table in published]
    return {name: _compute_access_rule_digest(published[name].table) for name in all_names}


def is_still_accessible(
    rule_digests: Mapping[str, str],
    published: Mapping[str, AccessControlledTable],
    principal: Principal,
    policies: Sequence[AccessPolicy] = DEFAULT_POLICIES,
) -> bool:
    """Return whether nothing was closed since a result was made.

    Each of its tables either has the same rule as then, or the user sees all its rows now.

    Parameters
    ----------
    rule_digests
        What `compute_access_rule_digests` returned then.
    published
        What is published now; tables that are no longer published close nothing.
    principal
        The user.
    policies
        The site's policies.
    """
    changed_tables: list[Table] = []
    for name, rule_digest in rule_digests.items():
        if name in published and _compute_access_rule_digest(published[name].table) != rule_digest:
            changed_tables.append(published[name].table)
    if not all(is_table_visible(changed_table, principal, policies) for changed_table in changed_tables):
        return False
    return not collect_row_filters(changed_tables, principal, policies)


def _compute_access_rule_digest(table: Table) -> str:
    # results on disk have digests with this word before a policy
    policy_text = "None"
    if table.policy is not None:
        policy_text = f"Levels{repr(table.policy).removeprefix('RowAccessPolicy')}"
    project: str | None = ""
    if table.access == "members":
        project = table.project
    rule_text = f"({table.access!r}, {project!r}, {policy_text})"
    return hashlib.blake2b(rule_text.encode(), digest_size=8).hexdigest()


def restore_principal(
    owner: str | None,
    recorded_rights: Collection[str],
    store: StateStore,
    settings: Settings,
    people: People | None = None,
) -> Principal:
    """Return the user who began something, with the rights that they have now.

    Parameters
    ----------
    owner
        The owner of it; None: nobody.
    recorded_rights
        What `list_rights_to_record` returned when it was begun.
    store, settings, people
        As for `with_known_groups_and_names`.

    Raises
    ------
    ForbiddenError
        It was begun with an invitation that has ended.
    """
    invitation_ids = {right for right in recorded_rights if right.startswith(INVITATION_PREFIX)}
    owning_invitation: str | None = None
    if owner is not None and owner.startswith(INVITATION_PREFIX):
        owning_invitation = owner
        invitation_ids.add(owner)
    principal = Principal()
    if owner is not None and owning_invitation is None:
        said_groups = {
            name.removeprefix(SAID_GROUP_PREFIX) for name in recorded_rights if name.startswith(SAID_GROUP_PREFIX)
        }
        principal = build_principal(owner, store, settings, *said_groups, *({"owner"} & {*recorded_rights}))
        principal = with_known_groups_and_names(principal, settings, store.grants, people)
    for invitation_id in invitation_ids:
        grant = invitations.find_invitation(store, invitation_id)
        if grant is not None:
            groups = principal.groups | invitations.list_invitation_groups(grant)
            principal = replace(principal, groups=groups)
        elif invitation_id == owning_invitation:
            raise ForbiddenError("the invitation for this job has expired", remedy="ask for a new invitation")
    return principal
