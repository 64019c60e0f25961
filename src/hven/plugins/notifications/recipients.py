"""Decide which accounts an event may reach now, by the rights that they have now."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hven.site import find_groups_and_aliases
from hven.site.api.account_users import build_principal
from hven.site.auth import is_table_visible, with_known_groups_and_names

if TYPE_CHECKING:
    from collections.abc import Collection

    from hven.site import Site
    from hven.site.auth import Principal


class RecipientRights:
    """The rights of accounts, read once for each object of this class."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._principals: dict[str, Principal | None] = {}

    def find_principal(self, account: str) -> Principal | None:
        """Return the user of an account, with the present groups; None: the account is gone."""
        if account not in self._principals:
            self._principals[account] = self._build_principal(account)
        return self._principals[account]

    def _build_principal(self, account: str) -> Principal | None:
        store, settings = self._site.store, self._site.settings
        if not store.users.has_account(account):
            return None
        return with_known_groups_and_names(
            build_principal(account, store, settings),
            settings,
            store.grants,
            lambda name: find_groups_and_aliases(self._site, name),
        )

    def can_receive_event(self, account: str, names: Collection[str], table_name: str) -> bool:
        """Return whether an event may reach an account.

        Parameters
        ----------
        account
            The account.
        names
            Accounts and groups that the event concerns.
        table_name
            Table that the account must see; empty: none.
        """
        principal = self.find_principal(account)
        if principal is None or (account not in names and principal.groups.isdisjoint(names)):
            return False
        if not table_name:
            return True
        published_table = self._site.get_published_state().tables_by_name.get(table_name)
        return published_table is not None and is_table_visible(published_table.table, principal)
