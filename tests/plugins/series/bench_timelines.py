"""The page of time series in Chromium: twenty years of 400 channels, with nights, gaps, changes of mode and interference.

Samples come each second, sparse in time: campaigns of an hour (with --big of twelve: 7.9 GB of samples, some 2 GB on the disk), those over the
leap seconds of these years among them, every fifth in a mode of two seconds, with gaps of minutes, steps of an attenuator, channels that are never free
of interference and others that are hit for moments; receivers count in 1/8 dB. Files have TAI. Times are those of the browser's own clock: the first picture counts from when the address is gone to until the last tile is drawn, in a browser that has never
been there (`first`) and in one that comes back (`again`: it has the scripts and asks whether the rest is as it was); references are the limits that a reader feels.
"""

from __future__ import annotations

import shutil
import statistics
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from bench.measure import CACHE, HVEN, Journey, against, serve_site

if TYPE_CHECKING:
    from playwright.sync_api import Page

CHANNELS, SECOND, DAY = 400, 1_000_000, 86_400
START = int(np.datetime64("2003-01-01", "s").astype(np.int64))
YEARS = 20
WINDOW = {"width": 1300, "height": 900}
NAMES = (
    "timelines.cold",
    "timelines.first",
    "timelines.again",
    "timelines.bytes",
    "timelines.frames",
    "timelines.zoom",
    "timelines.else",
    "timelines.near",
)
NEEDS = dict.fromkeys(("playwright", "chromium"), NAMES)
DESCRIPTOR = """\
collection: sun
title: Sun
description: Made up
files: data/*.parquet
tables:
  spectra:
    title: Twenty years of the Sun
    source: {{kind: granules, files: data/*.parquet}}
    follow: true
    series:
      file: "{{target.path}}"
      time: {{of: moment, unit: us, since: 1970-01-01, scale: TAI}}
      cadence: 1 s
      parameters: [flux, total]
      variables:
        flux: {{unit: dB}}
        total: {{unit: dB}}
      bins:
        flux: {{name: frequency, unit: MHz, centers: [{centers}]}}
  bursts:
    source: {{kind: csv, file: ../../bursts.csv}}
    columns:
      first: {{type: timestamp, ucd: time.start}}
      last: {{type: timestamp, ucd: time.end}}
"""
LEAPS = (
    "2006-01-01",
    "2009-01-01",
    "2012-07-01",
    "2015-07-01",
    "2017-01-01",
)  # behind these; TAI - UTC is 33 to 37 s then
DRAWN = "() => !document.querySelector('.timeline').hasAttribute('aria-busy') && window.hven?.timeline?.drawn > 0"
FIRST = "() => performance.getEntriesByName('first picture')[0]?.startTime"
STEPS = """() => {
  const every = performance.getEntriesByType('resource');
  const last = (part) => Math.max(0, ...every.filter((one) => one.name.includes(part)).map((one) => one.responseEnd));
  const tiles = every.filter((one) => one.name.includes('TILE='));
  const [page] = performance.getEntriesByType('navigation');
  return [page.responseEnd, last('/assets/'), Math.min(...tiles.map((one) => one.startTime)), last('TILE=')].map(Math.round);
}"""  # page, scripts and styles; tiles are asked for, and there


def campaigns(many: int, hours: int) -> list[int]:
    """List when samples begin: spread over twenty years, at six in the morning, and over each leap second."""
    days = np.linspace(1, 365 * YEARS - 2, many - len(LEAPS)).astype(int)
    ahead = [int(np.datetime64(day, "s").astype(np.int64)) - hours * 1800 for day in LEAPS]
    return sorted([*(START + int(day) * DAY + 6 * 3600 for day in days), *ahead])


def write_files(site: Path, many: int, hours: int) -> tuple[int, int]:
    """Write twenty years; return the bytes of their samples, and those of their files."""
    data = site / "collections" / "sun" / "data"
    data.mkdir(parents=True)
    (site / "hven.toml").write_text('name = "sun"\n')
    rng = np.random.default_rng(3)
    steps = np.array([int(np.datetime64(day, "s").astype(np.int64)) for day in LEAPS])
    background = 40 * np.exp(-np.linspace(0, 3, CHANNELS)) + 20
    always = rng.random(CHANNELS) < 0.02  # broadcasting stations
    size = 0
    for number, first in enumerate(campaigns(many, hours)):
        last = first + hours * 3600
        tai = np.arange(
            first + 32 + np.count_nonzero(steps <= first),
            last + 32 + np.count_nonzero(steps <= last),
            2 if number % 5 == 4 else 1,
        )
        gaps = rng.integers(0, len(tai), 3)
        kept = np.ones(len(tai), bool)
        for gap in gaps:
            kept[gap : gap + 180] = False
        tai = tai[kept]
        values = rng.integers(0, 24, (len(tai), CHANNELS), np.uint8) / np.float32(8) + background.astype(np.float32)
        values[:, always] += 30
        values[len(tai) // 2 :] += 10 * (number % 3)  # the attenuator
        values[rng.integers(0, len(tai), 20), rng.integers(0, CHANNELS, 20)] = 120
        values = np.round(values * 8) / np.float32(8)
        size += values.nbytes
        flux = pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), CHANNELS)
        table = pa.table({"moment": tai * SECOND, "flux": flux, "total": values.sum(1, dtype=np.float64)})
        pq.write_table(table, data / f"sun_{number:04d}_v01.parquet", compression="zstd", row_group_size=1024)
    starts = np.sort(START + rng.integers(0, YEARS * 365 * DAY, 100_000))
    lines = [f"{np.datetime64(int(one), 's')},{np.datetime64(int(one) + 60, 's')}" for one in starts]
    (site / "bursts.csv").write_text("\n".join(["first,last", *lines, ""]))
    centers = ", ".join(f"{one:.4g}" for one in np.geomspace(10, 1000, CHANNELS))
    (site / "collections" / "sun" / "sun.yaml").write_text(DESCRIPTOR.format(centers=centers))
    return size, sum(path.stat().st_size for path in data.iterdir())


def make_site(big: bool) -> tuple[Path, str]:
    """Make the site once; return it, and what it is."""
    site = CACHE / ("site-timelines-big" if big else "site-timelines")
    done = site / "done"
    if not done.exists():
        shutil.rmtree(site, ignore_errors=True)
        size, there = write_files(site, *((115, 12) if big else (60, 1)))
        begun = time.perf_counter()
        subprocess.run([HVEN, "ingest", "sun", "--site", site], check=True, capture_output=True)
        spent = time.perf_counter() - begun
        levels = sum(path.stat().st_size for path in (site / "var" / "reductions").rglob("*"))
        done.write_text(
            f"{size / 1e6:.0f} MB of samples in {there / 1e6:.0f} MB of files, {YEARS} years; ingested with {levels / 1e6:.0f} MB of reductions in {spent:.0f} s"
        )
    return site, done.read_text()


def wait_until_drawn(page: Page, limit: float = 60.0) -> None:
    """Wait until all that was asked for is drawn."""
    until = time.perf_counter() + limit
    while not page.evaluate(DRAWN):
        if time.perf_counter() > until:
            raise TimeoutError("nothing is drawn")


def open_page(browser: Any, url: str) -> tuple[Page, float, int]:
    """Open a page; return milliseconds until it is drawn, and bytes of what it asked for besides its scripts and styles."""
    page = browser.new_page(**({} if hasattr(browser, "clear_cookies") else {"viewport": WINDOW}))
    page.goto(url, wait_until="commit")
    spent = page.wait_for_function(FIRST, polling=500).json_value()  # seldom: who asks takes time from who draws
    size = page.evaluate(
        "() => performance.getEntriesByType('resource').filter((one) => one.name.includes('/series/')).reduce((sum, one) => sum + one.encodedBodySize, 0)"
    )
    return page, float(spent), int(size)


def run(only: str = "", *, big: bool = False) -> Iterator[Journey]:
    """Measure the page of twenty years."""
    if not any(only in name for name in NAMES):
        return
    from playwright.sync_api import sync_playwright

    site, note = make_site(big)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        with serve_site(site) as server:
            yield from measure_views(browser, f"http://127.0.0.1:{server.port}/series/sun_spectra", only, note)
        browser.close()


def measure_views(browser: Any, url: str, only: str, note: str) -> Iterator[Journey]:
    page, cold, _ = open_page(browser, url)
    page.close()
    found, again, steps = [], [], []
    for _ in range(5):
        page, spent, size = open_page(browser, url)
        steps.append(page.evaluate(STEPS))
        page.close()
        found.append(spent)
    one = browser.new_context(viewport=WINDOW)
    for _ in range(6):
        page, spent, _ = open_page(one, url)
        again.append(spent)
        if len(again) < 6:
            page.close()
    ways = [", ".join(map(str, step)) for step in (steps[found.index(statistics.median(found))], page.evaluate(STEPS))]
    frames = page.evaluate(
        """async () => {
          const { timeline } = window.hven;
          timeline.zoom(0.1);
          await new Promise((done) => setTimeout(done, 1500));
          const times = [];
          for (let at = 0; at < 90; at++) {
            timeline.move(0.01);
            await new Promise((done) => requestAnimationFrame(done));
            times.push(performance.now());
          }
          return times.slice(1).map((one, at) => one - times[at]);
        }"""
    )
    wait_until_drawn(page)
    zooms = [
        page.evaluate(
            """async (factor) => {
              const { timeline } = window.hven;
              const begun = performance.now();
              timeline.zoom(factor);
              do await new Promise((done) => requestAnimationFrame(done));
              while (timeline.box.hasAttribute("aria-busy"));
              return performance.now() - begun;
            }""",
            factor,
        )
        for factor in (0.5, 0.5, 0.5, 2, 0.3, 0.3, 0.5, 3, 2, 2, 0.4)
    ]
    near = [
        page.evaluate(
            """async (at) => {
              const { timeline } = window.hven;
              const begun = performance.now();
              timeline.show(at, at + 600);
              do await new Promise((done) => requestAnimationFrame(done));
              while (timeline.box.hasAttribute("aria-busy"));
              return performance.now() - begun;
            }""",
            at,
        )
        for at in (int(np.datetime64(day, "s").astype(np.int64)) - 300 for day in LEAPS)
    ]
    span = "_from=2012-03-01&_to=2012-04-01&_but=sun.spectra"
    asked = [
        page.evaluate(
            "async (url) => { const begun = performance.now(); await (await fetch(url, {cache: 'no-store'})).json(); return performance.now() - begun; }",
            f"/meanwhile?{span}{at}",
        )
        for at in range(1, 6)
    ]
    page.close()
    every = [
        against(NAMES[0], cold, 2000, 1.0, unit="ms", note=f"after a start, {note}"),
        against(
            NAMES[1],
            statistics.median(found),
            300,
            1.0,
            unit="ms",
            note=f"server warm, fresh browser; page, scripts, tiles asked, there: {ways[0]}",
        ),
        against(
            NAMES[2],
            statistics.median(again[1:]),
            300,
            1.0,
            unit="ms",
            note=f"server warm, browser comes back: {ways[1]}",
        ),
        against(NAMES[3], size / 1000, 300, 1.0, unit="kB", note="tiles and facts of the first picture"),
        against(
            NAMES[4],
            1000 / statistics.mean(frames),
            30,
            1.0,
            unit="/s",
            higher=True,
            note="moving through a tenth of it",
        ),
        against(NAMES[5], statistics.median(zooms), 100, 1.0, unit="ms", note="until all tiles are drawn"),
        against(
            NAMES[7],
            statistics.median(near),
            100,
            1.0,
            unit="ms",
            note="ten minutes of seconds over a leap second, never asked for before, until all is drawn",
        ),
        against(NAMES[6], statistics.median(asked), 200, 1.0, unit="ms", note="what else there is of a month"),
    ]
    yield from (one for one in every if only in one.name)
