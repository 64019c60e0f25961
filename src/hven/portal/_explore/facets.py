"""Choices with their counts: the values of a column among the rows that all other conditions leave, and how many rows each has."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from hven.adql import tree
from hven.model.errors import Timeout
from hven.portal._condition_words import field, write_value
from hven.portal._explore.search import COUNTED, ref
from hven.portal.conditions import LISTS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from hven.model.table import Column, Table
    from hven.portal._explore.page_queries import Answer as Sampled
    from hven.portal._explore.page_queries import Asking
    from hven.portal._explore.search import Search
    from hven.site import Published

FEW = 300  # different values that a column of choices has at most
SHOWN = 12
FIELD = 20  # choices of a column that stand in its field of the form, all of them
ALONE = 1.2  # rows that each value has on average, below which it is a name rather than a choice
OF_FILES = ("phys.size;meta.file", "meta.ref.url", "meta.code.mime", "meta.checksum")  # nobody looks for files by these
LONGEST = 200  # characters of a value: longer ones are read, not chosen from
ITEMS = 2_000  # different lists a#b#c that are taken apart
FETCHED = 100_000  # rows that are looked at once for all columns, where they have too many combinations
COMBINATIONS = 100_000  # of values of several columns that are counted at once
PATIENCE = 2.0  # seconds
EXACT = 4_000_000  # rows up to which choices are counted exactly
SAMPLE = 500_000  # rows of bigger tables that are counted under a condition, from all over them
THIN = 2_000  # rows of a value in a sample, below which it is counted by itself
WHOLE = 10.0  # seconds that counting all rows of a big table may take, once for each state of it


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """One value and how many rows have it, None where nobody has counted them; `label` in words; None as value: rows without one."""

    value: str | None
    label: str
    rows: int | None
    chosen: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Facet:
    """The choices of one column, the most frequent first; `more`: there are others; `exact` is False for estimates.

    `counted` is False where nobody could count them in time: they are worth asking for again.
    """

    column: Column
    choices: tuple[Choice, ...]
    more: bool = False
    exact: bool = True
    counted: bool = True


def offered(table: Table, asking: Asking) -> tuple[Column, ...]:
    """Return the columns worth choosing from: few different values, of text, whole numbers, yes and no; no sizes, addresses and media types of files."""
    item = asking.published(table)
    known = item.statistics
    found = []
    for column in table.columns:
        if column.hidden or not column.type.is_choice or (column.ucd or "").lower().startswith(OF_FILES):
            continue
        facts = known.get(column.name, {})
        distinct, nulls = facts.get("distinct"), facts.get("nulls")
        if column.enum:
            found.append(column)
        elif isinstance(distinct, int | float) and 1 < distinct <= FEW and column.name not in table.primary:
            filled = None if item.rows is None or not isinstance(nulls, int) else item.rows - nulls
            if filled is None or not _names(distinct, filled):
                found.append(column)
    return tuple(sorted(found, key=lambda column: column.rank))


def in_field(column: Column, asking: Asking, table: Table) -> bool:
    """Return whether all choices of a column stand in its field of the form: it has few values in the whole table."""
    distinct = asking.published(table).statistics.get(column.name, {}).get("distinct")
    return not _listed(column) and isinstance(distinct, int | float) and distinct <= FIELD


def by_value(found: Facet) -> tuple[Choice, ...]:
    """Sort choices by their values, numbers as numbers; rows without one come last."""
    number = found.column.type.is_numeric

    def key(one: Choice) -> tuple[bool, float, str]:
        return one.value is None, float(one.value) if number and one.value else 0.0, one.value or ""

    return tuple(sorted(found.choices, key=key))


def _names(distinct: float, filled: int) -> bool:
    """Return whether nearly each row has a value of its own, as names have: one looks for such a value, in a field that completes it."""
    return distinct > SHOWN and filled < ALONE * distinct


def facets(search: Search, columns: Sequence[Column], asking: Asking, *, shown: int = SHOWN) -> list[Facet]:
    """Count the choices of several columns, as many as possible by one look at the rows; those that could not be counted in time say so."""
    own = {name for name, _ in search.conditions}
    alike = [column for column in columns if column.name not in own]  # all of these are counted over the same rows
    until = time.monotonic() + (WHOLE if search.where() is None else PATIENCE)
    together = _together(search, alike, asking, until)
    found = []
    for column in columns:
        counted = together.get(column.name)
        if counted is None and time.monotonic() < until:
            counted = _counted(search, column, asking, shown, "", until)
        found.append(_facet(search, column, shown, counted))
    return [one for one in found if one is not None]


def facet(search: Search, column: Column, asking: Asking, *, shown: int = SHOWN, like: str = "") -> Facet | None:
    """Count the choices of a column; None: its values are too long to choose from.

    Lists ``a#b`` (EPN-TAP) are taken apart: a row counts for each of its items. `like` leaves the values that contain it, in any case.

    The column's own condition is left out, so that one sees what else could be chosen. Where conditions leave more than `EXACT` rows
    of a table they are counted by a sample, but for values that it has few rows of, or missed: those are counted by themselves.
    """
    counted = _counted(search, column, asking, shown, like, time.monotonic() + PATIENCE)
    return _facet(search, column, shown, counted)


def known_facet(search: Search, column: Column, asking: Asking) -> Facet | None:
    """Return the choices of a column that the statistics of its published rows name, without counts; None: they name none.

    A reader from whom rows are hidden is told none: the statistics are of all rows.
    """
    if _listed(column):
        return None
    facts = asking.published(search.table).statistics.get(column.name, {})
    values = _known_values(column, facts)
    distinct, nulls = facts.get("distinct"), facts.get("nulls")
    more = isinstance(distinct, int) and len(values) < distinct
    if not values or len(values) > FIELD:
        return None
    shaped = _shaped(column, [(value, 0) for value in [*values, *([None] if nulls else [])]], "", full=more)
    found = _facet(search, column, len(shaped.values), replace(shaped, more=more))
    return found and replace(found, choices=tuple(replace(one, rows=None) for one in found.choices))


def _known_values(column: Column, facts: Mapping[str, object]) -> list[object]:
    """Return the values that statistics name: the frequent ones, of yes and no the extremes."""
    if column.type.is_boolean:
        return [one for one in dict.fromkeys((facts.get("minimum"), facts.get("maximum"))) if one is not None]
    frequent = facts.get("top")
    return [value for value, _ in frequent] if isinstance(frequent, list) else []


def _facet(search: Search, column: Column, shown: int, counted: _Counted | None) -> Facet | None:
    if counted is None:
        return Facet(column=column, choices=(), counted=False)
    chosen = {
        one for name, values in search.conditions if name == column.name for value in values for one in _parted(value)
    }
    words = search.table.enums.get(column.enum or "", {})
    if any(len(value or "") > LONGEST for value, _ in counted.values):
        return None
    choices = []
    for value, count in counted.values[:shown]:
        label = "" if value is None else words.get(value, value)
        mark = "null" if value is None else value.casefold()
        choices.append(Choice(value=value, label=label, rows=count, chosen=mark in chosen))
    return Facet(
        column=column, choices=tuple(choices), more=len(counted.values) > shown or counted.more, exact=counted.exact
    )


@dataclass(frozen=True, slots=True)
class _Counted:
    """Values with their rows, the most frequent first; `more`: there are others."""

    values: tuple[tuple[str | None, int], ...]
    exact: bool
    more: bool = False


def _together(search: Search, columns: Sequence[Column], asking: Asking, until: float) -> dict[str, _Counted]:
    """Count several columns by GROUP BY of as many at once as have few combinations of values."""
    found: dict[str, _Counted] = {}
    where = search.where()
    if where is None and _many(search, None, asking, EXACT):
        return found  # each by itself, once for each state of the table
    few = _few(search, columns, asking) if len(_bundles(columns, asking.published(search.table))) > 1 else {}
    for column in columns:
        if column.name in few:
            found[column.name] = _shaped(column, few[column.name], "", full=False)
    for bundle in _bundles([column for column in columns if column.name not in few], asking.published(search.table)):
        names = tuple(ref(column.name) for column in bundle)
        asked = tree.Query(
            tree.Select(
                (*(tree.SelectItem(name) for name in names), COUNTED), search.source(), where=where, group_by=names
            )
        )
        if len(bundle) == 1 or (read := _asked(search, asked, where, asking, until)) is None:
            continue
        rows, share = read
        for at, column in enumerate(bundle):
            # by place: a column may be called n, too
            sums = (
                pa.table([rows.column(at), rows.column(len(bundle))], names=["v", "n"])
                .group_by("v")
                .aggregate([("n", "sum")])
            )
            pairs = zip(sums.column("v").to_pylist(), sums.column("n_sum").to_pylist(), strict=True)
            found[column.name] = _mended(
                search, column, _shaped(column, _ordered(pairs), "", full=False), share, where, asking
            )
    return found


def _bundles(columns: Sequence[Column], published: Published) -> list[list[Column]]:
    """Bundle columns that have few combinations of values, by what is known of each."""
    found: list[tuple[int, list[Column]]] = []

    def values(column: Column) -> int:
        distinct = published.statistics.get(column.name, {}).get("distinct")
        # null is one
        return (int(distinct) if isinstance(distinct, int | float) else 2 if column.type.is_boolean else FEW) + 1

    for column in sorted(columns, key=values):
        number = values(column)
        for place, (combinations, bundle) in enumerate(found):
            if combinations * number <= COMBINATIONS:
                found[place] = (combinations * number, [*bundle, column])
                break
        else:
            found.append((number, [column]))
    return [bundle for _, bundle in found]


def _ordered(pairs: Iterable[tuple[Any, int]]) -> list[tuple[Any, int]]:
    return sorted(pairs, key=lambda one: (-one[1], one[0] is None, one[0]))


def _asked(search: Search, asked: tree.Query, where: tree.Expr | None, asking: Asking, until: float) -> Sampled | None:
    """Ask for counts under a condition: of all rows, or of a sample of a big table; None: not even that in time."""

    def left() -> float:
        return max(until - time.monotonic(), 0.05)

    try:
        if _many(search, where, asking, EXACT):
            return asking.sampled(asked, rows=SAMPLE, seconds=left())
        return asking.table(asked, seconds=left()), 1.0
    except Timeout:
        pass
    try:
        found = asking.sampled(asked, rows=SAMPLE, seconds=PATIENCE)
    except Timeout:
        return None
    # all rows of a small table after all, or enough of them
    return found if found[1] == 1.0 or found[0].num_rows else None


def _many(search: Search, where: tree.Expr | None, asking: Asking, number: int) -> bool:
    """Return whether a condition leaves more rows of a big table than a number, by a sample."""
    if (asking.published(search.table).rows or 0) <= EXACT:
        return False
    rows, share = asking.sampled(search.counting(where), rows=SAMPLE, seconds=PATIENCE)
    return share < 1 and (where is None or int(rows.column(0)[0].as_py()) / share > number)


def _estimated(counted: _Counted, share: float) -> _Counted:
    """Return what a sample says of all rows, with as many digits as it can know: one of fewer than 100 rows, two of fewer than 10,000."""
    if share == 1.0:
        return counted
    values = []
    for value, rows in counted.values:
        digits = 1 if rows < 100 else 2 if rows < 10_000 else 3
        values.append((value, int(float(f"{rows / share:.{digits - 1}e}"))))
    return replace(counted, values=tuple(values), exact=False)


def _counted(search: Search, column: Column, asking: Asking, shown: int, like: str, until: float) -> _Counted | None:
    where = search.where(without=column.name)
    if where is None and not like and _many(search, None, asking, EXACT):
        whole = _whole(search, column, asking, max(until - time.monotonic(), 0.05))
        if whole is not None:
            return _shaped(column, whole, "", full=_listed(column) and len(whole) == ITEMS)
    if like:
        pattern = tree.Literal("%" + like.replace("%", "")[:100] + "%")
        test = tree.Like(ref(column.name), pattern, ignore_case=True)
        where = tree.conjunction(where, test)
    most = ITEMS if _listed(column) else max(shown, FEW) + 1
    read = _asked(search, _counting(search, column, where, most), where, asking, time.monotonic() + PATIENCE)
    if read is None:
        return None
    found, share = read
    pairs = list(zip(found.column(0).to_pylist(), found.column(1).to_pylist(), strict=True))
    return _mended(
        search, column, _shaped(column, pairs, like, full=_listed(column) and len(found) == ITEMS), share, where, asking
    )


def _listed(column: Column) -> bool:
    return column.name.lower() in LISTS and column.type.is_string


def _whole(search: Search, column: Column, asking: Asking, seconds: float) -> list[tuple[Any, int]] | None:
    """Count the values of a column among all rows, once for each state of the table; None: it takes too long."""
    found = asking.settled(_counting(search, column, None, ITEMS), search.table, seconds=seconds)
    return None if found is None else list(zip(found.column(0).to_pylist(), found.column(1).to_pylist(), strict=True))


def _mended(
    search: Search, column: Column, counted: _Counted, share: float, where: tree.Expr | None, asking: Asking
) -> _Counted:
    """Return what a sample says of all rows; values of which it has few rows, or none, are counted by themselves, the rarest first."""
    whole = None if share == 1.0 or _listed(column) else _whole(search, column, asking, PATIENCE)
    estimated = _estimated(counted, share)
    if whole is None:
        return estimated
    seen = dict(counted.values)
    names = {value: _shaped(column, [(value, 0)], "", full=False).values[0][0] for value, _ in whole}
    thin, rows = [], 0
    for value, number in reversed(whole):
        if seen.get(names[value], 0) < THIN and (rows := rows + number) <= EXACT:
            thin.append(value)
    listed = tuple(tree.Literal(value) for value in thin if value is not None)
    tests: list[tree.Expr] = [tree.In(ref(column.name), listed)] if listed else []
    tests += [tree.IsNull(ref(column.name))] if None in thin else []
    if not tests:
        return estimated
    test = tree.conjunction(where, tests[0] if len(tests) == 1 else tree.Or(tuple(tests)))
    try:
        found = asking.table(_counting(search, column, test, ITEMS), seconds=PATIENCE)
    except Timeout:
        return estimated
    apart = {names[value] for value in thin}
    exact = zip(found.column(0).to_pylist(), found.column(1).to_pylist(), strict=True)
    values = [one for one in estimated.values if one[0] not in apart] + [
        (names.get(value, value), number) for value, number in exact
    ]
    return replace(estimated, values=tuple(_ordered(values)))


def _shaped(column: Column, pairs: Sequence[tuple[object, int]], like: str, *, full: bool) -> _Counted:
    """Write values as an address has them; `full`: there are more lists than were counted."""
    texts = [
        (None if value is None else str(value).lower() if column.type.is_boolean else str(value), count)
        for value, count in pairs
    ]
    if _listed(column):
        return _Counted(tuple(_items(texts, like)), exact=not full, more=full)
    return _Counted(tuple(texts), exact=True)


def _few(search: Search, columns: Sequence[Column], asking: Asking) -> dict[str, list[tuple[Any, int]]]:
    """Count the values of all columns by one look at the rows, where they are few; nothing if they are many, or nothing narrows them."""
    where = search.where()
    if where is None or len(columns) < 2:
        return {}
    items = tuple(tree.SelectItem(ref(column.name)) for column in columns)
    try:
        if _many(search, where, asking, 2 * FETCHED) or asking.number(search.count(), seconds=PATIENCE) > FETCHED:
            return {}
        rows = asking.table(
            tree.Query(tree.Select(items, search.source(), where=where, top=tree.Literal(FETCHED + 1))),
            seconds=PATIENCE,
        )
    except Timeout:
        return {}
    found: dict[str, list[tuple[Any, int]]] = {}
    for at, column in enumerate(columns):
        counts = pc.value_counts(rows.column(at).combine_chunks())
        found[column.name] = _ordered(
            zip(counts.field("values").to_pylist(), counts.field("counts").to_pylist(), strict=True)
        )
    return found


def _items(pairs: Sequence[tuple[str | None, int]], like: str) -> list[tuple[str | None, int]]:
    """Split lists into items; an item that stands twice in a row counts once."""
    found: dict[str | None, int] = {}
    for value, count in pairs:
        for item in {None} if value is None else {one.strip() for one in value.split("#")} - {""}:
            if item is None or like.casefold() in item.casefold():
                found[item] = found.get(item, 0) + count
    return sorted(found.items(), key=lambda one: (-one[1], one[0] or ""))


def written(values: Sequence[str | None]) -> str:
    """Write chosen values as the condition of an address; those with commas stand in quotes."""
    return ",".join(map(write_value, values))


def _parted(value: str) -> list[str]:
    try:
        return [word.text.casefold() for word in field(value)]
    except ValueError:
        return []


def _counting(search: Search, column: Column, where: tree.Expr | None, most: int) -> tree.Query:
    one = ref(column.name)
    select = tree.Select(
        (tree.SelectItem(one, tree.Ident("v")), COUNTED),
        search.source(),
        where=where,
        group_by=(one,),
        top=tree.Literal(most),
    )
    return tree.Query(
        select, order_by=(tree.OrderItem(tree.Literal(2), descending=True), tree.OrderItem(tree.Literal(1)))
    )
