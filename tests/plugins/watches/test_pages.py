"""The pages of watches, their feeds and streams, and what is refused in words."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from lxml import etree, html
from watch_site import STARS, Browser

from hven.app._server import create_and_start_application
from hven.model.settings import load_settings
from hven.plugins.watches import event_stream, watch_store
from hven.site.auth.local import create_personal_token
from shared import shared

if TYPE_CHECKING:
    from watch_site import WatchSite

ATOM = "{http://www.w3.org/2005/Atom}"
NEW_STARS = ((4, 10.2, 20.1, 8.0, "delta"), (5, 359.9, 0.0, 3.0, "<epsilon>"))


@pytest.fixture
def anna(site: WatchSite) -> Browser:
    return site.open_browser("anna")


def test_from_a_search_to_a_watch(site: WatchSite, anna: Browser) -> None:
    table_page = anna.show("/collections/stars/main?mag=..9")
    assert "/collections/stars/main/watch?mag=..9" in table_page.text
    form = anna.show("/collections/stars/main/watch?mag=..9")
    assert form.status == 200, form.text
    query = anna.read("/collections/stars/main/watch?mag=..9")["query"]
    assert "mag" in query
    answer = anna.post("/watches", {"QUERY": query, "TITLE": "bright", "CHANNEL": "mail"}, accept="text/html")
    assert answer.status == 303
    site.publish([*STARS, *NEW_STARS])
    site.match()
    listed = anna.show("/watches")
    assert "bright" in listed.text
    assert "2 new" in listed.text
    assert listed.headers["cache-control"] == "private, no-store"
    (document,) = anna.read("/watches")["watches"]
    page = anna.show(document["url"][document["url"].index("/watches/") :])
    assert "[4]" in page.text
    assert "Ne plus suivre" in anna.show("/watches?lang=fr").text


def test_from_a_row_to_a_watch(site: WatchSite, anna: Browser) -> None:
    assert anna.read("/collections/stars/main/watch?_row=[2]")["row"] == "[2]"
    assert "<textarea" not in anna.show("/collections/stars/main/watch?_row=[2]").text
    circle = anna.read("/collections/stars/main/watch?_near=10,20,1")
    assert "CIRCLE" in circle["query"]
    watch = site.watch(query=circle["query"])
    assert len(watch.definition.positions) == 1
    polygon = anna.read("/collections/stars/main/watch?_in=POLYGON 9 19 11 19 11 21")["query"]
    assert "POLYGON" in site.watch(query=polygon).definition.condition


def test_only_the_account_sees_its_watches(site: WatchSite, anna: Browser) -> None:
    watch = site.watch(channel="mail")
    mia, nobody = site.open_browser("mia"), site.open_browser()
    for path in (f"/watches/{watch.name}", f"/watches/{watch.name}/events.atom", f"/watches/{watch.name}/voevents/1"):
        assert mia.show(path).status == 404
        assert nobody.show(path).status in {303, 401}
    assert mia.post(f"/watches/{watch.name}", {"ACTION": "remove"}).status == 404
    assert nobody.post("/watches", {"TABLE": "stars.main"}).status == 401
    assert nobody.show("/watches").status in {303, 401}
    assert anna.post(f"/watches/{watch.name}", {"ACTION": "remove"}, origin="https://evil.example").status == 403
    assert mia.read("/watches")["watches"] == []
    token = create_personal_token(site.site.store, "anna", "read", 1, created_by="anna")[1]
    reader = Browser(anna.client, {"authorization": f"Bearer {token}"})
    assert reader.read(f"/watches/{watch.name}")["webhook_secret"] == ""
    assert reader.post("/watches", {"TABLE": "stars.main"}).status == 403
    assert anna.post(f"/watches/{watch.name}", {"ACTION": "dance"}).status == 400
    assert anna.post(f"/watches/{watch.name}", {"ACTION": "remove"}).status == 303
    assert anna.show(f"/watches/{watch.name}").status == 404
    site.watch("mia")
    site.site.store.users.remove_account("mia")


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"QUERY": "SELECT COUNT(*) FROM stars.main"}, "aggregate"),
        ({"QUERY": "SELECT MAX(mag) FROM stars.main"}, "aggregate"),
        ({"QUERY": "SELECT name FROM stars.main GROUP BY name"}, "groups rows"),
        ({"QUERY": "SELECT DISTINCT name FROM stars.main"}, "groups rows"),
        ({"QUERY": "SELECT TOP 5 * FROM stars.main"}, "only some of the rows"),
        ({"QUERY": "SELECT * FROM stars.main AS a JOIN stars.main AS b USING (id)"}, "does not read one table"),
        ({"QUERY": "SELECT * FROM stars.main UNION SELECT * FROM stars.main"}, "several queries"),
        ({"QUERY": "SELECT * FROM stars.main WHERE id IN (SELECT id FROM stars.main)"}, "subquery"),
        ({"QUERY": "SELECT * FROM stars.main WHERE RAND() < 0.5"}, "random"),
        ({"QUERY": "SELECT * FROM stars.main WHERE IVO_NORMAL_RANDOM(0, 1) < 0"}, "random"),
        ({"QUERY": "SELECT * FROM stars.main WHERE nothing = 1"}, "nothing"),
        ({"QUERY": "SELECT * FROM stars.main", "TABLE": "TAP_SCHEMA.tables"}, "TABLE is not"),
        ({"QUERY": "SELECT * FROM nothing.main"}, "no table"),
        ({"QUERY": "SELEC"}, "SELEC"),
        ({"QUERY": "SELECT * FROM stars.main WHERE id IN (" + "1, " * 8_000 + "1)"}, "more than 20,000 characters"),
        ({"TABLE": "TAP_SCHEMA.tables"}, "cannot be watched"),
        ({"TABLE": "nothing.main"}, "no table"),
        ({"TABLE": "stars.main", "TARGETS": "10 20", "RADIUS": "0"}, "radius"),
        ({"TABLE": "stars.main", "TARGETS": "10 20", "RADIUS": "50"}, "at most 10"),
        ({"TABLE": "stars.main", "TARGETS": "10 20"}, "radius"),
        ({"TABLE": "stars.main", "TARGETS": "10 20\nM 31", "RADIUS": "1"}, "line 2"),
        ({"TABLE": "stars.main", "TARGETS": "10 nan", "RADIUS": "1"}, "line 1"),
        ({"TABLE": "stars.main", "TARGETS": "10 20\n\n\nM 31", "RADIUS": "1"}, "line 4"),
        ({"TABLE": "stars.main", "TARGETS": "10,5 20,5", "RADIUS": "1"}, "in degrees"),
        ({"TABLE": "stars.main", "TARGETS": "10,5;\t-20,5 M 31", "RADIUS": "1"}, "in degrees"),
        ({"TABLE": "stars.main", "TARGETS": "05 34 31.9 +22 00 52", "RADIUS": "1"}, "in degrees"),
        ({"TABLE": "stars.main", "TARGET": "10 20", "RADIUS": "1"}, "needs targets"),
        ({"TABLE": "stars.main", "TARGETS": "10 20\n" * 10_001, "RADIUS": "1"}, "10,001 entries"),
        ({"TABLE": "stars.main", "ROW": "M31"}, "not a key"),
        ({"TABLE": "stars.main", "ROW": '["x"]'}, "not a key"),
        ({"TABLE": "stars.main", "ROW": "[1, 2]"}, "not a key"),
        ({"TABLE": "stars.main", "ROW": "[true]"}, "not a key"),
        ({"TABLE": "stars.main", "ROW": "[" * 1_900}, "not a key"),
        ({"TABLE": "stars.main", "ROW": '["' + "9" * 5_000 + '"]'}, "not a key"),
        ({"TABLE": "stars.main", "CHANGES": "some"}, "CHANGES"),
        ({"TABLE": "stars.main", "CHANNEL": "pigeon"}, "CHANNEL"),
    ],
)
def test_what_cannot_be_watched_is_refused_in_words(anna: Browser, fields: dict[str, str], words: str) -> None:
    answer = anna.post("/watches", fields)
    assert 400 <= answer.status < 500, answer.text
    assert words in answer.text


def test_the_form_watches_a_search_without_targets(anna: Browser) -> None:
    form = html.fromstring(anna.show("/collections/stars/main/watch?mag=..9").text).forms[-1]
    assert {"TARGETS", "RADIUS"} <= set(form.fields.keys())
    assert (
        anna.post("/watches", {name: value or "" for name, value in form.form_values()}, accept="text/html").status
        == 303
    )
    (watch,) = anna.read("/watches")["watches"]
    assert (watch["targets"], watch["radius"]) == (0, 0)


def test_a_list_of_a_million_targets_is_refused(anna: Browser) -> None:
    answer = anna.post("/watches", {"TABLE": "stars.main", "TARGETS": "10.5 20.5\n" * 1_000_000, "RADIUS": "1"})
    assert answer.status == 413
    assert "bytes" in answer.text


def test_mail_needs_a_confirmed_address(site: WatchSite) -> None:
    answer = site.open_browser("mia").post("/watches", {"TABLE": "stars.main", "CHANNEL": "mail"})
    assert answer.status == 400
    assert "/notifications" in answer.text


def test_an_account_has_a_limit(site: WatchSite, tmp_path: Path) -> None:
    settings_file = tmp_path / "hven.toml"
    settings_file.write_text(settings_file.read_text() + "[watches]\nper_account = 3\n")
    site.site.settings = load_settings(tmp_path, {})
    for _ in range(3):
        site.watch("mia")
    answer = site.open_browser("mia").post("/watches", {"TABLE": "stars.main"})
    assert answer.status == 409
    assert "3 watches" in answer.text


def test_the_feed_is_atom(site: WatchSite, anna: Browser) -> None:
    watch = site.watch(title="<stars> & more")
    path = f"/watches/{watch.name}/events.atom"
    assert etree.fromstring(anna.show(path).body).findall(f"{ATOM}entry") == []
    for stars in ([*STARS, NEW_STARS[0]], [*STARS, *NEW_STARS]):
        site.publish(stars)
        site.match()
    answer = anna.show(path)
    feed = etree.fromstring(answer.body)
    assert feed.findtext(f"{ATOM}title") == "<stars> & more"
    ids = [entry.findtext(f"{ATOM}id") for entry in feed.findall(f"{ATOM}entry")]
    assert len(set(ids)) == 2
    assert all(name.startswith("urn:uuid:") for name in ids)
    assert "[5]" in feed.findtext(f"{ATOM}entry/{ATOM}content")
    assert anna.show(path, **{"if-none-match": answer.headers["etag"]}).status == 304
    assert "private" in answer.headers["cache-control"]
    feed_url = anna.read(f"/watches/{watch.name}")["feed"]
    nobody = site.open_browser()
    assert "[5]" in nobody.show(feed_url[feed_url.index("/watches/") :]).text
    assert nobody.show(feed_url[feed_url.index("/watches/") : -1] + "x").status == 404


def test_a_reader_of_the_feed_can_open_its_events(site: WatchSite, anna: Browser) -> None:
    watch = site.watch()
    site.publish([*STARS, *NEW_STARS])
    site.match()
    feed_url = anna.read(f"/watches/{watch.name}")["feed"]
    nobody = site.open_browser()
    feed = etree.fromstring(nobody.show(feed_url[feed_url.index("/watches/") :]).body)
    (event_url,) = (link.get("href") for link in feed.iter("{*}link") if link.get("rel") == "related")
    assert nobody.show(event_url[event_url.index("/watches/") :]).status == 200
    assert nobody.show(event_url[event_url.index("/watches/") :].partition("?")[0]).status == 401


def test_a_read_only_token_shows_no_keys(site: WatchSite) -> None:
    watch = site.watch()
    browser = site.open_browser("anna")
    token = create_personal_token(site.site.store, "anna", "read", 1, created_by="anna")[1]
    browser.proof = {"authorization": f"Bearer {token}"}
    assert "key=" not in json.dumps(browser.read(f"/watches/{watch.name}"))
    assert browser.show(f"/watches/{watch.name}/events.atom").status == 200


def test_pages_do_not_ask_for_the_account(site: WatchSite, anna: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    original = type(site.site.store.users).has_account

    def has_account(users: Any, name: str) -> bool:
        asked.append(name)
        return original(users, name)

    anna.show("/collections/stars")
    monkeypatch.setattr(type(site.site.store.users), "has_account", has_account)
    assert "/watches" in anna.show("/collections/stars").text
    assert asked == []


def test_events_are_voevents(site: WatchSite, anna: Browser) -> None:
    watches = [site.watch(title="one & all", query="SELECT * FROM stars.main WHERE id = 4"), site.watch(title="both")]
    site.publish([*STARS, *NEW_STARS])
    site.match()
    schema = etree.XMLSchema(etree.parse(str(shared("xsd/VOEvent-v2.1-draft.xsd"))))
    documents = []
    for watch in watches:
        (match,) = anna.read(f"/watches/{watch.name}")["matches"]
        url = match["data"]["voevent"]
        answer = anna.show(url[url.index("/watches/") :])
        assert answer.headers["content-type"].startswith("application/voevent+xml")
        document = etree.fromstring(answer.body)
        schema.assertValid(document)
        documents.append(document)
        assert (
            document.get("ivorn")
            == f"ivo://{document.get('ivorn')[6:].split('/')[0]}/watches/{watch.name}#{match['data']['id']}"
        )
    assert documents[0].findtext(".//C1") == "10.2"
    assert documents[1].find("WhereWhen") is None
    assert [cell.text for cell in documents[1].findall(".//TD")][:2] == ["[4]", "new"]
    for number in (1, 10**30):
        assert anna.show(f"/watches/{watches[0].name}/voevents/{number}").status == 404


def test_another_library_reads_the_events(site: WatchSite, anna: Browser) -> None:
    """voevent-parse knows VOEvent 2.0, whose elements are those of 2.1; the namespace and the version differ."""
    import voeventparse

    watch = site.watch(title="one & all", query="SELECT * FROM stars.main WHERE id = 4")
    site.publish([*STARS, *NEW_STARS])
    site.match()
    (match,) = anna.read(f"/watches/{watch.name}")["matches"]
    url = match["data"]["voevent"]
    body = anna.show(url[url.index("/watches/") :]).body
    event = voeventparse.loads(body, check_version=False)
    assert event.attrib["version"] == "2.1"
    assert event.attrib["ivorn"].endswith(f"/watches/{watch.name}#{match['data']['id']}")
    assert event.attrib["role"] == "observation"
    assert event.Who.AuthorIVORN.text.startswith("ivo://")
    position = voeventparse.get_event_position(event)
    assert (position.ra, position.dec, position.units, position.system) == (10.2, 20.1, "deg", "UTC-ICRS-TOPO")
    params = voeventparse.get_toplevel_params(event)
    assert params["table"]["value"] == "stars.main"
    assert (params["new"]["value"], params["new"]["dataType"]) == ("1", "int")
    earlier_body = body.replace(b"/VOEvent/v2.1", b"/VOEvent/v2.0").replace(b'version="2.1"', b'version="2.0"')
    earlier_event = voeventparse.loads(earlier_body)
    assert voeventparse.valid_as_v2_0(earlier_event)
    voeventparse.assert_valid_as_v2_0(earlier_event)
    del earlier_event.Who
    earlier_event.attrib["role"] = "rumour"
    assert not voeventparse.valid_as_v2_0(earlier_event), "the judge finds faults"


def read_stream(site: WatchSite, headers: dict[str, str], query: bytes = b"", seconds: float = 0.0) -> list[str]:
    """Read a stream until it ends."""
    sent: list[Any] = []
    app = create_and_start_application(site.site)

    async def run() -> None:
        async def receive() -> dict[str, Any]:
            await asyncio.sleep(3600)
            raise AssertionError

        async def send(message: Any) -> None:
            sent.append(message)

        raw_headers = [(name.encode(), value.encode()) for name, value in {"host": "vo.example", **headers}.items()]
        scope = {
            "type": "http", "http_version": "1.1", "method": "GET", "scheme": "http", "path": "/watches/stream",
            "raw_path": b"/watches/stream", "root_path": "", "query_string": query, "headers": raw_headers,
            "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 80), "state": {}, "asgi": {"version": "3.0"},
        }  # fmt: skip
        await app(scope, receive, send)

    asyncio.run(run())
    if sent[0]["status"] != 200:
        return [str(sent[0]["status"])]
    text = b"".join(message.get("body", b"") for message in sent[1:]).decode()
    return [event for event in text.split("\n\n") if event.startswith("id:")]


def test_a_stream_resumes_after_the_last_event(site: WatchSite, anna: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_stream, "POLL_INTERVAL_SECONDS", 0.01)
    monkeypatch.setattr(event_stream, "MAX_STREAM_SECONDS", 0.2)
    watch = site.watch()
    other = site.watch(query="SELECT * FROM stars.main WHERE id = 5")
    site.watch("mia")
    for stars in ([*STARS, NEW_STARS[0]], [*STARS, *NEW_STARS]):
        site.publish(stars)
        site.match()
    events = read_stream(site, {**anna.proof, "last-event-id": "0"})
    assert len(events) == 3
    fields = [dict(line.split(": ", 1) for line in event.splitlines()) for event in events]
    numbers = [int(field["id"]) for field in fields]
    assert numbers == sorted(set(numbers))
    assert {field["event"] for field in fields} == {"match"}
    assert json.loads(fields[0]["data"])["data"]["rows"][0]["key"] == "[4]"
    resumed = read_stream(site, {**anna.proof, "last-event-id": str(numbers[0])})
    assert resumed == events[1:]
    assert read_stream(site, {**anna.proof, "last-event-id": str(numbers[-1])}) == []
    assert read_stream(site, anna.proof) == [], "without an id, it begins with what is found from now on"
    one = read_stream(site, {**anna.proof, "last-event-id": "0"}, f"watch={other.name}".encode())
    assert len(one) == 1
    assert watch.name not in one[0]
    assert read_stream(site, {**anna.proof, "last-event-id": "x"}) == ["400"]
    assert read_stream(site, {}) in (["401"], ["303"])


def test_a_stream_ends_with_the_account(site: WatchSite, anna: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_stream, "POLL_INTERVAL_SECONDS", 0.01)
    monkeypatch.setattr(event_stream.RecipientRights, "find_principal", lambda *_: None)
    assert read_stream(site, {**anna.proof, "last-event-id": "0"}) == []


def test_a_stream_of_another_account_is_refused(site: WatchSite, anna: Browser) -> None:
    watch = site.watch("mia")
    assert read_stream(site, anna.proof, f"watch={watch.name}&seconds=0".encode()) == ["404"]


def test_a_stream_that_finds_nothing_reads_no_definitions(
    site: WatchSite, anna: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.watch(targets="10 20\n" * 9_000, radius=1)
    monkeypatch.setattr(watch_store, "_watch_from_row", lambda _: pytest.fail("a watch was read"))
    assert read_stream(site, anna.proof, b"seconds=0") == []


def test_streams_have_a_limit(site: WatchSite, anna: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_stream, "MAX_ACCOUNT_STREAMS", 0)
    assert read_stream(site, anna.proof) == ["429"]
