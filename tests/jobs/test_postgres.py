"""The essentials of jobs again, over a system store on PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from hven.jobs.job_service import JobService
from hven.site import Site
from hven.testing.site import open_tiny_site
from postgres_cluster import run_server
from postgres_job_tests import close_supervisors, drop_all_tables, load_module

pytestmark = pytest.mark.outside

ESSENTIALS = (
    "test_askers_take_turns",
    "test_who_has_jobs_running_waits_for_who_has_none",
    "test_many_at_once_all_end_and_once",
    "test_a_running_query_is_stopped",
    "test_a_worker_that_is_sent_home_puts_its_job_back_unharmed",
    "test_the_job_of_a_dead_worker_is_run_again_and_not_a_third_time",
    "test_a_silent_holder_elsewhere_is_given_up_by_our_own_clock",
    "test_a_living_holder_is_left_alone",
    "test_a_job_that_was_aborted_in_the_last_moment_has_no_result",
    "test_what_is_due_is_destroyed",
)
jobs = load_module(Path(__file__).with_name("test_jobs.py"))
globals().update({name: getattr(jobs, name) for name in ESSENTIALS})


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with run_server() as found:
        yield f"postgresql+psycopg://{found}"


@pytest.fixture
def site(tmp_path: Path, address: str) -> Iterator[Site]:
    with open_tiny_site(
        tmp_path, {"s.t": pa.table({"x": pa.array(range(20_000), pa.int64())})}, store=drop_all_tables(address)
    ) as made:
        yield made


@pytest.fixture(autouse=True)
def keepers(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with close_supervisors(monkeypatch, jobs):
        yield


@pytest.fixture
def desk(site: Site) -> JobService:
    return JobService(site, "tap")
