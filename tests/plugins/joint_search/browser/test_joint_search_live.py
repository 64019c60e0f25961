"""One search over observation logs and OIFITS files in a real browser, with scripts and without."""

from __future__ import annotations

import csv
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from browser_tab import open_tab
from task_reader import Reader

from process_runner import Server

if TYPE_CHECKING:
    from playwright.sync_api import Browser

PAGE = "/joint-search/oidb"


def test_from_the_form_to_a_row_without_scripts(browser: Browser, joint: Server) -> None:
    for tab in open_tab(browser, joint, viewport={"width": 1440, "height": 900}, java_script_enabled=False):
        page = tab.open_page("/")
        tab.follow_link("header a:text-is('Search observations')")
        page.fill("[name=target]", "Sirius")
        page.select_option("[name=availability]", "public")
        tab.follow_link("form.filters button")
        assert "target=Sirius&availability=public" in page.url
        text = " ".join(page.inner_text(".joint-count").split())
        assert text.startswith("0 observation logs and ")
        assert page.locator(".joint-mark").count() > 5
        rows = page.locator("table.rows tbody tr").count()
        assert text == f"0 observation logs and {rows} OIFITS files"
        tab.follow_link("table.rows tbody a >> nth=0")
        assert "/collections/oidb/main?_row=" in page.url


def test_screens_phones_and_night(browser: Browser, joint: Server) -> None:
    for tab in open_tab(browser, joint, viewport={"width": 1440, "height": 900}):
        page = tab.open_page(f"{PAGE}?level=1..3")
        page.wait_for_selector("table.rows tbody tr")
        assert tab.find_accessibility_faults() == []
        page.emulate_media(color_scheme="dark", reduced_motion="reduce")
        assert tab.find_accessibility_faults("color-contrast") == []
        page.set_viewport_size({"width": 390, "height": 844})
        assert tab.find_accessibility_faults() == []
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        page = tab.open_page(f"{PAGE}?lang=fr")
        assert page.inner_text("h1") == "Chercher des observations"
        assert tab.find_accessibility_faults() == []


def count_sirius(site: Path) -> tuple[int, int]:
    """Count the public logs and granules of Sirius by the source files: rights, or an embargo that is over."""

    def read_rows(collection: str) -> list[dict[str, str]]:
        with (site / "collections" / collection / "data" / "rows.csv").open(newline="") as file:
            return [row for row in csv.DictReader(file) if row["target_name"] == "Sirius"]

    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S")
    logs = sum(row["exp_date_release"] <= now for row in read_rows("vlti_logs"))
    granules = read_rows("oidb")
    files = sum(row["data_rights"] == "public" or "" < row["obs_release_date"] <= now for row in granules)
    return logs, files


def test_task_12_public_data_of_a_star_as_logs_and_files(browser: Browser, joint: Server) -> None:
    """A task of `docs/proofs/portal-tasks.md`."""
    logs, files = count_sirius(joint.site)
    assert logs == 0
    assert 5 < files < 13
    for tab in open_tab(browser, joint, viewport={"width": 1440, "height": 900}):
        reader = Reader(tab)
        page = reader.page
        reader.opens("header a:text-is('Search observations')")
        page.fill("[name=target]", "Sirius")
        reader.choose("[name=availability]", "public")
        with page.expect_navigation():
            page.press("[name=target]", "Enter")
        text = " ".join(page.inner_text(".joint-count").split())
        reader.done("joint")
        assert text == f"{logs} observation logs and {files} OIFITS files"
        assert page.locator("table.rows tbody tr").count() == files
