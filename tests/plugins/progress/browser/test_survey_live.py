"""A programme from its proposal to its product, without scripts; the page of progress on screens, phones and for all."""

from __future__ import annotations

import io
import json
import os
import urllib.request
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from astropy.io.votable import parse_single_table
from browser_tab import BrowserTab, open_tab
from samp_hub import HUB_ADDRESS, TopcatClient

from process_runner import Server

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

Survey = tuple[Server, dict[str, str]]


def log_in(page: Page, server: Server, name: str, token: str) -> Page:
    page.goto(f"{server.url}/login")
    page.fill("[name=name]", name)
    page.fill("[name=token]", token)
    with page.expect_navigation():
        page.click("main button")
    return page


def open_person(stack: ExitStack, browser: Browser, survey: Survey, name: str) -> Page:
    """Open a browser without scripts in which somebody is logged in."""
    server, tokens = survey
    context = browser.new_context(java_script_enabled=False, locale="en-GB")
    stack.callback(context.close)
    return log_in(context.new_page(), server, name, tokens[name])


def submit_row(page: Page, server: Server, table: str, values: dict[str, str]) -> str:
    """Fill the form of a table, and submit it; give the address of the entry."""
    page.goto(f"{server.url}/collections/spica/{table}")
    page.click("text=Enter a row")
    for name, value in values.items():
        page.fill(f"#field-{name}", value)
    page.fill("#reason", "as the board has asked")  # new targets need one
    page.click("button:text-is('Submit')")
    assert "submitted" in page.inner_text("h1")
    return page.url


def accept_entry(page: Page, address: str) -> None:
    page.goto(address)
    page.fill("#decision", "agreed")
    page.click("button:text-is('Accept and publish')")
    assert "accepted" in page.inner_text("h1")


def send_row(survey: Survey, name: str, table: str, row: dict[str, object]) -> int:
    """Send a row as a program; give its number."""
    server, tokens = survey
    headers = {"authorization": f"Bearer {tokens[name]}", "content-type": "application/json"}
    status, _, body = server.send("POST", f"/push/spica.{table}", json.dumps(row).encode(), headers)
    assert status == 201, body[:1000]
    key = table.removesuffix("s")
    [[number]] = server.rows(f"SELECT MAX({key}) AS n FROM spica.{table}")
    return int(str(number))


def read_stages(page: Page, server: Server, programme: str) -> list[str]:
    """Read the line of a programme on the page of progress: all rows, planned, observed, reduced."""
    page.goto(f"{server.url}/progress/spica")
    line = page.locator(f".stage-table tr:has(th a:text-is('{programme}'))").first
    return [cell.strip() for cell in line.locator("td.n").all_inner_texts()]


def take_picture(page: Page, name: str) -> None:
    if folder := os.environ.get("HVEN_PICTURES"):
        page.screenshot(path=str(Path(folder) / f"{name}.png"), full_page=True)


def test_all_targets_are_sent_by_samp(browser: Browser, survey: Survey, topcat: TopcatClient) -> None:
    """A program of the desktop gets all targets with the names and UCDs that ASPRO reads."""
    server, _ = survey
    (count,) = server.rows("SELECT COUNT(*) FROM spica.aspro")[0]
    for tab in open_tab(browser, server, viewport={"width": 1440, "height": 900}, locale="en-GB"):
        tab.allowed = (HUB_ADDRESS,)
        page = tab.open_page("/collections/spica/aspro")
        page.wait_for_selector("table.live tr[data-key]")
        page.click("summary:text-is('SAMP')")
        page.click("[data-samp] button:text-is('Connect')")
        page.wait_for_selector("[data-samp] select")
        page.click("[data-samp] button:text-is('The table')")
        sent = topcat.wait_for_message("table.load.votable")
        page.wait_for_selector("[data-samp] p:has-text('Sent to Topcat of the test')")
        table = parse_single_table(io.BytesIO(urllib.request.urlopen(sent["url"]).read()))
        assert table.nrows == int(str(count)) >= 3_000
        fields = {field.name: field.ucd for field in table.fields}
        assert fields["TARGET_MAIN_ID"] == "meta.id;meta.main"
        assert fields["TARGET_RA"] == "pos.eq.ra;meta.main"


def test_a_programme_from_proposal_to_product(browser: Browser, survey: Survey) -> None:
    server, _ = survey
    with ExitStack() as stack:
        anna = open_person(stack, browser, survey, "anna")
        mia = open_person(stack, browser, survey, "mia")
        entry = submit_row(anna, server, "programmes", {"programme": "YSO", "title": "Young stars"})
        mia.goto(f"{server.url}/entries")
        mia.click("main table a")
        mia.fill("[name=reason]", "name the investigator")
        mia.click("button:text-is('Refuse')")
        anna.goto(entry)
        assert "name the investigator" in anna.inner_text("main")
        anna.fill("#field-investigator", "Anna Berg")
        anna.click("button:text-is('Submit')")
        accept_entry(mia, entry)
        package = {"package": "YSO-1", "programme": "YSO", "title": "T Tauri stars"}
        accept_entry(mia, submit_row(anna, server, "packages", package))
        target = {"name": "T Tau", "package": "YSO-1", "ra": "65.497634", "dec": "19.535123", "priority": "1"}
        accept_entry(mia, submit_row(anna, server, "targets", target))
        [[number]] = server.rows("SELECT target FROM spica.targets WHERE name = 'T Tau'")
        assert number == 3001, "Hven numbers targets after those of the file"
        setup = {
            "target": str(number),
            "instrument": "SPICA_6T",
            "mode": "LR_140",
            "stations": "S1 S2 E1 E2 W1 W2",
            "pops": "521432",
            "beams": "B1 B2 B3 B4 B5 B6",
            "visits": "1",
        }
        accept_entry(mia, submit_row(anna, server, "setups", setup))
        assert read_stages(anna, server, "YSO") == ["1", "1", "0", "0"]
        [[setup_number]] = server.rows(f"SELECT setup FROM spica.setups WHERE target = {number}")
        [[cloudy], [clear]] = server.rows(
            "SELECT MAX(night) AS night FROM spica.nights WHERE clouds <> 'thin' AND (clouds = 'thick' OR seeing < 1.5)"
            " AND telescopes = 6 GROUP BY clouds ORDER BY clouds DESC"
        )
        line: dict[str, object] = {"setup": int(str(setup_number)), "exposure": 600, "fringe_snr": 12}
        bad = send_row(survey, "dora", "observations", {**line, "night": cloudy, "started": f"{cloudy}T23:00:00"})
        [[flags]] = server.rows(f"SELECT quality_flags FROM spica.observations WHERE observation = {bad}")
        assert int(str(flags)) & 2, "the night log says that there were thick clouds"
        assert read_stages(anna, server, "YSO") == ["1", "1", "0", "0"], "it does not count"
        good = send_row(survey, "dora", "observations", {**line, "night": clear, "started": f"{clear}T23:00:00"})
        assert read_stages(anna, server, "YSO") == ["1", "0", "1", "0"]
        send_row(survey, "piotr", "products", {"observation": good, "stage": 3, "diameter": 0.42, "e_diameter": 0.01})
        assert read_stages(anna, server, "YSO") == ["1", "0", "0", "1"]
        anna.click("tr:has(th a:text-is('YSO')) td.n >> nth=3 >> a")
        assert "T Tau" in anna.inner_text(".grid")
        take_picture(anna, "survey-reduced")


@pytest.mark.parametrize(
    ("width", "locale", "scheme"), [(1280, "en-GB", "light"), (390, "fr-FR", "dark")], ids=["screen", "phone"]
)
def test_the_page_is_for_all(browser: Browser, survey: Survey, width: int, locale: str, scheme: str) -> None:
    viewport = {"width": width, "height": 800}
    for tab in open_tab(browser, survey[0], viewport=viewport, locale=locale, color_scheme=scheme):
        for path in ("/progress/spica", "/progress/spica?year=2025", "/collections/spica"):
            check_page(tab, path)
        page = tab.open_page("/progress/spica")
        take_picture(page, f"survey-progress-{width}")
        # the calendar scrolls by itself, with the keyboard, too
        calendar = page.locator(".scroll:has(.calendar)")
        calendar.focus()
        assert calendar.evaluate("element => element === document.activeElement")
        tab.follow_link("a[href^='?year=2025']")
        assert page.locator(".years b").inner_text() == "2025"
        day = page.locator(".calendar td a").first
        count = int(day.inner_text())
        day.click()
        page.wait_for_selector("[data-count] b:not(:has-text('~'))")
        shown = "".join(letter for letter in page.inner_text("[data-count] b") if letter.isdigit())
        assert int(shown) == count


def check_page(tab: BrowserTab, path: str) -> None:
    page = tab.open_page(path)
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    assert tab.find_accessibility_faults() == []
