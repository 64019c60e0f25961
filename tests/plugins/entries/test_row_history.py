"""The versions of a row for those who see it, decisions on several entries, and what the pages of rows offer."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from asgi_client import Client
from astropy.coordinates import SkyCoord
from entry_site import STAR, Person, make_name, path_of, query_stars, read_entry

from hven.plugins.entries import entry_pages, entry_store
from hven.site import Site
from hven.site.auth import Principal, invitations

TABLE = "others.told"


def accept(people: dict[str, Person], values: dict[str, Any], **more: Any) -> dict[str, Any]:
    entry = people["anna"].submit(values, TABLE, reason="I saw it", **more)
    return read_entry(people["mia"].take(entry, "accept", reason="checked at the telescope"))


def read_history(person: Person, row: int) -> Any:
    return read_entry(person.get(f"/entries/{TABLE}/history?row=%5B{row}%5D"))["versions"]


def test_everybody_who_sees_a_row_reads_its_versions(people: dict[str, Person]) -> None:
    accept(people, {"id": 50, "name": "Vega", "link": "https://example.org/zqfile"})
    second = accept(people, {"name": "alf Lyr"}, row=[50])
    accept(people, {"id": 150, "name": "hidden"})
    people["anna"].submit({"name": "zqwaiting"}, TABLE, reason="zqnote", row=[50])
    for name in ("", "eve", "anna"):
        newest, oldest = read_history(people[name], 50)
        assert newest["changes"] == {"name": ["Vega", "alf Lyr"]}
        assert oldest["changes"] == {"id": [None, 50], "name": [None, "Vega"]}
        assert [(newest["version"], newest["author"]), (oldest["version"], oldest["state"])] == [
            (2, "anna"), (1, "accepted"),
        ]  # fmt: skip
        (step,) = newest["steps"]
        assert (step["by"], step["action"], step["reason"]) == ("mia", "accept", "checked at the telescope")
        page = people[name].show(f"/entries/{TABLE}/history?row=%5B50%5D").text
        assert "<del>Vega</del>" in page
        for word in ("zqfile", "zqwaiting", "zqnote", "I saw it"):
            assert word not in page, "neither what the reader does not see, nor notes, nor what is not accepted"
        assert people[name].get(f"/entries/{TABLE}/history?row=%5B150%5D").status == 404, "the row is hidden"
    assert [version["version"] for version in read_history(people["mia"], 150)] == [1]
    read_entry(people["mia"].take(second, "withdraw", reason="another star"))
    assert [step["reason"] for step in read_history(people[""], 50)[0]["steps"]] == [
        "checked at the telescope", "another star",
    ]  # fmt: skip


def test_a_history_is_private_unless_the_descriptor_says_otherwise(people: dict[str, Person]) -> None:
    entry = people["anna"].submit({"name": make_name()})
    row = json.loads(read_entry(people["mia"].take(entry, "accept"))["row"])[0]
    statuses = {
        name: people[name].get(f"/entries/bad.stars/history?row=%5B{row}%5D").status for name in ("", "anna", "mia")
    }
    assert statuses == {"": 404, "anna": 404, "mia": 200}


def test_blind_referees_read_no_names_in_a_history(site: Site, people: dict[str, Person]) -> None:
    accept(people, {"id": 52, "name": "blind"})
    principal = Principal(name=None, groups=frozenset({f"{invitations.BLIND_REVIEW_GROUP_PREFIX}others"}))
    from hven.app._server import create_and_start_application

    client = Client(create_and_start_application(site, identify_principal=lambda _: principal))
    page = client.ask("GET", f"/entries/{TABLE}/history?row=%5B52%5D", headers={"accept": "application/json"})
    assert ("blind" in page.text, "anna" in page.text, "mia" in page.text) == (True, False, False), page.text


def test_a_reason_is_required(people: dict[str, Person]) -> None:
    draft = read_entry(people["anna"].send(f"/entries/{TABLE}", {"values": {"id": 53, "name": "why"}}), 201)
    assert people["anna"].take(draft, "submit", reason=" ").status == 400
    entry = read_entry(people["anna"].take(draft, "submit", reason="a new star"))
    refused = people["mia"].take(entry, "accept")
    assert (refused.status, "give a reason" in refused.text) == (400, True)
    assert read_entry(people["mia"].take(entry, "accept", reason="yes"))["state"] == "accepted"


def test_pages_of_rows_offer_what_is_possible(people: dict[str, Person]) -> None:
    accept(people, {"id": 54, "name": "offered"})
    pages = {row: people["anna"].show(f"/collections/others/told?_row=%5B{row}%5D").text for row in (1, 54)}
    for words in ("/entries/others.told/new?row", "/entries/others.told/history?row"):
        assert {row: words in page for row, page in pages.items()} == {1: False, 54: True}, words
    assert "/comments/others.told?row=%5B1%5D&amp;column=name" in pages[1], "a report of an error in each value"
    anonymous_page = people[""].show("/collections/others/told?_row=%5B54%5D").text
    assert ("/history?row" in anonymous_page, "/new?row" in anonymous_page) == (True, False)


def test_a_position_in_fk5_is_found_by_name(people: dict[str, Person], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(entry_pages, "can_resolve_names", lambda _: True)
    monkeypatch.setattr(entry_pages, "resolve_object_position", lambda *_, **__: (279.234735, 38.783689))
    fields = {"value.id": "55", "value.name": "Vega", "action": "resolve"}
    page = people["anna"].post_form(f"/entries/{TABLE}", fields).text
    expected = SkyCoord(279.234735, 38.783689, unit="deg", frame="icrs").fk5
    for name, value in (("ra", expected.ra.deg), ("dec", expected.dec.deg)):
        (text,) = re.findall(rf'name="value.{name}"[^>]* value="([^"]*)"', page)
        assert abs(float(text) - value) < 1e-8, (name, text)


# --- decisions on several entries -------------------------------------------------------------------------------------


def test_a_moderator_decides_on_several_entries_at_once(client: Client, people: dict[str, Person]) -> None:
    names = [make_name() for _ in range(4)]
    entries = [people["anna"].submit({**STAR, "name": name}) for name in names]
    page = people["mia"].show("/entries/bad.stars?state=submitted").text
    assert f'name="value.{entries[0]["number"]}" value="{entries[0]["etag"]}"' in page
    assert "checkbox" not in people["anna"].show("/entries/bad.stars?state=submitted").text
    changed = read_entry(people["anna"].take(entries[1], "withdraw"))
    chosen = {str(entry["number"]): entry["etag"] for entry in entries[:3]}
    decide = {"action": "accept", "values": {**chosen, "999999": "999999-1", "x": "y"}}
    for name, status in (("bob", 409), ("eve", 403), ("", 401)):
        assert people[name].send("/entries/bad.stars", decide).status == status, name
    assert [query_stars(client, "name", name) for name in names] == [[]] * 4, "only moderators decide"
    answer = people["mia"].send("/entries/bad.stars", decide)
    faults = json.loads(answer.body)["faults"]
    assert (answer.status, set(faults)) == (409, {str(changed["number"]), "999999", "x"})
    assert "somebody else has changed the entry" in faults[str(changed["number"])]
    assert [len(query_stars(client, "name", name)) for name in names] == [1, 0, 1, 0], "the others are accepted"
    form = {f"value.{entries[3]['number']}": entries[3]["etag"], "reason": "which star?", "action": "refuse"}
    assert people["mia"].post_form("/entries/bad.stars", form).status == 303
    assert read_entry(people["anna"].get(path_of(entries[3])))["state"] == "refused"
    again = people["mia"].post_form("/entries/bad.stars", {**form, "action": "accept"})
    assert (again.status, 'role="alert"' in again.text) == (409, True)
    assert people["mia"].post_form("/entries/bad.stars", {**form, "reason": ""}).status == 409


# --- lists ------------------------------------------------------------------------------------------------------------


def test_lists_lead_to_all_entries(people: dict[str, Person], monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (entry_store, entry_pages):
        monkeypatch.setattr(module, "LIST_PAGE_ENTRIES", 2)
    names = {make_name() for _ in range(5)}
    for name in names:
        people["bob"].submit({"name": name})
    for person, table, kind, more in (
        ("bob", "", "entries", "more"),
        ("mia", "", "waiting", "more_waiting"),
        ("mia", "/bad.stars", "entries", "more"),
    ):
        found, address = set(), f"/entries{table}"
        while address and not names <= found:
            page = read_entry(people[person].get(address))
            # a moderator's own drafts, such as those of other tests, stand above the first page
            assert len([entry for entry in page[kind] if entry["state"] != "draft"]) <= 2
            found |= {name for name in names for entry in page[kind] if name in entry["title"].split(", ")}
            address = page[more].removeprefix("http://vo.example")
        assert names <= found, (person, table)
    assert "waiting_before=" in people["mia"].show("/entries").text


def test_a_failed_submission_that_comes_again_is_no_success(people: dict[str, Person]) -> None:
    """The values were saved, but the submission broke a rule: the same request breaks it once more."""
    draft = read_entry(people["anna"].send("/entries/bad.stars", {"values": {"name": make_name()}}), 201)
    for _ in range(2):
        answer = people["anna"].take(draft, "submit", values={"grade": "A", "note": "bad"})
        assert (answer.status, "a good star is not bad" in answer.text) == (400, True), answer.text
    assert read_entry(people["anna"].get(path_of(draft)))["state"] == "draft"
