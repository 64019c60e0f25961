"""Who sees, enters and decides what: nobody learns of tables, rows and entries that they may not see."""

from __future__ import annotations

import itertools
import json
import re
from typing import Any

import pytest
from entry_site import Person, make_name, path_of, read_entry
from lxml import etree

NUMBERS = itertools.count(10)  # keys of rows; those of 100 and more are hidden


def test_who_may_do_what(people: dict[str, Person]) -> None:
    entry = people["anna"].submit({"name": make_name()})
    draft = read_entry(people["anna"].send("/entries/bad.stars", {"values": {"name": make_name()}}), 201)
    expected = {
        # path, and the status for: anna (author), bob, mia (moderator), eve, nobody
        "/entries": [200, 200, 200, 200, 401],
        "/entries/bad.stars": [200, 200, 200, 403, 401],
        "/entries/bad.stars/new": [200, 200, 200, 403, 401],
        "/entries/bad.stars/feed.atom": [200, 200, 200, 403, 401],
        "/entries/bad.stars/feed.rss": [200, 200, 200, 403, 401],
        path_of(entry): [200, 404, 200, 404, 404],
        path_of(draft): [200, 404, 404, 404, 404],
        "/entries/others.hidden": [404, 404, 404, 404, 404],
        "/entries/others.hidden/new": [404, 404, 404, 404, 404],
        "/entries/others.nothing": [404, 404, 404, 404, 404],
    }
    names = ("anna", "bob", "mia", "eve", "")
    statuses = {path: [people[name].get(path).status for name in names] for path in expected}
    assert statuses == expected
    hidden, missing = (people["eve"].get(f"/entries/others.{name}").text for name in ("hidden", "nothing"))
    shown = [re.sub(r"request [0-9a-f]+|hidden|nothing", "", text) for text in (hidden, missing)]
    assert shown[0] == shown[1], "a table that the user may not see is as one that does not exist"


def test_who_may_change_what(people: dict[str, Person]) -> None:
    entry = people["anna"].submit({"name": make_name()})
    values = {"values": {"name": "x"}}
    statuses = {name: people[name].send("/entries/bad.stars", values).status for name in ("bob", "mia", "eve", "")}
    assert statuses == {"bob": 201, "mia": 201, "eve": 403, "": 401}
    for name, status in (("bob", 404), ("eve", 404), ("", 404), ("anna", 409)):
        assert people[name].take(entry, "accept").status == status, name
    assert people["anna"].send("/entries/others.hidden", values).status == 404
    for path in ("/entries/bad.stars", path_of(entry)):
        evil = people["mia"].send(path, {"action": "accept", "etag": entry["etag"]}, origin="https://evil.example")
        assert evil.status in {401, 403}, "a page of another site sends nothing"
    assert read_entry(people["anna"].get(path_of(entry)))["state"] == "submitted"


# the steps that each person may take in each state; nobody else learns that the entry exists
AUTHOR_STEPS = {
    "draft": {"save", "submit", "withdraw"},
    "submitted": {"save", "withdraw"},
    "accepted": {"withdraw"},
    "refused": {"save", "submit", "withdraw"},
    "withdrawn": set(),
}
MODERATOR_STEPS = {"submitted": {"accept", "refuse"}, "accepted": {"withdraw"}, "refused": set(), "withdrawn": set()}
STEPS = ("save", "submit", "accept", "refuse", "withdraw")


def make_entry(people: dict[str, Person], table: str, state: str) -> dict[str, Any]:
    """Make an entry of anna in a state."""
    values = {"name": make_name()} if table == "bad.stars" else {"id": next(NUMBERS), "name": make_name()}
    address, reason = f"/entries/{table}", "because"
    if state == "draft":
        return read_entry(people["anna"].send(address, {"values": values}), 201)
    entry = people["anna"].submit(values, table, reason=reason)
    for step in {"accepted": ("accept",), "refused": ("refuse",), "withdrawn": ("accept", "withdraw")}.get(state, ()):
        entry = read_entry(people["mia"].take(entry, step, reason=reason))
    assert entry["state"] == state
    return entry


@pytest.mark.parametrize("table", ["bad.stars", "others.told"], ids=["accounts", "groups"])
@pytest.mark.parametrize("state", list(AUTHOR_STEPS))
def test_who_may_take_which_step(people: dict[str, Person], table: str, state: str) -> None:
    """Each step in each state, by the author, another submitter, a moderator and others: what is refused changes nothing."""
    entry = make_entry(people, table, state)
    allowed_steps = {"anna": AUTHOR_STEPS[state], "mia": MODERATOR_STEPS.get(state)}
    for name in ("anna", "bob", "mia", "eve", ""):
        steps = allowed_steps.get(name)
        assert people[name].get(path_of(entry)).status == (404 if steps is None else 200), name
        if steps is not None:
            assert set(read_entry(people[name].get(path_of(entry)))["actions"]) == steps, name
        for step in STEPS:
            if steps is None or step not in steps:
                answer = people[name].take(entry, step, reason="because")
                assert answer.status == (404 if steps is None else 409), (name, step, answer.text)
    stored = read_entry(people["anna"].get(path_of(entry)))
    assert (stored["state"], stored["etag"]) == (state, entry["etag"])
    for name, steps in allowed_steps.items():
        for step in sorted(steps or ()):
            answer = people[name].take(make_entry(people, table, state), step, reason="because")
            assert answer.status == 200, (name, step, answer.text)


def test_lists_have_what_the_user_may_see(people: dict[str, Person]) -> None:
    own, other = make_name(), make_name()
    people["anna"].submit({"name": own})
    people["bob"].submit({"name": other})
    for path in ("/entries", "/entries/bad.stars", "/entries/bad.stars/feed.atom", "/entries/bad.stars/feed.rss"):
        assert own in people["anna"].get(path).text
        assert other not in people["anna"].get(path).text
        assert {own, other} <= {word for word in (own, other) if word in people["mia"].get(path).text}
    overview = json.loads(people["eve"].get("/entries").body)
    expected = {"tables": ["others.shots"], "waiting": [], "entries": [], "more": "", "more_waiting": ""}
    assert overview == expected, "this table takes entries of all"


def test_columns_that_an_author_does_not_see(people: dict[str, Person]) -> None:
    """A user enters such a value in a new row, but neither reads nor changes it in a row that exists."""
    entry = people["anna"].submit({"name": make_name(), "secret": "zqsecret"})
    row = json.loads(read_entry(people["mia"].take(entry, "accept"))["row"])
    address = f"/entries/bad.stars/new?row=%5B{row[0]}%5D"
    assert "zqsecret" not in people["bob"].get(address).text + people["bob"].show(address).text
    assert "zqsecret" in people["mia"].show(address).text
    refused = people["bob"].send("/entries/bad.stars", {"values": {"secret": "x"}, "row": row})
    assert refused.status == 403
    correction = people["bob"].submit({"mag": 1}, row=row)
    assert "zqsecret" not in people["bob"].get(path_of(correction)).text
    read_entry(people["mia"].take(correction, "accept"))
    pushed = people["mia"].get(f"/push/bad.stars/{row[0]}")
    assert json.loads(pushed.body)["secret"] == "zqsecret", "the value stays"


def test_columns_that_reveal_files(people: dict[str, Person]) -> None:
    pushed = people["mia"].send("/push/others.shots", {"access_url": "https://example.org/zqfile", "n": 1})
    row = json.loads(pushed.body)["ids"]
    assert "zqfile" not in people["eve"].show(f"/entries/others.shots/new?row=%5B{row[0]}%5D").text
    correction = people["eve"].submit({"n": 2}, "others.shots", row=row)
    assert "zqfile" not in people["eve"].get(path_of(correction)).text
    read_entry(people["mia"].take(correction, "accept"))
    document = json.loads(people["mia"].get(f"/push/others.shots/{row[0]}").body)
    assert (document["n"], document["access_url"]) == (2, "https://example.org/zqfile")


def test_links_are_for_those_who_can_follow_them(people: dict[str, Person]) -> None:
    pages = {name: people[name].show("/collections/bad/stars").text for name in ("anna", "eve", "")}
    assert {name: "/entries/bad.stars/new" in page for name, page in pages.items()} == {"anna": True, "eve": False, "": False}  # fmt: skip
    assert {name: 'href="http://vo.example/entries"' in page for name, page in pages.items()} == {"anna": True, "eve": True, "": False}  # fmt: skip
    assert all("/comments/bad.stars" in page for page in pages.values())


def test_each_step_is_news_in_the_feed(people: dict[str, Person]) -> None:
    atom = "{http://www.w3.org/2005/Atom}"
    name = make_name()
    entry = people["anna"].submit({"name": name})

    def list_news(person: str) -> list[tuple[str, str]]:
        feed = people[person].get("/entries/bad.stars/feed.atom")
        assert feed.headers["cache-control"].startswith("private")
        news = [
            item for item in etree.fromstring(feed.body).iter(f"{atom}entry") if item.findtext(f"{atom}content") == name
        ]
        return [(str(item.findtext(f"{atom}title")), str(item.findtext(f"{atom}id"))) for item in news]

    (first,) = list_news("mia")
    assert first[0] == f"Stars {entry['number']}: submitted"
    read_entry(people["mia"].take(entry, "refuse", reason="which one?"))
    (second,) = list_news("anna")
    assert (second[0], second[1] != first[1]) == (f"Stars {entry['number']}: refused", True)
    assert list_news("bob") == []
