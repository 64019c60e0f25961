"""Decide which digests are due: one a day for an account and a kind of events."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from hven.plugins.notifications.choice_store import NONE
from hven.plugins.notifications.event_kinds import load_event_kinds

if TYPE_CHECKING:
    from hven.plugins.notifications.choice_store import AccountChoices

DIGEST_HOUR = 5  # UTC; a digest is written after this hour


def find_digest_day(now: datetime | None = None) -> str:
    """Return the day whose digests are due: until the hour of digests it is the day before."""
    moment = now or datetime.now(UTC)
    shifted = moment.timestamp() - DIGEST_HOUR * 3600
    return datetime.fromtimestamp(shifted, UTC).date().isoformat()


def list_due_digest_kinds(choices: AccountChoices, day: str) -> list[str]:
    """List the kinds of events of which a digest is due for an account.

    Parameters
    ----------
    choices
        What the account chose.
    day
        The day, as `find_digest_day` returns it.
    """
    kinds = load_event_kinds()
    return [
        kind
        for kind, event_kind in kinds.items()
        if event_kind.digest_writer
        and choices.find_reachable_channel(kind) != NONE
        and choices.digests.get(kind, "") < day
    ]
