"""Journeys to the files behind rows: 216 images in one archive, a cube's pixel and a part of it, a day's quick-looks, files that programs are sent as FITS."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import urllib.request
import zipfile
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import numpy as np
import pytest
from astropy.io import fits
from browser_tab import BrowserTab, open_tab
from samp_hub import HUB_ADDRESS, TopcatClient

from plugin_needs import require_medium, require_page_part, require_plugins
from process_runner import Server, run_hven, serve_site
from shared import shared

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

GRID = "table.live tr[data-key]"
LINES = (94, 131, 171, 193, 211, 304, 335, 1600, 1700, 4500)
DAY = datetime(2014, 9, 10)
SUN = """\
collection: sun
title: Images of the Sun
description: A day and an hour before and behind it, ten channels, one image every twenty minutes, as it came
files: data/*.fits
tables:
  images:
    source: images.csv
    primary: [name]
    columns:
      name: {type: string, ucd: meta.id;meta.main, rank: 1}
      date_obs: {type: timestamp, ucd: time.start;obs.exposure, rank: 1, indexed: true}
      wavelnth: {type: int32, unit: Angstrom, ucd: em.wl, rank: 1}
    links: [{semantics: this, file: "data/{target.name}.fits"}]
  cards:
    title: Headers
    source: {kind: fits, files: "data/*_1700.fits", mode: cards}
"""
CLOUD = "l1448_13co"
HESIOD = """\
collection: clouds
title: Cubes of clouds
description: Cubes, and what programs know as FITS alone
files:
  - "*.fits"
  - "*.qub"
  - "*.cdf"
  - {files: "*.oi", type: application/oifits}
tables:
  main:
    source: clouds.csv
    primary: [name]
    columns: {name: {type: string, ucd: meta.id;meta.main, rank: 1}, file: {type: string, rank: 2}}
    links:
      - {semantics: this, file: "{target.file}"}
      - {semantics: auxiliary, text: "{site.url}/collections/clouds/cube/{target.file}", type: text/html, description: Slices and spectra, if: file LIKE '%.fits'}
  fields:
    title: Fields of view
    source: fields.csv
    primary: [name]
    position: [ra, dec]
    columns:
      name: {type: string, ucd: meta.id;meta.main, rank: 1}
      ra: {type: float64, unit: deg, ucd: pos.eq.ra;meta.main, rank: 1}
      dec: {type: float64, unit: deg, ucd: pos.eq.dec;meta.main, rank: 1}
      radius: {type: float64, unit: deg, rank: 1}
      s_region: {type: circle, ucd: pos.outline;obs.field, rank: 2, indexed: true}
    map: {s_region: "CIRCLE(ra, dec, radius)"}
"""
# what MEDOC offers of SDO
CADENCES = ["12 s", "1 min", "2 min", "10 min", "30 min", "1 h", "2 h", "6 h", "12 h", "1 d"]
NRH = """\
collection: nrh
title: Radioheliograph
description: A day at four frequencies, one of them noisy
files: ["*.fits", "*.txt"]
tables:
  days:
    source: {kind: csv, files: days.csv, types: {day: string}}
    primary: [day]
    columns: {day: {type: string, ucd: meta.id;meta.main, rank: 1}, time_min: {type: timestamp, ucd: time.start}, calib_level: int32}
    links:
      - {semantics: this, file: "{target.day}.txt", description: What was observed}
      - semantics: preview
        from: looks
        where: looks.day = target.day AND looks.freq NOT IN (408e6)
        order: looks.freq DESC
        text: "{site.url}/collections/nrh/preview/{looks.file}"
        type: image/png
        description: "{IN_UNIT(looks.freq, 'MHz'):.1f} MHz"
      - {derived: {by: [day], in: raw}, text: "{site.url}/datalink/nrh.raw?ID={raw.day}", type: application/x-votable+xml;content=datalink, description: Visibilities}
      - {semantics: documentation, text: "{site.url}/collections/nrh", type: text/html, description: How they were made}
      - semantics: proc
        description: Flux of the day
        type: text/csv
        service:
          url: "{site.url}/hapi/data"
          params:
            dataset: nrh_flux
            start: "{target.day}T00:00Z"
            stop: "{target.day}T12:00Z"
            parameters: {values: [flux, error], example: flux}
  looks:
    source: {kind: csv, files: looks.csv, types: {day: string}}
    columns: {day: string, freq: {type: float64, unit: Hz}, file: string}
  raw:
    source: {kind: csv, files: days.csv, types: {day: string}}
    primary: [day]
    columns: {day: {type: string, ucd: meta.id;meta.main}, calib_level: int32}
    map: {calib_level: calib_level - 1}
    links: [{semantics: this, file: "{target.day}.txt"}]
  flux:
    source: flux.csv
    columns: {at: {type: timestamp, ucd: time.epoch}, flux: {type: float64, unit: Jy}, error: {type: float64, unit: Jy}}
    series: {id: nrh_flux}
"""
FREQUENCIES = (150.9, 445.0, 327.0, 408.0)


def sun(folder: Path) -> list[tuple[datetime, int, str]]:
    """Make files of images at odd moments, and give when, what and how each is called."""
    random = np.random.default_rng(2014)
    (folder / "data").mkdir()
    plain = fits.PrimaryHDU(np.zeros((4, 4), "i2"))
    made = []
    for line in LINES:
        for slot in range(-3, 75):
            when = DAY + timedelta(seconds=1200 * slot + int(random.integers(-500, 500)))
            name = f"aia_{when:%Y%m%dT%H%M%S}_{line:04d}"
            plain.header.update({"DATE-OBS": when.isoformat(), "WAVELNTH": line})
            plain.writeto(folder / "data" / f"{name}.fits")
            made.append((when, line, name))
    rows = "".join(f"{name},{when.isoformat()},{line}\n" for when, line, name in made)
    (folder / "images.csv").write_text(f"name,date_obs,wavelnth\n{rows}")
    return made


def clouds(folder: Path) -> None:
    for name in (
        f"images/{CLOUD}.fits",
        "planetary/cubes/v1477479472_1.qub",
        "helio/cdf/de2_ion2s_rpa_19830213_v01.cdf",
    ):
        (folder / Path(name).name).write_bytes(shared(f"data/{name}").read_bytes())
    (folder / "night.oi").write_bytes(shared("data/interferometry/oifits/PIONIER_intro.fits").read_bytes())
    rows = "".join(f"{path.stem},{path.name}\n" for path in sorted(folder.iterdir()) if path.suffix in {".fits", ".qub", ".cdf", ".oi"})  # fmt: skip
    (folder / "clouds.csv").write_text(f"name,file\n{rows}")
    lines = "".join(f"{name},{ra!r},{dec!r},{radius!r}\n" for name, (ra, dec, radius) in fields().items())
    (folder / "fields.csv").write_text(f"name,ra,dec,radius\n{lines}")


def fields() -> dict[str, tuple[float, float, float]]:
    """Place circles around a cloud, large and small, over each other."""
    random = np.random.default_rng(12)
    return {f"f{at}": (52 + random.normal(), 31 + random.normal(), random.uniform(0.3, 1.5)) for at in range(40)}


def nrh(folder: Path) -> None:
    y, x = np.mgrid[:64, :64] - 32.0
    looks = ["day,freq,file"]
    for mhz in FREQUENCIES:
        image = np.exp(-(x**2 + y**2) / mhz) + 0.02 * np.sin(x)
        fits.PrimaryHDU(image.astype("f4")).writeto(folder / f"sun_{mhz:.0f}.fits")
        looks.append(f"2011-06-01,{mhz * 1e6},sun_{mhz:.0f}.fits")
    (folder / "looks.csv").write_text("\n".join(looks) + "\n")
    (folder / "days.csv").write_text("day,time_min,calib_level\n2011-06-01,2011-06-01T08:00:00,2\n")
    (folder / "2011-06-01.txt").write_text("the Sun\n")
    hours = "".join(f"2011-06-01T{hour:02d}:00:00,{hour}.5,0.{hour:02d}\n" for hour in range(24))
    (folder / "flux.csv").write_text(f"at,flux,error\n{hours}")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, list[tuple[datetime, int, str]]]]:
    site = tmp_path_factory.mktemp("products") / "site"
    run_hven("init", site)
    made = []
    for name, text, make in (("sun", SUN, sun), ("clouds", HESIOD, clouds), ("nrh", NRH, nrh)):
        folder = site / "collections" / name
        folder.mkdir(parents=True)
        (folder / f"{name}.yaml").write_text(text)
        made += make(folder) or []
        run_hven("ingest", name, "--site", site)
    with serve_site(site) as server:
        yield server, made


@pytest.fixture
def tab(browser: Browser, files: tuple[Server, Any], external_programs: None) -> Iterator[BrowserTab]:
    yield from open_tab(browser, files[0], viewport={"width": 1440, "height": 900})


@pytest.fixture
def phone_tab(browser: Browser, files: tuple[Server, Any]) -> Iterator[BrowserTab]:
    yield from open_tab(browser, files[0], viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)


def asks(page: Page, **fields: str) -> None:
    """Write into fields of the form, and wait until the address says so."""
    page.wait_for_selector("[data-pane=form][data-ready]", state="attached")
    for name, text in fields.items():
        field = f"input[name='{name}']"
        if not page.is_visible(field):
            chosen = page.locator(f"[data-facet='{name.removeprefix('_to.')}'] button:text-is('enter a value')")
            folded = page.locator("details", has=page.locator(field)).first.locator("summary").first
            (chosen if chosen.is_visible() else folded).click()
        page.fill(field, text)
        page.wait_for_selector(f"[data-chips] a[data-name='{name.removeprefix('_to.')}']", state="attached")


def test_nine_wavelengths_of_a_day_become_one_archive(
    tab: BrowserTab, files: tuple[Server, list[tuple[datetime, int, str]]]
) -> None:
    """216 images, each the nearest to its hour by what a plain search over all of them finds."""
    require_plugins("protocols", "archive")
    page = tab.open_page("/collections/sun/images")
    page.locator(".grid").scroll_into_view_if_needed()
    page.wait_for_selector(f"[data-count] b:text-is('{len(files[1])}')")
    asks(page, date_obs="2014-09-10", **{"_to.date_obs": "2014-09-10"})
    asks(page, **{"_to.wavelnth": "1700"})
    page.select_option("select[name=_each]", "wavelnth")
    asks(page, _every="1 h")
    page.wait_for_selector("[data-count] b:text-is('216')")
    page.click(".menu > summary:text-is('Files')")
    page.wait_for_selector("[data-files]:has-text('An archive contains 216')")
    with page.expect_download() as waiting:
        page.click("text=All in one ZIP")
    path = Path(waiting.value.path())
    wanted = set()
    for line in LINES[:-1]:
        mine = [(when, name) for when, one, name in files[1] if one == line and when.date() == DAY.date()]
        wanted |= {min(mine, key=lambda one: (abs(one[0] - hour), one[0]))[1] for hour in (DAY + timedelta(hours=at) for at in range(24))}  # fmt: skip
    assert len(wanted) == 216
    with zipfile.ZipFile(path) as packed:
        assert packed.testzip() is None
        here = [name for name in packed.namelist() if "/files/" in name]
        assert sorted(Path(name).stem for name in here) == sorted(wanted)
        (listed,) = [name for name in packed.namelist() if name.endswith("MANIFEST.csv")]
        rows = list(csv.DictReader(io.StringIO(packed.read(listed).decode())))
        assert len(rows) == 216
        top = listed.rpartition("/")[0]
        for row in rows:
            body = packed.read(f"{top}/{row['name']}")
            assert (int(row["bytes"]), row["sha256"]) == (len(body), hashlib.sha256(body).hexdigest())
            assert fits.getheader(io.BytesIO(body))["WAVELNTH"] <= 1700
        assert "1700" in packed.read(f"{top}/README.txt").decode()
    assert tab.find_accessibility_faults() == []


def test_cadences_equal_those_of_medoc(tab: BrowserTab, files: tuple[Server, list[tuple[datetime, int, str]]]) -> None:
    page = tab.open_page("/collections/sun/images?wavelnth=1700")
    page.wait_for_selector("[data-pane=form][data-ready]", state="attached")
    offered = page.locator("input[name=_every]").evaluate("(one) => [...one.list.options].map((each) => each.value)")
    assert offered == CADENCES
    mine = sorted((when, name) for when, one, name in files[1] if one == 1700)
    for text in ("10 min", "6 h", "1 d"):
        number, unit = text.split()
        step = timedelta(seconds=int(number) * {"min": 60, "h": 3600, "d": 86_400}[unit])
        nearest: dict[int, tuple[timedelta, datetime, str]] = {}
        for when, name in mine:
            at = round((when - DAY) / step)
            found = abs(when - DAY - at * step), when, name
            nearest[at] = min(nearest.get(at, found), found)
        asks(page, _every=text)
        page.wait_for_selector(f"[data-count] b:text-is('{len(nearest)}')")


def test_headers_are_tables_and_all_files_can_be_searched(
    tab: BrowserTab, files: tuple[Server, list[tuple[datetime, int, str]]]
) -> None:
    page = tab.open_page("/collections/sun/cards")
    asks(page, keyword="DATE-OBS", value=f"{DAY:%Y-%m-%d}T12*")
    noon = [name for when, one, name in files[1] if one == 1700 and when.date() == DAY.date() and when.hour == 12]
    page.wait_for_selector(f"[data-count] b:text-is('{len(noon)}')")
    assert sorted(Path(one).stem for one in page.locator(f"{GRID} td:has-text('.fits')").all_inner_texts()) == sorted(
        noon
    )
    assert tab.find_accessibility_faults() == []
    page = tab.open_page(f"/collections/sun/headers/data/{noon[0]}.fits")
    cells = page.locator("tr:has(:text-is('BITPIX'))").first.inner_text()
    assert "array data type" in cells  # the card's comment
    answer = page.request.get(f"{tab.base}/collections/sun/headers/data/{noon[0]}.fits?RESPONSEFORMAT=json").text()
    assert "array data type" in answer
    assert tab.find_accessibility_faults() == []


def test_a_click_on_the_sky_finds_all_footprints_around_the_point(tab: BrowserTab) -> None:
    require_page_part("table.map")
    page = tab.open_page("/collections/clouds/fields?_map=52,31,4")
    page.wait_for_selector(GRID)
    page.wait_for_function("() => window.hven?.aladin")
    page.evaluate("document.querySelector('.drawn-map').scrollIntoView({block: 'center', behavior: 'instant'})")
    page.wait_for_selector(".map .told:has-text('rows')")

    def list_fields_at(lon: float, lat: float) -> set[str]:
        def compute_distance(ra: float, dec: float) -> float:
            a, b, width = np.radians(dec), np.radians(lat), np.radians(ra - lon)
            return float(np.degrees(np.arccos(np.sin(a) * np.sin(b) + np.cos(a) * np.cos(b) * np.cos(width))))

        return {name for name, (ra, dec, radius) in fields().items() if compute_distance(ra, dec) < radius}

    lon, lat = next((x, y) for x in np.arange(51.5, 52.5, 0.07) for y in np.arange(30.5, 31.5, 0.07) if 3 < len(list_fields_at(x, y)) == len(list_fields_at(x + 0.05, y)) == len(list_fields_at(x, y + 0.05)) == len(list_fields_at(x - 0.05, y)) == len(list_fields_at(x, y - 0.05)) and min(abs(ra - x) + abs(dec - y) for ra, dec, _ in fields().values()) > 0.15)  # fmt: skip
    x, y = page.evaluate("(at) => window.hven.aladin.world2pix(...at)", [float(lon), float(lat)])
    box = page.locator("[data-pane=sky] .drawn-map").bounding_box()
    assert box
    page.mouse.move(box["x"] + x, box["y"] + y)
    page.mouse.click(box["x"] + x, box["y"] + y)
    page.wait_for_selector(f".under b:has-text('{len(list_fields_at(lon, lat))} rows under this point')")
    assert set(page.locator(".under li").all_inner_texts()) == list_fields_at(lon, lat)
    page.click(".under button:text-is('All rows whose footprint contains this point')")
    page.wait_for_function("() => new URLSearchParams(location.search).get('_in')?.startsWith('POINT ')")
    point = page.evaluate("new URLSearchParams(location.search).get('_in')").split()[1:]
    query = f"SELECT name FROM clouds.fields WHERE 1 = CONTAINS(POINT({', '.join(point)}), s_region)"
    asked = {"LANG": "ADQL", "RESPONSEFORMAT": "csv", "QUERY": query}
    assert set(page.request.get(f"{tab.base}/tap/sync", params=asked).text().split()[1:]) == list_fields_at(lon, lat)
    page.wait_for_selector(f"[data-count] b:text-is('{len(list_fields_at(lon, lat))}')")
    assert tab.find_accessibility_faults() == []


def open_row_drawer(page: Page, ident: str) -> None:
    """Open the drawer of a row."""
    page.wait_for_selector(GRID)
    page.locator(f"{GRID}[data-key='[\"{ident}\"]'] td").nth(1).click()
    page.wait_for_selector(".detail .leads")


def test_from_a_row_to_the_spectrum_of_a_pixel_and_a_part_of_the_cube(tab: BrowserTab) -> None:
    page = tab.open_page("/collections/clouds/main")
    open_row_drawer(page, CLOUD)
    page.wait_for_function("() => document.querySelector('.detail .pictures img')?.naturalWidth > 300")
    assert tab.find_accessibility_faults() == []
    tab.follow_link(".detail .leads a:text-is('Slices and spectra')")
    tab.wait_for_panes("cube")
    page.wait_for_selector(".cube .uplot")
    left, top = page.evaluate("() => window.hven.cube.picture.toScreen([43.5, 71.5])")
    box = page.locator("canvas.slice").bounding_box()
    assert box
    page.mouse.click(box["x"] + left, box["y"] + top)
    page.wait_for_selector(".cube .of:has-text('Pixel 44, 72')")
    drawn, order = page.evaluate("() => [window.hven.spectrum.plot.data[3], window.hven.cube.spectrum.order]")
    whole = fits.getdata(shared(f"data/images/{CLOUD}.fits"))
    assert np.array_equal(np.array(drawn, float), whole[:, 71, 43][np.array(order)].astype(float), equal_nan=True)
    # a part, by the form that the list of links has of it
    page = tab.open_page(f"/datalink/clouds.main?ID={CLOUD}")
    form = page.locator("form:has([name=CIRCLE])").first
    for name in form.locator("input:not([type=hidden])").all():
        name.fill("")
    form.locator("[name=CIRCLE]").fill("51.25 30.8 0.1")
    form.locator("[name=PIXELS_3]").fill("10 20")
    with page.expect_download() as waiting:
        form.locator("button").click()
    with fits.open(waiting.value.path()) as found:
        assert found[0].data.shape[-3] == 11
        assert 0 < found[0].data.size < whole.size / 10
        assert np.isin(found[0].data[np.isfinite(found[0].data)], whole).all()
    assert tab.find_accessibility_faults() == []


def test_quick_looks_of_a_day_are_sorted_by_frequency_with_their_source(tab: BrowserTab) -> None:
    page = tab.open_page("/collections/nrh/days")
    open_row_drawer(page, "2011-06-01")
    page.wait_for_selector(".detail .pictures :text('445.0 MHz · 1 / 3')")
    page.click(".detail [aria-label='Next picture']")
    page.wait_for_selector(".detail .pictures :text('327.0 MHz · 2 / 3')")
    page = tab.open_page("/datalink/nrh.days?ID=2011-06-01")
    assert page.locator(".shots figcaption").all_inner_texts() == ["445.0 MHz", "327.0 MHz", "150.9 MHz"]
    page.wait_for_function(
        "() => [...document.querySelectorAll('.shots img')].every((one) => one.naturalWidth === 800)"
    )
    assert page.locator("dt").all_inner_texts() == ["The data", "Made from", "Documentation", "Service"]
    assert tab.find_accessibility_faults() == []
    form = page.locator("form:has([name=parameters])")
    assert form.locator("[name=dataset]").get_attribute("value") == "nrh_flux"
    form.locator("select").select_option("error")
    with page.expect_response("**/hapi/data?**") as answer:
        form.locator("button").click()
    assert answer.value.status == 200
    told = urllib.request.urlopen(answer.value.url).read().decode().split()
    assert told == [f"2011-06-01T{hour:02d}:00:00.000000Z,0.{hour:02d}" for hour in range(12)] or len(told) == 12, told


def test_the_links_of_a_row_fit_a_phone(phone_tab: BrowserTab) -> None:
    for path in (
        "/datalink/nrh.days?ID=2011-06-01",
        f"/datalink/clouds.main?ID={CLOUD}",
        f"/collections/clouds/cube/{CLOUD}.fits",
    ):
        page = phone_tab.open_page(path)
        assert page.evaluate("() => document.documentElement.scrollWidth") <= 390, path
        assert phone_tab.find_accessibility_faults() == []


@pytest.mark.parametrize(
    ("ident", "mtype", "address"),
    [
        (CLOUD, "image.load.fits", "files/l1448_13co.fits"),
        ("v1477479472_1", "image.load.fits", "as/fits/v1477479472_1.qub"),
        ("night", "table.load.fits", "files/night.oi"),
        ("de2_ion2s_rpa_19830213_v01", "table.load.fits", "as/fits/de2_ion2s_rpa_19830213_v01.cdf"),
    ],
)  # fmt: skip
def test_files_of_all_kinds_are_sent_in_readable_formats(
    tab: BrowserTab, topcat: TopcatClient, ident: str, mtype: str, address: str
) -> None:
    if address.endswith(".qub"):
        require_medium(shared("data/planetary/cubes/v1477479472_1.qub"))
    if address.endswith(".cdf"):
        require_plugins("media", "cdf")
    topcat.client.bind_receive_notification("table.load.fits", topcat.receive_message)
    tab.allowed = (HUB_ADDRESS,)
    page = tab.open_page("/collections/clouds/main?_row=" + quote(json.dumps([ident])))
    page.wait_for_selector(".detail .leads")
    page.click("summary:text-is('SAMP')")
    page.click("[data-samp] button:text-is('Connect')")
    page.wait_for_selector("[data-samp] select")
    page.click("text=The file of this row")
    url = topcat.wait_for_message(mtype)["url"]
    assert url == f"{tab.base}/collections/clouds/{address}"
    with fits.open(io.BytesIO(urllib.request.urlopen(url).read())) as found:
        assert len(found) > 1 or found[0].data is not None
