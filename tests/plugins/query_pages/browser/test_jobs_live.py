"""The page of jobs: a query is run as a job, watched without touching the page, run again, deleted; back and twice do no harm."""

from __future__ import annotations

from typing import Any

from browser_tab import BrowserTab

GOOD = "SELECT TOP 7 star, vmag FROM stars.main ORDER BY vmag"


def begun(tab: BrowserTab, query: str = GOOD) -> Any:
    page = tab.open_page("/adql")
    tab.write_query(query)
    page.click("text=Run as a job")
    page.wait_for_url("**/jobs?job=*")
    return page


def test_a_query_becomes_a_job_and_its_rows_appear_without_a_reload(tab: BrowserTab) -> None:
    page = begun(tab)
    page.wait_for_selector(".job .phase[data-phase=COMPLETED]")
    assert page.locator(".job tbody tr").count() == 7
    assert page.inner_text("[data-said]") == "done"
    assert tab.find_accessibility_faults() == []
    tab.save_screenshot("jobs")
    first = page.url
    with page.expect_download() as waiting:
        page.click("text=Download result")
    assert waiting.value.path().read_text().startswith("<?xml")
    page.click("text=Run again")
    page.wait_for_url(lambda url: url != first)
    page.wait_for_selector(".job .phase[data-phase=COMPLETED]")
    assert page.locator(".job-list tbody tr").count() == 2
    page.go_back()
    page.wait_for_selector(".job .phase[data-phase=COMPLETED]")
    assert page.url == first
    page.click(".job button:has-text('Delete')")
    page.wait_for_url("**/jobs")
    assert page.locator(".job-list tbody tr").count() == 1
    tab.expected = ("404",)
    tab.page.goto(first)
    assert "no longer exists" in page.inner_text("[role=alert]")
    tab.follow_link("text=All jobs")
    tab.follow_link(".job-list .what a")
    tab.follow_link("text=Open the query")
    page.wait_for_selector(".cm-content")
    assert GOOD in page.inner_text(".cm-content")


def test_jobs_of_others_are_not_listed(tab: BrowserTab, scriptless_tab: BrowserTab) -> None:
    begun(tab).wait_for_selector(".job .phase[data-phase=COMPLETED]")
    page = scriptless_tab.open_page("/jobs")
    assert "There are no jobs yet" in page.inner_text("main")
    assert GOOD not in page.inner_text("main")


def test_without_scripts(scriptless_tab: BrowserTab) -> None:
    page = scriptless_tab.open_page("/adql")
    page.fill("textarea", GOOD)
    scriptless_tab.follow_link("text=Run as a job")
    assert "/jobs?job=" in page.url
    for _ in range(300):
        if page.locator(".job .phase[data-phase=COMPLETED]").count():
            break
        page.wait_for_timeout(200)
        scriptless_tab.follow_link("text=Refresh")
    assert page.locator(".job tbody tr").count() == 7


def test_what_is_wrong_with_a_query_is_said(tab: BrowserTab) -> None:
    page = begun(tab, "SELECT nothing FROM stars.main")
    page.wait_for_selector(".job .phase[data-phase=ERROR]")
    assert "nothing" in page.inner_text(".job [role=alert]")
    assert tab.find_accessibility_faults() == []


def test_a_phone_and_french(phone_tab: BrowserTab) -> None:
    page = phone_tab.open_page("/adql?lang=fr")
    phone_tab.write_query(GOOD)
    page.click("[data-job]")
    page.wait_for_url("**/jobs?job=*")
    page.wait_for_selector(".job .phase[data-phase=COMPLETED]")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert phone_tab.find_accessibility_faults() == []
    phone_tab.save_screenshot("jobs-phone")


def test_a_job_sent_twice_is_one_and_back_leads_back(tab: BrowserTab) -> None:
    page = tab.open_page("/adql?QUERY=SELECT+COUNT(*)+AS+n+FROM+aia.images")
    page.wait_for_selector(".cm-content")
    page.eval_on_selector("[data-job]", "(one) => { one.click(); one.click(); }")  # nothing can be done in between
    page.wait_for_url("**/jobs**")
    page.wait_for_selector("h2 .phase[data-phase=COMPLETED]")
    first = page.url
    page.go_back()
    page.wait_for_selector(".cm-content")
    assert "aia.images" in page.inner_text(".cm-content")
    page.go_forward()
    page.wait_for_selector("h2 .phase[data-phase=COMPLETED]")
    assert page.url == first
    listed = tab.open_page("/jobs")
    assert listed.locator("tr:has-text('aia.images'), li:has-text('aia.images')").count() == 1, (
        "a query that is sent twice is one job"
    )


def test_a_job_whose_time_is_over_says_so(tab: BrowserTab) -> None:
    tab.expected = ("404",)
    page = tab.open_page("/jobs?job=0123456789abcdef")
    assert "no longer exists" in page.inner_text("[role=alert]")
    assert page.locator("main a", has_text="All jobs").count() == 1
