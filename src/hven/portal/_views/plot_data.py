"""What plots are told, of the rows of a table and of the answer of a query alike."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hven.model.errors import ParamError, say
from hven.portal._explore import plots
from hven.portal._explore import plots_json as told
from hven.portal._explore import rows as pages

if TYPE_CHECKING:
    from hven.model.table import Column, Table
    from hven.portal._explore import Search
    from hven.portal._explore.column_labels import Labels
    from hven.portal._explore.page_queries import Asking
    from hven.portal._views.page_formats import Asked


def column(table: Table, state: Asked, name: str) -> Column | None:
    """Find the column that a parameter names.

    Raises
    ------
    ParamError
        There is none of that name.
    """
    given = state.request.query_params.get(name, "")
    if not given:
        return None
    found = next((one for one in table.columns if one.name == given and not one.hidden), None)
    if found is None:
        raise ParamError(
            say("there is no column {name!r}", given[:60]), name=name, remedy="choose one of the table's columns"
        )
    return found


def histogram(search: Search, asking: Asking, state: Asked, labels: Labels | None = None) -> dict[str, Any]:
    """Return the counts of the column ``_x``.

    Raises
    ------
    ParamError
        None is named.
    """
    named = column(search.table, state, "_x")
    if named is None:
        raise ParamError("no column was named", name="_x", remedy="_x=COLUMN")
    scale = told.scale(named, labels, search.units)
    return told.histogram(plots.histogram(search, named, asking, scale=scale), named, labels)


def points(search: Search, asking: Asking, state: Asked, labels: Labels | None = None) -> dict[str, Any]:
    """Return points of the two or three columns ``_x``, ``_y``, ``_c``; a density instead, if they would be too many.

    Raises
    ------
    ParamError
        None is named.
    """
    named = [one for one in (column(search.table, state, name) for name in ("_x", "_y", "_c")) if one is not None]
    if not named:
        raise ParamError("no columns were named", name="_x", remedy="_x=COLUMN&_y=COLUMN")
    total = pages.count(search, asking)
    if len(named) == 2 and (total.rows is None or total.rows > plots.POINTS) and all(map(plots.plotted, named)):
        across, up = (told.scale(one, labels, search.units) for one in named)
        cells = plots.density(search, named[0], named[1], asking, scales=(across, up))
        return told.density(cells, named, total.rows, labels)
    return told.points(plots.points(search, named, asking), total.rows, labels, search.units)
