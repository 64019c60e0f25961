"""Jobs whose work is done by their children: they wait without a worker, and go on when the children have ended."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from hven.jobs import JobDefinition, RunningJob, type_catalogue
from hven.jobs._worker import run_next_job
from hven.jobs.job_service import JobRequester, JobService
from hven.model.errors import OperationCancelledError, ParamError
from hven.model.params import collect_params
from hven.plugins.fanout import child_jobs
from hven.plugins.fanout.child_jobs import ChildJob, add_child_jobs
from hven.site import Site
from hven.site.auth import Principal
from hven.site.store import JobRecord
from hven.testing.site import open_tiny_site

HERE = JobRequester(principal=Principal(), address="192.0.2.1")


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with open_tiny_site(tmp_path, {"s.t": pa.table({"x": [1]})}) as made:
        yield made


@pytest.fixture
def set_run(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Give a job type ``parts`` that runs a function, and ``part``, which does nothing."""

    def replace_types(run: Callable[[RunningJob], None]) -> None:
        def check(params: object, files: object) -> None:
            if "BAD" in dict(params.values):  # type: ignore[attr-defined]
                raise ParamError("BAD is bad", name="BAD")

        types = {
            "parts": JobDefinition(name="parts", title="Parts", run=run),
            "part": JobDefinition(name="part", title="Part", run=lambda _: None, check=check),
        }
        find_job_type = type_catalogue.find_job_type
        monkeypatch.setattr(
            type_catalogue, "find_job_type", lambda settings, name: types.get(name) or find_job_type(settings, name)
        )

    return replace_types


def start(site: Site) -> JobRecord:
    return JobService(site, "parts").create_job(collect_params([("PHASE", "RUN")]), HERE)


def build_children(count: int, **parameters: str) -> list[ChildJob]:
    return [
        ChildJob(type="part", name=f"part {number}", parameters=tuple(parameters.items())) for number in range(count)
    ]


def test_a_job_goes_on_when_its_children_have_ended(site: Site, set_run: Callable[..., None]) -> None:
    runs: list[list[str]] = []

    def run(running_job: RunningJob) -> None:
        phases = site.store.jobs.find_phases(site.store.jobs.list_children(running_job.job.id))
        runs.append(list(phases.values()))
        if len(runs) < 3:
            add_child_jobs(running_job, build_children(3))  # the second time, they exist
            running_job.report_progress(share=len(runs) / 4)
            running_job.suspend_until_children_end(pause_seconds=600)

    set_run(run)
    job = start(site)
    assert run_next_job(site)
    waiting = site.store.jobs.get_job(job.id)
    assert (waiting.phase, waiting.progress["share"], waiting.attempts) == ("EXECUTING", 0.25, 0)
    assert site.store.jobs.list_jobs_held_by_processes() == []  # no worker has it, so none is missed
    assert site.store.jobs.resolve_dependencies_and_count_waiting() == 3
    for _ in range(3):
        assert run_next_job(site)
    assert site.store.jobs.resolve_dependencies_and_count_waiting() == 1  # the parent
    started = site.store.jobs.get_job(job.id).started
    assert run_next_job(site)
    assert run_next_job(site)
    assert runs == [[], ["COMPLETED"] * 3, ["COMPLETED"] * 3]
    ended = site.store.jobs.get_job(job.id)
    assert (ended.phase, ended.started) == ("COMPLETED", started)
    assert not run_next_job(site)


def test_a_job_goes_on_after_its_pause(site: Site, set_run: Callable[..., None]) -> None:
    runs: list[int] = []

    def run(running_job: RunningJob) -> None:
        runs.append(len(runs))
        if len(runs) < 3:
            add_child_jobs(running_job, build_children(1))
            running_job.suspend_until_children_end(pause_seconds=0)

    set_run(run)
    start(site)
    for _ in range(3):  # it comes before its child
        assert run_next_job(site)
    assert runs == [0, 1, 2]


def test_as_many_children_run_as_the_parent_allows(site: Site, set_run: Callable[..., None]) -> None:
    def run(running_job: RunningJob) -> None:
        add_child_jobs(running_job, build_children(5), running_limit=2)
        running_job.suspend_until_children_end(pause_seconds=600)

    set_run(run)
    job = start(site)
    assert run_next_job(site)
    claimed = [site.store.jobs.claim_job() for _ in range(3)]
    assert [child.run_id if child else None for child in claimed] == ["part 0", "part 1", None]
    assert claimed[0] is not None
    assert claimed[0].queue == child_jobs.name_child_queue(job.id)
    site.store.jobs.finish_job_and_notify_owner(claimed[0], "COMPLETED")
    third = site.store.jobs.claim_job()
    assert third is not None
    assert third.run_id == "part 2"


def test_a_child_with_bad_parameters_ends_at_once(site: Site, set_run: Callable[..., None]) -> None:
    def run(running_job: RunningJob) -> None:
        if not site.store.jobs.list_children(running_job.job.id):
            add_child_jobs(running_job, build_children(1, BAD="1"))
            running_job.suspend_until_children_end(pause_seconds=600)

    set_run(run)
    job = start(site)
    assert run_next_job(site)
    [child_id] = site.store.jobs.list_children(job.id)
    child = site.store.jobs.get_job(child_id)
    assert (child.phase, child.error) == ("ERROR", {"kind": "fatal", "message": "BAD is bad"})
    assert run_next_job(site)
    assert site.store.jobs.get_job(job.id).phase == "COMPLETED"


def test_no_child_is_added_to_a_job_that_was_aborted(site: Site, set_run: Callable[..., None]) -> None:
    seen: list[BaseException] = []

    def run(running_job: RunningJob) -> None:
        JobService(site, "parts").run_or_abort_job(running_job.job, "ABORT")
        try:
            add_child_jobs(running_job, build_children(1))
        except OperationCancelledError as error:
            seen.append(error)
            raise

    set_run(run)
    job = start(site)
    assert run_next_job(site)
    assert len(seen) == 1
    assert site.store.jobs.list_children(job.id) == []


def test_ten_thousand_children_are_aborted_in_one_statement(site: Site, set_run: Callable[..., None]) -> None:
    def run(running_job: RunningJob) -> None:
        add_child_jobs(running_job, build_children(10_000))
        running_job.suspend_until_children_end(pause_seconds=600)

    set_run(run)
    job = start(site)
    assert run_next_job(site)
    service = JobService(site, "parts")
    assert len(service.list_child_job_ids(job)) == 1_000  # of a description
    service.run_or_abort_job(site.store.jobs.get_job(job.id), "ABORT")
    refs = site.store.jobs.list_jobs(child_jobs.name_child_queue(job.id), "part")
    assert (len(refs), {ref.phase for ref in refs}) == (10_000, {"ABORTED"})
    service.destroy_job(job)
    assert site.store.jobs.list_jobs(child_jobs.name_child_queue(job.id), "part") == []
