"""Where rows are on a body and on the Sun's disc, against numpy; regions of searches as MOCs, against mocpy."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import shapely
from astropy import units
from astropy.coordinates import Latitude, Longitude
from mocpy import MOC
from search_table import ROWS, TABLE

from hven.model.errors import UserError
from hven.model.sky import Regions, region_files
from hven.model.table import Column, Table
from hven.model.types import FLOAT64, INT32, parse_type
from hven.portal._explore import map_frames, map_places, parse_search, search_regions
from hven.portal._explore.page_queries import QueryRunner
from hven.portal._explore.search import TableSearch
from hven.site import Site
from hven.site.auth._access_control import ANONYMOUS_PRINCIPAL, DEFAULT_POLICIES
from hven.testing.policies import build_odd_rows_hidden_policies
from hven.testing.site import open_tiny_site

NUMBER = 6000


def column(name: str, unit: str = "deg", ucd: str = "", description: str = "") -> Column:
    return Column(name=name, type=FLOAT64, unit=unit, ucd=ucd, description=description)


KEY = Column(name="id", type=INT32, rank=1)
BOXES = Table(
    schema="a",
    name="boxes",
    primary=("id",),
    columns=(KEY, *(column(name) for name in ("c1min", "c1max", "c2min", "c2max"))),
)
SPOTS = Table(
    schema="a",
    name="spots",
    primary=("id",),
    columns=(
        KEY,
        column("lon", ucd="pos.bodyrc.lon", description="Carrington longitude"),
        column("lat", ucd="pos.bodyrc.lat"),
    ),
)
DISC = Table(
    schema="a", name="disc", primary=("id",), columns=(KEY, column("hpc_x", "arcsec"), column("hpc_y", "arcsec"))
)


OBSERVER = ("subobserver_longitude_min", "subobserver_latitude_min", "subobserver_longitude_max", "subobserver_latitude_max")  # fmt: skip


def describe_whole_discs(unit: str | None = None) -> Table:
    """Describe images of whole discs as EPN-TAP does: c1 and c2 without a unit, and the point below the observer."""
    empty = tuple(Column(name=name, type=FLOAT64, unit=unit) for name in ("c1min", "c1max", "c2min", "c2max"))
    return Table(schema="a", name="discs", primary=("id",), columns=(KEY, *empty, *map(column, OBSERVER)))


def build_tables() -> dict[str, pa.Table]:
    random = np.random.default_rng(1610)
    west, wide = random.uniform(0, 360, NUMBER), random.uniform(0, 20, NUMBER)
    south = random.uniform(-90, 80, NUMBER)
    ids = pa.array(np.arange(NUMBER), pa.int32())
    return {
        "boxes": pa.table({"id": ids, "c1min": west, "c1max": (west + wide) % 360, "c2min": south, "c2max": south + random.uniform(0, 10, NUMBER)}),
        "spots": pa.table({"id": ids, "lon": west - 180, "lat": south}),
        "disc": pa.table({"id": ids, "hpc_x": random.uniform(-900, 900, NUMBER), "hpc_y": random.uniform(-900, 900, NUMBER)}),
    }  # fmt: skip


DATA = build_tables()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    tables = {f"a.{table.name}": (table, DATA[table.name]) for table in (BOXES, SPOTS, DISC)}
    stars = {"stars.main": (TABLE, pa.Table.from_pylist(ROWS, schema=TABLE.arrow_schema))}
    with open_tiny_site(tmp_path_factory.mktemp("places"), {**tables, **stars}) as found:
        yield found


@pytest.fixture
def asking(site: Site) -> QueryRunner:
    return QueryRunner(
        site=site, principal=ANONYMOUS_PRINCIPAL, policies=DEFAULT_POLICIES, published_state=site.get_published_state()
    )


def test_frames_are_found_in_the_columns() -> None:
    boxes, spots, disc = (map_frames.find_map_frame(table) for table in (BOXES, SPOTS, DISC))
    assert boxes is not None
    assert (boxes.fields, boxes.bounds) == (("c1", "c2"), ("c1min", "c2min", "c1max", "c2max"))
    assert spots is not None
    assert (spots.fields, spots.said, spots.radius) == (("lon", "lat"), "Carrington", 0)
    assert disc is not None
    assert (disc.said, disc.unit) == ("helioprojective", "arcsec")
    assert disc.radius > 900
    assert map_frames.find_map_frame(TABLE) is None
    assert map_frames.classify_table_map(TABLE) == "sky"
    # a position that is said to be one, on a body
    assert map_frames.find_map_frame(replace(SPOTS, position=("lon", "lat"))) == spots
    assert map_frames.classify_table_map(replace(TABLE, columns=(*TABLE.columns, *SPOTS.columns[1:]))) == "sky"


@pytest.mark.parametrize("table", [BOXES, SPOTS, DISC])
def test_many_rows_are_counted_in_a_grid(asking: QueryRunner, table: Table) -> None:
    frame = map_frames.find_map_frame(table)
    assert frame is not None
    rows = {name: np.asarray(DATA[table.name].column(name)) for name in frame.bounds}
    west, south, east, north = (rows[name] for name in frame.bounds)
    lon = west + ((east - west) % 360 if table is BOXES else 0) / 2
    lat = (south + north) / 2
    side = (frame.box[2] - frame.box[0]) / map_places.GRID_COLUMNS
    across = np.floor((lon - frame.box[0]) / side).astype(int)
    across = across if frame.radius else across % map_places.GRID_COLUMNS
    up = np.minimum(np.floor((lat - frame.box[1]) / side).astype(int), round((frame.box[3] - frame.box[1]) / side) - 1)
    wanted: dict[tuple[int, int], int] = {}
    for at in zip(across.tolist(), up.tolist(), strict=True):
        wanted[at] = wanted.get(at, 0) + 1
    found = map_places.find_row_places_on_body(TableSearch(table=table), asking)
    assert (found.total_rows, sum(found.counts), found.keys) == (NUMBER, NUMBER, ())
    corners = [tuple(map(float, shape.split()[:2])) for shape in found.shapes if shape is not None]
    got = {
        (round((x - frame.box[0]) / side), round((y - frame.box[1]) / side)): count
        for (x, y), count in zip(corners, found.counts, strict=True)
    }
    assert got == wanted


def test_few_rows_are_drawn_themselves(asking: QueryRunner) -> None:
    found = map_places.find_row_places_on_body(parse_search([("id", "..9")], SPOTS), asking)
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
        found = map_places.find_row_places_on_body(
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
        map_places.find_row_places_on_body(TableSearch(table=TABLE), asking)


def load(data: bytes, directory: Path) -> MOC:
    path = directory / "moc.fits"
    path.write_bytes(data)
    return MOC.load(str(path), "fits")


@pytest.mark.parametrize(
    "place",
    [
        ("_near", "80,-20,7"),
        ("_in", "POLYGON 10 10 20 10 15 25"),
        ("_near", "0,89.9,0.001"),
        ("_in", "CIRCLE 359 0 60"),
    ],
)
def test_the_region_of_a_search_is_mocpys(tmp_path: Path, place: tuple[str, str]) -> None:
    found = search_regions.build_region_moc(parse_search([place], TABLE))
    shape = search_regions.find_search_shape(parse_search([place], TABLE))
    if place[1].startswith("POLYGON"):
        theirs = MOC.from_polygon(Longitude([10, 20, 15], "deg"), Latitude([10, 10, 25], "deg"), max_depth=found.order)
    else:
        lon, lat, radius = shape.lon, shape.lat, shape.radius  # type: ignore[union-attr]
        theirs = MOC.from_cone(
            Longitude(lon, "deg"), Latitude(lat, "deg"), radius=radius * units.deg, max_depth=found.order
        )
    mine = load(region_files.write_moc(found), tmp_path)
    assert b"COORDSYS= 'C" in region_files.write_moc(found)
    assert b"COORDSYS= 'mars" in region_files.write_moc(found, body="Mars")
    assert theirs.difference(mine).sky_fraction == 0
    assert mine.difference(theirs).sky_fraction <= 0.1 * theirs.sky_fraction, "cells at the edge alone"
    assert mine.sky_fraction < 1.5 * shape.compute_area() / 41252.96  # type: ignore[union-attr]


def test_what_rows_cover(asking: QueryRunner, site: Site, tmp_path: Path) -> None:
    few = parse_search([("dec", "0..")], TABLE)
    rows = [row for row in ROWS if row["dec"] >= 0]
    mine = load(region_files.write_moc(search_regions.build_rows_moc(few, asking)), tmp_path)
    theirs = MOC.from_lonlat(
        [row["ra"] for row in rows] * units.deg,
        [row["dec"] for row in rows] * units.deg,
        max_norder=search_regions.ROW_COVERAGE_ORDER,
    )
    assert mine == theirs
    every = load(region_files.write_moc(search_regions.build_rows_moc(TableSearch(table=TABLE), asking)), tmp_path)
    assert theirs.difference(every.degrade_to_order(search_regions.ROW_COVERAGE_ORDER)).sky_fraction == 0
    half = QueryRunner(
        site=site,
        principal=ANONYMOUS_PRINCIPAL,
        policies=build_odd_rows_hidden_policies("id"),
        published_state=site.get_published_state(),
    )
    seen = load(region_files.write_moc(search_regions.build_rows_moc(TableSearch(table=TABLE), half)), tmp_path)
    shown = [row for row in ROWS if row["id"] % 2 == 0]
    assert seen == MOC.from_lonlat(
        [row["ra"] for row in shown] * units.deg,
        [row["dec"] for row in shown] * units.deg,
        max_norder=search_regions.ROW_COVERAGE_ORDER,
    ), "cells of hidden rows are not told"
    with pytest.raises(UserError, match="the search has no place"):
        search_regions.build_region_moc(few)


def test_other_ways_to_write_it() -> None:
    found = search_regions.build_region_moc(parse_search([("_near", "80,-20,7")], TABLE))
    assert MOC.from_string(region_files.write_moc(found, "ascii").decode(), "ascii") == MOC.from_string(
        region_files.write_moc(found, "json").decode(), "json"
    )


def test_images_of_whole_discs_are_where_their_observers_stand(tmp_path: Path) -> None:
    """They have no c1 and c2: maps show the point below the observer, and a box on the map searches by it, also across 0."""
    table = describe_whole_discs()
    framed = map_frames.find_map_frame(table)
    assert framed is not None
    assert (framed.bounds, framed.fields, map_frames.classify_table_map(table)) == (OBSERVER, ("subobserver_longitude", "subobserver_latitude"), "body")  # fmt: skip
    covered = map_frames.find_map_frame(describe_whole_discs("deg"))
    assert covered is not None
    assert covered.bounds == ("c1min", "c2min", "c1max", "c2max"), "what is covered goes first"
    lons, lats = [350.0, 5.0, 180.0, None], [-7.0, 3.0, 0.0, None]
    rows = {"id": [1, 2, 3, 4], **dict.fromkeys(("c1min", "c1max", "c2min", "c2max"), [None] * 4)}
    rows |= dict(zip(OBSERVER, (lons, lats, lons, lats), strict=True))
    with open_tiny_site(tmp_path, {"a.discs": (table, pa.table(rows, schema=table.arrow_schema))}) as site:
        asking = QueryRunner(
            site=site,
            principal=ANONYMOUS_PRINCIPAL,
            policies=DEFAULT_POLICIES,
            published_state=site.get_published_state(),
        )
        found = map_places.find_row_places_on_body(TableSearch(table=table), asking)
        assert found.total_rows == 3
        assert sorted(found.shapes) == ["180 0 180 0", "350 -7 350 -7", "5 3 5 3"]
        near = parse_search([("subobserver_longitude", "340..10")], table)
        assert near.faults == ()
        assert asking.fetch_number(near.build_count_query()) == 2
