"""The sky in a page: rows as points, tied both ways with the grid, without any outside network."""

from __future__ import annotations

from typing import Any

from tabs import Tab

GRID = "table.live tr[data-key]"


def drawn(page: Any) -> None:
    page.wait_for_selector("table.live tr[data-key]")
    page.locator(".drawn-map").scroll_into_view_if_needed()
    page.wait_for_selector(".drawn-map canvas")
    page.wait_for_selector(".map .told:has-text('rows')")


def test_a_chosen_row_lights_up_and_a_clicked_source_is_chosen(tab: Tab) -> None:
    page = tab.go("/collections/stars/main?_map=80,0,20&_sort=star")
    drawn(page)
    assert page.inner_text(".map .told") != "5,000 rows in view", "what is asked is what is seen"
    star = page.evaluate("""() => {
        const map = document.querySelector('[data-pane=sky]');
        const box = map.querySelector('.drawn-map').getBoundingClientRect();
        const al = window.hven.aladin;
        const every = al.getOverlays().flatMap((one) => one.sources ?? []).filter((one) => one.data?.key);
        const seen = every.map((one) => ({key: one.data.key, at: al.world2pix(one.ra, one.dec)})).filter(({at}) => at && at[0] > 60 && at[1] > 60 && at[0] < box.width - 60 && at[1] < box.height - 60);
        return {key: seen[0].key, x: box.x + seen[0].at[0], y: box.y + seen[0].at[1]};
    }""")
    page.mouse.move(star["x"], star["y"])
    page.mouse.click(star["x"], star["y"])
    page.wait_for_selector(".detail dt")
    assert page.inner_text(".detail h2") == star["key"].strip("[]")


def test_what_is_seen_becomes_a_condition(tab: Tab) -> None:
    page = tab.go("/collections/stars/main?_map=80,0,20")
    drawn(page)
    page.click("text=Search in what is seen")
    page.wait_for_selector("[data-count] b:not(:text-is('5,000'))")
    assert "_near=" in page.url
    found = int(page.inner_text("[data-count] b").replace(",", ""))
    assert 0 < found < 1000
    assert tab.axe() == []


def test_many_rows_are_counts_of_cells(tab: Tab) -> None:
    page = tab.go("/collections/stars/main?_map=0,0,180")
    drawn(page)
    page.wait_for_selector(".map .told:has-text('as counts of cells')")
