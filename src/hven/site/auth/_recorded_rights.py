"""Who owns what outlives a request, and which rights it relies on.

It can be read as long as its reader has all of them.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

from hven.adql import normalize_name
from hven.model.errors import ForbiddenError, NotFoundError, format_message
from hven.site.auth import _referee_invitations as invitations
from hven.site.auth._access_control import (
    DEFAULT_POLICIES,
    INVITATION_PREFIX,
    Principal,
    add_known_groups,
    collect_row_filters,
    is_table_visible,
)
from hven.site.auth.local import TOKEN_SCOPE_GROUPS, build_principal

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from hven.model.settings import Settings
    from hven.model.table import Table
    from hven.site.auth._access_control import AccessPolicy, People
    from hven.site.store import StateStore

# before a group that the proof of a request said itself (a provider's token): nobody can be asked for it later
SAID_GROUP_PREFIX = "said:"
NON_RIGHT_PREFIXES = ("user:", "scope:", SAID_GROUP_PREFIX)  # beginnings of what is recorded beside rights
MAX_NAMED_RIGHTS = 3  # rights that a message names


class AccessControlledTable(Protocol):
    """What is asked of a table that is published (`hven.site.PublishedTable`)."""

    @property
    def table(self) -> Table:
        """Who sees it stands there."""

    @property
    def read_tables(self) -> Sequence[str]:
        """The tables that a view reads."""


def list_rights(principal: Principal) -> frozenset[str]:
    """Return the rights that a reader has now, one text each: groups, other names, delegations.

    Parameters
    ----------
    principal
        The reader.

    Returns
    -------
    rights
        What the account has as itself (its name, the scope of its token) is not among them.
    """
    groups = {name for name in principal.groups if not name.startswith(NON_RIGHT_PREFIXES)}
    names = {f"name:{normalize_name(alias)}" for alias in principal.aliases}
    delegations = {
        f"delegation:{json.dumps((delegation.name, delegation.column, delegation.value))}"
        for delegation in principal.delegations
    }
    return frozenset(groups | names | delegations)


def record_rights(principal: Principal, store: StateStore, settings: Settings) -> list[str]:
    """Write down the rights of a reader for what they begin now: `restore_principal` reads it when the work is done.

    Parameters
    ----------
    principal
        The reader.
    store, settings
        Of the site.

    Returns
    -------
    record
        The rights; the scope of the token; and, marked, the groups that nothing but the proof of this request says.
    """
    if principal.proved_groups is None:
        proved_groups = principal.groups
    else:
        proved_groups = principal.proved_groups
    if principal.name is None:
        account_groups = frozenset[str]()
    else:
        account_groups = build_principal(principal.name, store, settings).groups
    said_groups = (
        {name for name in proved_groups - account_groups if not name.startswith(NON_RIGHT_PREFIXES)}
        if principal.name is not None
        else ()
    )
    scopes = principal.groups & {*TOKEN_SCOPE_GROUPS.values()}
    return sorted({*list_rights(principal), *scopes, *(f"{SAID_GROUP_PREFIX}{name}" for name in said_groups)})


def find_missing_rights(record: Iterable[str], principal: Principal) -> list[str]:
    """List the rights that something relies on and a reader does not have.

    Parameters
    ----------
    record
        As `record_rights` wrote it.
    principal
        The reader.

    Returns
    -------
    rights
        In order; empty: they may read it, as far as it is theirs. The owner of the site lacks nothing.
    """
    needed_rights = {right for right in record if not right.startswith(NON_RIGHT_PREFIXES)}
    if not needed_rights or "owner" in principal.groups:
        return []
    return sorted(needed_rights - list_rights(principal))


def check_access_to_stored(
    description: str,
    owner: str | None,
    record: Collection[str],
    principal: Principal,
    store: StateStore,
    *,
    for_reading: bool = True,
) -> None:
    """Check that a reader may read what was kept, or remove it.

    Parameters
    ----------
    description
        It is, in words.
    owner
        Its principal (`Principal.owner_id`); None: of nobody in particular, for whoever knows where it is.
    record
        The rights that it relies on, as `record_rights` wrote them.
    principal
        The reader.
    store
        Of the site.
    for_reading
        False: to remove it, for which ownership is enough.

    Raises
    ------
    NotFoundError
        Its owner is an invitation that has ended: it is there for nobody, and will be removed.
    ForbiddenError
        It is somebody else's, or relies on rights that the reader does not have now.
    """
    if "owner" in principal.groups:
        return
    has_ended = (
        owner is not None and owner.startswith(INVITATION_PREFIX) and invitations.find_invitation(store, owner) is None
    )
    missing_rights = find_missing_rights(record, principal)
    if has_ended or (owner is None and missing_rights):  # to others it is not even told which rights these are
        raise NotFoundError(
            format_message("{what} is not there any more", description),
            remedy="it has ended with the right by which it was made",
        )
    if owner is not None and owner not in principal.owner_ids:
        raise ForbiddenError(
            format_message("{what} belongs to somebody else", description), remedy="log in as its owner"
        )
    if missing_rights and for_reading:
        rights_text = ", ".join(missing_rights[:MAX_NAMED_RIGHTS]) + (
            ", ..." if len(missing_rights) > MAX_NAMED_RIGHTS else ""
        )
        raise ForbiddenError(
            format_message("{what} relies on rights that you do not have now: {rights}", description, rights_text),
            remedy="ask again: the answer has what you may see now",
        )


def compute_access_rule_digests(names: Iterable[str], published: Mapping[str, AccessControlledTable]) -> dict[str, str]:
    """Return a digest of what descriptors say about who sees tables.

    Beside a result it tells whether that was changed since.

    Parameters
    ----------
    names
        Qualified names; those that are not published are left out.
    published
        What is published now.

    Returns
    -------
    rules
        By qualified name: of the tables, and of those that views read.
    """
    table_names = [name for name in names if name in published]
    table_names += [
        read_table for name in table_names for read_table in published[name].read_tables if read_table in published
    ]
    return {name: _compute_access_rule_digest(published[name].table) for name in table_names}


def is_still_accessible(
    rules: Mapping[str, str],
    published: Mapping[str, AccessControlledTable],
    principal: Principal,
    policies: Sequence[AccessPolicy] = DEFAULT_POLICIES,
) -> bool:
    """Return whether nothing was closed since a result was made.

    Of each of its tables the rule is that of then, or the reader sees all rows now.

    Parameters
    ----------
    rules
        As `compute_access_rule_digests` returned them then.
    published
        What is published now; tables that are no more close nothing.
    principal
        The reader.
    policies
        What readers may see.
    """
    changed_tables = [
        published[name].table
        for name, rule in rules.items()
        if name in published and _compute_access_rule_digest(published[name].table) != rule
    ]
    return all(
        is_table_visible(changed_table, principal, policies) for changed_table in changed_tables
    ) and not collect_row_filters(changed_tables, principal, policies)


def _compute_access_rule_digest(table: Table) -> str:
    # results on disk have digests with this word before a policy
    if table.policy is None:
        policy_text = "None"
    else:
        policy_text = f"Levels{repr(table.policy).removeprefix('RowAccessPolicy')}"
    if table.access == "members":
        project = table.project
    else:
        project = ""
    rule_text = f"({table.access!r}, {project!r}, {policy_text})"
    return hashlib.blake2b(rule_text.encode(), digest_size=8).hexdigest()


def restore_principal(
    owner: str | None, record: Collection[str], store: StateStore, settings: Settings, people: People | None = None
) -> Principal:
    """Return the reader who began something, with the rights that they have now.

    Parameters
    ----------
    owner
        Its principal; None: nobody in particular.
    record
        As `record_rights` wrote it when it was begun.
    store, settings, people
        As for `add_known_groups`.

    Raises
    ------
    ForbiddenError
        It was begun under an invitation that has ended.
    """
    if owner is not None and owner.startswith(INVITATION_PREFIX):
        invitation_id = owner
    else:
        invitation_id = None
    if owner is None or invitation_id is not None:
        principal = Principal()
    else:
        said_groups = {name.removeprefix(SAID_GROUP_PREFIX) for name in record if name.startswith(SAID_GROUP_PREFIX)}
        principal = build_principal(owner, store, settings, *said_groups, *({"owner"} & {*record}))
        principal = add_known_groups(principal, settings, store.grants, people)
    for name in {right for right in record if right.startswith(INVITATION_PREFIX)} | (
        {invitation_id} if invitation_id else set()
    ):
        grant = invitations.find_invitation(store, name)
        if grant is not None:
            groups = principal.groups | invitations.list_invitation_groups(grant)
            principal = replace(principal, groups=groups)
        elif name == invitation_id:
            raise ForbiddenError("the invitation under which this was begun has ended", remedy="ask for another one")
    return principal


__all__ = [
    "NON_RIGHT_PREFIXES",
    "check_access_to_stored",
    "compute_access_rule_digests",
    "find_missing_rights",
    "is_still_accessible",
    "list_rights",
    "record_rights",
    "restore_principal",
]
