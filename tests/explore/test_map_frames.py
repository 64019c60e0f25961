"""Frames of maps of bodies and of the Sun's disc; regions of searches as MOCs, against mocpy."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from astropy import units
from astropy.coordinates import Latitude, Longitude
from mocpy import MOC
from search_table import ROWS, TABLE

from hven.model.errors import UserError
from hven.model.sky import region_files
from hven.model.table import Column, Table
from hven.model.types import FLOAT64, INT32
from hven.portal._explore import map_frames, parse_search, search_regions
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


def build_whole_discs() -> pa.Table:
    """Build rows of such images."""
    lons, lats = [350.0, 5.0, 180.0, None], [-7.0, 3.0, 0.0, None]
    rows = {"id": [1, 2, 3, 4], **dict.fromkeys(("c1min", "c1max", "c2min", "c2max"), [None] * 4)}
    rows |= dict(zip(OBSERVER, (lons, lats, lons, lats), strict=True))
    return pa.table(rows, schema=describe_whole_discs().arrow_schema)


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
def test_the_region_of_a_search_equals_that_of_mocpy(tmp_path: Path, place: tuple[str, str]) -> None:
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
    with pytest.raises(UserError, match="the search contains no place"):
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
    with open_tiny_site(tmp_path, {"a.discs": (table, build_whole_discs())}) as site:
        asking = QueryRunner(
            site=site,
            principal=ANONYMOUS_PRINCIPAL,
            policies=DEFAULT_POLICIES,
            published_state=site.get_published_state(),
        )
        near = parse_search([("subobserver_longitude", "340..10")], table)
        assert near.faults == ()
        assert asking.fetch_number(near.build_count_query()) == 2
