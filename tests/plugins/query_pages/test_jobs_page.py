"""``/jobs`` for people: their own jobs by a cookie, and nobody else's; begun twice by mistake, expired, deleted, run again."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from types import SimpleNamespace

import pytest
from asgi_client import Answer, Client
from star_tables import PRIVATE_STARS, STARS, build_rows

from hven.app._server import create_and_start_application
from hven.jobs._worker import run_next_job
from hven.plugins.query_pages import jobs_page
from hven.site import Site
from hven.site.auth.session import VISITOR_COOKIE
from hven.testing.site import open_tiny_site

QUERY = "SELECT TOP 3 id, mag FROM stars.main ORDER BY mag"
HTML = "text/html,application/xhtml+xml"
WORDS = """\
title: Words
description: Writes a word several times
command: [/bin/echo, "{TEXT}"]
params:
  TEXT: {required: true, description: word}
  TIMES: {type: int32, minimum: 1, maximum: 9, description: how often}
  HOW: {allowed: [loud, soft]}
  TABLE: {file: true}
results: {said: {file: stdout.txt, type: text/plain, optional: true}}
"""
FORM = {"content-type": "application/x-www-form-urlencoded", "accept": HTML}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with open_tiny_site(
        tmp_path_factory.mktemp("site"),
        {"stars.main": (STARS, build_rows()), "secret.main": (PRIVATE_STARS, build_rows())},
    ) as made:
        yield made


@pytest.fixture(scope="module")
def client(site: Site) -> Client:
    return Client(create_and_start_application(site))


@pytest.fixture(autouse=True)
def _nothing_waits(site: Site) -> None:
    """Run what other tests left in the queue: the next job that runs is this test's."""
    while run_next_job(site):
        pass


class Visitor:
    """A browser without an account."""

    def __init__(self, client: Client) -> None:
        self.client, self.cookie = client, ""

    def headers(self, **more: str) -> dict[str, str]:
        return {**({"cookie": self.cookie} if self.cookie else {}), "accept": HTML, **more}

    def look(self, name: str = "") -> Answer:
        return self.client.ask("GET", f"/jobs?job={name}" if name else "/jobs", headers=self.headers())

    def send(self, **params: str) -> Answer:
        from urllib.parse import urlencode

        body = urlencode(params).encode()
        answer = self.client.ask(
            "POST", "/jobs", body=body, headers=self.headers(**FORM, **{"sec-fetch-site": "same-origin"})
        )
        if "set-cookie" in answer.headers:
            self.cookie = answer.headers["set-cookie"].partition(";")[0]
        return answer

    def begin(self, query: str = QUERY, **more: str) -> str:
        answer = self.send(QUERY=query, **more)
        assert answer.status == 303, answer.text
        return re.fullmatch(r".*/jobs\?job=(\w+)", answer.headers["location"])[1]  # type: ignore[index]


def test_a_job_from_its_query_to_its_rows(client: Client, site: Site) -> None:
    visitor = Visitor(client)
    name = visitor.begin(RESPONSEFORMAT="csv")
    assert "waiting" in visitor.look(name).text
    assert run_next_job(site)
    page = visitor.look(name)
    assert page.status == 200
    assert page.headers["cache-control"] == "private, no-store"
    for text in ("done", "/results/result", ">id</th>", "<b>3</b> rows", "Run again"):
        assert text in page.text, text
    assert f"/adql?QUERY={QUERY.split(maxsplit=1)[0]}+TOP" in page.text


@pytest.mark.parametrize("fmt", ["votable", "votable/td", "csv", "tsv", "fits", "parquet", "arrow", "json", "text"])
def test_results_of_every_format(client: Client, site: Site, fmt: str) -> None:
    visitor = Visitor(client)
    name = visitor.begin("SELECT id, note FROM stars.main WHERE number < 7 ORDER BY number", RESPONSEFORMAT=fmt)
    assert run_next_job(site)
    page = visitor.look(name).text
    assert "/results/result" in page
    if fmt not in {"json", "text"}:
        assert ("note 3 " if fmt == "fits" else "note 3 é") in page  # text of FITS is ASCII


def test_the_cookie_cannot_be_read_by_scripts_nor_guessed(client: Client) -> None:
    visitor = Visitor(client)
    answer = visitor.send(QUERY=QUERY)
    said = answer.headers["set-cookie"]
    assert said.startswith(f"{VISITOR_COOKIE}=")
    assert "HttpOnly" in said
    assert "SameSite=Lax" in said
    assert len(visitor.cookie) > 40
    again = Visitor(client)
    again.send(QUERY=QUERY)
    assert again.cookie != visitor.cookie
    assert "set-cookie" not in visitor.send(QUERY="SELECT TOP 1 id FROM stars.main").headers, "it is given once"
    assert "set-cookie" not in visitor.look().headers
    assert "set-cookie" not in Visitor(client).look().headers, "who only looks gets none"


def test_nobody_sees_the_jobs_of_others(client: Client) -> None:
    one, other = Visitor(client), Visitor(client)
    name = one.begin("SELECT TOP 4 id FROM stars.main")
    theirs = other.begin("SELECT TOP 5 id FROM stars.main")
    assert name in one.look().text
    assert theirs not in one.look().text
    assert name not in other.look().text
    assert name not in Visitor(client).look().text
    scripted = {"accept": "application/json"}
    listed = json.loads(client.ask("GET", "/tap/async", headers=scripted).body)["jobs"]
    assert not {name, theirs} & {job["id"] for job in listed}, "nor does the list of programs without a cookie"
    listed = json.loads(client.ask("GET", "/tap/async?PHASE=QUEUED", headers=scripted).body)["jobs"]
    assert not {name, theirs} & {job["id"] for job in listed}
    for address in ("/tap/async", "/tap/async?PHASE=QUEUED"):
        listed = json.loads(client.ask("GET", address, headers={**scripted, "cookie": one.cookie}).body)["jobs"]
        assert [job["id"] for job in listed] == [name]
    forged = {**scripted, "cookie": f"{VISITOR_COOKIE}=' OR 1=1 --"}
    listed = json.loads(client.ask("GET", "/tap/async", headers=forged).body)["jobs"]
    assert not {name, theirs} & {job["id"] for job in listed}


def test_what_programs_begin_stays_on_their_list(client: Client) -> None:
    answer = client.post("/tap/async", QUERY=QUERY, LANG="ADQL", REQUEST="doQuery")
    name = answer.headers["location"].rpartition("/")[2]
    assert "set-cookie" not in answer.headers
    listed = json.loads(client.ask("GET", "/tap/async", headers={"accept": "application/json"}).body)["jobs"]
    assert name in {job["id"] for job in listed}
    browser = Visitor(client)
    assert name not in browser.look().text, "a browser at the same address has no part in them"
    assert "There are no jobs yet" in browser.look().text
    mine = browser.begin("SELECT TOP 2 id FROM stars.main")
    assert mine in browser.look().text
    assert name not in browser.look().text


def test_a_button_pressed_twice_makes_one_job(client: Client, site: Site) -> None:
    visitor = Visitor(client)
    first = visitor.begin("SELECT TOP 9 id FROM stars.main")
    assert visitor.begin("SELECT TOP 9 id FROM stars.main") == first
    assert visitor.begin("SELECT TOP 8 id FROM stars.main") != first
    while run_next_job(site):
        pass
    assert visitor.begin("SELECT TOP 9 id FROM stars.main") != first, "one that has ended is run again"


def test_abort_and_delete(client: Client, site: Site) -> None:
    visitor = Visitor(client)
    name = visitor.begin("SELECT TOP 7 id FROM stars.main")
    assert visitor.send(ACTION="abort", JOB=name).headers["location"].endswith(name)
    assert "aborted" in visitor.look(name).text
    assert visitor.send(ACTION="delete", JOB=name).status == 303
    assert visitor.send(ACTION="delete", JOB=name).status == 303, "deleted twice is deleted"
    gone = visitor.look(name)
    assert gone.status == 404
    assert "no longer exists" in gone.text
    assert "<h1>Jobs</h1>" in gone.text
    assert visitor.send(ACTION="abort", JOB=name).status == 404
    assert visitor.send(ACTION="explode", JOB=name).status == 400
    assert visitor.send(QUERY="").status == 400
    with site.store._database.begin_read() as connection:
        import sqlalchemy as sa

        assert connection.execute(sa.text("SELECT COUNT(*) FROM visits WHERE job = :job"), {"job": name}).scalar() == 0


@pytest.mark.parametrize(
    "headers", [{"origin": "https://evil.example"}, {"sec-fetch-site": "cross-site"}, {"origin": "null"}]
)
def test_no_page_elsewhere_acts_for_a_visitor(client: Client, headers: dict[str, str]) -> None:
    visitor = Visitor(client)
    name = visitor.begin("SELECT TOP 6 id FROM stars.main")
    body = f"ACTION=delete&JOB={name}".encode()
    answer = client.ask("POST", "/jobs", body=body, headers=visitor.headers(**FORM, **headers))
    assert answer.status == 403
    assert visitor.look(name).status == 200


def test_a_failed_job_says_why_and_hostile_text_is_text(client: Client, site: Site) -> None:
    visitor = Visitor(client)
    name = visitor.begin("SELECT '<script>alert(1)</script>' AS x, nothing FROM stars.main")
    while run_next_job(site):
        pass
    page = visitor.look(name).text
    assert "failed" in page
    assert "nothing" in page
    assert "<script>alert" not in page
    assert visitor.look("<script>").status == 404
    assert "<script>" not in visitor.look("<b>").text.replace("<script type", "")


def test_programs_still_get_the_list_of_kinds(client: Client) -> None:
    for headers in ({}, {"accept": "*/*"}, {"accept": "application/json"}):
        assert "types" in json.loads(client.ask("GET", "/jobs", headers=headers).body)


def test_each_kind_of_jobs_has_a_form(tmp_path: Path) -> None:
    with open_tiny_site(tmp_path / "site", {"stars.main": (STARS, build_rows())}) as site:
        jobs = site.settings.directory / "jobs"
        jobs.mkdir()
        (jobs / "words.yaml").write_text(WORDS)
        client = Client(create_and_start_application(site))
        assert "jobs?new=words" in client.ask("GET", "/jobs", headers={"accept": HTML}).text
        visitor = Visitor(client)
        page = client.ask("GET", "/jobs?new=words", headers={"accept": HTML}).text
        fields = {
            name: re.search(rf'<(\w+) id="param-{name}"([^>]*)>', page) for name in ("TEXT", "TIMES", "HOW", "TABLE")
        }
        assert {name: found and found[1] for name, found in fields.items()} == {"TEXT": "input", "TIMES": "input", "HOW": "select", "TABLE": "input"}  # fmt: skip
        assert 'min="1" max="9"' in fields["TIMES"][2]  # type: ignore[index]
        assert 'type="file"' in fields["TABLE"][2]  # type: ignore[index]
        answer = visitor.send(TYPE="words", TEXT="<b>", TIMES="10")
        assert answer.status == 400
        assert "TIMES" in html.unescape(answer.text)
        assert 'value="&lt;b&gt;"' in answer.text, "what was written stays"
        assert 'aria-invalid="true"' in answer.text
        begun = visitor.send(TYPE="words", TEXT="so", TIMES="3", HOW="")
        assert begun.status == 303, begun.text
        job = site.store.jobs.get_job(begun.headers["location"].partition("job=")[2])
        assert (job.type, job.parameters) == ("words", (("TEXT", "so"), ("TIMES", "3")))
        assert client.ask("GET", "/jobs?new=nothing", headers={"accept": HTML}).status == 404
        page = client.ask("GET", "/jobs?new=prepare", headers={"accept": HTML}).text
        assert "Log in to run jobs of this kind" in page
        assert "param-COLLECTION" not in page


def test_in_french(client: Client) -> None:
    page = client.ask("GET", "/jobs", headers={"accept": HTML, "accept-language": "fr"}).text
    assert "<h1>Tâches</h1>" in page
    assert ">Images et copies de fichiers</a>" in page


def test_why_a_job_failed_is_told_in_french(client: Client, site: Site) -> None:
    visitor = Visitor(client)
    name = visitor.begin("SELECT magg FROM stars.main")
    run_next_job(site)
    shown = {
        language: html.unescape(
            client.ask("GET", f"/jobs?job={name}", headers=visitor.headers(**{"accept-language": language})).text
        )
        for language in ("en", "fr")
    }
    assert "line 1, column 8: no column 'magg' in stars.main; did you mean 'mag'?" in shown["en"]
    assert (
        "ligne 1, colonne 8 : il n'y a pas de colonne 'magg' dans stars.main ; vouliez-vous dire 'mag' ?" in shown["fr"]
    )


def test_older_jobs_are_a_page_further_and_none_is_lost(
    client: Client, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs_page, "MAX_LISTED_JOBS", 2)
    visitor = Visitor(client)
    names = [visitor.begin(f"SELECT TOP {number} id FROM stars.main") for number in range(1, 6)][::-1]
    seen, path = [], "/jobs"
    while path:
        page = client.ask("GET", path, headers=visitor.headers()).text
        seen.append(re.findall(r'<td class="what"><a href="[^"]*job=(\w+)"', page))
        assert ("Newest jobs" in page) == (path != "/jobs")
        older = re.search(r'<a href="http://[^/]+(/jobs\?before=[^"]+)" rel="next">Older jobs', page)
        path = html.unescape(older[1]) if older else ""
    assert [len(some) for some in seen] == [2, 2, 1]
    assert sorted(chain.from_iterable(seen)) == sorted(names)
    assert "no older jobs" in client.ask("GET", "/jobs?before=2001-01-01", headers=visitor.headers()).text


def test_several_ticked_jobs_are_deleted_at_once(client: Client, site: Site) -> None:
    from urllib.parse import urlencode

    visitor = Visitor(client)
    names = [visitor.begin(f"SELECT TOP {number} id FROM stars.main") for number in range(1, 4)]
    page = visitor.look().text
    assert re.findall(r'name="JOB" value="(\w+)" form="ticked-jobs"', page) == names[::-1]
    assert "In the queue: number 2" in page
    headers = visitor.headers(**FORM, **{"sec-fetch-site": "same-origin"})

    def delete(*chosen: str) -> Answer:
        body = urlencode([("ACTION", "delete"), *(("JOB", name) for name in chosen)]).encode()
        return client.ask("POST", "/jobs", body=body, headers=headers)

    assert delete(*names[:2]).headers["location"].endswith("/jobs")
    page = visitor.look().text
    assert names[2] in page
    assert names[0] not in page
    refused = delete()
    assert refused.status == 400
    assert "no job is selected" in refused.text


@pytest.fixture
def _draw_jobs(site: Site) -> Iterator[None]:
    command = ["/bin/sh", "-c", "printf P1 > picture.png"]
    text = f"title: Draw\ncommand: {json.dumps(command)}\nparams: {{N: {{type: int32}}}}\n"
    text += "results: {picture: {file: picture.png, type: image/png}}\n"
    path = site.settings.directory / "jobs/draw.yaml"
    path.parent.mkdir(exist_ok=True)
    path.write_text(text, encoding="utf-8")
    yield
    path.unlink()


@pytest.mark.usefixtures("_draw_jobs")
def test_a_job_shows_its_picture_and_is_cloned(client: Client, site: Site) -> None:
    visitor = Visitor(client)
    begun = visitor.send(TYPE="draw", N="3")
    name = begun.headers["location"].partition("job=")[2]
    assert run_next_job(site)
    page = visitor.look(name).text
    assert re.search(rf'<img src="[^"]*/jobs/draw/{name}/results/picture"', page)
    assert f"/jobs?new=draw&amp;from={name}" in page
    form = client.ask("GET", f"/jobs?new=draw&from={name}", headers=visitor.headers()).text
    assert re.search(r'id="param-N"[^>]*value="3"', form)


@pytest.mark.usefixtures("_draw_jobs")
def test_the_form_offers_to_notify_a_user(client: Client, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    token = site.store.users.add_account("olga")
    headers = {"authorization": f"Bearer {token}", "accept": HTML}
    monkeypatch.setattr(jobs_page, "load_event_services", lambda: [SimpleNamespace(is_enabled=lambda _: False)])
    assert "NOTIFY" not in client.ask("GET", "/jobs?new=draw", headers=headers).text
    monkeypatch.setattr(jobs_page, "load_event_services", lambda: [SimpleNamespace(is_enabled=lambda _: True)])
    assert 'name="NOTIFY" value="true">' in client.ask("GET", "/jobs?new=draw", headers=headers).text
    assert "NOTIFY" not in client.ask("GET", "/jobs?new=draw", headers={"accept": HTML}).text, "no account, no address"
    body = b"TYPE=draw&N=4&NOTIFY=true"
    begun = client.ask("POST", "/jobs", body=body, headers={**headers, **FORM, "sec-fetch-site": "same-origin"})
    name = begun.headers["location"].partition("job=")[2]
    assert site.store.jobs.get_job(name).parameters == (("N", "4"), ("NOTIFY", "true"))
    cloned = client.ask("GET", f"/jobs?new=draw&from={name}", headers=headers).text
    assert 'name="NOTIFY" value="true" checked>' in cloned
