"""Form, choices and plots: each change is in the address, every pane follows, and a fault stands beside its field."""

from __future__ import annotations

from typing import Any

from browser_tab import BrowserTab

GRID = "table.live tr[data-key]"


def test_what_is_written_is_asked_at_once(tab: BrowserTab) -> None:
    page = tab.open_page("/collections/stars/main")
    page.wait_for_selector(GRID)
    tab.wait_for_panes("form")
    page.fill("input[name=vmag]", "..4")
    page.wait_for_url("**vmag=..4*")
    page.wait_for_selector("[data-count] b:not(:text-is('5,000')):not(:has-text('~'))")
    few = int(page.inner_text("[data-count] b").replace(",", ""))
    assert 0 < few < 500
    page.locator("summary:text-is('ADQL')").click()
    assert "vmag <= 4" in page.inner_text("[data-adql]")
    page.click(".actions a")
    page.wait_for_selector("[data-count] b:text-is('5,000')")
    page.go_back()
    page.wait_for_selector(f"[data-count] b:text-is('{few}')")
    page.wait_for_selector("[data-chips] a:has-text('..4')")
    parts = "['vmag', '_to.vmag'].map((name) => document.querySelector(`input[name='${name}']`).value).join('|')"
    page.wait_for_function(f"() => {parts} === '|4'")  # it was written into the first part, and is understood


def test_a_fault_stands_beside_its_field(tab: BrowserTab) -> None:
    page = tab.open_page("/collections/stars/main")
    page.wait_for_selector(GRID)
    tab.wait_for_panes("form")
    page.fill("input[name=vmag]", "bright")
    page.wait_for_selector(".fault")
    assert page.get_attribute("input[name=vmag]", "aria-invalid") == "true"
    assert "not a number" in page.inner_text("fieldset[data-ask=vmag] + .fault")
    assert page.inner_text("[data-unused]").strip() == "Not used: vmag 'bright' is not a number"
    page.fill("input[name=vmag]", "..6")
    page.wait_for_selector(".fault", state="detached")
    assert not page.is_visible("[data-unused]")
    assert tab.find_accessibility_faults() == []


def test_choices_are_counted_and_chosen(tab: BrowserTab) -> None:
    page = tab.open_page("/collections/stars/main")
    page.wait_for_selector(".choice")
    first = page.locator(".choice").first
    value, count = first.locator(".what").inner_text(), first.locator(".n").inner_text()
    first.click()
    page.wait_for_selector(f"[data-count] b:text-is('{count}')")
    assert f"sp_type={value}" in page.url
    page.wait_for_selector(".choice input:checked")
    assert page.locator(".choice").count() > 5, "what else could be chosen is still there"
    assert tab.find_accessibility_faults() == []


def test_a_plot_of_two_columns_follows_the_search(tab: BrowserTab) -> None:
    page = tab.open_page("/collections/stars/main")
    page.wait_for_selector(GRID)
    tab.wait_for_panes("form")
    page.click("summary:text-is('Plot')")
    page.select_option(".axes select >> nth=0", "vmag")
    page.wait_for_selector(".drawn canvas")
    page.wait_for_selector(".told:has-text('5,000 rows')")
    page.select_option(".axes select >> nth=0", "ra")
    page.select_option(".axes select >> nth=1", "dec")
    page.wait_for_url("**_plot=ra%3Bdec*")
    page.wait_for_selector(".axes label:has-text('Colour')")  # two columns have one: this is the plot of both
    page.wait_for_selector(".told:has-text('5,000 rows')")
    page.fill("input[name=vmag]", "..4")
    page.wait_for_selector(".told:not(:has-text('5,000 rows')):has-text('rows')")
    assert tab.find_accessibility_faults() == []
    page.reload()
    page.wait_for_selector(".drawn canvas")


def test_a_question_that_is_overtaken_leaves_nothing_waiting(tab: BrowserTab) -> None:
    held: list[Any] = []
    tab.page.route("**/stars/main/count*", lambda route: route.continue_() if held else held.append(route))
    with tab.page.expect_request("**/stars/main/count*"):  # who asks has begun to listen
        page = tab.open_page("/collections/stars/main")
    page.wait_for_selector("form[data-pane=form][aria-busy]")
    page.fill("input[name=vmag]", "..4")
    tab.wait_for_panes("form")
    page.wait_for_selector("form[data-pane=form]:not([aria-busy])")
    page.wait_for_selector("[data-chips] a:has-text('..4')")


def test_a_number_that_rows_did_not_wait_for_comes_later(tab: BrowserTab) -> None:
    held: list[Any] = []

    def remove_total(route: Any) -> None:
        answer = route.fetch()
        route.fulfill(response=answer, json={**answer.json(), "total": None, "exact": False})

    tab.page.route("**/stars/main/rows?*", remove_total)

    def hold(route: Any) -> None:
        held.append(route)

    tab.page.route("**/stars/main/count?*", hold)
    with tab.page.expect_request("**/stars/main/count?*"):
        page = tab.open_page("/collections/stars/main?vmag=..8")
    page.wait_for_selector("[data-count]:has-text('more than 100 rows, still being counted')")
    assert page.get_attribute("table.live", "aria-rowcount") == "-1", "nobody knows it yet"
    page.locator(GRID).first.focus()
    page.keyboard.press("End")
    page.wait_for_selector("[data-count]:has-text('more than 200 rows')")
    answer = held[0].fetch()
    number = answer.json()["total"]
    assert number > 1_000
    held[0].fulfill(response=answer)
    page.wait_for_selector(f"[data-count] b:text-is('{number:,}')")
    page.locator(GRID).first.focus()
    page.keyboard.press("End")
    page.wait_for_selector(f"tr[aria-rowindex='{number + 1}'][data-key]")


def test_rows_that_nobody_could_count_have_no_number(tab: BrowserTab) -> None:
    def remove_total(route: Any) -> None:
        answer = route.fetch()
        route.fulfill(response=answer, json={**answer.json(), "total": None, "exact": False})

    tab.page.route("**/stars/main/rows?*", remove_total)
    tab.page.route("**/stars/main/count?*", remove_total)
    page = tab.open_page("/collections/stars/main?vmag=..8")
    page.wait_for_selector("[data-count]:has-text('more than 100 rows, counting all of them takes too long')")


def test_choices_that_are_known_stand_before_they_are_counted(tab: BrowserTab) -> None:
    held: list[Any] = []

    def hold(route: Any) -> None:
        held.append(route)

    tab.page.route("**/aia/images/facets*", hold)
    with tab.page.expect_request("**/aia/images/facets*"):
        page = tab.open_page("/collections/aia/images")
    page.wait_for_selector("[data-facet=wavelnth] .choice:has-text('171')")
    assert page.locator("[data-facet=wavelnth] .choice .n").count() == 0, "no number without a count"
    held[0].continue_()
    page.wait_for_selector("[data-facet=wavelnth] .choice:has-text('171') .n")


def test_empty_results_offer_a_button_that_drops_a_condition(tab: BrowserTab) -> None:
    page = tab.open_page("/collections/stars/main?vmag=..-90&sp_type=G*")
    step = page.locator("[data-pane=grid] button:has-text('without vmag ..-90')")
    step.wait_for()
    assert page.inner_text("ul.empty li:has(button:has-text('vmag'))").split(" of these rows: ")[1].count("–") == 1  # noqa: RUF001
    rows = step.inner_text().split(": ")[1].removesuffix(" rows")
    assert int(rows.replace(",", "")) > 0
    step.click()
    page.wait_for_selector(f"[data-count] b:text-is('{rows}')")
    assert "vmag" not in page.url
    assert "sp_type" in page.url
    page.wait_for_selector(GRID)


def test_short_choice_lists_replace_the_field(tab: BrowserTab) -> None:
    page = tab.open_page("/collections/omega/epn_core?lang=en")
    page.wait_for_selector(".in-field .choice")
    column = page.get_attribute(".in-field", "data-facet")
    assert page.locator(f"[data-choices='{column}']").is_hidden()
    tick = page.locator(".in-field .choice input").first
    with page.expect_response("**/count?*"):  # what waits for its answer is pale
        tick.press("Space")
    page.wait_for_url(f"**{column}=*")
    page.wait_for_selector(".in-field .choice input:checked")
    assert page.evaluate("document.activeElement.checked"), "who chose goes on there"
    page.wait_for_selector(".in-field .choice .n")
    assert tab.find_accessibility_faults() == []
