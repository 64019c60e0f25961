"""Reach: the pages by keyboard alone, on a phone and without scripts; nothing is far away, and nothing leaps aside from one page to the next."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from browser_tab import BrowserTab

from plugin_needs import list_query_addresses, load_core_fixtures, require_page_part

if TYPE_CHECKING:
    from playwright.sync_api import Page


def menu(page: Page) -> None:
    """What the menu of a narrow page is: one line, opened and shut by keys, with all that a wide one has."""
    assert page.evaluate("document.querySelector('header').offsetHeight") <= 56, "one line"
    assert not page.is_visible("header nav")
    page.focus("header .menu-button")
    page.keyboard.press("Enter")
    page.wait_for_selector("header nav a:has-text('ADQL')", state="visible")
    for name in ("Jobs", "Help", "Français", "Dark", "Log in"):
        assert page.is_visible(f"header a:has-text('{name}')"), name
    page.keyboard.press("Escape")
    page.wait_for_selector("header nav", state="hidden")


def test_the_header_on_a_phone_is_one_line_with_a_menu(phone_tab: BrowserTab) -> None:
    page = phone_tab.open_page("/collections/sz/clusters")
    menu(page)
    page.click("header .menu-button")
    assert phone_tab.find_accessibility_faults() == []
    phone_tab.follow_link("header nav a:has-text('Help')")
    assert "/help" in page.url


def test_the_menu_needs_no_scripts(scriptless_tab: BrowserTab) -> None:
    page = scriptless_tab.open_page("/")
    assert page.is_visible("header nav")
    assert not page.is_visible("header .menu-button")
    page.set_viewport_size({"width": 390, "height": 844})
    menu(page)


def test_all_pages_have_the_same_width(tab: BrowserTab) -> None:
    edges = set()
    tab.page.set_viewport_size({"width": 1920, "height": 900})
    for path in (
        "/",
        *list_query_addresses("/jobs", "/adql"),
        "/login",
        "/collections/sz",
        "/collections/sz/clusters",
        "/help",
        *load_core_fixtures("SEARCH_FORMS"),
    ):
        page = tab.open_page(path)
        edges |= set(
            page.evaluate(
                """() => ['header > div', 'main', 'footer > div'].map((one) => {
                    const { left, right } = document.querySelector(one).getBoundingClientRect();
                    return `${left} to ${right}`;
                })"""
            )
        )
    assert len(edges) == 1, edges


def test_the_first_row_is_reached_with_few_key_presses(tab: BrowserTab) -> None:
    """By the link that skips to the rows; the heads of a grid are one stop, whose arrows go on to the rows."""
    page = tab.open_page("/collections/omega/epn_core")
    page.wait_for_selector("table.live tr[data-key]")
    presses = 0
    skipped = False
    while not page.evaluate("document.activeElement.matches('table.live tr[data-at=\"0\"]')"):
        assert presses < 15
        page.keyboard.press("Tab")
        presses += 1
        if not skipped and page.evaluate("document.activeElement.hash === '#rows'"):
            assert page.evaluate("document.activeElement.getBoundingClientRect().left >= 0"), "who sees finds it, too"
            page.keyboard.press("Enter")
            skipped = True
    assert presses <= 5, presses


def test_arrow_keys_move_through_the_column_headers(tab: BrowserTab) -> None:
    page = tab.open_page("/collections/stars/main")
    page.wait_for_selector("table.live tr[data-key]")
    there = "document.activeElement.closest('th')?.querySelector('.head')?.innerText ?? document.activeElement.tagName"
    page.locator("table.live tr[data-key]").first.focus()
    page.keyboard.press("ArrowUp")
    assert page.evaluate(there) == "star"
    assert (
        page.eval_on_selector_all("table.live thead button", "all => all.filter((one) => one.tabIndex === 0).length")
        == 1
    )
    for _ in range(4):  # the order of a column, and its menu
        page.keyboard.press("ArrowRight")
    assert page.evaluate(there) == "ra"
    page.keyboard.press("Enter")
    page.wait_for_selector("th[aria-sort=ascending]:has-text('ra')")
    page.wait_for_selector("table.live:not(.waiting)")
    assert page.evaluate(there) == "ra", "who sorts goes on from there"
    page.keyboard.press("End")
    assert page.evaluate(there) == "page"
    page.keyboard.press("ArrowDown")
    assert page.evaluate("document.activeElement.dataset.at") == "0"
    page.keyboard.press("Shift+Tab")
    assert page.evaluate(there) == "page"


def test_menus_of_a_table_are_one_stop(tab: BrowserTab) -> None:
    page = tab.open_page("/collections/stars/main")
    tab.wait_for_panes("take")
    page.focus(".take .menu summary")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    assert page.evaluate("document.activeElement.innerText").startswith("Columns")
    page.keyboard.press("Enter")
    page.wait_for_selector("[data-columns] input", state="visible")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.closest('form')?.dataset.columns") == "", "what it has follows"
    page.keyboard.press("Escape")
    assert page.evaluate("document.activeElement.innerText").startswith("Columns")
    page.keyboard.press("Tab")
    assert not page.evaluate("document.activeElement.closest('.take')")


def test_the_footer_shows_the_health_of_the_site(tab: BrowserTab) -> None:
    page = tab.open_page("/news")
    page.wait_for_selector("footer .health:has-text('all is well')")
    page = tab.open_page("/news?lang=fr")
    page.wait_for_selector("footer .health:has-text('tout va bien')")


def test_a_phone_shows_cards_instead_of_columns(phone_tab: BrowserTab) -> None:
    page = phone_tab.open_page("/collections/hfc1ar/epn_core")
    page.wait_for_selector("table.live tr[data-at='1'][data-key]")
    cells = page.eval_on_selector_all(
        "tr[data-at='0'] td[data-label]",
        """all => all.map((one) => [one.dataset.label, one.innerText, getComputedStyle(one, '::before').content,
                                    one.getBoundingClientRect().left, one.getBoundingClientRect().right])""",
    )
    seen = [one for one in cells if one[4] > one[3]]
    assert 5 <= len(seen) <= 7, "what tells most"
    assert all(0 <= left < right <= 390 for *_, left, right in seen), "none is cut by the edge of the screen"
    assert [one[2] for one in seen[1:]] == [f'"{one[0]}"' for one in seen[1:]], "each with its label"
    tops = page.eval_on_selector_all("tr[data-at]", "all => all.slice(0, 3).map((one) => one.getBoundingClientRect())")
    assert all(one["bottom"] <= other["top"] + 1 for one, other in pairwise(tops)), "no card lies over the next one"
    assert phone_tab.find_accessibility_faults() == []
    page.click("table.live thead button.head >> nth=1")
    page.wait_for_selector("th[aria-sort]")
    page.wait_for_selector("table.live:not(.waiting) tr[data-at='3'][data-key]")
    page.locator("tr[data-at='2']").click()
    page.wait_for_selector(".detail dt")
    page.click(".detail .close")
    page.set_viewport_size({"width": 844, "height": 390})  # turned
    page.wait_for_selector(".grid:not(.as-cards) tr[data-at='3'][data-key]")
    assert page.locator("tr[data-at='3']").bounding_box()["height"] < 60  # type: ignore[index]


def test_the_parts_of_a_table_are_one_tap_away_on_a_phone(phone_tab: BrowserTab) -> None:
    require_page_part("table.map")
    page = phone_tab.open_page("/collections/sz/clusters")
    phone_tab.wait_for_panes("parts")
    assert page.inner_text(".parts").split() == ["Rows", "Map", "Plot", "Search"]
    page.wait_for_selector("table.live tr[data-key]")
    phone_tab.wait_for_panes("form", *load_core_fixtures("TABLE_PANES"))  # what comes later moves what is below it
    for name, part in (("Plot", "#plot"), ("Search", "#refine"), ("Map", "#map"), ("Rows", "#rows")):
        page.click(f".parts a:text-is('{name}')")
        page.wait_for_function(
            """part => {
                const bar = document.querySelector('.parts').getBoundingClientRect();
                const { top } = document.querySelector(part).getBoundingClientRect();
                return Math.abs(bar.top) < 1 && bar.bottom - 4 <= top && top < innerHeight / 2;
            }""",
            arg=part,
        )
        page.wait_for_selector(f".parts a:text-is('{name}')[aria-current]")
    assert page.get_attribute("#map", "open") is not None
    assert page.get_attribute("#plot", "open") is not None
    assert phone_tab.find_accessibility_faults("color-contrast", "aria-allowed-attr", "link-name") == []


def test_the_current_view_can_be_shared_cited_and_saved(tab: BrowserTab) -> None:
    page = tab.open_page("/collections/sz/clusters?redshift=0.5..")
    page.wait_for_selector("table.live tr[data-key]")
    tab.wait_for_panes("share")
    page.click("summary:text-is('Share and cite')")
    page.locator("table.live tr[data-at='2'] td").nth(2).click()
    page.wait_for_selector(".detail dt")
    page.click("summary:text-is('Share and cite')")
    texts = page.eval_on_selector_all("[data-pane=share] code", "all => all.map((one) => one.textContent)")
    assert texts[0] == page.url, "what is on the screen now"
    assert "_row=" in page.url
    assert all(page.url in one for one in texts)
    assert texts[1].startswith("Planck Collaboration")
    assert texts[2].startswith("@misc{")
    assert tab.find_accessibility_faults() == []
    assert page.input_value("[data-searches] input") == "Clusters: redshift 0.5.."
    page.fill("[data-searches] input", "Far <clusters>")
    page.keyboard.press("Enter")
    page.wait_for_selector("[data-searches] [role=status]:text-is('Saved')")
    kept = page.url
    page = tab.open_page("/")
    page.wait_for_selector(".kept-searches a:text-is('Far <clusters>')")
    assert tab.find_accessibility_faults() == []
    tab.follow_link(".kept-searches a")
    assert page.url == kept
    page = tab.open_page("/")
    page.click(".kept-searches button")
    page.wait_for_selector(".kept-searches li", state="detached")
    page.reload()
    page.wait_for_selector("h1")
    assert not page.locator(".kept-searches").count()


def test_a_result_is_cited_without_scripts(scriptless_tab: BrowserTab) -> None:
    page = scriptless_tab.open_page("/collections/sz/clusters?redshift=0.5..")
    page.click("summary:text-is('Share and cite')")
    link, text, _ = page.locator("[data-pane=share] code").all_inner_texts()
    assert link.endswith("/collections/sz/clusters?redshift=0.5..")
    assert link in text
    assert page.is_visible("[data-searches] noscript p")
