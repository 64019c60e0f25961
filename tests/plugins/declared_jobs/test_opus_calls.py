"""The calls of OPUS' client (its ``uwsLib.js`` and its commands for curl), answered so that its selectors find their values."""

from __future__ import annotations

import time
from collections.abc import Iterator
from xml.etree import ElementTree as ET

import pytest

from job_programs import write_job_type
from process_runner import Server, run_hven, serve_site

ADD = "import sys\nprint('adding')\nprint('one warning', file=sys.stderr)\nopen('sum.txt', 'w').write(str(int(sys.argv[1]) + 1))\n"
TYPE = """title: Add one
command: [./add.py, "{BINS}"]
params:
  BINS: {type: int32, default: 2, maximum: 100}
results: {sum: {file: sum.txt, type: text/plain}}
"""
# jQuery's request of XML
JQUERY_XML = {"accept": "application/xml, text/xml, */*; q=0.01", "x-requested-with": "XMLHttpRequest"}
XLINK = "{http://www.w3.org/1999/xlink}"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    site = tmp_path_factory.mktemp("served") / "site"
    run_hven("init", site)
    write_job_type(site, "add", TYPE, add_py=ADD)
    with serve_site(site) as made:
        yield made


def find_text(document: ET.Element, name: str) -> str:
    """Find the text of an element as the client does: by its name with or without prefix."""
    found = [element for element in document.iter() if element.tag.rpartition("}")[2] == name]
    return "".join(found[0].itertext()) if found else ""


def get_xml(server: Server, path: str) -> ET.Element:
    status, headers, body = server.send("GET", path, headers=JQUERY_XML)
    assert status == 200
    assert "xml" in headers["content-type"]
    return ET.fromstring(body)


def create_job(server: Server, **params: str) -> str:
    status, headers, _ = server.post("/jobs/add", **params)
    assert status == 303
    return str(headers["location"].removeprefix(server.url))


def test_a_job_is_created_changed_and_run(server: Server) -> None:
    job = create_job(server, BINS="3", runId="first")
    document = get_xml(server, job)
    assert document.tag == "{http://www.ivoa.net/xml/UWS/v1.0}job"
    assert find_text(document, "jobId") == job.rpartition("/")[2]
    assert (find_text(document, "phase"), find_text(document, "runId")) == ("PENDING", "first")
    assert find_text(document, "creationTime").endswith("Z")
    assert server.get(f"{job}/parameters/BINS")[2] == b"3"
    # the value of a parameter, the longest time and the destruction
    assert server.post(f"{job}/parameters/BINS", VALUE="41")[0] == 303
    assert server.get(f"{job}/parameters/bins")[2] == b"41"
    assert server.post(f"{job}/executionduration", EXECUTIONDURATION="120")[0] == 303
    assert server.get(f"{job}/executionduration")[2] == b"120"
    assert server.post(f"{job}/destruction", DESTRUCTION="2031-01-01T00:00:00.55555")[0] == 303
    assert server.get(f"{job}/quote")[0] == 200
    assert server.get(f"{job}/owner")[0] == 200
    # start it; the client asks for the phase then, as text
    assert server.post(f"{job}/phase", PHASE="RUN")[0] == 303
    deadline = time.monotonic() + 120
    while (phase := server.get(f"{job}/phase")[2]) != b"COMPLETED":
        assert phase in {b"QUEUED", b"EXECUTING"}
        assert time.monotonic() < deadline
        time.sleep(0.05)
    results = {
        element.get("id"): (element.get(f"{XLINK}href"), element.get("mime-type"))
        for element in get_xml(server, f"{job}/results").iter()
        if element.tag.endswith("}result")
    }
    address, media_type = results["sum"]
    assert (address, media_type) == (f"{server.url}{job}/results/sum", "text/plain")
    assert server.get(f"{job}/results/sum")[2] == b"42"
    # the button for the log
    for name, text in (("stdout", b"adding\n"), ("stderr", b"one warning\n")):
        assert server.get(f"{job}/{name}")[2] == text


def test_the_list_shows_the_jobs_and_loses_those_that_are_deleted(server: Server) -> None:
    kept, deleted, destroyed = (create_job(server, BINS="1", runId=name) for name in ("a", "b", "c"))

    def list_jobs() -> dict[str, tuple[str, str]]:
        return {
            element.get("id", ""): (find_text(element, "phase"), find_text(element, "runId"))
            for element in get_xml(server, "/jobs/add").iter()
            if element.tag.endswith("}jobref")
        }

    assert list_jobs()[kept.rpartition("/")[2]] == ("PENDING", "a")
    status, headers, _ = server.post(deleted, ACTION="DELETE")
    assert (status, headers["location"]) == (303, f"{server.url}/jobs/add")
    assert server.send("DELETE", destroyed)[0] == 303
    names = list_jobs().keys()
    assert kept.rpartition("/")[2] in names
    assert not names & {deleted.rpartition("/")[2], destroyed.rpartition("/")[2]}
    assert server.post(f"{kept}/phase", PHASE="ABORT")[0] == 303
    assert server.get(f"{kept}/phase")[2] == b"ABORTED"


@pytest.mark.parametrize(
    ("part", "params", "status", "message"),
    [
        ("/phase", {"BADKEY": "RUN"}, 400, b"write PHASE=RUN"),
        ("/phase", {"PHASE": "BADVALUE"}, 400, b"BADVALUE"),
        ("/executionduration", {"EXECUTIONDURATION": "AA"}, 400, b"AA"),
        ("/executionduration", {"EXECUTIONDUR": "12"}, 400, b"write EXECUTIONDURATION=600"),
        ("/destruction", {"DESTRUCTION": "AA"}, 400, b"AA"),
        ("/parameters/BINS", {"VAL": "5"}, 400, b"VALUE is missing"),
        ("/parameters/PHASE", {"VALUE": "RUN"}, 400, b"PHASE"),
        ("", {"ACTION": "EXPLODE"}, 400, b"EXPLODE"),
    ],
)
def test_wrong_calls_are_told_what_is_wrong(
    server: Server, part: str, params: dict[str, str], status: int, message: bytes
) -> None:
    job = create_job(server, BINS="1")
    answer = server.post(f"{job}{part}", **params)
    assert answer[0] == status
    assert message in answer[2]
    assert server.get("/jobs/add/non_valid_id")[0] == 404
    assert server.get(f"{job}/stdout")[0] == 404  # the job has not run yet
