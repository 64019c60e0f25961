"""Tasks of readers, each from the first page in at most six clicks and a minute; what must come out is counted beforehand from the source files, without Hven.

What is written is free, and so is going from field to field by Tab; each press of the mouse, and each choice from a list, counts.
"""

from __future__ import annotations

import csv
import io
import json
import math
import sqlite3
import zipfile
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
from archive_site import CHANNELS, DAY, OIFITS, build_archive
from astropy.io import fits
from astropy.table import Table
from browser_tab import BrowserTab, open_tab
from task_reader import GRID, Reader

from plugin_needs import require_core_fixtures, require_page_part, require_plugins
from process_runner import Server, reserve_port, run_hven, serve_site
from shared import shared

if TYPE_CHECKING:
    from playwright.sync_api import Browser

PERMITTED = ["clipboard-read", "clipboard-write"]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    site = tmp_path_factory.mktemp("archive") / "site"
    port = reserve_port()
    build_archive(site, port)
    with serve_site(site, port=port) as made:
        yield made


@pytest.fixture
def sources(server: Server) -> Path:
    """The files that the site was made of."""
    return server.site / "collections"


@pytest.fixture
def tab(browser: Browser, server: Server) -> Iterator[BrowserTab]:
    yield from open_tab(browser, server, viewport={"width": 1440, "height": 900}, permissions=PERMITTED)


@pytest.fixture
def reader(tab: BrowserTab) -> Reader:
    return Reader(tab)


def read_archive_files(path: Path) -> dict[str, bytes]:
    """Give the files of an archive by their names."""
    with zipfile.ZipFile(path) as found:
        assert found.testzip() is None
        return {Path(name).name: found.read(name) for name in found.namelist() if "/files/" in name}


# --- 1 -----------------------------------------------------------------------------------------------------------


def nearest(folder: Path) -> set[str]:
    """Find, of each channel but the last, the image nearest to each hour of the day, by the headers of all files."""
    seen: dict[int, list[tuple[datetime, str]]] = {}
    for path in folder.glob("*.fits"):
        header = fits.getheader(path, 1)
        seen.setdefault(header["WAVELNTH"], []).append((datetime.fromisoformat(header["DATE-OBS"]), path.name))
    found = set()
    for line in CHANNELS[:-1]:
        mine = [one for one in seen[line] if one[0].date() == DAY.date()]
        found |= {min(mine, key=lambda one: (abs(one[0] - hour), one[0]))[1] for hour in (DAY + timedelta(hours=at) for at in range(24))}  # fmt: skip
    return found


def test_hourly_images_of_nine_channels_become_one_archive(reader: Reader, sources: Path) -> None:
    require_plugins("protocols", "archive")
    wanted = nearest(sources / "aia" / "data")
    assert len(wanted) == 216
    reader.table("aia", "Images of the Sun by SDO/AIA")
    reader.writes(time="2012-01-02", **{"_to.time": "2012-01-02", "_to.wavelength": "170"})
    reader.choose("select[name=_each]", "filter")
    reader.writes(_every="1 h")
    reader.click(".menu > summary:text-is('Files')")
    reader.page.wait_for_selector("[data-files]:has-text('An archive contains 216')")
    found = read_archive_files(reader.takes("text=All in one ZIP").path())
    reader.done("medoc")
    assert found.keys() == wanted
    assert {fits.getheader(io.BytesIO(body), 1)["WAVELNTH"] for body in found.values()} == {*CHANNELS[:-1]}


# --- 2 -----------------------------------------------------------------------------------------------------------


def measure_box_distance(box: list[float], lon: float, lat: float) -> float:
    """Measure how far a box of west, south, east, north is from a point, in degrees: the least over many of its points."""
    east, north = np.meshgrid(np.linspace(box[0], box[2], 60), np.linspace(box[1], box[3], 60))
    a, b = np.radians(north), math.radians(lat)
    cosine = np.sin(a) * math.sin(b) + np.cos(a) * math.cos(b) * np.cos(np.radians(east - lon))
    return float(np.degrees(np.arccos(cosine.clip(-1, 1))).min())


def of_nili_fossae(folder: Path) -> dict[str, float]:
    """Find the cubes that touch Nili Fossae, at Ls from 350 to 10, with an olivine index of at least a half."""
    with (folder / "nomenclature" / "features.csv").open() as lines:
        place = next(row for row in csv.DictReader(lines) if row["name"] == "Nili Fossae")
    radius = math.degrees(float(place["diameter"]) / 2 / 3389.5)
    found = {}
    for path in (folder / "omega" / "data").glob("*/*/*.json"):
        item = json.loads(path.read_text())
        about = item["properties"]
        if 10 < about["solar_longitude"] < 350 or about["olivine"] < 0.5:
            continue
        distance = measure_box_distance(item["bbox"], float(place["lon"]), float(place["lat"]))
        assert abs(distance - radius) > 0.1, "no cube is so near to the edge that it could be counted either way"
        if distance < radius:
            found[item["id"]] = about["olivine"]
    return found


def test_cubes_with_olivine_of_a_place_at_the_turn_of_the_year_as_fits(reader: Reader, sources: Path) -> None:
    require_plugins("protocols", "archive")
    wanted = of_nili_fossae(sources)
    assert len(wanted) > 1
    reader.search("Nili Fossae")
    reader.opens(".hits a:has-text('OMEGA data cubes')")
    reader.writes(**{"solar_longitude": "350", "_to.solar_longitude": "10", "olivine": "0.5"})
    reader.rows(len(wanted))
    reader.click(".menu > summary:text-is('Files')")
    found = read_archive_files(reader.takes("text=All in one ZIP").path())
    reader.done("omega")
    assert found.keys() == {f"{name}.fits" for name in wanted}
    for name, body in found.items():
        assert float(fits.getdata(io.BytesIO(body)).mean()) == pytest.approx(wanted[name.removesuffix(".fits")])


# --- 3 -----------------------------------------------------------------------------------------------------------


def test_four_maps_of_one_hour_side_by_side(reader: Reader, sources: Path) -> None:
    hour = datetime(2012, 1, 1, 12)
    with (sources / "gaia_dem" / "data" / "gaia_dem.csv").open() as lines:
        times = {row["id"]: datetime.fromisoformat(row["date_obs"]) for row in csv.DictReader(lines)}
    ids = [one for one, when in times.items() if timedelta(0) <= when - hour < timedelta(hours=1)]
    wanted = [f"{one}/aia_{one}_{word}.fits" for one in ids for word in ("em", "width", "temp", "chi2")]
    assert len(wanted) == 8
    page = reader.page
    reader.table("gaia_dem", "GAIA-DEM, maps of the solar corona")
    reader.writes(time="2012-01-01T12:00", **{"_to.time": "2012-01-01T12:59:59"})
    reader.rows(2)
    reader.click(f"{GRID} .thumbnail")  # one time: its four maps
    page.wait_for_selector(".detail .beside figure")
    assert sorted(page.locator(".detail .beside figcaption").all_inner_texts()) == ["chi2", "em", "temp", "width"]
    page.wait_for_function(
        "() => [...document.querySelectorAll('.beside img')].filter((one) => one.naturalWidth > 0).length === 4"
    )
    panel = page.eval_on_selector_all(".beside img", "all => all.map((one) => new URL(one.src).pathname)")
    reader.opens("[data-lines-are] a")  # the hour: all of its maps
    reader.tab.wait_for_panes("looks", "mosaic")
    reader.click(".looks button:text-is('Gallery')")
    reader.page.wait_for_function(
        "number => { const all = [...document.querySelectorAll('.mosaic img')]; return all.length === number && all.every((one) => one.complete && one.naturalWidth > 0); }",
        arg=8,
    )
    shown = reader.page.eval_on_selector_all(".mosaic img", "all => all.map((one) => new URL(one.src).pathname)")
    reader.done("gaia-dem")
    assert sorted(one.partition("/preview/")[2] for one in shown) == sorted(wanted)
    assert sorted(one.partition("/preview/")[2] for one in panel) == sorted(wanted[:4])


# --- 4 -----------------------------------------------------------------------------------------------------------


def read_psz2_with_survey_counts() -> Table:
    """Read PSZ2, with the number of surveys that saw each cluster."""
    known = Table.read(shared("data/images/clusters/HFI_PCCS_SZ-union_R2.08.fits"), unit_parse_strict="silent")
    others = [np.array([str(one).strip() not in {"", "--"} for one in known[name].filled("")]) for name in ("MCXC", "REDMAPPER", "ACT", "SPT")]  # fmt: skip
    known["seen"] = 1 + np.sum(others, axis=0)
    return known


def test_far_clusters_of_two_surveys_and_one_by_its_other_name(reader: Reader) -> None:
    known = read_psz2_with_survey_counts()
    number = int(((known["REDSHIFT"] > 0.5) & (known["seen"] == 2)).sum())
    assert 10 < number < 300
    page = reader.page
    reader.table("sz", "Clusters")
    reader.writes(redshift=">0.5")
    reader.click("#refine .choice:has(.what:text-is('2')):near(:text('Surveys that saw it')) input")
    reader.rows(number)
    assert parse_qs(urlsplit(page.url).query)["seen_by"] == ["2"]
    reader.opens("a.brand")
    reader.search("PSZ2 G062.94+43.69")
    reader.opens(".hits a:has-text('PSZ2 G062.94+43.69')")
    reader.rows(1)
    assert "ACO 2199" in page.locator(GRID).first.inner_text()
    reader.done("sz")


# --- 5 -----------------------------------------------------------------------------------------------------------


def test_a_day_of_the_radioheliograph_at_one_frequency(reader: Reader, sources: Path) -> None:
    hits = json.loads((sources / "nrh" / "data" / "nrh-daily.json").read_text())["hits"]["hits"]
    day = next(one["_source"] for one in hits if one["_source"]["date_obs"].startswith("2012-01-11"))
    (look,) = [one for one in day["quicklooks"] if one["freq"] == 228.0]
    page = reader.page
    reader.table("nrh", "Daily quick-looks of the Nançay radioheliograph")
    reader.writes(time="2012-01-11", **{"_to.time": "2012-01-11"})
    assert page.input_value("[name='_as.spectral_range']") == "MHz"
    reader.writes(**{"spectral_range": "228", "_to.spectral_range": "228"})
    page.wait_for_selector("[data-count]:has-text('1 file')")
    assert page.locator(f"{GRID} .chip-file").all_inner_texts() == [f"228.0 MHz {round(look['bytes'] / 1024)} kB"]
    reader.tab.expected = ("Applying inline style",)  # Chromium's own page of a picture has some, which no file may
    with page.expect_response(f"**/{look['file']}") as answer:
        reader.click(f"{GRID} .chip-file")
    reader.done("nrh")
    assert answer.value.headers["content-type"] == "image/png"


# --- 6 -----------------------------------------------------------------------------------------------------------


def test_active_regions_of_a_day_on_the_sun(reader: Reader, sources: Path) -> None:
    require_page_part("table.map")
    base = sqlite3.connect(sources / "hfc.sqlite")
    wanted = base.execute(
        "SELECT ID_AR, FEAT_CARR_LONG_DEG, FEAT_CARR_LAT_DEG FROM ACTIVEREGIONS a JOIN OBSERVATIONS o ON a.OBSERVATIONS_ID = o.ID_OBSERVATIONS WHERE o.DATE_OBS LIKE '2022-04-19%'"
    ).fetchall()
    page = reader.page
    reader.table("hfc1ar", "Active regions of the Sun (HFC)")
    reader.writes(time="2022-04-19", **{"_to.time": "2022-04-19"})
    reader.rows(len(wanted))
    page.wait_for_selector(f".map .told:has-text('{len(wanted)} rows')")
    page.locator(".drawn-map").scroll_into_view_if_needed()
    page.wait_for_function("() => window.hven.body && !window.hven.body.globe.frameRequest")
    ident, lon, lat = wanted[0]
    at = page.evaluate("([lon, lat]) => window.hven.body.globe.locateOnPage(lon, lat)", [lon, lat])
    reader.clicks += 1
    page.mouse.click(at["x"], at["y"])
    page.wait_for_selector(f".detail h2:has-text('ar_{ident}')")
    reader.done("hfc")


# --- 7 -----------------------------------------------------------------------------------------------------------


def test_a_calibrated_star_and_the_raw_frame_it_came_from(reader: Reader) -> None:
    header = fits.getheader(shared(f"data/interferometry/oifits/{OIFITS[0]}"))
    assert header["ESO PRO CATG"] == "SCIENCE_CALIBRATED"
    raw = header["ESO PRO REC1 RAW1 NAME"][:29]
    page = reader.page
    reader.search("V838 Mon")
    reader.opens(".hits a:has-text('Archive of optical interferometry')")
    reader.rows(1)
    assert OIFITS[0] in page.locator(GRID).first.inner_text()
    reader.click(f"{GRID} td:nth-child(2)")
    page.wait_for_selector(".detail dt:has-text('Calibration level') + dd:text-is('2')")
    reader.opens(f".detail .leads a:has-text('{raw}')")
    reader.rows(1)
    assert raw in page.locator(GRID).first.inner_text()
    reader.done("oidb")


# --- 8 -----------------------------------------------------------------------------------------------------------


def test_a_file_whose_name_one_knows_in_two_clicks(reader: Reader) -> None:
    page = reader.page
    page.fill("main input[type=search]", OIFITS[0])
    reader.opens(f".found a:has-text('{OIFITS[0]}')")
    found = reader.takes(".detail .acts a:has-text('Download')")
    reader.done("file")
    assert reader.clicks == 2
    assert found.path().read_bytes() == shared(f"data/interferometry/oifits/{OIFITS[0]}").read_bytes()


# --- 9 -----------------------------------------------------------------------------------------------------------


def during(sources: Path, begin: datetime, end: datetime) -> dict[str, int]:
    """Count what overlaps a time, by the source files of each collection."""

    def meets(low: datetime, high: datetime) -> bool:
        return low <= end and high >= begin

    images = 0
    for path in (sources / "aia" / "data").glob("*.fits"):
        header = fits.getheader(path, 1)
        low = datetime.fromisoformat(header["DATE-OBS"])
        images += meets(low, low + timedelta(seconds=header["EXPTIME"]))
    with (sources / "gaia_dem" / "data" / "gaia_dem.csv").open() as lines:
        rows = [(datetime.fromisoformat(row["date_obs"]), float(row["exptime (s)"])) for row in csv.DictReader(lines)]
    maps = 4 * sum(meets(low, low + timedelta(seconds=long)) for low, long in rows)
    looks = 0
    for hit in json.loads((sources / "nrh" / "data" / "nrh-daily.json").read_text())["hits"]["hits"]:
        told = hit["_source"]
        low, high = (datetime.fromisoformat(told[name].removesuffix("Z")) for name in ("date_obs", "date_end"))
        looks += len(told["quicklooks"]) * meets(low, high)
    hek = Table.read(shared("data/helio/flares/hek_swpc_20120101-20120103.ecsv"))
    flares = sum(meets(*(datetime.fromisoformat(str(row[name])) for name in ("event_starttime", "event_endtime"))) for row in hek)  # fmt: skip
    return {"Images of the Sun by SDO/AIA": images, "GAIA-DEM, maps of the solar corona": maps, "Daily quick-looks of the Nançay radioheliograph": looks, "Flares by HEK": flares}  # fmt: skip


def test_everything_at_the_time_of_one_flare(reader: Reader, sources: Path) -> None:
    require_core_fixtures("ROW_SECTIONS")
    goes = Table.read(shared("data/helio/flares/hec_goes_20120101-20120103.ecsv"))
    flare = next(
        row for row in goes if row["xray_class"] == "C2.4"
    )  # of an hour and a half: what is shorter is widened to an hour
    begin, end = (datetime.fromisoformat(str(flare[name])) for name in ("time_start", "time_end"))
    wanted = during(sources, begin, end)
    page = reader.page
    reader.table("flares", "Flares by HEC")
    reader.click(f"{GRID}[data-key='[{flare['hec_id']}]'] td:nth-child(3)")
    page.wait_for_selector(".what-else li:not(:has(.n:text-is('…')))")
    lines = page.eval_on_selector_all(
        ".what-else li",
        "all => all.map((one) => [one.querySelector('a').textContent.split(' - ').at(-1), one.querySelector('.n').textContent])",
    )
    assert {title: int(number) for title, number in lines} == wanted
    reader.opens(".what-else a:has-text('SDO/AIA')")
    page.wait_for_selector(GRID)
    page.wait_for_selector(f"[data-count]:has-text('{wanted['Images of the Sun by SDO/AIA']}')")
    reader.done("flare")


# --- 10 ----------------------------------------------------------------------------------------------------------


def test_what_is_on_the_screen_is_cited_and_shared(reader: Reader, browser: Browser, server: Server) -> None:
    page = reader.page
    reader.table("sz", "Clusters")
    reader.writes(redshift=">0.5")
    reader.click(f"{GRID} td:nth-child(2)")
    reader.click(".detail button:text-is('Cite')")
    reader.click(".detail .cited button:text-is('Copy')")
    cited = page.evaluate("navigator.clipboard.readText()")
    reader.click(".detail button:text-is('Link')")
    link = page.evaluate("navigator.clipboard.readText()")
    reader.done("share")
    assert "Planck Collaboration (2016)" in cited
    assert "2016A%26A...594A..27P" in cited
    assert link == page.url


# --- 11 ----------------------------------------------------------------------------------------------------------


def test_a_cluster_is_found_by_a_name_of_another_catalogue(reader: Reader) -> None:
    known = Table.read(shared("data/images/clusters/HFI_PCCS_SZ-union_R2.08.fits"), unit_parse_strict="silent")
    (row,) = [row for row in known if str(row["NAME"]).strip() == "PSZ2 G057.80+88.00"]
    reader.search("aco1656")
    reader.opens(".hits a:has-text('Clusters')")
    reader.rows(1)
    text = reader.page.locator(GRID).first.inner_text()
    reader.done("name")
    assert "PSZ2 G057.80+88.00" in text
    assert f"{row['REDSHIFT']:.4f}" in text


# --- 15 ----------------------------------------------------------------------------------------------------------


def count_february(sources: Path) -> dict[str, int]:
    """Count what overlaps February 2012 by the source files: days of the radioheliograph and their files."""
    begin, end = datetime(2012, 2, 1), datetime(2012, 2, 29, 23, 59, 59)
    days = files = 0
    for hit in json.loads((sources / "nrh" / "data" / "nrh-daily.json").read_text())["hits"]["hits"]:
        told = hit["_source"]
        low, high = (datetime.fromisoformat(told[name].removesuffix("Z")) for name in ("date_obs", "date_end"))
        if low <= end and high >= begin:
            days += 1
            files += len(told["quicklooks"])
    with (sources / "gaia_dem" / "data" / "gaia_dem.csv").open() as lines:
        maps = sum(row["date_obs"].startswith("2012-02") for row in csv.DictReader(lines))
    return {"days": days, "files": files, "maps": maps}


def test_one_box_understands_a_month(reader: Reader, sources: Path) -> None:
    require_core_fixtures("WORD_PAGES")
    wanted = count_february(sources)
    assert wanted["days"] > 5
    assert wanted["maps"] == 0
    page = reader.page
    reader.search("February 2012")
    found = page.locator(".hits li.data").all_inner_texts()
    assert len(found) == 1, "no other collection has anything of that month"
    reader.opens(".hits li.data a")
    page.wait_for_selector(f"[data-count]:has-text('{wanted['days']}')")
    page.wait_for_selector(GRID)
    reader.done("month")
    assert f"{wanted['files']} " in f"{found[0]} {page.inner_text('[data-count]')} "
    assert page.locator("[data-chips] a").count() == 1, "the month is a condition of the form"


# --- 16 ----------------------------------------------------------------------------------------------------------


def test_cubes_in_a_polygon_that_is_drawn_on_mars(reader: Reader, sources: Path) -> None:
    require_page_part("table.map")
    shapely = pytest.importorskip("shapely")
    corners = [(110.0, 45.0), (170.0, 45.0), (150.0, 24.0)]
    items = [json.loads(path.read_text()) for path in (sources / "omega" / "data").glob("*/*/*.json")]
    boxes = {item["id"]: shapely.box(*item["bbox"]) for item in items}
    page = reader.page
    reader.table("omega", "OMEGA data cubes (L2)")
    page.locator(".drawn-map").scroll_into_view_if_needed()
    page.wait_for_selector(".map .told:text-matches('rows?|files?')")
    page.wait_for_function("() => window.hven.body && !window.hven.body.globe.frameRequest")
    reader.click(".map button:text-is('Draw a polygon')")
    for corner in [*corners, corners[0]]:  # the first corner again closes the polygon
        at = page.evaluate("([lon, lat]) => window.hven.body.globe.locateOnPage(lon, lat)", corner)
        reader.clicks += 1
        page.mouse.click(at["x"], at["y"])
    page.wait_for_function("() => new URLSearchParams(location.search).get('_in')?.startsWith('POLYGON ')")
    page.wait_for_selector("[data-chips] a[data-name='_in']")
    page.wait_for_selector("table.live:not(.waiting)")
    reader.done("polygon")
    numbers = parse_qs(urlsplit(page.url).query)["_in"][0].split()[1:]
    drawn = shapely.Polygon(np.reshape(np.array(numbers, float), (-1, 2)))
    assert drawn.symmetric_difference(shapely.Polygon(corners)).area < 0.05 * drawn.area
    answer = page.request.get(page.url.replace("?", "/rows?", 1), params={"_size": 500, "_cols": "obs_id"}).json()
    at_id = [column["name"] for column in answer["columns"]].index("obs_id")
    found = {row[at_id] for row in answer["rows"]}
    # corners are at pixels: cubes that end within a degree of a side may be on either side
    surely = {name for name, box in boxes.items() if box.intersects(drawn.buffer(-1))}
    perhaps = {name for name, box in boxes.items() if box.intersects(drawn.buffer(1))}
    assert surely
    assert surely <= found <= perhaps
    assert len(perhaps) < len(boxes) / 2


# --- 17 ----------------------------------------------------------------------------------------------------------


def test_a_search_goes_on_in_a_notebook(reader: Reader) -> None:
    require_page_part("table.downloads")
    pytest.importorskip("pyvo")
    known = Table.read(shared("data/images/clusters/HFI_PCCS_SZ-union_R2.08.fits"), unit_parse_strict="silent")
    number = int((known["REDSHIFT"] > 0.5).sum())
    reader.table("sz", "Clusters")
    reader.writes(redshift=">0.5")
    reader.rows(number)
    reader.click(".take > .menu > summary:text-is('Download')")
    body = json.loads(reader.takes("a:text-is('Notebook (Jupyter)')").path().read_text())
    reader.done("notebook")
    cells = ["".join(cell["source"]) for cell in body["cells"] if cell["cell_type"] == "code"]
    variables: dict[str, object] = {}
    for cell in cells[:2]:  # the others draw plots
        exec(compile(cell, "cell", "exec"), variables)
    table = variables["table"]
    assert len(table) == number  # type: ignore[arg-type]
    assert float(min(table["redshift"])) > 0.5  # type: ignore[index]


# --- 18 ----------------------------------------------------------------------------------------------------------


def test_rows_of_a_service_elsewhere_are_used_as_those_of_the_site(
    browser: Browser, server: Server, sources: Path, tmp_path: Path
) -> None:
    require_plugins("protocols", "archive")
    items = [json.loads(path.read_text()) for path in (sources / "omega" / "data").glob("*/*/*.json")]
    spring = [one["properties"] for one in items if not 10 < one["properties"]["solar_longitude"] < 350]
    names = {one["properties"]["olivine"]: one["id"] for one in items}
    name = names[max(one["olivine"] for one in spring)]
    site = tmp_path / "portal"
    run_hven("init", site)
    settings = site / "hven.toml"
    remote = f'[[remote]]\nname = "institute"\ntitle = "An institute"\nurl = "{server.url}/tap"\ntables = ["omega.epn_core"]\nseconds = 60\n'
    top, bracket, sections = settings.read_text().partition("\n[")
    settings.write_text(f"{top}\nallow_private = true\n{bracket}{sections}\n{remote}")
    with serve_site(site) as portal:
        for tab in open_tab(browser, portal, viewport={"width": 1440, "height": 900}):
            tab.allowed = (*tab.allowed, urlsplit(server.url).netloc)
            tab.expected = ("404",)  # the pictures are on a server that does not exist
            reader = Reader(tab)
            page = reader.page
            reader.opens("header a:has-text('EPN-TAP')")
            page.fill("input[name=target_name]", "Mars")
            with page.expect_navigation():
                page.keyboard.press("Enter")
            page.wait_for_selector("tr[data-key='institute/omega.epn_core'] td a")
            reader.opens("tr[data-key='institute/omega.epn_core'] td a")
            page.wait_for_selector(GRID)
            reader.writes(solar_longitude="350", olivine="0..", _q="fits", **{"_to.solar_longitude": "10"})
            for order in ("ascending", "descending"):
                reader.click("table.live button.head[data-of='olivine']")
                page.wait_for_selector(f"table.live th[aria-sort={order}]")
                page.wait_for_selector("table.live:not(.waiting)")
            assert tab.find_accessibility_faults() == []
            reader.click(f"{GRID} td:nth-child(3)")
            page.wait_for_selector(".detail .acts a:has-text('Download')")
            download = reader.takes(".detail .acts a:has-text('Download')")
            reader.done("remote")
            assert download.path().read_bytes() == (sources / "omega" / "fits" / f"{name}.fits").read_bytes()


# --- 19 ----------------------------------------------------------------------------------------------------------


def test_the_spectrum_of_a_pixel_of_a_cube(reader: Reader, sources: Path) -> None:
    path = sorted((sources / "omega" / "fits").glob("*.fits"))[40]
    page = reader.page
    reader.search(path.name)
    reader.opens(".hits a:has-text('in Files')")
    page.wait_for_selector(GRID)
    if not page.locator(".detail:not([hidden]) dt").count():
        reader.click(f"{GRID} td:nth-child(3)")
    page.wait_for_selector(".detail dt")
    reader.opens(".detail a:has-text('Explore')")
    reader.tab.wait_for_panes("cube")
    page.wait_for_selector(".cube:not([aria-busy])")
    left, top = page.evaluate("() => window.hven.cube.picture.toScreen([1.5, 2.5])")
    box = page.locator("canvas.slice").bounding_box()
    assert box is not None
    reader.clicks += 1
    page.mouse.click(box["x"] + left, box["y"] + top)
    page.wait_for_selector(".cube .of:has-text('Pixel 2, 3')")
    page.wait_for_selector(".cube .uplot")
    reader.done("cube")
    drawn = page.evaluate("() => window.hven.spectrum.plot.data[3]")
    assert drawn == pytest.approx(fits.getdata(path)[:, 2, 1].tolist())
