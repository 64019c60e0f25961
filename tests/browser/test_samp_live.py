"""SAMP for real: a page in Chromium, a hub with the Web Profile, a client of the Standard Profile that plays TOPCAT."""

from __future__ import annotations

import io
import urllib.request
from typing import Any

from astropy.io.votable import parse_single_table
from browser_tab import BrowserTab
from pyvo.samp import SAMPHubServer
from samp_hub import HUB_ADDRESS, ConsentDialog, TopcatClient

GRID = "table.live tr[data-key]"


def connect_samp(tab: BrowserTab, path: str) -> Any:
    tab.allowed = (HUB_ADDRESS,)
    page = tab.open_page(path)
    page.wait_for_selector(GRID)
    page.click("summary:text-is('SAMP')")
    page.click("[data-samp] button:text-is('Connect')")
    return page


def test_a_table_arrives_with_its_rows_and_both_point_at_them(
    tab: BrowserTab, consent: ConsentDialog, topcat: TopcatClient
) -> None:
    page = connect_samp(tab, "/collections/stars/main?vmag=..6")
    page.wait_for_selector("[data-samp] select")
    assert consent.asked[0][1] == tab.base
    assert "Topcat of the test" in page.inner_text("[data-samp] select")
    tall = page.evaluate(
        "(() => { const label = document.querySelector('[data-samp] label'); label.querySelector('select').add(new Option('x'.repeat(120))); return label.getBoundingClientRect().height; })()"
    )
    assert tall < 60, "beside a program with a long name the words stand in one line"
    page.click("text=The table")
    sent = topcat.wait_for_message("table.load.votable")
    # only now the page knows that we have it
    page.wait_for_selector("[data-samp] p:has-text('Sent to Topcat of the test')")
    body = urllib.request.urlopen(sent["url"]).read()
    table = parse_single_table(io.BytesIO(body)).to_table()
    page.wait_for_selector("[data-count] b:not(:has-text('~'))")  # until it is counted it may be an estimate
    shown = int("".join(letter for letter in page.inner_text("[data-count] b") if letter.isdigit()))
    assert len(table) == shown > 100
    assert max(table["vmag"]) <= 6
    stars = list(table["star"])

    page.locator(f"{GRID} input").nth(2).click()
    page.locator(f"{GRID} input").nth(5).click()
    keys = [int(page.locator(GRID).nth(number).get_attribute("data-key").strip("[]")) for number in (2, 5)]  # type: ignore[union-attr]
    page.click("summary:text-is('SAMP')")
    page.click("text=The marked rows")
    told = topcat.wait_for_message("table.select.rowList")
    assert sorted(stars[int(at)] for at in told["row-list"]) == sorted(keys)
    assert told["table-id"] == sent["table-id"]

    page.click("h1")
    page.locator(f"{GRID} td:nth-child(3)").nth(4).click()
    key = int(page.locator(GRID).nth(4).get_attribute("data-key").strip("[]"))  # type: ignore[union-attr]
    assert stars[int(topcat.wait_for_message("table.highlight.row")["row"])] == key
    page.wait_for_selector(".detail dt")

    message = {
        "samp.mtype": "table.highlight.row",
        "samp.params": {"table-id": sent["table-id"], "url": sent["url"], "row": "7"},
    }
    topcat.client.notify_all(message)
    page.wait_for_selector(f".detail h2:text-is('{stars[7]}')")
    assert "_row=" in page.url
    listed = {
        "samp.mtype": "table.select.rowList",
        "samp.params": {"table-id": sent["table-id"], "url": sent["url"], "row-list": ["0", "1", "3"]},
    }
    topcat.client.notify_all(listed)
    page.wait_for_selector("text=Compare 3 rows")

    page.click("summary:text-is('SAMP')")
    page.click("text=The position of this row")
    place = topcat.wait_for_message("coord.pointAt.sky")
    row = table[stars.index(int(page.inner_text(".detail h2")))]
    assert abs(float(place["ra"]) - row["ra"]) < 1e-4
    assert abs(float(place["dec"]) - row["dec"]) < 1e-4
    row = table[11]
    topcat.client.notify_all(
        {"samp.mtype": "coord.pointAt.sky", "samp.params": {"ra": str(row["ra"]), "dec": str(row["dec"])}}
    )
    page.wait_for_selector(f".detail h2:text-is('{row['star']}')")
    page.click("text=The image of this row")
    assert topcat.wait_for_message("image.load.fits")["url"] == f"https://example.org/star/{row['star']}"
    page.click("text=The spectrum of this row")
    spectrum = topcat.wait_for_message("spectrum.load.ssa-generic")
    assert spectrum["meta"]["sp_type"] == row["sp_type"]
    assert tab.find_accessibility_faults() == []


def test_a_region_reaches_aladin(tab: BrowserTab, topcat: TopcatClient) -> None:
    page = connect_samp(tab, "/collections/stars/main?_near=83.6,22,10")
    page.click("text=The region of the search")
    assert topcat.wait_for_message("script.aladin.send")["script"] == "draw circle(83.6,22,10deg)"
    assert float(topcat.wait_for_message("coord.pointAt.sky")["ra"]) == 83.6


def test_a_hub_that_says_no(tab: BrowserTab, consent: ConsentDialog, hub: SAMPHubServer) -> None:
    consent.answer = False
    page = connect_samp(tab, "/collections/stars/main")
    page.wait_for_selector("[data-samp] p:has-text('The hub refused')")
    assert page.is_visible("[data-samp] button:text-is('Connect')")


def test_a_hub_that_vanishes(tab: BrowserTab, hub: SAMPHubServer) -> None:
    tab.expected = ("Failed to load resource",)
    page = connect_samp(tab, "/collections/stars/main")
    page.wait_for_selector("[data-samp] select")
    hub.stop()
    page.wait_for_selector("[data-samp] p:has-text('The hub has closed')")
    page.wait_for_selector(GRID)
    assert page.is_visible("[data-samp] button:text-is('Connect')")


def test_a_missing_hub_gives_a_hint_and_an_address(tab: BrowserTab) -> None:
    tab.expected = ("ERR_CONNECTION_REFUSED",)
    page = connect_samp(tab, "/collections/stars/main?vmag=..3")
    page.wait_for_selector("[data-samp] p:has-text('No SAMP hub answers')")
    address = page.input_value("[data-samp] input.address")
    table = parse_single_table(io.BytesIO(urllib.request.urlopen(address).read())).to_table()
    assert max(table["vmag"]) <= 3
    assert tab.find_accessibility_faults() == []
