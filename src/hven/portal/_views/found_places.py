"""Where the rows of several tables are, here and elsewhere: one map of a body, or of the sky."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from hven.model.sky import bodies
from hven.portal._explore import map_frames, map_marks
from hven.portal._pages import grounds

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hven.portal._explore import Search
    from hven.portal._explore.global_search import Target, Told
    from hven.portal._explore.page_queries import Asking
    from hven.portal._views.page_formats import Asked

COLUMNS = {"epn": ("c1min", "c2min", "c1max", "c2max"), "obscore": ("s_ra", "s_dec")}
MOST = 500  # rows of a table


def body(search: Search) -> str:
    """Return the body that a search asks for alone; empty: none, or several, or it is none that is known."""
    asked = [value for name, values in search.conditions if name.lower() == "target_name" for value in values]
    known = {one.name.casefold(): one.name for one in bodies.bodies()}
    return known.get(asked[0].casefold(), "") if len(asked) == 1 else ""


def mapped(kind: str, search: Search) -> str:
    """Return what a map of the rows of a search is of: ``sky``, ``body``, or nothing."""
    if kind == "obscore":
        return "sky"
    return "body" if body(search) else ""


def has_places(target: Target, kind: str) -> bool:
    """Return whether rows of a table may be on the map; of one elsewhere its columns are not known yet."""
    if target.table is None:
        return True
    if kind == "obscore":
        return True
    framed = map_frames.frame(target.table)
    return framed is not None and not framed.radius


def places(told: Sequence[Told], kind: str, search: Search, state: Asked, road: Asking) -> dict[str, Any]:
    """Return it as the JSON of all maps: rows by ``TABLE KEY``, those elsewhere by ``TABLE #NUMBER``."""
    keys: list[str] = []
    values: list[np.ndarray[Any, np.dtype[np.float64]]] = []
    for one in told:
        if one.found is None or not one.found.num_rows:
            continue
        read = np.stack([one.found.column(name).to_numpy(zero_copy_only=False).astype(np.float64) for name in COLUMNS[kind]])  # fmt: skip
        there = np.isfinite(read).all(axis=0)
        names = one.keys or tuple(f"#{at}" for at in range(one.found.num_rows))
        keys += [f"{one.target.key} {names[at]}" for at in np.flatnonzero(there)]
        values.append(read[:, there])
    at = np.concatenate(values, axis=1) if values else np.zeros((len(COLUMNS[kind]), 0))
    found: dict[str, Any] = {
        "kind": mapped(kind, search), "total": sum(one.rows or 0 for one in told), "lon": [], "lat": [], "counts": [], "radius": 0.0, "keys": keys, "shapes": [],
        "outlines": [], "names": [], "colouring": None, "colours": [], "frame": None,
    }  # fmt: skip
    if kind == "obscore":
        return {**found, "lon": at[0].tolist(), "lat": at[1].tolist()}
    on = body(search)
    radii = next((one.radii for one in bodies.bodies() if one.name == on), None)
    frames = [map_frames.frame(one.target.table) for one in told if one.target.table is not None]
    framed = frames[0] if frames and all(one == frames[0] for one in frames) else None
    return {
        **found,
        "shapes": [" ".join(f"{value:.5g}" for value in box) for box in at.T],
        "frame": None if framed is None else asdict(framed),
        "body": on,
        "km": None if radii is None else radii[0],
        "grounds": grounds.of(on, state.around.site.settings.directory),
        "features": map_marks.features(on, road, tuple(state.catalogue.tables())),
    }
