"""A site that leaves the package out: it starts, and everything that needs a list names the package."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from asgi_client import Client
from list_sites import PLAIN_LIST, SQUARE_PROGRAM, SQUARE_TYPE, run_to_end, start_list, write_list_type

from hven.app._server import create_and_start_application
from hven.jobs import type_catalogue
from hven.model import plugins
from hven.model.errors import NotFoundError
from hven.model.settings import load_settings
from hven.site import Site
from job_programs import write_job_type

TOLD = "the job type 'squares' belongs to the plug-in package fanout, but `plugins` in hven.toml does not list this package"


@pytest.fixture(autouse=True)
def _all_packages() -> Iterator[None]:
    """Use all packages again after the test."""
    yield
    plugins.select_plugin_packages(None)


def test_a_waiting_list_names_the_package(tmp_path: Path) -> None:
    write_job_type(tmp_path, "square", SQUARE_TYPE, square_py=SQUARE_PROGRAM)
    write_list_type(tmp_path, "squares", PLAIN_LIST)
    (tmp_path / "hven.toml").write_text('name = "x"\n')
    with Site(load_settings(tmp_path)) as site:
        job = start_list(site, "squares", "3\n4")
    (tmp_path / "hven.toml").write_text('name = "x"\nplugins = ["declared_jobs"]\n')
    with Site(load_settings(tmp_path)) as site:
        client = Client(create_and_start_application(site))
        assert client.ask("GET", "/jobs/squares").status == 404
        assert client.ask("GET", f"/job-lists/{job.id}").status == 404
        job = run_to_end(site, job)
        assert job.phase == "ERROR"
        assert job.error is not None
        assert job.error["message"].startswith(TOLD)
        with pytest.raises(NotFoundError, match="fanout"):
            type_catalogue.find_job_type(site.settings, "squares")
