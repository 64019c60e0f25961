"""A catalogue of VizieR as the way into a submission: fetched by a job within a budget, from a server on this machine."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote

import pytest
from asgi_client import Client
from submission_site import Person, make_image, open_submission_site, path_of, query, read_submission

from hven.jobs._worker import run_next_job
from hven.jobs.job_service import JobRequester, JobService
from hven.model.errors import ParamError, PreconditionFailedError
from hven.model.params import collect_params
from hven.plugins.submissions import vizier_catalogues
from hven.plugins.submissions.submission_section_keys import SubmissionSettings
from hven.plugins.submissions.submission_store import SubmissionStore
from hven.plugins.submissions.vizier_catalogues import parse_catalogue_name
from hven.site import Site
from hven.site.auth import Principal

README = """\
J/A+A/617/A83   Images of two stars                                 (Author+, 2018)
================================================================================
Images of two stars
     Author A.B., Writer C.
    <Astron. Astrophys. 617, A83 (2018)>
    =2018A&A...617A..83A        (SIMBAD/NED BibCode)
================================================================================
File Summary:
--------------------------------------------------------------------------------
 FileName      Lrecl  Records   Explanations
--------------------------------------------------------------------------------
ReadMe            80        .   This file
stars.dat         16        2   The stars
{files}
--------------------------------------------------------------------------------

Byte-by-byte Description of file: stars.dat
--------------------------------------------------------------------------------
   Bytes Format Units   Label     Explanations
--------------------------------------------------------------------------------
   1-  8  A8    ---     STAR      Name
  10- 14  F5.2  m       B1        Baseline
--------------------------------------------------------------------------------
(End)
"""
LISTING = '<a href="../">up</a> <a href="/etc/x.fits">x</a> <a href="a%20b.fits">a b</a> <a HREF=\'c.fits\'>c</a> <a href="notes.txt">n</a> <a href="..%2Fd.fits">d</a> <a href="c.fits">c</a>'
STARS = "vz one   12.50\nvz two   31.00\n"
Handler = Any


class FakeVizier(ThreadingHTTPServer):
    """Serves files from a mapping of paths to contents, or to functions that answer."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), FakeVizierHandler)
        self.contents: dict[str, Any] = {}
        self.requests: list[str] = []

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/ftp"


class FakeVizierHandler(BaseHTTPRequestHandler):
    server: FakeVizier

    def do_GET(self) -> None:
        path = unquote(self.path)
        self.server.requests.append(path)
        content = self.server.contents.get(path)
        if callable(content):
            content(self)
            return
        self.send_response(404 if content is None else 200)
        body = (content or "").encode() if not isinstance(content, bytes) else content
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def fake_vizier() -> Iterator[FakeVizier]:
    with FakeVizier() as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture(scope="module")
def catalogue_site(
    fake_vizier: FakeVizier, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Site, Client, dict[str, Person]]]:
    directory = tmp_path_factory.mktemp("vizier")
    with open_submission_site(directory, allow_private=True) as (site, client, people):
        site.settings = replace(site.settings, limits=replace(site.settings.limits, upload=2_000_000))
        set_time_limit(site, fake_vizier, 60)
        yield site, client, people


def set_time_limit(site: Site, server: FakeVizier, seconds: int) -> None:
    section = SubmissionSettings(vizier=server.address, vizier_seconds=seconds)
    site.settings = replace(site.settings, brought={**site.settings.brought, "submissions": section})


@pytest.fixture
def vizier(fake_vizier: FakeVizier) -> FakeVizier:
    """Return the server with the catalogue of this module."""
    folder = "/ftp/J/A+A/617/A83"
    fake_vizier.requests.clear()
    fake_vizier.contents = {
        f"{folder}/ReadMe": README.format(files="fits/*            .        2   The images"),
        f"{folder}/fits/": LISTING,
        f"{folder}/fits/a b.fits": make_image(OBJECT="vf a", EXPTIME=2.0),
        f"{folder}/fits/c.fits": make_image(OBJECT="vf c", EXPTIME=3.0),
        f"{folder}/stars.dat": STARS,
    }
    return fake_vizier


def fetch(site: Site, person: Person, table: str, name: str = "J/A+A/617/A83") -> dict[str, Any]:
    """Begin a submission with a catalogue, run the job, and return the submission."""
    submission = read_submission(person.send(f"/submissions/{table}", {"vizier": name}), 201)
    assert run_next_job(site)
    return read_submission(person.get(path_of(submission)))


def test_the_files_of_a_catalogue_are_checked_and_published(
    catalogue_site: tuple[Site, Client, dict[str, Person]], vizier: FakeVizier
) -> None:
    site, client, people = catalogue_site
    anna, mia = people["anna"], people["mia"]
    submission = read_submission(anna.send("/submissions/lists.images", {"vizier": " J/A+A/617/A83/ "}), 201)
    assert submission["catalogues"] == [{"name": "J/A+A/617/A83", "phase": "QUEUED", "fault": ""}]
    assert "J/A+A/617/A83 is being fetched." in anna.show(path_of(submission))
    assert vizier.requests == [], "the request waits for no other server"
    early = anna.take(submission, "submit")
    assert (early.status, "J/A+A/617/A83 is still being fetched" in early.text) == (400, True)
    assert run_next_job(site)
    fetched = read_submission(anna.get(path_of(submission)))
    assert fetched["catalogues"] == []
    assert [(file["name"], file["state"]) for file in fetched["files"]] == [("a b.fits", "good"), ("c.fits", "good")]
    assert [row["values"]["object"] for row in fetched["rows"]] == ["vf a", "vf c"]
    assert [path for path in vizier.requests if "x.fits" in path or "d.fits" in path] == [], "names stay in the folder"
    submitted = read_submission(anna.take(fetched, "submit"))
    read_submission(mia.take(submitted, "accept"))
    found = query(client, "SELECT object FROM lists.images WHERE object LIKE 'vf%' ORDER BY object")
    assert found == [["vf a"], ["vf c"]]
    again = fetch(site, anna, "lists.images")
    assert [file["state"] for file in again["files"]] == ["known", "known"], "the same content is published once"


def test_the_rows_of_a_catalogue_without_files(
    catalogue_site: tuple[Site, Client, dict[str, Person]], vizier: FakeVizier, monkeypatch: pytest.MonkeyPatch
) -> None:
    site, _, people = catalogue_site
    vizier.contents["/ftp/J/A+A/617/A83/ReadMe"] = README.format(files="")
    submission = fetch(site, people["anna"], "lists.nights")
    assert [file["name"] for file in submission["files"]] == ["stars.dat.json"]
    assert [row["values"] for row in submission["rows"]] == [{"star": "vz one", "b1": 12.5}, {"star": "vz two", "b1": 31.0}]  # fmt: skip
    monkeypatch.setattr(vizier_catalogues, "MAX_SHEET_ROWS", 1)
    refused = fetch(site, people["anna"], "lists.nights")
    assert "a table may have at most 1 rows" in refused["catalogues"][0]["fault"]
    assert refused["files"] == []


def _send_forever(handler: Handler) -> None:
    handler.send_response(200)
    handler.end_headers()
    try:
        for _ in range(10_000):
            handler.wfile.write(b"x" * 65_536)
    except OSError:
        return


def _send_slowly(handler: Handler) -> None:
    handler.send_response(200)
    handler.end_headers()
    try:
        for _ in range(200):
            handler.wfile.write(b"x")
            time.sleep(0.05)
    except OSError:
        return


def _redirect_inwards(handler: Handler) -> None:
    handler.send_response(302)
    handler.send_header("location", "file:///etc/passwd")
    handler.end_headers()


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"ReadMe": None}, "404"),
        ({"ReadMe": _send_forever}, "larger than"),
        ({"ReadMe": _redirect_inwards}, ""),
        ({"ReadMe": "no ReadMe at all"}, "has no files or tables that this table accepts"),
        ({"fits/": None}, "404"),
        ({"fits/": "no links"}, ""),
        ({"fits/c.fits": None}, "404"),
        ({"fits/c.fits": _send_forever}, "larger than"),
    ],
)
def test_what_cannot_be_fetched_is_said_in_words(
    catalogue_site: tuple[Site, Client, dict[str, Person]], vizier: FakeVizier, changes: dict[str, Any], fault: str
) -> None:
    site, _, people = catalogue_site
    vizier.contents |= {f"/ftp/J/A+A/617/A83/{name}": content for name, content in changes.items()}
    if "fits/" in changes and not fault:  # without files, there are the rows of the table
        assert fetch(site, people["anna"], "lists.images")["files"][0]["name"] == "stars.dat.json"
        return
    submission = fetch(site, people["anna"], "lists.images")
    (catalogue,) = submission["catalogues"]
    assert (catalogue["phase"], submission["files"]) == ("ERROR", []), "all files or none"
    assert catalogue["fault"]
    assert fault in catalogue["fault"]
    page = people["anna"].show(path_of(submission))
    assert "J/A+A/617/A83 cannot be fetched:" in page
    assert "root:" not in page
    people["anna"].take(submission, "discard")


def test_a_slow_server_costs_no_more_than_its_budget(
    catalogue_site: tuple[Site, Client, dict[str, Person]], vizier: FakeVizier
) -> None:
    site, _, people = catalogue_site
    vizier.contents["/ftp/J/A+A/617/A83/fits/c.fits"] = _send_slowly
    set_time_limit(site, vizier, 1)
    try:
        submission = fetch(site, people["anna"], "lists.images")
    finally:
        set_time_limit(site, vizier, 60)
    assert submission["catalogues"][0]["phase"] == "ERROR"
    assert submission["files"] == []
    people["anna"].take(submission, "discard")


def test_the_author_goes_on_while_a_catalogue_is_fetched(
    catalogue_site: tuple[Site, Client, dict[str, Person]], vizier: FakeVizier
) -> None:
    site, _, people = catalogue_site
    anna = people["anna"]
    submission = read_submission(anna.send("/submissions/lists.images", {"vizier": "J/A+A/617/A83"}), 201)

    def change_submission(handler: Handler) -> None:
        added = anna.send_file(f"{path_of(submission)}/files", "own.fits", make_image(OBJECT="vo", EXPTIME=1.0))
        assert added.status == 200, added.text
        body = make_image(OBJECT="vc", EXPTIME=9.0)
        handler.send_response(200)
        handler.send_header("content-length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    vizier.contents["/ftp/J/A+A/617/A83/fits/c.fits"] = change_submission
    assert run_next_job(site)
    fetched = read_submission(anna.get(path_of(submission)))
    assert {file["name"] for file in fetched["files"]} == {"own.fits", "a b.fits", "c.fits"}
    discarded = read_submission(anna.take(fetched, "discard"))
    late = anna.send(f"{path_of(discarded)}/files", {"vizier": "J/A+A/617/A83"})
    assert late.status == 409


def test_a_discarded_submission_gets_no_files(
    catalogue_site: tuple[Site, Client, dict[str, Person]], vizier: FakeVizier
) -> None:
    site, _, people = catalogue_site
    submission = read_submission(people["anna"].send("/submissions/lists.images", {"vizier": "J/A+A/617/A83"}), 201)
    read_submission(people["anna"].take(submission, "discard"))
    assert run_next_job(site)
    assert read_submission(people["anna"].get(path_of(submission)))["files"] == []
    assert not (site.settings.var_directory / "submissions" / str(submission["number"])).exists()
    assert vizier.requests == []


@pytest.mark.parametrize(
    "name", ["J/A+A/617/A83", "J/MNRAS/414/108", "II/346", "B/gcvs", "J/other/NewA/10.325", "I/355A"]
)
def test_names_of_catalogues(name: str) -> None:
    assert parse_catalogue_name(f" {name}/") == name


@pytest.mark.parametrize("name", ["", "J", "../../etc", "J/A+A/../..", "http://x", "J/A+A/617/A83/x/y", "J/A A/1/2", "J/A+A/617/A83?x", "x" * 500, "J/A+A/1/2\n"[:-1] + "#"])  # fmt: skip
def test_other_names_are_refused(
    name: str, catalogue_site: tuple[Site, Client, dict[str, Person]], vizier: FakeVizier
) -> None:
    with pytest.raises(ParamError):
        parse_catalogue_name(name)
    if name:
        answer = catalogue_site[2]["anna"].send("/submissions/lists.images", {"vizier": name})
        assert (answer.status, "is not the name of a catalogue" in answer.text) == (400, True)
    assert vizier.requests == []


def test_who_may_fetch(catalogue_site: tuple[Site, Client, dict[str, Person]], vizier: FakeVizier) -> None:
    people = catalogue_site[2]
    for name, status in (("eve", 403), ("", 401)):
        assert people[name].send("/submissions/lists.images", {"vizier": "J/A+A/617/A83"}).status == status
    submission = people["anna"].begin({"w.fits": make_image(OBJECT="w")}, "lists.images")
    for name in ("bob", "mia", "eve", ""):
        answer = people[name].send(f"{path_of(submission)}/files", {"vizier": "J/A+A/617/A83"})
        assert answer.status in {401, 403, 404}
    assert vizier.requests == []


def test_the_job_alone_gives_nobody_a_submission(
    catalogue_site: tuple[Site, Client, dict[str, Person]], vizier: FakeVizier
) -> None:
    """Another user who creates the job by hand reaches no submission that is not theirs."""
    site, _, people = catalogue_site
    submission = people["anna"].begin({"j.fits": make_image(OBJECT="j")}, "lists.images")
    job = {
        "TABLE": "lists.images",
        "SUBMISSION": str(submission["number"]),
        "CATALOGUE": "J/A+A/617/A83",
        "PHASE": "RUN",
    }
    service = JobService(site, "submission_catalogue")
    record = service.create_job(
        collect_params(list(job.items())), JobRequester(principal=Principal(name="bob"), address="")
    )
    assert run_next_job(site)
    assert site.store.jobs.get_job(record.id).phase == "ERROR"
    assert len(read_submission(people["anna"].get(path_of(submission)))["files"]) == 1
    assert vizier.requests == []


def test_a_request_that_fails_leaves_no_job(
    catalogue_site: tuple[Site, Client, dict[str, Person]], vizier: FakeVizier, monkeypatch: pytest.MonkeyPatch
) -> None:
    site, _, people = catalogue_site
    submission = people["anna"].begin({"k.fits": make_image(OBJECT="k")}, "lists.images")
    service = JobService(site, "submission_catalogue")
    requester = JobRequester(principal=Principal(name="anna"), address="")

    def list_job_ids() -> set[str]:
        return {job.id for job in service.list_jobs(collect_params([]), requester, row_limit=100)}

    job_ids = list_job_ids()
    created_ids: set[str] = set()

    def change_meanwhile(*_: object, **__: object) -> None:
        created_ids.update(list_job_ids() - job_ids)
        raise PreconditionFailedError("the submission has changed meanwhile")

    with monkeypatch.context() as context:
        context.setattr(SubmissionStore, "change_submission", change_meanwhile)
        answer = people["anna"].send(f"{path_of(submission)}/files", {"vizier": "J/A+A/617/A83"})
    assert answer.status == 412, answer.text
    assert len(created_ids) == 1
    assert list_job_ids() == job_ids
    assert not run_next_job(site)
    people["anna"].take(submission, "discard")


def test_only_the_submission_creates_its_jobs(
    catalogue_site: tuple[Site, Client, dict[str, Person]], vizier: FakeVizier
) -> None:
    """The author cannot pass the limit of catalogues by jobs that are created by hand: no address creates them."""
    site, client, people = catalogue_site
    anna = people["anna"]
    parameters = {"TABLE": "lists.images", "SUBMISSION": "1", "CATALOGUE": "J/A+A/617/A83", "PHASE": "RUN"}
    assert anna.post_form("/jobs/submission_catalogue", parameters, {}).status == 404
    assert anna.post_form("/jobs", {"TYPE": "submission_catalogue", **parameters}, {}).status in {400, 404, 405}
    assert "submission_catalogue" not in anna.show("/jobs")
    assert client.get("/jobs/submission_catalogue").status == 404
    assert not run_next_job(site)
    assert vizier.requests == []


def test_by_form(catalogue_site: tuple[Site, Client, dict[str, Person]], vizier: FakeVizier) -> None:
    site, _, people = catalogue_site
    anna = people["anna"]
    assert 'name="vizier"' in anna.show("/submissions/lists.images")
    begun = anna.post_form(
        "/submissions/lists.images", {"token": "vz", "vizier": "J/A+A/617/A83", "url": ""}, {"": b""}
    )
    assert begun.status == 303, begun.text
    twice = anna.post_form(
        "/submissions/lists.images", {"token": "vz", "vizier": "J/A+A/617/A83", "url": ""}, {"": b""}
    )
    assert twice.headers["location"] == begun.headers["location"]
    assert run_next_job(site)
    assert not run_next_job(site), "a form that comes twice starts one job"
    submission = read_submission(anna.get(begun.headers["location"].removeprefix("http://vo.example")))
    assert len(submission["files"]) == 2


def test_the_address_of_a_file_is_another_way_in(
    catalogue_site: tuple[Site, Client, dict[str, Person]], vizier: FakeVizier
) -> None:
    anna = catalogue_site[2]["anna"]
    vizier.contents["/ftp/J/A+A/617/A83/fits/c.fits"] = make_image(OBJECT="vu", EXPTIME=4.0)
    url = f"{vizier.address}/J/A+A/617/A83/fits/c.fits"
    submission = read_submission(anna.send("/submissions/lists.images", {"url": url}), 201)
    assert [(file["name"], file["state"]) for file in submission["files"]] == [("c.fits", "good")]
    anna.take(submission, "discard")
