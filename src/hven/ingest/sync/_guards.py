"""Guards: a source that lost its rows by mistake must not empty what is published."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hven.model.errors import Guarded
from hven.model.resource import Sync

if TYPE_CHECKING:
    from hven.ingest._report import Change
    from hven.model.resource import TableSpec

FEW = 10  # rows that may go or change where the descriptor names no share: a share of a tiny table says nothing


def guard(spec: TableSpec, change: Change, before: int, waiting: int = 0) -> None:
    """Stop if too much went or changed.

    Parameters
    ----------
    before
        Rows that are published.
    waiting
        Of them, those whose documents were still to be fetched: that these change was to be expected.

    Raises
    ------
    Guarded
        With the counts, the limit, and how to go on.
    """
    if change.new or not before:
        return
    said = spec.sync
    limits = (
        ("removed", change.removed, said.removed if said is not None else Sync.REMOVED, Sync.REMOVED),
        ("changed", change.changed - waiting, said.changed if said is not None else Sync.CHANGED, Sync.CHANGED),
    )
    for word, count, share, usual in limits:
        few = FEW if share == usual else 0
        if (count > few and count > share * before) or (word == "removed" and count == before):
            raise Guarded(
                f"{count:,} of {before:,} rows of {change.table} would be {word}, more than {share:.0%}: nothing was published",
                place=said.place if said is not None else spec.place,
                remedy=f"look at the source; if it is right, run it again with --accept (or say guard: {{{word}: ..}} under sync:)",
            )
