"""What a row looks like on paper, and how much script the page of a table needs."""

from __future__ import annotations

import gzip

from browser_tab import BrowserTab

GRID = "table.live tr[data-key]"
REGIONS = "/collections/hfc1ar/epn_core"
MAX_SCRIPT_BYTES = 150_000
OWN_PANES = ("aladin", "sky-", "body-", "planet_map")  # the sky and maps load scripts of their own


def test_a_printed_row_is_the_row_alone(tab: BrowserTab) -> None:
    page = tab.open_page(REGIONS)
    page.wait_for_selector(GRID)
    tab.wait_for_panes("grid", "detail")
    page.locator(f"{GRID} td").nth(2).click()
    page.wait_for_selector("aside.detail:not([hidden]) dl dd")
    page.emulate_media(media="print")
    shown = page.evaluate(
        """() => ({
            rows: getComputedStyle(document.querySelector('.results')).display,
            form: getComputedStyle(document.querySelector('#refine')).display,
            buttons: [...document.querySelectorAll('main button')].filter((one) => one.offsetParent).length,
            width: document.querySelector('aside.detail').getBoundingClientRect().width,
            page: document.querySelector('main').getBoundingClientRect().width,
            cut: getComputedStyle(document.querySelector('aside.detail')).overflowY,
            values: [...document.querySelectorAll('aside.detail dd')].filter((one) => one.offsetParent).length,
        })"""
    )
    assert (shown["rows"], shown["form"], shown["buttons"], shown["cut"]) == ("none", "none", 0, "visible")
    assert shown["width"] > 0.9 * shown["page"] - 48
    assert shown["values"] > 5


def test_the_page_of_a_table_needs_little_script(tab: BrowserTab) -> None:
    sizes: dict[str, int] = {}

    def measure(response: object) -> None:
        name = response.url.rpartition("/")[2]  # type: ignore[attr-defined]
        if name.partition("?")[0].endswith(".js") and not name.startswith(OWN_PANES):
            sizes[name] = len(gzip.compress(response.body(), 6))  # type: ignore[attr-defined]

    tab.page.on("response", measure)
    page = tab.open_page(f"{REGIONS}?_size=50")
    page.wait_for_selector(GRID)
    tab.wait_for_panes("grid", "detail", "form")
    page.mouse.wheel(0, 20_000)  # panes below the rows load when they come into view
    tab.wait_for_panes("facets")
    page.wait_for_load_state("networkidle")
    assert sizes
    assert sum(sizes.values()) <= MAX_SCRIPT_BYTES, sizes
