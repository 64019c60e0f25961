"""A site with a job type; its jobs run in the process of the tests. The helpers are modules beside the tests."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from hven.jobs import _worker as worker
from hven.site import Site
from hven.testing.site import open_tiny_site
from job_programs import write_job_type

FOLDER = Path(__file__).parent
sys.path[:0] = [str(FOLDER), str(FOLDER.parents[1] / "protocols")]


@pytest.fixture(autouse=True)
def _long_stop_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give a job a minute to stop: otherwise the job ends its process, which is here the process of the tests."""
    monkeypatch.setattr(worker, "STOP_TIMEOUT_SECONDS", 60.0)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Open a site with two job types."""
    from list_sites import SQUARE_PROGRAM, SQUARE_TYPE
    from star_tables import STARS, build_rows

    with open_tiny_site(tmp_path_factory.mktemp("site"), {"stars.main": (STARS, build_rows())}) as made:
        write_job_type(made.settings.directory, "square", SQUARE_TYPE, square_py=SQUARE_PROGRAM)
        yield made
