"""What is drawn of a table's places on a body, and of its times: every cell and bar against a plain count."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime

import numpy as np
import pyarrow as pa
import pytest

from hven.model.table import Column, Table, set_column_epochs
from hven.model.types import FLOAT64, INT32, STRING, TIMESTAMP
from hven.plugins.statistics import coverage
from hven.portal._explore.page_queries import QueryRunner
from hven.site import Site
from hven.site.auth._access_control import ANONYMOUS_PRINCIPAL, DEFAULT_POLICIES
from hven.testing.policies import build_odd_rows_hidden_policies
from hven.testing.site import open_tiny_site

BOUNDS = (("c1min", "lon", "min"), ("c1max", "lon", "max"), ("c2min", "lat", "min"), ("c2max", "lat", "max"))
BOXED = set_column_epochs(
    Table(
        schema="a",
        name="epn_core",
        columns=(
            Column(name="n", type=INT32),
            Column(name="target_name", type=STRING, ucd="meta.id;src"),
            Column(name="time_min", type=FLOAT64, unit="d", ucd="time.start"),
            *(
                Column(name=name, type=FLOAT64, unit="deg", ucd=f"pos.bodyrc.{word};stat.{end}")
                for name, word, end in BOUNDS
            ),
        ),
    )
)
POINTS = set_column_epochs(
    Table(
        schema="a",
        name="points",
        columns=(
            Column(name="lon", type=FLOAT64, unit="deg", ucd="pos.bodyrc.lon"),
            Column(name="lat", type=FLOAT64, unit="deg", ucd="pos.bodyrc.lat"),
            Column(name="seen", type=TIMESTAMP, ucd="time.epoch"),
        ),
    )
)
RANDOM = np.random.default_rng(7)
WEST = RANDOM.uniform(-180, 360, 300)
SOUTH = RANDOM.uniform(-90, 89, 300)
BOXES = [
    *zip(WEST, WEST + RANDOM.uniform(0, 40, 300), SOUTH, np.minimum(SOUTH + RANDOM.uniform(0, 20, 300), 90), strict=True),
    (350.0, 10.0, -1.0, 1.0), (0.0, 360.0, 85.0, 90.0), (12.0, 12.0, 8.0, 8.0), (-180.0, 180.0, -90.0, -89.0), (None, 1.0, 0.0, 1.0), (1.0, 2.0, 5.0, 4.0),
]  # fmt: skip
SPOTS = [(-1.0, 0.0), (359.9, 89.99), (0.0, 90.0), (180.0, -90.0), (725.0, 45.0), (None, 1.0)]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    rows = [
        dict(zip(BOXED.arrow_schema.names, (at, "Mars", 2453000.5 + at, *box), strict=True))
        for at, box in enumerate(BOXES)
    ]
    spots = [
        dict(zip(POINTS.arrow_schema.names, (*spot, datetime(2004, 1, 1 + at)), strict=True))
        for at, spot in enumerate(SPOTS)
    ]
    made = {
        "a.epn_core": (BOXED, pa.Table.from_pylist(rows, schema=BOXED.arrow_schema)),
        "a.points": (POINTS, pa.Table.from_pylist(spots, schema=POINTS.arrow_schema)),
    }
    with open_tiny_site(tmp_path_factory.mktemp("covered"), made) as found:
        yield found


def asking(site: Site, **more: object) -> QueryRunner:
    return QueryRunner(
        site=site,
        principal=ANONYMOUS_PRINCIPAL,
        policies=more.get("policies", DEFAULT_POLICIES),
        published_state=site.get_published_state(),
    )  # type: ignore[arg-type]


def cells(found: coverage.BodyCoverageMap | None) -> set[tuple[int, int]]:
    """Read the south-western corners of the drawn cells, in degrees."""
    assert found is not None
    there: set[tuple[int, int]] = set()
    for path in found.paths:
        for x, y, wide in re.findall(r"M(\d+) (\d+)h(\d+)v5h-\3z", path):
            new = {
                (at, 90 - int(y) - coverage.CELL_DEGREES)
                for at in range(int(x), int(x) + int(wide), coverage.CELL_DEGREES)
            }
            assert not new & there, "each cell is drawn once"
            there |= new
    return there


def find_touched_cells(boxes: list[tuple[float | None, ...]]) -> set[tuple[int, int]]:
    """The same by looking at each cell and each box."""
    found = set()
    for west, east, south, north in boxes:
        if None in (west, east, south, north) or south > north:  # type: ignore[operator]
            continue
        width = 360.0 if east - west >= 360 else (east - west) % 360  # type: ignore[operator]
        for lon in range(0, 360, 5):
            for lat in range(-90, 90, 5):
                across = width == 360 or (lon - west) % 360 < width or (west - lon) % 360 < 5  # type: ignore[operator]
                if (
                    across
                    and (south < lat + 5 or lat == 85)
                    and (north > lat or south == lat or (lat == -90 and north == -90))
                ):  # type: ignore[operator]
                    found.add((lon, lat))
    return found


def test_boxes_are_drawn_cell_by_cell(site: Site) -> None:
    found = coverage.draw_ground_coverage(BOXED, asking(site))
    assert found is not None
    assert (found.body, found.is_partial) == ("Mars", False)
    assert len(found.paths) == coverage.SHADE_COUNT
    assert cells(found) == find_touched_cells(BOXES)


def test_points_are_drawn_where_they_are(site: Site) -> None:
    found = coverage.draw_ground_coverage(POINTS, asking(site))
    assert found is not None
    assert found.body == ""
    assert cells(found) == {(355, 0), (355, 85), (0, 85), (180, -90), (5, 45)}


def test_what_is_hidden_is_not_drawn(site: Site) -> None:
    found = coverage.draw_ground_coverage(BOXED, asking(site, policies=build_odd_rows_hidden_policies()))
    assert cells(found) == find_touched_cells(BOXES[::2])
    line = coverage.draw_time_coverage(BOXED, asking(site, policies=build_odd_rows_hidden_policies()))
    assert line is not None
    last = datetime.fromisoformat(line.end)
    assert (last - datetime(2003, 12, 27)).days == (len(BOXES) - 1) // 2 * 2


def test_times_are_bars_between_two_days(site: Site) -> None:
    line = coverage.draw_time_coverage(POINTS, asking(site))
    assert line is not None
    assert (line.begin, line.end) == ("2004-01-01", "2004-01-06")
    assert line.path.count("M") == len(SPOTS)
    assert re.fullmatch(r"(M\d+ 20v-[\d.]+h\.8v[\d.]+z)+", line.path)
    boxed = coverage.draw_time_coverage(BOXED, asking(site))
    assert boxed is not None
    assert boxed.begin == "2003-12-27"


def test_a_table_without_places_and_times_has_no_pictures(site: Site) -> None:
    plain = Table(schema="a", name="points", columns=(Column(name="lon", type=FLOAT64),))
    assert coverage.draw_ground_coverage(plain, asking(site)) is None
    assert coverage.draw_time_coverage(plain, asking(site)) is None
