"""The map of a body, group sky_maps: 100,000 outlines moved and zoomed in Chromium, pictures in a second beside the same map with none."""

from __future__ import annotations

import json
import random
import shutil
import statistics
from collections.abc import Iterator
from typing import Any

from bench.measure import CACHE, Journey, against, serve_site

SITE = CACHE / "site-maps"
OUTLINES = 100_000
ROUNDS = 3  # each with and without outlines, in turn
BESIDE = 0.5  # of the pictures of an empty map: 30 of 60 a second
PLACES = """\
collection: places
title: Places on Mars
tables:
  main:
    title: Places
    primary: [id]
    source: {kind: csv, files: places.csv}
    columns:
      id: {type: int32, ucd: meta.id;meta.main}
      body: {type: string, ucd: meta.id;src}
      lon: {type: float64, unit: deg, ucd: pos.bodyrc.lon}
      lat: {type: float64, unit: deg, ucd: pos.bodyrc.lat}
"""
MOVE = """() => new Promise((done) => {
  const { globe } = window.hven.body;
  const begun = performance.now();
  let number = 0;
  const go = () => {
    number++;
    if (number % 3) globe.move(12 * Math.sin(number / 9), 4 * Math.cos(number / 7));
    else globe.zoom(number % 60 < 30 ? 1.04 : 1 / 1.04, [300, 200]);
    if (performance.now() - begun < 2500) return requestAnimationFrame(go);
    done((1000 * number) / (performance.now() - begun));
  };
  requestAnimationFrame(go);
})"""


NEEDS = dict.fromkeys(("playwright", "chromium"), ("portal.map.moving",))


def run(*, only: str = "", big: bool = False) -> Iterator[Journey]:
    """Run the journey, if its name has `only` in it."""
    if only and only not in "portal.map.moving":
        return
    from playwright.sync_api import sync_playwright

    make_site()
    with serve_site(SITE) as server, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        address = f"http://127.0.0.1:{server.port}/collections/places/main?_map=1"
        with_all, with_none = zip(
            *[[rate(browser, address, number) for number in (OUTLINES, 0)] for _ in range(ROUNDS)], strict=True
        )
        browser.close()
    moving, empty = statistics.median(with_all), statistics.median(with_none)
    note = f"{OUTLINES:,} outlines moved and zoomed, beside none, in turn; 30 on a machine that does nothing else"
    yield against("portal.map.moving", moving, empty, BESIDE, unit="/s", higher=True, note=note)


def rate(browser: Any, address: str, number: int) -> float:
    """Open a map with so many outlines, and return how many pictures of it there are in a second while it moves."""
    page = browser.new_page(viewport={"width": 1440, "height": 900})
    body = outlines(number)
    page.route("**/places*", lambda route: route.fulfill(body=body, content_type="application/json"))
    page.goto(address)
    page.evaluate("document.querySelector('.drawn-map').scrollIntoView({block: 'center'})")
    page.wait_for_function(f"() => window.hven?.body?.boxes.length === {number}", timeout=120_000)
    page.wait_for_function(
        "() => ((one) => one.finished && !one.isStale)(window.hven.body.globe.offscreen)", timeout=120_000
    )
    found = float(page.evaluate(MOVE))
    page.close()
    return found


def outlines(number: int) -> str:
    """Write what `/places` answers of so many rows."""
    chosen = random.Random(7)
    shapes, rings = [], []
    for _ in range(number):
        x, y, wide, high = (
            chosen.uniform(0, 355),
            chosen.uniform(-85, 83),
            chosen.uniform(0.3, 4),
            chosen.uniform(0.3, 2),
        )
        shapes.append(f"{x:.2f} {y:.2f} {x + wide:.2f} {y + high:.2f}")
        corners = (x, y, x + wide, y + 0.1 * high, x + 0.9 * wide, y + high, x + 0.1 * wide, y + 0.9 * high, x, y)
        rings.append([[round(one, 2) for one in corners]])
    frame = {"box": [0, -90, 360, 90], "fields": ["lon", "lat"], "unit": "deg", "radius": 0, "said": "planetary"}
    return json.dumps({
        "kind": "body", "total": number, "lon": [], "lat": [], "counts": [], "radius": 0, "keys": [f"[{one}]" for one in range(number)],
        "shapes": shapes, "outlines": rings, "names": [], "colouring": None, "colours": [], "frame": frame, "body": "Mars", "km": 3396,
        "grounds": [], "features": [],
    })  # fmt: skip


def make_site() -> None:
    """Make the site once."""
    if (SITE / "made-1").exists():
        return
    from hven.ingest.api.runs import ingest_collection
    from hven.model.settings import load_settings
    from hven.site import Site

    shutil.rmtree(SITE, ignore_errors=True)
    place = SITE / "collections" / "places"
    place.mkdir(parents=True)
    (SITE / "hven.toml").write_text('title = "Maps"\n')
    (place / "places.yaml").write_text(PLACES)
    (place / "places.csv").write_text(
        "id,body,lon,lat\n" + "\n".join(f"{at},Mars,{at * 3},{at - 50}" for at in range(100))
    )
    with Site(load_settings(SITE, {})) as site:
        ingest_collection(site, "places")
    (SITE / "made-1").write_text("")
