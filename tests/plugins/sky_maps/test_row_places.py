"""Where rows are on the sky, on a body and on the Sun's disc, against numpy and GEOS."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import shapely
import test_observations
from asgi_client import Client
from search_table import TABLE
from test_dali_outlines import BOX, open_outline_site
from test_map_frames import BOXES, DATA, DISC, NUMBER, SPOTS, asking, build_whole_discs, describe_whole_discs, site
from test_observations import fetch_page

from hven.ingest.api.runs import ingest_collection
from hven.model.errors import UserError
from hven.model.sky import Regions, region_files
from hven.model.table import Column, Table
from hven.model.types import parse_type
from hven.plugins.sky_maps import row_places
from hven.portal._explore import map_frames, parse_search
from hven.portal._explore.page_queries import QueryRunner
from hven.portal._explore.search import TableSearch
from hven.site.auth._access_control import ANONYMOUS_PRINCIPAL, DEFAULT_POLICIES, OWNER_PRINCIPAL
from hven.testing.site import open_tiny_site

__all__ = ["asking", "site"]
observation_client = test_observations.client


@pytest.mark.parametrize("table", [BOXES, SPOTS, DISC])
def test_many_rows_are_counted_in_a_grid(asking: QueryRunner, table: Table) -> None:
    frame = map_frames.find_map_frame(table)
    assert frame is not None
    rows = {name: np.asarray(DATA[table.name].column(name)) for name in frame.bounds}
    west, south, east, north = (rows[name] for name in frame.bounds)
    lon = west + ((east - west) % 360 if table is BOXES else 0) / 2
    lat = (south + north) / 2
    side = (frame.box[2] - frame.box[0]) / row_places.GRID_COLUMNS
    across = np.floor((lon - frame.box[0]) / side).astype(int)
    across = across if frame.radius else across % row_places.GRID_COLUMNS
    up = np.minimum(np.floor((lat - frame.box[1]) / side).astype(int), round((frame.box[3] - frame.box[1]) / side) - 1)
    wanted: dict[tuple[int, int], int] = {}
    for at in zip(across.tolist(), up.tolist(), strict=True):
        wanted[at] = wanted.get(at, 0) + 1
    found = row_places.find_row_places_on_body(TableSearch(table=table), asking)
    assert (found.total_rows, sum(found.counts), found.keys) == (NUMBER, NUMBER, ())
    corners = [tuple(map(float, shape.split()[:2])) for shape in found.shapes if shape is not None]
    got = {
        (round((x - frame.box[0]) / side), round((y - frame.box[1]) / side)): count
        for (x, y), count in zip(corners, found.counts, strict=True)
    }
    assert got == wanted
    assert list(got) == sorted(got), "the order of groups in the engine must not show"


def test_few_rows_are_drawn_themselves(asking: QueryRunner) -> None:
    found = row_places.find_row_places_on_body(parse_search([("id", "..9")], SPOTS), asking)
    assert (found.total_rows, found.counts) == (10, ())
    rows = DATA["spots"].slice(0, 10)
    shapes = {
        key: [float(one) for one in (shape or "").split()] for key, shape in zip(found.keys, found.shapes, strict=True)
    }
    for number, lon, lat in zip(*(rows.column(name).to_pylist() for name in ("id", "lon", "lat")), strict=True):
        assert shapes[f"[{number}]"] == pytest.approx([lon, lat, lon, lat], rel=1e-3, abs=1e-2)


def test_regions_are_drawn_where_they_are(tmp_path: Path) -> None:
    """Rings on the map from 0 to 360: holes, parts, across 0, poles, cells; of each point GEOS says the same as the regions themselves."""
    box = "polygon {0} {1} {2} {1} {2} {3} {0} {3}".format
    hole = Regions.from_ranges(60, 110, -30, 20).difference(Regions.from_ranges(70, 90, -20, 0))
    given: dict[str, tuple[str | None, str | None]] = {
        "plain": (box(20, 10, 50, 30), None),
        "over": (box(340, -40, 385, -10), None),
        "half": (box(165, -20, 200, 15), None),
        "parts": (f"{box(220, 20, 240, 40)} {box(350, 30, 375, 50)}", None),
        "pole": ("polygon 0 60 90 60 180 60 270 60", None),
        "circle": ("circle 1 -70 15", None),
        "cells": (box(60, -30, 110, 20), str(hole.to_mocs()[0][0])),
        "none": (None, None),
    }
    table = replace(
        BOXES,
        columns=(
            *BOXES.columns,
            Column(name="s_region", type=parse_type("multishape")),
            Column(name="coverage", type=parse_type("moc")),
        ),
    )
    count = len(given)
    data = pa.table(
        {
            "id": pa.array(range(count), pa.int32()),
            **{name: np.zeros(count) for name in ("c1min", "c1max", "c2min", "c2max")},
            **{
                name: pa.array([one[at] for one in given.values()], pa.string())
                for at, name in enumerate(("s_region", "coverage"))
            },
        }
    )
    with open_tiny_site(tmp_path, {"a.boxes": (table, data)}) as site:
        found = row_places.find_row_places_on_body(
            TableSearch(table=table),
            QueryRunner(
                site=site,
                principal=ANONYMOUS_PRINCIPAL,
                policies=DEFAULT_POLICIES,
                published_state=site.get_published_state(),
            ),
        )
    rng = np.random.default_rng(7)
    lon, lat = rng.uniform(0, 360, 4000), np.degrees(np.arcsin(rng.uniform(-1, 1, 4000)))
    outlines = dict(zip(found.keys, found.outlines, strict=True))
    for number, (name, (text, cells)) in enumerate(given.items()):
        rings = outlines[f"[{number}]"]
        if text is None:
            assert rings == []
            continue
        inside = np.zeros(len(lon), bool)
        for ring in rings:
            corners = np.reshape(ring, (-1, 2))
            assert corners[:, 0].min() >= 0, name
            assert corners[:, 0].max() <= 360, name
            inside ^= shapely.contains_xy(shapely.Polygon(corners), lon, lat)
        region = region_files.parse_region_texts([text]).regions if cells is None else hole
        wrong = inside != region.take(np.zeros(len(lon), np.int64)).contains(lon, lat)
        assert wrong.sum() <= (60 if cells else 1), name  # cells are as coarse as a map shows


def test_a_table_without_places_says_so(asking: QueryRunner) -> None:
    with pytest.raises(UserError, match="no positions on a body"):
        row_places.find_row_places_on_body(TableSearch(table=TABLE), asking)


def test_images_of_whole_discs_are_drawn_where_their_observers_stand(tmp_path: Path) -> None:
    table = describe_whole_discs()
    with open_tiny_site(tmp_path, {"a.discs": (table, build_whole_discs())}) as opened:
        runner = QueryRunner(
            site=opened,
            principal=ANONYMOUS_PRINCIPAL,
            policies=DEFAULT_POLICIES,
            published_state=opened.get_published_state(),
        )
        found = row_places.find_row_places_on_body(TableSearch(table=table), runner)
        assert found.total_rows == 3
        assert sorted(found.shapes) == ["180 0 180 0", "350 -7 350 -7", "5 3 5 3"]


def test_maps_of_the_sky_draw_shapes_of_numbers(tmp_path: Path) -> None:
    with open_outline_site(tmp_path, BOX.format(view="sky"), "celestial") as opened:
        ingest_collection(opened, "maps")
        opened.refresh_published_state()
        holdings = opened.get_published_state()
        runner = QueryRunner(
            site=opened, principal=OWNER_PRINCIPAL, policies=DEFAULT_POLICIES, published_state=holdings
        )
        found = row_places.find_row_places_on_sky(
            TableSearch(table=holdings.tables_by_name["maps.epn_core"].table), runner
        )
        assert found.shapes[0] == "polygon 10 5 10 6 12 6 12 5"
        assert len(found.shapes) == 3


def test_maps_say_that_they_count_files(observation_client: Client) -> None:
    for asked, files in ({}, True), ({"_files": "each"}, False):
        found = fetch_page(observation_client, "said/placed/places", **asked)
        assert (found["files"], found["total"]) == (files, 40)
        assert ("files" in fetch_page(observation_client, "said/placed/rows", **asked)) is files
