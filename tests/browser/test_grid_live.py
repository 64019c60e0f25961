"""The grid of rows: sorts, scrolls, chooses, marks, by mouse and by keyboard; the address says it and brings it back."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

from browser_tab import BrowserTab

if TYPE_CHECKING:
    from playwright.sync_api import Route

GRID = "table.live tr[data-key]"


def test_rows_are_sorted_and_the_address_remembers(tab: BrowserTab) -> None:
    page = tab.open_page("/collections/stars/main")
    page.wait_for_selector(GRID)
    page.click("button.head:text-is('vmag')")
    page.wait_for_selector("th[aria-sort=ascending]")
    page.wait_for_selector("table.live:not(.waiting)")
    rising = page.locator(GRID).first.get_attribute("data-key")
    page.click("button.head:text-is('vmag')")
    page.wait_for_selector("th[aria-sort=descending]")
    page.wait_for_selector("table.live:not(.waiting)")
    assert page.locator(GRID).first.get_attribute("data-key") != rising
    assert "_sort=-vmag" in page.url
    texts = page.locator("th[aria-sort] button").evaluate_all(
        "of => of.map(one => getComputedStyle(one, '::after').content)"
    )
    assert texts == ['" \u2193"', "none"], "one arrow, beside the name"
    page.go_back()
    page.wait_for_selector(f"{GRID}[data-key='{rising}']")
    page.reload()
    page.wait_for_selector(f"{GRID}[data-key='{rising}']")
    assert tab.find_accessibility_faults() == []


def test_the_end_is_as_near_as_the_beginning(tab: BrowserTab) -> None:
    page = tab.open_page("/collections/stars/main?_sort=star")
    page.wait_for_selector(GRID)
    page.locator(GRID).first.focus()
    page.keyboard.press("End")
    page.wait_for_selector('tr[data-key="[5000]"]')
    assert page.evaluate("document.activeElement.dataset.key") == "[5000]"
    assert page.locator("tr[data-at]").count() < 100, "only what is in sight is drawn"
    page.keyboard.press("ArrowUp")
    assert page.evaluate("document.activeElement.dataset.key") == "[4999]"
    page.keyboard.press("Home")
    page.wait_for_selector('tr[data-key="[1]"]')
    page.keyboard.press("PageDown")
    assert int(page.evaluate("document.activeElement.dataset.at")) > 10


def hold_rows_of_earlier_search(tab: BrowserTab) -> list[Route]:
    """Go back to an earlier search, whose rows do not come; return their requests."""
    page = tab.open_page("/collections/stars/main?_sort=star")
    page.wait_for_selector(GRID)
    page.click("button.head:text-is('star')")  # descending
    page.wait_for_selector("table.live:not(.waiting) tr[data-key='[5000]']")
    held: list[Route] = []
    page.route("**/collections/stars/main/rows?*", lambda route: held.append(route))  # noqa: PLW0108
    page.go_back()
    page.wait_for_selector("table.live.waiting")
    return held


def test_the_row_that_is_clicked_opens_while_other_rows_are_under_way(tab: BrowserTab) -> None:
    """As right after *back*: the click is for the row that is there, not for the one that comes in its place."""
    page = tab.page
    held = hold_rows_of_earlier_search(tab)
    page.locator('tr[data-key="[4997]"] td').nth(2).click()
    page.wait_for_selector(".detail h2:text-is('4997')")
    for route in held:
        route.continue_()


def test_a_row_that_disappears_while_it_is_pressed_opens(tab: BrowserTab) -> None:
    """Browsers dispatch no click for it."""
    page = tab.page
    held = hold_rows_of_earlier_search(tab)
    place = page.locator('tr[data-key="[4998]"] td').nth(2).bounding_box()
    assert place is not None
    page.mouse.move(place["x"] + 5, place["y"] + 5)
    page.mouse.down()
    for route in held:
        route.continue_()
    page.wait_for_selector("table.live:not(.waiting) tr[data-key='[1]']", state="attached")
    assert page.locator('tr[data-key="[4998]"]').count() == 0
    page.mouse.up()
    page.wait_for_selector(".detail h2:text-is('4998')")


def test_a_row_that_is_pushed_away_while_it_is_pressed_is_marked(tab: BrowserTab) -> None:
    """The release is over another row, so browsers dispatch a click for the body of the table."""
    page = tab.open_page("/collections/stars/main?_sort=star")
    page.wait_for_selector(GRID)
    mark = page.locator('tr[data-key="[4]"] input')
    mark.hover()
    page.mouse.down()
    page.evaluate(
        """() => {
            const message = document.createElement("p");
            message.style.height = "60px";
            document.querySelector(".grid").before(message);
        }"""
    )
    page.mouse.up()
    assert mark.is_checked()
    assert page.locator("tr[data-key] input:checked").count() == 1
    assert "_row=" not in page.url
    page.locator('tr[data-key="[2]"] input').hover()
    page.mouse.down()
    page.locator('tr[data-key="[5]"] input').hover()  # a drag
    page.mouse.up()
    assert page.locator("tr[data-key] input:checked").count() == 1


def test_a_row_is_chosen_and_shown_with_everything(tab: BrowserTab) -> None:
    page = tab.open_page("/collections/stars/main?_sort=star")
    page.wait_for_selector(GRID)
    page.locator('tr[data-key="[7]"] td').nth(2).click()
    page.wait_for_selector(".detail dt")
    assert page.inner_text(".detail h2") == "7"
    assert "Star <7> & co" in page.inner_text(".detail dl")
    assert "_row=" in page.url
    assert page.get_attribute('tr[data-key="[7]"]', "aria-selected") == "true"
    assert tab.find_accessibility_faults() == []
    page.reload()
    page.wait_for_selector(".detail dt")
    page.click(".detail .close")
    page.wait_for_selector(".detail", state="hidden")
    assert "_row=" not in page.url


def test_rows_are_marked_with_the_keyboard(tab: BrowserTab) -> None:
    page = tab.open_page("/collections/stars/main?_sort=star")
    page.wait_for_selector(GRID)
    page.locator(GRID).first.focus()
    page.keyboard.press(" ")
    page.keyboard.press("ArrowDown")
    page.keyboard.press(" ")
    assert page.locator("tr[data-key] input:checked").count() == 2


def test_what_cannot_be_found_says_so(tab: BrowserTab) -> None:
    page = tab.open_page("/collections/stars/main?vmag=..-100")
    page.wait_for_selector(".live .empty")
    assert "No row" in page.inner_text(".live .empty")


def test_columns_do_not_overlap(tab: BrowserTab) -> None:
    """Rows without a key have nothing to tick: the first column is as wide as with it, or the second would be moved over the third."""
    for keyed in (True, False):
        if not keyed:  # as a table without a key answers

            def remove_keys(route: Route) -> None:
                told = route.fetch().json()
                route.fulfill(json={**told, "keys": [""] * len(told["keys"])})

            tab.page.route("**/rows?*", remove_keys)
        page = tab.open_page("/collections/stars/main")
        page.wait_for_selector("table.live tr[data-at='0'] td:nth-child(3)")
        assert (page.locator("table.live tr[data-at] input").count() > 0) == keyed
        edges = page.evaluate(
            "[...document.querySelector('table.live tr[data-at=\"0\"]').cells].map((cell) => [cell.getBoundingClientRect().left, cell.getBoundingClientRect().right])"
        )
        for (_, right), (left, _) in pairwise(edges):
            assert left >= right - 0.5, edges
    tab.page.unroute_all()


def test_who_scrolls_while_rows_are_published_sees_one_state_and_then_is_told(tab: BrowserTab) -> None:
    """Each page asks for the state of the first one; when that is swept, the grid goes on at the same row in the state of now."""
    asked: list[str] = []
    swept = False

    def answer_with_state(route: Route) -> None:
        state = parse_qs(urlsplit(route.request.url).query).get("_asof", [""])[0]
        asked.append(state)
        told = route.fetch().json()
        if swept and state == "first":
            route.fulfill(json={**told, "lost": True, "state": "second"})
        else:
            route.fulfill(json={**told, "lost": False, "state": state or ("second" if swept else "first")})

    tab.page.route("**/rows?*", answer_with_state)
    # some rows were added before it
    tab.page.route("**/place?*", lambda route: route.fulfill(json={"key": "", "place": 2_037}))
    page = tab.open_page("/collections/stars/main?_sort=star")
    page.wait_for_selector(GRID)
    page.evaluate("document.querySelector('.virtual').scrollTop = 2000 * 28")
    page.wait_for_selector('tr[data-key="[2001]"]')
    assert asked[0] == ""
    assert set(asked[1:]) == {"first"}, asked
    swept = True
    page.evaluate("document.querySelector('.virtual').scrollTop = 3000 * 28")
    page.wait_for_selector("[data-count] .fault")
    assert "no longer kept" in page.inner_text("[data-count]")
    page.wait_for_function("() => document.querySelector('.virtual').scrollTop > 2500 * 28")
    page.wait_for_selector("table.live:not(.waiting) tr[data-key]")
    asked.clear()
    page.evaluate("document.querySelector('.virtual').scrollTop = 1000 * 28")
    page.wait_for_selector('tr[data-key="[1001]"]')
    assert set(asked) == {"second"}, asked
    tab.page.unroute_all()
