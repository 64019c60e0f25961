"""A site that leaves the package out: it starts, and everything that needs a declared type names the package."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from asgi_client import Client

from hven.app._server import create_and_start_application
from hven.jobs import type_catalogue
from hven.jobs._worker import run_next_job
from hven.model import plugins
from hven.model.errors import NotFoundError
from hven.model.settings import load_settings
from hven.site import Site
from job_programs import ECHO_PROGRAM, write_job_type
from process_runner import run_hven

FORM = {"content-type": "application/x-www-form-urlencoded"}
TOLD = "the job type 'echo' belongs to the plug-in package declared_jobs, but `plugins` in hven.toml does not list this package"


@pytest.fixture(autouse=True)
def _all_packages() -> Iterator[None]:
    """Use all packages again after the test."""
    yield
    plugins.select_plugin_packages(None)


@pytest.fixture
def job_id(tmp_path: Path) -> str:
    """Make a site with a queued job of a declared type, which then leaves the package out."""
    write_job_type(tmp_path, "echo", "title: Echo\ncommand: [./echo.py]\n", echo_py=ECHO_PROGRAM)
    (tmp_path / "hven.toml").write_text('name = "x"\n')
    with Site(load_settings(tmp_path)) as site:
        made = Client(create_and_start_application(site)).ask("POST", "/jobs/echo", body=b"PHASE=RUN", headers=FORM)
        assert made.status == 303
    (tmp_path / "hven.toml").write_text('name = "x"\nplugins = []\n')
    return made.headers["location"].rpartition("/")[2]


def test_a_queued_job_ends_with_an_error_that_names_the_package(job_id: str, tmp_path: Path) -> None:
    with Site(load_settings(tmp_path)) as site:
        assert (
            Client(create_and_start_application(site)).ask("POST", "/jobs/echo", body=b"", headers=FORM).status == 404
        )
        assert run_next_job(site)
        job = site.store.jobs.get_job(job_id)
        assert job.phase == "ERROR"
        assert job.error is not None
        assert job.error["message"].startswith(TOLD)
        with pytest.raises(NotFoundError, match="declared_jobs"):
            type_catalogue.find_job_type(site.settings, "echo")
        with pytest.raises(NotFoundError, match="there is no job type 'other'"):
            type_catalogue.find_job_type(site.settings, "other")


@pytest.mark.usefixtures("job_id")
def test_check_names_the_package(tmp_path: Path) -> None:
    assert f"warning: {TOLD}" in run_hven("check", "--site", tmp_path, expected_code=0).stdout
