"""Where the rows of several tables are, here and elsewhere: one map of a body, or of the sky."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from hven.model.sky import bodies
from hven.portal._explore import map_frames, map_marks
from hven.portal._pages import body_maps

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hven.portal._explore import TableSearch
    from hven.portal._explore.global_search import SearchTarget, TargetResult
    from hven.portal._explore.page_queries import QueryRunner
    from hven.portal._views.page_formats import PageContext

POSITION_COLUMNS = {"epn": ("c1min", "c2min", "c1max", "c2max"), "obscore": ("s_ra", "s_dec")}
MAX_TABLE_ROWS = 500  # rows of a table


def find_searched_body(search: TableSearch) -> str:
    """Return the body that a search asks for alone; empty: none, or several, or it is none that is known."""
    target_names = [value for name, values in search.conditions if name.lower() == "target_name" for value in values]
    body_names = {
        solar_system_body.name.casefold(): solar_system_body.name for solar_system_body in bodies.iterate_bodies()
    }
    if len(target_names) == 1:
        return body_names.get(target_names[0].casefold(), "")
    return ""


def classify_map(kind: str, search: TableSearch) -> str:
    """Return what a map of the rows of a search is of: ``sky``, ``body``, or nothing."""
    if kind == "obscore":
        return "sky"
    return "body" if find_searched_body(search) else ""


def has_places(target: SearchTarget, kind: str) -> bool:
    """Return whether rows of a table may be on the map; of one elsewhere its columns are not known yet."""
    if target.table is None:
        return True
    if kind == "obscore":
        return True
    map_frame = map_frames.find_map_frame(target.table)
    return map_frame is not None and not map_frame.radius


def build_map(
    target_results: Sequence[TargetResult],
    kind: str,
    search: TableSearch,
    page_context: PageContext,
    runner: QueryRunner,
) -> dict[str, Any]:
    """Return it as the JSON of all maps: rows by ``TABLE KEY``, those elsewhere by ``TABLE #NUMBER``."""
    keys: list[str] = []
    values: list[np.ndarray[Any, np.dtype[np.float64]]] = []
    for target_result in target_results:
        if target_result.first_rows is None or not target_result.first_rows.num_rows:
            continue
        coordinates = np.stack(
            [
                target_result.first_rows.column(name).to_numpy(zero_copy_only=False).astype(np.float64)
                for name in POSITION_COLUMNS[kind]
            ]
        )
        is_finite = np.isfinite(coordinates).all(axis=0)
        names = target_result.keys or tuple(
            f"#{all_coordinates}" for all_coordinates in range(target_result.first_rows.num_rows)
        )
        keys += [
            f"{target_result.target.key} {names[all_coordinates]}" for all_coordinates in np.flatnonzero(is_finite)
        ]
        values.append(coordinates[:, is_finite])
    if values:
        all_coordinates = np.concatenate(values, axis=1)
    else:
        all_coordinates = np.zeros((len(POSITION_COLUMNS[kind]), 0))
    map_facts: dict[str, Any] = {
        "kind": classify_map(kind, search),
        "total": sum(target_result.row_count or 0 for target_result in target_results),
        "lon": [],
        "lat": [],
        "counts": [],
        "radius": 0.0,
        "keys": keys,
        "shapes": [],
        "outlines": [],
        "names": [],
        "colouring": None,
        "colours": [],
        "frame": None,
    }
    if kind == "obscore":
        return {**map_facts, "lon": all_coordinates[0].tolist(), "lat": all_coordinates[1].tolist()}
    body_name = find_searched_body(search)
    radii = next(
        (target_result.radii for target_result in bodies.iterate_bodies() if target_result.name == body_name), None
    )
    frames = [
        map_frames.find_map_frame(target_result.target.table)
        for target_result in target_results
        if target_result.target.table is not None
    ]
    if frames and all(target_result == frames[0] for target_result in frames):
        map_frame = frames[0]
    else:
        map_frame = None
    return {
        **map_facts,
        "shapes": [" ".join(f"{value:.5g}" for value in box) for box in all_coordinates.T],
        "frame": None if map_frame is None else asdict(map_frame),
        "body": body_name,
        "km": None if radii is None else radii[0],
        "grounds": body_maps.list_base_maps(body_name, page_context.context.site.settings.directory),
        "features": map_marks.list_features(body_name, runner, tuple(page_context.catalogue.iterate_tables())),
    }
