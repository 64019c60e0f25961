"""Leave out of matches what a user may not see now: rights count at the time of delivery."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from hven.plugins.changes.row_definitions import build_key_rows
from hven.plugins.changes.row_matching import ChangedRowMatcher, find_visible_position
from hven.plugins.changes.table_changes import NUMBER_COLUMN, TableChanges
from hven.site.auth import collect_column_masks, collect_row_filters, is_table_visible

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hven.model.table import Table
    from hven.plugins.watches.watch_store import WatchMatch
    from hven.site import PublishedState, Site
    from hven.site.auth import Principal


def select_visible_rows(
    site: Site, principal: Principal, table_name: str, matches: Sequence[WatchMatch]
) -> list[WatchMatch]:
    """Leave out of matches what a user may not see now.

    Parameters
    ----------
    site
        The site.
    principal
        The user, with present rights.
    table_name
        The table that the matches are about.
    matches
        What watches of the user found in it, earlier.

    Returns
    -------
    matches
        Without rows that the user does not see now, and without matches that have no others. If the user sees only some
        of the table's rows, rows that no longer exist and numbers of rows that are not listed are left out, too.
        Positions are left out if the user does not see them now.
    """
    state = site.get_published_state()
    published_table = state.tables_by_name.get(table_name)
    if published_table is None or not is_table_visible(published_table.table, principal):
        return []
    table = published_table.table
    has_hidden_rows = bool(collect_row_filters([table], principal))
    if not has_hidden_rows and not collect_column_masks([table], principal):
        if find_visible_position(table) is not None:
            return list(matches)
        return [match.with_rows([_remove_position(row) for row in match.rows], match.counts) for match in matches]
    keys = sorted({str(row[0]) for match in matches for row in match.rows})
    visible_keys, keys_with_position = _find_visible_keys(site, principal, state, table, keys)
    visible_matches = []
    for match in matches:
        rows = [row for row in match.rows if row[0] in visible_keys or not has_hidden_rows]
        counts = match.counts
        if has_hidden_rows:
            counts = dict(Counter(str(row[1]) for row in rows))
        if rows or not match.counts:
            rows = [row if row[0] in keys_with_position else _remove_position(row) for row in rows]
            visible_matches.append(match.with_rows(rows, counts))
    return visible_matches


def _remove_position(row: Sequence[Any]) -> Sequence[Any]:
    return [*row[:2], None, None]


def _find_visible_keys(
    site: Site, principal: Principal, state: PublishedState, table: Table, keys: Sequence[str]
) -> tuple[set[str], set[str]]:
    """Return the keys of the rows that the user sees, and of those whose position the user sees."""
    try:
        key_rows = build_key_rows(keys, table)
    except (ValueError, pa.ArrowInvalid, pa.ArrowTypeError):  # the key has changed
        return set(), set()
    numbers = pa.array(np.arange(len(keys), dtype=np.int64))
    changes = TableChanges(
        table=table,
        since="",
        version="",
        keys=key_rows.append_column(NUMBER_COLUMN, numbers),
        existed_before=np.zeros(len(keys), bool),
        exists_after=np.ones(len(keys), bool),
        state_before=None,
        state_after=state,
    )
    visible_rows = ChangedRowMatcher(site, changes, principal, []).fetch_visible_rows()
    is_known = np.isfinite(visible_rows.positions).all(axis=1)
    numbers, known_numbers = visible_rows.numbers.tolist(), np.flatnonzero(is_known).tolist()
    return {keys[number] for number in numbers}, {keys[number] for number in known_numbers}
