"""Names of places and objects as readers write them: completed while they are written, and turned into positions.

On a body they are looked up in the site's own tables of named features (a name, a body, and a longitude and latitude with the UCDs
``pos.bodyrc.lon`` and ``.lat``: the gazetteer of planetary nomenclature is one); on the sky in the table that is asked, then by the resolver.
Every look-up goes the road of all queries, for the reader who asks.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa

from hven.adql import tree
from hven.model.errors import HvenError, UserError, say
from hven.model.sky import bodies
from hven.portal._explore.map_frames import kind
from hven.portal._explore.search import NEAR, Search, ref, sphere
from hven.query import resolver
from hven.query.resolver import bright

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from hven.model.table import Column, Table
    from hven.portal._explore.page_queries import Asking

MOST = 20  # names that a field offers
LONGEST = 100  # characters of a name
PATIENCE = 3.0  # seconds
BODIES = ("body", "target_name", "target", "planet")
_ON = re.compile(r"(.+?)\s*\(([^()]+)\)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """A name that is known here: what a field takes, what is told beside it; `radius` in degrees, 0 if nobody knows how large it is."""

    name: str
    note: str = ""
    lon: float | None = None
    lat: float | None = None
    radius: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Gazetteer:
    """A table of named features: which of its columns say what; `size` in km."""

    table: Table
    name: str
    body: str
    lon: str
    lat: str
    size: str | None = None


def on_body(table: Table) -> bool:
    """Return whether places of this table are on a body, and not on the sky."""
    return kind(table) == "body" or (table.position is None and sphere(table) is not None)


def gazetteers(tables: Iterable[Table], asking: Asking) -> list[Gazetteer]:
    """Find the tables of named features among those that the reader may know of."""
    return [
        found
        for table in tables
        if table.qualified in asking.holdings.published
        and table.release is None
        and (found := gazetteer(table)) is not None
    ]


def gazetteer(table: Table) -> Gazetteer | None:
    """Return which columns of a table of named features are which; None: it is none."""
    place = None if table.position is not None else sphere(table)
    if place is None:
        return None
    texts = [column for column in table.columns if column.type.is_string and not column.hidden]
    name = next((one for one in texts if _ucd(one).startswith("meta.id;meta.main")), None)
    body = next((one for named in BODIES for one in texts if one.name.lower() == named), None)
    if name is None or body is None or name is body:
        return None
    sizes = [
        one
        for one in table.columns
        if one.unit == "km" and _ucd(one).startswith("phys.size") and one.type.is_numeric and not one.hidden
    ]
    return Gazetteer(
        table=table, name=name.name, body=body.name, lon=place[0], lat=place[1], size=sizes[0].name if sizes else None
    )


def body_of(table: Table, pairs: Iterable[tuple[str, str]], asking: Asking) -> str:
    """Return on which body the places of a search are: what it asks for, or the only one that the table has; empty: there are several."""
    column = next(
        (one for named in BODIES for one in table.columns if one.name.lower() == named and one.type.is_string), None
    )
    if column is None:
        return ""
    asked = [value for name, value in pairs if name.lower() == column.name.lower()]
    if asked:
        return asked[0] if len(asked) == 1 and re.fullmatch(r"[\w /'-]+", asked[0]) else ""
    if asking.published(table).statistics.get(column.name, {}).get("distinct") != 1 or asking.hides(table):
        return ""
    select = tree.Select((tree.SelectItem(ref(column.name)),), _source(table), top=tree.Literal(1))
    found = asking.table(tree.Query(select), seconds=PATIENCE).column(0).to_pylist()
    return str(found[0]) if found and found[0] is not None else ""


def girth(table: Table, pairs: Iterable[tuple[str, str]], asking: Asking) -> float | None:
    """Return the radius in km of the body that the places of a search are on; None: there is none, or several, or nobody knows it."""
    if not on_body(table):
        return None
    given = list(pairs)
    said = (
        _ON.fullmatch(value.rpartition(",")[0].strip()) for name, value in given if name == NEAR
    )  # Vieta (Mars), 200 km
    body = body_of(table, given, asking) or next((one[2] for one in said if one is not None), "")
    found = bodies.find(body)
    return None if found is None or found.radii is None else found.radii[0]


def place(
    name: str, table: Table, asking: Asking, *, tables: Sequence[Table] = (), pairs: Sequence[tuple[str, str]] = ()
) -> tuple[float, float]:
    """Return the position of a name, in degrees, on what the table's positions are on.

    Raises
    ------
    UserError
        Nobody knows it, it is the name of several, or it has no fixed place.
    """
    if on_body(table):
        found = _on_body(name, asking, gazetteers(tables, asking), body_of(table, pairs, asking))
        if found.lon is None or found.lat is None:
            raise UserError(
                say("{name} has no position", found.name), remedy="give the position itself: longitude, latitude"
            )
        return found.lon, found.lat
    own = _own(name, table, asking)
    return own if own is not None else resolver.position(name, site=asking.site, policies=asking.policies)


def completed(
    like: str, table: Table, asking: Asking, *, tables: Sequence[Table] = (), pairs: Sequence[tuple[str, str]] = ()
) -> list[Named]:
    """Return names of places that begin with what somebody writes; then those that contain it."""
    like = " ".join(like.split())[:LONGEST]
    if len(like) < 2:
        return []
    if on_body(table):
        body = body_of(table, pairs, asking)
        found: list[Named] = []
        for one in gazetteers(tables, asking):
            found += _features(one, like, asking, body, exact=False)
        return found[:MOST]
    names = [column.name for column in _main(table)] if table.position is not None else []
    found = _rows(table, names, table.position, like, asking)
    local = asking.site.settings.resolver.table
    other = next(
        (
            one
            for one in tables
            if local and one.qualified.lower() == local.lower() and one.qualified != table.qualified
        ),
        None,
    )
    if other is not None and other.position is not None:
        found += _rows(other, [column.name for column in _main(other)], other.position, like, asking)
    if table.position is not None:
        found += [
            Named(name=name, note=what.kind or "", lon=what.position[0], lat=what.position[1], radius=radius)
            for name, what, radius in bright.completed(like, MOST)
            if what.position is not None
        ]
    return list({one.name.casefold(): one for one in reversed(found)}.values())[::-1][:MOST]


def objects(like: str) -> list[Named]:
    """Return planets, moons and small bodies whose name begins with what somebody writes."""
    begin = like.strip().casefold()
    return [
        Named(name=one.name, note=one.kind)
        for one in bodies.bodies()
        if begin and one.name.casefold().startswith(begin)
    ][:MOST]


def _on_body(name: str, asking: Asking, known: Sequence[Gazetteer], body: str) -> Named:
    if not known:
        raise UserError(
            say("{name!r} is no position, and no table here has names of places", name),
            remedy="write longitude, latitude in degrees",
        )
    said = _ON.fullmatch(name)
    found = [one for each in known for one in _features(each, name, asking, body, exact=True)]
    if not found and said is not None:
        found = [one for each in known for one in _features(each, said[1], asking, said[2], exact=True)]
    if not found:
        told = ", ".join(one.table.qualified for one in known)
        raise UserError(
            say("no place on {body} is called {name!r}; asked: {tables}", body, name, told)
            if body
            else say("no place is called {name!r}; asked: {tables}", name, told),
            remedy="look at its spelling, or write longitude, latitude in degrees",
        )
    first = found[0]
    if any((one.lon, one.lat) != (first.lon, first.lat) for one in found):
        shown = "; ".join(f"{one.name}: {one.note}" for one in found[:5])
        raise UserError(
            say("{count} places are called {name!r}: {shown}", len(found), name, shown),
            remedy="write the body in brackets: Olympus Mons (Mars)",
        )
    return first


def features(one: Gazetteer, name: str, asking: Asking) -> list[tuple[str, Named]]:
    """Return the features that have a name, each with its body."""
    found = _features(one, name, asking, "", exact=True)
    return [(said[2], each) for each in found if (said := _ON.fullmatch(each.name)) is not None]


def _features(one: Gazetteer, like: str, asking: Asking, body: str, *, exact: bool) -> list[Named]:
    lower = tree.Function("LOWER", (ref(one.name),))
    on = tree.Compare("=", tree.Function("LOWER", (ref(one.body),)), tree.Literal(body.lower())) if body else None
    test = tree.Compare("=", lower, tree.Literal(" ".join(like.lower().split()))) if exact else _begins(one.name, like)
    columns = [one.name, one.body, one.lon, one.lat, *([one.size] if one.size else [])]
    rows = _asked(one.table, columns, tree.conjunction(test, on), asking)
    if not exact and rows.num_rows < MOST:
        rows = _joined(rows, _asked(one.table, columns, tree.conjunction(_contains(one.name, like), on), asking))
    found = []
    for row in rows.to_pylist():
        name, where, lon, lat = (row[each] for each in columns[:4])
        if name is None or lon is None or lat is None:
            continue
        size = row.get(one.size) if one.size else None
        told = ", ".join([str(where), f"{lon:.6g} {lat:.6g}", *([f"{size:.4g} km"] if size else [])])
        found.append(
            Named(
                name=str(name) if body else f"{name} ({where})",
                note=told,
                lon=lon % 360,
                lat=lat,
                radius=_degrees(size, str(where)),
            )
        )
    return found


def _degrees(size: float | None, body: str) -> float:
    """Return half the size of a feature as an angle seen from the centre of its body, rounded up to two digits."""
    radii = next((one.radii for one in bodies.bodies() if one.name.casefold() == body.casefold()), None)
    if not size or radii is None:
        return 0.0
    angle = min(math.degrees(size / 2 / radii[0]), 180.0)
    step = 10 ** math.floor(math.log10(angle) - 1)
    return float(f"{math.ceil(angle / step) * step:.3g}")


def _own(name: str, table: Table, asking: Asking) -> tuple[float, float] | None:
    """Look a name up among the rows' own; None: none has it, or several have."""
    if table.position is None:
        return None
    for column in _main(table):
        test = tree.Compare(
            "=", tree.Function("LOWER", (ref(column.name),)), tree.Literal(" ".join(name.lower().split()))
        )
        try:
            rows = _asked(table, list(table.position), test, asking, most=2)
        except HvenError:
            return None
        if rows.num_rows == 1:
            lon, lat = (rows.column(at)[0].as_py() for at in range(2))
            if lon is not None and lat is not None:
                return float(lon) % 360, float(lat)
    return None


def _rows(
    table: Table, names: Sequence[str], position: tuple[str, str] | None, like: str, asking: Asking
) -> list[Named]:
    found = []
    for name in names:
        columns = [name, *(position or ())]
        rows = _asked(table, columns, _begins(name, like), asking)
        if rows.num_rows < MOST:
            rows = _joined(rows, _asked(table, columns, _contains(name, like), asking))
        for row in rows.to_pylist():
            at = [row[each] for each in position or ()]
            told = " ".join(f"{value:.6g}" for value in at) if at and None not in at else ""
            found.append(Named(name=str(row[name]), note=told))
    return found


def _main(table: Table) -> list[Column]:
    """Return the columns of names that rows of objects have of their own."""
    texts = [
        column
        for column in table.columns
        if column.type.is_string and not column.hidden and _ucd(column).startswith("meta.id")
    ]
    if "s_region" in {column.name.lower() for column in table.columns}:
        return []  # rows of observations: their names are those of files, not of places
    return sorted(
        (one for one in texts if ";src" not in _ucd(one) and ";instr" not in _ucd(one)), key=lambda one: one.rank
    )[:3]


def _asked(
    table: Table, columns: Sequence[str], test: tree.Expr | None, asking: Asking, *, most: int = MOST
) -> pa.Table:
    items = tuple(tree.SelectItem(ref(name)) for name in dict.fromkeys(columns))
    select = tree.Select(items, _source(table), where=test, top=tree.Literal(most))
    return asking.table(tree.Query(select, order_by=(tree.OrderItem(ref(columns[0])),)), seconds=PATIENCE)


def _joined(first: pa.Table, then: pa.Table) -> pa.Table:
    rows = list(dict.fromkeys(tuple(row.items()) for row in (*first.to_pylist(), *then.to_pylist())))
    return pa.Table.from_pylist([dict(row) for row in rows[:MOST]], schema=first.schema)


def _begins(name: str, like: str) -> tree.Expr:
    return tree.Like(ref(name), tree.Literal(f"{_plain(like)}%"), ignore_case=True)


def _contains(name: str, like: str) -> tree.Expr:
    return tree.Like(ref(name), tree.Literal(f"%{_plain(like)}%"), ignore_case=True)


def _plain(like: str) -> str:
    return like.replace("%", "_")


def _source(table: Table) -> tree.FromItem:
    return Search(table=table).source()


def _ucd(column: Column) -> str:
    return (column.ucd or "").lower()
