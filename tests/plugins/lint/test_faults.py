"""Each planted fault is found by its own code, and nothing else is said; in a big table, too."""

from __future__ import annotations

import itertools
from types import SimpleNamespace

import pytest
from finding_examples import choose_faults, keep_example, read_examples
from service_faults import FAULTS, TEXT_FAULTS, ServiceFault
from tap_server import TapServer

from hven.plugins.lint.groups import jobs
from hven.plugins.lint.validation import CHECK_GROUPS

CHECKS = {check.code: check for group in CHECK_GROUPS for check in group.checks}
SHOWING = choose_faults([(fault.codes, fault) for fault in FAULTS])


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_planted_fault_is_found_and_nothing_else(
    tap_server: TapServer, judge_server, fault: ServiceFault, request: pytest.FixtureRequest
) -> None:
    fault.plant(tap_server)
    report = judge_server(tap_server)
    assert {one.code for one in report.findings} == fault.codes, [
        f"{one.code} {one.table}.{one.column} {one.message}" for one in report.findings
    ]
    for one in report.findings:
        check = CHECKS[one.code]
        assert (one.severity, one.source, one.remedy) == (check.severity, check.source, check.remedy)
    for code in sorted(fault.codes):
        if SHOWING[code] is fault:
            first = next(one for one in report.findings if one.code == code)
            keep_example(first, update=request.config.getoption("--update"))


@pytest.mark.parametrize("fault", TEXT_FAULTS, ids=lambda fault: fault.name)
def test_numbers_that_come_as_texts_are_told_and_end_nothing(
    tap_server: TapServer, judge_server, fault: ServiceFault
) -> None:
    fault.plant(tap_server)
    assert {one.code for one in judge_server(tap_server).findings} == fault.codes


ROWS = [fault for fault in FAULTS if fault.codes & {code for code in CHECKS if code.startswith(("epn.", "obscore."))}]


@pytest.mark.slow
@pytest.mark.parametrize("fault", [fault for fault in ROWS if len(fault.codes) == 1], ids=lambda fault: fault.name)
def test_in_a_table_bigger_than_the_sample_it_is_found_as_well(
    tap_server: TapServer, judge_server, fault: ServiceFault
) -> None:
    fault.plant(tap_server)
    report = judge_server(tap_server, *{code.partition(".")[0] for code in fault.codes}, rows=3)
    assert {one.code for one in report.findings} <= fault.codes | {"epn.reference"}
    missing = fault.codes - {one.code for one in report.findings}
    assert missing <= {"epn.reference"}, "whether a reference leads somewhere is judged where all rows are known"


def test_a_fault_beyond_the_sample_is_found_by_the_services_own_sql(tap_server: TapServer, judge_server) -> None:
    tap_server.epn.rows[4].update(time_exp_min=-1.0, dataproduct_type="zz")
    found = {one.code: one for one in judge_server(tap_server, "epn", rows=2).findings}
    assert set(found) == {"epn.negative", "epn.product-type"}
    negative = found["epn.negative"]
    assert (negative.column, negative.key, negative.value, negative.count, negative.row_count, negative.sampled) == (
        "time_exp_min", "granule_uid = cube_5", "-1.0", 1, 5, False,
    )  # fmt: skip
    assert found["epn.product-type"].value == "zz"


def test_what_only_rows_tell_is_marked_as_sampled(tap_server: TapServer, judge_server) -> None:
    tap_server.epn.rows[1]["access_md5"] = "abc"
    (one,) = judge_server(tap_server, "epn.md5", rows=2).findings
    assert (one.code, one.count, one.row_count, one.sampled, one.key) == ("epn.md5", 1, 2, True, "granule_uid = cube_2")


def test_findings_of_one_kind_are_one_finding_with_a_count_and_the_first_example(
    tap_server: TapServer, judge_server
) -> None:
    for row in tap_server.epn.rows[1:]:
        row["target_class"] = "moon"
    (one,) = judge_server(tap_server, "epn").findings
    assert (one.code, one.table, one.column) == ("epn.target-class", "demo.epn_core", "target_class")
    assert (one.count, one.row_count, one.key, one.value) == (4, 5, "granule_uid = cube_2", "moon")


def test_forty_faults_at_least_with_codes_of_their_own() -> None:
    assert len({code for fault in FAULTS for code in fault.codes}) >= 40


def test_a_job_that_does_not_end(
    tap_server: TapServer, judge_server, monkeypatch, request: pytest.FixtureRequest
) -> None:
    seconds = itertools.count(step=20.0)
    monkeypatch.setattr(jobs, "time", SimpleNamespace(monotonic=lambda: next(seconds), sleep=lambda _seconds: None))
    tap_server.misbehaviours.add("slow-jobs")
    findings = judge_server(tap_server, "uws").findings
    assert {one.code for one in findings} >= {"uws.slow"}
    keep_example(next(one for one in findings if one.code == "uws.slow"), update=request.config.getoption("--update"))


def test_every_check_has_an_example() -> None:
    assert read_examples().keys() == CHECKS.keys()
