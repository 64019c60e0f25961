"""Comments on rows and reports of errors: written, decided, shown, fed; to those who see the row."""

from __future__ import annotations

import html
import json
from email.utils import parsedate_to_datetime
from typing import Any

import pytest
from asgi_client import Answer
from entry_site import Person, make_name, read_entry
from lxml import etree

from hven.plugins.entries import comment_pages, comment_store
from hven.plugins.entries.comment_store import CommentStore
from hven.site import Site

ATOM = "{http://www.w3.org/2005/Atom}"


@pytest.fixture
def row(people: dict[str, Person]) -> list[int]:
    pushed = people["mia"].send("/push/bad.stars", {"name": make_name(), "mag": 3.5})
    ids: list[int] = json.loads(pushed.body)["ids"]
    return ids


def write(person: Person, row: list[int], text: str, table: str = "bad.stars", **more: str) -> Answer:
    return person.send(f"/comments/{table}", {"row": row, "text": text, **more})


def decide(person: Person, comment: dict[str, Any], action: str, reason: str = "", table: str = "bad.stars") -> Answer:
    return person.send(f"/comments/{table}", {"number": comment["number"], "action": action, "reason": reason})


def list_shown(person: Person, row: list[int], table: str = "bad.stars") -> list[str]:
    page = read_entry(person.get(f"/comments/{table}?row=%5B{row[0]}%5D"))
    return [comment["text"] for comment in page["comments"]]


def test_a_comment_is_shown_when_a_moderator_accepts_it(people: dict[str, Person], row: list[int]) -> None:
    text = '<script>alert(1)</script>\nSee <a href="javascript:x">'
    comment = read_entry(write(people["anna"], row, text), 201)
    assert (comment["state"], comment["actions"]) == ("submitted", ["withdraw"])
    assert list_shown(people[""], row) == []
    assert text in [one["text"] for one in read_entry(people["mia"].get("/comments/bad.stars"))["waiting"]]
    assert decide(people["bob"], comment, "accept").status == 404
    assert decide(people["anna"], comment, "accept").status == 409
    assert read_entry(decide(people["mia"], comment, "accept"))["state"] == "accepted"
    assert list_shown(people[""], row) == [text]
    for path in (f"/comments/bad.stars?row=%5B{row[0]}%5D", f"/collections/bad/stars?_row=%5B{row[0]}%5D"):
        page = people[""].show(path).text
        assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page, path
        assert "<script>alert" not in page
        assert 'href="javascript' not in page
    feed = people[""].get("/comments/bad.stars/feed.atom")
    assert feed.headers["content-type"] == "application/atom+xml; charset=utf-8"
    root = etree.fromstring(feed.body)
    assert text in [entry.findtext(f"{ATOM}content") for entry in root.iter(f"{ATOM}entry")]
    assert len({entry.findtext(f"{ATOM}id") for entry in root.iter(f"{ATOM}entry")}) == len(root.findall(f"{ATOM}entry"))  # fmt: skip
    assert people[""].get("/comments/bad.stars/feed.atom", **{"if-none-match": feed.headers["etag"]}).status == 304
    assert read_entry(decide(people["anna"], comment, "withdraw"))["state"] == "withdrawn"
    assert list_shown(people[""], row) == []
    assert text not in people[""].get("/comments/bad.stars/feed.atom").text


def test_a_report_leads_to_its_value(people: dict[str, Person], row: list[int]) -> None:
    report = read_entry(write(people["bob"], row, "too bright", kind="report", column="mag"), 201)
    assert report["row_url"] == f"http://vo.example/collections/bad/stars?_row=%5B{row[0]}%5D&_cols=mag"
    assert report["value"] == "3.5"
    page = people["mia"].show("/comments/bad.stars").text
    assert "<code>mag</code> = <code>3.5</code>" in page
    assert decide(people["mia"], report, "settle").status == 400, "the author learns why"
    settled = read_entry(decide(people["mia"], report, "settle", "corrected, thank you"))
    assert (settled["state"], settled["by"]) == ("settled", "mia")
    assert "corrected, thank you" in people["bob"].get(f"/comments/bad.stars?row=%5B{row[0]}%5D").text
    assert list_shown(people[""], row) == [], "only a moderator shows a report"


@pytest.mark.parametrize(
    ("column", "value"), [("mag", "7.4"), ("seen", "1899-12-31T12:00:00"), ("name", "1.50"), ("note", "")]
)
def test_a_report_keeps_the_value_as_readers_see_it(people: dict[str, Person], column: str, value: str) -> None:
    star = {"name": "1.50", "mag": 7.4, "seen": "1899-12-31T12:00:00"}
    row = json.loads(people["mia"].send("/push/bad.stars", star).body)["ids"]
    report = read_entry(write(people["bob"], row, "wrong", kind="report", column=column), 201)
    assert report["value"] == value


def test_a_report_reveals_no_value_that_the_row_hides(people: dict[str, Person]) -> None:
    """The author sees the address of a file; neither readers nor a moderator without this right do."""
    pushed = people["mia"].send("/push/others.shots", {"access_url": "https://example.org/zqsecret", "n": 7})
    row = json.loads(pushed.body)["ids"]
    for column, value in (("access_url", "https://example.org/zqsecret"), ("n", "7")):
        report = write(people["mia"], row, f"wrong {column}", "others.shots", kind="report", column=column)
        comment = read_entry(report, 201)
        assert comment["value"] == value
        decided = read_entry(decide(people["max"], comment, "accept", table="others.shots"))
        assert decided["value"] == ("7" if column == "n" else None)
    pages = {name: people[name].get(f"/comments/others.shots?row=%5B{row[0]}%5D").text for name in ("mia", "max", "")}
    assert all("wrong access_url" in page for page in pages.values())
    assert {name: "zqsecret" in page for name, page in pages.items()} == {"mia": True, "max": False, "": False}
    for path in (
        "/comments/others.shots",
        "/comments/others.shots/feed.atom",
        f"/collections/others/shots?_row=%5B{row[0]}%5D",
    ):
        assert "zqsecret" not in people[""].show(path).text, path


def test_comments_on_hidden_rows_do_not_hide_others(
    site: Site, people: dict[str, Person], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The newest comments are on a row that readers do not see: the page and the feed go on to older ones."""
    for module in (comment_store, comment_pages):
        monkeypatch.setattr(module, "MAX_LISTED_COMMENTS", 2, raising=False)
    store = site.store.get_or_create(CommentStore)
    for row, count in (([1], 1), ([2], 5)):
        for number in range(count):
            written = read_entry(write(people["mia"], row, f"row {row[0]}, {number}", "others.fixed"), 201)
            comment = store.find_comment("others.fixed", written["number"])
            assert comment is not None
            store.decide_comment_and_notify(comment, "accepted", "max", "")
    for path in ("/comments/others.fixed", "/comments/others.fixed/feed.atom"):
        page = people["eve"].get(path).text
        assert ("row 1, 0" in page, "row 2" in page) == (True, False), path


def test_pages_lead_to_all_comments(people: dict[str, Person], monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (comment_store, comment_pages):
        monkeypatch.setattr(module, "MAX_LISTED_COMMENTS", 2, raising=False)
    pushed = people["mia"].send("/push/bad.stars", {"name": make_name()})
    row = json.loads(pushed.body)["ids"]
    texts = {f"comment {make_name()}" for _ in range(5)}
    written = [read_entry(write(people["bob"], row, text), 201) for text in sorted(texts)]
    first_address = f"/comments/bad.stars?row=%5B{row[0]}%5D"

    def collect(person: str, kind: str, more: str) -> set[str]:
        found: set[str] = set()
        address = first_address
        while address:
            page = read_entry(people[person].get(address))
            assert len(page[kind]) <= 2
            found |= {comment["text"] for comment in page[kind]}
            address = page[more].removeprefix("http://vo.example")
        return found

    assert collect("mia", "waiting", "more_waiting") == texts
    assert collect("bob", "own", "more_own") == texts
    for comment in written:
        read_entry(decide(people["mia"], comment, "accept"))
    assert collect("", "comments", "more") == texts
    assert "before=" in people[""].show(first_address).text


def test_a_message_leads_to_the_report(people: dict[str, Person], row: list[int]) -> None:
    """The path of the event names the report, not the row: it shows the row to those who see the report and the row."""
    report = read_entry(write(people["bob"], row, "too bright", kind="report", column="mag"), 201)
    path = f"/comments/bad.stars?comment={report['number']}"
    rows = {name: read_entry(people[name].get(path))["row"] for name in ("mia", "bob", "anna", "")}
    assert rows == {"mia": report["row"], "bob": report["row"], "anna": "", "": ""}
    assert f"_row=%5B{row[0]}%5D&amp;_cols=mag" in people["mia"].show(path).text
    people["mia"].send("/push/others.told", {"id": 151, "name": "hidden"})
    hidden = read_entry(write(people["mia"], [151], "a report", "others.told", kind="report", column="name"), 201)
    for number in (hidden["number"], 10**14, "x"):
        page = read_entry(people["max"].get(f"/comments/others.told?comment={number}"))
        assert page["row"] == "", "a moderator who does not see the row"
        assert hidden["number"] in [comment["number"] for comment in page["waiting"]]


def test_the_address_of_a_value_leads_to_its_report(people: dict[str, Person], row: list[int]) -> None:
    page = people["anna"].show(f"/comments/bad.stars?row=%5B{row[0]}%5D&column=mag").text
    assert '<option value="report" selected>' in page
    assert '<option value="mag" selected>' in page
    page = people["anna"].show(f"/comments/bad.stars?row=%5B{row[0]}%5D&column=secret").text
    assert " selected>" not in page, "only columns of the row"


def test_comments_of_clients_of_oidb(people: dict[str, Person], row: list[int]) -> None:
    """An alias leads `/oidb/comment` here: the comment waits for a moderator as all others do."""
    anna, xml = people["anna"], {"content-type": "application/xml", "accept": "application/xml"}
    document = f'<comment star-id="{row[0]}"><text>Which &lt;star&gt;?</text></comment>'.encode()
    comment = read_entry(anna.send("/comments/bad.stars", document, **xml), 201)
    assert (comment["state"], comment["text"], comment["row"]) == ("submitted", "Which <star>?", f"[{row[0]}]")
    assert list_shown(people[""], row) == []
    read_entry(decide(people["mia"], comment, "accept"))
    assert list_shown(people[""], row) == ["Which <star>?"]
    for wrong, status in (
        (document.replace(b"</comment>", b""), 400),
        (document.replace(str(row[0]).encode(), b"two"), 404),
        (document.replace(str(row[0]).encode(), b"999999"), 404),
        (b"<comment><text>x</text></comment>", 404),
        (b'<comments><comment star-id="1"><text>x</text></comment><comment star-id="2"><text>y</text></comment></comments>', 400),
        (b'<!DOCTYPE c [<!ENTITY e SYSTEM "file:///etc/passwd">]><comment star-id="%d"><text>&e;</text></comment>' % row[0], 404),
    ):  # fmt: skip
        answer = anna.send("/comments/bad.stars", wrong, **xml)
        assert (answer.status, "root:" in answer.text) == (status, False), (wrong, answer.text)
    assert people["eve"].send("/comments/bad.stars", document, **xml).status == 403
    assert people[""].send("/comments/bad.stars", document, **xml).status == 401


def test_works_are_found_in_comments(people: dict[str, Person], row: list[int]) -> None:
    text = "see 2016A&A...589A.112C, (10.1051/0004-6361/201424336); not 12016A&A...589A.112C or 2016A&A...589A.112Cx"
    comment = read_entry(write(people["anna"], row, text), 201)
    read_entry(decide(people["mia"], comment, "accept"))
    works = [
        ("bibcode", "2016A&A...589A.112C", "https://ui.adsabs.harvard.edu/abs/2016A%26A...589A.112C/abstract"),
        ("DOI", "10.1051/0004-6361/201424336", "https://doi.org/10.1051/0004-6361/201424336"),
    ]
    assert [(work["scheme"], work["id"], work["url"]) for work in comment["works"]] == works
    page = people[""].show(f"/comments/bad.stars?row=%5B{row[0]}%5D").text
    assert f'<a href="{works[0][2]}">2016A&amp;A...589A.112C</a>' in page
    root = etree.fromstring(people[""].get("/comments/bad.stars/feed.atom").body)
    related = [link.get("href") for link in root.iter(f"{ATOM}link") if link.get("rel") == "related"]
    assert set(related) >= {url for _, _, url in works}


def test_the_feed_as_rss(people: dict[str, Person], row: list[int]) -> None:
    text = "<b>bold</b> & \N{GREEK SMALL LETTER ALPHA}"
    comment = read_entry(write(people["anna"], row, text), 201)
    assert text not in people[""].get("/comments/bad.stars/feed.rss").text
    read_entry(decide(people["mia"], comment, "accept"))
    feed = people[""].get("/comments/bad.stars/feed.rss")
    assert feed.headers["content-type"] == "application/rss+xml; charset=utf-8"
    (channel,) = etree.fromstring(feed.body).findall("channel")
    item = next(item for item in channel.findall("item") if item.findtext("link") == comment["url"])
    assert html.unescape(str(item.findtext("description"))) == text, "readers of feeds take a description for HTML"
    assert item.findtext("{http://purl.org/dc/elements/1.1/}creator") == "anna"
    assert parsedate_to_datetime(str(item.findtext("pubDate"))).tzinfo is not None
    identifiers = [item.findtext("guid") for item in channel.findall("item")]
    assert len(set(identifiers)) == len(identifiers)
    assert people[""].get("/comments/bad.stars/feed.rss", **{"if-none-match": feed.headers["etag"]}).status == 304
    page = people[""].show("/comments/bad.stars").text
    assert "/comments/bad.stars/feed.rss" in page


def test_two_moderators_and_forms_that_come_twice(people: dict[str, Person], row: list[int]) -> None:
    comment = read_entry(write(people["anna"], row, "twice"), 201)
    assert read_entry(write(people["anna"], row, "twice"), 201)["number"] == comment["number"]
    assert read_entry(decide(people["mia"], comment, "refuse", "no"))["state"] == "refused"
    assert read_entry(decide(people["mia"], comment, "refuse", "no"))["state"] == "refused"
    assert decide(people["max"], comment, "refuse", "no").status == 409
    form = {"row": json.dumps(row), "text": "by form"}
    sent = people["anna"].post_form("/comments/bad.stars", form)
    assert (sent.status, sent.headers["location"]) == (303, f"http://vo.example/comments/bad.stars?row=%5B{row[0]}%5D")


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"text": " \n"}, 400),
        ({"text": "x" * 4_001}, 400),
        ({"text": "x" * 10_000_000}, 413),
        ({"text": "x", "kind": "rumour"}, 400),
        ({"text": "x", "kind": "report", "column": "secret"}, 400),
        ({"text": "x", "row": [999_999]}, 404),
        ({"text": "x", "row": "no"}, 404),
        ({"number": "1 OR 1", "action": "accept"}, 404),
    ],
)
def test_what_is_refused(people: dict[str, Person], row: list[int], fields: dict[str, Any], status: int) -> None:
    answer = people["anna"].send("/comments/bad.stars", {"row": row, **fields})
    assert answer.status == status, answer.text
    assert len(answer.text) < 1_000


def test_who_may_comment(people: dict[str, Person], row: list[int]) -> None:
    assert {name: write(people[name], row, "x").status for name in ("bob", "mia", "eve", "")} == {"bob": 201, "mia": 201, "eve": 403, "": 401}  # fmt: skip
    evil = people["anna"].send("/comments/bad.stars", {"row": row, "text": "x"}, origin="https://evil.example")
    assert evil.status in {401, 403}
    for name, is_shown in (("anna", True), ("eve", False), ("", False)):
        page = people[name].show(f"/comments/bad.stars?row=%5B{row[0]}%5D").text
        assert ('name="text"' in page) == is_shown, name


def test_comments_on_hidden_rows_are_hidden(site: Site, people: dict[str, Person]) -> None:
    """mia alone sees row 2: others learn neither of the row nor of the comment on it."""
    for number, text in ((1, "zqopen"), (2, "zqclosed")):
        assert write(people["mia"], [number], text, "others.fixed").status == 201
    store = site.store.get_or_create(CommentStore)
    for comment in store.list_comments("others.fixed", states=("submitted",)):
        store.decide_comment_and_notify(comment, "accepted", "olga", "")
    assert write(people["eve"], [2], "x", "others.fixed").status == 404
    for name, expected in (("mia", True), ("eve", False), ("", False)):
        paths = ("/comments/others.fixed", "/comments/others.fixed/feed.atom", "/comments/others.fixed/feed.rss")
        pages = [people[name].get(path).text for path in paths]
        assert ["zqopen" in page for page in pages] == [True] * 3
        assert ["zqclosed" in page for page in pages] == [expected] * 3, name
        assert people[name].get("/comments/others.fixed?row=%5B2%5D").status == (200 if expected else 404)
        assert ("zqclosed" in people[name].show("/collections/others/fixed?_row=%5B2%5D").text) == expected
    assert people[""].get("/comments/others.hidden").status == people[""].get("/comments/others.nothing").status == 404


def test_blind_referees_learn_no_names(site: Site, people: dict[str, Person], row: list[int]) -> None:
    comment = read_entry(write(people["bob"], row, "zqtext"), 201)
    read_entry(decide(people["mia"], comment, "accept"))
    _, secret = site.store.grants.add_grant(
        "referee", object="bad", actor="owner", with_secret=True, facts={"anonymous": True}
    )
    came = people[""].client.ask("GET", f"/referee/{secret}")
    referee = Person(people[""].client, site, "")
    referee.proof = {"cookie": came.headers["set-cookie"].partition(";")[0]}
    for path in (
        f"/comments/bad.stars?row=%5B{row[0]}%5D",
        "/comments/bad.stars/feed.atom",
        "/comments/bad.stars/feed.rss",
    ):
        page = referee.get(path).text
        assert "zqtext" in page
        assert "bob" not in page, path


def test_comments_are_rate_limited(people: dict[str, Person], row: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comment_store, "MAX_COMMENTS_PER_HOUR", 0)
    answer = write(people["anna"], row, "x")
    assert (answer.status, "comments an hour" in answer.text) == (429, True)


def test_the_removal_of_an_account(site: Site, people: dict[str, Person], row: list[int]) -> None:
    shown = read_entry(write(people["bob"], row, "kept"), 201)
    read_entry(decide(people["mia"], shown, "accept"))
    waiting = read_entry(write(people["bob"], row, "unread"), 201)
    store = site.store.get_or_create(CommentStore)
    store.remove_author_data("bob")
    assert store.find_comment("bad.stars", waiting["number"]) is None
    assert read_entry(people[""].get(f"/comments/bad.stars?row=%5B{row[0]}%5D"))["comments"][0]["author"] == ""
