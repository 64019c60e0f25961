"""Compute the watermark from which the next sync reads."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

from hven.model.errors import DataError
from hven.model.table import SECONDS_PER_UNIT

if TYPE_CHECKING:
    from hven.ingest._ledger import OpenedSource
    from hven.model.resource import SyncPolicy


def compute_start_watermark(last_watermark: Any, sync_policy: SyncPolicy, entry: OpenedSource) -> Any:
    """Return the watermark from which rows are read: the last one, less the overlap.

    Raises
    ------
    DataError
        The overlap is a time, and the watermark a number without a unit of time; or the other way round.
    """
    overlap_seconds = sync_policy.overlap_seconds
    overlap_amount = sync_policy.overlap_amount
    if overlap_seconds is None and overlap_amount is None:
        return last_watermark
    if isinstance(last_watermark, dt.datetime):
        if overlap_seconds is None:
            raise _build_overlap_error(
                sync_policy,
                "the watermark is a time, but the overlap has no unit",
                "add a unit, as in `overlap: 2 d`",
            )
        try:
            return last_watermark - dt.timedelta(seconds=overlap_seconds)
        except OverflowError:
            return None
    if isinstance(last_watermark, str):
        return _compute_text_start_watermark(last_watermark, sync_policy)
    if overlap_amount is not None:
        is_integer = isinstance(last_watermark, int) and overlap_amount.is_integer()
        return last_watermark - (int(overlap_amount) if is_integer else overlap_amount)
    unit: str | None = None
    if entry.mapping.watermark_query is not None:
        unit = entry.mapping.watermark_query.columns[0].unit
    if overlap_seconds is None or unit not in SECONDS_PER_UNIT:
        unit_text = f"in {unit}" if unit else "without a unit"
        message = f"the watermark is a number {unit_text}, but the overlap is a duration"
        remedy = "write `overlap` as a plain number such as 10; if the watermark has a unit, use this unit"
        raise _build_overlap_error(sync_policy, message, remedy)
    return last_watermark - overlap_seconds / SECONDS_PER_UNIT[unit]


def _compute_text_start_watermark(last_watermark: str, sync_policy: SyncPolicy) -> str:
    """Subtract the overlap from a time that is an ISO 8601 text; keep its form."""
    try:
        instant = dt.datetime.fromisoformat(last_watermark)
    except ValueError:
        instant = None
    if instant is None or sync_policy.overlap_seconds is None:
        raise _build_overlap_error(
            sync_policy,
            f"the watermark is a string ({last_watermark!r}), so the overlap cannot be subtracted from it",
            "write `watermark: parse_time(column)`, or leave out `overlap`",
        )
    start_instant = instant - dt.timedelta(seconds=sync_policy.overlap_seconds)
    if len(last_watermark) <= 10:
        return start_instant.date().isoformat()
    time_precision = "auto" if "." in last_watermark else "seconds"
    text = start_instant.isoformat(sep=last_watermark[10], timespec=time_precision)
    if last_watermark.endswith("Z"):
        return text.replace("+00:00", "Z")
    return text


def _build_overlap_error(sync_policy: SyncPolicy, message: str, remedy: str) -> DataError:
    if sync_policy.watermark:
        place = sync_policy.watermark[1]
    else:
        place = sync_policy.place
    return DataError(
        f"sync: {message}",
        place=place,
        remedy=remedy,
    )
