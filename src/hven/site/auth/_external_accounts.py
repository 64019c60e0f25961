"""Accounts of people who log in elsewhere, which plug-in packages add."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from hven.model import plugins

if TYPE_CHECKING:
    from collections.abc import Sequence
    from collections.abc import Set as AbstractSet

    from hven.model.settings import Settings
    from hven.site.store import AccessGrant, StateStore


class ExternalAccounts(Protocol):
    """Accounts of people for whom other sites vouch. Thread-safe.

    The class is called with the store and the settings of the site.
    """

    def find_or_create_account_by_token(self, token: str) -> tuple[str, AbstractSet[str]] | None:
        """Verify a token that a program sends, and find its account.

        Parameters
        ----------
        token
            A text with two dots, such as a JWT.

        Returns
        -------
        account, groups
            Name of the account, and groups that the token states; None: another site issued the token.

        Raises
        ------
        UnauthenticatedError
            The token is not valid, or its person has no account.
        """

    @staticmethod
    def list_groups(grants: Sequence[AccessGrant], settings: Settings) -> AbstractSet[str]:
        """List the groups that other sites stated for an account when its person last logged in.

        Parameters
        ----------
        grants
            Grants of the account.
        settings
            Settings of the site.

        Returns
        -------
        groups
            Names of groups, which policies use.
        """

    @staticmethod
    def list_login_links(settings: Settings) -> Sequence[tuple[str, str]]:
        """List where people log in: paths that take the parameter ``next``, and titles.

        Parameters
        ----------
        settings
            Settings of the site.

        Returns
        -------
        links
            Path and title of each.
        """


@plugins.cache_until_selection
def _load_account_classes() -> tuple[Any, ...]:
    return tuple(account_class for _, account_class in plugins.iterate_package_objects("external_accounts"))


def open_external_accounts(store: StateStore, settings: Settings) -> Sequence[ExternalAccounts]:
    """Open the accounts of all packages in use."""
    return [account_class(store, settings) for account_class in _load_account_classes()]


def list_external_groups(grants: Sequence[AccessGrant], settings: Settings) -> AbstractSet[str]:
    """List the groups that other sites stated for an account, as `ExternalAccounts.list_groups` does."""
    return {group for accounts in _load_account_classes() for group in accounts.list_groups(grants, settings)}


def list_login_links(settings: Settings) -> Sequence[tuple[str, str]]:
    """List where people log in elsewhere.

    Parameters
    ----------
    settings
        Settings of the site.

    Returns
    -------
    links
        Path and title of each, as `ExternalAccounts.list_login_links` of the packages in use returns them.
    """
    return [link for accounts in _load_account_classes() for link in accounts.list_login_links(settings)]
