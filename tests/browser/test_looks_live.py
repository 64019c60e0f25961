"""Looks that a designer checks with a ruler: equal heights, one weight of links, buttons that keep their width, no label twice."""

from __future__ import annotations

import pytest
from browser_tab import BrowserTab

from plugin_needs import list_query_addresses

GRID = "table.live tr[data-key]"
# controls of one line whose heights differ, with their heights
UNEVEN_CONTROLS = """() => {
    const lines = ".actions, .take, .bar, .looks, .plot-times, .film-choices, form.when, .everything";
    const found = [];
    for (const line of document.querySelectorAll(lines)) {
        const controls = [...line.querySelectorAll("button:not(.link), a.button, .menu > summary, select, input:not([type=checkbox])")]
            .filter((one) => one.checkVisibility() && !one.closest("[popover], .drawn-map, .menu > div, .menu > form"))
            .map((one) => [one.getBoundingClientRect(), one]);
        for (const [box, one] of controls) {
            const beside = controls.find(([other]) => Math.abs(other.top + other.height / 2 - box.top - box.height / 2) < 8);
            if (Math.abs(beside[0].height - box.height) > 1)
                found.push(`${one.outerHTML.slice(0, 80)} has ${box.height} px beside ${beside[0].height} px`);
        }
    }
    return found;
}"""


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/collections/sz",
        "/collections/sz/clusters?redshift=0.5..",
        "/collections/omega/epn_core",
        *list_query_addresses("/adql?QUERY=SELECT+TOP+5+name+FROM+sz.clusters", "/jobs"),
    ],
)
def test_controls_beside_each_other_are_equally_high(tab: BrowserTab, path: str) -> None:
    tab.page.context.route("https://psup.example.org/**", lambda route: route.fulfill(status=404))
    tab.expected = ("404",)
    tab.allowed = ("psup.example.org",)
    page = tab.open_page(path)
    page.wait_for_load_state("networkidle")
    assert page.evaluate(UNEVEN_CONTROLS) == []


def test_the_links_of_the_header_have_one_weight_and_size(tab: BrowserTab) -> None:
    page = tab.open_page("/")
    fonts = page.eval_on_selector_all(
        "header a:not(.brand)",
        "all => all.map((one) => { const { fontWeight, fontSize } = getComputedStyle(one); return `${fontWeight} ${fontSize}`; })",
    )
    assert len(fonts) > 5
    assert set(fonts) == {"400 13px"}


def test_a_pressed_button_keeps_its_width(tab: BrowserTab) -> None:
    tab.page.context.route("https://psup.example.org/**", lambda route: route.fulfill(status=404))
    tab.expected = ("404",)
    tab.allowed = ("psup.example.org",)
    page = tab.open_page("/collections/omega/epn_core")
    page.wait_for_selector(GRID)
    read_places = "all => all.map((one) => one.getBoundingClientRect().left)"
    before = page.eval_on_selector_all(".looks button", read_places)
    page.click(".looks button:text-is('96')")
    page.wait_for_selector(".looks button:text-is('96')[aria-pressed=true]")
    assert page.eval_on_selector_all(".looks button", read_places) == before


def test_a_field_beside_its_choices_has_its_label_once(tab: BrowserTab) -> None:
    page = tab.open_page("/collections/aia/images?wavelnth=..1700")
    page.wait_for_selector(".in-field[data-facet=wavelnth] .choice")
    labels = page.locator("[data-ask=wavelnth] > legend, .in-field[data-facet=wavelnth] > legend")
    widths = labels.evaluate_all("all => all.map((one) => one.getBoundingClientRect().width)")
    assert len(widths) == 2, "the second one is heard"
    assert sum(width > 1 for width in widths) == 1


def test_what_is_hidden_takes_no_place(tab: BrowserTab) -> None:
    page = tab.open_page("/collections/sz/clusters")
    page.wait_for_selector(GRID)
    tab.wait_for_panes("compare", "form")
    shown = page.eval_on_selector_all("[hidden]", "all => all.filter((one) => one.getClientRects().length).length")
    assert shown == 0


def test_keywords_on_a_phone_stand_beside_their_values(phone_tab: BrowserTab) -> None:
    page = phone_tab.open_page("/collections/aia/images?_row=%5B%22aia_20140910T000004_0193%22%5D")
    page.click(".detail button:text-is('Header')")
    page.wait_for_selector("dialog .cards-of tbody tr")
    overlaps = page.eval_on_selector_all(
        "dialog .cards-of tbody tr",
        """all => all.filter((row) => {
            const [name, value] = [row.cells[0], row.cells[1]].map((one) => {
                const range = document.createRange();
                range.selectNodeContents(one);
                return range.getBoundingClientRect();
            });
            return value.width && name.right > value.left + 1 && name.bottom > value.top + 1;
        }).length""",
    )
    assert overlaps == 0


def test_empty_values_leave_no_gap_in_the_card_of_a_row(phone_tab: BrowserTab) -> None:
    page = phone_tab.open_page("/collections/stars/main")
    page.wait_for_selector(GRID)
    empty = page.locator(f"{GRID} td[data-label]:nth-child(n + 3):empty")
    assert empty.count() > 0
    assert not empty.first.is_visible()
