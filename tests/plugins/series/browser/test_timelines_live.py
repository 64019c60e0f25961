"""Time series in the page: what is drawn are the values of the samples; it moves and zooms by pointer, wheel, fingers and keys; lines of code read the same."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from browser_tab import BrowserTab, open_tab

from das2_streams import parse_stream
from plugin_needs import require_core_fixtures
from process_runner import Server, run_hven, serve_site
from requirements import require

if TYPE_CHECKING:
    from playwright.sync_api import Browser

HERE = "/series/sun_samples"
SECOND = 1_000_000
START = int(np.datetime64("2003-10-28T00:00:00", "us").astype(int))
SLIVERS = START - 800 * 86_400 * SECOND
MANY, WIDE = 8640, 24
DESCRIPTOR = """\
collection: sun
title: Sun
description: Made up
tables:
  samples:
    title: A day of the Sun
    source: {kind: parquet, files: ../../samples.parquet}
    columns:
      moment: {ucd: time.epoch}
      flux: {type: "float32[24]", unit: W}
      total: {unit: W, label: Total}
      picture: {ucd: meta.ref.url}
    series:
      cadence: 10 s
      bins:
        flux: {name: frequency, unit: MHz, centers: [CENTERS]}
  slivers:
    title: Two days of a year
    source: {kind: parquet, files: ../../slivers.parquet}
    columns:
      moment: {ucd: time.epoch}
      total: {}
    series: {cadence: 60 s}
  scaled:
    title: Rates of counts
    source: {kind: parquet, files: ../../scaled.parquet}
    columns:
      moment: {ucd: time.epoch}
      flux: {type: "float32[8]", unit: W}
      rate: {unit: 1/s}
      other: {unit: 1/s}
      below: {unit: K}
    series:
      cadence: 10 s
      bins: {flux: {name: energy, unit: keV, centers: [10, 11, 12, 13, 14, 15, 16, 17], scale_type: log}}
      scale_types: {flux: log, rate: log, other: linear, below: log}
  bursts:
    title: Bursts
    source: {kind: csv, file: ../../bursts.csv}
    columns:
      time_min: {type: float64, unit: d, ucd: time.start}
      time_max: {type: float64, unit: d, ucd: time.end}
      spectral_range_min: {type: float64, unit: Hz, ucd: em.freq;stat.min}
      spectral_range_max: {type: float64, unit: Hz, ucd: em.freq;stat.max}
"""
BUSY = ".timeline:not([aria-busy])"


def values() -> tuple[Any, Any, Any]:
    """Make a day with a gap of two hours and one bright burst at 06:00 in the channels at 20 and 21 MHz."""
    at = np.arange(MANY)
    moments = START + at * 10 * SECOND
    flux = np.random.default_rng(2).normal(10, 1, (MANY, WIDE)).astype("f4")
    flux[2160:2172, 10:12] = 1000
    kept = (at < 4320) | (at >= 5040)
    return moments[kept], flux[kept], (np.sin(at / 500) + at / 1e4)[kept]


@pytest.fixture(scope="module")
def sun(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    site = tmp_path_factory.mktemp("timelines") / "site"
    (site / "collections" / "sun").mkdir(parents=True)
    (site / "hven.toml").write_text('name = "sun"\n')
    moments, flux, total = values()
    columns = {"moment": pa.array(moments).cast(pa.timestamp("us")), "flux": pa.FixedSizeListArray.from_arrays(pa.array(flux.ravel()), WIDE), "total": total, "picture": [None if at % 60 else f"https://images.example/{at}.png" for at in range(len(moments))]}  # fmt: skip
    pq.write_table(pa.table(columns), site / "samples.parquet")
    two_days = SLIVERS + np.concatenate([np.arange(1440), 365 * 1440 + np.arange(600)]) * 60 * SECOND
    slivers = {"moment": pa.array(two_days).cast(pa.timestamp("us")), "total": np.arange(float(len(two_days)))}
    pq.write_table(pa.table(slivers), site / "slivers.parquet")
    decades = np.tile(10.0 ** np.arange(-2, 6), (2000, 1)).astype("f4")
    decades[:, 0] = 0
    at = np.arange(2000)
    rates = {"rate": np.where(at % 2, 0.0, 10.0 ** (at / 500)), "other": 10.0 ** (at / 500), "below": -1.0 - at}
    scaled = {"moment": pa.array(START + at * 10 * SECOND).cast(pa.timestamp("us")), "flux": list(decades), **rates}
    pq.write_table(pa.table(scaled), site / "scaled.parquet")
    lines = [f"{day},{day + 120 / 86_400},20e6,21.5e6" for day in (2452940.75, 2452941.75)]  # 06:00 of two days
    (site / "bursts.csv").write_text("\n".join(["time_min,time_max,spectral_range_min,spectral_range_max", *lines, ""]))
    text = DESCRIPTOR.replace("CENTERS", ", ".join(str(10 + at) for at in range(WIDE)))
    (site / "collections" / "sun" / "sun.yaml").write_text(text)
    run_hven("ingest", "sun", "--site", site)
    with serve_site(site) as server:
        yield server


@pytest.fixture
def tab(browser: Browser, sun: Server) -> Iterator[BrowserTab]:
    yield from open_tab(browser, sun, viewport={"width": 1440, "height": 900})


@pytest.fixture
def phone_tab(browser: Browser, sun: Server) -> Iterator[BrowserTab]:
    yield from open_tab(browser, sun, viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)


def view(page: Any) -> list[float]:
    page.wait_for_selector(BUSY)
    found: list[float] = page.evaluate("() => window.hven.timeline.view")
    return found


def colour(page: Any, time: str, channel: float) -> list[int]:
    """Give the colour of the picture at a time and a frequency."""
    page.wait_for_selector(BUSY)
    found: list[int] = page.evaluate(
        """([time, channel]) => {
          const { plot } = window.hven.timeline.panels[0];
          const place = [plot.valToPos(Date.parse(time) / 1000, "x", true), plot.valToPos(channel, "y", true)];
          return [...plot.ctx.getImageData(Math.round(place[0]), Math.round(place[1]), 1, 1).data];
        }""",
        [time, channel],
    )
    return found


def test_nothing_else_takes_time_from_the_first_picture(tab: BrowserTab) -> None:
    page = tab.open_page(HERE)
    page.wait_for_selector("[data-pane=switches][data-ready]")
    begun, drawn = page.evaluate(
        """() => [
          Math.min(...performance.getEntriesByType("resource").filter((one) => /basket|health|state_links/.test(one.name)).map((one) => one.startTime)),
          Math.min(1000, performance.getEntriesByName("first picture")[0].startTime),
        ]"""
    )
    assert begun >= drawn


def test_drawn_lines_equal_the_samples(tab: BrowserTab) -> None:
    page = tab.open_page(f"{HERE}?_from=2003-10-28T03:00&_to=2003-10-28T03:20&_else=0")
    tab.wait_for_panes("timeline")
    page.wait_for_selector(BUSY)
    lines = page.evaluate("() => { const { times, low, mean, high } = window.hven.timeline.panels[1].lines[0]; return { times, low, mean, high }; }")  # fmt: skip
    moments, _, total = values()
    inside = (moments >= START + 10_800 * SECOND) & (moments < START + 12_000 * SECOND)
    drawn = np.array(lines["mean"])[np.searchsorted(lines["times"], moments[inside] / SECOND)]
    assert np.allclose(drawn, total[inside], rtol=1e-6)
    assert lines["low"] == lines["high"] == lines["mean"]  # one sample a bin
    wide = page.evaluate("() => window.hven.timeline.show(1067299200, 1067385600)")
    assert wide is None
    tab.save_screenshot("timeline", whole=True)
    # the burst, and the gap: nothing is drawn there
    bright, quiet = colour(page, "2003-10-28T06:01:00Z", 20.5), colour(page, "2003-10-28T06:01:00Z", 28)
    assert sum(bright) > sum(quiet)
    assert colour(page, "2003-10-28T13:00:00Z", 20)[3] == 0
    assert colour(page, "2003-10-28T15:00:00Z", 20)[3] == 255
    assert tab.find_accessibility_faults() == []


def test_pointer_wheel_and_keys_move_the_timeline(tab: BrowserTab) -> None:
    page = tab.open_page(f"{HERE}?_from=2003-10-28T03:00&_to=2003-10-28T05:00")
    tab.wait_for_panes("timeline")
    first, last = view(page)
    box = page.locator(".timeline .u-over").first.bounding_box()
    middle = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(*middle)
    page.mouse.down()
    page.mouse.move(middle[0] - box["width"] / 4, middle[1], steps=4)
    page.mouse.up()
    assert view(page) == pytest.approx([first + 1800, last + 1800], abs=10)
    page.mouse.move(*middle)
    page.mouse.wheel(0, -300)
    page.wait_for_function("() => window.hven.timeline.view[1] - window.hven.timeline.view[0] < 4000")
    assert np.mean(view(page)) == pytest.approx((first + last) / 2 + 1800, abs=20)
    page.keyboard.down("Shift")
    page.mouse.down()
    page.mouse.move(middle[0] + box["width"] / 4, middle[1], steps=4)
    page.mouse.up()
    page.keyboard.up("Shift")
    found = view(page)
    assert found[1] - found[0] == pytest.approx(7200 / np.e / 4, rel=0.02)
    page.mouse.click(*middle)
    page.wait_for_url("**_at=2003-10-28T**")
    page.focus(".timeline .stack")
    before = view(page)
    page.keyboard.press("ArrowRight")
    assert view(page)[0] == pytest.approx(before[0] + (before[1] - before[0]) / 5, abs=1)
    page.keyboard.press("0")
    assert view(page)[0] == pytest.approx(START / SECOND, abs=900)
    page.wait_for_url("**_from=2003-10-27T23**")
    page.fill(".moment >> nth=0", "2003-10-28T10:00")
    page.fill(".moment >> nth=1", "2003-10-28T11:00")
    page.press(".moment >> nth=1", "Enter")
    assert view(page) == [START / SECOND + 36_000, START / SECOND + 39_600]


def test_colours_need_no_request_and_parameters_can_be_switched(tab: BrowserTab) -> None:
    page = tab.open_page(f"{HERE}?_from=2003-10-28T05:50&_to=2003-10-28T06:10")
    tab.wait_for_panes("timeline")
    before = colour(page, "2003-10-28T06:01:00Z", 20.5)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.select_option("[aria-label=Colours] >> nth=-1", "heat")
    assert colour(page, "2003-10-28T06:01:00Z", 20.5) != before
    assert not [one for one in asked if "TILE" in one]
    page.select_option("[aria-label=Shown] >> nth=-1", "peak")
    page.wait_for_function("() => window.hven.timeline.panels[0].visibleTiles[0]?.key.includes('peak')")
    page.uncheck(".timeline .choices label:has-text('Total') input")
    assert page.locator(".timeline .panel").count() == 1
    page.wait_for_url("**_p=flux**")


def test_tiles_come_ahead_of_the_script_and_once(tab: BrowserTab) -> None:
    page = tab.open_page(HERE)
    tab.wait_for_panes("timeline")
    page.wait_for_function("() => performance.getEntriesByName('first picture').length")
    found = page.evaluate("() => performance.getEntriesByType('resource').map((one) => [one.name, one.initiatorType]).filter(([name]) => name.includes('TILE='))")  # fmt: skip
    assert found
    assert {kind for _, kind in found} == {"link"}
    assert len(found) == len({name for name, _ in found})


def test_a_part_that_fails_is_told_and_asked_again(tab: BrowserTab) -> None:
    """Nobody moves: what the server could not give is asked again by itself; what it refuses for good is not."""
    tab.expected = ("503", "status of 400")
    failed: list[str] = []

    def refuse(route: Any) -> None:
        if "TILE=" in route.request.url and len(failed) < 3:
            failed.append(route.request.url)
            return route.fulfill(status=503, content_type="application/json", body='{"message": "too many at once"}')
        return route.continue_()

    tab.page.route("**/series/**", refuse)
    page = tab.open_page(f"{HERE}?_from=2003-10-28T05:50&_to=2003-10-28T06:10")
    page.wait_for_function("() => document.querySelector('.timeline .told').textContent.includes('too many at once')")
    assert "tries again in" in page.inner_text(".timeline .told")
    page.wait_for_function("() => !document.querySelector('.timeline .told').textContent")
    page.wait_for_selector(BUSY)
    assert len(failed) == 3
    assert sum(colour(page, "2003-10-28T06:01:00Z", 20.5)) > sum(colour(page, "2003-10-28T06:01:00Z", 28))
    asked: list[str] = []
    page.unroute("**/series/**")
    page.route("**/series/**", lambda route: (asked.append(route.request.url), route.fulfill(status=400, content_type="application/json", body='{"message": "no such width"}')))  # fmt: skip
    page.evaluate("() => window.hven.timeline.show(1067340000, 1067350000)")
    page.wait_for_function("() => document.querySelector('.timeline .told').textContent.includes('no such width')")
    many = len(asked)
    page.evaluate("() => window.hven.timeline.draw()")
    page.wait_for_selector(BUSY)
    assert len(asked) == many
    page.unroute("**/series/**")
    page.evaluate("() => window.dispatchEvent(new Event('online'))")
    page.wait_for_function("() => !document.querySelector('.timeline .told').textContent")


def test_concurrent_rows_and_code_examples_are_shown(tab: BrowserTab, tmp_path: Path) -> None:
    require_core_fixtures("CONCURRENT_SEARCHES")
    page = tab.open_page(f"{HERE}?_from=2003-10-28T05:50&_to=2003-10-28T06:10&_p=total&_else=1")
    tab.wait_for_panes("timeline")
    page.wait_for_selector(".meanwhile .line a:has-text('Bursts')")
    assert page.inner_text(".meanwhile .line small") == "1"
    page.click(".meanwhile .line a")
    page.wait_for_selector("[data-total='1'], .count:has-text('1')")
    page.go_back()
    tab.wait_for_panes("timeline")
    page.click("text=Copy as code")
    page.wait_for_selector(".script code:has-text('hapiclient')")  # written when nobody moves any more
    lines = page.inner_text(".script code")
    code = f"{lines}\nprint(len(data), data['total'][0])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False, env={"HOME": str(Path.home()), "PATH": "/usr/bin"})  # fmt: skip
    _, _, total = values()
    assert done.stdout.split() == ["120", str(total[2100])], done.stderr
    csv = page.get_attribute(".files a", "href")
    assert page.request.get(csv).text().count("\n") == 120
    # what does not install here is asked for as it asks
    said = {name: line(page, name) for name in ("das2py", "IDL (SPEDAS)", "curl", "speasy")}
    (url,) = re.findall(r'das2.read_http\("(.+)"\)', said["das2py"])
    packets = parse_stream(page.request.get(url).body()).packets  # lines and spectra have packets of their own
    (packet,) = (one for one in packets if "total" in one.values())
    np.testing.assert_array_equal(packet.values()["total"][:, 0], total[2100:2220])
    found = re.fullmatch(r"hapi_load_data, server='(.+)', dataset='(.+)', parameters=\[(.+)\], trange=\['(.+)', '(.+)'\]", said["IDL (SPEDAS)"])  # fmt: skip
    assert found is not None
    names = found[3].replace("'", "").replace(" ", "")
    first, last = (f"{one.replace('/', 'T')}.000"[:23] for one in found.groups()[3:])
    told = page.request.get(f"{found[1]}/info?id={found[2]}&parameters={names}").json()
    assert told["startDate"] <= first < last <= told["stopDate"]  # or it asks for nothing
    rows = page.request.get(f"{found[1]}/data?id={found[2]}&time.min={first}&time.max={last}&parameters={names}").text()
    assert rows == page.request.get(csv).text()
    require("curl")
    subprocess.run(said["curl"], shell=True, check=True, capture_output=True, cwd=tmp_path)
    assert (tmp_path / "sun_samples.csv").read_text() == rows
    assert page.request.get(re.findall(r'url = "(.+)"', said["speasy"])[0]).text().splitlines()[-120:] == rows.splitlines()  # fmt: skip


def line(page: Any, name: str) -> str:
    """Give what is copied for a client."""
    page.select_option(".script select", name)
    found: str = page.inner_text(".script code")
    return found


def test_a_chosen_time_shows_the_nearest_picture(tab: BrowserTab) -> None:
    """The nearest one; of an origin that the site does not name it is a link, and nothing is asked there."""
    page = tab.open_page(f"{HERE}?_at=2003-10-28T03:01")
    tab.wait_for_panes("timeline")
    assert view(page) == pytest.approx([START / SECOND + 10_860 - 2000, START / SECOND + 10_860 + 2000])
    assert page.get_attribute(".gallery a", "href") == "https://images.example/1080.png"
    assert "2003-10-28T03:00:00" in page.inner_text(".gallery a")
    assert page.locator(".gallery img").count() == 0
    page.evaluate("() => window.hven.timeline.chooseTime(1067313660)")
    page.wait_for_selector(".gallery a[href='https://images.example/1440.png']")


def test_features_are_drawn_over_the_spectrum(tab: BrowserTab) -> None:
    require_core_fixtures("CONCURRENT_SEARCHES")
    page = tab.open_page(f"{HERE}?_from=2003-10-28T05:50&_to=2003-10-28T06:10&_p=flux")
    tab.wait_for_panes("timeline")
    page.wait_for_selector(".meanwhile .line input:checked")
    page.wait_for_function("() => window.hven.timeline.concurrentRows.features.size === 1")
    (shape,) = page.evaluate("() => [...window.hven.timeline.concurrentRows.features.values()].flat()")
    moments, heights = np.array(shape["trace"]).T
    assert (moments.min(), moments.max()) == pytest.approx((START / SECOND + 21_600, START / SECOND + 21_720), abs=1e-3)
    assert (heights.min(), heights.max(), shape["closed"]) == (20e6, 21.5e6, True)
    edge = colour(page, "2003-10-28T06:00:00Z", 20.7)
    tab.save_screenshot("timeline-features")
    page.uncheck(".meanwhile .line input")
    page.wait_for_function("() => window.hven.timeline.concurrentRows.features.size === 0")
    assert colour(page, "2003-10-28T06:00:00Z", 20.7) != edge


def test_the_timeline_works_on_a_phone(phone_tab: BrowserTab) -> None:
    page = phone_tab.open_page(HERE)
    phone_tab.wait_for_panes("timeline")
    first, last = view(page)
    assert page.evaluate("() => document.documentElement.scrollWidth <= innerWidth")
    page.evaluate(
        """() => {
          const over = document.querySelector(".timeline .u-over");
          const box = over.getBoundingClientRect();
          const send = (kind, id, x) => over.dispatchEvent(new PointerEvent(kind, { pointerId: id, clientX: box.left + x * box.width, clientY: box.top + 50, pointerType: "touch", bubbles: true }));
          over.setPointerCapture = () => {};
          send("pointerdown", 1, 0.4); send("pointerdown", 2, 0.6);
          send("pointermove", 1, 0.2); send("pointermove", 2, 0.8);
          send("pointerup", 1, 0.2); send("pointerup", 2, 0.8);
        }"""
    )
    found = view(page)
    assert found[1] - found[0] == pytest.approx((last - first) / 3, rel=0.02)
    assert np.mean(found) == pytest.approx((first + last) / 2, abs=60)
    phone_tab.save_screenshot("timeline-phone", whole=True)


def test_it_opens_with_the_latest_samples_and_shows_all_of_them_on_demand(tab: BrowserTab) -> None:
    page = tab.open_page("/series/sun_slivers")
    low, high = view(page)
    page.wait_for_url("**_from=*")
    assert SLIVERS / 1e6 + 360 * 86_400 < low < high, "the page opens with the earlier samples or with the gap"
    page.click(".bar button:text-is('All of it')")
    low, high = view(page)
    assert low < SLIVERS / 1e6 < SLIVERS / 1e6 + 365 * 86_400 < high


def test_stated_scales_are_those_of_axes_and_colours(tab: BrowserTab) -> None:
    """Zeros are drawn like the lowest value; where nothing is above 0, the axis stays linear."""
    page = tab.open_page("/series/sun_scaled?_p=flux,rate,other,below")
    page.wait_for_selector(BUSY)
    panels = page.evaluate(
        "() => window.hven.timeline.panels.map((one) => [one.parameters.map((p) => p.name), one.isLog])"
    )
    assert panels == [[["flux"], True], [["rate"], True], [["other"], False], [["below"], False]]
    low, high = page.evaluate("() => window.hven.timeline.panels[1].yRange")
    assert (-1 < low <= 0, 3.99 < high < 4.5) == (True, True)
    shown = [tuple(colour(page, "2003-10-28T02:00:00Z", np.log10(10 + at))) for at in range(8)]
    assert shown[0] == shown[1]
    assert len(set(shown[1:])) == 7
    green = [one[1] for one in shown[1:]]
    steps = np.diff(green)
    assert (steps > 10).all(), "each decade has its colour"
    said = page.evaluate(
        "() => window.hven.timeline.panels[0].describeAt(Date.parse('2003-10-28T02:00:00Z') / 1000, 1)"
    )
    assert said.endswith(" 0 W")
    page.locator(".panel select").nth(2).select_option("linear")
    page.wait_for_selector(BUSY)
    linear = [tuple(colour(page, "2003-10-28T02:00:00Z", np.log10(10 + at))) for at in range(8)]
    assert len(set(linear[:4])) == 1
