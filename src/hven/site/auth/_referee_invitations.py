"""Referees: whoever has a private address sees one collection that is not public yet, until its date."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from hven.site.auth._access_control import (
    ANONYMOUS_PRINCIPAL,
    BLIND_REVIEW_GROUP_PREFIX,
    INVITATION_PREFIX,
    REFEREE_GROUP_PREFIX,
    Principal,
)
from hven.site.auth.session import find_session_cookie

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hven.site.store import Grant, StateStore

REFEREE_GRANT_KIND = "referee"  # of the grant
REFEREE_COOKIE = "hven_referee"


def add_invitation_groups(
    principal: Principal | None, headers: Mapping[str, str], store: StateStore
) -> Principal | None:
    """Return a reader with what the address shows that they came by; one whose time is over is as none.

    Parameters
    ----------
    principal
        As they logged in; None: they did not.
    headers
        Of the request, names in lower case.
    store
        Of the site.
    """
    proof = find_session_cookie(headers, REFEREE_COOKIE)
    if proof:
        grant = store.grants.verify_proof(REFEREE_GRANT_KIND, proof)
    else:
        grant = None
    if grant is None:
        return principal
    known_principal = principal or ANONYMOUS_PRINCIPAL
    return replace(known_principal, groups=known_principal.groups | list_invitation_groups(grant))


def list_invitation_groups(grant: Grant) -> frozenset[str]:
    """Return the groups that an invitation puts its reader into.

    The last one is what their jobs belong to (`Principal.owner_id`).

    Parameters
    ----------
    grant
        That is in force.
    """
    if grant.facts.get("anonymous"):
        blind_groups = {BLIND_REVIEW_GROUP_PREFIX + grant.object}
    else:
        blind_groups = set[str]()
    return frozenset({REFEREE_GROUP_PREFIX + grant.object, *blind_groups, INVITATION_PREFIX + grant.id})


def find_invitation(store: StateStore, owner_id: str) -> Grant | None:
    """Return the invitation that owns something, as long as it is in force. Asks memory alone, most of the time.

    Parameters
    ----------
    store
        Of the site.
    owner_id
        As `Principal.owner_id` writes it.
    """
    return store.grants.find_grant(REFEREE_GRANT_KIND, owner_id.removeprefix(INVITATION_PREFIX))


__all__ = [
    "BLIND_REVIEW_GROUP_PREFIX",
    "INVITATION_PREFIX",
    "REFEREE_COOKIE",
    "REFEREE_GRANT_KIND",
    "add_invitation_groups",
    "find_invitation",
    "list_invitation_groups",
]
