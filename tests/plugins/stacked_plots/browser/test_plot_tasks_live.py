"""Two tasks of `docs/proofs/portal-tasks.md`: spectra and bursts one below the other, and the box of a burst."""

from __future__ import annotations

import csv
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from browser_tab import BrowserTab, open_tab
from task_reader import GRID, Reader

from process_runner import Server

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

SCREEN = {"width": 1440, "height": 900}
SPECTROGRAM = "svg[data-frequencies]"
LOW_MHZ, HIGH_MHZ, STEP_MHZ = 1.05, 13.85, 0.05  # edges and step of the channels of RAD2


def read_bursts(site: Path) -> list[dict[str, str]]:
    with (site / "collections/maser/data/type_iii.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def list_panels(page: Page) -> list[str]:
    return [text.strip() for text in page.locator(".plot-panel h2").all_inner_texts()]


def find_outlines(page: Page, instrument: str) -> list[list[float]]:
    """Return left, top, right and bottom of each closed outline on a spectrogram, as shares of its width and height."""
    picture = page.locator(f".plot-panel:has(h2:has-text('{instrument}')) {SPECTROGRAM}")
    paths = [path.get_attribute("d") or "" for path in picture.locator("path.shape").all()]
    height = float(picture.get_attribute("height") or "")
    rings = [ring.removesuffix("z") for path in paths for ring in path.split("M") if ring.endswith("z")]
    boxes = []
    for ring in rings:
        x, y = np.array([list(map(float, point.split())) for point in ring.split("L")]).T
        boxes.append([x.min() / 1000, y.min() / height, x.max() / 1000, y.max() / height])
    return sorted(boxes)


def start_task(tab: BrowserTab, table: str) -> Reader:
    reader = Reader(tab)
    reader.table("maser", table)
    return reader


def test_task_13_spectra_and_bursts_one_below_the_other_at_an_address(browser: Browser, maser: Server) -> None:
    of_the_day = [one for one in read_bursts(maser.site) if one["TIME_START"].startswith("2003-10-28")]
    assert len(of_the_day) == 6
    address = ""
    for tab in open_tab(browser, maser, viewport=SCREEN):
        reader = start_task(tab, "Files of spectra")
        page = reader.page
        reader.click(".take summary:text-is('Plot in time')")
        reader.opens(".take a:text-is('wind_waves_rad1')")
        page.fill("input[name=q]", "RAD2")
        with page.expect_navigation():
            page.keyboard.press("Enter")
        reader.opens(".plot-suggestions a:has-text('RAD2')")
        page.fill("input[name=q]", "bursts")
        with page.expect_navigation():
            page.keyboard.press("Enter")
        reader.opens(".plot-suggestions a:has-text('Type III bursts')")
        page.fill("input[name=_from]", "2003-10-28")
        page.fill("input[name=_to]", "2003-10-29")
        with page.expect_navigation():
            page.keyboard.press("Enter")
        reader.done("stack")
        address = page.url
    for tab in open_tab(browser, maser, viewport={"width": 390, "height": 844}):  # the colleague, on a phone
        page = tab.open_page(address.removeprefix(tab.base))
        panels = list_panels(page)
        assert ["RAD1" in panels[0], "RAD2" in panels[1], "bursts" in panels[2]] == [True] * 3, panels
        tops = [page.locator(".plot-panel").nth(at).bounding_box()["y"] for at in range(3)]  # type: ignore[index]
        assert tops == sorted(tops)
        assert len(find_outlines(page, "RAD2")) == len(of_the_day)


def test_task_14_the_box_of_a_burst_on_its_spectrogram(browser: Browser, maser: Server) -> None:
    burst = read_bursts(maser.site)[2]
    begin, end = (datetime.fromisoformat(burst[name]) for name in ("TIME_START", "TIME_END"))
    for tab in open_tab(browser, maser, viewport=SCREEN):
        reader = start_task(tab, "Type III bursts")
        page = reader.page
        reader.click(f"{GRID}:has-text('t3_3') td:nth-child(2)")
        page.wait_for_selector(".detail h2:text-is('t3_3')")
        text = page.inner_text(".detail")
        reader.opens(".detail a:has-text('Plot in time')")
        page.fill("input[name=q]", "RAD2")
        with page.expect_navigation():
            page.keyboard.press("Enter")
        reader.opens(".plot-suggestions a:has-text('RAD2')")
        span = [
            datetime.fromisoformat(page.input_value(f"input[name={name}]").removesuffix("Z"))
            for name in ("_from", "_to")
        ]
        (box,) = [one for one in find_outlines(page, "RAD2") if 0 < one[0] < one[2] < 1]
        reader.done("box")
        for moment in (begin, end):
            assert f"{moment:%Y-%m-%d %H:%M:%S}" in text
        for name in ("BR_Y0_MHZ", "BR_Y1_MHZ"):
            assert f"{float(burst[name]):g}" in text, text
        seconds = (span[1] - span[0]).total_seconds()
        left, right = ((moment - span[0]).total_seconds() / seconds for moment in (begin, end))
        minute, channel = 60 / seconds, STEP_MHZ / (HIGH_MHZ - LOW_MHZ)
        bottom, top = ((HIGH_MHZ - float(burst[name])) / (HIGH_MHZ - LOW_MHZ) for name in ("BR_Y0_MHZ", "BR_Y1_MHZ"))
        # an area is made of whole pixels, and the catalogue's box connects their centres
        assert box == pytest.approx(
            [left - minute / 2, top - channel / 2, right + minute / 2, bottom + channel / 2], abs=5e-4
        )


def test_task_20_the_latest_samples_of_a_receiver(browser: Browser, maser: Server) -> None:
    cdflib = pytest.importorskip("cdflib")
    file = cdflib.CDF(maser.site / "collections/maser/data/wi_l2_wav_20031029_v01.cdf")
    last = np.datetime64(cdflib.cdfepoch.encode_tt2000(int(file.varget("Epoch")[-1]))[:19], "us")
    stop = last + np.timedelta64(30, "s")  # samples stand in the middle of their minutes
    for tab in open_tab(browser, maser, viewport=SCREEN):
        reader = start_task(tab, "Files of spectra")
        page = reader.page
        reader.click(".take summary:text-is('Time series')")
        reader.opens(".take a:has-text('RAD1')")
        tab.wait_for_panes("timeline")
        page.wait_for_selector(".timeline:not([aria-busy])")
        reader.done("latest")
        assert str(stop)[:16].replace("T", " ") in page.inner_text(".facts")
        begin, end = page.evaluate("() => window.hven.timeline.view")
        assert begin < int(last.astype("datetime64[s]").astype(int)) <= end, "it opens where the last samples are"
