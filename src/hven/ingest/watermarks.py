"""Track the watermarks of source rows: the next sync reads from the largest watermark on."""

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

    from hven.engines import QueryEvaluator
    from hven.ingest._ledger import OpenedSource

TIME_KEY = "time"
MAX_CLOCK_DIFFERENCE = dt.timedelta(hours=1)  # the clock of a source may be ahead by this much


class WatermarkTracker:
    """Find the largest watermark of each source entry while its rows are read (`TableLoader.watermark_tracker`).

    Times in the future do not count: a row of the year 2999 must not hide all rows that are written before then. Such
    rows are read by each sync.

    Attributes
    ----------
    largest_by_entry
        Entry number -> the largest watermark.
    future_count
        Number of rows whose watermark is in the future.
    finished_entries
        Entries whose rows were all seen; later batches of them do not count.
    """

    def __init__(self, evaluator: QueryEvaluator, entries: Sequence[OpenedSource]) -> None:
        self._evaluator = evaluator
        self._entries = entries
        self._limit = dt.datetime.now(dt.UTC).replace(tzinfo=None) + MAX_CLOCK_DIFFERENCE
        self.largest_by_entry: dict[int, Any] = {}
        self.future_count = 0
        self.finished_entries = set[int]()

    def __call__(self, entry_number: int, batch: pa.RecordBatch) -> None:
        """Find the largest watermark of a batch of source rows."""
        mapping = self._entries[entry_number].mapping
        if entry_number in self.finished_entries or mapping.watermark_query is None or not batch.num_rows:
            return
        relations = {SOURCE_RELATION: batch, **mapping.lookups}
        watermarks = self._evaluator.evaluate_query(mapping.watermark_query, relations).column(WATERMARK_COLUMN)
        if pa.types.is_floating(watermarks.type):
            watermarks = watermarks.filter(pc.is_finite(watermarks))
        else:
            future_mask = self._find_future_times(watermarks)
            future_count = None
            if future_mask is not None:
                future_count = pc.sum(future_mask).as_py()
            if future_count:
                self.future_count += future_count
                watermarks = watermarks.filter(pc.invert(pc.fill_null(future_mask, False)))
        largest = None
        if len(watermarks):
            largest = normalize_watermark(pc.max(watermarks).as_py())
        if largest is not None and (
            entry_number not in self.largest_by_entry or largest > self.largest_by_entry[entry_number]
        ):
            self.largest_by_entry[entry_number] = largest

    def _find_future_times(self, watermarks: Any) -> Any:
        """Return the mask of the times in the future, ISO 8601 texts included; None if the values are no times."""
        value_type = watermarks.type
        if pa.types.is_timestamp(value_type):
            limit = pa.scalar(self._limit, pa.timestamp("us")).cast(value_type)
            return pc.greater(watermarks, limit)
        is_text = pa.types.is_string(value_type) or pa.types.is_large_string(value_type)
        if not is_text or not len(watermarks):
            return None
        try:
            largest_time = dt.datetime.fromisoformat(str(pc.max(watermarks).as_py()))
        except ValueError:
            return None
        if normalize_watermark(largest_time) <= self._limit:
            return None
        # texts may have a time zone, so only days are compared
        next_day = (self._limit + dt.timedelta(days=1)).date().isoformat()
        days = pc.utf8_slice_codeunits(watermarks, 0, 10)
        return pc.greater(days, next_day)

    def watermarks_to_json(self) -> dict[str, Any]:
        """Return the watermarks for the state that the next sync reads."""
        return {str(entry): watermark_to_json(value) for entry, value in self.largest_by_entry.items()}


def normalize_watermark(value: Any) -> Any:
    """Convert a watermark to a number, a text, or a time in UTC without a zone.

    Parameters
    ----------
    value
        A value of an Arrow scalar.

    Returns
    -------
    value
        A value that can be compared with others; a decimal is rounded down.
    """
    if isinstance(value, dt.datetime):
        if value.tzinfo is None:
            return value
        return value.astimezone(dt.UTC).replace(tzinfo=None)
    if isinstance(value, dt.date):
        return dt.datetime.combine(value, dt.time())
    if isinstance(value, Decimal):
        # a watermark that is too small reads a row twice; one that is too large misses rows
        if value == value.to_integral_value():
            return int(value)
        return math.nextafter(float(value), -math.inf)
    return value


def watermark_to_json(value: Any) -> Any:
    """Convert a watermark to JSON.

    Parameters
    ----------
    value
        A result of `normalize_watermark`.

    Returns
    -------
    value
        A JSON value.
    """
    if isinstance(value, dt.datetime):
        return {TIME_KEY: value.isoformat()}
    return value


def watermark_from_json(value: Any) -> Any:
    """Convert a result of `watermark_to_json` back.

    Parameters
    ----------
    value
        A JSON value.

    Returns
    -------
    value
        A watermark as `normalize_watermark` returns it.
    """
    if isinstance(value, dict):
        return dt.datetime.fromisoformat(value[TIME_KEY])
    return value
