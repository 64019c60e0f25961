"""Jobs that wait for others, and jobs that are parts of others."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hven.jobs._worker import run_next_job
from hven.jobs.job_service import JobRequester, JobService
from hven.jobs.job_supervisor import JobSupervisor
from hven.model.errors import ConflictError, ForbiddenError, NotFoundError, ParamError
from hven.model.params import collect_params
from hven.site import Site
from hven.site.auth import Principal
from hven.site.store import JobRecord
from hven.testing.site import open_tiny_site

HERE = JobRequester(principal=Principal(), address="192.0.2.1")
TYCHO = JobRequester(principal=Principal(name="tycho"), address="192.0.2.1")
KEPLER = JobRequester(principal=Principal(name="kepler"), address="192.0.2.1")
GOOD, BAD = "SELECT 1 AS a", "SELECT nonsense FROM nowhere"


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with open_tiny_site(tmp_path, {"s.t": pa.table({"x": [1]})}) as made:
        yield made


@pytest.fixture
def desk(site: Site) -> JobService:
    return JobService(site, "tap")


def create_job(
    desk: JobService, *after: JobRecord, query: str = GOOD, run: bool = True, who: JobRequester = HERE, **more: str
) -> JobRecord:
    pairs = [("LANG", "ADQL"), ("QUERY", query), *(("DEPENDS_ON", job.id) for job in after), *more.items()]
    return desk.create_job(collect_params([*pairs, ("PHASE", "RUN")] if run else pairs), who)


def reload_job(site: Site, job: JobRecord) -> JobRecord:
    return site.store.jobs.get_job(job.id)


def phases(site: Site, *jobs: JobRecord) -> list[str]:
    return [reload_job(site, job).phase for job in jobs]


def test_a_job_begins_when_those_before_it_are_completed(site: Site, desk: JobService) -> None:
    first, second = create_job(desk, run=False), create_job(desk, run=False)
    last = create_job(desk, first, second)
    assert reload_job(site, last).depends_on == (first.id, second.id)
    assert phases(site, last) == ["QUEUED"]
    assert not run_next_job(site)
    assert site.store.jobs.resolve_dependencies_and_count_waiting() == 0  # no worker is forked for it
    desk.run_or_abort_job(second, "RUN")
    assert run_next_job(site)
    assert not run_next_job(site)
    desk.run_or_abort_job(first, "RUN")
    assert run_next_job(site)
    assert run_next_job(site)
    assert phases(site, first, second, last) == ["COMPLETED"] * 3


def test_one_that_others_wait_for_lets_younger_jobs_pass(site: Site, desk: JobService) -> None:
    first = create_job(desk, run=False)
    waits = create_job(desk, first)
    free = create_job(desk)
    assert run_next_job(site)
    assert phases(site, waits, free) == ["QUEUED", "COMPLETED"]


def test_what_is_completed_already_is_not_waited_for(site: Site, desk: JobService) -> None:
    first = create_job(desk)
    run_next_job(site)
    after = create_job(desk, first)
    assert site.store.jobs.resolve_dependencies_and_count_waiting() == 1
    assert run_next_job(site)
    assert phases(site, after) == ["COMPLETED"]


def run_failing_job(desk: JobService, job: JobRecord) -> None:
    desk.run_or_abort_job(job, "RUN")
    assert run_next_job(desk.site)


def abort(desk: JobService, job: JobRecord) -> None:
    desk.run_or_abort_job(job, "ABORT")


def destroy(desk: JobService, job: JobRecord) -> None:
    desk.destroy_job(job)


@pytest.mark.parametrize(
    ("spoil", "said"), [(run_failing_job, "ended in an error"), (abort, "was aborted"), (destroy, "has been destroyed")]
)
def test_one_that_fails_takes_those_that_wait_for_it_along(site: Site, desk: JobService, spoil: Any, said: str) -> None:
    first = create_job(desk, query=BAD, run=False)
    second = create_job(desk, first)
    third = create_job(desk, second)
    spoil(desk, first)
    assert site.store.jobs.resolve_dependencies_and_count_waiting() == 0  # the keeper asks so
    found = reload_job(site, second)
    assert found.phase == "ERROR"
    assert found.error == {
        "kind": "fatal",
        "message": f"this job waited for the job {first.id}, which {said}; run that job again, and then this job",
    }
    assert f"the job {second.id}, which ended in an error" in str(reload_job(site, third).error)
    assert found.ended is not None


def test_a_circle_is_refused(site: Site, desk: JobService) -> None:
    one = create_job(desk, run=False)
    two = create_job(desk, one, run=False)
    three = create_job(desk, two, run=False)
    with pytest.raises(ParamError, match=f"would wait for itself: {one.id} -> {three.id} -> {two.id} -> {one.id}"):
        desk.change_job(one, collect_params([("DEPENDS_ON", three.id)]), HERE)
    with pytest.raises(ParamError, match="would wait for itself"):
        desk.change_job(one, collect_params([("DEPENDS_ON", one.id)]), HERE)
    assert reload_job(site, one).depends_on == ()
    desk.change_job(three, collect_params([("DEPENDS_ON", one.id)]), HERE)
    assert reload_job(site, three).depends_on == (one.id,)


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), max_size=14))
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_whatever_is_asked_for_no_circle_comes_to_be_and_all_end(
    site: Site, desk: JobService, edges: list[tuple[int, int]]
) -> None:
    jobs = [create_job(desk, run=False) for _ in range(6)]
    wanted: dict[int, set[int]] = {number: set() for number in range(6)}
    for one, other in edges:
        tried = {number: set(others) for number, others in wanted.items()}
        tried[one].add(other)
        try:
            desk.change_job(
                jobs[one], collect_params([("DEPENDS_ON", jobs[number].id) for number in sorted(tried[one])]), HERE
            )
            assert not circular(tried)
            wanted = tried
        except ParamError:
            assert circular(tried)
    for job in jobs:
        desk.run_or_abort_job(job, "RUN")
    ran = []
    while (job := site.store.jobs.claim_job()) is not None:
        number = [item.id for item in jobs].index(job.id)
        assert wanted[number] <= set(ran)
        ran.append(number)
        site.store.jobs.finish_job_and_notify_owner(job, "COMPLETED")
    assert sorted(ran) == list(range(6))


def circular(wanted: dict[int, set[int]]) -> bool:
    left = dict(wanted)
    while True:
        free = [number for number, others in left.items() if not others & set(left)]
        if not free:
            return bool(left)
        for number in free:
            del left[number]


def test_only_jobs_of_ones_own_can_be_waited_for(site: Site, desk: JobService) -> None:
    theirs = create_job(desk, who=KEPLER, run=False)
    with pytest.raises(ForbiddenError):
        create_job(desk, theirs, who=TYCHO)
    with pytest.raises(ParamError, match="DEPENDS_ON='nothing' is not a job"):
        create_job(desk, DEPENDS_ON="nothing")
    with pytest.raises(ParamError, match="PARENT='nothing' is not a job"):
        create_job(desk, PARENT="nothing")


def test_it_can_be_changed_while_it_is_pending_only(site: Site, desk: JobService) -> None:
    first, job = create_job(desk, run=False), create_job(desk)
    with pytest.raises(ConflictError, match="only while the job is PENDING"):
        desk.change_job(job, collect_params([("DEPENDS_ON", first.id)]), HERE)


# --- parts ---------------------------------------------------------------------------------------------------


def test_parts_are_listed_and_end_with_the_whole(site: Site, desk: JobService) -> None:
    whole = create_job(desk, run=False)
    parts = [create_job(desk, run=False, PARENT=whole.id) for _ in range(3)]
    deeper = create_job(desk, PARENT=parts[0].id)
    running = create_job(desk, PARENT=whole.id)
    assert sorted(desk.list_child_job_ids(whole)) == sorted([*(part.id for part in parts), running.id])
    done = create_job(desk, PARENT=whole.id)
    site.store.jobs.update_job(done.id, allowed_phases=("QUEUED",), phase="COMPLETED")
    held = site.store.jobs.claim_job()
    assert held is not None
    desk.run_or_abort_job(whole, "ABORT")
    assert phases(site, whole, *parts, deeper, running) == ["ABORTED"] * 6
    assert phases(site, done) == ["COMPLETED"]
    assert f"this job is part of the job {whole.id}, which was aborted" in str(reload_job(site, deeper).error)
    assert site.store.jobs.find_duration_if_owned(held) is None  # its worker stops
    desk.destroy_job(reload_job(site, whole))
    for job in (whole, *parts, deeper, running, done):
        with pytest.raises(NotFoundError):
            reload_job(site, job)


def test_parts_end_when_the_whole_runs_out_of_time(site: Site, desk: JobService) -> None:
    whole = create_job(desk)
    part = create_job(desk, run=False, PARENT=whole.id)
    held = site.store.jobs.claim_job()
    assert held is not None
    site.store.jobs.finish_job_and_notify_owner(held, "ABORTED")
    assert phases(site, part) == ["ABORTED"]


def test_parts_are_destroyed_when_the_whole_is_due(site: Site, desk: JobService) -> None:
    whole = create_job(desk)
    part = create_job(desk, PARENT=whole.id)
    while run_next_job(site):
        pass
    place = site.settings.var_directory / "jobs"
    assert {path.name for path in place.iterdir()} == {whole.id, part.id}
    site.store.jobs.update_job(whole.id, allowed_phases=("COMPLETED",), destruction="2020-01-01T00:00:00.000000Z")
    JobSupervisor(
        site.settings, worker_limit=1, idle_seconds=1.0, parent_pid=None
    )._delete_expired_jobs_files_and_grants()
    with pytest.raises(NotFoundError):
        reload_job(site, part)
    assert list(place.iterdir()) == []
