"""Searches in areas of plots: what they find, against shapely; their address, query and faults."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import parse_qsl

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from search_table import ROWS, TABLE
from shapely import Polygon, contains_xy, distance, points

from hven import query
from hven.model import plugins
from hven.model.table import Column, Table
from hven.model.types import FLOAT64, INT32, STRING, TIMESTAMP
from hven.plugins.plot_areas.area_conditions import AREA, MAX_AREA_CHARACTERS
from hven.portal._explore import TableSearch, parse_search
from hven.portal._explore.page_queries import QueryRunner
from hven.portal._explore.plots import MAX_POINTS, build_density_grid, fetch_plot_points
from hven.site import Site
from hven.site.auth._access_control import ANONYMOUS_PRINCIPAL, DEFAULT_POLICIES
from hven.testing.site import open_tiny_site

MIXED = Table(
    schema="mixed",
    name="main",
    primary=("id",),
    columns=(
        Column(name="id", type=INT32),
        Column(name="seen", type=TIMESTAMP, ucd="time.epoch"),
        Column(name="days", type=FLOAT64, unit="d", ucd="time.epoch", epoch=2_400_000.5),
        Column(name="freq", type=FLOAT64, unit="Hz", ucd="em.freq"),
        Column(name="Flux; total", type=FLOAT64, unit="Jy"),
        Column(name="count", type=INT32),
        Column(name="word", type=STRING),
        Column(name="secret", type=FLOAT64, hidden=True),
    ),
)
# shapely warns of sides of 1e-160 degrees
LONGITUDES, LATITUDES = (st.floats(low, high).map(lambda value: round(value, 6)) for low, high in ((0, 360), (-80, 80)))
COUNT = 400
MADE = np.random.default_rng(51)
SEEN = np.datetime64("1850-01-01", "us") + MADE.integers(0, 365 * 86_400, COUNT) * np.timedelta64(1_000_000, "us")
FREQUENCIES = 10 ** MADE.uniform(13, 15, COUNT)
FLUXES = MADE.normal(0, 1, COUNT)
FLUXES[:5] = np.nan
NUMBERS = MADE.integers(0, 10, COUNT)
DATA = {
    "id": range(COUNT),
    "seen": SEEN,
    "days": MADE.uniform(50_000, 50_100, COUNT),
    "freq": FREQUENCIES,
    "Flux; total": FLUXES,
    "count": [None if number == 9 else number for number in NUMBERS],
    "word": ["a"] * COUNT,
    "secret": np.zeros(COUNT),
}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    tables = {
        "stars.main": (TABLE, pa.Table.from_pylist(ROWS, schema=TABLE.arrow_schema)),
        "mixed.main": (MIXED, pa.table(DATA, schema=MIXED.arrow_schema)),
    }
    with open_tiny_site(tmp_path_factory.mktemp("areas"), tables) as opened_site:
        yield opened_site


def parse_area_search(area: str | list[str], table: Table = TABLE) -> TableSearch:
    areas = [area] if isinstance(area, str) else area
    return parse_search([("_area", text) for text in areas], table)


def find_ids(site: Site, search: TableSearch) -> set[int]:
    """Find the rows by the search, and check that its text as ADQL finds the same."""
    assert search.faults == ()
    with query.run_query(search.build_query(columns=["id"]), site=site) as result:
        ids = set(result.read_table().column("id").to_pylist())
    with query.run_query(search.write_adql(), site=site) as result:
        assert set(result.read_table().column("id").to_pylist()) == ids
    return ids


@given(corners=st.lists(st.tuples(LONGITUDES, LATITUDES), min_size=3, max_size=12), seed=st.integers(0, 9))
def test_an_area_finds_the_rows_of_shapely(site: Site, corners: list[tuple[float, float]], seed: int) -> None:
    middle = np.mean(corners, axis=0)
    order = np.argsort([np.arctan2(y - middle[1], x - middle[0]) for x, y in corners])
    outline = [corners[index] for index in order]
    polygon = Polygon(outline)
    if not polygon.is_valid or polygon.area < 1:
        return
    text = ", ".join(f"{x!r} {y!r}" for x, y in outline)
    found = find_ids(site, parse_area_search(f"ra;dec;{text}"))
    x, y = (np.array([row[name] for row in ROWS], np.float64) for name in ("ra", "dec"))
    is_far = distance(polygon.boundary, points(x, y)) > 1e-9
    wanted = contains_xy(polygon, x, y)
    assert found - {row["id"] for row in ROWS if not is_far[row["id"]]} == set(np.flatnonzero(wanted & is_far).tolist())


def test_rows_without_a_value_are_not_found(site: Site) -> None:
    found = find_ids(site, parse_area_search("size;dec;-1 -99, 99 -99, 99 99, -1 99"))
    assert found == {row["id"] for row in ROWS if row["size"] is not None}
    found = find_ids(site, parse_area_search('count; "Flux; total"; -1 -99, 99 -99, 99 99, -1 99', MIXED))
    assert found == set(np.flatnonzero(np.isfinite(FLUXES) & (NUMBERS < 9)).tolist())


def test_sides_are_straight_over_logarithms(site: Site) -> None:
    corners = [(1.2e13, -1.5), (9e14, -0.5), (3e13, 1.7)]
    polygon = Polygon([(np.log10(x), y) for x, y in corners])
    text = ", ".join(f"{x} {y}" for x, y in corners)
    found = find_ids(site, parse_area_search(f'freq;"Flux; total";{text};x', MIXED))
    wanted = set(np.flatnonzero(contains_xy(polygon, np.log10(FREQUENCIES), FLUXES)).tolist())
    assert found == wanted
    linear = find_ids(site, parse_area_search(f'freq;"Flux; total";{text}', MIXED))
    assert linear == set(np.flatnonzero(contains_xy(Polygon(corners), FREQUENCIES, FLUXES)).tolist())
    assert linear != wanted
    # values without a logarithm lie outside, and are no fault
    positive = find_ids(site, parse_area_search('freq;"Flux; total";1e13 1e-9, 1e15 1e-9, 1e15 9, 1e13 9;xy', MIXED))
    assert positive == set(np.flatnonzero(FLUXES > 1e-9).tolist())


def test_sides_are_straight_in_the_unit_of_the_plot(site: Site) -> None:
    wavelengths = 299_792_458 / FREQUENCIES * 1e9
    corners = [(300.0, -2.0), (20_000.0, -1.0), (5_000.0, 2.0)]
    text = ", ".join(f"{x} {y}" for x, y in corners)
    found = find_ids(site, parse_area_search(f'freq;"Flux; total";{text};;nm', MIXED))
    assert found == set(np.flatnonzero(contains_xy(Polygon(corners), wavelengths, FLUXES)).tolist())
    found = find_ids(site, parse_area_search('freq;"Flux; total";20 -9, 500 -9, 500 9, 20 9;;THz', MIXED))
    assert found == set(np.flatnonzero((FREQUENCIES >= 2e13) & (FREQUENCIES <= 5e14) & np.isfinite(FLUXES)).tolist())


@pytest.mark.parametrize(
    "corners", ["1850-03-01T00:00 -1, 1850-09-01 -1, 1850-09-01Z 9, 1850-03-01 9", "2396817.5 -1, 2397001.5 -1, 2397001.5 9, 2396817.5 9"]
)  # fmt: skip
def test_times_before_1900_are_times_or_julian_dates(site: Site, corners: str) -> None:
    corners = corners.replace("1850-09-01Z", "1850-09-01T00:00:00Z")
    found = find_ids(site, parse_area_search(f"seen;count;{corners}", MIXED))
    is_in_time = (np.datetime64("1850-03-01") <= SEEN) & (np.datetime64("1850-09-01") >= SEEN)
    assert found == set(np.flatnonzero(is_in_time & (NUMBERS < 9)).tolist())


def test_times_that_count_days_are_found_by_dates(site: Site) -> None:
    found = find_ids(
        site, parse_area_search("days;count;1995-10-20 -1, 1995-11-20 -1, 1995-11-20 9, 1995-10-20 9", MIXED)
    )
    days = np.asarray(DATA["days"])
    assert found == set(np.flatnonzero((days >= 50_010) & (days <= 50_041) & (NUMBERS < 9)).tolist())


def test_several_areas_are_alternatives_and_other_conditions_narrow_them(site: Site) -> None:
    areas = ["ra;dec;0 -90, 90 -90, 90 90, 0 90", "ra;dec;270 -90, 360 -90, 360 90, 270 90"]
    found = find_ids(site, parse_area_search(areas))
    assert found == {row["id"] for row in ROWS if not 90 < row["ra"] < 270}
    pairs = [("_area", areas[0]), ("size", "..2")]
    narrowed = parse_search(pairs, TABLE)
    assert find_ids(site, narrowed) == {row["id"] for row in ROWS if row["ra"] <= 90 and (row["size"] or 9) <= 2}


def test_the_address_is_written_as_it_was_read() -> None:
    search = parse_area_search(["RA; dec; 0 0, 1 0, 1 1", "ra;dec;5 5, 6 5, 6 6;;deg"])
    assert parse_search(search.list_parameters(), TABLE) == search
    assert [name for name, _ in search.list_parameters()] == ["_area", "_area"]
    assert "BETWEEN 0.0 AND 1.0" in search.write_adql()


@pytest.mark.parametrize(
    ("area", "message"),
    [
        ("ra;dec", "is not an area"),
        ("ra;dec;1 2, 3 4", "2 corners"),
        ("ra;dec;1 2, 3 4, 5 x", "'5 x' is not a corner over ra and dec"),
        ("ra;dec;1 2, 3 4, 5", "'5' is not a corner"),
        ("ra;dec;1 2, 3 4, inf 5", "'inf 5' is not a corner"),
        ("ra;dec;1 2, 3 4, nan 5", "'nan 5' is not a corner"),
        ("ra;dec;1 2, 3 4, 0 5;x", "'0 5' is not a corner"),
        ("ra;dec;1 2, 3 4, 5 6;q", "axes with logarithms"),
        ("ra;dec;1 2, 3 4, 5 6;;parsec", "no values in 'parsec'"),
        ("ra;dec;1 2, 3 4, 5 6;;;;;", "is not an area"),
        ("ra;target_name;1 2, 3 4, 5 6", "no column 'target_name' of numbers"),
        ("nope;dec;1 2, 3 4, 5 6", "no column 'nope'"),
        ("ra;dec;1 1, 1 1, 1 1", "lie on one line"),
        ("ra;dec;1 1, 2 1, 3 1", "lie on one line"),
        ("ra;dec;" + "1 2," * 201, "201 corners"),
        ("ra;dec;" + "1" * MAX_AREA_CHARACTERS, "more than 16000 characters"),
        ("ra;dec;" + ",".join(f"{number} {number % 2 * 9 - (number % 3)}" for number in range(100)) + "," + ",".join(f"{99 - number} {number % 2 * 9 + 0.5}" for number in range(100)), None),
        ('"', "is not an area"),
        ("ra\n;dec;\n1 2,\n3 4, 5 7", None),
    ],
)  # fmt: skip
def test_what_is_no_area_is_told_with_a_remedy(area: str, message: str | None) -> None:
    search = parse_area_search(area)
    if message is None:
        assert search.faults == ()
        return
    (fault,) = search.faults
    assert fault.field == "_area"
    assert message in fault.message
    assert fault.remedy
    assert search.wrong == (("_area", area),)
    assert search.tests == ()


def test_lines_that_cross_too_often_are_refused() -> None:
    places = np.random.default_rng(1).uniform(0, 80, (200, 2))
    corners = ", ".join(f"{x} {y}" for x, y in places)
    (fault,) = parse_area_search(f"ra;dec;{corners}").faults
    assert fault.message == "the lines of the area cross too often"


def test_hidden_columns_are_not_searched() -> None:
    (fault,) = parse_area_search("secret;freq;-1 0, 1 0, 1 9e99", MIXED).faults
    assert fault.message == "the table has no column 'secret' of numbers or times"
    assert "secret" not in fault.remedy


def test_a_column_of_the_name_comes_first() -> None:
    table = Table(schema="odd", name="main", columns=(Column(name="_area", type=FLOAT64),))
    search = parse_area_search("1..2", table)
    assert search.faults == ()
    assert "BETWEEN 1 AND 2" in search.write_adql().replace(".0", "")


def test_points_and_densities_show_what_is_in_the_area(site: Site) -> None:
    runner = QueryRunner(
        site=site, principal=ANONYMOUS_PRINCIPAL, policies=DEFAULT_POLICIES, published_state=site.get_published_state()
    )
    search = parse_area_search("ra;dec;50 -40, 300 -40, 175 70")
    inside = find_ids(site, search)
    drawn = fetch_plot_points(search, [TABLE.find_column("ra"), TABLE.find_column("dec")], runner)
    assert {int(key.strip("[]")) for key in drawn.keys} == inside
    cells = build_density_grid(search, TABLE.find_column("ra"), TABLE.find_column("dec"), runner)
    assert cells is not None
    assert cells.counts.sum() == len(inside) < MAX_POINTS


def test_each_search_reads_the_parameter_unless_the_site_leaves_the_package_out() -> None:
    """Searches of other pages, too, such as those in the tables of other services."""
    pairs = parse_qsl("_area=ra;dec;0 0, 1 0, 1 1", separator="&")
    assert parse_search(pairs, TABLE).faults == ()
    assert AREA.label == "Area"
    plugins.select_plugin_packages([])
    try:
        search = parse_search(pairs, TABLE)
    finally:
        plugins.select_plugin_packages(None)
    assert [fault.field for fault in search.faults] == ["_area"]
