"""Faults in the reader's language, wherever they are told: beside a field, at the editor's mark, on the page of an error."""

from __future__ import annotations

from browser_tab import BrowserTab


def test_a_page_in_french_tells_faults_in_french(tab: BrowserTab) -> None:
    page = tab.open_page("/collections/stars/main?lang=fr")
    page.wait_for_selector("table.live tr[data-key]")
    tab.wait_for_panes("form")
    page.fill("input[name=vmag]", "bright")  # the page's script asks, and shows what is wrong
    page.wait_for_selector("fieldset[data-ask=vmag] + .fault:has-text(\"'bright' n'est pas un nombre\")")
    page.wait_for_function("() => location.search.includes('bright')")
    page.reload()  # the server shows it
    assert "'bright' n'est pas un nombre" in page.inner_text("fieldset[data-ask=vmag] + .fault")


def test_the_page_of_an_error_in_french(scriptless_tab: BrowserTab) -> None:
    answer = scriptless_tab.page.request.get(
        f"{scriptless_tab.base}/collections/nothing?lang=fr", headers={"accept": "text/html"}
    )
    assert answer.status == 404
    assert "il n&#39;y a pas de collection &#39;nothing&#39; ici" in answer.text()
