"""A list from pasted lines to its pictures: started with the form, watched, run again, cloned; with and without scripts."""

from __future__ import annotations

from browser_tab import BrowserTab

from process_runner import Server


def test_a_pasted_list_fills_its_page(tab: BrowserTab, server: Server) -> None:
    lines = (server.site / "collections/galaxies/data/positions.txt").read_text().splitlines()[:4]
    tab.expected = ("400 (Bad Request)",)
    page = tab.open_page("/jobs?new=magyc")
    page.fill("#param-LIST", "\n".join([*lines, "nonsense"]))
    page.click("text=Start the job")
    page.wait_for_selector(".fault:has-text('line 5 of LIST')")
    page.fill("#param-LIST", "\n".join(lines))
    page.click("text=Start the job")
    page.wait_for_url("**/job-lists/*")
    page.wait_for_selector("tbody tr")
    page.check("input[value='2']")
    page.wait_for_selector("[role=status] .phase[data-phase=COMPLETED]")
    assert page.is_checked("input[value='2']")  # the rows were replaced meanwhile
    assert page.locator("tbody tr").count() == 4
    assert page.locator("tbody .phase[data-phase=COMPLETED]").count() == 8
    assert page.locator("tbody img").count() == 4
    page.wait_for_selector(".map-legend:has-text('done 4'):has-text('results')")
    assert tab.find_accessibility_faults() == []
    tab.save_screenshot("job_list")
    page.click("tr:nth-child(2) a[data-preview] >> nth=1")
    page.wait_for_selector("dialog.job-preview img")
    assert page.locator("dialog.job-preview table.rows").count() == 1
    assert tab.find_accessibility_faults() == []
    tab.save_screenshot("job_preview")
    page.keyboard.press("Escape")
    page.wait_for_selector("dialog", state="detached")
    assert page.evaluate("document.activeElement.dataset.preview")
    first = page.url
    page.click("text=Run ticked or failed rows again")
    page.wait_for_url(lambda url: url != first)
    page.wait_for_selector("[role=status] .phase[data-phase=COMPLETED]")
    assert page.locator("tbody tr").count() == 1
    page.click("text=Clone with changes")
    page.wait_for_selector("#param-LIST")
    assert lines[1].split()[0] in page.input_value("#param-LIST")


def test_the_page_works_without_scripts(scriptless_tab: BrowserTab) -> None:
    page = scriptless_tab.open_page("/jobs?new=magyc")
    page.fill("#param-LIST", "200 0\n201 1")
    page.click("text=Start the job")
    page.wait_for_url("**/job-lists/*")
    page.click("text=Delete the list")
    page.wait_for_url("**/jobs")
