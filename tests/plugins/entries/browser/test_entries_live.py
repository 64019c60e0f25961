"""A user enters a star, a moderator refuses it, the user corrects it, and it is accepted; without scripts, on a phone, in French."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from browser_tab import BrowserTab, open_tab

from process_runner import Server, run_hven, serve_site

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, Page

DESCRIPTOR = """\
collection: bad
title: Bad calibrators
tables:
  stars:
    title: Stars
    source:
      kind: push
      columns: {id: int64, name: string, mag: float32, grade: string, seen: timestamp, note: string}
      ids: id
      writers: [mia]
    entries: {submitters: [anna]}
    comments: {moderators: [mia]}
    primary: id
    columns:
      id: {type: int64, ucd: meta.id;meta.main, description: Number}
      name: {type: string, required: true, ucd: meta.id;src, label: {en: Star, fr: Étoile}, description: Name of the star}
      mag: {type: float32, unit: mag, minimum: -2, maximum: 20, ucd: phot.mag, description: Magnitude}
      grade: {type: string, enum: grades, description: Grade}
      seen: {type: timestamp, ucd: time.epoch, description: When it was seen}
      note: {type: string, ucd: meta.note, description: Note}
    enums: {grades: {A: sure, B: doubtful}}
"""


@pytest.fixture(scope="module")
def starry_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, dict[str, str]]]:
    site = tmp_path_factory.mktemp("entries") / "site"
    (site / "collections/bad").mkdir(parents=True)
    (site / "collections/bad/bad.yaml").write_text(DESCRIPTOR)
    (site / "hven.toml").write_text('name = "bad"\ntitle = "Uraniborg"\n')
    run_hven("ingest", "--site", site, "bad")
    tokens = {name: run_hven("user", "add", "--site", site, name).stdout.strip() for name in ("anna", "mia")}
    with serve_site(site) as made:
        yield made, tokens


def log_in(page: Page, server: Server, name: str, token: str) -> Page:
    page.goto(f"{server.url}/login")
    page.fill("[name=name]", name)
    page.fill("[name=token]", token)
    with page.expect_navigation():
        page.click("main button")
    return page


def take_picture(page: Page, name: str) -> None:
    if folder := os.environ.get("HVEN_PICTURES"):
        page.screenshot(path=str(Path(folder) / f"{name}.png"), full_page=True)


def test_submit_refuse_correct_accept_without_scripts(browser: Browser, starry_site: tuple[Server, dict[str, str]]) -> None:  # fmt: skip
    server, tokens = starry_site
    pages = {}
    contexts = []
    for name, token in tokens.items():
        contexts.append(browser.new_context(java_script_enabled=False, locale="en-GB"))
        pages[name] = log_in(contexts[-1].new_page(), server, name, token)
    anna, mia = pages["anna"], pages["mia"]
    try:
        anna.goto(f"{server.url}/collections/bad/stars")
        anna.click("text=Enter a row")
        anna.fill("#field-name", "Vega")
        anna.fill("#field-mag", "0.5")
        anna.select_option("#field-grade", label="doubtful")
        anna.fill("#field-seen", "2026-11-20T21:00:30")
        anna.click("button:text-is('Submit')")
        assert "submitted" in anna.inner_text("h1")
        mia.goto(f"{server.url}/entries")
        mia.click("main table a")
        mia.fill("[name=reason]", "Vega is brighter")
        mia.click("button:text-is('Refuse')")
        assert "refused" in mia.inner_text("h1")
        anna.reload()
        assert "Vega is brighter" in anna.inner_text("main")
        anna.fill("#field-mag", "0.03")
        anna.click("button:text-is('Submit')")
        assert "0 rows" not in anna.inner_text("main")
        mia.reload()
        mia.click("button:text-is('Accept and publish')")
        assert "accepted" in mia.inner_text("h1")
        mia.click("text=the row in the table")
        assert "Vega" in mia.inner_text(".grid")
        anna.goto(mia.url)
        anna.click("text=Comment on this row")
        anna.select_option("[name=kind]", "report")
        anna.select_option("[name=column]", "grade")
        anna.fill("[name=text]", "it is a sure one")
        anna.click("button:text-is('Send')")
        mia.goto(f"{server.url}/comments/bad.stars")
        assert "it is a sure one" in mia.inner_text("main")
        mia.click("button:text-is('Show to all')")
        assert "it is a sure one" in mia.inner_text("main")
    finally:
        for context in contexts:
            context.close()


def test_forms_on_a_phone_and_for_those_who_cannot_see(browser: Browser, starry_site: tuple[Server, dict[str, str]]) -> None:  # fmt: skip
    server, tokens = starry_site
    for tab in open_tab(browser, server, viewport={"width": 390, "height": 800}, locale="fr-FR"):
        tab.expected = ("400 (Bad Request)",)
        page = log_in(tab.page, server, "anna", tokens["anna"])
        check_page(tab, "/entries/bad.stars/new", "Soumettre", "entry-form")
        page.fill("#field-mag", "1")
        with page.expect_navigation():
            page.click("text=Enregistrer le brouillon")
        assert "brouillon" in page.inner_text("h1")
        page.evaluate("document.querySelector('#field-name').required = false")
        with page.expect_navigation():
            page.click("button:text-is('Soumettre')")
        assert "une valeur est obligatoire" in page.inner_text("#fault-name")
        assert tab.find_accessibility_faults() == []
        take_picture(page, "entry-faults")
        for path, words, name in (
            ("/entries", "Vos saisies", "entries"),
            ("/entries/bad.stars", "brouillon", "entry-list"),
            ("/comments/bad.stars", "Commentaires", "comments"),
        ):
            check_page(tab, path, words, name)


def send_document(server: Server, path: str, token: str, document: object) -> dict[str, Any]:
    """Send JSON as a program does."""
    headers = {"Authorization": f"Bearer {token}", "Accept": "application/json", "Content-Type": "application/json"}
    status, _, answer = server.send("POST", path, json.dumps(document).encode(), headers)
    assert status in {200, 201}, answer
    found: dict[str, Any] = json.loads(answer)
    return found


def test_a_moderator_decides_on_a_phone(browser: Browser, starry_site: tuple[Server, dict[str, str]]) -> None:
    server, tokens = starry_site
    note = "https://example.org/" + "a-long-address-without-blanks/" * 8 + " see 2016A&A...589A.112C"
    values = {"name": "A star with a long name in the constellation of Camelopardalis", "mag": 3.25, "note": note}
    entry = send_document(server, "/entries/bad.stars", tokens["anna"], {"values": values, "action": "submit"})
    correction = {"values": {"note": note, "mag": 7.5}, "row": [1], "action": "submit", "reason": note}
    corrected = send_document(server, "/entries/bad.stars", tokens["anna"], correction)
    comment = {"row": [1], "kind": "report", "column": "note", "text": note}
    send_document(server, "/comments/bad.stars", tokens["anna"], comment)
    for tab in open_tab(browser, server, viewport={"width": 390, "height": 800}, locale="fr-FR"):
        page = log_in(tab.page, server, "mia", tokens["mia"])
        check_page(tab, "/entries", "constellation", "moderator-entries")
        check_page(tab, "/entries/bad.stars?state=submitted", "constellation", "moderator-entry-list")
        check_page(tab, f"/entries/bad.stars/{corrected['number']}", "7.5", "moderator-correction")
        check_page(tab, "/comments/bad.stars", "2016A&A...589A.112C", "moderator-comments")
        check_page(tab, f"/entries/bad.stars/{entry['number']}", "Camelopardalis", "moderator-entry")
        page.fill("#decision", "bien vu")
        with page.expect_navigation():
            page.click("button[value=accept]")
        assert "accepté" in page.inner_text("h1")
        check_page(tab, f"/entries/bad.stars/{entry['number']}", "bien vu", "moderator-accepted")


def test_comments_beside_the_row(browser: Browser, starry_site: tuple[Server, dict[str, str]]) -> None:
    server, tokens = starry_site
    for tab in open_tab(browser, server, viewport={"width": 1440, "height": 900}, locale="en-GB"):
        page = log_in(tab.page, server, "mia", tokens["mia"])
        tab.open_page("/collections/bad/stars?_row=%5B1%5D")
        page.wait_for_selector(".detail .row-comments:has-text('it is a sure one')")
        assert "Comment, or report an error" in page.inner_text(".detail .row-comments")
        assert tab.find_accessibility_faults() == []
        take_picture(page, "row-comments")
        page.click(".detail dt[data-column=mag] + dd a[aria-label='Report an error in mag']")
        page.wait_for_selector("h1:has-text('Comments on the row')")
        assert page.input_value("[name=kind]") == "report"
        assert page.input_value("[name=column]") == "mag"
        check_page(tab, "/entries/bad.stars/1", "accepted", "entry-accepted")
        check_page(tab, "/entries/bad.stars/history?row=%5B1%5D", "version 1 of the row", "row-history")


def test_a_moderator_accepts_a_list_without_scripts(
    browser: Browser, starry_site: tuple[Server, dict[str, str]]
) -> None:
    server, tokens = starry_site
    for name in ("mu Cep", "nu Cep", "xi Cep"):
        order = {"values": {"name": name, "mag": 4}, "action": "submit"}
        send_document(server, "/entries/bad.stars", tokens["anna"], order)
    context = browser.new_context(java_script_enabled=False, locale="en-GB", viewport={"width": 1280, "height": 900})
    try:
        page = log_in(context.new_page(), server, "mia", tokens["mia"])
        page.goto(f"{server.url}/entries/bad.stars?state=submitted")
        for name in ("mu Cep", "xi Cep"):
            page.check(f"tr:has-text('{name}') input[type=checkbox]")
        take_picture(page, "entries-chosen")
        with page.expect_navigation():
            page.click("button:text-is('Accept and publish the chosen entries')")
        rest = page.inner_text("main")
        assert ("mu Cep" in rest, "nu Cep" in rest, "xi Cep" in rest) == (False, True, False)
        page.goto(f"{server.url}/collections/bad/stars")
        assert "mu Cep" in page.inner_text(".grid")
        page.goto(f"{server.url}/entries/bad.stars?state=submitted")
        page.check("tr:has-text('nu Cep') input[type=checkbox]")
        with page.expect_navigation():
            page.click("button:text-is('Refuse the chosen entries')")
        assert "give a reason" in page.inner_text("[role=alert]")
        take_picture(page, "entries-refused-without-reason")
    finally:
        context.close()


def check_page(tab: BrowserTab, path: str, words: str, name: str) -> None:
    page = tab.open_page(path)
    assert words in page.inner_text("main")
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    assert tab.find_accessibility_faults() == []
    take_picture(page, name)
