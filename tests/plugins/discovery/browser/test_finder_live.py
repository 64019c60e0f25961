"""The search field of the home page in a real browser, with scripts and without."""

from __future__ import annotations

from browser_tab import BrowserTab

from process_runner import wait_until


def test_from_words_to_rows_without_scripts(scriptless_tab: BrowserTab) -> None:
    page = scriptless_tab.open_page("/")
    page.fill("main input[name=q]", "phot.mag")
    scriptless_tab.follow_link("main form button")
    assert "vmag" in page.inner_text(".hits li >> nth=0")
    scriptless_tab.follow_link(".hits li a >> nth=0")
    assert page.url.endswith("/collections/stars/main")
    assert page.locator("tbody tr").count() > 10


def test_data_are_found_while_the_user_types(tab: BrowserTab) -> None:
    page = tab.open_page("/")
    tab.wait_for_panes("finder")
    field = page.locator("main input[name=q]")

    def is_offered() -> bool:
        field.fill("")
        field.fill("OMEGA")
        page.wait_for_selector(".found a, .found[hidden]", state="attached")
        return page.locator(".found a:has-text('500')").count() > 0

    wait_until(is_offered, pause_seconds=0.5)  # values are counted after the start
    field.press("ArrowDown")
    assert page.locator(".found a[aria-selected=true]").count() == 1
    assert page.get_attribute("main input[name=q]", "aria-activedescendant") == "found-0"
    assert tab.find_accessibility_faults() == []
    with page.expect_navigation():
        field.press("Enter")
    assert "/collections/omega/" in page.url
    page.go_back()
    tab.wait_for_panes("finder")
    page.fill("main input[name=q]", "zzzz")
    page.keyboard.press("Escape")
    assert page.is_hidden(".found")
