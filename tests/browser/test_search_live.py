"""The fields of a form in a browser: parts of a range, units, times, places, chips, completion; the same without scripts, on a phone, in French."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

from browser_tab import BrowserTab

GRID = "table.live tr[data-key]"
TABLE = "/collections/stars/main"


def parse_address_query(address: str) -> dict[str, list[str]]:
    return parse_qs(urlsplit(address).query)


def test_the_parts_of_a_field_are_one_condition(tab: BrowserTab) -> None:
    page = tab.open_page(TABLE)
    page.wait_for_selector(GRID)
    tab.wait_for_panes("form")
    page.fill("input[name=vmag]", "4")
    page.fill("input[name='_to.vmag']", "5000")
    page.select_option("select[name='_as.vmag']", "mmag")
    page.wait_for_selector("[data-chips] a:has-text('4..5000 mmag')")
    assert parse_address_query(page.url)["vmag"] == ["4..5000 mmag"]
    page.select_option("select[name='_as.vmag']", "")
    page.fill("input[name='_to.vmag']", "5")
    page.wait_for_function("() => new URLSearchParams(location.search).get('vmag') === '4..5'")
    page.fill("input[name=ra]", "350")
    page.fill("input[name='_to.ra']", "10")
    page.wait_for_selector("[data-chips] a:has-text('350..10')")
    assert page.locator("[data-chips] a[data-name=vmag]").inner_text().split()[:2] == ["vmag", "4..5"]
    assert page.locator(".fault").count() == 0
    page.click("[data-chips] a[data-name=vmag]")
    page.wait_for_selector("[data-chips] a[data-name=vmag]", state="detached")
    assert set(parse_address_query(page.url)) == {"ra"}
    assert page.input_value("input[name=vmag]") == ""
    assert tab.find_accessibility_faults() == []
    page.reload()
    assert (page.input_value("input[name=ra]"), page.input_value("input[name='_to.ra']")) == ("350", "10")


def test_times_places_and_cadence(tab: BrowserTab) -> None:
    page = tab.open_page(TABLE)
    page.wait_for_selector(GRID)
    tab.wait_for_panes("form")
    page.fill("input[name=seen]", "1580-01-01")
    page.fill("input[name='_pm.seen']", "400")
    page.select_option("select[name='_as.seen']", "d")
    page.wait_for_selector("[data-chips] a:has-text('1580-01-01~400 d')")
    page.fill("input[name=_near]", "05:31:00 +22:00:00")
    page.fill("input[name=_radius]", "40")
    page.wait_for_selector("[data-chips] a[data-name=_near]:has-text('82.75, 22, 40 deg')")
    page.fill("input[name=_every]", "1 d")
    page.wait_for_selector("[data-chips] a[data-name=_every]")
    page.wait_for_selector("[data-adql]:has-text('ROW_NUMBER')", state="attached")
    page.fill("input[name=_near]", "Nowhere at all")
    page.wait_for_selector("fieldset[data-ask=_near] + .fault")
    assert page.input_value("input[name=_near]") == "Nowhere at all"
    assert page.get_attribute("input[name=_near]", "aria-invalid") == "true"
    page.reload()
    page.wait_for_selector("fieldset[data-ask=_near] + .fault")
    assert page.input_value("input[name=_near]") == "Nowhere at all", "what is wrong stays where it was written"
    assert tab.find_accessibility_faults() == []
    tab.save_screenshot("search-form")


def test_values_are_completed_and_looked_for(tab: BrowserTab) -> None:
    page = tab.open_page(TABLE)
    page.wait_for_selector(GRID)
    tab.wait_for_panes("form", "facets")
    page.fill("input[name=sp_type]", "G")
    page.wait_for_selector("input[name=sp_type] ~ datalist option[value=G5]", state="attached")
    page.wait_for_selector("[data-chips] a[data-name=sp_type]")  # what is written is asked, too: let it be over
    page.fill("input[name=sp_type]", "")
    page.wait_for_selector("[data-chips][hidden]", state="attached")
    page.wait_for_selector(".facets:not([aria-busy])")
    page.fill(".facets input[type=search]", "m")
    page.wait_for_selector(".choice .what:text-is('M3')")
    page.eval_on_selector("[data-facet=sp_type]", "one => { one.dataset.before = ''; }")
    page.locator(".choice:has(.what:text-is('M3'))").click()
    page.wait_for_selector("[data-chips] a:has-text('M3')")
    drawn = "[data-facet=sp_type]:not([data-before]) .choice"  # drawn anew, and what is looked for has come again
    page.wait_for_selector(f"{drawn}:has(.what:text-is('M3')) input:checked")
    page.wait_for_function(
        "drawn => [...document.querySelectorAll(`${drawn} .what`)].every((one) => one.textContent.startsWith('M'))",
        arg=drawn,
    )
    page.locator(f"{drawn}:not(:has(input:checked))").first.click()
    page.wait_for_function("() => new URLSearchParams(location.search).get('sp_type').split(',').length === 2")
    assert "M3" in parse_address_query(page.url)["sp_type"][0], (
        "what was chosen stays, though it is not among the most frequent"
    )


def test_without_scripts(scriptless_tab: BrowserTab) -> None:
    page = scriptless_tab.open_page(TABLE)
    page.fill("input[name=vmag]", "4")
    page.fill("input[name='_to.vmag']", "5")
    page.fill("input[name=dec]", "south")
    page.fill("input[name=_near]", "5h31m 22d")
    page.fill("input[name=_radius]", "60")
    scriptless_tab.follow_link(".actions button")
    found = parse_address_query(page.url)
    assert found == {"vmag": ["4..5"], "_near": ["82.75,22.0,60.0"], "dec": ["south"]}
    assert page.input_value("input[name=dec]") == "south"
    assert "not a number" in page.inner_text(".fault")
    assert page.input_value("input[name='_to.vmag']") == "5"
    scriptless_tab.follow_link("[data-chips] a[data-name=vmag]")
    assert "vmag" not in parse_address_query(page.url)


def test_on_a_phone_in_french(phone_tab: BrowserTab) -> None:
    page = phone_tab.open_page(f"{TABLE}?lang=fr&vmag=..4")
    page.wait_for_selector("[data-chips] a:has-text('..4')")
    assert page.locator("legend:text-is('Une ligne toutes les')").count() == 1
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert phone_tab.find_accessibility_faults() == []
    phone_tab.save_screenshot("search-form-phone", whole=True)
