"""``/collections/NAME/TABLE/strip``: a table at first sight, as numbers and drawn as a part of its page; where one row stands in it."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import numpy as np
from starlette.routing import Route

from hven.model.errors import HvenError
from hven.portal._explore import rows as row_pages
from hven.portal._explore import strip
from hven.portal._explore.number_text import alone, unit_text
from hven.portal._explore.search import PORTALS, Search
from hven.portal._explore.strip_bins import values_of, written
from hven.portal._pages import pages
from hven.portal._views.disconnect import Waiting, attended
from hven.portal._views.page_formats import Asked, Page, json_page
from hven.portal._views.row_lines import lines
from hven.portal._views.table_page import View, faults, view

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from hven.model.table import Column
    from hven.portal._explore.column_labels import Labels
    from hven.portal._explore.number_text import Scale
    from hven.portal._explore.strip import Counts, Ground, Layout
    from hven.portal._explore.strip_bins import Bins
    from hven.services.face import Surroundings

HIGH = 100  # of the bars' own units
LEAST = 2.0  # of these: what is there at all is seen
SHADES = 4
COARSE = 6  # cells of the map that one link is for, across and up
TICKS = 5  # of an axis of time
TO = " \u2013 "
SIGNS = "≥ ", "≤ "  # before the lower end of what has no upper one, and the other way round
ONLY = "_only"
NOW = "_strip"  # `now`: a page without scripts is to have it, however long it takes
AT_ONCE = 200_000  # rows of a table that are counted while its page is made


def routes(around: Surroundings) -> Sequence[Route]:
    """Route the address of the strip: its numbers; as it is drawn (``_only=drawn``); where one row stands in it (``_only=row&_row=KEY``)."""

    async def one(state: Asked) -> Page:
        def answer(waiting: Waiting) -> dict[str, Any]:
            seen = view(state, leave=(ONLY,))
            seen = replace(seen, asking=seen.asking.attended(waiting.begun))
            only = state.request.query_params.get(ONLY, "")
            if only == "row":
                return _standing(seen)
            found = content(seen)
            if only == "drawn":
                return {"html": pages(state.language).get_template("strip.html").render(strip=found)}
            return _plain(found)

        return Page(template="", content=await attended(state.request, answer))

    return [Route("/collections/{name}/{table}/strip", json_page(one, around))]


def of_page(seen: View, *, now: bool = False) -> dict[str, Any] | None:
    """Return the strip as a page begins with it: counted where that is quick, else for its script to ask for; None: there is nothing to draw."""
    try:
        chosen = strip.layout(seen.table, seen.asking)
        if not chosen.columns:
            return None
        rows = seen.asking.published(seen.table).rows
        if now or (rows is not None and rows <= AT_ONCE):
            return {**content(seen), "rooms": _rooms(chosen)}
    except HvenError:
        return None  # a page is more than its first sight
    return {"later": True, "parts": [], "time": None, "map": None, "rooms": _rooms(chosen)}


def first_plot(seen: View) -> str:
    """Name what a plot shows before anybody chose: the two columns that tell most, else one with the time, else one alone."""
    try:
        chosen = strip.layout(seen.table, seen.asking)
    except HvenError:
        return ""
    names = [one.column.name for one in chosen.most_telling]
    if len(names) < 2 and chosen.time is not None:
        names = [chosen.time.column.name, *names]
    return ";".join(names[:2])


def _rooms(chosen: Layout) -> str:
    """Name what room is kept for, in the words of the styles."""
    return " ".join(
        name
        for name, there in (("time", chosen.time), ("map", chosen.ground), ("parts", chosen.parts))
        if there is not None and there != ()
    )


def content(seen: View) -> dict[str, Any]:
    """Return all that is drawn of a search."""
    chosen = strip.layout(seen.table, seen.asking)
    lined = lines(seen)
    every = strip.counted(lined.every(seen), seen.asking, chosen) if chosen.columns else None
    narrowed = seen.search.where() is not None
    found = strip.counted(lined.search, seen.asking, chosen) if narrowed and every is not None else every
    drawn: dict[str, Any] = {
        "later": False,
        "late": found is None,
        "exact": found is not None and found.exact,
        "rows": None if found is None else found.rows,
        "observations": lined.observed is not None,
        "faults": faults(seen.search),
        "time": None,
        "map": None,
        "parts": [],
    }
    if found is None or every is None:
        return drawn
    made = [
        _part(one, found.counts[at], every.counts[at] if narrowed else None, seen) for at, one in enumerate(chosen.bins)
    ]
    if chosen.time is not None:
        drawn["time"] = made.pop(0)
    drawn["parts"] = made
    if chosen.ground is not None:
        drawn["map"] = _map(chosen.ground, found, every if narrowed else None, seen)
    return drawn


def _part(one: Bins, counts: npt.NDArray[np.int64], every: npt.NDArray[np.int64] | None, seen: View) -> dict[str, Any]:
    column, search = one.column, seen.search
    scale = seen.labels.scale(column)
    shown = _texts(one, scale)
    name = _named(column.name)
    asked = dict(search.conditions).get(column.name)
    others = [(key, value) for key, value in search.pairs() if key not in {name, "_row"}]
    band = None if asked is None else one.band(asked)
    return {
        "column": column.name,
        "name": name,
        "label": _label(column, seen.labels),
        "unit": "" if one.time else unit_text(scale.unit),
        "title": seen.labels.told(column),
        "time": one.time,
        "size": len(one),
        "lows": one.lows,
        "highs": one.highs,
        "counts": counts[1:].tolist(),
        "missing": int(counts[0]),
        "total": int(counts[1:].sum()),
        "drawn": _bars(counts[1:]),
        "every": "" if every is None else _bars(every[1:]),
        "ends": _ends(one, shown, scale),
        "said": _said(shown[0][0] or shown[0][1], shown[-1][1] or shown[-1][0]),
        "asked": asked is not None,
        "band": None if band is None else [round(len(one) * band[0], 2), round(max(len(one) * (band[1] - band[0]), 0.1), 2)],
        "links": [
            {"at": at, "said": _said(*shown[at], falls=scale.inverse), "rows": count, "address": urlencode([*others, (name, f"{low}..{high}")])}
            for at, (low, high, count) in enumerate(zip(one.lows, one.highs, counts[1:].tolist(), strict=True))
            if count
        ],
        "without": urlencode(others),
    }  # fmt: skip


def _label(column: Column, labels: Labels) -> str:
    """Call a column as its pair ``x_min``, ``x_max`` is called, where that has a word."""
    stem = labels.pairs[column.name][0] if column.name in labels.pairs and not labels.raw else ""
    said = labels.name(stem) if stem else ""
    return said if said != stem else labels.column(column)


def _named(name: str) -> str:
    """Name a column as an address does."""
    return f'"{name}"' if name in PORTALS else name


def _bars(counts: npt.NDArray[np.int64]) -> str:
    most = max(int(counts.max()), 1)
    return "".join(
        f"M{at} {HIGH}v-{max(HIGH * count / most, LEAST):.1f}h.9V{HIGH}z"
        for at, count in enumerate(counts.tolist())
        if count
    )


def _said(low: str, high: str, *, falls: bool = False) -> str:
    """Say what a bin has, in signs alone; `falls`: what is told grows as the values fall."""
    if low and high:
        return low if low == high else f"{low}{TO}{high}"
    return f"{SIGNS[falls]}{low}" if low else f"{SIGNS[not falls]}{high}"


def _texts(one: Bins, scale: Scale) -> list[tuple[str, str]]:
    """Write the ends of each bin for people; nothing where it has none."""
    if one.time:
        return list(zip(one.lows, one.highs, strict=True))

    def text(end: str) -> str:
        value = scale.of(float(end)) if end else math.inf
        return alone(value) if math.isfinite(value) else ""  # the wavelength of a frequency of 0: there is no end

    return [(text(low), text(high)) for low, high in zip(one.lows, one.highs, strict=True)]


def _ends(one: Bins, shown: Sequence[tuple[str, str]], scale: Scale) -> list[str]:
    """Say where the bins begin and end, of times also what is between."""
    if one.time:
        places = [at * len(one) // TICKS for at in range(TICKS)]
        found = [one.lows[at] or one.highs[at] for at in dict.fromkeys(places)]
        days = [each.partition("T")[0] for each in found]
        return found if len(set(days)) < len(days) else days
    (low, after), (before, high) = shown[0], shown[-1]
    if one.column.type.is_integer:
        first, last = low or after, high or before
    else:
        told = [scale.of(float(edge)) for edge in one.edges]
        first, last = alone(told[0] if math.isfinite(told[0]) else told[1]), alone(told[-1])
    return [("" if low else SIGNS[not scale.inverse]) + first, ("" if high else SIGNS[scale.inverse]) + last]


def _map(ground: Ground, found: Counts, every: Counts | None, seen: View) -> dict[str, Any]:
    wide, high = ground.shape
    search, counts = seen.search, found.counts[-1]
    mirrored = ground.kind == "sky"  # as one looks up
    fields = [_named(one) for one in ground.fields]
    others = [(key, value) for key, value in search.pairs() if key not in {*fields, "_row"}]
    west, south, east, north = ground.box
    side = (east - west) / wide, (north - south) / high
    grid = counts[1:].reshape(high // COARSE, COARSE, wide // COARSE, COARSE).sum(axis=(1, 3))
    links = []
    for up, across in zip(*(one.tolist() for one in np.nonzero(grid)), strict=True):
        left, low = west + across * COARSE * side[0], south + up * COARSE * side[1]
        ranges = [_range(left, left + COARSE * side[0]), _range(low, low + COARSE * side[1])]
        links.append({
            "x": wide - (across + 1) * COARSE if mirrored else across * COARSE, "y": high - (up + 1) * COARSE, "rows": int(grid[up, across]),
            "said": ", ".join(one.replace("..", TO) for one in ranges),
            "address": urlencode([*others, *zip(fields, ranges, strict=True)]),
        })  # fmt: skip
    asked = dict(search.conditions)
    return {
        "kind": ground.kind,
        "fields": fields,
        "labels": [seen.labels.name(one) for one in ground.fields],
        "unit": unit_text(ground.unit),
        "box": ground.box,
        "wide": wide,
        "high": high,
        "coarse": COARSE,
        "mirrored": mirrored,
        "counts": counts[1:].tolist(),
        "missing": int(counts[0]),
        "total": int(counts[1:].sum()),
        "drawn": _shaded(_dense(counts[1:].reshape(high, wide), ground), mirrored=mirrored),
        "every": "".join(_shaded((every.counts[-1][1:] > 0).reshape(high, wide), mirrored=mirrored)) if every is not None else "",
        "links": links,
        "asked": any(name in asked for name in ground.fields),
        "without": urlencode(others),
    }  # fmt: skip


def _range(low: float, high: float) -> str:
    return f"{written(round(low, 6))}..{written(round(high, 6))}"


def _dense(counts: npt.NDArray[np.int64], ground: Ground) -> npt.NDArray[np.float64]:
    """Return rows for each part of a sphere as large as a cell at its equator: cells near the poles are small."""
    if not ground.round:
        return counts.astype(np.float64)
    _, south, _, north = ground.box
    side = (north - south) / len(counts)
    middles = south + side * (np.arange(len(counts)) + 0.5)
    found: npt.NDArray[np.float64] = counts / np.maximum(np.cos(np.radians(middles)), 0.05)[:, None]
    return found


def _shaded(counts: npt.NDArray[Any], *, mirrored: bool) -> list[str]:
    """Draw cells in shades of their counts' logarithm, a path for each: runs of equal shade are one rectangle."""
    there = counts > 0
    level = np.zeros(counts.shape, np.int64)
    logs = np.log1p(counts[there].astype(np.float64))
    level[there] = 1 + np.minimum(
        (SHADES * logs / ((logs.max() if len(logs) else 0) or 1.0)).astype(np.int64), SHADES - 1
    )
    level = np.fliplr(np.flipud(level)) if mirrored else np.flipud(level)
    paths = [""] * SHADES
    for row in range(len(level)):
        edges = np.flatnonzero(np.diff(level[row], prepend=-1, append=-1))
        for begin, end in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
            if shade := int(level[row, begin]):
                paths[shade - 1] += f"M{begin} {row}h{end - begin}v1h-{end - begin}z"
    return paths


def _standing(seen: View) -> dict[str, Any]:
    """Return where one row stands: a share of each column's bins, and of the map's width and height."""
    chosen = strip.layout(seen.table, seen.asking)
    found: dict[str, Any] = {"at": {}, "map": None}
    if not seen.search.row or not chosen.columns:
        return found
    row = row_pages.one(Search(table=seen.table), seen.asking, seen.search.row)
    if not row.rows.num_rows:
        return found
    by_name = {one.name: one for one in row.columns}
    values = {
        name: values_of(row.rows.column(name).combine_chunks(), by_name[name])
        for name in chosen.columns
        if name in by_name
    }
    for one in chosen.bins:
        value = float(values.get(one.column.name, np.array([np.nan]))[0])
        if not np.isnan(value):
            found["at"][_named(one.column.name)] = round(100 * one.share(value), 2)
    ground = chosen.ground
    if ground is not None and all(one.name in values for one in ground.bounds):
        lon, lat = (float(one[0]) for one in ground.middles(values))
        west, south, east, north = ground.box
        x, y = (lon - west) / (east - west), (lat - south) / (north - south)
        if 0 <= x <= 1 and 0 <= y <= 1:
            found["map"] = [round(100 * (1 - x if ground.kind == "sky" else x), 2), round(100 * (1 - y), 2)]
    return found


def _plain(found: dict[str, Any]) -> dict[str, Any]:
    """Return the numbers alone."""
    left = {"name", "drawn", "every", "links", "without", "band", "ends", "said", "asked", "coarse", "size"}

    def plain(one: dict[str, Any] | None) -> dict[str, Any] | None:
        return None if one is None else {key: value for key, value in one.items() if key not in left}

    return {
        **{key: found[key] for key in ("rows", "observations", "exact", "faults")},
        "time": plain(found["time"]),
        "map": plain(found["map"]),
        "parts": [plain(one) for one in found["parts"]],
    }
