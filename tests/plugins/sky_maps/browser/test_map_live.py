"""The sky in a page: rows as points, tied both ways with the grid, without any outside network."""

from __future__ import annotations

from typing import Any

from browser_tab import BrowserTab
from sky_map import find_isolated_source

GRID = "table.live tr[data-key]"


def wait_for_map(page: Any) -> None:
    page.wait_for_selector("table.live tr[data-key]")
    page.locator(".drawn-map").scroll_into_view_if_needed()
    page.wait_for_selector(".drawn-map canvas")
    page.wait_for_selector(".map .told:has-text('rows')")


def test_a_chosen_row_is_highlighted_and_a_clicked_source_is_chosen(tab: BrowserTab) -> None:
    page = tab.open_page("/collections/stars/main?_map=80,0,20&_sort=star")
    wait_for_map(page)
    assert page.inner_text(".map .told") != "5,000 rows in view", "what is asked is what is seen"
    star = find_isolated_source(page)
    page.mouse.move(star["x"], star["y"])
    page.mouse.click(star["x"], star["y"])
    page.wait_for_selector(".detail dt")
    assert page.inner_text(".detail h2") == star["key"].strip("[]")


def test_a_table_keeps_its_columns_beside_a_map_and_the_panel_of_a_row(tab: BrowserTab) -> None:
    page = tab.open_page("/collections/stars/main?_map=80,0,20&_sort=star")
    wait_for_map(page)
    page.click(f"{GRID} >> nth=1")
    page.wait_for_selector(".detail dt")
    grid, panel, form, drawn_map = (
        page.locator(selector).bounding_box() for selector in (".grid", ".detail", ".filters", ".drawn-map")
    )
    assert grid["width"] > 600
    assert panel["x"] + panel["width"] <= grid["x"], "the panel is left of the table"
    assert form["y"] >= panel["y"] + panel["height"], "the form is below the panel"
    assert drawn_map["x"] >= grid["x"] + grid["width"]
    assert tab.find_accessibility_faults() == []


def test_what_is_seen_becomes_a_condition(tab: BrowserTab) -> None:
    page = tab.open_page("/collections/stars/main?_map=80,0,20")
    wait_for_map(page)
    page.click("text=Search in the visible area")
    page.wait_for_selector("[data-count] b:not(:text-is('5,000')):not(:has-text('~'))")
    assert "_near=" in page.url
    found = int(page.inner_text("[data-count] b").replace(",", ""))
    assert 0 < found < 1000
    assert tab.find_accessibility_faults() == []


def test_many_rows_are_shown_as_counts_per_cell(tab: BrowserTab) -> None:
    page = tab.open_page("/collections/stars/main?_map=0,0,180")
    wait_for_map(page)
    page.wait_for_selector(".map .told:has-text('as counts per cell')")
