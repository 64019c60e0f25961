"""Statistics of a collection, days of its rows, and the small sky of its page."""

from __future__ import annotations

import json
from datetime import datetime

import numpy as np
import test_times
from asgi_client import Client
from mocpy import MOC
from test_portal_collection import portal, reader

from hven.plugins.statistics.coverage import draw_time_coverage
from hven.plugins.statistics.sky_drawing import draw_moc_svg_path
from hven.plugins.statistics.table_summary import summarize_table
from hven.portal._explore.page_queries import QueryRunner
from hven.portal._explore.search import parse_search
from hven.site import Site
from hven.site.auth._access_control import ANONYMOUS_PRINCIPAL, DEFAULT_POLICIES

__all__ = ["portal", "reader"]
times_site = test_times.site


def test_days_are_dates_by_metadata(times_site: Site) -> None:
    runner = QueryRunner(
        site=times_site,
        principal=ANONYMOUS_PRINCIPAL,
        policies=DEFAULT_POLICIES,
        published_state=times_site.get_published_state(),
    )
    table = times_site.get_published_state().tables_by_name["night.main"].table
    counted = summarize_table(table, runner, 2)
    assert [(one.name, one.row_count) for one in counted.periods] == [
        ("2004-01", 1),
        ("2005-01", 1),
        ("2005-03", 1),
    ]
    drawn = draw_time_coverage(table, runner)
    assert drawn is not None
    assert (drawn.begin, drawn.end) == ("2004-01-01", "2005-03-31")
    search = parse_search([("mjd_obs", counted.periods[0].name)], table)
    assert runner.fetch_number(search.build_count_query()) == 1, "the links find what they count"


def test_statistics_count_by_time_and_value(reader: Client) -> None:
    told = json.loads(reader.get("/statistics/images.json").body)
    (table,) = told["tables"]
    assert {one["name"]: one["rows"] for one in table["periods"]} == {str(year): 40 for year in range(1996, 2006)}
    by = {one["column"]: {value["name"]: value["rows"] for value in one["values"]} for one in table["by"]}
    assert by["instrument"] == {"EIT": 300, "AIA": 50, "HMI": 50}
    assert by["mission"] == {"SOHO": 299, "SDO": 100, "": 1}
    for one in [*table["periods"], *(value for column in table["by"] for value in column["values"])]:
        path, _, query = one["url"].removeprefix("http://vo.example").partition("?")
        assert json.loads(reader.ask("GET", f"{path}/count", query.encode()).body)["total"] == one["rows"], one
    assert datetime.fromisoformat(table["modified"]) <= datetime.fromisoformat(table["updated"]), (
        "of its file, before it was published"
    )
    page = reader.get("/statistics/images").text
    assert f'<time datetime="{table["modified"]}"' in page
    assert "<svg" in page
    assert reader.get("/statistics/nothing").status == 404


def is_in_path(x: float, y: float, path: str) -> bool:
    """Whether a point is in one of the closed pieces of a path."""
    for piece in path.split("z")[:-1]:
        corners = [tuple(map(float, pair.split())) for pair in piece.removeprefix("M").split("L")]
        crossings = sum(
            (a[1] > y) != (b[1] > y) and x < (b[0] - a[0]) * (y - a[1]) / (b[1] - a[1]) + a[0]
            for a, b in zip(corners, [*corners[1:], corners[0]], strict=True)
        )
        if crossings % 2:
            return True
    return False


def test_the_small_sky_shows_where_a_moc_is() -> None:
    made = np.random.default_rng(1572)
    moc = MOC.from_string("3/25 39 47 100 383 384 8/300000")
    path = draw_moc_svg_path(moc.to_string("ascii"))
    from astropy.coordinates import Latitude, Longitude

    lon, lat = made.uniform(0, 360, 3000), np.degrees(np.arcsin(made.uniform(-1, 1, 3000)))
    there = moc.contains_lonlat(Longitude(lon, "deg"), Latitude(lat, "deg"))
    near = (
        moc.add_neighbours()
        .add_neighbours()
        .degrade_to_order(3)
        .contains_lonlat(Longitude(lon, "deg"), Latitude(lat, "deg"))
    )
    half, up = np.radians(-((lon + 180) % 360 - 180)) / 2, np.radians(lat)
    root = np.sqrt(1 + np.cos(up) * np.cos(half))
    xs, ys = 2 * np.sqrt(2) * np.cos(up) * np.sin(half) / root, -np.sqrt(2) * np.sin(up) / root
    found = np.array([is_in_path(x, y, path) for x, y in zip(xs, ys, strict=True)])
    assert there.sum() > 10
    assert found[there].mean() > 0.9, "corners are joined by straight lines"
    assert not found[~near].any()


def test_the_small_sky_of_everything_and_nothing() -> None:
    assert draw_moc_svg_path("0/0-11").count("M") > 192
    assert len(draw_moc_svg_path("0/0-11")) < 60_000
    assert draw_moc_svg_path("") == ""
