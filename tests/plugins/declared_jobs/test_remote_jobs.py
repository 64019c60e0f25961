"""Jobs that a service elsewhere does: a second Hven with real workers, and a small server that does everything wrong."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import pyarrow as pa
import pytest

from hven.jobs._worker import run_next_job
from hven.jobs.job_service import JobRequester, JobService
from hven.model.errors import ParamError
from hven.model.params import collect_params
from hven.plugins.declared_jobs import remote_jobs as remote
from hven.site import Site
from hven.site.auth import Principal
from hven.site.store import JobRecord
from hven.testing.site import open_tiny_site
from job_programs import ECHO_PROGRAM, write_job_type
from process_runner import Server, assert_takes_less, run_hven, serve_site, wait_until
from star_descriptors import write_stars_descriptor

HERE = JobRequester(principal=Principal(), address="192.0.2.1")
SLEEP = """import os, sys, time
print('progress 0.5', flush=True)
end = time.monotonic() + float(sys.argv[1])
while time.monotonic() < end and not os.path.exists(sys.argv[2]):
    time.sleep(0.05)
open('out.txt', 'w').write('slept ' + sys.argv[1])
"""
SLOW = """title: Sleep
command: [./sleep.py, '{SECONDS}', '{BELL}']
params: {SECONDS: {type: float64, required: true, maximum: 300}, BELL: {default: nothing, description: a file that wakes it}}
results: {out: {file: out.txt, type: text/plain}}
"""


@pytest.fixture(scope="module")
def remote_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Serve another site, with programs and a table."""
    place = tmp_path_factory.mktemp("there")
    rows = "".join(f"{number},{number * 0.1:.1f}\n" for number in range(1000))
    (place / "stars.csv").write_text(f"id,x\n{rows}")
    site = place / "site"
    run_hven("init", site)
    write_stars_descriptor(site, place / "stars.csv")
    run_hven("ingest", "stars", "--site", site)
    write_job_type(site, "sleep", SLOW, sleep_py=SLEEP)
    write_job_type(
        site,
        "echo",
        "title: E\ncommand: [./echo.py, '{A}', '{IMAGE}']\nparams: {A: , IMAGE: {file: true}}\n",
        echo_py=ECHO_PROGRAM,
    )
    with serve_site(site) as server:
        yield server


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with open_tiny_site(tmp_path, {"s.t": pa.table({"x": [1]})}, allow_private=True) as made:
        yield made


def job_of(site: Site, kind: str, *pairs: tuple[str, str], who: JobRequester = HERE) -> JobRecord:
    return JobService(site, kind).create_job(collect_params([*pairs, ("PHASE", "RUN")]), who)


def reload_job(site: Site, job: JobRecord) -> JobRecord:
    return site.store.jobs.get_job(job.id)


def address(site: Site, job: JobRecord, remote_server: Server) -> str:
    """Give the path of the job over there, as the store knows it."""
    wait_until(lambda: "remote" in reload_job(site, job).progress)
    return str(reload_job(site, job).progress["remote"]).removeprefix(remote_server.url)


def phase(remote_server: Server, path: str) -> str:
    status, _, body = remote_server.get(f"{path}/phase")
    return body.decode() if status == 200 else str(status)


def list_remote_jobs(remote_server: Server, path: str) -> set[str]:
    """Give the ids of the jobs over there."""
    return {
        job["id"]
        for job in json.loads(remote_server.send("GET", path, headers={"Accept": "application/json"})[2])["jobs"]
    }


@pytest.fixture
def worker(site: Site) -> Iterator[Any]:
    """Run jobs in a thread, as a worker process would; `stop` sends it home."""
    stops: list[threading.Event] = []
    threads: list[threading.Thread] = []

    def begin() -> threading.Event:
        stop = threading.Event()
        stops.append(stop)
        threads.append(threading.Thread(target=lambda: run_next_job(site, stop_event=stop)))
        threads[-1].start()
        return stop

    begin.join = lambda: threads[-1].join(60)  # type: ignore[attr-defined]
    yield begin
    for stop in stops:
        stop.set()
    for thread in threads:
        thread.join(60)


# --- a real service ------------------------------------------------------------------------------------------


def test_a_query_is_done_elsewhere_and_its_answer_comes_here(site: Site, remote_server: Server) -> None:
    write_job_type(
        site.settings.directory,
        "far",
        f"title: Far\nremote: {remote_server.url}/tap/async\nsend: {{LANG: ADQL, RESPONSEFORMAT: csv}}\n",
    )
    job = job_of(
        site, "far", ("QUERY", "SELECT id, x FROM stars.main WHERE id < 700 ORDER BY id"), ("RESPONSEFORMAT", "votable")
    )
    assert run_next_job(site)
    found = reload_job(site, job)
    assert found.phase == "COMPLETED", found.error
    path, media_type = JobService(site, "far").find_result_file(found, "result")
    assert media_type.startswith("text/csv")
    lines = path.read_text().split()
    assert lines[0] == "id,x"
    assert [float(line.split(",")[1]) for line in lines[1:]] == pytest.approx([number * 0.1 for number in range(700)])
    assert "remote" not in found.progress
    wait_until(lambda: list_remote_jobs(remote_server, "/tap/async") == set())  # nothing is left there


def test_what_goes_wrong_there_is_told_here(site: Site, remote_server: Server) -> None:
    write_job_type(
        site.settings.directory, "far", f"title: Far\nremote: {remote_server.url}/tap/async\nsend: {{LANG: ADQL}}\n"
    )
    job = job_of(site, "far", ("QUERY", "SELECT id FROM stars.mane"))
    assert run_next_job(site)
    found = reload_job(site, job)
    assert found.phase == "ERROR"
    assert "the job at 127.0.0.1 failed: line 1, column 16: " in str(found.error)
    assert "stars.main" in str(found.error)  # the nearest name, by the words of the other service


def test_a_refusal_is_told(site: Site, remote_server: Server) -> None:
    write_job_type(site.settings.directory, "far", f"title: Far\nremote: {remote_server.url}/jobs/sleep\n")
    job = job_of(site, "far", ("SECONDS", "1000"))
    assert run_next_job(site)
    assert "did not start the job, but returned status 400: " in str(reload_job(site, job).error)
    assert "SECONDS=1000 is out of range" in str(reload_job(site, job).error)


def test_files_go_there(site: Site, remote_server: Server) -> None:
    import io

    from hven.model.params import RequestParams, UploadedFile

    write_job_type(site.settings.directory, "far", f"title: Far\nremote: {remote_server.url}/jobs/echo\n")
    given = collect_params([("A", "1"), ("PHASE", "RUN")])
    files = {"IMAGE": UploadedFile(name="IMAGE", file=io.BytesIO(b"pixels"), size=6)}
    job = JobService(site, "far").create_job(RequestParams(given.values, files), HERE)
    assert run_next_job(site)
    found = reload_job(site, job)
    assert found.phase == "COMPLETED", found.error
    told = json.loads(JobService(site, "far").find_result_file(found, "stdout")[0].read_text())
    assert told["argv"][0] == "1"
    assert told["argv"][1].endswith("/given-IMAGE")


def test_only_declared_parameters_are_forwarded(site: Site, remote_server: Server) -> None:
    text = f"title: Far\nremote: {remote_server.url}/jobs/echo\nparams: {{B: {{allowed: [x]}}}}\nsend: {{A: always}}\n"
    write_job_type(site.settings.directory, "far", text)
    with pytest.raises(ParamError):
        job_of(site, "far", ("B", "y"))
    job = job_of(site, "far", ("A", "mine"))
    assert run_next_job(site)
    found = reload_job(site, job)
    assert json.loads(JobService(site, "far").find_result_file(found, "stdout")[0].read_text())["argv"] == ["always"]


@pytest.fixture
def sleeping(site: Site, remote_server: Server, worker: Any) -> Any:
    write_job_type(site.settings.directory, "far", f"title: Far\nremote: {remote_server.url}/jobs/sleep\n")

    def begin(seconds: float, **more: str) -> tuple[JobRecord, str, threading.Event]:
        job = job_of(site, "far", ("SECONDS", str(seconds)), *more.items())
        stop = worker()
        path = address(site, job, remote_server)
        wait_until(lambda: phase(remote_server, path) == "EXECUTING")
        return job, path, stop

    return begin


def test_an_abort_is_forwarded_within_a_second(site: Site, remote_server: Server, sleeping: Any) -> None:
    def measure_abort() -> float:
        job, path, _ = sleeping(200)
        JobService(site, "far").run_or_abort_job(reload_job(site, job), "ABORT")
        seconds = wait_until(lambda: phase(remote_server, path) == "ABORTED")
        assert reload_job(site, job).phase == "ABORTED"
        JobService(site, "far").destroy_job(reload_job(site, job))
        wait_until(lambda: phase(remote_server, path) == "404")
        return seconds

    assert_takes_less(measure_abort, 1, attempts=20)


def test_a_destruction_is_forwarded(site: Site, remote_server: Server, sleeping: Any) -> None:
    def measure_destruction() -> float:
        job, path, _ = sleeping(200)
        JobService(site, "far").destroy_job(reload_job(site, job))
        return wait_until(lambda: phase(remote_server, path) == "404")

    assert_takes_less(measure_destruction, 1, attempts=20)


def test_the_time_limit_is_forwarded(site: Site, remote_server: Server, sleeping: Any) -> None:
    job, path, _ = sleeping(200, EXECUTIONDURATION="150")
    status, _, body = remote_server.get(f"{path}/executionduration")
    assert (status, body) == (200, b"150")
    JobService(site, "far").change_job(reload_job(site, job), collect_params([("EXECUTIONDURATION", "1")]))
    wait_until(lambda: reload_job(site, job).phase == "ABORTED")
    wait_until(lambda: phase(remote_server, path) == "ABORTED")


@pytest.mark.slow
def test_a_worker_that_goes_home_leaves_the_job_there_and_the_next_goes_on_with_it(
    site: Site, remote_server: Server, worker: Any, sleeping: Any, tmp_path: Path
) -> None:
    job, path, stop = sleeping(200, BELL=str(tmp_path / "bell"))
    before = list_remote_jobs(remote_server, "/jobs/sleep")
    stop.set()
    wait_until(lambda: reload_job(site, job).phase == "QUEUED")
    assert phase(remote_server, path) == "EXECUTING"
    assert reload_job(site, job).progress == {"remote": f"{remote_server.url}{path}"}
    worker()
    (tmp_path / "bell").touch()
    wait_until(lambda: reload_job(site, job).phase == "COMPLETED")
    assert JobService(site, "far").find_result_file(reload_job(site, job), "out")[0].read_text() == "slept 200"
    # one job there did it all, and has gone
    wait_until(lambda: list_remote_jobs(remote_server, "/jobs/sleep") == before - {path.rpartition("/")[2]})


@pytest.mark.slow
def test_a_worker_that_dies_leaves_it_too(
    site: Site, remote_server: Server, worker: Any, sleeping: Any, tmp_path: Path
) -> None:
    job, _, _ = sleeping(200, BELL=str(tmp_path / "bell"))
    held = reload_job(site, job)
    # as the keeper does when the holder is dead; the old worker finds it taken
    assert site.store.jobs.requeue_job(held, is_attempt_counted=True)
    worker()
    wait_until(lambda: reload_job(site, job).attempts == 2)
    (tmp_path / "bell").touch()
    wait_until(lambda: reload_job(site, job).phase == "COMPLETED")
    assert JobService(site, "far").find_result_file(reload_job(site, job), "out")[0].read_text() == "slept 200"


def test_a_worker_that_does_not_know_that_it_counts_as_dead_leaves_the_job_there(
    site: Site, remote_server: Server, worker: Any, sleeping: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, path, _ = sleeping(200, BELL=str(tmp_path / "bell"))
    is_deceived = threading.Event()

    def claim_that_the_job_is_owned(*_: Any) -> int:
        is_deceived.set()
        return 3600

    with monkeypatch.context() as context:
        context.setattr(site.store.jobs, "find_duration_if_owned", claim_that_the_job_is_owned)
        context.setattr(site.store.jobs, "record_heartbeat_and_read_duration", claim_that_the_job_is_owned)
        assert is_deceived.wait(60)  # so no question of before is on its way, whose answer would be true
        assert site.store.jobs.requeue_job(reload_job(site, job), is_attempt_counted=True)
        (tmp_path / "bell").touch()
        worker.join()  # it has fetched the results, and finds that nobody wants them of it
    assert reload_job(site, job).phase == "QUEUED"
    assert phase(remote_server, path) == "COMPLETED"
    worker()
    wait_until(lambda: reload_job(site, job).phase == "COMPLETED")
    assert JobService(site, "far").find_result_file(reload_job(site, job), "out")[0].read_text() == "slept 200"
    wait_until(lambda: phase(remote_server, path) == "404")


def test_what_was_fetched_is_in_the_store_before_the_job_there_goes(
    site: Site, remote_server: Server, sleeping: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    finish, seen = site.store.jobs.finish_job_and_notify_owner, []

    def finish_and_note(held: JobRecord, *rest: Any, **more: Any) -> bool:
        seen.append(phase(remote_server, path))
        return finish(held, *rest, **more)

    job, path, _ = sleeping(200, BELL=str(tmp_path / "bell"))
    monkeypatch.setattr(site.store.jobs, "finish_job_and_notify_owner", finish_and_note)
    (tmp_path / "bell").touch()
    wait_until(lambda: phase(remote_server, path) == "404")
    assert seen == ["COMPLETED"]
    assert reload_job(site, job).phase == "COMPLETED"


def test_one_that_waits_for_its_next_worker_is_aborted_there(site: Site, remote_server: Server, sleeping: Any) -> None:
    job, path, stop = sleeping(200)
    stop.set()
    wait_until(lambda: reload_job(site, job).phase == "QUEUED")
    JobService(site, "far").run_or_abort_job(reload_job(site, job), "ABORT")
    wait_until(lambda: phase(remote_server, path) == "ABORTED")


@pytest.mark.parametrize(("way", "after"), [("abort", "ABORTED"), ("destroy", "404")])
def test_one_that_ends_while_its_worker_goes_home_ends_there_too(
    site: Site, remote_server: Server, sleeping: Any, monkeypatch: pytest.MonkeyPatch, way: str, after: str
) -> None:
    job, path, stop = sleeping(200)
    desk, requeue = JobService(site, "far"), site.store.jobs.requeue_job

    def late(held: JobRecord, *, is_attempt_counted: bool) -> bool:
        if way == "abort":
            desk.run_or_abort_job(reload_job(site, job), "ABORT")
        else:
            desk.destroy_job(reload_job(site, job))
        return requeue(held, is_attempt_counted=is_attempt_counted)

    monkeypatch.setattr(site.store.jobs, "requeue_job", late)
    stop.set()
    wait_until(lambda: phase(remote_server, path) == after)


@pytest.mark.parametrize(("way", "after"), [("abort", "ABORTED"), ("destroy", "404")])
def test_one_that_was_put_back_since_it_was_read_ends_there_too(
    site: Site, remote_server: Server, sleeping: Any, way: str, after: str
) -> None:
    job, path, stop = sleeping(200)
    read = reload_job(site, job)
    stop.set()
    wait_until(lambda: reload_job(site, job).phase == "QUEUED")
    if way == "abort":
        JobService(site, "far").run_or_abort_job(read, "ABORT")
    else:
        JobService(site, "far").destroy_job(read)
    wait_until(lambda: phase(remote_server, path) == after)


# --- addresses ------------------------------------------------------------------------------------------------


def test_addresses_inside_are_not_asked(tmp_path: Path, remote_server: Server) -> None:
    with open_tiny_site(tmp_path, {"s.t": pa.table({"x": [1]})}) as site:
        write_job_type(site.settings.directory, "far", f"title: Far\nremote: {remote_server.url}/jobs/sleep\n")
        job = job_of(site, "far", ("SECONDS", "1"))
        assert run_next_job(site)
        assert "not on the public internet" in str(reload_job(site, job).error)


# --- a service that does everything wrong -----------------------------------------------------------------------

UWS = '<uws:job xmlns:uws="http://www.ivoa.net/xml/UWS/v1.0" xmlns:xlink="http://www.w3.org/1999/xlink"><uws:jobId>1</uws:jobId><uws:phase>{phase}</uws:phase>{more}</uws:job>'


class Wrong(http.server.BaseHTTPRequestHandler):
    """Answers as the script says: method and path -> (status, headers, body), or a list of them in turn."""

    script: dict[str, Any] = {}
    asked: list[tuple[str, str, dict[str, str]]] = []

    def answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = self.path.partition("?")[0]
        type(self).asked.append((self.command, path, dict(parse_qsl(body.decode("latin-1")))))
        found = type(self).script.get(f"{self.command} {path}", (404, {}, "no"))
        if isinstance(found, list):
            found = found.pop(0) if len(found) > 1 else found[0]
        status, headers, text = found
        raw = text if isinstance(text, bytes) else text.encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(raw)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(raw)

    do_GET = do_POST = do_DELETE = answer  # noqa: N815

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def wrong(site: Site, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setattr(remote, "MAX_POLL_SECONDS", 0.1)
    monkeypatch.setattr(remote, "UNREACHABLE_LIMIT_SECONDS", 0.5)
    Wrong.asked.clear()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Wrong)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    url = f"http://127.0.0.1:{server.server_port}"
    write_job_type(site.settings.directory, "far", f"title: Far\nremote: {url}/async\n")
    Wrong.script = {
        "POST /async": (303, {"Location": f"{url}/async/1"}, ""),
        "POST /async/1/phase": (303, {"Location": f"{url}/async/1"}, ""),
    }
    yield url
    server.shutdown()
    thread.join()
    server.server_close()


def job(phase: str, more: str = "") -> tuple[int, dict[str, str], str]:
    return 200, {"Content-Type": "text/xml"}, UWS.format(phase=phase, more=more)


def run_far_job(site: Site) -> JobRecord:
    made = job_of(site, "far", ("X", "1"))
    assert run_next_job(site)
    return reload_job(site, made)


def test_a_service_of_uws_1_0_that_never_waits(site: Site, wrong: str) -> None:
    results = f'<uws:results><uws:result id="a b/../c" xlink:href="{wrong}/data/one.csv"/><uws:result id="two" xlink:href="{wrong}/data/two"/></uws:results>'
    Wrong.script |= {
        "GET /async/1": [job("PENDING"), job("QUEUED"), job("EXECUTING"), job("EXECUTING"), job("COMPLETED", results)],
        "GET /data/one.csv": (200, {}, "1,2"),
        "GET /data/two": (200, {}, b"\0\1"),
    }
    found = run_far_job(site)
    assert found.phase == "COMPLETED", found.error
    assert [(item["id"], item["bytes"]) for item in found.results] == [("result1", 3), ("two", 2)]
    assert ("POST", "/async/1/phase", {"PHASE": "RUN"}) in Wrong.asked
    assert [item[0] for item in Wrong.asked].count("DELETE") == 1
    created = next(item for item in Wrong.asked if item[1] == "/async")
    assert "PHASE" not in created[2]
    assert created[2]["X"] == "1"


@pytest.mark.parametrize(
    ("answers", "said"),
    [
        ([job("EXECUTING"), (404, {}, "gone")], "the job at 127.0.0.1 no longer exists (status 404)"),
        ([(200, {}, "<html><body>log in</body></html>")], "instead of a job"),
        ([(200, {}, "<!DOCTYPE html><html>")], "a web page instead of a job"),
        ([(200, {}, '<!DOCTYPE a [<!ENTITY x "y">]><job>&x;</job>')], "a web page instead of a job"),
        ([(200, {}, "")], "a document that is not XML"),
        ([(500, {}, "<b>out of order</b>")], "has been unavailable for 0.5 seconds: 127.0.0.1 returned status 500: out of order"),
        ([job("ABORTED")], "was aborted: no reason was given"),
        ([job("ERROR", "<uws:errorSummary><uws:message>no &lt;flux&gt;</uws:message></uws:errorSummary>")], "failed: no <flux>"),
        ([job("COMPLETED", '<uws:results><uws:result id="r" xlink:href="file:///etc/passwd"/></uws:results>')], "is not an http or https address"),
        ([job("COMPLETED", '<uws:results><uws:result id="r" xlink:href="{url}/missing"/></uws:results>')], "returned status 404"),
    ],
)  # fmt: skip
def test_what_it_does_wrong_is_told(site: Site, wrong: str, answers: list[Any], said: str) -> None:
    Wrong.script["GET /async/1"] = [
        (status, headers, text.replace("{url}", wrong)) for status, headers, text in answers
    ]
    found = run_far_job(site)
    assert found.phase == ("ABORTED" if "aborted" in said else "ERROR")
    assert said in str(found.error)


def test_a_service_that_falters_is_waited_for(site: Site, wrong: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "UNREACHABLE_LIMIT_SECONDS", 60.0)
    Wrong.script["GET /async/1"] = [job("EXECUTING"), (503, {}, ""), (200, {}, "<ht"), job("COMPLETED")]
    assert run_far_job(site).phase == "COMPLETED"


def test_a_job_at_another_host_is_not_followed(site: Site, wrong: str) -> None:
    Wrong.script["POST /async"] = (303, {"Location": "http://localhost:1/async/1"}, "")
    found = run_far_job(site)
    assert "on a different host (localhost)" in str(found.error)
    assert "remote" not in found.progress


def test_a_result_without_end_is_given_up(site: Site, wrong: str) -> None:
    write_job_type(site.settings.directory, "far", f"title: Far\nremote: {wrong}/async\nlimits: {{disk: 100 kB}}\n")
    results = f'<uws:results><uws:result id="r" xlink:href="{wrong}/big"/></uws:results>'
    Wrong.script |= {"GET /async/1": job("COMPLETED", results), "GET /big": (200, {}, bytes(300_000))}
    found = run_far_job(site)
    assert "the limit is 102,400" in str(found.error)
    assert not list((site.settings.var_directory / "jobs").glob(f"{found.id}/*"))
