"""A clean service gives no finding, whole or by samples, over real HTTP or without."""

from __future__ import annotations

import pytest
from tap_server import TapServer, serve

from hven.plugins.lint.validation import LintRequestLimits, validate_service


def format_findings(report) -> list[str]:
    return [f"{one.code} {one.table}.{one.column}: {one.message} [{one.key} {one.value}]" for one in report.findings]


def test_a_clean_service_has_no_finding(tap_server: TapServer, judge_server) -> None:
    report = judge_server(tap_server)
    assert report.is_judged
    assert format_findings(report) == []
    assert report.unjudged == ()
    assert {one.table for one in report.table_coverages} == {"demo.epn_core", "ivoa.obscore", "ivoa.obscore_radio"}
    assert report.findings == ()


def test_a_big_clean_table_is_judged_by_its_own_sql(tap_server: TapServer, judge_server) -> None:
    report = judge_server(tap_server, rows=2)
    assert format_findings(report) == []
    seen = {one.table: one for one in report.table_coverages}["demo.epn_core"]
    assert (seen.row_count, seen.total_rows, seen.used_aggregates) == (2, 5, True)


@pytest.mark.slow
def test_over_http_it_is_the_same(tap_server: TapServer) -> None:
    with serve(tap_server) as url:
        report = validate_service(url, limits=LintRequestLimits(pause_seconds=0.0))
        site = validate_service(url.removesuffix("/tap"), selected_codes=["vosi"])
    assert format_findings(report) == []
    assert format_findings(site) == []
    assert site.url == url
    assert all(not job for job in tap_server.jobs), "lint leaves no jobs behind"
