"""Accounts of people for whom providers of OpenID Connect vouch."""

from __future__ import annotations

import base64
import json
import time
from typing import TYPE_CHECKING

from hven.plugins.institute_log_in.openid_provider import (
    GROUP_LIFETIME_SECONDS,
    IDENTITY_GRANT_KIND,
    MAX_TOKEN_CHARACTERS,
    OpenIdProvider,
)
from hven.plugins.institute_log_in.settings import get_identity_settings

if TYPE_CHECKING:
    from collections.abc import Sequence
    from collections.abc import Set as AbstractSet

    from hven.model.settings import Settings
    from hven.site.store import AccessGrant, StateStore


class InstituteAccounts:
    """Accounts of people for whom providers vouch (`hven.site.auth.ExternalAccounts`).

    Attributes
    ----------
    providers
        The providers in the settings, by their names.
    """

    def __init__(self, store: StateStore, settings: Settings) -> None:
        self._store = store
        self.providers = {
            provider_settings.name: OpenIdProvider(settings, provider_settings)
            for provider_settings in get_identity_settings(settings)
        }

    def find_or_create_account_by_token(self, token: str) -> tuple[str, AbstractSet[str]] | None:
        """Verify a token of one of the providers."""
        issuer = _parse_unverified_issuer(token)
        for provider in self.providers.values():
            if provider.provider_settings.issuer == issuer:
                claims = provider.verify_token(token)
                return provider.find_or_create_account(self._store, claims), provider.list_groups(claims)
        return None

    @staticmethod
    def list_groups(grants: Sequence[AccessGrant], settings: Settings) -> AbstractSet[str]:
        """List the groups that providers stated for an account at its last log-in."""
        provider_names = {provider_settings.name for provider_settings in get_identity_settings(settings)}
        current_time = time.time()
        groups: set[str] = set()
        for grant in grants:
            if grant.kind != IDENTITY_GRANT_KIND or grant.facts["provider"] not in provider_names:
                continue
            if current_time < grant.facts["seen"] + GROUP_LIFETIME_SECONDS:
                groups.update(grant.facts["groups"])
        return groups

    @staticmethod
    def list_login_links(settings: Settings) -> Sequence[tuple[str, str]]:
        """List the addresses that lead to the providers."""
        return [
            (f"/login/oidc/{provider_settings.name}", provider_settings.title or provider_settings.name)
            for provider_settings in get_identity_settings(settings)
        ]


def _parse_unverified_issuer(token: str) -> object:
    """Return the issuer that a token names; nothing of the token is verified."""
    payload = token[:MAX_TOKEN_CHARACTERS].split(".")[1]
    padding = "=" * (-len(payload) % 4)
    try:
        token_claims = json.loads(base64.urlsafe_b64decode(payload + padding))
    except (ValueError, RecursionError):
        return None
    if isinstance(token_claims, dict):
        return token_claims.get("iss")
    return None
