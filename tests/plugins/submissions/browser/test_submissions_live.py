"""A user submits files and corrects their rows, a moderator refuses, the user corrects again, and all is accepted."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from browser_tab import BrowserTab, open_tab
from submission_site import ARCHIVE, make_file, pack

from process_runner import Server, run_hven, serve_site

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, Page

DESCRIPTOR = ARCHIVE.replace("submitters: [anna, bob]", "submitters: [anna, bob]\n      moderated: true")
DESKTOP = {"viewport": {"width": 1440, "height": 900}, "locale": "en-GB"}
PHONE = {"viewport": {"width": 390, "height": 800}, "locale": "fr-FR"}


@pytest.fixture(scope="module")
def archive_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, dict[str, str]]]:
    site = tmp_path_factory.mktemp("submissions") / "site"
    (site / "collections/oidb").mkdir(parents=True)
    (site / "collections/oidb/oidb.yaml").write_text(DESCRIPTOR)
    (site / "hven.toml").write_text('name = "oidb"\ntitle = "Uraniborg"\n')
    run_hven("ingest", "--site", site, "oidb")
    tokens = {name: run_hven("user", "add", "--site", site, name).stdout.strip() for name in ("anna", "bob", "mia")}
    with serve_site(site) as made:
        yield made, tokens


def log_in(page: Page, server: Server, name: str, token: str) -> Page:
    page.goto(f"{server.url}/login")
    page.fill("[name=name]", name)
    page.fill("[name=token]", token)
    with page.expect_navigation():
        page.click("main button")
    return page


def write_files(directory: Path, author: str) -> list[str]:
    """Write an archive of two files, of which one causes a warning; and a file that cannot be read."""
    archive, single = directory / "night.zip", directory / "broken.fits"
    odd_file = make_file("Altair", PI=author, **{"MJD-END": "late"})
    archive.write_bytes(pack({"good.fits": make_file("Vega", PI=author), "odd.fits": odd_file}))
    single.write_bytes(make_file("Deneb")[:400])
    return [str(archive), str(single)]


def click_button(page: Page, text: str) -> None:
    with page.expect_navigation():
        page.click(f"button:text-is('{text}')")


def check_page(tab: BrowserTab, name: str, *words: str) -> None:
    """Check the page that is open: its words, its width, and what axe finds."""
    page = tab.page
    text = page.inner_text("main")
    assert [word for word in words if word not in text] == []
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    assert tab.find_accessibility_faults() == []
    if folder := os.environ.get("HVEN_PICTURES"):
        page.screenshot(path=str(Path(folder) / f"{name}.png"), full_page=True)


def test_submit_correct_refuse_correct_accept(
    browser: Browser, archive_site: tuple[Server, dict[str, str]], tmp_path: Path
) -> None:
    server, tokens = archive_site
    for tab, moderator in zip(open_tab(browser, server, **DESKTOP), open_tab(browser, server, **DESKTOP), strict=True):
        tab.expected = ("400 (Bad Request)",)
        anna = log_in(tab.page, server, "anna", tokens["anna"])
        mia = log_in(moderator.page, server, "mia", tokens["mia"])
        anna.click("header a:text-is('Submissions')")
        anna.click("main a:text-is('Granules')")
        check_page(tab, "submission-list", "You have no submissions")
        anna.set_input_files("#files", write_files(tmp_path, "anna"))
        click_button(anna, "Begin a submission")
        check_page(tab, "submission-report", "good.fits", "odd.fits", "left out")
        for summary in anna.locator("details summary").all():
            summary.click()
        check_page(tab, "submission-report-open", "write a number", "the file ends")
        assert anna.evaluate("Array.from(document.querySelectorAll('td')).every(c => c.scrollWidth <= c.clientWidth)")
        # the author corrects the granules in the grid, and sees what would change
        anna.select_option("#shared-obs_collection", label="CHARA")
        anna.fill("#shared-calib_level", "3")
        anna.fill("[aria-label='quality 1']", "A")
        click_button(anna, "Submit")
        check_page(tab, "submission-blocked", "explain in the note why the warnings are acceptable")
        assert anna.input_value("#shared-calib_level") == "3", "the values are kept"
        anna.fill("#note", "the clock was wrong")
        click_button(anna, "Check, and show what changes")
        check_page(tab, "submission-difference", "Public from", "2016-06-09", "Files that are left out: 1")
        click_button(anna, "Submit")
        assert "waiting for a decision" in anna.inner_text("h1")
        # the moderator refuses, the author corrects, the moderator accepts
        mia.goto(f"{server.url}/submissions")
        check_page(moderator, "submissions-waiting", "Waiting for your decision", "anna")
        mia.click("main table a")
        check_page(moderator, "submission-decision", "the clock was wrong", "Vega")
        mia.fill("#reason", "what is the end of Altair?")
        click_button(mia, "Refuse")
        assert "Waiting for your decision" not in mia.inner_text("main")
        anna.reload()
        check_page(tab, "submission-refused", "Refused by mia: what is the end of Altair?", "sent back for correction")
        anna.fill("[aria-label='t_max 2']", "57000.2")
        click_button(anna, "Submit")
        mia.reload()
        mia.click("main table a")
        click_button(mia, "Accept and publish")
        check_page(moderator, "submission-accepted", "The rows are published", "published in the table")
        mia.click("p[role=status] a")
        mia.wait_for_selector("text=Altair")
        assert "Vega" in mia.inner_text("main")


def test_forms_on_a_phone_without_scripts(
    browser: Browser, archive_site: tuple[Server, dict[str, str]], tmp_path: Path
) -> None:
    server, tokens = archive_site
    context = browser.new_context(java_script_enabled=False, **PHONE)
    context.set_default_timeout(60_000)
    try:
        bob = log_in(context.new_page(), server, "bob", tokens["bob"])
        bob.goto(f"{server.url}/submissions/oidb.granules")
        bob.set_input_files("#files", write_files(tmp_path, "bob"))
        click_button(bob, "Commencer une soumission")
        address = bob.url.removeprefix(server.url)
        bob.fill("#note", "une note")
        click_button(bob, "Vérifier, et montrer ce qui change")
        assert "Ce qui change" in bob.inner_text("main")
    finally:
        context.close()
    for tab in open_tab(browser, server, **PHONE):
        log_in(tab.page, server, "bob", tokens["bob"])
        for path, words in (("/submissions", "Vos soumissions"), ("/submissions/oidb.granules", "Vos soumissions"), (address, "Ce qui change")):  # fmt: skip
            tab.open_page(path)
            check_page(tab, f"phone-submissions-{path.count('/')}", words)
        with tab.page.expect_navigation():
            tab.page.click("button[value=submit]")
        assert "en attente de décision" in tab.page.inner_text("h1")
    for tab in open_tab(browser, server, **PHONE):
        mia = log_in(tab.page, server, "mia", tokens["mia"])
        for path, words, name in (
            ("/submissions", "En attente de votre décision", "moderator-submissions"),
            ("/submissions/oidb.granules", "En attente de votre décision", "moderator-submission-list"),
            (address, "Ce qui change", "moderator-submission"),
        ):
            tab.open_page(path)
            check_page(tab, name, words)
        for summary in mia.locator("details summary").all():
            summary.click()
        check_page(tab, "moderator-submission-report", "Ce qui change")
        mia.fill("#reason", "une raison")
        with mia.expect_navigation():
            mia.click("button[value=accept]")
        check_page(tab, "moderator-submission-accepted", "Les lignes sont publiées")
