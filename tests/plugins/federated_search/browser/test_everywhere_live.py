"""The form over all EPN-TAP tables in a real browser."""

from __future__ import annotations

from browser_tab import BrowserTab


def test_all_tables_of_a_kind(tab: BrowserTab) -> None:
    page = tab.open_page("/search/epn")
    page.wait_for_selector("h1:text-is('Search all EPN-TAP tables')")
    assert page.locator("summary").count() >= 7, "the sections of VESPA's form"
    example = page.locator("h2:text-is('Examples') + ul a").first
    target = example.inner_text()
    tab.follow_link(f"h2:text-is('Examples') + ul a:text-is('{target}')")
    page.wait_for_selector("[data-chips] a")
    assert page.input_value("input[name=target_name]") == target
    page.wait_for_selector(".found-rows tbody tr")
    page.locator(".found-rows tbody tr td:nth-child(3)").first.click()
    page.wait_for_selector("aside.detail:not([hidden]) h2:not(:empty)")
    page.keyboard.press("Escape")
    page.wait_for_selector("aside.detail[data-pane=detail][hidden]", state="attached")
    if page.locator("details.map").count():  # the targets of a body have a map
        page.click("details.map > summary")
        page.wait_for_selector("details.map [data-pane][data-ready] .told:not(:empty)")
        polygon_button = "[data-pane=body] button:text-is('Draw a polygon')"
        assert page.locator(f"{polygon_button}:visible").count() == 0, "several tables have no polygon"
    assert tab.find_accessibility_faults() == []
    tab.save_screenshot("search-everywhere")


def test_a_sign_stands_where_a_picture_is_gone(tab: BrowserTab) -> None:
    tab.page.context.route("https://psup.example.org/**", lambda route: route.fulfill(status=404, body=""))
    tab.expected = (*tab.expected, "404")
    page = tab.open_page("/search/epn?target_name=Mars&lang=en")
    page.wait_for_selector("main .no-shot")
    page.wait_for_function(
        "() => ![...document.querySelectorAll('main img')].some((one) => one.complete && !one.naturalWidth)"
    )
    assert tab.find_accessibility_faults() == []
