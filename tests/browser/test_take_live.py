"""The way out of a result, and what stands over the rows: downloads, scripts, lines, columns, units, headings, rows side by side."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from browser_tab import BrowserTab

GRID = "table.live tr[data-key]"


def open_table_page(tab: BrowserTab, path: str = "/collections/stars/main?_sort=star") -> Any:
    page = tab.open_page(path)
    page.wait_for_selector(GRID)
    return page


def menu(page: Any, name: str) -> None:
    page.click(f".menu > summary:text-is('{name}')")


def download_text(page: Any, text: str) -> str:
    with page.expect_download() as waiting:
        page.click(text)
    return Path(waiting.value.path()).read_text()


def test_all_rows_or_the_marked_ones_in_a_format(tab: BrowserTab) -> None:
    page = open_table_page(tab, "/collections/stars/main?_sort=star&vmag=..5")
    page.wait_for_selector("[data-count] b:not(:has-text('~'))")  # until it is counted it may be an estimate
    found = int("".join(letter for letter in page.inner_text("[data-count] b") if letter.isdigit()))
    menu(page, "Download")
    page.wait_for_selector("text=As a job")
    assert download_text(page, "[data-formats] a:text-is('CSV')").count("\n") == found + 1
    page.click("h1")
    page.locator(f"{GRID} input").nth(1).click()
    page.locator(f"{GRID} input").nth(3).click()
    marked = [page.locator(GRID).nth(number).get_attribute("data-key").strip("[]") for number in (1, 3)]
    menu(page, "Download")
    page.click("text=Only the 2 marked rows")
    page.check("text=All columns")
    rows = download_text(page, "button.link:text-is('CSV')").splitlines()
    assert rows[0] == "star,name,ra,dec,vmag,sp_type,seen,page"
    assert [row.split(",")[0] for row in rows[1:]] == marked
    assert tab.find_accessibility_faults() == []
    tab.save_screenshot("take-download")


def test_scripts_and_lines_of_what_the_address_says(tab: BrowserTab, tmp_path: Path) -> None:
    page = open_table_page(tab, "/collections/stars/main?_sort=star&star=3..6")
    menu(page, "Files")
    page.wait_for_selector("[data-files]:has-text('4 files')")
    (tmp_path / "get.sh").write_text(download_text(page, "text=Script for wget"))
    subprocess.run(["sh", "-n", tmp_path / "get.sh"], check=True)
    assert download_text(page, "text=List of links").splitlines() == [
        f"https://example.org/star/{star}" for star in (3, 4, 5, 6)
    ]
    menu(page, "Copy as")
    page.wait_for_selector("[data-lines] h3:text-is('curl')")
    code = page.locator("[data-lines] h3:text-is('curl') + div code").inner_text()
    done = subprocess.run(
        ["sh", "-c", code.replace("-o answer.vot", "-s")], capture_output=True, check=True, timeout=120
    )
    assert b"</VOTABLE>" in done.stdout
    tab.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.click("[data-lines] h3:text-is('ADQL') + div button")
    page.wait_for_function("() => navigator.clipboard.readText().then((text) => text.includes('star BETWEEN 3 AND 6'))")
    assert tab.find_accessibility_faults() == []
    page.keyboard.press("Escape")
    page.wait_for_selector("[data-lines] h3 >> nth=0", state="hidden")


def test_columns_are_hidden_moved_and_read_in_other_units(tab: BrowserTab) -> None:
    page = open_table_page(tab)
    menu(page, "Columns")
    page.fill("[data-columns] .find", "vm")
    assert page.locator("[data-columns] .tickable:visible").count() == 1
    page.uncheck("[data-columns] input[value=vmag]")
    page.wait_for_selector("table.live:not(.waiting) thead:not(:has-text('vmag'))")
    page.fill("[data-columns] .find", "")
    page.select_option("[data-columns] select[name='_unit.ra']", "h:m:s")
    page.wait_for_selector("thead small:text-is('h:m:s')")
    assert page.locator(f"{GRID} td:nth-child(4)").first.inner_text().count(":") == 2
    page.click("[data-columns] button[aria-label='Up one: dec']")
    page.wait_for_selector("thead th:nth-child(4):has-text('dec')")
    state = parse_qs(urlsplit(page.url).query)
    assert state["_cols"] == ["star,name,dec,ra,sp_type,seen,page"]
    assert state["_unit.ra"] == ["h:m:s"]
    assert tab.find_accessibility_faults() == []
    page.reload()
    page.wait_for_selector(GRID)
    assert page.locator("thead th:nth-child(4)").inner_text().startswith("dec")
    menu(page, "Columns")
    page.click("[data-columns] button:text-is('Main columns')")
    page.wait_for_selector("thead:has-text('vmag')")


def test_columns_without_scripts(scriptless_tab: BrowserTab) -> None:
    page = scriptless_tab.open_page("/collections/stars/main?star=1..3&_cols=star,ra,vmag")
    menu(page, "Columns")
    page.uncheck("[data-columns] input[value=vmag]")
    page.select_option("select[name='_unit.ra']", "arcmin")
    scriptless_tab.follow_link("[data-columns] button")
    assert [text.split()[0] for text in page.locator("thead th").all_inner_texts()] == ["star", "ra"]
    assert "arcmin" in page.inner_text("thead")
    assert page.locator("tbody tr").count() == 3
    menu(page, "Files")
    assert download_text(page, "text=List of links").count("\n") == 3


def test_a_heading_filters_sorts_and_hides(tab: BrowserTab) -> None:
    page = open_table_page(tab)
    page.click("th:has-text('vmag') .more")
    assert tab.find_accessibility_faults() == []
    page.keyboard.type("..4")
    page.keyboard.press("Enter")
    page.wait_for_selector("th:has-text('vmag') .more.filtered")
    assert "vmag=..4" in page.url
    page.click("th:has-text('vmag') .more")
    page.click(".column-menu button:text-is('Descending')")
    page.wait_for_selector("th[aria-sort=descending]:has-text('vmag')")
    page.click("th:has-text('name') .more")
    page.click(".column-menu button:text-is('Hide')")
    page.wait_for_selector("thead:not(:has-text('name'))")
    page.click("th:has-text('ra') .more")
    page.keyboard.press("Escape")
    page.wait_for_selector(".column-menu", state="detached")


def test_rows_are_compared_side_by_side(tab: BrowserTab) -> None:
    page = open_table_page(tab, "/collections/stars/main?_sort=star&_cols=star,sp_type")
    for number in (0, 1, 2):
        page.locator(f"{GRID} input").nth(number).click()
    page.click("text=Compare 3 rows")
    page.wait_for_selector(".compared td")
    assert page.locator(".compared thead th").count() == 4
    row = page.locator(".compared tbody tr:has(th:text-is('star')) td")
    assert row.all_inner_texts() == ["1", "2", "3"]
    assert "differs" in (row.first.get_attribute("class") or "")
    assert page.url.count("_compare=") == 3
    assert tab.find_accessibility_faults() == []
    tab.save_screenshot("take-compare")
    page.reload()
    page.wait_for_selector(".compared td")
    page.click(".compared button[aria-label='Remove 2']")
    page.wait_for_selector(".compared h2:text-is('Compare 2 rows')")
    page.click(".compared button:text-is('Close')")
    page.wait_for_selector(".compared", state="hidden")
    assert "_compare" not in page.url


def test_keys_change_rows_and_pictures_in_the_drawer_and_it_shows_the_header(tab: BrowserTab) -> None:
    pictures = [f"{tab.base}/logo.png?{number}" for number in range(3)]

    def add_pictures(route: Any) -> None:
        answer = route.fetch()
        told = json.loads(answer.body())
        for number, href in enumerate(pictures):
            told["columns"].append(
                {
                    **told["columns"][1],
                    "name": f"p{number}",
                    "label": f"p{number}",
                    "unit": "",
                    "kind": "picture",
                    "numeric": False,
                }
            )
            told["row"].append({"text": f"picture {number}", "href": href, "picture": True})
        route.fulfill(response=answer, body=json.dumps(told))

    dot = b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><circle cx="4" cy="4" r="4"/></svg>'
    tab.page.route("**/main/row?*", add_pictures)
    tab.page.route("**/logo.png?*", lambda route: route.fulfill(body=dot, content_type="image/svg+xml"))
    page = open_table_page(tab)
    page.locator('tr[data-key="[7]"] td').nth(2).click()
    page.wait_for_selector(".pictures img")
    assert page.locator(".pictures img").count() == 1
    page.focus(".pictures [aria-label='Next picture']")
    page.keyboard.press("ArrowRight")
    page.wait_for_selector("img[alt='picture 1']")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    page.wait_for_selector(".pictures img[alt='picture 2']")
    assert tab.find_accessibility_faults() == []
    page.click("[aria-label='Next row']")
    page.wait_for_selector(".detail h2:text-is('8')")
    page.keyboard.press("Alt+ArrowUp")
    page.wait_for_selector(".detail h2:text-is('7')")
    assert "_row=%5B7%5D" in page.url
    page.click(".detail button:text-is('Header')")
    page.wait_for_selector("dialog tbody tr")
    cards = {
        line[0]: line[1:] for line in (row.split("\t") for row in page.locator("dialog tbody tr").all_inner_texts())
    }
    assert cards["name"][0] == "Star <7> & co"
    assert cards["vmag"][1:] == ["mag", "Magnitude in V"]
    page.fill("dialog input", "vmag")
    assert page.locator("dialog tbody tr").count() == 1
    assert tab.find_accessibility_faults() == []
    page.fill("dialog input", "")  # a field of search takes the first Escape for itself
    page.keyboard.press("Escape")
    page.wait_for_selector("dialog", state="detached")


def test_pictures_stand_in_the_grid_where_the_site_may_show_them(tab: BrowserTab) -> None:
    def add_pictures(route: Any) -> None:
        answer = route.fetch()
        told = json.loads(answer.body())
        for row in told["rows"]:
            row[1] = {"text": "here", "href": f"{tab.base}/small.png", "picture": True}
            row[7] = {"text": "elsewhere", "href": "https://example.org/small.png", "picture": True}
        route.fulfill(response=answer, body=json.dumps(told))

    dot = b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><circle cx="4" cy="4" r="4"/></svg>'
    tab.page.route("**/main/rows?*", add_pictures)
    tab.page.route("**/small.png", lambda route: route.fulfill(body=dot, content_type="image/svg+xml"))
    page = open_table_page(tab)
    image = f"{GRID} .thumbnail img"
    assert page.get_attribute(image, "loading") == "lazy"
    assert page.eval_on_selector(image, "one => one.getBoundingClientRect().height") == 64, (
        "whole, at the smallest of three sizes"
    )
    assert page.locator(f"{GRID} td:nth-child(9) img").count() == 0
    assert page.locator(f"{GRID} td:nth-child(9) a").first.inner_text() == "elsewhere"


def test_a_phone_has_it_too_and_french(phone_tab: BrowserTab) -> None:
    page = phone_tab.open_page("/collections/stars/main?lang=fr")
    # panes begin when they are in sight
    page.locator(".menu > summary:text-is('Télécharger')").scroll_into_view_if_needed()
    page.wait_for_selector("table.live tr[data-key]")
    page.click(".menu > summary:text-is('Télécharger')")
    page.wait_for_selector("text=En tâche")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert phone_tab.find_accessibility_faults() == []
    page.click(".menu > summary:text-is('Colonnes')")
    page.wait_for_selector("[data-columns] .find")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    phone_tab.save_screenshot("take-phone")
