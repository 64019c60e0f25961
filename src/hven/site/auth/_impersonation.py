"""Impersonation: operators of the site and curators of a project see it as another user for an hour.

Accesses to files that are not public are logged.
"""

from __future__ import annotations

import hashlib
import hmac
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from hven.model.errors import ForbiddenError, HvenError
from hven.site.auth._access_control import (
    ANONYMOUS_PRINCIPAL,
    PROJECT_ROLES,
    Principal,
    has_same_access_as_public,
    with_known_groups_and_names,
)
from hven.site.auth.local import TOKEN_SCOPE_GROUPS, build_principal
from hven.site.auth.session import find_cookie_value

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hven.model.settings import Settings
    from hven.model.table import Table
    from hven.site.auth._access_control import AccessPolicy, People
    from hven.site.store import StateStore

IMPERSONATION_COOKIE = "hven_as"
IMPERSONATION_SECONDS = 3600.0  # an impersonation ends after this time
# whom a user may name besides an account
ANONYMOUS_TARGET, GROUP_TARGET, PROJECT_TARGET_PREFIX = "anonymous", "group", "project:"
MAX_LISTED_ACCOUNTS = 200


def list_impersonation_targets(principal: Principal, store: StateStore, settings: Settings) -> list[str]:
    """List as whom a user may see the site: as an anonymous user, or in roles of projects.

    With `see_as` of ``[health]`` also as accounts, at most `MAX_LISTED_ACCOUNTS`, and as groups.

    Parameters
    ----------
    principal
        The user, as themself.
    store, settings
        Store and settings of the site.

    Returns
    -------
    names
        Targets for `impersonate`; empty: none is allowed.
    """
    if not _may_impersonate(principal, settings):
        return []
    may_be_anyone = _may_impersonate_anyone(principal, settings)
    accounts: list[str] = []
    groups: list[str] = []
    roles: list[str] = []
    if may_be_anyone:
        accounts = [name for name, _ in store.users.list_accounts()[:MAX_LISTED_ACCOUNTS]]
        groups = [f"{GROUP_TARGET}:{group}" for group in sorted(settings.people.groups)]
    for project in settings.projects:
        project_roles = [f"{PROJECT_TARGET_PREFIX}{project.name}:{role}" for role in PROJECT_ROLES]
        roles += [role for role in project_roles if may_be_anyone or _is_curated_role(principal, role)]
    return [ANONYMOUS_TARGET, *accounts, *groups, *roles]


def impersonate(
    principal: Principal, target: str, store: StateStore, settings: Settings, find_people: People | None = None
) -> Principal:
    """Return the user as whom another user sees the site.

    It is never one who sees more, unless `see_as` of ``[health]`` allows that to operators.

    Parameters
    ----------
    principal
        The user, as themself.
    target
        `ANONYMOUS_TARGET`, an account, ``group:NAME``, ``project:NAME:ROLE``.
    store, settings, find_people
        As for `with_known_groups_and_names`.

    Returns
    -------
    principal
        A user with no account's name, so that nothing is theirs: no job, no table, no token.

    Raises
    ------
    ForbiddenError
        The user may not see the site as this target, or there is no such target.
    """
    may_be_anyone = _may_impersonate_anyone(principal, settings)
    target_prefix, _, target_suffix = target.rpartition(":")
    impersonated: Principal | None = None
    if principal.name is None or principal.impersonator or principal.groups & {*TOKEN_SCOPE_GROUPS.values()}:
        pass  # a token that leaked must not give access to more
    elif target == ANONYMOUS_TARGET and _may_impersonate(principal, settings):
        return Principal(impersonator=principal.name)
    elif (
        target.startswith(PROJECT_TARGET_PREFIX)
        and target_suffix in PROJECT_ROLES
        and (may_be_anyone or _is_curated_role(principal, target))
    ):
        roles = PROJECT_ROLES[: PROJECT_ROLES.index(target_suffix) + 1]
        groups = frozenset({target_prefix, *(f"{target_prefix}:{role}" for role in roles)})
        impersonated = Principal(groups=groups)
    elif may_be_anyone and target_prefix == GROUP_TARGET and target_suffix not in {"", "owner"}:
        impersonated = Principal(groups=frozenset({target_suffix}))
    elif may_be_anyone and not target_prefix and store.users.has_account(target):
        impersonated = with_known_groups_and_names(
            build_principal(target, store, settings), settings, store.grants, find_people
        )
        impersonated = replace(impersonated, aliases=impersonated.aliases | {target})
    if impersonated is None:
        raise ForbiddenError(
            f"you are not allowed to see this site as {target!r:.80}",
            remedy="choose a different view; curators may see their project as people with any role see it; operators "
            "may also see the public view; if `see_as` is set under [health] in hven.toml, they may also see the views "
            "of accounts and groups",
        )
    impersonator = str(principal.name)
    return replace(impersonated, name=f"as {target}", impersonator=impersonator)


def sign_impersonation_cookie(store: StateStore, account: str, target: str, expiry_timestamp: int) -> str:
    """Return the cookie of an impersonation; it is signed for one account, so that the log names who sees the site.

    Parameters
    ----------
    store
        Store of the site.
    account
        The account that impersonates.
    target
        As for `impersonate`.
    expiry_timestamp
        Seconds since 1970.

    Raises
    ------
    ForbiddenError
        There is no such account.
    """
    key = store.sessions.derive_signing_key(account)
    if key is None:
        raise ForbiddenError(
            "you need an account to see this site as a different user", remedy="ask the site's operators for an account"
        )
    message = repr(("as", expiry_timestamp, target)).encode()
    signature = hmac.digest(key, message, hashlib.sha256).hex()
    return f"{expiry_timestamp}.{target.encode().hex()}.{signature}"


def apply_impersonation_cookie(
    principal: Principal,
    headers: Mapping[str, str],
    store: StateStore,
    settings: Settings,
    find_people: People | None = None,
) -> Principal:
    """Return the user that the cookie of an impersonation names.

    Without the cookie, and when its time or the right to impersonate is over, this is the user themself.

    Parameters
    ----------
    principal
        The user as they logged in.
    headers
        Headers of the request, names in lower case.
    store, settings, find_people
        As for `with_known_groups_and_names`.
    """
    cookie_value = find_cookie_value(headers, IMPERSONATION_COOKIE) or ""
    try:
        expiry_text, target_hex, _ = cookie_value.split(".")
        target = bytes.fromhex(target_hex).decode()
        expiry_timestamp = int(expiry_text)
        expected_cookie = sign_impersonation_cookie(store, principal.name or "", target, expiry_timestamp)
        is_signed = hmac.compare_digest(expected_cookie.encode(), cookie_value.encode())
        if not is_signed or expiry_timestamp <= time.time():
            return principal
        return impersonate(principal, target, store, settings, find_people)
    except (ValueError, HvenError):
        return principal


def log_restricted_file_access(
    store: StateStore,
    principal: Principal,
    action: str,
    file_path: str,
    *,
    files_table: Table,
    naming_tables: Sequence[Table],
    policies: Sequence[AccessPolicy],
) -> None:
    """Log that a user got a file, or its metadata, if it is not public.

    Parameters
    ----------
    store
        Store of the site.
    principal
        The user.
    action
        What the user did, in two words.
    file_path
        Path of the file.
    files_table
        The collection's table of files.
    naming_tables
        Those of its tables whose policy says who may take the files that their rows name.
    policies
        The site's policies.
    """
    is_restricted = False
    for table in naming_tables:
        if table.policy and table.rights:
            path_column = str(table.policy.path)
            if table.rights.find_file_embargo(ANONYMOUS_PRINCIPAL, {path_column: file_path}):
                is_restricted = True
                break
    if not principal.log_name:
        return
    if is_restricted or not (naming_tables or has_same_access_as_public(files_table, principal, policies)):
        facts = {"file": file_path}
        if principal.impersonator:
            facts["as"] = principal.name or "anonymous"
        store.grants.log_event(principal.log_name, action, files_table.schema, facts)


def _may_impersonate_anyone(principal: Principal, settings: Settings) -> bool:
    return settings.health.see_as and principal.name in settings.health.operators


def _may_impersonate(principal: Principal, settings: Settings) -> bool:
    if principal.name in settings.health.operators:
        return True
    return any(_is_curated_role(principal, group) for group in principal.groups)


def _is_curated_role(principal: Principal, role: str) -> bool:
    """Return whether this is one of the user's roles in a project that they curate."""
    return role in principal.groups and f"{role.rpartition(':')[0]}:curator" in principal.groups
