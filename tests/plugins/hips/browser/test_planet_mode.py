"""Aladin Lite, of the version that Hven's own pages use, shows the HiPS of a layer as a planet."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import numpy as np
import pytest
from PIL import Image

from hven.ingest.api.runs import ingest_collection
from hven.model.settings import load_settings
from hven.site import Site
from hven.site.auth import OWNER_PRINCIPAL
from plugin_needs import require_plugins
from process_runner import serve_site, wait_until
from requirements import NODE_MODULES

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page, Route

pytestmark = pytest.mark.needs("node", "chromium")
require_plugins("protocols", "body_maps")
rasterio = pytest.importorskip("rasterio")
DESCRIPTOR = """\
collection: psup
title: Maps of Mars
files: "maps/*"
layers: {places: {file: maps/places.tif, kind: background}}
"""
WIDTH, HEIGHT = 600, 400
PLACES = {(0.0, 0.0): "red", (60.0, 30.0): "green", (300.0, -30.0): "blue"}  # longitude to the east, latitude
COLOURS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255), "grey": (90, 90, 90)}
SPOT_DEGREES = 8
JUDGE_PATH = "/judge/"
DRAW = """async (url) => {
  const { default: A } = await import("/judge/aladin-lite/dist/aladin.js");
  await A.init;
  const options = { survey: url, fov: 180, target: "0 +0", cooFrame: "ICRSd", showContextMenu: false,
    showReticle: false, showFrame: true, showProjectionControl: false, samp: false, log: false };
  window.aladin = A.aladin("#map", options);
}"""


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Serve the HiPS of a grey raster with a spot of another colour at each of three places."""
    from hven.plugins.hips.layer_surveys import build_layer_survey
    from hven.services.face import ServiceContext

    directory = tmp_path_factory.mktemp("planet") / "site"
    folder = directory / "collections" / "psup"
    (folder / "maps").mkdir(parents=True)
    lat, lon = np.meshgrid(89.5 - np.arange(180), np.arange(360) + 0.5, indexing="ij")  # 0 to 360
    pixels = np.empty((3, 180, 360), "u1")
    pixels[:] = np.array(COLOURS["grey"])[:, None, None]
    for (east, north), colour in PLACES.items():
        distances = np.hypot((lon - east + 180) % 360 - 180, lat - north)
        pixels[:, distances < SPOT_DEGREES] = np.array(COLOURS[colour])[:, None]
    transform = rasterio.transform.from_bounds(0, -90, 360, 90, 360, 180)
    profile = {"driver": "GTiff", "width": 360, "height": 180, "count": 3, "dtype": "uint8", "crs": "IAU_2015:49900"}
    with rasterio.open(folder / "maps/places.tif", "w", transform=transform, **profile) as dataset:
        dataset.write(pixels)
    (folder / "psup.yaml").write_text(DESCRIPTOR)
    (directory / "hven.toml").write_text('name = "mars"\n')
    with Site(load_settings(directory)) as site:
        ingest_collection(site, "psup")
        context = ServiceContext.create_for_principal(site, OWNER_PRINCIPAL)
        build_layer_survey(context, OWNER_PRINCIPAL, "psup", "places", "places")
    with serve_site(directory) as served:
        yield f"http://127.0.0.1:{served.port}"


@pytest.fixture
def page(browser: Browser, address: str) -> Iterator[Page]:
    """Open a page with Aladin Lite, whose script comes from npm's package; nothing else of the net is reachable."""
    context = browser.new_context(viewport={"width": WIDTH, "height": HEIGHT})
    page = context.new_page()

    def serve_page(route: Route) -> None:
        parts = urlsplit(route.request.url)
        if not route.request.url.startswith(address):
            route.abort()
        elif not parts.path.startswith(JUDGE_PATH):
            route.continue_()
        elif name := parts.path.removeprefix(JUDGE_PATH):
            route.fulfill(path=str(NODE_MODULES / name), content_type="text/javascript")
        else:
            body = f"<!DOCTYPE html><body style='margin:0'><div id=map style='width:{WIDTH}px;height:{HEIGHT}px'>"
            route.fulfill(body=body, content_type="text/html")

    page.route("**/*", serve_page)
    page.goto(f"{address}{JUDGE_PATH}")
    yield page
    context.close()


def read_colour(page: Page, lon: float, lat: float) -> tuple[float, ...]:
    """Read the mean colour of the screen around a place."""
    x, y = locate_place(page, lon, lat)
    picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    box = picture.crop((round(x) - 3, round(y) - 3, round(x) + 4, round(y) + 4))
    return tuple(float(number) for number in np.asarray(box).mean(axis=(0, 1)))


def locate_place(page: Page, lon: float, lat: float) -> list[float]:
    place: list[float] = page.evaluate("([lon, lat]) => [...window.aladin.world2pix(lon, lat)]", [lon, lat])
    return place


def name_colour(colour: tuple[float, ...]) -> str:
    """Name the colour that is nearest; a colour that is far from all has no name."""
    distances = {name: max(abs(a - b) for a, b in zip(colour, known, strict=True)) for name, known in COLOURS.items()}
    nearest = min(distances, key=lambda name: distances[name])
    return nearest if distances[nearest] < 60 else str(colour)


def test_aladin_lite_shows_the_body_with_east_to_the_right(page: Page, address: str) -> None:
    failures: list[str] = []
    page.on("pageerror", lambda error: failures.append(str(error)))
    page.evaluate(DRAW, f"{address}/collections/psup/hips/places")
    page.wait_for_function("() => window.aladin?.getBaseImageLayer()?.hipsBody", timeout=120_000)
    found: dict[str, Any] = page.evaluate(
        """() => {
          const layer = window.aladin.getBaseImageLayer();
          return { body: layer.hipsBody, planetary: layer.isPlanetaryBody(),
            reversed: window.aladin.view.wasm.getLongitudeReversed() };
        }"""
    )
    assert found == {"body": "mars", "planetary": True, "reversed": True}
    page.evaluate("() => { window.aladin.gotoRaDec(0, 0); window.aladin.setFoV(180); }")
    wait_until(lambda: {place: name_colour(read_colour(page, *place)) for place in PLACES} == PLACES, 120)
    # the mirrored places have the colour of the ground: nothing is mirrored that should not be
    assert {name_colour(read_colour(page, lon, lat)) for lon, lat in ((300, 30), (60, -30), (330, 0))} == {"grey"}
    (west_x, _), (middle_x, middle_y), (east_x, _) = (locate_place(page, lon, 0) for lon in (330, 0, 30))
    assert west_x < middle_x - 20 < middle_x + 20 < east_x, "east is to the right"
    assert locate_place(page, 0, 30)[1] < middle_y - 20, "north is up"
    assert failures == []
