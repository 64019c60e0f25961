"""Columns that say the same in every row: known since the rows were published, so that a page says each once and shows the telling ones as columns."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hven.portal._explore.fields import paired

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from hven.model.table import Column, Table
    from hven.portal._explore.page_queries import Asking
    from hven.portal._explore.search import Search


def constant(search: Search, asking: Asking) -> frozenset[str]:
    """Return the names of the shown columns that have one value, or none, in all rows of the table.

    They are found in the statistics of the published rows: nothing is asked. It is the table that decides, not the rows that a search
    finds, so that columns stay where they are while a reader narrows down. Columns that the reader chose, and those of the key, are
    never among them; nor is anything while a policy hides rows, for what was counted over all of them may tell of hidden ones.
    """
    item = asking.published(search.table)
    if search.columns or (item.rows or 0) < 2 or asking.hides(search.table):
        return frozenset()
    named = {name for name, _ in (*search.order, *search.units)}  # somebody looks at these
    shown = search.shown()
    found = [
        one
        for one in shown
        if one.name not in search.table.primary and one.name not in named and _alike(one, item.statistics, item.rows)
    ]
    names = {one.name for one in found}
    for _, *ends in paired(shown):  # a pair is one column to readers
        if len(names & {one.name for one in ends}) == 1:
            names -= {one.name for one in ends}
    return frozenset(names) if len(names) < len(shown) else frozenset()


def untelling(table: Table, asking: Asking) -> frozenset[str]:
    """Return the names of all columns of a table that have one value, or none: nothing is found by them. None while a policy hides rows."""
    item = asking.published(table)
    if (item.rows or 0) < 2 or asking.hides(table):
        return frozenset()
    return frozenset(one.name for one in table.columns if _alike(one, item.statistics, item.rows))


def without(names: Iterable[str], table: Table, asking: Asking) -> bool:
    """Return whether no row of a table has a value in any of these columns; False where a policy hides rows, or nothing was counted."""
    item = asking.published(table)
    return (
        bool(item.rows)
        and not asking.hides(table)
        and all(item.statistics.get(name, {}).get("nulls") == item.rows for name in names)
    )


def _alike(column: Column, statistics: Mapping[str, Mapping[str, object]], rows: int | None) -> bool:
    known = statistics.get(column.name, {})
    nulls = known.get("nulls")
    if nulls == rows:
        return True
    low, high = known.get("minimum"), known.get("maximum")
    # extremes leave NaN out, the number of different values does not
    return nulls == 0 and low is not None and low == high and (column.type.is_boolean or known.get("distinct") == 1)
