"""Areas in time and frequency: rows that touch them, and what they become as rows."""

from __future__ import annotations

import html
import json
import re
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import numpy as np
import pytest
from asgi_client import Client
from hypothesis import given
from hypothesis import strategies as st
from plot_samples import BURSTS, SECOND, START
from shapely import Point, Polygon  # type: ignore[import-untyped]

from hven.model.errors import ParamError
from hven.model.table import Column, Table, TableConstant
from hven.model.types import parse_type
from hven.plugins.stacked_plots import plot_pages
from hven.plugins.stacked_plots.drawn_areas import DrawnArea, find_touched_rows, parse_drawn_area, write_area_values
from hven.plugins.stacked_plots.table_events import TableEvents, TimeFrequencyShape

DAY = [("_from", "2003-10-28T00:00"), ("_to", "2003-10-29T00:00")]
AROUND_FIRST = "2003-10-28T00:30 5e6, 2003-10-28T01:10 5e6, 2003-10-28T01:10 2e7, 2003-10-28T00:30 2e7"
AROUND_NONE = "2003-10-28T06:00 1e6, 2003-10-28T07:00 1e6, 2003-10-28T06:30 9e6"


def read_json(client: Client, area: str, *panels: str) -> Any:
    query = urlencode([*DAY, ("_in", area), *(("panel", panel) for panel in panels)])
    answer = client.ask("GET", f"/plots?{query}", headers={"accept": "application/json"})
    assert answer.status == 200, answer.text
    return json.loads(answer.body)


def get_page(client: Client, area: str, *panels: str, path: str = "/plots") -> Any:
    query = urlencode([*DAY, ("_in", area), *(("panel", panel) for panel in panels)])
    return client.get(f"{path}?{query}")


@pytest.mark.parametrize(("area", "count"), [(AROUND_FIRST, "1"), (AROUND_NONE, "0")])
def test_panels_show_the_rows_that_touch_the_area(client: Client, area: str, count: str) -> None:
    _, panel = read_json(client, area, "waves;intensity", "table:wind.bursts")["panels"]
    assert panel["shows"] == count
    assert f"{count} of 2 rows" in panel["notes"][-1]
    page = get_page(client, area, "waves;intensity", "table:wind.bursts").text
    assert page.count('class="area"') == 1
    assert page.count('class="event"') == int(count)
    time, _, hertz = area.partition(",")[0].partition(" ")
    assert f"{time}:00 {float(hertz):.0f}" in page
    assert 'data-frequencies="' in page


def test_pictures_show_the_area(client: Client) -> None:
    svg = get_page(client, AROUND_FIRST, "waves;intensity", "table:wind.bursts", path="/plots/plot.svg")
    assert svg.status == 200
    assert 'class="area"' in svg.text
    with_area, without = (
        get_page(client, area, "waves;intensity", path="/plots/plot.png").body for area in (AROUND_FIRST, "")
    )
    assert with_area[:4] == without[:4] == b"\x89PNG"
    assert with_area != without


def test_links_keep_the_area(client: Client) -> None:
    page = get_page(client, AROUND_FIRST, "waves;intensity", "table:wind.bursts").text
    links = [html.unescape(link) for link in re.findall(r'href="([^"]*/plots\?[^"]*)"', page)]
    states = [dict(parse_qsl(urlsplit(link).query)) for link in links]
    assert len([state for state in states if "_in" in state]) >= 8
    assert [state for state in states if "_in" not in state], "a link leads to the plot without the area"
    area = parse_drawn_area(next(state["_in"] for state in states if "_in" in state))
    assert area == parse_drawn_area(AROUND_FIRST)


@pytest.mark.parametrize(
    "text",
    [
        "2003-10-28 1e6",
        "2003-10-28 1e6, 2003-10-29 1e6, 2003-10-30 1e6",  # a line
        "2003-10-28 1e6, 2003-10-29 9e6, 2003-10-29 1e6, 2003-10-28 9e6",  # a bow tie
        "yesterday 1e6, 2003-10-29 9e6, 2003-10-29 1e6",
        "2003-10-28 x, 2003-10-29 9e6, 2003-10-29 1e6",
        "2003-10-28 nan, 2003-10-29 9e6, 2003-10-29 1e6",
        "2003-10-28 -1, 2003-10-29 9e6, 2003-10-29 1e6",
        "2003-10-28 inf, 2003-10-29 9e6, 2003-10-29 1e6",
        ", ".join(["2003-10-28 1e6"] * 101),
        "1" * 9000,
    ],
)
def test_wrong_areas_are_told(client: Client, text: str) -> None:
    with pytest.raises(ParamError):
        parse_drawn_area(text)
    assert get_page(client, text, "waves;intensity").status == 400


coordinates = st.integers(0, 24)
points = st.tuples(coordinates, coordinates)


@given(st.lists(points, min_size=3, max_size=7, unique=True), st.lists(points, min_size=1, max_size=6))
def test_rows_touch_an_area_as_another_library_says(
    corners: list[tuple[int, int]], ring: list[tuple[int, int]]
) -> None:
    polygon = Polygon(corners)
    area = DrawnArea(instants=tuple(x for x, _ in corners), hertz=tuple(float(y) for _, y in corners))
    text = ", ".join(f"1970-01-01T00:00:{x:02} {y}" for x, y in corners)
    if not polygon.is_valid or polygon.area == 0:
        with pytest.raises(ParamError):
            parse_drawn_area(text)
        return
    assert parse_drawn_area(text) is not None
    if len(set(ring)) < 3 or not Polygon(ring).is_valid or Polygon(ring).area == 0:
        shape, is_closed, ring = Point(ring[0]), False, ring[:1]
    else:
        shape, is_closed = Polygon(ring), True
    x, y = (np.array(values, np.float64) for values in zip(*ring, strict=True))
    events = TableEvents(
        begins=np.array([0]),
        ends=np.array([24]),
        labels=["a"],
        urls=[""],
        shapes=[TimeFrequencyShape(x, y, is_closed=is_closed, row=0)],
    )
    (is_touched,) = find_touched_rows(area, events)
    if shape.distance(polygon) == 0 or shape.distance(polygon) > 1e-9:
        assert bool(is_touched) == polygon.intersects(shape)


def test_boxes_touch_like_shapes_and_rows_without_frequencies_by_their_times() -> None:
    area = parse_drawn_area("1970-01-01T00:00:10 10, 1970-01-01T00:00:20 10, 1970-01-01T00:00:20 20")
    assert area is not None
    begins = np.array([12, 12, 30, 12, 8]) * 1_000_000
    ends = begins + 2_000_000
    low, high = np.array([15.0, 5, 15, np.nan, np.nan]), np.array([20.0, 30, 20, np.nan, np.nan])
    events = TableEvents(begins=begins, ends=ends, labels=[""] * 5, urls=[""] * 5, boxes=(low, high))
    assert find_touched_rows(area, events).tolist() == [False, True, False, True, True]


TIMES = (
    Column(name="time_min", type=parse_type("float64"), unit="d", ucd="time.start", epoch=0.0),
    Column(name="time_max", type=parse_type("float64"), unit="d", ucd="time.end", epoch=0.0),
)
RANGES = tuple(
    Column(name=f"spectral_range_{name}", type=parse_type("float64"), unit="Hz", ucd=f"em.freq;stat.{name}")
    for name in ("min", "max")
)


def test_areas_become_values_of_epn_tap() -> None:
    area = parse_drawn_area(AROUND_FIRST)
    assert area is not None
    values = write_area_values(area, Table(schema="a", name="epn_core", columns=(*TIMES, *RANGES)))
    assert float(values["time_min"]) == pytest.approx(2452940.5 + 30 / 1440, abs=1e-8)
    assert float(values["time_max"]) == pytest.approx(2452940.5 + 70 / 1440, abs=1e-8)
    assert (float(values["spectral_range_min"]), float(values["spectral_range_max"])) == (5e6, 2e7)
    in_metres = tuple(
        replace(column, name=name, unit="m") for column, name in zip(RANGES, ("em_min", "em_max"), strict=True)
    )
    metres = write_area_values(area, Table(schema="a", name="b", columns=(*TIMES, *in_metres)))
    assert float(metres["em_min"]) == pytest.approx(299_792_458 / 2e7)
    assert float(metres["em_max"]) == pytest.approx(299_792_458 / 5e6)


def test_areas_become_polygons_of_tfcat() -> None:
    crs = {
        "type": "local",
        "properties": {"time_coords_id": "unix", "spectral_coords": {"type": "frequency", "unit": "MHz"}},
    }
    geometry = Column(name="geometry", type=parse_type("string"), utype="tfcat:geometry")
    table = Table(
        schema="a",
        name="b",
        columns=(*TIMES, geometry),
        params=(TableConstant(name="crs", type=parse_type("string"), utype="tfcat:crs", value=json.dumps(crs)),),
    )
    for text in (AROUND_FIRST, ", ".join(reversed(AROUND_FIRST.split(", ")))):
        area = parse_drawn_area(text)
        assert area is not None
        polygon = json.loads(write_area_values(area, table)["geometry"])
        (ring,) = polygon["coordinates"]
        assert ring[0] == ring[-1]
        assert Polygon(ring).exterior.is_ccw
        start = START / SECOND
        assert Polygon(ring).bounds == (start + 1800, 5.0, start + 4200, 20.0)


def test_areas_are_offered_as_rows_where_a_form_takes_values(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "Enter this area" not in get_page(client, AROUND_FIRST, "waves;intensity").text
    monkeypatch.setattr(
        plot_pages, "find_row_form", lambda table, _: "/entries/x/new" if table.name in {"bursts", "images"} else ""
    )
    page = get_page(client, AROUND_FIRST, "waves;intensity").text
    (link,) = re.findall(r'href="(/entries/x/new[^"]*)"', page)
    values = dict(parse_qsl(urlsplit(html.unescape(link)).query))
    assert values["time_min"].startswith("2003-10-28T00:30")
    assert json.loads(values["geometry"])["type"] == "Polygon"
    assert {"spectral_range_min", "spectral_range_max", "time_max"} < values.keys()
    assert BURSTS, "images have times alone: an area says nothing else of them"
