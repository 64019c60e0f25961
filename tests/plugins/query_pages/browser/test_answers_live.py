"""What one does with the answer of a query, and with the result of a job: plot, take, copy, explain; and what happens while it runs, or when a script is lost."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from browser_tab import BrowserTab

BRIGHT = "SELECT star, ra, dec, vmag, sp_type FROM stars.main WHERE vmag < 6"


def open_query_page(tab: BrowserTab, query: str = BRIGHT, **more: str) -> Any:
    page = tab.open_page(f"/adql?{urlencode({'QUERY': query, **more})}")
    page.wait_for_selector(".cm-content")
    page.wait_for_selector("[data-answer] tbody tr")
    return page


def test_any_two_columns_are_plotted_and_the_plot_is_in_the_address(tab: BrowserTab) -> None:
    page = open_query_page(tab)
    number = page.locator("[data-answer] tbody tr").count()
    page.click("[data-answer] .plot > summary")
    page.wait_for_selector(".axes select")
    page.select_option(".axes label:has-text('Across') select", "ra")
    page.wait_for_selector(f".plot .told:has-text('{number:,} rows')")
    page.select_option(".axes label:has-text('Up') select", "dec")
    page.wait_for_selector(".axes label:has-text('Colour')")
    page.select_option(".axes label:has-text('Colour') select", "vmag")
    page.wait_for_selector(".plot .legend:has-text('vmag (mag)') .scale")
    assert page.locator(".drawn canvas").count() == 1
    assert tab.find_accessibility_faults() == []
    tab.save_screenshot("adql-plot")
    page.reload()
    page.wait_for_selector(".plot .legend:has-text('vmag (mag)')")
    # another query: its own columns, and the plot of the other one is gone
    tab.write_query("SELECT sp_type, COUNT(*) AS number FROM stars.main GROUP BY sp_type")
    page.keyboard.press("Control+Enter")
    page.wait_for_selector("[data-answer] th:has-text('number')")
    assert "_plot" not in page.url
    page.go_back()
    page.wait_for_selector("[data-answer] th:has-text('vmag')")
    assert BRIGHT in page.inner_text(".cm-content")


def test_many_rows_are_a_density_of_all_of_them(tab: BrowserTab) -> None:
    page = open_query_page(tab, "SELECT c1min, c2min FROM hfc1ar.epn_core", _plot="c1min;c2min")
    page.wait_for_selector(".plot .told:has-text('as a density')")
    assert page.inner_text("[data-answer] .count b") == "1,000"
    assert (
        int("".join(letter for letter in page.inner_text(".plot .told").split(" rows")[0] if letter.isdigit()))
        > 100_000
    )


def test_every_way_out_of_an_answer(tab: BrowserTab) -> None:
    page = open_query_page(tab)
    number = page.locator("[data-answer] tbody tr").count()
    tab.wait_for_panes("menus")
    page.click("[data-answer] summary:text-is('Download')")
    with page.expect_download() as waiting:
        page.click("[data-answer] button:text-is('CSV')")
    assert Path(waiting.value.path()).read_text().count("\n") == number + 1
    page.click("[data-answer] summary:text-is('Copy as')")
    page.wait_for_selector("[data-answer] button:text-is('CSV')", state="hidden")  # one menu at a time
    for name in ("curl", "pyvo", "STILTS", "TOPCAT"):
        assert page.is_visible(f"[data-answer] h3:text-is('{name}')")
    assert tab.find_accessibility_faults() == []
    page.keyboard.press("Escape")
    page.wait_for_selector("[data-answer] h3:text-is('curl')", state="hidden")
    page.click("button:text-is('Explain')")
    page.wait_for_selector(".explained pre:has-text('stars.main')")


def test_a_query_that_takes_long_can_be_left_or_made_a_job(tab: BrowserTab) -> None:
    page = tab.open_page("/adql")
    page.wait_for_selector(".cm-content")
    held: list[Any] = []

    def hold(route: Any) -> None:
        held.append(route)

    page.route("**/adql/answer?*", hold)
    tab.write_query(BRIGHT)
    page.keyboard.press("Control+Enter")
    page.wait_for_selector("[data-answer] p:has-text('Running ...')")
    page.click("[data-answer] button:text-is('Cancel')")
    page.wait_for_selector("[data-answer] p:text-is('Cancelled')")
    page.click("button:text-is('Run')")
    page.click("[data-answer] button:text-is('Run as a job instead')")
    page.wait_for_url("**/jobs?job=*")
    page.wait_for_selector(".job .phase[data-phase=COMPLETED]")
    assert held


def test_a_server_that_does_not_answer_can_be_asked_again(tab: BrowserTab) -> None:
    page = tab.open_page("/adql")
    page.wait_for_selector(".cm-content")
    page.route("**/adql/answer?*", lambda route: route.abort())
    tab.expected = ("ERR_FAILED",)
    tab.write_query(BRIGHT)
    page.keyboard.press("Control+Enter")
    page.wait_for_selector("[data-answer] .fault")
    page.unroute("**/adql/answer?*")
    page.click("[data-answer] button:text-is('Try again')")
    page.wait_for_selector("[data-answer] tbody tr")


def test_a_script_that_was_lost_is_said_and_fetched_again(tab: BrowserTab) -> None:
    page = tab.page
    lost: list[str] = []

    def lose(route: Any) -> None:
        lost.append(route.request.url)
        route.abort() if len(lost) == 1 else route.continue_()

    page.route("**/assets/plot-*.js", lose)
    tab.expected = ("ERR_FAILED", "Failed to fetch dynamically imported module")
    open_query_page(tab, _plot="ra;dec")
    page.wait_for_selector(".pane-failed[role=alert]")
    page.click(".pane-failed button:text-is('Try again')")
    page.wait_for_selector(".plot .drawn canvas")
    assert page.locator(".pane-failed").count() == 0


def test_the_result_of_a_job_is_plotted_and_taken_in_another_format(tab: BrowserTab) -> None:
    page = tab.open_page("/adql")
    tab.write_query(BRIGHT)
    page.click("text=Run as a job")
    page.wait_for_url("**/jobs?job=*")
    page.wait_for_selector(".job .phase[data-phase=COMPLETED]")
    number = int(page.inner_text(".job .count b"))
    page.click(".job .plot > summary")
    page.wait_for_selector(".axes select")
    page.select_option(".axes label:has-text('Across') select", "vmag")
    page.wait_for_selector(f".plot .told:has-text('{number:,} rows')")
    page.click(".job summary:text-is('Other formats')")
    with page.expect_download() as waiting:
        page.click(".job a:text-is('CSV')")
    assert Path(waiting.value.path()).read_text().count("\n") == number + 1
    assert tab.find_accessibility_faults() == []


def test_without_scripts_there_is_an_answer_to_take(scriptless_tab: BrowserTab) -> None:
    scriptless_tab.open_page(f"/adql?{urlencode({'QUERY': BRIGHT})}")
    page = scriptless_tab.open_answer()
    number = page.locator("tbody tr").count()
    assert number > 100
    page.click("summary:text-is('Download')")
    with page.expect_download() as waiting:
        page.click("[data-answer] button:text-is('CSV')")
    assert Path(waiting.value.path()).read_text().count("\n") == number + 1


def test_a_phone_and_dark(phone_tab: BrowserTab) -> None:
    phone_tab.page.emulate_media(color_scheme="dark")
    page = open_query_page(phone_tab, _plot="vmag")
    page.wait_for_selector(".plot .drawn canvas")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.click("[data-answer] summary:text-is('Copy as')")
    page.wait_for_selector("[data-answer] h3:text-is('pyvo')")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert phone_tab.find_accessibility_faults() == []
