"""Answers that several readers share: one computation, kept apart by what each may see and by the state of the holdings; samples."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pyarrow as pa
import pytest

from hven import query
from hven.model.errors import OperationCancelledError, TimeLimitError
from hven.model.table import Column, Table
from hven.model.types import INT32, STRING
from hven.portal._explore import page_queries as room
from hven.portal._explore import parse_search
from hven.portal._explore.page_queries import QueryAnswerCache, QueryRunner
from hven.site import Site
from hven.site.auth._access_control import ANONYMOUS_PRINCIPAL, DEFAULT_POLICIES
from hven.testing.policies import build_odd_rows_hidden_policies
from hven.testing.site import open_tiny_site

TABLE = Table(
    schema="s", name="t", primary=("id",), columns=(Column(name="id", type=INT32), Column(name="word", type=STRING))
)
ROWS = pa.table({"id": pa.array(range(20_000), pa.int32()), "word": [f"w{number % 7}" for number in range(20_000)]})


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with open_tiny_site(tmp_path_factory.mktemp("asking"), {"s.t": (TABLE, ROWS)}) as made:
        yield made


def road(site: Site, policies: Any = DEFAULT_POLICIES) -> QueryRunner:
    return QueryRunner(
        site=site, principal=ANONYMOUS_PRINCIPAL, policies=policies, published_state=site.get_published_state()
    )


def test_the_same_question_is_computed_once(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    ran = []
    run = query.run_query
    monkeypatch.setattr(query, "run_query", lambda *args, **named: ran.append(1) or run(*args, **named))
    search = parse_search([("id", "..1234")], TABLE)
    assert [road(site).fetch_number(search.build_count_query()) for _ in range(3)] == [1235] * 3
    assert len(ran) == 1


def test_readers_who_see_other_rows_have_other_answers(site: Site) -> None:
    count = parse_search([("id", "..99")], TABLE).build_count_query()
    assert [
        road(site, policies).fetch_number(count)
        for policies in (DEFAULT_POLICIES, build_odd_rows_hidden_policies("id"), DEFAULT_POLICIES)
    ] == [100, 50, 100]


def test_a_sample_is_read_under_the_readers_policies(site: Site) -> None:
    count = parse_search([], TABLE).build_count_query()
    for policies, rows in ((DEFAULT_POLICIES, 1000), (build_odd_rows_hidden_policies("id"), 500)):
        found, share = road(site, policies).fetch_sample(count, sample_rows=1000)
        assert found.column(0)[0].as_py() == pytest.approx(rows, rel=0.05)
        assert share == pytest.approx(0.05, rel=0.05)
    whole, share = road(site).fetch_sample(count, sample_rows=20_000)
    assert (whole.column(0).to_pylist(), share) == ([20_000], 1.0)


def test_a_sample_comes_from_all_over_the_table(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    from hven.engines.duckdb import snapshot_files

    monkeypatch.setattr(snapshot_files, "_SAMPLE_STRETCH_ROWS", 10)
    found, share = road(site).fetch_sample(parse_search([("_cols", "id")], TABLE).build_query(), sample_rows=100)
    numbers = found.column("id").to_pylist()
    assert share == 0.005
    assert len(set(numbers)) == 100
    assert all(15 <= sum(low <= number < low + 5000 for number in numbers) <= 35 for low in range(0, 20_000, 5000))
    assert (min(numbers), max(numbers)) == (0, 19_999)


def test_those_who_ask_at_once_wait_for_one() -> None:
    answers, begun, going, computed = QueryAnswerCache(), threading.Event(), threading.Event(), []

    def compute() -> room.SampledAnswer:
        computed.append(1)
        begun.set()
        going.wait()
        return pa.table({"a": [1]}), 1.0

    with ThreadPoolExecutor(5) as pool:
        found = [pool.submit(answers.get_or_compute, "key", compute)]
        begun.wait()
        found += [pool.submit(answers.get_or_compute, "key", compute) for _ in range(4)]
        going.set()
        assert [one.result()[0].column(0).to_pylist() for one in found] == [[1]] * 5
    assert computed == [1]


def test_if_the_first_fails_the_next_one_computes() -> None:
    answers, begun, going = QueryAnswerCache(), threading.Event(), threading.Event()

    def late() -> room.SampledAnswer:
        begun.set()
        going.wait()
        raise TimeLimitError("too late")

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(answers.get_or_compute, "key", late)
        begun.wait()
        second = pool.submit(answers.get_or_compute, "key", lambda: (pa.table({"a": [2]}), 1.0))
        going.set()
        with pytest.raises(TimeLimitError):
            first.result()
        assert second.result()[0].column(0).to_pylist() == [2]


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "MAX_CACHE_BYTES", 50_000)
    monkeypatch.setattr(room, "MAX_CACHED_ANSWER_BYTES", 10_000)
    answers = QueryAnswerCache()
    small, big = pa.table({"a": range(500)}), pa.table({"a": range(5000)})
    answers.get_or_compute("big", lambda: (big, 1.0))
    assert answers.find("big") is None
    for number in range(20):
        answers.get_or_compute(number, lambda: (small, 1.0))
    kept = [number for number in range(20) if answers.find(number) is not None]
    assert kept == list(range(20 - len(kept), 20))
    assert 2 <= len(kept) <= 50_000 // small.nbytes


def test_who_leaves_stops_what_was_begun_for_them(site: Site) -> None:
    count = parse_search([("id", "..777")], TABLE).build_count_query()

    def leave(result: query.QueryResult) -> query.QueryResult:
        result.cancel()
        return result

    with pytest.raises(OperationCancelledError):
        road(site).with_start_callback(leave).fetch_number(count)
    assert road(site).fetch_number(count) == 778, "the next one gets an answer"
