"""Referees: whoever has a private address sees one collection that is not public yet, until its date."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from hven.site.auth._permit import ANONYMOUS, BLIND, INVITED, REFEREE, Reader
from hven.site.auth.session import proof_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hven.site.store import Store

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
    groups = {
        REFEREE + grant.object,
        INVITED + grant.id,
        *({BLIND + grant.object} if grant.facts.get("anonymous") else ()),
    }
    found = who or ANONYMOUS
    return replace(found, groups=found.groups | groups)
