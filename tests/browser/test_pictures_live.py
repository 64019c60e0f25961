"""Rows with pictures, as people meet them: whole and of three sizes, as a gallery, and the panel with what one does with a row and what else there is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from test_journeys import stub_previews

from plugin_needs import load_core_fixtures

if TYPE_CHECKING:
    from browser_tab import BrowserTab

CUBES = "/collections/omega/epn_core"
GRID = "table.live tr[data-key]"


def test_thumbnails_have_three_sizes_and_a_click_opens_the_row(tab: BrowserTab) -> None:
    stub_previews(tab)
    page = tab.open_page(CUBES)
    page.wait_for_selector(f"{GRID} .thumbnail img")
    assert page.locator(f"{GRID} .chip-file").first.inner_text().startswith("nc ")
    for size in (64, 96, 160):
        page.click(f".looks button:text-is('{size}')")
        page.wait_for_function(
            "size => { const one = document.querySelector('.thumbnail img'); return one?.clientHeight === size && one.closest('tr').offsetHeight >= size; }",
            arg=size,
        )
        assert page.eval_on_selector(f"{GRID} .thumbnail img", "one => getComputedStyle(one).objectFit") == "contain"
    page.locator(f"{GRID} .thumbnail img").nth(1).click()
    page.wait_for_selector(".detail .acts a:has-text('Download')")
    assert page.url.startswith(f"{tab.base}{CUBES}"), "not another site"
    sections = list(load_core_fixtures("ROW_SECTIONS"))
    for section in sections:
        page.wait_for_selector(f"{section} li a")
    numbers = [page.inner_text(f"{section} li .n") for section in sections]
    page.click(".detail button:text-is('Cite')")
    assert "Langevin" in page.inner_text(".detail .cited")
    assert tab.find_accessibility_faults() == []
    page.evaluate("document.activeElement.blur()")
    name = page.inner_text(".detail h2")
    page.keyboard.press("Alt+ArrowDown")
    page.wait_for_selector(f".detail h2:not(:text-is('{name}'))")
    page.keyboard.press("Escape")
    page.wait_for_selector(".detail", state="hidden")
    page.go_back()
    for section in sections:
        page.wait_for_selector(f"{section} li a")
    assert all(number.isdigit() for number in numbers)


def test_a_gallery_shows_all_pictures_and_returns_to_the_rows(tab: BrowserTab) -> None:
    stub_previews(tab)
    page = tab.open_page(f"{CUBES}?_look=gallery&orbit_number=6")
    page.wait_for_selector(".mosaic .card-of img")
    assert page.locator(".mosaic .card-of").count() == 10
    page.wait_for_function(
        "() => [...document.querySelectorAll('.mosaic img')].slice(0, 5).every((one) => one.complete && one.naturalWidth === 256)"
    )
    page.locator(".mosaic .card-of").first.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    page.wait_for_selector(".detail h2:has-text('0006_1')")
    assert page.locator(".mosaic .card-of[aria-pressed=true]").count() == 1
    assert tab.find_accessibility_faults() == []
    page.click(".looks button:text-is('96')")
    page.wait_for_selector(f"{GRID} .thumbnail img")
    assert page.locator(".mosaic").is_hidden()


def test_missing_and_invalid_pictures_leave_their_text(tab: BrowserTab) -> None:
    """One that is gone, one that is no picture, and one of another site, which is not asked for."""
    shots = {"gone": (404, "text/html", b""), "words": (200, "text/html", b"<b>no picture</b>")}

    def answer(route: object) -> None:
        status, kind, body = shots["gone" if "0006_0" in route.request.url else "words"]  # type: ignore[attr-defined]
        route.fulfill(status=status, content_type=kind, body=body)  # type: ignore[attr-defined]

    tab.page.context.route("https://psup.example.org/**", answer)
    tab.expected = (*tab.expected, "404")
    page = tab.open_page(f"{CUBES}?orbit_number=6")
    page.wait_for_selector(f"{GRID} a.thumbnail:not(:has(img))")
    assert page.locator(f"{GRID} a.thumbnail").first.inner_text().endswith(".png")
    page.click(".looks button:text-is('Gallery')")
    page.wait_for_selector(".mosaic .no-shot")


def test_a_tick_takes_all_files_of_an_observation(tab: BrowserTab) -> None:
    stub_previews(tab)
    page = tab.open_page(f"{CUBES}?orbit_number=6")
    line = page.locator(GRID).first
    line.locator("input").click()
    files = line.locator(".chip-file").count()
    assert files > 1
    page.click(".take summary:text-is('Download')")
    page.click(f"text=Only the {files} marked rows")
    with page.expect_download() as saving:
        page.click(".take [data-formats] button:text-is('CSV')")
    assert len(saving.value.path().read_text().splitlines()) == 1 + files
    assert page.locator(".compare-button button").is_hidden(), "one line is compared with nothing"
    page.click("h1")  # shuts the menu, which may lie over the row
    line.locator("input").click()
    page.click(".take summary:text-is('Download')")
    page.wait_for_selector(f"text=Only the {files} marked rows", state="detached")


def test_the_picture_of_a_row_opens_large_over_the_page(tab: BrowserTab) -> None:
    page = tab.open_page("/collections/omega/epn_core?lang=en")
    page.wait_for_selector(GRID)
    page.evaluate(
        """() => document.querySelector(".detail .pictures").innerHTML =
        '<a href="/robots.txt"><img alt="small"></a>'"""
    )
    page.evaluate("() => { document.querySelector('.detail').hidden = false; }")
    here = page.url.partition("?")[0]  # the map may write its place into the query at any time
    page.locator(".detail .pictures a").dispatch_event("click")
    page.wait_for_selector("dialog.lightbox[open]", state="attached")
    page.wait_for_selector("dialog.lightbox p:has-text('This picture cannot be shown.')", state="attached")
    page.keyboard.press("Escape")
    page.wait_for_selector("dialog.lightbox", state="detached")
    assert page.url.partition("?")[0] == here, "the picture replaces the page"


def test_a_sign_stands_where_a_picture_is_gone(tab: BrowserTab) -> None:
    """On every page that shows pictures of rows: no browser's mark of a broken picture, and what it was called is still told."""
    tab.page.context.route("https://psup.example.org/**", lambda route: route.fulfill(status=404, body=""))
    tab.expected = (*tab.expected, "404")
    broken = (
        "() => [...document.querySelectorAll('main img')].filter((one) => one.complete && !one.naturalWidth).length"
    )
    for path in (
        "/?lang=en",
        "/collections/omega?lang=en",
        f"{CUBES}?_look=gallery&lang=en",
    ):
        page = tab.open_page(path)
        page.wait_for_selector("main .no-shot")
        page.wait_for_function(f"() => ({broken})() === 0")
        assert tab.find_accessibility_faults() == [], path
    page = tab.open_page("/collections/omega?lang=en")
    page.wait_for_selector(".shots a .no-shot[role=img][aria-label='Picture of a row']")
