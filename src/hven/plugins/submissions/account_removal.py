"""Remove what the package keeps of an account."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hven.plugins.submissions.staging import StagingArea
from hven.plugins.submissions.submission_store import SubmissionStore

if TYPE_CHECKING:
    from hven.site import Site


def remove_account_from_submissions(site: Site, account: str) -> None:
    """Delete the unpublished submissions of an account that is removed, and its name in all others.

    Parameters
    ----------
    site
        The site.
    account
        Name of the account.
    """
    for number in site.store.get_or_create(SubmissionStore).remove_author_data(account):
        StagingArea(site, number).remove_all()
