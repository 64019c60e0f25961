"""The columns that a table's rows begin with: picture, title or name, time, place, what a search asks, then the table's own before those of its standard."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hven.model.table import begins_and_ends
from hven.portal._explore import cart
from hven.portal._explore.map_frames import frame
from hven.services.file_rows import kind_of, list_link_columns

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from hven.model.table import Column, Table
    from hven.portal._explore.observation_lines import Observed
    from hven.portal._explore.search import Search

MOST = 10  # columns; the two ends of a range are one
PICTURES = 4  # beside each other
ENDS = ("min", "max")
OF_SERVICE = ("service_title",)  # of EPN-TAP: the same in all rows


def title(table: Table) -> Column | None:
    """Return the column of rows' titles; None: they have no more than a name."""
    found = (one for one in table.columns if (one.ucd or "").lower().startswith("meta.title") and not one.hidden)
    return next((one for one in found if one.type.is_string and one.name not in OF_SERVICE), None)


def first(search: Search, alike: Collection[str], observed: Observed | None = None) -> tuple[str, ...]:
    """Return the names of the columns that are shown where nobody has chosen any, in their order.

    Parameters
    ----------
    alike
        Names of columns that say the same in all rows.
    observed
        What names observations, if these are the lines.
    """
    table = search.table
    shown = [column for column in search.shown() if column.name not in alike]
    if search.columns:
        return tuple(column.name for column in search.shown())
    pictures = [column for column in shown if kind_of(column, table) == "picture"]
    least = [column.name for column in pictures[:PICTURES]]
    least += [one.name for one in (title(table),) if one is not None] or _name(table, observed)
    least = [name for name in least if name not in alike]
    wanted = dict.fromkeys([*least, *asked(search)])
    if _count([column.name for column in shown]) <= MOST and observed is None:
        return tuple(dict.fromkeys([*wanted, *(column.name for column in shown)]))
    known = {column.name for column in shown}
    wanted |= dict.fromkeys(name for name in (*_times(table), *_places(table)) if name in known)
    files = {column.name for column in (*list_link_columns(table), cart.size_of(table)) if column is not None}
    files |= set(table.primary) if observed is not None else set()
    for column in sorted(shown, key=lambda one: one.std):
        room = _count(wanted) < MOST or _other(column.name) in wanted
        if room and column.name not in files and not _aside(column, table):
            wanted[column.name] = None
    leads = [column.name for column in list_link_columns(table) if column in shown and observed is None]
    return tuple(dict.fromkeys([*wanted, *(leads[:1] if _count(wanted) < MOST else ())]))


def asked(search: Search) -> Iterator[str]:
    """Yield the columns that somebody asks about: what is searched for is seen."""
    names = {column.name for column in search.table.columns if not column.hidden}
    for name in (*(name for name, _ in search.conditions), *(name for name, _ in (*search.order, *search.units))):
        pair = [f"{name}{between}{end}" for end in ENDS for between in ("_", "")]
        yield from (one for one in (name, *pair) if one in names)


def _name(table: Table, observed: Observed | None) -> list[str]:
    if observed is not None:
        return [observed.columns[0]]
    return list(table.primary[:1]) or [column.name for column in table.columns if not column.hidden][:1]


def _times(table: Table) -> list[str]:
    return list(dict.fromkeys(one.name for one in begins_and_ends(table) if one is not None))


def _places(table: Table) -> list[str]:
    framed = frame(table)
    if framed is not None:
        west, south, east, north = framed.bounds
        return list(dict.fromkeys([west, east, south, north]))
    return list(table.position or ())


def _aside(column: Column, table: Table) -> bool:
    """Check whether a column is for programs, or says again what others do: outlines, further names, links, what tells files apart."""
    ucd = (column.ucd or "").lower()
    named = ucd.startswith("meta.id") and not ucd.startswith(("meta.id;instr", "meta.id;src"))
    return (
        (column.std and (named or column.name in {"access_format", "granule_gid"}))
        or column.type.is_geometry
        or column.name.lower() == "s_region"
        or kind_of(column, table) == "link"
    )


def _count(names: Collection[str]) -> int:
    """Count columns: those that are the ends of one range are one."""
    return len({_stem(name) for name in names})


def _stem(name: str) -> str:
    return next((name.removesuffix(end).rstrip("_") for end in ENDS if name.lower().endswith(end)), name)


def _other(name: str) -> str:
    """Return the other end of a range."""
    for end, other in (ENDS, ENDS[::-1]):
        if name.lower().endswith(end):
            return name[: -len(end)] + other
    return ""
