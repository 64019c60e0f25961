"""Maps in a real browser: layers, all rows under a point, a region that is drawn, a survey that does not come; the sky and a planet."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import shapely
from browser_site import PREVIEW_ORIGIN
from browser_tab import BrowserTab

MARS = "/collections/omega/epn_core"
GRID = "table.live tr[data-key]"
TICK = ".layers label:text-is('{}') input"
CLEAR = ".layers input[aria-label='Opacity of {}']"
SUN = "/collections/hfc1ar/epn_core"


def open_map(tab: BrowserTab, path: str) -> Any:
    page = tab.open_page(path)
    page.wait_for_selector(GRID)
    page.locator(".drawn-map").scroll_into_view_if_needed()
    page.wait_for_selector(".drawn-map canvas")
    page.wait_for_selector(".map .told:text-matches('rows?|files?')")
    return page


def mars(tab: BrowserTab, query: str) -> Any:
    """Open the map of Mars; its previews, which another site has, are none today."""
    tab.allowed = (PREVIEW_ORIGIN.removeprefix("https://"),)
    tab.page.context.route(f"{PREVIEW_ORIGIN}/**", lambda route: route.fulfill(status=204))
    return open_map(tab, f"{MARS}?{query}")


def test_layers_of_the_sky_map_can_be_switched(tab: BrowserTab) -> None:
    page = open_map(tab, "/collections/stars/main?_map=80,0,60&_near=80,0,20&vmag=..6")
    page.click(".layers > summary")
    assert [one.strip() for one in page.locator(".layers label").all_inner_texts()] == [
        "Sky", "Rows", "Footprints", "Coverage", "Region of the search", "Chosen rows",
    ]  # fmt: skip
    kinds = "() => window.hven.aladin.getOverlays().map((one) => one.type)"
    assert "moc" not in page.evaluate(kinds)
    page.check(TICK.format("Coverage"))
    page.wait_for_function("() => window.hven.aladin.getOverlays().some((one) => one.type === 'moc')")
    page.uncheck(TICK.format("Coverage"))
    page.wait_for_function("() => !window.hven.aladin.getOverlays().some((one) => one.type === 'moc')")
    page.locator(CLEAR.format("Rows")).fill("30")
    page.wait_for_function(
        "() => window.hven.aladin.getOverlays().find((one) => one.name === 'rows').color.includes('0.3')"
    )
    page.uncheck(TICK.format("Rows"))
    page.wait_for_function("() => !window.hven.aladin.getOverlays().find((one) => one.name === 'rows').isShowing")
    assert page.is_disabled(CLEAR.format("Rows"))
    assert tab.find_accessibility_faults() == []
    tab.save_screenshot("map-layers")


def test_a_survey_that_does_not_come_leaves_the_drawn_sky(tab: BrowserTab) -> None:
    page = tab.page

    def add_missing_survey(route: Any) -> None:
        answer = route.fetch()
        body = answer.text().replace(
            "data-sky=", f'data-surveys="{tab.base}/assets/nothing {tab.base}/assets/sky" data-sky=', 1
        )
        route.fulfill(response=answer, body=body)

    page.route("**/collections/stars/main?_map=*", add_missing_survey)
    tab.expected = ("404",)
    open_map(tab, "/collections/stars/main?_map=80,0,60")
    page.wait_for_selector(".map .lacking:has-text('nothing cannot be read')")
    page.wait_for_selector(".map .told:has-text('rows')")  # the one takes nothing from the other, whichever comes first
    page.click(".layers > summary")
    assert page.locator(".layers select option").count() == 3
    page.wait_for_function("() => document.querySelector('.layers select').value === ''")
    page.wait_for_function("() => window.hven.aladin.getBaseImageLayer()?.name === 'drawn'")
    page.select_option(".layers select", f"{tab.base}/assets/sky")
    page.wait_for_function(
        "() => ((one) => one && one.name !== 'drawn' && one.url?.includes('/assets/sky'))(window.hven.aladin.getBaseImageLayer())"
    )
    page.wait_for_selector(".map .lacking", state="hidden")


def test_surveys_lie_over_the_sky_as_the_address_says(tab: BrowserTab) -> None:
    page = tab.page

    def add_surveys(route: Any) -> None:
        answer = route.fetch()
        surveys = f'data-surveys="{tab.base}/assets/sky {tab.base}/assets/nothing" data-sky='
        route.fulfill(response=answer, body=answer.text().replace("data-sky=", surveys, 1))

    page.route("**/collections/stars/main?_map=*", add_surveys)
    tab.expected = ("404",)
    open_map(tab, "/collections/stars/main?_map=80,0,60")
    page.click(".layers > summary")
    assert not page.is_checked(TICK.format("assets sky"))
    page.check(TICK.format("assets sky"))
    overlay = f"window.hven.aladin.getOverlayImageLayer('{tab.base}/assets/sky')"
    page.wait_for_function(f"() => {overlay}?.getOpacity() === 0.5")
    page.locator(CLEAR.format("assets sky")).fill("30")
    page.wait_for_function(f"() => {overlay}?.getOpacity() === 0.3")
    page.wait_for_url("**assets%2520sky%4030*")
    assert page.evaluate("window.hven.aladin.getBaseImageLayer()?.name") is not None
    page.check(TICK.format("assets nothing"))
    page.wait_for_selector(".map .overlaid:has-text('assets nothing cannot be read')")
    page.reload()
    page.wait_for_function(f"() => window.hven?.aladin && {overlay}?.getOpacity() === 0.3")
    page.click(".layers > summary")
    assert page.is_checked(TICK.format("assets sky"))
    page.uncheck(TICK.format("assets sky"))
    page.wait_for_function(f"() => !{overlay}")
    assert "sky" not in page.url.partition("_map")[2]
    assert tab.find_accessibility_faults() == []


def press(page: Any, lon: float, lat: float) -> None:
    """Press a place of a map of a planet, or of the Sun, once the map rests."""
    page.wait_for_function("() => window.hven.body && !window.hven.body.globe.frameRequest")
    at = page.evaluate("([lon, lat]) => window.hven.body.globe.locateOnPage(lon, lat)", [lon, lat])
    page.mouse.click(at["x"], at["y"])


def boxes(page: Any, path: str) -> list[dict[str, Any]]:
    found: dict[str, Any] = page.evaluate("(path) => fetch(path).then((answer) => answer.json())", path)
    return [
        {
            "key": key,
            "box": [float(one) for one in shape.split()],
            "area": shapely.union_all([shapely.Polygon(np.reshape(ring, (-1, 2))) for ring in rings]),
        }
        for key, shape, rings in zip(found["keys"], found["shapes"], found["outlines"], strict=True)
    ]


def test_all_rows_under_a_point_of_mars_are_listed(tab: BrowserTab) -> None:
    page = mars(tab, "_map=1&c2=60..70&c1=100..200")
    assert "longitude, to the east" in page.inner_text(".map .told")
    every = boxes(page, f"{MARS}/places?c2=60..70&c1=100..200")

    def list_keys_at(lon: float, lat: float) -> list[str]:
        return [one["key"] for one in every if one["area"].contains(shapely.Point(lon, lat))]

    lon, lat = next(
        (x, y)
        for one in every
        for x, y in [one["area"].representative_point().coords[0]]
        if len(list_keys_at(x, y)) > 1
        and len(list_keys_at(x, y)) == len(list_keys_at(x + 0.3, y + 0.3)) == len(list_keys_at(x - 0.3, y - 0.3))
        and 5 < x < 355
        and abs(y) < 85
    )
    press(page, lon, lat)
    wanted = {" ".join(key.strip('[]"').split('","')) for key in list_keys_at(lon, lat)}
    page.wait_for_selector(f".under b:has-text('{len(wanted)} rows under this point')")
    assert set(page.locator(".under li").all_inner_texts()) == wanted
    last = page.locator(".under li").last.inner_text()
    page.locator(".under li button").last.click()
    page.wait_for_selector(f".detail h2:text-is('{last}')")
    assert tab.find_accessibility_faults() == []
    tab.save_screenshot("map-mars")


def test_all_footprints_around_a_point_of_mars_are_found(tab: BrowserTab) -> None:
    """Not only of what is drawn: the search goes on with the point."""
    page = mars(tab, "_map=1&c2=60..70&c1=100..200")
    every = boxes(page, f"{MARS}/places?c2=60..70&c1=100..200")
    middles = [((one["box"][0] + one["box"][2]) / 2, (one["box"][1] + one["box"][3]) / 2) for one in every]
    lon, lat = next((x, y) for x, y in middles if 5 < x < 355 and abs(y) < 85)
    press(page, lon, lat)
    page.click(".under button:text-is('All rows whose footprint contains this point')")
    page.wait_for_function("() => new URLSearchParams(location.search).get('_in')?.startsWith('POINT ')")
    point = page.evaluate("new URLSearchParams(location.search).get('_in')").split()
    assert math.dist(map(float, point[1:]), (lon, lat)) < 1
    page.wait_for_selector("[data-count] b")
    query = f"SELECT COUNT(*) AS n FROM omega.epn_core WHERE 1 = CONTAINS(POINT({point[1]}, {point[2]}), s_region) AND c1min <= 200 AND c1max >= 100 AND c2min <= 70 AND c2max >= 60"
    asked = {"LANG": "ADQL", "RESPONSEFORMAT": "csv", "QUERY": query}
    count = page.request.get(f"{tab.base}/tap/sync", params=asked).text().split()[1]
    assert int(count) > 0
    page.wait_for_selector(f"[data-count]:has-text(', {count} files')")  # of as many observations as they are of


def test_a_box_that_is_drawn_is_searched_in(tab: BrowserTab) -> None:
    page = mars(tab, "_map=1")
    before = page.inner_text("[data-count] b")
    page.click(".map button:text-is('Draw a box')")
    corners = [
        page.evaluate("([lon, lat]) => window.hven.body.globe.locateOnPage(lon, lat)", at)
        for at in ([90, 45], [180, 0])
    ]
    page.mouse.move(corners[0]["x"], corners[0]["y"])
    page.mouse.down()
    page.mouse.move(corners[1]["x"], corners[1]["y"], steps=4)
    page.mouse.up()
    page.wait_for_url("**c1=*")
    page.wait_for_selector(f"[data-count] b:not(:text-is('{before}'))")
    values = dict(pair.split("=") for pair in page.url.partition("?")[2].split("&"))
    west, east = (float(one) for one in values["c1"].split(".."))
    south, north = (float(one) for one in values["c2"].split(".."))
    assert abs(west - 90) < 2
    assert abs(east - 180) < 2
    assert abs(south) < 2
    assert abs(north - 45) < 2


def test_a_polygon_that_is_drawn_is_searched_in(tab: BrowserTab) -> None:
    """The rows that the page finds are those whose footprints touch the polygon, as shapely says on the map."""
    page = mars(tab, "_map=1&c2=20..50&c1=100..200")
    page.wait_for_function("() => window.hven.body && !window.hven.body.globe.frameRequest")
    every = boxes(page, f"{MARS}/places?c2=20..50&c1=100..200")
    corners = [(110, 45), (170, 45), (150, 24)]
    places = [page.evaluate("([lon, lat]) => window.hven.body.globe.locateOnPage(lon, lat)", at) for at in corners]
    page.click(".map button:text-is('Draw a polygon')")
    for place in places:
        page.mouse.click(place["x"], place["y"])
    assert page.locator(".under b").count() == 0, "clicks are corners, and choose no rows"
    page.click(".map button:text-is('Draw a polygon')")
    page.wait_for_function("() => new URLSearchParams(location.search).get('_in')?.startsWith('POLYGON ')")
    numbers = page.evaluate("new URLSearchParams(location.search).get('_in')").split()[1:]
    drawn = shapely.Polygon(np.reshape(np.array(numbers, float), (-1, 2)))
    assert drawn.symmetric_difference(shapely.Polygon(corners)).area < 0.05 * drawn.area
    page.wait_for_selector(".map .told:text-matches('rows?|files?')")
    query = page.url.partition("?")[2]
    found = {one["key"] for one in boxes(page, f"{MARS}/places?{query}")}
    # sides are great circles between the corners that are sent: footprints that end at a side are left out
    surely = {one["key"] for one in every if one["area"].intersects(drawn.buffer(-0.5))}
    perhaps = {one["key"] for one in every if one["area"].intersects(drawn.buffer(0.5))}
    assert surely
    assert surely <= found <= perhaps
    assert len(perhaps) < len(every)
    assert tab.find_accessibility_faults() == []


def test_counts_of_many_rows_on_the_sun_lead_to_the_rows(tab: BrowserTab) -> None:
    page = open_map(tab, f"{SUN}?_map=1")
    assert "as counts per cell" in page.inner_text(".map .told")
    found: dict[str, Any] = page.evaluate("(path) => fetch(path).then((answer) => answer.json())", f"{SUN}/places")
    assert sum(found["counts"]) == found["total"] > 100_000
    count, shape = max(zip(found["counts"], found["shapes"], strict=True))
    west, south, east, north = (float(one) for one in shape.split())
    press(page, (west + east) / 2, (south + north) / 2)
    page.wait_for_url("**c1=*")
    page.wait_for_selector(".map .told:not(:has-text('as counts per cell')):has-text('rows')")
    assert count > 1


def test_the_map_of_mars_zooms_and_shows_the_poles_from_above(tab: BrowserTab) -> None:
    page = mars(tab, "_map=1&c2=..-70")
    page.wait_for_function("() => window.hven.body?.globe.pole === 'south'")  # all rows are there
    press(page, 0.0, -89.9)  # the pole itself is a place
    page.click(".map button:text-is('Whole map')")
    page.wait_for_function("() => window.hven.body.globe.pole === ''")
    at = page.evaluate("() => window.hven.body.globe.locateOnPage(355, -60)")
    page.mouse.move(at["x"], at["y"])
    page.mouse.wheel(0, -600)
    page.wait_for_function("() => window.hven.body.globe.plane.zoom > 2")
    there = page.evaluate("() => window.hven.body.globe.locateOnPage(355, -60)")
    assert math.dist((at["x"], at["y"]), (there["x"], there["y"])) < 2, "what is under the pointer stays there"
    page.mouse.down()
    page.mouse.move(at["x"] - 200, at["y"], steps=4)
    page.mouse.up()
    moved = page.evaluate("() => window.hven.body.globe.locateOnPage(355, -60)")
    assert abs(moved["x"] - at["x"] + 200) < 3, "and goes with it, over longitude 0, too"
    page.wait_for_function("() => Number(new URLSearchParams(location.search).get('_map')?.split(',')[2]) > 2")
    assert "c1=" not in page.url, "what is dragged is not a box"
    page.focus("canvas.body")
    page.keyboard.press("0")
    page.wait_for_function("() => window.hven.body.globe.plane.zoom === 1")


def test_rows_are_coloured_by_a_column_and_values_can_be_hidden(tab: BrowserTab) -> None:
    page = mars(tab, "_map=0,0,1")
    page.select_option(".map-legend select", "data_quality")
    page.wait_for_selector(".map-legend li")
    assert page.url.endswith("data_quality")
    numbers = [int(one.replace(",", "")) for one in page.locator(".map-legend li small").all_inner_texts()]
    assert sum(numbers) == 500
    shown = (
        "() => window.hven.body.boxes.filter((one) => window.hven.body.legend.getColour(one.index, '') !== null).length"
    )
    assert page.evaluate(shown) == 500
    page.locator(".map-legend li input").first.uncheck()
    assert page.evaluate(shown) == 500 - numbers[0]
    assert tab.find_accessibility_faults() == []
    tab.expected = ("400",)
    page = open_map(tab, f"{MARS}?_map=0,0,1,no_such_column")
    page.wait_for_selector(".map .told:has-text('500 files')")
