"""Lists that run to their end: one job for each row, steps, retries, failures, and the joined table."""

from __future__ import annotations

import csv
import io
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pytest
from astropy.io.votable import parse_single_table
from list_sites import (
    HERE,
    PLAIN_LIST,
    TYCHO,
    list_children,
    read_result,
    run_to_end,
    start_list,
    write_list_type,
)
from pyarrow import parquet

from hven.jobs._worker import run_next_job
from hven.jobs.job_service import JobRequester, JobService, get_job_directory
from hven.model.errors import ForbiddenError, ParamError, TooLargeError
from hven.model.params import RequestParams, UploadedFile, collect_params
from hven.plugins.fanout import child_jobs
from hven.site import Site
from hven.site.auth import Principal

STEPS_LIST = """\
title: Two steps
rows: {X: {type: float64, required: true}}
steps:
  first: {job: square}
  second: {job: square, files: {GIVEN: first.squares}, after: {%s}}
join: second.squares
retries: %d
"""


@pytest.fixture(autouse=True)
def run_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give the programs a log of their runs."""
    path = tmp_path / "runs.txt"
    path.touch()
    monkeypatch.setenv("RUN_LOG", str(path))
    return path


def read_rows(site: Site, job: object, name: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(read_result(site, job, name))))  # type: ignore[arg-type]


def test_each_row_is_a_job_and_their_tables_are_joined(site: Site, run_log: Path) -> None:
    write_list_type(site, "squares", PLAIN_LIST)
    job = run_to_end(site, start_list(site, "squares", "3\n4, four\n\n5, five"))
    assert job.phase == "COMPLETED", job.error
    assert Counter(run_log.read_text().split()) == {"3": 1, "4": 1, "5": 1}
    joined = read_rows(site, job, "csv")
    assert [(row["list_row"], row["X"], row["NAME"], row["square"]) for row in joined] == [
        ("1", "3", "", "9"),
        ("2", "4", "four", "16"),
        ("2", "4", "four", "16"),
        ("3", "5", "five", "25"),
        ("3", "5", "five", "25"),
        ("3", "5", "five", "25"),
    ]
    service = JobService(site, "squares")
    votable = parse_single_table(str(service.find_result_file(job, "result")[0]))
    assert [field.name for field in votable.fields] == ["list_row", "X", "NAME", "part", "square", "given"]
    assert str(votable.fields[1].unit) == "deg"
    table = parquet.read_table(service.find_result_file(job, "parquet")[0])
    assert table.column("square").to_pylist() == [9, 16, 16, 25, 25, 25]
    states = read_rows(site, job, "rows")
    assert [(row["X"], row["NAME"], row["square_phase"], row["error"]) for row in states] == [
        ("3", "", "COMPLETED", ""),
        ("4", "four", "COMPLETED", ""),
        ("5", "five", "COMPLETED", ""),
    ]
    children = list_children(site, job)
    assert [child.run_id for child in children] == ["square 1", "square 2", "square 3"]
    assert {child.parent for child in children} == {job.id}
    assert job.progress["share"] == 1
    assert job.progress["rows"] == 6


def test_children_count_against_their_parent_only(site: Site) -> None:
    write_list_type(site, "squares", PLAIN_LIST)
    job = start_list(site, "squares", "\n".join("12345"))
    assert run_next_job(site)  # creates the children
    service = JobService(site, "square")
    params = collect_params([])
    assert service.list_jobs(params, HERE) == []
    assert JobService(site, "squares").list_jobs(params, HERE)[0].id == job.id
    assert site.store.jobs.get_job(job.id).phase == "EXECUTING"
    own_job = service.create_job(collect_params([("X", "2"), ("PHASE", "RUN")]), HERE)
    jobs_ahead = site.store.jobs.count_jobs_ahead(own_job)
    assert jobs_ahead[child_jobs.name_child_queue(job.id)] <= 2  # queues take turns, however long the list is
    assert run_to_end(site, job).phase == "COMPLETED"


def test_rows_that_fail_leave_the_others(site: Site) -> None:
    write_list_type(site, "squares", PLAIN_LIST)
    job = run_to_end(site, start_list(site, "squares", "12\n13\n5000"))
    assert job.phase == "COMPLETED"
    assert job.progress["note"] == "2 of 3 rows have failed"
    assert {row["X"] for row in read_rows(site, job, "csv")} == {"12"}
    errors = [row["error"] for row in read_rows(site, job, "rows")]
    assert errors[0] == ""
    assert "13 brings bad luck" in errors[1]
    assert "5000" in errors[2]


def test_a_list_of_which_nothing_succeeds_fails(site: Site) -> None:
    write_list_type(site, "squares", PLAIN_LIST)
    job = run_to_end(site, start_list(site, "squares", "13\n13"))
    assert job.phase == "ERROR"
    assert job.error is not None
    assert job.error["message"].startswith("all 2 rows failed; the step 'square' of row 1 failed: the program ended")
    assert {row["square_phase"] for row in read_rows(site, job, "rows")} == {"ERROR"}


def test_a_list_of_which_no_row_gets_to_its_last_step_fails(site: Site) -> None:
    steps = "steps: {first: {job: square}, last: {job: square, send: {X: '13'}, after: {job: all, failed: skip}}}"
    write_list_type(
        site, "squares", PLAIN_LIST.replace("steps: {square: {job: square}}", steps).replace("square.", "last.")
    )
    job = run_to_end(site, start_list(site, "squares", "1\n2"))
    assert job.phase == "ERROR"
    assert job.error is not None
    assert job.error["message"].startswith("all 2 rows failed; the step 'last' of row 1 failed: the program ended")


def test_a_failed_row_is_run_again(site: Site, run_log: Path) -> None:
    write_list_type(site, "again", PLAIN_LIST + "retries: 2\n")
    job = run_to_end(site, start_list(site, "again", "14\n13"))
    assert job.phase == "COMPLETED"
    assert Counter(run_log.read_text().split()) == {"14": 2, "13": 3}
    names = [child.run_id for child in list_children(site, job)]
    assert sorted(name or "" for name in names) == ["square 1", "square 1 2", "square 2", "square 2 2", "square 2 3"]


def test_a_step_gets_the_result_of_the_step_before(site: Site) -> None:
    write_list_type(site, "chain", STEPS_LIST % ("failed: skip", 0))
    job = run_to_end(site, start_list(site, "chain", "3\n13\n4"))
    assert job.phase == "COMPLETED"
    assert [(row["X"], int(row["given"]) > 10) for row in read_rows(site, job, "csv")] == [("3", True)] + [
        ("4", True)
    ] * 2
    states = [(row["first_phase"], row["second_phase"]) for row in read_rows(site, job, "rows")]
    assert states == [("COMPLETED", "COMPLETED"), ("ERROR", "SKIPPED"), ("COMPLETED", "COMPLETED")]
    by_name = {child.run_id: child for child in list_children(site, job)}
    assert by_name["second 1"].depends_on == (by_name["first 1"].id,)


def test_a_failure_stops_a_list_that_says_so(site: Site) -> None:
    write_list_type(site, "strict", STEPS_LIST % ("failed: stop", 0) + "limits: {running: 1}\n")
    job = start_list(site, "strict", "13\n3\n4\n5")
    for _ in range(2):  # the children are created, and the first one fails
        assert run_next_job(site)
    # the list looks at its children when its time has come
    site.store.jobs.update_job(job.id, allowed_phases=("EXECUTING",), holder="children until 2000")
    job = run_to_end(site, job)
    assert job.phase == "ERROR"
    assert job.error is not None
    assert job.error["message"].startswith("the list was stopped, because the step 'first' of row 1 failed")
    assert Counter(child.phase for child in list_children(site, job)) == {"ERROR": 1, "ABORTED": 3}
    assert {row["first_phase"] for row in read_rows(site, job, "rows")} == {"ERROR", "ABORTED"}


def test_one_completed_job_is_enough_for_any(site: Site) -> None:
    text = """\
title: Any
rows: {X: {type: float64, required: true}, Y: {type: float64, required: true}}
steps:
  left: {job: square, send: {X: "{X}"}}
  right: {job: square, send: {X: "{Y}"}}
  both: {job: square, send: {X: "2"}, files: {GIVEN: right.squares}, after: {steps: [left, right], job: %s}}
join: both.squares
"""
    write_list_type(site, "anyone", text % "any")
    write_list_type(site, "everyone", text % "all")
    rows = "13 3\n3 13\n13 13\n3 4"
    states = {}
    for name in ("anyone", "everyone"):
        job = run_to_end(site, start_list(site, name, rows))
        states[name] = [row["both_phase"] for row in read_rows(site, job, "rows")]
    assert states["anyone"] == ["COMPLETED", "COMPLETED", "SKIPPED", "COMPLETED"]
    assert states["everyone"] == ["SKIPPED", "SKIPPED", "SKIPPED", "COMPLETED"]


def test_a_query_is_a_list_and_a_step(site: Site) -> None:
    text = """\
title: Stars like these
rows: {ID: {required: true}, MAG: {type: float64, required: true}}
params: {WIDTH: {type: float64, default: 0.5, minimum: 0}}
steps:
  near:
    job: tap
    send:
      LANG: ADQL
      QUERY: SELECT id AS other_id, mag AS other_mag FROM stars.main WHERE ABS(mag - {MAG}) < {WIDTH} AND id <> '{ID}'
join: near.result
"""
    write_list_type(site, "alike", text)
    job = start_list(
        site, "alike", "SELECT TOP 3 id, mag FROM stars.main WHERE mag IS NOT NULL ORDER BY id", WIDTH="0.2"
    )
    job = run_to_end(site, job)
    assert job.phase == "COMPLETED", job.error
    for row in read_rows(site, job, "csv"):
        assert abs(float(row["MAG"]) - float(row["other_mag"])) < 0.2
    assert list_children(site, job)[0].parameters[0] == ("LANG", "ADQL")


def test_a_file_is_a_list(site: Site) -> None:
    write_list_type(site, "squares", PLAIN_LIST)
    sink = io.BytesIO()
    parquet.write_table(pa.table({"name": ["a", "b"], "x": pa.array([2, 3], pa.int32()), "other": [0, 0]}), sink)
    upload = UploadedFile(name="TABLE", file=sink, size=sink.tell())
    params = RequestParams(collect_params([("PHASE", "RUN")]).values, {"TABLE": upload})
    job = run_to_end(site, JobService(site, "squares").create_job(params, HERE))
    assert job.phase == "COMPLETED", job.error
    assert [(row["NAME"], row["square"]) for row in read_rows(site, job, "csv")][-1] == ("b", "9")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the list has no rows"),
        ("# only a comment", "the list has no rows"),
        ("X NAME\n", "the list has no rows"),
        ("3\nnonsense\n4", r"line 2 of LIST \('nonsense'\): X='nonsense' is not"),
        ("3\n1e9", r"line 2 of LIST .*X"),
        ("3 a b", "line 1 of LIST .* has 3 values, but the number of columns is 2"),
        ("NAME,X\na,", "line 2 of LIST .*X is missing"),
    ],
)
def test_bad_lines_are_told(site: Site, text: str, message: str) -> None:
    write_list_type(site, "checked", PLAIN_LIST.replace("required: true", "required: true, maximum: 100"))
    with pytest.raises(ParamError, match=message):
        start_list(site, "checked", text)


def test_a_long_list_is_refused(site: Site) -> None:
    write_list_type(site, "squares", PLAIN_LIST)
    with pytest.raises(TooLargeError, match="the limit is 50 rows"):
        start_list(site, "squares", "1 2\n" * 1_000_000)
    sink = io.BytesIO(b"x\n" + b"nonsense\n" * 10)
    for body, message in (
        (sink, "row 1 of the table: X='nonsense' is not"),
        (io.BytesIO(b"x\n" + b"1\n" * 51), "50 rows"),
    ):
        upload = UploadedFile(name="TABLE", file=body, size=len(body.getvalue()))
        params = RequestParams(collect_params([("PHASE", "RUN")]).values, {"TABLE": upload})
        job = run_to_end(site, JobService(site, "squares").create_job(params, HERE))
        assert job.phase == "ERROR"
        assert job.error is not None
        assert message in job.error["message"]


def test_aborting_and_destroying_a_list_ends_its_jobs(site: Site) -> None:
    write_list_type(site, "squares", PLAIN_LIST)
    service = JobService(site, "squares")
    job = start_list(site, "squares", "1\n2\n3")
    for _ in range(2):
        assert run_next_job(site)
    service.run_or_abort_job(site.store.jobs.get_job(job.id), "ABORT")
    assert Counter(child.phase for child in list_children(site, job)) == {"COMPLETED": 1, "ABORTED": 2}
    assert not run_next_job(site)
    child_ids = site.store.jobs.list_children(job.id)
    service.destroy_job(site.store.jobs.get_job(job.id))
    assert site.store.jobs.list_children(job.id) == []
    assert not get_job_directory(site.settings, job.id).exists()
    assert not any(get_job_directory(site.settings, child_id).exists() for child_id in child_ids)


def test_only_the_owner_sees_the_jobs_of_a_list(site: Site) -> None:
    write_list_type(site, "squares", PLAIN_LIST)
    job = run_to_end(site, start_list(site, "squares", "1\n2", who=TYCHO))
    child = list_children(site, job)[0]
    assert JobService(site, "square").get_job(child.id, TYCHO).id == child.id
    kepler = JobRequester(principal=Principal(name="kepler"), address="192.0.2.1")
    with pytest.raises(ForbiddenError):
        JobService(site, "square").get_job(child.id, kepler)


def test_a_list_that_takes_too_long_is_aborted_with_its_jobs(site: Site) -> None:
    write_list_type(site, "short", PLAIN_LIST.replace("rows: 50", "rows: 50, seconds: 100"))
    job = start_list(site, "short", "1\n2\n3")
    assert run_next_job(site)
    site.store.jobs.update_job(
        job.id, allowed_phases=("EXECUTING",), started="2026-01-01T00:00:00.000000Z", holder="children until 2000"
    )
    assert run_next_job(site)
    job = site.store.jobs.get_job(job.id)
    assert (job.phase, {child.phase for child in list_children(site, job)}) == ("ABORTED", {"ABORTED"})
