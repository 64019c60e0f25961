"""100,000 outlines on the map of Mars move and zoom at the rate of the screen, in Chromium: what one picture costs, and how many there are in a second."""

from __future__ import annotations

import json
import os
import random
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[3] / "browser"))  # the collections are made there

from browser_site import build_site

from process_runner import find_chromium, serve_site
from requirements import require

NUMBER = 100_000
RATE = 30  # pictures of a second, on a machine with a processor to spare
COST = 15.0  # milliseconds of one picture, of 100 at most 5 more
FULL = os.environ.get("HVEN_PROOF") == "full"
MOVE = """() => new Promise((done) => {
  const { globe } = window.hven.body;
  const draw = globe.draw.bind(globe);
  const costs = [];
  globe.draw = () => { const from = performance.now(); draw(); costs.push(performance.now() - from); };
  const begun = performance.now();
  let number = 0;
  const go = () => {
    number++;
    if (number % 3) globe.move(12 * Math.sin(number / 9), 4 * Math.cos(number / 7));
    else globe.zoom(number % 60 < 30 ? 1.04 : 1 / 1.04, [300, 200]);
    if (performance.now() - begun < 4000) return requestAnimationFrame(go);
    costs.sort((one, other) => one - other);
    done({ rate: (1000 * number) / (performance.now() - begun), cost: costs[Math.floor(0.95 * costs.length)] });
  };
  requestAnimationFrame(go);
})"""


def outlines() -> str:
    """Write what `/places` would answer."""
    made = random.Random(7)
    shapes, rings = [], []
    for _ in range(NUMBER):
        x, y, wide, high = made.uniform(0, 355), made.uniform(-85, 83), made.uniform(0.3, 4), made.uniform(0.3, 2)
        shapes.append(f"{x:.2f} {y:.2f} {x + wide:.2f} {y + high:.2f}")
        corners = (x, y, x + wide, y + 0.1 * high, x + 0.9 * wide, y + high, x + 0.1 * wide, y + 0.9 * high, x, y)
        rings.append([[round(one, 2) for one in corners]])
    frame = {"box": [0, -90, 360, 90], "fields": ["c1", "c2"], "unit": "deg", "radius": 0, "said": "planetary"}
    keys = [f"[{number}]" for number in range(NUMBER)]
    return json.dumps({
        "kind": "body", "total": NUMBER, "lon": [], "lat": [], "counts": [], "radius": 0, "keys": keys, "shapes": shapes, "outlines": rings, "names": [],
        "colouring": None, "colours": [], "frame": frame, "body": "Mars", "km": 3396, "grounds": [], "features": [],
    })  # fmt: skip


@pytest.mark.needs("proof")
def test_a_hundred_thousand_outlines_move_with_the_map(tmp_path: Path) -> None:
    require("playwright")
    from playwright.sync_api import sync_playwright

    build_site(tmp_path / "site")
    body = outlines()
    with serve_site(tmp_path / "site", workers=1) as server, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        page.route("**/places*", lambda route: route.fulfill(body=body, content_type="application/json"))
        page.goto(f"{server.url}/collections/omega/epn_core?_map=1")
        page.evaluate("document.querySelector('.drawn-map').scrollIntoView({block: 'center'})")
        page.wait_for_function(f"() => window.hven?.body?.boxes.length === {NUMBER}", timeout=120_000)
        page.wait_for_function(
            "() => ((one) => one.finished && !one.isStale)(window.hven.body.globe.offscreen)", timeout=120_000
        )
        found = page.evaluate(MOVE)
        browser.close()
    print(found)
    assert found["cost"] < COST
    assert found["rate"] >= RATE
