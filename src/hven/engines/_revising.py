"""Statistics of a snapshot that was made of another one: those of the old one, and what changed."""

from __future__ import annotations

import datetime as dt
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import pyarrow as pa
import pyarrow.compute as pc

from hven.engines._statistics import FEW as KEPT
from hven.engines._statistics import Statistics, ordered, plain

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from hven.model.table import Column, Table

    Facts = Mapping[str, object]

FEW = 0.1  # distinct values of the rows: below, new rows mostly bring values that there are


class Look(Protocol):
    """How to look at a column of the new snapshot, if it must be."""

    def __call__(self, name: str) -> Iterator[pa.Array | pa.ChunkedArray]:
        """Yield the column piece by piece."""


def revised(
    table: Table,
    old: Mapping[str, Facts],
    gone: Mapping[str, Facts],
    come: Mapping[str, Facts],
    rows: tuple[int, int, int],
    look: Look,
) -> dict[str, dict[str, object]]:
    """Return the statistics after rows went and came: what a look at all rows would find, but for the numbers of distinct values.

    Parameters
    ----------
    old, gone, come
        Statistics of the snapshot that was changed, of the rows that went, of those that came.
    rows
        How many rows each of them is about.
    look
        A column is looked at only if its extreme may have gone, and then until one is found that is as extreme.
    """
    return {
        name: _revise(column, old[name], gone[name], come[name], rows, partial(look, name))
        for name, column in ((column.name, column) for column in table.columns)
    }


def found_in(table: Table, rows: pa.Table) -> dict[str, dict[str, object]]:
    """Return the statistics of some rows."""
    gathered = Statistics(table)
    gathered.add(rows)
    return gathered.result()


def _revise(
    column: Column, old: Facts, less: Facts, more: Facts, rows: tuple[int, int, int], look: Any
) -> dict[str, object]:
    nulls, some, others = (_count(facts, "nulls") for facts in (old, less, more))
    given = [total - missing for total, missing in zip(rows, (nulls, some, others), strict=True)]
    after = given[0] - given[1] + given[2]
    found: dict[str, object] = {"nulls": nulls - some + others}
    if not after:
        return found
    if "minimum" in old or "minimum" in more:
        for name, better in (("minimum", min), ("maximum", max)):
            found[name] = _extreme(column, name, better, old, less, more, look)
    if "distinct" in old or "distinct" in more:
        found["distinct"] = _distinct(_count(old, "distinct"), _count(more, "distinct"), given[0], after)
    if top := _top((old, less, more), given):
        found["top"] = top
    if "max_length" in old or "max_length" in more:
        foreign = bool(
            more.get("non_ascii") or (old.get("non_ascii") and (not less.get("non_ascii") or _any(look, _foreign)))
        )
        found["non_ascii"] = foreign
        longest, gone, come = (_count(facts, "max_length") for facts in (old, less, more))
        if gone == longest > come and not _any(look, lambda piece: pc.equal(pc.utf8_length(piece), longest)):
            longest = max(int(pc.max(pc.utf8_length(piece)).as_py() or 0) for piece in look())
        found["max_length"] = max(longest, come)
    if "longest" in old or "longest" in more:  # it may be more than there is: it is what a width is chosen by
        found["longest"] = max(_count(old, "longest"), _count(more, "longest"))
    return found


def _extreme(column: Column, name: str, better: Any, old: Facts, less: Facts, more: Facts, look: Any) -> object:
    """Return the smallest or greatest value."""
    was, went, came = (_value(column, facts.get(name)) for facts in (old, less, more))
    known = [(value, facts[name]) for value, facts in ((was, old), (came, more)) if value is not None]
    best = better(known, key=lambda pair: pair[0]) if known else (None, None)
    if best[0] is None or went is None or went != best[0] or (came is not None and came == best[0]):
        return best[1]
    scalar = pa.scalar(went, column.type.arrow)
    if _any(look, lambda piece: pc.equal(piece, scalar)):
        return best[1]
    values = [
        value for piece in look() if (value := (pc.min if name == "minimum" else pc.max)(piece).as_py()) is not None
    ]
    return plain(better(values)) if values else None


def _any(look: Any, test: Any) -> bool:
    return any(pc.any(test(piece)).as_py() for piece in look())


def _foreign(piece: Any) -> Any:
    return pc.invert(pc.string_is_ascii(piece))


def _distinct(old: int, new: int, before: int, after: int) -> int:
    """Guess: a column of few values keeps them, one of many has as many among the new rows as it had."""
    if before and old > FEW * before:
        old = round(old * after / before)
    return min(max(old, new), after)


def _top(facts: tuple[Facts, ...], given: list[int]) -> list[list[object]]:
    """Add up which values how many rows have; none if one of the three does not know."""
    counts: dict[Any, int] = {}
    for one, rows, sign in zip(facts, given, (1, -1, 1), strict=True):
        listed: Any = one.get("top")
        if listed is None and rows:
            return []
        for value, count in listed or ():
            counts[value] = counts.get(value, 0) + sign * count
    top = ordered(counts)
    return top if len(top) <= KEPT else []


def _count(facts: Facts, name: str) -> int:
    found = facts.get(name, 0)
    return int(found) if isinstance(found, int | float) else 0


def _value(column: Column, stored: object) -> Any:
    """Return a value as it was before it was made fit for JSON."""
    if isinstance(stored, str) and column.type.is_timestamp:
        return dt.datetime.fromisoformat(stored)
    if isinstance(stored, str) and not column.type.is_string:
        return float(stored)
    return stored
