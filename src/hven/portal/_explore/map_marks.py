"""What maps say of rows besides where they are: their names, the colours of a column's values, features of the body around them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from hven.adql import tree
from hven.model.errors import HvenError
from hven.portal._explore import facets, names
from hven.portal._explore.search import ref

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hven.model.table import Column, Table
    from hven.portal._explore.page_queries import Asking

COLOURS = 12  # values that have a colour of their own; the others share one
OFFERED = 40  # columns that can be coloured by
FEATURES = 400  # of a body, the largest ones
LONGEST = 80  # characters of a name
NAMING = ("title", "name", "feature_name", "main_id", "object_name", "object", "obs_title", "target_name")
PATIENCE = 3.0  # seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Colouring:
    """How rows are coloured by a column.

    Attributes
    ----------
    values
        Of each row: the place of its value in `choices`, or for numbers the value itself; None where there is none.
    choices
        Value, its words, and how many rows have it, the most frequent first; of numbers none. The last one may stand for all others (value None).
    """

    column: str
    label: str
    unit: str
    values: tuple[float | int | None, ...]
    choices: tuple[tuple[str | None, str, int], ...] = ()
    low: float | None = None
    high: float | None = None


def naming(table: Table) -> Column | None:
    """Return the column that rows are called by; None: they have keys alone."""
    texts = [one for one in table.columns if one.type.is_string and not one.hidden and not one.type.is_array]
    titles = [one for one in texts if (one.ucd or "").lower().startswith("meta.title")]
    main = [one for one in texts if (one.ucd or "").lower() == "meta.id;meta.main"]
    named = [one for name in NAMING for one in texts if one.name.lower() == name]
    return next(iter((*titles, *named, *main)), None)


def named(rows: pa.Table, column: Column | None) -> tuple[str, ...]:
    """Return the names of rows, where they tell one from another; else none."""
    if column is None or column.name not in rows.column_names or not rows.num_rows:
        return ()
    texts = pc.utf8_slice_codeunits(rows.column(column.name).cast(pa.string()), 0, LONGEST)
    if rows.num_rows > 1 and pc.count_distinct(texts).as_py() < 2:
        return ()
    return tuple(pc.fill_null(texts, "").to_pylist())


def offered(table: Table, asking: Asking) -> list[Column]:
    """Return the columns that rows can be coloured by: choices, then numbers that are shown first."""
    choices = facets.offered(table, asking)
    known = {one.name for one in choices} | set(table.primary) | set(table.position or ())
    numbers = [
        one
        for one in sorted(table.columns, key=lambda one: one.rank)
        if one.principal and one.type.is_numeric and not one.hidden and not one.type.is_array and one.name not in known
    ]
    return [*choices, *numbers][:OFFERED]


def coloured(rows: pa.Table, column: Column, table: Table) -> Colouring:
    """Return the colours of rows: of numbers along a scale, of anything else one for each of the most frequent values."""
    values = rows.column(column.name).combine_chunks()
    if column.type.is_numeric and not column.enum and pc.count_distinct(values).as_py() > COLOURS:
        numbers = values.cast(pa.float64())
        finite = pc.if_else(pc.is_finite(numbers), numbers, None)
        ends = pc.min_max(finite).as_py()
        return _colouring(column, values=tuple(finite.to_pylist()), low=ends["min"], high=ends["max"])
    texts = values.cast(pa.string())
    counts = pc.value_counts(texts.drop_null()).to_pylist()
    counts.sort(key=lambda one: (-one["counts"], one["values"]))
    own = counts if len(counts) <= COLOURS else counts[: COLOURS - 1]
    if column.type.is_numeric and len(own) == len(counts):
        own = sorted(own, key=lambda one: float(one["values"]))
    words = table.enums.get(column.enum or "", {})
    choices = [(one["values"], words.get(one["values"], one["values"]), one["counts"]) for one in own]
    rest = sum(one["counts"] for one in counts[len(own) :])
    if rest:
        choices.append((None, "", rest))
    place = pc.index_in(texts, value_set=pa.array([one["values"] for one in own], pa.string()))
    if rest:
        place = pc.if_else(pc.and_(pc.is_null(place), pc.is_valid(texts)), len(own), place)
    return _colouring(column, values=tuple(place.to_pylist()), choices=tuple(choices))


def _colouring(column: Column, **more: Any) -> Colouring:
    return Colouring(column=column.name, label=column.label or column.name, unit=column.unit or "", **more)


def features(body: str, asking: Asking, tables: Sequence[Table]) -> list[dict[str, Any]]:
    """Return the largest named features of a body, by the site's gazetteers: name, longitude, latitude, size in km."""
    found: list[dict[str, Any]] = []
    for one in names.gazetteers(tables, asking) if body else ():
        if one.size is None:
            continue
        columns = (one.name, one.lon, one.lat, one.size)
        on = tree.Compare("=", tree.Function("LOWER", (ref(one.body),)), tree.Literal(body.lower()))
        source = tree.TableRef((tree.Ident(one.table.schema, quoted=True), tree.Ident(one.table.name, quoted=True)))
        sized = tree.conjunction(on, tree.IsNull(ref(one.size), negated=True))
        items = tuple(tree.SelectItem(ref(name)) for name in columns)
        select = tree.Select(items, source, where=sized, top=tree.Literal(FEATURES))
        asked = tree.Query(select, order_by=(tree.OrderItem(ref(one.size), descending=True),))
        try:
            rows = asking.table(asked, seconds=PATIENCE)
        except HvenError:
            continue  # a map without names
        for name, lon, lat, size in zip(*(rows.column(at).to_pylist() for at in range(4)), strict=True):
            if None not in (name, lon, lat):
                found.append({"name": name, "lon": lon % 360, "lat": lat, "size": size})
    return found
