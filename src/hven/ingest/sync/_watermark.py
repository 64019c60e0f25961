"""Watermarks: from where to read this time."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

from hven.model.errors import DataError
from hven.model.table import SECONDS

if TYPE_CHECKING:
    from hven.ingest._ledger import Entry
    from hven.model.resource import Sync


def begin(last: Any, said: Sync, entry: Entry) -> Any:
    """Return the watermark from which rows are read: the last one, less the overlap.

    Raises
    ------
    DataError
        The overlap is a time, and the watermark a number without a unit of time; or the other way round.
    """
    if said.overlap is None and said.overlap_number is None:
        return last
    if isinstance(last, dt.datetime):
        if said.overlap is None:
            raise _odd(said, "the watermark is a time, and the overlap has no unit", "overlap: 2 d")
        try:
            return last - dt.timedelta(seconds=said.overlap)
        except OverflowError:
            return None
    if isinstance(last, str):
        return _earlier(last, said)
    if said.overlap_number is not None:
        return last - (
            int(said.overlap_number)
            if isinstance(last, int) and said.overlap_number.is_integer()
            else said.overlap_number
        )
    bound = entry.mapping.watermark
    unit = bound.columns[0].unit if bound is not None else None
    if said.overlap is None or unit not in SECONDS:
        message = f"the watermark is a number {f'in {unit}' if unit else 'without a unit'}, and the overlap is a time"
        raise _odd(said, message, "say overlap as a number in the watermark's own unit")
    return last - said.overlap / SECONDS[unit]


def _earlier(last: str, said: Sync) -> str:
    """Subtract the overlap from a time as ISO 8601 writes it."""
    try:
        moment = dt.datetime.fromisoformat(last)
    except ValueError:
        moment = None
    if moment is None or said.overlap is None:
        raise _odd(
            said,
            f"the watermark is a text ({last!r}), from which the overlap cannot be taken",
            "watermark: parse_time(column), or no overlap",
        )
    before = moment - dt.timedelta(seconds=said.overlap)
    if len(last) <= 10:
        return before.date().isoformat()
    text = before.isoformat(sep=last[10], timespec="auto" if "." in last else "seconds")
    return text.replace("+00:00", "Z") if last.endswith("Z") else text


def _odd(said: Sync, message: str, remedy: str) -> DataError:
    return DataError(f"sync: {message}", place=said.watermark[1] if said.watermark else said.place, remedy=remedy)
