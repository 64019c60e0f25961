"""What else there is at a time and a place: of every table that a reader may see, how many rows overlap them, and the conditions that say so.

Tables have in common with what is asked a time, a place on the sky, a place on the same body, or several of these; all that they have in
common must meet. A table that has nothing in common is not asked.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from hven.model.table import begins_and_ends
from hven.portal._explore import global_search as everywhere
from hven.portal._explore.map_frames import frame, kind
from hven.portal._explore.names import BODIES, body_of
from hven.portal._explore.search import INSIDE, NEAR, PORTALS, footprint

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from hven.model.table import Column, Table
    from hven.portal._explore.global_search import Target, Told
    from hven.portal._explore.page_queries import Asking
    from hven.portal._explore.rows import Page

MOST = 60  # tables that are asked
LEAST = 1_800_000_000  # microseconds before and behind a moment: what is shorter is never overlapped by other moments
AROUND, BESIDE = 0.1, 0.5  # degrees round a point of the sky, and of a body
WIDEST = 30.0  # degrees of a field of view round a point
LONGEST = 2_000  # characters of an outline that is asked for as it is
UNIX = 2_440_587.5  # Julian date of 1970-01-01
DAY = 86_400_000_000  # microseconds
ROUND = re.compile(r"(POLYGON|CIRCLE)((?:\s+[-+0-9.eE]+)+)\s*", re.IGNORECASE)
PLAIN = re.compile(r"[\w /'-]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Where:
    """A time and a place.

    Attributes
    ----------
    begin, end
        Microseconds since 1970 in UTC; None: no time.
    sky
        A condition on places of the sky: its name and value.
    body, box
        The name of a body, and west, south, east and north on it, in degrees.
    """

    begin: int | None = None
    end: int | None = None
    sky: tuple[str, str] | None = None
    body: str = ""
    box: tuple[float, float, float, float] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Other:
    """A table to be asked, by these conditions; `common`: what it has in common with what is asked, of ``time`` and ``place``."""

    target: Target
    pairs: tuple[tuple[str, str], ...]
    common: tuple[str, ...]


def of_row(page: Page, table: Table, asking: Asking) -> Where:
    """Return when and where one row is, by all of its columns; a moment becomes an hour, a point a small circle."""
    if not page.rows.num_rows:
        return Where()
    row = {column.name: page.rows.column(at)[0].as_py() for at, column in enumerate(page.columns)}
    low, high = (None if column is None else moment(row.get(column.name), column) for column in begins_and_ends(table))
    if low is not None:
        high = max(low, low if high is None else high)
        more = max(LEAST - (high - low) // 2, 0)
        low, high = low - more, high + more
    found = Where(begin=low, end=high)
    return replace(found, **(_on_sky(row, table) if kind(table) == "sky" else _on_body(row, table, asking)))  # type: ignore[arg-type]


def others(
    where: Where, tables: Sequence[Table], asking: Asking, *, titles: Mapping[str, str | None], places: bool = True
) -> list[Other]:
    """List the tables that can be asked what they have there; those whose times are known to lie elsewhere are left out.

    Parameters
    ----------
    titles
        Of collections.
    places
        Tables that have a place in common alone are asked, too.
    """
    found = []
    for table in tables:
        time = _during(table, where)
        place = _there(table, where, asking) if places else []
        if (time or place) and not (time and _elsewhen(table, where, asking)):
            title = " - ".join(
                dict.fromkeys(text for text in (titles.get(table.schema), table.title or table.name) if text)
            )
            common = tuple(name for name, pairs in (("time", time), ("place", place)) if pairs)
            target = everywhere.Target(name=table.qualified, title=title, table=table)
            found.append(Other(target=target, pairs=(*time, *place), common=common))
    return found


def ask(
    chosen: Sequence[Other],
    asking: Asking,
    *,
    seconds: float,
    patience: float | None = None,
    then: Callable[[Other, Told], None] | None = None,
) -> list[tuple[Other, Told]]:
    """Count the rows of these tables at once, most first; those that are not counted in time are told to be late.

    Parameters
    ----------
    seconds
        That a table may take.
    patience
        That the answer waits: what takes longer is counted all the same, and remembered.
    then
        Called with what has rows, in the thread that counted them.
    """
    known = {one.target.key: one for one in chosen[:MOST]}

    def one(target: Target) -> Told:
        other = known[target.key]
        told = everywhere.ask(target, other.pairs, "epn", asking, seconds=seconds)
        if told.rows and then is not None:
            then(other, told)
        return told

    answers = everywhere.ask_all(
        [other.target for other in known.values()], one, seconds=seconds if patience is None else patience
    )
    return sorted(((known[told.target.key], told) for told in answers), key=lambda pair: -(pair[1].rows or 0))


def moment(value: object, column: Column) -> int | None:
    """Return a time of a row as microseconds since 1970; None: there is none."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return None
    if column.epoch is None:
        text = str(value).replace(" ", "T").removesuffix("Z").removesuffix("+00:00")
        return int(np.datetime64(text).astype("datetime64[us]").astype(np.int64))
    return round((float(str(value)) + column.epoch - UNIX) * 86_400_000) * 1000


def iso(moment: int) -> str:
    """Write microseconds since 1970."""
    return f"{np.datetime64(moment, 'us')}Z"


def _during(table: Table, where: Where) -> list[tuple[str, str]]:
    """Write as conditions that something overlaps a time; none: the table has no times."""
    begin, end = begins_and_ends(table)
    if begin is None or end is None or where.begin is None or where.end is None:
        return []
    start, stop = iso(where.begin), iso(where.end)
    if begin.name == end.name:
        return [(_named(begin.name), f"{start}..{stop}")]
    return [(_named(begin.name), f"..{stop}"), (_named(end.name), f"{start}..")]


def _there(table: Table, where: Where, asking: Asking) -> list[tuple[str, str]]:
    """Write as conditions that something meets a place; none: the table is not about such places."""
    if where.sky is not None:
        return [where.sky] if kind(table) == "sky" else []
    framed = frame(table)
    if where.box is None or framed is None or framed.radius or not where.body:
        return []
    west, south, east, north = where.box
    box = [
        (_named(framed.fields[0]), f"{west:.6g}..{east:.6g}"),
        (_named(framed.fields[1]), f"{south:.6g}..{north:.6g}"),
    ]
    if east - west >= 360:
        box = box[1:]
    column = _body(table)
    if column is not None:
        return [(_named(column.name), where.body), *box]
    return box if body_of(table, (), asking) == where.body else []


def _elsewhen(table: Table, where: Where, asking: Asking) -> bool:
    """Check whether all rows of a table are known to lie before or behind a time."""
    known = asking.published(table).statistics
    begin, end = begins_and_ends(table)
    if begin is None or end is None or where.begin is None or where.end is None:
        return False
    low, high = (
        _known(known.get(column.name, {}).get(name), column) for column, name in ((begin, "minimum"), (end, "maximum"))
    )
    return (low is not None and low > where.end) or (high is not None and high < where.begin)


def _known(value: object, column: Column) -> int | None:
    try:
        return moment(value, column)
    except ValueError:
        return None


def _on_sky(row: Mapping[str, object], table: Table) -> dict[str, object]:
    """Return what is asked of the sky: a circle round the position, as wide as the field of view; else the outline."""
    region = footprint(table)
    outline = ROUND.fullmatch(str(row.get(region.name) or "")[: LONGEST + 1]) if region is not None else None
    if table.position is not None:
        lon, lat = (_real(row.get(name)) for name in table.position)
        if lon is not None and lat is not None:
            wide = _real(next((value for name, value in row.items() if name.lower() == "s_fov"), None))
            radius = min(max(wide / 2, AROUND), WIDEST) if wide is not None else AROUND
            return {"sky": (NEAR, f"{lon!r},{lat!r},{radius:.6g}")}
    if outline is not None:
        return {"sky": (INSIDE, f"{outline[1].upper()} {' '.join(outline[2].split())}")}
    return {}


def _on_body(row: Mapping[str, object], table: Table, asking: Asking) -> dict[str, object]:
    """Return the body that a row is about, and its box there; none on the disc of the Sun, whose places turn away."""
    framed, column = frame(table), _body(table)
    if framed is None or framed.radius:
        return {}
    body = str(row.get(column.name) or "") if column is not None else body_of(table, (), asking)
    west, south, east, north = (_real(row.get(name)) for name in framed.bounds)
    if not PLAIN.fullmatch(body) or west is None or south is None or east is None or north is None:
        return {}
    if west == east and south == north:
        aside = BESIDE / max(math.cos(math.radians(south)), 0.05)
        west, east, south, north = west - aside, east + aside, max(south - BESIDE, -90.0), min(north + BESIDE, 90.0)
    return {"body": body, "box": (west, south, east, north)}


def _body(table: Table) -> Column | None:
    known = (one for named in BODIES for one in table.columns if one.name.lower() == named)
    return next((one for one in known if one.type.is_string and not one.hidden), None)


def _real(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def _named(name: str) -> str:
    return f'"{name}"' if name in PORTALS else name
