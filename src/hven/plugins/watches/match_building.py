"""Build the matches of watches from the rows that their definitions find."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

import numpy as np
import orjson
import pyarrow as pa

from hven.model.sky.api.ragged_arrays import sort_distinct
from hven.plugins.watches.watch_store import (
    ALL,
    CHANGED,
    GONE,
    KEPT,
    NEW,
    NO_CHANNEL,
    WAITING,
    WatchMatch,
    compute_match_id,
)
from hven.portal.api.table_rows import format_keys

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from hven.plugins.changes.row_definitions import RowDefinition
    from hven.plugins.changes.row_matching import ChangedRowPairs
    from hven.plugins.changes.table_changes import TableChanges
    from hven.plugins.watches.watch_store import Watch

MIN_LISTED_ROWS, MAX_LISTED_ROWS = 10, 1_000  # of a match; the others are counted
MAX_ALL_LISTED_ROWS = 2_000_000  # of all matches of a scope: the closer they come, the fewer rows each lists
ROW_CHANGES = (NEW, CHANGED, GONE)  # by their codes


class MatchBuilder:
    """Build the matches of watches whose accounts see the same rows.

    Parameters
    ----------
    changes
        The changed rows of the table.
    scope_watches
        The watches; equal definitions are matched once.
    """

    def __init__(self, changes: TableChanges, scope_watches: Sequence[Watch]) -> None:
        self._changes = changes
        groups: defaultdict[str, list[Watch]] = defaultdict(list)
        for watch in scope_watches:
            groups[watch.definition_text].append(watch)
        self._groups = list(groups.values())
        self._listeners = {
            tells: [[watch for watch in group if watch.tells == tells] for group in self._groups]
            for tells in (NEW, ALL)
        }
        self._listable_rows = MAX_ALL_LISTED_ROWS

    @property
    def definitions(self) -> list[RowDefinition]:
        """The definitions to match."""
        return [group[0].definition for group in self._groups]

    def build_matches(self, found: ChangedRowPairs) -> Iterator[WatchMatch]:
        """Yield the matches of a part: of each watch of a definition, the rows that it tells of.

        Parameters
        ----------
        found
            What the definitions have found.
        """
        indexes, row_numbers, codes = found.definition_indexes, found.row_numbers, found.codes
        listings: list[tuple[list[Watch], dict[str, int], np.ndarray]] = []
        for tells, places in ((NEW, np.flatnonzero(codes == 0)), (ALL, np.arange(len(codes)))):
            group_listeners = self._listeners[tells]
            if not any(group_listeners):
                continue
            starts = np.flatnonzero(np.diff(indexes[places], prepend=-1))
            stops = np.append(starts[1:], len(places))[: len(starts)]
            count_numbers = np.repeat(np.arange(len(starts)), stops - starts) * len(ROW_CHANGES) + codes[places]
            counts = np.bincount(count_numbers, minlength=len(starts) * len(ROW_CHANGES)).reshape(-1, len(ROW_CHANGES))
            columns = (part.tolist() for part in (indexes[places[starts]], starts, stops, counts))
            for index, start, stop, count in zip(*columns, strict=True):
                if listeners := group_listeners[index]:
                    named_counts = {name: number for name, number in zip(ROW_CHANGES, count, strict=True) if number}
                    listings.append((listeners, named_counts, places[start : min(stop, start + MAX_LISTED_ROWS)]))
        if not listings:
            return
        all_places = np.concatenate([places for _, _, places in listings])
        # texts, because the garbage collector would visit lists again and again; a row of many watches has one
        row_changes = row_numbers[all_places] * len(ROW_CHANGES) + codes[all_places]
        distinct_changes = sort_distinct(row_changes)
        texts = self._write_rows(*np.divmod(distinct_changes, len(ROW_CHANGES)), found.positions)
        text_indexes = np.searchsorted(distinct_changes, row_changes).tolist()
        stop = 0
        for listeners, counts_by_change, places in listings:
            start, stop = stop, stop + len(places)
            for watch in listeners:
                limit = max(MIN_LISTED_ROWS, min(MAX_LISTED_ROWS, self._listable_rows // 100))
                listed_indexes = text_indexes[start : min(stop, start + limit)]
                self._listable_rows -= len(listed_indexes)
                rows_json = f"[{','.join([texts[index] for index in listed_indexes])}]"
                yield build_match(watch, self._changes.since, self._changes.version, rows_json, counts_by_change)

    def _write_rows(self, row_numbers: np.ndarray, codes: np.ndarray, positions: np.ndarray) -> list[str]:
        """Write rows as JSON: their keys, what happened to them, and their positions."""
        keys = format_keys(self._changes.keys.take(pa.array(row_numbers)), self._changes.table.primary)
        own_positions = np.round(positions[row_numbers], 7).astype(object)
        own_positions[~np.isfinite(positions[row_numbers]).all(axis=1)] = None
        longitudes, latitudes = own_positions.T.tolist()
        return [
            orjson.dumps((key, ROW_CHANGES[code], longitude, latitude)).decode()
            for key, code, longitude, latitude in zip(keys, codes.tolist(), longitudes, latitudes, strict=True)
        ]


def build_match(watch: Watch, since: str, version: str, rows_json: str, counts: Mapping[str, int]) -> WatchMatch:
    """Build what a watch has found between two states.

    Parameters
    ----------
    watch
        The watch.
    since, version
        Ids of the two states.
    rows_json, counts
        As in `WatchMatch`.
    """
    is_delivered = watch.channel != NO_CHANNEL and not watch.problem
    return WatchMatch(
        id=compute_match_id(watch.name, since, version),
        watch=watch.name,
        since=since,
        version=version,
        rows_json=rows_json,
        counts=counts,
        state=WAITING if is_delivered else KEPT,
    )
