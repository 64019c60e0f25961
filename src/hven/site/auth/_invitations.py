"""Referees: whoever has a private address sees one collection that is not public yet, until its date."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from hven.site.auth._permit import ANONYMOUS, BLIND, INVITED, REFEREE, Reader
from hven.site.auth.session import proof_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hven.site.store import Grant, Store

KIND = "referee"  # of the grant
COOKIE = "hven_referee"


def invited(who: Reader | None, headers: Mapping[str, str], store: Store) -> Reader | None:
    """Return a reader with what the address shows that they came by; one whose time is over is as none.

    Parameters
    ----------
    who
        As they logged in; None: they did not.
    headers
        Of the request, names in lower case.
    store
        Of the site.
    """
    proof = proof_of(headers, COOKIE)
    grant = store.grants.holds(KIND, proof) if proof else None
    if grant is None:
        return who
    found = who or ANONYMOUS
    return replace(found, groups=found.groups | groups_of_invitation(grant))


def groups_of_invitation(grant: Grant) -> frozenset[str]:
    """Return the groups that an invitation puts its reader into: the last one is what their jobs belong to (`Reader.principal`).

    Parameters
    ----------
    grant
        That is in force.
    """
    blind = {BLIND + grant.object} if grant.facts.get("anonymous") else set[str]()
    return frozenset({REFEREE + grant.object, *blind, INVITED + grant.id})


def find_invitation(store: Store, principal: str) -> Grant | None:
    """Return the invitation that owns something, as long as it is in force. Asks memory alone, most of the time.

    Parameters
    ----------
    store
        Of the site.
    principal
        As `Reader.principal` writes it.
    """
    return store.grants.find(KIND, principal.removeprefix(INVITED))


__all__ = ["BLIND", "COOKIE", "INVITED", "KIND", "find_invitation", "groups_of_invitation", "invited"]
