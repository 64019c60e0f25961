"""Tables in a real browser: on a desk, on a phone, without JavaScript; nothing foreign is asked, and axe finds nothing serious."""

from __future__ import annotations

from browser_tab import BrowserTab

PAGES = ["/collections/stars/main", "/collections/stars/main?vmag=..5&_sort=vmag"]


def test_everybody_can_read_it(tab: BrowserTab) -> None:
    for path in PAGES:
        page = tab.open_page(path)
        assert page.inner_text("h1"), path
        assert tab.find_accessibility_faults() == [], path
        assert tab.errors == [], path


def test_a_phone_shows_it_without_scrolling_sideways(phone_tab: BrowserTab) -> None:
    for path in PAGES:
        page = phone_tab.open_page(path)
        assert page.evaluate("document.documentElement.scrollWidth") <= 390, path
        assert phone_tab.find_accessibility_faults() == [], path


def test_a_search_without_scripts(scriptless_tab: BrowserTab) -> None:
    page = scriptless_tab.open_page("/collections/stars/main")
    page.fill("input[name=vmag]", "..4")
    scriptless_tab.follow_link("form.filters button:text-is('Search')")
    assert "vmag=..4" in page.url
    shown = int(scriptless_tab.find_count("[data-count] b").inner_text().replace(",", ""))
    assert 0 < shown < 500
    scriptless_tab.follow_link("th a:has-text('vmag')")
    assert page.get_attribute("th:has(a:text('vmag'))", "aria-sort") == "ascending"
    first = page.locator("tbody tr").first.inner_text()
    scriptless_tab.follow_link("nav.pages a[rel=next]")
    assert page.locator("tbody tr").first.inner_text() != first


def test_lines_can_be_copied(tab: BrowserTab) -> None:
    tab.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page = tab.open_page("/collections/stars")
    page.click("summary:has-text('Ways to query')")
    page.locator(".copyable").first.scroll_into_view_if_needed()
    button = page.locator(".copyable button").first
    button.click()
    wanted = page.locator(".copyable code").first.inner_text().strip()
    page.wait_for_function(
        "wanted => navigator.clipboard.readText().then((text) => text.trim() === wanted)", arg=wanted
    )


SCREEN_PIXELS = 900


def test_a_collection_of_one_table_fits_on_two_screens(tab: BrowserTab, phone_tab: BrowserTab) -> None:
    for one, screens in ((tab, 2), (phone_tab, 3)):
        page = one.open_page("/collections/stars?lang=en")
        assert page.evaluate("document.documentElement.scrollHeight") <= screens * SCREEN_PIXELS
        rows = page.locator("table.rows tbody tr").first.bounding_box()
        assert rows is not None
        assert rows["y"] < (screens - 1) * SCREEN_PIXELS, "rows are on the first screen, of a phone on the second one"
        assert one.find_accessibility_faults() == []


def test_addresses_of_sections_open_what_is_folded(tab: BrowserTab, scriptless_tab: BrowserTab) -> None:
    """A link to the citation opens it, with scripts and without, as one arrives and on the page itself."""
    for one in (tab, scriptless_tab):
        page = one.open_page("/collections/stars?lang=en#cite")
        page.wait_for_selector("#cite pre")
        assert page.locator("#cite").is_visible()
        page = one.open_page("/collections/stars?lang=en")
        assert not page.locator("#cite").is_visible()
        page.click(".cite-line a[href='#cite']")
        page.wait_for_selector("#cite pre")
        page.click("summary:has-text('Ways to query')")
        page.wait_for_selector(".how pre")
