"""Guards: a source that lost its rows by mistake must not empty the published table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hven.model.errors import ChangeLimitExceededError
from hven.model.resource import SyncPolicy

if TYPE_CHECKING:
    from hven.ingest._report import TableChangeSummary
    from hven.model.resource import TableSpec

MIN_GUARDED_ROWS = 10  # this number of rows may always change under the default shares: tables may be tiny


def check_change_limits(
    spec: TableSpec, change: TableChangeSummary, published_row_count: int, waiting_row_count: int = 0
) -> None:
    """Raise an error if more rows were removed or changed than the descriptor allows.

    Parameters
    ----------
    spec
        The table, with the limits of its ``sync:``.
    change
        What changed.
    published_row_count
        Number of published rows.
    waiting_row_count
        Number of published rows whose documents were still to be fetched, so that changes of them are expected.

    Raises
    ------
    ChangeLimitExceededError
        With the counts, the limit, and how to go on.
    """
    if change.new or not published_row_count:
        return
    max_removed_share = SyncPolicy.DEFAULT_MAX_REMOVED_SHARE
    max_changed_share = SyncPolicy.DEFAULT_MAX_CHANGED_SHARE
    place = spec.place
    if spec.sync is not None:
        max_removed_share = spec.sync.max_removed_share
        max_changed_share = spec.sync.max_changed_share
        place = spec.sync.place
    limits = (
        ("removed", change.removed, max_removed_share, SyncPolicy.DEFAULT_MAX_REMOVED_SHARE),
        ("changed", change.changed - waiting_row_count, max_changed_share, SyncPolicy.DEFAULT_MAX_CHANGED_SHARE),
    )
    for word, count, share, default_share in limits:
        allowed_rows = MIN_GUARDED_ROWS if share == default_share else 0
        is_too_much = count > allowed_rows and count > share * published_row_count
        removes_all_rows = word == "removed" and count == published_row_count
        if is_too_much or removes_all_rows:
            raise ChangeLimitExceededError(
                f"{count:,} of {published_row_count:,} rows of {change.table} would be {word} (the limit is "
                f"{share:.0%}), so nothing was published",
                place=place,
                remedy=f"check the source; if it is correct, run the command again with --accept (or write `guard: "
                f"{{{word}: ..}}` under `sync:`)",
            )
