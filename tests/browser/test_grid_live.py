"""The grid of rows: sorts, scrolls, chooses, marks, by mouse and by keyboard; the address says it and brings it back."""

from __future__ import annotations

from tabs import Tab

GRID = "table.live tr[data-key]"


def test_rows_are_sorted_and_the_address_remembers(tab: Tab) -> None:
    page = tab.go("/collections/stars/main")
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
    page.go_back()
    page.wait_for_selector(f"{GRID}[data-key='{rising}']")
    page.reload()
    page.wait_for_selector(f"{GRID}[data-key='{rising}']")
    assert tab.axe() == []


def test_the_end_is_as_near_as_the_beginning(tab: Tab) -> None:
    page = tab.go("/collections/stars/main?_sort=star")
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


def test_a_row_is_chosen_and_shown_with_everything(tab: Tab) -> None:
    page = tab.go("/collections/stars/main?_sort=star")
    page.wait_for_selector(GRID)
    page.locator('tr[data-key="[7]"] td').nth(2).click()
    page.wait_for_selector(".detail dt")
    assert page.inner_text(".detail h2") == "7"
    assert "Star <7> & co" in page.inner_text(".detail dl")
    assert "_row=" in page.url
    assert page.get_attribute('tr[data-key="[7]"]', "aria-selected") == "true"
    assert tab.axe() == []
    page.reload()
    page.wait_for_selector(".detail dt")
    page.click(".detail .close")
    page.wait_for_selector(".detail", state="hidden")
    assert "_row=" not in page.url


def test_rows_are_marked_with_the_keyboard(tab: Tab) -> None:
    page = tab.go("/collections/stars/main?_sort=star")
    page.wait_for_selector(GRID)
    page.locator(GRID).first.focus()
    page.keyboard.press(" ")
    page.keyboard.press("ArrowDown")
    page.keyboard.press(" ")
    assert page.locator("tr[data-key] input:checked").count() == 2


def test_what_cannot_be_found_says_so(tab: Tab) -> None:
    page = tab.go("/collections/stars/main?vmag=..-100")
    page.wait_for_selector(".live .empty")
    assert "No row" in page.inner_text(".live .empty")
