"""Pages that are calm to look at: cards of one height, tables that fit, phones with columns to read, plots with marks that can be told, menus that hide no rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from browser_site import REGION_COUNT
from browser_tab import BrowserTab
from sky_map import find_isolated_source

from plugin_needs import require_page_part

if TYPE_CHECKING:
    from playwright.sync_api import Page

GRID = "table.live tr[data-key]"
REGIONS = "/collections/hfc1ar/epn_core"


def test_cards_are_of_one_height(tab: BrowserTab) -> None:
    page = tab.open_page("/")
    cards = page.eval_on_selector_all(
        ".cards > li",
        "all => all.map((one) => [one.offsetTop, one.offsetHeight, one.querySelector('.foot').getBoundingClientRect().bottom])",
    )
    assert len(cards) > 3
    for line in {top for top, _, _ in cards}:
        assert len({height for top, height, _ in cards if top == line}) == 1, (
            "cards beside each other are of one height"
        )
    for top in {top for top, _, _ in cards}:
        assert len({round(foot) for at, _, foot in cards if at == top}) == 1, "feet stand on one line"


def test_the_page_of_a_collection_uses_its_width(tab: BrowserTab) -> None:
    page = tab.open_page("/collections/sz")
    page.click("summary:has-text('Columns')")
    left, right = (page.locator(f".beside > {one}").bounding_box() for one in (".covered", "section"))
    assert left is not None
    assert right is not None
    assert abs(left["y"] - right["y"]) < 40
    assert right["x"] > left["x"] + left["width"]
    for table in (".columns", "table.rows"):
        assert page.eval_on_selector(table, "one => one.offsetWidth <= one.parentElement.clientWidth + 1"), (
            f"nothing of {table} is cut"
        )
    page.set_viewport_size({"width": 390, "height": 844})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert page.eval_on_selector(".columns", "one => one.offsetWidth <= one.parentElement.clientWidth + 1")


def test_a_phone_cuts_no_time_no_number_and_no_file(phone_tab: BrowserTab) -> None:
    """A time without its end, or half of a number, is another one."""
    cut = """() => [...document.querySelectorAll("table.live td.n, table.live td.chips-of, .live .empty li")]
        .filter((one) => one.scrollWidth > one.clientWidth + 1).map((one) => one.innerText)"""
    for path, shown in ((REGIONS, "td.n:has-text('00:00:30')"), ("/collections/omega/epn_core", ".chip-file")):
        page = phone_tab.open_page(path)
        page.wait_for_selector(f"table.live tr[data-key] {shown}")
        assert page.evaluate(cut) == []
    page = phone_tab.open_page(f"{REGIONS}?time=1699-01-01T00:00:00..1699-02-01T12:13:14")
    page.wait_for_selector(".live .empty li")
    right = "one => one.getBoundingClientRect().right"
    assert page.eval_on_selector(".live .empty li", right) <= 390, "the next step is in sight as a whole"
    assert page.eval_on_selector(".live .empty li button", right) <= 390


def test_a_phone_shows_columns_that_tell_something(phone_tab: BrowserTab) -> None:
    page = phone_tab.open_page(REGIONS)
    page.wait_for_selector(GRID)
    page.click("details.sentence > summary")
    page.wait_for_selector("[data-alike]:has-text('active region')")
    heads = page.eval_on_selector_all(
        "table.live thead th",
        "all => all.filter((one) => one.getBoundingClientRect().right <= innerWidth).map((one) => one.innerText.trim())",
    )
    assert len(heads) >= 3, "the tick, the name and the time"
    assert not any(one.startswith("granule_gid") for one in heads)
    assert page.evaluate("document.querySelector('[data-alike]').offsetHeight") < 80


def test_the_last_row_does_not_touch_the_edge(tab: BrowserTab) -> None:
    page = tab.open_page(REGIONS)
    page.wait_for_selector(GRID)
    page.locator(GRID).first.focus()
    page.keyboard.press("End")
    last = f'tr[data-at="{REGION_COUNT - 1}"][data-key]'
    page.wait_for_selector(last)
    page.wait_for_function(
        """last => {
            const box = document.querySelector('.grid').getBoundingClientRect();
            const row = document.querySelector(last)?.getBoundingClientRect();
            return row && row.bottom <= box.top + document.querySelector('.grid').clientHeight - 4;
        }""",
        arg=last,
    )


def test_what_is_drawn_meanwhile_takes_no_click_away(tab: BrowserTab) -> None:
    page = tab.open_page(REGIONS)
    page.wait_for_selector(GRID)
    mark = page.locator(f"{GRID} input").nth(3)
    mark.hover()
    page.mouse.down()
    page.evaluate(  # a few rows further down, others are drawn
        """() => {
            document.querySelector('.grid').scrollTop += 5;
            return new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
        }"""
    )
    page.mouse.up()
    assert mark.is_checked()


def test_a_few_rows_take_no_more_room_than_they_need(tab: BrowserTab) -> None:
    page = tab.open_page("/collections/stars/main?star=1..5&_cols=star,vmag")
    page.wait_for_selector(f"{GRID} >> nth=4")
    page.wait_for_function(
        "() => { const box = document.querySelector('.grid'); return box.scrollHeight <= box.clientHeight; }"
    )
    room = page.evaluate(
        "document.querySelector('.grid').getBoundingClientRect().bottom - document.querySelector('tr[data-at=\"4\"]').getBoundingClientRect().bottom"
    )
    assert 4 <= room <= 28
    page.evaluate("document.querySelector('.filters .actions a').click()")
    page.wait_for_selector("[data-count] b:text-is('5,000')")
    page.wait_for_selector('tr[data-at="20"][data-key]')


def test_what_is_long_is_told_when_one_points_at_it(tab: BrowserTab) -> None:
    page = tab.open_page(f"{REGIONS}?_cols=granule_uid,s_region")
    page.wait_for_selector(GRID)
    cell = page.locator(f"{GRID} td:has-text('polygon of')").first
    whole = cell.get_attribute("title") or ""
    assert whole.lower().startswith("polygon") or whole[0].isdigit() or whole[0] == "-"
    cell.click()
    page.wait_for_selector(".detail .in-full summary:has-text('polygon of')")
    page.click(".detail .in-full summary")
    page.wait_for_selector(".detail .in-full code:visible")
    assert page.inner_text(".detail .in-full code").split() == whole.split()
    assert tab.find_accessibility_faults() == []
    page.emulate_media(color_scheme="dark")
    assert tab.find_accessibility_faults("color-contrast") == []


def test_the_form_begins_at_its_beginning_when_a_row_opens(tab: BrowserTab) -> None:
    page = tab.open_page(REGIONS)
    page.wait_for_selector(GRID)
    page.wait_for_selector(".filters[data-ready]")
    page.wait_for_selector("[data-facet] .choice")  # there is something to scroll
    page.evaluate("document.querySelector('.filters').scrollTop = 300")
    page.locator(GRID).nth(2).locator("td").nth(1).click()
    page.wait_for_selector(".detail dt")
    page.wait_for_function("() => document.querySelector('.filters').scrollTop === 0")


def test_the_map_forgets_what_it_was_clicked_on(tab: BrowserTab) -> None:
    require_page_part("table.map")
    page = tab.open_page("/collections/sz/clusters?_map=150,30,20")
    page.wait_for_selector(GRID)
    one = find_isolated_source(page)
    page.mouse.move(one["x"], one["y"])
    page.mouse.click(one["x"], one["y"])
    page.wait_for_selector(".detail dt")
    page.wait_for_function("() => !window.hven.aladin.view.selection && window.hven.aladin.getOverlays().every((one) => (one.sources ?? []).every((source) => !source.isSelected))")  # fmt: skip


def marks(page: Page, axis: int) -> list[str]:
    page.wait_for_selector(".plot .told:has-text('rows')")
    page.wait_for_function("axis => window.hven?.plot?.axes[axis]._values?.length", arg=axis)
    told: list[str] = page.evaluate("axis => window.hven.plot.axes[axis]._values.filter(Boolean)", axis)
    return told


@pytest.mark.parametrize(("x", "y"), [("c1min", "c2min"), ("time_min", "c1min")])
def test_axes_have_marks_that_can_be_told(phone_tab: BrowserTab, x: str, y: str) -> None:
    page = phone_tab.open_page(f"{REGIONS}?time=1996-05-01..1996-05-20&_plot={x}%3B{y}")
    page.locator(".plot .drawn").scroll_into_view_if_needed()
    page.wait_for_selector(".drawn canvas")
    for axis in (0, 1):
        told = marks(page, axis)
        assert 3 <= len(told) <= 7
        assert len(set(told)) == len(told)
    room = page.evaluate("window.hven.plot.bbox.width / devicePixelRatio")
    longest = max(len(part) for one in marks(page, 0) for part in one.split("\n")[:1])
    assert longest * 7 * len(marks(page, 0)) < room, "they do not stand in each other"


def test_a_density_is_not_all_dark(tab: BrowserTab) -> None:
    page = tab.open_page(f"{REGIONS}?_plot=c1min%3Bc2min")
    page.locator(".plot .drawn").scroll_into_view_if_needed()
    page.wait_for_selector(".plot .told:has-text('density')")
    page.wait_for_selector(".legend .scale")
    page.wait_for_function("""() => {
        const canvas = document.querySelector('.drawn canvas');
        const box = window.hven?.plot?.bbox;
        if (!canvas || !box?.width) return false;
        const {data} = canvas.getContext('2d').getImageData(box.left, box.top, box.width, box.height);
        let [dark, every] = [0, 0];
        for (let at = 0; at < data.length; at += 4) {
            if (data[at + 3] < 255) continue;
            every++;
            if (0.3 * data[at] + 0.59 * data[at + 1] + 0.11 * data[at + 2] < 75) dark++;
        }
        return every > 1000 && dark < every / 4;
    }""")
