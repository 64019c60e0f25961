"""The environment of a program: its digest is recorded, and a lock pins it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from hven.jobs import type_catalogue
from hven.jobs._worker import run_next_job
from hven.jobs.job_service import JobRequester, JobService
from hven.model.params import collect_params
from hven.plugins.declared_jobs import environment_record
from hven.site import Site
from hven.site.auth import Principal
from hven.site.store import JobRecord
from hven.testing.site import open_tiny_site
from job_programs import write_job_type

HERE = JobRequester(principal=Principal(), address="192.0.2.1")
COMMAND = "title: T\ncommand: [./tool.py]\n"
FUNCTION = "title: F\nfunction: tool.py:count\n"


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with open_tiny_site(tmp_path, {"s.t": pa.table({"x": [1]})}) as made:
        yield made


def run_tool(site: Site, text: str, script: str = "def count(): return 'one'\n") -> JobRecord:
    write_job_type(site.settings.directory, "tool", text, tool_py=script)
    job = JobService(site, "tool").create_job(collect_params([("PHASE", "RUN")]), HERE)
    assert run_next_job(site)
    return site.store.jobs.get_job(job.id)


@pytest.mark.parametrize("text", [COMMAND, FUNCTION])
def test_a_lock_pins_the_program(site: Site, text: str) -> None:
    job = run_tool(site, text)
    assert job.phase == "COMPLETED", job.error
    digest = job.progress["environment"]
    assert run_tool(site, f"{text}lock: {digest}\n").phase == "COMPLETED"
    changed = run_tool(site, f"{text}lock: {digest}\n", "def count(): return 'other'\n")
    assert changed.phase == "ERROR"
    assert changed.error is not None
    assert "the environment of the program has changed" in changed.error["message"]
    assert changed.progress["environment"] in changed.error["message"]
    assert changed.results == ()


def test_packages_are_part_of_it(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    first = run_tool(site, FUNCTION).progress["environment"]
    assert run_tool(site, FUNCTION).progress["environment"] == first
    packages = environment_record.list_python_packages()
    assert any(name.startswith("pyarrow==") for name in packages)
    monkeypatch.setattr(environment_record, "list_python_packages", lambda: (*packages, "new==1"))
    assert run_tool(site, FUNCTION).progress["environment"] != first


@pytest.mark.parametrize("lock", ["sha256:12", "latest", "sha256:" + "G" * 64])
def test_what_is_no_lock(site: Site, lock: str) -> None:
    write_job_type(site.settings.directory, "tool", f"{COMMAND}lock: {lock}\n", tool_py="")
    (fault,) = type_catalogue.find_declaration_faults(site.settings)
    assert "lock must be the digest of an environment" in str(fault)
    assert fault.place is not None
    assert fault.place.line == 3
