"""Discard the open submissions whose time is over: when users open pages of submissions, and by the job supervisor."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from hven.model.errors import ConflictError
from hven.plugins.submissions.staging import PublishedFolder, StagingArea, list_staged_numbers
from hven.plugins.submissions.submission_store import (
    DISCARDED,
    SAVED,
    STAGED_STATES,
    StepNotice,
    SubmissionStore,
)
from hven.site.store import format_current_time

if TYPE_CHECKING:
    from pathlib import Path

    from hven.model.resource import CollectionSpec
    from hven.model.settings import Settings
    from hven.plugins.submissions.submission_keys import SubmissionRules
    from hven.plugins.submissions.submission_store import Submission
    from hven.site import Site
    from hven.site.store import StateStore

DISCARD = "discard"
STAGING_DAYS = 7  # an open submission is discarded after this time without a change


def is_cleanup_due(settings: Settings, store: StateStore) -> bool:
    """Return whether there is anything to discard, or files that a killed process left.

    Parameters
    ----------
    settings, store
        Settings and system state of the site.
    """
    submission_store = store.get_or_create(SubmissionStore)
    if submission_store.list_expired(store.deletion_clock.compute_and_record_trusted_time()):
        return True
    submissions = map(submission_store.find_submission, list_staged_numbers(settings))
    return any(submission is None or submission.state not in STAGED_STATES for submission in submissions)


def delete_expired_data(site: Site) -> None:
    """Discard the open submissions whose time is over, with their files.

    Parameters
    ----------
    site
        The site.
    """
    store = site.store.get_or_create(SubmissionStore)
    for submission in store.list_expired(site.store.deletion_clock.compute_and_record_trusted_time()):
        step = build_history_step("", DISCARD, "expired")
        changes = {"state": DISCARDED, "steps": [*submission.steps, step]}
        try:
            store.change_submission(submission, changes, notice=StepNotice())
        except ConflictError:  # its author changed it at this moment
            continue
        remove_unpublished_files(site, submission)
    for number in list_staged_numbers(site.settings):  # of processes that were killed before they removed their files
        stored_submission = store.find_submission(number)
        if stored_submission is None or stored_submission.state == SAVED:
            StagingArea(site, number).remove_all()
        elif stored_submission.state == DISCARDED:
            remove_unpublished_files(site, stored_submission)


def remove_unpublished_files(site: Site, submission: Submission) -> None:
    """Delete the staged files of a submission, and copies from a publication that was killed before its commit.

    The staged files come last: if the process is killed, they tell the next one what is left to delete.

    Parameters
    ----------
    site
        The site.
    submission
        The submission.
    """
    for resource in site.get_published_state().resources.values():
        for spec in resource.tables:
            rules: SubmissionRules | None = spec.table.extensions.get("submissions")
            if rules is not None and spec.table.qualified_name == submission.table:
                PublishedFolder(find_published_folder(resource, rules, submission)).remove_all()
    StagingArea(site, submission.number).remove_all()


def find_published_folder(resource: CollectionSpec, rules: SubmissionRules, submission: Submission) -> Path:
    """Return the folder for the published files of a submission.

    Parameters
    ----------
    resource
        The collection.
    rules
        The table's rules.
    submission
        The submission.
    """
    return resource.path.parent / rules.to / str(submission.number)


def build_history_step(by: str, action: str, reason: str) -> dict[str, str]:
    """Build a step of a submission as it is stored.

    Parameters
    ----------
    by, action, reason
        The account, the step, and why.
    """
    return {"at": format_current_time(), "by": by, "action": action, "reason": reason}


def compute_expiry() -> str:
    """Return when a submission that changes now is discarded; ISO, UTC."""
    expiry = datetime.now(UTC) + timedelta(days=STAGING_DAYS)
    return expiry.isoformat(timespec="microseconds").replace("+00:00", "Z")
