"""Build one map of the sky or of a body with the positions of rows of several local and remote tables."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from hven.model.sky import bodies
from hven.portal.api.table_places import find_map_frame, list_base_maps, list_body_features

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hven.plugins.federated_search.global_search import SearchableTable, TableQueryOutcome
    from hven.portal.api.pages import PageContext
    from hven.portal.api.table_rows import QueryRunner, TableSearch

POSITION_COLUMNS = {"epn": ("c1min", "c2min", "c1max", "c2max"), "obscore": ("s_ra", "s_dec")}
MAX_TABLE_ROWS = 500


def find_searched_body(search: TableSearch) -> str:
    """Return the only body that a search names; empty if it names none, several or an unknown one."""
    target_names: list[str] = []
    for name, values in search.conditions:
        if name.lower() == "target_name":
            target_names += values
    body_names = {body.name.casefold(): body.name for body in bodies.iterate_solar_system_bodies()}
    if len(target_names) == 1:
        return body_names.get(target_names[0].casefold(), "")
    return ""


def classify_search_map(kind: str, search: TableSearch) -> str:
    """Return what a map of the rows of a search shows: ``sky``, ``body``, or an empty text."""
    if kind == "obscore":
        return "sky"
    if find_searched_body(search):
        return "body"
    return ""


def has_map_places(target: SearchableTable, kind: str) -> bool:
    """Return whether rows of a table can be on the map; True for a remote table, whose columns are unknown."""
    if target.table is None:
        return True
    if kind == "obscore":
        return True
    map_frame = find_map_frame(target.table)
    return map_frame is not None and not map_frame.radius


def build_map_json(
    target_results: Sequence[TableQueryOutcome],
    kind: str,
    search: TableSearch,
    page_context: PageContext,
    runner: QueryRunner,
) -> dict[str, Any]:
    """Build the JSON of the map; its rows are ``TABLE KEY``, remote ones ``TABLE #NUMBER``."""
    keys: list[str] = []
    values: list[np.ndarray[Any, np.dtype[np.float64]]] = []
    for target_result in target_results:
        rows = target_result.first_rows
        if rows is None or not rows.num_rows:
            continue
        position_columns = [rows.column(name).to_numpy(zero_copy_only=False) for name in POSITION_COLUMNS[kind]]
        coordinates = np.stack([column_values.astype(np.float64) for column_values in position_columns])
        is_finite = np.isfinite(coordinates).all(axis=0)
        row_names = target_result.keys or tuple(f"#{number}" for number in range(rows.num_rows))
        keys += [f"{target_result.target.key} {row_names[number]}" for number in np.flatnonzero(is_finite)]
        values.append(coordinates[:, is_finite])
    if values:
        all_coordinates = np.concatenate(values, axis=1)
    else:
        all_coordinates = np.zeros((len(POSITION_COLUMNS[kind]), 0))
    map_facts: dict[str, Any] = {
        "kind": classify_search_map(kind, search),
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
    radii = next((body.radii for body in bodies.iterate_solar_system_bodies() if body.name == body_name), None)
    tables = [target_result.target.table for target_result in target_results]
    frames = [find_map_frame(table) for table in tables if table is not None]
    if frames and all(frame == frames[0] for frame in frames):
        map_frame = frames[0]
    else:
        map_frame = None
    site_directory = page_context.context.site.settings.directory
    site_tables = tuple(page_context.catalogue.iterate_tables())
    return {
        **map_facts,
        "shapes": [" ".join(f"{value:.5g}" for value in box) for box in all_coordinates.T],
        "frame": None if map_frame is None else asdict(map_frame),
        "body": body_name,
        "km": None if radii is None else radii[0],
        "grounds": list_base_maps(body_name, site_directory),
        "features": list_body_features(body_name, runner, site_tables),
    }
