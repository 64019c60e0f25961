"""Watermarks of source rows: the largest one that was seen is what the next sync begins at."""

from __future__ import annotations

import datetime as dt
import math
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from hven.descriptor.mapping import SOURCE
from hven.descriptor.outcome import WATERMARK

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hven.engines import Engine
    from hven.ingest._ledger import Entry

TIME = "time"
AHEAD = dt.timedelta(hours=1)  # clocks differ by so much, at most


class Watch:
    """Looks at the watermarks of source rows as they are read (for `Filling.watch`).

    Times that are still to come are left out: a row of the year 2999 must not hide all that is written before; it is read each time instead.

    Attributes
    ----------
    done
        Entries that have been looked at: what is shown of them later does not count.
    """

    def __init__(self, engine: Engine, entries: Sequence[Entry]) -> None:
        self._engine, self._entries = engine, entries
        self._limit = dt.datetime.now(dt.UTC).replace(tzinfo=None) + AHEAD
        self.largest: dict[int, Any] = {}
        self.future = 0
        self.done = set[int]()

    def __call__(self, entry: int, batch: pa.RecordBatch) -> None:
        """Find the largest watermark of a batch of source rows."""
        mapping = self._entries[entry].mapping
        if entry in self.done or mapping.watermark is None or not batch.num_rows:
            return
        found = self._engine.compute(mapping.watermark, {SOURCE: batch, **mapping.lookups}).column(WATERMARK)
        if pa.types.is_floating(found.type):
            found = found.filter(pc.is_finite(found))
        elif (late := self._late(found)) is not None and (count := pc.sum(late).as_py()):
            self.future += count
            found = found.filter(pc.invert(pc.fill_null(late, False)))
        largest = plain(pc.max(found).as_py()) if len(found) else None
        if largest is not None and (entry not in self.largest or largest > self.largest[entry]):
            self.largest[entry] = largest

    def _late(self, found: Any) -> Any:
        """Return which times are still to come, texts as ISO 8601 writes them, too; None: these are no times."""
        if pa.types.is_timestamp(found.type):
            return pc.greater(found, pa.scalar(self._limit, pa.timestamp("us")).cast(found.type))
        if not (pa.types.is_string(found.type) or pa.types.is_large_string(found.type)) or not len(found):
            return None
        try:
            largest = plain(dt.datetime.fromisoformat(str(pc.max(found).as_py())))
        except ValueError:
            return None
        if largest <= self._limit:
            return None
        day = (self._limit + dt.timedelta(days=1)).date().isoformat()  # time zones may be written there
        return pc.greater(pc.utf8_slice_codeunits(found, 0, 10), day)

    def state(self) -> dict[str, Any]:
        """Return what is kept for the next sync."""
        return {str(entry): packed(value) for entry, value in self.largest.items()}


def plain(value: Any) -> Any:
    """Convert a watermark to a number, a text, or a time without a zone (UTC), whatever the source has.

    Parameters
    ----------
    value
        As Arrow's scalars have it.

    Returns
    -------
    value
        For comparisons; of decimals rather too small than too large.
    """
    if isinstance(value, dt.datetime):
        return value if value.tzinfo is None else value.astimezone(dt.UTC).replace(tzinfo=None)
    if isinstance(value, dt.date):
        return dt.datetime.combine(value, dt.time())
    if isinstance(value, Decimal):
        # rather a row too many
        return int(value) if value == value.to_integral_value() else math.nextafter(float(value), -math.inf)
    return value


def packed(value: Any) -> Any:
    """Serialize a watermark as JSON.

    Parameters
    ----------
    value
        As `plain` returns it.

    Returns
    -------
    value
        Plain JSON.
    """
    return {TIME: value.isoformat()} if isinstance(value, dt.datetime) else value


def unpacked(value: Any) -> Any:
    """Deserialize what `packed` wrote.

    Parameters
    ----------
    value
        Plain JSON.

    Returns
    -------
    value
        As `plain` returns it.
    """
    return dt.datetime.fromisoformat(value[TIME]) if isinstance(value, dict) else value


__all__ = ["Watch", "packed", "unpacked"]
