"""The preview of a job: its pictures, the ends of its logs, the first rows of its table; for those who may see the job."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator

import pytest
from asgi_client import Answer, Client
from star_tables import STARS, build_rows

from hven.app._server import create_and_start_application
from hven.jobs._worker import run_next_job
from hven.jobs.job_service import JobRequester, JobService
from hven.model.params import UploadedFile, collect_params
from hven.plugins.query_pages.job_previews import MAX_LOG_BYTES, MAX_LOG_LINES, MAX_PREVIEW_ROWS
from hven.site import Site
from hven.site.auth import Principal
from hven.site.store import JobRecord
from hven.testing.site import open_tiny_site

TYCHO, OLE = "tycho", "ole"
ROW_COUNT = MAX_PREVIEW_ROWS + 5
PROGRAM = f"""
printf P1 > one.png; printf P1 > two.png
printf 'id,name\\n' > rows.csv
for number in $(seq {ROW_COUNT}); do echo "$number,star $number" >> rows.csv; done
cat "$1"
"""
TYPE = f"""\
title: Draw
command: [/bin/sh, -c, {json.dumps(PROGRAM)}, draw, "{{LOG}}"]
params: {{LOG: {{file: true}}}}
results:
  one: {{file: one.png, type: image/png}}
  two: {{file: two.png, type: image/png}}
  rows: {{file: rows.csv, type: text/csv}}
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with open_tiny_site(tmp_path_factory.mktemp("site"), {"stars.main": (STARS, build_rows())}) as made:
        path = made.settings.directory / "jobs/draw.yaml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(TYPE, encoding="utf-8")
        yield made


@pytest.fixture(scope="module")
def client(site: Site) -> Client:
    return Client(create_and_start_application(site))


@pytest.fixture(scope="module")
def tokens(site: Site) -> dict[str, str]:
    return {name: site.store.users.add_account(name) for name in (TYCHO, OLE)}


def run_job(site: Site, type_name: str, *params: tuple[str, str], log: bytes | None = None) -> JobRecord:
    requester = JobRequester(principal=Principal(name=TYCHO), address="192.0.2.1")
    files = {} if log is None else {"LOG": UploadedFile(name="LOG", file=io.BytesIO(log), size=len(log))}
    job = JobService(site, type_name).create_job(collect_params([*params, ("PHASE", "RUN")], files), requester)
    assert run_next_job(site)
    return site.store.jobs.get_job(job.id)


def ask(client: Client, job: JobRecord, token: str = "", address: str = "/jobs/shown/preview?job=") -> Answer:
    headers = {"accept": "text/html", **({"authorization": f"Bearer {token}"} if token else {})}
    return client.ask("GET", f"{address}{job.id}", headers=headers)


def test_pictures_rows_and_the_end_of_the_log(site: Site, client: Client, tokens: dict[str, str]) -> None:
    lines = "".join(f"line {number} <b>\n" for number in range(1, MAX_LOG_LINES + 6))
    job = run_job(site, "draw", log=lines.encode())
    assert job.phase == "COMPLETED"
    answer = ask(client, job, tokens[TYCHO])
    assert answer.status == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["cache-control"] == "private, no-store"
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    text = answer.text
    assert "<html" not in text
    for name in ("one", "two"):
        assert f'/jobs/draw/{job.id}/results/{name}"><img' in text
    assert text.count("<tr>") == 1 + MAX_PREVIEW_ROWS
    assert f"star {MAX_PREVIEW_ROWS}<" in text
    assert "The table has more rows." in text
    assert "line 5 " not in text
    assert "line 6 &lt;b&gt;\n" in text
    assert "the last lines" in text
    page = ask(client, job, tokens[TYCHO], "/jobs?job=").text
    assert f'data-preview="http://vo.example/jobs/shown/preview?job={job.id}"' in page
    assert f'/jobs/draw/{job.id}/results/two"><img' in page
    assert f"line {MAX_LOG_LINES + 5} &lt;b&gt;" in page


@pytest.mark.parametrize(
    ("data", "shown", "is_cut"),
    [
        (b"", None, False),
        (b"one\ntwo\n", "one\ntwo", False),
        (b"a\r\nb\r\n", "a\nb", False),
        (b"10 %\r50 %\r100 %\nready\n", "100 %\nready", False),
        (b"\x1b[1;31mred\x1b[0m\n", "red", False),
        (b"bad \xff byte\n", "bad � byte", False),
        (b"x" * 3 * MAX_LOG_BYTES, "x" * MAX_LOG_BYTES, True),
        (b"y" * 3 * MAX_LOG_BYTES + b"\nthe end\n", "the end", True),
    ],
    ids=["empty", "lines", "windows", "progress", "colours", "not utf-8", "one line", "end"],
)
def test_logs_look_as_in_a_terminal(
    site: Site,
    client: Client,
    tokens: dict[str, str],
    data: bytes,
    shown: str | None,
    is_cut: bool,
) -> None:
    text = ask(client, run_job(site, "draw", log=data), tokens[TYCHO]).text
    if shown is None:
        assert "<pre" not in text
    else:
        assert text.partition('<pre tabindex="0">')[2].partition("</pre>")[0] == shown
    assert ("the last lines" in text) == is_cut


def test_a_failed_job_shows_its_log(site: Site, client: Client, tokens: dict[str, str]) -> None:
    job = run_job(site, "draw")  # `cat` of no file
    assert job.phase == "ERROR"
    text = ask(client, job, tokens[TYCHO]).text
    assert "stderr" in text
    assert "<img" not in text


def test_a_query_has_rows_alone(site: Site, client: Client, tokens: dict[str, str]) -> None:
    query = "SELECT TOP 3 id, mag FROM stars.main ORDER BY mag"
    params = [("LANG", "ADQL"), ("REQUEST", "doQuery"), ("QUERY", query)]
    text = ask(client, run_job(site, "tap", *params), tokens[TYCHO]).text
    assert text.count("<tr>") == 4
    assert "more rows" not in text
    assert "<pre" not in text
    job = run_job(site, "tap", *params, ("RESPONSEFORMAT", "json"))
    assert "These results cannot be shown here." in ask(client, job, tokens[TYCHO]).text


def test_others_see_nothing(site: Site, client: Client, tokens: dict[str, str]) -> None:
    job = run_job(site, "draw", log=b"secret words\n")
    for token in ("", tokens[OLE]):
        answer = ask(client, job, token)
        assert answer.status == 403
        assert "secret" not in answer.text
    assert json.loads(ask(client, job, tokens[OLE]).body)["message"]
    JobService(site, "draw").destroy_job(job)
    assert ask(client, job, tokens[TYCHO]).status == 404
