"""Watermarks of source rows: the largest one that was seen is what the next sync begins at."""

from __future__ import annotations

import datetime as dt
import math
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from hven.descriptor.compiled_mapping import WATERMARK_COLUMN
from hven.descriptor.mapping import SOURCE_RELATION

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hven.engines import StorageEngine
    from hven.ingest._ledger import SourceEntry

TIME_KEY = "time"
MAX_CLOCK_DIFFERENCE = dt.timedelta(hours=1)  # clocks differ by so much, at most


class WatermarkTracker:
    """Looks at the watermarks of source rows as they are read (for `Filling.watch`).

    Times that are still to come are left out: a row of the year 2999 must not hide all that is written before; it is
    read each time instead.

    Attributes
    ----------
    finished_entries
        Entries that have been looked at: what is shown of them later does not count.
    """

    def __init__(self, engine: StorageEngine, entries: Sequence[SourceEntry]) -> None:
        self._engine = engine
        self._entries = entries
        self._limit = dt.datetime.now(dt.UTC).replace(tzinfo=None) + MAX_CLOCK_DIFFERENCE
        self.largest_by_entry: dict[int, Any] = {}
        self.future_count = 0
        self.finished_entries = set[int]()

    def __call__(self, entry: int, batch: pa.RecordBatch) -> None:
        """Find the largest watermark of a batch of source rows."""
        mapping = self._entries[entry].mapping
        if entry in self.finished_entries or mapping.watermark_query is None or not batch.num_rows:
            return
        watermarks = self._engine.evaluate_query(
            mapping.watermark_query, {SOURCE_RELATION: batch, **mapping.lookups}
        ).column(WATERMARK_COLUMN)
        if pa.types.is_floating(watermarks.type):
            watermarks = watermarks.filter(pc.is_finite(watermarks))
        elif (late := self._find_future_times(watermarks)) is not None and (count := pc.sum(late).as_py()):
            self.future_count += count
            watermarks = watermarks.filter(pc.invert(pc.fill_null(late, False)))
        if len(watermarks):
            largest = normalize_watermark(pc.max(watermarks).as_py())
        else:
            largest = None
        if largest is not None and (entry not in self.largest_by_entry or largest > self.largest_by_entry[entry]):
            self.largest_by_entry[entry] = largest

    def _find_future_times(self, watermarks: Any) -> Any:
        """Return which times are still to come, texts as ISO 8601 writes them, too; None: these are no times."""
        if pa.types.is_timestamp(watermarks.type):
            return pc.greater(watermarks, pa.scalar(self._limit, pa.timestamp("us")).cast(watermarks.type))
        if not (pa.types.is_string(watermarks.type) or pa.types.is_large_string(watermarks.type)) or not len(
            watermarks
        ):
            return None
        try:
            largest = normalize_watermark(dt.datetime.fromisoformat(str(pc.max(watermarks).as_py())))
        except ValueError:
            return None
        if largest <= self._limit:
            return None
        day = (self._limit + dt.timedelta(days=1)).date().isoformat()  # time zones may be written there
        return pc.greater(pc.utf8_slice_codeunits(watermarks, 0, 10), day)

    def collect_state(self) -> dict[str, Any]:
        """Return what is kept for the next sync."""
        return {str(entry): pack_watermark(value) for entry, value in self.largest_by_entry.items()}


def normalize_watermark(value: Any) -> Any:
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
        if value.tzinfo is None:
            return value
        return value.astimezone(dt.UTC).replace(tzinfo=None)
    if isinstance(value, dt.date):
        return dt.datetime.combine(value, dt.time())
    if isinstance(value, Decimal):
        # rather a row too many
        if value == value.to_integral_value():
            return int(value)
        return math.nextafter(float(value), -math.inf)
    return value


def pack_watermark(value: Any) -> Any:
    """Serialize a watermark as JSON.

    Parameters
    ----------
    value
        As `normalize_watermark` returns it.

    Returns
    -------
    value
        Plain JSON.
    """
    if isinstance(value, dt.datetime):
        return {TIME_KEY: value.isoformat()}
    return value


def unpack_watermark(value: Any) -> Any:
    """Deserialize what `pack_watermark` wrote.

    Parameters
    ----------
    value
        Plain JSON.

    Returns
    -------
    value
        As `normalize_watermark` returns it.
    """
    if isinstance(value, dict):
        return dt.datetime.fromisoformat(value[TIME_KEY])
    return value


__all__ = ["WatermarkTracker", "pack_watermark", "unpack_watermark"]
