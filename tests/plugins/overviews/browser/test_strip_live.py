"""A table at first sight in a browser: brushed by pointer and keys, marked by rows, without scripts, on a phone; nothing jumps when it comes."""

from __future__ import annotations

import re
from urllib.parse import parse_qs, urlsplit

from browser_tab import BrowserTab

from process_runner import wait_until

HERE = "/collections/stars/main"
BARS = "figure[data-column=vmag] .bars"


def read_page_parameter(tab: BrowserTab, name: str) -> str:
    return parse_qs(urlsplit(tab.page.url).query).get(name, [""])[0]


def count(tab: BrowserTab) -> int:
    return int(tab.page.locator("[data-count] b").inner_text().replace(",", ""))


def total(tab: BrowserTab) -> int:
    """Give the rows that the histogram tells of."""
    label = tab.page.get_attribute("figure[data-column=vmag] svg", "aria-label") or ""
    return int(re.findall(r"([\d,]+) rows?$", label)[0].replace(",", ""))


def test_brushing_narrows_the_search(tab: BrowserTab) -> None:
    page = tab.open_page(HERE)
    tab.wait_for_panes("strip", "grid")
    before = page.locator(".sight").bounding_box()
    assert before is not None
    assert before["height"] == 180
    box = page.locator(BARS).bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] * 0.3, box["y"] + 20)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.6, box["y"] + 20, steps=4)
    page.mouse.up()
    page.wait_for_function("() => new URLSearchParams(location.search).has('vmag')")
    page.wait_for_selector("figure[data-column=vmag].narrowed .band", state="attached")
    page.wait_for_selector("[data-chips] a[data-name=vmag]")
    wait_until(lambda: 0 < count(tab) < 5000)
    wait_until(lambda: count(tab) == total(tab))
    low, _, high = read_page_parameter(tab, "vmag").partition("..")
    assert float(low) < float(high)
    assert tab.find_accessibility_faults() == []
    tab.save_screenshot("strip")
    page.click("figure[data-column=vmag] .all")
    page.wait_for_function("() => !new URLSearchParams(location.search).has('vmag')")
    page.go_back()
    page.wait_for_selector("figure[data-column=vmag].narrowed", state="attached")


def test_keys_reach_all_bins(tab: BrowserTab) -> None:
    page = tab.open_page(HERE)
    tab.wait_for_panes("strip", "grid")
    assert page.locator(".sight a[tabindex='0'], .sight a:not([tabindex])").count() == 1, "one press of Tab"
    page.locator(".sight a[tabindex='0']").focus()
    for _ in range(3):
        if page.evaluate("document.activeElement.closest('figure').dataset.column") != "vmag":
            page.keyboard.press("ArrowDown")
    assert page.evaluate("document.activeElement.closest('figure').dataset.column") == "vmag"
    page.keyboard.press("End")
    last = page.evaluate("document.activeElement.dataset.at")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("Shift+ArrowLeft")
    assert page.locator("figure[data-column=vmag] a.in").count() == 2
    page.keyboard.press("Enter")
    page.wait_for_function("() => new URLSearchParams(location.search).has('vmag')")
    wait_until(lambda: count(tab) == total(tab))
    assert int(page.evaluate("document.activeElement.closest('a').dataset.at")) < int(last)
    page.keyboard.press("Escape")
    page.wait_for_function("() => !new URLSearchParams(location.search).has('vmag')")


def test_hovered_and_chosen_rows_are_marked_in_the_strip(tab: BrowserTab) -> None:
    page = tab.open_page(HERE)
    tab.wait_for_panes("strip", "grid")
    page.hover("table.live tbody tr[data-key] >> nth=3")
    page.wait_for_selector(".sight .at.hover", state="attached")
    page.click("table.live tbody tr[data-key] >> nth=3")
    page.wait_for_selector(".strip-map .at.chosen", state="attached")
    assert page.locator(f"{BARS} .at.chosen").count() == 1
    page.reload()  # the address knows which
    page.wait_for_selector(f"{BARS} .at.chosen", state="attached")


def test_bars_are_links_without_scripts(scriptless_tab: BrowserTab) -> None:
    page = scriptless_tab.open_page(HERE)
    link = page.locator("figure[data-column=vmag] svg a").nth(3)
    said = link.locator("title").text_content() or ""
    rows = int(said.rpartition(": ")[2].split()[0].replace(",", ""))
    href = link.get_attribute("href") or ""
    scriptless_tab.open_page(f"{HERE}{href}")
    assert count(scriptless_tab) == rows


def test_a_phone_scrolls_it(phone_tab: BrowserTab) -> None:
    page = phone_tab.open_page(HERE)
    phone_tab.wait_for_panes("strip")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert page.evaluate(
        "(({scrollWidth, clientWidth}) => scrollWidth > clientWidth)(document.querySelector('.sight'))"
    )
    phone_tab.save_screenshot("strip-phone")
