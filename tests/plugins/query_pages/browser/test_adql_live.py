"""The page of queries: a typo is marked where it is, corrected, run; with and without JavaScript."""

from __future__ import annotations

from browser_tab import BrowserTab

GOOD = "SELECT TOP 7 star, vmag FROM stars.main ORDER BY vmag"


def test_a_typo_is_marked_at_its_place_with_the_remedy(tab: BrowserTab) -> None:
    page = tab.open_page("/adql")
    page.click(".cm-content")
    page.keyboard.type("SELECT TOP 7 star, vmga FROM stars.main ORDER BY vmag")
    page.keyboard.press("Escape")
    page.wait_for_selector(".cm-lintRange-error:text-is('vmga')")  # what was half written had other marks
    page.wait_for_selector("#fault:has-text('line 1, column 20')")
    assert "did you mean 'vmag'" in page.inner_text("#fault")
    assert tab.find_accessibility_faults() == []
    page.keyboard.press("Control+a")
    page.keyboard.type(GOOD)
    page.keyboard.press("Escape")
    page.keyboard.press("Control+Enter")
    page.wait_for_selector("[data-answer] tbody tr")
    assert page.locator("[data-answer] tbody tr").count() == 7
    page.wait_for_selector("#fault", state="hidden")
    assert tab.find_accessibility_faults() == []
    page.reload()  # the query is in the address
    page.wait_for_selector("[data-answer] tbody tr")
    assert page.locator("[data-answer] tbody tr").count() == 7
    page.wait_for_selector(".cm-content")
    assert page.inner_text(".cm-line").strip() == GOOD


def test_names_are_completed(tab: BrowserTab) -> None:
    page = tab.open_page("/adql")
    page.click(".cm-content")
    page.keyboard.type("SELECT * FROM sta")
    page.wait_for_selector(".cm-tooltip-autocomplete:has-text('stars')")


def test_examples_and_tables_are_beside_the_editor(tab: BrowserTab) -> None:
    page = tab.open_page("/adql")
    page.wait_for_selector(".cm-content")
    page.click("[data-example] >> nth=0")
    assert "SELECT" in page.inner_text(".cm-content")
    page.fill("[data-find]", "sp_type")
    assert page.is_visible("[data-insert=sp_type]")
    assert not page.is_visible("[data-insert=vmag]")


def test_it_works_without_scripts(scriptless_tab: BrowserTab) -> None:
    page = scriptless_tab.open_page("/adql")
    page.fill("textarea", GOOD)
    scriptless_tab.follow_link("text=Run >> nth=0")
    assert scriptless_tab.open_answer().locator("tbody tr").count() == 7
    page.fill("textarea", "SELECT nothing FROM stars.main")
    scriptless_tab.follow_link("text=Run >> nth=0")
    assert "column 8" in page.inner_text("#fault")


def test_a_phone_has_it_too(phone_tab: BrowserTab) -> None:
    page = phone_tab.open_page("/adql")
    page.wait_for_selector(".cm-content")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert phone_tab.find_accessibility_faults() == []


def test_the_menu_of_programs_hides_no_rows(tab: BrowserTab) -> None:
    page = tab.open_page("/adql?QUERY=SELECT+TOP+5+name,ra,dec+FROM+sz.clusters")
    page.wait_for_selector("[data-answer] tbody tr")
    page.wait_for_selector("[data-pane=samp]:not([hidden])")
    page.wait_for_selector(".cm-content")  # above it: what is below moves when it comes
    place = """() => {
        const [menu, rest] = ['[data-pane=samp] > summary', '.take'].map((one) => document.querySelector(one).getBoundingClientRect());
        return [menu.x, menu.y - rest.y];
    }"""
    before = page.evaluate(place)
    page.click("summary:text-is('SAMP')")
    page.wait_for_function(
        "() => document.querySelector('[data-samp]').getBoundingClientRect().bottom <= document.querySelector('[data-answer] table.rows').getBoundingClientRect().top"
    )
    assert page.evaluate(place) == before, "what was pressed stays where it is, whatever else of the page comes or goes"
    page.click("summary:text-is('SAMP')")
    page.wait_for_function("() => document.querySelector('.take').style.marginBottom === ''")


def test_tables_stand_above_examples_on_a_phone(phone_tab: BrowserTab) -> None:
    page = phone_tab.open_page("/adql")
    page.wait_for_selector(".cm-content")
    tops = page.evaluate(
        "['.cm-editor', '.tables-aside', '.examples'].map((one) => document.querySelector(one).getBoundingClientRect().top)"
    )
    assert tops == sorted(tops)


def test_the_button_of_a_mark_has_the_colours_of_the_site(tab: BrowserTab) -> None:
    page = tab.open_page("/adql")
    page.emulate_media(color_scheme="dark")
    tab.write_query("SELECT mas FROM sz.clusters")
    page.wait_for_selector("#fault:has-text('mas')")
    page.wait_for_selector(".cm-lintRange-error")
    page.hover(".cm-lintRange-error")
    page.wait_for_selector(".cm-tooltip .cm-diagnosticAction")
    ours, theirs = page.evaluate(
        "['.actions button', '.cm-diagnosticAction'].map((one) => getComputedStyle(document.querySelector(one)).backgroundColor)"
    )
    assert ours == theirs


def test_the_editor_in_french_tells_faults_in_french(tab: BrowserTab) -> None:
    page = tab.open_page("/adql?lang=fr")
    tab.write_query("SELECT TOP 7 star, vmga FROM stars.main")
    page.wait_for_selector("#fault:has-text('vmga')")
    page.wait_for_selector("#fault button")
    page.wait_for_selector(".cm-lintRange-error")
    told = page.inner_text("#fault")
    assert "ligne 1, colonne 20 : il n'y a pas de colonne 'vmga' dans stars.main" in told.replace("\u00a0", " ")
    assert "vouliez-vous dire 'vmag' ?" in told
    page.locator("#fault button").click()  # what was meant is written, in every language
    page.wait_for_selector(".cm-lintRange-error", state="detached")
    assert "star, vmag FROM" in page.inner_text(".cm-line")
