"""Jobs below HTTP: whose turn it is, what happens when holders die, when time is over, when the disk is full, when things are due."""

from __future__ import annotations

import errno
import itertools
import os
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hven.jobs import _worker as worker
from hven.jobs import child_processes, job_supervisor, tap
from hven.jobs._worker import run_next_job
from hven.jobs.job_service import JobRequester, JobService, format_sortable_timestamp, parse_time_parameter
from hven.jobs.job_supervisor import JobSupervisor
from hven.model.errors import ConflictError, ForbiddenError, NotFoundError, ParamError, StorageError
from hven.model.params import collect_params
from hven.model.settings._sections import JobLimits
from hven.services.uws_documents import describe_job
from hven.site import CURRENT_USAGE, RequestUsage, Site
from hven.site.auth import Principal
from hven.site.store import JobRecord, StateStore
from hven.site.store import _database as db
from hven.testing.site import open_tiny_site
from process_runner import wait_until

HERE = JobRequester(principal=Principal(), address="192.0.2.1")
THERE = JobRequester(principal=Principal(), address="192.0.2.2")
TYCHO = JobRequester(principal=Principal(name="tycho"), address="192.0.2.1")
SLOW = "SELECT COUNT(*) AS n FROM s.t AS a, s.t AS b, s.t AS c WHERE a.x + b.x * c.x > 1"


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with open_tiny_site(tmp_path, {"s.t": pa.table({"x": pa.array(range(20_000), pa.int64())})}) as made:
        yield made


@pytest.fixture
def desk(site: Site) -> JobService:
    return JobService(site, "tap")


def create_query_job(
    desk: JobService, who: JobRequester = HERE, query: str = "SELECT TOP 1 x FROM s.t", **params: str
) -> JobRecord:
    return desk.create_job(collect_params([("QUERY", query), ("PHASE", "RUN"), *params.items()]), who)


def phase(site: Site, job: JobRecord) -> str:
    return site.store.jobs.get_job(job.id).phase


def keep(site: Site, **limits: Any) -> JobSupervisor:
    return JobSupervisor(
        replace(site.settings, jobs=JobLimits(**limits)), worker_limit=1, idle_seconds=1.0, parent_pid=None
    )


def test_the_supervisor_keeps_the_store_of_its_parent_and_closes_its_connections(site: Site) -> None:
    """So that no fork of it has them; a store that is opened anew takes time and memory."""
    store = StateStore(site.settings.var_directory, site.settings.store)
    store.close()
    supervisor = JobSupervisor(site.settings, worker_limit=1, idle_seconds=1.0, parent_pid=None, store=store)
    for _ in range(2):
        assert supervisor._get_store() is store
        assert store.jobs.resolve_dependencies_and_count_waiting() == 0
        assert store._database.engine.pool.checkedin() == 1
        supervisor._close_store()
        assert store._database.engine.pool.checkedin() == 0


# --- the queue -----------------------------------------------------------------------------------------------


def order(site: Site) -> list[str]:
    """Run everything; give the queues in the order in which they were served."""
    served = []
    while (job := site.store.jobs.claim_job()) is not None:
        served.append(job.queue.split()[1])
        site.store.jobs.finish_job_and_notify_owner(job, "COMPLETED")
    return served


def test_askers_take_turns(site: Site, desk: JobService) -> None:
    for _ in range(4):
        create_query_job(desk, HERE)
    for _ in range(2):
        create_query_job(desk, THERE)
    late = create_query_job(desk, TYCHO)
    assert sum(site.store.jobs.count_jobs_ahead(site.store.jobs.get_job(late.id)).values()) == 2
    assert order(site) == ["192.0.2.1", "192.0.2.2", "tycho", "192.0.2.1", "192.0.2.2", "192.0.2.1", "192.0.2.1"]


def test_who_has_jobs_running_waits_for_who_has_none(site: Site, desk: JobService) -> None:
    first = [create_query_job(desk, HERE) for _ in range(3)]
    assert site.store.jobs.claim_job().id == first[0].id
    other = create_query_job(desk, THERE)
    assert site.store.jobs.claim_job().id == other.id
    assert site.store.jobs.claim_job().id == first[1].id


def test_too_many_are_held_and_may_run_later(tmp_path: Path) -> None:
    with open_tiny_site(tmp_path, {"s.t": pa.table({"x": [1]})}, jobs=JobLimits(queued=2)) as site:
        desk = JobService(site, "tap")
        made = [create_query_job(desk) for _ in range(3)]
        assert [phase(site, job) for job in made] == ["QUEUED", "QUEUED", "HELD"]
        assert phase(site, create_query_job(desk, THERE)) == "QUEUED"
        run_next_job(site)
        desk.run_or_abort_job(made[2], "RUN")
        assert phase(site, made[2]) == "QUEUED"
        while run_next_job(site):
            pass
        assert phase(site, made[2]) == "COMPLETED"


def test_who_keeps_too_many_open_gets_no_more(tmp_path: Path) -> None:
    with open_tiny_site(tmp_path, {"s.t": pa.table({"x": [1]})}, jobs=JobLimits(open=2)) as site:
        desk = JobService(site, "tap")
        first = create_query_job(desk)
        desk.create_job(collect_params([("QUERY", "x")]), HERE)
        with pytest.raises(ForbiddenError, match="you have reached the limit of 2 unfinished jobs") as told:
            create_query_job(desk)
        assert "delete" in told.value.remedy
        assert len(desk.list_jobs(collect_params([]), HERE)) == 2
        create_query_job(desk, THERE)
        while run_next_job(site):
            pass
        assert phase(site, first) == "COMPLETED"
        create_query_job(desk)


def test_a_held_job_says_why(tmp_path: Path) -> None:
    with open_tiny_site(tmp_path, {"s.t": pa.table({"x": [1]})}, jobs=JobLimits(queued=1)) as site:
        desk = JobService(site, "tap")
        create_query_job(desk)
        held = site.store.jobs.get_job(create_query_job(desk).id)
        assert held.phase == "HELD"
        assert (
            desk.estimate_completion(held).note
            == "you already have 1 waiting or running jobs; set this job to RUN when some of them have ended"
        )
        assert desk.estimate_completion(held).quote is desk.estimate_completion(held).place is None


@given(
    st.lists(st.integers(0, 4), min_size=1, max_size=20),
    st.integers(1, 3),
    st.lists(st.integers(-9_000, 9_000), min_size=1, max_size=5),
)
@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
def test_turns_are_as_the_rule_says_whatever_the_clock_does(
    site: Site, arrivals: list[int], lanes: int, leaps: list[int]
) -> None:
    """Against a model that has no clock: the fewest running jobs, then served longest ago, then waiting longest."""
    moments = (
        format_sortable_timestamp(datetime(2026, 11, 20, 12, tzinfo=UTC) + timedelta(seconds=leap))
        for leap in itertools.cycle(leaps)
    )
    with pytest.MonkeyPatch.context() as patch, site.store._database.begin_write() as connection:
        connection.execute(sa.delete(db.jobs))
        connection.commit()
        patch.setattr("hven.site.store._job_records.format_current_time", lambda: next(moments))
        for number, who in enumerate(arrivals):
            site.store.jobs.add_job(
                JobRecord(id=f"{number:02}", type="tap", queue=f"{who}", duration=9, destruction="9")
            )
            site.store.jobs.enqueue_job(f"{number:02}", allowed_phases=("PENDING",), queue_limit=99)
        waiting = {f"{who}": [f"{n:02}" for n, other in enumerate(arrivals) if other == who] for who in arrivals}
        running: list[JobRecord] = []
        served: dict[str, int] = {}
        for turn in itertools.count():
            job = site.store.jobs.claim_job() if len(running) < lanes else None
            if job is None and not running:
                break
            if job is None:
                ended = running.pop(0)
                site.store.jobs.finish_job_and_notify_owner(ended, "COMPLETED")
                done = site.store.jobs.get_job(ended.id)
                assert str(done.started) < str(done.ended)
                continue

            def rank(queue: str) -> tuple[int, int]:
                return sum(one.queue == queue for one in running), served.get(queue, -1)

            assert rank(job.queue) == min(rank(queue) for queue in waiting if waiting[queue])
            assert job.id == waiting[job.queue].pop(0)
            served[job.queue] = turn
            running.append(job)
        assert not any(waiting.values())


def test_many_at_once_all_end_and_once(site: Site, desk: JobService, monkeypatch: pytest.MonkeyPatch) -> None:
    lock = threading.Lock()
    ran: list[str] = []

    def note(work: Any) -> None:
        with lock:
            ran.append(work.job.id)

    monkeypatch.setattr(tap, "JOB", replace(tap.JOB, run=note))
    with site.store._database.begin_write() as connection:  # so many single transactions would only measure the disk
        for number in range(300):
            row = JobRecord(
                id=f"j{number:04}",
                type="tap",
                queue=f"address {number % 7}",
                phase="QUEUED",
                queued=db.format_current_time(),
                duration=9,
                destruction="9",
            )
            connection.execute(sa.insert(db.jobs).values(**_row(row)))

    def work() -> None:
        while run_next_job(site):
            pass

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(300)
    assert sorted(ran) == [f"j{number:04}" for number in range(300)]
    assert set(site.store.jobs.find_phases(ran).values()) == {"COMPLETED"}


def _row(job: JobRecord) -> dict[str, Any]:
    from dataclasses import asdict

    from hven.site.store._job_records import _encode_json_columns

    return _encode_json_columns(asdict(job))


def test_a_list_of_a_hundred_thousand_jobs_is_read_by_its_index(site: Site, desk: JobService) -> None:
    with site.store._database.begin_write() as connection:
        given = [
            _row(JobRecord(id=f"j{number:06}", type="tap", queue=f"address {number % 10}", duration=9, destruction="9"))
            for number in range(20_000)
        ]
        connection.execute(sa.insert(db.jobs), given)
        plan = " ".join(
            row[3]
            for row in connection.exec_driver_sql(
                "EXPLAIN QUERY PLAN SELECT id FROM jobs WHERE queue = 'address 1' AND type = 'tap' AND phase <> 'ARCHIVED' "
                "ORDER BY created DESC LIMIT 10"
            )
        )
    assert "ix_jobs_listed" in plan
    assert len(site.store.jobs.list_jobs("address 1", "tap")) == 2000


# --- stopping ------------------------------------------------------------------------------------------------


def running(site: Site, stop: threading.Event | None = None) -> threading.Thread:
    """Run the next job in a thread, until its engine computes; a job of a second may be over by then."""
    thread = threading.Thread(target=run_next_job, args=(site,), kwargs={"stop_event": stop})
    thread.start()
    wait_until(lambda: site.store.jobs.list_jobs_held_by_processes() or not thread.is_alive())
    used = time.process_time()
    wait_until(lambda: time.process_time() > used + 0.2 or not thread.is_alive())
    return thread


@pytest.mark.parametrize("way", ["abort", "delete", "time", "shorter"])
def test_a_running_query_is_stopped(site: Site, desk: JobService, way: str) -> None:
    job = create_query_job(desk, query=SLOW, **({"EXECUTIONDURATION": "1"} if way == "time" else {}))
    thread = running(site)
    begun = time.monotonic()
    if way == "abort":
        desk.run_or_abort_job(job, "ABORT")
        assert phase(site, job) == "ABORTED"
    elif way == "delete":
        desk.destroy_job(job)
    elif way == "shorter":
        desk.change_job(site.store.jobs.get_job(job.id), collect_params([("EXECUTIONDURATION", "1")]))
    thread.join(60)
    assert not thread.is_alive()
    assert time.monotonic() - begun < 30, "the query itself would take minutes"
    if way == "delete":
        with pytest.raises(NotFoundError):
            site.store.jobs.get_job(job.id)
    else:
        ended = site.store.jobs.get_job(job.id)
        assert ended.phase == "ABORTED"
        assert ended.ended is not None
        assert (ended.error is not None) == (way in {"time", "shorter"})
    assert not [path for path in (site.settings.var_directory / "jobs").glob("*/*") if path.is_file()]


def test_a_worker_that_is_sent_home_puts_its_job_back_unharmed(site: Site, desk: JobService) -> None:
    job = create_query_job(desk, query=SLOW)
    stop = threading.Event()
    thread = running(site, stop)
    assert site.store.jobs.get_job(job.id).attempts == 1
    stop.set()
    thread.join(60)
    back = site.store.jobs.get_job(job.id)
    assert (back.phase, back.attempts, back.holder) == ("QUEUED", 0, None)


def test_a_worker_that_cannot_put_its_job_back_ends_all_the_same(
    site: Site, desk: JobService, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = create_query_job(desk, query=SLOW)
    stop = threading.Event()
    thread = running(site, stop)

    def broken(*_: Any, **__: Any) -> bool:
        raise StorageError("the disk is gone")

    monkeypatch.setattr(site.store.jobs, "requeue_job", broken)
    stop.set()
    thread.join(60)
    assert not thread.is_alive()
    assert phase(site, job) == "EXECUTING"  # a keeper will see that its holder is dead


def test_who_works_for_a_dead_process_is_to_stop() -> None:
    assert not worker.WorkerStopEvent(os.getppid()).is_set()
    assert worker.WorkerStopEvent(os.getppid() + 1).is_set()
    assert not worker.WorkerStopEvent().is_set()


def test_a_job_that_cannot_be_watched_is_given_up_when_others_may_run_it(
    site: Site, desk: JobService, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(
        worker, "HEARTBEAT_INTERVAL_SECONDS", 3600.0
    )  # a sign of life would change what is compared below
    job = create_query_job(desk, query=SLOW)
    thread = running(site)
    wait_until(lambda: site.store.jobs.get_job(job.id).progress)  # the rules of the tables, which are recorded once
    held = site.store.jobs.get_job(job.id)

    def broken(*_: Any) -> int:
        raise StorageError("the network is gone")

    with monkeypatch.context() as patch:
        patch.setattr(worker, "HEARTBEAT_TIMEOUT_SECONDS", 0.5)
        patch.setattr(site.store.jobs, "find_duration_if_owned", broken)
        patch.setattr(site.store.jobs, "record_heartbeat_and_read_duration", broken)
        patch.setattr(site.store.jobs, "finish_job_and_notify_owner", broken)
        thread.join(60)
        assert not thread.is_alive()
    assert "giving up on the job" in caplog.text
    assert site.store.jobs.get_job(job.id) == held  # nothing was written: whoever runs it now is not disturbed
    assert not list((site.settings.var_directory / "jobs").glob("*/result-*"))


# --- dying ---------------------------------------------------------------------------------------------------


def died(site: Site) -> JobRecord:
    """Let the next job be claimed by a process that is no more."""
    job = site.store.jobs.claim_job()
    assert job is not None
    host, _, start, machine = str(job.holder).split()
    gone = f"{host} 999999999 {start} {machine}"
    with site.store._database.begin_write() as connection:
        connection.execute(sa.update(db.jobs).where(db.jobs.c.id == job.id).values(holder=gone))
    return site.store.jobs.get_job(job.id)


def test_the_job_of_a_dead_worker_is_run_again_and_not_a_third_time(site: Site, desk: JobService) -> None:
    job = create_query_job(desk)
    held = died(site)
    keep(site)._requeue_or_fail_abandoned_jobs()
    assert phase(site, job) == "QUEUED"
    assert not site.store.jobs.finish_job_and_notify_owner(
        held, "COMPLETED"
    )  # whoever thinks it is still theirs is wrong
    assert site.store.jobs.record_heartbeat_and_read_duration(held) is None
    died(site)
    keep(site)._requeue_or_fail_abandoned_jobs()
    ended = site.store.jobs.get_job(job.id)
    assert ended.phase == "ERROR"
    assert "died 2 times" in ended.error["message"]


def test_a_silent_holder_elsewhere_is_given_up_by_our_own_clock(
    site: Site, desk: JobService, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [1000.0]
    monkeypatch.setattr(job_supervisor.time, "monotonic", lambda: clock[0])
    job = create_query_job(desk)
    held = site.store.jobs.claim_job()
    with site.store._database.begin_write() as connection:
        connection.execute(sa.update(db.jobs).values(holder="elsewhere 7 123 abc-1"))
    held = site.store.jobs.get_job(job.id)
    watching = keep(site)
    watching._requeue_or_fail_abandoned_jobs()
    clock[0] += job_supervisor.HEARTBEAT_TIMEOUT_SECONDS - 1
    watching._requeue_or_fail_abandoned_jobs()
    assert phase(site, job) == "EXECUTING"
    assert site.store.jobs.record_heartbeat_and_read_duration(held) == held.duration  # a sign of life
    for _ in range(3):
        clock[0] += job_supervisor.HEARTBEAT_TIMEOUT_SECONDS / 2
        watching._requeue_or_fail_abandoned_jobs()
    assert phase(site, job) == "QUEUED"


def test_a_living_holder_is_left_alone(site: Site, desk: JobService) -> None:
    job = create_query_job(desk)
    site.store.jobs.claim_job()
    keep(site)._requeue_or_fail_abandoned_jobs()
    assert phase(site, job) == "EXECUTING"


# --- what goes wrong -----------------------------------------------------------------------------------------


def test_a_full_disk_is_told_and_leaves_nothing(site: Site, desk: JobService, monkeypatch: pytest.MonkeyPatch) -> None:
    job = create_query_job(desk)

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("hven.jobs._job_types.os.fsync", full)
    run_next_job(site)
    ended = site.store.jobs.get_job(job.id)
    assert ended.phase == "ERROR"
    assert ended.error == {
        "kind": "transient",
        "message": "the result cannot be written: no space left on device; try again later, or request less",
    }
    assert not list((site.settings.var_directory / "jobs").iterdir())


def test_what_nobody_foresaw_is_no_traceback(
    site: Site, desk: JobService, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    job = create_query_job(desk)

    def broken(_: object) -> None:
        raise ZeroDivisionError("the inmost secret")

    monkeypatch.setattr(tap, "JOB", replace(tap.JOB, run=broken))
    run_next_job(site)
    ended = site.store.jobs.get_job(job.id)
    assert ended.phase == "ERROR"
    assert "secret" not in ended.error["message"]
    assert job.id in ended.error["message"]
    assert "the inmost secret" in caplog.text


def test_a_failed_job_leads_back_to_the_request_that_made_it(
    site: Site, desk: JobService, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    usage_token = CURRENT_USAGE.set(RequestUsage("request-7"))
    job = create_query_job(desk)
    CURRENT_USAGE.reset(usage_token)
    ids = []

    def fail(_: object) -> None:
        ids.append(CURRENT_USAGE.get().request_id)
        raise ZeroDivisionError("unforeseen")

    monkeypatch.setattr(tap, "JOB", replace(tap.JOB, run=fail))
    run_next_job(site)
    assert ids == ["request-7"]
    assert f"the job {job.id} failed [request request-7]: unforeseen" in caplog.messages
    assert CURRENT_USAGE.get() is None, "messages after the job have no id"
    failed_job = site.store.jobs.get_job(job.id)
    assert describe_job(failed_job, "http://vo.example/tap/async/1")["jobInfo"]["request"] == "request-7"


def test_an_end_that_cannot_be_written_at_once_is_written_later(
    site: Site, desk: JobService, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = create_query_job(desk)
    finish, failed = site.store.jobs.finish_job_and_notify_owner, []

    def flaky(*args: Any, **values: Any) -> bool:
        if len(failed) < 2:
            failed.append(args)
            raise StorageError("the disk is full")
        return finish(*args, **values)

    monkeypatch.setattr(site.store.jobs, "finish_job_and_notify_owner", flaky)
    monkeypatch.setattr(worker.time, "sleep", lambda _: None)
    run_next_job(site)
    assert phase(site, job) == "COMPLETED"
    assert len(failed) == 2


def test_a_job_that_was_aborted_in_the_last_moment_has_no_result(
    site: Site, desk: JobService, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = create_query_job(desk)

    def late(work: Any) -> None:
        with work.open_result_file("result", media_type="text/plain", extension=".txt") as file:
            file.write(b"done")
        desk.run_or_abort_job(job, "ABORT")

    monkeypatch.setattr(tap, "JOB", replace(tap.JOB, run=late))
    run_next_job(site)
    ended = site.store.jobs.get_job(job.id)
    assert (ended.phase, tuple(ended.results)) == ("ABORTED", ())
    assert not list((site.settings.var_directory / "jobs").iterdir())


# --- the end -------------------------------------------------------------------------------------------------


def due(site: Site, job: JobRecord) -> None:
    site.store.jobs.update_job(job.id, allowed_phases=("COMPLETED",), destruction="2020-01-01T00:00:00.000000Z")


def test_what_is_due_is_destroyed(site: Site, desk: JobService) -> None:
    gone, stays = create_query_job(desk), create_query_job(desk)
    while run_next_job(site):
        pass
    due(site, gone)
    keep(site)._delete_expired_jobs_files_and_grants()
    with pytest.raises(NotFoundError):
        site.store.jobs.get_job(gone.id)
    assert [path.name for path in (site.settings.var_directory / "jobs").iterdir()] == [stays.id]


def test_what_is_due_is_archived_where_the_site_wants_it(site: Site, desk: JobService) -> None:
    job = create_query_job(desk)
    run_next_job(site)
    due(site, job)
    keep(site, archive_days=36500)._delete_expired_jobs_files_and_grants()
    kept = site.store.jobs.get_job(job.id)
    assert (kept.phase, tuple(kept.results)) == ("ARCHIVED", ())
    assert not list((site.settings.var_directory / "jobs").iterdir())
    assert desk.list_jobs(collect_params([]), HERE) == []
    with pytest.raises(ConflictError, match="ARCHIVED"):
        desk.run_or_abort_job(kept, "RUN")
    keep(site, archive_days=1)._delete_expired_jobs_files_and_grants()
    with pytest.raises(NotFoundError):
        site.store.jobs.get_job(job.id)


def test_files_of_no_job_are_removed_when_they_are_old(
    site: Site, desk: JobService, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = create_query_job(desk)
    run_next_job(site)
    directory = site.settings.var_directory / "jobs"
    (directory / "stray").mkdir()
    # as the directory of a job that a worker destroys at this moment: it is listed, but no longer there
    (directory / "gone").symlink_to("nothing")
    keep(site)._delete_expired_jobs_files_and_grants()
    assert (directory / "stray").exists()
    monkeypatch.setattr(job_supervisor, "STRAY_FILE_SECONDS", -1.0)
    keep(site)._delete_expired_jobs_files_and_grants()
    assert {path.name for path in directory.iterdir()} == {job.id, "gone"}


# --- times, the format of the store -----------------------------------------------------------------------------


@given(st.datetimes(timezones=st.timezones()))
def test_times_are_read_in_any_zone(when: Any) -> None:
    try:
        expected = format_sortable_timestamp(when)
    except OverflowError:
        return
    offset = when.utcoffset()
    if offset is None or offset.total_seconds() % 60:
        return
    assert format_sortable_timestamp(parse_time_parameter(when.isoformat(), "AFTER")) == expected


@given(st.text(max_size=30))
def test_no_text_breaks_the_reading_of_times(text: str) -> None:
    try:
        found = format_sortable_timestamp(parse_time_parameter(text, "AFTER"))
    except ParamError:
        return
    assert found.endswith("Z")


@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_a_worker_that_hangs_is_killed(site, monkeypatch, caplog):
    """Stopped, it gives no sign of life; one that waits for long gives them all the time."""
    monkeypatch.setattr(child_processes, "HEARTBEAT_INTERVAL_SECONDS", 0.05)
    monkeypatch.setattr(child_processes, "HEARTBEAT_TIMEOUT_SECONDS", 3.0)
    kept = JobSupervisor(site.settings, worker_limit=2, idle_seconds=1.0, parent_pid=None)
    for _ in range(2):
        kept._fork_worker(lambda _: time.sleep(600))
    hung, well = kept._heartbeats_by_pid
    wait_until(lambda: all(pulse.get_silent_seconds() >= 0 for pulse in kept._heartbeats_by_pid.values()))
    os.kill(hung, signal.SIGSTOP)
    wait_until(kept._kill_hung_and_collect_ended_workers)
    assert list(kept._heartbeats_by_pid) == [well]
    assert "has not sent a heartbeat" in caplog.text
    os.kill(well, signal.SIGKILL)
    wait_until(kept._kill_hung_and_collect_ended_workers)
