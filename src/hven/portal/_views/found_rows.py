"""Rows of several tables, here and elsewhere, as one list: each with its picture, where it is from, and where it leads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import pyarrow as pa
import pyarrow.compute as pc

from hven.model.table import Table, dated
from hven.portal._explore import global_search as everywhere
from hven.portal._explore.cell_text import cells, headings
from hven.portal._explore.rows import Page as Rows
from hven.portal._views import far_pictures
from hven.portal._views.page_addresses import address
from hven.portal._views.table_page import cell
from hven.portal._views.table_page import columns as described
from hven.services.address import bases

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hven.portal._explore.cell_text import Cell
    from hven.portal._explore.global_search import Told
    from hven.portal._views.page_formats import Asked

PICTURE = "thumbnail_url"


def rows(told: Sequence[Told], kind: str, standard: str, state: Asked, *, alone: bool = False) -> dict[str, Any]:
    """Join the rows of several tables under the columns that any of them has, in the order of the standard; what a table has not is empty.

    Parameters
    ----------
    standard
        Full name of the tables' standard.
    alone
        One of them is looked at alone.
    """
    given = [one for one in told if one.found is not None and one.found.num_rows]
    there = {column.name for one in given for column in one.columns}
    names = [name for name in everywhere.SHOWN[kind] if name in there and name != PICTURE]
    heads: dict[str, Any] = {}
    made: list[dict[str, Any]] = []
    for one in given:
        if one.found is None:
            continue
        shape = dated(Table(schema="", name="answer", columns=one.columns, standard=standard), _extremes(one.found))
        labels = state.labels(shape)
        page = Rows(columns=shape.columns, rows=one.found, keys=("",) * one.found.num_rows, offset=0, more=False)
        for head in described(headings(page, shape, labels=labels)):
            heads.setdefault(head["name"], head)
        order = [column.name for column in one.columns]
        for at, values in enumerate(cells(page, shape, labels=labels)):
            found = dict(zip(order, values, strict=True))
            made.append(
                {
                    "from": one.target.title,
                    "key": one.target.key,
                    "row": one.keys[at] if one.keys else "",
                    "table": address(state.base, one.target.table) if one.target.table is not None and one.keys else "",
                    "url": _page(one, at, state),
                    "picture": _picture(found, kind, state),
                    "cells": [None if found.get(name) is None else cell(found[name]) for name in names],
                }
            )
    return {
        "columns": [heads[name] for name in names],
        "rows": made,
        "most": everywhere.ROWS if alone else everywhere.SHARE,
        "pictured": any(one["picture"] for one in made),
    }


def _extremes(found: pa.Table) -> dict[str, dict[str, object]]:
    """Return the least and the greatest number of each column: they tell Julian dates from modified ones, which services elsewhere do not say."""
    ends = {}
    for name in found.column_names:
        values = found.column(name)
        if pa.types.is_floating(values.type) or pa.types.is_integer(values.type):
            both = pc.min_max(values)
            ends[name] = {"minimum": both["min"].as_py(), "maximum": both["max"].as_py()}
    return ends


def _page(one: Told, at: int, state: Asked) -> str:
    """Return the page of a row of this site."""
    if one.target.table is None or not one.keys:
        return ""
    return f"{address(state.base, one.target.table)}?{urlencode({'_row': one.keys[at]})}"


def _picture(found: Mapping[str, Cell | None], kind: str, state: Asked) -> str:
    """Return where the page gets a row's picture: from this site, whoever has it."""
    value = found.get(PICTURE)
    if value is None or not value.href:
        return ""
    settings = state.around.site.settings
    if any(value.href.startswith(f"{base}/") for base in bases(state.request, settings)):
        return str(value.href)
    return far_pictures.address(f"{state.base}/search/{kind}", value.href, state.around.site)
