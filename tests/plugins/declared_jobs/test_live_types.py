"""Job types that are declared while the server runs: all processes know them, and a fault leaves the last good one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest
from asgi_client import Client

from hven.app._server import create_and_start_application
from hven.jobs import type_catalogue
from hven.jobs._worker import run_next_job
from hven.model.errors import DescriptorError
from hven.plugins.declared_jobs.declarations import DECLARED_JOB_TYPES, DeclaredJobTypeProvider
from hven.site import Site
from hven.testing.site import open_tiny_site
from job_programs import ECHO_PROGRAM, write_job_type

FORM = {"content-type": "application/x-www-form-urlencoded"}
ECHO = "title: Echo\ncommand: [./echo.py]\n"


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with open_tiny_site(tmp_path, {"s.t": pa.table({"x": [1]})}) as made:
        yield made


def list_types(client: Client) -> list[str]:
    answer = client.ask("GET", "/jobs", headers={"accept": "application/json"})
    return [job_type["name"] for job_type in json.loads(answer.body)["types"]]


def read_check(client: Client) -> dict[str, str]:
    checks = json.loads(client.ask("GET", "/health", headers={"accept": "application/json"}).body)["checks"]
    (check,) = [one for one in checks if one["name"] == "job_types"]
    return dict(check)


def test_a_new_type_is_served_and_removed_at_once(site: Site) -> None:
    client = Client(create_and_start_application(site))
    for path in ("/jobs/echo", "/jobs/echo/x/phase", "/jobs/Echo", "/jobs/%00", "/jobs/../hven"):
        assert client.ask("GET", path).status == 404, path
    path = write_job_type(site.settings.directory, "echo", ECHO, echo_py=ECHO_PROGRAM)
    assert list_types(client) == ["echo"]
    made = client.ask("POST", "/jobs/echo/", body=b"PHASE=RUN", headers=FORM)
    assert made.status == 303
    address = made.headers["location"].partition("/jobs/")[2]
    assert run_next_job(site)
    assert client.ask("GET", f"/jobs/{address}/phase").body == b"COMPLETED"
    assert client.ask("GET", f"/jobs/{address}/results/stdout").status == 200
    assert client.ask("PUT", f"/jobs/{address}/phase").status == 405
    assert client.ask("DELETE", f"/jobs/{address}").status == 303
    assert client.ask("GET", f"/jobs/{address}").status == 404
    assert client.ask("GET", "/jobs/echo/x/y/z").status == 404
    form = client.ask("GET", "/jobs?new=echo", headers={"accept": "text/html"})
    assert (form.status, "Echo" in form.text) == (200, True)
    path.unlink()
    assert list_types(client) == []
    assert client.ask("POST", "/jobs/echo", body=b"PHASE=RUN", headers=FORM).status == 404


def test_private_types_stay_private(site: Site) -> None:
    client = Client(create_and_start_application(site))
    write_job_type(site.settings.directory, "echo", f"{ECHO}access: private\n", echo_py=ECHO_PROGRAM)
    assert list_types(client) == []
    assert client.ask("POST", "/jobs/echo", body=b"PHASE=RUN", headers=FORM).status == 401


def test_a_fault_is_told_and_leaves_the_last_version_without_faults(site: Site) -> None:
    client = Client(create_and_start_application(site))
    path = write_job_type(site.settings.directory, "echo", ECHO, echo_py=ECHO_PROGRAM)
    assert list_types(client) == ["echo"]
    assert read_check(client)["state"] == "ok"
    path.write_text("title: Other\ncomand: [./echo.py]\n")
    check = read_check(client)
    assert check["state"] == "warning"
    assert "comand" not in json.dumps(check), "the public health page tells no details of declarations"
    assert list_types(client) == ["echo"]
    # a process that starts now has the same version
    fresh_process = DeclaredJobTypeProvider(DECLARED_JOB_TYPES._kind)
    old_type = fresh_process.find_job_type(site.settings, "echo")
    assert old_type is not None
    assert old_type.title == "Echo"
    assert client.ask("POST", "/jobs/echo", body=b"PHASE=RUN", headers=FORM).status == 303
    assert run_next_job(site)
    assert [fault.place.line for fault in type_catalogue.find_declaration_faults(site.settings) if fault.place] == [
        1,
        2,
    ]
    # the version is forgotten with the file
    path.unlink()
    assert fresh_process.find_job_type(site.settings, "echo") is None
    path.write_text("title: Other\n")
    with pytest.raises(DescriptorError):
        fresh_process.find_job_type(site.settings, "echo")
    assert list_types(client) == []


def test_a_new_broken_type_leaves_the_others(site: Site) -> None:
    client = Client(create_and_start_application(site))
    write_job_type(site.settings.directory, "echo", ECHO, echo_py=ECHO_PROGRAM)
    write_job_type(site.settings.directory, "bad", "title: Bad\n")
    write_job_type(site.settings.directory, "binary", "\x00\x01")
    assert list_types(client) == ["echo"]
    assert client.ask("POST", "/jobs/bad", body=b"PHASE=RUN", headers=FORM).status == 404
    assert client.ask("GET", "/jobs/bad").status == 404
