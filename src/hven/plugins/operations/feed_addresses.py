"""Addresses of the morning feed with a key, because most feed readers cannot log in."""

from __future__ import annotations

import hashlib
import hmac
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from hven.model.errors import NotFoundError
from hven.site import find_groups_and_aliases
from hven.site.api.account_users import build_principal
from hven.site.auth import with_known_groups_and_names

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hven.site import Site
    from hven.site.auth import Principal

_SIGNED_WORDS = b"morning feed"


def build_feed_query(site: Site, principal: Principal) -> str:
    """Build the query of the address with which a feed reader gets the feed of a user; empty: there is none.

    The key is that of the whole account, so somebody who has less than its rights gets none: an operator who sees the
    site as this user, or a program whose token has only some of the rights.

    Parameters
    ----------
    site
        The site.
    principal
        The user.
    """
    key = None
    if principal.name is not None and not principal.impersonator:
        key = _compute_key(site, principal.name)
    if key is None or principal.name is None or principal.groups != _build_account_user(site, principal.name).groups:
        return ""
    return urlencode({"account": principal.name, "key": key})


def find_feed_user(site: Site, params: Mapping[str, str]) -> Principal | None:
    """Find the user of a feed by the query of its address; None: it has no key.

    Parameters
    ----------
    site
        The site.
    params
        Parameters of the request.

    Raises
    ------
    NotFoundError
        The key is not valid, or the account's token was renewed.
    """
    given_key = params.get("key")
    if not given_key:
        return None
    account = params.get("account", "")
    key = _compute_key(site, account)
    if key is None or not hmac.compare_digest(key.encode(), given_key.encode("utf-8", "replace")):
        raise NotFoundError("this address of the feed is not valid any more", remedy="copy it again from /morning")
    return _build_account_user(site, account)


def _compute_key(site: Site, account: str) -> str | None:
    signing_key = site.store.sessions.derive_signing_key(account)
    if signing_key is None:
        return None
    return hmac.digest(signing_key, _SIGNED_WORDS, hashlib.sha256).hex()[:40]


def _build_account_user(site: Site, account: str) -> Principal:
    """Build the user of an account, with the present groups."""
    return with_known_groups_and_names(
        build_principal(account, site.store, site.settings),
        site.settings,
        site.store.grants,
        lambda name: find_groups_and_aliases(site, name),
    )
