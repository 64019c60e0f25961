"""What outlives a request, made by somebody who has lost the right since: it leads nobody to rows that they may not see.

There is no list that somebody must remember: job types, tables of the store and directories of the site are walked over, and one without a line here fails.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlencode

import numpy as np
import pytest
from asgi_client import Answer, Client
from astropy.io import fits
from rights_matrix import list_routes

from clocks import MovableClock
from hven.app._server import create_and_start_application
from hven.ingest.api.runs import ingest_collection
from hven.jobs import type_catalogue
from hven.jobs._worker import run_next_job
from hven.jobs.job_supervisor import JobSupervisor
from hven.model import plugins, settings
from hven.site import Site
from hven.site.auth import session
from hven.site.store._database import metadata
from hven.site.store._package_tables import list_package_tables
from job_programs import ECHO_PROGRAM
from job_programs import write_job_type as declare
from package_modules import load_package_modules
from package_rights import merge_package_rights
from plugin_needs import has_package_objects, list_query_addresses, require_plugins
from process_runner import wait_until

FORM = "application/x-www-form-urlencoded"
SETTINGS = """\
name = "lost"
[people]
groups = {{spica = [{members}]}}
[health]
operators = ["olga"]
[projects.hesiod]
title = "HESIOD"
"""
DESCRIPTOR = """\
collection: {name}
title: Title of {name}
{access}
files: [data/*]
tables:
  main:
    {level}
    source: {{kind: csv, file: rows.csv}}
    primary: obs_id
    position: [ra, dec]
    columns:
      obs_id: {{type: string, ucd: meta.id;meta.main}}
      ra: {{type: float64, unit: deg, ucd: pos.eq.ra;meta.main}}
      dec: {{type: float64, unit: deg, ucd: pos.eq.dec;meta.main}}
      pi: {{type: string}}
      file: {{type: string}}
      note: {{type: string}}
    links:
      - {{semantics: this, file: "{{target.file}}"}}
"""
ACCESS = {
    "zqpriv": "access: private",
    "zqteam": "project: hesiod",
    "zqnight": "",
    "free": "",
}
LEVELS = {"zqnight": "access: {rows: \"'spica' in groups or reader in (pi)\", path: file}"}
ECHOING = """\
title: Echo
description: Says what it was given
params:
  WORD: {}
  LIST: {file: true}
command: [bin/echo, "{WORD}"]
"""


@dataclass
class World:
    """A site, who asks it, and the time."""

    site: Site
    client: Client
    clock: MovableClock
    tokens: Mapping[str, str]
    strangers: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def ask(self, address: str, headers: Mapping[str, str], method: str = "GET", body: str | bytes = "", **more: str) -> Answer:  # fmt: skip
        sent = body.encode() if isinstance(body, str) else body
        content = {"content-type": FORM} if sent and "content_type" not in more else {}
        if "content_type" in more:
            content = {"content-type": more.pop("content_type")}
        page = {"accept": "text/html"} if address.startswith("/jobs?") else {}
        return self.client.ask(method, address, body=sent, headers={**content, **page, **headers, **more})

    def account(self, name: str) -> dict[str, str]:
        return {"authorization": f"Bearer {self.tokens[name]}"}

    def invite(self, collection: str, until: float | None = None) -> dict[str, str]:
        _, secret = self.site.store.grants.add_grant(
            "referee", object=collection, actor="owner", with_secret=True, expiry_time=until
        )
        came = self.client.ask("GET", f"/referee/{secret}")
        assert came.status == 303
        return {"cookie": came.headers["set-cookie"].partition(";")[0]}

    def lose(self, loser: Loser, headers: Mapping[str, str]) -> None:
        """Take the right; what tokens proved is remembered for a moment, so that it holds within a second."""
        loser.lose(self, headers)
        if loser.account:
            self.clock.move(1.0)

    def run_jobs(self) -> None:
        while run_next_job(self.site):
            pass


def ending(headers: Mapping[str, str]) -> str:
    """Return the number of the invitation that a cookie shows."""
    return headers["cookie"].partition("=")[2].partition(".")[0]


@dataclass(frozen=True)
class Loser:
    """Somebody who has a right, and loses it.

    Attributes
    ----------
    name
        What they are.
    collection
        Which they see by it.
    begin
        Gives them the right; returns the headers of their requests.
    lose
        Takes it.
    account
        Their account; empty: none.
    """

    name: str
    collection: str
    begin: Callable[[World], dict[str, str]]
    lose: Callable[[World, Mapping[str, str]], object]
    account: str = ""


def _take(kind: str, subject: str) -> Callable[[World, Mapping[str, str]], object]:
    def lose(world: World, _: Mapping[str, str]) -> None:
        for one in world.site.store.grants.list_grants(kind, subject=subject):
            world.site.store.grants.revoke_grant(one.id, actor="owner")

    return lose


def _give(kind: str, subject: str, **more: object) -> Callable[[World], dict[str, str]]:
    def begin(world: World) -> dict[str, str]:
        world.site.store.grants.add_grant(kind, subject=subject, actor="owner", **more)  # type: ignore[arg-type]
        return world.account(subject)

    return begin


def _leave_group(world: World, _: Mapping[str, str]) -> None:
    (world.site.settings.directory / "hven.toml").write_text(SETTINGS.format(members='"nobody"'))
    wait_until(lambda: "mia" not in world.site.settings.people.groups["spica"], timeout_seconds=20)


LOSERS = (
    Loser(
        "a referee whose invitation was ended", "zqpriv", lambda world: world.invite("zqpriv"),
        lambda world, headers: world.site.store.grants.revoke_grant(ending(headers), actor="owner"),
    ),
    Loser(
        "a referee of a project's collection whose time is over", "zqteam",
        lambda world: world.invite("zqteam", until=world.clock.stop_time() + 3600), lambda world, _: world.clock.move(3600),
    ),
    Loser(
        "a referee of rows with a policy", "zqnight", lambda world: world.invite("zqnight"),
        lambda world, headers: world.site.store.grants.revoke_grant(ending(headers), actor="owner"),
    ),
    Loser(
        "a referee who is logged in, too", "zqpriv", lambda world: {**world.invite("zqpriv"), **world.account("karl")},
        lambda world, headers: world.site.store.grants.revoke_grant(ending(headers), actor="owner"), "karl",
    ),
    Loser(
        "a member who left the project", "zqteam", _give("member", "hana", object="hesiod", role="reader"), _take("member", "hana"), "hana",
    ),
    Loser("a member who left the group", "zqnight", lambda world: world.account("mia"), _leave_group, "mia"),
    Loser(
        "a delegate whose delegation was ended", "zqnight", _give("delegation", "gerd", object="Piet Pi"), _take("delegation", "gerd"), "gerd",
    ),
    Loser(
        "an account that was removed", "zqnight", lambda world: world.account("mia"),
        lambda world, _: world.site.store.users.remove_account("mia"), "mia",
    ),
    Loser(
        "an account whose token was renewed", "zqnight", lambda world: world.account("mia"),
        lambda world, _: world.site.store.users.renew_token_and_end_sessions("mia"), "mia",
    ),
)  # fmt: skip


def _table_update(world: World, collection: str, headers: Mapping[str, str]) -> dict[str, str]:
    kept = world.ask("/tap/user_tables/mine", headers, "PUT", "id,n\na,1\n", content_type="text/csv")
    assert kept.status in {201, 401}
    return {"TABLE": "tap_user.mine", "INDEX": "n"}


@dataclass(frozen=True)
class Line:
    """A type of jobs.

    Attributes
    ----------
    path
        Of its list.
    params
        Of a job that shows what the collection has.
    shows
        It shows rows or files by the rights of who asks.
    closed
        What those without an account are told at all its addresses.
    """

    path: str
    params: Callable[[World, str, Mapping[str, str]], dict[str, str]]
    shows: bool = True
    closed: frozenset[int] = frozenset()


def _query(collection: str) -> dict[str, str]:
    return {"LANG": "ADQL", "RESPONSEFORMAT": "csv", "QUERY": f"SELECT * FROM {collection}.main"}


JOBS = {
    "tap": Line("/tap/async", lambda _, collection, __: _query(collection)),
}  # fmt: skip
if "user_tables" in plugins.list_plugins("protocols"):
    JOBS["table_update"] = Line("/tap/table-update", _table_update, shows=False, closed=frozenset({401}))
if has_package_objects("job_providers"):  # of the site: a program that knows nothing but what it was sent
    JOBS["echo"] = Line("/jobs/echo", lambda _, collection, __: {"WORD": f"sesame {collection}"}, shows=False)
FILE_JOBS: dict[str, tuple[str, dict[str, str]]] = merge_package_rights("FILE_JOBS", {})
FILE_ADDRESSES: dict[str, str] = merge_package_rights("FILE_ADDRESSES", {})


def _fill_file_job(name: str, collection: str) -> dict[str, str]:
    return {key: value.replace("{collection}", collection) for key, value in FILE_JOBS[name][1].items()}


def _file_job(name: str) -> Line:
    return Line(FILE_JOBS[name][0], lambda _, collection, __: _fill_file_job(name, collection))


JOBS |= {name: _file_job(name) for name in FILE_JOBS}
# made by operators alone: to others they say so; further parameters of each
OPERATOR_JOBS: dict[str, dict[str, str]] = merge_package_rights("OPERATOR_JOBS", {"prepare": {"WHAT": "previews"}})


def _operator_job(name: str) -> Line:
    return Line(
        f"/jobs/{name}", lambda _, collection, __: {"COLLECTION": collection, **OPERATOR_JOBS[name]}, shows=False
    )


JOBS |= {name: _operator_job(name) for name in OPERATOR_JOBS}
# job types without a list of jobs: where their rights are tried
JOBS_WITHOUT_LIST: dict[str, str] = merge_package_rights("JOBS_WITHOUT_LIST", {})
# tables of the store: what outlives a request there, and where that is tried
STORE = {
    "jobs": "the jobs of this module",
    "visits": "whose list a job without an owner is on: test_jobs_page.py of query_pages",
    "user_tables": "test_own_tables_are_their_owners",
    "retired": "the same, for a moment",
    "results": "test_a_persistent_address_closes_with_its_table",
    "grants": "the rights themselves; test_a_signed_address_shows_what_its_reader_may_see_now",
    "sessions": "who is logged in: their rights are asked at each request",
    "users": "accounts: names and digests",
    "audit": "the audit log, for operators: test_roles.py",
    "descriptors": "texts of descriptors that the site's owner wrote, for the site itself",
    **dict.fromkeys(
        ("meta", "snapshots", "pointers", "events", "runs", "leases", "releases", "sync_state", "schedules", "alerts", "verifications"),
        "of what was published, by the site's owner: nobody's request made it",
    ),
}  # fmt: skip
STORE = merge_package_rights("STORE", STORE)
# directories of what the site keeps, and of what it can make anew
KEPT = {
    "jobs": "the files of the jobs of this module",
    "snapshots": "rows of tables, those of users, too: read by `query.run` alone", "engine-live": "texts of live tables",
    "sync": "of what was published", "documents": "the same", "heads.sqlite": "the same", "live": "the same",
    "hven.sqlite": "the store: see STORE", "hven.sqlite-wal": "the same", "hven.sqlite-shm": "the same",
    "store.sqlite": "the store: see STORE", "store.sqlite-wal": "the same", "store.sqlite-shm": "the same",
    "pictures": "pictures of files, asked as the file itself: test_states_and_files_are_asked_anew",
    "facets": "counts by scope", "trees": "the same: each file is of one scope", "metrics": "numbers of the server", "rejects": "rows of sources, in the shell", "tmp": "for the moment", "run": "sockets of processes",
}  # fmt: skip
KEPT = merge_package_rights("KEPT_DIRECTORIES", KEPT)
# addresses that a reader may share with others, by the package that has them: those of rows of a collection
SHARED_ADDRESSES: dict[str, Callable[[str], list[str]]] = merge_package_rights("SHARED_ADDRESSES", {})
KEEPING_REQUESTS = merge_package_rights("KEEPING_REQUESTS", {})  # path -> body that makes the site keep something
PACKAGE_REQUESTS = load_package_modules("rights_requests")
for _module in PACKAGE_REQUESTS:
    KEPT |= _module.KEPT_DIRECTORIES


@pytest.fixture(scope="module")
def template_site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A site of which each test has a copy."""
    directory = tmp_path_factory.mktemp("lost") / "site"
    directory.mkdir()
    (directory / "hven.toml").write_text(SETTINGS.format(members='"mia"'))
    declare(directory, "echo", ECHOING.replace("bin/echo", "./echo"), echo=ECHO_PROGRAM)
    for name, access in ACCESS.items():
        folder = directory / "collections" / name
        (folder / "data").mkdir(parents=True)
        (folder / f"{name}.yaml").write_text(DESCRIPTOR.format(name=name, access=access, level=LEVELS.get(name, "")))
        lines = [f"{word},{10 + at},20,Piet Pi,data/{word}.fits,sesame {name} {word}" for at, word in enumerate(("one", "two"))]  # fmt: skip
        (folder / "rows.csv").write_text("\n".join(["obs_id,ra,dec,pi,file,note", *lines]) + "\n")
        header = fits.Header({"CTYPE1": "RA---TAN", "CRVAL1": 10.0, "CRPIX1": 4.0, "CDELT1": -0.01, "CTYPE2": "DEC--TAN", "CRVAL2": 20.0, "CRPIX2": 4.0, "CDELT2": 0.01, "OBJECT": f"sesame {name}"})  # fmt: skip
        for word in ("one", "two"):
            fits.PrimaryHDU(np.ones((8, 8), "f4"), header).writeto(folder / "data" / f"{word}.fits")
    with Site(settings.load_settings(directory), watch_for_changes=False) as site:
        for name in ACCESS:
            report = ingest_collection(site, name)
            assert report.published, report.error
    return directory


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "MAX_DELAY_SECONDS", 0.0)  # wrong proof is answered late


@pytest.fixture
def world(template_site: Path, tmp_path: Path, clock: MovableClock) -> Iterator[World]:
    shutil.copytree(template_site, tmp_path / "site", symlinks=True)
    with Site(settings.load_settings(tmp_path / "site"), watch_for_changes=True) as site:
        tokens = {name: site.store.users.add_account(name) for name in ("karl", "hana", "mia", "gerd", "sven", "olga")}
        made = World(site, Client(create_and_start_application(site)), clock, tokens)
        made.strangers = {
            "nobody": {},
            "an account without rights": made.account("sven"),
            "another referee": made.invite("free"),
        }
        yield made


def find_shown_words(answer: Answer, word: str) -> str:
    """Return what an answer shows of a collection, in its body or its head."""
    text = answer.body.decode("utf-8", "replace") + json.dumps(answer.headers)
    return ", ".join(sorted(set(re.findall(rf"sesame {word}[ \w]*", text))))


def list_job_addresses(world: World, line: Line, ident: str) -> list[str]:
    """List all addresses of a job: the routes of the application, filled with all that it has."""
    job = world.site.store.jobs.get_job(ident)
    holes = {"parameters": [name for name, _ in job.parameters] or ["QUERY"], "results": [one["id"] for one in job.results] or ["result"]}  # fmt: skip
    found = []
    for path in sorted(list_routes(world.site)):
        if path.startswith(f"{line.path}/{{job}}"):
            part = path.rpartition("/{name}")[0].rpartition("/")[2] if path.endswith("/{name}") else ""
            found += [path.replace("{job}", ident).replace("{name}", name) for name in holes.get(part, [""])]
    assert len(found) >= 10
    shown = (f"/jobs/shown/{what}?job={ident}&_as=csv" for what in ("download", "points?_x=ra", "histogram?_x=ra"))
    return [*found, *list_query_addresses(f"/jobs?job={ident}", *shown)]


def test_every_kind_has_a_line(world: World) -> None:
    known_types = {*JOBS, *JOBS_WITHOUT_LIST}
    assert set(type_catalogue.load_all_job_types(world.site.settings)) == known_types, (
        "a job type without a line in JOBS"
    )
    package_tables = {table.name for table in list_package_tables()}
    assert metadata.tables.keys() | package_tables == set(STORE), "a table of the store without a line in STORE"
    paths = {path.partition("/{job}")[0] for path in list_routes(world.site) if "{job}" in path}
    assert paths == {line.path for line in JOBS.values()}, "a list of jobs without a line in JOBS"


@dataclass
class RecordedJob:
    """A job, and what its addresses answered as long as its maker had the right."""

    kind: str
    ident: str
    addresses: list[str]


def make_jobs(world: World, loser: Loser, headers: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Begin a job of each type; gives the type and the job's name."""
    for kind, line in JOBS.items():
        sent = {**line.params(world, loser.collection, headers), "RUNID": "zqrun", "PHASE": "RUN"}
        made = world.ask(line.path, headers, "POST", urlencode(sent))
        if made.status == 401:  # for those with an account
            assert kind in {*OPERATOR_JOBS, "table_update"}
            assert not loser.account
            continue
        assert made.status == 303, made.text
        yield kind, made.headers["location"].rpartition("/")[2]


@pytest.mark.parametrize("loser", LOSERS, ids=lambda one: one.name)
def test_a_job_ends_with_the_right_by_which_it_was_made(world: World, loser: Loser) -> None:
    headers = loser.begin(world)
    idents = list(make_jobs(world, loser, headers))
    world.run_jobs()
    jobs = [RecordedJob(kind, ident, list_job_addresses(world, JOBS[kind], ident)) for kind, ident in idents]
    for one in jobs:
        line, job = JOBS[one.kind], world.site.store.jobs.get_job(one.ident)
        assert job.owner == (loser.account or f"invitation:{ending(headers)}")
        assert world.ask(f"{line.path}/{one.ident}", headers).status == 200
        assert one.ident in world.ask(line.path, headers).text
        if line.shows:
            assert job.phase == "COMPLETED", job.error
            assert find_shown_words(world.ask(f"{line.path}/{one.ident}/results/result", headers), loser.collection)
        for who, others in world.strangers.items():
            for address in one.addresses[::3]:
                answer = world.ask(address, others)
                assert answer.status in {403, 404, *line.closed}, (who, address, answer.status)
                assert not find_shown_words(answer, loser.collection)
            assert one.ident not in world.ask(line.path, others).text, who

    world.lose(loser, headers)
    gone, renewed = "removed" in loser.name, "renewed" in loser.name
    for who, these in {"themself": headers, **world.strangers}.items():
        own = who == "themself" and loser.account != ""
        page = world.ask("/jobs", {**these, "accept": "text/html"})
        assert not own or f"{loser.collection}.main" not in page.text
        for one in jobs:
            # one that relies on no right stays its owner's
            if own and one.kind == "echo" and not (gone or renewed):
                continue
            for address in one.addresses:
                answer = world.ask(address, these)
                wanted = {401, 403, 404} if loser.account else {404, *JOBS[one.kind].closed}
                assert answer.status in wanted, (who, address, answer.status)
                assert not find_shown_words(answer, loser.collection), (who, address)
                assert own or loser.collection not in answer.text, (who, address)
            listed = world.ask(JOBS[one.kind].path, these)
            assert one.ident not in listed.text or own, who
            assert one.ident not in page.text or own, who
    for one in jobs:
        if not loser.account:
            JobSupervisor(
                world.site.settings, worker_limit=0, idle_seconds=1.0, parent_pid=None
            )._delete_expired_jobs_files_and_grants()
            assert not (world.site.settings.data_directory / "jobs" / one.ident).exists()
        elif not (gone or renewed):
            assert world.ask(f"{JOBS[one.kind].path}/{one.ident}", headers, "DELETE").status == 303, "its owner may"
        assert world.site.store.jobs.select_existing([one.ident]) == (set() if not renewed else {one.ident})


@pytest.mark.parametrize("loser", [one for one in LOSERS if "removed" not in one.name and "renewed" not in one.name], ids=lambda one: one.name)  # fmt: skip
def test_a_job_that_waits_runs_with_the_rights_of_then(world: World, loser: Loser) -> None:
    headers = loser.begin(world)
    jobs = dict(make_jobs(world, loser, headers))
    world.lose(loser, headers)
    world.run_jobs()
    for kind, ident in jobs.items():
        job = world.site.store.jobs.get_job(ident)
        files = [path for path in (world.site.settings.data_directory / "jobs" / ident).glob("**/*") if path.is_file()]
        shows = [path for path in files if f"sesame {loser.collection}".encode() in path.read_bytes()]
        assert not shows or kind == "echo"
        if not loser.account and kind != "echo":
            assert job.phase == "ERROR"
            assert "the invitation for this job has expired" in job.error["message"]


def test_what_the_owner_needs_no_right_for_stays_theirs(world: World) -> None:
    world.site.store.grants.add_grant("member", subject="hana", object="hesiod", role="reader", actor="owner")
    headers = world.account("hana")
    for line in (JOBS["tap"], *(JOBS[name] for name in FILE_JOBS)):
        params = line.params(world, "free", headers)
        made = world.ask(line.path, headers, "POST", urlencode({**params, "PHASE": "RUN"}))
        world.run_jobs()
        _take("member", "hana")(world, headers)
        answer = world.ask(f"{line.path}/{made.headers['location'].rpartition('/')[2]}/results/result", headers)
        assert answer.status == 200
        assert find_shown_words(answer, "free")


@pytest.mark.parametrize("kind", [name for name, line in JOBS.items() if line.shows])
@pytest.mark.parametrize("access", ["access: private", "access: \"'spica' in groups\""])
def test_a_job_of_nobody_closes_with_its_table(world: World, kind: str, access: str) -> None:
    line = JOBS[kind]
    made = world.ask(line.path, {}, "POST", urlencode({**line.params(world, "free", {}), "PHASE": "RUN"}))
    ident = made.headers["location"].rpartition("/")[2]
    world.run_jobs()
    there = f"{line.path}/{ident}/results/result"
    assert find_shown_words(world.ask(there, {}), "free")
    place = world.site.settings.directory / "collections" / "free" / "free.yaml"
    before = place.read_text()
    place.write_text(DESCRIPTOR.format(name="free", access=access, level=""))
    world.site.refresh_published_state()
    for address in (there, f"{line.path}/{ident}", *list_query_addresses(f"/jobs/shown/download?job={ident}")):
        answer = world.ask(address, {})
        assert answer.status == 403, address
        assert not find_shown_words(answer, "free")
    place.write_text(before)
    world.site.refresh_published_state()
    assert find_shown_words(world.ask(there, {}), "free"), "it is open again"


def test_a_persistent_address_closes_with_its_table(world: World) -> None:
    for headers in (world.invite("zqpriv"), {**world.invite("zqpriv"), **world.account("karl")}):
        refused = world.ask("/results", headers, "POST", urlencode({"QUERY": "SELECT note FROM zqpriv.main"}))
        assert refused.status == 403
    made = world.ask("/results", {}, "POST", urlencode({"QUERY": "SELECT note FROM free.main"}), accept="application/json")  # fmt: skip
    address = json.loads(made.body)["url"].partition("vo.example")[2]
    assert world.ask(address, {}).status == 200
    place = world.site.settings.directory / "collections" / "free" / "free.yaml"
    for access in ("access: private", "access: \"'spica' in groups\""):
        place.write_text(DESCRIPTOR.format(name="free", access=access, level=""))
        world.site.refresh_published_state()
        for rest in ("", ".json", "/rows"):
            answer = world.ask(f"{address}{rest}", {})
            if (rest, access) == ("/rows", "access: \"'spica' in groups\""):
                assert not find_shown_words(answer, "free")  # the rows that everybody sees now: none
            else:
                assert answer.status in {400, 404}, (access, rest, answer.text)


@pytest.mark.parametrize("loser", LOSERS, ids=lambda one: one.name)
def test_a_signed_address_shows_what_its_reader_may_see_now(world: World, loser: Loser) -> None:
    headers = loser.begin(world)
    query = f"/tap/sync?{urlencode(_query(loser.collection))}"
    signed = world.ask("/sign", headers, "POST", urlencode({"url": query}))
    if not loser.account:
        assert signed.status in {401, 403}, "an invitation is not an account"
        return
    address = json.loads(signed.body)["url"].partition("vo.example")[2]
    if "referee" not in loser.name:  # what the account sees, and not what the invitation does
        assert find_shown_words(world.ask(address, {}), loser.collection)
    world.lose(loser, headers)
    assert not find_shown_words(world.ask(address, {}), loser.collection), loser.name


def test_own_tables_are_their_owners(world: World) -> None:
    require_plugins("protocols", "user_tables")
    hana = _give("member", "hana", object="hesiod", role="reader")(world)
    kept = world.ask("/tap/user_tables/mine", hana, "PUT", "id,note\none,mine alone\n", content_type="text/csv")
    assert kept.status == 201
    query = {"LANG": "ADQL", "RESPONSEFORMAT": "csv", "QUERY": "SELECT m.note, t.note AS other FROM tap_user.mine AS m JOIN zqteam.main AS t ON t.obs_id = m.id"}  # fmt: skip
    address = f"/tap/sync?{urlencode(query)}"
    assert "mine alone,sesame zqteam one" in world.ask(address, hana).text
    _take("member", "hana")(world, hana)
    world.clock.move(1.0)
    assert "sesame" not in world.ask(address, hana).text
    for who in world.strangers.values():
        for asked in ("/tap/user_tables/mine", f"/tap/sync?{urlencode({**query, 'QUERY': 'SELECT * FROM tap_user.mine'})}"):  # fmt: skip
            assert "mine alone" not in world.ask(asked, who).text
    world.site.store.users.remove_account("hana")
    world.clock.move(1.0)
    assert world.ask(address, hana).status == 401
    assert world.site.store.user_tables.list_unexpired_owner_tables("hana") == []
    referee = world.invite("zqpriv")
    refused = world.ask("/tap/user_tables/mine", referee, "PUT", "id\none\n", content_type="text/csv")
    assert refused.status == 401, "tables are kept for accounts"


@pytest.mark.parametrize("package", SHARED_ADDRESSES)
@pytest.mark.parametrize("loser", LOSERS[:7], ids=lambda one: one.name)
def test_shared_addresses_show_what_their_reader_may_see(world: World, loser: Loser, package: str) -> None:
    headers = loser.begin(world)
    addresses = SHARED_ADDRESSES[package](loser.collection)
    assert find_shown_words(world.ask(addresses[-1], headers), loser.collection)
    world.lose(loser, headers)
    for who, these in {"themself": headers, **world.strangers}.items():
        for address in addresses:
            answer = world.ask(address, these)
            assert not re.search(rf"sesame {loser.collection} \w+", answer.text), (who, address)


@pytest.mark.parametrize("loser", LOSERS[:7], ids=lambda one: one.name)
def test_states_and_files_are_asked_anew(world: World, loser: Loser) -> None:
    """Files of packages (states of HATS), files, previews, cut-outs and archives: what was made for somebody lies on the disk, and is given to nobody else."""
    headers, name = loser.begin(world), loser.collection
    package_addresses = [
        address
        for module in PACKAGE_REQUESTS
        for address in module.list_kept_addresses(lambda one: world.ask(one, headers).text, f"{name}.main")
    ]
    addresses = [
        *package_addresses,
        f"/collections/{name}/files/data/one.fits", f"/collections/{name}/headers/data/one.fits",
        f"/datalink/{name}.main?ID=one",
        *(address.replace("{collection}", name) for address in FILE_ADDRESSES.values()),
    ]  # fmt: skip
    before = {address: world.ask(address, headers) for address in addresses}
    assert [one.status for one in before.values()].count(200) >= len(addresses) - 2, {one: answer.status for one, answer in before.items()}  # fmt: skip
    world.lose(loser, headers)
    for who, these in {"themself": headers, **world.strangers}.items():
        for address in addresses:
            tag = {"if-none-match": before[address].headers.get("etag", '"x"')}
            for more in ({}, tag):
                answer = world.ask(address, {**these, **more})
                assert answer.status != 304, (who, address)
                assert not find_shown_words(answer, name), (who, address)
                if address in package_addresses or name != "zqnight":
                    assert answer.status in {400, 401, 403, 404, 410} or b"sesame" not in answer.body, (who, address)
                assert answer.body != before[address].body or answer.status >= 400, (who, address)


def test_every_directory_of_kept_things_has_a_line(world: World) -> None:
    """All that this module makes is made once more, and what it left on the disk is looked at."""
    headers = world.account("mia")
    for line in JOBS.values():
        world.ask(line.path, headers, "POST", urlencode({**line.params(world, "zqnight", headers), "PHASE": "RUN"}))
    world.run_jobs()
    for address in FILE_ADDRESSES.values():
        world.ask(address.replace("{collection}", "zqnight"), headers)
    for path, body in KEEPING_REQUESTS.items():
        world.ask(path, headers, "POST", body)
    places = {world.site.settings.data_directory, world.site.settings.var_directory}
    found = {path.name for place in places for path in place.iterdir()} - {place.name for place in places}
    assert found <= set(KEPT), f"directories without a line in KEPT: {sorted(found - set(KEPT))}"
