"""Panes of a table's page side by side in a real browser: buttons, addresses, one selection, phones."""

from __future__ import annotations

from typing import TYPE_CHECKING

from browser_tab import BrowserTab

if TYPE_CHECKING:
    from playwright.sync_api import Page

CLUSTERS = "/collections/sz/clusters"
GRID_ROW = "table.live tr[data-key]"


def find_place(page: Page, selector: str) -> tuple[float, float, float]:
    """Return left, top and width of an element."""
    box = page.locator(selector).first.bounding_box()
    assert box is not None, selector
    return box["x"], box["y"], box["width"]


def press(page: Page, name: str) -> None:
    page.click(f".layout-buttons button:text-is('{name}')")


def test_an_address_puts_map_and_rows_side_by_side(tab: BrowserTab) -> None:
    page = tab.open_page(f"{CLUSTERS}?_panes=map,rows,card")
    page.wait_for_selector(GRID_ROW)
    page.wait_for_selector("details.map[open]")
    map_left, map_top, map_width = find_place(page, "details.map")
    rows_left, rows_top, rows_width = find_place(page, "#rows")
    assert rows_left > map_left + map_width - 1, "the first pane is on the left"
    assert abs(map_top - rows_top) < 40
    assert min(map_width, rows_width) > 300
    page.wait_for_selector(".detail:not([hidden]) h2")
    assert "_row=" in page.url, "the card's row is in the address"
    assert tab.find_accessibility_faults() == []
    page.emulate_media(color_scheme="dark")
    assert tab.find_accessibility_faults("color-contrast") == []


def test_buttons_arrange_the_panes_and_back_undoes_it(tab: BrowserTab) -> None:
    page = tab.open_page(CLUSTERS)
    page.wait_for_selector(GRID_ROW)
    tab.wait_for_panes("layout")
    pressed = ".layout-buttons button[aria-pressed=true]"
    assert page.locator(pressed).all_inner_texts() == ["Rows"]
    press(page, "Plot")
    page.wait_for_selector("details.plot[open]")
    assert "_panes=rows%2Cplot" in page.url
    left, _, width = find_place(page, "#rows")
    assert find_place(page, "details.plot")[0] > left + width - 1
    press(page, "Rows")
    assert page.is_hidden("#rows")
    assert page.locator(pressed).all_inner_texts() == ["Plot"]
    page.go_back()
    page.wait_for_selector("#rows:visible")
    press(page, "Plot")
    press(page, "Rows")
    assert page.is_visible("#rows"), "the last pane stays"


def test_a_row_is_chosen_in_all_panes(tab: BrowserTab) -> None:
    page = tab.open_page(f"{CLUSTERS}?_panes=rows,plot")
    page.wait_for_selector(GRID_ROW)
    page.wait_for_selector("[data-pane=plot][data-ready] canvas, [data-pane=plot][data-ready] svg")
    page.click(f"{GRID_ROW} >> nth=1")
    page.wait_for_selector(".detail:not([hidden]) h2")
    key = page.get_attribute(f"{GRID_ROW}[aria-selected=true]", "data-key")
    assert key
    page.click(".layout-buttons button:text-is('One row')")
    page.wait_for_selector(".detail[hidden]", state="attached")
    assert "_row=" not in page.url


def test_a_phone_shows_the_panes_below_each_other(phone_tab: BrowserTab) -> None:
    page = phone_tab.open_page(f"{CLUSTERS}?_panes=plot,rows")
    page.wait_for_selector(GRID_ROW)
    page.wait_for_selector("details.plot[open]")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert phone_tab.find_accessibility_faults() == []


def test_on_a_phone_no_card_covers_the_panes_that_open(phone_tab: BrowserTab) -> None:
    page = phone_tab.open_page(f"{CLUSTERS}?_panes=map,rows,card")
    page.wait_for_selector(GRID_ROW)
    page.wait_for_selector("details.map[open]")
    page.wait_for_load_state("networkidle")
    assert page.is_hidden(".detail")
    assert "_row" not in page.url


def test_without_scripts_the_rows_are_shown(scriptless_tab: BrowserTab) -> None:
    page = scriptless_tab.open_page(f"{CLUSTERS}?_panes=map")
    assert page.locator("tbody tr").count() > 10
    assert page.is_hidden(".layout-buttons")


def test_the_scripts_of_a_table_page_are_small(tab: BrowserTab) -> None:
    sizes: dict[str, int] = {}

    def note_size(response: object) -> None:
        if response.url.endswith(".js"):  # type: ignore[attr-defined]
            sizes[response.url.rpartition("/")[2]] = len(response.body())  # type: ignore[attr-defined]

    tab.page.on("response", note_size)
    page = tab.open_page(CLUSTERS)
    page.wait_for_selector(GRID_ROW)
    page.wait_for_load_state("networkidle")
    small = {name: size for name, size in sizes.items() if not name.startswith(("aladin", "sky", "body"))}
    print(sum(small.values()), small)
    assert sum(small.values()) <= 150_000, small
