"""Referees: a user with a private address sees one collection that is not public yet, until a date."""

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
from hven.site.auth.session import find_cookie_value

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hven.site.store import AccessGrant, StateStore

REFEREE_GRANT_KIND = "referee"  # kind of the grant
REFEREE_COOKIE = "hven_referee"


def with_invitation_groups(
    principal: Principal | None, headers: Mapping[str, str], store: StateStore
) -> Principal | None:
    """Return a user with the groups of the invitation in their cookie; one that has ended counts as none.

    Parameters
    ----------
    principal
        The user as they logged in; None: they did not.
    headers
        Headers of the request, names in lower case.
    store
        Store of the site.
    """
    proof = find_cookie_value(headers, REFEREE_COOKIE)
    grant = None
    if proof:
        grant = store.grants.verify_proof(REFEREE_GRANT_KIND, proof)
    if grant is None:
        return principal
    known_principal = principal or ANONYMOUS_PRINCIPAL
    return replace(known_principal, groups=known_principal.groups | list_invitation_groups(grant))


def list_invitation_groups(grant: AccessGrant) -> frozenset[str]:
    """Return the groups of a user with an invitation.

    One of them owns the user's jobs (`Principal.owner_id`).

    Parameters
    ----------
    grant
        An invitation that is in force.
    """
    groups = {REFEREE_GROUP_PREFIX + grant.object, INVITATION_PREFIX + grant.id}
    if grant.facts.get("anonymous"):
        groups.add(BLIND_REVIEW_GROUP_PREFIX + grant.object)
    return frozenset(groups)


def find_invitation(store: StateStore, owner_id: str) -> AccessGrant | None:
    """Return the invitation that owns something, as long as it is in force. Most calls read only memory.

    Parameters
    ----------
    store
        Store of the site.
    owner_id
        Result of `Principal.owner_id`.
    """
    return store.grants.find_grant(REFEREE_GRANT_KIND, owner_id.removeprefix(INVITATION_PREFIX))


__all__ = [
    "BLIND_REVIEW_GROUP_PREFIX",
    "INVITATION_PREFIX",
    "REFEREE_COOKIE",
    "REFEREE_GRANT_KIND",
    "find_invitation",
    "list_invitation_groups",
    "with_invitation_groups",
]
