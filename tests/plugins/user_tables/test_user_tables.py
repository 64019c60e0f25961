"""Tables that readers keep: two conventions, two owners with one name, nothing of it on anybody else's face."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from asgi_client import Answer, Client
from star_tables import STARS, build_rows

from hven.app._server import create_and_start_application
from hven.model.settings import QueryLimits
from hven.plugins.user_tables import table_writing
from hven.plugins.user_tables.table_records import UserTableRecordWriter
from hven.site import Site
from hven.site.user_tables import delete_expired_user_tables
from hven.testing.policies import build_odd_rows_hidden_policies
from hven.testing.site import open_tiny_site

CSV = b"id,mine\ns1,10\ns2,20\ns3,30\n"
OTHER = b"id,theirs\ns7,1.5\n"


class Person:
    """A reader with a token; None: without."""

    def __init__(self, client: Client, token: str | None) -> None:
        self._client = client
        self.headers = {"authorization": f"Bearer {token}"} if token else {}

    def ask(self, method: str, path: str, body: bytes = b"", **more: str) -> Answer:
        return self._client.ask(method, path, body=body, headers={**self.headers, **more})

    def query(self, text: str) -> Answer:
        from urllib.parse import urlencode

        return self.ask("GET", f"/tap/sync?{urlencode({'LANG': 'ADQL', 'RESPONSEFORMAT': 'json', 'QUERY': text})}")

    def rows(self, text: str) -> list[list[object]]:
        answer = self.query(text)
        assert answer.status == 200, answer.text
        return list(json.loads(answer.body)["data"])


@pytest.fixture
def star_site(tmp_path: Path) -> Iterator[Site]:
    with open_tiny_site(tmp_path, {"stars.main": (STARS, build_rows(100))}, limits=QueryLimits(user_tables=3)) as site:
        yield site


@pytest.fixture
def people(star_site: Site) -> tuple[Person, Person, Person]:
    client = Client(create_and_start_application(star_site))
    anna, bert = (Person(client, star_site.store.users.add_account(name)) for name in ("anna", "bert"))
    assert anna.ask("PUT", "/tap/user_tables/list", CSV).status == 201
    return anna, bert, Person(client, None)


def test_a_table_is_kept_queried_joined_appended_described_and_deleted(people: tuple[Person, Person, Person]) -> None:
    anna, _, _ = people
    assert anna.rows("SELECT id, mine FROM tap_user.list ORDER BY id") == [["s1", 10], ["s2", 20], ["s3", 30]]
    assert anna.rows("SELECT s.number, l.mine FROM stars.main AS s JOIN tap_user.list AS l ON s.id = l.id ORDER BY 1") == [
        [1, 10], [2, 20], [3, 30],
    ]  # fmt: skip
    assert (
        anna.ask(
            "POST", "/tap/load/tap_user.list", b"id\tmine\ns4\t40\n", **{"content-type": "text/tab-separated-values"}
        ).status
        == 200
    )
    assert anna.rows("SELECT COUNT(*), SUM(mine) FROM tap_user.list") == [[4, 100]]
    for path in ("/tap/user_tables/list", "/tap/tables/tap_user.list"):
        told = anna.ask("GET", path)
        assert told.status == 200
        assert "<name>mine</name>" in told.text
    assert anna.ask("DELETE", "/tap/tables/tap_user.list").status == 200
    assert anna.query("SELECT * FROM tap_user.list").status == 400
    assert anna.ask("DELETE", "/tap/user_tables/list").status == 404


def test_two_owners_have_tables_of_one_name(people: tuple[Person, Person, Person]) -> None:
    anna, bert, _ = people
    assert bert.ask("PUT", "/tap/tables/tap_user.list", OTHER).status == 201
    text = "SELECT * FROM tap_user.list ORDER BY 1"
    for _ in range(3):  # whoever asked last, nothing remembered is another's
        assert anna.rows(text)[0] == ["s1", 10]
        assert bert.rows(text) == [["s7", 1.5]]
    tag = anna.query(text).headers["etag"]
    assert bert.query(text).headers["etag"] != tag
    assert anna.query(text).headers["cache-control"].startswith("private")


def test_a_changed_table_has_another_tag(people: tuple[Person, Person, Person]) -> None:
    anna, _, _ = people
    text = "SELECT * FROM tap_user.list"
    tag = anna.query(text).headers["etag"]
    assert anna.ask("POST", "/tap/load/list", b"id,mine\ns9,9\n").status == 200
    assert anna.query(text).headers["etag"] != tag


@pytest.mark.parametrize("who", ["bert", "nobody"])
def test_nobody_else_learns_of_it(people: tuple[Person, Person, Person], who: str) -> None:
    anna, bert, nobody = people
    other = bert if who == "bert" else nobody
    assert "tap_user.list" in anna.ask("GET", "/tap/tables").text
    assert anna.rows("SELECT table_name FROM TAP_SCHEMA.tables WHERE table_name LIKE 'tap_user%'") == [
        ["tap_user.list"]
    ]
    for path in ("/", "/tap/tables", "/tap/tables?detail=min", "/tap/examples", "/health", "/tap/capabilities"):
        assert "tap_user.list" not in other.ask("GET", path).text
    for table in ("schemas", "tables", "columns", "keys"):
        assert "tap_user" not in other.query(f"SELECT * FROM TAP_SCHEMA.{table}").text.replace("TAP_SCHEMA", "")
    assert (
        json.loads(other.ask("GET", "/health").body)["tables"]
        == json.loads(anna.ask("GET", "/health").body)["tables"]
        == 1
    )
    told = other.query("SELECT * FROM tap_user.list")
    assert told.status == 400
    for method, path in (
        ("GET", "/tap/user_tables/list"),
        ("DELETE", "/tap/user_tables/list"),
        ("POST", "/tap/load/list"),
    ):
        assert other.ask(method, path, CSV).status == (404 if who == "bert" else 401)
    assert other.ask("GET", "/tap/tables/tap_user.list").status == 404
    assert other.ask("GET", "/cone/tap_user.list?RA=1&DEC=1&SR=1").text.count("no table 'tap_user.list'") == 1
    assert anna.rows("SELECT COUNT(*) FROM tap_user.list") == [[3]]
    assert anna.ask("DELETE", "/tap/user_tables/list").status == 200
    gone = other.query("SELECT * FROM tap_user.list")
    assert gone.text.split("[request")[0] == told.text.split("[request")[0], "the same words whether it is there or not"


def test_policies_of_the_site_do_not_open_it_and_hold_beside_it(star_site: Site) -> None:
    client = Client(create_and_start_application(star_site, policies=build_odd_rows_hidden_policies("number")))
    anna, bert = (Person(client, star_site.store.users.add_account(name)) for name in ("anna", "bert"))
    assert anna.ask("PUT", "/tap/user_tables/list", CSV).status == 201
    assert anna.rows("SELECT number FROM stars.main AS s JOIN tap_user.list AS l ON s.id = l.id") == [[2]]
    assert bert.query("SELECT * FROM tap_user.list").status == 400


def test_bad_credentials_are_refused_and_none_are_fine(people: tuple[Person, Person, Person], star_site: Site) -> None:
    anna, _, nobody = people
    token = anna.headers["authorization"].removeprefix("Bearer ")
    good = base64.b64encode(f"anna:{token}".encode()).decode()
    swapped = base64.b64encode(f"bert:{token}".encode()).decode()
    assert nobody.ask("GET", "/tap/user_tables/list", authorization=f"Basic {good}").status == 200
    for bad in (
        "Bearer x",
        "Bearer anna.x",
        "Bearer ",
        "Basic !!",
        f"Basic {swapped}",
        "Digest a",
        f"Bearer {token}x",
        "Bearer nina.x",
    ):
        answer = nobody.ask("GET", "/tap/tables", authorization=bad)
        assert answer.status == 401
        assert "Bearer" in answer.headers["www-authenticate"]
    assert nobody.ask("GET", "/tap/tables").status == 200
    assert nobody.ask("PUT", "/tap/user_tables/x", CSV).status == 401
    assert not any(
        token.partition(".")[2].encode() in path.read_bytes()
        for path in (star_site.settings.var_directory).glob("hven.sqlite*")
    )


def test_quota_and_names(people: tuple[Person, Person, Person], star_site: Site) -> None:
    anna, bert, _ = people
    assert anna.ask("PUT", "/tap/user_tables/LIST", CSV).status == 201, "the same table, written anew"
    for name in ("b", "c"):
        assert anna.ask("PUT", f"/tap/user_tables/{name}", CSV).status == 201
    full = anna.ask("PUT", "/tap/user_tables/d", CSV)
    assert full.status == 413
    assert "the limit is 3" in full.text
    assert bert.ask("PUT", "/tap/user_tables/d", CSV).status == 201
    for name in ("1x", "select", "a-b", "stars.main"):
        assert anna.ask("PUT", f"/tap/tables/{name}", CSV).status == 400
    for body in (b"", b"<html></html>", b"a,a\n1,2\n"):
        assert anna.ask("PUT", "/tap/user_tables/b", body).status == 400
    assert anna.ask("POST", "/tap/load/b", b"id,strange\n1,2\n").status == 400
    assert anna.rows("SELECT COUNT(*) FROM tap_user.b") == [[3]]
    assert len(star_site.store.list_kept_snapshot_paths()) == 6, (
        "one snapshot for each table, the site's, and the one before the present one of what was replaced"
    )
    assert star_site.embedded_engine.remove_leftovers(star_site.store.list_kept_snapshot_paths()) == []


def test_it_goes_when_its_time_is_over(people: tuple[Person, Person, Person], star_site: Site) -> None:
    anna, _, _ = people
    ((record, expires),) = star_site.store.user_tables.list_unexpired_owner_tables("anna")
    wanted = datetime.now(UTC) + timedelta(days=30)
    assert abs(datetime.fromisoformat(expires) - wanted) < timedelta(minutes=1)
    star_site.store.get_or_create(UserTableRecordWriter).set_expiry("anna", record.table.name, "2026-01-01T00:00:00Z")
    star_site._own_tables_by_owner.clear()
    assert anna.query("SELECT * FROM tap_user.list").status == 400
    assert delete_expired_user_tables(star_site) == 1
    assert star_site.store.user_tables.list_tables_with_expiry() == []


def test_a_vosi_table_is_made_without_rows_and_then_loaded(people: tuple[Person, Person, Person]) -> None:
    anna, _, _ = people
    described = anna.ask("GET", "/tap/tables/stars.main").body
    assert anna.ask("PUT", "/tap/tables/tap_user.more", described, **{"content-type": "text/xml"}).status == 201
    assert anna.rows("SELECT COUNT(*) FROM tap_user.more") == [[0]]
    assert anna.ask("POST", "/tap/load/tap_user.more", b"id,number\na,7\n").status == 200
    assert anna.rows("SELECT id, number, mag FROM tap_user.more") == [["a", 7, None]]
    for body in (
        b"<table><column><name>x</name></column></table>",
        b"<table/>",
        b"<table>",
        b"<table><column/></table>",
    ):
        assert anna.ask("PUT", "/tap/tables/tap_user.less", body).status == 400


def test_a_job_over_it_is_its_owners(people: tuple[Person, Person, Person]) -> None:
    anna, bert, nobody = people
    form = {"content-type": "application/x-www-form-urlencoded"}
    made = anna.ask("POST", "/tap/async", b"LANG=ADQL&QUERY=SELECT+*+FROM+tap_user.list", **form)
    path = "/tap/async" + made.headers["location"].partition("/tap/async")[2]
    assert anna.ask("GET", path).status == 200
    for other in (bert, nobody):
        assert other.ask("GET", path).status == 403
        assert path.rpartition("/")[2] not in other.ask("GET", "/tap/async").text


def test_an_answer_comes_when_every_process_knows() -> None:
    from hven.site._site import REFRESH_INTERVAL_SECONDS

    assert table_writing.PROPAGATION_SECONDS > REFRESH_INTERVAL_SECONDS
