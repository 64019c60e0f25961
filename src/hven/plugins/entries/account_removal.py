"""Remove what the package keeps of an account."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hven.plugins.entries.comment_store import CommentStore
from hven.plugins.entries.entry_store import EntryStore

if TYPE_CHECKING:
    from hven.site import Site


def remove_or_anonymize_contributions(site: Site, account: str) -> None:
    """Delete the drafts and unread comments of an account that is removed, and its name in all others.

    Parameters
    ----------
    site
        The site.
    account
        Name of the account.
    """
    site.store.get_or_create(EntryStore).remove_author_data(account)
    site.store.get_or_create(CommentStore).remove_author_data(account)
