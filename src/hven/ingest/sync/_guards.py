"""Guards: a source that lost its rows by mistake must not empty what is published."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hven.model.errors import ChangeGuardError
from hven.model.resource import SyncPolicy

if TYPE_CHECKING:
    from hven.ingest._report import TableChange
    from hven.model.resource import TableSpec

MIN_GUARDED_ROWS = (
    10  # rows that may go or change where the descriptor names no share: a share of a tiny table says nothing
)


def check_guards(spec: TableSpec, change: TableChange, published_rows: int, waiting_rows: int = 0) -> None:
    """Stop if too much went or changed.

    Parameters
    ----------
    published_rows
        Rows that are published.
    waiting_rows
        Of them, those whose documents were still to be fetched: that these change was to be expected.

    Raises
    ------
    ChangeGuardError
        With the counts, the limit, and how to go on.
    """
    if change.new or not published_rows:
        return
    sync_policy = spec.sync
    limits = (
        (
            "removed",
            change.removed,
            sync_policy.max_removed_share if sync_policy is not None else SyncPolicy.DEFAULT_MAX_REMOVED_SHARE,
            SyncPolicy.DEFAULT_MAX_REMOVED_SHARE,
        ),
        (
            "changed",
            change.changed - waiting_rows,
            sync_policy.max_changed_share if sync_policy is not None else SyncPolicy.DEFAULT_MAX_CHANGED_SHARE,
            SyncPolicy.DEFAULT_MAX_CHANGED_SHARE,
        ),
    )
    for word, count, share, default_share in limits:
        allowed_rows = MIN_GUARDED_ROWS if share == default_share else 0
        if (count > allowed_rows and count > share * published_rows) or (word == "removed" and count == published_rows):
            raise ChangeGuardError(
                f"{count:,} of {published_rows:,} rows of {change.table} would be {word}, more than "
                f"{share:.0%}: nothing was published",
                place=sync_policy.place if sync_policy is not None else spec.place,
                remedy=f"look at the source; if it is right, run it again with --accept (or say guard: {{{word}: ..}} "
                f"under sync:)",
            )
