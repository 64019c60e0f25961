"""Mizar, the client of Mars Visu (regards-mizar of npm), draws a site by the addresses that Mars Visu has."""

from __future__ import annotations

import io
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "stac"))
sys.path.insert(0, str(Path(__file__).parents[1]))

from granule_rows import ROWS, build_granule_table, build_granules
from map_raster_files import write_raster
from PIL import Image

from hven.ingest.api.runs import ingest_collection
from hven.model.settings import load_settings
from hven.site import Site
from hven.testing.site import open_tiny_site
from process_runner import serve_site, wait_until
from requirements import NODE_MODULES

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page, Response, Route

pytestmark = pytest.mark.needs("node", "chromium")
SETTINGS = """\
name = "mars"
[[alias]]
path = "/cgi-bin/mapserv"
to = "/wms/psup"
[[alias]]
path = "/wcsmap"
to = "/wcs/elevation"
"""
DESCRIPTOR = """\
collection: {name}
title: Maps of Mars
files: "maps/*"
frame_aliases: {{"CRS:84": "IAU_2015:49900", "EPSG:4326": "IAU_2015:49900", "IAU2000:49901": "IAU_2015:49900"}}
layers:
  {layer}: {{file: maps/{layer}.tif, kind: background, range: [-90, 90], colours: [-90 blue, -1 blue, 1 red, 90 red]}}
"""
HIGH_METRES, LOW_METRES = 9000, 2000
SCRIPTS = ("jquery/dist/jquery.js", "jquery-ui-bundle/jquery-ui.js", "moment/moment.js", "regards-mizar/dist/mizar.js")
JUDGE_PATH = "/judge/"
DRAW = """() => {
  const Mizar = window.Mizar;
  window.mizar = new Mizar({
    canvas: "MizarCanvas",
    planetContext: { coordinateSystem: { geoideName: Mizar.CRS.Mars_2000 } },
  });
  const add = (options) => new Promise((resolve, reject) => window.mizar.addLayer(options, resolve, reject));
  const draw = async () => {
    // tiles without a map are not drawn, thus the heights must be there first for all of them
    const heights = await add({ name: "elevation", type: "WCSElevation", version: "1.0.0", coverage: "MARSTOPO_16",
      format: "image/x-aaigrid", baseUrl: `${location.origin}/wcsmap` });
    window.context = window.mizar.getActivatedContext();
    window.context.globe.setBaseElevation(window.context.getLayerByID(heights));
    const map = await add({ name: "viking", type: "WMS", version: "1.3.0", layers: "viking", format: "image/png",
      background: true, baseUrl: `${location.origin}/cgi-bin/mapserv?map=/cnes/mars/mars.map` });
    const footprints = await add({ name: "footprints", type: "GeoJSON", visible: true,
      url: `${location.origin}/wfs?service=WFS&version=1.0.0&request=GetFeature&typeName=mars.epn_core` +
        "&maxFeatures=50&outputFormat=application/json" });
    return [heights, map, footprints];
  };
  window.added = draw();
}"""


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Serve a map that is red in the north, heights that differ between east and west, and footprints."""
    directory = tmp_path_factory.mktemp("mizar") / "site"
    mars = build_granule_table("mars")
    rows = build_granules(mars).slice(0, ROWS)  # Mizar refuses features without a geometry
    open_tiny_site(directory, {"mars.epn_core": (mars, rows)}).close()
    (directory / "hven.toml").write_text(SETTINGS)
    latitudes = np.repeat(89.5 - np.arange(180)[:, None], 360, axis=1)
    heights = np.where(np.arange(360) < 180, LOW_METRES, HIGH_METRES)[None, :].repeat(180, axis=0)
    for name, layer, values in (("psup", "viking", latitudes), ("elevation", "MARSTOPO_16", heights)):
        folder = directory / "collections" / name
        (folder / "maps").mkdir(parents=True)
        write_raster(folder / f"maps/{layer}.tif", values, -180)
        (folder / f"{name}.yaml").write_text(DESCRIPTOR.format(name=name, layer=layer))
    with Site(load_settings(directory)) as site:
        for name in ("psup", "elevation"):
            ingest_collection(site, name)
    with serve_site(directory) as served:
        yield f"http://127.0.0.1:{served.port}"


@pytest.fixture
def page(browser: Browser, address: str) -> Iterator[Page]:
    """Open a page with Mizar, whose scripts come from npm's packages."""
    context = browser.new_context(viewport={"width": 600, "height": 400})
    page = context.new_page()

    def serve_script(route: Route) -> None:
        name = urlsplit(route.request.url).path.removeprefix(JUDGE_PATH)
        if name:
            route.fulfill(path=str(NODE_MODULES / name))
            return
        scripts = "".join(f'<script src="{JUDGE_PATH}{script}"></script>' for script in SCRIPTS)
        canvas = '<canvas id="MizarCanvas" width="600" height="400"></canvas>'
        route.fulfill(body=f"<!DOCTYPE html><body style='margin:0'>{canvas}{scripts}", content_type="text/html")

    page.route(f"{address}{JUDGE_PATH}**", serve_script)
    page.goto(f"{address}{JUDGE_PATH}")
    yield page
    context.close()


def read_mean_colour(page: Page, *box: int) -> list[float]:
    """Read the mean colour of a box of a screenshot: left, top, right and bottom pixels."""
    picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB").crop(box)
    return [float(number) for number in np.asarray(picture).mean(axis=(0, 1))]


def test_mizar_draws_globe_layers_heights_and_footprints(page: Page, address: str) -> None:
    answers: list[tuple[int, dict[str, str], str]] = []
    failures: list[str] = []

    def keep_answer(response: Response) -> None:
        parts = urlsplit(response.url)
        if not parts.path.startswith(JUDGE_PATH):
            answers.append((response.status, dict(parse_qsl(parts.query)), parts.path))

    page.on("response", keep_answer)
    page.on("pageerror", lambda error: failures.append(str(error)))
    page.evaluate(DRAW)
    ids: list[Any] = page.evaluate("() => window.added")
    assert len(ids) == 3
    page.wait_for_function(
        "() => [-45, 45].every((lon) => window.context.globe.getElevation(lon, 20) > 1000)", timeout=120_000
    )

    def has_red_above_blue() -> bool:
        north, south = read_mean_colour(page, 250, 100, 350, 190), read_mean_colour(page, 250, 210, 350, 300)
        return north[0] > 4 * north[2] and south[2] > 4 * south[0]  # red with lines of footprints

    wait_until(has_red_above_blue, 120)
    assert failures == []
    assert {status for status, _, _ in answers} == {200}
    requests = Counter((path, query["request"]) for _, query, path in answers)
    assert requests["/cgi-bin/mapserv", "getMap"] >= 8, requests
    assert requests["/wcsmap", "GetCoverage"] >= 8, requests
    assert {"/cgi-bin/mapserv", "/wcsmap", "/wfs"} == {path for _, _, path in answers}
    maps = [query for _, query, _ in answers if query["request"] == "getMap"]
    assert {query["crs"] for query in maps} == {"CRS:84"}
    height = "([lon, lat]) => window.context.globe.getElevation(lon, lat)"
    assert page.evaluate(height, [45, 20]) == pytest.approx(HIGH_METRES, abs=50)
    assert page.evaluate(height, [-45, 20]) == pytest.approx(LOW_METRES, abs=50)
    assert max(read_mean_colour(page, 0, 0, 60, 60)) < 10, "the sky is black around the globe"
