"""Readers, kinds of rows and every way out: a part of the matrix that `tests/proofs/test_rights.py` fills."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlencode

from rights_clock import stop_grants_clock, stop_policy_clock
from rights_matrix import (
    ALL,
    NOW,
    PEOPLE,
    POLICY,
    POST_BODIES,
    PUT_BODIES,
    QUERY_STRINGS,
    REFUSED_WAYS,
    ROWS,
    RightsRequest,
    Row,
    build_query,
    build_requests,
    fill_matrix,
    find_job_routes,
    open_rights_site,
)

from plugin_needs import list_query_addresses

QUICK = (
    "the owner", "anonymous", "named by an alias", "delegate", "referee", "referee whose invitation has ended", "referee whose time is over", "member who left the project",
    "with a token that was revoked",
)  # fmt: skip


def test_every_route_returns_exactly_the_rows_of_its_reader(tmp_path: Path) -> None:
    matrix, routes = fill_matrix(tmp_path, part=9, people=[who for who in PEOPLE if who.name in QUICK])
    unlined = routes - QUERY_STRINGS.keys() - POST_BODIES.keys() - PUT_BODIES.keys() - find_job_routes(routes)
    assert not unlined, f"ways out without a line in rights_matrix.LINES or POSTS: {sorted(unlined)}"
    assert not (QUERY_STRINGS.keys() | POST_BODIES.keys() | PUT_BODIES.keys()) - routes, (
        "lines of addresses that are gone"
    )
    assert not matrix.leaks, f"{len(matrix.leaks)}: {matrix.leaks[:10]}"
    assert not matrix.refusals, f"{len(matrix.refusals)}: {matrix.refusals[:10]}"
    assert len(matrix.ways) >= 80


def test_no_plan_quotes_the_policy_of_its_table(tmp_path: Path) -> None:
    """Conditions of policies are made of values of all rows: of texts in which a reader is named, and of the last release."""
    rows = [Row("zqopen", release="2001-01-01T00:00:00", pi="Anna Berg"), Row("zqhidden", pi="anna berg; zqsecret")]
    last = Row("zqlast", release="2029-12-31T12:34:56", pi="zqnobody")
    policy = "(release <= now and reader in (pi)) or (release <= now and 'spica' in groups)"
    anna = next(who for who in PEOPLE if who.account == "anna")
    with stop_policy_clock(lambda: NOW), open_rights_site(tmp_path, [*rows, last], policy) as here:
        assert "zqopen" in here.ask(anna, build_query(ALL)).text
        query = "SELECT n FROM obs.main WHERE mag < 30"
        plans = list_query_addresses("/adql/explain?" + urlencode({"QUERY": query}))
        for ask in (*map(RightsRequest, plans), build_query(query, EXPLAIN="1")):
            answer = here.ask(anna, ask)
            assert answer.status == 200
            assert "DuckDB" in answer.text
            assert "zqsecret" not in answer.text
            assert "2029-12-31" not in answer.text


def test_the_matrix_is_as_large_as_was_said() -> None:
    assert len(PEOPLE) >= 8
    assert len(ROWS) >= 12
    assert {"referee", "member who left the project", "delegate", "a stranger"} <= {who.name for who in PEOPLE}


def test_every_way_out_answers_somebody(tmp_path: Path) -> None:
    """A way that refuses everybody proves nothing about rights; `REFUSED_WAYS` says why it cannot be otherwise."""
    people = [who for who in PEOPLE if who.owner or who.account in ("anna", "bob")]
    refused = {}
    with (
        stop_policy_clock(lambda: NOW),
        stop_grants_clock(lambda: NOW),
        open_rights_site(tmp_path, ROWS, POLICY) as here,
    ):
        for way, requests in build_requests().items():
            statuses = {}
            for request in requests:
                statuses |= {here.ask(who, request).status: request.address for who in people}
                if min(statuses) < 400:
                    break
            if min(statuses) >= 400:
                refused[way] = statuses
    assert not refused.keys() - REFUSED_WAYS.keys(), "they refuse everybody: change the site, or their requests"
    assert not REFUSED_WAYS.keys() - refused.keys(), "they answer somebody: remove their lines"
