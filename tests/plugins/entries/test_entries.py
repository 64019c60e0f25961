"""Entries: from a draft to a row of the table; what is checked, and what happens to requests that come twice."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from asgi_client import Client
from entry_site import STAR, Person, make_name, open_entry_site, path_of, query_stars, read_entry

from hven.ingest.api.runs import ingest_collection
from hven.model.errors import StorageError
from hven.plugins.entries import entry_keys, entry_pages, entry_store, entry_workflow
from hven.plugins.entries.entry_store import EntryStore
from hven.plugins.push.push_store import ClientPushStore
from hven.query.resolver import UnresolvedNameError
from hven.site import Site


def accept(people: dict[str, Person], values: dict[str, Any]) -> dict[str, Any]:
    return read_entry(people["mia"].take(people["anna"].submit(values), "accept"))


def test_a_row_from_the_form_to_the_table(client: Client, people: dict[str, Person]) -> None:
    anna, mia, name = people["anna"], people["mia"], make_name()
    page = anna.show("/entries/bad.stars/new").text
    for text in ('type="datetime-local"', 'type="number"', 'max="360', ">good</option>", "Name &lt;of&gt; the star", "<small>°</small>"):  # fmt: skip
        assert text in page, text
    assert "secret" in page, "columns that nobody sees can be entered"
    assert 'id="field-id"' not in page
    fields = {f"value.{column}": str(value) for column, value in {**STAR, "name": name}.items()}
    saved = anna.post_form("/entries/bad.stars", {**fields, "action": "save", "token": "t1"})
    assert saved.status == 303
    address = saved.headers["location"].removeprefix("http://vo.example")
    draft = read_entry(anna.get(address))
    assert (draft["state"], draft["values"]) == ("draft", {**STAR, "name": name})
    assert query_stars(client, "name", name) == []
    submitted = anna.post_form(address, {**fields, "action": "submit", "etag": draft["etag"], "reason": "for you"})
    assert submitted.status == 303
    assert query_stars(client, "name", name) == [], "only accepted rows are in services"
    assert address in mia.get("/entries").text
    waiting = read_entry(mia.get(address))
    assert waiting["actions"] == ["accept", "refuse"]
    refused = read_entry(mia.take(waiting, "refuse", reason="<b>which</b> one?"))
    assert refused["state"] == "refused"
    assert "&lt;b&gt;which&lt;/b&gt; one?" in anna.show(address).text
    again = read_entry(anna.take(refused, "submit", values={"mag": "0.04", "note": "the one"}))
    accepted = read_entry(mia.take(again, "accept"))
    assert (accepted["state"], accepted["version"]) == ("accepted", 1)
    assert query_stars(client, "name, mag, grade, seen", name) == [[name, "0.04", "A", "2026-11-20T21:00:00"]]
    steps = [(step["by"], step["action"], step["reason"]) for step in accepted["steps"]]
    assert steps == [
        ("anna", "save", ""), ("anna", "submit", "for you"), ("mia", "refuse", "<b>which</b> one?"),
        ("anna", "save", ""), ("anna", "submit", ""), ("mia", "accept", ""),
    ]  # fmt: skip
    assert all(step["at"].endswith("Z") for step in accepted["steps"])


def test_a_correction_is_a_new_version_and_can_be_withdrawn(client: Client, people: dict[str, Person]) -> None:
    name = make_name()
    first = accept(people, {**STAR, "name": name, "secret": "s"})
    row = json.loads(first["row"])
    assert "279.23" in people["bob"].show(f"/entries/bad.stars/new?row=%5B{row[0]}%5D").text
    second = people["bob"].submit({"mag": 5}, row=row)
    assert (second["base"]["mag"], second["values"]["mag"], second["row"]) == (0.03, 5, first["row"])
    assert "secret" not in second["base"], "bob does not see this column"
    assert query_stars(client, "mag", name) == [["0.03"]], "the accepted version stays until the next one is accepted"
    assert "<del>0.03</del>" in people["mia"].show(path_of(second)).text
    second = read_entry(people["mia"].take(second, "accept"))
    assert (second["version"], query_stars(client, "mag, grade", name)) == (2, [["5", "A"]])
    versions = read_entry(people["mia"].get(f"/entries/bad.stars?row=%5B{row[0]}%5D"))["entries"]
    assert [entry["version"] for entry in versions] == [2, 1]
    late = people["anna"].take(first, "withdraw", reason="late")
    expected_words = f"a later version of the row is in the table: entry {second['number']}"
    assert (late.status, expected_words in late.text) == (412, True), late.text
    third = people["anna"].submit({"mag": 0.03}, row=row)
    third = read_entry(people["mia"].take(third, "accept"))
    assert people["anna"].take(first, "withdraw", reason="late").status == 412, "equal values are another version"
    read_entry(people["anna"].take(third, "withdraw", reason="not so"))
    assert query_stars(client, "mag", name) == [["5"]]
    assert people["bob"].take(second, "withdraw").status == 400, "without a reason"
    assert read_entry(people["bob"].take(second, "withdraw", reason="wrong star"))["state"] == "withdrawn"
    assert query_stars(client, "mag", name) == [["0.03"]], "the values before come back"
    assert read_entry(people["anna"].take(first, "withdraw", reason="wrong, too"))["state"] == "withdrawn"
    assert query_stars(client, "mag", name) == []


def test_a_killed_submission_is_completed_by_its_repetition(
    people: dict[str, Person], monkeypatch: pytest.MonkeyPatch
) -> None:
    anna, document = people["anna"], {"action": "submit", "values": {"name": make_name()}}

    def fail(*_: object) -> None:
        raise StorageError("the disk is full", remedy="free some space")

    with monkeypatch.context() as patch:
        patch.setattr(entry_workflow.EntryWorkflow, "take_step", fail)
        assert anna.send("/entries/bad.stars", document, **{"idempotency-key": "killed"}).status == 503
    for _ in range(2):
        entry = read_entry(anna.send("/entries/bad.stars", document, **{"idempotency-key": "killed"}))
        assert entry["state"] == "submitted"


def test_blocking_warnings_are_checked_again_at_the_acceptance(
    people: dict[str, Person], monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = people["anna"].submit({"name": make_name(), "mag": 13})
    with monkeypatch.context() as patch:
        patch.setattr(entry_keys.EntryRules, "are_warnings_blocking", True)
        answer = people["mia"].take(entry, "accept")
    assert (answer.status, "the star is faint" in answer.text) == (400, True), answer.text
    assert read_entry(people["mia"].take(entry, "accept"))["state"] == "accepted"


def test_the_decision_on_an_old_entry_is_news(people: dict[str, Person], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(entry_store, "LIST_PAGE_ENTRIES", 2)
    old, *_ = [people["bob"].submit({"name": make_name()}) for _ in range(3)]
    read_entry(people["mia"].take(old, "refuse", reason="which star?"))
    assert f"/{old['number']}<" in people["bob"].get("/entries/bad.stars/feed.atom").text.replace('"', "<")


def test_two_corrections_of_one_row(client: Client, people: dict[str, Person]) -> None:
    name = make_name()
    row = json.loads(accept(people, {**STAR, "name": name})["row"])
    one = people["anna"].submit({"mag": 1}, row=row)
    other = people["bob"].submit({"mag": 2}, row=row)
    read_entry(people["mia"].take(one, "accept"))
    late = people["mia"].take(other, "accept")
    assert (late.status, query_stars(client, "mag", name)) == (412, [["1"]])
    assert "the row has changed since this entry was begun" in late.text
    assert read_entry(people["bob"].get(path_of(other)))["state"] == "submitted"


def test_two_curators_at_once(client: Client, people: dict[str, Person]) -> None:
    name = make_name()
    entry = people["anna"].submit({**STAR, "name": name})
    read_entry(people["mia"].take(entry, "accept"))
    assert people["max"].take(entry, "refuse", reason="no").status == 412
    assert people["max"].take(entry, "accept").status == 412
    assert query_stars(client, "name", name) == [[name]]


def test_two_curators_in_one_moment(site: Site, client: Client, people: dict[str, Person], monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    """Another curator refuses the entry while the row of this one is being published: the row is not published."""
    name = make_name()
    entry = people["anna"].submit({**STAR, "name": name})
    execute = entry_workflow.client_writes.execute_client_write

    def refuse_first(*given: Any) -> Any:
        monkeypatch.undo()
        read_entry(people["max"].take(entry, "refuse", reason="no"))
        return execute(*given)

    monkeypatch.setattr(entry_workflow.client_writes, "execute_client_write", refuse_first)
    pushes = len(site.store.get_or_create(ClientPushStore).list_pushes("bad.stars"))
    assert people["mia"].take(entry, "accept").status == 412
    assert query_stars(client, "name", name) == []
    assert len(site.store.get_or_create(ClientPushStore).list_pushes("bad.stars")) == pushes
    assert read_entry(people["anna"].get(path_of(entry)))["state"] == "refused"


def test_a_form_sent_twice(client: Client, people: dict[str, Person]) -> None:
    anna, mia, name = people["anna"], people["mia"], make_name()
    fields = {"value.name": name, "value.mag": "1", "action": "submit", "token": name}
    both = [anna.post_form("/entries/bad.stars", fields) for _ in range(2)]
    assert [answer.status for answer in both] == [303, 303]
    assert both[0].headers["location"] == both[1].headers["location"]
    entry = read_entry(anna.get(both[0].headers["location"].removeprefix("http://vo.example")))
    other = anna.send("/entries/bad.stars", {"values": {"name": name}}, **{"idempotency-key": name})
    assert (other.status, read_entry(other)["number"]) == (200, entry["number"])
    for _ in range(2):
        assert read_entry(mia.take(entry, "accept"))["state"] == "accepted"
    assert query_stars(client, "name", name) == [[name]]
    assert mia.take(entry, "accept", reason="another request").status == 412


def test_equal_rows_are_two_entries(client: Client, people: dict[str, Person]) -> None:
    name = make_name()
    for _ in range(2):
        accept(people, {"name": name})
    assert query_stars(client, "name", name) == [[name], [name]]


@pytest.mark.parametrize(
    ("values", "fault"),
    [
        ({"mag": "bright"}, "write a number"),
        ({"mag": [1]}, "write one value"),
        ({"mag": "inf"}, "write a finite number"),
        ({"ra": 361}, "write a number that is at most 360"),
        ({"ra": "-1"}, "write a number that is at least 0"),
        ({"grade": "C"}, "choose one of A, B"),
        ({"binary": "perhaps"}, "write true or false"),
        ({"seen": "yesterday"}, "write a time such as"),
        ({"note": "x" * 10_001}, "write at most 10,000 characters"),
        ({"note": "\0"}, "zero byte"),
        ({"name": " "}, "a value is required"),
        ({"grade": "A", "note": "bad"}, "a good star is not bad"),
        ({"mags": "1, x"}, "write a number"),
        ({"mags": "1,,2, "}, "write numbers with commas between them"),
        ({"mags": [1, None]}, "write numbers with commas between them"),
        ({"mags": [[1]]}, "write one value"),
        ({"mags": ["nan"]}, "write a finite number"),
        ({"mags": [1] * 1_001}, "write at most 1,000 numbers"),
        ({"place": "1"}, "write 2 numbers"),
        ({"place": "[1, 2, 3]"}, "write 2 numbers"),
        ({"counts": "1.5"}, "write a whole number"),
        ({"id": 7}, "you cannot enter a value for 'id'"),
        ({"nmae": 7}, "name"),
    ],
)
def test_values_that_are_refused(people: dict[str, Person], values: dict[str, Any], fault: str) -> None:
    answer = people["anna"].send("/entries/bad.stars", {"values": {"name": "x", **values}, "action": "submit"})
    assert answer.status == 400, answer.text
    assert fault in answer.text


def test_lists_of_numbers(client: Client, people: dict[str, Person]) -> None:
    name = make_name()
    form = {"value.name": name, "value.mags": "1.5, 2.25;3", "value.place": "[4 5]", "action": "submit", "token": name}
    sent = people["anna"].post_form("/entries/bad.stars", form)
    address = sent.headers["location"].removeprefix("http://vo.example")
    entry = read_entry(people["mia"].get(address))
    assert (entry["values"]["mags"], entry["values"]["place"]) == ([1.5, 2.25, 3.0], [4.0, 5.0])
    accepted = read_entry(people["mia"].take(entry, "accept"))
    row = json.loads(accepted["row"])
    document = json.loads(people["mia"].get(f"/push/bad.stars/{row[0]}").body)
    assert (document["mags"], document["place"], document["counts"]) == ([1.5, 2.25, 3.0], [4.0, 5.0], None)
    page = people["bob"].show(f"/entries/bad.stars/new?row=%5B{row[0]}%5D").text
    assert 'value="1.5, 2.25, 3"' in page
    correction = people["bob"].submit({"counts": [1, 2], "mags": "0.1"}, row=row)
    read_entry(people["mia"].take(correction, "accept"))
    document = json.loads(people["mia"].get(f"/push/bad.stars/{row[0]}").body)
    assert (document["mags"], document["place"], document["counts"]) == ([pytest.approx(0.1)], [4.0, 5.0], [1, 2])
    shown = read_entry(people["bob"].get(path_of(correction)))
    assert (shown["values"]["mags"], shown["base"]["mags"]) == ([0.1], [1.5, 2.25, 3.0])
    assert "<del>1.5, 2.25, 3</del>" in people["bob"].show(path_of(correction)).text


def test_what_was_entered_is_shown_again(people: dict[str, Person]) -> None:
    fields = {"value.name": "<script>", "value.mag": "bright", "action": "submit"}
    page = people["anna"].post_form("/entries/bad.stars", fields, **{"accept-language": "fr"})
    assert page.status == 400
    for text in ('value="bright"', "&lt;script&gt;", "écrivez un nombre", 'aria-invalid="true"', "Étoile"):
        assert text in page.text, text
    assert "<script>" not in re.sub(r"<script (type|src).*", "", page.text)


def test_a_draft_that_breaks_a_rule_is_kept(people: dict[str, Person]) -> None:
    draft = read_entry(people["anna"].send("/entries/bad.stars", {"values": {"name": make_name()}}), 201)
    refused = people["anna"].take(draft, "submit", values={"grade": "A", "note": "bad"})
    document = json.loads(refused.body)
    assert (refused.status, document["findings"]) == (400, ["a good star is not bad"])
    kept = read_entry(people["anna"].get(path_of(draft)))
    assert (kept["state"], kept["values"]["note"]) == ("draft", "bad")


def test_warnings_are_shown_to_both(people: dict[str, Person]) -> None:
    entry = people["anna"].submit({"name": make_name(), "mag": 13})
    assert entry["warnings"] == ["the star is faint"]
    assert "the star is faint" in people["mia"].show(path_of(entry)).text
    french = people["mia"].get(path_of(entry), accept="text/html", **{"accept-language": "fr"}).text
    assert "l&#39;étoile est faible" in french


def test_warnings_block_if_the_descriptor_says_so(site: Site, people: dict[str, Person]) -> None:
    descriptor = site.settings.collections_directory / "bad" / "bad.yaml"
    text = descriptor.read_text()
    descriptor.write_text(text.replace("submitters: [anna, bob]", "submitters: [anna, bob], warnings: block"))
    site.refresh_published_state()
    try:
        answer = people["anna"].send("/entries/bad.stars", {"values": {"name": "x", "mag": 13}, "action": "submit"})
    finally:
        descriptor.write_text(text)
        site.refresh_published_state()
    assert (answer.status, json.loads(answer.body)["findings"]) == (400, ["the star is faint"])


def test_a_position_is_found_by_name(people: dict[str, Person], monkeypatch: pytest.MonkeyPatch) -> None:
    anna = people["anna"]
    monkeypatch.setattr(entry_pages, "can_resolve_names", lambda _: True)
    monkeypatch.setattr(entry_pages, "resolve_object_position", lambda *_, **__: (279.234735, 38.783689))
    name = make_name()
    draft = read_entry(anna.send("/entries/bad.stars", {"values": {"name": name}}), 201)
    for path, more in (("/entries/bad.stars", {}), (path_of(draft), {"etag": draft["etag"]})):
        assert 'value="resolve"' in anna.show(path if more else f"{path}/new").text
        page = anna.post_form(path, {"value.name": "Vega", "value.mag": "1", "action": "resolve", **more})
        assert page.status == 200
        for text in ('value="279.234735"', 'value="38.783689"', 'value="Vega"', 'value="1"'):
            assert text in page.text, text
    assert read_entry(anna.get(path_of(draft)))["values"] == {"name": name}, "nothing is stored"

    def find_nothing(*_: object, **__: object) -> None:
        raise UnresolvedNameError("nobody knows <Vega>")

    monkeypatch.setattr(entry_pages, "resolve_object_position", find_nothing)
    page = anna.post_form("/entries/bad.stars", {"value.name": "Vega", "action": "resolve"})
    assert (page.status, "nobody knows &lt;Vega&gt;" in page.text, 'value="Vega"' in page.text) == (404, True, True)


def test_the_state_is_also_read_from_if_match(people: dict[str, Person]) -> None:
    entry = people["anna"].submit({"name": make_name()})
    etag = people["mia"].get(path_of(entry)).headers["etag"]
    taken = people["mia"].send(path_of(entry), {"action": "refuse", "reason": "no"}, **{"if-match": etag})
    assert read_entry(taken)["state"] == "refused"
    assert taken.headers["etag"] != etag
    late = people["anna"].send(path_of(entry), {"action": "withdraw"}, **{"if-match": etag})
    assert late.status == 412


def test_a_form_keeps_what_was_entered_when_a_step_fails(people: dict[str, Person]) -> None:
    anna, name = people["anna"], make_name()
    new_form = {"value.name": name, "value.mag": "bright", "reason": "my <long> note", "action": "submit"}
    refused = anna.post_form("/entries/bad.stars", new_form)
    assert (refused.status, "my &lt;long&gt; note</textarea>" in refused.text) == (400, True), refused.text
    entry = read_entry(anna.send("/entries/bad.stars", {"values": {"name": name, "note": "first"}}), 201)
    read_entry(anna.take(entry, "save", values={"note": "in another tab"}))
    late_form = {"value.name": name, "value.note": "in this tab", "etag": entry["etag"], "action": "save"}
    late = anna.post_form(path_of(entry), {**late_form, "reason": "my note"})
    assert late.status == 412
    for words in ("in this tab", "in the entry now: in another tab", "my note</textarea>"):
        assert words in late.text, words
    current = read_entry(anna.get(path_of(entry)))
    assert current["values"]["note"] == "in another tab"
    assert f'name="etag" value="{current["etag"]}"' in late.text, "the next step is based on what the page shows"
    read_entry(anna.take(current, "submit"))
    read_entry(people["mia"].take(read_entry(anna.get(path_of(entry))), "accept"))
    closed = anna.post_form(path_of(entry), late_form)
    assert closed.status == 412
    assert "in another tab" in closed.text, "the page of an accepted entry shows its values alone"
    assert "in this tab" not in closed.text


def test_entries_outlive_a_column(tmp_path: Path) -> None:
    with open_entry_site(tmp_path) as (site, client, people):
        anna, mia = people["anna"], people["mia"]
        waiting = anna.submit({"name": "two", "binary": True})
        descriptor = site.settings.collections_directory / "bad" / "bad.yaml"
        text = descriptor.read_text()
        descriptor.write_text(
            re.sub(r"^      binary: .*\n", "", text.replace("binary: bool, ", ""), flags=re.MULTILINE)
        )
        ingest_collection(site, "bad")
        late = mia.take(waiting, "accept")
        assert (late.status, "no longer has columns of the entry: binary" in late.text) == (409, True), late.text
        refused = read_entry(mia.take(waiting, "refuse", reason="binaries are elsewhere"))
        again = read_entry(anna.take(refused, "submit", values={"name": "two"}))
        read_entry(mia.take(again, "accept"))
        assert query_stars(client, "mag", "two") == [[""]]


def test_steps_that_are_not_possible(people: dict[str, Person]) -> None:
    anna, mia = people["anna"], people["mia"]
    entry = anna.submit({"name": make_name()})
    assert anna.take(entry, "accept").status == 409, "an author does not decide"
    assert anna.take(entry, "delete").status == 409
    assert mia.take(entry, "save", values={"name": "mine"}).status == 409
    assert mia.take(entry, "refuse").status == 400, "a reason is needed"
    assert mia.take(entry, "refuse", reason="x" * 4_001).status == 400
    assert mia.send(path_of(entry), {"action": "accept"}).status == 412, "no state was given"
    assert mia.send("/entries/bad.stars", {"values": {"name": "x"}, "action": "accept"}).status == 409
    assert read_entry(anna.take(entry, "withdraw"))["state"] == "withdrawn"
    assert read_entry(anna.get(path_of(entry)))["actions"] == []


def test_requests_that_are_no_entries(people: dict[str, Person]) -> None:
    anna = people["anna"]
    for body, status in ((b"{", 400), (b"[]", 400), (b'{"values": 1}', 400), (b'{"values": {}}' + b" " * 300_000, 413)):
        assert anna.send("/entries/bad.stars", body).status == status, body[:20]
    assert anna.post_form("/entries/bad.stars", {"value.note": "x" * 10_000_000}).status == 413
    assert anna.get("/entries/bad.stars/new?row=nonsense").status == 404
    assert anna.get("/entries/bad.stars/new?row=%5B999999%5D").status == 404
    for number in (999_999_999, 2**63 - 1, 2**63, 10**30):
        assert anna.get(f"/entries/bad.stars/{number}").status == 404
    assert anna.get("/entries/others.fixed").status == 404, "this table takes no entries"


def test_open_entries_have_a_limit(people: dict[str, Person], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(entry_store, "MAX_OPEN_ENTRIES", 0)
    answer = people["bob"].send("/entries/bad.stars", {"values": {"name": "x"}})
    assert (answer.status, "limit" in answer.text) == (429, True)


def test_a_failure_while_publishing_loses_nothing(site: Site, client: Client, people: dict[str, Person], monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    """The process fails in the transaction that publishes the row: neither the row nor the state changes."""
    name = make_name()
    entry = people["anna"].submit({**STAR, "name": name})

    def fail(*_: object) -> None:
        raise StorageError("the disk is full")

    monkeypatch.setattr(entry_workflow, "write_step_and_notify", fail)
    assert people["mia"].take(entry, "accept").status == 503
    monkeypatch.undo()
    site.refresh_published_state()
    assert (query_stars(client, "name", name), read_entry(people["anna"].get(path_of(entry)))["state"]) == ([], "submitted")  # fmt: skip
    assert read_entry(people["mia"].take(entry, "accept"))["state"] == "accepted"
    assert query_stars(client, "name", name) == [[name]]


def test_rows_of_programs_can_be_corrected(client: Client, people: dict[str, Person]) -> None:
    name = make_name()
    pushed = people["mia"].send("/push/bad.stars", {"name": name, "mag": 3.5})
    row = json.loads(pushed.body)["ids"]
    entry = people["anna"].submit({"mag": 4}, row=row)
    assert read_entry(people["max"].take(entry, "accept"))["version"] == 1
    assert query_stars(client, "mag", name) == [["4"]]


def test_the_removal_of_an_account(site: Site, people: dict[str, Person]) -> None:
    store = site.store.get_or_create(EntryStore)
    entry = read_entry(people["bob"].send("/entries/bad.stars", {"values": {"name": make_name()}}), 201)
    submitted = people["bob"].submit({"name": make_name()})
    store.remove_author_data("bob")
    assert store.find_entry("bad.stars", entry["number"]) is None
    kept = store.find_entry("bad.stars", submitted["number"])
    assert kept is not None
    assert (kept.author, kept.state) == ("", "submitted")
    assert {step.by for step in store.list_steps(submitted["number"])} == {""}
