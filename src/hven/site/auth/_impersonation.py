"""Looks: who operates the site, or curates a project, has the eyes of another reader for an hour.

Looks at files that are not everybody's are written down.
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
    add_known_groups,
    has_public_access,
)
from hven.site.auth.local import TOKEN_SCOPE_GROUPS, build_principal
from hven.site.auth.session import find_session_cookie

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hven.model.settings import Settings
    from hven.model.table import Table
    from hven.site.auth._access_control import AccessPolicy, People
    from hven.site.store import StateStore

IMPERSONATION_COOKIE = "hven_as"
IMPERSONATION_SECONDS = 3600.0  # after which one is oneself again
ANONYMOUS_TARGET, GROUP_TARGET, PROJECT_TARGET_PREFIX = (
    "anonymous",
    "group",
    "project:",
)  # whom one may name besides an account
MAX_LISTED_ACCOUNTS = 200  # accounts that are listed


def list_impersonation_targets(principal: Principal, store: StateStore, settings: Settings) -> list[str]:
    """List as whom somebody may look: nobody, roles of projects.

    With `see_as` of ``[health]`` groups and, as far as there is room, accounts.

    Parameters
    ----------
    principal
        The reader, as themself.
    store, settings
        Of the site.

    Returns
    -------
    names
        As `impersonate` takes them; none: as nobody else.
    """
    may_be_anyone = _may_impersonate_anyone(principal, settings)
    roles = [
        f"{PROJECT_TARGET_PREFIX}{candidate.name}:{role}" for candidate in settings.projects for role in PROJECT_ROLES
    ]
    roles = [candidate for candidate in roles if may_be_anyone or _is_curated_role(principal, candidate)]
    if may_be_anyone:
        groups = [f"{GROUP_TARGET}:{candidate}" for candidate in sorted(settings.people.groups)]
    else:
        groups = []
    if may_be_anyone:
        accounts = [name for name, _ in store.users.list_accounts()[:MAX_LISTED_ACCOUNTS]]
    else:
        accounts = []
    if _may_impersonate(principal, settings):
        return [ANONYMOUS_TARGET, *accounts, *groups, *roles]
    return []


def impersonate(
    principal: Principal, target: str, store: StateStore, settings: Settings, find_people: People | None = None
) -> Principal:
    """Return the reader as whom somebody looks.

    Never one who sees more, unless `see_as` of ``[health]`` lets operators.

    Parameters
    ----------
    principal
        The reader, as themself.
    target
        `ANONYMOUS_TARGET`, an account, ``group:NAME``, ``project:NAME:ROLE``.
    store, settings, find_people
        As for `add_known_groups`.

    Returns
    -------
    reader
        Of no account's name, so that nothing is theirs: no job, no table, no token.

    Raises
    ------
    ForbiddenError
        Not as this one, or there is none.
    """
    may_be_anyone = _may_impersonate_anyone(principal, settings)
    target_prefix, _, target_suffix = target.rpartition(":")
    impersonated: Principal | None = None
    if principal.name is None or principal.impersonator or principal.groups & {*TOKEN_SCOPE_GROUPS.values()}:
        pass  # a token that leaked shall not open more
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
        impersonated = add_known_groups(build_principal(target, store, settings), settings, store.grants, find_people)
        impersonated = replace(impersonated, aliases=impersonated.aliases | {target})
    if impersonated is None:
        raise ForbiddenError(
            f"you may not see this site as {target!r:.80}",
            remedy="curators see their project in its roles; operators what everybody does, or with see_as under "
            "[health] in hven.toml whatever an account or a group does",
        )
    impersonator = str(principal.name)
    return replace(impersonated, name=f"as {target}", impersonator=impersonator)


def sign_impersonation_cookie(store: StateStore, account: str, target: str, expiry_timestamp: int) -> str:
    """Return the cookie of who looks as another: signed for one account, so that nobody looks unseen by the log.

    Parameters
    ----------
    store
        Of the site.
    account
        Of the account.
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
        raise ForbiddenError("only accounts of this site look as others", remedy="ask the site's owner for one")
    signature = hmac.digest(key, repr(("as", expiry_timestamp, target)).encode(), hashlib.sha256).hex()
    return f"{expiry_timestamp}.{target.encode().hex()}.{signature}"


def apply_impersonation_cookie(
    principal: Principal,
    headers: Mapping[str, str],
    store: StateStore,
    settings: Settings,
    find_people: People | None = None,
) -> Principal:
    """Return as whom somebody looks: as themself without the cookie, and when its time or their right is over.

    Parameters
    ----------
    principal
        As they logged in.
    headers
        Of the request, names in lower case.
    store, settings, find_people
        As for `add_known_groups`.
    """
    cookie_value = find_session_cookie(headers, IMPERSONATION_COOKIE) or ""
    try:
        expiry_text, text, _ = cookie_value.split(".")
        target = bytes.fromhex(text).decode()
        expected_cookie = sign_impersonation_cookie(store, principal.name or "", target, int(expiry_text))
        if not hmac.compare_digest(expected_cookie.encode(), cookie_value.encode()) or int(expiry_text) <= time.time():
            return principal
        return impersonate(principal, target, store, settings, find_people)
    except (ValueError, HvenError):
        return principal


def log_file_access(
    store: StateStore,
    principal: Principal,
    action: str,
    file_path: str,
    *,
    files_table: Table,
    naming_tables: Sequence[Table],
    policies: Sequence[AccessPolicy],
) -> None:
    """Write down that somebody was given a file, or what it says of itself, if not everybody is.

    Parameters
    ----------
    store
        Of the site.
    principal
        The reader.
    action
        They did, in two words.
    file_path
        Of the file.
    files_table
        The collection's table of files.
    naming_tables
        Those of its tables whose policy says who takes the files that their rows name.
    policies
        What readers may see.
    """
    rights_and_columns = [
        (table.rights, str(table.policy.path)) for table in naming_tables if table.policy and table.rights
    ]
    is_restricted = any(
        table_rights.find_file_restriction(ANONYMOUS_PRINCIPAL, {column: file_path})
        for table_rights, column in rights_and_columns
    )
    if principal.log_name and (
        is_restricted or not (naming_tables or has_public_access(files_table, principal, policies))
    ):
        if principal.impersonator:
            impersonation_facts = {"as": principal.name or "anonymous"}
        else:
            impersonation_facts = {}
        store.grants.log_event(
            principal.log_name, action, files_table.schema, {"file": file_path, **impersonation_facts}
        )


def _may_impersonate_anyone(principal: Principal, settings: Settings) -> bool:
    return settings.health.see_as and principal.name in settings.health.operators


def _may_impersonate(principal: Principal, settings: Settings) -> bool:
    return principal.name in settings.health.operators or any(
        _is_curated_role(principal, group) for group in principal.groups
    )


def _is_curated_role(principal: Principal, role: str) -> bool:
    """Return whether this is a role, not above one's own, of a project that one curates."""
    return role in principal.groups and f"{role.rpartition(':')[0]}:curator" in principal.groups
