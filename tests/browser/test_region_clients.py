"""What programs of today show of Hven's regions, over maps whose colours say where they are: Aladin Desktop, Aladin Lite, TOPCAT; and what VESPA's form asks."""

from __future__ import annotations

import csv
import functools
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Collection, Iterator, Sequence
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from aladin_desktop import run_aladin
from browser_tab import SLOW_ANIMATION_SCRIPT
from mocpy import MOC

from globes import decode_png, find_outlines, write_globe
from hven.model.sky import Moc, Polygon
from process_runner import run_hven
from shared import ROOT
from stilts import run_stilts

if TYPE_CHECKING:
    from playwright.sync_api import Browser

Box = tuple[float, float, float, float]
PICTURES = {"regions-aladin-io", "regions-lite-sun", "regions-aladin-hfc", "regions-lite-hfc"}
Seen = tuple[str, str, bytes]  # what it takes for the body, what it complains of, and the picture
COARSE = 8.0  # degrees: Aladin Lite draws cells no smaller than the view needs

RED, MAGENTA, CYAN = (255, 0, 0), (255, 0, 255), (0, 255, 255)
# a region; one across the meridian 0; one of two parts, of which s_region is the larger
BOXES = {"plain": (30, 50, 10, 25), "across": (350, 10, -35, -20), "parts": (50, 62, -15, -5)}
OTHER = (52, 60, -40, -32)
WHERE = {"sky": "20 -5", "sun": "20 -5", "mars": "20 -5", "io": "340 -5"}  # what is looked at
TURNED = "east_min(west, east)", "east_max(west, east)"
# of each body its class, frame, and c1min and c1max; longitudes of the catalogue of Io grow to the west
BODIES = {
    "sky": ("sky", "celestial", "west", "east"),
    "Sun": ("star", "body", "west", "east"),
    "Mars": ("planet", "body", "west", "east"),
    "Io": ("satellite", "body", *TURNED),
}
DESCRIPTOR = """\
collection: {name}
title: Regions of {body}
description: Made-up regions
subjects: [planetary science]
created: 2026-01-15
tables:
  epn_core:
    standard: epn-tap-2.0
    frame: {frame}
    optional: [coverage]
    source: {{kind: csv, files: rows.csv}}
    set: {{target_name: {body}, target_class: {kind}, dataproduct_type: ci, processing_level: 5, measurement_type: phot.radiance, instrument_host_name: made-up, instrument_name: made-up}}
    text: {{granule_uid: "{{name}}", obs_id: "{{name}}", granule_gid: region}}
    map:
      time_min: jd(parse_time('2026-01-01'))
      c1min: {west}
      c1max: {east}
      c2min: low
      c2max: north
      s_region: lonlat_box({west}, {east}, south, north, '{view}')
      coverage: CASE WHEN moc <> '' THEN moc END
"""
# images of the whole Sun have no c1 and c2, but say above which point the observer stood: name, longitude, latitude
DISCS = {"middle": (20.0, -5.0), "across": (350.0, 6.5), "edge": (45.0, -7.0)}
DISC_DESCRIPTOR = """\
collection: discs
title: Images of the Sun
description: Made-up images of the whole disc
subjects: [sun]
created: 2026-01-15
tables:
  epn_core:
    standard: epn-tap-2.0
    frame: none
    optional: [subobserver_longitude, subobserver_latitude]
    source: {kind: csv, files: rows.csv}
    set: {target_name: Sun, target_class: star, dataproduct_type: im, processing_level: 3, measurement_type: phot.radiance, instrument_host_name: made-up, instrument_name: made-up}
    text: {granule_uid: "{name}", obs_id: "{name}", granule_gid: image}
    map:
      time_min: jd(parse_time('2026-01-01'))
      subobserver_longitude_min: lon
      subobserver_latitude_min: lat
"""
PAGE = """<!doctype html><body style="margin: 0"><div id="map" style="width: 500px; height: 500px"></div><script type="module">
import A from "./aladin.js";
await A.init;
const hidden = Object.fromEntries(["Reticle", "LayersControl", "FullscreenControl", "ProjectionControl", "ZoomControl", "ShareControl", "ContextMenu", "Frame",
  "CooLocation", "StatusBar", "SettingsControl", "Fov"].map((name) => [`show${name}`, false]));
window.A = A;
window.begin = (hips, at) => window.al = A.aladin("#map", {log: false, survey: A.imageHiPS(hips), target: at, fov: 150, cooFrame: "ICRSd", projection: "SIN", ...hidden});
window.ready = true;
</script>"""
DRAW = """([regions, cells]) => {
    al.addMOC(A.MOCFromJSON(cells, {color: "#00ffff", opacity: 1, fill: true, edge: false}));
    const over = A.graphicOverlay({color: "#ff00ff", lineWidth: 2});
    al.addOverlay(over);
    for (const one of regions) over.add(A.polygon(Array.from({length: one.length / 2}, (_, at) => one.slice(2 * at, 2 * at + 2))));
}"""
OUTLINE = """(regions) => {
    const over = A.graphicOverlay({color: "#ff00ff", lineWidth: 2});
    al.addOverlay(over);
    for (const one of regions) over.add(A.polygon(Array.from({length: one.length / 2}, (_, at) => one.slice(2 * at, 2 * at + 2))));
}"""
POINTS = """(address) => new Promise((done, fail) => {
    const told = {raField: "subobserver_longitude_min", decField: "subobserver_latitude_min", shape: "square", sourceSize: 30, color: "#ff00ff"};
    const catalogue = A.catalogFromURL(address, told, ({sources}) => done(sources.map((one) => [one.data.granule_uid, one.ra, one.dec])), fail, false);
    al.addCatalog(catalogue);
})"""
COUNT = """(addresses) => Promise.all(addresses.map((one) => new Promise((done) =>
    A.catalogFromURL(one, {raField: "c1min", decField: "c2min"}, ({sources}) => done(sources.length), () => done(-1), false))))"""


def list_box_edges(name: str, body: str) -> Box:
    """Give a region as longitudes that grow to the east: west, east, south and north."""
    west, east, south, north = BOXES.get(name, OTHER)
    return ((-east) % 360, (-west) % 360, south, north) if body == "Io" else (west, east, south, north)


def cells(body: str) -> Moc:
    """Give the cells of both parts of the third region."""
    both = [list_box_edges("parts", body), list_box_edges("other", body)]
    shapes = [Polygon((west, east, east, west), (south, south, north, north)) for west, east, south, north in both]
    return functools.reduce(lambda one, more: one | more, (Moc(shape.cover_with_cells(7), 7) for shape in shapes))


def fetch_query_result(place: Path, query: str, how: str = "votable") -> bytes:
    """Give the answer to a query, as everybody gets it."""
    target = place / "answer"
    run_hven("query", query, "--site", place / "site", "--public", "--format", how, "--output", target)
    return target.read_bytes()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Publish the regions of each body, take them as a client does, and draw a map of each."""
    made = tmp_path_factory.mktemp("clients")
    site = made / "site"
    run_hven("init", site)
    for body, (kind, frame, west, east) in BODIES.items():
        name = body.lower()
        (site / "collections" / name).mkdir(parents=True)
        view = "sky" if body == "sky" else "body"
        text = DESCRIPTOR.format(name=name, body=body, kind=kind, frame=frame, west=west, east=east, view=view)
        (site / f"collections/{name}/{name}.yaml").write_text(text, encoding="utf-8")
        with (site / f"collections/{name}/rows.csv").open("w", encoding="utf-8", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(["name", "west", "east", "south", "north", "low", "moc"])
            for one, box in BOXES.items():  # c2min is that of both parts
                rows.writerow([one, *box, *((OTHER[2], cells(body)) if one == "parts" else (box[2], ""))])
        facts = {"hips_frame": "equatorial"} if body == "sky" else {"hips_frame": name, "hips_body": name}
        write_globe(made / "hips" / name, like=None if body == "sky" else made / "hips" / "sky", **facts)
    for name in WHERE:
        run_hven("ingest", name, "--site", site)
        (made / f"{name}.vot").write_bytes(fetch_query_result(made, f"SELECT * FROM {name}.epn_core"))
    return made


@pytest.fixture(scope="module")
def address(place: Path) -> Iterator[str]:
    """Serve the maps, and a page with Aladin Lite."""
    shutil.copy(ROOT / "web/node_modules/aladin-lite/dist/aladin.js", place / "aladin.js")
    (place / "lite.html").write_text(PAGE, encoding="utf-8")

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(place))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def are_boxes_close(found: list[Box], expected: list[Box], within: float = 3.0) -> bool:
    """Compare boxes: what is looked at lies two pixels beside a line, which are two thirds of a degree, and colours tell degrees."""
    return len(found) == len(expected) and all(
        min(max(measure_box_distance(one, other)) for one in found) < within for other in expected
    )


def measure_box_distance(one: Box, other: Box) -> tuple[float, float]:
    """Give the largest differences of longitudes and of latitudes."""
    lon = max(abs((one[at] - other[at] + 180) % 360 - 180) for at in (0, 1))
    return lon, max(abs(one[at] - other[at]) for at in (2, 3))


def save_picture(name: str, data: bytes) -> None:
    """Keep a picture that the documentation shows below docs/images, if pictures are asked for."""
    if os.environ.get("HVEN_PICTURES") == "1" and name in PICTURES:
        (ROOT / "docs" / "images" / f"{name}.png").write_bytes(data)


# HFC's coronal holes, of an image of the example: from chain codes in a database to outlines on Aladin's Sun
HOLES = "image_108"


@pytest.fixture(scope="module")
def holes(place: Path) -> tuple[str, dict[str, Box]]:
    """Publish example 9's coronal holes, and write those of one image as a client gets them: where to look, and the bounds that rows say."""
    example = place / "hfc"
    shutil.copytree(
        ROOT / "examples/09-hfc-features", example, ignore=shutil.ignore_patterns("*.sqlite", "__pycache__", "var")
    )
    subprocess.run([sys.executable, "make_data.py"], cwd=example, check=True)
    run_hven("ingest", "hfc1ch", "--site", example)
    names = ("granule_uid", "c1min", "c1max", "c2min", "c2max", "s_region")
    for form, columns in (("votable", "*"), ("json", ", ".join(names))):
        # colours tell little at the edge of what is shown: holes around longitude 0
        query = f"SELECT {columns} FROM hfc1ch.epn_core WHERE obs_id = '{HOLES}' AND region_quality = 'exact' AND (c1max < 60 OR c1min > 300)"
        run_hven("query", query, "--site", example, "--public", "--format", form, "--output", place / f"holes.{form}")
    (place / "holes.votable").rename(place / "holes.vot")
    rows = [dict(zip(names, row, strict=True)) for row in json.loads((place / "holes.json").read_text())["data"]]
    assert len(rows) >= 2
    (place / "holes-regions.json").write_text(json.dumps([row["s_region"] for row in rows]))
    boxes = {row["granule_uid"]: (row["c1min"], row["c1max"], row["c2min"], row["c2max"]) for row in rows}
    middle = np.degrees(np.angle(np.mean([np.exp(1j * np.radians((west + (east - west) % 360 / 2) % 360)) for west, east, _, _ in boxes.values()])))  # fmt: skip
    return f"{middle % 360:.1f} 0", boxes


# what Aladin Desktop of today draws of other ways to write the same regions of Mars: a query, and whether outlines are drawn
OTHERS = {
    "circles": (
        "SELECT granule_uid, c1min, c1max, c2min, c2max, CIRCLE(c1min + 9, c2min + 9, 5) AS s_region FROM mars.epn_core",
        False,
    ),
    "cells": ("SELECT granule_uid, c1min, c1max, c2min, c2max, coverage FROM mars.epn_core", False),
    "newer": ("SELECT * FROM mars.epn_core", True),  # as VOTable 1.5
    "unnamed": (
        "SELECT * FROM mars.epn_core",
        False,
    ),  # without the body's name: it has to complain, or it would of nothing
}


@pytest.fixture(scope="module")
def desktop(place: Path, address: str, holes: tuple[str, dict[str, Box]]) -> dict[str, Seen]:
    """Let Aladin Desktop, which minds bodies, show each table over the map of its body: what comes of it."""
    lines, home, shown = [], place / "home", ["sky", "Sun", "holes", "Mars", *OTHERS, "Io"]
    home.mkdir()
    for name, (query, _) in OTHERS.items():
        given = fetch_query_result(place, query, "votable;version=1.5" if name == "newer" else "votable")
        (place / f"{name}.vot").write_bytes(
            given.replace(b'value="mars"', b'value="BODY"') if name == "unnamed" else given
        )
    for body, where in WHERE.items():
        lines += [f"load {address}/hips/{body}", "sync", where, "zoom 150 deg"]
        for name in [body, *(OTHERS if body == "mars" else ["holes"] if body == "sun" else [])]:
            look = holes[0] if name == "holes" else where
            lines += [look, f"load {place / name}.vot", "sync", f"set {name}.vot Shape=dot", "footprints", look, "sync"]
            lines += ["pause 0.7", f"save {place / name}.png", "warning", f"rm {name}.vot", "pause 0.2"]
        lines += [f"rm {body}", "pause 0.2"]
    said = run_aladin(lines, home, "-planet")
    bodies = [line for line in said if line.startswith("FOOTPRINTS")]
    warnings = [line.removeprefix("WARNING ") for line in said if line.startswith("WARNING")]
    assert len(bodies) == len(warnings) == len(shown), said
    pictures = [(place / f"{one.lower()}.png").read_bytes() for one in shown]
    return dict(zip(shown, zip(bodies, warnings, pictures, strict=True), strict=True))


@pytest.mark.parametrize("body", BODIES)
def test_aladin_desktop_draws_regions_where_they_are(desktop: dict[str, Seen], body: str) -> None:
    said, warned, data = desktop[body]
    # another word than the map's, and Aladin calls the two incompatible: it draws nothing
    assert (said, warned) == (f"FOOTPRINTS {body.lower()}.vot true of body {body.lower()}", "null")
    found = find_outlines(decode_png(data), RED)
    assert are_boxes_close(found, [list_box_edges(name, body) for name in BOXES]), found
    save_picture(f"regions-aladin-{body.lower()}", data)


def test_aladin_desktop_draws_the_coronal_holes_of_hfc_on_the_sun(
    desktop: dict[str, Seen], holes: tuple[str, dict[str, Box]]
) -> None:
    said, warned, data = desktop["holes"]
    assert (said, warned) == ("FOOTPRINTS holes.vot true of body sun", "null")
    save_picture("regions-aladin-hfc", data)
    found = find_outlines(decode_png(data), RED)
    assert are_boxes_close(found, [*holes[1].values()]), (found, holes)


def test_aladin_lite_draws_the_coronal_holes_of_hfc_on_the_sun(
    place: Path, address: str, browser: Browser, holes: tuple[str, dict[str, Box]]
) -> None:
    context = browser.new_context(viewport={"width": 500, "height": 500})
    context.add_init_script(SLOW_ANIMATION_SCRIPT)
    page = context.new_page()
    page.goto(f"{address}/lite.html")
    page.wait_for_function("window.ready")
    page.evaluate("([hips, at]) => begin(hips, at)", [f"{address}/hips/sun", holes[0]])
    page.evaluate(OUTLINE, json.loads((place / "holes-regions.json").read_text()))
    for _ in range(20):  # tiles come when they come
        page.wait_for_timeout(300)
        data = page.screenshot()
        found = find_outlines(decode_png(data), MAGENTA)
        if are_boxes_close(found, [*holes[1].values()]):
            break
    save_picture("regions-lite-hfc", data)
    context.close()
    assert are_boxes_close(found, [*holes[1].values()]), (found, holes)


@pytest.mark.parametrize("name", OTHERS)
def test_what_else_aladin_desktop_draws(desktop: dict[str, Seen], name: str) -> None:
    said, warned, data = desktop[name]
    if name == "unnamed":
        assert (said, "uncompatible spacial references (mars vs BODY)" in warned) == (
            "FOOTPRINTS unnamed.vot true of body BODY",
            True,
        )
    else:
        assert (said.endswith("of body mars"), warned) == (True, "null")
    assert len(find_outlines(decode_png(data), RED)) == (3 if OTHERS[name][1] else 0)


def test_aladin_lite_draws_images_of_the_whole_disc_below_their_observers(
    place: Path, address: str, browser: Browser
) -> None:
    """Without c1 and c2 the point below the observer places an image: Aladin finds it in the answer, and draws it there on the Sun."""
    folder = place / "site" / "collections" / "discs"
    folder.mkdir()
    (folder / "discs.yaml").write_text(DISC_DESCRIPTOR, encoding="utf-8")
    lines = [f"{name},{lon},{lat}" for name, (lon, lat) in DISCS.items()]
    (folder / "rows.csv").write_text("\n".join(["name,lon,lat", *lines]), encoding="utf-8")
    run_hven("ingest", "discs", "--site", place / "site")
    rows = json.loads(fetch_query_result(place, "SELECT c1min, c1max, c2min, c2max FROM discs.epn_core", "json"))[
        "data"
    ]
    assert rows == [[None] * 4] * len(DISCS)
    # Lite reads no binary cells
    (place / "discs.vot").write_bytes(fetch_query_result(place, "SELECT * FROM discs.epn_core", "text/xml"))
    context = browser.new_context(viewport={"width": 500, "height": 500})
    context.add_init_script(SLOW_ANIMATION_SCRIPT)
    page = context.new_page()
    page.goto(f"{address}/lite.html")
    page.wait_for_function("window.ready")
    page.evaluate("([hips, at]) => begin(hips, at)", [f"{address}/hips/sun", WHERE["sun"]])
    read = page.evaluate(POINTS, f"{address}/discs.vot")
    assert {name: (lon, lat) for name, lon, lat in read} == DISCS
    for _ in range(20):  # tiles come when they come
        page.wait_for_timeout(300)
        middles = [_middle(box) for box in find_outlines(decode_png(page.screenshot()), MAGENTA)]
        if _stand_at(middles, DISCS.values()):
            break
    context.close()
    assert _stand_at(middles, DISCS.values()), middles


def _middle(box: Box) -> tuple[float, float]:
    west, east, south, north = box
    return (west + (east - west) % 360 / 2) % 360, (south + north) / 2


def _stand_at(found: Sequence[tuple[float, float]], expected: Collection[tuple[float, float]]) -> bool:
    """Compare points, each of which must be found once, within three degrees."""
    return len(found) == len(expected) and all(
        any(max(abs((lon - x + 180) % 360 - 180), abs(lat - y)) < 3 for lon, lat in found) for x, y in expected
    )


@pytest.mark.parametrize("body", ["Sun", "Mars", "Io"])
def test_aladin_lite_draws_outlines_and_cells_where_they_are(
    place: Path, address: str, browser: Browser, body: str
) -> None:
    name = body.lower()
    rows = json.loads(fetch_query_result(place, f"SELECT s_region, coverage FROM {name}.epn_core", "json"))["data"]
    (moc,) = (row[1] for row in rows if row[1])
    context = browser.new_context(viewport={"width": 500, "height": 500})
    context.add_init_script(SLOW_ANIMATION_SCRIPT)
    (place / f"{name}-plain.vot").write_bytes(fetch_query_result(place, f"SELECT * FROM {name}.epn_core", "text/xml"))
    page = context.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("request", lambda one: None if one.url.startswith((address, "data:", "blob:")) else errors.append(one.url))
    page.goto(f"{address}/lite.html")
    page.wait_for_function("window.ready")
    page.evaluate("([hips, at]) => begin(hips, at)", [f"{address}/hips/{name}", WHERE[name]])

    page.evaluate(DRAW, [[row[0] for row in rows], MOC.from_string(moc, "ascii").serialize("json")])
    shapes, cells = (
        [list_box_edges("plain", body), list_box_edges("across", body)],
        [list_box_edges("parts", body), list_box_edges("other", body)],
    )
    for _ in range(20):  # tiles come when they come
        page.wait_for_timeout(300)
        data = page.screenshot()
        save_picture(f"regions-lite-{name}", data)
        pixels = decode_png(data)
        found = (
            [
                one
                for one in find_outlines(pixels, MAGENTA)
                if min(max(measure_box_distance(one, two)) for two in shapes) < 15
            ],
            find_outlines(pixels, CYAN),
        )
        if are_boxes_close(found[0], shapes) and are_boxes_close(found[1], cells, COARSE):
            break
    assert are_boxes_close(found[0], shapes), found
    assert are_boxes_close(found[1], cells, COARSE), found
    # as a table it reads TABLEDATA alone, positions where it is told to look for them, and no outlines
    assert page.evaluate(COUNT, [f"{address}/{name}-plain.vot", f"{address}/{name}.vot"]) == [3, 0]
    context.close()
    assert errors == []


def test_topcat_draws_outlines_and_cells_where_they_are(place: Path) -> None:
    """A map of longitudes and latitudes, two pixels a degree; what a column holds TOPCAT tells by its xtype."""
    # an ink for each body and column, and what is seen of it where others lie over it
    inks: dict[tuple[int, int, int], tuple[str, str, list[str]]] = {
        (255, 0, 0): ("Mars", "s_region", ["plain"]),
        (0, 255, 0): ("Mars", "coverage", ["parts", "other"]),
        (0, 0, 255): ("Io", "s_region", ["plain", "across"]),
        (255, 0, 255): ("Io", "coverage", ["parts", "other"]),
    }
    words: list[str] = []
    for at, (ink, (body, column, _)) in enumerate(inks.items()):
        words += [f"layer{at}=area", f"in{at}={place / body.lower()}.vot", f"area{at}={column}", f"color{at}={bytes(ink).hex()}", f"shading{at}=flat", f"polymode{at}=fill"]  # fmt: skip
    # a body is seen from outside: longitudes grow to the right
    look = ("xpix=720", "ypix=360", "insets=0,0,0,0", "grid=false", "scalebar=false", "projection=car", "reflectlon=false", "legend=false")  # fmt: skip
    run_stilts("plot2sky", *look, *words, "omode=out", f"out={place}/topcat.png")
    pixels = decode_png((place / "topcat.png").read_bytes())
    lon, lat = (np.arange(720) - 359.5) / 2 % 360, (179.5 - np.arange(360)) / 2
    for ink, (body, _, shapes) in inks.items():
        inked = (pixels == ink).all(axis=-1)
        expected = np.zeros(inked.shape, bool)
        for west, east, south, north in (list_box_edges(one, body) for one in shapes):
            expected |= np.outer((lat > south) & (lat < north), (lon - west) % 360 < (east - west) % 360)
        assert inked[expected].mean() > 0.95, (body, shapes)
        assert inked.sum() < 1.4 * expected.sum(), (body, shapes)  # cells along edges are added


def test_the_form_of_vespa_finds_regions(place: Path) -> None:
    """Its ADQL writes a frame into each shape; its form asks for c1 and c2, whose bounds are those of all parts."""

    def found(condition: str) -> list[str]:
        answer = json.loads(
            fetch_query_result(
                place, f"SELECT granule_uid FROM mars.epn_core WHERE {condition} ORDER BY granule_uid", "json"
            )
        )
        return [str(row[0]) for row in answer["data"]]

    assert found("INTERSECTS(s_region, POLYGON('UNKNOWNFrame', 20, 0, 20, 15, 40, 15, 40, 0)) = 1") == ["plain"]
    assert found("CONTAINS(s_region, POLYGON('UNKNOWNFrame', 40, -20, 70, -20, 70, 0, 40, 0)) = 1") == ["parts"]
    # the smaller part is in coverage alone
    smaller = "POLYGON('UNKNOWNFrame', 54, -38, 58, -38, 58, -34, 54, -34)"
    assert found(f"INTERSECTS(s_region, {smaller}) = 1") == []
    assert found(f"INTERSECTS(coverage, {smaller}) = 1") == ["parts"]
    assert found("c1min <= 58 AND c1max >= 54 AND c2min <= -34 AND c2max >= -38") == ["parts"]
