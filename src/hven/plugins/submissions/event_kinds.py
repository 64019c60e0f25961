"""Kinds of events that this package announces."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from hven.plugins.submissions.submission_store import SubmissionStore
from hven.site.api.events import EventKind

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hven.site import Site
    from hven.site.auth import Principal

NOTICE_DAYS = 2  # before Hven discards a submission


def write_expiry_lines(site: Site, principal: Principal) -> Sequence[str]:
    """Write a line for each open submission of an account that Hven will discard soon.

    Parameters
    ----------
    site
        The site.
    principal
        The account.
    """
    if principal.name is None:
        return []
    moment = datetime.now(UTC) + timedelta(days=NOTICE_DAYS)
    before = moment.isoformat(timespec="microseconds").replace("+00:00", "Z")
    return [
        f"submission {submission.number} ({submission.table}): {submission.expires[:16].replace('T', ' ')} UTC"
        for submission in site.store.get_or_create(SubmissionStore).list_expiring(principal.name, before)
    ]


SUBMITTED = EventKind(title="Somebody submits files on which I decide")
DECIDED = EventKind(title="Somebody decides on my submission of files, or its time is over")
EXPIRING = EventKind(
    title="My open submissions that are discarded within two days",
    digest_writer="hven.plugins.submissions.event_kinds:write_expiry_lines",
    path="/submissions",
)
